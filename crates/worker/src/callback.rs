//! The one message a worker sends by itself: "I am here", to whoever started it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use protocol::worker::Callback;

use crate::settings::Settings;

/// Attempts before the worker gives up and ends: nobody would ever use it.
const ATTEMPTS: u32 = 3;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where clients reach a worker that listens on `address`.
pub(crate) fn public_url(settings: &Settings, address: SocketAddr) -> String {
    match &settings.advertise {
        Some(host) if host.contains(':') => format!("http://[{host}]:{}", address.port()),
        Some(host) => format!("http://{host}:{}", address.port()),
        None => format!("http://{address}"),
    }
}

/// Posts the callback, blocking. Only the URL given on the command line is contacted; redirects are not followed and the
/// answer's body is not read.
pub(crate) fn send(settings: &Settings, address: SocketAddr) -> anyhow::Result<()> {
    let Some(url) = &settings.callback_url else { return Ok(()) };
    let message = Callback {
        worker_id: settings.worker_id.clone(),
        url: public_url(settings, address),
        model: settings.model_id.clone(),
        model_digest: settings.model_digest,
        backend: settings.backend,
        device: settings.device,
        // A file that cannot be planned with will not load either, and the load says why.
        memory_bytes: engine::planned_memory_bytes(&settings.load_options()).unwrap_or(0),
        pid: std::process::id(),
        nonce: settings.nonce.clone(),
    };
    let body = serde_json::to_vec(&message).context("failed to encode the callback")?;
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let mut attempt = 1;
    loop {
        let answer = agent.post(url).header("content-type", "application/json").send(&body[..]);
        let problem = match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => format!("it answered {}", answer.status()),
            Err(error) => error.to_string(),
        };
        if attempt == ATTEMPTS {
            bail!("failed to call back to {url}: {problem}");
        }
        tracing::warn!(%url, problem, attempt, "callback failed");
        std::thread::sleep(Duration::from_millis(200) * attempt);
        attempt += 1;
    }
}
