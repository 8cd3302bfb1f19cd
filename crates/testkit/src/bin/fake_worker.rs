//! The `fake-worker` program: design §4's command line around `testkit::fake_worker`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use protocol::identifiers::{Backend, Digest, WorkerId};
use protocol::worker::{Callback, NONCE_VARIABLE};
use testkit::fake_worker::load::{Load, call_back, flood, load};
use testkit::fake_worker::server::{Settings, Worker, router};
use testkit::fake_worker::{BACKEND_VARIABLE, Script};
use tokio::signal::unix::{SignalKind, signal};

/// A worker without a model, for tests
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Cli {
    #[arg(long)]
    version: bool,
    #[arg(long)]
    json: bool,
    #[arg(long, required_unless_present = "version")]
    worker_id: Option<WorkerId>,
    #[arg(long, required_unless_present = "version")]
    model: Option<PathBuf>,
    #[arg(long)]
    model_id: Option<String>,
    #[arg(long)]
    model_digest: Option<Digest>,
    #[arg(long, default_value = "cpu")]
    backend: Backend,
    #[arg(long, default_value_t = 0)]
    device: u32,
    #[arg(long, default_value_t = 0)]
    port: u16,
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    #[arg(long)]
    advertise: Option<String>,
    #[arg(long)]
    callback_url: Option<String>,
    #[arg(long)]
    context: Option<u32>,
    #[arg(long)]
    slots: Option<u32>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if cli.version {
        return version(cli.json);
    }
    let script = Script::from_environment().context("failed to read the script")?;
    if let Some(code) = script.exit_at_once {
        eprintln!("fake-worker: exiting at once, as told");
        std::process::exit(code);
    }
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run(cli, script))
}

fn version(json: bool) -> anyhow::Result<()> {
    let backend = std::env::var(BACKEND_VARIABLE).unwrap_or_else(|_| String::from("cpu")).parse()?;
    let stamp = protocol::stamp!("fake-worker", Some(backend), Vec::new());
    let text = if json { serde_json::to_string(&stamp)? } else { format!("{} {}", stamp.program, stamp.version) };
    writeln!(std::io::stdout(), "{text}").context("failed to print")
}

async fn run(cli: Cli, script: Script) -> anyhow::Result<()> {
    let (worker_id, model) = (cli.worker_id.context("no worker id")?, cli.model.context("no model")?);
    let listener = tokio::net::TcpListener::bind((cli.bind, cli.port)).await.context("failed to bind")?;
    let url = format!("http://{}", listener.local_addr()?);
    eprintln!("fake-worker: {worker_id} listens on {url}");
    if script.fork_grandchild {
        fork_grandchild()?;
    }
    let nonce =
        if script.wrong_nonce { String::from("wrong") } else { std::env::var(NONCE_VARIABLE).unwrap_or_default() };
    let model = cli.model_id.unwrap_or_else(|| model.display().to_string());
    let callback = Callback {
        worker_id: worker_id.clone(),
        url,
        model: model.clone(),
        model_digest: cli.model_digest,
        backend: cli.backend,
        device: cli.device,
        memory_bytes: 0,
        pid: std::process::id(),
        nonce,
    };
    let (progress, loading) = tokio::sync::watch::channel(Load::Layers(0));
    let slots = cli.slots.unwrap_or(script.slots);
    let settings = Settings { worker_id, model, backend: cli.backend, device: cli.device, slots };
    let worker = Worker::new(settings, script.clone(), loading);
    let server = tokio::spawn(axum::serve(listener, router(worker.clone())).into_future());

    let mut terminate = signal(SignalKind::terminate())?;
    let (ignores, drains) = (script.ignore_sigterm, worker.clone());
    tokio::spawn(async move {
        while terminate.recv().await.is_some() {
            if !ignores {
                drains.drain();
            }
        }
    });
    let target = cli.callback_url.filter(|_| !script.never_call_back);
    let flooding = script.clone();
    tokio::task::spawn_blocking(move || {
        flood(&flooding);
        target.map(|url| call_back(&url, &callback)).transpose()
    })
    .await?
    .context("failed to call back")?;
    let loader = tokio::spawn(load(script, progress));
    worker.drained().await;
    loader.abort();
    server.abort();
    Ok(())
}

/// A child that nobody waits for and that holds the outputs open.
#[expect(clippy::disallowed_methods, reason = "a fake that makes the children the pool must clear away")]
fn fork_grandchild() -> anyhow::Result<()> {
    let child = std::process::Command::new("sleep").arg("600").spawn().context("failed to start sleep")?;
    eprintln!("fake-worker: grandchild {}", child.id());
    Ok(())
}
