//! The line goes: this side says so and what it was, the far side is empty within five seconds.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{Machines, SOON, Wish, finish, is_possible, kill, read_until, ssh_children};

/// A task with children of its own, one of them in a process group of its own, as cargo's are under `cargo xtask`.
const TASK: &str = "sleep 300 & setsid -f true; sh -c 'set -m; sleep 301 & wait' & echo ready; wait";
/// What the far side has to be empty after the line went; a machine that builds beside it gets more.
const LIMIT: Duration = Duration::from_secs(5);
const ROOM: Duration = Duration::from_secs(5);

fn start(machines: &Machines) -> Child {
    let mut child = machines.start(&["remote", "exec", "box", "--json", "--", "sh", "-c", TASK]);
    read_until(&mut child, "ready");
    child
}

fn check_empty(machines: &Machines) {
    let took = machines.wait_until_empty();
    println!("the far side was empty after {took:?}, the aim is {LIMIT:?}");
    assert!(took < LIMIT + ROOM, "{took:?}");
}

fn is_lost(child: Child) {
    let outcome = finish(child);
    assert_eq!(outcome.code, 69, "{outcome:?}");
    assert!(outcome.text().contains("CONNECTION_LOST"), "{outcome:?}");
}

#[test]
fn ssh_is_killed() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    for _ in 0..8 {
        let child = start(&machines);
        ssh_children(&child).into_iter().for_each(|pid| kill(pid, Signal::KILL));
        is_lost(child);
        check_empty(&machines);
    }
}

