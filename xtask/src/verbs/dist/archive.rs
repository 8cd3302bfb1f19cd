//! Files as bytes that depend on nothing but them: sorted, of one moment and one owner, compressed by one library.

use std::io::{Read, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use fs_err::File;
use protocol::identifiers::Digest;
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::installation::{PROGRAMS, files_below};
use crate::interrupt;

/// Programs may be run, texts read, by everybody.
const PROGRAM_MODE: u32 = 0o755;
const TEXT_MODE: u32 = 0o644;

/// Passes bytes on and hashes them.
struct Hashed<W> {
    inner: W,
    hasher: Sha256,
    size_bytes: u64,
}

/// What one file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// Its length.
    pub size_bytes: u64,
    /// Its hash.
    pub sha256: Digest,
}

impl<W: Write> Hashed<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size_bytes: 0 }
    }

    fn finish(self) -> Fingerprint {
        Fingerprint { size_bytes: self.size_bytes, sha256: Digest::from_bytes(self.hasher.finalize().into()) }
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// The hash of a file.
///
/// # Errors
/// It cannot be read.
pub fn fingerprint(path: &Path) -> Result<Fingerprint, Failure> {
    let mut hashed = Hashed::new(std::io::sink());
    std::io::copy(&mut File::open(path)?, &mut hashed)?;
    Ok(hashed.finish())
}

/// The hash of bytes in memory.
pub fn fingerprint_of(bytes: &[u8]) -> Fingerprint {
    let sha256 = Digest::from_bytes(Sha256::digest(bytes).into());
    Fingerprint { size_bytes: bytes.len() as u64, sha256 }
}

/// What goes into an archive.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// All files below it.
    pub folder: &'a Path,
    /// Of the folder they are below in the archive.
    pub name: &'a str,
    /// When all of them were last changed, in seconds since 1970.
    pub moment: u64,
}

impl Parcel<'_> {
    /// Writes the archive; `on_bytes` hears how many bytes of the files are in it.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn pack(self, target: &Path, on_bytes: &mut dyn FnMut(u64)) -> Result<Fingerprint, Failure> {
        // No name and no moment of its own in the compressed stream; the tar header holds what there is to know.
        let hashed = Hashed::new(File::create(target)?);
        let compressed = GzBuilder::new().mtime(0).write(hashed, Compression::default());
        let mut archive = tar::Builder::new(compressed);
        let mut watched_bytes = 0;
        for file in files_below(self.folder)? {
            let source = File::open(self.folder.join(&file))?;
            let mut header = tar::Header::new_ustar();
            header.set_size(source.metadata()?.len());
            header.set_mode(if file.starts_with(PROGRAMS) { PROGRAM_MODE } else { TEXT_MODE });
            header.set_mtime(self.moment);
            header.set_uid(0);
            header.set_gid(0);
            let watched = Watched { inner: source, bytes: &mut watched_bytes, on_bytes };
            let appended = archive.append_data(&mut header, Path::new(self.name).join(&file), watched);
            interrupt::check()?;
            appended?;
        }
        let hashed = archive.into_inner()?.finish()?;
        hashed.inner.sync_all()?;
        Ok(hashed.finish())
    }
}

/// Tells how far the reading is, and ends it after a Ctrl-C.
struct Watched<'a> {
    inner: File,
    bytes: &'a mut u64,
    on_bytes: &'a mut dyn FnMut(u64),
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        interrupt::check().map_err(|failure| std::io::Error::other(failure.message))?;
        let count = self.inner.read(buffer)?;
        *self.bytes += count as u64;
        (self.on_bytes)(*self.bytes);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Fingerprint, Parcel, fingerprint, fingerprint_of};

    #[test]
    fn the_same_files_are_the_same_bytes_whatever_wrote_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let fill = |name: &str, names: [&str; 3], mode: u32| {
            for file in names {
                let file = path(name).join(file);
                std::fs::create_dir_all(file.parent().expect("a parent")).expect("a folder");
                std::fs::write(&file, file.file_name().expect("a name").as_encoded_bytes()).expect("a file");
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("a mode");
            }
        };
        // A name beyond the hundred bytes that the oldest header has.
        let long = format!("share/{}", "long/".repeat(30));
        fill("one", ["bin/a", "b", &long[..long.len() - 1]], 0o600);
        fill("two", [&long[..long.len() - 1], "b", "bin/a"], 0o755);
        let pack = |name: &str, target: &str, moment: u64| -> Fingerprint {
            let mut packed_bytes = 0;
            let parcel = Parcel { folder: &path(name), name: "x-1", moment };
            let packed = parcel.pack(&path(target), &mut |bytes| packed_bytes = bytes).expect("an archive");
            assert_eq!(packed_bytes, "ablong".len() as u64);
            packed
        };
        let one = pack("one", "one.tar.gz", 1_700_000_000);
        let two = pack("two", "two.tar.gz", 1_700_000_000);
        assert_eq!(one, two);
        assert_eq!(one, fingerprint(&path("one.tar.gz")).expect("a file"));
        assert_eq!(one, fingerprint_of(&std::fs::read(path("two.tar.gz")).expect("a file")));
        assert_ne!(one.sha256, pack("one", "later.tar.gz", 1_700_000_001).sha256);
        let file = std::fs::File::open(path("one.tar.gz")).expect("a file");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let entries = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            let header = entry.header();
            let path = entry.path().expect("a path").display().to_string();
            (path, header.mode().expect("a mode"), header.uid().expect("an owner"), header.mtime().expect("a moment"))
        });
        let expected = [("x-1/b", 0o644), ("x-1/bin/a", 0o755), (&format!("x-1/{}", &long[..long.len() - 1]), 0o644)];
        let expected = expected.map(|(path, mode)| (path.to_owned(), mode, 0, 1_700_000_000));
        assert_eq!(entries.collect::<Vec<_>>(), expected);
    }
}
