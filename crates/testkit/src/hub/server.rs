//! Bytes on the wire: one thread a connection, one request a connection. Everything ends soon after the hub is dropped.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::answer::{self, Answer, Length};
use super::{Fault, On, Seen, State};

/// Longest request head that is read.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
/// Bytes of body that are written at once: few where a script cuts bodies, many where they are large.
const PIECE_BYTES: u64 = 16 * 1024;
/// From this size of body on, pieces are large.
const LARGE_BODY_BYTES: u64 = 4 << 20;
/// A large piece.
const LARGE_PIECE_BYTES: u64 = 256 * 1024;

/// A listener on a free loopback port.
pub(super) fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Accepts connections until the hub stops.
pub(super) fn serve(listener: TcpListener, on: On, state: Arc<State>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            if state.is_stopping.load(Ordering::Relaxed) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let state = Arc::clone(&state);
            // A client that goes away in the middle is part of the game.
            std::thread::spawn(move || drop(converse(&state, on, stream)));
        }
    });
}

fn converse(state: &State, on: On, mut stream: TcpStream) -> io::Result<()> {
    // Whole pieces at once, so that cuts fall where the script says.
    stream.set_nodelay(true)?;
    let request = read_request(&stream, on)?;
    let is_head = request.method == "HEAD";
    let fault = state.next_fault(on);
    let mut answer = answer::honest(state, &request, fault == Some(Fault::IgnoreRange));
    let index = state.record(request);
    if let Some(fault) = fault {
        fault.apply(&mut answer);
    }
    if answer.is_reset {
        return Ok(());
    }
    pause(state, answer.stall_before.unwrap_or_default());
    state.update(index, |seen| seen.status = answer.status);
    stream.write_all(&head(&answer, is_head))?;
    if is_head {
        return Ok(());
    }
    write_body(state, index, &mut stream, &answer)
}

fn read_request(stream: &TcpStream, on: On) -> io::Result<Seen> {
    let mut lines = BufReader::new(stream.take(MAX_HEAD_BYTES)).lines();
    let mut next = || lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
    let first = next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = BTreeMap::new();
    loop {
        let line = next()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Ok(Seen { on, method, target, at: Instant::now(), headers, status: 0, body_bytes: 0 })
}

fn head(answer: &Answer, is_head: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        head.extend_from_slice(format!("{name}: ").as_bytes());
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let length = match answer.length {
        // A redirect's length is about its own page, and on HEAD the real hub gives one that fits nothing.
        Length::Exact if is_head && (300..400).contains(&answer.status) => "content-length: 1069\r\n".to_owned(),
        Length::Exact => format!("content-length: {}\r\n", answer.body.len()),
        Length::Says(length) => format!("content-length: {length}\r\n"),
        Length::Chunked { .. } => "transfer-encoding: chunked\r\n".to_owned(),
    };
    head.extend_from_slice(length.as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}

fn write_body(state: &State, index: usize, stream: &mut TcpStream, answer: &Answer) -> io::Result<()> {
    let total = answer.body.len();
    let end = answer.cut_after.map_or(total, |cut| total.min(cut));
    let stall_at = answer.stall_after.map(|(bytes, _)| bytes);
    let usual = if total >= LARGE_BODY_BYTES { LARGE_PIECE_BYTES } else { PIECE_BYTES };
    let piece = answer.trickle.map_or(usual, |(bytes, _)| bytes.max(1) as u64);
    let is_chunked = matches!(answer.length, Length::Chunked { .. });
    let began = Instant::now();
    let mut buffer = vec![0; piece as usize];
    let mut sent = 0;
    while sent < end {
        if state.is_stopping.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some((_, silence)) = answer.stall_after.filter(|_| stall_at == Some(sent)) {
            pause(state, silence);
        }
        let until = end.min(sent + piece);
        let until = stall_at.filter(|stall| sent < *stall).map_or(until, |stall| until.min(stall));
        let bytes = &mut buffer[..(until - sent) as usize];
        answer.body.read(sent, bytes)?;
        if let Some(flipped) = answer.flipped.filter(|flipped| (sent..until).contains(flipped)) {
            bytes[(flipped - sent) as usize] ^= 1;
        }
        if let Some(turn) = state.turn(bytes.len() as u64) {
            pause(state, turn.saturating_duration_since(Instant::now()));
        }
        if is_chunked {
            stream.write_all(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        }
        stream.write_all(bytes)?;
        if is_chunked {
            stream.write_all(b"\r\n")?;
        }
        sent = until;
        let count = bytes.len() as u64;
        state.body_bytes.fetch_add(count, Ordering::Relaxed);
        state.update(index, |seen| seen.body_bytes += count);
        if let Some((_, silence)) = answer.trickle {
            pause(state, silence);
        }
        if let Some(rate) = state.content.bytes_per_second {
            let due = Duration::from_secs_f64(sent as f64 / rate.max(1) as f64);
            pause(state, due.saturating_sub(began.elapsed()));
        }
    }
    if let Length::Chunked { terminated: true } = answer.length {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.flush()
}

/// Waits, but not beyond the hub's end.
fn pause(state: &State, duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until && !state.is_stopping.load(Ordering::Relaxed) {
        std::thread::sleep(until.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
    }
}
