//! Loading: from a file to a backend with its program, everything checked before anything is allocated.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use architectures::{Architecture, Configuration, MemoryPlan, MemoryRequest, Program, WeightId};
use gguf::Gguf;
use text::{ChatTemplate, Tokenizer};

use crate::candle_backend::{CandleBackend, SlabShape};
use crate::device::{self, BackendKind};
use crate::engine::PREFILL_CHUNK_TOKENS;
use crate::error::LoadError;
use crate::frontend::Frontend;
use crate::weights::Weights;

/// What is loaded, and for how much work.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A GGUF file.
    pub path: PathBuf,
    /// Hardware family.
    pub backend: BackendKind,
    /// Device index.
    pub device: u32,
    /// Positions a sequence may use; the model's own limit when absent.
    pub context_length: Option<u64>,
    /// Sequences at once.
    pub slots: u32,
}

/// How far loading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// Blocks that are complete.
    pub blocks_loaded: u64,
    /// Blocks of the model.
    pub blocks_total: u64,
    /// Weights so far.
    pub bytes_loaded: u64,
}

/// What a loaded model is.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelDescription {
    /// `general.architecture`.
    pub architecture: String,
    /// The type of most weight bytes.
    pub quantization: String,
    /// Tokenizer and pre-tokenizer.
    pub tokenizer: String,
    /// Rows of the output layer.
    pub vocab_size: u64,
    /// Positions a sequence may use.
    pub context_length: u64,
    /// What it takes when every slot is full.
    pub memory: MemoryPlan,
}

pub(crate) struct LoadedModel {
    pub backend: CandleBackend,
    pub frontend: Frontend,
    pub description: ModelDescription,
}

