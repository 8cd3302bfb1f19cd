//! Each line of the doctor, provoked.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Machine, assert_ends, finish};

/// What every machine that runs these tests may complain of: its disk, and who else uses its ports.
const OF_THIS_MACHINE: [&str; 3] = ["disk", "fsync", "ports"];

#[test]
fn nothing_is_missing_and_the_lines_say_so() {
    let machine = Machine::healthy().in_checkout("1.95.0").configuration("");
    let diagnosis = machine.doctor(&[]);
    let mut complaints = diagnosis.complaints();
    complaints.retain(|name| !OF_THIS_MACHINE.contains(name));
    assert_eq!((diagnosis.code, complaints), (0, vec!["submodules"]), "{diagnosis:?}");
    assert!(diagnosis.line("submodules").1.contains("no git repository"));
    assert_eq!(diagnosis.line("rust").1, "rustc 1.95.0 (0123456789 2026-01-01)");
    assert_eq!(diagnosis.line("hub").1, "not asked: `HF_HUB_OFFLINE` is on");
    for name in ["cuda driver", "cuda toolkit"] {
        assert!(diagnosis.line(name).1.contains("no backend of this machine asks for it"), "{diagnosis:?}");
    }
    let text = machine.run(&["dev", "doctor"]).stdout;
    assert!(!text.contains('\x1b') && text.lines().any(|line| line.starts_with("warning ")), "{text}");
    let coloured = machine.run(&["dev", "doctor", "--color", "always"]).stdout;
    assert!(coloured.contains("\x1b[1;33mwarning\x1b[0m "), "{coloured}");
    assert!(text.lines().any(|line| line.starts_with("ok ") && line.contains("rustc 1.95.0")), "{text}");
}

#[test]
fn programs_that_are_missing_or_do_not_run() {
    let cases = [
        ("rustc", "rust", "`rustc --version` does not run", "rustup"),
        ("cargo", "cargo", "`cargo --version` does not run", "rustup"),
        ("cc", "c compiler", "`cc --version` does not run", "cargo xtask dev setup"),
        ("cc", "linker", "`cc` does not run", "cargo xtask dev setup"),
        ("git", "git", "`git --version` does not run", "cargo xtask dev setup"),
        ("python3", "python3", "`python3` does not run", "cargo xtask dev setup"),
        ("python3", "pip", "`python3 -m pip` does not run", "ensurepip"),
    ];
    for (program, name, words, hint) in cases {
        let machine = Machine::healthy().in_checkout("1.95.0");
        let machine = if program == "python3" && name == "pip" {
            machine.program("python3", "echo 'Python 3.13'; exit 1")
        } else {
            machine.without(program)
        };
        machine.doctor(&[]).assert_failed(name, words, hint);
    }
    let machine = Machine::healthy().in_checkout("1.95.0").program("git", "exit 3");
    machine.doctor(&[]).assert_failed("git", "does not run", "dev setup");
    // Without nextest tests run more slowly.
    let machine =
        Machine::healthy().in_checkout("1.95.0").program("cargo", "[ \"$1\" != nextest ] && echo cargo 1.95.0");
    machine.doctor(&[]).assert_warned("nextest", "(optional)", "cargo install --locked cargo-nextest");
}

#[test]
fn a_compiler_that_runs_and_links_nothing() {
    let script = "[ \"$1\" = -o ] || { echo 'cc 1.0'; exit 0; }; echo 'cannot find crt1.o' >&2; exit 1";
    let diagnosis = Machine::healthy().in_checkout("1.95.0").program("cc", script).doctor(&[]);
    diagnosis.assert_failed("linker", "cannot find crt1.o", "dev setup");
    assert_eq!(diagnosis.line("c compiler").0, "ok");
}

#[test]
fn a_toolchain_that_is_not_the_checkouts() {
    let diagnosis = Machine::healthy().in_checkout("1.97.0").doctor(&[]);
    diagnosis.assert_failed("rust", "older than 1.97.0", "rustup toolchain install 1.97.0");
    let machine = Machine::healthy().in_checkout("1.97.0").program("rustc", "echo 'not installed' >&2; exit 1");
    machine.doctor(&[]).assert_failed("rust", "does not run", "rustup toolchain install 1.97.0");
    let diagnosis = Machine::healthy().in_checkout("1.90.0").doctor(&[]);
    diagnosis.assert_warned("rust", "is not 1.90.0", "rustup toolchain install 1.90.0");
    // Outside a checkout nothing is built.
    let diagnosis = Machine::healthy().without("rustc").without("cc").doctor(&[]);
    diagnosis.assert_warned("rust", "(optional)", "rustup");
    diagnosis.assert_warned("linker", "(optional)", "setup");
    diagnosis.assert_warned("checkout", "not in a checkout", "");
}

