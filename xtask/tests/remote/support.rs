//! A real sshd on a loopback port, a far user's home, and the command that goes there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Every wait of a test ends; machines that build beside it are slow.
pub const SOON: Duration = Duration::from_secs(20);
/// Names what runs on the far side of one test, in its environment.
const MARK: &str = "LLORCH_TEST_FAR";

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A machine that is reached over ssh, and the one that reaches it.
pub struct Machines {
    folder: tempfile::TempDir,
    sshd: Option<Child>,
    port: u16,
    mark: String,
    /// Lines for the host's block in the ssh configuration.
    ssh_lines: String,
    /// Variables of the near side.
    near: BTreeMap<String, String>,
}

/// How the sshd of a test is to be.
#[derive(Default)]
pub struct Wish {
    /// The login shell, if not the user's: the program with its arguments.
    pub shell: Option<String>,
    /// Lines for sshd's own configuration.
    pub lines: String,
    /// The address it listens on, if not the loopback one.
    pub address: Option<String>,
    /// In front of sshd's command line.
    pub through: Vec<String>,
}

/// Whether this machine has what the tests of this file need; else the reason is said by name.
pub fn is_possible() -> bool {
    let missing = std::env::var("LLORCH_TEST_MISSING").unwrap_or_default();
    if missing.contains("sshd") {
        println!("skipped: there is no sshd here");
        return false;
    }
    assert!(sshd().is_file(), "there is no sshd: `cargo xtask test` installs it, or `apt-get install openssh-server`");
    true
}

fn sshd() -> PathBuf {
    PathBuf::from("/usr/sbin/sshd")
}

impl Machines {
    pub fn new() -> Self {
        Self::with(&Wish::default())
    }

    pub fn with(wish: &Wish) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // sshd looks at who may write where its keys lie.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("a mode");
        for name in ["near", "far", "bin"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let mark = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        let machines = Self { folder, sshd: None, port: 0, mark, ssh_lines: String::new(), near: BTreeMap::new() };
        machines.make_key("host_key");
        machines.make_key("user_key");
        std::fs::copy(machines.path("user_key.pub"), machines.path("authorized_keys")).expect("a copy");
        machines.start_sshd(wish)
    }

    fn start_sshd(mut self, wish: &Wish) -> Self {
        let address = wish.address.clone().unwrap_or_else(|| String::from("127.0.0.1"));
        // Nobody else asks for it between these two lines and sshd's own; if somebody does, sshd ends and says so.
        self.port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let forced =
            wish.shell.as_ref().map(|shell| format!("ForceCommand exec {shell} -c \"$SSH_ORIGINAL_COMMAND\"\n"));
        let text = format!(
            "Port {}\nListenAddress {address}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PerSourcePenalties no\nMaxStartups 100\nIgnoreUnknown PerSourcePenalties\nSetEnv HOME={} {MARK}={}\n{}{}",
            self.port,
            self.path("host_key").display(),
            self.path("authorized_keys").display(),
            self.path("far").display(),
            self.mark,
            forced.unwrap_or_default(),
            wish.lines,
        );
        // A keyword that an sshd is too old for is none of this test's business.
        let text = text.replace("PerSourcePenalties no\n", "").replace("IgnoreUnknown PerSourcePenalties\n", "");
        std::fs::write(self.path("sshd_config"), text).expect("a configuration");
        let _there = std::fs::create_dir_all("/run/sshd");
        self.sshd = Some(self.spawn_sshd(&wish.through));
        let until = Instant::now() + SOON;
        while !std::fs::read_to_string(self.path("sshd_log")).unwrap_or_default().contains("Server listening") {
            assert!(Instant::now() < until, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.know_host("host_key");
        self.ssh_lines = format!("HostName {address}\n");
        self.write_ssh_config();
        self
    }

    #[expect(clippy::disallowed_methods, reason = "the far machine of a test")]
    fn spawn_sshd(&self, through: &[String]) -> Child {
        let words: Vec<String> = through.iter().cloned().chain([sshd().display().to_string()]).collect();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("-D")
            .arg("-E")
            .arg(self.path("sshd_log"))
            .arg("-f")
            .arg(self.path("sshd_config"));
        command.env(MARK, &self.mark).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).spawn().expect("sshd starts")
    }

    pub fn make_key(&self, name: &str) {
        self.make_key_of(name, "ed25519");
    }

    #[expect(clippy::disallowed_methods, reason = "keys for one test")]
    pub fn make_key_of(&self, name: &str, algorithm: &str) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", algorithm, "-N", "", "-C", "test", "-f"]).arg(self.path(name));
        assert!(command.status().expect("ssh-keygen runs").success());
    }

