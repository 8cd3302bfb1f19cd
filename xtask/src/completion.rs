//! What may be typed next. The scripts that shells read (`completions`) call this program for it, with the words so far.
//!
//! Options and verbs come from the command line's own description; what a placeholder stands for (`MODEL`, `HOST`) is
//! looked up when it is asked for, so that a verb that says `MODEL` has it without a line here.

use std::ffi::OsString;

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::Shells;
use models::catalog::Catalog;
use models::environment;
use models::places::Places;
use models::store::Store;

use crate::configuration::{self, Configuration};
use crate::git::address::Locality;
use crate::git::modules_file;
use crate::remote::Remote;
use crate::{cli, workspace};

/// Set by the scripts to the name of their shell.
const VARIABLE: &str = "LLORCH_COMPLETE";
/// The command that is completed: in a checkout, `cargo xtask` is cargo's to complete.
const PROGRAM: &str = "llorch";
/// Verbs that have a use for models that are here only.
const OF_WHAT_IS_HERE: [&str; 2] = ["delete", "verify"];
/// The verb that has a use for hosts with a profile only.
const OF_PROFILES: &str = "remove";
/// The verb whose arguments are verbs.
const OF_VERBS: &str = "man";

/// Answers a script's question, if this was called by one; the exit code.
pub fn answer() -> Option<u8> {
    let shell = std::env::var(VARIABLE).ok()?;
    let shells = Shells::builtins();
    let Some(completer) = shells.completer(&shell) else { return Some(2) };
    // The script's own call comes first, the words that were typed behind `--`.
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(1).peekable();
    words.peek()?;
    let (words, mut text): (Vec<OsString>, _) = (words.collect(), Vec::new());
    let here = std::env::current_dir().ok();
    let mut command = with_candidates(cli::command(PROGRAM), "", &words);
    let written = completer.write_complete(&mut command, words, here.as_deref(), &mut text);
    let is_written = written.is_ok() && std::io::Write::write_all(&mut std::io::stdout(), &text).is_ok();
    Some(u8::from(!is_written))
}

/// The script that makes a shell ask this program; `shell` is one of ours.
pub fn script(shell: &str) -> std::io::Result<Vec<u8>> {
    let shells = Shells::builtins();
    let completer = shells.completer(shell).ok_or_else(|| std::io::Error::other(format!("unknown shell `{shell}`")))?;
    let mut text = Vec::new();
    completer.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut text)?;
    if shell == "zsh" {
        // Found in `fpath`, the file itself is the function of the first completion.
        text.extend(b"if [ \"$funcstack[1]\" = \"_llorch\" ]; then _clap_dynamic_completer_llorch \"$@\"; fi\n");
    }
    Ok(text)
}

/// The command, its placeholders bound to what they stand for; `words` are those that were typed.
fn with_candidates(command: clap::Command, verb: &str, words: &[OsString]) -> clap::Command {
    let is_of_what_is_here = OF_WHAT_IS_HERE.contains(&verb);
    let bind = |argument: clap::Arg| match placeholder(&argument).as_deref() {
        Some("MODEL") if is_of_what_is_here => argument.add(ArgValueCandidates::new(models_here)),
        Some("MODEL") => argument.add(ArgValueCandidates::new(all_models)),
        Some("HOST") if verb == OF_PROFILES => argument.add(ArgValueCandidates::new(profiles)),
        Some("SUBMODULE") => argument.add(ArgValueCandidates::new(submodules)),
        Some("VERB") => {
            let before = verbs_before(words);
            argument.add(ArgValueCandidates::new(move || verbs_below(&before)))
        }
        Some("HOST" | "HOST[,HOST…]") => argument.add(ArgValueCandidates::new(hosts)),
        _ => argument,
    };
    let command = command.mut_args(bind);
    command.mut_subcommands(|verb| {
        let name = verb.get_name().to_owned();
        with_candidates(verb, &name, words)
    })
}

/// What the argument takes, as help calls it; a `--model ID` is a model.
fn placeholder(argument: &clap::Arg) -> Option<String> {
    if argument.get_id() == "model" && argument.get_action().takes_values() {
        return Some(String::from("MODEL"));
    }
    Some(argument.get_value_names()?.first()?.to_string())
}

/// Models that are here. What cannot be read is for other verbs to complain about.
fn models_here() -> Vec<CompletionCandidate> {
    let store = Places::from_environment().ok().and_then(|places| Store::open(places.models()).ok());
    let models = store.and_then(|store| store.list().ok()).map(|listing| listing.models).unwrap_or_default();
    models.iter().map(|model| candidate(model.manifest.id.as_str(), "here")).collect()
}

