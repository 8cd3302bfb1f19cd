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

/// Finds what is missing and installs it where nobody minds: as root, in CI or with `--yes`.
///
/// # Errors
/// In CI a thing that could be installed and was not.
pub fn provide(output: Output, yes: bool) -> Result<Missing, Failure> {
    let is_ci = std::env::var_os("CI").is_some();
    let missing = missing();
    if missing.is_empty() {
        return Ok(Missing::default());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let is_root = rustix::process::geteuid().is_root();
    let has_apt = find("apt-get");
    if is_root && has_apt && (is_ci || yes) {
        install(output, &packages)?;
    } else {
        let command = format!("sudo apt-get install {}", packages.join(" "));
        output.note(format_args!("to test everything: {command} (`--yes` does it, as root)"));
    }
    let left = self::missing();
    for need in &left {
        output.note(format_args!("skipped: {} (there is no `{}`)", need.what, need.program));
    }
    if is_ci && has_apt && !left.is_empty() {
        let names: Vec<&str> = left.iter().map(|need| need.program).collect();
        let failure = Failure::new(format!("tests need what is not here: {}", names.join(", ")));
        return Err(failure.hint(format!("apt-get install {}", packages.join(" "))));
    }
    Ok(Missing(left.iter().map(|need| need.program).collect()))
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
    use super::find;

    #[test]
    fn programs_are_found_where_shells_and_administrators_look() {
        assert!(find("sh") && !find("no-such-program-here"));
    }
}
