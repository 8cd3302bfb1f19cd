//! What the tests of a tier came to: read from the runner's JUnit file, kept as one, told as an event and as the slowest.
//!
//! nextest writes a file for each of its profiles; here a tier has a file, `target/tests/TIER.xml`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::junit::{Report, Timed, parse, single, slowest};
use super::plan::Tier;
use crate::failure::Failure;
use crate::output::{Output, neutralise, table};
use crate::workspace;

/// How many of the slowest tests are shown.
const SLOWEST: usize = 10;
/// A report of ten thousand tests with all their output is smaller.
const REPORT_BYTES_MAX: u64 = 256 << 20;

/// How a tier ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Every test passed.
    Passed,
    /// One did not, or they could not be run.
    Failed,
    /// It does not apply here.
    Skipped,
}

/// The event of a tier.
#[derive(Serialize)]
struct TierEvent<'a> {
    event: &'static str,
    tier: &'static str,
    verdict: Verdict,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(flatten)]
    counts: Option<Counts<'a>>,
}

#[derive(Serialize)]
struct Counts<'a> {
    tests: usize,
    failed: usize,
    skipped: usize,
    slowest: &'a [Timed],
    report: Option<&'a Path>,
}

/// A tier that was gone through.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub tier: Tier,
    /// How it ended.
    pub verdict: Verdict,
    /// Why it does not apply.
    pub reason: Option<&'static str>,
    /// Building included.
    pub seconds: f64,
    /// What its tests came to, where the runner writes that down.
    pub report: Option<Report>,
}

impl Outcome {
    /// Says it to machines.
    ///
    /// # Errors
    /// Standard output cannot be written to.
    pub fn tell(&self, output: Output) -> Result<(), Failure> {
        let counts = self.report.as_ref().map(|report| Counts {
            tests: report.tests,
            failed: report.failed,
            skipped: report.skipped,
            slowest: &report.slowest[..report.slowest.len().min(SLOWEST)],
            report: report.file.as_deref(),
        });
        let Self { tier, verdict, reason, seconds, .. } = *self;
        output.event(&TierEvent { event: "tier", tier: tier.name(), verdict, seconds, reason, counts })
    }
}

/// Prints the slowest tests of all tiers and where the reports are; it is the result, and CI keeps that.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(output: Output, outcomes: &[Outcome]) -> Result<(), Failure> {
    let say = |line: &str| {
        if output.json {
            output.note(line);
            return Ok(());
        }
        output.line(line)
    };
    let reports: Vec<&Report> = outcomes.iter().filter_map(|outcome| outcome.report.as_ref()).collect();
    let slowest = slowest(reports.iter().flat_map(|report| report.slowest.iter().cloned()).collect());
    if slowest.len() > 1 {
        say("slowest tests:")?;
        let row = |test: &Timed| vec![format!("{:>8.2} s", test.seconds), neutralise(&test.name)];
        let rows: Vec<Vec<String>> = slowest.iter().take(SLOWEST).map(row).collect();
        table(&rows).iter().try_for_each(|line| say(line))?;
    }
    let files = reports.iter().filter_map(|report| report.file.as_ref());
    files.into_iter().try_for_each(|file| say(&format!("report: {}", file.display())))
}

/// The reports of a checkout.
pub struct Files<'a> {
    root: &'a Path,
    tier: Tier,
}

impl<'a> Files<'a> {
    /// Those of a tier, earlier ones removed: none of another run is taken for this one's.
    ///
    /// # Errors
    /// One that is there cannot be removed.
    pub fn fresh(root: &'a Path, tier: Tier) -> Result<Self, Failure> {
        let files = Self { root, tier };
        for file in [files.of_runner(), files.kept()] {
            if file.exists() {
                fs_err::remove_file(file)?;
            }
        }
        Ok(files)
    }

    /// What the runner wrote, moved to the tier's name. Nothing if it wrote nothing.
    ///
    /// # Errors
    /// The file is no report, or cannot be moved.
    pub fn collect(&self) -> Result<Option<Report>, Failure> {
        let written = self.of_runner();
        let Ok(data) = written.metadata() else { return Ok(None) };
        if data.len() > REPORT_BYTES_MAX {
            return Err(Failure::new(format!("`{}` is larger than any report", written.display())));
        }
        let report = parse(&fs_err::read_to_string(&written)?)?;
        let kept = self.kept();
        self.make_folder()?;
        fs_err::rename(&written, &kept)?;
        Ok(Some(Report { file: Some(kept), ..report }))
    }

    /// A report of one test that no runner ran.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_single(&self, seconds: f64, failure: Option<&Failure>) -> Result<Report, Failure> {
        let kept = self.kept();
        self.make_folder()?;
        fs_err::write(&kept, single(self.tier.name(), seconds, failure.map(|failure| failure.message.as_str())))?;
        let timed = Timed { name: self.tier.name().to_owned(), seconds };
        let failed = usize::from(failure.is_some());
        Ok(Report { tests: 1, failed, skipped: 0, slowest: vec![timed], file: Some(kept) })
    }

    fn of_runner(&self) -> PathBuf {
        workspace::output(self.root, "nextest").join(self.tier.profile()).join("junit.xml")
    }

    fn kept(&self) -> PathBuf {
        self.folder().join(self.tier.name()).with_extension("xml")
    }

    fn folder(&self) -> PathBuf {
        workspace::output(self.root, "tests")
    }

    fn make_folder(&self) -> Result<(), Failure> {
        Ok(fs_err::create_dir_all(self.folder())?)
    }
}