/// Models that are here, and what else the catalog has.
fn all_models() -> Vec<CompletionCandidate> {
    let path = std::env::var_os(environment::CATALOG);
    let catalog = path.map_or_else(Catalog::built_in, |path| Catalog::load(path.as_ref()));
    let mut candidates = models_here();
    for entry in catalog.iter().flat_map(|catalog| catalog.entries()) {
        if !candidates.iter().any(|known| known.get_value() == entry.id.as_str()) {
            candidates.push(candidate(entry.id.as_str(), "in the catalog"));
        }
    }
    candidates
}

/// Hosts that can be named. A name is typed into a shell: what is none of ours (an alias of ssh may be anything) is left out.
fn hosts() -> Vec<CompletionCandidate> {
    let names = Remote::read().map(|remote| remote.names()).unwrap_or_default();
    let is_plain = |name: &&String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte));
    names.iter().filter(is_plain).map(CompletionCandidate::new).collect()
}

/// Hosts whose profile this user has written.
fn profiles() -> Vec<CompletionCandidate> {
    let file = configuration::user_file().unwrap_or_default();
    let hosts = Configuration::load().map(|configuration| configuration.hosts).unwrap_or_default();
    hosts
        .into_iter()
        .filter(|(_, profile)| profile.file == file)
        .map(|(name, _)| CompletionCandidate::new(name))
        .collect()
}

/// What `.gitmodules` declares, wherever it comes from: nothing is fetched here.
fn submodules() -> Vec<CompletionCandidate> {
    let declared = workspace::find().and_then(|root| modules_file::read(&root, Locality::Local).ok());
    declared.unwrap_or_default().iter().map(|one| CompletionCandidate::new(one.name.as_str())).collect()
}

/// The words between `man` and the one that is being typed.
fn verbs_before(words: &[OsString]) -> Vec<String> {
    let arguments = words.iter().skip_while(|word| *word != OF_VERBS).skip(1);
    let mut before: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    before.pop();
    before.retain(|word| !word.starts_with('-'));
    before
}

/// The verbs that may follow these.
fn verbs_below(before: &[String]) -> Vec<CompletionCandidate> {
    let top = cli::command(PROGRAM);
    let found = before.iter().try_fold(&top, |command, word| command.find_subcommand(word));
    let verbs = found.into_iter().flat_map(clap::Command::get_subcommands).filter(|verb| !verb.is_hide_set());
    verbs.map(|verb| CompletionCandidate::new(verb.get_name()).help(verb.get_about().cloned())).collect()
}

fn candidate(value: &str, help: &str) -> CompletionCandidate {
    CompletionCandidate::new(value).help(Some(help.to_owned().into()))
}

#[cfg(test)]
mod tests {
    use super::{placeholder, script, with_candidates};
    use crate::cli;

    /// Paths of arguments that a placeholder was bound for.
    fn bound(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if argument.get::<clap_complete::engine::ArgValueCandidates>().is_some() {
                found.push(format!("{path} {}", placeholder(argument).expect("a placeholder")));
            }
        }
        command.get_subcommands().for_each(|verb| bound(verb, &format!("{path} {}", verb.get_name()), found));
    }

    #[test]
    fn what_takes_a_model_or_a_host_is_completed() {
        let (command, mut found) = (with_candidates(cli::command("llorch"), "", &[]), Vec::new());
        bound(&command, "llorch", &mut found);
        for wanted in [
            "llorch HOST[,HOST…]",
            "llorch infer MODEL",
            "llorch models download MODEL",
            "llorch models delete MODEL",
            "llorch worker start MODEL",
            "llorch remote exec HOST",
            "llorch remote hosts remove HOST",
            "llorch git submodules update SUBMODULE",
            "llorch man VERB",
        ] {
            assert!(found.iter().any(|path| path == wanted), "{wanted}: {found:#?}");
        }
    }

    #[test]
    fn a_page_of_the_manual_is_named_verb_by_verb() {
        let offered = |typed: &str| {
            let words: Vec<std::ffi::OsString> = typed.split(' ').map(Into::into).collect();
            let verbs = super::verbs_below(&super::verbs_before(&words));
            verbs.iter().map(|verb| verb.get_value().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert!(offered("llorch man ").contains(&String::from("infer")));
        // The word under the cursor is not done yet, whatever it is.
        assert_eq!(offered("llorch man git"), offered("llorch man "));
        assert!(offered("llorch man --json git submodules ").contains(&String::from("update")));
        assert!(offered("llorch man nonsense ").is_empty());
    }

    #[test]
    fn every_shell_has_a_script_that_asks_this_program() {
        for shell in ["bash", "zsh", "fish", "powershell"] {
            let text = String::from_utf8(script(shell).expect(shell)).expect("text");
            assert!(text.contains("LLORCH_COMPLETE") && text.contains("llorch"), "{text}");
        }
    }
}
