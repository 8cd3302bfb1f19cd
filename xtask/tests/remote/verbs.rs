//! Every verb goes to other hosts, as typed; several hosts side by side; what is missing over there is named.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{Machines, is_possible};

/// Writes its arguments down, each with a NUL behind it, and a newline behind all.
/// Several run at once: a line is appended in one piece.
const RECORDER: &str =
    "{ printf '%s\\0' \"$@\"; echo; } > \"$HOME/call.$$\" && cat \"$HOME/call.$$\" >> \"$HOME/calls\"";

/// Every verb without verbs below it, with its examples.
fn leaves(machines: &Machines) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    walk(machines, &[], &mut |page| {
        if page.is_leaf {
            found.insert(page.verb, page.examples);
        }
    });
    found
}

/// What a help says.
pub struct Page {
    pub verb: String,
    pub examples: Vec<String>,
    /// No verbs are below it.
    pub is_leaf: bool,
}

/// Every help page there is.
pub fn walk(machines: &Machines, words: &[String], visit: &mut dyn FnMut(Page)) {
    let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
    let help = machines.run(&arguments).text();
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // A description that is broken into lines stands further in.
    let verbs: Vec<&str> =
        commands.filter(|line| !line.starts_with("    ")).filter_map(|line| line.split_whitespace().next()).collect();
    let examples = help.split("Examples:\n").nth(1).unwrap_or_default().lines().map(str::trim);
    let examples = examples.filter(|line| !line.is_empty()).map(str::to_owned).collect();
    visit(Page { verb: words.join(" "), examples, is_leaf: verbs.is_empty() });
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        let below: Vec<String> = words.iter().cloned().chain([verb.to_owned()]).collect();
        walk(machines, &below, visit);
    }
}

/// The words of an example, as a shell reads them.
pub fn words(example: &str, folder: &Path) -> Vec<String> {
    std::fs::write(folder.join("local.txt"), "").expect("a file");
    let script = format!(
        "show() {{ printf '%s\\0' \"$@\"; }}; show {}",
        example.trim_start_matches("sudo -E ").trim_start_matches("cargo xtask ")
    );
    let output = duct::cmd("sh", ["-c", &script]).dir(folder).stdout_capture().run().expect("a shell");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.trim_end_matches('\0').split('\0').map(str::to_owned).collect()
}

#[test]
fn every_verb_arrives_as_typed() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout(RECORDER);
    let verbs = leaves(&machines);
    assert!(verbs.len() > 30, "{:?}", verbs.keys());
    let folder = tempfile::tempdir().expect("a folder");
    let mut sent = Vec::new();
    for (verb, examples) in &verbs {
        let own = |example: &&String| {
            example.starts_with(&format!("cargo xtask {verb}"))
                && !example.contains("--remote")
                && !example.contains("--dry-run")
        };
        let example =
            examples.iter().find(own).unwrap_or_else(|| panic!("`{verb} --help` has no example: {examples:?}"));
        sent.push(words(example, folder.path()));
    }
    // Four connections at a time are as many as two processors can shake hands with.
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let Some(words) = sent.get(index) else { return };
                    let arguments = ["--remote", "box", "--yes"].into_iter().chain(words.iter().map(String::as_str));
                    let outcome = machines.run(&arguments.collect::<Vec<_>>());
                    assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
                }
            });
        }
    });
    let calls = std::fs::read_to_string(machines.far("calls")).expect("calls");
    for words in &sent {
        let expected: String = ["xtask", "--yes"]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .map(|word| format!("{word}\0"))
            .collect();
        assert!(calls.lines().any(|call| call == expected), "{words:?} did not arrive");
    }
    println!("{} verbs went to another host", sent.len());
}

#[test]
fn every_command_of_the_migration_page_is_one() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout(RECORDER);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs/migration.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let rows = page.lines().filter(|line| line.starts_with("| `llorch-"));
    let commands = rows.flat_map(|row| row.rsplit(" | ").next().expect("a cell").split('`'));
    let commands: Vec<&str> = commands.filter(|text| text.starts_with("cargo xtask ")).collect();
    assert!(commands.len() >= 40, "{commands:?}");
    let folder = tempfile::tempdir().expect("a folder");
    for command in
        commands.iter().filter(|command| !command.contains("remote exec") && !command.contains("remote sync"))
    {
        // With `--remote` a command is parsed whole here and carried out nowhere.
        let words = words(&command.replace(" --remote HOST", "").replace(" --sync", ""), folder.path());
        let arguments = ["--remote", "box", "--yes"].into_iter().chain(words.iter().map(String::as_str));
        let outcome = machines.run(&arguments.collect::<Vec<_>>());
        assert_eq!(outcome.code, 0, "{command}: {outcome:?}");
    }
}

#[test]
fn a_typing_error_fails_here() {
    let machines = Machines::new().with_checkout(RECORDER);
    for arguments in [
        &["--remote", "box", "modles", "list"][..],
        &["--remote", "box", "build", "worker", "gpu"],
        &["--sync", "tidy"],
    ] {
        assert_eq!(machines.run(arguments).code, 2, "{arguments:?}");
    }
    assert!(!machines.far("calls").exists());
}

