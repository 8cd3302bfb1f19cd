//! What tests need of the machine beside the toolchain: found, installed where that may be done, else named.

use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group, find_on_path};

/// Names what is missing to the tests, which skip by it and say so.
pub const MISSING_VARIABLE: &str = "LLORCH_TEST_MISSING";

/// A program that tests run.
struct Need {
    program: &'static str,
    /// Debian's package.
    package: &'static str,
    /// What is not tested without it.
    what: &'static str,
}

const NEEDS: [Need; 10] = [
    Need { program: "sshd", package: "openssh-server", what: "everything on other hosts" },
    Need { program: "dash", package: "dash", what: "a login shell" },
    Need { program: "zsh", package: "zsh", what: "a login shell" },
    Need { program: "fish", package: "fish", what: "a login shell" },
    Need { program: "tcsh", package: "tcsh", what: "a login shell" },
    Need { program: "busybox", package: "busybox", what: "a login shell" },
    Need { program: "ip", package: "iproute2", what: "networks that are cut" },
    Need { program: "nft", package: "nftables", what: "networks that are cut" },
    Need { program: "strace", package: "strace", what: "disks that fail" },
    Need { program: "nix", package: "nix-bin", what: "the flake" },
];

/// What is still missing after what could be done about it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing(Vec<&'static str>);

impl Missing {
    /// As the tests are told.
    pub fn variable(&self) -> String {
        self.0.join(" ")
    }
}

/// Whether this runs where everything is to be tested.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
}

/// Finds what is missing and installs it where nobody minds: as root, in CI or with `--yes`.
///
/// # Errors
/// In CI a thing that could be installed and was not.
pub fn provide(output: Output, yes: bool) -> Result<Missing, Failure> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(Missing::default());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let is_root = rustix::process::geteuid().is_root();
    let has_apt = find("apt-get");
    if is_root && has_apt && (is_ci() || yes) {
        install(output, &packages)?;
    } else {
        let command = format!("sudo apt-get install {}", packages.join(" "));
        output.note(format_args!("to test everything: {command} (`--yes` does it, as root)"));
    }
    let left = self::missing();
    for need in &left {
        output.note(format_args!("skipped: {} (there is no `{}`)", need.what, need.program));
    }
    judge(&left, is_ci() && has_apt)
}

/// What tests may do without: all of it where nobody could have installed it, nothing where everything is to be tested.
fn judge(left: &[&'static Need], is_required: bool) -> Result<Missing, Failure> {
    let names: Vec<&str> = left.iter().map(|need| need.program).collect();
    if names.is_empty() || !is_required {
        return Ok(Missing(names));
    }
    let packages: Vec<&str> = left.iter().map(|need| need.package).collect();
    let failure = Failure::new(format!("tests need what is not here: {}", names.join(", ")));
    Err(failure.hint(format!("apt-get install {}", packages.join(" "))))
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !find(need.program)).collect()
}

/// Whether the program is on the path, or where administrators' programs are.
fn find(program: &str) -> bool {
    find_on_path(program, &["/usr/sbin", "/sbin"]).is_some()
}

/// The package lists of a fresh machine are empty or old: they are fetched if the first try finds nothing.
fn install(output: Output, packages: &[&str]) -> Result<(), Failure> {
    let call = Call::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive");
    let install = call.clone().args(["install", "--yes", "--no-install-recommends"]).args(packages);
    output.command(&install);
    if install.ask(Group::Own)?.code == 0 {
        return Ok(());
    }
    let update = call.args(["update"]);
    output.command(&update);
    let updated = update.ask(Group::Own)?;
    let ended = install.ask(Group::Own)?;
    if ended.code != 0 {
        let known = updated.complaints().into_iter().chain(ended.complaints());
        return Err(install.failed(ended.code).known(known.take(8).collect()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NEEDS, find, judge};

    #[test]
    fn what_can_be_installed_may_be_missing_on_a_desk_and_not_in_ci() {
        let left: Vec<_> = NEEDS.iter().take(2).collect();
        assert_eq!(judge(&left, false).expect("it is skipped").variable(), "sshd dash");
        let failure = judge(&left, true).expect_err("everything is to be tested");
        assert_eq!(failure.hint.as_deref(), Some("apt-get install openssh-server dash"));
        assert_eq!(judge(&[], true).expect("nothing is missing").variable(), "");
    }

    #[test]
    fn programs_are_found_where_shells_and_administrators_look() {
        assert!(find("sh") && !find("no-such-program-here"));
    }
}
