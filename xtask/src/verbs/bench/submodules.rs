//! `bench submodules`: status and update of four large repositories beside git's own.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use models::environment;
use models::places::Places;

use super::comparison::{self, Table};
use crate::binaries::{self, Marks, Product, Profile, Show};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group, print_plan};
use crate::scratch::Scratch;
use crate::side_by_side::Contender;
use crate::{git, interrupt, workspace};

/// Repositories, as many as this project has submodules.
const NAMES: [&str; 4] = ["one", "two", "three", "four"];
/// Size of a file: an ordinary source.
const FILE_BYTES: usize = 4_000;
/// Files that a commit changes.
const CHANGES: usize = 20;
/// Folders in a repository.
const FOLDERS: usize = 200;
/// How far the pinned commit lies behind the branch: submodules are rarely at the tip.
const BEHIND: &str = "main~3";

/// Look at and update four large local repositories, beside `git submodule`
///
/// The repositories are made on the spot: files of made-up text, a history of a few hundred commits with tags. Each program
/// is run in turn on a checkout of its own, one round uncounted, then `--rounds` counted.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench submodules
  cargo xtask bench submodules --files 20000 --rounds 9 --json")]
pub struct Args {
    /// Files in each repository
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    files: u32,
    /// Commits in each repository
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    commits: u32,
    /// Counted rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
}

impl Args {
    /// Sets up, measures, prints, clears away.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let marks = Marks::read(&root)?;
        let plan = binaries::plan(&root, Product::Command, Profile::Release, &marks);
        if globals.dry_run {
            return print_plan(output, &[plan.call.to_string(), String::from("git fast-import, git clone")]);
        }
        comparison::print(output, self.tables(globals)?)
    }

    /// What is measured unless told otherwise.
    pub fn usual(rounds: u32) -> Self {
        Self { files: 5_000, commits: 300, rounds }
    }

    /// Sets up, measures, clears away.
    ///
    /// # Errors
    /// A program that does not do what it is measured for.
    pub(super) fn tables(self, globals: &Globals) -> Result<Vec<Table>, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        interrupt::watch()?;
        let plan = binaries::plan(&root, Product::Command, Profile::Release, &Marks::read(&root)?);
        let llorch = binaries::build(output, &plan, Show::Work)?.path;
        let scratch = Scratch::at(Places::from_environment()?.cache.path.join("bench/submodules"))?;
        let bench = Bench { output, llorch, rounds: usize::try_from(self.rounds).unwrap_or(usize::MAX), scratch };
        bench.make(&self)?;
        bench.tables()
    }
}

struct Bench {
    output: Output,
    llorch: PathBuf,
    rounds: usize,
    scratch: Scratch,
}

impl Bench {
    /// The repositories, and two checkouts that declare them: `ours` and `theirs`.
    fn make(&self, args: &Args) -> Result<(), Failure> {
        let mut stream =
            String::from("commit refs/heads/main\ncommitter B <b@localhost> 1700000000 +0000\ndata 1\n.\n");
        for file in ["Cargo.toml", "catalog.toml", "xtask/Cargo.toml"] {
            // Writing to a String cannot fail.
            let _never = write!(stream, "M 100644 inline {file}\ndata 1\n#\n");
        }
        let mut modules = String::new();
        for name in NAMES {
            self.output.note(format_args!("making repository {name}: {} files, {} commits", args.files, args.commits));
            let bare = self.scratch.path().join(format!("{name}.git"));
            self.import(&bare, history(name, args))?;
            let pinned = self.git(&bare, &["rev-parse", BEHIND])?;
            let _never = writeln!(stream, "M 160000 {pinned} reference/{name}");
            let url = format!("file://{}", bare.display());
            let _never =
                write!(modules, "[submodule \"{name}\"]\n\tpath = reference/{name}\n\turl = {url}\n\tshallow = true\n");
        }
        let _never = write!(stream, "M 100644 inline .gitmodules\ndata {}\n{modules}\n", modules.len());
        let bare = self.scratch.path().join("upstream.git");
        self.import(&bare, stream)?;
        for checkout in ["ours", "theirs"] {
            self.git(self.scratch.path(), &["clone", "--quiet", &bare.display().to_string(), checkout])?;
        }
        Ok(())
    }

