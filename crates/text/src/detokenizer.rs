//! Bytes of tokens to text that may leave: whole characters only.

/// Joins the bytes of tokens and gives out complete characters.
///
/// At most three bytes are held back, the longest unfinished UTF-8 sequence. Bytes that can no longer become a
/// character turn into U+FFFD exactly as [`String::from_utf8_lossy`] would make them, so that the pieces of a stream
/// joined are the one-shot decode, whatever the cuts.
#[derive(Debug, Default, Clone)]
pub struct Detokenizer {
    pending: Vec<u8>,
}

impl Detokenizer {
    /// A detokenizer at the beginning of a text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes of the next token; returns the text that is complete now, possibly none.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid_length) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[invalid_length..].to_vec();
                }
            }
        }
    }

    /// Ends the text; an unfinished character becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Detokenizer;

    /// Pieces that make trouble when cut: four-byte emoji, joiners, combining marks, CJK, right-to-left, bad bytes.
    const SAMPLES: &[&[u8]] = &[
        "👩‍👩‍👧‍👦 e\u{301} 漢字 שלום".as_bytes(),
        b"ok \xf0\x9f\x98 then \xff\xfe \xe2\x82 end \xed\xa0\x80",
        b"\xc3",
        "𝄞\u{fffd}z".as_bytes(),
    ];

    /// Deterministic cuts; the multiplier is Knuth's MMIX.
    fn cuts(bytes: &[u8], mut state: u64) -> Vec<&[u8]> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let length = usize::try_from(state >> 62).expect("two bits").clamp(1, rest.len());
            let (piece, tail) = rest.split_at(length);
            pieces.push(piece);
            rest = tail;
        }
        pieces
    }

    #[test]
    fn pieces_joined_are_the_one_shot_decode() {
        for seed in 0..10_000 {
            let bytes: Vec<u8> =
                (0..4).flat_map(|part| SAMPLES[(seed as usize / 4_usize.pow(part)) % 4]).copied().collect();
            let mut detokenizer = Detokenizer::new();
            let mut text = String::new();
            for piece in cuts(&bytes, seed) {
                text.push_str(&detokenizer.push(piece));
                assert!(detokenizer.pending.len() <= 3, "held back {:?}", detokenizer.pending);
            }
            text.push_str(&detokenizer.finish());
            assert_eq!(text, String::from_utf8_lossy(&bytes), "seed {seed}");
        }
    }

    #[test]
    fn a_split_character_waits_for_its_last_byte() {
        let mut detokenizer = Detokenizer::new();
        assert_eq!(detokenizer.push(b"a\xf0\x9f"), "a");
        assert_eq!(detokenizer.push(b"\x98"), "");
        assert_eq!(detokenizer.push(b"\x80b"), "😀b");
        assert_eq!(detokenizer.finish(), "");
    }
}
