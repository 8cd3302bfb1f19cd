//! What comes back: exit codes, both streams byte for byte, and transport failures that are never mixed up with them.

use std::io::Write as _;
use std::process::Stdio;

use crate::support::{Machines, Wish, finish, is_possible};

#[test]
fn exit_codes_come_back_as_they_are() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    for code in [0, 1, 2, 69, 76, 101, 130, 137, 254, 255] {
        let outcome = machines.run(&["remote", "exec", "box", "--", "sh", "-c", &format!("exit {code}")]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (code, ""));
    }
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
        let outcome = machines.run(&["remote", "exec", "box", "--", "sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(outcome.code, code, "{outcome:?}");
    }
    let outcome = machines.run(&["remote", "exec", "box", "--", "no-such-program", "x"]);
    assert_eq!(outcome.code, 127);
    assert!(outcome.stderr.contains("no-such-program: no such command"), "{outcome:?}");
    machines.wait_until_empty();
}

#[test]
fn streams_are_the_same_bytes_apart_and_in_order() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let everything: Vec<u8> = (0..200_000_u32).map(|index| (index * 31 % 256) as u8).collect();
    let mut command = machines.command(&["remote", "exec", "box", "--", "tee", "/dev/stderr"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let sent = everything.clone();
    let writer = std::thread::spawn(move || input.write_all(&sent));
    let outcome = finish(child);
    writer.join().expect("it is sent").expect("all of it");
    assert_eq!(outcome.code, 0);
    assert!(outcome.stdout == everything, "{} bytes came back", outcome.stdout.len());
    assert_eq!(outcome.stderr, String::from_utf8_lossy(&everything));
}

#[test]
fn input_that_ends_and_input_that_nobody_reads() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    assert_eq!(machines.run(&["remote", "exec", "box", "--", "cat"]).text(), "");
    // More than any pipe holds, and nobody who reads it.
    let mut command = machines.command(&["remote", "exec", "box", "--", "true"]);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(&vec![b'x'; 4 << 20]));
    assert_eq!(finish(child).code, 0);
    let _refused_is_fine = writer.join().expect("it ends");
}

#[test]
fn a_task_that_leaves_somebody_behind_is_not_waited_for() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let started = std::time::Instant::now();
    let outcome = machines.run(&["remote", "exec", "box", "--", "sh", "-c", "sleep 60 & echo out; exit 3"]);
    assert_eq!((outcome.code, outcome.text().as_str()), (3, "out\n"));
    assert!(started.elapsed().as_secs() < 30);
}

#[test]
fn a_reader_that_has_gone_ends_the_task() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let mut child = machines.start(&["remote", "exec", "box", "--", "yes"]);
    drop(child.stdout.take());
    child.stdout = None;
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    machines.wait_until_empty();
}

#[test]
fn transport_failures_have_codes_of_their_own() {
    if !is_possible() {
        return;
    }
    let mut machines = Machines::new();
    machines.make_key("another_key");
    // Another key than the known one.
    machines.know_host("another_key");
    let outcome = machines.run(&["remote", "exec", "box", "--json", "--", "true"]);
    assert_eq!(outcome.code, 76, "{outcome:?}");
    assert!(outcome.stderr.contains("another than the known one") && outcome.text().contains("HOST_KEY_CHANGED"));
    // Not even where the user's own configuration would let it pass.
    let lax = Machines::new().ssh("StrictHostKeyChecking no");
    lax.make_key("another_key");
    lax.know_host("another_key");
    let outcome = lax.run(&["remote", "exec", "box", "--", "echo", "ran"]);
    assert_eq!((outcome.code, outcome.text().as_str()), (76, ""), "{outcome:?}");
    // Revoked.
    let revoked = std::fs::read_to_string(machines.path("host_key.pub")).expect("a key");
    std::fs::write(machines.path("known_hosts"), format!("@revoked * {revoked}")).expect("a file");
    assert_eq!(machines.run(&["remote", "exec", "box", "--", "true"]).code, 76);
    // Never seen: the fingerprint is shown.
    std::fs::write(machines.path("known_hosts"), "").expect("a file");
    let outcome = machines.run(&["remote", "exec", "box", "--json", "--", "true"]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.stderr.contains("SHA256:") && outcome.text().contains("HOST_KEY_UNKNOWN"), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(machines.path("known_hosts")).expect("a file"), "", "nothing was accepted");
    machines.know_host("host_key");
    assert_eq!(machines.run(&["remote", "exec", "box", "--", "true"]).code, 0);
    // No key of ours.
    std::fs::write(machines.path("authorized_keys"), "").expect("a file");
    let outcome = machines.run(&["remote", "exec", "box", "--json", "--", "true"]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.text().contains("HOST_UNAUTHORIZED") && outcome.stderr.contains("ssh-copy-id"), "{outcome:?}");
    // Nobody there.
    machines.kill_sshd();
    let outcome = machines.run(&["remote", "exec", "box", "--json", "--", "true"]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.text().contains("HOST_UNREACHABLE") && outcome.stderr.contains("refused"), "{outcome:?}");
}

#[test]
fn keys_are_known_by_hashed_names_by_port_and_by_algorithm() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let known = machines.path("known_hosts");
    let hash = duct::cmd("ssh-keygen", ["-H", "-f", &known.display().to_string()]).stdout_null().stderr_null();
    hash.run().expect("ssh-keygen hashes names");
    assert!(std::fs::read_to_string(&known).expect("a file").starts_with("|1|"), "the name is not hashed");
    assert_eq!(machines.run(&["remote", "exec", "box", "--", "true"]).code, 0);
    // One address, two ports, two keys: what is known of the one says nothing of the other.
    let other = Machines::new();
    std::fs::copy(&known, other.path("known_hosts")).expect("a copy");
    let outcome = other.run(&["remote", "exec", "box", "--json", "--", "true"]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.text().contains("HOST_KEY_UNKNOWN"), "{outcome:?}");
    // Known by a key of another kind, which the host does not have: never taken for known.
    machines.make_key_of("rsa_key", "rsa");
    machines.know_host("rsa_key");
    let outcome = machines.run(&["remote", "exec", "box", "--", "echo", "ran"]);
    assert!([69, 76].contains(&outcome.code) && outcome.text().is_empty(), "{outcome:?}");
}

#[test]
fn a_host_that_wants_a_password_fails_at_once() {
    if !is_possible() {
        return;
    }
    let wish = Wish { lines: "PasswordAuthentication yes\nPubkeyAuthentication no\n".into(), ..Wish::default() };
    // sshd takes the first of two: ours stands behind, so it is the configuration of a machine without keys.
    let machines = Machines::with(&wish);
    std::fs::write(machines.path("authorized_keys"), "").expect("a file");
    let started = std::time::Instant::now();
    let outcome = machines.run(&["remote", "exec", "box", "--", "true"]);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.stderr.contains("does not let you in"), "{outcome:?}");
    assert!(started.elapsed().as_secs() < 15);
}
