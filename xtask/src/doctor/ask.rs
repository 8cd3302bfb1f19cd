//! Questions to programs that may be missing, or never answer.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;
use crate::process::{Call, Ended, Group, exit_code};

/// A version is printed within this, also on a machine that is busy.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two looks at the clock and at signals.
const POLL: Duration = Duration::from_millis(50);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// It cannot be started.
    Missing,
    /// It was started, and ended because it said nothing for too long.
    Silent,
}

/// Runs it out of sight; one that does not answer in time is ended with all it started.
pub fn ask(call: &Call) -> Result<Ended, NoAnswer> {
    ask_within(call, ANSWER)
}

fn ask_within(call: &Call, limit: Duration) -> Result<Ended, NoAnswer> {
    let expression = call.expression().stdin_null().stdout_capture().stderr_capture();
    let handle = call.start(&Group::Own.apply(&expression)).map_err(|_| NoAnswer::Missing)?;
    let until = Instant::now() + limit;
    loop {
        match handle.wait_timeout(POLL) {
            Ok(Some(output)) => {
                let (stdout, stderr) = (output.stdout.clone(), output.stderr.clone());
                return Ok(Ended { code: exit_code(output.status), stdout, stderr });
            }
            Ok(None) if Instant::now() < until && interrupt::check().is_ok() => {}
            Ok(None) | Err(_) => {
                for pid in handle.pids().into_iter().filter_map(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
                    let _already_gone = kill_process_group(pid, Signal::KILL);
                }
                return Err(NoAnswer::Silent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{NoAnswer, ask, ask_within};
    use crate::process::Call;

    #[test]
    fn a_program_answers_is_missing_or_is_given_up() {
        let ended = ask(&Call::new("sh").args(["-c", "echo 1; echo 2 >&2; exit 3"])).expect("an answer");
        assert_eq!((ended.text().as_str(), ended.code), ("1", 3));
        assert_eq!(ask(&Call::new("no-such-program-here")).err(), Some(NoAnswer::Missing));
        let started = Instant::now();
        let hanging = Call::new("sh").args(["-c", "sleep 300; true"]);
        assert_eq!(ask_within(&hanging, Duration::from_millis(100)).err(), Some(NoAnswer::Silent));
        assert!(started.elapsed() < Duration::from_secs(60), "it waited for the whole sleep");
    }
}
