//! Which tests there are, whether they apply here, and the calls that run them: decisions only.

use std::path::Path;

use protocol::identifiers::Backend;

use crate::cargo;
use crate::download::DEFAULT_MODEL;
use crate::process::Call;

/// Tells tests of programs which backend their worker is to have.
pub const BACKEND_VARIABLE: &str = "LLORCH_TEST_BACKEND";
/// A prompt and the first characters of its greedy continuation, as llama.cpp gives it on the same file. Its smallest
/// lead of a token over the next likeliest is 1.7, so no rounding can change it.
pub const SMOKE: (&str, &str) = ("1, 2, 3, 4, 5, 6,", " 7, 8, 9, 10, 11, 12, 13");
/// Where the tests of the tier `e2e` stand: a module of the test program `e2e`. `.config/nextest.toml` has it too.
const STORIES: &str = "stories::";

/// A kind of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Beside the code.
    Unit,
    /// Of programs and servers.
    Integration,
    /// One prompt through the whole chain.
    Smoke,
    /// What users do, from a fresh clone on.
    EndToEnd,
}

/// What runs tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// `cargo nextest run`.
    Nextest,
    /// `cargo test`.
    Cargo,
}

/// What was asked for, whatever the tier.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The checkout.
    pub root: &'a Path,
    /// What runs the tests.
    pub runner: Runner,
    /// What the workers under test run on.
    pub backend: Backend,
    /// What goes through to the runner.
    pub extra: &'a [String],
}

/// Devices of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Devices {
    /// Whether NVIDIA's driver shows one.
    pub has_cuda: bool,
    /// Whether Metal has one.
    pub has_metal: bool,
}

impl Tier {
    /// All, in the order in which they run.
    pub const ALL: [Tier; 4] = [Tier::Unit, Tier::Integration, Tier::Smoke, Tier::EndToEnd];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Unit => "unit",
            Tier::Integration => "integration",
            Tier::Smoke => "smoke",
            Tier::EndToEnd => "e2e",
        }
    }

    /// Whether it runs on the real model.
    pub fn needs_model(self) -> bool {
        match self {
            Tier::Unit => false,
            Tier::Integration | Tier::Smoke | Tier::EndToEnd => true,
        }
    }

    /// Whether it runs programs that a system may lack: sshd, login shells.
    pub fn needs_system(self) -> bool {
        match self {
            Tier::Unit | Tier::Integration | Tier::EndToEnd => true,
            Tier::Smoke => false,
        }
    }

    /// nextest's profile, which is a section of `.config/nextest.toml`.
    pub fn profile(self) -> &'static str {
        match self {
            Tier::EndToEnd => "e2e",
            Tier::Unit | Tier::Integration | Tier::Smoke => "default",
        }
    }
}

impl Asked<'_> {
    /// Packages that were named for the runner: `-p NAME`, `--package=NAME` and the like.
    fn packages(&self) -> Vec<&str> {
        let mut arguments = self.extra.iter().map(String::as_str).take_while(|argument| *argument != "--");
        let mut packages = Vec::new();
        while let Some(argument) = arguments.next() {
            let rest = argument.strip_prefix("--package").or_else(|| argument.strip_prefix("-p"));
            match rest {
                Some("") => packages.extend(arguments.next()),
                Some(attached) => packages.push(attached.trim_start_matches('=')),
                None => {}
            }
        }
        packages
    }
}

/// Why a tier does not apply: what it needs cannot be installed, or was not asked for.
pub fn obstacle(tier: Tier, asked: &Asked, devices: Devices) -> Option<&'static str> {
    let on_device = match tier {
        Tier::Integration | Tier::Smoke => true,
        Tier::Unit | Tier::EndToEnd => false,
    };
    match asked.backend {
        Backend::Cuda if on_device && !devices.has_cuda => Some("there is no CUDA device here"),
        Backend::Metal if on_device && !devices.has_metal => Some("there is no Metal device here"),
        Backend::Cpu | Backend::Cuda | Backend::Metal => {
            let is_elsewhere = tier == Tier::EndToEnd && !asked.packages().is_empty();
            is_elsewhere.then_some("its tests belong to no package of their own, and one was named")
        }
    }
}

/// Every call of a tier: what a rehearsal shows.
pub fn plan_whole(tier: Tier, asked: &Asked) -> Vec<Call> {
    let before = if tier == Tier::Smoke { smoke_worker(asked) } else { None };
    before.into_iter().chain(plan(tier, asked)).collect()
}

