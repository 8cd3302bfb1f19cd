//! What a forwarded verb is on the far side: its environment, the folder it runs in, the command. Pure.

use std::ffi::OsString;
use std::path::Path;

use protocol::error::ErrorCode;

use super::script::Script;
use super::select::Host;
use super::session::End;
use crate::configuration::Profile;
use crate::failure::Failure;

/// How the far command learns that its standard error ends at a terminal, and how wide that is: it has none of its own.
pub const TERMINAL_VARIABLE: &str = "LLORCH_TERMINAL_COLUMNS";

/// Where a verb runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this checkout, and nowhere else.
    Checkout(String),
    /// In this checkout if it is there, else as the installed command.
    Either(String),
    /// As the installed command.
    Installed,
}

/// A verb for the far side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verb<'a> {
    /// Its arguments, as typed.
    pub arguments: &'a [OsString],
    /// Where it runs.
    pub place: Place,
    /// Width of the terminal that shows its progress, if one does.
    pub columns: Option<u16>,
}

impl Place {
    /// Where a verb runs on `host`.
    ///
    /// # Errors
    /// The verb needs a checkout and the host is known to have none.
    pub fn on(host: &Host, synced: Option<String>, needs_checkout: bool) -> Result<Self, Failure> {
        let repo = host.profile.as_ref().and_then(|profile| profile.repo.clone());
        match (synced, repo, needs_checkout) {
            (Some(tree), _, _) => Ok(Place::Checkout(tree)),
            (None, Some(repo), true) => Ok(Place::Checkout(repo)),
            (None, Some(repo), false) => Ok(Place::Either(repo)),
            (None, None, false) => Ok(Place::Installed),
            (None, None, true) => {
                let message = format!("this verb works in a checkout, and none is known on `{}`", host.name);
                let hint = format!(
                    "`--sync` sends this one, or `cargo xtask remote hosts add NAME {} --repo PATH` names one",
                    host.ssh
                );
                Err(Failure::usage(message).hint(hint))
            }
        }
    }
}

impl Verb<'_> {
    /// The script that runs it.
    pub fn script(&self, profile: Option<&Profile>) -> Script {
        let script = environment(profile).append(&terminal(self.columns));
        let in_checkout = |script: Script| script.then("cargo xtask").words(self.arguments);
        match &self.place {
            Place::Checkout(path) => {
                let script = script.then("cd ").path(path).then(" 2>/dev/null || step repo\n");
                let script = script.then("[ -f xtask/Cargo.toml ] || step checkout\n");
                in_checkout(script.then("command -v cargo >/dev/null 2>&1 || step cargo\n"))
            }
            Place::Either(path) => {
                let script = script.then("if cd ").path(path).then(" 2>/dev/null && [ -f xtask/Cargo.toml ]");
                let script = script.then(" && command -v cargo >/dev/null 2>&1; then\n");
                self.installed(in_checkout(script).then("\nelse\ncd \"$HOME\"\n")).then("\nfi")
            }
            Place::Installed => self.installed(script),
        }
    }

    fn installed(&self, script: Script) -> Script {
        let script = script.then("PATH=\"$PATH:$HOME/.local/bin:/usr/local/bin\"; export PATH\n");
        script.then("command -v llorch >/dev/null 2>&1 || step llorch\nllorch").words(self.arguments)
    }

    /// Its exit code.
    ///
    /// # Errors
    /// What it needs is not there.
    pub fn ended(&self, host: &Host, end: End) -> Result<u8, Failure> {
        match end {
            End::Code(code) => Ok(code),
            End::Step(step) => Err(self.step_failed(host, &step)),
        }
    }

    /// What it means that a step before the command did not succeed.
    pub fn step_failed(&self, host: &Host, step: &str) -> Failure {
        let name = &host.name;
        let path = match &self.place {
            Place::Checkout(path) | Place::Either(path) => path.as_str(),
            Place::Installed => "",
        };
        let setup = format!("cargo xtask remote setup {name}");
        let (message, hint) = match step {
            "repo" => (format!("`{path}` is not there on `{name}`"), setup),
            "checkout" => (format!("`{path}` on `{name}` is no checkout of llorch"), setup),
            "cargo" => {
                let hint = "name its folder in the profile: `path = [\"~/.cargo/bin\"]`, or install Rust there";
                (format!("`{name}` finds no cargo in a shell that is no login shell"), hint.to_owned())
            }
            "llorch" => (format!("`llorch` is not installed on `{name}`"), format!("cargo xtask remote deploy {name}")),
            other => (format!("step `{other}` failed on `{name}`"), setup),
        };
        Failure::coded(ErrorCode::HostNotReady, message).hint(hint)
    }
}

/// The profile's variables and folders; nothing of this machine's environment.
pub fn environment(profile: Option<&Profile>) -> Script {
    let mut script = Script::default();
    for (name, value) in profile.iter().flat_map(|profile| &profile.env) {
        script = script.then(&format!("export {name}=")).word(value).then("\n");
    }
    if let Some(profile) = profile.filter(|profile| !profile.path.is_empty()) {
        script = script.then("PATH=");
        for folder in &profile.path {
            script = script.path(folder).then(":");
        }
        script = script.then("$PATH; export PATH\n");
    }
    // Where rustup puts it; a shell that is no login shell has not read the file that says so.
    script.then("command -v cargo >/dev/null 2>&1 || { PATH=\"$PATH:$HOME/.cargo/bin\"; export PATH; }\n")
}

