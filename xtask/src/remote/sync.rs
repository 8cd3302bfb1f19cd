//! Bringing a host to exactly this working tree.
//!
//! The copy is a repository of its own in the far user's cache folder, so that branches, hooks, configuration and the
//! checkout of the far user are never touched and `target/` stays warm. It is filled from the far checkout if there is
//! one, then by one pack with what it lacks. The far half is `receive.sh`.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::error::ErrorCode;

use super::connection::Connection;
use super::far::environment;
use super::lines::Lines;
use super::script::Script;
use super::session::{End, Task};
use super::snapshot::Snapshot;
use super::streams::{Sink, Source};
use super::{text_of, text_sink};
use crate::failure::Failure;
use crate::git;
use crate::process::Call;

const RECEIVE: &str = include_str!("receive.sh");
/// `PACK`, the version, the number of objects (gitformat-pack(5)).
const PACK_HEADER_BYTES: usize = 12;
/// As many as `receive.sh` names.
const TIPS_MAX: usize = 64;

/// What a sync did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The folder over there.
    pub path: String,
    /// Size of the pack; 0 if everything was there.
    pub sent_bytes: u64,
    /// Objects in it.
    pub sent_objects: u32,
}

/// What the far half says.
enum Answer {
    Have,
    Need(Vec<String>),
}

/// What was sent; shared with the thread that sends.
#[derive(Debug, Default)]
struct Sent {
    bytes: u64,
    objects: u32,
    failure: Option<Failure>,
}

/// Brings the host to `snapshot`, and checks there that it is so.
///
/// # Errors
/// The step that did not succeed, by name; the connection's failures.
pub fn sync(connection: &Connection, snapshot: &Snapshot) -> Result<Synced, Failure> {
    let (answers, inbox) = channel();
    let path = Arc::new(Mutex::new(None));
    let (stderr, errors) = text_sink();
    let sent = Arc::new(Mutex::new(Sent::default()));
    let mut task = Task::new(script(connection, snapshot));
    task.stdout = lines(answers, Arc::clone(&path));
    task.stderr = stderr;
    task.input = Some(sender(snapshot.clone(), inbox, Arc::clone(&sent)));
    let end = task.run(connection)?;
    let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = sent.failure.take() {
        return Err(failure);
    }
    let path = path.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (end, path) {
        (End::Code(0), Some(path)) => Ok(Synced { path, sent_bytes: sent.bytes, sent_objects: sent.objects }),
        (end, _) => Err(failed(connection, &end, &text_of(&errors))),
    }
}

fn script(connection: &Connection, snapshot: &Snapshot) -> Script {
    let profile = connection.host().profile.as_ref();
    let variable = |script: Script, name: &str, value: &str| script.then(&format!("{name}=")).word(value).then("\n");
    let script = environment(profile)
        .then("unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE\nexport GIT_TERMINAL_PROMPT=0 LC_ALL=C\n");
    let script = match profile.and_then(|profile| profile.repo.as_deref()) {
        Some(repo) => script.then("seed=").path(repo).then("\n"),
        None => script.then("seed=\n"),
    };
    let script = [
        ("name", snapshot.name.as_str()),
        ("branch", snapshot.branch.as_deref().unwrap_or_default()),
        ("head", &snapshot.head),
        ("index_tree", &snapshot.index_tree),
        ("tree", &snapshot.tree),
        ("commit", &snapshot.commit),
        ("shallow", &snapshot.shallow.join("\n")),
    ]
    .into_iter()
    .fold(script, |script, (name, value)| variable(script, name, value));
    // In a shell of its own, whose exit takes the lock away.
    script.then("(\n").then(RECEIVE).then(")")
}

