//! The tokenizer of the real model: text goes in and comes out whole, however the tokens are cut.

use gguf::Gguf;
use text::{Detokenizer, StopMatch, StopMatcher, TokenId, Tokenizer};

fn tokenizer() -> Tokenizer {
    let file = Gguf::open(&testkit::real_model::path()).expect("the real model opens");
    Tokenizer::from_gguf(file.metadata()).expect("its tokenizer builds")
}

/// Deterministic numbers; the multiplier is Knuth's MMIX.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }
}

/// Texts whose characters take several tokens: emoji, joiner families, combining marks, CJK, right-to-left.
const PIECES: &[&str] =
    &["👩‍👩‍👧‍👦", "e\u{301}\u{327}", "漢字かな交じり文", "שלום עולם", "𝄞𝔘", "🏳️‍🌈", "नमस्ते", "a", " the", "\n\n", "١٢٣"];

/// 10,000 sequences: half of them cut out of awkward texts, half of them any tokens at all, biased to single bytes.
fn sequences(tokenizer: &Tokenizer) -> impl Iterator<Item = Vec<TokenId>> + '_ {
    let vocabulary = tokenizer.vocab_size();
    let bytes: Vec<TokenId> =
        (0..vocabulary as TokenId).filter(|&token| tokenizer.bytes_of(token).len() == 1).collect();
    assert!(bytes.len() > 200, "{} single-byte tokens", bytes.len());
    let pieces: Vec<Vec<TokenId>> = PIECES.iter().map(|piece| tokenizer.encode(piece).expect("tokens")).collect();
    let mut numbers = Numbers(22);
    (0..10_000).map(move |index| {
        let length = 1 + numbers.below(40);
        let mut tokens = Vec::new();
        while tokens.len() < length {
            match numbers.below(4) {
                0 => tokens.push(numbers.below(vocabulary) as TokenId),
                1 => tokens.push(bytes[numbers.below(bytes.len())]),
                _ if index % 2 == 0 => tokens.extend(&pieces[numbers.below(pieces.len())]),
                _ => {
                    let piece = &pieces[numbers.below(pieces.len())];
                    let from = numbers.below(piece.len());
                    tokens.extend(&piece[from..]);
                }
            }
        }
        tokens
    })
}

#[test]
fn streamed_text_is_the_one_shot_decode_for_10_000_sequences() {
    let tokenizer = tokenizer();
    for (index, tokens) in sequences(&tokenizer).enumerate() {
        let (mut detokenizer, mut text) = (Detokenizer::new(), String::new());
        let mut given = 0;
        for &token in &tokens {
            given += tokenizer.bytes_of(token).len();
            text.push_str(&detokenizer.push(tokenizer.bytes_of(token)));
            // A replacement character stands for at most 3 bytes, so that this bound on what is held back is exact
            // where the text is valid and generous where it is not.
            let replaced = text.matches(char::REPLACEMENT_CHARACTER).count();
            assert!(text.len() + 3 + replaced * 3 >= given, "sequence {index}: more than 3 bytes held back");
        }
        text.push_str(&detokenizer.finish());
        assert_eq!(text, tokenizer.decode(&tokens), "sequence {index}: {tokens:?}");
    }
}

#[test]
fn a_stop_matcher_that_never_matches_changes_nothing() {
    let tokenizer = tokenizer();
    let stops = vec!["\u{1f3f3}\u{fe0f}never".to_owned(), "\n\n\n\n\n\n\n\n".to_owned()];
    for (index, tokens) in sequences(&tokenizer).take(2_000).enumerate() {
        let expected = tokenizer.decode(&tokens);
        if stops.iter().any(|stop| expected.contains(stop)) {
            continue;
        }
        let (mut detokenizer, mut matcher, mut text) =
            (Detokenizer::new(), StopMatcher::new(stops.clone()), String::new());
        let pieces: Vec<String> = tokens.iter().map(|&token| detokenizer.push(tokenizer.bytes_of(token))).collect();
        for piece in pieces.into_iter().chain([detokenizer.finish()]) {
            match matcher.push(&piece) {
                StopMatch::Continue(safe) => text.push_str(&safe),
                StopMatch::Stopped { .. } => panic!("sequence {index} stopped"),
            }
        }
        text.push_str(&matcher.finish());
        assert_eq!(text, expected, "sequence {index}");
    }
}

#[test]
fn text_survives_encoding() {
    let tokenizer = tokenizer();
    let mixed: String = PIECES.concat();
    for text in
        PIECES.iter().copied().chain([mixed.as_str(), "  leading and  double  spaces ", "1234567890", "tab\tcr\r\n"])
    {
        let tokens = tokenizer.encode(text).expect("tokens");
        assert_eq!(tokenizer.decode(&tokens), text);
    }
    // Every digit is a token of its own in this model; a rule without that would make longer ones.
    assert_eq!(tokenizer.encode("1234567890").expect("tokens").len(), 10);
}

#[test]
fn control_tokens_are_ids_in_and_nothing_out() {
    let tokenizer = tokenizer();
    let tokens = tokenizer.encode("<|im_start|>user\nHi<|im_end|>").expect("tokens");
    assert_eq!((tokens.first(), tokens.last()), (Some(&1), Some(&2)));
    assert_eq!(tokenizer.decode(&tokens), "user\nHi");
    assert_eq!(tokenizer.end_of_generation().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(tokenizer.name(), "gpt2/smollm");
}
