//! `dist`: archives of what `install` installs, for machines that build nothing themselves. How bytes come to be the same each
//! time is `dist/archive.rs`'s, the bill of materials `dist/materials.rs`'s.

use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::identifiers::{Backend, Digest};
use protocol::stamp::Stamp;
use serde::Serialize;

use super::install::{fill, products};
use crate::binaries::{self, Built, Marks, Plan, Product, Profile, Show};
use crate::cli::{self, Globals};
use crate::download::absolute;
use crate::failure::Failure;
use crate::installation::{Lock, files_below, make_folder};
use crate::output::{Output, size_words, transfer_style};
use crate::process::Group;
use crate::scratch::Scratch;
use crate::{git, interrupt, process, workspace};

mod archive;
mod materials;

use archive::{Fingerprint, Parcel};
use materials::{Materials, Subject};

/// Names the moment that files in archives are of (reproducible-builds.org).
const MOMENT_VARIABLE: &str = "SOURCE_DATE_EPOCH";
/// What every archive has beside the programs, and where.
const TEXTS: [(&str, &str); 4] = [
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("LICENSE", "LICENSE"),
    ("README.md", "README.md"),
    ("catalog.toml", "share/llorch/catalog.toml"),
];
const MANIFEST: &str = "manifest.json";
const SUMS: &str = "SHA256SUMS";
/// What is being put together, below the folder it goes to.
const STAGE: &str = ".llorch-dist";

/// Pack the programs into archives for other machines
///
/// One archive a backend, `llorch-<version>-<target>-<backend>.tar.gz`, with what `install` installs, the catalog, the
/// licence and a manifest; a bill of materials beside it (`.cdx.json`, CycloneDX 1.5: every crate that is linked, with
/// licence and checksum); and SHA256SUMS, for `sha256sum -c`.
///
/// The same programs give the same bytes, whoever packs them and when: files are sorted, owned by root and as old as the
/// commit, or as SOURCE_DATE_EPOCH says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dist
  cargo xtask dist --backend cpu --into /tmp/llorch
  cargo xtask dist --remote workstation --sync")]
pub struct Args {
    /// Only for this backend; may be given several times [default: every one that can be built here]
    #[arg(long = "backend", value_name = "BACKEND", value_parser = cli::backend())]
    backends: Vec<Backend>,
    /// Where the archives go [default: target/dist of the checkout]
    #[arg(long, value_name = "PATH")]
    into: Option<PathBuf>,
    /// Programs with checks and without optimisation; the archive's name says so
    #[arg(long)]
    debug: bool,
}

#[derive(Serialize)]
struct Manifest<'a> {
    schema: u32,
    backend: Backend,
    files: Vec<Line>,
    stamps: Vec<&'a Stamp>,
}

/// One file, as the manifest and the events have it.
#[derive(Debug, Clone, Serialize)]
struct Line {
    path: PathBuf,
    size_bytes: u64,
    sha256: Digest,
}

#[derive(Serialize)]
struct Packed<'a> {
    event: &'static str,
    #[serde(flatten)]
    line: &'a Line,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    files: Vec<PathBuf>,
}

/// What is the same for all archives of a run.
struct Run<'a> {
    root: &'a Path,
    output: Output,
    /// Seconds since 1970.
    moment: u64,
    /// The triple that is built for: this machine's.
    target: &'a str,
    stage: &'a Path,
}

impl Line {
    fn new(path: impl Into<PathBuf>, of: Fingerprint) -> Self {
        Self { path: path.into(), size_bytes: of.size_bytes, sha256: of.sha256 }
    }
}

