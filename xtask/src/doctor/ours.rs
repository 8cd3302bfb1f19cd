//! What is ours on this machine: the checkout and its submodules, the configuration, and what was installed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use protocol::identifiers::Backend;
use protocol::stamp::Stamp;

use super::ask::ask;
use super::{Check, Scene, Status};
use crate::binaries::{BACKENDS, Product};
use crate::git::repository::Repository;
use crate::git::submodules::{self, Look, State};
use crate::installation::{Prefix, path_line};
use crate::process::{Call, find_on_path, quoted};
use crate::{configuration, git};

/// A program: as a shell calls it, and the file that it leads to. The two differ where it is installed, and only the first
/// outlives an upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    path: PathBuf,
    file: PathBuf,
}

impl Named {
    fn new(path: PathBuf) -> Self {
        let file = path.canonicalize().unwrap_or_else(|_| path.clone());
        Self { path, file }
    }
}

/// Whether there is something to build.
pub fn checkout(scene: &Scene) -> Vec<Check> {
    match &scene.root {
        Some(root) => vec![Check::ok("checkout", format!("`{}`", root.display()))],
        None => {
            let message = String::from("not in a checkout: `build`, `test` and `ci` need one");
            vec![Check { name: "checkout", status: Status::Warning, message, hint: None }]
        }
    }
}

/// The repositories of `reference/`. None has to be here.
pub fn submodules(scene: &Scene) -> Vec<Check> {
    const NAME: &str = "submodules";
    let Some(root) = &scene.root else { return Vec::new() };
    if !root.join(".git").exists() {
        let message = String::from("the checkout is no git repository: programs built in it do not know their commit");
        return vec![Check { name: NAME, status: Status::Warning, message, hint: None }];
    }
    let found = Repository::open().and_then(|repository| submodules::all(&repository, Look::Commits));
    let found = match found {
        Ok(found) => found,
        Err(failure) => {
            let hint = failure.hint.unwrap_or_else(|| String::from("cargo xtask git submodules status"));
            return vec![Check::failed(NAME, failure.message, hint)];
        }
    };
    let mut checks = Vec::new();
    for one in &found {
        let (name, path) = (one.name(), one.declared.path.as_str());
        match &one.state {
            State::Strange(why) => {
                let hint = format!("mv '{path}' '{path}.old' && cargo xtask git submodules update {name}");
                checks.push(Check::warning(NAME, format!("`{path}` {why}"), hint));
            }
            State::Conflict => {
                let message = format!("`{path}` is torn between several commits");
                checks.push(Check::warning(NAME, message, "git status; finish or abort what is under way"));
            }
            State::Absent | State::Inactive | State::Right | State::Other | State::Unrecorded => {}
        }
    }
    if checks.is_empty() {
        let here = found.iter().filter(|one| one.is_here()).count();
        checks.push(Check::ok(NAME, format!("{here} of {} are here; nothing needs them", found.len())));
    }
    checks
}

/// Whether the configuration is understood, and nobody else can change or read what should be ours.
pub fn config(scene: &Scene) -> Vec<Check> {
    const NAME: &str = "config";
    let configuration = match &scene.configuration {
        Ok(configuration) => configuration,
        Err(failure) => {
            let hint = failure.hint.clone().unwrap_or_else(|| String::from("cargo xtask dev check"));
            return vec![Check::failed(NAME, failure.message.clone(), hint)];
        }
    };
    let Ok(file) = configuration::user_file() else { return Vec::new() };
    let shown = file.display();
    let Ok(data) = std::fs::metadata(&file) else {
        return vec![Check::ok(NAME, format!("`{shown}` is not there: defaults hold"))];
    };
    let mode = data.permissions().mode() & 0o777;
    let has_variables = configuration.hosts.values().any(|profile| profile.file == file && !profile.env.is_empty());
    let message = match mode {
        _ if mode & 0o022 != 0 => format!("others may change `{shown}` (mode {mode:o})"),
        _ if has_variables && mode & 0o044 != 0 => {
            format!("others may read the variables of hosts in `{shown}` (mode {mode:o})")
        }
        _ => {
            let count = configuration.hosts.len();
            return vec![Check::ok(NAME, format!("`{shown}` is understood; {count} hosts are known"))];
        }
    };
    vec![Check::warning(NAME, message, format!("chmod 600 {}", quoted(file.as_os_str())))]
}

/// Which `llorch` a shell finds.
pub fn path(_scene: &Scene) -> Vec<Check> {
    let mut found: Vec<Named> = Vec::new();
    for folder in search_path() {
        let candidate = Named::new(folder.join(Product::Command.installed_name()));
        if is_executable(&candidate.file) && !found.iter().any(|other| other.file == candidate.file) {
            found.push(candidate);
        }
    }
    let default = default_place().filter(|place| is_executable(place)).map(Named::new);
    vec![judge_path(&found, running().map(Named::new).as_ref(), default.as_ref())]
}

