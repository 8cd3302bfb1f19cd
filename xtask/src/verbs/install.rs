//! `install`: release builds of this command, the pool and the workers, put where the shell finds them. How one version
//! replaces another is `installation.rs`'s.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use protocol::identifiers::Backend;
use serde::Serialize;

use super::completions::Shell;
use super::man;
use crate::binaries::{self, Built, Marks, Product, Profile, Show};
use crate::cli::{self, Globals};
use crate::download::absolute;
use crate::failure::Failure;
use crate::installation::{
    LinkPath, Links, Lock, Manifest, Number, PROGRAMS, Prefix, Stage, advise_on_path, make_folder,
};
use crate::output::Output;
use crate::process::{self, Call, Group};
use crate::{interrupt, workspace};

/// Install `llorch` and the programs it starts
///
/// `llorch` (this command), `llorch-pool`, `llorch-convert` and one `llorch-worker-<backend>` a backend into `<prefix>/bin`,
/// completions and the manual into `<prefix>/share`. All of them change in one step or none does, whatever interrupts it;
/// programs that run go on. The version before is kept: `--rollback` brings it back. Configuration and models are not
/// touched.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask install
  cargo xtask install --prefix /opt/llorch
  cargo xtask install --rollback
  sudo -E cargo xtask install --system")]
pub struct Args {
    #[command(flatten)]
    place: Where,
    /// Bring back the version that was in use before; builds nothing
    #[arg(long, conflicts_with = "force")]
    rollback: bool,
    /// With a worker for this backend; may be given several times [default: every one that can be built here]
    #[arg(long = "backend", value_name = "BACKEND", value_parser = cli::backend(), conflicts_with = "rollback")]
    backends: Vec<Backend>,
    /// Replace files of the same names that were not installed this way
    #[arg(long)]
    force: bool,
}

/// Which prefix.
#[derive(Debug, clap::Args)]
pub struct Where {
    /// Below PATH: PATH/bin, PATH/lib/llorch, PATH/share
    #[arg(long, value_name = "PATH", conflicts_with_all = ["user", "system"])]
    prefix: Option<PathBuf>,
    /// Below ~/.local (the default, but for a `llorch` that was installed elsewhere: that means its own place)
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// Below /usr/local
    #[arg(long)]
    system: bool,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    version: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Number>,
    files: Vec<PathBuf>,
}

impl Where {
    /// The prefix that is named; if none is, the one that this program was installed in, else `~/.local`.
    ///
    /// # Errors
    /// There is no home.
    pub fn prefix(&self) -> Result<Prefix, Failure> {
        if let Some(prefix) = &self.prefix {
            return Ok(Prefix::new(absolute(prefix)));
        }
        if self.system {
            return Ok(Prefix::new(PathBuf::from("/usr/local")));
        }
        let own = Prefix::of_this_program().filter(|_| !self.user);
        own.or_else(Prefix::of_user)
            .ok_or_else(|| Failure::usage("`HOME` is not set to an absolute path").hint("use `--prefix PATH`"))
    }

    /// The same for who puts files there.
    ///
    /// # Errors
    /// As [`Where::prefix`], or nobody named it and it is not this user's.
    fn prefix_to_fill(&self) -> Result<Prefix, Failure> {
        let prefix = self.prefix()?;
        if self.prefix.is_none() && !self.system {
            // A folder that is not there yet is made in the one above it.
            prefix.path().ancestors().take(2).try_for_each(check_owner)?;
        }
        Ok(prefix)
    }
}

/// Refuses a folder that `sudo` left from the user who called it.
fn check_owner(home: &Path) -> Result<(), Failure> {
    let caller = std::env::var("SUDO_UID").ok().and_then(|user| user.parse::<u32>().ok()).filter(|user| *user != 0);
    let owner = std::fs::metadata(home).ok().map(|data| data.uid());
    if rustix::process::geteuid().is_root() && caller.is_some() && owner == caller {
        let message =
            format!("as root, files in `{}` would belong to root, and its owner could not change them", home.display());
        return Err(Failure::usage(message).hint("leave out `sudo`, or add `--system`"));
    }
    Ok(())
}

