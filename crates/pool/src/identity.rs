//! Which process is meant: (pid, start time, boot) and a proof that only the right one can give. Reads /proc, signals nothing.
//!
//! A pid alone names whoever has the number now. The start time (field 22 of /proc/PID/stat, in ticks since boot)
//! together with the boot id names one process for ever; the proof guards against a record that was edited or damaged.

use std::io;
use std::path::Path;

use protocol::identifiers::WorkerId;
use protocol::worker::NONCE_VARIABLE;

/// One process of one boot of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// What only the right process can show.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// A worker has its nonce in its environment.
    Nonce(&'a str),
    /// A supervisor has `supervise` and its worker's id in its arguments.
    Supervises(&'a WorkerId),
}

/// The identity of a process that runs now.
///
/// # Errors
/// The process does not exist (any more), or this system has no `/proc`.
pub fn identify(pid: u32) -> io::Result<Identity> {
    let (_, start_ticks) = read_stat(pid)?;
    Ok(Identity { pid, start_ticks, boot_id: boot_id()? })
}

/// Whether exactly this process still runs. A zombie does not.
#[must_use]
pub fn is_running(identity: &Identity) -> bool {
    // Pid 0 and 1 are never ours, whatever a record says.
    identity.pid > 1
        && boot_id().is_ok_and(|boot_id| boot_id == identity.boot_id)
        && read_stat(identity.pid).is_ok_and(|(state, start_ticks)| {
            start_ticks == identity.start_ticks && !matches!(state, b'Z' | b'X' | b'x')
        })
}

/// Whether exactly this process still runs *and* shows the proof.
#[must_use]
pub fn is_ours(identity: &Identity, proof: Proof<'_>) -> bool {
    is_running(identity) && shows(identity.pid, proof)
}

fn shows(pid: u32, proof: Proof<'_>) -> bool {
    let has = |file: &str, wanted: &[u8]| {
        let entries = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        entries.split(|byte| *byte == 0).any(|entry| entry == wanted)
    };
    match proof {
        // An empty nonce proves nothing.
        Proof::Nonce("") => false,
        Proof::Nonce(nonce) => has("environ", format!("{NONCE_VARIABLE}={nonce}").as_bytes()),
        Proof::Supervises(worker_id) => has("cmdline", b"supervise") && has("cmdline", worker_id.as_str().as_bytes()),
    }
}

/// Every process that carries this nonce: the worker and what it forked, whoever their parent is by now.
#[must_use]
pub fn with_nonce(nonce: &str) -> Vec<Identity> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| shows(*pid, Proof::Nonce(nonce)))
        .filter_map(|pid| identify(pid).ok())
        .filter(|identity| is_ours(identity, Proof::Nonce(nonce)))
        .collect()
}

fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// State letter and start time of a process.
fn read_stat(pid: u32) -> io::Result<(u8, u64)> {
    let text = std::fs::read(Path::new("/proc").join(pid.to_string()).join("stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected form of /proc/PID/stat"))
}

/// The second field is the program's name in parentheses and may hold anything, so fields count from the last `)`.
fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(text.get(end_of_name + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // Field 3 was the state; 22 is the nineteenth after it.
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, start_ticks))
}

#[cfg(test)]
mod tests {
    use super::{Identity, Proof, identify, is_ours, is_running, parse_stat};

    #[test]
    fn a_program_may_call_itself_anything() {
        let stat = b"42 (a) Z 1 (x) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 777 9 9 9";
        assert_eq!(parse_stat(stat), Some((b'S', 777)));
        assert_eq!(parse_stat(b"42 (x) S 1"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn only_the_very_process_matches() {
        let me = identify(std::process::id()).expect("this process");
        assert!(is_running(&me));
        assert!(!is_running(&Identity { start_ticks: me.start_ticks + 1, ..me.clone() }), "another start time");
        assert!(!is_running(&Identity { boot_id: String::from("another boot"), ..me.clone() }), "another boot");
        assert!(!is_ours(&me, Proof::Nonce("00")), "no such nonce here");
        assert!(!is_ours(&me, Proof::Nonce("")), "an empty nonce");
        let init = identify(1).expect("pid 1");
        assert!(!is_running(&init), "pid 1 is never ours");
    }
}
