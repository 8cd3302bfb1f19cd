//! The output while it is being written: `FILE.part` and, beside it, `FILE.part.journal`; the final name comes last.
//!
//! The journal starts with a line that identifies the conversion (header of the output, sources, tool) and gets a line for
//! every tensor that is complete, with a checksum. A run that finds both goes on where the last one stopped; what the
//! journal says is read back and compared first, so that neither a kill nor a lost page can leave a wrong tensor.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::error::ConvertError;
use crate::plan::Plan;

/// Longest line of a journal: the identity is 64 characters, a record fewer.
const MAX_LINE_BYTES: usize = 256;

/// How often a held lock is tried again, and the pause before: 200 ms together, where starting a program takes one.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// An output that has no final name yet. Holds a lock on the partial file.
#[derive(Debug)]
pub(crate) struct Partial {
    final_path: PathBuf,
    path: PathBuf,
    journal_path: PathBuf,
    file: File,
    journal: File,
    file_len: u64,
}

/// A partial output and what it already holds.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) partial: Partial,
    /// For each tensor whether it is complete and was read back.
    pub(crate) complete: Vec<bool>,
}

/// `path` with `suffix` behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Refuses an output that is one of the inputs, by whatever name.
pub(crate) fn check_is_no_input(output: &Path, plan: &Plan) -> Result<(), ConvertError> {
    // A name that does not exist yet is no input.
    let Ok(metadata) = std::fs::metadata(output) else { return Ok(()) };
    let inode = (metadata.dev(), metadata.ino());
    if plan.files.iter().any(|file| file.inode() == inode) {
        return Err(ConvertError::OutputIsInput { path: output.to_owned() });
    }
    if metadata.is_dir() {
        return Err(ConvertError::invalid(output, "is a directory, not a file to write"));
    }
    Ok(())
}

impl Partial {
    /// Opens or creates the partial output of `final_path`. `identity` is what a journal must begin with to be gone on
    /// with.
    pub(crate) fn open(
        final_path: &Path,
        layout: &gguf::Layout,
        plan: &Plan,
        identity: &str,
    ) -> Result<Opened, ConvertError> {
        let (path, journal_path) = (beside(final_path, ".part"), beside(final_path, ".part.journal"));
        let file = lock(&path)?;
        let records = read_journal(&journal_path, identity, layout.spans.len());
        let open = |path: &Path, truncate: bool| {
            let mut options = OpenOptions::new();
            options.create(true).read(true).write(true).truncate(truncate);
            options.open(path).map_err(ConvertError::io("create", path))
        };
        let partial = Partial {
            final_path: final_path.to_owned(),
            journal: open(&journal_path, records.is_none())?,
            path,
            journal_path,
            file,
            file_len: layout.file_len,
        };
        let mut complete = vec![false; layout.spans.len()];
        match records {
            Some(records) => {
                partial.seek_journal_end()?;
                for (index, checksum) in records {
                    complete[index] = partial.read_back(plan, layout, index)? == Some(checksum);
                }
            }
            None => {
                partial.file.set_len(0).map_err(ConvertError::io("empty", &partial.path))?;
                partial.append(&format!("{identity}\n"))?;
            }
        }
        partial.reserve()?;
        partial.write_at(&layout.header, 0)?;
        Ok(Opened { partial, complete })
    }

    /// Gives the file its length and, where the file system can, its room: a full disk is known before the work begins.
    fn reserve(&self) -> Result<(), ConvertError> {
        let metadata = self.file.metadata().map_err(ConvertError::io("measure", &self.path))?;
        // Asked first, because some file systems hand out all they have before they find that it is not enough.
        if let Ok(status) = rustix::fs::fstatvfs(&self.file) {
            let free_bytes = status.f_bavail.saturating_mul(status.f_frsize);
            // `blocks` counts 512 bytes each, whatever the file system's own block is.
            if free_bytes.saturating_add(metadata.blocks().saturating_mul(512)) < self.file_len {
                return Err(self.no_space());
            }
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, self.file_len.max(1)) {
            Ok(()) => {}
            Err(Errno::NOSPC | Errno::DQUOT) => {
                // What was taken beyond what was there before is given back.
                self.file.set_len(metadata.len()).map_err(|error| self.failed(error))?;
                return Err(self.no_space());
            }
            // Some file systems cannot reserve; then the disk is found full when it is.
            Err(_) => {}
        }
        // Longer than the output where an older one was.
        self.file.set_len(self.file_len).map_err(|error| self.failed(error))
    }

    fn no_space(&self) -> ConvertError {
        ConvertError::NoSpace { path: self.path.clone(), needed_bytes: self.file_len }
    }

    fn failed(&self, error: io::Error) -> ConvertError {
        let full = [Errno::NOSPC, Errno::DQUOT].map(Errno::raw_os_error);
        match error.raw_os_error() {
            Some(code) if full.contains(&code) => self.no_space(),
            _ => ConvertError::io("write", &self.path)(error),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ConvertError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(error))
    }

