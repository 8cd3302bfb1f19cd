//! `dev setup` with package managers that install fake programs.

use crate::support::Machine;

const MODEL_BYTES: &[u8] = b"stands for a model";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Installs a git that runs, and writes down how it was called.
fn manager(machine: Machine, name: &str) -> Machine {
    let (log, git) = (machine.path("log").display().to_string(), machine.path("bin/git").display().to_string());
    // The program is there before, because nothing that makes a file executable is on the search path.
    let machine = machine.program("git", "exit 1");
    machine.program(
        name,
        &format!("echo \"{name} $* [$DEBIAN_FRONTEND]\" >> '{log}'; echo 'echo git version 2.50.0' > '{git}'"),
    )
}

/// A catalog whose default model lies on a hub of the test's own.
fn with_model(machine: Machine) -> (Machine, testkit::hub::Hub) {
    let repo = testkit::hub::Repo::new("org/model", COMMIT).large("model.gguf", MODEL_BYTES.to_vec());
    let hub = testkit::hub::Hub::builder().repo(repo).start();
    let sha256 = testkit::hub::sha256_hex(MODEL_BYTES);
    let size = MODEL_BYTES.len();
    let catalog = format!(
        "schema = 1\n[[model]]\nid = \"smollm2\"\naliases = []\nrepo = \"org/model\"\nrevision = \"{COMMIT}\"\n\
         file = \"model.gguf\"\nsize_bytes = {size}\nsha256 = \"{sha256}\"\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"llama\"\ntokenizer = \"gpt2/smollm\"\ncontext_length = 128\n"
    );
    let machine = machine.file("work/models.toml", &catalog);
    let catalog = machine.path("work/models.toml").display().to_string();
    let endpoint = hub.endpoint();
    (machine.with("LLORCH_CATALOG", &catalog).with("HF_ENDPOINT", &endpoint).with("HF_HUB_OFFLINE", ""), hub)
}

const SETUP: [&str; 4] = ["dev", "setup", "--no-model", "--yes"];

#[test]
fn what_is_missing_is_installed_and_the_second_run_has_nothing_to_do() {
    let (machine, _hub) = with_model(manager(Machine::healthy().in_checkout("1.95.0"), "apt-get"));
    let outcome = machine.run(&["dev", "setup", "--yes", "--json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let done: serde_json::Value = serde_json::from_str(outcome.stdout.lines().last().expect("events")).expect("JSON");
    assert_eq!((&done["event"], &done["installed"]), (&"done".into(), &serde_json::json!(["git"])), "{done}");
    assert_eq!(done["model_fetched"], "smollm2");
    assert!(done["checks"].as_array().is_some_and(|checks| checks.iter().any(|check| check["name"] == "git")));
    let log = "apt-get update [noninteractive]\napt-get install --yes --no-install-recommends git [noninteractive]\n";
    assert_eq!(machine.read("log"), log);
    let file = "home/.config/llorch/config.toml";
    assert!(machine.read(file).contains("# [hosts.workstation]"), "{}", machine.read(file));
    assert_eq!(machine.read("home/.local/share/llorch/models/smollm2/model.gguf").as_bytes(), MODEL_BYTES);
    // Nothing is asked, so that no terminal is needed.
    let machine = machine.configuration("# mine\n");
    let outcome = machine.run(&["dev", "setup"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(outcome.stdout.lines().any(|line| line.starts_with("ok ") && line.contains("git version")), "{outcome:?}");
    assert_eq!((machine.read("log"), machine.read(file)), (log.to_owned(), "# mine\n".to_owned()));
}

#[test]
fn each_manager_is_called_in_its_own_words() {
    for (name, call) in [
        ("dnf", "dnf install --assumeyes git []\n"),
        ("pacman", "pacman -S --needed --noconfirm git []\n"),
        ("brew", "brew install git []\n"),
    ] {
        let machine = manager(Machine::healthy(), name);
        let outcome = machine.run(&SETUP);
        assert_eq!((outcome.code, machine.read("log").as_str()), (0, call), "{outcome:?}");
    }
}

#[test]
fn nothing_happens_unasked_or_in_a_rehearsal() {
    let machine = manager(Machine::healthy(), "apt-get");
    let outcome = machine.run(&["dev", "setup"]);
    assert!(outcome.code == 2 && outcome.stderr.contains("--yes"), "{outcome:?}");
    let outcome = machine.run(&["dev", "setup", "--dry-run"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let steps: Vec<&str> = outcome.stdout.lines().collect();
    assert!(steps[1].contains("apt-get install --yes --no-install-recommends git"), "{steps:?}");
    assert!(steps[2].starts_with("write ") && steps[3].ends_with("models download smollm2"), "{steps:?}");
    assert_eq!(machine.read("log"), "");
    assert!(!machine.path("home/.config").exists() && !machine.path("home/.local").exists());
}

#[test]
fn a_home_that_cannot_be_written_to_is_told_with_a_hint_and_the_doctor_has_its_say() {
    let machine = Machine::healthy().with("XDG_CONFIG_HOME", "/proc/none");
    let outcome = machine.run(&SETUP);
    assert!(
        outcome.code == 1 && outcome.stderr.contains("cannot write `/proc/none/llorch/config.toml`"),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains("hint: set `HOME` or `XDG_CONFIG_HOME`"), "{outcome:?}");
    assert!(outcome.stdout.lines().any(|line| line.contains("git version")), "{outcome:?}");
    let outcome = machine.run(&[&SETUP[..], &["--json"]].concat());
    let events: Vec<&str> = outcome.stdout.lines().rev().take(2).collect();
    assert!(events[0].contains(r#""event":"error""#) && events[1].contains(r#""event":"checked""#), "{outcome:?}");
}

#[test]
fn what_cannot_be_installed_is_said() {
    let outcome = Machine::healthy().without("git").run(&SETUP);
    assert!(outcome.code == 1 && outcome.stderr.contains("no package manager"), "{outcome:?}");
    assert!(outcome.stderr.contains("missing: git"), "{outcome:?}");
    let machine = Machine::healthy().without("git").program("apt-get", "exit 100");
    let outcome = machine.run(&SETUP);
    assert!(outcome.code == 1 && outcome.stderr.contains("failed with exit code 100"), "{outcome:?}");
    assert!(!machine.path("home/.config").exists(), "the first step that fails ends it");
    // The manager was satisfied and git still does not run: the doctor has the last word.
    let outcome = Machine::healthy().without("git").program("apt-get", ":").run(&SETUP);
    assert!(outcome.code == 1 && outcome.stdout.contains("FAILED"), "{outcome:?}");
    if !rustix::process::geteuid().is_root() {
        let outcome = manager(Machine::healthy(), "apt-get").without("sudo").run(&SETUP);
        assert!(outcome.code == 1 && outcome.stderr.contains("needs root"), "{outcome:?}");
    }
}
