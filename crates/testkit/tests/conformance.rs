//! The conformance kit against the fake worker: silent when it behaves, and not when it does not.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::conformance::{Options, Rule, Violation, check};
use testkit::fake_worker::{Misbehaviour, SCRIPT_VARIABLE, Script, binary};

/// A fake worker that ends with the test.
struct Fake {
    child: Child,
    url: String,
}

impl Fake {
    #[expect(clippy::disallowed_methods, reason = "the fake worker is a process")]
    fn start(script: &Script) -> Self {
        let mut child = Command::new(binary())
            .args(["--worker-id", "w-kit", "--model", "/nonexistent", "--backend", "cpu", "--port", "0"])
            .env(SCRIPT_VARIABLE, script.to_json())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the fake worker runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let said = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listens on ").map(|(_, url)| url.to_owned()));
        let fake = Self { child, url: said.expect("an address") };
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
        while agent.get(format!("{}/v1/ready", fake.url)).call().expect("an answer").status() != 200 {
            std::thread::sleep(Duration::from_millis(5));
        }
        fake
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn options() -> Options {
    // The fake sends 500 tokens a second: a long generation takes seconds, a short one hundredths.
    Options { tokens_long: 2_000, ..Options::default() }
}

fn violations_of(script: &Script, options: &Options) -> Vec<Violation> {
    let fake = Fake::start(script);
    check(&fake.url, options).expect("the kit can judge")
}

#[test]
fn a_worker_that_behaves_passes() {
    let script = Script { slots: 2, ..Script::default() };
    assert_eq!(violations_of(&script, &options()), []);
    assert_eq!(violations_of(&Script { slots: 1, ..script }, &options()), [], "one slot");
}

#[test]
fn a_worker_that_ends_early_passes_where_it_may() {
    let fake = Fake::start(&Script { eos_after: Some(2_500), ..Script::default() });
    assert_eq!(check(&fake.url, &options()).expect("the kit can judge"), []);
}

#[test]
fn every_offence_is_found_and_named() {
    use Misbehaviour as M;
    let offences = [
        (M::WrongContentType, Rule::Headers),
        (M::EventField, Rule::Framing),
        (M::InvalidJson, Rule::Framing),
        (M::OmitStarted, Rule::Started),
        (M::OmitTerminal, Rule::Terminal),
        (M::TwoTerminals, Rule::Terminal),
        (M::TokenAfterEnd, Rule::Terminal),
        (M::OmitDone, Rule::Done),
        (M::FrameAfterDone, Rule::Done),
        (M::GapInIds, Rule::EventIds),
        (M::IdsFromOne, Rule::EventIds),
        (M::GapInIndices, Rule::TokenIndices),
        (M::SplitCharacter, Rule::WholeCharacters),
        (M::WrongPromptTokens, Rule::PromptTokens),
        (M::ExceedMaxTokens, Rule::MaxTokens),
        (M::WrongTokensOut, Rule::TokensOut),
        (M::UnaryDiffers, Rule::Repeatable),
        (M::UnaryStreams, Rule::Unary),
        (M::FirstBadFieldOnly, Rule::FieldErrors),
        (M::EchoPrompt, Rule::NoEcho),
        (M::AcceptUnknownField, Rule::UnknownField),
        (M::DeleteNotFound, Rule::DeleteIdempotent),
        (M::IgnoreDelete, Rule::CancelledEnd),
        (M::CancelledAsError, Rule::CancelledEnd),
        (M::CancelAll, Rule::OthersUnaffected),
        (M::LeakSlot, Rule::SlotFreed),
        (M::AcceptStaleAttempt, Rule::StaleAttempt),
        (M::IdleHealth, Rule::Health),
        (M::NeverReadyProgress, Rule::Progress),
    ];
    // Waiting in vain for a slot is part of some; what else is found in a hurry does not matter here.
    let options = &Options { tokens_long: 500, patience: Duration::from_secs(2), ..options() };
    // Side by side: each waits much more than it computes.
    std::thread::scope(|scope| {
        for chunk in offences.chunks(2) {
            scope.spawn(move || {
                for (offence, rule) in chunk {
                    let script = Script { misbehave: vec![*offence], ..Script::default() };
                    let found = violations_of(&script, options);
                    let named = found.iter().any(|violation| violation.rule == *rule);
                    assert!(named, "{offence:?} should be {rule:?}, found {found:#?}");
                }
            });
        }
    });
}

#[test]
fn death_and_silence_in_mid_stream_are_found() {
    let fake = Fake::start(&Script { stall_after_tokens: Some(2), ..Script::default() });
    let options = Options { patience: Duration::from_millis(500), ..options() };
    let found = check(&fake.url, &options).expect("the kit can judge");
    assert!(
        found.iter().any(|violation| violation.rule == Rule::Done && violation.detail.contains("broke off")),
        "{found:?}"
    );

    let fake = Fake::start(&Script { die_after_tokens: Some(2), ..Script::default() });
    assert!(check(&fake.url, &options).is_err(), "a worker that is gone cannot be judged");
}
