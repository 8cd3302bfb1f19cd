//! What one version consists of, as a file in its folder.

use std::path::Path;

use protocol::stamp::Stamp;
use serde::{Deserialize, Serialize};

use super::{LinkPath, Number};
use crate::failure::Failure;

/// The one there is; another would be read by another version.
const SCHEMA: u32 = 1;
/// Some hundred names and a handful of stamps are a tenth of it.
const SIZE_BYTES_MAX: u64 = 1 << 20;

/// What one version consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The version that was in use before.
    pub previous: Option<Number>,
    /// Names it has below the prefix.
    pub links: Vec<LinkPath>,
    /// What its programs say they are.
    pub stamps: Vec<Stamp>,
}

#[derive(Serialize, Deserialize)]
struct Raw {
    schema: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Number>,
    links: Vec<String>,
    stamps: Vec<Stamp>,
}

impl Manifest {
    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read, is of another schema, or names what lies outside the prefix.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        use std::io::Read;
        let mut text = String::new();
        fs_err::File::open(path)?.take(SIZE_BYTES_MAX).read_to_string(&mut text)?;
        Self::parse(&text).map_err(|why| Failure::new(format!("`{}` is no manifest: {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if raw.schema != SCHEMA {
            return Err(format!("`schema` is {}, known is {SCHEMA}", raw.schema));
        }
        let links = raw.links.iter().map(|path| LinkPath::parse(Path::new(path)));
        let links = links.collect::<Result<_, _>>().map_err(|failure| format!("`links`: {}", failure.message))?;
        Ok(Self { previous: raw.previous, links, stamps: raw.stamps })
    }

    /// Writes it. The folder it is in has no name yet that anybody looks for.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let links = self.links.iter().map(|path| path.as_path().to_string_lossy().into_owned()).collect();
        let raw = Raw { schema: SCHEMA, previous: self.previous, links, stamps: self.stamps.clone() };
        let text = serde_json::to_string_pretty(&raw).map_err(anyhow::Error::from)?;
        Ok(fs_err::write(path, text + "\n")?)
    }
}

#[cfg(test)]
mod tests {
    use super::Manifest;

    #[test]
    fn a_manifest_that_cannot_be_meant_is_refused() {
        for (text, wanted) in [
            ("", "EOF"),
            (r#"{"schema":2,"links":[],"stamps":[]}"#, "`schema` is 2"),
            (r#"{"schema":1,"links":["bin/../../x"],"stamps":[]}"#, "`links`"),
            (r#"{"schema":1,"links":["/etc/passwd"],"stamps":[]}"#, "`links`"),
        ] {
            let why = Manifest::parse(text).expect_err(text);
            assert!(why.contains(wanted), "{why}");
        }
        assert!(Manifest::parse(r#"{"schema":1,"links":["bin/llorch"],"stamps":[]}"#).is_ok());
    }
}
