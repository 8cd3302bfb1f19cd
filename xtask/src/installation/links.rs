//! The names below a prefix: links through `current`, recognised by where they lead. Nothing else is ever removed.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::{CURRENT, Prefix, make_folder, refused, remove_if_there, sync_folder};
use crate::failure::Failure;

/// Longer than any name we install; from a file that somebody may have written to.
const PATH_BYTES_MAX: usize = 512;
/// What a link is called before it has its name.
const TEMPORARY: &str = ".llorch-new";

/// A path below the prefix: relative, plain names only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkPath(PathBuf);

impl LinkPath {
    /// Takes a path that stays below where it is put.
    ///
    /// # Errors
    /// It does not.
    pub fn parse(path: &Path) -> Result<Self, Failure> {
        let mut components = path.components();
        let is_plain = components.by_ref().all(|component| matches!(component, Component::Normal(_)));
        let is_text =
            path.to_str().is_some_and(|text| text.len() <= PATH_BYTES_MAX && !text.contains(char::is_control));
        // A name alone would lie in the prefix itself.
        if is_plain && is_text && path.components().count() >= 2 {
            return Ok(Self(path.to_owned()));
        }
        Err(Failure::new(format!("{path:?} is no name below a prefix")))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// Makes and removes links of one prefix.
#[derive(Debug)]
pub struct Links<'a> {
    prefix: &'a Prefix,
    /// The prefix's own folder without links in its path.
    home: PathBuf,
}

impl<'a> Links<'a> {
    /// Those of a prefix. Where nothing was put yet, no link is ours.
    pub fn new(prefix: &'a Prefix) -> Self {
        Self { prefix, home: without_links(&prefix.home()) }
    }

    /// Refuses names that are taken by what was not installed here, unless they may be replaced.
    ///
    /// # Errors
    /// One is; a folder is never replaced.
    pub fn check_free(&self, paths: &[LinkPath], replaces_others: bool) -> Result<(), Failure> {
        for path in paths {
            let place = self.place(path);
            let Ok(data) = std::fs::symlink_metadata(&place) else { continue };
            if data.is_dir() || (!replaces_others && !self.is_ours(path)?) {
                let failure = Failure::new(format!("`{}` is there and was not installed this way", place.display()));
                return Err(match data.is_dir() {
                    true => failure.hint("move it away"),
                    false => failure.hint("look at it; `--force` replaces it"),
                });
            }
        }
        Ok(())
    }

    /// Makes links, in place of whatever has the names; they are on disk then.
    ///
    /// # Errors
    /// The system refuses.
    pub fn make_all(&self, paths: &[LinkPath]) -> Result<(), Failure> {
        let mut folders = BTreeSet::new();
        for path in paths {
            folders.extend(self.make(path)?);
        }
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    /// The folder of a link that was not there yet.
    fn make(&self, path: &LinkPath) -> Result<Option<PathBuf>, Failure> {
        let place = self.place(path);
        let folder = place.parent().unwrap_or(self.prefix.path());
        make_folder(folder)?;
        if self.is_ours(path)? {
            return Ok(None);
        }
        let temporary = folder.join(TEMPORARY);
        remove_if_there(&temporary)?;
        let made = symlink(self.target(path)?, &temporary).and_then(|()| std::fs::rename(&temporary, &place));
        made.map_err(|error| {
            let _never_made = std::fs::remove_file(&temporary);
            refused(&format!("cannot make the link `{}`: {error}", place.display()), error.kind())
        })?;
        Ok(Some(folder.to_owned()))
    }

    /// Removes the link if it is ours; whether it was.
    ///
    /// # Errors
    /// The system refuses.
    pub fn remove(&self, path: &LinkPath) -> Result<bool, Failure> {
        let place = self.place(path);
        // Left by a run that was killed between two calls.
        let temporary = place.with_file_name(TEMPORARY);
        if self.leads_here(&temporary) {
            remove_if_there(&temporary)?;
        }
        if !self.is_ours(path)? {
            return Ok(false);
        }
        remove_if_there(&place)?;
        Ok(true)
    }

    /// Removes the folders in which these names were, as far as nothing else is in them. `bin`, `share`, `share/man` and the
    /// like stay, empty or not: other programs count on them, and who made them is not known.
    pub fn remove_empty_folders(&self, paths: &[LinkPath]) {
        let folders = paths.iter().filter_map(|path| path.as_path().parent());
        let folders: BTreeSet<&Path> = folders.filter(|folder| folder.components().count() > 2).collect();
        for folder in folders {
            let _unless_it_holds_more = std::fs::remove_dir(self.prefix.path().join(folder));
        }
    }

    /// Where it is called so.
    fn place(&self, path: &LinkPath) -> PathBuf {
        self.prefix.path().join(path.as_path())
    }

    fn is_ours(&self, path: &LinkPath) -> Result<bool, Failure> {
        let place = self.place(path);
        match std::fs::read_link(&place) {
            Ok(target) => Ok(target == self.target(path)?),
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::InvalidInput, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                Ok(false)
            }
            Err(error) => Err(Failure::new(format!("cannot read `{}`: {error}", place.display()))),
        }
    }

    fn leads_here(&self, link: &Path) -> bool {
        let target = std::fs::read_link(link).ok();
        target.is_some_and(|target| target.components().any(|part| part.as_os_str() == CURRENT))
    }

    /// What the link says: the way from the folder it is in, which may itself be reached through links (`~/.local/bin` in
    /// somebody's dotfiles).
    fn target(&self, path: &LinkPath) -> Result<PathBuf, Failure> {
        let place = self.place(path);
        let folder = fs_err::canonicalize(place.parent().unwrap_or(self.prefix.path()))?;
        Ok(way(&folder, &self.home.join(CURRENT).join(path.as_path())))
    }
}

/// The path with as much of it as is there free of links.
pub fn without_links(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|folder| Some((folder, std::fs::canonicalize(folder).ok()?)));
    let joined = there.and_then(|(folder, real)| Some(real.join(path.strip_prefix(folder).ok()?)));
    joined.unwrap_or_else(|| path.to_owned())
}

/// The relative path from one absolute folder to another absolute path.
fn way(from: &Path, to: &Path) -> PathBuf {
    let shared = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{LinkPath, way};

    #[test]
    fn the_way_is_the_shortest() {
        for (from, to, wanted) in [
            ("/p/bin", "/p/lib/llorch/x", "../lib/llorch/x"),
            ("/p/share/man/man1", "/p/lib/x", "../../../lib/x"),
            ("/elsewhere/bin", "/p/lib/x", "../../p/lib/x"),
            ("/", "/p/x", "p/x"),
        ] {
            assert_eq!(way(Path::new(from), Path::new(to)), Path::new(wanted));
        }
    }

    #[test]
    fn only_names_below_the_prefix_are_names() {
        assert!(LinkPath::parse(Path::new("bin/llorch")).is_ok());
        for wrong in ["", "bin", "/bin/sh", "bin/../../etc/passwd", "../x/y", "bin/a\nb", "./bin/x"] {
            assert!(LinkPath::parse(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
