//! `models verify`: hash what is here and compare; with `--repair`, fetch again what is wrong.

use models::store::Installed;
use models::verify::{Fault, Report, discard_faulty, verify_with};
use protocol::catalog::FileName;
use protocol::error::ErrorCode;
use serde::Serialize;

use crate::cli::Globals;
use crate::conversion::{Converter, Options};
use crate::download::{Board, Shelf, Wanted};
use crate::failure::Failure;
use crate::output::{Output, transfer_style};
use crate::{interrupt, process};

/// Hash the files of models and compare them with what was installed
///
/// Exit code 1 if anything is wrong. With `--repair`, only the damaged parts of a file are fetched again where it is known
/// which they are, and the whole is hashed once more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models verify
  cargo xtask models verify smollm2 --json
  cargo xtask models verify smollm2 --repair")]
pub struct Args {
    /// Which; all when none is named
    #[arg(value_name = "MODEL")]
    ids: Vec<String>,
    /// Fetch again what is damaged
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct Verified {
    event: &'static str,
    model: String,
    good: bool,
    hashed_bytes: u64,
    /// For people.
    faults: Vec<String>,
    /// The same for programs.
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    kind: &'static str,
    path: String,
    /// Start and end of what is wrong; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<Vec<(u64, u64)>>,
}

#[derive(Serialize)]
struct Repaired<'a> {
    event: &'static str,
    model: &'a str,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    models: usize,
    damaged: Vec<String>,
    repaired: Vec<String>,
}

impl Args {
    /// Checks every model that was named, damaged ones do not end it.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let (mut damaged, mut repaired, mut known) = (Vec::new(), Vec::new(), Vec::new());
        let installed = if self.ids.is_empty() {
            let listing = shelf.store.list()?;
            for faulty in &listing.faulty {
                globals.output.warning(format_args!("`{}`: {}", faulty.path.display(), faulty.reason));
                damaged.push(faulty.path.display().to_string());
            }
            listing.models
        } else {
            let require = |name: &String| Ok(shelf.store.require(&shelf.id_of(name)?)?);
            self.ids.iter().map(require).collect::<Result<Vec<_>, Failure>>()?
        };
        if globals.dry_run {
            let step = |model: &Installed| format!("hash {}", model.directory.display());
            return process::print_plan(globals.output, &installed.iter().map(step).collect::<Vec<_>>());
        }
        interrupt::watch()?;
        let models = installed.len();
        for model in installed {
            let report = check(globals.output, &model)?;
            print(globals.output, &report)?;
            if report.is_good() {
                continue;
            }
            match self.repair.then(|| repair(&shelf, globals.output, (&model, &report))) {
                Some(Ok(())) => repaired.push(report.id.to_string()),
                Some(Err(failure)) if failure.is_interrupt() => return Err(failure),
                Some(Err(failure)) => {
                    known.push(format!("{}: {}", report.id, failure.message));
                    damaged.push(report.id.to_string());
                }
                None => damaged.push(report.id.to_string()),
            }
        }
        if damaged.is_empty() {
            globals.output.event(&Done { event: "done", models, damaged, repaired })?;
            return Ok(0);
        }
        let message =
            format!("{} damaged: {}", if damaged.len() == 1 { "1 model is" } else { "models are" }, damaged.join(", "));
        let hint = match self.repair {
            false => "fetch again what is wrong: `cargo xtask models verify ID --repair`",
            true => "fetch them again: `cargo xtask models download ID --force`",
        };
        Err(Failure::coded(ErrorCode::ModelInvalid, message).known(known).hint(hint))
    }
}

/// Fetches what is damaged, from wherever the same bytes can be had.
fn repair(shelf: &Shelf, output: Output, (model, report): (&Installed, &Report)) -> Result<(), Failure> {
    let strays: Vec<String> =
        report.faults.iter().filter(|fault| fault.file().is_none()).map(ToString::to_string).collect();
    if report.faults.len() > strays.len() {
        let known = shelf.catalog.find(model.manifest.id.as_str()).ok();
        let wanted = Wanted { entry: model.manifest.as_entry(known), sources: shelf.sources()?, force: false };
        discard_faulty(&shelf.store, model, report)?;
        let installed = shelf.download(&wanted, &Board::new(output, std::slice::from_ref(&wanted)))?;
        convert_again(shelf, output, (model, &installed))?;
    }
    if !strays.is_empty() {
        // Whose they are nobody knows: they are not ours to remove.
        return Err(Failure::new(strays.join("; ")));
    }
    let id = report.id.as_str();
    output.event(&Repaired { event: "repaired", model: id })?;
    if !output.json {
        output.line(&format!("{id}: repaired"))?;
    }
    Ok(())
}

/// What was made here is not fetched but made again, the newest last, so that it is what workers get.
fn convert_again(shelf: &Shelf, output: Output, (before, now): (&Installed, &Installed)) -> Result<(), Failure> {
    let made: Vec<&FileName> = before.manifest.converted().map(|file| &file.path).collect();
    for file in made.into_iter().rev() {
        let name = file.as_str().strip_prefix(&format!("{}-", before.manifest.id));
        let outtype = name.and_then(|name| name.strip_suffix(".gguf")).unwrap_or("auto");
        Converter::find(output)?.convert_in_store(&shelf.store, (now, outtype), &Options::default())?;
    }
    Ok(())
}

fn check(output: Output, model: &Installed) -> Result<Report, Failure> {
    let bar = output.progress();
    bar.set_style(transfer_style());
    bar.set_length(model.size_bytes());
    bar.set_message(model.manifest.id.to_string());
    let report = verify_with(model, &mut |bytes| bar.set_position(bytes), interrupt::flag());
    bar.finish_and_clear();
    Ok(report?)
}

fn print(output: Output, report: &Report) -> Result<(), Failure> {
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    if output.json {
        let (model, hashed_bytes, details) =
            (report.id.to_string(), report.hashed_bytes, report.faults.iter().map(detail));
        let (good, details) = (report.is_good(), details.collect());
        return output.value(&Verified { event: "verified", model, good, hashed_bytes, faults, details });
    }
    if report.is_good() {
        return output.line(&format!("{}: good", report.id));
    }
    faults.iter().try_for_each(|fault| output.line(&format!("{}: {fault}", report.id)))
}

fn detail(fault: &Fault) -> Detail {
    let kind = match fault {
        Fault::Missing { .. } => "missing",
        Fault::Size { .. } => "size",
        Fault::Content { .. } => "content",
        Fault::Unreadable { .. } => "unreadable",
        Fault::Extra { .. } => "extra",
    };
    let path = match fault {
        Fault::Extra { path } => path.display().to_string(),
        Fault::Missing { file }
        | Fault::Size { file, .. }
        | Fault::Content { file, .. }
        | Fault::Unreadable { file, .. } => file.to_string(),
    };
    let damaged = fault.damaged().map(|parts| parts.iter().map(|part| (part.start, part.end)).collect());
    Detail { kind, path, damaged }
}
