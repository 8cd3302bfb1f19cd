//! Whether a program that stands in the target folder is what its sources say.
//!
//! Cargo writes down which files a program was made of (`xtask.d`, in make's notation). All of them, the manifests, the
//! folders they lie in, the lock and the toolchain's file have to be older than the start of the last build that succeeded,
//! by the time of their last change as by that of their contents, since a file that is moved into place brings an old one with
//! it. That build has to be the caller's, the list and the program those that it left. Anything that cannot be read counts as
//! newer: cargo then finds out.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What a program is called.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The file that is used.
    pub program: &'a str,
    /// Cargo's name of it.
    pub binary: &'a str,
    /// The name its last build is remembered by; two callers that build the same file differently have two.
    pub mark: &'a str,
}

/// The files of one build.
#[derive(Debug)]
pub struct Build {
    /// What is built.
    pub program: PathBuf,
    sources: PathBuf,
    mark: PathBuf,
    root: PathBuf,
    identity: Option<String>,
}

impl Build {
    /// The program lies in `folder`, where cargo builds it from the checkout at `root`.
    ///
    /// `identity` is what else decides the result (toolchain, flags, environment), in any words: a build with another one
    /// is not fresh. Without one, none ever is.
    #[must_use]
    pub fn new(root: &Path, folder: &Path, names: Names<'_>, identity: Option<String>) -> Self {
        Self {
            program: folder.join(names.program),
            sources: folder.join(names.binary).with_extension("d"),
            mark: folder.join(format!(".{}-built", names.mark)),
            root: root.to_owned(),
            identity,
        }
    }

    /// Whether nothing changed since the last build.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let Ok(built) = std::fs::metadata(&self.mark).map(|mark| (mark.mtime(), mark.mtime_nsec())) else {
            return false;
        };
        let Some(list) = std::fs::read_to_string(&self.sources).ok() else { return false };
        if std::fs::read_to_string(&self.mark).ok() != self.words(&list) {
            return false;
        }
        let Some(sources) = parse(&list) else { return false };
        let is_older = |path: &PathBuf| last_change(path).is_some_and(|time| time < built);
        sources.iter().map(|path| self.root.join(path)).all(|path| is_older(&path))
            && self.manifests().iter().all(is_older)
    }

    /// Notes the time and forgets the last build; `finish` makes this one the last.
    ///
    /// # Errors
    /// The target folder cannot be written to.
    pub fn begin(&self) -> io::Result<PathBuf> {
        let mark = self.mark.with_extension(std::process::id().to_string());
        // The first build into a folder makes it.
        mark.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&mark, "")?;
        // Whatever ends this one, what it leaves is not what that one left.
        match std::fs::remove_file(&self.mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(mark),
        }
    }

    /// Forgets a build that did not succeed.
    pub fn give_up(mark: &Path) {
        let _gone_already = std::fs::remove_file(mark);
    }

    /// Says that the build which began with `mark` succeeded, and left what lies here now.
    ///
    /// # Errors
    /// The target folder cannot be written to.
    pub fn finish(&self, mark: &Path) -> io::Result<()> {
        let list = std::fs::read_to_string(&self.sources)?;
        let Some(words) = self.words(&list) else { return std::fs::remove_file(mark) };
        let began = std::fs::metadata(mark)?.modified()?;
        std::fs::write(mark, words)?;
        std::fs::File::options().append(true).open(mark)?.set_modified(began)?;
        std::fs::rename(mark, &self.mark)
    }

    /// Whose build this is and what it left. Checkouts may share a target folder, and plain cargo builds into it too.
    fn words(&self, list: &str) -> Option<String> {
        let mut hasher = DefaultHasher::new();
        list.hash(&mut hasher);
        let (identity, program) = (self.identity.as_deref()?, identity_of(&self.program)?);
        Some(format!("{}\n{identity}\n{program}\n{:016x}\n", self.root.display(), hasher.finish()))
    }

    /// What is not among the sources; one that may be missing is left out where it is. A package's folder is newer when a
    /// build script comes to lie in it.
    fn manifests(&self) -> Vec<PathBuf> {
        let always = ["Cargo.toml", "Cargo.lock", "xtask", "xtask/Cargo.toml"].map(|name| self.root.join(name));
        let crates = std::fs::read_dir(self.root.join("crates")).into_iter().flatten().flatten();
        let crates = crates.flat_map(|entry| [entry.path(), entry.path().join("Cargo.toml")]);
        let others = [".cargo/config.toml", "rust-toolchain.toml"].map(|name| self.root.join(name));
        always.into_iter().chain(crates.chain(others).filter(|path| path.exists())).collect()
    }
}

/// Which file this is: another one under the same name differs, as does the same one written anew.
#[must_use]
pub fn identity_of(path: &Path) -> Option<String> {
    let file = std::fs::metadata(path).ok()?;
    Some(format!("{} {} {}", file.ino(), file.mtime(), file.mtime_nsec()))
}

