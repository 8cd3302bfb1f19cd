//! One ssh connection a host and run: made once, shared by every session of the run, gone with it.
//!
//! The user's ssh, configuration, keys and known hosts; what must not depend on them is pinned here.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::error::ErrorCode;

use super::guard::Guard;
use super::random_word;
use super::script::start_command;
use super::select::Host;
use super::streams::{pipe, spawn};
use crate::configuration::RemoteSettings;
use crate::failure::Failure;
use crate::interrupt;
use crate::process::{Call, Group, exit_code};

/// Names another configuration of ssh.
pub const SSH_CONFIG_VARIABLE: &str = "LLORCH_SSH_CONFIG";
/// What no user's configuration may change: nothing asks, nothing is forwarded, nothing runs but what we run.
const PINS: [&str; 11] = [
    "BatchMode=yes",
    "ControlPersist=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "PermitLocalCommand=no",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "Tunnel=no",
    "UpdateHostKeys=no",
    "ServerAliveCountMax=3",
];
/// Never handed to ssh, which a `SendEnv` of the user's would make send them.
const SECRETS: [&str; 4] =
    [models::environment::HUB_TOKEN, "HUGGING_FACE_HUB_TOKEN", "LLORCH_API_KEY", "LLORCH_WORKER_NONCE"];
/// A socket's path has 104 bytes on macOS; ssh appends a dot and 16 letters while it makes it.
const CONTROL_PATH_BYTES_MAX: usize = 104 - 18;
/// Between two looks at whether the connection stands.
const POLL: Duration = Duration::from_millis(2);
/// `ConnectTimeout` ends with the key exchange; authentication has as long again, and once more.
const OPEN_TIMES_CONNECT: u32 = 3;
/// What ssh itself ends with when it did not get there.
pub const SSH_FAILED: u8 = 255;
/// Before the random word that marks a run in a far stream.
pub const MARK_PREFIX: &str = "llorch-mark-";
/// Lines of ssh's that are shown.
const LINES_MAX: usize = 6;

/// How ssh is called in this run.
#[derive(Debug, Clone)]
pub struct Ssh {
    config: Option<PathBuf>,
    settings: RemoteSettings,
}

/// An open connection.
pub struct Connection {
    host: Host,
    ssh: Ssh,
    folder: PathBuf,
    master: duct::Handle,
    guard: Arc<Guard>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Ssh {
    /// The user's ssh, with the configuration that the environment names.
    pub fn new(settings: RemoteSettings) -> Self {
        Self { config: std::env::var_os(SSH_CONFIG_VARIABLE).map(PathBuf::from), settings }
    }

    /// The configuration that ssh reads, as far as we look into it.
    pub fn config_files(&self) -> Vec<PathBuf> {
        if let Some(config) = &self.config {
            return vec![config.clone()];
        }
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".ssh/config"));
        home.into_iter().chain([PathBuf::from("/etc/ssh/ssh_config")]).collect()
    }

    /// How long a dead line stays unnoticed.
    pub fn silence(&self) -> Duration {
        Duration::from_secs(u64::from(self.settings.keepalive_seconds) * 3 + 1)
    }

    fn call(&self, control_path: &str, log_level: &str) -> Call {
        let call = Call::new("ssh");
        let call = match &self.config {
            Some(config) => call.args(["-F".as_ref(), config.as_os_str()]),
            None => call,
        };
        let call = PINS.iter().fold(call, |call, pin| call.args(["-o", pin]));
        let timeout = format!("ConnectTimeout={}", self.settings.connect_timeout_seconds);
        let interval = format!("ServerAliveInterval={}", self.settings.keepalive_seconds);
        let call = call.args(["-o", &timeout, "-o", &interval, "-o", &format!("LogLevel={log_level}")]);
        let call = call.args(["-o", &format!("ControlPath={control_path}")]);
        // Its messages decide what went wrong, so they are asked for in one language.
        SECRETS.into_iter().fold(call.env("LC_ALL", "C"), Call::env_remove)
    }

    /// The call that makes the connection and runs its guard; the destination stands behind `--`, where nothing is an
    /// option.
    fn master(&self, host: &Host, control_path: &str, command: &str) -> Call {
        self.call(control_path, "ERROR").args(["-M", "-T", "--", &host.ssh.to_string(), command])
    }

    /// A call that connects by itself, with ssh's own commentary.
    fn commented(&self, host: &Host) -> Call {
        self.call("none", "DEBUG1").args(["-T", "--", &host.ssh.to_string(), "true"])
    }

    /// The call of one session on it.
    pub fn session(&self, host: &Host, control_path: &str, command: &str) -> Call {
        self.call(control_path, "ERROR").args(["-o", "ControlMaster=no", "-T", "--", &host.ssh.to_string(), command])
    }
}

