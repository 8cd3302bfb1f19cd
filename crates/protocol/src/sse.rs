//! Server-sent events as llorch uses them: `id:`, `data:` and comments, never `event:`.
//!
//! The encoder writes exactly the frames of docs/protocol.md; the decoder accepts what the HTML standard allows (CR, LF,
//! CRLF, comments, several `data:` lines, a byte-order mark) in slices of any size, with a cap on one line.

/// Longest line the decoder takes, in bytes. A token event is far below it; more is a broken or hostile peer.
pub const MAX_LINE_BYTES: usize = 256 * 1024;

/// Headers of every stream: no cache, no buffering in a reverse proxy.
pub const HEADERS: [(&str, &str); 3] =
    [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")];

/// One frame: optional `id:` line, one `data:` line, a blank line. `data` and `id` must not hold CR or LF; JSON and
/// event ids never do.
#[must_use]
pub fn encode(id: Option<&dyn std::fmt::Display>, data: &str) -> String {
    debug_assert!(!data.contains(['\r', '\n']), "data of one line");
    match id {
        Some(id) => format!("id: {id}\ndata: {data}\n\n"),
        None => format!("data: {data}\n\n"),
    }
}

/// A comment that keeps intermediaries from closing an idle stream.
pub const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// One event as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Last `id:` of the frame, if it had one.
    pub id: Option<String>,
    /// Its `data:` lines, joined by `\n`.
    pub data: String,
}

/// Why a stream cannot be decoded further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A line exceeds [`MAX_LINE_BYTES`].
    #[error("event stream line is longer than {MAX_LINE_BYTES} bytes")]
    LineTooLong,
    /// A field is not UTF-8.
    #[error("event stream is not valid UTF-8")]
    InvalidUtf8,
}

/// Splits a byte stream into frames, whatever the slicing.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    after_carriage_return: bool,
    first_line_seen: bool,
    id: Option<String>,
    data: Option<String>,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next slice; returns the frames it completes.
    ///
    /// # Errors
    /// See [`SseError`]; the decoder must not be used after one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, SseError> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let completes_crlf = byte == b'\n' && self.after_carriage_return;
            self.after_carriage_return = byte == b'\r';
            match byte {
                b'\n' if completes_crlf => {}
                b'\n' | b'\r' => frames.extend(self.end_line()?),
                _ if self.line.len() == MAX_LINE_BYTES => return Err(SseError::LineTooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(frames)
    }

    fn end_line(&mut self) -> Result<Option<Frame>, SseError> {
        let bytes = std::mem::take(&mut self.line);
        let mut line = std::str::from_utf8(&bytes).map_err(|_| SseError::InvalidUtf8)?;
        if !self.first_line_seen {
            self.first_line_seen = true;
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            let id = self.id.take();
            return Ok(self.data.take().map(|data| Frame { id, data }));
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" => self.id = Some(value.to_owned()),
            // Comments (empty field name) and unknown fields are ignored, as the standard asks.
            _ => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoder, Frame, MAX_LINE_BYTES, SseError, encode};

    const STREAM: &str =
        "\u{feff}id: 1:0\r\ndata: {\"t\":\"h\u{e9}\"}\r\n\r\n: comment\n\ndata: a\rdata:b\r\rdata: [DONE]\n\n";

    fn expected() -> Vec<Frame> {
        let frame = |id: Option<&str>, data: &str| Frame { id: id.map(str::to_owned), data: data.to_owned() };
        vec![frame(Some("1:0"), "{\"t\":\"h\u{e9}\"}"), frame(None, "a\nb"), frame(None, "[DONE]")]
    }

    #[test]
    fn every_two_way_split_gives_the_same_frames() {
        let bytes = STREAM.as_bytes();
        for cut in 0..=bytes.len() {
            let mut decoder = Decoder::new();
            let mut frames = decoder.push(&bytes[..cut]).expect("first half");
            frames.extend(decoder.push(&bytes[cut..]).expect("second half"));
            assert_eq!(frames, expected(), "cut at {cut}");
        }
    }

    #[test]
    fn one_byte_at_a_time_gives_the_same_frames() {
        let mut decoder = Decoder::new();
        let frames: Vec<_> = STREAM.bytes().flat_map(|byte| decoder.push(&[byte]).expect("a byte")).collect();
        assert_eq!(frames, expected());
    }

    #[test]
    fn done_inside_a_payload_is_payload() {
        let frames = Decoder::new().push(encode(None, "{\"t\":\"data: [DONE]\"}").as_bytes()).expect("a frame");
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].data, "{\"t\":\"data: [DONE]\"}");
    }

    #[test]
    fn endless_lines_and_bad_text_are_errors() {
        let long = vec![b'x'; MAX_LINE_BYTES + 1];
        assert_eq!(Decoder::new().push(&long), Err(SseError::LineTooLong));
        assert_eq!(Decoder::new().push(b"data: \xff\n"), Err(SseError::InvalidUtf8));
    }
}
