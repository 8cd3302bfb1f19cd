//! The end of every conversion: the file reads back as what was to be written, and its tokenizer as tokenizer.json.
//!
//! [`file`] is the same as a verb of its own, over every row, optionally against the checkpoint again.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use gguf::Gguf;
use sha2::{Digest, Sha256};
use text::TokenizerError;

use crate::blocks::Encoding;
use crate::checkpoint::{self, Loaded};
use crate::error::ConvertError;
use crate::event::Report;
use crate::pipeline::{Buffers, Run};
use crate::plan::Plan;
use crate::provenance;
use crate::source::hex;

/// Rows of a tensor that are compared after a conversion: the first, the last, and some in between.
const SAMPLED_ROWS: u64 = 16;
/// Elements of a vector that are compared at once.
const VECTOR_ELEMENTS: u64 = 4_096;

/// Texts whose tokens are compared. They hold what pre-tokenizers treat differently: digits, contractions, runs of
/// spaces, line ends, scripts without spaces, emoji.
const CORPUS: [&str; 8] = [
    "The quick brown fox jumps over the lazy dog.",
    "It's 1999, isn't it? We'll see: 3.14159, 1,000,000 and 0x1F.",
    "    four spaces\n\n\ttab and\r\nline ends   \n",
    "fn main() { println!(\"{}\", i32::MAX >> 1); } // comment",
    "Größe, naïve café, où est la bibliothèque ?",
    "猫が好きです。我想在apple工作1314151天",
    "нещо на Български — नमस्ते — שלום",
    "🚀 👩‍👩‍👧‍👦 🏳️‍🌈 e\u{301}\u{327}",
];

/// Refuses values that are not finite, or that `to` cannot hold.
pub(crate) fn finite(values: &[f32], to: Encoding, tensor: &str) -> Result<(), ConvertError> {
    const EXPONENT: u32 = 0x7f80_0000;
    let refuse = |reason: String| Err(ConvertError::NotFinite { tensor: tensor.to_owned(), reason });
    // Without a branch a value, so that the usual case runs at the speed of memory.
    let largest = values.iter().fold(0_u32, |largest, value| largest.max(value.to_bits() & 0x7fff_ffff));
    if largest >= EXPONENT {
        let found = values.iter().find(|value| !value.is_finite()).copied().unwrap_or(f32::NAN);
        return refuse(format!("has a weight that is {found}"));
    }
    // From half a step above the largest half-precision number on, rounding gives infinity.
    if to == Encoding::F16 && f32::from_bits(largest) >= 65_520.0 {
        return refuse(format!("has a weight of magnitude {}, which F16 cannot hold", f32::from_bits(largest)));
    }
    Ok(())
}

/// Compares a complete output with its plan.
pub(crate) fn output(plan: &Plan, layout: &gguf::Layout, path: &Path, run: Run<'_>) -> Result<(), ConvertError> {
    compare(plan, layout, path, (run, true))
}

fn failed(reason: impl Into<String>) -> ConvertError {
    ConvertError::CheckFailed { reason: reason.into() }
}

