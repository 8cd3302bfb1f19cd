//! `git log`: the last commits.

use serde::Serialize;

use crate::cli::Globals;
use crate::failure::Failure;
use crate::git::repository::Repository;
use crate::output::neutralise;

/// Show the last commits
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask git log
  cargo xtask git log --limit 5 --json")]
pub struct Args {
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Serialize)]
struct Document {
    commits: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    commit: String,
    parents: Vec<String>,
    author: String,
    date: String,
    refs: Vec<String>,
    subject: String,
}

impl Args {
    /// Prints the list: a graph for people.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (tree, output) = (Repository::open()?.tree, globals.output);
        if tree.resolve("HEAD")?.is_none() {
            return Err(Failure::new("there is no commit yet").hint("git commit"));
        }
        let limit = format!("--max-count={}", self.limit);
        let common = ["log", "--no-show-signature", "--no-color", &limit];
        if output.json {
            let format = ["-z", "--format=%H%x09%P%x09%an%x09%cI%x09%D%x09%s"];
            let entries = tree.ask_list(&[&common[..], &format, &["HEAD", "--"]].concat())?;
            output.value(&Document { commits: entries.iter().filter_map(|entry| read(entry)).collect() })?;
            return Ok(0);
        }
        let text = tree.ask(&[&common[..], &["--graph", "--oneline", "--decorate", "HEAD", "--"]].concat())?;
        text.lines().try_for_each(|line| output.line(&neutralise(line)))?;
        Ok(0)
    }
}

fn read(entry: &[u8]) -> Option<Entry> {
    let text = String::from_utf8_lossy(entry);
    let fields: Vec<&str> = text.splitn(6, '\t').collect();
    let [commit, parents, author, date, refs, subject] = fields.try_into().ok()?;
    let words = |text: &str, separator: &str| {
        text.split(separator).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    Some(Entry {
        commit: commit.to_owned(),
        parents: words(parents, " "),
        author: author.to_owned(),
        date: date.to_owned(),
        refs: words(refs, ", "),
        subject: subject.to_owned(),
    })
}
