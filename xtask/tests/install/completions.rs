//! The real command, installed: its pages, and what real shells offer.

use std::path::PathBuf;

use crate::prefix::{home, installed, run};
use crate::support::Home;

/// A home in which the real command is installed, with hosts that can be named and a model.
fn with_llorch() -> Home {
    let home = home("one").with_model();
    std::fs::remove_file(home.path("built/xtask")).expect("a script");
    std::fs::hard_link(home.path("bin/llorch"), home.path("built/xtask")).expect("the command");
    let config = home.path(".config/llorch/config.toml");
    std::fs::create_dir_all(config.parent().expect("a folder")).expect("a folder");
    let text = "[hosts.workstation]\nssh = 'me@box.lan'\ntags = ['gpu']\n[hosts.wagon]\n";
    std::fs::write(config, text).expect("a file");
    installed(&home, &[]);
    let path = format!("{}:{}", home.path("prefix/bin").display(), std::env::var("PATH").expect("a path"));
    home.with("PATH", &path)
}

/// A checkout that declares submodules, for shells to be in.
fn checkout(home: &Home) -> PathBuf {
    let root = home.path("checkout");
    std::fs::create_dir_all(root.join("xtask")).expect("folders");
    for name in ["Cargo.toml", "catalog.toml", "xtask/Cargo.toml"] {
        std::fs::write(root.join(name), "").expect("a file");
    }
    let section =
        |name: &str| format!("[submodule \"{name}\"]\n\tpath = reference/{name}\n\turl = https://example.org/{name}\n");
    std::fs::write(root.join(".gitmodules"), ["candle", "other"].map(section).concat()).expect("a file");
    root
}

