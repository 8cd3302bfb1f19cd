//! Which package manager a system has, what it calls a tool, and the calls that install it. Decides only; runs nothing.

use crate::process::Call;

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora and its kin.
    Dnf,
    /// Arch.
    Pacman,
    /// macOS; Linux where nothing else is.
    Brew,
}

/// In the order in which they are looked for: some systems have Homebrew beside their own.
const MANAGERS: [Manager; 4] = [Manager::Apt, Manager::Dnf, Manager::Pacman, Manager::Brew];

/// What a package brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// C compiler, linker and the C library's files.
    Compiler,
    /// git.
    Git,
    /// ssh and its agent.
    Ssh,
    /// Python 3.
    Python,
    /// pip for it.
    Pip,
}

/// Who runs this, and what of the machine matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct System {
    /// Whether it is a Mac.
    pub is_mac: bool,
    /// Whether this is root.
    pub is_root: bool,
}

impl Manager {
    /// The one of this system. `has` says whether a program is on the search path.
    pub fn detect(is_mac: bool, has: &dyn Fn(&str) -> bool) -> Option<Self> {
        // Other managers can be had on a Mac; they are not what its people use.
        let own = MANAGERS.into_iter().filter(|manager| !is_mac || *manager == Manager::Brew);
        own.into_iter().find(|manager| has(manager.program()))
    }

    fn program(self) -> &'static str {
        match self {
            Manager::Apt => "apt-get",
            Manager::Dnf => "dnf",
            Manager::Pacman => "pacman",
            Manager::Brew => "brew",
        }
    }

    fn package(self, tool: Tool) -> &'static str {
        let names = match tool {
            Tool::Compiler => ["build-essential", "gcc", "base-devel", "gcc"],
            Tool::Git => ["git", "git", "git", "git"],
            Tool::Ssh => ["openssh-client", "openssh-clients", "openssh", "openssh"],
            Tool::Python => ["python3", "python3", "python", "python"],
            Tool::Pip => ["python3-pip", "python3-pip", "python-pip", "python"],
        };
        match self {
            Manager::Apt => names[0],
            Manager::Dnf => names[1],
            Manager::Pacman => names[2],
            Manager::Brew => names[3],
        }
    }

    /// The calls that install the tools, in order; none for no tools.
    pub fn plan(self, tools: &[Tool], system: System) -> Vec<Call> {
        let mut calls = Vec::new();
        let is_apples = |tool: &Tool| *tool == Tool::Compiler && system.is_mac;
        if tools.iter().any(is_apples) {
            calls.push(Call::new("xcode-select").args(["--install"]));
        }
        let mut packages: Vec<&str> = Vec::new();
        for package in tools.iter().filter(|tool| !is_apples(tool)).map(|tool| self.package(*tool)) {
            if !packages.contains(&package) {
                packages.push(package);
            }
        }
        if packages.is_empty() {
            return calls;
        }
        let call = |arguments: &[&str]| as_root(Call::new(self.program()).args(arguments), self, system.is_root);
        match self {
            Manager::Apt => {
                // A fresh image has no lists.
                calls.push(call(&["update"]));
                calls.push(call(&["install", "--yes", "--no-install-recommends"]).args(packages));
            }
            Manager::Dnf => calls.push(call(&["install", "--assumeyes"]).args(packages)),
            // Newer lists without newer packages would be half an upgrade, which Arch does not support.
            Manager::Pacman => calls.push(call(&["-S", "--needed", "--noconfirm"]).args(packages)),
            Manager::Brew => calls.push(call(&["install"]).args(packages)),
        }
        calls
    }
}

/// Homebrew refuses root and needs none.
fn as_root(call: Call, manager: Manager, is_root: bool) -> Call {
    const NO_QUESTIONS: &str = "DEBIAN_FRONTEND=noninteractive";
    match (manager, is_root) {
        (Manager::Brew, _) | (Manager::Dnf | Manager::Pacman, true) => call,
        (Manager::Apt, true) => call.env("DEBIAN_FRONTEND", "noninteractive"),
        (Manager::Apt, false) => call.through("sudo", &[NO_QUESTIONS]),
        (Manager::Dnf | Manager::Pacman, false) => call.through("sudo", &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Manager, System, Tool};

    const ALL: [Tool; 5] = [Tool::Compiler, Tool::Git, Tool::Ssh, Tool::Python, Tool::Pip];

    #[test]
    fn the_systems_own_manager_is_found() {
        let detect = |is_mac, programs: &[&str]| Manager::detect(is_mac, &|name| programs.contains(&name));
        assert_eq!(detect(false, &["apt-get", "brew"]), Some(Manager::Apt));
        assert_eq!(detect(false, &["dnf"]), Some(Manager::Dnf));
        assert_eq!(detect(false, &["pacman"]), Some(Manager::Pacman));
        assert_eq!(detect(false, &["brew"]), Some(Manager::Brew));
        assert_eq!(detect(true, &["apt-get", "brew"]), Some(Manager::Brew));
        assert_eq!(detect(true, &["apt-get"]), None);
        assert_eq!(detect(false, &[]), None);
    }

    #[test]
    fn each_manager_has_its_own_words() {
        let plan = |manager: Manager, tools: &[Tool], is_mac, is_root| {
            let calls = manager.plan(tools, System { is_mac, is_root });
            calls.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            plan(Manager::Apt, &ALL, false, true),
            [
                "DEBIAN_FRONTEND=noninteractive apt-get update",
                "DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends build-essential git \
                 openssh-client python3 python3-pip"
            ]
        );
        let git = plan(Manager::Apt, &[Tool::Git], false, false);
        assert_eq!(git[1], "sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends git");
        assert_eq!(plan(Manager::Dnf, &[Tool::Compiler], false, false), ["sudo dnf install --assumeyes gcc"]);
        let pacman = "sudo pacman -S --needed --noconfirm base-devel git openssh python python-pip";
        assert_eq!(plan(Manager::Pacman, &ALL, false, false), [pacman]);
        assert_eq!(
            plan(Manager::Brew, &ALL, true, false),
            ["xcode-select --install", "brew install git openssh python"]
        );
        assert_eq!(plan(Manager::Brew, &[Tool::Compiler], true, false), ["xcode-select --install"]);
        assert!(plan(Manager::Apt, &[], false, true).is_empty());
    }
}
