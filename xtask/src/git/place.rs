//! Where a submodule is made before it is put in its place, and how its folder and its repository name each other.

use std::path::{Path, PathBuf};

use super::repository::Repository;
use super::submodules::Submodule;
use crate::failure::Failure;

/// Where a submodule is made before it is put in its place.
pub struct Place {
    /// The repository.
    pub git_dir: PathBuf,
    /// The files.
    pub files: PathBuf,
    /// What the file `.git` in the folder says.
    pub link: String,
}

impl Place {
    /// Beside the submodule's folder, so that renaming moves nothing; below the repository, so that it is on its disk.
    pub fn new(repository: &Repository, submodule: &Submodule) -> Result<Self, Failure> {
        let (declared, tree) = (&submodule.declared, &submodule.tree);
        let flat = declared.name.as_str().replace('/', "+");
        let git_dir = staging(repository).join(format!("{flat}-{}", std::process::id()));
        let folder = parent(&tree.folder)?;
        fs_err::create_dir_all(folder)?;
        let last = declared.path.as_str().rsplit('/').next().unwrap_or_default();
        let prefix = format!(".{last}.llorch-");
        // Left by a killed one: nobody else makes them while this lock is held.
        for entry in fs_err::read_dir(folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _busy = std::fs::remove_dir_all(entry.path());
            }
        }
        let files = folder.join(format!("{prefix}{}", std::process::id()));
        fs_err::create_dir_all(&git_dir)?;
        fs_err::create_dir(&files)?;
        let link = relative(&repository.tree.folder, &tree.folder, &tree.git_dir);
        Ok(Self { git_dir, files, link })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // After a success neither is there any more.
        let _moved = std::fs::remove_dir_all(&self.git_dir);
        let _moved = std::fs::remove_dir_all(&self.files);
    }
}

/// Where repositories are made.
pub fn staging(repository: &Repository) -> PathBuf {
    repository.tree.git_dir.join("llorch/staging")
}

/// What a submodule's settings say of where its files are.
pub fn worktree_link(repository: &Repository, submodule: &Submodule) -> String {
    relative(&repository.tree.folder, &submodule.tree.git_dir, &submodule.tree.folder)
}

/// `to` as seen from the folder `from`: a relative path if both lie below `root`, so that a checkout can be moved.
fn relative(root: &Path, from: &Path, to: &Path) -> String {
    match (from.strip_prefix(root), to.strip_prefix(root)) {
        (Ok(from), Ok(below)) => format!("{}{}", "../".repeat(from.components().count()), below.display()),
        _ => to.display().to_string(),
    }
}

/// The folder that holds it.
pub fn parent(path: &Path) -> Result<&Path, Failure> {
    path.parent().ok_or_else(|| Failure::new(format!("`{}` is the root of a disk", path.display())))
}

/// The text as a value in git's settings.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{quoted, relative};

    #[test]
    fn links_are_relative_within_the_checkout() {
        let root = Path::new("/x/y");
        let (folder, git) = (root.join("reference/a"), root.join(".git/modules/a"));
        assert_eq!(relative(root, &folder, &git), "../../.git/modules/a");
        assert_eq!(relative(root, &git, &folder), "../../../reference/a");
        assert_eq!(relative(root, &folder, Path::new("/z/modules/a")), "/z/modules/a");
    }

    #[test]
    fn settings_are_quoted() {
        assert_eq!(quoted(r#"a\b"c"#), r#""a\\b\"c""#);
    }
}