#[test]
fn the_command_is_killed() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    for _ in 0..8 {
        let mut child = start(&machines);
        let ssh = ssh_children(&child);
        assert_eq!(ssh.len(), 2, "a connection with its guard, a task");
        child.kill().expect("it runs");
        let _killed = child.wait();
        check_empty(&machines);
        // Nobody's children now, and they end all the same.
        let until = Instant::now() + SOON;
        while ssh.iter().any(|pid| is_running(*pid)) {
            assert!(Instant::now() < until, "ssh was left behind on this side");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn sshd_goes_away() {
    if !is_possible() {
        return;
    }
    for _ in 0..2 {
        let mut machines = Machines::new();
        let child = start(&machines);
        machines.kill_sshd();
        is_lost(child);
        check_empty(&machines);
    }
}

#[test]
fn this_side_sleeps() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    machines.configure("[remote]\nkeepalive_seconds = 1\n");
    let child = start(&machines);
    let all: Vec<i32> = ssh_children(&child).into_iter().chain([i32::try_from(child.id()).expect("a pid")]).collect();
    all.iter().for_each(|pid| kill(*pid, Signal::STOP));
    check_empty(&machines);
    all.iter().for_each(|pid| kill(*pid, Signal::CONT));
    is_lost(child);
}

fn is_running(pid: i32) -> bool {
    rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Two networks of their own, joined by a cable that can be cut.
struct Networks {
    near: String,
    far: String,
}

impl Networks {
    const FAR_ADDRESS: &str = "10.213.7.2";

    fn new() -> Result<Self, String> {
        let id = std::process::id();
        let networks = Self { near: format!("llorch-near-{id}"), far: format!("llorch-far-{id}") };
        let (near, far) = (&networks.near, &networks.far);
        for command in [
            format!("ip netns add {near}"),
            format!("ip netns add {far}"),
            format!("ip -n {near} link add v0 type veth peer name v1 netns {far}"),
            format!("ip -n {near} addr add 10.213.7.1/24 dev v0"),
            format!("ip -n {far} addr add {}/24 dev v1", Self::FAR_ADDRESS),
            format!("ip -n {near} link set v0 up"),
            format!("ip -n {far} link set v1 up"),
        ] {
            run(&command)?;
        }
        Ok(networks)
    }

    /// From now on not a packet arrives at the far side or leaves it, and nobody is told.
    fn cut(&self) {
        let far = &self.far;
        run(&format!("ip netns exec {far} nft add table inet t")).expect("a table");
        for hook in ["input", "output"] {
            let chain = format!("add chain inet t {hook} {{ type filter hook {hook} priority 0 ; policy drop ; }}");
            duct::cmd("ip", ["netns", "exec", far, "nft", &chain]).run().expect("a chain");
        }
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in [&self.near, &self.far] {
            let _never_made = run(&format!("ip netns del {name}"));
        }
    }
}

fn run(command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split(' ').collect();
    let ran = duct::cmd(words[0], &words[1..]).stderr_null().run();
    ran.map(drop).map_err(|error| format!("`{command}`: {error}"))
}

/// A line that takes 100 kB a second in each direction, and holds much on its way.
fn slow_line(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = TcpStream::connect(("127.0.0.1", port)).expect("sshd");
            for (mut from, mut to) in [(near.try_clone(), far.try_clone()), (far.try_clone(), near.try_clone())]
                .map(|(from, to)| (from.expect("a socket"), to.expect("a socket")))
            {
                std::thread::spawn(move || {
                    let mut buffer = [0_u8; 2_000];
                    while let Ok(count @ 1..) = from.read(&mut buffer) {
                        std::thread::sleep(Duration::from_micros(10 * count as u64));
                        if to.write_all(&buffer[..count]).is_err() {
                            break;
                        }
                    }
                    let _closed = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    own
}

#[test]
fn a_slow_line_is_no_dead_one() {
    if !is_possible() {
        return;
    }
    let machines = Machines::new();
    let port = slow_line(machines.port());
    let machines = machines.ssh(&format!("Port {port}"));
    let mut command = machines.command(&["remote", "exec", "box", "--", "sh", "-c", "cat | tee /dev/stderr | wc -c"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || input.write_all(&vec![b'x'; 900_000]));
    let outcome = finish(child);
    writer.join().expect("it ends").expect("all was taken");
    assert_eq!((outcome.code, outcome.text().trim()), (0, "900000"), "{:.300}", outcome.stderr);
    assert_eq!(outcome.stderr.len(), 900_000);
}

#[test]
fn packets_are_dropped_in_the_middle_of_a_build() {
    if !is_possible() {
        return;
    }
    let networks = match Networks::new() {
        Ok(networks) => networks,
        Err(reason) => {
            assert!(std::env::var_os("CI").is_none(), "{reason}; this needs root, iproute2 and nftables");
            println!("skipped: {reason}");
            return;
        }
    };
    let through = ["ip", "netns", "exec", &networks.far].map(str::to_owned).to_vec();
    let machines =
        Machines::with(&Wish { address: Some(Networks::FAR_ADDRESS.to_owned()), through, ..Wish::default() });
    slow_project(&machines);
    let mut child = start_in(&networks, &machines);
    machines.wait_for(&machines.far("src/llorch/building"));
    networks.cut();
    let cut_at = Instant::now();
    check_empty(&machines);
    let status = child.wait().expect("it ends");
    // Three signs of life a second apart, and one second more.
    println!("this side knew after {:?}", cut_at.elapsed());
    assert_eq!(status.code(), Some(69));
    assert!(cut_at.elapsed() < Duration::from_secs(15), "{:?}", cut_at.elapsed());
    // Cargo's lock over there is free: the same build goes on at once.
    std::fs::write(machines.far("src/llorch/xtask/build.rs"), "fn main() {}").expect("a file");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| String::from("cargo"));
    let built = duct::cmd(cargo, ["build", "--quiet", "--offline"])
        .dir(machines.far("src/llorch"))
        .env_remove("CARGO_TARGET_DIR");
    let started = Instant::now();
    built.run().expect("it builds");
    assert!(started.elapsed() < Duration::from_secs(60));
}

/// A far checkout whose `cargo xtask` is a real build that takes minutes.
fn slow_project(machines: &Machines) {
    let write = |name: &str, text: &str| {
        let file = machines.far("src/llorch").join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"xtask\"]\n");
    write(".cargo/config.toml", "[alias]\nxtask = \"run --quiet --offline --package xtask --\"\n");
    write("xtask/Cargo.toml", "[package]\nname = \"xtask\"\nversion = \"0.1.0\"\nedition = \"2024\"\n");
    write("xtask/src/main.rs", "fn main() {}\n");
    let building = machines.far("src/llorch/building").display().to_string();
    write(
        "xtask/build.rs",
        &format!(
            "fn main() {{ std::fs::write({building:?}, \"\").unwrap(); std::thread::sleep(std::time::Duration::from_secs(300)); }}\n"
        ),
    );
    let cargo = std::env::var("CARGO").unwrap_or_default();
    let folder = std::path::Path::new(&cargo).parent().map(|folder| folder.display().to_string()).unwrap_or_default();
    machines.configure(&format!(
        "[remote]\nkeepalive_seconds = 1\n[hosts.box]\nrepo = 'src/llorch'\npath = ['{folder}']\n[hosts.box.env]\n{}",
        machines.toolchain(),
    ));
}

#[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
fn start_in(networks: &Networks, machines: &Machines) -> Child {
    let direct = machines.command(&["--remote", "box", "tidy"]);
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", &networks.near]).arg(direct.get_program()).args(direct.get_args());
    for (name, value) in direct.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.current_dir(machines.path("near")).stdin(std::process::Stdio::null()).spawn().expect("it starts")
}
