//! `install`: release builds of this command, the pool and the workers, put where the shell finds them.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use crate::binaries::{self, BACKENDS, Marks, Product, Profile, Show};
use crate::cli::Globals;
use crate::download::absolute;
use crate::failure::Failure;
use crate::{interrupt, process, workspace};

/// Install `llorch` and the programs it starts
///
/// Puts `llorch` (this command), `llorch-pool`, `llorch-convert` and one `llorch-worker-<backend>` a backend into
/// `<prefix>/bin`. Each
/// file appears whole or not at all, also over one that is running. Configuration and models are not touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask install
  cargo xtask install --prefix /opt/llorch
  sudo -E cargo xtask install --system")]
pub struct Args {
    /// Into PATH/bin
    #[arg(long, value_name = "PATH", conflicts_with_all = ["user", "system"])]
    prefix: Option<PathBuf>,
    /// Into ~/.local/bin (the default)
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// Into /usr/local/bin
    #[arg(long)]
    system: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    files: Vec<PathBuf>,
}

impl Args {
    /// Builds, then installs: a build that fails leaves what is installed as it is.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let root = workspace::require()?;
        let folder = self.folder()?;
        let workers = BACKENDS.map(Product::Worker);
        let products: Vec<Product> =
            [Product::Command, Product::Pool, Product::Convert].into_iter().chain(workers).collect();
        let marks = Marks::read(&root)?;
        let call = |product: &Product| binaries::plan(&root, *product, Profile::Release, &marks);
        if globals.dry_run {
            let builds = products.iter().map(|product| call(product).to_string());
            let copies =
                products.iter().map(|product| format!("install {}", folder.join(product.installed_name()).display()));
            return process::print_plan(globals.output, &builds.chain(copies).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let mut built = Vec::new();
        for product in &products {
            built.push(binaries::build(globals.output, &call(product), *product, Show::All)?);
        }
        fs_err::create_dir_all(&folder).map_err(|error| refused(&error))?;
        let mut files = Vec::new();
        for program in &built {
            interrupt::check()?;
            let target = folder.join(program.product.installed_name());
            place(&program.path, &target)?;
            if !globals.output.json {
                globals.output.line(&target.display().to_string())?;
            }
            files.push(target);
        }
        globals.output.event(&Done { event: "done", files })?;
        if !is_on_path(&folder) {
            globals
                .output
                .note(format_args!("`{}` is not on your PATH: add it to call `llorch` by name", folder.display()));
        }
        Ok(0)
    }

    fn folder(&self) -> Result<PathBuf, Failure> {
        let prefix = match (&self.prefix, self.system) {
            (Some(prefix), _) => absolute(prefix),
            (None, true) => PathBuf::from("/usr/local"),
            (None, false) => {
                let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
                let home = home.ok_or_else(|| {
                    Failure::usage("`HOME` is not set to an absolute path").hint("use `--prefix PATH`")
                })?;
                home.join(".local")
            }
        };
        Ok(prefix.join("bin"))
    }
}

/// Copies beside the target, then renames: nobody ever sees half a program.
fn place(source: &Path, target: &Path) -> Result<(), Failure> {
    let name = target.file_name().context("a program has a name")?.to_string_lossy().into_owned();
    let temporary = target.with_file_name(format!(".{name}.{}", std::process::id()));
    let placed = fs_err::copy(source, &temporary)
        .and_then(|_| fs_err::File::open(&temporary)?.sync_all())
        .and_then(|()| fs_err::rename(&temporary, target));
    placed.map_err(|error| {
        let _never_made = std::fs::remove_file(&temporary);
        refused(&error)
    })
}

fn refused(error: &std::io::Error) -> Failure {
    let failure = Failure::new(error.to_string());
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        return failure.hint("choose a folder that you may write to with `--prefix PATH`, or leave out `--system`");
    }
    failure
}

fn is_on_path(folder: &Path) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|entry| entry == folder)
}
