//! `completions`: the script with which a shell completes `llorch`. What it may say is in `completion.rs`.

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::Globals;
use crate::completion;
use crate::failure::Failure;

/// Print the script with which a shell completes `llorch`
///
/// Verbs and options, and what they take: models that are here or in the catalog, hosts with a profile, tags, aliases of ssh.
/// The script asks `llorch` each time, so it knows what was fetched or configured a moment ago.
///
/// `install` puts the scripts where bash (with bash-completion), fish and zsh look for them; zsh looks below ~/.local
/// only if `fpath=(~/.local/share/zsh/site-functions $fpath)` stands before `compinit` in ~/.zshrc. PowerShell reads its
/// profile: `llorch completions powershell >> $PROFILE`. For one session: `eval "$(llorch completions bash)"`,
/// `llorch completions fish | source`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask completions bash
  cargo xtask completions powershell --json")]
pub struct Args {
    /// Whose
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// A shell that can be taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// 3.2 or newer.
    Bash,
    /// With `compinit`.
    Zsh,
    /// 3 or newer.
    Fish,
    /// 5 or newer, on any system.
    Powershell,
}

#[derive(Serialize)]
struct Script {
    shell: &'static str,
    script: String,
}

impl Shell {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
            Shell::Powershell => "powershell",
        }
    }

    /// Where the shell looks below a prefix; nowhere, if only its profile tells it.
    pub fn place(self) -> Option<&'static str> {
        match self {
            Shell::Bash => Some("share/bash-completion/completions/llorch"),
            Shell::Zsh => Some("share/zsh/site-functions/_llorch"),
            Shell::Fish => Some("share/fish/vendor_completions.d/llorch.fish"),
            Shell::Powershell => None,
        }
    }
}

impl Args {
    /// Prints it.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shell = self.shell.name();
        let script = String::from_utf8_lossy(&completion::script(shell)?).into_owned();
        if globals.output.json {
            globals.output.value(&Script { shell, script })?;
        } else {
            globals.output.raw(&script)?;
        }
        Ok(0)
    }
}
