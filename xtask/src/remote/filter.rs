//! Finding our own words in a far stream: where the task's output begins, and the status that stands behind it.
//!
//! Pure: bytes in, bytes and findings out.

/// Before its status line; a program that prints this one and then the mark of this very run does so on purpose.
pub const TRAILER: u8 = 0x1e;
/// What of a start-up file's chatter is kept to be shown when nothing else came.
const NOISE_BYTES_MAX: usize = 4_096;
/// A status line is the mark, a word and a number.
const STATUS_BYTES_MAX: usize = 256;

/// Drops what comes before the mark's line.
#[derive(Debug, Clone)]
pub struct Start {
    mark: Vec<u8>,
    line: Vec<u8>,
    noise: Vec<u8>,
    is_open: bool,
}

/// What a piece of a stream held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// What stood behind the mark on its line, once.
    pub started: Option<String>,
    /// What belongs to the task.
    pub bytes: Vec<u8>,
}

impl Start {
    /// Waits for a line that begins with `mark`.
    pub fn new(mark: &str) -> Self {
        Self { mark: mark.as_bytes().to_vec(), line: Vec::new(), noise: Vec::new(), is_open: false }
    }

    /// The next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        if self.is_open {
            return Piece { started: None, bytes: bytes.to_vec() };
        }
        for (index, byte) in bytes.iter().enumerate() {
            if *byte != b'\n' {
                // A line too long for ours is chatter, and is not kept whole.
                if self.line.len() < NOISE_BYTES_MAX {
                    self.line.push(*byte);
                }
                continue;
            }
            // Chatter may lack its newline: the mark need not stand at the line's beginning.
            let found = self.line.windows(self.mark.len()).position(|window| window == self.mark);
            if let Some(at) = found {
                self.is_open = true;
                let rest = String::from_utf8_lossy(&self.line[at + self.mark.len()..]).trim().to_owned();
                return Piece { started: Some(rest), bytes: bytes[index + 1..].to_vec() };
            }
            self.keep_noise();
        }
        Piece::default()
    }

    /// What came instead of the mark.
    pub fn noise(mut self) -> Vec<String> {
        self.keep_noise();
        let text = String::from_utf8_lossy(&self.noise);
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn keep_noise(&mut self) {
        let room = NOISE_BYTES_MAX.saturating_sub(self.noise.len());
        self.noise.extend(self.line.drain(..).take(room));
        self.noise.push(b'\n');
    }
}

/// How the far shell says that the task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The task ran and ended with this exit code.
    Ended(u8),
    /// A step before the task did not succeed; the word is the step's.
    Step(String),
}

/// Takes the status line out of a stream.
#[derive(Debug, Clone)]
pub struct Trailer {
    prefix: Vec<u8>,
    held: Vec<u8>,
}

impl Trailer {
    /// Looks for status lines of this run.
    pub fn new(mark: &str) -> Self {
        let prefix = std::iter::once(TRAILER).chain(mark.bytes()).chain(*b" ").collect();
        Self { prefix, held: Vec::new() }
    }

    /// The next bytes: those that are the task's, and its status if it stood there. Bytes that may be the beginning of a
    /// status line are held back.
    pub fn push(&mut self, bytes: &[u8]) -> (Vec<u8>, Option<Status>) {
        let (mut passed, mut status) = (Vec::with_capacity(bytes.len()), None);
        for byte in bytes {
            self.held.push(*byte);
            let has_prefix = self.held.len() >= self.prefix.len();
            let fits =
                if has_prefix { self.held.starts_with(&self.prefix) } else { self.prefix.starts_with(&self.held) };
            if !fits || self.held.len() > STATUS_BYTES_MAX {
                // The byte may begin another one.
                let again = if *byte == TRAILER { self.held.pop() } else { None };
                passed.append(&mut self.held);
                self.held.extend(again);
            } else if has_prefix && *byte == b'\n' {
                match parse(&self.held[self.prefix.len()..]) {
                    Some(found) => {
                        // Of several the first stands: a step that failed is before the end.
                        status = status.or(Some(found));
                        self.held.clear();
                    }
                    None => passed.append(&mut self.held),
                }
            }
        }
        (passed, status)
    }

    /// What was held back and turned out to be nothing.
    pub fn rest(self) -> Vec<u8> {
        self.held
    }
}

fn parse(line: &[u8]) -> Option<Status> {
    let text = std::str::from_utf8(line).ok()?.trim_end();
    match text.split_once(' ')? {
        ("end", code) => code.parse().ok().map(Status::Ended),
        ("step", word) => Some(Status::Step(word.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Start, Status, Trailer};

    /// The same input cut at every place gives the same output.
    fn in_pieces(input: &[u8]) -> Vec<(Vec<u8>, Option<Status>)> {
        let run = |cut: usize| {
            let mut trailer = Trailer::new("m4rk");
            let (mut bytes, first) = trailer.push(&input[..cut]);
            let (more, second) = trailer.push(&input[cut..]);
            bytes.extend(more);
            bytes.extend(trailer.rest());
            (bytes, first.or(second))
        };
        (0..=input.len()).map(run).collect()
    }

    #[test]
    fn a_status_is_taken_out_wherever_the_stream_is_cut() {
        for (bytes, status) in in_pieces(b"out\n\x1em4r\x1em4rk end 255\nafter") {
            assert_eq!((bytes.as_slice(), status), (b"out\n\x1em4rafter".as_slice(), Some(Status::Ended(255))));
        }
        for (bytes, status) in in_pieces(b"no newline\x1em4rk step repo\n") {
            assert_eq!((bytes.as_slice(), status), (b"no newline".as_slice(), Some(Status::Step("repo".into()))));
        }
    }

    #[test]
    fn what_only_looks_like_a_status_passes() {
        for text in [&b"\x1em4rk end 256\n"[..], b"\x1em4rk\n", b"\x1eother end 0\n", b"\x1e\x1e\xff\0", b"\x1em4rk x"]
        {
            for (bytes, status) in in_pieces(text) {
                assert_eq!((bytes.as_slice(), status), (text, None));
            }
        }
    }

    #[test]
    fn chatter_before_the_mark_is_dropped_and_remembered() {
        let input = b"Welcome!\nno newline m4rk 4711\nout\n\0";
        for cut in 0..=input.len() {
            let mut start = Start::new("m4rk");
            let (first, second) = (start.push(&input[..cut]), start.push(&input[cut..]));
            assert_eq!(first.started.or(second.started).as_deref(), Some("4711"));
            assert_eq!([first.bytes, second.bytes].concat(), b"out\n\0");
        }
        let mut start = Start::new("m4rk");
        start.push(b"This account is not available.\n\nx");
        assert_eq!(start.noise(), ["This account is not available.", "x"]);
    }
}
