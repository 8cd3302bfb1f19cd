//! The worker's life, one table of stories.

use std::time::Duration;

use protocol::error::ErrorCode;
use protocol::pool::WorkerStatus;

use super::{Effect, Event, Progress, Supervision, Verdict, judge};
use crate::ending::Ending;
use crate::launch::{Limits, Report};

const LIMITS: Limits = Limits { callback_ms: 1_000, stall_ms: 2_000, overall_ms: 10_000, grace_ms: 500 };

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn called_back() -> Event {
    Event::CalledBack { url: String::from("http://127.0.0.1:1") }
}

fn loading(layers_loaded: u64) -> Event {
    Event::Loading(Progress { layers_loaded, layers_total: 30, vram_mb: 0 })
}

fn ended(ending: Ending) -> Event {
    Event::Ended { ending, stop_recorded: false }
}

/// Plays a story and returns the verdict at its end, and whether it was asked to end and killed on the way.
fn play(story: Vec<(u64, Event)>) -> (Option<Verdict>, bool, bool) {
    let mut supervision = Supervision::new(LIMITS);
    let (mut verdict, mut terminated, mut killed) = (None, 0, 0);
    for (time, event) in story {
        for effect in supervision.step(at(time), event) {
            match effect {
                Effect::Finish(last) => assert!(verdict.replace(last).is_none(), "two verdicts"),
                Effect::Terminate => terminated += 1,
                Effect::Kill => killed += 1,
                Effect::Report(_) | Effect::Follow { .. } | Effect::RecordReady { .. } | Effect::RecordStopping => {}
            }
        }
    }
    assert!(terminated <= 1 && killed <= 1, "TERM and KILL come once");
    (verdict, terminated == 1, killed == 1)
}

fn code_of(verdict: Option<Verdict>) -> Option<ErrorCode> {
    verdict.expect("a verdict").code
}

#[test]
fn start_ready_keep_and_die() {
    let story = vec![
        (1, called_back()),
        (2, loading(1)),
        (3, Event::Ready),
        (4, Event::Keep),
        (5, Event::LeaseLost),
        (100_000, Event::Tick),
        (100_001, ended(Ending::Signal { number: 11, out_of_memory: false })),
        (100_002, ended(Ending::Unknown)),
    ];
    let (verdict, terminated, _) = play(story);
    assert!(!terminated, "a kept worker does not end with its command");
    let verdict = verdict.expect("a verdict");
    assert_eq!((verdict.status, verdict.code), (WorkerStatus::Failed, Some(ErrorCode::WorkerLost)));
    assert!(verdict.reason.contains("SIGSEGV"));
}

#[test]
fn death_before_ready_is_a_failed_start() {
    let before = play(vec![(1, ended(Ending::Code(3)))]);
    let during = play(vec![(1, called_back()), (2, loading(4)), (3, ended(Ending::Code(1)))]);
    assert_eq!(code_of(before.0), Some(ErrorCode::WorkerStartFailed));
    assert!(during.0.expect("a verdict").reason.contains("exited with code 1 while loading"));
}

#[test]
fn silence_is_a_timeout_and_only_progress_resets_it() {
    let (verdict, terminated, killed) =
        play(vec![(999, Event::Tick), (1_000, Event::Tick), (1_100, ended(Ending::Code(0)))]);
    assert_eq!((code_of(verdict), terminated, killed), (Some(ErrorCode::WorkerStartTimeout), true, false));

    let repeating = vec![
        (10, called_back()),
        (1_000, loading(5)),
        (2_900, loading(5)),
        (3_000, Event::Tick),
        (3_500, Event::Tick),
        (3_600, ended(Ending::Signal { number: 9, out_of_memory: false })),
    ];
    let (verdict, terminated, killed) = play(repeating);
    assert!(terminated && killed);
    assert!(verdict.expect("a verdict").reason.contains("no progress for 2 s"));

    let moving: Vec<(u64, Event)> = (1..8).map(|step| (step * 1_500, loading(step))).collect();
    let mut story = vec![(10, called_back())];
    story.extend(moving);
    story.extend([(10_000, Event::Tick), (10_001, ended(Ending::Code(0)))]);
    assert!(play(story).0.expect("a verdict").reason.contains("not ready after 10 s"));
}

#[test]
fn a_lost_lease_stops_the_worker_at_every_stage() {
    for stage in 0..3 {
        let mut story = vec![(1, called_back()), (2, Event::Ready)];
        story.truncate(stage);
        story.extend([(5, Event::LeaseLost), (6, Event::StopRequested), (504, Event::Tick), (505, Event::Tick)]);
        story.extend([(506, Event::Tick), (507, ended(Ending::Signal { number: 9, out_of_memory: false }))]);
        let (verdict, terminated, killed) = play(story);
        let verdict = verdict.expect("a verdict");
        assert_eq!((verdict.status, verdict.code, terminated, killed), (WorkerStatus::Stopped, None, true, true));
    }
}

#[test]
fn a_failed_load_keeps_its_code() {
    let failed = Event::LoadFailed { code: ErrorCode::ModelInvalid, message: String::from("truncated") };
    let (verdict, terminated, _) =
        play(vec![(1, called_back()), (2, failed), (3, Event::LeaseLost), (4, ended(Ending::Code(1)))]);
    assert_eq!((code_of(verdict), terminated), (Some(ErrorCode::ModelInvalid), true));
}

#[test]
fn a_refused_callback_is_remembered_and_a_second_one_ignored() {
    let mut supervision = Supervision::new(LIMITS);
    assert!(supervision.step(at(1), Event::CallbackRefused { why: "wrong nonce" }).is_empty());
    supervision.step(at(1_000), Event::Tick);
    let effects = supervision.step(at(1_001), ended(Ending::Code(0)));
    let [Effect::Finish(verdict)] = effects.as_slice() else { panic!("{effects:?}") };
    assert!(verdict.reason.contains("wrong nonce"), "{}", verdict.reason);

    let mut supervision = Supervision::new(LIMITS);
    assert_eq!(supervision.step(at(1), called_back()).len(), 2);
    assert!(supervision.step(at(2), called_back()).is_empty());
    assert_eq!(
        supervision.step(at(3), loading(2)),
        vec![Effect::Report(Report::Loading { layers_loaded: 2, layers_total: 30 })]
    );
}

#[test]
fn a_recorded_stop_is_not_a_loss() {
    let story = vec![
        (1, called_back()),
        (2, Event::Ready),
        (3, Event::Ended { ending: Ending::Code(143), stop_recorded: true }),
    ];
    assert_eq!(play(story).0.expect("a verdict").status, WorkerStatus::Stopped);
}

#[test]
fn records_are_judged_by_their_processes() {
    assert_eq!(judge(WorkerStatus::Ready, true, true), None);
    assert_eq!(judge(WorkerStatus::Ready, false, true), None);
    assert_eq!(judge(WorkerStatus::Ready, false, false), Some((WorkerStatus::Failed, "process is gone")));
    assert_eq!(judge(WorkerStatus::Starting, false, false), Some((WorkerStatus::Failed, "process is gone")));
    assert_eq!(judge(WorkerStatus::Stopping, false, false), Some((WorkerStatus::Stopped, "stopped on request")));
    assert_eq!(judge(WorkerStatus::Failed, false, false), None);
}
