//! What is installed below a prefix, and how one version replaces another. Building is `verbs/install.rs`'s.
//!
//! Each version is a folder of its own, `lib/llorch/versions/<number>`, complete before it has its name. `bin/llorch` and the
//! others are links through `lib/llorch/current`, itself a link to a version: replacing that one link by a rename switches
//! everything at once. Whatever a killed run leaves is a folder that nothing refers to, or a link that leads nowhere yet;
//! the next run removes the one and makes use of the other.

mod files;
mod links;
mod lock;
mod manifest;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::output::Output;
use crate::process::{find_on_path, quoted};
use crate::scratch::Scratch;

pub use files::{files_below, make_folder};
use files::{have_same_bytes, refused, remove_if_there, remove_tree, settle, sync_folder};
use links::without_links;
pub use links::{LinkPath, Links};
pub use lock::Lock;
pub use manifest::Manifest;

/// Below the prefix: all that is not a link.
const HOME: &str = "lib/llorch";
/// In there: the link that decides.
const CURRENT: &str = "current";
const VERSIONS: &str = "versions";
/// What is being put together; no version, whose names are numbers.
const STAGE: &str = ".new";
/// What is being removed.
const DOOMED: &str = ".old";
const MANIFEST: &str = "manifest.json";
/// Below the prefix and below a version: what can be run.
pub const PROGRAMS: &str = "bin";

/// A place programs are installed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    path: PathBuf,
}

/// A version that is being put together, gone with this value unless it was published.
#[derive(Debug)]
pub struct Stage {
    scratch: Scratch,
}

/// The number of a version: counts up, never used twice as long as it is there.
pub type Number = u64;

impl Prefix {
    /// The prefix at an absolute path; it need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The prefix whose programs this one belongs to.
    pub fn of_this_program() -> Option<Self> {
        Self::of_program(&std::env::current_exe().ok()?)
    }

    /// The prefix that a program was installed in: the user's own as `HOME` names it, another without links in its path.
    pub fn of_program(program: &Path) -> Option<Self> {
        let program = std::fs::canonicalize(program).ok()?;
        let prefix = program.ancestors().find_map(|folder| {
            let is_home = folder.ends_with(HOME) && folder.join(VERSIONS).is_dir();
            is_home.then(|| folder.ancestors().nth(2)).flatten()
        })?;
        let of_user = Self::of_user().filter(|of_user| without_links(&of_user.path) == prefix);
        Some(of_user.unwrap_or_else(|| Self::new(prefix.to_owned())))
    }

