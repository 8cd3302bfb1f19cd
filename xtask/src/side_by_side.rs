//! Whole programs measured side by side: taken in turn, several rounds, the median and the ratio of each round.
//!
//! A machine that is busy with something else is so for all of them, which is why ratios hold where times do not. What is
//! compared with what is in `verbs/bench`.

use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::interrupt;
use crate::output::{Output, size_words};
use crate::process::{Call, exit_code};

/// Between two looks at a program's memory.
const LOOK: Duration = Duration::from_millis(5);

/// A program that is measured.
pub struct Contender<'a> {
    /// What the table calls it.
    pub name: &'static str,
    /// What is run.
    pub call: Call,
    /// What is done before each run, not measured: taking away what the last one left.
    pub prepare: Box<dyn Fn() -> Result<(), Failure> + 'a>,
}

/// One run of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// From its start to its end.
    pub wall: Duration,
    /// The most memory it held; `None` where the system does not say.
    pub peak_bytes: Option<u64>,
}

/// What came of one program over all rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the table calls it.
    pub name: &'static str,
    /// One a round, in the order of the rounds.
    pub samples: Vec<Sample>,
}

/// Runs the contenders in turn: one round that does not count, then `rounds` that do.
pub fn run(output: Output, contenders: &[Contender<'_>], rounds: usize) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes: Vec<Outcome> =
        contenders.iter().map(|contender| Outcome { name: contender.name, samples: Vec::new() }).collect();
    for round in 0..=rounds {
        for (contender, outcome) in contenders.iter().zip(&mut outcomes) {
            (contender.prepare)()?;
            let sample = measure(&contender.call)?;
            output.detail(format_args!("{}: {:.3} s", contender.name, sample.wall.as_secs_f64()));
            if round > 0 {
                outcome.samples.push(sample);
            }
        }
    }
    Ok(outcomes)
}

/// One run, its output read and thrown away.
fn measure(call: &Call) -> Result<Sample, Failure> {
    interrupt::check()?;
    let started = Instant::now();
    let handle = call.start(&call.expression().stdin_null().stdout_null().stderr_capture())?;
    let mut peak_bytes = None;
    loop {
        let failed = |error: std::io::Error| Failure::new(format!("cannot wait for `{call}`: {error}"));
        if let Some(ended) = handle.wait_timeout(LOOK).map_err(failed)? {
            let wall = started.elapsed();
            let code = exit_code(ended.status);
            if code != 0 {
                let text = String::from_utf8_lossy(&ended.stderr);
                let mut known: Vec<String> = text.lines().rev().take(5).map(str::to_owned).collect();
                known.reverse();
                return Err(call.failed(code).known(known));
            }
            return Ok(Sample { wall, peak_bytes });
        }
        if let Err(interrupted) = interrupt::check() {
            // What is measured here is no work of the user's.
            let _gone = handle.kill();
            return Err(interrupted);
        }
        let looks = handle.pids().into_iter().filter_map(peak_of);
        peak_bytes = peak_bytes.max(looks.max());
    }
}

/// The most memory a process has held so far.
fn peak_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The middle one of several numbers; of an even count, the mean of the two in the middle. 0 of none.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len() / 2, sorted.len() % 2) {
        (0, 0) => 0.0,
        (middle, 0) => f64::midpoint(sorted[middle - 1], sorted[middle]),
        (middle, _) => sorted[middle],
    }
}

impl Outcome {
    /// Seconds of the median run.
    pub fn median_seconds(&self) -> f64 {
        median(&self.seconds())
    }

    /// Time of this one over time of `other`, round by round: the median.
    pub fn ratio_to(&self, other: &Outcome) -> f64 {
        let pairs = self.seconds().into_iter().zip(other.seconds());
        median(&pairs.map(|(own, other)| own / other).collect::<Vec<_>>())
    }

    /// The row of a table in which `first` is the one that others are measured against.
    pub fn row(&self, first: &Outcome) -> Vec<String> {
        let seconds = self.seconds();
        let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = seconds.iter().copied().fold(0.0, f64::max);
        let peak_bytes = self.samples.iter().filter_map(|sample| sample.peak_bytes).max();
        vec![
            format!("| {}", self.name),
            format!("| {:.3} [{least:.3}–{most:.3}]", self.median_seconds()),
            format!("| {:.3}", first.ratio_to(self)),
            format!("| {} |", peak_bytes.map_or_else(|| String::from("–"), size_words)),
        ]
    }

    fn seconds(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.wall.as_secs_f64()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Sample, median};

    fn outcome(name: &'static str, milliseconds: &[u64]) -> Outcome {
        let sample = |wall: &u64| Sample { wall: Duration::from_millis(*wall), peak_bytes: Some(2_000_000) };
        Outcome { name, samples: milliseconds.iter().map(sample).collect() }
    }

    #[test]
    fn medians_of_odd_even_and_no_numbers() {
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0]), median(&[])), (2.0, 2.5, 0.0));
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The third round was slow for both: the ratio does not see it.
        let (own, other) = (outcome("own", &[100, 110, 900]), outcome("other", &[200, 220, 1800]));
        assert!((own.ratio_to(&other) - 0.5).abs() < 1e-9);
        assert_eq!(other.row(&own), ["| other", "| 0.220 [0.200–1.800]", "| 0.500", "| 2.0 MB |"]);
    }
}
