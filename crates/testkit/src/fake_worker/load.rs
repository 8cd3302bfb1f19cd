//! The fake worker before it is ready: the flood, the callback, the pretended load.

use std::io::Write;
use std::time::Duration;

use protocol::worker::Callback;
use tokio::sync::watch;

use super::Script;

/// How far the load is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// So many blocks are loaded.
    Layers(u64),
    /// All of them.
    Ready,
    /// It failed.
    Failed(String),
}

/// Writes what the script asks for to standard error.
pub fn flood(script: &Script) {
    let line_bytes = usize::try_from(script.flood_line_bytes).unwrap_or(usize::MAX);
    let mut block = Vec::new();
    while block.len() < 64 * 1024 {
        let length = if line_bytes == 0 { 64 * 1024 } else { line_bytes };
        block.extend(std::iter::repeat_n(b'x', length.saturating_sub(1).max(1)));
        block.push(if line_bytes == 0 { b'x' } else { b'\n' });
    }
    let mut remaining = script.flood_stderr_bytes;
    let mut stderr = std::io::stderr().lock();
    while remaining > 0 {
        let length = block.len().min(usize::try_from(remaining).unwrap_or(usize::MAX));
        if stderr.write_all(&block[..length]).is_err() {
            return;
        }
        remaining -= length as u64;
    }
}

/// Posts the callback once; the answer is not looked at, as a worker that is refused could do nothing about it.
///
/// # Errors
/// Nobody answers at the address.
pub fn call_back(url: &str, callback: &Callback) -> anyhow::Result<()> {
    let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
    let agent = config.timeout_global(Some(Duration::from_secs(5))).build().new_agent();
    let body = serde_json::to_string(callback)?;
    agent.post(url).header("content-type", "application/json").send(body)?;
    Ok(())
}

/// Pretends to load.
pub async fn load(script: Script, progress: watch::Sender<Load>) {
    for layer in 0..=script.layers {
        progress.send_replace(Load::Layers(layer));
        if script.die_after_layers == Some(layer) {
            eprintln!("fake-worker: dying while loading, as told");
            script.die();
        }
        if script.hang_after_layers == Some(layer) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(script.layer_ms)).await;
    }
    progress.send_replace(match &script.fail_loading {
        Some(message) => Load::Failed(message.clone()),
        None => Load::Ready,
    });
}
