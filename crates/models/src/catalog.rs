//! The catalog file: parsed once into validated entries, then only looked up.
//!
//! An error names the file, the table (`[[model]]` by position and id) and the key. The shape of the TOML text is
//! `catalog/raw.rs`'s, the meaning of the values `protocol::catalog`'s.

mod raw;
pub mod suggest;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use protocol::catalog::CatalogEntry;
use protocol::error::ErrorCode;

use crate::files;

pub use raw::Location;

/// The text that was compiled in, so that an installed binary works outside a checkout.
const BUILT_IN: &str = include_str!("../../../catalog.toml");
/// Label of the built-in catalog in messages.
const BUILT_IN_LABEL: &str = "catalog.toml (built in)";
/// Largest catalog file that is read; a catalog of thousands of entries stays below it.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The models that are known.
#[derive(Debug, Clone)]
pub struct Catalog {
    label: String,
    entries: Vec<CatalogEntry>,
}

/// Why a catalog cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file cannot be read.
    #[error("cannot read the catalog `{}`: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not TOML.
    #[error("`{file}` is not valid TOML: {message}")]
    Syntax {
        /// The catalog.
        file: String,
        /// Position and reason.
        message: String,
    },
    /// A key is missing, unknown, or holds what it must not.
    #[error("`{file}`, {location}: {reason}")]
    Entry {
        /// The catalog.
        file: String,
        /// Table and key.
        location: Location,
        /// What is wrong.
        reason: String,
    },
}

impl CatalogError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            CatalogError::Read { .. } => Some("check `--catalog` and `LLORCH_CATALOG`, or leave both out".to_owned()),
            CatalogError::Syntax { .. } | CatalogError::Entry { .. } => None,
        }
    }

    /// The machine's word for it, where there is one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            CatalogError::Read { source, .. } => Some(files::error_code(source)),
            CatalogError::Syntax { .. } | CatalogError::Entry { .. } => None,
        }
    }
}

/// A name that is neither an id nor an alias. No other model is ever taken instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("model `{}` is not in the catalog{}", .name.escape_debug(), suggest::sentence(.suggestions))]
pub struct UnknownModel {
    /// The name as it was given, cut to 80 characters.
    pub name: String,
    /// Up to three ids or aliases that look like it, nearest first.
    pub suggestions: Vec<String>,
}

impl UnknownModel {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        "list the models with `cargo xtask models catalog`".to_owned()
    }

    /// The machine's word for it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        ErrorCode::ModelNotFound
    }
}

impl Catalog {
    /// The catalog this program was built with.
    ///
    /// # Errors
    /// None in a released build: a test parses the same text.
    pub fn built_in() -> Result<Self, CatalogError> {
        Self::parse(BUILT_IN, BUILT_IN_LABEL)
    }

    /// The catalog at `path`.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub fn load(path: &Path) -> Result<Self, CatalogError> {
        let text = files::read_text(path, MAX_FILE_BYTES)
            .map_err(|source| CatalogError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// The catalog in `text`; `file_label` is what errors call it.
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub fn parse(text: &str, file_label: &str) -> Result<Self, CatalogError> {
        let entries = raw::entries(text, file_label)?;
        let catalog = Self { label: file_label.to_owned(), entries };
        catalog.check_names()?;
        Ok(catalog)
    }

    /// What errors call this catalog: a path, or that it is built in.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// All entries, in the order of the file.
    #[must_use]
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// The entry that answers to `name`, by id or alias, exactly as spelt.
    ///
    /// # Errors
    /// [`UnknownModel`] with suggestions.
    pub fn find(&self, name: &str) -> Result<&CatalogEntry, UnknownModel> {
        let found = self.entries.iter().find(|entry| entry.answers_to(name));
        found.ok_or_else(|| {
            let known = self.entries.iter().flat_map(|entry| std::iter::once(&entry.id).chain(&entry.aliases));
            let suggestions = suggest::nearest(name, known.map(protocol::identifiers::ModelId::as_str));
            UnknownModel { name: name.chars().take(80).collect(), suggestions }
        })
    }

    /// Ids and aliases are folder names: unique over the catalog, also where the file system ignores case.
    fn check_names(&self) -> Result<(), CatalogError> {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let names = std::iter::once((&entry.id, "id")).chain(entry.aliases.iter().map(|alias| (alias, "aliases")));
            for (name, key) in names {
                let Some(owner) = owners.insert(name.as_str().to_ascii_lowercase(), entry.id.as_str()) else {
                    continue;
                };
                return Err(CatalogError::Entry {
                    file: self.label.clone(),
                    location: Location::model(index, Some(entry.id.as_str())).key(key),
                    reason: format!("`{name}` is already a name of `{owner}`"),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
