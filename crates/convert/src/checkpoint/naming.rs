//! What a model is called: title, organisation, size and version, guessed from an identifier as the reference guesses.

use std::sync::LazyLock;

use regex::Regex;

/// What an identifier says. Absent parts are not written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Components {
    pub(crate) full_name: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) basename: Option<String>,
    pub(crate) finetune: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) size_label: Option<String>,
}

/// What a part between hyphens was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Kinds {
    basename: bool,
    size: bool,
    finetune: bool,
    version: bool,
    quantization: bool,
}

impl Kinds {
    fn is_empty(self) -> bool {
        self == Kinds::default()
    }
}

fn pattern(text: &str) -> Regex {
    // The patterns are constants of this file, compiled by its test.
    Regex::new(&format!("(?i)^(?:{text})$")).expect("a valid pattern")
}

static VERSION: LazyLock<Regex> = LazyLock::new(|| pattern(r"(v|iter)?\d+([.]\d+)*"));
static QUANTIZATION: LazyLock<Regex> = LazyLock::new(|| pattern(r"i?q\d(_\w)*|b?fp?(16|32)"));
static SIZE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl)"));
static FINETUNE: LazyLock<Regex> = LazyLock::new(|| pattern("chat|instruct|vision|lora"));
static KEEPS_CASE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(v\d+(?:\.\d+)*|\d.*)$").expect("a valid pattern"));