/// What a shell is told to print; nothing if `cargo xtask test` found none here, which is said.
fn said(home: &Home, shell: &str, script: &str) -> Option<String> {
    if std::env::var("LLORCH_TEST_MISSING").is_ok_and(|missing| missing.contains(shell)) {
        println!("skipped: {shell} is not here");
        return None;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = std::env::split_paths(&path).map(|folder| folder.join(shell)).find(|program| program.is_file());
    let program = program.unwrap_or_else(|| panic!("there is no `{shell}`: `cargo xtask test` installs it"));
    let outcome = run(home.prepared(&program, &["-c", script]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    Some(outcome.stdout)
}

fn file(home: &Home, name: &str) -> PathBuf {
    home.path("prefix").join(name)
}

#[test]
fn bash_offers_verbs_options_models_and_hosts() {
    let home = with_llorch();
    let script = file(&home, "share/bash-completion/completions/llorch");
    let here = checkout(&home);
    let offers = |typed: &[&str]| {
        let words: Vec<String> = typed.iter().map(|word| format!("'{word}'")).collect();
        let last = typed.len() - 1;
        let text = format!(
            "cd '{}'; source '{}'; COMP_WORDS=({}); COMP_CWORD={last}; COMP_TYPE=9; _clap_complete_llorch llorch '{}' ''; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            here.display(),
            script.display(),
            words.join(" "),
            typed[last],
        );
        said(&home, "bash", &text).map(|text| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>())
    };
    for (typed, wanted) in [
        (&["llorch", "unin"][..], &["uninstall"][..]),
        (&["llorch", "install", "--ro"], &["--rollback"]),
        (&["llorch", "completions", "po"], &["powershell"]),
        (&["llorch", "models", "delete", ""], &["tiny"]),
        (&["llorch", "infer", "--model", "ti"], &["tiny"]),
        (&["llorch", "--remote", "wo"], &["workstation"]),
        (&["llorch", "--remote", "wagon,tag:"], &["wagon,tag:gpu"]),
        (&["llorch", "remote", "exec", "wa"], &["wagon"]),
        (&["llorch", "build", "worker", ""], &["cpu", "cuda", "metal", "auto"]),
        (&["llorch", "worker", "start", "cu"], &["cuda"]),
        (&["llorch", "test", "smoke", "--backend", ""], &["cpu", "cuda", "metal"]),
        (&["llorch", "dist", "--backend", ""], &["cpu", "cuda", "metal"]),
        (&["llorch", "install", "--backend", "m"], &["metal"]),
        (&["llorch", "dev", "doctor", "--backend", ""], &["cpu", "cuda", "metal"]),
        (&["llorch", "remote", "hosts", "add", "x", "y", "--backend", ""], &["cpu", "cuda", "metal"]),
        (&["llorch", "remote", "hosts", "check", "wo"], &["workstation"]),
        (&["llorch", "test", "lane", "cuda-"], &["cuda-check"]),
        (&["llorch", "git", "submodules", "update", ""], &["candle", "other"]),
        (&["llorch", "git", "submodules", "branch", "ca"], &["candle"]),
        (&["llorch", "git", "submodules", "reset", "ca"], &["candle"]),
        (&["llorch", "man", "inf"], &["infer"]),
        (&["llorch", "man", "git", "submodules", "up"], &["update"]),
    ] {
        let Some(offered) = offers(typed) else { return };
        let is_there = |word: &&str| offered.iter().any(|line| line == word);
        assert!(wanted.iter().all(is_there), "{typed:?}: {offered:?}");
    }
    // What has a profile and nothing else can be removed.
    let mut removable = offers(&["llorch", "remote", "hosts", "remove", ""]).expect("bash");
    removable.retain(|word| !word.starts_with('-'));
    assert_eq!(removable, ["wagon", "workstation"]);
}

#[test]
fn fish_offers_them_without_being_told() {
    let home = with_llorch();
    let script = file(&home, "share/fish/vendor_completions.d/llorch.fish");
    let ask = format!("source '{}'; complete --do-complete 'llorch models delete '", script.display());
    let Some(text) = said(&home, "fish", &ask) else { return };
    assert!(text.lines().any(|line| line == "tiny\there"), "{text}");
    let ask = format!("source '{}'; complete --do-complete 'llorch --remote w'", script.display());
    let text = said(&home, "fish", &ask).expect("fish");
    assert!(["wagon", "workstation"].iter().all(|host| text.lines().any(|line| line == *host)), "{text}");
    let here = checkout(&home);
    let complete =
        "complete --do-complete 'llorch build worker '; complete --do-complete 'llorch git submodules reset '";
    let ask = format!("cd '{}'; source '{}'; {complete}", here.display(), script.display());
    let text = said(&home, "fish", &ask).expect("fish");
    assert!(["auto", "metal", "candle"].iter().all(|word| text.lines().any(|line| line == *word)), "{text}");
}

#[test]
fn zsh_finds_them_in_its_path() {
    let home = with_llorch();
    let folder = file(&home, "share/zsh/site-functions");
    // `_describe` shows what it is given; everything else is zsh's own way from the file in `fpath` to there.
    let script = format!(
        "fpath=('{}' $fpath); autoload -Uz compinit; compinit -u -D; print ${{_comps[llorch]}}; \
         _describe() {{ print -l \"${{(@P)3}}\" }}; words=(llorch models delete ''); CURRENT=4; _llorch; _llorch",
        folder.display()
    );
    let Some(text) = said(&home, "zsh", &script) else { return };
    assert_eq!(text.lines().next(), Some("_llorch"), "{text}");
    assert!(text.lines().filter(|line| *line == "tiny:here").count() == 2, "both times: {text}");
}

#[test]
fn the_manual_and_the_programs_are_the_installed_ones() {
    let home = with_llorch();
    let page = std::fs::read_to_string(file(&home, "share/man/man1/llorch-models-download.1")).expect("a page");
    assert!(page.contains(".SH EXAMPLES"), "{page}");
    let program = file(&home, "bin/llorch");
    let stamp = run(home.prepared(&program, &["--version", "--json"])).last_event();
    assert_eq!(stamp["program"], "llorch");
    // Its own prefix, unasked: to install into, too.
    let mut plan = crate::prefix::in_checkout(&home, &["install", "--dry-run", "--backend", "cpu"]);
    plan.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut again = home.prepared(&program, &["install", "--dry-run", "--backend", "cpu"]);
    again.current_dir(env!("CARGO_MANIFEST_DIR"));
    let last = |command| run(command).stdout.lines().last().unwrap_or_default().to_owned();
    assert!(last(plan).contains("/.local/lib/llorch to version 1"));
    assert!(last(again).contains("prefix/lib/llorch from version 1"));
    let prefix = home.path("prefix").canonicalize().expect("a folder").display().to_string();
    // What the doctor says to type mends this installation, and makes no other.
    std::fs::remove_file(home.path("prefix/bin/llorch-pool")).expect("a link");
    let mut doctor = home.prepared(&program, &["dev", "doctor", "--json"]);
    doctor.env("HF_HUB_OFFLINE", "1");
    let doctor = run(doctor).last_event();
    let checks = doctor["checks"].as_array().expect("checks");
    let binaries = checks.iter().find(|check| check["name"] == "binaries").expect("a line");
    assert_eq!(binaries["hint"], format!("llorch install --prefix {prefix}"), "{binaries}");
    let gone = run(home.prepared(&program, &["uninstall", "--yes", "--json"]));
    assert_eq!((gone.code, gone.last_event()["prefix"].as_str()), (0, Some(prefix.as_str())), "{gone:?}");
    assert!(crate::prefix::files(&home.path("prefix")).is_empty());
}
