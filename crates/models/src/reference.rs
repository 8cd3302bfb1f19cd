//! What a person types to name a model: a name of the catalog, `hf:org/repo[@revision][::file]`, or a path. Parsing only;
//! what a reference stands for is `fetch::resolve`'s.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use protocol::catalog::{FileName, RepoId};
use protocol::identifiers::{Digest, IdentifierError, ModelId};

use crate::hashing::Hasher;

/// Longest revision name; git's own limit is that of file names.
const MAX_REVISION_BYTES: usize = 200;
/// What is left of a file's name in an id; with the mark behind it, it stays below the 64 an id may have.
const MAX_STEM_BYTES: usize = 50;

/// A model, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelReference {
    /// An id or alias of the catalog, or the id of an installed model.
    Name(String),
    /// A repository on the hub.
    Hub(HubReference),
    /// A GGUF file, or a folder with `config.json` and safetensors; absolute.
    Path(PathBuf),
}

/// A repository on the hub, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReference {
    /// The repository.
    pub repo: RepoId,
    /// Branch, tag or commit; the main branch if none is named.
    pub revision: Option<Revision>,
    /// The file; whatever is the obvious one if none is named.
    pub file: Option<FileName>,
}

/// A branch, tag or commit: components of letters, digits, `.`, `_` and `-` joined by `/`, none beginning with a dot or a
/// dash. Safe as a path below `refs` and, with `/` escaped, as one segment of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As one segment of an address.
    pub(crate) fn segment(&self) -> String {
        self.0.replace('/', "%2F")
    }
}

impl FromStr for Revision {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let is_good = |component: &str| {
            component.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && component.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
                && !component.contains("..")
                && !component.ends_with('.')
                && !component.ends_with(".lock")
        };
        if text.len() <= MAX_REVISION_BYTES && text.split('/').all(is_good) {
            return Ok(Self(text.to_owned()));
        }
        Err(refusal("a revision", text, "use a branch, a tag or a commit"))
    }
}

fn refusal(kind: &'static str, text: &str, reason: &'static str) -> IdentifierError {
    IdentifierError { kind, text: text.chars().take(80).collect(), reason }
}

impl FromStr for ModelReference {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        if let Some(rest) = text.strip_prefix("hf:") {
            return rest.parse().map(Self::Hub);
        }
        if let Some(path) = text.strip_prefix("file:") {
            let path = PathBuf::from(path);
            let reason = "use an absolute path: `file:/path/to/model.gguf`";
            return if path.is_absolute() { Ok(Self::Path(path)) } else { Err(refusal("a file", text, reason)) };
        }
        if text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text == "." || text == ".." {
            let reason = "the working directory is not known";
            return std::path::absolute(text).map(Self::Path).map_err(|_| refusal("a path", text, reason));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

impl FromStr for HubReference {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let (head, file) = match text.split_once("::") {
            Some((head, file)) => (head, Some(file.parse()?)),
            None => (text, None),
        };
        let (repo, revision) = match head.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision.parse()?)),
            None => (head, None),
        };
        Ok(Self { repo: repo.parse()?, revision, file })
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hf:{}", self.repo)?;
        self.revision.iter().try_for_each(|revision| write!(formatter, "@{}", revision.as_str()))?;
        self.file.iter().try_for_each(|file| write!(formatter, "::{file}"))
    }
}

impl fmt::Display for ModelReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Hub(reference) => reference.fmt(formatter),
            Self::Path(path) => write!(formatter, "file:{}", path.display()),
        }
    }
}

impl ModelReference {
    /// The id in the store of what no catalog names, as far as the reference alone tells it: not for a name, nor for a
    /// repository of which the file is not named.
    #[must_use]
    pub fn derived_id(&self) -> Option<ModelId> {
        match self {
            Self::Name(_) => None,
            Self::Hub(reference) => {
                let file = reference.file.as_ref()?;
                Some(derived_id(&stem(Path::new(file.base_name())), &reference.to_string()))
            }
            Self::Path(path) => Some(derived_id(&stem(path), &self.to_string())),
        }
    }
}