/// An identifier as a title: hyphens become spaces, lowercase words get capitals, versions stay.
pub(crate) fn title(identifier: &str) -> String {
    let words = identifier.trim().replace('-', " ");
    let words = words.split_whitespace().map(|word| {
        let is_lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
        if is_lower && !KEEPS_CASE.is_match(word) { capitalised(word) } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A capital after everything that is no letter.
fn capitalised(word: &str) -> String {
    let mut follows_letter = false;
    let mut text = String::with_capacity(word.len());
    for character in word.chars() {
        if follows_letter || !character.is_alphabetic() {
            text.push(character);
        } else {
            text.extend(character.to_uppercase());
        }
        follows_letter = character.is_alphabetic();
    }
    text
}

/// A size as people write it: at least two digits of the count, in thousands, millions, billions or trillions.
pub(crate) fn size_label(parameters: u64) -> String {
    let (divisor, suffix) = match parameters as f64 {
        count if count > 1e12 => (1e-12, 'T'),
        count if count > 1e9 => (1e-9, 'B'),
        count if count > 1e6 => (1e-6, 'M'),
        _ => (1e-3, 'K'),
    };
    let scaled = parameters as f64 * divisor;
    // Python's `round` and ours break ties to even alike.
    let digits = format!("{}", scaled.round_ties_even());
    let decimals = 2_usize.saturating_sub(digits.trim_start_matches('0').len());
    format!("{scaled:.decimals$}{suffix}")
}

/// Takes an identifier apart. `parameters` tells a size from a context length.
pub(crate) fn components(identifier: &str, parameters: u64) -> Components {
    if identifier.contains(' ') {
        return Components { full_name: Some(identifier.to_owned()), ..Components::default() };
    }
    let (organization, full_name) = match identifier.split_once('/') {
        Some((organization, name)) => (Some(organization).filter(|name| !name.starts_with('.')), name),
        None => (None, identifier),
    };
    let mut parts: Vec<(String, Kinds)> =
        full_name.split('-').filter(|part| !part.is_empty()).map(|part| (part.to_owned(), Kinds::default())).collect();
    for (index, (part, kinds)) in parts.iter_mut().enumerate() {
        annotate(index, part, kinds, parameters);
    }
    drop_word_sizes(&mut parts);
    mark_basename(&mut parts);
    let joined = |wanted: fn(Kinds) -> bool| {
        let chosen: Vec<&str> =
            parts.iter().filter(|(_, kinds)| wanted(*kinds)).map(|(part, _)| part.as_str()).collect();
        (!chosen.is_empty()).then_some(chosen)
    };
    let size_label = joined(|kinds| kinds.size).map(|mut sizes| {
        let mut seen = Vec::new();
        sizes.retain(|size| {
            !seen.contains(size) && {
                seen.push(*size);
                true
            }
        });
        sizes.join("-")
    });
    let finetune = joined(|kinds| kinds.finetune).map(|parts| parts.join("-"));
    let version = joined(|kinds| kinds.version && !kinds.basename).map(|parts| parts.join("-"));
    let is_ambiguous = size_label.is_none() && finetune.is_none() && version.is_none();
    let basename = joined(|kinds| kinds.basename).filter(|_| !is_ambiguous).map(|parts| parts.join("-"));
    let owned = |text: &str| Some(text.to_owned());
    Components {
        full_name: owned(full_name),
        organization: organization.and_then(owned),
        basename,
        finetune,
        version,
        size_label,
    }
}

fn annotate(index: usize, part: &mut String, kinds: &mut Kinds, parameters: u64) {
    if VERSION.is_match(part) {
        kinds.version = true;
    } else if QUANTIZATION.is_match(part) {
        kinds.quantization = true;
        *part = part.to_uppercase();
    } else if index > 0 && SIZE.is_match(part) {
        let mut label = normalised_size(part);
        if parameters != 0
            && let Some(count) = count_of(&label)
            && (count - parameters as f64).abs() > (7 * parameters / 8) as f64
        {
            // Far from the model's size: most likely a context length.
            kinds.finetune = true;
            label = with_last(&label, |last| last.to_ascii_lowercase());
        }
        kinds.size = kinds.is_empty();
        *part = label;
    } else if index > 0 && FINETUNE.is_match(part) {
        kinds.finetune = true;
    }
}

/// `7b1` → `7.1B`, `0_5b` → `0.5B`.
fn normalised_size(part: &str) -> String {
    let mut label: Vec<char> = part.replace('_', ".").chars().collect();
    if let [head @ .., unit, digit] = label.as_slice()
        && digit.is_ascii_digit()
    {
        label = head.iter().chain(&['.', *digit, *unit]).copied().collect();
    }
    let label: String = label.into_iter().collect();
    let before_last = label.chars().rev().nth(1);
    if before_last.is_some_and(|character| character.is_ascii_digit()) && label.ends_with(['k', 'm', 'b', 't']) {
        return with_last(&label, |last| last.to_ascii_uppercase());
    }
    label
}

fn with_last(text: &str, change: impl Fn(char) -> char) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    if let Some(last) = characters.last_mut() {
        *last = change(*last);
    }
    characters.into_iter().collect()
}

/// The number a size label stands for; `None` for words.
fn count_of(label: &str) -> Option<f64> {
    let unit = label.chars().last()?;
    let number: f64 = label.strip_suffix(unit)?.parse().ok()?;
    let power = " KMBT".find(unit).map_or(-1, |power| power as i32);
    Some(number * 1000_f64.powi(power))
}

/// A size in words says less than one in numbers.
fn drop_word_sizes(parts: &mut [(String, Kinds)]) {
    let has_number = |part: &str| part.chars().any(char::is_numeric);
    if parts.iter().any(|(part, kinds)| kinds.size && has_number(part)) {
        for (part, kinds) in parts {
            kinds.size = kinds.size && !part.chars().all(char::is_alphabetic);
        }
    }
}

/// The basename is what comes first; the rest that nobody recognised is a finetune.
fn mark_basename(parts: &mut [(String, Kinds)]) {
    let mut at_start = true;
    for (part, kinds) in parts.iter_mut() {
        let is_name = kinds.is_empty() && part.starts_with(char::is_alphabetic);
        if at_start && (is_name || kinds.version) {
            kinds.basename = true;
        } else {
            at_start = false;
            kinds.finetune |= kinds.is_empty();
        }
    }
    for (_, kinds) in parts.iter_mut().rev() {
        if !(kinds.basename && kinds.version) {
            break;
        }
        kinds.basename = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{components, size_label, title};

    #[test]
    fn titles_are_capitalised_and_versions_stay() {
        for (identifier, expected) in [
            ("gpt2", "Gpt2"),
            ("granite-4.0-micro", "Granite 4.0 Micro"),
            ("TinyLlama-1.1B-Chat-v1.0", "TinyLlama 1.1B Chat v1.0"),
            ("qwen2.5x-instruct", "Qwen2.5X Instruct"),
            ("", ""),
        ] {
            assert_eq!(title(identifier), expected);
        }
    }

    #[test]
    fn sizes_have_two_digits_at_least() {
        let cases =
            [(124_439_808, "124M"), (3_402_828_800, "3.4B"), (35_000, "35K"), (999, "1.0K"), (1_100_048_384, "1.1B")];
        for (parameters, expected) in cases {
            assert_eq!(size_label(parameters), expected);
        }
    }

    #[test]
    fn identifiers_are_taken_apart() {
        let found = components("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768);
        assert_eq!(found.organization.as_deref(), Some("Qwen"));
        assert_eq!(found.size_label.as_deref(), Some("0.5B"));
        assert_eq!(found.finetune.as_deref(), Some("Instruct"));
        assert_eq!(found.basename.as_deref(), Some("Qwen2.5"));
        let found = components("Mistral-7B-Instruct-v0.2", 7_241_732_096);
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        assert_eq!(text(&found.version), "v0.2");
        assert_eq!((text(&found.basename), text(&found.size_label)), ("Mistral".into(), "7B".into()));
        // A context length is not a size.
        let found = components("Phi-3-mini-4k-instruct", 3_821_079_552);
        assert_eq!(text(&found.finetune), "4k-instruct");
        assert_eq!(text(&found.size_label), "mini");
        let nothing = components("granite-4.0-micro", 28_000);
        assert_eq!((nothing.basename, nothing.version, nothing.size_label), (None, None, None));
    }
}
