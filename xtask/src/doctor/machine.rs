//! The disk, the folders that are written to, and the clock.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Check, Scene};
use crate::output::size_words;
use crate::process::quoted;

/// What `target/` takes after debug and release builds of everything, and the default model.
const FREE_BYTES_NEEDED: u64 = 6_000_000_000;
/// With less, not even the default model and its temporary file fit.
const FREE_BYTES_MINIMUM: u64 = 300_000_000;
/// A disk takes some milliseconds, a card or a share some dozen. Each step of a job is written down once.
const FSYNC_SLOW: Duration = Duration::from_millis(100);
/// How often it is tried; the middle one counts.
const FSYNC_ROUNDS: usize = 3;
/// Network file systems stamp files by the server's clock; more than this confuses cargo and our locks.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(2);
/// Certificates are refused by a clock that is out of these years.
const YEARS: std::ops::RangeInclusive<u64> = 2025..=2099;
const SECONDS_OF_A_YEAR: u64 = 31_556_952;
const CLOCK_HINT: &str = "sudo timedatectl set-ntp true";

/// Free space where builds and models go.
pub fn disk(scene: &Scene) -> Vec<Check> {
    let models = scene.places.as_ref().ok().map(|places| places.models());
    let folders = [Some(scene.folder.clone()), models];
    let mut checks: Vec<Check> = Vec::new();
    for folder in folders.into_iter().flatten() {
        let check = free_space(&folder, models::disk::free_bytes(&folder));
        // Two folders of one file system have one line.
        if !checks.iter().any(|other| other.status == check.status && amount(other) == amount(&check)) {
            checks.push(check);
        }
    }
    checks
}

fn amount(check: &Check) -> &str {
    check.message.split(" free").next().unwrap_or_default()
}

fn free_space(folder: &Path, free: std::io::Result<u64>) -> Check {
    const NAME: &str = "disk";
    let shown = folder.display();
    let hint = "free some space: `cargo clean`, `cargo xtask models disk-usage`";
    match free {
        Ok(free) if free >= FREE_BYTES_NEEDED => Check::ok(NAME, format!("{} free in `{shown}`", size_words(free))),
        Ok(free) => {
            let (free_words, needed) = (size_words(free), size_words(FREE_BYTES_NEEDED));
            let message = format!("{free_words} free in `{shown}`, a full build takes about {needed}");
            if free < FREE_BYTES_MINIMUM {
                return Check::failed(NAME, message, hint);
            }
            Check::warning(NAME, message, hint)
        }
        Err(error) => Check::failed(NAME, format!("`{shown}` cannot be read: {error}"), "check that it exists"),
    }
}

/// Whether models and state can be written, how long that takes, and whether files and this machine agree on the time.
pub fn storage(scene: &Scene) -> Vec<Check> {
    let places = match &scene.places {
        Ok(places) => places,
        Err(error) => return vec![Check::failed("home", error.to_string(), error.hint()), clock(None)],
    };
    let store = writable("store", &places.models(), "LLORCH_DATA_DIR");
    let state = writable("state", &places.state.path, "LLORCH_STATE_DIR");
    let file = nearest(&places.state.path).ok().map(|folder| probe_of(folder, "time"));
    let measured = file.and_then(|file| measure(&file).ok());
    let mut checks = vec![store, state];
    if let Some((latency, _)) = measured {
        checks.push(fsync(latency, &places.state.path));
    }
    checks.push(clock(measured.map(|(_, skew)| skew)));
    checks
}

/// The folder, or the one above it that exists; what there is in its place, if that is no folder.
fn nearest(folder: &Path) -> Result<&Path, &Path> {
    let there = folder.ancestors().find(|above| above.symlink_metadata().is_ok()).unwrap_or(folder);
    if there.is_dir() { Ok(there) } else { Err(there) }
}

fn probe_of(folder: &Path, purpose: &str) -> PathBuf {
    folder.join(format!(".llorch-doctor-{purpose}-{}", std::process::id()))
}

/// Whether the folder, or the nearest one above it that exists, takes a new file. Leaves nothing behind.
fn writable(name: &'static str, folder: &Path, variable: &str) -> Check {
    let nearest = match nearest(folder) {
        Ok(nearest) => nearest,
        Err(in_the_way) => {
            let message = format!("`{}` is no folder: `{}` cannot be made", in_the_way.display(), folder.display());
            return Check::failed(name, message, format!("set `HOME` to a folder, or `{variable}`"));
        }
    };
    let probe = probe_of(nearest, name);
    match std::fs::File::create_new(&probe) {
        Ok(_) => {
            let removed = std::fs::remove_file(&probe);
            let remark = if removed.is_ok() { "" } else { ", but files cannot be removed" };
            Check::ok(name, format!("`{}` is writable{remark}", folder.display()))
        }
        Err(error) => {
            let shown = nearest.display();
            let hint = format!("sudo chown \"$USER\" {}, or set `{variable}`", quoted(nearest.as_os_str()));
            Check::failed(name, format!("`{shown}` is not writable: {error}"), hint)
        }
    }
}

