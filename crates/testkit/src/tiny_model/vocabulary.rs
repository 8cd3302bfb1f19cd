//! The vocabulary of the tiny model: three special tokens, the 256 bytes in GPT-2's alphabet, and a few merges.

/// Special tokens, ids 0, 1, 2.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Merges by rank. `Ġ` is the space. Each side is a byte or the result of an earlier merge.
const MERGES: [(&str, &str); 18] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("Ġt", "he"),
    ("i", "n"),
    ("e", "r"),
    ("Ġ", "a"),
    ("o", "n"),
    ("r", "e"),
    ("Ġ", "s"),
    ("n", "d"),
    ("Ġa", "nd"),
    ("o", "u"),
    ("in", "g"),
    ("Ġ", "w"),
    ("l", "l"),
    ("Ġ", "o"),
    ("e", "n"),
    ("Ġ", "c"),
];

/// `tokenizer.ggml.token_type`: a plain piece of text, and a token that is no text.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

/// `tokenizer.ggml.tokens`, by id.
pub(super) fn tokens() -> Vec<String> {
    let special = SPECIAL.iter().map(|token| (*token).to_owned());
    let bytes = byte_alphabet().into_iter().map(String::from);
    let merged = MERGES.iter().map(|(left, right)| format!("{left}{right}"));
    special.chain(bytes).chain(merged).collect()
}

/// `tokenizer.ggml.token_type`, by id.
pub(super) fn token_types() -> Vec<i32> {
    let mut types = vec![NORMAL; tokens().len()];
    types[..SPECIAL.len()].fill(CONTROL);
    types
}

/// `tokenizer.ggml.merges`, by rank.
pub(super) fn merges() -> Vec<String> {
    MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect()
}

/// Whether a token is printable ASCII (or beyond the vocabulary, which then is a test's own).
pub(super) fn is_readable(id: u64) -> bool {
    let first = SPECIAL.len() as u64;
    let bytes = first..first + 256;
    if bytes.contains(&id) { (0x20..0x7f).contains(&(id - first)) } else { id >= first }
}

/// The character that stands for each byte in a byte-level vocabulary: printable Latin-1 stands for itself, the others take
/// U+0100 and on, in order (Radford et al. 2019, `bytes_to_unicode`).
fn byte_alphabet() -> [char; 256] {
    let mut next = 0x100..;
    std::array::from_fn(|byte| match byte as u8 {
        byte @ (b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) => char::from(byte),
        _ => next.next().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_alphabet_is_that_of_gpt2() {
        let alphabet = byte_alphabet();
        assert_eq!(alphabet[b'A' as usize], 'A');
        assert_eq!(alphabet[b' ' as usize], 'Ġ');
        assert_eq!(alphabet[b'\n' as usize], 'Ċ');
        assert_eq!(alphabet[0], 'Ā');
        assert_eq!(alphabet[0x7f], 'ġ');
        assert_eq!(alphabet[0xad], 'Ń');
        assert_eq!(alphabet.iter().collect::<HashSet<_>>().len(), 256);
    }

    #[test]
    fn readable_is_printable_ascii() {
        let tokens = tokens();
        for (id, token) in (0..).zip(&tokens) {
            let printable = token.chars().all(|c| c == 'Ġ' || c.is_ascii_graphic());
            assert_eq!(is_readable(id), printable && id > 2, "{id} `{token}`");
        }
    }

    #[test]
    fn every_part_and_result_of_a_merge_is_a_token() {
        let tokens = tokens();
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), tokens.len());
        for (rank, (left, right)) in MERGES.iter().enumerate() {
            let earlier = &tokens[..SPECIAL.len() + 256 + rank];
            assert!(earlier.iter().any(|token| token == left), "`{left}`");
            assert!(earlier.iter().any(|token| token == right), "`{right}`");
        }
        assert_eq!(token_types().len(), tokens.len());
    }
}
