//! T14, the sizes: what hostile files cost in time and memory. One test in one process, because it measures the process.

#[path = "support/raw.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod raw;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use gguf::{Gguf, OpenError, limits};
use raw::{ARRAY, Raw, STRING, U8};

const CEILING: Duration = Duration::from_millis(300);
const MAX_GROWTH_BYTES: u64 = 64 << 20;
const GIB: u64 = 1 << 30;

/// The most memory this process ever had resident, in bytes.
fn peak_resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .expect("VmHWM in kB");
    kib * 1024
}

/// Writes `start` and makes the file `file_len` long without storing the rest.
fn sparse(path: &Path, start: Raw, file_len: u64) {
    let mut file = File::create(path).expect("created");
    file.write_all(&start.0).expect("written");
    file.set_len(file_len).expect("lengthened");
}

/// Entries of a byte value each, with the keys that `key` makes.
fn many_keys(path: &Path, count: u64, key: impl Fn(u64) -> Vec<u8>) {
    let mut file = std::io::BufWriter::new(File::create(path).expect("created"));
    file.write_all(&Raw::start(3, 0, count).0).expect("written");
    for index in 0..count {
        let entry = Raw::default().string(&key(index)).u32(U8).bytes(&[1]);
        file.write_all(&entry.0).expect("written");
    }
    file.flush().expect("written");
}

fn open_timed(path: &Path) -> (Result<Gguf, OpenError>, Duration) {
    let started = Instant::now();
    let result = Gguf::open(path);
    (result, started.elapsed())
}

#[test]
fn hostile_sizes_cost_neither_time_nor_memory() {
    if !cfg!(target_os = "linux") {
        // Peak memory is read from /proc.
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    let array = |element_type: u32, count: u64| {
        let start = Raw::start(3, 0, 1).key("k", ARRAY);
        start.array(element_type, count)
    };
    sparse(&path("u8-1g"), array(U8, GIB - 100), GIB);
    sparse(&path("strings-1g"), array(STRING, (GIB - 100) / 8), GIB);
    sparse(&path("strings-most"), array(STRING, limits::MAX_HEADER_BYTES / 8 - 8), GIB);
    sparse(&path("u8-most"), array(U8, limits::MAX_HEADER_BYTES - 100), GIB);
    sparse(&path("nested-1g"), array(ARRAY, (GIB - 100) / 12), GIB);
    sparse(&path("nested-most"), array(ARRAY, limits::MAX_NESTED_ARRAYS), GIB);
    sparse(&path("string-1g"), Raw::start(3, 0, 1).key("k", STRING).u64(GIB - 100), GIB);
    sparse(&path("tensors-1g"), Raw::start(3, GIB / 64, 0), GIB);
    sparse(&path("entries-1g"), Raw::start(3, 0, GIB / 64), GIB);
    many_keys(&path("keys-10m"), 10_000_000, |index| vec![b'a' + (index % 26) as u8]);
    let most = limits::MAX_METADATA_ENTRIES;
    many_keys(&path("keys-most-same"), most, |_| vec![b'k']);
    many_keys(&path("keys-most"), most, |index| index.to_string().into_bytes());

    let acceptable = ["u8-most", "strings-most", "nested-most", "keys-most"];
    let baseline = peak_resident_bytes();
    let mut names: Vec<_> = std::fs::read_dir(folder.path()).expect("listed").collect();
    names.sort_by_key(|entry| entry.as_ref().map(|e| e.file_name()).ok());
    for entry in names {
        let path = entry.expect("listed").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("?");
        let (mut result, mut taken) = open_timed(&path);
        if taken >= CEILING {
            // On a busy machine any step may have to wait once.
            drop(result);
            (result, taken) = open_timed(&path);
        }
        let growth = peak_resident_bytes().saturating_sub(baseline);
        match &result {
            Ok(gguf) => println!("{name}: {taken:?}, +{growth} bytes, {} keys", gguf.metadata().len()),
            Err(error) => println!("{name}: {taken:?}, +{growth} bytes, {error}"),
        }
        assert_eq!(result.is_ok(), acceptable.contains(&name), "{name}");
        assert!(taken < CEILING, "{name}: {taken:?}");
        assert!(growth <= MAX_GROWTH_BYTES, "{name}: grew by {growth} bytes");
    }
}
