//! The command line, design §4, and how it becomes [`Settings`].

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Parser;
use protocol::identifiers::{Backend, Digest, WorkerId};
use protocol::stamp::Stamp;
use protocol::worker::{API_KEY_VARIABLE, NONCE_VARIABLE};

use crate::settings::{STALL_LIMIT, Settings};

/// Serve one model on one device
///
/// The socket is bound first, then the callback goes out, then the model loads. The nonce of the callback and the API
/// key that clients must show come by the environment: LLORCH_WORKER_NONCE, LLORCH_API_KEY.
#[derive(Debug, Parser)]
#[command(
    name = "llorch-worker",
    disable_version_flag = true,
    after_help = "Example:\n  llorch-worker --worker-id w1 --model model.gguf --backend cpu --device 0 --port 0"
)]
pub struct Arguments {
    /// Id of this worker
    #[arg(long, required_unless_present = "version")]
    worker_id: Option<WorkerId>,
    /// The model: a GGUF file
    #[arg(long, value_name = "PATH", required_unless_present = "version")]
    model: Option<PathBuf>,
    /// Backend; must be the one this binary was built for
    #[arg(long, required_unless_present = "version")]
    backend: Option<Backend>,
    /// Device index
    #[arg(long, default_value_t = 0)]
    device: u32,
    /// TCP port; 0 takes a free one, which the callback and the log name
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Address to bind; anything but loopback needs LLORCH_API_KEY
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Host name or address to put into the callback's URL; the bound address when absent
    #[arg(long, value_name = "HOST")]
    advertise: Option<String>,
    /// Where to post {worker_id, url, …} once the socket is bound
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// Id of the model in answers; the file's name when absent
    #[arg(long, value_name = "ID")]
    model_id: Option<String>,
    /// SHA-256 of the model file, as known to whoever starts this worker
    #[arg(long, value_name = "sha256:…")]
    model_digest: Option<Digest>,
    /// Positions a sequence may use; the model's own limit when absent
    #[arg(long, value_name = "N")]
    context: Option<u64>,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    slots: u32,
    /// Print what this binary is and was built from
    #[arg(long, short = 'V')]
    pub version: bool,
    /// With --version: as JSON
    #[arg(long, requires = "version")]
    json: bool,
}

impl Arguments {
    /// Prints the stamp, as JSON if asked.
    pub fn print_version(&self, stamp: &Stamp) {
        if self.json {
            println!("{}", serde_json::to_string(stamp).unwrap_or_default());
        } else {
            let backend = stamp.backend.map_or_else(String::new, |backend| format!(" {backend}"));
            println!("{} {}{backend} ({} {})", stamp.program, stamp.version, stamp.commit, stamp.profile);
        }
    }

    /// The typed settings, environment included.
    ///
    /// # Errors
    /// A combination that must not start: another backend, or a public address without a key.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let backend = self.backend.context("--backend is missing")?;
        let engine_backend = engine::BACKENDS.iter().copied().find(|kind| kind.name() == backend.name());
        let Some(engine_backend) = engine_backend else {
            bail!("this binary was built for {}, not {backend}\nhint: cargo xtask build worker {backend}", built_for());
        };
        let api_key = std::env::var(API_KEY_VARIABLE).ok().filter(|key| !key.is_empty());
        if !self.bind.is_loopback() && api_key.is_none() {
            bail!(
                "binding {} without an API key would let anyone on the network use this worker\nhint: set {API_KEY_VARIABLE}, or bind 127.0.0.1",
                self.bind
            );
        }
        let model = self.model.context("--model is missing")?;
        let file_stem = || model.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        Ok(Settings {
            worker_id: self.worker_id.context("--worker-id is missing")?,
            model_id: self.model_id.unwrap_or_else(file_stem),
            model_path: model,
            model_digest: self.model_digest,
            backend,
            engine_backend,
            device: self.device,
            bind: (self.bind, self.port).into(),
            advertise: self.advertise,
            callback_url: self.callback_url,
            context_length: self.context,
            slots: self.slots,
            nonce: std::env::var(NONCE_VARIABLE).unwrap_or_default(),
            api_key,
            stall_limit: STALL_LIMIT,
        })
    }
}

fn built_for() -> String {
    engine::BACKENDS.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
