//! A checkout with four submodules, the repositories behind them, and the programs that are run in it.

use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The submodules of every world.
pub const NAMES: [&str; 4] = ["candle", "candle-vllm", "llama.cpp", "mistral.rs"];

/// A folder with everything in it: `work` is the checkout, `upstream.git` what it was cloned from.
pub struct World {
    folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    /// A fresh clone, no submodule here.
    pub fn new() -> Self {
        Self::with_files(40, 200)
    }

    /// The same, its submodules with so many files of so many bytes.
    pub fn with_files(files: usize, bytes: usize) -> Self {
        let world = Self { folder: tempfile::tempdir().expect("a folder"), variables: Vec::new() };
        let settings = "[user]\n\tname = T\n\temail = t@example.org\n[init]\n\tdefaultBranch = main\n";
        std::fs::write(world.path(".gitconfig"), settings).expect("settings");
        for name in NAMES {
            world.make_bare(&format!("{name}.git"), &library(name, files, bytes));
        }
        let upstream = world.superproject();
        world.make_bare("upstream.git", &upstream);
        world.git(".", &["clone", "--quiet", &world.text("upstream.git"), "work"]);
        world
    }

    /// The same world with a variable in the environment of every program.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path as an argument.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file, its folders too.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn has(&self, name: &str) -> bool {
        std::fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Plain git, which must succeed; what it printed.
    pub fn git(&self, folder: &str, arguments: &[&str]) -> String {
        let outcome = self.try_git(folder, arguments);
        assert_eq!(outcome.code, 0, "git {arguments:?}: {outcome:?}");
        outcome.stdout.trim_end().to_owned()
    }

    pub fn try_git(&self, folder: &str, arguments: &[&str]) -> Outcome {
        let mut command = self.command(Path::new("git"), folder);
        // What a user would have to say to use paths of this machine.
        command.args(["-c", "protocol.file.allow=always"]).args(arguments);
        finish(command.spawn().expect("git starts"))
    }

    /// The command in the checkout.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.start(arguments))
    }

    /// The command, which must succeed.
    pub fn done(&self, arguments: &[&str]) -> Outcome {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 0, "{arguments:?}: {outcome:?}");
        outcome
    }

    /// Starts the command in the checkout, in a process group of its own.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(Path::new(env!("CARGO_BIN_EXE_xtask")), "work/crates");
        command.args(arguments).spawn().expect("the command starts")
    }

    /// The document that a verb prints.
    pub fn document(&self, arguments: &[&str]) -> Value {
        self.done(&[arguments, &["--json"]].concat()).last_event()
    }

    /// A submodule as `submodules status` shows it.
    pub fn submodule(&self, name: &str) -> Value {
        let document = self.document(&["git", "submodules", "status"]);
        let rows = document["submodules"].as_array().expect("submodules");
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} in {document}")).clone()
    }

    /// `git submodule status` by path: its letter and the commit.
    pub fn letters(&self) -> Vec<(String, char, String)> {
        let text = self.try_git("work", &["submodule", "status"]);
        assert_eq!(text.code, 0, "{text:?}");
        let line = |line: &str| {
            let (letter, rest) = line.split_at(1);
            let (commit, path) = rest.split_once(' ').expect("a path");
            let path = path.split_once(" (").map_or(path, |(path, _)| path);
            (path.to_owned(), letter.chars().next().expect("a letter"), commit.to_owned())
        };
        text.stdout.lines().map(line).collect()
    }

    /// A commit in a bare repository, made without a checkout; its name.
    pub fn commit_to(&self, repository: &str, branch: &str, files: &[(&str, &str)]) -> String {
        let mut stream = Stream::default();
        stream.commit(branch, Some(&format!("refs/heads/{branch}^0")));
        files.iter().for_each(|(path, text)| stream.file(path, text.as_bytes()));
        self.import(repository, &stream.bytes);
        self.git(repository, &["rev-parse", branch])
    }

    /// A commit upstream that names another commit of a submodule.
    pub fn pin(&self, name: &str, commit: &str) -> String {
        let mut stream = Stream::default();
        stream.commit("main", Some("refs/heads/main^0"));
        stream.link(&format!("reference/{name}"), commit);
        self.import("upstream.git", &stream.bytes);
        self.git("upstream.git", &["rev-parse", "main"])
    }

    /// References to what was kept, in a folder.
    pub fn backups(&self, folder: &str) -> Vec<String> {
        let text = self.git(folder, &["for-each-ref", "--format=%(refname)", "refs/llorch/backup"]);
        text.lines().map(str::to_owned).collect()
    }

    fn superproject(&self) -> Vec<u8> {
        let mut stream = Stream::default();
        stream.commit("main", None);
        for file in ["Cargo.toml", "catalog.toml", "xtask/Cargo.toml", "crates/lib.rs"] {
            stream.file(file, format!("# {file}\n").as_bytes());
        }
        stream.file(".gitignore", b"/ignored\n");
        let mut modules = String::new();
        for name in NAMES {
            let url = self.text(&format!("{name}.git"));
            write!(
                modules,
                "[submodule \"{name}\"]\n\tpath = reference/{name}\n\turl = file://{url}\n\tshallow = true\n"
            )
            .expect("text");
            let commit = self.git(&format!("{name}.git"), &["rev-parse", "main~1"]);
            stream.link(&format!("reference/{name}"), &commit);
        }
        stream.file(".gitmodules", modules.as_bytes());
        stream.bytes
    }

    fn make_bare(&self, name: &str, stream: &[u8]) {
        self.git(".", &["init", "--quiet", "--bare", name]);
        self.import(name, stream);
    }

    fn import(&self, repository: &str, stream: &[u8]) {
        let mut command = self.command(Path::new("git"), repository);
        let mut child = command.args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git starts");
        child.stdin.take().expect("a pipe").write_all(stream).expect("git reads");
        let outcome = finish(child);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }

    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    fn command(&self, program: &Path, folder: &str) -> Command {
        let mut command = Command::new(program);
        let foreign =
            |name: &str| ["XDG_", "LLORCH_", "CARGO_MANIFEST", "GIT_"].iter().any(|start| name.starts_with(start));
        std::env::vars().filter(|(name, _)| foreign(name)).for_each(|(name, _)| {
            command.env_remove(name);
        });
        // The home moves, the toolchain stays where it is.
        for (name, below_home) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if let (None, Some(home)) = (std::env::var_os(name), std::env::var_os("HOME")) {
                command.env(name, Path::new(&home).join(below_home));
            }
        }
        command.current_dir(self.path(folder)).env("HOME", self.folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Outcome {
    /// Standard output as JSON, one value a line.
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        self.stdout.lines().map(parse).collect()
    }

    pub fn last_event(&self) -> Value {
        self.events().pop().unwrap_or_else(|| panic!("no events: {self:?}"))
    }

    /// It failed as people are told: an error with these words, and a hint.
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for word in ["error: ", "hint: "].iter().chain(words) {
            assert!(self.stderr.contains(word), "no `{word}` in {self:?}");
        }
    }
}