impl Connection {
    /// Connects and waits until it stands.
    ///
    /// # Errors
    /// Exit code 69, or 76 if the host's key is another than the known one.
    pub fn open(ssh: &Ssh, host: &Host) -> Result<Self, Failure> {
        let folder = control_folder()?;
        let mark = format!("{MARK_PREFIX}{}", random_word()?);
        let (errors, errors_writer) = pipe()?;
        let call = ssh.master(host, &folder.join("c").to_string_lossy(), &start_command(&mark));
        let (master, input, output) = spawn(&call, errors_writer).inspect_err(|_| remove(&folder))?;
        let guard = Arc::new(Guard::start(&mark, input, output));
        let said = Arc::new(Mutex::new(Vec::new()));
        listen(errors, Arc::clone(&said));
        let connection = Self { host: host.clone(), ssh: ssh.clone(), folder, master, guard, said };
        connection.wait_until_open()?;
        Ok(connection)
    }

    /// The host at the other end.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Who ends a task when the line drops.
    pub fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.guard)
    }

    /// How ssh is called.
    pub fn ssh(&self) -> &Ssh {
        &self.ssh
    }

    /// The call of a session.
    pub fn session(&self, command: &str) -> Call {
        self.ssh.session(&self.host, &self.control_path(), command)
    }

    /// Whether the line still stands, as far as ssh knows.
    pub fn is_open(&self) -> bool {
        matches!(self.master.try_wait(), Ok(None))
    }

    /// The line went dead; `known` is what was seen last.
    pub fn lost(&self, known: Vec<String>) -> Failure {
        let message = format!("the connection to `{}` was lost", self.host.name);
        let known = known.into_iter().chain(self.said()).collect();
        Failure::coded(ErrorCode::ConnectionLost, message)
            .known(known)
            .hint("what ran there is ended by its guard within 5 s: run the command again")
    }

    /// A key that is another than the known one is refused whatever the user's configuration would let pass. ssh says so
    /// before it authenticates.
    ///
    /// # Errors
    /// Exit code 76.
    pub fn check_key(&self) -> Result<(), Failure> {
        let said = self.all_said();
        if is_key_changed(&said) { Err(key_changed(&self.host, &said)) } else { Ok(()) }
    }

    fn control_path(&self) -> String {
        self.folder.join("c").to_string_lossy().into_owned()
    }

    fn wait_until_open(&self) -> Result<(), Failure> {
        let limit = Duration::from_secs(u64::from(self.ssh.settings.connect_timeout_seconds)) * OPEN_TIMES_CONNECT;
        let started = Instant::now();
        let socket = self.folder.join("c");
        loop {
            interrupt::check()?;
            if socket.exists() {
                return self.check_key();
            }
            if !self.is_open() {
                // Its last words may still be on their way.
                std::thread::sleep(POLL * 5);
                if let Some(code) = self.ended_with().filter(|code| *code != SSH_FAILED) {
                    return Err(self.strange(code));
                }
                return Err(refused(&self.host, self.all_said()).unwrap_or_else(|| self.unknown_key()));
            }
            if started.elapsed() > limit {
                let message = format!("`{}` did not answer within {} s", self.host.name, limit.as_secs());
                return Err(Failure::coded(ErrorCode::HostUnreachable, message)
                    .known(self.said())
                    .hint(check_hint(&self.host)));
            }
            std::thread::sleep(POLL);
        }
    }

    fn ended_with(&self) -> Option<u8> {
        self.master.try_wait().ok().flatten().map(|output| exit_code(output.status))
    }

    /// The far side let us in and ran something else.
    fn strange(&self, code: u8) -> Failure {
        let known = self.guard.noise().into_iter().chain([format!("it ended with exit code {code}")]).collect();
        strange_shell(&self.host, known)
    }

    /// Asks once more with ssh's own commentary, which names the fingerprint.
    fn unknown_key(&self) -> Failure {
        let host = &self.host;
        let said = self.ssh.commented(host).ask(Group::Own).map(|ended| ended.complaints()).unwrap_or_default();
        let key = said.iter().find_map(|line| line.split_once("Server host key: ")).map(|(_, key)| key.to_owned());
        let message = format!("the key of `{}` is not known", host.name);
        let known = key.map(|key| format!("it shows {key}")).into_iter().collect();
        Failure::coded(ErrorCode::HostKeyUnknown, message)
            .known(known)
            .hint(format!("compare that with the host's own, then `ssh {} true` and answer yes", host.ssh))
    }

    /// What ssh and a start-up file said, without our own words.
    fn all_said(&self) -> Vec<String> {
        let bytes = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines = text.lines().map(|line| line.trim_matches(['@', ' ', '\r']).to_owned());
        lines.filter(|line| !line.is_empty() && !line.contains(MARK_PREFIX)).collect()
    }

    fn said(&self) -> Vec<String> {
        self.all_said().into_iter().take(LINES_MAX).collect()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _gone_is_gone = self.master.kill();
        remove(&self.folder);
    }
}

