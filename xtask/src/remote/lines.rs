//! Whole lines out of pieces of a stream, and never more of one than a limit: the far side may end no line at all.

/// A line that is longer is handed over in pieces of this size.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What of a stream is no whole line yet.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// The lines that these bytes complete, without their ends.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for byte in bytes {
            if *byte == b'\n' {
                whole.push(std::mem::take(&mut self.unfinished));
                continue;
            }
            self.unfinished.push(*byte);
            if self.unfinished.len() >= LINE_BYTES_MAX {
                whole.push(std::mem::take(&mut self.unfinished));
            }
        }
        whole
    }

    /// What has no end.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unfinished)
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, Lines};

    #[test]
    fn only_whole_lines_come_out() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a\nb"), [b"a".to_vec()]);
        assert_eq!(lines.push(b"c\n\nd"), [b"bc".to_vec(), Vec::new()]);
        assert_eq!(lines.rest(), b"d");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_whole() {
        let mut lines = Lines::default();
        let pieces = lines.push(&vec![b'x'; 2 * LINE_BYTES_MAX + 1]);
        assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, LINE_BYTES_MAX]);
    }
}
