//! Bringing a program back from the host that built it: the same bytes, and the stamp of that host. It is not run here.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::error::ErrorCode;
use protocol::stamp::Stamp;
use serde::{Deserialize, Serialize};

use super::connection::Connection;
use super::far::environment;
use super::session::{End, Task};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git;
use crate::output::size_words;
use crate::process::Group;
use crate::workspace;

/// A hash and a target triple.
const HEADER_BYTES_MAX: usize = 512;

/// A program for which the far `build --json` printed a line.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct RawBuilt {
    event: String,
    program: String,
    path: String,
    stamp: Stamp,
}

#[derive(Serialize)]
struct Fetched<'a> {
    event: &'static str,
    host: &'a str,
    program: &'a str,
    path: &'a Path,
    stamp: &'a Stamp,
}

/// What is known of the host's own side.
struct Origin {
    host: String,
    hash: String,
    target: String,
}

/// Brings every program home that `events` names, into `target/remote/HOST/`.
///
/// # Errors
/// Other bytes than over there, or a stamp that is not of that host.
pub fn fetch(globals: &Globals, connection: &Connection, root: &Path, events: &str) -> Result<(), Failure> {
    let built = events.lines().filter_map(|line| serde_json::from_str::<RawBuilt>(line).ok());
    let built: Vec<RawBuilt> = built.filter(|built| built.event == "built").collect();
    if built.is_empty() {
        let message = format!("`{}` built something and did not say what", connection.host().name);
        return Err(
            Failure::coded(ErrorCode::HostNotReady, message).hint("its llorch may be another version: `--sync`")
        );
    }
    for built in built {
        let path = fetch_one(globals, connection, root, &built)?;
        let (host, stamp) = (connection.host().name.as_str(), &built.stamp);
        globals.output.event(&Fetched { event: "fetched", host, program: &built.program, path: &path, stamp })?;
        if !globals.output.json {
            globals.output.line(&path.display().to_string())?;
        }
    }
    Ok(())
}

fn fetch_one(globals: &Globals, connection: &Connection, root: &Path, built: &RawBuilt) -> Result<PathBuf, Failure> {
    let host = &connection.host().name;
    let is_plain = |text: &str| {
        !text.is_empty() && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    if !is_plain(&built.program) || !built.path.starts_with('/') || built.path.chars().any(char::is_control) {
        return Err(Failure::coded(ErrorCode::Internal, format!("`{host}` names a program that cannot be one")));
    }
    let folder = workspace::output(root, "remote").join(host);
    fs_err::create_dir_all(&folder)?;
    let (partial, path) = (folder.join(format!(".{}.part", built.program)), folder.join(&built.program));
    let bar = globals.output.progress();
    bar.set_message(format!("{host}: fetching {}", built.program));
    let origin = receive(connection, built, &partial);
    bar.finish_and_clear();
    let origin = origin.inspect_err(|_| drop(std::fs::remove_file(&partial)))?;
    origin.check(root, built, &partial).inspect_err(|_| drop(std::fs::remove_file(&partial)))?;
    fs_err::rename(&partial, &path)?;
    let size = std::fs::metadata(&path).map_or(0, |data| data.len());
    globals.output.note(format_args!("{host}: {} for {}, {}", built.program, built.stamp.target, size_words(size)));
    Ok(path)
}

/// Copies it; its hash and the host's own target come first, on one line.
fn receive(connection: &Connection, built: &RawBuilt, partial: &Path) -> Result<Origin, Failure> {
    let script = environment(connection.host().profile.as_ref()).then("p=").word(&built.path).then("\n");
    let script = script.then("[ -f \"$p\" ] || step file\nh=$(git hash-object --no-filters -- \"$p\") || step hash\n");
    let script = script.then("t=$(rustc -vV | sed -n 's/^host: //p')\necho \"$h $t\"\ncat -- \"$p\"");
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(partial);
    let mut file = file.map_err(|error| Failure::new(format!("cannot write `{}`: {error}", partial.display())))?;
    let line = Arc::new(Mutex::new((Vec::new(), false)));
    let kept = Arc::clone(&line);
    let mut task = Task::new(script);
    task.stdout = Box::new(move |bytes| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        if !kept.1 {
            let end = rest.iter().position(|byte| *byte == b'\n');
            kept.0.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            if kept.0.len() > HEADER_BYTES_MAX {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            kept.1 = end.is_some();
            rest = end.map_or(&[], |end| &rest[end + 1..]);
        }
        file.write_all(rest)
    });
    let host = &connection.host().name;
    match task.run(connection)? {
        End::Code(0) => {}
        End::Code(code) => {
            return Err(Failure::new(format!("`{host}` could not send `{}` (exit code {code})", built.path)));
        }
        End::Step(step) => return Err(Failure::new(format!("step `{step}` failed on `{host}`: `{}`", built.path))),
    }
    let kept = line.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&kept.0).into_owned();
    let (hash, target) = text.split_once(' ').unwrap_or((&text, ""));
    Ok(Origin { host: host.clone(), hash: hash.to_owned(), target: target.to_owned() })
}

impl Origin {
    /// Holds what arrived against it.
    fn check(&self, root: &Path, built: &RawBuilt, partial: &Path) -> Result<(), Failure> {
        let (origin, host) = (self, &self.host);
        let call = git::call(root).args(["hash-object", "--no-filters", "--"]).args([partial]);
        let ended = call.ask(Group::Own)?;
        if ended.code != 0 || ended.text() != origin.hash {
            let message = format!("`{}` did not arrive as `{host}` has it", built.program);
            let known = vec![format!("there: {}", origin.hash), format!("here:  {}", ended.text())];
            return Err(Failure::coded(ErrorCode::SyncMismatch, message).known(known).hint("run it again"));
        }
        if built.stamp.target != origin.target {
            let message =
                format!("`{}` is stamped for {}, and `{host}` is {}", built.program, built.stamp.target, origin.target);
            return Err(Failure::coded(ErrorCode::SyncMismatch, message).hint("build it again there"));
        }
        Ok(())
    }
}
