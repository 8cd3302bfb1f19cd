//! What the benchmarks share: a table of programs measured side by side.

use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Output, table};
use crate::process::{Call, Group};
use crate::side_by_side::{self, Contender, Outcome};

#[derive(Serialize)]
struct Done {
    event: &'static str,
    tables: Vec<Table>,
}

/// One comparison; ratios are those of the first row to each.
#[derive(Serialize)]
pub(super) struct Table {
    title: String,
    rows: Vec<Row>,
    #[serde(skip)]
    outcomes: Vec<Outcome>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    median_seconds: f64,
    ratio_of_ours: f64,
}

impl Table {
    fn lines(&self) -> Vec<Vec<String>> {
        let cells = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let head = [
            cells(["| program", "| seconds: median [least–most]", "| ours ÷ this", "| peak memory |"]),
            cells(["|---", "|---", "|---", "|--- |"]),
        ];
        let first = &self.outcomes[0];
        head.into_iter().chain(self.outcomes.iter().map(|outcome| outcome.row(first))).collect()
    }
}

/// Measures the contenders, of which the first is ours.
pub fn compare(output: Output, title: String, contenders: &[Contender<'_>], rounds: usize) -> Result<Table, Failure> {
    output.note(format_args!("measuring: {title}"));
    let outcomes = side_by_side::run(output, contenders, rounds)?;
    let row = |outcome: &Outcome| Row {
        name: outcome.name,
        median_seconds: outcome.median_seconds(),
        ratio_of_ours: outcomes[0].ratio_to(outcome),
    };
    Ok(Table { title, rows: outcomes.iter().map(row).collect(), outcomes })
}

/// Prints the tables, or the last event; returns the exit code.
pub fn print(output: Output, tables: Vec<Table>) -> Result<u8, Failure> {
    if output.json {
        output.event(&Done { event: "done", tables })?;
        return Ok(0);
    }
    for compared in &tables {
        output.line(&format!("{}\n", compared.title))?;
        table(&compared.lines()).iter().try_for_each(|line| output.line(line))?;
        output.line("")?;
    }
    Ok(0)
}

/// A step before anything is measured, in sight.
pub fn run_setup(output: Output, call: &Call) -> Result<(), Failure> {
    output.command(call);
    match call.run_to_stderr(Group::Own)? {
        0 => Ok(()),
        code => Err(call.failed(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Done, Row, Table};

    #[test]
    fn the_page_shows_what_is_printed() {
        let row = Row { name: "llorch", median_seconds: 0.61, ratio_of_ours: 1.0 };
        let table = Table { title: String::from("Hashing 1.0 GB, one core"), rows: vec![row], outcomes: Vec::new() };
        let done = serde_json::to_string(&Done { event: "done", tables: vec![table] }).expect("JSON");
        let verbs = "bench command, bench models, bench remote, bench submodules";
        let page = crate::workspace::page("docs/json.md");
        assert!(page.contains(&format!("\n```json {verbs}\n{done}\n```")), "{done}");
    }
}
