//! Where the checkout is, if this runs in one.

use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The root of the checkout: the one cargo runs this command from, else the one that holds the working directory.
pub fn find() -> Option<PathBuf> {
    // Set by `cargo run`, so `cargo xtask` finds its own checkout from any subfolder; nothing is compiled in, because an
    // installed program may outlive the folder it was built in.
    let of_cargo = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let of_cargo = of_cargo.and_then(|manifest| manifest.parent().map(Path::to_owned)).filter(|root| is_root(root));
    of_cargo.or_else(|| {
        let here = std::env::current_dir().ok()?;
        here.ancestors().find(|folder| is_root(folder)).map(Path::to_owned)
    })
}

/// The root of the checkout, for verbs that cannot do without.
pub fn require() -> Result<PathBuf, Failure> {
    find().ok_or_else(|| {
        let hint = "change into a clone of the repository; outside one, `models`, `infer` and `worker` work";
        Failure::usage("this verb works in a checkout of llorch, and here is none").hint(hint)
    })
}

/// Where this command puts what it makes for people and not for cargo: below `target` in the checkout, wherever cargo
/// compiles to.
pub fn output(root: &Path, name: &str) -> PathBuf {
    root.join("target").join(name)
}

fn is_root(folder: &Path) -> bool {
    ["Cargo.toml", "catalog.toml", "xtask/Cargo.toml"].iter().all(|name| folder.join(name).is_file())
}

/// A page of the checkout, for tests that compare it with what the code does.
#[cfg(test)]
pub fn page(name: &str) -> String {
    fs_err::read_to_string(find().expect("tests run in a checkout").join(name)).expect("a page")
}

#[cfg(test)]
mod tests {
    use super::{find, is_root};

    #[test]
    fn this_checkout_is_found() {
        let root = find().expect("tests run in a checkout");
        assert!(is_root(&root) && !is_root(&root.join("xtask")));
    }
}
