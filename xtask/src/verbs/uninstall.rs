//! `uninstall`: takes away what `install` put somewhere, and no more unless it is told.

use std::path::{Path, PathBuf};

use models::places::Places;
use models::store::Store;
use protocol::identifiers::ModelId;
use serde::Serialize;

use super::install::Where;
use crate::cli::Globals;
use crate::configuration;
use crate::failure::Failure;
use crate::installation::{Lock, Prefix};
use crate::output::size_words;
use crate::{interrupt, process, question};

/// Remove what `install` installed
///
/// Programs, completions, pages of the manual, and the version kept for `install --rollback`: what the manifests name,
/// if it still leads to them. Models, configuration and records of workers stay, unless options say otherwise. Workers
/// that run go on; `llorch worker stop --all` first stops them. Asks; `--yes` answers.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask uninstall
  cargo xtask uninstall --models --config --yes
  sudo -E cargo xtask uninstall --system")]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// Remove this user's models too
    #[arg(long)]
    models: bool,
    /// Remove this user's configuration file too
    #[arg(long)]
    config: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    prefix: PathBuf,
    removed: Vec<PathBuf>,
    freed_bytes: u64,
}

/// What would go besides programs.
struct Belongings {
    store: Option<Store>,
    config: Option<PathBuf>,
}

impl Args {
    /// Shows what would go, asks, removes.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let output = globals.output;
        let prefix = self.place.prefix()?;
        let belongings = self.belongings()?;
        let is_installed = prefix.home().symlink_metadata().is_ok();
        let steps = steps(&prefix, is_installed, &belongings)?;
        if steps.is_empty() {
            let failure = Failure::new(format!("nothing is installed in `{}`", prefix.path().display()));
            return Err(failure.hint("`--prefix PATH` names another place"));
        }
        if is_installed {
            prefix.check_writable(&prefix.installed()?)?;
        }
        if globals.dry_run {
            return process::print_plan(output, &steps);
        }
        if !globals.yes {
            steps.iter().for_each(|step| output.note(step));
            if !question::ask(output, "go ahead?")? {
                output.note("nothing was removed");
                return Ok(1);
            }
        }
        interrupt::watch()?;
        let mut removed = Vec::new();
        // First what may be in use: whoever has to try again still has the command.
        let mut freed_bytes = belongings.remove(&mut removed)?;
        if is_installed {
            let lock = Lock::take(&prefix, output)?;
            freed_bytes = freed_bytes.saturating_add(prefix.size_bytes()?);
            removed.extend(prefix.remove(&lock)?.iter().map(|path| prefix.path().join(path.as_path())));
        }
        output.note(format_args!("removed {} files, freed {}", removed.len(), size_words(freed_bytes)));
        output.event(&Done { event: "done", prefix: prefix.path().to_owned(), removed, freed_bytes })?;
        Ok(0)
    }

    fn belongings(&self) -> Result<Belongings, Failure> {
        let store = self.models.then(|| Ok::<_, Failure>(Store::open(Places::from_environment()?.models())?));
        let config = if self.config { Some(configuration::user_file()?) } else { None };
        let store = store.transpose()?.filter(|store| store.root().is_dir());
        Ok(Belongings { store, config: config.filter(|file| file.symlink_metadata().is_ok()) })
    }
}

fn steps(prefix: &Prefix, is_installed: bool, belongings: &Belongings) -> Result<Vec<String>, Failure> {
    let mut steps = Vec::new();
    if is_installed {
        let count = prefix.installed()?.len();
        let links =
            format!("remove {count} names of {} from below {}", prefix.home().display(), prefix.path().display());
        steps.extend([links, format!("remove {}", prefix.home().display())]);
    }
    if let Some(store) = &belongings.store {
        let usage = store.disk_usage()?;
        let words =
            usage.models.iter().map(|model| format!("delete {} ({})", model.name, size_words(model.size_bytes)));
        steps.extend(words);
    }
    steps.extend(belongings.config.iter().map(|file| format!("remove {}", file.display())));
    Ok(steps)
}

/// Models in the store, and their sizes. A folder without a model's name is not ours.
fn models_of(store: &Store) -> Result<Vec<(ModelId, u64)>, Failure> {
    let models = store.disk_usage()?.models.into_iter();
    Ok(models.filter_map(|model| Some((model.name.parse().ok()?, model.size_bytes))).collect())
}

impl Belongings {
    fn remove(self, removed: &mut Vec<PathBuf>) -> Result<u64, Failure> {
        let mut freed_bytes: u64 = 0;
        if let Some(store) = self.store {
            for (id, _) in models_of(&store)? {
                interrupt::check()?;
                freed_bytes = freed_bytes.saturating_add(store.delete(&id)?);
                removed.push(store.directory(&id));
            }
        }
        if let Some(file) = self.config {
            fs_err::remove_file(&file)?;
            let _unless_it_is_empty = file.parent().map(|folder: &Path| std::fs::remove_dir(folder));
            removed.push(file);
        }
        Ok(freed_bytes)
    }
}