#[test]
fn several_hosts_are_told_apart_and_all_run_to_their_end() {
    if !is_possible() {
        return;
    }
    let script = "case $HOST_NUMBER in 2) echo two; echo bad >&2; exit 7;; *) echo '{\"event\":\"done\"}';; esac";
    let machines = Machines::new().with_checkout(script);
    let profile = |name: &str, number: u8| {
        let bin = machines.path("bin").display().to_string();
        format!(
            "[hosts.{name}]\nssh = 'box'\nrepo = 'src/llorch'\npath = ['{bin}']\n[hosts.{name}.env]\nHOST_NUMBER = '{number}'\n"
        )
    };
    machines.configure(&format!(
        "{}{}[hosts.gone]\nssh = 'nobody@127.0.0.1'\nrepo = 'x'\n",
        profile("one", 1),
        profile("second", 2)
    ));
    let outcome = machines.run(&["--remote", "all", "tidy", "--json"]);
    assert_eq!(outcome.code, 69, "the highest: {outcome:?}");
    let lines: Vec<serde_json::Value> =
        outcome.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.contains(&serde_json::json!({ "host": "one", "line": { "event": "done" } })), "{lines:?}");
    assert!(lines.contains(&serde_json::json!({ "host": "second", "line": "two" })), "{lines:?}");
    let last = lines.last().expect("a last line");
    let codes: Vec<&serde_json::Value> =
        last["hosts"].as_array().expect("hosts").iter().map(|host| &host["exit_code"]).collect();
    assert_eq!(codes, [69, 0, 7], "{last}");
    let outcome = machines.run(&["--remote", "one,second", "tidy"]);
    assert_eq!(outcome.code, 7, "{outcome:?}");
    assert!(outcome.text().contains("second | two\n") && outcome.stderr.contains("second | bad\n"), "{outcome:?}");
    assert!(outcome.stderr.contains("exit code 7"), "{outcome:?}");
}

#[test]
fn one_hosts_output_is_untouched() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("printf 'a\\0b\\r\\n\\377'; echo err >&2; cat; exit 101");
    let outcome = machines.run(&["--remote", "box", "tidy"]);
    assert_eq!((outcome.code, outcome.stdout.as_slice()), (101, b"a\0b\r\n\xff".as_slice()));
    assert_eq!(outcome.stderr, "err\n");
}

#[test]
fn what_is_missing_over_there_is_named() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let check = |profile: &str, arguments: &[&str], code: i32, wanted: &[&str]| {
        machines.configure(&format!("[hosts.box]\npath = ['{}']\n{profile}", machines.path("bin").display()));
        let outcome = machines.run(arguments);
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(wanted.iter().all(|wanted| outcome.stderr.contains(wanted)), "{wanted:?}: {outcome:?}");
    };
    check("", &["--remote", "box", "tidy"], 2, &["none is known on `box`", "--sync"]);
    check(
        "repo = 'nowhere'\n",
        &["--remote", "box", "tidy"],
        1,
        &["`nowhere` is not there on `box`", "remote setup box"],
    );
    std::fs::create_dir_all(machines.far("other")).expect("a folder");
    check("repo = 'other'\n", &["--remote", "box", "tidy"], 1, &["no checkout of llorch"]);
    check("", &["--remote", "box", "models", "list"], 1, &["`llorch` is not installed", "remote deploy box"]);
    // Once it is installed, verbs that need no checkout run as that.
    std::fs::create_dir_all(machines.far(".local/bin")).expect("a folder");
    machines.program("llorch", "echo installed \"$@\"");
    std::fs::rename(machines.path("bin/llorch"), machines.far(".local/bin/llorch")).expect("it moves");
    machines.configure("[hosts.box]\nrepo = 'nowhere'\n");
    assert_eq!(machines.run(&["--remote", "box", "models", "list"]).text(), "installed models list\n");
}

#[test]
fn a_verb_that_reads_nothing_leaves_the_input_to_others() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("cat >/dev/null; echo done");
    let command = machines.command(&["--remote", "box", "tidy"]);
    let program = command.get_program().to_string_lossy().into_owned();
    let script = format!("while read host; do '{program}' --remote $host tidy; done");
    let mut shell =
        duct::cmd("sh", ["-c", &script]).stdin_bytes("box\nbox2\n").stdout_capture().dir(machines.path("near"));
    for (name, value) in command.get_envs() {
        shell = match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    assert_eq!(shell.run().expect("a shell").stdout, b"done\ndone\n");
}

#[test]
fn a_question_is_asked_on_this_side_or_not_at_all() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout(RECORDER);
    let outcome = machines.run(&["--remote", "box", "models", "delete", "tinyllama"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    assert!(outcome.stderr.contains("--yes"), "{outcome:?}");
    assert!(!machines.far("calls").exists());
}

#[test]
fn progress_survives_the_trip() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("echo \"[$LLORCH_TERMINAL_COLUMNS $CARGO_TERM_PROGRESS_WHEN]\"");
    // `script` gives the command a terminal; here its own output is looked at.
    let command = machines.command(&["--remote", "box", "tidy"]);
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let line = words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>().join(" ");
    let mut terminal =
        duct::cmd("script", ["-qec", &format!("stty cols 97; {line}"), "/dev/null"]).stdin_null().stdout_capture();
    for (name, value) in command.get_envs() {
        terminal = match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let output = terminal.dir(machines.path("near")).run().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("[97 always]"), "{text:?}");
    // Without a terminal nothing is drawn.
    assert_eq!(machines.run(&["--remote", "box", "tidy"]).text(), "[ ]\n");
}
