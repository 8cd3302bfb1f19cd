//! Which file a worker is to load: a model of the store by its id, its bytes checked, or any file by its path, as it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use models::store::{Store, StoreError};
use models::verify::{VerifyError, open_model};
use protocol::error::ErrorCode;
use protocol::identifiers::{Digest, ModelId};

use crate::error::PoolError;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A model of the store.
    Id(ModelId),
    /// A file of the user's own, which nobody has promised to be anything.
    Path(PathBuf),
}

/// What a worker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id; for a file by path, made of the file's name.
    pub id: ModelId,
    /// The file, absolute.
    pub path: PathBuf,
    /// SHA-256, where the store has checked it.
    pub digest: Option<Digest>,
}

/// Finds the file. A model of the store is checked first, which takes time if its files changed since they were last
/// checked; `cancel` ends that.
///
/// # Errors
/// It is not there, its bytes are not those that were installed, or the caller cancelled.
pub fn resolve(wanted: &Wanted, models_dir: &Path, cancel: &AtomicBool) -> Result<Model, PoolError> {
    match wanted {
        Wanted::Id(id) => in_store(id, models_dir, cancel),
        Wanted::Path(path) => at_path(path),
    }
}

fn in_store(id: &ModelId, models_dir: &Path, cancel: &AtomicBool) -> Result<Model, PoolError> {
    let installed = Store::open(models_dir).and_then(|store| store.get(id)).map_err(unusable_store)?;
    let installed = installed.ok_or_else(|| {
        PoolError::new(ErrorCode::ModelNotFound, format!("model `{id}` is not on this machine"))
            .hint(format!("run `cargo xtask models download {id}`"))
    })?;
    // The worker opens the path itself: no descriptor crosses three processes. Files of the store are read-only and
    // replaced by a rename alone, so only somebody who means to can put other bytes there in between.
    drop(open_model(&installed, cancel).map_err(unusable_model)?);
    Ok(Model { id: id.clone(), path: installed.model_file(), digest: Some(installed.digest()) })
}

fn unusable_store(error: StoreError) -> PoolError {
    let typed = PoolError::new(error.code(), error.to_string());
    match error.hint() {
        Some(hint) => typed.hint(hint),
        None => typed,
    }
}

fn unusable_model(error: VerifyError) -> PoolError {
    let typed = PoolError::new(error.code(), error.to_string());
    match error {
        VerifyError::Damaged { id, .. } => typed.hint(format!(
            "`cargo xtask models verify {id}` shows all that is wrong, `cargo xtask models download {id} --force` fetches it again"
        )),
        VerifyError::Interrupted => PoolError { message: format!("{error} before the worker was started"), ..typed },
    }
}

fn at_path(path: &Path) -> Result<Model, PoolError> {
    let not_found = |why: &str| {
        PoolError::new(ErrorCode::ModelNotFound, format!("no model at `{}`: {why}", path.display()))
            .hint("give the path of a model file, or `--model ID`")
    };
    let absolute = std::fs::canonicalize(path).map_err(|cause| not_found(&cause.to_string()))?;
    // A checkpoint of several files is a folder.
    if !absolute.is_file() && !absolute.is_dir() {
        return Err(not_found("it is neither a file nor a folder"));
    }
    let stem = path.file_stem().or(absolute.file_stem()).map(|stem| stem.to_string_lossy().into_owned());
    Ok(Model { id: id_from_name(&stem.unwrap_or_default()), path: absolute, digest: None })
}

/// The nearest valid id.
fn id_from_name(name: &str) -> ModelId {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let replaced: String = name.chars().map(|character| if allowed(character) { character } else { '-' }).collect();
    let text: String =
        replaced.trim_matches(|character: char| !character.is_ascii_alphanumeric()).chars().take(64).collect();
    let fallback = || "model".parse::<ModelId>();
    text.trim_end_matches('.').parse().or_else(|_| fallback()).unwrap_or_else(|_| unreachable!("`model` is an id"))
}

#[cfg(test)]
mod tests {
    use super::id_from_name;

    #[test]
    fn every_file_name_gives_an_id() {
        assert_eq!(id_from_name("SmolLM2-135M-Instruct.Q4_1").as_str(), "SmolLM2-135M-Instruct.Q4_1");
        assert_eq!(id_from_name("my model (1)").as_str(), "my-model--1");
        for name in ["", "…", "--", "..", &"x".repeat(200), &format!("{}.", "x".repeat(63))] {
            assert!(!id_from_name(name).as_str().is_empty());
        }
    }
}