#[test]
fn ssh_is_needed_where_hosts_are_known() {
    let host = "[hosts.other]\nssh = 'me@other.lan'\n";
    Machine::healthy().without("ssh").doctor(&[]).assert_warned("ssh", "(optional)", "dev setup");
    Machine::healthy().without("ssh").configuration(host).doctor(&[]).assert_failed("ssh", "does not run", "dev setup");
    let machine = Machine::healthy().program("ssh", "exit 1").configuration(host);
    machine.doctor(&[]).assert_failed("ssh", "does not run", "dev setup");
    for (script, words, hint) in [("exit 1", "holds no key", "ssh-add"), ("exit 2", "does not run", "ssh-agent")] {
        let machine = Machine::healthy().program("ssh-add", script);
        assert_eq!(machine.doctor(&[]).line("ssh agent").0, "ok", "nobody needs it");
        machine.configuration(host).doctor(&[]).assert_warned("ssh agent", words, hint);
    }
    let machine = Machine::healthy().without("ssh-add").configuration(host);
    machine.doctor(&[]).assert_warned("ssh agent", "`ssh-add` does not run", "dev setup");
}

#[test]
fn hardware_that_is_asked_for_and_absent() {
    let diagnosis = Machine::healthy().doctor(&["--backend", "cuda", "--backend", "metal"]);
    diagnosis.assert_failed("cuda driver", "not installed", "driver");
    diagnosis.assert_failed("cuda toolkit", "no `nvcc`", "nvidia-cuda-toolkit");
    if !cfg!(target_os = "macos") {
        diagnosis.assert_failed("metal", "only macOS", "dev check");
    }
    // The profile that leads to this machine asks as well; another one does not.
    let profile = |host: &str| format!("[hosts.it]\nssh = 'me@{host}'\nbackends = ['cpu', 'cuda']\n");
    let machine = Machine::healthy().configuration(&profile("this-machine.local"));
    machine.doctor(&[]).assert_failed("cuda driver", "not installed", "driver");
    let machine = Machine::healthy().configuration(&profile("other.lan"));
    assert_eq!(machine.doctor(&[]).line("cuda driver").0, "ok");
}

#[test]
fn devices_and_what_is_wrong_with_them() {
    let driver = "echo 'GPU-5d0c, NVIDIA GeForce RTX 3060, 550.54, 12288 MiB'";
    let machine = || Machine::healthy().program("nvidia-smi", driver);
    let diagnosis = machine().doctor(&[]);
    assert_eq!(diagnosis.line("gpu").1, "GPU-5d0c NVIDIA GeForce RTX 3060, 12288 MiB");
    diagnosis.assert_warned("cuda toolkit", "no `nvcc`", "nvidia-cuda-toolkit");
    let nvcc = "echo 'Cuda compilation tools, release 13.0, V13.0.88'";
    machine().program("nvcc", nvcc).doctor(&[]).assert_warned("cuda toolkit", "drivers from 580 on", "update");
    let home = machine().file("cuda/bin/nvcc", "#!/bin/sh\necho 'tools, release 12.4, V12.4.1'\n");
    home.mode("cuda/bin/nvcc", 0o755);
    let place = home.path("cuda").display().to_string();
    assert_eq!(home.with("CUDA_HOME", &place).doctor(&[]).line("cuda toolkit"), ("ok", "12.4", ""));
    let broken = || Machine::healthy().program("nvidia-smi", "echo 'version mismatch'; exit 18");
    broken().doctor(&[]).assert_warned("cuda driver", "version mismatch (optional)", "reboot");
    broken().doctor(&["--backend", "cuda"]).assert_failed("cuda driver", "version mismatch", "reboot");
    let none = Machine::healthy().program("nvidia-smi", "echo 'No devices were found'");
    none.doctor(&["--backend", "cuda"]).assert_failed("gpu", "shows no device", "lspci");
}

