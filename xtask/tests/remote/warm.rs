//! A target folder for a checkout of a test's own, in which nothing but this project is left to compile.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A copy of this test's own target folder, made of hard links: what cargo replaces there is replaced in the copy alone.
pub fn warm_target() -> tempfile::TempDir {
    let profile = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().expect("target/<profile>");
    let copy = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    for name in ["deps", "build", ".fingerprint"] {
        link_all(&profile.join(name), &copy.path().join("debug").join(name));
    }
    copy
}

fn link_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => link_all(&source, &target),
            // Small files are written in place by cargo, so they are copied; so is what is on another file system.
            Ok(_) if entry.metadata().is_ok_and(|data| data.size() < 64 * 1024) => copy_with_time(&source, &target),
            Ok(_) => std::fs::hard_link(&source, &target).unwrap_or_else(|_| copy_with_time(&source, &target)),
            Err(_) => {}
        }
    }
}

/// Cargo goes by the time of files.
fn copy_with_time(from: &Path, to: &Path) {
    std::fs::copy(from, to).expect("a copy");
    let time = std::fs::metadata(from).and_then(|data| data.modified()).expect("a time");
    std::fs::File::options().write(true).open(to).and_then(|file| file.set_modified(time)).expect("a time");
}