impl Args {
    /// Whether it has something to build.
    pub fn needs_checkout(&self) -> bool {
        !self.rollback
    }

    /// Builds, then installs: a build that fails leaves what is installed as it is.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        if self.rollback {
            return roll_back(globals, &self.place.prefix_to_fill()?);
        }
        let (root, output) = (workspace::require()?, globals.output);
        let prefix = self.place.prefix_to_fill()?;
        let products = products(&binaries::chosen(self.backends));
        let names = names(&products)?;
        prefix.check_writable(&names)?;
        Links::new(&prefix).check_free(&names, self.force)?;
        let switch = switch_words(&prefix)?;
        let marks = Marks::read_for(&root, &products)?;
        let plan = |product: &Product| binaries::plan(&root, *product, Profile::Release, &marks);
        if globals.dry_run {
            let builds = products.iter().map(|product| plan(product).call.to_string());
            let copies = names.iter().map(|name| format!("install {}", prefix.path().join(name.as_path()).display()));
            return process::print_plan(output, &builds.chain(copies).chain([switch]).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let mut built = Vec::new();
        for product in &products {
            built.push(binaries::build(output, &plan(product), Show::All)?);
        }
        let lock = Lock::take(&prefix, output)?;
        let stage = prefix.stage(&lock)?;
        fill(stage.path(), &built)?;
        let number = put_to_use(&prefix, &stage, Change { built: &built, force: self.force, lock: &lock })?;
        report(output, &prefix, number)
    }
}

/// What `put_to_use` needs beside the files.
struct Change<'a> {
    built: &'a [Built],
    force: bool,
    lock: &'a Lock,
}

/// The programs of one version, with workers for these backends. `dist` packs what is installed.
pub fn products(backends: &[Backend]) -> Vec<Product> {
    let workers = backends.iter().copied().map(Product::Worker);
    [Product::Command, Product::Pool, Product::Convert].into_iter().chain(workers).collect()
}

/// What will be there below the prefix, as far as this program knows what the one that is built says about itself.
fn names(products: &[Product]) -> Result<Vec<LinkPath>, Failure> {
    let programs = products.iter().map(|product| Path::new(PROGRAMS).join(product.installed_name()));
    let scripts = Shell::value_variants().iter().filter_map(|shell| shell.place().map(PathBuf::from));
    let paths = programs.chain(scripts).chain(man::places()?);
    paths.map(|path| LinkPath::parse(&path)).collect()
}

/// The last step, which makes everything before it count.
fn switch_words(prefix: &Prefix) -> Result<String, Failure> {
    let current = prefix.current()?.filter(|number| prefix.has(*number));
    let numbers = prefix.numbers();
    let next = numbers.last().map_or(1, |newest| newest.saturating_add(1));
    let dropped: Vec<String> =
        numbers.iter().filter(|number| Some(**number) != current).map(Number::to_string).collect();
    let from = current.map(|current| format!(" from version {current}")).unwrap_or_default();
    let drop = if dropped.is_empty() { String::new() } else { format!(", drop {}", dropped.join(" and ")) };
    let unless = if current.is_some() { ", unless nothing has changed" } else { "" };
    Ok(format!("switch {}{from} to version {next}{drop}{unless}", prefix.home().display()))
}

