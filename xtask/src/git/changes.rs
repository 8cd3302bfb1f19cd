//! What `git status --porcelain=v2 --branch -z` says, as a value. Pure: who asks git is `repository`.

use super::names::Commit;

/// How a working tree differs from its commit, and its branch from its upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The commit that is checked out; `None` before the first.
    pub head: Option<Commit>,
    /// The branch; `None` where a commit is checked out by itself.
    pub branch: Option<String>,
    /// What the branch follows.
    pub upstream: Option<String>,
    /// Commits that the branch has and its upstream has not, and the other way round; `None` without an upstream that exists.
    pub distance: Option<(u64, u64)>,
    /// Paths whose next commit differs from the last.
    pub staged: Vec<String>,
    /// Paths that differ from what the next commit would take.
    pub unstaged: Vec<String>,
    /// Paths that git does not know; a folder ends with `/`.
    pub untracked: Vec<String>,
    /// Paths that a merge left to people.
    pub conflicts: Vec<String>,
}

impl Changes {
    /// Reads git's answer. What this version does not know is left out.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut changes = Self::default();
        let mut entries = bytes.split(|byte| *byte == 0).map(|entry| String::from_utf8_lossy(entry).into_owned());
        while let Some(entry) = entries.next() {
            let Some((kind, rest)) = entry.split_once(' ') else { continue };
            match kind {
                "#" => changes.header(rest),
                "1" => changes.tracked(rest, 7),
                "2" => {
                    changes.tracked(rest, 8);
                    // The name it had before.
                    entries.next();
                }
                "u" => changes.conflicts.extend(field(rest, 9)),
                "?" => changes.untracked.push(rest.to_owned()),
                _ => {}
            }
        }
        changes
    }

    /// Whether something that git knows differs: what a checkout could lose.
    pub fn has_edits(&self) -> bool {
        !(self.staged.is_empty() && self.unstaged.is_empty() && self.conflicts.is_empty())
    }

    /// Whether nothing differs at all.
    pub fn is_clean(&self) -> bool {
        !self.has_edits() && self.untracked.is_empty()
    }

    /// Paths that git knows and that differ, each once, in order.
    pub fn edited(&self) -> Vec<String> {
        let all = [&self.staged, &self.unstaged, &self.conflicts];
        let mut paths: Vec<String> = all.into_iter().flatten().cloned().collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// `2 staged, 1 changed, 3 untracked`; `clean`.
    pub fn words(&self) -> String {
        let counts = [
            (self.conflicts.len(), "in conflict"),
            (self.staged.len(), "staged"),
            (self.unstaged.len(), "changed"),
            (self.untracked.len(), "untracked"),
        ];
        let words: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if words.is_empty() { String::from("clean") } else { words.join(", ") }
    }

    fn header(&mut self, text: &str) {
        match text.split_once(' ') {
            Some(("branch.oid", oid)) => self.head = Commit::parse(oid),
            Some(("branch.head", name)) if name != "(detached)" => self.branch = Some(name.to_owned()),
            Some(("branch.upstream", name)) => self.upstream = Some(name.to_owned()),
            Some(("branch.ab", counts)) => {
                let mut numbers = counts.split(' ').filter_map(|count| count.get(1..)?.parse().ok());
                self.distance = numbers.next().zip(numbers.next());
            }
            _ => {}
        }
    }

    /// `XY sub … path`, the path being field `index`.
    fn tracked(&mut self, text: &str, index: usize) {
        let Some(path) = field(text, index) else { return };
        let mut states = text.bytes();
        if states.next().is_some_and(|state| state != b'.') {
            self.staged.push(path.clone());
        }
        if states.next().is_some_and(|state| state != b'.') {
            self.unstaged.push(path);
        }
    }
}

/// The rest of the line from the field at `index` on: paths hold spaces.
fn field(text: &str, index: usize) -> Option<String> {
    text.splitn(index + 1, ' ').nth(index).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::Changes;

    #[test]
    fn every_kind_of_line_is_read() {
        let oid = "0a".repeat(20);
        let text = format!(
            "# branch.oid {oid}\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -3\0\
             1 M. N... 100644 100644 100644 {oid} {oid} staged file\0\
             1 MM N... 100644 100644 100644 {oid} {oid} both\0\
             2 R. N... 100644 100644 100644 {oid} {oid} R100 new name\0old name\0\
             u UU N... 100644 100644 100644 100644 {oid} {oid} {oid} torn apart\0\
             ? a/b c\0? folder/\0"
        );
        let changes = Changes::parse(text.as_bytes());
        assert_eq!(changes.head.as_ref().map(|head| head.as_str()), Some(oid.as_str()));
        assert_eq!((changes.branch.as_deref(), changes.upstream.as_deref()), (Some("main"), Some("origin/main")));
        assert_eq!(changes.distance, Some((2, 3)));
        assert_eq!(changes.staged, ["staged file", "both", "new name"]);
        assert_eq!((&changes.unstaged[..], &changes.conflicts[..]), (&["both".into()][..], &["torn apart".into()][..]));
        assert_eq!(changes.untracked, ["a/b c", "folder/"]);
        assert_eq!(changes.words(), "1 in conflict, 3 staged, 1 changed, 2 untracked");
        assert_eq!(changes.edited(), ["both", "new name", "staged file", "torn apart"]);
    }

    #[test]
    fn a_clean_tree_without_a_branch() {
        let changes = Changes::parse(b"# branch.oid (initial)\0# branch.head (detached)\0");
        assert!(changes.is_clean() && changes.head.is_none() && changes.branch.is_none());
        assert_eq!(changes.words(), "clean");
    }
}