    /// The prefix of this user, where `install` puts programs unless told otherwise.
    pub fn of_user() -> Option<Self> {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())?;
        Some(Self::new(home.join(".local")))
    }

    /// The option that names it, a blank before it; nothing where any `llorch` means it without one.
    pub fn option(&self) -> String {
        let is_same = |other: Self| without_links(&other.path) == without_links(&self.path);
        if Self::of_user().is_some_and(is_same) && Self::of_this_program().is_none_or(is_same) {
            return String::new();
        }
        format!(" --prefix {}", quoted(self.path.as_os_str()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the shell finds its programs.
    pub fn programs(&self) -> PathBuf {
        self.path.join(PROGRAMS)
    }

    /// The folder of everything that is not a link.
    pub fn home(&self) -> PathBuf {
        self.path.join(HOME)
    }

    fn versions(&self) -> PathBuf {
        self.home().join(VERSIONS)
    }

    fn version(&self, number: Number) -> PathBuf {
        self.versions().join(number.to_string())
    }

    /// Says that these names cannot be changed, before anybody waits for a build.
    ///
    /// # Errors
    /// Of one of their folders, the nearest that is there refuses.
    pub fn check_writable(&self, names: &[LinkPath]) -> Result<(), Failure> {
        let of_names = names.iter().filter_map(|name| Some(self.path.join(name.as_path().parent()?)));
        let folders: BTreeSet<PathBuf> = of_names.chain([self.home()]).collect();
        folders.iter().try_for_each(|folder| check_folder(folder))
    }

    /// Makes a folder of its own for a version, with what a killed run left removed. Under the lock only.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn stage(&self, _held: &Lock) -> Result<Stage, Failure> {
        make_folder(&self.versions())?;
        let scratch = Scratch::at(self.versions().join(STAGE))?;
        Ok(Stage { scratch })
    }

    /// The version in use; none before the first is complete.
    ///
    /// # Errors
    /// The link leads to what is no version.
    pub fn current(&self) -> Result<Option<Number>, Failure> {
        let link = self.home().join(CURRENT);
        let target = match std::fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
            Err(error) => return Err(Failure::new(format!("cannot read the link `{}`: {error}", link.display()))),
        };
        let number = target.strip_prefix(VERSIONS).ok().and_then(|name| parse_number(name.to_str()?));
        number.map(Some).ok_or_else(|| {
            let message = format!("`{}` leads to `{}`, which is no version", link.display(), target.display());
            Failure::new(message).hint(format!("cargo xtask uninstall{}", self.option()))
        })
    }

    /// What the version consists of.
    ///
    /// # Errors
    /// Its manifest cannot be read or understood.
    pub fn manifest(&self, number: Number) -> Result<Manifest, Failure> {
        let folder = self.version(number);
        Manifest::read(&folder.join(MANIFEST)).map_err(|failure| {
            let install = format!("cargo xtask install{}", self.option());
            let is_in_use = self.current().ok().flatten() == Some(number);
            // Removed first, the program that is to be called would be gone.
            failure.hint(if is_in_use { install } else { format!("rm -r {}", quoted(folder.as_os_str())) })
        })
    }

    /// Whether the version is here, whole: it loses its name before it loses a file.
    pub fn has(&self, number: Number) -> bool {
        self.version(number).join(MANIFEST).is_file()
    }

    /// The versions that are here.
    pub fn numbers(&self) -> Vec<Number> {
        let entries = std::fs::read_dir(self.versions()).into_iter().flatten().flatten();
        let mut numbers: Vec<Number> = entries.filter_map(|entry| parse_number(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Makes `stage` a version, which is not in use yet. Everything in it is on disk then.
    ///
    /// # Errors
    /// The system refuses.
    pub fn publish(&self, stage: &Stage, manifest: &Manifest, _held: &Lock) -> Result<Number, Failure> {
        let newest = self.numbers().pop().unwrap_or(0);
        let number =
            newest.checked_add(1).ok_or_else(|| Failure::new("the numbers of versions have come to an end"))?;
        manifest.write(&stage.path().join(MANIFEST))?;
        settle(stage.path())?;
        fs_err::rename(stage.path(), self.version(number))?;
        sync_folder(&self.versions())?;
        Ok(number)
    }

    /// Puts the version to use in place of the one that is: names it adds come before, names it lacks go after, so that at
    /// no moment a set of programs is incomplete.
    ///
    /// # Errors
    /// A name is taken, or the system refuses. Before the switch what is in use has not changed.
    pub fn switch_to(&self, number: Number, replaces_others: bool, _held: &Lock) -> Result<(), Failure> {
        let manifest = self.manifest(number)?;
        let links = Links::new(self);
        links.check_free(&manifest.links, replaces_others)?;
        links.make_all(&manifest.links)?;
        let (link, temporary) = (self.home().join(CURRENT), self.home().join(format!(".{CURRENT}")));
        remove_if_there(&temporary)?;
        symlink(Path::new(VERSIONS).join(number.to_string()), &temporary)
            .map_err(|error| Failure::new(format!("cannot make the link `{}`: {error}", temporary.display())))?;
        fs_err::rename(&temporary, &link)?;
        sync_folder(&self.home())?;
        // A damaged version of before does not stop a good one; what it installed beyond this one's names stays.
        let of_others = self.numbers().into_iter().filter_map(|other| self.manifest(other).ok());
        for path in of_others.flat_map(|other| other.links).filter(|path| !manifest.links.contains(path)) {
            links.remove(&path)?;
        }
        Ok(())
    }

    /// Drops every version but those, and what killed runs left.
    ///
    /// # Errors
    /// The system refuses.
    pub fn keep_only(&self, kept: &[Number], _held: &Lock) -> Result<(), Failure> {
        let entries: Vec<_> = std::fs::read_dir(self.versions()).into_iter().flatten().flatten().collect();
        for entry in entries {
            let name = entry.file_name();
            let number = name.to_str().and_then(parse_number);
            if number.is_some_and(|number| kept.contains(&number)) {
                continue;
            }
            let doomed = self.versions().join(DOOMED);
            if number.is_some() {
                // It stops being a version before it stops being whole.
                remove_tree(&doomed)?;
                fs_err::rename(entry.path(), &doomed)?;
                remove_tree(&doomed)?;
            } else {
                remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Removes what was installed here, its manifests last; returns the names that are gone. Folders that hold something
    /// else stay.
    ///
    /// # Errors
    /// The system refuses; another call goes on.
    pub fn remove(&self, _held: &Lock) -> Result<Vec<LinkPath>, Failure> {
        let links = Links::new(self);
        let mut gone = Vec::new();
        for path in self.installed()? {
            if links.remove(&path)? {
                gone.push(path);
            }
        }
        links.remove_empty_folders(&gone);
        remove_if_there(&self.home().join(CURRENT))?;
        self.keep_only(&[], _held)?;
        remove_tree(&self.home())?;
        Ok(gone)
    }

    /// Names that any version here has installed.
    ///
    /// # Errors
    /// A manifest cannot be read or understood.
    pub fn installed(&self) -> Result<Vec<LinkPath>, Failure> {
        let mut paths = Vec::new();
        for number in self.numbers() {
            paths.extend(self.manifest(number)?.links);
        }
        paths.sort();
        paths.dedup();
        Ok(paths)
    }

    /// What all that is not a link takes.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn size_bytes(&self) -> Result<u64, Failure> {
        let files = files_below(&self.home())?;
        let sizes = files.iter().filter_map(|name| self.home().join(name).symlink_metadata().ok());
        Ok(sizes.map(|data| data.len()).fold(0, u64::saturating_add))
    }

    /// Whether the version consists of the same files as `stage`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn is_same(&self, number: Number, stage: &Stage) -> Result<bool, Failure> {
        let (old, new) = (self.version(number), stage.path());
        let (mut names, mut others) = (files_below(&old)?, files_below(new)?);
        names.retain(|name| name != Path::new(MANIFEST));
        others.retain(|name| name != Path::new(MANIFEST));
        if names != others {
            return Ok(false);
        }
        for name in names {
            let (one, other) = (fs_err::File::open(old.join(&name))?, fs_err::File::open(new.join(&name))?);
            if !have_same_bytes(one, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Stage {
    /// Where it is put together.
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Every file in it, as it is to be called below the prefix.
    ///
    /// # Errors
    /// A folder cannot be read, or a name is none that can be installed.
    pub fn links(&self) -> Result<Vec<LinkPath>, Failure> {
        files_below(self.path())?.iter().map(|name| LinkPath::parse(name)).collect()
    }
}

/// Whether the folder, or the nearest one above it that is there, takes new names.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        let message = format!("`{}` is no folder: nothing can be installed below it", there.display());
        return Err(refused(&message, ErrorKind::NotADirectory));
    }
    let may = rustix::fs::access(there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    may.map_err(std::io::Error::from)
        .map_err(|error| refused(&format!("cannot write to `{}`: {error}", there.display()), error.kind()))
}

fn parse_number(name: &str) -> Option<Number> {
    let number = name.parse::<Number>().ok()?;
    (number.to_string() == name).then_some(number)
}

/// The line that makes a shell look into `folder` first.
pub fn path_line(folder: &Path) -> String {
    format!("export PATH={}:\"$PATH\"", quoted(folder.as_os_str()))
}

/// Says what of the shell's path concerns the programs in `folder`.
pub fn advise_on_path(output: Output, folder: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|entry| entry == folder) {
        output.note(format_args!(
            "`{}` is not on your PATH: `{}` in your shell's profile makes `llorch` known",
            folder.display(),
            path_line(folder)
        ));
        return;
    }
    let first = find_on_path("llorch", &[]);
    if let Some(other) = first.filter(|program| program.parent() != Some(folder)) {
        output.warning(format_args!("`llorch` means `{}`, which comes first on your PATH", other.display()));
    }
}
