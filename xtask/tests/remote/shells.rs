//! Login shells: whatever reads the first line, and whatever it says before.

use crate::support::{Machines, Wish, is_possible};

const ARGUMENTS: [&str; 16] = [
    "",
    "-n",
    "--",
    "a b",
    "it's",
    "\"q\"",
    "$HOME",
    "`id`",
    "$(id)",
    "*",
    "~",
    "!!",
    "a\nb\r\t",
    "\\0101",
    "{a,b}",
    "\u{a0}é\u{1b}[2J",
];

fn check(shell: &str) {
    if !is_possible() {
        return;
    }
    if std::env::var("LLORCH_TEST_MISSING")
        .is_ok_and(|missing| missing.contains(shell.split(' ').next().expect("a word")))
    {
        println!("skipped: {shell} is not here");
        return;
    }
    let machines = Machines::with(&Wish { shell: Some(shell.to_owned()), ..Wish::default() });
    // What start-up files print on both streams is not the task's.
    for file in [".bashrc", ".zshenv", ".cshrc", ".tcshrc", ".config/fish/config.fish", ".profile"] {
        let file = machines.far(file);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, "echo Welcome to this host\n").expect("a file");
    }
    let arguments = ["remote", "exec", "box", "--", "printf", "%s\\0", "first"].into_iter().chain(ARGUMENTS);
    let outcome = machines.run(&arguments.collect::<Vec<_>>());
    let expected: String = ["first"].into_iter().chain(ARGUMENTS).map(|argument| format!("{argument}\0")).collect();
    assert_eq!((outcome.code, outcome.text(), outcome.stderr.as_str()), (0, expected, ""), "{shell}");
    assert_eq!(machines.run(&["remote", "exec", "box", "--", "sh", "-c", "echo x >&2; exit 255"]).code, 255, "{shell}");
    machines.wait_until_empty();
}

#[test]
fn bash() {
    check("bash");
}

#[test]
fn dash() {
    check("dash");
}

#[test]
fn zsh() {
    check("zsh");
}

#[test]
fn fish() {
    check("fish");
}

#[test]
fn tcsh() {
    check("tcsh");
}

#[test]
fn busybox() {
    check("busybox sh");
}

#[test]
fn two_hundred_vectors_arrive_through_a_real_sshd() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    // One connection each would be two hundred handshakes: forty words a time.
    let words: Vec<String> = (0..200_u32)
        .map(|index| {
            (0..index % 7).map(|at| char::from_u32(1 + (index * 7919 + at * 104_729) % 0x2fff).unwrap_or('x')).collect()
        })
        .collect();
    for batch in words.chunks(40) {
        let arguments =
            ["remote", "exec", "box", "--", "printf", "%s\\0"].into_iter().chain(batch.iter().map(String::as_str));
        let outcome = machines.run(&arguments.collect::<Vec<_>>());
        let expected: String = batch.iter().map(|word| format!("{word}\0")).collect();
        assert!(outcome.text() == expected, "{batch:?}");
    }
    let long = "x'".repeat(50_000);
    assert_eq!(machines.run(&["remote", "exec", "box", "--", "printf", "%s", &long]).text(), long);
    let outcome = machines.run(&["remote", "exec", "box", "--", "printf", &"x".repeat(131_000)]);
    assert_eq!(outcome.code, 0, "{:.200}", outcome.stderr);
}

#[test]
fn a_login_shell_that_is_none_is_named() {
    if !is_possible() {
        return;
    }
    let machines =
        Machines::with(&Wish { lines: "ForceCommand echo no login here; exit 1\n".into(), ..Wish::default() });
    let outcome = machines.run(&["remote", "exec", "box", "--", "true"]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.stderr.contains("login shell") && outcome.stderr.contains("no login here"), "{outcome:?}");
}
