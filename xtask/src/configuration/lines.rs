//! On which line of a configuration file each key stands.

use std::collections::BTreeMap;

use toml_edit::{Document, TableLike};

/// Keys written with dots (`hosts.a.ssh`), and their lines, counted from one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<String, usize>);

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
        self.0.get(key).copied()
    }

    /// A configuration is three tables deep; no file makes this deeper than the parser's own limit.
    fn collect(&mut self, text: &str, prefix: &str, table: &dyn TableLike) {
        for (name, item) in table.iter() {
            let key = format!("{prefix}{name}");
            if let Some(span) = table.key(name).and_then(toml_edit::Key::span) {
                self.0.insert(key.clone(), number_at(text, span.start));
            }
            if let Some(table) = item.as_table_like() {
                self.collect(text, &format!("{key}."), table);
            }
        }
    }
}

/// The line of a byte, counted from one.
pub fn number_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::Lines;

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
}
