//! `worker logs`: the end of a worker's output, and what follows.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use protocol::error::ErrorCode;
use protocol::identifiers::WorkerId;
use protocol::pool::{LogsEvent, WorkerStatus};

use crate::error::PoolError;
use crate::output::{Output, neutralise};
use crate::registry::Registry;
use crate::{list, log};

/// Between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_millis(100);

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whose log.
    pub worker_id: WorkerId,
    /// Lines from the end.
    pub lines: usize,
    /// Go on until the worker ends.
    pub follow: bool,
}

/// `worker logs`.
///
/// # Errors
/// No such worker, or its log cannot be read.
pub fn run(output: Output, state_dir: &Path, options: &Options) -> Result<(), PoolError> {
    let registry = Registry::open(state_dir)?;
    let worker_id = &options.worker_id;
    if registry.get(worker_id)?.is_none() {
        let error = PoolError::new(ErrorCode::WorkerNotFound, format!("no worker `{worker_id}` on this machine"));
        return Err(error.hint("`llorch-pool worker list --all` shows those there are"));
    }
    let path = log::path(state_dir, worker_id);
    let failed = |cause: io::Error| PoolError::internal(&format!("failed to read `{}`", path.display()), cause);
    let printer = Printer { output, terminal: io::stdout().is_terminal() };
    let earlier = std::fs::read(log::rotated(&path, 1)).unwrap_or_default();
    let mut file = File::open(&path).map_err(failed)?;
    let mut text = earlier;
    file.read_to_end(&mut text).map_err(failed)?;
    let mut open = printer.print(last_lines(&text, options.lines));
    let mut remains = text.iter().rposition(|byte| *byte == b'\n').map_or(&text[..], |end| &text[end + 1..]).to_vec();
    while open && options.follow {
        // Looked at before reading: what a worker wrote before it ended is printed.
        let ended = match registry.get(worker_id)? {
            Some(worker) => {
                matches!(list::refresh(&registry, worker)?.status, WorkerStatus::Stopped | WorkerStatus::Failed)
            }
            None => true,
        };
        let before = remains.len();
        file.read_to_end(&mut remains).map_err(failed)?;
        let grew = remains.len() > before;
        if let Some(end) = remains.iter().rposition(|byte| *byte == b'\n') {
            open = printer.print(&remains[..=end]);
            remains.drain(..=end);
        }
        if was_rotated(&file, &path) {
            file.read_to_end(&mut remains).map_err(failed)?;
            file = File::open(&path).map_err(failed)?;
        } else if ended && !grew {
            break;
        } else if !grew {
            sleep(PAUSE);
        }
    }
    output.event(&LogsEvent::Done { worker_id: worker_id.clone(), path: path.to_string_lossy().into_owned() });
    Ok(())
}

fn was_rotated(file: &File, path: &Path) -> bool {
    let inode = |data: io::Result<std::fs::Metadata>| data.ok().map(|data| data.ino());
    let current = inode(std::fs::metadata(path));
    current.is_some() && current != inode(file.metadata())
}

/// The last `count` whole lines of a text.
fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return &[] };
    let whole = &text[..=end];
    let mut breaks = whole[..end].iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match (count, count.checked_sub(1).and_then(|skipped| breaks.nth(skipped))) {
        (0, _) => &[],
        (_, Some((start, _))) => &whole[start + 1..],
        (_, None) => whole,
    }
}

#[derive(Clone, Copy)]
struct Printer {
    output: Output,
    terminal: bool,
}

impl Printer {
    /// Prints whole lines; `false` when nobody reads any more.
    fn print(self, lines: &[u8]) -> bool {
        if !self.output.json && !self.terminal {
            return io::stdout().write_all(lines).and_then(|()| io::stdout().flush()).is_ok();
        }
        String::from_utf8_lossy(lines).lines().all(|line| {
            if self.output.json {
                self.output.value(&LogsEvent::Line { line: line.to_owned() }).is_ok()
            } else {
                self.output.line(&neutralise(line)).is_ok()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_whole_lines() {
        assert_eq!(last_lines(b"a\nb\nc\npartial", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\n", 5), b"a\nb\n");
        assert_eq!(last_lines(b"a\nb\n", 2), b"a\nb\n");
        assert_eq!(last_lines(b"a\nb\n", 1), b"b\n");
        assert_eq!(last_lines(b"a\n", 0), b"");
        assert_eq!(last_lines(b"partial", 3), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