impl Args {
    /// Builds, packs, and puts the files to their place when all of them are whole.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let backends = binaries::chosen(self.backends);
        let profile = if self.debug { Profile::Debug } else { Profile::Release };
        let into = self.into.as_deref().map_or_else(|| workspace::output(&root, "dist"), absolute);
        let programs = products(&backends);
        // Refused before anything is done; read again when it is this run's turn.
        moment(&root)?;
        if globals.dry_run {
            let (plans, _) = plans(&root, &programs, profile)?;
            let builds = plans.iter().map(|plan| plan.call.to_string());
            let packs = backends.iter().map(|backend| format!("pack {backend} into {}", into.display()));
            return process::print_plan(output, &builds.chain(packs).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let elsewhere = |failure: Failure| {
            if failure.is_interrupt() { failure } else { failure.hint("choose another folder with `--into PATH`") }
        };
        make_folder(&into).map_err(elsewhere)?;
        let place = into.join(STAGE);
        let other = format!("another run of dist into `{}`", into.display());
        let lock = Lock::take_in(&place, &other, output).map_err(elsewhere)?;
        let stage = place.join("files");
        // What it is built from is looked at when it is this one's turn.
        let made = plans(&root, &programs, profile).and_then(|(plans, target)| {
            let run = Run { root: &root, output, moment: moment(&root)?, target: &target, stage: &stage };
            publish(output, &into, &stage, &run.make(&plans, &backends)?)
        });
        // The lock last, because who waits for it then makes the folder anew.
        for folder in [&stage, &place] {
            let _left_to_the_next_run = std::fs::remove_dir_all(folder);
        }
        drop(lock);
        made
    }
}

/// How everything is built, and for which target.
fn plans(root: &Path, programs: &[Product], profile: Profile) -> Result<(Vec<Plan>, String), Failure> {
    let marks = Marks::read_for(root, programs)?;
    let plans = programs.iter().map(|product| binaries::plan(root, *product, profile, &marks)).collect();
    Ok((plans, marks.target().to_owned()))
}

/// The moment that files are of: what the environment says, else when the commit was made.
fn moment(root: &Path) -> Result<u64, Failure> {
    let said = std::env::var_os(MOMENT_VARIABLE);
    if let Some(text) = said.filter(|text| !text.is_empty()) {
        let moment = text.to_str().and_then(|text| text.parse::<u64>().ok()).filter(|moment| *moment < 1 << 33);
        return moment.ok_or_else(|| {
            let message = format!("`{MOMENT_VARIABLE}` is `{}`, no number of seconds since 1970", text.display());
            Failure::usage(message).hint(format!("unset {MOMENT_VARIABLE}"))
        });
    }
    let asked = git::call(root).args(["show", "--no-patch", "--format=%ct", "HEAD"]).ask(Group::Shared);
    let moment = asked.ok().filter(|ended| ended.code == 0).and_then(|ended| ended.text().parse().ok());
    moment.ok_or_else(|| {
        let failure = Failure::new("this checkout has no commit to take the time from");
        failure.hint(format!("export {MOMENT_VARIABLE}=\"$(date +%s)\""))
    })
}

impl Run<'_> {
    /// Builds everything, then packs an archive for each backend, in the stage.
    fn make(&self, plans: &[Plan], backends: &[Backend]) -> Result<Vec<Line>, Failure> {
        let _left_by_a_killed_run = std::fs::remove_dir_all(self.stage);
        make_folder(self.stage)?;
        let built = plans.iter().map(|plan| binaries::build(self.output, plan, Show::All));
        let built: Vec<Built> = built.collect::<Result<_, _>>()?;
        let mut lines = Vec::new();
        for backend in backends {
            let is_part = |program: &&Built| !matches!(program.product, Product::Worker(other) if other != *backend);
            lines.extend(self.pack(*backend, &built.iter().filter(is_part).cloned().collect::<Vec<_>>())?);
        }
        if built.iter().any(|program| program.stamp.commit.ends_with("-dirty")) {
            self.output.warning("files differ from the commit: nobody else can build what is in these archives");
        }
        Ok(lines)
    }

