//! When cargo need not be asked: nothing that decides what a program becomes is newer than its last build, or other than it
//! was then.
//!
//! A call of cargo with nothing to do looks at the fingerprint of every library, which costs more than all else in a build
//! that changes nothing. Whatever is not known here counts as changed. How files are compared lives in crate `launcher`.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use launcher::environment;
use launcher::freshness::{Build, Names, identity_of};

use super::Plan;

/// Variables that differ from one terminal to the next and that no compiler reads.
const OF_TERMINAL: [&str; 12] =
    ["_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES", "TERM", "WINDOWID", "TMUX", "STY", "TMPDIR", "DISPLAY"];
/// The same by how they begin; ours decide nothing but for those that a build compiles in.
const OF_SESSION: [&str; 15] = [
    "SSH_",
    "XDG_SESSION_",
    "TERM_",
    "TMUX_",
    "VTE_",
    "KITTY_",
    "ALACRITTY_",
    "WEZTERM_",
    "ITERM_",
    "KONSOLE_",
    "GNOME_TERMINAL_",
    "GHOSTTY_",
    "VSCODE_",
    "WT_",
    "LLORCH_",
];
const COMPILED_IN: &str = "LLORCH_BUILD_";

/// The build of this plan, where this command itself lies in a folder of cargo's; its program lies beside it.
pub fn of(plan: &Plan) -> Option<Build> {
    let this = std::env::current_exe().ok()?;
    let is_of_cargo = this.file_name()? == "xtask" && this.with_extension("d").is_file();
    let folder = this.parent().filter(|_| is_of_cargo)?.with_file_name(plan.profile.folder());
    let (program, mark) = (plan.product.program_name(), plan.product.installed_name());
    let names = Names { program: &program, binary: plan.product.binary(), mark: &mark };
    Some(Build::new(&plan.root, &folder, names, identity(&this, plan)))
}

/// All that decides the result beside the files of the checkout. Another toolchain brings another build of this command.
fn identity(this: &Path, plan: &Plan) -> Option<String> {
    let variables = std::env::vars_os().filter(|(name, _)| decides(&name.to_string_lossy()));
    let hidden: Vec<OsString> = environment::of_package().collect();
    let mut variables: Vec<_> = variables.filter(|(name, _)| !hidden.contains(name)).collect();
    variables.sort();
    // Hashed, because there may be secrets among them.
    let mut hasher = DefaultHasher::new();
    variables.hash(&mut hasher);
    let mut configurations = Vec::new();
    for path in configurations_of(&plan.root).filter(|path| path.exists()) {
        // What such a file includes is not known here.
        let text = std::fs::read_to_string(&path).ok()?;
        if text.lines().any(|line| line.trim_start().starts_with("include")) {
            return None;
        }
        configurations.push(format!("{} {}", path.display(), identity_of(&path)?));
    }
    let command = identity_of(this)?;
    Some(format!("{}\n{command}\n{:016x}\n{}", plan.call, hasher.finish(), configurations.join("\n")))
}

fn decides(variable: &str) -> bool {
    let is_of_session = OF_SESSION.iter().any(|prefix| variable.starts_with(prefix));
    variable.starts_with(COMPILED_IN) || !(OF_TERMINAL.contains(&variable) || is_of_session)
}

/// Where cargo looks for its configuration.
fn configurations_of(root: &Path) -> impl Iterator<Item = PathBuf> {
    let above = root.ancestors().map(|folder| folder.join(".cargo"));
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    above.chain(home).flat_map(|folder| ["config.toml", "config"].map(|name| folder.join(name)))
}

#[cfg(test)]
mod tests {
    use super::decides;

    #[test]
    fn what_a_build_may_read_decides_and_a_terminal_does_not() {
        let deciding = ["RUSTFLAGS", "CC", "PATH", "CARGO_PROFILE_RELEASE_LTO", "LLORCH_BUILD_CANDLE", "HOME"];
        assert!(deciding.into_iter().all(decides));
        assert!(!["TERM", "SSH_TTY", "LLORCH_LOG", "SHLVL", "_"].into_iter().any(decides));
    }
}
