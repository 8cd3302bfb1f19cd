//! The tier `smoke`: a real prompt through the whole chain, its text compared, and nothing left behind.

use protocol::identifiers::Backend;
use protocol::pool::{WorkerList, WorkerStatus};

use super::plan::{Asked, SMOKE, ours, smoke, smoke_worker};
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Ended, Group};
use crate::scratch::Scratch;

/// Runs the chain with a state folder of its own, checks what came out, and that no worker is left.
///
/// # Errors
/// A command of the chain failed, the text is another one, or a worker still runs.
pub fn run(output: Output, asked: &Asked) -> Result<(), Failure> {
    let state = Scratch::new("smoke")?;
    let chain = Chain { output, asked, state };
    let said = match smoke_worker(asked) {
        None => chain.prompt(smoke(asked)),
        Some(worker) => chain.prompt_to(&worker),
    };
    let done = said?;
    let generated = done["text"].as_str().unwrap_or_default();
    if done["event"] != "done" || generated != SMOKE.1 {
        let known = vec![format!("expected: {:?}", SMOKE.1), format!("got:      {generated:?}")];
        return Err(Failure::new("the generated text is wrong").known(known));
    }
    let speed = done["tokens_per_sec"].as_f64().unwrap_or_default();
    output.note(format_args!("{}{generated} ({speed:.1} tokens/s)", SMOKE.0));
    chain.require_nothing_left()
}

/// The commands, all with the same state folder.
struct Chain<'a> {
    output: Output,
    asked: &'a Asked<'a>,
    state: Scratch,
}

impl Chain<'_> {
    /// What the prompt's last event says.
    fn prompt(&self, call: Call) -> Result<serde_json::Value, Failure> {
        self.last_event(call)
    }

    /// As [`Chain::prompt`], of a worker that is started before and stopped after, whatever came of it.
    fn prompt_to(&self, worker: &Call) -> Result<serde_json::Value, Failure> {
        let started = self.last_event(worker.clone())?;
        let text = |name: &str| started[name].as_str().map(str::to_owned);
        let (Some(url), Some(id)) = (text("url"), text("worker_id")) else {
            return Err(Failure::new("`worker start --json` does not say where the worker is"));
        };
        let said = self.prompt(smoke(self.asked).args(["--worker", &url]));
        let stopped = self.capture(ours(self.asked.root, &["worker", "stop", &id]));
        // Why there is no answer explains more than why it did not stop.
        let said = said?;
        stopped.map(|_| said)
    }

    fn last_event(&self, call: Call) -> Result<serde_json::Value, Failure> {
        let ended = self.capture(call)?;
        let text = String::from_utf8_lossy(&ended.stdout);
        Ok(serde_json::from_str(text.lines().next_back().unwrap_or_default()).unwrap_or_default())
    }

    fn capture(&self, call: Call) -> Result<Ended, Failure> {
        self.output.command(&call);
        let ended = call.clone().env(models::environment::STATE_DIRECTORY, self.state.path()).capture(Group::Own)?;
        if ended.code != 0 {
            let text = String::from_utf8_lossy(&ended.stdout);
            return Err(call.failed(ended.code).known(text.lines().rev().take(3).map(str::to_owned).collect()));
        }
        Ok(ended)
    }

    fn require_nothing_left(&self) -> Result<(), Failure> {
        let listed = self.capture(ours(self.asked.root, &["worker", "list", "--all", "--json"]))?;
        let list: WorkerList = serde_json::from_slice(&listed.stdout)
            .map_err(|error| Failure::new(format!("`worker list --json` cannot be read: {error}")))?;
        let is_left =
            |worker: &&protocol::pool::WorkerRecord| worker.status != WorkerStatus::Stopped || is_running(worker.pid);
        let left = list.workers.iter().filter(is_left);
        let left: Vec<String> = left.map(|worker| format!("{} is process {}", worker.worker_id, worker.pid)).collect();
        if !left.is_empty() {
            return Err(Failure::new("a worker was left behind").known(left));
        }
        let has_run = |backend: Backend| list.workers.iter().any(|worker| worker.backend == backend);
        if !has_run(self.asked.backend) {
            return Err(Failure::new(format!("no `{}` worker that ran is on record", self.asked.backend)));
        }
        Ok(())
    }
}

fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}
