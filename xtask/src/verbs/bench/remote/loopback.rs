//! A machine to measure against: an sshd of our own on a loopback port, with keys and a configuration for one run.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::failure::Failure;
use crate::process::{Call, Group};
use crate::scratch::Scratch;

/// What sshd may take to start.
const LIMIT: Duration = Duration::from_secs(10);
/// Names under which the one machine is known.
pub const HOSTS: usize = 20;

/// The sshd, and how to get there. It ends with this value.
pub struct Loopback {
    folder: Scratch,
    sshd: duct::Handle,
}

impl Loopback {
    /// Starts it. Over there, `bin` holds the command and a cargo that only waits, and `checkout` is a real one.
    ///
    /// # Errors
    /// There is no sshd.
    pub fn start(bin: &Path, checkout: &Path) -> Result<Self, Failure> {
        let folder = Scratch::new("bench-remote")?;
        let at = |name: &str| folder.path().join(name);
        for key in ["host_key", "user_key"] {
            let call = Call::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).args([at(key)]);
            crate::git::answer(&call)?;
        }
        fs_err::copy(at("user_key.pub"), at("authorized_keys"))?;
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).context("no port is free")?.port();
        let known = fs_err::read_to_string(at("host_key.pub"))?;
        fs_err::write(at("known_hosts"), format!("[127.0.0.1]:{port} {known}"))?;
        let text = |name: &str| at(name).display().to_string();
        let server = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPermitRootLogin yes\nMaxStartups 100\nSubsystem sftp internal-sftp\n",
            text("host_key"),
            text("authorized_keys"),
        );
        fs_err::write(at("sshd_config"), server)?;
        let client = format!(
            "Host box real host* work*\nHostName 127.0.0.1\nPort {port}\nHostKeyAlias [127.0.0.1]:{port}\nIdentityFile {}\n\
             IdentitiesOnly yes\nUserKnownHostsFile {}\n",
            text("user_key"),
            text("known_hosts"),
        );
        fs_err::write(at("ssh_config"), client)?;
        fs_err::create_dir_all(at("config/llorch"))?;
        fs_err::write(at("config/llorch/config.toml"), profiles(bin, checkout, &at("tree")))?;
        let _there = std::fs::create_dir_all("/run/sshd");
        let call = Call::new("/usr/sbin/sshd").args(["-D", "-E", &text("log"), "-f", &text("sshd_config")]);
        let sshd = call.start(&Group::Own.apply(&call.expression().stdin_null().stdout_null().stderr_null()));
        let sshd = sshd.map_err(|failure| failure.hint("apt-get install openssh-server"))?;
        let loopback = Self { folder, sshd };
        loopback.wait()?;
        Ok(loopback)
    }

    /// The call, made to know this machine and nobody else's settings.
    pub fn knowing(&self, call: Call) -> Call {
        let call =
            call.env("LLORCH_SSH_CONFIG", self.ssh_config()).env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        call.env_remove("CARGO_MANIFEST_DIR")
    }

    /// How plain ssh is told to go there.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    /// A place for what is measured.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn wait(&self) -> Result<(), Failure> {
        let (started, log) = (Instant::now(), self.folder.path().join("log"));
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("Server listening") {
            if started.elapsed() > LIMIT {
                return Err(Failure::new("sshd did not start").hint("apt-get install openssh-server"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// `box` has the command installed, `real` a checkout of this project; twenty hosts have nothing to do, twenty wait.
fn profiles(bin: &Path, checkout: &Path, tree: &Path) -> String {
    let cargo = std::env::var_os("CARGO").map(PathBuf::from).unwrap_or_default();
    let cargo = cargo.parent().unwrap_or(bin);
    let mut text = format!("[hosts.box]\npath = ['{}']\n", bin.display());
    text += &format!("[hosts.real]\nrepo = '{}'\npath = ['{}']\n", checkout.display(), cargo.display());
    for index in 0..HOSTS {
        text += &format!("[hosts.host{index}]\npath = ['{}']\ntags = ['idle']\n", bin.display());
        text += &format!(
            "[hosts.work{index}]\nrepo = '{}'\npath = ['{}']\ntags = ['busy']\n",
            tree.display(),
            bin.display()
        );
    }
    text
}

impl Drop for Loopback {
    fn drop(&mut self) {
        let _gone = self.sshd.kill();
    }
}
