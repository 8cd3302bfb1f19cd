//! Ctrl-C, `kill` and a closed terminal on this side reach the far side.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{Machines, finish, is_possible, read_until};

const DEAF: &str = "trap '' INT TERM; echo ready; while :; do sleep 1; done";
const HEARING: &str = "trap 'echo heard >> \"$HOME/heard\"; exit 5' INT TERM; echo ready; while :; do sleep 0.1; done";

fn check(script: &str, signal: Signal, code: i32) -> Machines {
    let machines = Machines::new();
    let mut child = machines.start(&["remote", "exec", "box", "--", "sh", "-c", script]);
    read_until(&mut child, "ready");
    // As a terminal does: to the whole group.
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process_group(group, signal).expect("it runs");
    let started = Instant::now();
    assert_eq!(finish(child).code, code);
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    machines.wait_until_empty();
    machines
}

#[test]
fn an_interrupt_reaches_the_far_group() {
    if !is_possible() {
        return;
    }
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let script = HEARING.replace("INT TERM", "INT TERM HUP");
        let machines = check(&script, signal, code);
        assert!(machines.far("heard").exists(), "{signal:?} was not heard");
    }
}

#[test]
fn who_does_not_listen_is_ended_all_the_same() {
    if !is_possible() {
        return;
    }
    check(DEAF, Signal::INT, 130);
}

#[test]
fn one_interrupt_stops_all_hosts() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new().with_checkout("echo ready; sleep 600");
    let mut child = machines.start(&["--remote", "all", "ci"]);
    read_until(&mut child, "ready");
    let group = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
    kill_process_group(group, Signal::INT).expect("it runs");
    assert_eq!(finish(child).code, 130);
    machines.wait_until_empty();
}
