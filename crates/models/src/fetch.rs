//! Fetching a model into the store: sources in order, one writer across processes, and no byte under a final name that
//! was not checked.
//!
//! `hub` talks to the model hub, `hub_cache` looks into what its own client keeps, `pip` talks to a Python index, `local`
//! imports a path; each hands a verified temporary file to `session`, which gives it its name. What is shown while this runs is the observer's business.

mod background;
mod coverage;
mod expectation;
mod hub;
mod hub_cache;
mod leftovers;
mod limiter;
mod local;
pub(crate) mod partial;
mod pip;
mod retry;
mod session;
mod transport;

pub mod error;
pub mod peek;
pub mod probe;
pub mod resolve;
pub mod settings;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use protocol::catalog::{CatalogEntry, FileName, PipRequirement};

pub use error::{FetchError, SourceFailure};
pub use settings::{Clocks, Limiter, SourceSettings, TransferShape};

use crate::store::manifest::SourceKind;
use crate::store::{Installed, Store};

/// What to fetch, and how.
#[derive(Debug, Clone, Copy)]
pub struct DownloadRequest<'a> {
    /// The model.
    pub entry: &'a CatalogEntry,
    /// Where it goes.
    pub store: &'a Store,
    /// Where it may come from.
    pub sources: &'a SourceSettings,
    /// Fetch again although it is installed.
    pub force: bool,
}

/// One place bytes can come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The model hub at this address.
    Hub(String),
    /// A Python package.
    Pip(PipRequirement),
    /// A path on this machine.
    File(std::path::PathBuf),
    /// The cache that the hub's own client keeps on this machine.
    HubCache(std::path::PathBuf),
}

impl Source {
    /// The kind, as the manifest records it.
    #[must_use]
    pub fn kind(&self) -> SourceKind {
        match self {
            Source::Hub(_) => SourceKind::Hub,
            Source::Pip(_) => SourceKind::Pip,
            Source::File(_) => SourceKind::File,
            Source::HubCache(_) => SourceKind::Cache,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Hub(endpoint) => write!(formatter, "hub `{endpoint}`"),
            Source::Pip(requirement) => write!(formatter, "pip `{requirement}`"),
            Source::File(path) => write!(formatter, "file `{}`", path.display()),
            Source::HubCache(path) => write!(formatter, "the hub's cache `{}`", path.display()),
        }
    }
}

/// What happens during a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing to do: the model is installed, or another process has just installed it.
    AlreadyInstalled,
    /// Another process is fetching this model; comes again while that lasts.
    Waiting {
        /// Bytes in the model's folder so far.
        bytes: u64,
    },
    /// A source is being asked.
    Resolving {
        /// Which.
        source: Source,
    },
    /// A source could not deliver; the next one is tried, if there is one.
    SourceFailed {
        /// Which.
        source: Source,
        /// Why, as a lowercase fragment.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Bytes of a file begin to arrive.
    Started {
        /// The file.
        file: FileName,
        /// Its size; for a mirror, the size of what is transferred; `None` if not known.
        total_bytes: Option<u64>,
        /// Bytes that an earlier run left and that count.
        resumed_bytes: u64,
    },
    /// More bytes arrived.
    Progress {
        /// Bytes of this file so far, resumed ones included. It can go back when a transfer must start again.
        bytes: u64,
    },
    /// The transfer broke and will be tried again.
    Retrying {
        /// Wait before the next try.
        delay: Duration,
        /// Why, as a lowercase fragment.
        reason: String,
    },
    /// A complete file is being hashed.
    Verifying {
        /// The file.
        file: FileName,
    },
    /// A complete file is not the model's: its bytes are kept under another name, to be looked at.
    Quarantined {
        /// The file.
        file: FileName,
        /// Where its bytes are.
        path: std::path::PathBuf,
    },
    /// A file is verified and has its final name.
    FileFinished {
        /// The file.
        file: FileName,
    },
    /// The model is installed.
    Finished,
}

/// Who is told what happens.
pub trait Observer {
    /// Called on the thread that called [`download`]; slow observers slow the download.
    fn event(&mut self, event: Event);
}

impl<F: FnMut(Event)> Observer for F {
    fn event(&mut self, event: Event) {
        self(event);
    }
}

/// Fetches a model into the store. Waits while another process fetches the same model and then takes its result. Set
/// `cancel` to stop: it returns [`FetchError::Interrupted`] within 300 ms and keeps what was fetched for the next run.
///
/// # Errors
/// See [`FetchError`]. Where several sources failed, the one that says most about the bytes is returned, or
/// [`FetchError::Offline`] if none could be reached; each failure was also an event.
pub fn download(
    request: &DownloadRequest<'_>,
    observer: &mut dyn Observer,
    cancel: &AtomicBool,
) -> Result<Installed, FetchError> {
    session::run(request, observer, cancel)
}