/// What ssh's words mean; nothing if the host's key is not known, of which it says too little.
fn refused(host: &Host, said: Vec<String>) -> Option<Failure> {
    let says = |text: &str| said.iter().any(|line| line.contains(text));
    let name = &host.name;
    if is_key_changed(&said) {
        return Some(key_changed(host, &said));
    }
    if says("Host key verification failed") || says("host key is known for") {
        return None;
    }
    if says("Permission denied") || says("Too many authentication failures") {
        let message = format!("`{name}` does not let you in");
        let hint = format!(
            "no password is asked for here: `ssh-copy-id {}`, or `ssh-add` for a key with a passphrase",
            host.ssh
        );
        return Some(
            Failure::coded(ErrorCode::HostUnauthorized, message)
                .known(said.into_iter().take(LINES_MAX).collect())
                .hint(hint),
        );
    }
    let message = format!("`{name}` cannot be reached");
    Some(
        Failure::coded(ErrorCode::HostUnreachable, message)
            .known(said.into_iter().take(LINES_MAX).collect())
            .hint(check_hint(host)),
    )
}

fn is_key_changed(said: &[String]) -> bool {
    let signs = ["IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY", "is marked as revoked"];
    said.iter().any(|line| signs.iter().any(|sign| line.contains(sign)))
}

fn key_changed(host: &Host, said: &[String]) -> Failure {
    let message = format!("the key of `{}` is another than the known one", host.name);
    // ssh knows under which name and in which file it is kept.
    let command = said.iter().find(|line| line.starts_with("ssh-keygen ")).cloned();
    let command = command.unwrap_or_else(|| format!("ssh-keygen -R {}", host.ssh.host()));
    Failure::coded(ErrorCode::HostKeyChanged, message)
        .known(said.iter().take(LINES_MAX).cloned().collect())
        .hint(format!("somebody may be in between: only if you know why it changed, `{command}` and connect anew"))
}

/// The login shell is none, or does not do what it is told.
pub fn strange_shell(host: &Host, known: Vec<String>) -> Failure {
    let message = format!("the login shell of `{}` did not run what it was given", host.name);
    Failure::coded(ErrorCode::HostUnreachable, message)
        .known(known)
        .hint(format!("`ssh {} true` must work and end with 0", host.ssh))
}

fn check_hint(host: &Host) -> String {
    format!("check with `ssh {} true` that it is on and named right", host.ssh)
}

/// A short path in a folder that is ours alone.
fn control_folder() -> Result<PathBuf, Failure> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|folder| folder.is_dir());
    let name = format!("llorch-{}", random_word()?);
    let places = runtime.into_iter().chain([std::env::temp_dir(), PathBuf::from("/tmp")]);
    let folder =
        places.map(|place| place.join(&name)).find(|path| path.as_os_str().len() + 2 <= CONTROL_PATH_BYTES_MAX);
    let folder = folder.ok_or_else(|| Failure::new("no folder for temporary files has a path short enough"))?;
    make_private(&folder)?;
    Ok(folder)
}

fn make_private(folder: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|error| Failure::new(format!("cannot make `{}`: {error}", folder.display())))
}

fn remove(folder: &Path) {
    let _left_to_the_system = std::fs::remove_dir_all(folder);
}

/// Keeps the first of what ssh says; the rest is read and dropped, so that it never waits for us.
fn listen(mut reader: std::io::PipeReader, said: Arc<Mutex<Vec<u8>>>) {
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            let room = (16 * 1024_usize).saturating_sub(said.len());
            said.extend_from_slice(&buffer[..count.min(room)]);
        }
    });
}
