//! The command line: what can be typed, turned into typed requests.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::check;
use crate::checkpoint::{self, Outtype, Provenance, SourceHash};
use crate::error::{Code, ConvertError};
use crate::event::Event;
use crate::print::Output;
use crate::quantize::{self, QuantizeType};
use crate::signals;

/// Convert checkpoints to GGUF, and GGUF to smaller GGUF
///
/// An interrupted run goes on where it stopped. The output has its name only when it is complete and checked.
#[derive(Debug, Parser)]
#[command(name = "llorch-convert", disable_version_flag = true, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// Print one JSON event a line to standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print what this program is, built for and from
    #[arg(long, short = 'V')]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  llorch-convert checkpoint ./gpt2 --outtype f32 --output gpt2-f32.gguf
  llorch-convert quantize model-f16.gguf --type q4_k_m --output model-q4.gguf
  llorch-convert check model-q4.gguf --json";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Convert a directory with config.json and safetensors
    Checkpoint(CheckpointArgs),
    /// Make a GGUF file smaller
    Quantize(QuantizeArgs),
    /// Read every tensor of a GGUF file back
    Check(CheckArgs),
}

/// `--outtype`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OuttypeName {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8_0,
    /// What the checkpoint has, bf16 or f16
    Auto,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k_m")]
    Q4KM,
    #[value(name = "q5_k_m")]
    Q5KM,
    #[value(name = "q6_k")]
    Q6K,
}

impl OuttypeName {
    fn outtype(self) -> Outtype {
        match self {
            OuttypeName::F32 => Outtype::F32,
            OuttypeName::F16 => Outtype::F16,
            OuttypeName::Bf16 => Outtype::Bf16,
            OuttypeName::Q8_0 => Outtype::Q8_0,
            OuttypeName::Auto => Outtype::Auto,
            OuttypeName::Q4_0 => Outtype::Quantized(QuantizeType::Q4_0),
            OuttypeName::Q4KM => Outtype::Quantized(QuantizeType::Q4KM),
            OuttypeName::Q5KM => Outtype::Quantized(QuantizeType::Q5KM),
            OuttypeName::Q6K => Outtype::Quantized(QuantizeType::Q6K),
        }
    }
}

/// `--type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeName {
    #[value(name = "f32")]
    F32,
    #[value(name = "f16")]
    F16,
    #[value(name = "bf16")]
    Bf16,
    #[value(name = "q4_0")]
    Q4_0,
    #[value(name = "q4_k_m")]
    Q4KM,
    #[value(name = "q5_k_m")]
    Q5KM,
    #[value(name = "q6_k")]
    Q6K,
    #[value(name = "q8_0")]
    Q8_0,
}

impl TypeName {
    fn quantize_type(self) -> QuantizeType {
        match self {
            TypeName::F32 => QuantizeType::F32,
            TypeName::F16 => QuantizeType::F16,
            TypeName::Bf16 => QuantizeType::Bf16,
            TypeName::Q4_0 => QuantizeType::Q4_0,
            TypeName::Q4KM => QuantizeType::Q4KM,
            TypeName::Q5KM => QuantizeType::Q5KM,
            TypeName::Q6K => QuantizeType::Q6K,
            TypeName::Q8_0 => QuantizeType::Q8_0,
        }
    }
}

/// How much is said about the source in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProvenanceName {
    /// Repository, commit, hash of every file, converter
    Full,
    /// Nothing
    None,
}

/// What every conversion can be told.
#[derive(Debug, Clone, Copy, Args)]
struct ConversionArgs {
    /// Write what the file was made from into it
    #[arg(long, value_enum, default_value = "full")]
    provenance: ProvenanceName,
    /// Convert weights that are NaN or infinite
    #[arg(long)]
    allow_nonfinite: bool,
    /// Threads (default: one a processor)
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024))]
    threads: u16,
}