fn failed(connection: &Connection, end: &End, said: &str) -> Failure {
    let name = &connection.host().name;
    let step = match end {
        End::Step(step) => step.clone(),
        End::Code(code) => format!("exit code {code}"),
    };
    let (code, why, hint) = match step.as_str() {
        "git" => (
            ErrorCode::HostNotReady,
            "finds no git",
            "install git there, or name its folder in the profile: `path = […]`",
        ),
        "busy" => (ErrorCode::HostNotReady, "is being sent another working tree", "try again when that has ended"),
        "marked" => (
            ErrorCode::HostNotReady,
            "has a folder in the copy's place that was not made by this",
            "look at `~/.cache/llorch/trees` there",
        ),
        "verify" => (
            ErrorCode::SyncMismatch,
            "shows another tree than what was sent",
            "files were changed there meanwhile: run it again",
        ),
        "head" | "checkout" | "clean" | "index" => (
            ErrorCode::HostNotReady,
            "could not lay out the working tree",
            "run it again; if that does not help, remove the copy below `~/.cache/llorch/trees` there",
        ),
        _ => (
            ErrorCode::HostNotReady,
            "could not take the working tree",
            "see what git said; `df -h ~/.cache` there shows a full disk",
        ),
    };
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned);
    let known = [format!("step `{step}`")].into_iter().chain(lines.take(8)).collect();
    Failure::coded(code, format!("`{name}` {why}")).known(known).hint(hint)
}

/// Understands the far half's lines.
fn lines(answers: Sender<Answer>, path: Arc<Mutex<Option<String>>>) -> Sink {
    let (mut lines, mut tips) = (Lines::default(), Vec::new());
    Box::new(move |bytes| {
        for line in lines.push(bytes) {
            let line = String::from_utf8_lossy(&line).into_owned();
            match line.split_once(' ') {
                Some(("tip", tip)) if is_object_name(tip) && tips.len() < TIPS_MAX => tips.push(tip.to_owned()),
                Some(("tree", folder)) if !folder.chars().any(char::is_control) => {
                    *path.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder.to_owned());
                }
                None if line == "have" => answer(&answers, Answer::Have),
                None if line == "need" => answer(&answers, Answer::Need(std::mem::take(&mut tips))),
                _ => {}
            }
        }
        Ok(())
    })
}

fn answer(answers: &Sender<Answer>, answer: Answer) {
    // The sender has given up, and says why itself.
    let _given_up = answers.send(answer);
}

fn is_object_name(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Waits for the answer and sends what is needed.
fn sender(snapshot: Snapshot, inbox: Receiver<Answer>, sent: Arc<Mutex<Sent>>) -> Source {
    Box::new(move |mut writer| {
        let Ok(Answer::Need(tips)) = inbox.recv() else { return };
        let result = send(&snapshot, &tips, &mut writer);
        let mut sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok((bytes, objects)) => (sent.bytes, sent.objects) = (bytes, objects),
            Err(failure) => sent.failure = failure,
        }
    })
}

/// Writes the pack; an error without words is the far side's, which says it itself.
fn send(snapshot: &Snapshot, tips: &[String], writer: &mut dyn Write) -> Result<(u64, u32), Option<Failure>> {
    let known = known_here(snapshot, tips)?;
    let wanted: String = [snapshot.commit.clone()]
        .into_iter()
        .chain(known.iter().map(|tip| format!("^{tip}")))
        .collect::<Vec<_>>()
        .join("\n");
    let call =
        git::call(&snapshot.root).args(["pack-objects", "--revs", "--stdout", "--thin", "--delta-base-offset", "-q"]);
    let mut reader = call
        .expression()
        .stdin_bytes(format!("{wanted}\n"))
        .stderr_null()
        .reader()
        .map_err(|error| Some(Failure::new(format!("cannot start `{call}`: {error}"))))?;
    let mut header = [0_u8; PACK_HEADER_BYTES];
    reader.read_exact(&mut header).map_err(|_| Some(call.failed(1)))?;
    let objects = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    let far = |_| None;
    writer.write_all(&header).map_err(far)?;
    let bytes = std::io::copy(&mut reader, writer).map_err(far)?;
    Ok((bytes + PACK_HEADER_BYTES as u64, objects))
}

/// Those of the far side's commits that are here too, so that what they hold need not be sent.
fn known_here(snapshot: &Snapshot, tips: &[String]) -> Result<Vec<String>, Option<Failure>> {
    if tips.is_empty() {
        return Ok(Vec::new());
    }
    let call: Call = git::call(&snapshot.root).args(["cat-file", "--batch-check=%(objectname) %(objecttype)"]);
    let asked = call.ask_with(crate::process::Group::Own, format!("{}\n", tips.join("\n"))).map_err(Some)?;
    let text = asked.text();
    Ok(text.lines().filter_map(|line| line.strip_suffix(" commit")).map(str::to_owned).collect())
}
