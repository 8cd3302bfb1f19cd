//! A second workspace of the same sources, in which some crates are others: what one build or check is made of whose lock and
//! programs must not mix with the ordinary ones.
//!
//! Cargo knows one lock a workspace, and the committed one must not change. So the second has links to this one's sources,
//! copies of its manifest and lock, and a target folder of its own. What is replaced is said on cargo's command line, never in
//! a manifest. What the crates are replaced by is its users' affair: `binaries/candle.rs`, `metal.rs`.

use std::path::PathBuf;

use crate::cargo;
use crate::failure::Failure;
use crate::process::Call;

/// What it has links to.
const LINKS: [&str; 4] = ["crates", "xtask", "catalog.toml", "rust-toolchain.toml"];
/// What it has copies of: cargo finds a workspace by where its manifest lies, and changes its lock.
const MANIFEST: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";
/// The lock as it was when it was copied. Cargo's change of the copy stays while that is the same: it may take a network.
const LOCK_COPIED: &str = "Cargo.lock.copied";

/// Where it is and what differs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondWorkspace {
    /// The root of the checkout.
    pub root: PathBuf,
    /// The folder of all that belongs to it.
    pub place: PathBuf,
    /// Name and folder of each crate that is replaced.
    pub replaced: Vec<(String, PathBuf)>,
}

impl SecondWorkspace {
    /// What is done before it is used, for a plan.
    pub fn words(&self) -> String {
        format!("copy {MANIFEST} {LOCK}, link {} into {}", LINKS.join(" "), self.folder().display())
    }

    /// Makes it, or brings it up to date.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn lay_out(&self) -> Result<(), Failure> {
        let folder = self.folder();
        fs_err::create_dir_all(&folder)?;
        fs_err::copy(self.root.join(MANIFEST), folder.join(MANIFEST))?;
        let lock = fs_err::read(self.root.join(LOCK))?;
        if std::fs::read(folder.join(LOCK_COPIED)).ok().as_ref() != Some(&lock) {
            fs_err::write(folder.join(LOCK), &lock)?;
            fs_err::write(folder.join(LOCK_COPIED), &lock)?;
        }
        for name in LINKS.into_iter().filter(|name| self.root.join(name).exists()) {
            let (target, link) = (self.root.join(name), folder.join(name));
            if std::fs::read_link(&link).is_ok_and(|found| found == target) {
                continue;
            }
            let _of_another_checkout = std::fs::remove_file(&link);
            fs_err::os::unix::fs::symlink(target, link)?;
        }
        Ok(())
    }

    /// A call of cargo in it, the crates replaced. Not `--locked`: a path has no checksum, and that is the change of the lock.
    pub fn call(&self, command: &str) -> Call {
        let call = cargo::call(&self.folder()).args([command]);
        let call = self.replaced.iter().fold(call, |call, (name, folder)| {
            // A JSON string is a TOML string.
            let folder = serde_json::Value::from(folder.to_string_lossy());
            call.args(["--config", &format!("patch.crates-io.{name}.path={folder}")])
        });
        call.args(["--target-dir".as_ref(), self.place.as_os_str()])
    }

    fn folder(&self) -> PathBuf {
        self.place.join("workspace")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::SecondWorkspace;
    use crate::scratch::Scratch;

    #[test]
    fn cargos_change_of_the_lock_stays_until_the_committed_one_changes() {
        let scratch = Scratch::new("workspace-test").expect("a folder");
        let root = scratch.path().join("checkout");
        fs_err::create_dir_all(root.join("crates")).expect("a folder");
        let write = |path: &Path, text: &str| fs_err::write(path, text).expect("a file");
        write(&root.join("Cargo.toml"), "manifest");
        write(&root.join("Cargo.lock"), "one");
        let place = scratch.path().join("place");
        let second = SecondWorkspace { root: root.clone(), place: place.clone(), replaced: Vec::new() };
        let lock = place.join("workspace/Cargo.lock");
        let read = || {
            second.lay_out().expect("a workspace");
            fs_err::read_to_string(&lock).expect("a lock")
        };
        assert_eq!(read(), "one");
        write(&lock, "one, changed by cargo");
        assert_eq!(read(), "one, changed by cargo");
        write(&root.join("Cargo.lock"), "two");
        assert_eq!(read(), "two");
        assert_eq!(fs_err::read_link(place.join("workspace/crates")).expect("a link"), root.join("crates"));
        assert!(!place.join("workspace/xtask").exists(), "what is not there is not linked");
    }
}
