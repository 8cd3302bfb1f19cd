//! `bench remote`: what a trip to another host costs, beside ssh and rsync on the same connection settings.

mod loopback;

use std::path::{Path, PathBuf};

use loopback::{HOSTS, Loopback};

use super::comparison::{self, Table};
use super::submodules;
use crate::binaries::{self, Marks, Product, Profile, Show};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::git;
use crate::output::Output;
use crate::process::{Call, print_plan};
use crate::side_by_side::Contender;
use crate::{interrupt, workspace};

/// Characters of a file: an ordinary source.
const FILE_BYTES: usize = 2_000;
/// Files in a folder.
const FOLDER_FILES: usize = 100;
/// What a task that works for a while is stood in for by.
const WORK_SECONDS: &str = "5";

/// Go to another host, send it a working tree, go to twenty: beside ssh and rsync
///
/// The host is an sshd on a loopback port, started for the run: both ends of every connection share this machine. Then
/// `bench submodules`. Needs sshd, rsync and ssh.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench remote
  cargo xtask bench remote --files 50000 --rounds 9 --json")]
pub struct Args {
    /// Files in the tree that is sent
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    files: u32,
    /// Counted rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
}

struct Bench<'a> {
    output: Output,
    rounds: usize,
    loopback: &'a Loopback,
    /// The command, as it is installed on both sides.
    llorch: PathBuf,
    tree: PathBuf,
    /// This project's checkout.
    root: &'a Path,
}

impl Args {
    /// Sets up, measures, prints, clears away.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let plan = binaries::plan(&root, Product::Command, Profile::Release, &Marks::read(&root)?);
        if globals.dry_run {
            return print_plan(output, &[plan.call.to_string(), String::from("sshd, ssh, rsync, git on loopback")]);
        }
        interrupt::watch()?;
        let built = binaries::build(output, &plan, Show::Work)?.path;
        // The far side finds it under its installed name, in a folder of its own.
        let bin = crate::scratch::Scratch::new("bench-bin")?;
        let llorch = bin.path().join("llorch");
        fs_err::copy(built, &llorch)?;
        sleeper(&bin.path().join("cargo"))?;
        let loopback = Loopback::start(bin.path(), &root)?;
        let rounds = usize::try_from(self.rounds).unwrap_or(usize::MAX);
        let bench =
            Bench { output, rounds, loopback: &loopback, llorch, tree: loopback.folder().join("tree"), root: &root };
        bench.make_tree(usize::try_from(self.files).unwrap_or(usize::MAX))?;
        let mut tables = bench.tables()?;
        tables.extend(submodules::Args::usual(self.rounds).tables(globals)?);
        comparison::print(output, tables)
    }
}

/// The far cargo of the twenty hosts: a task that takes its time and no processor.
fn sleeper(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    fs_err::write(path, format!("#!/bin/sh\nexec sleep {WORK_SECONDS}\n"))?;
    Ok(fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}

impl Bench<'_> {
    /// A checkout of sources whose text is made up, and the place rsync copies it to.
    fn make_tree(&self, files: usize) -> Result<(), Failure> {
        self.output.note(format_args!("making a tree of {files} files"));
        for name in ["Cargo.toml", "catalog.toml", "xtask/Cargo.toml"] {
            write(&self.tree.join(name), "#\n")?;
        }
        for index in 0..files {
            let text = format!("fn number_{index}() {{}}\n").repeat(FILE_BYTES / 24);
            write(&self.tree.join(format!("folder{}/file{index}.rs", index / FOLDER_FILES)), &text)?;
        }
        for words in [
            &["init", "--quiet"][..],
            &["add", "--all"],
            &["-c", "user.name=b", "-c", "user.email=b@localhost", "commit", "--quiet", "-m", "all"],
        ] {
            git::answer(&git::call(&self.tree).args(words))?;
        }
        Ok(())
    }

    fn tables(&self) -> Result<Vec<Table>, Failure> {
        let by_hand = crate::cargo::call(self.root).args(["xtask", "git", "status"]);
        let trip = vec![
            contender("llorch git status --remote real", self.ours(&["--remote", "real", "git", "status"])),
            contender("ssh real true", self.ssh("real", &["true"])),
            contender("cargo xtask git status, by hand", by_hand),
        ];
        let mut tables = vec![self.compare("One verb on another host: as much as the other two together", &trip)?];
        for (title, is_changed) in [("Sync of an unchanged tree", false), ("Sync after one file changed", true)] {
            let rsync = Call::new("rsync").args(["-a", "--delete", "--exclude=.git", "-e"]);
            let rsync = rsync.args([format!("ssh -F {}", self.loopback.ssh_config().display())]);
            let copy = self.loopback.folder().join("copy");
            let rsync = rsync.args([format!("{}/", self.tree.display()), format!("box:{}", copy.display())]);
            let contenders = vec![
                self.changing(
                    "llorch remote sync box",
                    self.ours(&["remote", "sync", "box"]).dir(&self.tree),
                    is_changed,
                ),
                self.changing("rsync -a --delete", rsync, is_changed),
            ];
            tables.push(self.compare(title, &contenders)?);
        }
        tables.push(self.compare(
            "Twenty hosts, a verb that does nothing",
            &self.many("idle", "host", &["remote", "hosts", "list"]),
        )?);
        tables.push(
            self.compare("Twenty hosts, a verb that takes 5 s over there", &self.many("busy", "work", &["tidy"]))?,
        );
        Ok(tables)
    }

    /// Ours to all, ours to one, and as many bare connections at the same time.
    fn many(&self, tag: &str, name: &str, words: &[&str]) -> Vec<Contender<'static>> {
        let to = |hosts: &str| self.ours(&["--remote", hosts]).args(words);
        let config = self.loopback.ssh_config();
        let script =
            format!("for n in $(seq 0 {}); do ssh -F {} {name}$n true & done; wait", HOSTS - 1, config.display());
        vec![
            contender("llorch to 20 hosts", to(&format!("tag:{tag}"))),
            contender("llorch to 1 host", to(&format!("{name}0"))),
            contender("20 times ssh HOST true, at once", Call::new("sh").args(["-c", &script])),
        ]
    }

    fn compare(&self, title: &str, contenders: &[Contender<'_>]) -> Result<Table, Failure> {
        comparison::compare(self.output, title.to_owned(), contenders, self.rounds)
    }

    fn ours(&self, words: &[&str]) -> Call {
        self.loopback.knowing(Call::new(&self.llorch)).args(words)
    }

    fn ssh(&self, host: &str, words: &[&str]) -> Call {
        Call::new("ssh").args(["-F".as_ref(), self.loopback.ssh_config().as_os_str()]).args([host]).args(words)
    }

    /// A contender before whose every run one file becomes another.
    fn changing(&self, name: &'static str, call: Call, is_changed: bool) -> Contender<'_> {
        let file = self.tree.join("folder0/file50.rs");
        let prepare = move || {
            if is_changed {
                write(&file, &format!("fn another_{}() {{}}\n", crate::remote::random_word()?))?;
            }
            Ok(())
        };
        Contender { name, call, prepare: Box::new(prepare) }
    }
}

fn contender(name: &'static str, call: Call) -> Contender<'static> {
    Contender { name, call, prepare: Box::new(|| Ok(())) }
}

fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(file);
    if !folder.is_dir() {
        fs_err::create_dir_all(folder)?;
    }
    Ok(fs_err::write(file, text)?)
}
