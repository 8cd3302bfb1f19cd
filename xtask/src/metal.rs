//! Apple's Metal where there is no Apple: bindings that a compiler of another system takes, enough to check types.
//!
//! The crates of the bindings compile for other systems as long as some runtime of Objective-C is chosen; one of them also names
//! its framework to the linker on each system, which no compiler but Apple's takes. So a copy of that one stands in, in which
//! these two things are mended. Nothing is linked with it, and no build for a user uses it.

use std::path::{Path, PathBuf};

use crate::cargo;
use crate::failure::Failure;
use crate::installation::files_below;

/// The crate that is copied.
pub const BINDINGS: &str = "objc2-metal";
/// What it says to the linker, and the same for Apple's systems alone.
const LINK: (&str, &str) = (
    "#[link(name = \"Metal\", kind = \"framework\")]",
    "#[cfg_attr(target_vendor = \"apple\", link(name = \"Metal\", kind = \"framework\"))]",
);
/// The runtime of Objective-C, a feature of these dependencies of it.
const RUNTIME: (&str, [&str; 2]) = ("gnustep-2-1", ["objc2", "block2"]);
/// Says in the copy what it was made of.
const MADE_OF: &str = ".made-of";

/// Copies the bindings that the workspace at `root` depends on to `folder`, unless they are there.
///
/// # Errors
/// Cargo cannot fetch them, or they are not written as expected.
pub fn lay_out_bindings(root: &Path, folder: &Path) -> Result<(), Failure> {
    let released = released(root)?;
    let made_of = format!("{}\n{}\n{}\n", released.display(), LINK.1, RUNTIME.0);
    // Untouched where it would be the same, or cargo compiled it again.
    if std::fs::read_to_string(folder.join(MADE_OF)).is_ok_and(|found| found == made_of) {
        return Ok(());
    }
    let _of_another_version = std::fs::remove_dir_all(folder);
    let mut has_link = false;
    for file in files_below(&released)? {
        let (from, to) = (released.join(&file), folder.join(&file));
        // Cargo's own mark of an unpacked crate.
        if file == Path::new(".cargo-ok") {
            continue;
        }
        to.parent().map_or(Ok(()), fs_err::create_dir_all)?;
        if file == Path::new("Cargo.toml") {
            fs_err::write(to, with_runtime(&fs_err::read_to_string(from)?)?)?;
        } else if file.starts_with("src") {
            let text = fs_err::read_to_string(from)?;
            // Comments show how the attribute is written, too.
            let lines = text.lines().map(|line| if line == LINK.0 { LINK.1 } else { line });
            let changed: String = lines.flat_map(|line| [line, "\n"]).collect();
            has_link |= changed.contains(LINK.1);
            fs_err::write(to, changed)?;
        }
    }
    if !has_link {
        return Err(unexpected("names no framework"));
    }
    Ok(fs_err::write(folder.join(MADE_OF), made_of)?)
}

/// Where cargo unpacked them.
fn released(root: &Path) -> Result<PathBuf, Failure> {
    let host = cargo::host(root)?;
    let metadata = cargo::metadata(root, &["--features", "worker/metal", "--filter-platform", &host])?;
    cargo::package_folder(&metadata, BINDINGS)
}

/// The manifest, a runtime chosen in it.
fn with_runtime(manifest: &str) -> Result<String, Failure> {
    let mut manifest: toml_edit::DocumentMut =
        manifest.parse().map_err(|_| unexpected("has a manifest that cannot be read"))?;
    for name in RUNTIME.1 {
        let features = manifest.get_mut("dependencies").and_then(|table| table.get_mut(name));
        let features = features.and_then(|entry| entry.get_mut("features")).and_then(toml_edit::Item::as_array_mut);
        features.ok_or_else(|| unexpected("has other dependencies"))?.push(RUNTIME.0);
    }
    Ok(manifest.to_string())
}

fn unexpected(what: &str) -> Failure {
    Failure::new(format!(
        "the crate `{BINDINGS}` {what}: the check of types for metal has to learn how it is written now"
    ))
}

#[cfg(test)]
mod tests {
    use super::with_runtime;

    #[test]
    fn a_runtime_is_chosen_for_both_dependencies() {
        let manifest = "[dependencies.objc2]\nfeatures = [\"std\"]\n[dependencies.block2]\nfeatures = [\"alloc\"]\n";
        let changed = with_runtime(manifest).expect("a manifest");
        assert!(changed.contains("[\"std\", \"gnustep-2-1\"]") && changed.contains("[\"alloc\", \"gnustep-2-1\"]"));
        let failure = with_runtime("[dependencies.objc2]\nfeatures = []\n").expect_err("no block2");
        assert!(failure.message.contains("`objc2-metal` has other dependencies"), "{}", failure.message);
    }
}
