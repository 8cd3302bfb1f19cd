//! Stop strings: text that ends a generation and never leaves.

/// What may leave after a piece of text was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopMatch {
    /// No stop string so far; this much text is safe to send.
    Continue(String),
    /// A stop string appeared; the text before it, and which one it was.
    Stopped {
        /// Text before the stop string.
        text: String,
        /// Index into the list given to [`StopMatcher::new`].
        index: usize,
    },
}

/// Finds the earliest stop string in a text that arrives in pieces, holding back only what could still become one.
#[derive(Debug, Clone, Default)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
}

impl StopMatcher {
    /// A matcher for `stops`; empty strings are ignored.
    #[must_use]
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Adds `piece`. After [`StopMatch::Stopped`] nothing more may be added.
    pub fn push(&mut self, piece: &str) -> StopMatch {
        self.held.push_str(piece);
        let found = (0..).zip(&self.stops).filter(|(_, stop)| !stop.is_empty());
        let found = found.filter_map(|(index, stop)| self.held.find(stop.as_str()).map(|at| (at, index)));
        if let Some((at, index)) = found.min() {
            self.held.truncate(at);
            return StopMatch::Stopped { text: std::mem::take(&mut self.held), index };
        }
        let safe = self.safe_length();
        let rest = self.held.split_off(safe);
        StopMatch::Continue(std::mem::replace(&mut self.held, rest))
    }

    /// Ends the text: what was held back is only text.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest prefix of the held text that no stop string can reach into.
    fn safe_length(&self) -> usize {
        let boundaries = self.held.char_indices().map(|(at, _)| at);
        let is_open = |at: &usize| {
            let tail = &self.held[*at..];
            self.stops.iter().any(|stop| stop.len() > tail.len() && stop.starts_with(tail))
        };
        let longest_stop = self.stops.iter().map(String::len).max().unwrap_or(0);
        let first_candidate = self.held.len().saturating_sub(longest_stop);
        boundaries.filter(|at| *at >= first_candidate).find(is_open).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{StopMatch, StopMatcher};

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut out = String::new();
        for piece in pieces {
            match matcher.push(piece) {
                StopMatch::Continue(text) => out.push_str(&text),
                StopMatch::Stopped { text, index } => return (out + &text, Some(index)),
            }
        }
        (out + &matcher.finish(), None)
    }

    #[test]
    fn a_stop_string_across_pieces_never_leaks() {
        assert_eq!(run(&["END"], &["abE", "N", "Dxyz"]), ("ab".to_owned(), Some(0)));
        assert_eq!(run(&["END"], &["abE", "N", "xyz"]), ("abENxyz".to_owned(), None));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".to_owned(), Some(0)));
    }

    #[test]
    fn the_earliest_of_overlapping_stops_wins() {
        assert_eq!(run(&["bcd", "bc"], &["abcd"]), ("a".to_owned(), Some(0)));
        assert_eq!(run(&["d", "bc"], &["abcd"]), ("a".to_owned(), Some(1)));
    }

    #[test]
    fn unicode_and_empty_stops() {
        assert_eq!(run(&["", "\u{1f600}é"], &["x\u{1f600}", "éy"]), ("x".to_owned(), Some(1)));
        assert_eq!(run(&[], &["plain"]), ("plain".to_owned(), None));
    }
}
