//! Conversions as verbs see them: `llorch-convert` as a child, its progress shown, its result put on record in the store.
//!
//! The work is a program of its own, because it links the tokenizer library: minutes of compiling that no other verb needs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::ProgressBar;
use models::store::manifest::Authority;
use models::store::{Installed, Store};
use models::verify;
use protocol::error::ErrorCode;
use protocol::identifiers::Digest;
use serde::{Deserialize, Serialize};

use crate::binaries::{self, Marks, Plan, Product, Profile, Show};
use crate::failure::Failure;
use crate::output::{Output, transfer_style};
use crate::process::{Call, Group};
use crate::{interrupt, workspace};

/// How matrices can be stored, in the converter's words.
pub const OUTTYPES: [&str; 9] = ["auto", "f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"];

/// What a conversion is told beyond what is converted to what.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `general.name`; guessed where absent.
    pub model_name: Option<String>,
    /// The pre-tokenizer; recognised where absent.
    pub pre: Option<String>,
    /// Whether to leave out what the file was made from.
    pub without_provenance: bool,
    /// Whether weights may be NaN or infinite.
    pub allow_nonfinite: bool,
}

/// The converter's program.
#[derive(Debug)]
pub struct Converter {
    program: PathBuf,
    output: Output,
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// Its hash.
    pub sha256: Digest,
}

/// One line of the converter.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Told {
    Started { bytes_total: u64, resumed_bytes: u64 },
    Progress { bytes_done: u64 },
    Verifying,
    Done { path: PathBuf, size_bytes: u64, sha256: Digest },
    Error { code: Option<ErrorCode>, message: String, hint: Option<String> },
}

/// What we say of it with `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Converting { model: &'a str, bytes: u64, bytes_total: u64 },
    Checking { model: &'a str },
    Converted { model: &'a str, path: &'a Path, size: u64, sha256: String },
}

/// How the converter is built; none outside a checkout.
pub fn plan() -> Result<Option<Plan>, Failure> {
    let Some(root) = workspace::find() else { return Ok(None) };
    let marks = Marks::read(&root)?;
    Ok(Some(binaries::plan(&root, Product::Convert, Profile::Release, &marks)))
}

impl Converter {
    /// Freshly built in a checkout, else the one beside this program.
    pub fn find(output: Output) -> Result<Self, Failure> {
        let program = match plan()? {
            Some(plan) => binaries::build(output, &plan, Show::Work)?.path,
            None => binaries::beside_this_program(Product::Convert)?,
        };
        Ok(Self { program, output })
    }

    /// Converts an installed checkpoint and makes the result what its workers are given.
    pub fn convert_in_store(
        &self,
        store: &Store,
        (installed, outtype): (&Installed, &str),
        options: &Options,
    ) -> Result<Installed, Failure> {
        let conversion = store.convert(installed, outtype)?;
        let manifest = &installed.manifest;
        let source = ["--source-repo".to_owned(), manifest.repo.to_string()];
        let revision = ["--source-revision".to_owned(), manifest.revision.to_string()];
        let call = self.call((&installed.directory, outtype, &conversion.output()), options);
        let hashes = source_hashes(installed)?;
        let hashes = hashes.iter().flat_map(|hash| ["--source-sha256", hash]);
        let converted = self.run(&call.args(source).args(revision).args(hashes), manifest.id.as_str())?;
        Ok(conversion.finish(converted.size_bytes, converted.sha256)?)
    }

    /// Converts a folder into a file that the store knows nothing of.
    pub fn convert_to_file(&self, paths: (&Path, &str, &Path), options: &Options) -> Result<Converted, Failure> {
        let name = paths.2.file_name().context("the output has a name")?.to_string_lossy().into_owned();
        self.run(&self.call(paths, options), &name)
    }

    fn call(&self, (directory, outtype, output): (&Path, &str, &Path), options: &Options) -> Call {
        let mut call = Call::new(&self.program).args(["checkpoint", "--json", "--outtype", outtype]);
        call = call.args(["--output".as_ref(), output.as_os_str(), directory.as_os_str()]);
        let named = [("--model-name", &options.model_name), ("--pre", &options.pre)];
        for (flag, value) in named {
            call = call.args(value.iter().flat_map(|value| [flag, value]));
        }
        if options.without_provenance {
            call = call.args(["--provenance", "none"]);
        }
        if options.allow_nonfinite {
            call = call.args(["--allow-nonfinite"]);
        }
        call
    }

    fn run(&self, call: &Call, model: &str) -> Result<Converted, Failure> {
        self.output.detail(format_args!("$ {call}"));
        let mut shown = Shown { output: self.output, model, bar: self.output.progress(), bytes_total: 0 };
        let mut result = None;
        let ended = call.each_line(Group::Own, &mut |line| match serde_json::from_str(line) {
            Ok(Told::Done { path, size_bytes, sha256 }) => result = Some(Ok(Converted { path, size_bytes, sha256 })),
            Ok(Told::Error { code, message, hint }) => {
                result = Some(Err(Failure::new(message).maybe_code(code).maybe_hint(hint)));
            }
            Ok(told) => shown.show(&told),
            Err(_) => {}
        });
        shown.bar.finish_and_clear();
        let ended = ended.map_err(|failure| match failure.is_interrupt() {
            true => failure.hint("the same command goes on where this one stopped"),
            false => failure,
        })?;
        let converted = result.unwrap_or_else(|| Err(call.failed(ended)))?;
        let Converted { path, size_bytes, sha256 } = &converted;
        let line = Line::Converted { model, path, size: *size_bytes, sha256: sha256.hex() };
        self.output.event(&line)?;
        Ok(converted)
    }
}

/// What the checkpoint's files hash to, as `FILE=HEX`. What nobody has touched since it was verified is not read again for
/// that; anything else is, and must still be what was installed.
fn source_hashes(installed: &Installed) -> Result<Vec<String>, Failure> {
    let mut source = installed.clone();
    // What was converted before may be missing or damaged: that is why it is converted again.
    source.manifest.files.retain(|file| file.checked_against != Authority::Conversion);
    verify::open_model(&source, interrupt::flag())?;
    let files = source.manifest.files.iter().filter(|file| !file.path.as_str().contains('/'));
    Ok(files.map(|file| format!("{}={}", file.path, file.sha256.hex())).collect())
}

/// The progress of one conversion.
struct Shown<'a> {
    output: Output,
    model: &'a str,
    bar: ProgressBar,
    bytes_total: u64,
}

impl Shown<'_> {
    fn show(&mut self, told: &Told) {
        let model = self.model;
        let line = match told {
            Told::Started { bytes_total, resumed_bytes } => {
                self.bytes_total = *bytes_total;
                self.bar.set_style(transfer_style());
                self.bar.set_length(*bytes_total);
                self.bar.set_message(format!("{model}: converting"));
                self.bar.set_position(*resumed_bytes);
                self.bar.reset_eta();
                Line::Converting { model, bytes: *resumed_bytes, bytes_total: *bytes_total }
            }
            Told::Progress { bytes_done } => {
                self.bar.set_position(*bytes_done);
                Line::Converting { model, bytes: *bytes_done, bytes_total: self.bytes_total }
            }
            Told::Verifying => {
                self.bar.set_message(format!("{model}: reading back"));
                Line::Checking { model }
            }
            Told::Done { .. } | Told::Error { .. } => return,
        };
        // A reader that went away is noticed when the result is printed; the conversion is worth finishing.
        let _nobody_reads = self.output.event(&line);
    }
}
