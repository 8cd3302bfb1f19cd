//! `models disk-usage`: what the models take.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::{neutralise, size_words};

/// Columns of a size: `999 MB`.
const SIZE_COLUMNS: usize = 6;
/// Columns of a name at most; longer ones are cut.
const MAX_NAME_COLUMNS: usize = 40;
/// A bar shorter than this says nothing.
const MIN_BAR_COLUMNS: usize = 5;
/// A bar longer than this says no more.
const MAX_BAR_COLUMNS: usize = 50;
/// Where nothing says how wide a terminal is.
const USUAL_COLUMNS: usize = 80;
/// The line of all models.
const SUM_NAME: &str = "all models";

/// Show where the space went
///
/// A bar each, in proportion; what is unfinished counts too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models disk-usage
  cargo xtask models disk-usage --json")]
pub struct Args {}

#[derive(Serialize)]
struct Document {
    models: Vec<Row>,
    total_bytes: u64,
    free_bytes: u64,
    path: PathBuf,
}

#[derive(Serialize)]
struct Row {
    name: String,
    size_bytes: u64,
    installed: bool,
}

impl Args {
    /// Prints each folder, the sum and what is left.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let usage = Shelf::open(globals)?.store.disk_usage()?;
        let output = globals.output;
        let row = |model: models::store::ModelUsage| Row {
            name: model.name,
            size_bytes: model.size_bytes,
            installed: model.installed,
        };
        let models: Vec<Row> = usage.models.into_iter().map(row).collect();
        let (total_bytes, free_bytes, path) = (usage.total_bytes, usage.free_bytes, usage.root);
        if output.json {
            output.value(&Document { models, total_bytes, free_bytes, path })?;
            return Ok(0);
        }
        let picture = Picture { models: &models, total_bytes, free_bytes };
        picture.lines(terminal_columns()).iter().try_for_each(|line| output.line(line))?;
        output.note(path.display());
        Ok(0)
    }
}

/// What is drawn.
struct Picture<'a> {
    models: &'a [Row],
    total_bytes: u64,
    free_bytes: u64,
}

impl Picture<'_> {
    /// A line for each model, largest first, with a bar as long as its share of the largest; as many columns at most.
    fn lines(&self, columns: usize) -> Vec<String> {
        let mut models: Vec<&Row> = self.models.iter().collect();
        models.sort_by_key(|model| std::cmp::Reverse(model.size_bytes));
        let name = |model: &Row| {
            let mark = if model.installed { "" } else { " (unfinished)" };
            format!("{}{mark}", neutralise(&model.name))
        };
        let longest = models.iter().map(|model| name(model).chars().count()).max().unwrap_or(0);
        let names = longest.clamp(SUM_NAME.len(), MAX_NAME_COLUMNS).min(columns.saturating_sub(SIZE_COLUMNS + 2));
        let left = columns.saturating_sub(SIZE_COLUMNS + names + 4);
        let bars = if left < MIN_BAR_COLUMNS { 0 } else { left.min(MAX_BAR_COLUMNS) };
        let most = models.first().map_or(0, |model| model.size_bytes);
        let line = |size_bytes: u64, name: &str, bar: &str| {
            let line = format!("{:>SIZE_COLUMNS$}  {:<names$}  {bar}", size_words(size_bytes), shortened(name, names));
            line.trim_end().to_owned()
        };
        let mut lines: Vec<String> = models
            .iter()
            .map(|model| line(model.size_bytes, &name(model), &bar(model.size_bytes, most, bars)))
            .collect();
        lines.push(line(self.total_bytes, SUM_NAME, ""));
        lines.push(line(self.free_bytes, "free", ""));
        lines
    }
}

/// A bar of up to `columns`, in eighths of a column; something is always visible of what is there.
fn bar(size_bytes: u64, most_bytes: u64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let whole = u128::from(most_bytes.max(1));
    let eighths = u128::from(size_bytes) * (columns as u128 * 8) / whole;
    let eighths = if size_bytes > 0 && columns > 0 { eighths.max(1) } else { eighths };
    let eighths = usize::try_from(eighths).unwrap_or(0).min(columns * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// The text in as many columns at most, its end left out if it is longer.
fn shortened(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// Columns of the terminal that reads the result; what a terminal usually has where there is none.
fn terminal_columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::{Picture, Row, bar};

    fn row(name: &str, size_bytes: u64, installed: bool) -> Row {
        Row { name: name.to_owned(), size_bytes, installed }
    }

    #[test]
    fn bars_are_in_proportion_and_nothing_is_invisible() {
        assert_eq!(bar(100, 100, 10), "██████████");
        assert_eq!(bar(50, 100, 10), "█████");
        assert_eq!(bar(1, 1_000_000, 10), "▏");
        assert_eq!(bar(0, 100, 10), "");
        assert_eq!(bar(u64::MAX, u64::MAX, 3), "███");
        assert_eq!(bar(5, 0, 0), "");
    }

    #[test]
    fn the_picture_is_aligned_and_fits_any_terminal() {
        let models = [
            row("small", 1_000_000, true),
            row("llama3", 4_900_000_000, true),
            row("a-very-long-name-of-a-model-that-nobody-would-type", 2_450_000_000, false),
        ];
        let picture = Picture { models: &models, total_bytes: 7_351_000_000, free_bytes: 70_000_000_000 };
        for columns in [0, 1, 10, 20, 30, 40, 80, 200] {
            let lines = picture.lines(columns);
            assert_eq!(lines.len(), 5);
            let widest = lines.iter().map(|line| line.chars().count()).max().expect("lines");
            assert!(widest <= columns.max(12), "{columns}: {lines:#?}");
        }
        let lines = picture.lines(80);
        assert!(lines[0].contains("llama3") && lines[0].ends_with('█'), "{lines:#?}");
        let bars: Vec<usize> = lines.iter().map(|line| line.chars().filter(|char| *char == '█').count()).collect();
        assert!(bars[0] > 10 && bars[1].abs_diff(bars[0] / 2) <= 1 && bars[3] == 0, "{lines:#?}");
        let starts: Vec<Option<usize>> = lines[..3].iter().map(|line| line.find(['█', '▏'])).collect();
        // The shortened name ends in one character of three bytes.
        assert_eq!((starts[0], starts[1]), (starts[2], starts[2].map(|start| start + 2)), "{lines:#?}");
    }
}
