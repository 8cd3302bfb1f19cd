//! `models verify`: hash what is here and compare.

use models::store::Installed;
use models::verify::{Report, verify_with};
use serde::Serialize;

use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::{Output, transfer_style};
use crate::{interrupt, process};
use protocol::error::ErrorCode;

/// Hash the files of models and compare them with what was installed
///
/// Exit code 1 if anything is wrong.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models verify
  cargo xtask models verify smollm2 --json")]
pub struct Args {
    /// Which; all when none is named
    #[arg(value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct Verified {
    event: &'static str,
    model: String,
    good: bool,
    hashed_bytes: u64,
    faults: Vec<String>,
}

#[derive(Serialize)]
struct Done {
    event: &'static str,
    models: usize,
    damaged: Vec<String>,
}

impl Args {
    /// Checks every model that was named, damaged ones do not end it.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let mut damaged = Vec::new();
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
            if !report.is_good() {
                damaged.push(report.id.to_string());
            }
        }
        if damaged.is_empty() {
            globals.output.event(&Done { event: "done", models, damaged })?;
            return Ok(0);
        }
        let message =
            format!("{} damaged: {}", if damaged.len() == 1 { "1 model is" } else { "models are" }, damaged.join(", "));
        Err(Failure::coded(ErrorCode::ModelInvalid, message)
            .hint("fetch them again: `cargo xtask models download ID --force`"))
    }
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
        let (model, hashed_bytes) = (report.id.to_string(), report.hashed_bytes);
        return output.value(&Verified { event: "verified", model, good: report.is_good(), hashed_bytes, faults });
    }
    if report.is_good() {
        return output.line(&format!("{}: good", report.id));
    }
    faults.iter().try_for_each(|fault| output.line(&format!("{}: {fault}", report.id)))
}