/// The calls of a tier that cargo runs, the last of them its tests.
pub fn plan(tier: Tier, asked: &Asked) -> Vec<Call> {
    // Tests start these programs; built here once, not by the first tests that miss them.
    let programs = || cargo::call(asked.root).args(["build", "--locked", "--workspace", "--bins"]);
    match tier {
        Tier::Unit => vec![runner(tier, asked).args(["--lib", "--bins"]).args(asked.extra)],
        Tier::Integration => {
            let packages = asked.packages();
            let is_worker = |package: &&str| package.split('@').next() == Some("worker");
            let has_worker = packages.is_empty() || packages.iter().any(is_worker);
            let tests = with_backend(runner(tier, asked), asked.backend, has_worker).args(["--test", "*"]);
            vec![with_backend(programs(), asked.backend, true), without_stories(tests, asked)]
        }
        Tier::EndToEnd => vec![programs(), runner(tier, asked).args(["--test", "e2e"]).args(asked.extra)],
        Tier::Smoke => vec![smoke(asked)],
    }
}

fn runner(tier: Tier, asked: &Asked) -> Call {
    let packages: &[&str] = if asked.packages().is_empty() { &["--workspace"] } else { &[] };
    let call = cargo::call(asked.root);
    match asked.runner {
        Runner::Nextest => {
            let call = call.args(["nextest", "run", "--locked", "--no-tests=pass"]);
            let call = if tier == Tier::EndToEnd { call.args(["--profile", tier.profile()]) } else { call };
            call.args(packages)
        }
        Runner::Cargo => call.args(["test", "--locked", "--no-fail-fast"]).args(packages),
    }
}

/// The same call for programs that know another backend than the cpu. Only where the worker is among what is compiled does
/// it have a feature for that; tests of other packages start the worker that was built before them.
fn with_backend(call: Call, backend: Backend, has_worker: bool) -> Call {
    let call = match backend {
        Backend::Cpu => return call,
        Backend::Cuda | Backend::Metal => call.env(BACKEND_VARIABLE, backend.name()),
    };
    if has_worker { call.args(["--features", &format!("worker/{backend}")]) } else { call }
}

/// nextest leaves the stories out by its configuration; the built-in harness is told.
fn without_stories(call: Call, asked: &Asked) -> Call {
    let call = call.args(asked.extra);
    match asked.runner {
        Runner::Nextest => call,
        Runner::Cargo => {
            let separator: &[&str] = if asked.extra.iter().any(|argument| argument == "--") { &[] } else { &["--"] };
            call.args(separator).args(["--skip", STORIES])
        }
    }
}

/// The prompt, put to the whole chain; a worker of another backend than the cpu is started before and asked by address.
pub fn smoke(asked: &Asked) -> Call {
    let call = ours(asked.root, &["infer", "--json", "--quiet", "--prompt", SMOKE.0]);
    let call = call.args(["--max-tokens", "24", "--temperature", "0"]);
    match asked.backend {
        Backend::Cpu => call.args(["--model", DEFAULT_MODEL]),
        Backend::Cuda | Backend::Metal => call,
    }
}

/// The worker that the prompt is put to.
pub fn smoke_worker(asked: &Asked) -> Option<Call> {
    match asked.backend {
        Backend::Cpu => None,
        Backend::Cuda | Backend::Metal => {
            Some(ours(asked.root, &["worker", "start", asked.backend.name(), "--model", DEFAULT_MODEL, "--json"]))
        }
    }
}

