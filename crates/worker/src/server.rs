//! Bind, call back, load, serve, drain: the life of a worker from outside.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::serve::ListenerExt as _;
use engine::Probe;
use protocol::error::ErrorCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::lifecycle::Phase;
use crate::settings::Settings;
use crate::shared::{QUEUE_LIMIT, Shared};
use crate::{callback, engine_thread, routes};

/// How long running jobs may go on after a stop was asked for.
const DRAIN_DEADLINE: Duration = Duration::from_secs(protocol::worker::DRAIN_DEADLINE_SECONDS);
/// How long connections may take to notice that they are over.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);
/// How long a worker whose load failed goes on saying why.
const FAILURE_LINGER: Duration = Duration::from_secs(2);

/// Asks the worker to stop: the first request drains, a second one ends at once.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(Arc<watch::Sender<u32>>);

impl Shutdown {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub(crate) fn request(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Resolves when `count` requests were made.
    async fn requested(&self, count: u32) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = receiver.wait_for(|seen| *seen >= count).await;
    }
}

/// A worker that answers, whatever its model does.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    address: SocketAddr,
    shutdown: Shutdown,
    server: JoinHandle<std::io::Result<()>>,
    close: Arc<Notify>,
    engine: std::thread::JoinHandle<()>,
}

impl Worker {
    /// Binds, answers, calls back and begins to load, in this order. Needs a tokio runtime.
    ///
    /// # Errors
    /// The address cannot be bound, or whoever started the worker does not answer.
    pub async fn start(settings: Settings, probe: Option<Box<dyn Probe>>) -> anyhow::Result<Self> {
        let bind = settings.bind;
        let listener = TcpListener::bind(bind)
            .await
            .with_context(|| format!("failed to bind {bind}\nhint: choose another --port, or 0 for a free one"))?;
        let address = listener.local_addr().context("failed to read the bound address")?;
        let slots = settings.slots as usize;
        let (sender, receiver) = std::sync::mpsc::sync_channel(slots + QUEUE_LIMIT + 1);
        let shared = Shared::new(settings, sender);
        let (shutdown, close) = (Shutdown::new(), Arc::new(Notify::new()));
        let server = serve(listener, &shared, &shutdown, Arc::clone(&close));
        let caller = Arc::clone(&shared);
        let called = tokio::task::spawn_blocking(move || callback::send(&caller.settings, address)).await;
        called.context("the callback panicked")??;
        let engine = engine_thread::spawn(Arc::clone(&shared), receiver, probe).context("failed to start a thread")?;
        Ok(Self { shared, address, shutdown, server, close, engine })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A function that asks the worker to stop, as SIGTERM does.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let shutdown = self.shutdown.clone();
        move || shutdown.request()
    }

    /// Waits until the worker is stopped or fails, and ends it.
    ///
    /// # Errors
    /// The model did not load, the engine's thread panicked, or jobs had to be cut off a second time.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self { shared, shutdown, server, close, engine, .. } = self;
        let outcome = tokio::select! {
            () = shutdown.requested(1) => drain(&shared, &shutdown).await,
            failure = failed(&shared) => Err(failure),
        };
        // Whoever still waits hears of it; then connections have a moment to end.
        let _ = shared.commands.try_send(engine_thread::Command::Stop);
        let joined = tokio::task::spawn_blocking(move || engine.join());
        let _ = tokio::time::timeout(CLOSE_DEADLINE * 2, joined).await;
        close.notify_one();
        let _ = tokio::time::timeout(CLOSE_DEADLINE, server).await;
        outcome
    }
}

/// Answers from now on, until `close` is notified.
fn serve(
    listener: TcpListener,
    shared: &Arc<Shared>,
    shutdown: &Shutdown,
    close: Arc<Notify>,
) -> JoinHandle<std::io::Result<()>> {
    let router = routes::router(Arc::clone(shared), shutdown.clone());
    let stall_limit = shared.settings.stall_limit;
    let listener = listener.tap_io(move |connection: &mut TcpStream| prepare(connection, stall_limit));
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { close.notified().await });
    tokio::spawn(async move { server.await })
}

/// A token is sent when it is there, and a client that vanished without a word (its machine, its network) counts as gone
/// once nothing sent to it was confirmed for that long.
fn prepare(connection: &TcpStream, stall_limit: Duration) {
    if let Err(error) = connection.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps small packets back");
    }
    #[cfg(target_os = "linux")]
    {
        let limit_ms = u32::try_from(stall_limit.as_millis()).unwrap_or(u32::MAX);
        if let Err(error) = rustix::net::sockopt::set_tcp_user_timeout(connection, limit_ms) {
            tracing::debug!(%error, "a connection has no limit for silence");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stall_limit;
}

/// Resolves when the worker failed, after clients had a moment to read why.
async fn failed(shared: &Shared) -> anyhow::Error {
    let mut phase = shared.watch_phase();
    let is_failed = |phase: &Phase| matches!(phase, Phase::Failed { .. });
    // The sender lives in `shared`.
    let Ok(Phase::Failed { code, message }) = phase.wait_for(is_failed).await.map(|phase| phase.clone()) else {
        return anyhow::anyhow!("the worker lost its state");
    };
    // A panic must be seen as one at once; a load error is first read by whoever follows the load.
    if code != ErrorCode::Internal {
        tokio::time::sleep(FAILURE_LINGER).await;
    }
    anyhow::anyhow!("{message}")
}

/// Accepts nothing new and waits for what runs.
async fn drain(shared: &Shared, shutdown: &Shutdown) -> anyhow::Result<()> {
    shared.enter(Phase::Draining);
    tracing::info!("draining");
    let permits = shared.settings.slots as usize + QUEUE_LIMIT;
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    tokio::select! {
        _ = shared.admission.acquire_many(permits) => {}
        () = tokio::time::sleep(DRAIN_DEADLINE) => tracing::warn!("the drain deadline is over; running jobs are cut off"),
        () = shutdown.requested(2) => bail!("stopped at once by a second request"),
    }
    match shared.phase() {
        // A panic gives all permits back too.
        Phase::Failed { message, .. } => bail!("{message}"),
        Phase::Loading { .. } | Phase::Ready | Phase::Draining => Ok(()),
    }
}

/// Runs a worker until it is stopped: the whole program behind `main`.
///
/// # Errors
/// See [`Worker::start`] and [`Worker::serve`].
pub fn run(settings: Settings) -> anyhow::Result<()> {
    init_logging();
    // Two threads: health must answer while a large body is being parsed. The engine has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("failed to start the runtime")?;
    let result = runtime.block_on(async {
        let worker = Worker::start(settings, None).await?;
        tracing::info!(url = %callback::public_url(&worker.shared.settings, worker.address), "listening");
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let mut signals = signal(kind).context("failed to listen for signals")?;
            let shutdown = worker.shutdown.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    shutdown.request();
                }
            });
        }
        worker.serve().await
    });
    // A step that is still computing must not hold the process.
    runtime.shutdown_background();
    result.inspect_err(|error| tracing::error!("{error:#}"))
}

fn init_logging() {
    let level = std::env::var("LLORCH_LOG").ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(tracing::level_filters::LevelFilter::INFO);
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    if std::env::var("LLORCH_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
    }
}
