//! Whether a program that stands in the target folder is what its sources say.
//!
//! Cargo writes down which files a program was made of (`xtask.d`, in make's notation). All of them, the manifests, the
//! folders they lie in, the lock and the toolchain's file have to be older than the start of the last build that succeeded,
//! and that build has to be the caller's. Anything that cannot be read counts as newer: cargo then finds out.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a program is called.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// The file that is used.
    pub program: &'a str,
    /// Cargo's name of it.
    pub binary: &'a str,
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
    /// `program` lies in `folder`; cargo builds it there as `binary`, from the checkout at `root`.
    ///
    /// `identity` is what else decides the result (toolchain, flags, environment), in any words: a build with another one
    /// is not fresh. Without one, none ever is.
    #[must_use]
    pub fn new(root: &Path, folder: &Path, names: Names<'_>, identity: Option<String>) -> Self {
        Self {
            program: folder.join(names.program),
            sources: folder.join(names.binary).with_extension("d"),
            mark: folder.join(format!(".{}-built", names.program)),
            root: root.to_owned(),
            identity,
        }
    }

    /// Whether nothing changed since the last build.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        let Some(built) = modified(&self.mark) else { return false };
        if self.identity.is_none() || std::fs::read_to_string(&self.mark).ok() != Some(self.words()) {
            return false;
        }
        let Some(sources) = std::fs::read_to_string(&self.sources).ok().as_deref().and_then(parse) else {
            return false;
        };
        let is_older = |path: &PathBuf| modified(path).is_some_and(|time| time < built);
        self.program.is_file()
            && sources.iter().map(|path| self.root.join(path)).all(|path| is_older(&path))
            && self.manifests().iter().all(is_older)
    }

    /// Notes the time; `finish` makes it the last build's.
    ///
    /// # Errors
    /// The target folder cannot be written to.
    pub fn begin(&self) -> io::Result<PathBuf> {
        let mark = self.mark.with_extension(std::process::id().to_string());
        // The first build into a folder makes it.
        mark.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        std::fs::write(&mark, self.words())?;
        Ok(mark)
    }

    /// Forgets a build that did not succeed.
    pub fn give_up(mark: &Path) {
        let _gone_already = std::fs::remove_file(mark);
    }

    /// Whose build this is. Checkouts may share a target folder: cargo then decides, as well as it can.
    fn words(&self) -> String {
        format!("{}\n{}\n", self.root.display(), self.identity.as_deref().unwrap_or_default())
    }

    /// Says that the build which began with `mark` succeeded.
    ///
    /// # Errors
    /// The target folder cannot be written to.
    pub fn finish(&self, mark: &Path) -> io::Result<()> {
        std::fs::rename(mark, &self.mark)
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

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
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

    fn write(path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, "").expect("a file");
    }

    /// A build whose every file is older than its mark.
    fn built(root: &Path) -> Build {
        let names = Names { program: "xtask", binary: "xtask" };
        let build = Build::new(root, &root.join("target/debug"), names, Some(String::from("one toolchain")));
        let others = ["Cargo.toml", "Cargo.lock", "xtask/Cargo.toml", "xtask/src/a b.rs", "crates/x/Cargo.toml"];
        for path in others.iter().map(|name| root.join(name)).chain([build.program.clone()]) {
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
        let all = ["Cargo.toml", "Cargo.lock", "xtask/Cargo.toml", "xtask/src/a b.rs", "crates/x/Cargo.toml"];
        let other = Build { root: root.join("other"), ..built(root) };
        assert!(!other.is_fresh(), "another checkout's");
        let other = Build { identity: Some(String::from("another")), ..built(root) };
        assert!(!other.is_fresh(), "another toolchain's");
        let nobody = Build { identity: None, ..built(root) };
        nobody.begin().and_then(|mark| nobody.finish(&mark)).expect("a mark");
        assert!(!nobody.is_fresh(), "nobody's");
        for name in all.iter().chain(&["crates/x"]) {
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