    /// Notes that a tensor is complete.
    pub(crate) fn record(&self, index: usize, checksum: u64) -> Result<(), ConvertError> {
        self.append(&format!("{index} {checksum:016x}\n"))
    }

    fn append(&self, line: &str) -> Result<(), ConvertError> {
        (&self.journal).write_all(line.as_bytes()).map_err(|error| self.failed(error))
    }

    /// Behind the last complete line: a kill may have cut one.
    fn seek_journal_end(&self) -> Result<(), ConvertError> {
        let failed = |error| ConvertError::io("read", &self.journal_path)(error);
        let text = io::read_to_string(&self.journal).map_err(failed)?;
        let end = text.rfind('\n').map_or(0, |position| position as u64 + 1);
        self.journal.set_len(end).map_err(failed)?;
        (&self.journal).seek(io::SeekFrom::Start(end)).map_err(failed)?;
        Ok(())
    }

    /// The checksum of a tensor as it lies on disk; `None` where the file is too short.
    fn read_back(&self, plan: &Plan, layout: &gguf::Layout, index: usize) -> Result<Option<u64>, ConvertError> {
        let tensor = &plan.tensors[index];
        let (start, size_bytes) = layout.spans[index];
        let (rows, _) = tensor.rows_and_columns();
        let row_bytes = size_bytes / rows.max(1);
        let mut sum = 0;
        let mut first_row = 0;
        let mut buffer = Vec::new();
        while first_row < rows {
            let count = tensor.chunk_rows().min(rows - first_row);
            buffer.resize((count * row_bytes) as usize, 0);
            match self.file.read_exact_at(&mut buffer, start + first_row * row_bytes) {
                Ok(()) => sum = checksum(sum, first_row, &buffer),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(ConvertError::io("read", &self.path)(error)),
            }
            first_row += count;
        }
        Ok(Some(sum))
    }

    /// Waits until all bytes are on disk.
    pub(crate) fn sync(&self) -> Result<(), ConvertError> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    /// Gives the output its name: its bytes are on disk before the name is, and the journal goes last.
    pub(crate) fn publish(self) -> Result<(), ConvertError> {
        self.sync()?;
        std::fs::rename(&self.path, &self.final_path).map_err(ConvertError::io("name", &self.final_path))?;
        let folder = match self.final_path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(ConvertError::io("sync", folder))?;
        std::fs::remove_file(&self.journal_path).map_err(ConvertError::io("remove", &self.journal_path))
    }
}

/// Adds a chunk to a tensor's checksum. The order of chunks does not matter, their places do.
pub(crate) fn checksum(sum: u64, first_row: u64, bytes: &[u8]) -> u64 {
    // An odd multiplier (the golden ratio's 64 bits) spreads 32 bits of sum over 64.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let chunk = u64::from(crc32fast::hash(bytes)) ^ first_row.wrapping_mul(SPREAD);
    sum.wrapping_add((chunk ^ chunk >> 29).wrapping_mul(SPREAD))
}

/// Opens the partial file and locks it; the lock ends with the process, however that ends.
///
/// A lock that is held is tried again for a moment: where another thread of this process has just started a program, that
/// has copies of our open files until it executes, and with them a lock that we gave up.
fn lock(path: &Path) -> Result<File, ConvertError> {
    let mut attempts = LOCK_ATTEMPTS;
    loop {
        let mut options = OpenOptions::new();
        options.create(true).read(true).write(true).truncate(false);
        let file = options.open(path).map_err(ConvertError::io("create", path))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) if attempts > 0 => {
                attempts -= 1;
                std::thread::sleep(LOCK_PAUSE);
                continue;
            }
            Err(Errno::WOULDBLOCK) => return Err(ConvertError::Busy { path: path.to_owned() }),
            // A file system without locks: one writer is then the user's promise.
            Err(_) => return Ok(file),
        }
        // Between opening and locking, another run may have given the file its final name.
        let opened = file.metadata().map_err(ConvertError::io("measure", path))?;
        let named = std::fs::metadata(path).ok();
        if named.is_some_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino())) {
            return Ok(file);
        }
    }
}

/// The records of a journal that begins with `identity`; `None` for any other.
fn read_journal(path: &Path, identity: &str, tensors: usize) -> Option<Vec<(usize, u64)>> {
    let mut lines = BufReader::new(File::open(path).ok()?);
    let mut next = || {
        let mut line = Vec::new();
        let limited = &mut io::Read::take(&mut lines, MAX_LINE_BYTES as u64);
        limited.read_until(b'\n', &mut line).ok()?;
        // A line without an end was being written when the process was killed.
        let line = line.strip_suffix(b"\n")?;
        String::from_utf8(line.to_vec()).ok()
    };
    if next()? != identity {
        return None;
    }
    let mut records = Vec::new();
    while let Some(line) = next() {
        let (index, checksum) = line.split_once(' ')?;
        let index: usize = index.parse().ok().filter(|index| *index < tensors)?;
        records.push((index, u64::from_str_radix(checksum, 16).ok()?));
        if records.len() > 2 * tensors {
            return None;
        }
    }
    Some(records)
}
