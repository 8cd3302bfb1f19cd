//! Where llorch keeps things: data, state, cache and configuration directories, each with where the answer came from.
//! Resolved once at start; nothing here creates a directory.

use std::path::PathBuf;

use crate::environment::{self, Lookup};

/// The subfolder of the XDG directories.
const PROGRAM: &str = "llorch";

/// The directories of this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Models.
    pub data: Place,
    /// Databases, logs, run files.
    pub state: Place,
    /// What can be fetched or computed again.
    pub cache: Place,
    /// Settings.
    pub config: Place,
}

/// One directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Absolute path; it may not exist yet.
    pub path: PathBuf,
    /// What decided it.
    pub provenance: Provenance,
}

/// What decided a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// An environment variable, by name.
    Variable(&'static str),
    /// The default below the home directory.
    Home,
}

/// Why the directories cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    /// Neither a home directory nor variables that make it unnecessary.
    #[error("the {directory} directory is not known: `HOME` is not set to an absolute path")]
    NoHome {
        /// Which of the directories.
        directory: &'static str,
    },
    /// One of our own variables holds a relative path, which would mean another directory in every shell.
    #[error("`{variable}` is `{}`, which is not an absolute path", .value.display())]
    Relative {
        /// Name of the variable.
        variable: &'static str,
        /// What it holds.
        value: PathBuf,
    },
}

impl PlacesError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            PlacesError::NoHome { .. } => {
                "set `HOME`, or `LLORCH_DATA_DIR`, `LLORCH_STATE_DIR` and `LLORCH_CACHE_DIR`".to_owned()
            }
            PlacesError::Relative { variable, .. } => format!("set `{variable}` to an absolute path, or unset it"),
        }
    }
}

/// How one directory is found.
struct Rule {
    directory: &'static str,
    override_variable: Option<&'static str>,
    xdg_variable: &'static str,
    below_home: &'static str,
}

impl Places {
    /// The directories according to the process environment.
    ///
    /// # Errors
    /// See [`PlacesError`].
    pub fn from_environment() -> Result<Self, PlacesError> {
        Self::resolve(&environment::process)
    }

    /// The directories according to `lookup`.
    ///
    /// # Errors
    /// See [`PlacesError`].
    pub fn resolve(lookup: Lookup<'_>) -> Result<Self, PlacesError> {
        let place = |directory, override_variable, xdg_variable, below_home| {
            find(lookup, &Rule { directory, override_variable, xdg_variable, below_home })
        };
        Ok(Self {
            data: place("data", Some(environment::DATA_DIRECTORY), environment::XDG_DATA_HOME, ".local/share")?,
            state: place("state", Some(environment::STATE_DIRECTORY), environment::XDG_STATE_HOME, ".local/state")?,
            cache: place("cache", Some(environment::CACHE_DIRECTORY), environment::XDG_CACHE_HOME, ".cache")?,
            config: place("configuration", None, environment::XDG_CONFIG_HOME, ".config")?,
        })
    }

    /// The root of the model store.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.data.path.join("models")
    }
}

fn find(lookup: Lookup<'_>, rule: &Rule) -> Result<Place, PlacesError> {
    if let Some(variable) = rule.override_variable {
        let value = lookup(variable).map(PathBuf::from).filter(|value| !value.as_os_str().is_empty());
        if let Some(path) = value {
            if !path.is_absolute() {
                return Err(PlacesError::Relative { variable, value: path });
            }
            return Ok(Place { path, provenance: Provenance::Variable(variable) });
        }
    }
    if let Some(base) = environment::absolute_path(lookup, rule.xdg_variable) {
        return Ok(Place { path: base.join(PROGRAM), provenance: Provenance::Variable(rule.xdg_variable) });
    }
    let home = environment::absolute_path(lookup, environment::HOME);
    let home = home.ok_or(PlacesError::NoHome { directory: rule.directory })?;
    Ok(Place { path: home.join(rule.below_home).join(PROGRAM), provenance: Provenance::Home })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::path::Path;

    use super::{Places, PlacesError, Provenance};

    fn resolve(variables: &[(&str, &str)]) -> Result<Places, PlacesError> {
        let find =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        Places::resolve(&find)
    }

    #[test]
    fn override_wins_over_xdg_over_home_each_with_its_provenance() {
        let places = resolve(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s"), ("LLORCH_DATA_DIR", "/d")]).expect("places");
        assert_eq!(
            (places.data.path.as_path(), places.data.provenance),
            (Path::new("/d"), Provenance::Variable("LLORCH_DATA_DIR"))
        );
        assert_eq!(places.state.path, Path::new("/s/llorch"));
        assert_eq!(
            (places.cache.path.as_path(), places.cache.provenance),
            (Path::new("/h/.cache/llorch"), Provenance::Home)
        );
        assert_eq!(places.models(), Path::new("/d/models"));
    }

    #[test]
    fn relative_or_empty_xdg_is_ignored_and_a_relative_override_refused() {
        let places = resolve(&[("HOME", "/h"), ("XDG_DATA_HOME", "data"), ("XDG_CACHE_HOME", "")]).expect("places");
        assert_eq!(places.data.path, Path::new("/h/.local/share/llorch"));
        assert_eq!(places.cache.path, Path::new("/h/.cache/llorch"));
        let relative = resolve(&[("HOME", "/h"), ("LLORCH_DATA_DIR", "data")]);
        assert!(matches!(relative, Err(PlacesError::Relative { variable: "LLORCH_DATA_DIR", .. })));
    }

    #[test]
    fn a_missing_home_is_an_error_only_where_it_is_needed() {
        assert_eq!(resolve(&[]), Err(PlacesError::NoHome { directory: "data" }));
        assert_eq!(resolve(&[("HOME", "relative")]), Err(PlacesError::NoHome { directory: "data" }));
        let all = [
            ("LLORCH_DATA_DIR", "/d"),
            ("LLORCH_STATE_DIR", "/s"),
            ("LLORCH_CACHE_DIR", "/c"),
            ("XDG_CONFIG_HOME", "/x"),
        ];
        assert!(resolve(&all).is_ok());
    }
}
