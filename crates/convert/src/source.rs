//! Where weights come from: rows of a stored tensor, by position, in the order the output wants them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::blocks::Encoding;
use crate::error::ConvertError;
use crate::panels::Panels;

/// How much of a source's start is part of what identifies it: the header of any usual shard.
const PREFIX_BYTES: u64 = 64 * 1024;

/// A file that weights are read from, and what it was when the conversion began.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    file: File,
    state: State,
}

/// What changes when a file is rewritten, replaced or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    size_bytes: u64,
    modified_ns: i128,
    inode: (u64, u64),
}

impl State {
    fn of(metadata: &Metadata) -> State {
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        State { size_bytes: metadata.len(), modified_ns, inode: (metadata.dev(), metadata.ino()) }
    }
}

impl SourceFile {
    pub(crate) fn new(path: &Path, file: File) -> Result<SourceFile, ConvertError> {
        let metadata = file.metadata().map_err(ConvertError::io("measure", path))?;
        Ok(SourceFile { path: path.to_owned(), file, state: State::of(&metadata) })
    }

    /// Device and number of the file, to compare it with an output.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.state.inode
    }

    /// Whether the file at the path is still the one that was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), ConvertError> {
        let changed = || ConvertError::SourceChanged { path: self.path.clone() };
        let now = std::fs::metadata(&self.path).map_err(|_| changed())?;
        if State::of(&now) == self.state { Ok(()) } else { Err(changed()) }
    }

    /// What an interrupted conversion compares before it goes on: name, size, time and start of the content.
    pub(crate) fn identity(&self) -> Result<String, ConvertError> {
        let mut start = vec![0; PREFIX_BYTES.min(self.state.size_bytes) as usize];
        self.read_at(&mut start, 0)?;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let State { size_bytes, modified_ns, .. } = self.state;
        Ok(format!("{name} {size_bytes} {modified_ns} {}", hex(&Sha256::digest(&start))))
    }

    /// SHA-256 of the whole file. `proceed` is asked before every piece and may call it off.
    pub(crate) fn sha256(&self, proceed: &dyn Fn() -> Result<(), ConvertError>) -> Result<String, ConvertError> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut reader = &self.file;
        io::Seek::rewind(&mut reader).map_err(ConvertError::io("read", &self.path))?;
        loop {
            proceed()?;
            let count = reader.read(&mut buffer).map_err(ConvertError::io("read", &self.path))?;
            if count == 0 {
                return Ok(hex(&hasher.finalize()));
            }
            hasher.update(&buffer[..count]);
        }
    }

    pub(crate) fn read_at(&self, out: &mut [u8], offset: u64) -> Result<(), ConvertError> {
        self.file.read_exact_at(out, offset).map_err(|error| match error.kind() {
            // Every offset was checked against the length the file had when it was opened.
            io::ErrorKind::UnexpectedEof => ConvertError::SourceChanged { path: self.path.clone() },
            _ => ConvertError::io("read", &self.path)(error),
        })
    }
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Which stored row an output row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Output row i is stored row `first` + i.
    Straight {
        /// Stored rows before the output's.
        first: u64,
    },
    /// The halves of each of `heads` heads are interleaved, as rotary pairs are stored in GGUF for llama.
    Interleaved {
        /// Heads; the rows of one are even in number.
        heads: u64,
    },
    /// Stored as the transpose: output element (r, c) is stored element (c, r).
    Transposed,
}

/// A stored tensor as rows of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Index into the plan's files.
    pub(crate) file: usize,
    /// Start of the tensor in the file.
    pub(crate) offset: u64,
    /// How it is stored.
    pub(crate) encoding: Encoding,
    /// Rows of the output.
    pub(crate) rows: u64,
    /// Elements of an output row.
    pub(crate) columns: u64,
    /// Order of the rows.
    pub(crate) layout: Layout,
}

impl Stored {
    /// Reads `out.len() / columns` output rows from `first_row` on, as stored bytes in output order.
    pub(crate) fn read(
        &self,
        (file, panels): (&SourceFile, &Panels),
        first_row: u64,
        out: &mut [u8],
    ) -> Result<(), ConvertError> {
        let row_bytes = self.encoding.bytes_of(self.columns as usize);
        match self.layout {
            Layout::Straight { first } => {
                // Within the tensor, whose end was checked against the length of the file; so are the sums below.
                file.read_at(out, self.offset + (first + first_row) * row_bytes as u64)
            }
            Layout::Interleaved { heads } => {
                let head_rows = self.rows / heads;
                for (row, out) in (first_row..).zip(out.chunks_exact_mut(row_bytes)) {
                    let (head, within) = (row / head_rows, row % head_rows);
                    let stored = head * head_rows + within % 2 * (head_rows / 2) + within / 2;
                    file.read_at(out, self.offset + stored * row_bytes as u64)?;
                }
                Ok(())
            }
            Layout::Transposed => panels.read((self, file), first_row, out),
        }
    }
}
