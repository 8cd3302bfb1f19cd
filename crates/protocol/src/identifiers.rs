//! Validated names: backend, digest, and the identifiers of models, workers and jobs.
//!
//! A value of one of these types is safe to use as one path component, one argv element and one log field: the only
//! way to make one is a parser that says what is wrong. No other string reaches a path join (ARCHITECTURE.md,
//! invariant 7).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not the identifier it was meant to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {kind}: {reason}", .text.escape_debug())]
pub struct IdentifierError {
    /// What was expected, with its article: `a model id`.
    pub kind: &'static str,
    /// The offending text, cut to 80 characters.
    pub text: String,
    /// What the grammar asks for.
    pub reason: &'static str,
}

impl IdentifierError {
    fn new(kind: &'static str, text: &str, reason: &'static str) -> Self {
        Self { kind, text: text.chars().take(80).collect(), reason }
    }
}

/// Identifiers share one grammar: 1 to 64 of `[A-Za-z0-9._-]`, the first a letter or digit. That excludes every path
/// trick (`..`, separators, drive letters, empty, control characters, leading dash) under POSIX and Windows rules alike.
fn check_identifier(kind: &'static str, text: &str) -> Result<(), IdentifierError> {
    let first_is_alphanumeric = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let all_allowed = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if text.len() > 64 {
        return Err(IdentifierError::new(kind, text, "it is longer than 64 characters"));
    }
    if !first_is_alphanumeric || !all_allowed || text.ends_with('.') {
        let reason = "use letters, digits, `.`, `_` and `-`, beginning with a letter or digit and not ending in `.`";
        return Err(IdentifierError::new(kind, text, reason));
    }
    Ok(())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdentifierError;
            fn from_str(text: &str) -> Result<Self, IdentifierError> {
                check_identifier($kind, text).map(|()| Self(text.to_owned()))
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

identifier!(
    /// A model's id in the catalog and its folder name in the store.
    ModelId, "a model id"
);
identifier!(
    /// A worker process of one pool.
    WorkerId, "a worker id"
);
identifier!(
    /// One piece of work; chosen by whoever submits it.
    JobId, "a job id"
);

/// Hardware family a worker binary is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Any processor; no accelerator.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
    /// Apple GPUs.
    Metal,
}

impl Backend {
    /// All backends, in the order they are listed to people.
    pub const ALL: [Backend; 3] = [Backend::Cpu, Backend::Cuda, Backend::Metal];

    /// The name used on command lines, on the wire and in file names.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cpu => "cpu",
            Backend::Cuda => "cuda",
            Backend::Metal => "metal",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let known = Backend::ALL.into_iter().find(|backend| backend.name() == text);
        known.ok_or_else(|| IdentifierError::new("a backend", text, "use `cpu`, `cuda` or `metal`"))
    }
}

/// SHA-256 of a file's bytes. Text form: exactly 64 lowercase hexadecimal digits, with or without `sha256:` in front
/// when read, with it when written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// A digest from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 64 hexadecimal digits alone.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = IdentifierError;
    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        let error = || IdentifierError::new("a SHA-256 digest", text, "use exactly 64 lowercase hexadecimal digits");
        let hex = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let mut bytes = [0_u8; 32];
        if hex.len() != 64 {
            return Err(error());
        }
        for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0]).zip(digit(pair[1])).map(|(high, low)| high << 4 | low).ok_or_else(error)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, ModelId};

    #[test]
    fn a_backend_is_read_as_it_is_written() {
        for backend in super::Backend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        let error = "CPU".parse::<super::Backend>().expect_err("names are in lower case");
        assert!(error.to_string().contains("`cuda`"), "{error}");
    }

    #[test]
    fn identifiers_refuse_every_path_trick() {
        let hostile = [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "/etc/x",
            "C:x",
            "-x",
            ".git",
            "a\0",
            "a\n",
            "\u{202e}a",
            "a b",
            "a.",
            "é",
        ];
        for text in hostile {
            assert!(text.parse::<ModelId>().is_err(), "{text:?} was accepted");
        }
        assert!("x".repeat(65).parse::<ModelId>().is_err());
        assert_eq!("qwen-fp16".parse::<ModelId>().expect("a plain id").as_str(), "qwen-fp16");
    }

    #[test]
    fn digest_accepts_exactly_64_lowercase_hex_digits() {
        let hex = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
        let digest: Digest = hex.parse().expect("a digest");
        assert_eq!(digest.to_string(), format!("sha256:{hex}"));
        assert_eq!(digest.to_string().parse::<Digest>().expect("with prefix"), digest);
        for bad in [&hex[1..], &hex.to_uppercase(), &format!("{hex}0"), "sha256:../../etc/passwd"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} was accepted");
        }
    }
}
