//! What will be written, decided before anything is: metadata, tensors in order, and where each one's rows come from.

use gguf::{TensorSpec, TensorType, Value};

use crate::blocks::Encoding;
use crate::error::ConvertError;
use crate::source::{SourceFile, Stored};

/// Elements that are read, converted and written at once. A thread holds them three times (stored, f32, encoded), which is
/// 3 MiB; with [`MAX_THREADS`] and the panels of transposed matrices (30 MiB) that stays below the 128 MiB the whole conversion may take.
pub(crate) const CHUNK_ELEMENTS: u64 = 256 * 1024;

/// Most threads; beyond, a disk is the limit.
pub(crate) const MAX_THREADS: usize = 24;

/// A whole output file.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) metadata: Vec<(String, Value)>,
    pub(crate) tensors: Vec<Planned>,
    /// What [`Stored::file`] refers to.
    pub(crate) files: Vec<SourceFile>,
    /// Hashes that the provenance still lacks: place in its list, index into `files`.
    pub(crate) unhashed: Vec<(usize, usize)>,
    /// Take weights that are not finite.
    pub(crate) allow_nonfinite: bool,
    /// What the finished file's tokenizer is compared with.
    pub(crate) tokenizer_json: Option<std::path::PathBuf>,
}

/// A tensor of the output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Planned {
    /// Name in the output.
    pub(crate) name: String,
    /// Name in the source, for errors.
    pub(crate) source_name: String,
    /// Dimensions in GGUF order, row length first.
    pub(crate) shape: Vec<u64>,
    pub(crate) content: Content,
}

/// What a tensor consists of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// Rows of a stored tensor, encoded anew.
    Encoded { from: Stored, to: Encoding },
    /// Bytes of a file as they are, of a type that is not computed with here.
    Copied { file: usize, offset: u64, tensor_type: TensorType },
    /// Numbers that come from the configuration, written as F32.
    Computed(Vec<f32>),
}

impl Planned {
    pub(crate) fn tensor_type(&self) -> TensorType {
        match &self.content {
            Content::Encoded { to, .. } => to.tensor_type(),
            Content::Copied { tensor_type, .. } => *tensor_type,
            Content::Computed(_) => TensorType::F32,
        }
    }

    pub(crate) fn spec(&self) -> TensorSpec {
        TensorSpec { name: self.name.clone(), shape: self.shape.clone(), ggml_type: self.tensor_type() }
    }

    /// Number of elements.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product, dimension| product.saturating_mul(*dimension))
    }

    /// Rows and elements of a row; a vector is one row, except where its elements change places.
    pub(crate) fn rows_and_columns(&self) -> (u64, u64) {
        if let Content::Encoded { from, .. } = &self.content {
            return (from.rows, from.columns);
        }
        let columns = self.shape.first().copied().unwrap_or(1).max(1);
        (self.elements() / columns, columns)
    }

    /// Rows that are handled at once: the same in every run, because checksums in the journal depend on it.
    pub(crate) fn chunk_rows(&self) -> u64 {
        (CHUNK_ELEMENTS / self.rows_and_columns().1).max(1)
    }
}

impl Plan {
    /// The layout of the output file.
    pub(crate) fn layout(&self) -> Result<gguf::Layout, ConvertError> {
        self.layout_with(&self.metadata)
    }

    /// The same with other metadata.
    pub(crate) fn layout_with(&self, metadata: &[(String, Value)]) -> Result<gguf::Layout, ConvertError> {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(Planned::spec).collect();
        gguf::Layout::new(metadata, &specs)
            .map_err(|error| ConvertError::unsupported(format!("the output would not be a GGUF file: {error}")))
    }

    /// How many tensors of each type there are.
    pub(crate) fn types(&self) -> std::collections::BTreeMap<String, u64> {
        let mut types = std::collections::BTreeMap::new();
        for tensor in &self.tensors {
            *types.entry(tensor.tensor_type().name().into_owned()).or_default() += 1;
        }
        types
    }
}
