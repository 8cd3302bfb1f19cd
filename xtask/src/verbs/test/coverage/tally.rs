//! From the report of cargo-tarpaulin to a figure a part: which files count, and for what. No files are read here.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::tidy::PURE;

/// Of a hundred lines so many are reached, in each part.
pub const LEAST_PERCENT: u64 = 90;
/// Measured as a whole, by all their tests.
pub const CRATES: [&str; 4] = ["models", "protocol", "gguf", "convert"];
/// What is said of a part that falls short.
const GAPS: usize = 3;

/// Lines that could be reached, and those that were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Lines {
    /// Lines with code.
    pub all: u64,
    /// Those that a test ran.
    pub reached: u64,
}

/// A crate, or our modules of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    /// What people call it.
    pub name: &'static str,
    /// Its lines.
    pub lines: Lines,
    /// The files with the most lines that no test runs, worst first.
    pub gaps: Vec<String>,
}

/// A source file as it was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Path within the checkout.
    path: String,
    lines: Lines,
}

#[derive(Deserialize)]
struct RawReport {
    files: Vec<RawFile>,
}

#[derive(Deserialize)]
struct RawFile {
    path: Vec<String>,
    covered: u64,
    coverable: u64,
}

impl Lines {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        let (all, reached) = (self.all.saturating_add(other.all), self.reached.saturating_add(other.reached));
        Self { all, reached }
    }

    /// Whether so many are reached that nobody asks. Nothing at all was not measured.
    pub fn are_enough(self) -> bool {
        self.all > 0 && u128::from(self.reached) * 100 >= u128::from(self.all) * u128::from(LEAST_PERCENT)
    }

    /// `93.4 %`.
    pub fn percent(self) -> String {
        let per_mille = (u128::from(self.reached) * 1000).checked_div(u128::from(self.all)).unwrap_or(0);
        format!("{}.{} %", per_mille / 10, per_mille % 10)
    }

    fn missed(self) -> u64 {
        self.all.saturating_sub(self.reached)
    }
}

/// The files of a report that lie in the checkout.
///
/// # Errors
/// It is no report.
pub fn read(text: &str, root: &Path) -> Result<Vec<Measured>, Failure> {
    let raw: RawReport = serde_json::from_str(text)
        .map_err(|error| Failure::new(format!("the report of the lines cannot be read: {error}")))?;
    let measured = |file: RawFile| {
        let path = file.path.iter().collect::<PathBuf>();
        let path = path.strip_prefix(root).ok()?.to_str()?.to_owned();
        let lines = Lines { all: file.coverable, reached: file.covered.min(file.coverable) };
        Some(Measured { path, lines })
    };
    Ok(raw.files.into_iter().filter_map(measured).collect())
}

/// A figure a part, in the order of the lists. A file that both were measured with counts where its own tests ran: the
/// libraries are linked into this command, whose tests are not theirs.
pub fn tally(libraries: &[Measured], command: &[Measured]) -> Vec<Part> {
    let of_crate = |name: &'static str| {
        let prefix = format!("crates/{name}/src/");
        part(name, libraries.iter().filter(|file| file.path.starts_with(&prefix)).collect())
    };
    let is_pure = |file: &&Measured| file.path.starts_with("xtask/") && PURE.contains(&file.path.as_str());
    let of_xtask = part("xtask (pure modules)", command.iter().filter(is_pure).collect());
    CRATES.into_iter().map(of_crate).chain([of_xtask]).collect()
}

fn part(name: &'static str, mut files: Vec<&Measured>) -> Part {
    files.sort_by_key(|file| std::cmp::Reverse(file.lines.missed()));
    let lines = files.iter().fold(Lines::default(), |sum, file| sum.plus(file.lines));
    let gaps = files.iter().filter(|file| file.lines.missed() > 0).take(GAPS);
    let gaps = gaps.map(|file| format!("{} ({})", file.path, file.lines.missed())).collect();
    Part { name, lines, gaps }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Lines, read, tally};

    const WRITTEN: &str = r#"{"coverage": 50.0, "files": [
        {"path": ["/", "r", "crates", "gguf", "src", "lib.rs"], "content": "x", "traces": [], "covered": 90, "coverable": 100},
        {"path": ["/", "r", "crates", "gguf", "src", "read.rs"], "content": "x", "covered": 0, "coverable": 1},
        {"path": ["/", "r", "crates", "gguf", "tests", "a.rs"], "content": "x", "covered": 0, "coverable": 50},
        {"path": ["/", "r", "xtask", "src", "remote", "far.rs"], "content": "x", "covered": 9, "coverable": 10},
        {"path": ["/", "r", "xtask", "src", "main.rs"], "content": "x", "covered": 0, "coverable": 10},
        {"path": ["/", "elsewhere", "lib.rs"], "content": "x", "covered": 1, "coverable": 1}]}"#;

    #[test]
    fn lines_are_counted_for_the_part_they_belong_to() {
        let files = read(WRITTEN, Path::new("/r")).expect("a report");
        let parts = tally(&files, &files);
        assert_eq!(tally(&files, &[])[4].lines, Lines::default(), "each is counted where it was measured");
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        assert_eq!(names, ["models", "protocol", "gguf", "convert", "xtask (pure modules)"]);
        assert_eq!(parts[2].lines, Lines { all: 101, reached: 90 });
        assert_eq!(parts[2].gaps, ["crates/gguf/src/lib.rs (10)", "crates/gguf/src/read.rs (1)"]);
        assert_eq!((parts[4].lines, parts[2].lines.percent().as_str()), (Lines { all: 10, reached: 9 }, "89.1 %"));
        assert!(!parts[2].lines.are_enough() && parts[4].lines.are_enough());
        assert!(!parts[0].lines.are_enough(), "what was not measured is not enough");
        assert!(read("{}", Path::new("/r")).is_err());
    }
}