fn sha256(path: &Path, run: Run<'_>) -> Result<String, ConvertError> {
    let mut file = File::open(path).map_err(ConvertError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        run.proceed()?;
        match file.read(&mut buffer).map_err(ConvertError::io("read", path))? {
            0 => return Ok(hex(&hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Reads the file as anybody would and compares rows with the source: a sample of each tensor, or all.
fn compare(
    plan: &Plan,
    layout: &gguf::Layout,
    path: &Path,
    (run, sampled): (Run<'_>, bool),
) -> Result<(), ConvertError> {
    let gguf = Gguf::open(path).map_err(|error| failed(error.to_string()))?;
    if gguf.map().get(..layout.header.len()) != Some(&layout.header) {
        return Err(failed("its header differs"));
    }
    // Read by position: rows here and there of a mapping would count as memory, with every page around them.
    let file = File::open(path).map_err(ConvertError::io("open", path))?;
    let (mut buffers, mut stored, mut decoded) = (Buffers::default(), Vec::new(), Vec::new());
    for (index, tensor) in plan.tensors.iter().enumerate() {
        run.proceed()?;
        let info = gguf.require(&tensor.name).map_err(|error| failed(error.to_string()))?;
        let (rows, columns) = tensor.rows_and_columns();
        let row_bytes = layout.spans[index].1 / rows;
        for (first_row, count) in places(rows, columns, sampled) {
            let expected = buffers.rows(plan, index, (first_row, count))?;
            stored.resize(expected.len(), 0);
            file.read_exact_at(&mut stored, info.offset + first_row * row_bytes)
                .map_err(ConvertError::io("read", path))?;
            if stored != expected {
                return Err(failed(format!("tensor `{}` differs at row {first_row}", tensor.name)));
            }
            let Some(encoding) = Encoding::of(info.ggml_type) else { continue };
            decoded.resize((count * columns) as usize, 0.0);
            encoding.decode(&stored, &mut decoded);
            if !plan.allow_nonfinite {
                finite(&decoded, Encoding::F32, &tensor.name)?;
                near(buffers.values(), &decoded, encoding)
                    .map_err(|reason| failed(format!("tensor `{}`, row {first_row}: {reason}", tensor.name)))?;
            }
        }
    }
    Ok(())
}

/// Which rows are looked at, in pieces of a bounded size: a sample, or all.
fn places(rows: u64, columns: u64, sampled: bool) -> Vec<(u64, u64)> {
    let step = (crate::plan::CHUNK_ELEMENTS / columns).max(1);
    if !sampled {
        return (0..rows).step_by(step as usize).map(|first| (first, step.min(rows - first))).collect();
    }
    if columns == 1 {
        let count = VECTOR_ELEMENTS.min(rows);
        return vec![(0, count), (rows - count, count)];
    }
    let places = SAMPLED_ROWS.min(rows);
    (0..places).map(|index| (if places == 1 { 0 } else { index * (rows - 1) / (places - 1) }, 1)).collect()
}

/// Whether what was decoded is what was encoded, as closely as the encoding can be.
fn near(values: &[f32], decoded: &[f32], encoding: Encoding) -> Result<(), String> {
    if values.len() != decoded.len() {
        return Ok(());
    }
    let block = encoding.block_elements();
    // Numbers below the smallest of half precision are lost there, scales included.
    const SMALLEST: f32 = 6.0e-8;
    for (values, decoded) in values.chunks(block).zip(decoded.chunks(block)) {
        let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let allowed = largest * encoding.tolerance() + if encoding == Encoding::F32 { 0.0 } else { SMALLEST * 128.0 };
        for (value, decoded) in values.iter().zip(decoded) {
            if (value - decoded).abs() > allowed {
                return Err(format!("{value} became {decoded}"));
            }
        }
    }
    Ok(())
}

/// Compares the tokenizer of a finished file with tokenizer.json; says why where that cannot be done.
pub(crate) fn tokenizer_of(plan: &Plan, path: &Path) -> Result<String, ConvertError> {
    let Some(json) = &plan.tokenizer_json else { return Ok("not checked: there is no tokenizer.json".to_owned()) };
    let gguf = Gguf::open(path).map_err(|error| failed(error.to_string()))?;
    let ours = match text::Tokenizer::from_gguf(gguf.metadata()) {
        Ok(ours) => ours,
        Err(error @ (TokenizerError::UnknownModel { .. } | TokenizerError::UnknownPreTokenizer { .. })) => {
            return Ok(format!("not checked: {error}"));
        }
        Err(error) => return Err(ConvertError::tokenizer(json, error.to_string())),
    };
    let theirs = match checkpoint::load_tokenizer(json)? {
        Loaded::Tokenizer(theirs) => theirs,
        Loaded::Incomparable(reason) => return Ok(format!("not checked: {reason}")),
    };
    for text in CORPUS {
        let encoded = catch_unwind(AssertUnwindSafe(|| theirs.encode_fast(text, false)));
        let Ok(Ok(theirs)) = encoded else {
            return Err(ConvertError::tokenizer(json, "the tokenizer library cannot encode with it"));
        };
        let ours = ours.encode(text).map_err(|error| failed(error.to_string()))?;
        // Ours puts the first token in front where the model wants one.
        let extra = ours.len().saturating_sub(theirs.get_ids().len()).min(1);
        if ours[extra..] != *theirs.get_ids() {
            return Err(failed(format!("its tokenizer cuts {text:?} differently than tokenizer.json")));
        }
    }
    Ok("ok".to_owned())
}

/// Checks a file: every tensor decodes to finite numbers; with a request, every row is what converting the checkpoint again
/// gives.
///
/// # Errors
/// See [`ConvertError`].
pub fn file(
    path: &Path,
    against: Option<&checkpoint::Request<'_>>,
    cancel: &AtomicBool,
) -> Result<Report, ConvertError> {
    let run = Run { output: path, threads: 0, cancel };
    let gguf = Gguf::open(path).map_err(|error| ConvertError::invalid(path, error.to_string()))?;
    let mut types = std::collections::BTreeMap::new();
    let mut decoded = Vec::new();
    for info in gguf.tensors() {
        *types.entry(info.ggml_type.name().into_owned()).or_default() += 1;
        let Some(encoding) = Encoding::of(info.ggml_type) else { continue };
        let chunk = encoding.bytes_of(crate::plan::CHUNK_ELEMENTS as usize);
        for bytes in gguf.tensor_bytes(info).chunks(chunk) {
            run.proceed()?;
            decoded.resize(bytes.len() / encoding.block_bytes() * encoding.block_elements(), 0.0);
            encoding.decode(bytes, &mut decoded);
            finite(&decoded, Encoding::F32, &info.name)?;
        }
    }
    let mut tokenizer = "not checked: no checkpoint was given".to_owned();
    if let Some(request) = against {
        let mut plan = checkpoint::plan(request)?;
        if let Some(metadata) = provenance::complete(&plan, &|| run.proceed())? {
            plan.metadata = metadata;
        }
        compare(&plan, &plan.layout()?, path, (run, false))?;
        tokenizer = tokenizer_of(&plan, path)?;
    }
    Ok(Report {
        path: path.to_owned(),
        size_bytes: gguf.header().file_len,
        sha256: sha256(path, run)?,
        tensors: gguf.tensors().len() as u64,
        types,
        tokenizer,
    })
}