/// How long a written file takes to be on disk, and how far its time is from this machine's. Leaves nothing behind.
fn measure(probe: &Path) -> std::io::Result<(Duration, Duration)> {
    let measured = (|| {
        let mut file = std::fs::File::create_new(probe)?;
        let mut took = Vec::new();
        let mut skew = Duration::ZERO;
        for _ in 0..FSYNC_ROUNDS {
            let started = Instant::now();
            file.write_all(&[0; 4096])?;
            let written = SystemTime::now();
            file.sync_all()?;
            took.push(started.elapsed());
            skew = difference(file.metadata()?.modified()?, written);
        }
        took.sort();
        Ok((took[FSYNC_ROUNDS / 2], skew))
    })();
    let _never_made = std::fs::remove_file(probe);
    measured
}

fn difference(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

fn fsync(latency: Duration, folder: &Path) -> Check {
    let message = format!("{:.1} ms in `{}`", latency.as_secs_f64() * 1000.0, folder.display());
    if latency <= FSYNC_SLOW {
        return Check::ok("fsync", message);
    }
    let message = format!("{message}: each job will wait for that");
    Check::warning("fsync", message, "set `LLORCH_STATE_DIR` to a folder on a faster disk of this machine")
}

fn clock(skew: Option<Duration>) -> Check {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    judge_clock(seconds, skew)
}

fn judge_clock(seconds: u64, skew: Option<Duration>) -> Check {
    const NAME: &str = "clock";
    let year = 1970 + seconds / SECONDS_OF_A_YEAR;
    if !YEARS.contains(&year) {
        let message = format!("it is the year {year} here: certificates will be refused");
        return Check::failed(NAME, message, CLOCK_HINT);
    }
    match skew {
        Some(skew) if skew > CLOCK_SKEW_MAX => {
            let message = format!("new files are {:.0} s off this machine's clock", skew.as_secs_f64());
            Check::warning(NAME, message, format!("{CLOCK_HINT}, here and on the server that holds the files"))
        }
        Some(_) => Check::ok(NAME, "files and this machine agree"),
        None => Check::ok(NAME, format!("the year is {year}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::{free_space, fsync, judge_clock, measure, writable};
    use crate::doctor::Status;

    #[test]
    fn a_folder_that_does_not_exist_yet_is_judged_by_its_parent() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(writable("store", &folder.path().join("a/b"), "X").status, Status::Ok);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert_eq!(writable("store", Path::new("/proc/none"), "X").status, Status::Failed);
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let check = writable("store", &file.join("a/b"), "X");
        assert!(check.status == Status::Failed && check.message.contains("file` is no folder"), "{check:?}");
    }

    #[test]
    fn little_space_warns_and_none_fails() {
        let status = |free| free_space(Path::new("/x"), free).status;
        assert_eq!(status(Ok(7_000_000_000)), Status::Ok);
        assert_eq!(status(Ok(5_000_000_000)), Status::Warning);
        assert_eq!(status(Ok(100_000_000)), Status::Failed);
        assert_eq!(status(Err(std::io::Error::other("gone"))), Status::Failed);
    }

    #[test]
    fn a_slow_disk_warns() {
        assert_eq!(fsync(Duration::from_millis(20), Path::new("/x")).status, Status::Ok);
        let check = fsync(Duration::from_millis(250), Path::new("/x"));
        assert!(check.status == Status::Warning && check.message.starts_with("250.0 ms"), "{check:?}");
    }

    #[test]
    fn a_clock_is_wrong_by_its_year_or_beside_the_files() {
        let today = 1_790_000_000;
        assert_eq!(judge_clock(today, Some(Duration::from_millis(10))).status, Status::Ok);
        assert_eq!(judge_clock(today, None).status, Status::Ok);
        assert_eq!(judge_clock(today, Some(Duration::from_secs(90))).status, Status::Warning);
        let check = judge_clock(86_400, None);
        assert!(check.status == Status::Failed && check.message.contains("1970"), "{check:?}");
        assert_eq!(judge_clock(5_000_000_000, None).status, Status::Failed);
    }

    #[test]
    fn measuring_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        measure(&folder.path().join("probe")).expect("measured");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }
}
