//! The pool as a child: finding `llorch-pool`, and a worker that lives exactly as long as this command holds it.
//!
//! xtask starts no worker itself (ARCHITECTURE.md, invariant 4): it is told about one by the pool.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use duct::unix::HandleExt;
use protocol::error::ErrorCode;
use protocol::identifiers::{Backend, WorkerId};
use serde::Deserialize;

use crate::binaries::{self, Marks, Plan, Product, Profile, Show};
use crate::failure::Failure;
use crate::interrupt;
use crate::output::Output;
use crate::process::Call;
use crate::workspace;

/// Between two looks at signals while the pool ends.
const POLL: Duration = Duration::from_millis(20);
/// A pool stops its worker within its own grace period and kill (5 s and some); beyond this it hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
/// How much of its standard error is kept.
const STDERR_BYTES_MAX: u64 = 64 * 1024;
/// Number of SIGINT, everywhere.
const SIGINT: i32 = 2;

/// What a pool needs, built first if this is a checkout.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// A worker for this backend, or only the pool.
    pub worker: Option<Backend>,
    /// How the two are compiled.
    pub profile: Profile,
}

/// The calls that build what is needed; none outside a checkout.
pub fn plan(needs: Needs) -> Result<Vec<Plan>, Failure> {
    let products: Vec<Product> = needs.worker.map(Product::Worker).into_iter().chain([Product::Pool]).collect();
    let Some(root) = workspace::find() else { return Ok(Vec::new()) };
    let marks = Marks::read_for(&root, &products)?;
    Ok(products.into_iter().map(|product| binaries::plan(&root, product, needs.profile, &marks)).collect())
}

/// The pool's program: freshly built in a checkout, else the one beside this program.
pub fn find(output: Output, plans: &[Plan]) -> Result<PathBuf, Failure> {
    let mut pool = None;
    for plan in plans {
        let built = binaries::build(output, plan, Show::Work)?;
        if plan.product == Product::Pool {
            pool = Some(built.path);
        }
    }
    match pool {
        Some(path) => Ok(path),
        None => binaries::beside_this_program(Product::Pool),
    }
}

/// The pool's program, if nothing has to be built for it.
pub fn find_built(plans: &[Plan]) -> Option<PathBuf> {
    match plans.iter().find(|plan| plan.product == Product::Pool) {
        Some(plan) => binaries::up_to_date(plan),
        None => binaries::beside_this_program(Product::Pool).ok(),
    }
}

/// What the pool reports about a worker it holds for us.
#[derive(Debug)]
pub enum Report {
    /// The process exists.
    Starting {
        /// The worker.
        worker_id: WorkerId,
        /// Its process.
        pid: u32,
    },
    /// Weights are being loaded.
    Loading {
        /// Blocks that are loaded.
        layers_loaded: u64,
        /// Blocks of the model.
        layers_total: u64,
    },
    /// It answers requests.
    Ready {
        /// Where.
        url: String,
        /// The worker.
        worker_id: WorkerId,
        /// Its process.
        pid: u32,
    },
    /// It is gone, or never came.
    Failed(Failure),
    /// The pool says nothing more.
    Closed,
}

/// One line of `llorch-pool worker spawn … --attached --json`.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum RawLine {
    Starting { worker_id: WorkerId, pid: u32 },
    Loading { layers_loaded: u64, layers_total: u64 },
    Ready { url: String, worker_id: WorkerId, pid: u32 },
    Done {},
    Error(RawError),
}

#[derive(Deserialize)]
struct RawError {
    code: ErrorCode,
    message: String,
    hint: Option<String>,
    #[serde(default)]
    known: Vec<String>,
}

/// A worker that the pool holds for as long as this value lives. Dropping it waits until the worker is gone.
pub struct Attached {
    handle: duct::Handle,
    lease: Option<PipeWriter>,
    reports: Receiver<Report>,
    complaints: Option<JoinHandle<String>>,
}

impl Attached {
    /// Starts `call` (a `worker spawn … --attached --json`). The pool stops the worker when its standard input ends: by
    /// our will, or because this process is no more.
    pub fn start(call: &Call) -> Result<Self, Failure> {
        let pipe = || std::io::pipe().context("cannot make a pipe");
        let ((input, lease), (lines, stdout), (errors, stderr)) = (pipe()?, pipe()?, pipe()?);
        let expression = call.expression().stdin_file(input).stdout_file(stdout).stderr_file(stderr);
        let handle = call.start(&expression)?;
        // It holds the other ends of the pipes; without dropping them none of our reads would ever end.
        drop(expression);
        let (sender, reports) = channel();
        std::thread::spawn(move || pass_on(lines, &sender));
        let complaints = Some(std::thread::spawn(move || read_to_end(errors)));
        Ok(Self { handle, lease: Some(lease), reports, complaints })
    }

    /// The next report, if there is one within `timeout`.
    pub fn next(&self, timeout: Duration) -> Option<Report> {
        match self.reports.recv_timeout(timeout) {
            Ok(report) => Some(report),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Report::Closed),
        }
    }

    /// The failure of a pool that ended without a word on standard output.
    pub fn ended_silently(&mut self) -> Failure {
        self.stop();
        let complaints = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let known = complaints.lines().map(str::to_owned).collect();
        Failure::coded(ErrorCode::WorkerStartFailed, "the pool ended without starting a worker").known(known)
    }

    /// Gives the worker back and waits until it is gone. A further Ctrl-C makes it quick.
    pub fn stop(&mut self) {
        if self.lease.take().is_none() {
            return;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut seen = interrupt::count();
        while let Ok(None) = self.handle.wait_timeout(POLL) {
            if interrupt::count() > seen {
                seen = interrupt::count();
                // A terminal has sent it already; then this one changes nothing.
                let _gone = self.handle.send_signal(SIGINT);
            }
            if Instant::now() >= deadline {
                // Its supervisor notices and stops the worker.
                let _gone = self.handle.kill();
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop();
    }
}

fn pass_on(lines: PipeReader, sender: &Sender<Report>) {
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        let report = match serde_json::from_str(&line) {
            Ok(RawLine::Starting { worker_id, pid }) => Report::Starting { worker_id, pid },
            Ok(RawLine::Loading { layers_loaded, layers_total }) => Report::Loading { layers_loaded, layers_total },
            Ok(RawLine::Ready { url, worker_id, pid }) => Report::Ready { url, worker_id, pid },
            Ok(RawLine::Error(error)) => {
                Report::Failed(Failure::coded(error.code, error.message).known(error.known).maybe_hint(error.hint))
            }
            Ok(RawLine::Done {}) | Err(_) => continue,
        };
        if sender.send(report).is_err() {
            return;
        }
    }
}

fn read_to_end(errors: PipeReader) -> String {
    let mut errors = errors;
    let mut kept = Vec::new();
    let _broken = errors.by_ref().take(STDERR_BYTES_MAX).read_to_end(&mut kept);
    // Read on, so that the pool never waits for us.
    let _broken = std::io::copy(&mut errors, &mut std::io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}
