//! Reports of tests as JUnit has them, and what is read out of one. No files here.

use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Failure;
use crate::output::neutralise;

/// No report has more elements: tests are named by us, their output is theirs.
const NODES_MAX: u32 = 1_000_000;

/// What the tests of a tier came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Tests that ran or were skipped.
    pub tests: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that the runner skipped.
    pub skipped: usize,
    /// What each took, the slowest first.
    pub slowest: Vec<Timed>,
    /// The JUnit file.
    pub file: Option<PathBuf>,
}

/// What a test took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Timed {
    /// Program and test.
    pub name: String,
    /// Wall clock.
    pub seconds: f64,
}

/// A report as JUnit has it: `testsuite` is a program, `testcase` a test with `time` in seconds.
///
/// # Errors
/// It is none.
pub fn parse(text: &str) -> Result<Report, Failure> {
    let options = roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(text, options)
        .map_err(|error| Failure::new(format!("the test runner's report cannot be read: {error}")))?;
    let mut report = Report::default();
    for test in document.descendants().filter(|node| node.has_tag_name("testcase")) {
        let has = |names: &[&str]| test.children().any(|child| names.contains(&child.tag_name().name()));
        report.tests += 1;
        report.failed += usize::from(has(&["failure", "error"]));
        report.skipped += usize::from(has(&["skipped"]));
        let attribute = |name| test.attribute(name).unwrap_or_default();
        let seconds = attribute("time").parse().ok().filter(|seconds: &f64| seconds.is_finite()).unwrap_or(0.0);
        report.slowest.push(Timed { name: format!("{} {}", attribute("classname"), attribute("name")), seconds });
    }
    report.slowest = slowest(report.slowest);
    Ok(report)
}

/// The same, the slowest first.
pub fn slowest(mut tests: Vec<Timed>) -> Vec<Timed> {
    tests.sort_by(|one, other| other.seconds.total_cmp(&one.seconds));
    tests
}

/// A report of one test.
pub fn single(name: &str, seconds: f64, failure: Option<&str>) -> String {
    let failed = usize::from(failure.is_some());
    let inside = failure.map(|text| format!("<failure message=\"{}\"/>", escaped(text))).unwrap_or_default();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{name}\" tests=\"1\" failures=\"{failed}\" \
         time=\"{seconds:.3}\">\n<testsuite name=\"{name}\" tests=\"1\" failures=\"{failed}\">\n<testcase \
         name=\"{name}\" classname=\"{name}\" time=\"{seconds:.3}\">{inside}</testcase>\n</testsuite>\n</testsuites>\n"
    )
}

/// The text as the value of an attribute; characters that XML cannot carry become visible ones.
fn escaped(text: &str) -> String {
    let text = neutralise(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\n', "&#10;").replace('\t', "&#9;")
}

#[cfg(test)]
mod tests {
    use super::{Report, Timed, escaped, parse, single};

    const WRITTEN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="4" failures="1" errors="1" time="9.5">
  <testsuite name="gguf" tests="3" disabled="0" errors="0" failures="1">
    <testcase name="quick" classname="gguf" time="0.010"/>
    <testcase name="wrong &lt;here&gt;" classname="gguf" time="1.5"><failure type="test failure">text</failure></testcase>
    <testcase name="none" classname="gguf" time="x"><skipped/></testcase>
  </testsuite>
  <testsuite name="xtask::cli" tests="1"><testcase name="a::b" classname="xtask::cli" time="8"><error/></testcase></testsuite>
</testsuites>"#;

    #[test]
    fn a_report_is_counted_and_sorted() {
        let report = parse(WRITTEN).expect("a report");
        assert_eq!((report.tests, report.failed, report.skipped), (4, 2, 1));
        let names: Vec<&str> = report.slowest.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names, ["xtask::cli a::b", "gguf wrong <here>", "gguf quick", "gguf none"]);
        assert_eq!(report.slowest[0], Timed { name: "xtask::cli a::b".to_owned(), seconds: 8.0 });
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for text in ["", "{}", "<testsuites>", "<!DOCTYPE a [<!ENTITY b 'c'>]><testsuites/>"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("<testsuites/>").expect("an empty one"), Report::default());
    }

    #[test]
    fn what_is_written_here_can_be_read() {
        let failure = "a \"quoted\" <tag> & \x1b[1m\nline";
        let report = parse(&single("smoke", 1.25, Some(failure))).expect("a report");
        assert_eq!((report.tests, report.failed), (1, 1));
        assert_eq!(report.slowest, [Timed { name: "smoke smoke".to_owned(), seconds: 1.25 }]);
        assert_eq!(parse(&single("smoke", 0.0, None)).expect("a report").failed, 0);
        assert!(!escaped(failure).contains(['<', '"', '\n', '\x1b']));
    }
}