#[test]
fn a_home_that_cannot_be_used() {
    // Nobody writes there, not even root.
    let machine = Machine::healthy().with("LLORCH_STATE_DIR", "/proc/none").with("LLORCH_DATA_DIR", "/proc/none");
    let diagnosis = machine.doctor(&[]);
    diagnosis.assert_failed("store", "not writable", "LLORCH_DATA_DIR");
    diagnosis.assert_failed("state", "not writable", "LLORCH_STATE_DIR");
    assert_eq!(diagnosis.line("clock").0, "ok");
    // What is called home is a file.
    let machine = Machine::healthy().file("afile", "");
    let home = machine.path("afile").display().to_string();
    let diagnosis = machine.with("HOME", &home).doctor(&[]);
    for name in ["config", "store", "state"] {
        diagnosis.assert_failed(name, "afile` is no folder", "set `HOME` to a folder");
    }
    assert!(!diagnosis.complaints().contains(&"fsync") && !format!("{diagnosis:?}").contains("\"fsync\""));
    Machine::healthy().with("HOME", "").doctor(&[]).assert_failed("home", "`HOME` is not set", "set `HOME`");
    let machine = Machine::healthy().with("LLORCH_DATA_DIR", "here");
    machine.doctor(&[]).assert_failed("home", "not an absolute path", "LLORCH_DATA_DIR");
    // Odd names are names.
    let machine = Machine::healthy().file("it's \"here\"/x", "");
    let home = machine.path("it's \"here\"").display().to_string();
    assert_eq!(machine.with("HOME", &home).doctor(&[]).code, 0);
}

#[test]
fn a_home_nobody_may_write_to() {
    if rustix::process::geteuid().is_root() {
        return eprintln!("skipped: root may write anywhere");
    }
    let machine = Machine::healthy();
    machine.mode("home", 0o555);
    machine.doctor(&[]).assert_failed("state", "not writable", "chown");
    machine.mode("home", 0o755);
}

#[test]
fn a_configuration_that_is_broken_or_open_to_others() {
    let machine = Machine::healthy().configuration("[remote]\nkeepalive = 3\n");
    machine.doctor(&[]).assert_failed("config", "line 2", "edit `");
    let machine = Machine::healthy().configuration("[hosts.a]\nssh = 'x'\nrepo = ''\n");
    machine.doctor(&[]).assert_failed("config", "at line 3: `hosts.a`: `repo`", "edit `");
    let file = "home/.config/llorch/config.toml";
    let machine = Machine::healthy().configuration("");
    machine.mode(file, 0o666);
    machine.doctor(&[]).assert_warned("config", "others may change", "chmod 600");
    let machine = Machine::healthy().configuration("[hosts.a.env]\nTOKEN = 'x'\n");
    machine.mode(file, 0o644);
    machine.doctor(&[]).assert_warned("config", "others may read", "chmod 600");
}

#[test]
fn the_hub_and_its_token() {
    let hub = |status: &'static str| {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let endpoint = format!("http://{}", server.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().expect("a connection");
            let _asked = stream.read(&mut [0; 4096]);
            let _answered = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        });
        Machine::healthy().with("HF_HUB_OFFLINE", "").with("HF_ENDPOINT", &endpoint)
    };
    let diagnosis = hub("200 OK").doctor(&[]);
    assert_eq!((diagnosis.line("hub").0, diagnosis.line("token").0), ("ok", "ok"));
    hub("404 Not Found").doctor(&[]).assert_warned("hub", "status 404", "curl -I http://127");
    hub("503 Busy").doctor(&[]).assert_warned("hub", "status 503", "HF_ENDPOINT");
    hub("401 No").with("HF_TOKEN", "secret").doctor(&[]).assert_failed("token", "refuses it", "HF_TOKEN");
    assert_eq!(hub("200 OK").with("HF_TOKEN", "secret").doctor(&[]).line("token").1, "the hub takes it");
    Machine::healthy().with("HF_TOKEN", "a b").doctor(&[]).assert_failed("token", "is not a token", "HF_TOKEN");
    Machine::healthy().with("HF_ENDPOINT", "ftp://x").doctor(&[]).assert_failed(
        "hub",
        "`HF_ENDPOINT`",
        "unset `HF_ENDPOINT`",
    );
}

#[test]
fn no_network_is_a_warning_and_does_not_keep_the_others_waiting() {
    // An address that is nobody's by definition: whatever is sent there vanishes or is refused.
    let machine = Machine::healthy().with("HF_HUB_OFFLINE", "").with("HF_ENDPOINT", "http://192.0.2.1:81");
    let started = Instant::now();
    machine.doctor(&[]).assert_warned("hub", "192.0.2.1", "HF_HUB_OFFLINE=1");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(8), "it waited {took:?} for the network");
}