#[derive(Debug, Args)]
struct SourceArgs {
    /// `general.name` (default: guessed from the checkpoint)
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Pre-tokenizer (default: recognised from tokenizer.json)
    #[arg(long, value_name = "NAME")]
    pre: Option<String>,
    /// Repository the checkpoint came from
    #[arg(long, value_name = "ORG/NAME")]
    source_repo: Option<String>,
    /// Commit of that repository
    #[arg(long, value_name = "COMMIT")]
    source_revision: Option<String>,
    /// SHA-256 of a file that was verified and has not changed since; it is not hashed again
    #[arg(long, value_name = "FILE=HEX")]
    source_sha256: Vec<SourceHash>,
    #[command(flatten)]
    conversion: ConversionArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  llorch-convert checkpoint ./granite --outtype auto --output granite-bf16.gguf --source-repo ibm-granite/granite-4.0-micro")]
struct CheckpointArgs {
    /// The checkpoint
    directory: PathBuf,
    /// How matrices are stored
    #[arg(long, value_enum)]
    outtype: OuttypeName,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  llorch-convert quantize model-f16.gguf --type q4_k_m --output model-q4.gguf")]
struct QuantizeArgs {
    /// A GGUF file of F32, F16 or BF16
    input: PathBuf,
    /// The mixture of encodings
    #[arg(long = "type", value_enum)]
    to: TypeName,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Take an input that is quantized already
    #[arg(long)]
    allow_requantize: bool,
    #[command(flatten)]
    conversion: ConversionArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  llorch-convert check gpt2-f32.gguf --against ./gpt2 --outtype f32")]
struct CheckArgs {
    /// A GGUF file
    file: PathBuf,
    /// Compare every row with this checkpoint
    #[arg(long, value_name = "DIR", requires = "outtype")]
    against: Option<PathBuf>,
    /// How the file was converted from it
    #[arg(long, value_enum)]
    outtype: Option<OuttypeName>,
    #[command(flatten)]
    source: SourceArgs,
}

/// What `--version --json` prints; the shape of `protocol::stamp`.
#[derive(Debug, Serialize)]
struct Stamp {
    program: &'static str,
    version: &'static str,
    features: [&'static str; 0],
    commit: &'static str,
    target: &'static str,
    profile: &'static str,
}

const STAMP: Stamp = Stamp {
    program: "llorch-convert",
    version: env!("CARGO_PKG_VERSION"),
    features: [],
    // A match, because `Option::unwrap_or` is not a constant function.
    commit: match option_env!("LLORCH_BUILD_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
    target: match option_env!("LLORCH_BUILD_TARGET") {
        Some(target) => target,
        None => "unknown",
    },
    profile: if cfg!(debug_assertions) { "debug" } else { "release" },
};

impl Cli {
    /// Does what was asked and prints how it went; the answer is the exit code.
    #[must_use]
    pub fn run(self) -> u8 {
        let output = Output { json: self.json };
        if self.version {
            if self.json {
                output.json_line(&STAMP);
            } else {
                output.line(&format!("{} {} ({}, {})", STAMP.program, STAMP.version, STAMP.commit, STAMP.profile));
            }
            return 0;
        }
        let Some(verb) = self.verb else {
            output.failure(Code::InvalidParams, "no verb was given", Some("see `llorch-convert --help`"));
            return Code::InvalidParams.exit_code();
        };
        match verb.run(output) {
            Ok(()) => 0,
            Err(error) => {
                output.error(&error);
                error.code().exit_code()
            }
        }
    }
}

impl SourceArgs {
    fn request<'a>(
        &'a self,
        directory: &'a std::path::Path,
        output: &'a std::path::Path,
        outtype: OuttypeName,
    ) -> checkpoint::Request<'a> {
        let (repository, revision) = (self.source_repo.as_deref(), self.source_revision.as_deref());
        let details = Provenance { repository, revision, hashes: &self.source_sha256 };
        let ConversionArgs { provenance, allow_nonfinite, threads } = self.conversion;
        checkpoint::Request {
            directory,
            output,
            outtype: outtype.outtype(),
            model_name: self.model_name.as_deref(),
            pre: self.pre.as_deref(),
            provenance: (provenance == ProvenanceName::Full).then_some(details),
            allow_nonfinite,
            threads: usize::from(threads),
        }
    }
}

impl Verb {
    fn run(self, output: Output) -> Result<(), ConvertError> {
        let no_handler =
            |source| ConvertError::Io { action: "catch signals for", path: "llorch-convert".into(), source };
        let cancel = signals::cancel_flag().map_err(no_handler)?;
        let mut observer = |event: Event| output.event(&event);
        match self {
            Verb::Checkpoint(args) => {
                let request = args.source.request(&args.directory, &args.output, args.outtype);
                checkpoint::convert(&request, &mut observer, &cancel).map(drop)
            }
            Verb::Quantize(args) => {
                let ConversionArgs { provenance, allow_nonfinite, threads } = args.conversion;
                let request = quantize::Request {
                    input: &args.input,
                    output: &args.output,
                    to: args.to.quantize_type(),
                    allow_requantize: args.allow_requantize,
                    provenance: provenance == ProvenanceName::Full,
                    allow_nonfinite,
                    threads: usize::from(threads),
                };
                quantize::quantize(&request, &mut observer, &cancel).map(drop)
            }
            Verb::Check(args) => {
                let request = match (&args.against, args.outtype) {
                    (Some(directory), Some(outtype)) => Some(args.source.request(directory, &args.file, outtype)),
                    _ => None,
                };
                let report = check::file(&args.file, request.as_ref(), &cancel)?;
                output.event(&Event::Done(report));
                Ok(())
            }
        }
    }
}