    /// One archive and its bill of materials, in the stage.
    fn pack(&self, backend: Backend, built: &[Built]) -> Result<[Line; 2], Failure> {
        let first = &built.first().context("there is nothing to pack")?.stamp;
        let debug = if first.profile == "debug" { "-debug" } else { "" };
        let name = format!("llorch-{}-{}-{backend}{debug}", first.version, self.target);
        let folder = Scratch::at(self.stage.join(&name))?;
        fill(folder.path(), built)?;
        for (from, to) in TEXTS {
            let place = folder.path().join(to);
            place.parent().map_or(Ok(()), make_folder)?;
            fs_err::copy(self.root.join(from), place)?;
        }
        let mut files = Vec::new();
        for file in files_below(folder.path())? {
            interrupt::check()?;
            let fingerprint = archive::fingerprint(&folder.path().join(&file))?;
            files.push(Line::new(file, fingerprint));
        }
        let size_bytes = files.iter().map(|file| file.size_bytes).sum();
        let stamps = built.iter().map(|program| &program.stamp).collect();
        let manifest = Manifest { schema: 1, backend, files, stamps };
        let text = serde_json::to_string_pretty(&manifest).map_err(anyhow::Error::from)?;
        fs_err::write(folder.path().join(MANIFEST), text + "\n")?;
        let packed = format!("{name}.tar.gz");
        let bar = self.output.progress();
        bar.set_style(transfer_style());
        bar.set_length(size_bytes);
        bar.set_message(packed.clone());
        let parcel = Parcel { folder: folder.path(), name: &name, moment: self.moment };
        let archive = parcel.pack(&self.stage.join(&packed), &mut |bytes| bar.set_position(bytes));
        bar.finish_and_clear();
        let subject = Subject { version: &first.version, target: self.target, backend, commit: &first.commit };
        let document = Materials::read(self.root, subject.target, backend)?.document(subject)?;
        let listed = format!("{name}.cdx.json");
        fs_err::write(self.stage.join(&listed), &document)?;
        Ok([Line::new(packed, archive?), Line::new(listed, archive::fingerprint_of(document.as_bytes()))])
    }
}

/// The sums as `sha256sum` writes them: of these files, and of those of earlier runs that are still there.
fn sums(before: &str, lines: &[Line], is_there: &dyn Fn(&str) -> bool) -> String {
    let is_new = |name: &str| lines.iter().any(|line| line.path == Path::new(name));
    let kept = before.lines().filter(|line| {
        line.split_once("  ").is_some_and(|(_, name)| !name.contains('/') && !is_new(name) && is_there(name))
    });
    let new = lines.iter().map(|line| format!("{}  {}", line.sha256.hex(), line.path.display()));
    let mut all: Vec<String> = kept.map(str::to_owned).chain(new).collect();
    all.sort_by_cached_key(|line| line.split_once("  ").map(|(_, name)| name.to_owned()));
    all.into_iter().map(|line| line + "\n").collect()
}

/// Gives the files their place, the sums last, and says which they are.
fn publish(output: Output, into: &Path, stage: &Path, lines: &[Line]) -> Result<u8, Failure> {
    let before = std::fs::read_to_string(into.join(SUMS)).unwrap_or_default();
    let sums = sums(&before, lines, &|name| into.join(name).is_file());
    fs_err::write(stage.join(SUMS), &sums)?;
    let sums = Line::new(SUMS, archive::fingerprint_of(sums.as_bytes()));
    let mut files = Vec::new();
    for line in lines.iter().chain([&sums]) {
        let place = into.join(&line.path);
        fs_err::rename(stage.join(&line.path), &place)?;
        let line = Line { path: place, ..line.clone() };
        output.event(&Packed { event: "packed", line: &line })?;
        if !output.json {
            output.line(&line.path.display().to_string())?;
        }
        files.push(line.path);
    }
    let size_bytes = lines.iter().map(|line| line.size_bytes).sum();
    output.note(format_args!("{} in {} files; `sha256sum -c {SUMS}` checks them", size_words(size_bytes), files.len()));
    output.event(&Done { event: "done", files })?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::{Line, sums};
    use crate::verbs::dist::archive::fingerprint_of;

    #[test]
    fn sums_of_an_earlier_run_stay_while_its_files_do() {
        let line = |name: &str| Line::new(name, fingerprint_of(name.as_bytes()));
        let first = sums("", &[line("b.tar.gz"), line("c.tar.gz")], &|_| true);
        let second = sums(&first, &[line("a.tar.gz"), line("b.tar.gz")], &|_| true);
        let names: Vec<&str> = second.lines().filter_map(|line| Some(line.split_once("  ")?.1)).collect();
        assert_eq!(names, ["a.tar.gz", "b.tar.gz", "c.tar.gz"]);
        assert_eq!(sums(&first, &[line("b.tar.gz")], &|_| false).lines().count(), 1);
        assert_eq!(sums("0  ../x\nnoise\n", &[], &|_| true), "", "nothing outside the folder");
    }
}