/// `found` on `PATH`, in order; `running` is this program if it is an installed one; `default` lies where `install` puts it.
fn judge_path(found: &[Named], running: Option<&Named>, default: Option<&Named>) -> Check {
    const NAME: &str = "path";
    let ours = running.or(default);
    let put_first = |program: &Named| path_line(program.path.parent().unwrap_or(&program.path));
    match (found, ours) {
        ([], None) => Check::ok(NAME, "no `llorch` is installed"),
        ([], Some(ours)) => {
            let message = format!("`{}` is installed, and its folder is not on `PATH`", ours.path.display());
            Check::warning(NAME, message, put_first(ours))
        }
        ([first, ..], Some(ours)) if first.file != ours.file => {
            let message = format!("`llorch` means `{}`, not `{}`", first.path.display(), ours.path.display());
            Check::warning(NAME, message, put_first(ours))
        }
        ([first, second, ..], None) => {
            let (first, hidden) = (first.path.display(), second.path.display());
            let message =
                format!("`llorch` means `{first}`, which hides `{hidden}`; if that one is meant, put it first");
            Check::warning(NAME, message, put_first(second))
        }
        ([first, ..], _) => Check::ok(NAME, format!("`llorch` means `{}`", first.path.display())),
    }
}

/// Whether what was installed together is all there, and is of this checkout's commit.
pub fn binaries(scene: &Scene) -> Vec<Check> {
    const NAME: &str = "binaries";
    let first = || find_on_path(&Product::Command.installed_name(), &[]);
    let command = running().or_else(first).or_else(default_place);
    let Some(command) = command.filter(|command| is_executable(command)) else {
        return vec![Check::ok(NAME, "none are installed")];
    };
    // Workers for devices are there only if the machine that installed could build them.
    let is_expected = |worker: &Product| {
        *worker == Product::Worker(Backend::Cpu) || command.with_file_name(worker.installed_name()).exists()
    };
    let workers = BACKENDS.map(Product::Worker).into_iter().filter(is_expected);
    let products = [Product::Command, Product::Pool, Product::Convert].into_iter().chain(workers);
    let names: Vec<String> = products.map(Product::installed_name).collect();
    let stamps: Vec<(String, Installed)> =
        names.into_iter().map(|name| (name.clone(), installed(&command.with_file_name(name)))).collect();
    let commit = scene.root.as_deref().and_then(|root| git::commit(root).ok());
    vec![judge_binaries(&stamps, commit.as_deref(), &command)]
}

/// A program where it was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Installed {
    Missing,
    Strange,
    At(String),
}

fn installed(program: &Path) -> Installed {
    if !is_executable(program) {
        return Installed::Missing;
    }
    let ended = ask(&Call::new(program).args(["--version", "--json"]));
    let stamp = ended.ok().and_then(|ended| serde_json::from_str::<Stamp>(ended.text().trim()).ok());
    stamp.map_or(Installed::Strange, |stamp| Installed::At(stamp.commit))
}

/// All are to be of `commit`; outside a checkout, of one commit.
fn judge_binaries(programs: &[(String, Installed)], commit: Option<&str>, command: &Path) -> Check {
    const NAME: &str = "binaries";
    let folder = command.parent().unwrap_or(command).display();
    // What was built from edited files of that commit counts as of that commit.
    let base = |commit: &str| commit.strip_suffix("-dirty").unwrap_or(commit).to_owned();
    let of_first = programs.iter().find_map(|(_, one)| match one {
        Installed::At(commit) => Some(commit.as_str()),
        Installed::Missing | Installed::Strange => None,
    });
    let wanted = commit.filter(|commit| *commit != "unknown").or(of_first).map(base);
    let short = |commit: &str| commit.get(..12).unwrap_or(commit).to_owned();
    for (name, one) in programs {
        let message = match one {
            Installed::Missing => format!("`{name}` is missing beside the others in `{folder}`"),
            Installed::Strange => format!("`{name}` in `{folder}` does not say what it is"),
            Installed::At(found) => match &wanted {
                Some(wanted) if base(found) != *wanted => {
                    let whose = if commit.is_some() { "this checkout is" } else { "the others are" };
                    format!("`{name}` in `{folder}` is of commit {}, {whose} at {}", short(found), short(wanted))
                }
                Some(_) | None => continue,
            },
        };
        let option = Prefix::of_program(command).map(|prefix| prefix.option()).unwrap_or_default();
        return Check::warning(NAME, message, format!("cargo xtask install{option}"));
    }
    Check::ok(NAME, format!("{} in `{folder}`, all of one commit", programs.len()))
}

