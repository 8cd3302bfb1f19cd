//! Suggestions for a name that is not known: near in spelling, or beginning alike.

/// At most this many are offered.
const LIMIT: usize = 3;

/// Up to three of `known` that look like `name`, nearest first.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let name: Vec<char> = name.to_lowercase().chars().take(80).collect();
    // A third of the letters may be wrong: more is another word.
    let tolerance = (name.len() / 3).max(1);
    let mut scored: Vec<(usize, &str)> = known
        .filter_map(|candidate| {
            let letters: Vec<char> = candidate.to_lowercase().chars().collect();
            let begins_alike = name.len() >= 2 && (letters.starts_with(&name) || name.starts_with(&letters));
            let distance = distance(&name, &letters);
            (distance <= tolerance || begins_alike).then_some((distance, candidate))
        })
        .collect();
    scored.sort();
    scored.into_iter().take(LIMIT).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// `; did you mean …?` or nothing.
#[must_use]
pub fn sentence(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = suggestions.iter().map(|name| format!("`{name}`")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}

/// Insertions, removals and replacements that turn one word into the other (Levenshtein).
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, left_char) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right_char) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(left_char != right_char);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
