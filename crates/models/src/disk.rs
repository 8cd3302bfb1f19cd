//! Space: how much is free where a file would go, and how much a folder takes.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes an unprivileged process can still write at `path`, or at its nearest ancestor that exists.
///
/// # Errors
/// What the system says.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let status = rustix::fs::statvfs(existing)?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

/// Whether the file system of `path` cannot hold another file. Where files are made without a fixed number of them, and
/// where it cannot be told, it can.
pub(crate) fn is_out_of_inodes(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|status| status.f_files > 0 && status.f_favail == 0)
}

/// Bytes that the regular files below `directory` occupy on disk. Links are neither followed nor counted; what vanishes
/// meanwhile counts as nothing.
pub(crate) fn occupied_bytes(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.flatten().map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => occupied_bytes(&entry.path()),
        Ok(kind) if kind.is_file() => entry.metadata().map_or(0, |metadata| blocks_bytes(&metadata)),
        _ => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

/// Bytes that a file occupies on disk.
pub(crate) fn blocks_bytes(metadata: &std::fs::Metadata) -> u64 {
    // `blocks` counts 512 bytes each, whatever the file system's own block is.
    metadata.blocks().saturating_mul(512)
}

/// What is needed to write `size_bytes` more: the size and 5 %.
pub(crate) fn with_margin(size_bytes: u64) -> u64 {
    size_bytes.saturating_add(size_bytes / 20)
}
