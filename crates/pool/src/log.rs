//! A worker's output on disk: whole lines, bounded in length, in size and in number of files. Never blocks the worker.
//!
//! Trouble with the disk is not the worker's trouble: what cannot be written is counted and dropped, and the count is
//! written as soon as writing works again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::identifiers::WorkerId;

use crate::launch::LogLimits;

/// Longest line kept; the rest of a longer one is counted and dropped.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Lines remembered for the record of a worker that ended.
const TAIL_LINES: usize = 20;
/// Of each of those lines, in bytes.
const TAIL_LINE_BYTES: usize = 1024;

/// Folder of all logs.
#[must_use]
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("logs")
}

/// Path of a worker's current log file.
#[must_use]
pub fn path(state_dir: &Path, worker_id: &WorkerId) -> PathBuf {
    folder(state_dir).join(format!("worker-{worker_id}.log"))
}

/// Path of the log file that was current `age` rotations ago.
#[must_use]
pub fn rotated(path: &Path, age: u32) -> PathBuf {
    if age == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{age}"));
    name.into()
}

/// Opens a log file for appending, readable by its owner only: a worker's output may quote what it was asked.
///
/// # Errors
/// The file cannot be opened or made.
pub fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// The last lines of an output, shared between who drains it and who reports.
#[derive(Debug, Clone, Default)]
pub struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    /// The lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(&line[..line.len().min(TAIL_LINE_BYTES)]).trim_end().to_owned();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

/// Reads `output` to its end into the log at `path`.
pub fn drain(mut output: impl Read, path: PathBuf, limits: LogLimits, tail: &Tail) {
    let mut log = CappedLog::open(path, limits);
    let mut cutter = LineCutter::default();
    let mut buffer = vec![0_u8; 64 * 1024];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => cutter.push(&buffer[..length], &mut |line| {
                tail.push(line);
                log.line(line);
            }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        log.flush();
    }
    cutter.finish(&mut |line| {
        tail.push(line);
        log.line(line);
    });
    log.flush();
}

/// Splits bytes into lines of bounded length. Each line it gives ends in `\n`.
#[derive(Debug, Default)]
struct LineCutter {
    line: Vec<u8>,
    dropped_bytes: u64,
}

impl LineCutter {
    fn push(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.extend(&bytes[..end]);
            self.end_line(emit);
            bytes = &bytes[end + 1..];
        }
        self.extend(bytes);
    }

    /// The last line, if it had no newline.
    fn finish(&mut self, emit: &mut impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.end_line(emit);
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(LINE_BYTES_MAX - self.line.len());
        self.line.extend_from_slice(&bytes[..kept]);
        self.dropped_bytes += (bytes.len() - kept) as u64;
    }

    fn end_line(&mut self, emit: &mut impl FnMut(&[u8])) {
        if self.dropped_bytes > 0 {
            self.line.extend_from_slice(format!(" [line cut, {} bytes dropped]", self.dropped_bytes).as_bytes());
        }
        self.line.push(b'\n');
        emit(&self.line);
        self.line.clear();
        self.dropped_bytes = 0;
    }
}

/// An append-only file that is moved aside when it is full; the oldest is forgotten.
#[derive(Debug)]
struct CappedLog {
    path: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    written_bytes: u64,
    pending: Vec<u8>,
    dropped_bytes: u64,
}

impl CappedLog {
    fn open(path: PathBuf, limits: LogLimits) -> Self {
        let mut log = Self { path, limits, file: None, written_bytes: 0, pending: Vec::new(), dropped_bytes: 0 };
        log.reopen();
        log
    }

    fn reopen(&mut self) {
        self.file = open(&self.path).ok();
        self.written_bytes = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |data| data.len());
    }

    fn line(&mut self, line: &[u8]) {
        let after = self.written_bytes + (self.pending.len() + line.len()) as u64;
        if after > self.limits.size_bytes && self.written_bytes + self.pending.len() as u64 > 0 {
            self.flush();
            self.rotate();
        }
        self.pending.extend_from_slice(line);
    }

    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.reopen();
        }
        if self.dropped_bytes > 0 {
            let note = format!("[{} bytes dropped: the log could not be written]\n", self.dropped_bytes);
            self.pending.splice(..0, note.into_bytes());
        }
        let length = self.pending.len() as u64;
        let written = self.file.as_mut().is_some_and(|file| file.write_all(&self.pending).is_ok());
        if written {
            self.written_bytes += length;
            self.dropped_bytes = 0;
        } else {
            // Part of it may be on disk; the size is taken anew when the file is opened again.
            self.dropped_bytes += length;
            self.file = None;
        }
        self.pending.clear();
    }

    fn rotate(&mut self) {
        let oldest = self.limits.count.saturating_sub(1);
        for age in (0..oldest).rev() {
            let _not_there_yet = std::fs::rename(rotated(&self.path, age), rotated(&self.path, age + 1));
        }
        if oldest == 0 {
            let _not_there = std::fs::remove_file(&self.path);
        }
        self.file = None;
        self.reopen();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::{LINE_BYTES_MAX, LineCutter, Tail, drain, rotated};
    use crate::launch::LogLimits;

    fn cut(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut cutter, mut lines) = (LineCutter::default(), Vec::new());
        for piece in pieces {
            cutter.push(piece, &mut |line| lines.push(line.to_vec()));
        }
        cutter.finish(&mut |line| lines.push(line.to_vec()));
        lines
    }

    #[test]
    fn lines_are_whole_and_bounded() {
        assert_eq!(
            cut(&[b"a\nb", b"c\n\n", b"\xffd"]),
            vec![b"a\n".to_vec(), b"bc\n".to_vec(), b"\n".to_vec(), b"\xffd\n".to_vec()]
        );
        let long = vec![b'x'; LINE_BYTES_MAX + 10];
        let lines = cut(&[&long, b"yz\nnext\n"]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(b"x [line cut, 12 bytes dropped]\n"));
        assert_eq!(lines[1], b"next\n");
        assert_eq!(cut(&[&long[..LINE_BYTES_MAX], b"\n"])[0].len(), LINE_BYTES_MAX + 1, "exactly the limit is whole");
    }

    #[test]
    fn files_stay_within_size_and_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("worker.log");
        let output: Vec<u8> = (0..2_000).flat_map(|number| format!("line {number:05}\n").into_bytes()).collect();
        let tail = Tail::default();
        drain(Cursor::new(output), path.clone(), LogLimits { size_bytes: 4_000, count: 3 }, &tail);
        let files: Vec<_> = std::fs::read_dir(folder.path()).expect("listing").flatten().collect();
        assert_eq!(files.len(), 3);
        for file in &files {
            assert!(file.metadata().expect("metadata").len() <= 4_000);
        }
        let current = std::fs::read_to_string(&path).expect("current file");
        let before = std::fs::read_to_string(rotated(&path, 1)).expect("previous file");
        assert!(current.ends_with("line 01999\n"));
        assert!(before.lines().count() > 300, "rotated when full, not earlier");
        assert_eq!(tail.lines().len(), 20);
        assert_eq!(tail.lines()[0], "line 01980");
    }

    #[test]
    fn a_log_that_cannot_be_written_drains_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing").join("worker.log");
        let tail = Tail::default();
        drain(Cursor::new(vec![b'x'; 1_000_000]), path, LogLimits { size_bytes: 1_000, count: 1 }, &tail);
        assert_eq!(tail.lines().len(), 1);
    }
}
