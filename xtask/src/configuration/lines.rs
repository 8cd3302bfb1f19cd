//! Where in a configuration file each key stands.

use std::collections::BTreeMap;

use toml_edit::{Document, TableLike};

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Counted from one.
    pub line: usize,
    /// Letters, counted from one.
    pub column: usize,
}

impl Position {
    /// That of a byte.
    pub fn of(text: &[u8], offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Self { line, column: String::from_utf8_lossy(&before[start..]).chars().count() + 1 }
    }
}

/// Keys written with dots (`hosts.a.ssh`), each with its byte and the place that this is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<String, (usize, Position)>);

impl Lines {
    /// Those of a text; none of one that is not TOML.
    pub fn of(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(document) = Document::parse(text) {
            lines.collect(text, "", document.as_table());
        }
        lines
    }

    /// The line of a key.
    pub fn of_key(&self, key: &str) -> Option<usize> {
        self.position(key).map(|position| position.line)
    }

    /// Where a key stands.
    pub fn position(&self, key: &str) -> Option<Position> {
        self.0.get(key).map(|(_, position)| *position)
    }

    /// The key that stands at a byte, or whose value does: the last one before it.
    pub fn key_at(&self, offset: usize) -> Option<&str> {
        let before = self.0.iter().filter(|(_, (start, _))| *start <= offset);
        // Of two tables written as one, `[a.b]`, the inner one is meant.
        before.max_by_key(|(key, (start, _))| (*start, key.len())).map(|(key, _)| key.as_str())
    }

    /// A configuration is three tables deep; no file makes this deeper than the parser's own limit.
    fn collect(&mut self, text: &str, prefix: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let key = format!("{prefix}{name}");
            if let Some(span) = table.key(name).and_then(toml_edit::Key::span) {
                self.0.insert(key.clone(), (span.start, Position::of(text.as_bytes(), span.start)));
            }
            if let Some(table) = item.as_table_like() {
                self.collect(text, &format!("{key}."), table);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Position};

    #[test]
    fn keys_are_found_however_they_are_written() {
        let text = "# a\nremote.keepalive_seconds = 3\n\n[hosts.a]\nssh = 'x'\nenv = { A = '1' }\n[hosts.a.more]\n";
        let lines = Lines::of(text);
        for (key, line) in [
            ("remote.keepalive_seconds", Some(2)),
            ("hosts.a", Some(4)),
            ("hosts.a.ssh", Some(5)),
            ("hosts.a.env.A", Some(6)),
            ("hosts.b", None),
        ] {
            assert_eq!(lines.of_key(key), line, "{key}");
        }
        assert_eq!(Lines::of("x = ["), Lines::default());
    }

    #[test]
    fn a_value_is_its_keys() {
        let text = "[hosts.a]\nbackends = ['cpu', 'rocm']\nenv = { A = 'ä', B = 2 }\n";
        let lines = Lines::of(text);
        for (words, key) in [("rocm", "hosts.a.backends"), ("2 }", "hosts.a.env.B"), ("a]", "hosts.a")] {
            assert_eq!(lines.key_at(text.find(words).expect("words")), Some(key), "{words}");
        }
        let position = Position::of(text.as_bytes(), text.find("B = ").expect("words"));
        assert_eq!((position.line, position.column), (3, 18));
        assert_eq!(Position::of(b"a\n", 9), Position { line: 2, column: 1 });
    }
}