/// Puts the programs into `folder`, and what the new `llorch` says about itself to shells and to `man`.
///
/// # Errors
/// A file cannot be written, or the new program fails.
pub fn fill(folder: &Path, built: &[Built]) -> Result<(), Failure> {
    let place = |name: &Path| -> Result<PathBuf, Failure> {
        let path = folder.join(name);
        path.parent().map_or(Ok(()), make_folder)?;
        Ok(path)
    };
    let programs = Path::new(PROGRAMS);
    for program in built {
        interrupt::check()?;
        fs_err::copy(&program.path, place(&programs.join(program.product.installed_name()))?)?;
    }
    let command = Call::new(folder.join(programs).join(Product::Command.installed_name()));
    for shell in Shell::value_variants() {
        let Some(file) = shell.place() else { continue };
        let call = command.clone().args(["completions", shell.name()]);
        let ended = call.capture(Group::Own)?;
        if ended.code != 0 {
            return Err(call.failed(ended.code));
        }
        fs_err::write(place(Path::new(file))?, &ended.stdout)?;
    }
    let pages = place(&Path::new(man::FOLDER).join("llorch.1"))?;
    let call = command.args(["--quiet", "man", "--into"]).args(pages.parent());
    match call.capture(Group::Own)?.code {
        0 => Ok(()),
        code => Err(call.failed(code)),
    }
}

/// Makes a version of the stage and switches to it; the one that is there if it is the same.
fn put_to_use(prefix: &Prefix, stage: &Stage, change: Change<'_>) -> Result<Number, Failure> {
    let previous = prefix.current()?.filter(|number| prefix.has(*number));
    let same = match previous {
        // One whose manifest is damaged is replaced, whatever its files.
        Some(number) if prefix.manifest(number).is_ok() && prefix.is_same(number, stage)? => Some(number),
        _ => None,
    };
    let number = match same {
        Some(number) => number,
        None => {
            let stamps = change.built.iter().map(|program| program.stamp.clone()).collect();
            let manifest = Manifest { previous, links: stage.links()?, stamps };
            Links::new(prefix).check_free(&manifest.links, change.force)?;
            prefix.publish(stage, &manifest, change.lock)?
        }
    };
    prefix.switch_to(number, change.force, change.lock)?;
    let before = prefix.manifest(number)?.previous;
    prefix.keep_only(&[Some(number), before].into_iter().flatten().collect::<Vec<_>>(), change.lock)?;
    Ok(number)
}

fn roll_back(globals: &Globals, prefix: &Prefix) -> Result<u8, Failure> {
    let nothing = |why: &str| {
        let failure = Failure::new(format!("nothing to go back to in `{}`: {why}", prefix.path().display()));
        failure.hint(format!("cargo xtask install{}", prefix.option()))
    };
    let current = prefix.current()?.ok_or_else(|| nothing("nothing is installed"))?;
    let before = prefix.manifest(current)?.previous.filter(|number| prefix.has(*number));
    let before = before.ok_or_else(|| nothing("no version is kept from before this one"))?;
    let names = prefix.manifest(before)?.links;
    prefix.check_writable(&names)?;
    Links::new(prefix).check_free(&names, false)?;
    if globals.dry_run {
        let step = format!("switch {} from version {current} to {before}", prefix.home().display());
        return process::print_plan(globals.output, &[step]);
    }
    interrupt::watch()?;
    let lock = Lock::take(prefix, globals.output)?;
    if prefix.current()? != Some(current) {
        return Err(Failure::new("another install has just changed the version in use").hint("look, then try again"));
    }
    prefix.switch_to(before, false, &lock)?;
    report(globals.output, prefix, before)
}

fn report(output: Output, prefix: &Prefix, version: Number) -> Result<u8, Failure> {
    let manifest = prefix.manifest(version)?;
    let programs = manifest.links.iter().filter(|path| path.as_path().starts_with("bin"));
    let files: Vec<PathBuf> = programs.map(|path| prefix.path().join(path.as_path())).collect();
    if !output.json {
        files.iter().try_for_each(|file| output.line(&file.display().to_string()))?;
    }
    let previous = manifest.previous.filter(|number| prefix.has(*number));
    let commit = manifest.stamps.first().map_or("", |stamp| stamp.commit.as_str());
    let back = || format!("; `{} install --rollback{}` goes back", cli::program_name(), prefix.option());
    let back = previous.map(|_| back()).unwrap_or_default();
    output.note(format_args!("version {version} ({commit}) is in use{back}"));
    output.event(&Done { event: "done", version, previous, files })?;
    advise_on_path(output, &prefix.programs());
    Ok(0)
}