/// Another verb of this command, as cargo runs it.
pub fn ours(root: &Path, words: &[&str]) -> Call {
    cargo::call(root).args(["xtask"]).args(words)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::identifiers::Backend;

    use super::{Asked, Devices, Runner, Tier, obstacle, plan, plan_whole, smoke_worker};

    fn asked(runner: Runner, backend: Backend, extra: &[String]) -> Asked<'_> {
        Asked { root: Path::new("/r"), runner, backend, extra }
    }

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(tier: Tier, runner: Runner, extra: &str, expected: &str) {
        let extra = words(extra);
        let calls = plan(tier, &asked(runner, Backend::Cpu, &extra));
        let last = calls.last().expect("a call").to_string();
        assert!(last.ends_with(expected), "{last}");
    }

    #[test]
    fn tiers_select_their_targets_and_pass_arguments_on() {
        let nextest = "nextest run --locked --no-tests=pass --workspace";
        check(Tier::Unit, Runner::Nextest, "", &format!("{nextest} --lib --bins"));
        check(Tier::Integration, Runner::Nextest, "workers", &format!("{nextest} --test '*' workers"));
        check(Tier::Unit, Runner::Cargo, "-p gguf", "test --locked --no-fail-fast --lib --bins -p gguf");
        check(Tier::Smoke, Runner::Nextest, "", "--max-tokens 24 --temperature 0 --model smollm2");
        let stories = "nextest run --locked --no-tests=pass --profile e2e --workspace --test e2e models";
        check(Tier::EndToEnd, Runner::Nextest, "models", stories);
        check(Tier::EndToEnd, Runner::Cargo, "", "test --locked --no-fail-fast --workspace --test e2e");
    }

    #[test]
    fn what_reads_the_model_or_starts_programs_is_given_them() {
        let names = |holds: fn(Tier) -> bool| {
            Tier::ALL.into_iter().filter(|tier| holds(*tier)).map(Tier::name).collect::<Vec<_>>()
        };
        assert_eq!(names(|_| true), ["unit", "integration", "smoke", "e2e"]);
        assert_eq!(names(Tier::needs_model), ["integration", "smoke", "e2e"]);
        assert_eq!(names(Tier::needs_system), ["unit", "integration", "e2e"]);
        let asked = asked(Runner::Nextest, Backend::Cuda, &[]);
        assert_eq!(plan_whole(Tier::Smoke, &asked).len(), 2, "a worker, then a prompt");
        assert_eq!(plan_whole(Tier::Unit, &asked).len(), 1);
    }

    #[test]
    fn stories_are_no_integration_tests() {
        check(Tier::Integration, Runner::Cargo, "", "--workspace --test '*' -- --skip stories::");
        check(Tier::Integration, Runner::Cargo, "-- --nocapture", "--test '*' -- --nocapture --skip stories::");
        let text = include_str!("../../../../.config/nextest.toml");
        let settings: toml::Table = text.parse().expect("nextest's configuration");
        assert_eq!(settings["profile"]["default"]["default-filter"].as_str(), Some("not test(/^stories::/)"));
        let names_junit = |tier: Tier| settings["profile"][tier.profile()]["junit"]["path"].as_str().is_some();
        assert!(Tier::ALL.into_iter().all(names_junit), "{settings:?}");
    }

    #[test]
    fn hardware_that_is_not_here_is_no_failure() {
        let reason = |tier, backend, devices| obstacle(tier, &asked(Runner::Nextest, backend, &[]), devices).is_some();
        let cuda = Devices { has_cuda: true, has_metal: false };
        for tier in [Tier::Integration, Tier::Smoke] {
            assert!(!reason(tier, Backend::Cpu, Devices::default()));
            assert!(reason(tier, Backend::Cuda, Devices::default()) && !reason(tier, Backend::Cuda, cuda));
            assert!(reason(tier, Backend::Metal, cuda));
        }
        for tier in [Tier::Unit, Tier::EndToEnd] {
            assert!(!reason(tier, Backend::Cuda, Devices::default()), "its tests are of no device");
        }
        let package = words("-p gguf");
        let asked = asked(Runner::Nextest, Backend::Cpu, &package);
        assert!(obstacle(Tier::EndToEnd, &asked, cuda).is_some() && obstacle(Tier::Unit, &asked, cuda).is_none());
    }

    #[test]
    fn another_backend_reaches_programs_tests_and_the_prompt() {
        let asked = asked(Runner::Nextest, Backend::Cuda, &[]);
        let calls: Vec<String> = plan(Tier::Integration, &asked).iter().map(ToString::to_string).collect();
        let is_told = |call: &String| call.starts_with("LLORCH_TEST_BACKEND=cuda ") && call.contains("worker/cuda");
        assert!(calls.iter().all(is_told), "{calls:?}");
        let has_feature = |extra: &str| {
            let extra = words(extra);
            let calls = plan(Tier::Integration, &Asked { extra: &extra, ..asked });
            assert!(calls[0].to_string().contains("worker/cuda"), "{}", calls[0]);
            calls[1].to_string().contains("worker/cuda")
        };
        assert!(has_feature("") && has_feature("-p worker@0.1.0") && has_feature("--package=pool -pworker name"));
        assert!(!has_feature("-p gguf") && !has_feature("--package pool"), "it has none");
        let worker = smoke_worker(&asked).expect("a worker").to_string();
        assert!(worker.ends_with("xtask worker start cuda --model smollm2 --json"), "{worker}");
        assert!(!plan(Tier::Smoke, &asked)[0].to_string().contains("--model"), "a worker has its model");
    }
}
