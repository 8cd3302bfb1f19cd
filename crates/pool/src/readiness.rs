//! Follows a worker that loads: its progress stream while it lasts, `/v1/ready` for the verdict.

use std::io::Read;
use std::sync::mpsc::Sender;
use std::time::Duration;

use protocol::sse::Decoder;
use protocol::worker::{API_KEY_VARIABLE, LoadingProgress, Ready};

use crate::state::{Event, Progress};

/// A loopback answer that takes longer is no answer; the pool's own clocks decide what follows from that.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than the worker's keep-alive comments are apart (10 s).
const STREAM_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at a worker whose stream ended or failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What `/v1/ready` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Ready,
    /// It answers, but not with 200.
    NotReady,
    /// It answers, but not without its API key.
    Guarded,
    /// Nothing sensible came back in time.
    None,
}

/// Sends what the worker says about its loading until it is ready, has failed, or nobody listens.
pub fn follow(url: &str, events: &Sender<Event>) {
    loop {
        match follow_stream(url, events) {
            Followed::Over => return,
            Followed::LookAgain => {}
        }
        if ask(url, ANSWER_TIMEOUT) == Answer::Ready {
            let _nobody_listens = events.send(Event::Ready);
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

enum Followed {
    Over,
    LookAgain,
}

fn follow_stream(url: &str, events: &Sender<Event>) -> Followed {
    let agent = agent(None);
    let Ok(response) = get(&agent, &format!("{url}/v1/loading/progress")) else { return Followed::LookAgain };
    if response.status() != 200 {
        return Followed::LookAgain;
    }
    let (mut reader, mut decoder, mut buffer) = (response.into_body().into_reader(), Decoder::new(), [0_u8; 4096]);
    loop {
        let length = match reader.read(&mut buffer) {
            Ok(0) | Err(_) => return Followed::LookAgain,
            Ok(length) => length,
        };
        let Ok(frames) = decoder.push(&buffer[..length]) else { return Followed::LookAgain };
        for frame in frames {
            let event = match serde_json::from_str(&frame.data) {
                Ok(LoadingProgress::LoadingToVram { layers_loaded, layers_total, vram_mb }) => {
                    Event::Loading(Progress { layers_loaded, layers_total, vram_mb })
                }
                Ok(LoadingProgress::Error { code, message }) => {
                    let _nobody_listens = events.send(Event::LoadFailed { code, message });
                    return Followed::Over;
                }
                // `ready` is believed when /v1/ready says so too. `[DONE]` and stages we do not know: read on.
                Ok(LoadingProgress::Ready) => return Followed::LookAgain,
                Err(_) => continue,
            };
            if events.send(event).is_err() {
                return Followed::Over;
            }
        }
    }
}

/// Asks `/v1/ready` once.
#[must_use]
pub fn ask(url: &str, timeout: Duration) -> Answer {
    let Ok(mut response) = get(&agent(Some(timeout)), &format!("{url}/v1/ready")) else { return Answer::None };
    let text = response.body_mut().with_config().limit(64 * 1024).read_to_string().unwrap_or_default();
    match (response.status().as_u16(), serde_json::from_str::<Ready>(&text)) {
        (200, Ok(Ready { ready: true, .. })) => Answer::Ready,
        (401, _) => Answer::Guarded,
        (_, Ok(_)) => Answer::NotReady,
        (_, Err(_)) => Answer::None,
    }
}

/// With the key of this environment, which is the worker's too: it was started with it.
fn get(agent: &ureq::Agent, url: &str) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
    match std::env::var(API_KEY_VARIABLE).ok().filter(|key| !key.is_empty()) {
        Some(key) => agent.get(url).header("authorization", format!("Bearer {key}")).call(),
        None => agent.get(url).call(),
    }
}

fn agent(overall: Option<Duration>) -> ureq::Agent {
    ureq::Agent::config_builder()
        // Loopback must not take the way through a proxy of the environment.
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_connect(Some(ANSWER_TIMEOUT))
        .timeout_per_read(Some(STREAM_READ_TIMEOUT))
        .timeout_global(overall)
        .build()
        .new_agent()
}