    /// Where sshd listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes the key file's public half as the one that is known of the host.
    pub fn know_host(&self, key: &str) {
        let public = std::fs::read_to_string(self.path(&format!("{key}.pub"))).expect("a key");
        let public: Vec<&str> = public.split_whitespace().take(2).collect();
        let line = format!("[127.0.0.1]:{} {}\n", self.port, public.join(" "));
        std::fs::write(self.path("known_hosts"), line).expect("a file");
    }

    /// Lines for the host's block, in front of those that are always there.
    pub fn ssh(mut self, lines: &str) -> Self {
        self.ssh_lines = format!("{lines}\n{}", self.ssh_lines);
        self.write_ssh_config();
        self
    }

    fn write_ssh_config(&self) {
        let text = format!(
            "Host box box2 box3 box.lan workstation mac\n{}Port {}\nHostKeyAlias [127.0.0.1]:{}\nIdentityFile {}\nIdentitiesOnly yes\nUserKnownHostsFile {}\nGlobalKnownHostsFile none\n",
            self.ssh_lines,
            self.port,
            self.port,
            self.path("user_key").display(),
            self.path("known_hosts").display(),
        );
        std::fs::write(self.path("ssh_config"), text).expect("a configuration");
    }

    /// A variable of the near side.
    pub fn near_variable(mut self, name: &str, value: &str) -> Self {
        self.near.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The configuration file of the near side.
    pub fn configure(&self, text: &str) {
        let file = self.near("config/llorch/config.toml");
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a configuration");
    }

    /// A far checkout whose cargo is a script, and the profile `box` that knows both.
    pub fn with_checkout(self, cargo: &str) -> Self {
        std::fs::create_dir_all(self.far("src/llorch/xtask")).expect("a folder");
        std::fs::write(self.far("src/llorch/xtask/Cargo.toml"), "").expect("a file");
        self.program("cargo", cargo);
        self.configure(&format!(
            "[hosts.box]\nrepo = 'src/llorch'\npath = ['{}']\ntags = ['one']\n[hosts.box2]\nrepo = 'src/llorch'\npath = ['{}']\ntags = ['two']\n",
            self.path("bin").display(),
            self.path("bin").display()
        ));
        self
    }

    /// The far user's toolchain, which is this user's.
    pub fn toolchain(&self) -> String {
        let home = |name: &str, below: &str| {
            std::env::var(name).unwrap_or_else(|_| format!("{}/{below}", std::env::var("HOME").expect("a home")))
        };
        let (cargo, rustup) = (home("CARGO_HOME", ".cargo"), home("RUSTUP_HOME", ".rustup"));
        format!("CARGO_HOME = '{cargo}'\nRUSTUP_HOME = '{rustup}'\n")
    }

    /// A program on the far side's path.
    pub fn program(&self, name: &str, script: &str) {
        let file = self.path("bin").join(name);
        std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn far(&self, name: &str) -> PathBuf {
        self.path("far").join(name)
    }

    pub fn near(&self, name: &str) -> PathBuf {
        self.path("near").join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Outcome {
        finish(self.start(arguments))
    }

    pub fn run_in(&self, folder: &Path, arguments: &[&str]) -> Outcome {
        finish(self.command(arguments).current_dir(folder).spawn().expect("the command starts"))
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the command starts")
    }

    /// The command on the near side, in a process group of its own.
    #[expect(clippy::disallowed_methods, reason = "tests look at processes from outside")]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let foreign = ["XDG_", "LLORCH_", "HF_", "CARGO_MANIFEST", "SSH_", "GIT_"];
        for (name, _) in std::env::vars().filter(|(name, _)| foreign.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
        command.args(arguments).current_dir(self.path("near")).process_group(0);
        command.env("HOME", self.path("near")).env("XDG_CONFIG_HOME", self.near("config"));
        command.env("LLORCH_SSH_CONFIG", self.path("ssh_config")).envs(&self.near);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Processes of the far side, sshd's own left out: what a task left behind.
    pub fn far_processes(&self) -> Vec<String> {
        let is_ours = |words: &String| !words.starts_with("sshd") && !words.contains("/sshd ");
        self.far_pids().into_iter().map(words_of).filter(|words| is_ours(words) && !words.is_empty()).collect()
    }

    fn far_pids(&self) -> Vec<i32> {
        let marker = format!("{MARK}={}", self.mark);
        let pids = std::fs::read_dir("/proc").expect("procfs").flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let has_mark = |pid: &i32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
        };
        pids.filter(has_mark).collect()
    }

    /// Waits until nothing of a task runs on the far side; how long that took.
    pub fn wait_until_empty(&self) -> Duration {
        let started = Instant::now();
        loop {
            let left = self.far_processes();
            if left.is_empty() {
                return started.elapsed();
            }
            assert!(started.elapsed() < SOON, "still there: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a file that a far task makes.
    pub fn wait_for(&self, file: &Path) {
        let until = Instant::now() + SOON;
        while !file.exists() {
            assert!(Instant::now() < until, "{} did not appear", file.display());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends sshd and every connection it has.
    pub fn kill_sshd(&mut self) {
        if let Some(mut sshd) = self.sshd.take() {
            let listener = i32::try_from(sshd.id()).expect("a pid");
            // A connection's process may have one of its own below it.
            let connections = children(listener).into_iter().flat_map(|pid| children(pid).into_iter().chain([pid]));
            let sshds = connections.filter(|pid| words_of(*pid).starts_with("sshd"));
            sshds.collect::<Vec<_>>().into_iter().for_each(|pid| kill(pid, rustix::process::Signal::KILL));
            let _gone = sshd.kill();
            let _gone = sshd.wait();
        }
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.kill_sshd();
        for pid in self.far_pids() {
            kill(pid, rustix::process::Signal::KILL);
        }
    }
}

fn words_of(pid: i32) -> String {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

pub fn kill(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _gone = rustix::process::kill_process(pid, signal);
    }
}

/// The ssh processes that a command on the near side started.
pub fn ssh_children(child: &Child) -> Vec<i32> {
    children(i32::try_from(child.id()).expect("a pid"))
}

fn children(parent: i32) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").expect("procfs").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parent_of = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<i32>().ok()
    };
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Waits for the end and reads both streams.
pub fn finish(mut child: Child) -> Outcome {
    let mut errors = child.stderr.take().expect("a pipe");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _closed = errors.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut stdout = Vec::new();
    child.stdout.take().expect("a pipe").read_to_end(&mut stdout).expect("it is read");
    let status = child.wait().expect("it ends");
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Outcome { code, stdout, stderr: reader.join().expect("it is read") }
}

/// Reads lines of standard output until one contains `wanted`.
pub fn read_until(child: &mut Child, wanted: &str) {
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    loop {
        line.clear();
        assert!(lines.read_line(&mut line).expect("it is read") > 0, "{wanted} did not come");
        if line.contains(wanted) {
            break;
        }
    }
    // Its buffer may hold more; nobody looks at that.
    child.stdout = Some(lines.into_inner());
}