/// Waits for the end of a program.
pub fn finish(child: Child) -> Outcome {
    let output = child.wait_with_output().expect("it ends");
    let code = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default());
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Outcome { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// What `git fast-import` reads: a repository in one go.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    commits: usize,
}

impl Stream {
    /// A commit; the first is called `:1`.
    pub fn commit(&mut self, branch: &str, parent: Option<&str>) {
        self.commits += 1;
        let mark = self.commits;
        let text = format!("commit refs/heads/{branch}\nmark :{mark}\ncommitter T <t@example.org> 1700000000 +0000\n");
        self.bytes.extend(text.into_bytes());
        self.data(b"a change");
        if let Some(parent) = parent {
            self.bytes.extend(format!("from {parent}\n").into_bytes());
        }
    }

    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.bytes.extend(format!("M 100644 inline {path}\n").into_bytes());
        self.data(bytes);
    }

    pub fn link(&mut self, path: &str, commit: &str) {
        self.bytes.extend(format!("M 160000 {commit} {path}\n").into_bytes());
    }

    fn data(&mut self, bytes: &[u8]) {
        self.bytes.extend(format!("data {}\n", bytes.len()).into_bytes());
        self.bytes.extend(bytes);
        self.bytes.push(b'\n');
    }
}

/// A library as a submodule has one: three commits on main, and the branch `metal-fixes` off the second. Between the
/// commits, every file changes.
fn library(name: &str, files: usize, bytes: usize) -> Vec<u8> {
    let mut stream = Stream::default();
    for version in 1..=3 {
        stream.commit("main", None);
        stream.file("version", format!("{version}\n").as_bytes());
        stream.file(".gitignore", b"build/\n");
        for file in 0..files {
            let text = format!("{name} {version} {file}\n");
            stream.file(&format!("src/part{}/file{file}.rs", file % 10), &noise(&text, bytes));
        }
    }
    stream.commit("metal-fixes", Some(":2"));
    stream.file("metal", b"fixed\n");
    stream.bytes
}

/// Bytes that do not compress, and begin with a text (xorshift64, Marsaglia 2003).
fn noise(text: &str, bytes: usize) -> Vec<u8> {
    let mut state =
        text.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).wrapping_mul(31));
    let mut noise = text.as_bytes().to_vec();
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise
}
