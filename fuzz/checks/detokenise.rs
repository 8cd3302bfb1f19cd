//! What must hold of any bytes that tokens may stand for: pieces joined are the whole, and a stop string never leaves.
//! Shared by the fuzz target and the test that replays its corpus. The first byte says how the rest is cut, the second how
//! long the stop string is, which follows.

use text::{Detokenizer, StopMatch, StopMatcher};

/// Panics if a promise is broken.
pub fn check(bytes: &[u8]) {
    let [cut, stop_length, rest @ ..] = bytes else { return };
    let (stop, rest) = rest.split_at(usize::from(stop_length % 8).min(rest.len()));
    let stop = String::from_utf8_lossy(stop).into_owned();
    let mut detokenizer = Detokenizer::new();
    let mut pieces: Vec<String> = rest.chunks(usize::from(*cut).max(1)).map(|piece| detokenizer.push(piece)).collect();
    pieces.push(detokenizer.finish());
    let whole = String::from_utf8_lossy(rest);
    assert_eq!(pieces.concat(), whole);

    let expected = match whole.find(&stop) {
        Some(at) if !stop.is_empty() => &whole[..at],
        _ => &whole,
    };
    assert_eq!(until_stopped(&pieces, stop.clone()), expected, "stopped at {stop:?}");
}

fn until_stopped(pieces: &[String], stop: String) -> String {
    let mut matcher = StopMatcher::new(vec![stop]);
    let mut left = String::new();
    for piece in pieces {
        match matcher.push(piece) {
            StopMatch::Continue(text) => left.push_str(&text),
            StopMatch::Stopped { text, .. } => return left + &text,
        }
    }
    left + &matcher.finish()
}