/// Loads a model. `progress` hears of every block and may call the load off.
pub(crate) fn load(
    options: &LoadOptions,
    progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<LoadedModel, LoadError> {
    let path = &options.path;
    let file = Gguf::open(path)?;
    let Planned { architecture, configuration, program, resolved, memory } = plan(options, &file)?;
    let frontend = frontend(path, &file, configuration.context_length)?;
    let description = ModelDescription {
        architecture: architecture.name.to_owned(),
        quantization: quantization(&file),
        tokenizer: frontend.tokenizer.name().to_owned(),
        vocab_size: configuration.vocab_size,
        context_length: configuration.context_length,
        memory,
    };
    let device = device::open(options.backend, options.device).map_err(|reason| LoadError::Device { reason })?;
    let slab_shape = SlabShape {
        blocks: size(configuration.block_count),
        heads: size(configuration.head_count_kv),
        head_length: size(configuration.head_length),
    };
    let mut reporter = Reporter::new(&program, &resolved, configuration.block_count, progress);
    let source = (&file as &dyn Weights, resolved.as_slice(), slab_shape);
    let backend =
        CandleBackend::load(device, program.clone(), source, &mut |index, bytes| reporter.on_weight(index, bytes))?;
    Ok(LoadedModel { backend, frontend, description })
}

/// What the header of a file decides, before anything is allocated.
struct Planned {
    architecture: &'static Architecture,
    configuration: Configuration,
    program: Program,
    /// For each weight of the program, the weight whose tensor stands for it.
    resolved: Vec<WeightId>,
    memory: MemoryPlan,
}

fn plan(options: &LoadOptions, file: &Gguf) -> Result<Planned, LoadError> {
    let path = &options.path;
    let in_file = |source| LoadError::Configuration { path: path.clone(), source };
    let architecture = Architecture::runnable(file.metadata()).map_err(in_file)?;
    let mut configuration = (architecture.configuration)(file.metadata()).map_err(in_file)?;
    configuration.context_length = context_length(options, &configuration)?;
    let program = architecture.program_for(&configuration).map_err(in_file)?;
    let shape_of = |name: &str| file.tensor(name).map(|tensor| tensor.shape.clone());
    let resolved = program.resolve(shape_of).map_err(|source| LoadError::Program { path: path.clone(), source })?;
    // A bias or a table of factors that nobody looks at would make answers that are only almost right.
    let known: HashSet<&str> = program.weights.iter().map(|weight| weight.name.as_str()).collect();
    if let Some(unused) = file.tensors().iter().find(|tensor| !known.contains(tensor.name.as_str())) {
        let (name, architecture) = (unused.name.clone(), architecture.name);
        return Err(LoadError::UnusedTensor { path: path.clone(), name, architecture });
    }
    let memory = memory_plan(options, &configuration, &program, file)?;
    Ok(Planned { architecture, configuration, program, resolved, memory })
}

/// The memory a worker with these options is going to hold when every slot is full; `None` if the file will not load.
#[must_use]
pub fn planned_memory_bytes(options: &LoadOptions) -> Option<u64> {
    let file = Gguf::open(&options.path).ok()?;
    plan(options, &file).ok()?.memory.total_bytes()
}

/// Configurations are bounded far below this conversion's limit (`architectures`), on every platform with 32 bits or more.
fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn context_length(options: &LoadOptions, configuration: &Configuration) -> Result<u64, LoadError> {
    let trained = configuration.context_length;
    match options.context_length {
        None => Ok(trained),
        Some(asked) if (1..=trained).contains(&asked) => Ok(asked),
        Some(asked) => Err(LoadError::Context { asked, trained }),
    }
}

fn memory_plan(
    options: &LoadOptions,
    configuration: &Configuration,
    program: &Program,
    weights: &dyn Weights,
) -> Result<MemoryPlan, LoadError> {
    let request = MemoryRequest {
        weights_bytes: weights.size_bytes(),
        slots: u64::from(options.slots),
        context_length: configuration.context_length,
        batch_tokens: u64::from(options.slots) + PREFILL_CHUNK_TOKENS as u64,
    };
    let plan = MemoryPlan::new(configuration, program, request);
    let plan = plan.filter(|plan| plan.total_bytes().is_some_and(|bytes| isize::try_from(bytes).is_ok()));
    plan.ok_or(LoadError::TooLarge { slots: options.slots, context_length: configuration.context_length })
}

fn frontend(path: &Path, file: &Gguf, context_length: u64) -> Result<Frontend, LoadError> {
    let in_file = |source| LoadError::Tokenizer { path: path.to_owned(), source };
    let tokenizer = Tokenizer::from_gguf(file.metadata()).map_err(in_file)?;
    let template = file.metadata().opt_str("tokenizer.chat_template").map_err(|error| in_file(error.into()))?;
    // A template that does not compile costs only the chat, not the model: rendering says that there is none.
    let template = template.and_then(|source| ChatTemplate::new(source).ok());
    Ok(Frontend { tokenizer, template, context_length })
}

/// The type that most weight bytes have.
fn quantization(file: &Gguf) -> String {
    let mut by_type = std::collections::BTreeMap::<String, u64>::new();
    for tensor in file.tensors() {
        *by_type.entry(tensor.ggml_type.name().into_owned()).or_default() += tensor.size_bytes;
    }
    by_type.into_iter().max_by_key(|(_, bytes)| *bytes).map_or_else(String::new, |(name, _)| name)
}

/// Turns "this weight is there" into "so many blocks are complete".
struct Reporter<'a> {
    block_of: Vec<Option<u64>>,
    state: LoadProgress,
    progress: &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
}

impl<'a> Reporter<'a> {
    fn new(
        program: &Program,
        resolved: &[WeightId],
        blocks_total: u64,
        progress: &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Self {
        let block_of = resolved.iter().map(|id| program.weights[id.0].block).collect();
        Self { block_of, state: LoadProgress { blocks_loaded: 0, blocks_total, bytes_loaded: 0 }, progress }
    }

    fn on_weight(&mut self, index: usize, bytes: &[u8]) -> ControlFlow<()> {
        // One read a page brings the file into memory now, so that the first request does not wait for the disk.
        const PAGE_BYTES: usize = 4096;
        let sum = bytes.iter().step_by(PAGE_BYTES).fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        std::hint::black_box(sum);
        self.state.bytes_loaded += bytes.len() as u64;
        let next = self.block_of.get(index + 1).copied().flatten();
        match self.block_of[index] {
            Some(block) if next != Some(block) => {
                self.state.blocks_loaded = block + 1;
                (self.progress)(self.state)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}
