//! A hub with one model, a store, and short clocks.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use models::catalog::Catalog;
use models::fetch::{self, Clocks, DownloadRequest, Event, FetchError, SourceSettings};
use models::store::{Installed, Store};
use protocol::catalog::CatalogEntry;
use tempfile::TempDir;
use testkit::hub::{Fault, Hub, HubBuilder, On, Repo, sha256_hex};

pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
pub const FILE: &str = "model.gguf";
/// Several pieces of the hub's and several chunks of the client's.
pub const SIZE: usize = 300_000;

/// Bytes without a pattern that a shift could hide.
pub fn content(size: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// Says whether an error is the expected one.
pub type Expected = fn(&FetchError) -> bool;

pub struct Bench {
    pub hub: Hub,
    pub folder: TempDir,
    pub entry: CatalogEntry,
    pub settings: SourceSettings,
    pub store: Store,
    pub bytes: Vec<u8>,
}

/// What one download did.
pub struct Run {
    pub result: Result<Installed, FetchError>,
    pub events: Vec<Event>,
}

impl Run {
    pub fn error(self) -> FetchError {
        self.result.expect_err("a failed download")
    }

    pub fn has(&self, wanted: fn(&Event) -> bool) -> bool {
        self.events.iter().any(wanted)
    }
}

/// Short enough for a test, long enough for a busy machine.
pub fn clocks() -> Clocks {
    Clocks {
        first_byte: Duration::from_millis(700),
        idle: Duration::from_millis(700),
        retry_base: Duration::from_millis(5),
        retry_cap: Duration::from_millis(20),
        ..Clocks::default()
    }
}

/// The text of an entry; `extra` lines follow.
pub fn entry_text(file: &str, extra: &str) -> String {
    format!(
        "schema = 1\n[[model]]\nid = \"tiny\"\nrepo = \"org/tiny\"\nrevision = \"{COMMIT}\"\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\n{file}\n{extra}"
    )
}

pub fn entry(text: &str) -> CatalogEntry {
    Catalog::parse(text, "test.toml").expect("a catalog").entries()[0].clone()
}

/// The usual entry: one pinned file.
pub fn pinned_entry(bytes: &[u8], extra: &str) -> CatalogEntry {
    let file = format!("file = \"{FILE}\"\nsize_bytes = {}\nsha256 = \"{}\"", bytes.len(), sha256_hex(bytes));
    entry(&entry_text(&file, extra))
}

pub fn repo(bytes: &[u8]) -> Repo {
    Repo::new("org/tiny", COMMIT).large(FILE, bytes)
}

impl Bench {
    pub fn new() -> Self {
        let bytes = content(SIZE);
        Self::with(Hub::builder().repo(repo(&bytes)), pinned_entry(&bytes, ""))
    }

    pub fn with(hub: HubBuilder, entry: CatalogEntry) -> Self {
        let hub = hub.start();
        let folder = tempfile::tempdir().expect("a folder");
        let endpoint = hub.endpoint();
        let lookup = |name: &str| (name == "HF_ENDPOINT").then(|| endpoint.clone().into());
        let mut settings = SourceSettings::resolve(&lookup, &folder.path().join("cache")).expect("settings");
        settings.clocks = clocks();
        let store = Store::open(folder.path().join("models")).expect("a store");
        Self { hub, folder, entry, settings, store, bytes: content(SIZE) }
    }

    pub fn run(&self) -> Run {
        self.run_until(|_| false)
    }

    /// Downloads; cancels as soon as `stop` says so of an event.
    pub fn run_until(&self, stop: impl FnMut(&Event) -> bool) -> Run {
        self.run_with(false, stop)
    }

    pub fn run_with(&self, force: bool, mut stop: impl FnMut(&Event) -> bool) -> Run {
        let request = DownloadRequest { entry: &self.entry, store: &self.store, sources: &self.settings, force };
        let cancel = AtomicBool::new(false);
        let mut events = Vec::new();
        let mut observer = |event: Event| {
            if stop(&event) {
                cancel.store(true, Ordering::Relaxed);
            }
            events.push(event);
        };
        let result = fetch::download(&request, &mut observer, &cancel);
        Run { result, events }
    }

    /// Leaves a partial file of `bytes` bytes, as an interrupted download does.
    pub fn interrupt_after(&self, bytes: u64) {
        self.hub.fault(On::Store, Fault::DropAfter(bytes));
        let run = self.run_until(|event| matches!(event, Event::Retrying { .. }));
        assert!(matches!(run.result, Err(FetchError::Interrupted)), "{:?}", run.result);
        assert_eq!(std::fs::metadata(self.partial()).expect("a partial file").len(), bytes);
    }

    pub fn directory(&self) -> PathBuf {
        self.store.directory(&self.entry.id)
    }

    pub fn final_path(&self) -> PathBuf {
        self.directory().join(FILE)
    }

    pub fn partial(&self) -> PathBuf {
        self.directory().join(format!("{FILE}.part"))
    }

    /// Where wrong bytes are kept.
    pub fn quarantine(&self) -> PathBuf {
        self.directory().join(format!("{FILE}.quarantine"))
    }

    /// The right bytes are there under the final name, and nothing else but the store's own files.
    pub fn assert_installed(&self, run: &Run) {
        let installed = run.result.as_ref().unwrap_or_else(|error| panic!("{error}\n{:?}", run.events));
        assert_eq!(std::fs::read(installed.model_file()).expect("the model"), self.bytes);
        assert_eq!(self.names(), ["manifest.json", FILE, "verified.json"]);
        assert_eq!(self.store.get(&self.entry.id).expect("readable").as_ref(), Some(installed));
    }

    /// Nothing is under the final name, and no manifest says so.
    pub fn assert_nothing_final(&self) {
        assert!(!self.final_path().exists());
        assert_eq!(self.store.get(&self.entry.id).expect("readable"), None);
    }

    pub fn names(&self) -> Vec<String> {
        // A download that left nothing has left no folder either.
        let entries = std::fs::read_dir(self.directory()).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
