//! `bench build`: how long each package of ours takes to compile, beside what was recorded when it last landed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cli::Globals;
use crate::failure::Failure;
use crate::output::{Output, table};
use crate::process::{Call, Group, print_plan};
use crate::side_by_side::median;
use crate::{cargo, interrupt, tidy, workspace};

/// Where the figures of the last landing are.
const RECORD: &str = "docs/build-times.json";

/// Time the compilation of each package of ours
///
/// In a target folder of its own, debug profile. "clean": the package was never compiled, what it links was. "touched": one of
/// its files is newer. Both last until everything is built again, packages that depend on it included: what a change costs. The
/// figures stand beside those of docs/build-times.json, which `--record` replaces.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench build
  cargo xtask bench build --rounds 3 --record")]
pub struct Args {
    /// Counted rounds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Write docs/build-times.json
    #[arg(long)]
    record: bool,
}

/// Seconds of one package, medians.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Times {
    clean: f64,
    touched: f64,
}

/// What is recorded: the machine, since times of two machines say nothing of each other.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    processors: usize,
    rustc: String,
    /// Everything, the libraries of others included.
    workspace_seconds: f64,
    packages: BTreeMap<String, Times>,
}

#[derive(Serialize)]
struct Done<'a> {
    event: &'static str,
    now: &'a Record,
    landed: Option<&'a Record>,
}

struct Bench<'a> {
    root: &'a Path,
    output: Output,
    target: PathBuf,
}

impl Args {
    /// Compiles again and again, prints, records.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let bench = Bench { root: &root, output, target: workspace::output(&root, "bench-build") };
        if globals.dry_run {
            return print_plan(output, &[bench.build().to_string()]);
        }
        interrupt::watch()?;
        let landed =
            std::fs::read(root.join(RECORD)).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        let now = bench.measure(self.rounds)?;
        if output.json {
            output.event(&Done { event: "done", now: &now, landed: landed.as_ref() })?;
        } else {
            table(&rows(&now, landed.as_ref())).iter().try_for_each(|line| output.line(line))?;
        }
        if self.record {
            let text = serde_json::to_string_pretty(&now).map_err(|error| Failure::new(error.to_string()))?;
            fs_err::write(root.join(RECORD), text + "\n")?;
            output.note(format_args!("wrote {RECORD}"));
        }
        Ok(0)
    }
}

impl Bench<'_> {
    fn build(&self) -> Call {
        cargo::call(self.root)
            .args(["build", "--workspace", "--locked", "--quiet"])
            .env("CARGO_TARGET_DIR", &self.target)
    }

    fn measure(&self, rounds: u32) -> Result<Record, Failure> {
        let packages = tidy::packages(self.root)?;
        let _left_by_another_run = std::fs::remove_dir_all(&self.target);
        let workspace_seconds = self.timed("everything")?;
        let mut times = BTreeMap::new();
        for package in packages {
            let (mut clean, mut touched) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let call = cargo::call(self.root).args(["clean", "--quiet", "--package", &package.name]);
                self.done(&call.env("CARGO_TARGET_DIR", &self.target))?;
                clean.push(self.timed(&format!("{}, clean", package.name))?);
                touch(&self.root.join(&package.manifest).with_file_name("src"))?;
                touched.push(self.timed(&format!("{}, touched", package.name))?);
            }
            times.insert(package.name, Times { clean: median(&clean), touched: median(&touched) });
        }
        let _for_the_next_run = std::fs::remove_dir_all(&self.target);
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rustc = cargo::call(self.root).args(["--version"]).ask(Group::Own)?.text();
        Ok(Record { processors, rustc, workspace_seconds, packages: times })
    }

    fn timed(&self, what: &str) -> Result<f64, Failure> {
        let started = Instant::now();
        self.done(&self.build())?;
        let seconds = started.elapsed().as_secs_f64();
        self.output.note(format_args!("{what}: {seconds:.1} s"));
        Ok(seconds)
    }

    fn done(&self, call: &Call) -> Result<(), Failure> {
        interrupt::check()?;
        match call.run_to_stderr(Group::Own)? {
            0 => Ok(()),
            code => Err(call.failed(code)),
        }
    }
}

/// Makes the root of a package newer than what was built of it; its bytes stay.
fn touch(sources: &Path) -> Result<(), Failure> {
    let root = ["lib.rs", "main.rs"].map(|name| sources.join(name)).into_iter().find(|path| path.is_file());
    let root = root.ok_or_else(|| Failure::new(format!("no lib.rs and no main.rs in {}", sources.display())))?;
    let file = fs_err::OpenOptions::new().append(true).open(&root)?;
    file.file().set_modified(std::time::SystemTime::now()).map_err(|error| Failure::new(error.to_string()))
}

/// The table; without what landed, or on another kind of machine, nothing stands beside.
fn rows(now: &Record, landed: Option<&Record>) -> Vec<Vec<String>> {
    let landed = landed.filter(|landed| landed.processors == now.processors && landed.rustc == now.rustc);
    let cells = |cells: [String; 5]| cells.to_vec();
    let head = ["| package", "| clean, s", "| landed", "| touched, s", "| landed |"].map(str::to_owned);
    let rule = ["|---", "|---", "|---", "|---", "|--- |"].map(str::to_owned);
    let seconds = |value: f64| format!("| {value:.1}");
    let beside = |now: f64, then: Option<f64>| {
        then.map_or_else(|| String::from("| –"), |then| format!("| {then:.1} ({:.2})", now / then))
    };
    let whole = landed.map(|landed| landed.workspace_seconds);
    let everything = [
        String::from("| everything"),
        seconds(now.workspace_seconds),
        beside(now.workspace_seconds, whole),
        String::from("| –"),
        String::from("| – |"),
    ];
    let packages = now.packages.iter().map(|(name, times)| {
        let then = landed.and_then(|landed| landed.packages.get(name));
        [
            format!("| {name}"),
            seconds(times.clean),
            beside(times.clean, then.map(|then| then.clean)),
            seconds(times.touched),
            beside(times.touched, then.map(|then| then.touched)) + " |",
        ]
    });
    [head, rule, everything].into_iter().chain(packages).map(cells).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Done, Record, Times, rows};

    fn record(clean: f64, rustc: &str) -> Record {
        let packages = BTreeMap::from([(String::from("gguf"), Times { clean, touched: 2.0 })]);
        Record { processors: 2, rustc: rustc.to_owned(), workspace_seconds: 100.0, packages }
    }

    #[test]
    fn the_page_shows_what_is_printed() {
        let now = record(12.5, "rustc 1.95.0");
        let done = serde_json::to_string(&Done { event: "done", now: &now, landed: None }).expect("JSON");
        let before = serde_json::to_string(&Done { event: "done", now: &now, landed: Some(&now) }).expect("JSON");
        let page = crate::workspace::page("docs/json.md");
        assert!(page.contains(&format!("\n```json bench build\n{done}\n{before}\n```")), "{done}\n{before}");
    }

    #[test]
    fn figures_stand_beside_those_of_the_same_kind_of_machine() {
        let now = record(3.0, "1.95");
        let row = |landed: Option<&Record>| rows(&now, landed)[3].join(" ");
        assert_eq!(row(Some(&record(6.0, "1.95"))), "| gguf | 3.0 | 6.0 (0.50) | 2.0 | 2.0 (1.00) |");
        assert_eq!(row(Some(&record(6.0, "1.90"))), "| gguf | 3.0 | – | 2.0 | – |");
        assert_eq!(row(None), "| gguf | 3.0 | – | 2.0 | – |");
    }
}