    fn tables(&self) -> Result<Vec<Table>, Failure> {
        let fresh = vec![
            self.ours(&["update", "--all"], true),
            self.theirs("git submodule update --init", &["update", "--init", "--quiet"], true),
            self.theirs("git submodule update --init --jobs 4", &["update", "--init", "--quiet", "--jobs", "4"], true),
        ];
        let right = vec![
            self.ours(&["update", "--all"], false),
            self.theirs("git submodule update", &["update"], false),
            self.theirs("git submodule update --jobs 4", &["update", "--jobs", "4"], false),
        ];
        let status = vec![self.ours(&["status"], false), self.theirs("git submodule status", &["status"], false)];
        // The first leaves everything in its place for the others.
        let mut tables = Vec::new();
        for (title, contenders) in [
            ("Update of four submodules that are not here", fresh),
            ("Update of four submodules that are right", right),
            ("Status of four submodules (ours looks for edits, git does not)", status),
        ] {
            tables.push(comparison::compare(self.output, title.to_owned(), &contenders, self.rounds)?);
        }
        Ok(tables)
    }

    fn ours(&self, words: &[&str], is_fresh: bool) -> Contender<'_> {
        let checkout = self.scratch.path().join("ours");
        // The checkout is the one it stands in, not the one this was built from.
        let call = Call::new(&self.llorch).dir(&checkout).env_remove("CARGO_MANIFEST_DIR");
        let call = call.env(environment::HOME, self.scratch.path()).args(["git", "submodules"]).args(words);
        let name =
            if words[0] == "status" { "llorch git submodules status" } else { "llorch git submodules update --all" };
        Contender { name, call, prepare: prepare(checkout, is_fresh) }
    }

    fn theirs(&self, name: &'static str, words: &[&str], is_fresh: bool) -> Contender<'_> {
        let checkout = self.scratch.path().join("theirs");
        let call = Call::new("git").dir(&checkout).env(environment::HOME, self.scratch.path());
        // Without it, git takes no submodule from this machine.
        let call = call.args(["-c", "protocol.file.allow=always", "submodule"]).args(words);
        Contender { name, call, prepare: prepare(checkout, is_fresh) }
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
        Ok(git::answer(&git::call(folder).args(arguments).env(environment::HOME, self.scratch.path()))?.text())
    }

    fn import(&self, bare: &Path, stream: String) -> Result<(), Failure> {
        let path = bare.display().to_string();
        self.git(self.scratch.path(), &["init", "--quiet", "--bare", "--initial-branch=main", &path])?;
        let call = git::call(bare).args(["fast-import", "--quiet"]);
        let ended = call.ask_with(Group::Own, stream)?;
        if ended.code == 0 { Ok(()) } else { Err(git::refusal(&call, &ended)) }
    }
}

/// Takes away what an earlier run fetched.
fn prepare<'a>(checkout: PathBuf, is_fresh: bool) -> Box<dyn Fn() -> Result<(), Failure> + 'a> {
    Box::new(move || {
        if !is_fresh {
            return Ok(());
        }
        for name in NAMES {
            let folder = checkout.join("reference").join(name);
            let _none = std::fs::remove_dir_all(&folder);
            fs_err::create_dir_all(folder)?;
            let section = ["config", "--remove-section", &format!("submodule.{name}")];
            let _never_there = git::call(&checkout).args(section).ask(Group::Own)?;
        }
        let _none = std::fs::remove_dir_all(checkout.join(".git/modules"));
        Ok(())
    })
}

/// What `git fast-import` makes a repository of: all files at once, then commits that change some, every tenth with a tag.
fn history(name: &str, args: &Args) -> String {
    let mut stream = String::new();
    let files = usize::try_from(args.files).unwrap_or(usize::MAX);
    for commit in 0..usize::try_from(args.commits).unwrap_or(usize::MAX) {
        let second = 1_700_000_000 + commit;
        let _never = write!(stream, "commit refs/heads/main\ncommitter B <b@localhost> {second} +0000\ndata 1\n.\n");
        let changed: Vec<usize> = if commit == 0 {
            (0..files).collect()
        } else {
            (0..CHANGES).map(|index| (commit * 97 + index) % files).collect()
        };
        for file in changed {
            let text = made_up_text(name, file, commit);
            let folder = file % FOLDERS;
            let _never = write!(stream, "M 100644 inline src/{folder}/file{file}.rs\ndata {}\n{text}\n", text.len());
        }
        if commit % 10 == 5 {
            let _never = write!(stream, "reset refs/tags/v{commit}\nfrom refs/heads/main\n\n");
        }
    }
    stream
}

/// Lines that no two files share (xorshift64, Marsaglia 2003), the same on every machine.
fn made_up_text(name: &str, file: usize, commit: usize) -> String {
    let mut text = format!("// {name} {file} {commit}\n");
    let mut state =
        text.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(31));
    while text.len() < FILE_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let _never = writeln!(text, "let value_{state:016x} = call(first, second);");
    }
    text
}
