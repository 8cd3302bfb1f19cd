//! A home with a cargo that builds nothing, a prefix below it, and what can be seen in there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Home, Outcome, finish};

/// The programs that are installed.
pub const PROGRAMS: [&str; 4] = ["llorch", "llorch-pool", "llorch-convert", "llorch-worker-cpu"];
/// Other files that are.
pub const TEXTS: [&str; 4] = [
    "share/bash-completion/completions/llorch",
    "share/fish/vendor_completions.d/llorch.fish",
    "share/man/man1/llorch.1",
    "share/zsh/site-functions/_llorch",
];

/// A cargo that says that it built what lies beside it; what it was asked for is in `calls`.
const CARGO: &str = r#"#!/bin/sh
here=$(dirname "$0")
case "$1" in metadata | tree) exec "$REAL_CARGO" "$@" ;; esac
while [ $# -gt 0 ]; do case "$1" in --bin) name=$2 ;; esac; shift; done
echo "$name" >> "$here/calls"
test ! -e "$here/broken" || { echo "error: it does not compile" >&2; exit 101; }
printf '{"reason":"compiler-artifact","target":{"name":"%s","kind":["bin"]},"fresh":true,"executable":"%s"}\n' "$name" "$here/$name"
"#;

/// A home whose cargo has programs of the given version.
pub fn home(version: &str) -> Home {
    let home = Home::new();
    let cargo = home.path("built/cargo").display().to_string();
    // Questions about crates go to the one that runs the tests.
    let real = std::env::var("CARGO").expect("tests are run by cargo");
    let home = home.with("CARGO", &cargo).with("REAL_CARGO", &real);
    build(&home.path("built"), version, "");
    home
}

/// What the cargo in `folder` hands out from now on: programs that know their version, and pages of the manual, one more
/// than usual if `page` is the name of one.
pub fn build(folder: &Path, version: &str, page: &str) {
    std::fs::create_dir_all(folder).expect("a folder");
    write(&folder.join("cargo"), CARGO);
    for (name, backend) in
        [("xtask", ""), ("llorch-pool", ""), ("llorch-convert", ""), ("llorch-worker", r#""backend":"cpu","#)]
    {
        let stamp = format!(
            r#"{{"program":"{name}",{backend}"version":"1","features":[],"commit":"{version}","target":"t","profile":"release"}}"#
        );
        let more = if page.is_empty() { String::new() } else { format!("echo {version} > \"$4/{page}\"") };
        let script = format!(
            "#!/bin/sh\n# {version}\ncase \"$*\" in\n'--version --json') echo '{stamp}' ;;\n\
             completions*) echo {version} ;;\n*man*) echo {version} > \"$4/llorch.1\"; {more} ;;\nesac\n"
        );
        write(&folder.join(name), &script);
    }
}

/// A program; written beside and renamed, so that one that runs is not touched.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a script");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    std::fs::rename(new, path).expect("a script");
}

/// Installs what cargo has into `prefix` of the home.
pub fn install(home: &Home, more: &[&str]) -> Outcome {
    let prefix = home.path("prefix").display().to_string();
    // The machine may have a compiler for devices, too.
    let backend: &[&str] = if more.contains(&"--rollback") { &[] } else { &["--backend", "cpu"] };
    home.run_in_checkout(&[&["install", "--prefix", &prefix], backend, more].concat())
}

/// Installs, and it works.
pub fn installed(home: &Home, more: &[&str]) -> Outcome {
    let outcome = install(home, more);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    outcome
}

/// Runs a verb on the prefix, as the installed program of this test.
pub fn on_prefix(home: &Home, arguments: &[&str]) -> Outcome {
    let prefix = home.path("prefix").display().to_string();
    home.run(&[arguments, &["--prefix", &prefix]].concat())
}

/// The version that all names below the prefix lead to; none if no name leads anywhere. Two versions at once are the end
/// of the test.
pub fn version(prefix: &Path) -> Option<String> {
    let of_file = |name: &str| {
        let text = std::fs::read_to_string(prefix.join(name)).ok()?;
        let word = text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or(text.trim());
        Some(word.to_owned())
    };
    let programs = PROGRAMS.map(|name| of_file(&format!("bin/{name}")));
    let versions: Vec<_> = programs.into_iter().chain(TEXTS.map(of_file)).collect();
    let first = versions[0].clone();
    assert!(versions.iter().all(|version| *version == first), "half a set: {versions:?}");
    first
}

/// Numbers of the versions that are kept; whatever else lies beside them is the end of the test.
pub fn kept(prefix: &Path) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        names(&prefix.join("lib/llorch/versions")).iter().map(|name| name.parse().expect("a version")).collect();
    numbers.sort_unstable();
    numbers
}

/// Names in a folder, in order.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Every file and link below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok_and(|data| data.is_dir()) {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// What cargo was asked to build so far.
pub fn builds(home: &Home) -> usize {
    std::fs::read_to_string(home.path("built/calls")).unwrap_or_default().lines().count()
}

/// The command in this checkout, to be changed before it starts.
pub fn in_checkout(home: &Home, arguments: &[&str]) -> Command {
    let mut command = home.prepared(Path::new(env!("CARGO_BIN_EXE_xtask")), arguments);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

/// Runs it to its end.
pub fn run(mut command: Command) -> Outcome {
    finish(command.spawn().expect("it starts"))
}
