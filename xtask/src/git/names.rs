//! Names that come from outside and reach git or a path: of submodules, folders, branches and commits. Their parsers are
//! their only makers; what a parser refuses, it refuses with a reason that completes "… is refused: it …".

use std::fmt;

/// Longer than any name people give; git itself ends at the file system's 255 bytes for one component.
const NAME_BYTES_MAX: usize = 200;

/// A submodule's name: what its repository is called below `.git/modules`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubmoduleName(String);

/// A submodule's folder, relative to the root of the checkout, with `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderPath(String);

/// A branch, without `refs/heads/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BranchName(String);

/// The full name of a commit: 40 hexadecimal digits, or 64 in a repository of SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit(String);

impl SubmoduleName {
    /// A name that stays below `.git/modules`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        relative(text).map(|()| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FolderPath {
    /// A path that stays below the root of the checkout and outside every `.git`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        relative(text).map(|()| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BranchName {
    /// A name that git takes too: the rules of `git check-ref-format --branch`, a limit, and nothing that reads as a commit.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_forbidden =
            |character: char| character.is_control() || character == ' ' || r"~^:?*[\".contains(character);
        let is_bad_component =
            |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with('.') || part.ends_with(".lock");
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err("is empty or longer than 200 bytes");
        }
        if text.starts_with('-') {
            return Err("starts with `-`");
        }
        if text.chars().any(is_forbidden) {
            return Err("has a character that git allows in no branch");
        }
        if text == "@" || text == "HEAD" || text.contains("..") || text.contains("@{") {
            return Err("reads as something else than a branch");
        }
        if Commit::parse(text).is_some() {
            return Err("reads as a commit");
        }
        if text.split('/').any(is_bad_component) {
            return Err("has a part that git allows in no branch");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same as a full reference.
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl Commit {
    /// The commit, if the text is one.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_commit = [40, 64].contains(&text.len()) && text.bytes().all(is_digit);
        is_commit.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first ten digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..10]
    }
}

/// What may follow a folder that is ours.
fn relative(text: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-/".contains(&byte);
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err("is empty or longer than 200 bytes");
    }
    if !text.bytes().all(is_plain) {
        return Err("has another character than letters, digits and `._+-/`");
    }
    for part in text.split('/') {
        if part.is_empty() || part == "." || part == ".." {
            return Err("has an empty, `.` or `..` part");
        }
        if part.starts_with('-') {
            return Err("has a part that starts with `-`");
        }
        let lower = part.to_ascii_lowercase();
        // Names under which a file system without case, or with short names, finds `.git`, and what git locks with.
        if lower.starts_with(".git") || lower.starts_with("git~") || lower.ends_with(".git") || lower.ends_with(".lock")
        {
            return Err("has a part that git keeps for itself");
        }
        if part.ends_with('.') {
            return Err("has a part that ends with `.`");
        }
    }
    Ok(())
}

impl fmt::Display for SubmoduleName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for FolderPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{BranchName, Commit, FolderPath, SubmoduleName};

    #[test]
    fn ordinary_names_pass() {
        for name in ["candle", "reference/llama.cpp", "a+b_c-1"] {
            assert!(SubmoduleName::parse(name).is_ok() && FolderPath::parse(name).is_ok(), "{name}");
        }
        for branch in ["main", "metal-fixes", "feature/x.y", "grün", "a@b", "1234567"] {
            assert!(BranchName::parse(branch).is_ok(), "{branch}");
        }
    }

    #[test]
    fn names_that_leave_their_place_are_refused() {
        let long = "x".repeat(201);
        for name in [
            "",
            "../x",
            "a/../b",
            "a//b",
            "/a",
            "a/",
            "-x",
            "a/-x",
            "x\r",
            "x\n",
            "x y",
            "a\\b",
            ".git",
            "a/.GIT/hooks",
            "GIT~1",
            ".gitmodules",
            "x.git",
            "x.lock",
            "a.",
            "a:b",
            "ü",
            "a\u{202e}b",
            &long,
        ] {
            assert!(SubmoduleName::parse(name).is_err() && FolderPath::parse(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn branches_that_git_would_not_take_are_refused() {
        let (long, commit) = ("x".repeat(70_000), "a".repeat(40));
        for branch in [
            "",
            "-x",
            "--upload-pack=touch x",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[b",
            "a\\b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a.",
            "@",
            "HEAD",
            "a@{1}",
            "a\nb",
            "a\u{7f}",
            &long,
            &commit,
        ] {
            assert!(BranchName::parse(branch).is_err(), "{branch:?}");
        }
    }

    #[test]
    fn a_commit_is_all_of_its_digits() {
        assert!(Commit::parse(&"0a".repeat(20)).is_some() && Commit::parse(&"0a".repeat(32)).is_some());
        for text in ["", "abc", "HEAD", &"0A".repeat(20), &"0g".repeat(20), &"0a".repeat(21)] {
            assert!(Commit::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn names_are_said_as_they_came() {
        let commit = Commit::parse(&"0123456789".repeat(4)).expect("a commit");
        assert_eq!((commit.short(), commit.to_string().as_str()), ("0123456789", commit.as_str()));
        let branch = BranchName::parse("feature/x").expect("a branch");
        assert_eq!((branch.to_string().as_str(), branch.as_str()), ("feature/x", "feature/x"));
        assert_eq!(branch.reference(), "refs/heads/feature/x");
        let (name, folder) = (SubmoduleName::parse("candle"), FolderPath::parse("reference/candle"));
        let (name, folder) = (name.expect("a name"), folder.expect("a path"));
        assert_eq!((name.to_string().as_str(), name.as_str()), ("candle", "candle"));
        assert_eq!((folder.to_string().as_str(), folder.as_str()), ("reference/candle", "reference/candle"));
    }
}