#[test]
fn a_port_that_somebody_has() {
    // Whoever has it: this test, or somebody before it.
    let _held = TcpListener::bind((Ipv4Addr::LOCALHOST, 9200));
    let diagnosis = Machine::healthy().doctor(&[]);
    let words = if diagnosis.line("ports").1.contains("8080") { "8080" } else { "9200 of the pool" };
    diagnosis.assert_warned("ports", words, "sport = :");
}

#[test]
fn a_program_that_never_answers_is_given_up() {
    let machine = Machine::healthy().hanging("nvidia-smi");
    machine.doctor(&["--backend", "cuda"]).assert_failed("cuda driver", "gives no answer", "reboot");
    assert_ends(machine.pid_of_hanging());
}

#[test]
fn ctrl_c_ends_the_doctor_and_what_it_waits_for() {
    let machine = Machine::healthy().hanging("nvidia-smi");
    let doctor = machine.start(Path::new(env!("CARGO_BIN_EXE_xtask")), &["dev", "doctor"]);
    let waited_for = machine.pid_of_hanging();
    let pid = rustix::process::Pid::from_child(&doctor);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let outcome = finish(doctor);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (130, ""), "{outcome:?}");
    assert_ends(waited_for);
}

#[test]
fn an_installation_that_is_old_hidden_or_half() {
    const STAMP: &str =
        r#"echo '{"program":"x","version":"0.1.0","features":[],"commit":"COMMIT","target":"t","profile":"release"}'"#;
    let stamp = |commit: &str| STAMP.replace("COMMIT", commit);
    let worker = format!("llorch-{}", "worker-cpu");
    let programs = ["llorch", "llorch-pool", "llorch-convert", worker.as_str()];
    let installed =
        |commit: &str| programs.iter().fold(Machine::healthy(), |machine, name| machine.program(name, &stamp(commit)));
    let diagnosis = installed("aaaa").doctor(&[]);
    assert_eq!((diagnosis.line("path").0, diagnosis.line("binaries").0), ("ok", "ok"), "{diagnosis:?}");
    // Half of it from another commit, or not there.
    let mixed = installed("aaaa").program("llorch-pool", &stamp("bbbb"));
    mixed.doctor(&[]).assert_warned("binaries", "`llorch-pool`", "cargo xtask install");
    installed("aaaa").without("llorch-convert").doctor(&[]).assert_warned("binaries", "is missing", "xtask install");
    installed("aaaa").program("llorch", "exit 1").doctor(&[]).assert_warned(
        "binaries",
        "does not say",
        "xtask install",
    );
    // An older checkout's.
    let git = "case \"$*\" in *status*) echo '# branch.oid bbbb';; *) echo git version 2.50.0;; esac";
    let stale = installed("aaaa").in_checkout("1.95.0").program("git", git);
    stale.doctor(&[]).assert_warned("binaries", "this checkout is at bbbb", "cargo xtask install");
    // The one that `install` writes is hidden by another, or not on the path at all.
    let place = "home/.local/bin/llorch";
    let hidden = installed("aaaa").file(place, "#!/bin/sh\n");
    hidden.mode(place, 0o755);
    hidden.doctor(&[]).assert_warned("path", "not `", "export PATH=");
    let away = Machine::healthy().file(place, "#!/bin/sh\n");
    away.mode(place, 0o755);
    away.doctor(&[]).assert_warned("path", "its folder is not on `PATH`", "export PATH=");
}

#[test]
fn submodules_that_are_not_what_they_should_be() {
    let Some(git) = real_git() else { return eprintln!("skipped: there is no git here") };
    let module = "[submodule \"x\"]\n\tpath = reference/x\n\turl = https://example.org/x.git\n";
    let machine = |modules: &str| {
        let machine = Machine::healthy().in_checkout("1.95.0").file("work/.gitmodules", modules);
        std::fs::remove_file(machine.path("bin/git")).expect("the fake");
        std::os::unix::fs::symlink(&git, machine.path("bin/git")).expect("a link");
        assert_eq!(machine.run_program(&git, &["init", "--quiet", "."]).code, 0);
        machine
    };
    let diagnosis = machine(module).doctor(&[]);
    assert_eq!(diagnosis.line("submodules"), ("ok", "0 of 1 are here; nothing needs them", ""), "{diagnosis:?}");
    let strange = machine(module).file("work/reference/x/file", "");
    strange.doctor(&[]).assert_warned("submodules", "holds files", "git submodules update x");
    let hostile = machine(&module.replace("reference/x\n", "../../x\n"));
    hostile.doctor(&[]).assert_failed("submodules", "../../x", ".gitmodules");
}

fn real_git() -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("git")).find(|file| Path::is_file(file))
}
