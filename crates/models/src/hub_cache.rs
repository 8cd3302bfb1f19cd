//! The layout of the cache that the hub's own client keeps (`blobs`, `snapshots`, `refs`, `.locks`), and putting an
//! installed model into it. Taking files out of it is `fetch/hub_cache.rs`'s.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::catalog::{Commit, FileName, RepoId};

use crate::files;
use crate::hashing::Hasher;
use crate::store::manifest::ManifestFile;
use crate::store::{Installed, StoreError};

/// Files of this size and more are large files to the hub, whatever their name.
const LARGE_BYTES: u64 = 10 << 20;
/// Names that the hub's usual attributes make large files.
const LARGE_ENDINGS: [&str; 7] = [".gguf", ".safetensors", ".bin", ".pt", ".pth", ".onnx", ".model"];
/// Between two looks at a lock that another process holds.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// One repository's folder in a cache.
#[derive(Debug, Clone)]
pub(crate) struct RepoFolder {
    cache: PathBuf,
    name: String,
}

impl RepoFolder {
    pub(crate) fn new(cache: &Path, repo: &RepoId) -> Self {
        // No repository's owner or name holds `--`, so this is one folder and no other repository's.
        Self { cache: cache.to_owned(), name: format!("models--{}", repo.as_str().replace('/', "--")) }
    }

    pub(crate) fn snapshot(&self, commit: &Commit) -> PathBuf {
        self.cache.join(&self.name).join("snapshots").join(commit.as_str())
    }

    pub(crate) fn pointer(&self, commit: &Commit, file: &FileName) -> PathBuf {
        file.components().fold(self.snapshot(commit), |path, component| path.join(component))
    }

    /// The commit that a branch or tag meant when the hub was last asked; components are safe names.
    pub(crate) fn commit_of(&self, revision: &str) -> Option<Commit> {
        let path = self.cache.join(&self.name).join("refs").join(revision);
        files::read_text(&path, 64).ok()?.trim().parse().ok()
    }
}

/// Puts an installed model's files into the hub's cache, so that the hub's own client finds them there. They are not
/// copied where the file system can give them a second name. Returns the snapshot's folder.
///
/// # Errors
/// The system refuses. A `cancel` that is set while another process holds a lock ends the wait with an error as well.
pub fn put(installed: &Installed, cache: &Path, cancel: &AtomicBool) -> Result<PathBuf, StoreError> {
    let manifest = &installed.manifest;
    let folder = RepoFolder::new(cache, &manifest.repo);
    for line in &manifest.files {
        let source = installed.path_of(&line.path);
        let tag = tag_of(&source, line).map_err(StoreError::io("read", &source))?;
        let blob = cache.join(&folder.name).join("blobs").join(&tag);
        put_blob(&folder, (&source, &blob), (line, cancel)).map_err(StoreError::io("write", &blob))?;
        let pointer = folder.pointer(&manifest.revision, &line.path);
        put_pointer(&pointer, &line.path, &tag).map_err(StoreError::io("write", &pointer))?;
    }
    let main = cache.join(&folder.name).join("refs/main");
    // Whoever asks for no revision means the branch. What the hub said of it, if it was asked, is not overwritten.
    if !main.exists() {
        let written =
            make_parent(&main).and_then(|()| files::write_atomic(&main, manifest.revision.as_str().as_bytes()));
        written.map_err(StoreError::io("write", &main))?;
    }
    Ok(folder.snapshot(&manifest.revision))
}

/// The hub's name for a content: SHA-256 for what it keeps as a large file, git's name for the rest.
fn tag_of(source: &Path, line: &ManifestFile) -> io::Result<String> {
    let name = line.path.folded();
    if line.size_bytes >= LARGE_BYTES || LARGE_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return Ok(line.sha256.hex());
    }
    let mut hasher = Hasher::new().with_git_blob(line.size_bytes);
    hasher.read_all(&mut files::open_regular(source)?, |error| error, &mut |_| Ok(()))?;
    let git_blob = hasher.finish().git_blob.unwrap_or_default();
    Ok(git_blob.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn put_blob(
    folder: &RepoFolder,
    (source, blob): (&Path, &Path),
    (line, cancel): (&ManifestFile, &AtomicBool),
) -> io::Result<()> {
    let tag = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lock_path = folder.cache.join(".locks").join(&folder.name).join(format!("{tag}.lock"));
    make_parent(blob)?;
    make_parent(&lock_path)?;
    let _lock = lock(&lock_path, cancel)?;
    // Followed: the client's newer layout keeps the bytes elsewhere.
    if fs::metadata(blob).is_ok_and(|there| there.len() == line.size_bytes) {
        return Ok(());
    }
    files::lend(source, blob)
}

fn put_pointer(pointer: &Path, file: &FileName, tag: &str) -> io::Result<()> {
    make_parent(pointer)?;
    let up = "../".repeat(file.components().count() + 1);
    let target = PathBuf::from(format!("{up}blobs/{tag}"));
    match fs::read_link(pointer) {
        Ok(known) if known == target => Ok(()),
        _ => files::point(pointer, &target),
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// The lock that the hub's client takes before it writes a blob.
fn lock(path: &Path, cancel: &AtomicBool) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o664).open(path)?;
    loop {
        match file.try_lock() {
            // Where locks cannot be had, the last rename wins.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
            Err(TryLockError::WouldBlock) if cancel.load(Ordering::Relaxed) => {
                return Err(io::Error::other("interrupted while another process holds its lock"));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_POLL),
        }
    }
}
