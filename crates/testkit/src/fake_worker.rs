//! A worker without a model: a real process that speaks design §4, and misbehaves on command.
//!
//! The program is `fake-worker` (`src/bin/fake_worker.rs`); this module holds its parts and [`binary`], with which a test
//! finds it. What it does wrong is said in the environment variable [`SCRIPT_VARIABLE`].

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub mod load;
pub mod server;
pub mod stream;
pub mod validate;

/// Environment variable with the [`Script`] as JSON.
pub const SCRIPT_VARIABLE: &str = "FAKE_WORKER_SCRIPT";
/// Environment variable with the backend the program says it was built for; `cpu` when absent.
pub const BACKEND_VARIABLE: &str = "FAKE_BACKEND";

/// What the fake worker does. Everything absent: it behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Exits with this code before it binds.
    pub exit_at_once: Option<i32>,
    /// Never posts its callback, and loads all the same.
    pub never_call_back: bool,
    /// Posts a nonce that is not its own.
    pub wrong_nonce: bool,
    /// Blocks of the model it pretends to load.
    pub layers: u64,
    /// Time for each.
    pub layer_ms: u64,
    /// Dies when so many blocks are loaded.
    pub die_after_layers: Option<u64>,
    /// Stops loading when so many blocks are loaded.
    pub hang_after_layers: Option<u64>,
    /// Reports a failed load, with these words, when all blocks are loaded.
    pub fail_loading: Option<String>,
    /// Dies when it has sent so many tokens of a stream.
    pub die_after_tokens: Option<u64>,
    /// Dies by this signal instead of exiting with code 3.
    pub die_by_signal: Option<i32>,
    /// Stops sending, without closing, when it has sent so many tokens of a stream.
    pub stall_after_tokens: Option<u64>,
    /// Does not end on SIGTERM.
    pub ignore_sigterm: bool,
    /// Starts a child that outlives it, in the same process group.
    pub fork_grandchild: bool,
    /// Writes so many bytes to standard error before it is ready.
    pub flood_stderr_bytes: u64,
    /// Length of each line of that; 0 is one line without end.
    pub flood_line_bytes: u64,
    /// Pace of a stream.
    pub tokens_per_second: f64,
    /// Ends every generation with EOS after so many tokens.
    pub eos_after: Option<u64>,
    /// Sequences at once, where `--slots` does not say.
    pub slots: u32,
    /// Offences against the stream contract.
    pub misbehave: Vec<Misbehaviour>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            exit_at_once: None,
            never_call_back: false,
            wrong_nonce: false,
            layers: 4,
            layer_ms: 5,
            die_after_layers: None,
            hang_after_layers: None,
            fail_loading: None,
            die_after_tokens: None,
            die_by_signal: None,
            stall_after_tokens: None,
            ignore_sigterm: false,
            fork_grandchild: false,
            flood_stderr_bytes: 0,
            flood_line_bytes: 100,
            tokens_per_second: 500.0,
            eos_after: None,
            slots: 4,
            misbehave: Vec::new(),
        }
    }
}

impl Script {
    /// The script of this process's environment.
    ///
    /// # Errors
    /// It is not valid JSON of a script.
    pub fn from_environment() -> anyhow::Result<Self> {
        match std::env::var(SCRIPT_VARIABLE) {
            Ok(text) => Ok(serde_json::from_str(&text)?),
            Err(_) => Ok(Self::default()),
        }
    }

    /// The script as the environment variable holds it.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether this offence is to be committed.
    #[must_use]
    pub fn commits(&self, misbehaviour: Misbehaviour) -> bool {
        self.misbehave.contains(&misbehaviour)
    }

