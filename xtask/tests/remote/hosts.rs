//! Who is meant, what ssh is told, what hostile names and configurations cannot do.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Machines, is_possible};

#[test]
fn an_unknown_host_runs_nothing_anywhere() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("touch \"$HOME/ran\"");
    for extra in [&[][..], &["--dry-run"]] {
        let arguments = ["--remote", "box,bax", "tidy", "--json"].into_iter().chain(extra.iter().copied());
        let outcome = machines.run(&arguments.collect::<Vec<_>>());
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert!(
            outcome.text().contains("HOST_UNKNOWN") && outcome.stderr.contains("did you mean `box`"),
            "{outcome:?}"
        );
    }
    assert!(!machines.far("ran").exists());
}

#[test]
fn hostile_names_run_nothing() {
    let machines = Machines::new();
    let canary = machines.near("canary").display().to_string();
    let proxy = format!("-oProxyCommand=touch {canary}");
    let hostile = [
        proxy.as_str(),
        "-F/x",
        "-lroot",
        "a;b",
        "a b",
        "%h",
        "user@-oProxyCommand=x",
        "ssh://box",
        "box:22",
        "[::1]:22",
        "$(id)",
        "`id`",
        "a|b",
        "a&b",
        "a>b",
        "a\nb",
        "a'b",
        "a\"b",
        "a\\b",
        "*",
        "~",
        "{a}",
        "bücher",
        "",
        "@",
        "a@",
        "@b",
        "a/b",
    ];
    for name in hostile {
        let option = format!("--remote={name}");
        let outcome = machines.run(&[&option, "tidy"]);
        assert_eq!(outcome.code, 2, "{name:?}: {outcome:?}");
        let outcome = machines.run(&["remote", "exec", "--", name, "true"]);
        assert_eq!(outcome.code, 2, "{name:?}: {outcome:?}");
        let outcome = machines.run(&["remote", "hosts", "add", "x", &format!("--env=A={name}"), "--", name]);
        assert_eq!(outcome.code, 2, "{name:?}: {outcome:?}");
    }
    for repo in ["a\nb", "~root/x", ""] {
        let outcome = machines.run(&["remote", "hosts", "add", "x", "box", &format!("--repo={repo}")]);
        assert_eq!(outcome.code, 2, "{repo:?}: {outcome:?}");
    }
    assert!(!machines.near("canary").exists());
}