fn search_path() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).filter(|folder| folder.is_absolute()).collect()
}

/// Whether a shell would find a program of that name.
pub fn is_on_path(name: &str) -> bool {
    find_on_path(name, &[]).is_some()
}

/// This program, if it is an installed one.
fn running() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    let name = Product::Command.installed_name();
    let is_named_so = program.file_name().is_some_and(|file| file == name.as_str());
    let of_prefix = Prefix::of_program(&program).map(|prefix| prefix.programs().join(name));
    is_named_so.then(|| of_prefix.filter(|place| is_executable(place)).unwrap_or(program))
}

/// Where `install` puts the command unless told otherwise.
fn default_place() -> Option<PathBuf> {
    Some(Prefix::of_user()?.programs().join(Product::Command.installed_name()))
}

fn is_executable(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Installed, Named, judge_binaries, judge_path};
    use crate::doctor::Status;

    /// Found on `PATH`, running, in the default place; how that is, and words of the line.
    type Case<'a> = (&'a [Named], Option<&'a Named>, Option<&'a Named>, Status, &'a str);

    #[test]
    fn the_llorch_that_a_shell_finds_is_ours_or_the_line_says_which() {
        let program = |path: &str| Named { path: PathBuf::from(path), file: PathBuf::from(path) };
        let (old, new) = (program("/old/llorch"), program("/new/llorch"));
        let cases: [Case<'_>; 6] = [
            (&[], None, None, Status::Ok, "no `llorch`"),
            (&[], None, Some(&new), Status::Warning, "not on `PATH`"),
            (&[old.clone(), new.clone()], Some(&new), None, Status::Warning, "means `/old/llorch`, not `/new/llorch`"),
            (&[old.clone(), new.clone()], None, None, Status::Warning, "hides"),
            (&[new.clone(), old.clone()], Some(&new), Some(&old), Status::Ok, "means `/new/llorch`"),
            (std::slice::from_ref(&new), None, None, Status::Ok, "means `/new/llorch`"),
        ];
        for (found, running, default, status, words) in cases {
            let check = judge_path(found, running, default);
            assert!(check.status == status && check.message.contains(words), "{check:?}");
        }
    }

    #[test]
    fn the_line_for_the_path_names_a_folder_that_outlives_an_upgrade_and_is_one_that_a_shell_takes() {
        let file = PathBuf::from("/p/lib/llorch/versions/1/bin/llorch");
        let ours = Named { path: PathBuf::from("/it's \"$x/bin/llorch"), file: file.clone() };
        let hint = |found: &[Named]| judge_path(found, None, Some(&ours)).hint;
        let line = r#"export PATH='/it'\''s "$x/bin':"$PATH""#;
        assert_eq!(hint(&[]).as_deref(), Some(line));
        // Somebody else's is not to be removed on our word.
        let other = Named { path: PathBuf::from("/theirs/llorch"), file: PathBuf::from("/theirs/llorch") };
        assert_eq!(hint(std::slice::from_ref(&other)).as_deref(), Some(line));
        // Another name of ours is ours.
        assert_eq!(hint(&[Named { path: PathBuf::from("/usr/bin/llorch"), file }, other]), None);
    }

    #[test]
    fn what_is_installed_is_whole_and_of_one_commit() {
        let at = |name: &str, commit: &str| (name.to_owned(), Installed::At(commit.to_owned()));
        let judge = |programs: &[_], commit| judge_binaries(programs, commit, Path::new("/b/llorch"));
        let same = [at("llorch", "aaaa"), at("llorch-pool", "aaaa-dirty")];
        assert_eq!(judge(&same, Some("aaaa")).status, Status::Ok);
        assert_eq!(judge(&same, None).status, Status::Ok);
        assert_eq!(judge(&same, Some("unknown")).status, Status::Ok);
        let stale = judge(&same, Some("bbbb"));
        assert!(stale.status == Status::Warning && stale.message.contains("of commit aaaa"), "{stale:?}");
        let mixed = judge(&[at("llorch", "aaaa"), at("llorch-pool", "bbbb")], None);
        assert!(mixed.message.contains("`llorch-pool`") && mixed.message.contains("the others are"), "{mixed:?}");
        for broken in [Installed::Missing, Installed::Strange] {
            let check = judge(&[at("llorch", "aaaa"), ("llorch-pool".to_owned(), broken)], None);
            assert!(check.status == Status::Warning && check.hint.as_deref() == Some("cargo xtask install"));
        }
    }
}