/// The id in the store of something that no catalog names: what the file is called, and a mark that tells equally named
/// files of different origins apart. The same reference always gets the same id.
fn derived_id(stem: &str, origin: &str) -> ModelId {
    let mut hasher = Hasher::new();
    hasher.update(origin.as_bytes());
    let mark: Digest = hasher.finish().sha256;
    let safe = stem.chars().map(|char| if char.is_ascii_alphanumeric() || "._-".contains(char) { char } else { '-' });
    let safe: String = safe.collect::<String>().to_ascii_lowercase().chars().take(MAX_STEM_BYTES).collect();
    let safe = safe.trim_matches(['.', '_', '-']);
    let text = format!("{}-{}", if safe.is_empty() { "model" } else { safe }, &mark.hex()[..8]);
    match text.parse() {
        Ok(id) => id,
        // Letters, digits, `.`, `_` and `-`, not too many, the first a letter or digit.
        Err(error) => unreachable!("{error}"),
    }
}

/// The stem of a file's name, without the ending of its format.
fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HubReference, ModelReference, Revision, derived_id};

    #[test]
    fn the_three_forms_are_told_apart() {
        let parsed = |text: &str| text.parse::<ModelReference>().expect(text);
        assert_eq!(parsed("smollm2"), ModelReference::Name("smollm2".to_owned()));
        let ModelReference::Hub(hub) = parsed("hf:org/repo@refs/pr/1::sub/model.gguf") else { panic!("no hub") };
        assert_eq!(
            (hub.repo.as_str(), hub.file.as_ref().map(|file| file.as_str())),
            ("org/repo", Some("sub/model.gguf"))
        );
        assert_eq!(hub.revision.as_ref().map(Revision::segment).as_deref(), Some("refs%2Fpr%2F1"));
        assert_eq!(hub.to_string(), "hf:org/repo@refs/pr/1::sub/model.gguf");
        assert_eq!(parsed("file:/a b/x.gguf"), ModelReference::Path(Path::new("/a b/x.gguf").to_owned()));
        assert!(matches!(parsed("./x"), ModelReference::Path(path) if path.is_absolute()));
    }

    #[test]
    fn hostile_references_are_refused() {
        for bad in [
            "hf:",
            "hf:org",
            "hf:../x",
            "hf:org/..",
            "hf:org/repo@",
            "hf:org/repo@../../x",
            "hf:org/repo@a..b",
            "hf:org/repo@-x",
            "hf:org/repo@a//b",
            "hf:org/repo@a b",
            "hf:org/repo@a?x=1",
            "hf:org/repo::",
            "hf:org/repo::../x.gguf",
            "hf:org/repo::/etc/passwd",
            "hf:org/repo::a\\b",
            "hf:org/repo::C:x",
            "hf:org/repo::manifest.json",
            "hf:org/repo::a\n",
            "hf:org/re\u{202e}po",
            "file:relative.gguf",
            "file:",
        ] {
            assert!(bad.parse::<ModelReference>().is_err(), "{bad:?} was accepted");
        }
        assert!("x".repeat(300).parse::<Revision>().is_err());
    }

    #[test]
    fn derived_ids_are_ids_and_differ() {
        for stem in ["", "...", "../../etc", "ü", "A b", "-rf", &"x".repeat(500), "model.Q4_K_M"] {
            let id = derived_id(stem, stem);
            assert!(id.as_str().len() <= 64, "{id}");
            assert_ne!(id, derived_id(stem, &format!("{stem}'")));
        }
        let reference: HubReference = "org/repo::a.gguf".parse().expect("a reference");
        assert!(derived_id("Model.Q8_0", &reference.to_string()).as_str().starts_with("model.q8_0-"));
    }
}