/// Lets the command, and cargo below it, draw on the terminal at this end.
fn terminal(columns: Option<u16>) -> Script {
    let Some(columns) = columns else { return Script::default() };
    Script::new(&format!(
        "export {TERMINAL_VARIABLE}={columns} CARGO_TERM_COLOR=always CARGO_TERM_PROGRESS_WHEN=always \
         CARGO_TERM_PROGRESS_WIDTH={columns}\n"
    ))
}

/// The folder's name for people and for the far cache: the checkout's own name, in letters that need no quoting.
pub fn plain_name(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain: String =
        name.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter)).collect();
    let plain = plain.trim_start_matches(['-', '.']).to_owned();
    if plain.is_empty() { String::from("llorch") } else { plain.chars().take(40).collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use std::path::Path;

    use super::{Place, Verb, plain_name};
    use crate::configuration::Profile;
    use crate::remote::select::Host;
    use crate::remote::session::End;

    fn host(repo: Option<&str>) -> Host {
        let ssh: crate::remote::destination::Destination = "me@box".parse().expect("a destination");
        let profile = Profile {
            ssh: ssh.clone(),
            repo: repo.map(str::to_owned),
            backends: Vec::new(),
            tags: Vec::new(),
            path: vec!["~/bin".into()],
            env: BTreeMap::from([("A".into(), "it's".into())]),
            file: "x".into(),
        };
        Host { name: "box".into(), ssh, profile: Some(profile) }
    }

    #[test]
    fn a_place_is_the_tree_that_was_sent_else_the_profiles_else_what_is_installed() {
        let (with, without) = (host(Some("src")), host(None));
        assert_eq!(Place::on(&with, Some("t".into()), false).expect("a place"), Place::Checkout("t".into()));
        assert_eq!(Place::on(&with, None, true).expect("a place"), Place::Checkout("src".into()));
        assert_eq!(Place::on(&with, None, false).expect("a place"), Place::Either("src".into()));
        assert_eq!(Place::on(&without, None, false).expect("a place"), Place::Installed);
        assert_eq!(Place::on(&without, None, true).expect_err("no checkout").exit_code, 2);
    }

    #[test]
    fn a_script_holds_every_word_quoted() {
        let arguments = ["build".into(), "it's".into()];
        let verb = Verb { arguments: &arguments, place: Place::Checkout("~/a b".into()), columns: Some(90) };
        let script = verb.script(host(None).profile.as_ref());
        for line in [
            r"export A='it'\''s'",
            r#"PATH="$HOME"/'bin':$PATH; export PATH"#,
            r#"cd "$HOME"/'a b' 2>/dev/null || step repo"#,
            r"cargo xtask 'build' 'it'\''s'",
            "export LLORCH_TERMINAL_COLUMNS=90",
        ] {
            assert!(script.text().contains(line), "{line} is not in\n{}", script.text());
        }
    }

    #[test]
    fn a_verb_runs_in_the_checkout_that_is_there_else_as_installed() {
        let arguments = ["models".into()];
        let text = |place: Place| {
            let script = Verb { arguments: &arguments, place, columns: None }.script(None);
            script.text().into_owned()
        };
        let (either, installed) = (text(Place::Either("src".into())), text(Place::Installed));
        let position = |words: &str| either.find(words).unwrap_or_else(|| panic!("{words} is not in\n{either}"));
        assert!(
            position("if cd ") < position("cargo xtask 'models'")
                && position("\nelse\n") < position("\nllorch 'models'")
        );
        assert!(installed.contains("|| step llorch\nllorch 'models'") && !installed.contains("xtask"), "{installed}");
        assert!(!installed.contains("LLORCH_TERMINAL_COLUMNS"), "nobody sees its progress");
    }

    #[test]
    fn what_is_missing_over_there_is_named_with_what_mends_it() {
        let host = host(Some("src"));
        let verb = |place| Verb { arguments: &[], place, columns: None };
        let checkout = verb(Place::Checkout("src".into()));
        assert_eq!(checkout.ended(&host, End::Code(7)).expect("a code"), 7);
        for (step, message, hint) in [
            ("repo", "`src` is not there on `box`", "remote setup box"),
            ("checkout", "is no checkout", "remote setup box"),
            ("cargo", "finds no cargo", "~/.cargo/bin"),
            ("llorch", "is not installed", "remote deploy box"),
            ("other", "step `other` failed", "remote setup box"),
        ] {
            let failure = checkout.ended(&host, End::Step(step.to_owned())).expect_err(step);
            assert!(failure.message.contains(message), "{}", failure.message);
            assert!(failure.hint.as_ref().is_some_and(|said| said.contains(hint)), "{:?}", failure.hint);
        }
        assert!(verb(Place::Installed).step_failed(&host, "llorch").message.contains("`box`"));
    }

    #[test]
    fn a_folders_name_becomes_one_that_needs_no_quoting() {
        for (folder, name) in [
            ("/srv/llorch", "llorch"),
            ("/x/it's a \"clone\"", "itsaclone"),
            ("/x/--.hidden", "hidden"),
            ("/x/лорч", "llorch"),
            ("/", "llorch"),
        ] {
            assert_eq!(plain_name(Path::new(folder)), name);
        }
        assert_eq!(plain_name(Path::new(&"x".repeat(99))).len(), 40);
    }
}
