//! The corpora of the fuzz targets as tests: the seeds, and what a fuzzer found worth keeping. Fuzzing itself is `fuzz/`'s.

use std::path::Path;

/// Files a corpus has at least: a folder that was moved must not pass as one without findings.
const FEWEST_FILES: usize = 5;

/// Calls `check` with every file of the corpus of `target`; it panics where a promise is broken.
///
/// # Panics
/// As `check` does, after the file was named; if the corpus is not there or has hardly a file.
pub fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let path = entry.expect("listed").path();
        let bytes = std::fs::read(&path).expect("readable");
        eprintln!("{}", path.display());
        check(&bytes);
        files += 1;
    }
    assert!(files >= FEWEST_FILES, "{files} files in {}", folder.display());
}