#[test]
fn ssh_is_told_to_keep_to_itself() {
    if !is_possible() {
        return;
    }
    let canary = tempfile::tempdir().expect("a folder");
    let touched = canary.path().join("touched").display().to_string();
    // A configuration that would run something, forward something, share something, ask something.
    let machines = Machines::new().ssh(&format!(
        "RemoteCommand touch {touched}\nPermitLocalCommand yes\nLocalCommand touch {touched}\nForwardAgent yes\n\
         ForwardX11 yes\nControlMaster auto\nControlPath {touched}-%C\nControlPersist yes\nRequestTTY force\n\
         LocalForward 127.0.0.1:1 127.0.0.1:1\nBatchMode no\nLogLevel QUIET\nSendEnv HF_TOKEN SECRET_*\n"
    ));
    let machines = machines.near_variable("HF_TOKEN", "hf_canary").near_variable("SSH_AUTH_SOCK", "/nowhere");
    let outcome = machines.run(&["remote", "exec", "box", "--", "env"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(!outcome.text().contains("hf_canary") && !outcome.text().contains("SSH_AUTH_SOCK"), "{outcome:?}");
    assert!(!outcome.text().contains("SSH_TTY"), "{outcome:?}");
    assert_eq!(std::fs::read_dir(canary.path()).expect("a folder").count(), 0, "something was touched");
}

#[test]
fn every_call_of_ssh_has_its_destination_behind_two_dashes() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("echo \"$@\"");
    let log = machines.path("calls");
    let shims = machines.path("shims");
    std::fs::create_dir(&shims).expect("a folder");
    let shim = format!(
        "#!/bin/sh\nline=$(printf '%s ' \"$@\" | tr '\\n' ' ')\necho \"$line\" >> {}\nexec /usr/bin/ssh \"$@\"\n",
        log.display()
    );
    std::fs::write(shims.join("ssh"), shim).expect("a script");
    std::fs::set_permissions(shims.join("ssh"), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = format!("{}:{}", shims.display(), std::env::var("PATH").unwrap_or_default());
    let machines = machines.near_variable("PATH", &path);
    assert_eq!(machines.run(&["--remote", "box,box2", "tidy"]).code, 0);
    assert_eq!(machines.run(&["remote", "hosts", "check"]).code, 0);
    let calls = std::fs::read_to_string(log).expect("calls");
    // A connection and a session for each of two hosts, twice: one handshake a host and run.
    assert_eq!(calls.lines().filter(|call| call.contains(" -M -T -- ")).count(), 4, "{calls}");
    assert_eq!(calls.lines().count(), 8, "{calls}");
    assert!(calls.lines().all(|call| call.contains(" -- box")), "{calls}");
    assert!(
        calls.lines().all(|call| call.contains("BatchMode=yes") && !call.contains("StrictHostKeyChecking")),
        "{calls}"
    );
}

#[test]
fn profiles_are_added_listed_tried_and_removed() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let add = [
        "remote",
        "hosts",
        "add",
        "desk",
        "box",
        "--repo",
        "src/x",
        "--backend",
        "cuda",
        "--tag",
        "gpu",
        "--env",
        "A=b c",
    ];
    assert_eq!(machines.run(&add).code, 0);
    let outcome = machines.run(&["remote", "hosts", "list", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&outcome.stdout).expect("a document");
    assert_eq!(document["hosts"][0]["name"], "desk");
    assert_eq!(document["hosts"][0]["backends"][0], "cuda");
    let file = machines.near("config/llorch/config.toml");
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let outcome = machines.run(&["remote", "hosts", "check", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let document: serde_json::Value = serde_json::from_slice(&outcome.stdout).expect("a document");
    assert_eq!(document["hosts"][0]["reachable"], true);
    assert_eq!(document["hosts"][0]["repo"], serde_json::Value::Null);
    let outcome = machines.run(&["remote", "exec", "desk", "--", "sh", "-c", "echo \"$A\""]);
    assert_eq!(outcome.text(), "b c\n");
    assert_eq!(machines.run(&["remote", "hosts", "remove", "desk"]).code, 0);
    assert_eq!(machines.run(&["remote", "hosts", "remove", "desk"]).code, 2);
}

#[test]
fn hosts_that_are_added_at_the_same_time_are_all_there() {
    let machines = Machines::new();
    std::thread::scope(|scope| {
        for index in 0..12 {
            let machines = &machines;
            scope.spawn(move || machines.run(&["remote", "hosts", "add", &format!("host{index}"), "box"]));
        }
    });
    assert_eq!(machines.run(&["remote", "hosts", "list"]).text().lines().count(), 12);
    assert_eq!(machines.run(&["remote", "hosts", "remove", "nobody", "--dry-run"]).code, 2);
}

#[test]
fn a_plan_keeps_the_values_of_variables_to_itself() {
    let machines = Machines::new();
    machines.configure("[hosts.box]\n[hosts.box.env]\nHF_TOKEN = 'canary-7f3a'\n");
    for arguments in
        [&["--remote", "box", "models", "list", "--dry-run"][..], &["remote", "exec", "box", "--dry-run", "--", "x"]]
    {
        let outcome = machines.run(arguments);
        assert!(outcome.text().contains("HF_TOKEN=") && !outcome.text().contains("canary"), "{outcome:?}");
        assert!(outcome.stderr.contains("chmod 600"), "others may read it: {outcome:?}");
    }
}

#[test]
fn a_plan_connects_to_nobody() {
    let mut machines = Machines::new().with_checkout("exit 9");
    machines.kill_sshd();
    for arguments in [
        &["--remote", "box", "tidy", "--dry-run"][..],
        &["--remote", "box", "--sync", "build", "pool", "--dry-run"],
        &["remote", "exec", "box", "--dry-run", "--", "rm", "-rf", "/"],
        &["remote", "hosts", "check", "--dry-run"],
    ] {
        let outcome = machines.run(arguments);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(outcome.text().contains(" -- box"), "{outcome:?}");
    }
}

#[test]
fn a_secret_stays_on_this_side() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("env; exec cat /proc/self/environ");
    let machines = machines.near_variable("HF_TOKEN", "canary-7f3a").near_variable("LLORCH_API_KEY", "canary-7f3a");
    for arguments in [&["--remote", "box", "models", "list", "-v"][..], &["--remote", "box,box2", "tidy", "--json"]] {
        let outcome = machines.run(arguments);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(!outcome.text().contains("canary-7f3a") && !outcome.stderr.contains("canary-7f3a"), "{outcome:?}");
    }
}