    /// Ends this process the way the script says.
    pub fn die(&self) -> ! {
        if let Some(signal) = self.die_by_signal.and_then(signal_by_number) {
            // More than once: the first SIGSEGV or SIGBUS only removes the handler that Rust's runtime has for stack
            // overflows, and a second that comes too early is one with the first.
            for _ in 0..1_000 {
                let _dead = rustix::process::kill_process(rustix::process::getpid(), signal);
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        std::process::exit(3)
    }
}

fn signal_by_number(number: i32) -> Option<rustix::process::Signal> {
    use rustix::process::Signal;
    [Signal::ABORT, Signal::BUS, Signal::KILL, Signal::SEGV, Signal::TERM]
        .into_iter()
        .find(|signal| signal.as_raw() == number)
}

/// Offences against the stream contract, one for each rule of the conformance kit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misbehaviour {
    /// The answer's content type is not that of an event stream.
    WrongContentType,
    /// Frames carry an `event:` line.
    EventField,
    /// A `data:` line that is not JSON of an event.
    InvalidJson,
    /// No `started`.
    OmitStarted,
    /// The stream just stops after the tokens.
    OmitTerminal,
    /// `end` twice.
    TwoTerminals,
    /// A token after `end`.
    TokenAfterEnd,
    /// No `[DONE]`.
    OmitDone,
    /// A frame after `[DONE]`.
    FrameAfterDone,
    /// Event ids skip a number.
    GapInIds,
    /// Event ids begin at 1.
    IdsFromOne,
    /// Token indices skip a number.
    GapInIndices,
    /// A character's bytes are sent in two tokens, each replaced.
    SplitCharacter,
    /// `end` counts other prompt tokens than `started`.
    WrongPromptTokens,
    /// More tokens than were asked for.
    ExceedMaxTokens,
    /// `end` counts fewer tokens than were sent.
    WrongTokensOut,
    /// `stream: false` gives other text than the stream.
    UnaryDiffers,
    /// `stream: false` gives a stream.
    UnaryStreams,
    /// Only the first bad field is listed.
    FirstBadFieldOnly,
    /// The prompt is quoted in a refusal.
    EchoPrompt,
    /// Fields nobody knows are ignored.
    AcceptUnknownField,
    /// DELETE of a job that is gone is 404.
    DeleteNotFound,
    /// DELETE does nothing.
    IgnoreDelete,
    /// A cancelled stream ends with `error`.
    CancelledAsError,
    /// DELETE of one job cancels all.
    CancelAll,
    /// A dropped connection does not free its slot.
    LeakSlot,
    /// An older attempt is served.
    AcceptStaleAttempt,
    /// `/health` does not count busy slots.
    IdleHealth,
    /// The progress stream just ends.
    NeverReadyProgress,
}

/// The text of token `index`: the same for the same seed, whole characters, not all of them ASCII.
#[must_use]
pub fn token_text(seed: u64, index: u64) -> String {
    const WORDS: [&str; 12] =
        [" once", " upon", " a", " time", " é", " 北", " 🦀", ",", " there", " lived", " nobody", "."];
    // The finaliser of SplitMix64 spreads neighbouring inputs.
    let mut mixed = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let word = usize::try_from((mixed ^ (mixed >> 31)) % 12).unwrap_or(0);
    WORDS[word].to_owned()
}

/// Path of the `fake-worker` program, beside the test that asks. Built first if it is missing or older than its sources:
/// cargo builds a dependency's library for a test, not its programs.
///
/// # Panics
/// It cannot be built.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    // target/<profile>/deps/test-…
    let folder = test.parent().and_then(Path::parent).expect("a test lives in target/<profile>/deps");
    let binary = folder.join("fake-worker");
    if is_stale(&binary) {
        build(folder);
    }
    assert!(binary.is_file(), "`cargo build -p testkit` did not make {}", binary.display());
    binary
}

fn is_stale(binary: &Path) -> bool {
    let Ok(built) = std::fs::metadata(binary).and_then(|data| data.modified()) else { return true };
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let sources = ["testkit/src/fake_worker", "testkit/src/bin", "testkit/src/fake_worker.rs", "protocol/src"];
    sources.iter().any(|source| newest(&crates.join(source)).is_some_and(|changed| changed > built))
}

/// Time of the last change of a file, or of any file of a folder (not of its subfolders).
fn newest(path: &Path) -> Option<SystemTime> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().filter_map(|entry| modified(&entry.path())).max(),
        Err(_) => modified(path),
    }
}

#[expect(clippy::disallowed_methods, reason = "a test tool runs cargo, nothing that is shipped does")]
fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "--package", "testkit", "--bin", "fake-worker"]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let target = folder.parent().expect("target/<profile>");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("CARGO_TARGET_DIR", target);
    let status = command.status().expect("cargo runs");
    assert!(status.success(), "building fake-worker failed: {status}");
}

#[cfg(test)]
mod tests {
    use super::{Misbehaviour, Script, token_text};

    #[test]
    fn scripts_survive_the_environment_and_typos_do_not() {
        let script = Script { misbehave: vec![Misbehaviour::OmitTerminal], eos_after: Some(3), ..Script::default() };
        assert_eq!(serde_json::from_str::<Script>(&script.to_json()).expect("a script"), script);
        assert_eq!(serde_json::from_str::<Script>("{}").expect("a script"), Script::default());
        assert!(serde_json::from_str::<Script>(r#"{"never_cal_back":true}"#).is_err());
    }

    #[test]
    fn tokens_depend_on_seed_and_index_alone() {
        let text = |seed| (0..40).map(|index| token_text(seed, index)).collect::<String>();
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
        assert!(!text(7).is_ascii());
    }
}
