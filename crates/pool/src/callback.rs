//! The listener for one worker's callback: `POST /v1/workers/ready` on a loopback port of its own.
//!
//! Anybody on this machine may post here. Only the process that was started can know the nonce; everything else is
//! refused and changes nothing, so that a stranger can neither take the worker's place nor make its start fail.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use protocol::identifiers::WorkerId;
use protocol::worker::Callback;

use crate::state::Event;

/// Path of the callback; the pool daemon serves the same one.
const PATH: &str = "/v1/workers/ready";
/// A callback is below one KiB.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What the one right callback says.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The worker that was started.
    pub worker_id: WorkerId,
    /// The nonce it was given.
    pub nonce: String,
    /// Its process id.
    pub pid: u32,
}

/// A bound socket that does not answer yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds a free loopback port.
    ///
    /// # Errors
    /// No port is free.
    pub fn bind() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// What the worker gets as `--callback-url`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Answers on a thread of its own for as long as this process lives.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn serve(self, expected: Expected, events: Sender<Event>) -> io::Result<()> {
        std::thread::Builder::new().name(String::from("callback")).spawn(move || {
            // Failing here is seen as a worker that never called back.
            let _failed = serve_blocking(self.socket, expected, events);
        })?;
        Ok(())
    }
}

fn serve_blocking(socket: TcpListener, expected: Expected, events: Sender<Event>) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let shared = Arc::new((expected, events));
        let router =
            Router::new().route(PATH, post(receive)).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(shared);
        axum::serve(socket, router).await
    })
}

async fn receive(State(shared): State<Arc<(Expected, Sender<Event>)>>, body: String) -> StatusCode {
    let (expected, events) = &*shared;
    let (event, status) = match check(expected, &body) {
        Ok(url) => (Event::CalledBack { url }, StatusCode::OK),
        Err(why) => (Event::CallbackRefused { why }, StatusCode::FORBIDDEN),
    };
    let _the_supervisor_is_ending = events.send(event);
    status
}

/// The worker's address, if the callback is the right one.
fn check(expected: &Expected, body: &str) -> Result<String, &'static str> {
    let callback: Callback = serde_json::from_str(body).map_err(|_| "it was not a callback")?;
    if callback.nonce != expected.nonce {
        return Err("wrong nonce");
    }
    if callback.worker_id != expected.worker_id {
        return Err("wrong worker id");
    }
    if callback.pid != expected.pid {
        return Err("wrong process id");
    }
    let address = callback.url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    match address.and_then(|address| address.parse::<SocketAddr>().ok()) {
        Some(address) if address.ip().is_loopback() && address.port() != 0 => Ok(format!("http://{address}")),
        Some(_) => Err("its url is not on the loopback interface"),
        None => Err("its url is not `http://address:port`"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, check};

    #[test]
    fn only_the_right_process_calls_back() {
        let expected = Expected { worker_id: "w-1".parse().expect("an id"), nonce: String::from("n"), pid: 7 };
        let answer = |worker_id: &str, pid: u32, nonce: &str, url: &str| {
            let body = format!(
                r#"{{"worker_id":"{worker_id}","url":"{url}","model":"m","model_digest":null,"backend":"cpu","device":0,"memory_bytes":1,"pid":{pid},"nonce":"{nonce}","later":1}}"#
            );
            check(&expected, &body)
        };
        assert_eq!(answer("w-1", 7, "n", "http://127.0.0.1:9/"), Ok(String::from("http://127.0.0.1:9")));
        assert_eq!(answer("w-1", 7, "m", "http://127.0.0.1:9"), Err("wrong nonce"));
        assert_eq!(answer("w-2", 7, "n", "http://127.0.0.1:9"), Err("wrong worker id"));
        assert_eq!(answer("w-1", 8, "n", "http://127.0.0.1:9"), Err("wrong process id"));
        assert_eq!(answer("w-1", 7, "n", "http://10.0.0.1:9"), Err("its url is not on the loopback interface"));
        assert_eq!(answer("w-1", 7, "n", "https://127.0.0.1:9"), Err("its url is not `http://address:port`"));
        assert!(check(&expected, "{}").is_err());
    }
}
