//! The part of `bench models` that converts a checkpoint beside the reference converter.

use std::path::{Path, PathBuf};

use anyhow::Context;
use gguf::Gguf;

use super::{Bench, Table, run_setup};
use crate::binaries::{self, Marks, Product, Profile, Show};
use crate::download::absolute;
use crate::failure::Failure;
use crate::process::Call;
use crate::side_by_side::Contender;

/// What a conversion is compared with; without these, none is.
#[derive(Debug, clap::Args)]
pub struct ConversionArgs {
    /// Convert this checkpoint too, beside the reference converter
    #[arg(long, value_name = "DIR", requires = "reference_source")]
    checkpoint: Option<PathBuf>,
    /// Where `convert_hf_to_gguf.py` lies, with the parts it imports
    #[arg(long, value_name = "DIR", requires = "checkpoint")]
    reference_source: Option<PathBuf>,
    /// A Python that can run it: torch, transformers, sentencepiece
    #[arg(long, value_name = "PATH", default_value = "python3")]
    reference_python: PathBuf,
    /// The checkpoint's pre-tokenizer, in the converters' words
    #[arg(long, value_name = "NAME", default_value = "smollm")]
    pre: String,
}

impl Bench {
    /// Ours beside the reference, f32 and the smallest type that the reference writes itself.
    pub(super) fn conversions(&self, root: &Path, args: &ConversionArgs) -> Result<Vec<Table>, Failure> {
        let (Some(checkpoint), Some(source)) = (&args.checkpoint, &args.reference_source) else {
            return Ok(Vec::new());
        };
        let marks = Marks::read(root)?;
        let plan = binaries::plan(root, Product::Convert, Profile::Release, &marks);
        let converter = binaries::build(self.output, &plan, Show::Work)?.path;
        let script = root.join("crates/convert/tests/golden/make.py");
        let checkpoint = absolute(checkpoint);
        let mut tables = Vec::new();
        for outtype in ["f32", "q8_0"] {
            let file = |name: &str| self.scratch.path().join(name);
            let ours = |provenance: &str| {
                let words = ["checkpoint", "--outtype", outtype, "--pre", &args.pre, "--provenance", provenance];
                let paths =
                    ["--output".into(), file("ours.gguf").into_os_string(), checkpoint.clone().into_os_string()];
                Call::new(&converter).args(words).args(paths)
            };
            run_setup(self.output, &ours("full"))?;
            let known = source_hashes(&file("ours.gguf"))?;
            let known = known.iter().flat_map(|hash| ["--source-sha256", hash]);
            let reference = Call::new(&args.reference_python).args([script.as_os_str(), "_run".as_ref()]);
            let reference = reference.args([source.as_os_str(), args.pre.as_ref(), "--".as_ref()]);
            let reference = reference.args([checkpoint.as_os_str(), "--outtype".as_ref(), outtype.as_ref()]);
            let reference = reference.args(["--outfile".as_ref(), file("reference.gguf").as_os_str()]);
            let reference = reference.args(["--model-name", "Bench"]).env("HF_HUB_OFFLINE", "1");
            let prepare = || self.without("ours.gguf");
            let contenders = vec![
                // As the store calls it.
                Contender {
                    name: "llorch-convert, source verified before",
                    call: ours("full").args(known),
                    prepare: prepare(),
                },
                // Hashes the source too.
                Contender { name: "llorch-convert", call: ours("full"), prepare: prepare() },
                Contender { name: "llorch-convert --provenance none", call: ours("none"), prepare: prepare() },
                Contender { name: "convert_hf_to_gguf.py", call: reference, prepare: self.without("reference.gguf") },
            ];
            let name = checkpoint.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tables.push(
                self.compare(format!("Conversion of {name} to {outtype} (ours hashes and reads back)"), contenders)?,
            );
        }
        Ok(tables)
    }
}

/// What the converter found the source to hash to, as it is told when somebody knows.
fn source_hashes(converted: &Path) -> Result<Vec<String>, Failure> {
    let file = Gguf::open(converted).context("cannot read the converted file")?;
    let list = |key: &str| file.metadata().string_array(key).context("the converted file has no provenance");
    let (files, hashes) = (list("llorch.source.files")?, list("llorch.source.sha256")?);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(files.iter().zip(hashes.iter()).map(|(file, hash)| format!("{}={}", text(file), text(hash))).collect())
}