/// When a file or its contents changed, seconds and nanoseconds.
fn last_change(path: &Path) -> Option<(i64, i64)> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.mtime(), file.mtime_nsec()).max((file.ctime(), file.ctime_nsec())))
}

/// The files after the first colon; a blank inside a name stands behind a backslash.
fn parse(text: &str) -> Option<Vec<PathBuf>> {
    let line = text.lines().next()?;
    let (_program, list) = line.split_once(": ")?;
    let (mut names, mut name) = (Vec::new(), String::new());
    let mut letters = list.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&' ') => name.extend(letters.next()),
            ' ' => names.push(std::mem::take(&mut name)),
            letter => name.push(letter),
        }
    }
    names.push(name);
    Some(names.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Build, Names, parse};

    #[test]
    fn the_list_of_sources_is_read_with_blanks_in_names() {
        let names = parse("/t/xtask: /a/b.rs /a/with\\ blank.rs c.rs\n\n/a/b.rs:\n").expect("a list");
        assert_eq!(names, ["/a/b.rs", "/a/with blank.rs", "c.rs"].map(PathBuf::from));
        assert_eq!(parse("nothing"), None);
    }

    const FILES: [&str; 7] = [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo/config.toml",
        "rust-toolchain.toml",
        "xtask/Cargo.toml",
        "xtask/src/a b.rs",
        "crates/x/Cargo.toml",
    ];

    fn write(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, "").expect("a file");
    }

    /// A build whose every file is older than its mark.
    fn built(root: &Path) -> Build {
        let names = Names { program: "xtask", binary: "xtask", mark: "xtask" };
        let build = Build::new(root, &root.join("target/debug"), names, Some(String::from("one toolchain")));
        for path in FILES.iter().map(|name| root.join(name)).chain([build.program.clone()]) {
            write(&path);
        }
        let sources = format!("{}: {}/xtask/src/a\\ b.rs\n", build.program.display(), root.display());
        std::fs::write(&build.sources, sources).expect("a file");
        let hour = std::time::Duration::from_secs(3600);
        let mark = build.begin().expect("a mark");
        let file = std::fs::File::options().append(true).open(&mark).expect("a mark");
        file.set_modified(std::time::SystemTime::now() + hour).expect("a time");
        build.finish(&mark).expect("a mark");
        build
    }

    #[test]
    fn anything_newer_or_gone_asks_cargo() {
        let folder = std::env::temp_dir().join(format!("llorch-launcher-{}", std::process::id()));
        let root = folder.as_path();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
        assert!(built(root).is_fresh());
        let other = Build { root: root.join("other"), ..built(root) };
        assert!(!other.is_fresh(), "another checkout's");
        let other = Build { identity: Some(String::from("another")), ..built(root) };
        assert!(!other.is_fresh(), "another toolchain's");
        let nobody = Build { identity: None, ..built(root) };
        nobody.begin().and_then(|mark| nobody.finish(&mark)).expect("no mark");
        assert!(!nobody.is_fresh(), "nobody's");
        let build = built(root);
        std::fs::write(build.program.with_extension("new"), "").expect("a file");
        std::fs::rename(build.program.with_extension("new"), &build.program).expect("a name");
        assert!(!build.is_fresh(), "another program under that name");
        let build = built(root);
        std::fs::write(&build.sources, "xtask: /elsewhere/main.rs\n").expect("a file");
        assert!(!build.is_fresh(), "another checkout's list");
        let build = built(root);
        let mark = build.begin().expect("a mark");
        assert!(!build.is_fresh(), "a build that began and did not end");
        Build::give_up(&mark);
        // As `mv` leaves it: contents of before, in place since a moment ago.
        let build = built(root);
        let began = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        let mark = std::fs::File::options().append(true).open(&build.mark).expect("a mark");
        mark.set_modified(began + std::time::Duration::from_secs(60)).expect("a time");
        for name in FILES {
            std::fs::File::open(root.join(name)).expect("a file").set_modified(began).expect("a time");
        }
        assert!(!build.is_fresh(), "old contents, moved into place");
        for name in FILES.iter().chain(&["crates/x", "xtask"]) {
            let build = built(root);
            // A folder is opened to be read.
            let file = std::fs::File::open(root.join(name)).expect("a file");
            file.set_modified(later).expect("a time");
            assert!(!build.is_fresh(), "{name} is newer");
        }
        let gone = ["Cargo.lock", "xtask/src/a b.rs", "target/debug/xtask", "target/debug/xtask.d"];
        for name in gone.iter().chain(&["target/debug/.xtask-built"]) {
            let build = built(root);
            std::fs::remove_file(root.join(name)).expect("a file");
            assert!(!build.is_fresh(), "{name} is gone");
        }
        std::fs::remove_dir_all(root).expect("the folder goes");
    }
}
