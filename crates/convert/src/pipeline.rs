//! From planned rows to bytes in place: several threads, each with a chunk of rows at a time, every chunk at its position.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use sha2::{Digest, Sha256};

use crate::check;
use crate::error::ConvertError;
use crate::event::{Event, Observer, Report};
use crate::front::Front;
use crate::output::{self, Partial};
use crate::panels::Panels;
use crate::plan::{Content, MAX_THREADS, Plan};
use crate::provenance;
use crate::source::hex;

/// Bytes of a large tensor between two progress events.
const PROGRESS_BYTES: u64 = 64 << 20;

/// How a plan is carried out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) output: &'a Path,
    /// Threads; 0 stands for one a processor.
    pub(crate) threads: usize,
    pub(crate) cancel: &'a AtomicBool,
}

impl Run<'_> {
    fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let wanted = if self.threads == 0 { processors } else { self.threads };
        wanted.clamp(1, MAX_THREADS)
    }

    pub(crate) fn proceed(&self) -> Result<(), ConvertError> {
        if self.cancel.load(Ordering::Relaxed) { Err(ConvertError::Interrupted) } else { Ok(()) }
    }
}

/// Rows of one tensor.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    tensor: usize,
    first_row: u64,
    rows: u64,
}

/// What a thread reports of a chunk.
struct Written {
    /// Its place among the chunks.
    index: usize,
    tensor: usize,
    checksum: u64,
    bytes: u64,
}

/// A thread's memory, kept between chunks.
#[derive(Default)]
pub(crate) struct Buffers {
    /// Shared by all threads.
    panels: Arc<Panels>,
    stored: Vec<u8>,
    values: Vec<f32>,
    encoded: Vec<u8>,
}

/// Writes, checks and names the output of `plan`.
pub(crate) fn run(plan: &Plan, run: Run<'_>, observer: &mut dyn Observer) -> Result<Report, ConvertError> {
    output::check_is_no_input(run.output, plan)?;
    let layout = plan.layout()?;
    let identity = identity(plan, &layout)?;
    let output::Opened { partial, complete } = Partial::open(run.output, &layout, plan, &identity)?;
    let sizes = || layout.spans.iter().zip(&complete).filter(|(_, complete)| **complete);
    let resumed_bytes = sizes().map(|((_, size_bytes), _)| size_bytes).sum();
    let tensors_total = plan.tensors.len() as u64;
    observer.event(Event::Started { tensors_total, bytes_total: layout.file_len, resumed_bytes });
    let progress =
        Progress { tensors_done: sizes().count() as u64, bytes_done: resumed_bytes, announced: resumed_bytes };
    let (front, work) = (Front::default(), Work { plan, layout: &layout, run });
    let is_given_up = AtomicBool::new(false);
    let proceed = || if is_given_up.load(Ordering::Relaxed) { Err(ConvertError::Interrupted) } else { run.proceed() };
    let (written, finished, tokenizer) = std::thread::scope(|scope| {
        let finished = scope.spawn(|| -> Result<_, ConvertError> {
            let header = complete_header(work, &partial, &proceed)?;
            Ok((header, front.hash(partial.path(), layout.file_len, &proceed)?))
        });
        // The vocabulary is in the header, which is there already; building tokenizers keeps one processor busy.
        let tokenizer = scope.spawn(|| check::tokenizer_of(plan, partial.path()));
        let open = front.open();
        let written = write_chunks(work, &complete, (&partial, &front), (progress, observer));
        is_given_up.store(written.is_err(), Ordering::Relaxed);
        drop(open);
        (written, finished.join(), tokenizer.join())
    });
    written?;
    plan.files.iter().try_for_each(|file| file.check_unchanged())?;
    observer.event(Event::Verifying);
    let failed = |what: &str| ConvertError::CheckFailed { reason: format!("{what} is not known") };
    let (header, sha256) = finished.map_err(|_| failed("the hash"))??;
    let sha256 = sha256.ok_or_else(|| failed("the hash"))?;
    let tokenizer = tokenizer.map_err(|_| failed("the tokenizer's comparison"))??;
    std::thread::scope(|scope| {
        // What is read back comes from memory, so the disk can take its time meanwhile.
        let synced = scope.spawn(|| partial.sync());
        check::output(plan, header.as_ref().unwrap_or(&layout), partial.path(), run)?;
        synced.join().map_err(|_| failed("the end of the writing"))?
    })?;
    run.proceed()?;
    partial.publish()?;
    let report = Report {
        path: run.output.to_owned(),
        size_bytes: layout.file_len,
        sha256,
        tensors: tensors_total,
        types: plan.types(),
        tokenizer,
    };
    observer.event(Event::Done(report.clone()));
    Ok(report)
}

/// Computes the hashes of sources that nobody knew and puts them into the header, whose length they do not change. It goes
/// on beside the conversion, and before the output is hashed, of which the header is the start.
fn complete_header(
    work: Work<'_>,
    partial: &Partial,
    proceed: &dyn Fn() -> Result<(), ConvertError>,
) -> Result<Option<gguf::Layout>, ConvertError> {
    let Some(metadata) = provenance::complete(work.plan, proceed)? else { return Ok(None) };
    let layout = work.plan.layout_with(&metadata)?;
    if layout.spans != work.layout.spans || layout.header.len() != work.layout.header.len() {
        return Err(ConvertError::CheckFailed { reason: "the header changed its length".to_owned() });
    }
    partial.write_at(&layout.header, 0)?;
    Ok(Some(layout))
}

/// Two runs with the same identity write the same bytes.
fn identity(plan: &Plan, layout: &gguf::Layout) -> Result<String, ConvertError> {
    let mut hasher = Sha256::new();
    hasher.update(env!("CARGO_PKG_VERSION"));
    hasher.update(&layout.header);
    hasher.update([u8::from(plan.allow_nonfinite)]);
    for file in &plan.files {
        hasher.update(file.identity()?);
    }
    for tensor in &plan.tensors {
        // Where a tensor comes from is not in the header.
        hasher.update(format!("{:?}", tensor.content));
    }
    Ok(hex(&hasher.finalize()))
}

#[derive(Clone, Copy)]
struct Work<'a> {
    plan: &'a Plan,
    layout: &'a gguf::Layout,
    run: Run<'a>,
}

impl Work<'_> {
    /// Where a chunk begins in the output; without one, where the output ends.
    fn start_of(&self, chunk: Option<&Chunk>) -> u64 {
        let Some(chunk) = chunk else { return self.layout.file_len };
        let (start, size_bytes) = self.layout.spans[chunk.tensor];
        let (rows, _) = self.plan.tensors[chunk.tensor].rows_and_columns();
        start + chunk.first_row * (size_bytes / rows)
    }
}

#[derive(Debug)]
struct Progress {
    tensors_done: u64,
    bytes_done: u64,
    announced: u64,
}

fn chunks(plan: &Plan, complete: &[bool]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (tensor, planned) in plan.tensors.iter().enumerate().filter(|(index, _)| !complete[*index]) {
        let (rows, _) = planned.rows_and_columns();
        let step = planned.chunk_rows();
        let mut first_row = 0;
        while first_row < rows {
            chunks.push(Chunk { tensor, first_row, rows: step.min(rows - first_row) });
            first_row += step;
        }
    }
    chunks
}

/// Carries out every chunk. The calling thread only keeps the journal and tells the observer.
fn write_chunks(
    work: Work<'_>,
    complete: &[bool],
    (partial, front): (&Partial, &Front),
    (mut progress, observer): (Progress, &mut dyn Observer),
) -> Result<(), ConvertError> {
    let chunks = chunks(work.plan, complete);
    let mut missing: HashMap<usize, (usize, u64)> = HashMap::new();
    for chunk in &chunks {
        missing.entry(chunk.tensor).or_default().0 += 1;
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut outcome = Ok(());
    // Chunks lie in the order of the file, and what lies between them is complete.
    let (mut is_written, mut first_missing) = (vec![false; chunks.len()], 0);
    front.advance(work.start_of(chunks.first()));
    std::thread::scope(|scope| {
        // Room for every thread's next report, so that none waits for the observer for long.
        let (sender, receiver) = sync_channel(64);
        let panels = Arc::new(Panels::default());
        for _ in 0..work.run.threads().min(chunks.len()) {
            let sender = sender.clone();
            let (chunks, next, stop) = (&chunks, &next, &stop);
            let buffers = Buffers { panels: Arc::clone(&panels), ..Buffers::default() };
            scope.spawn(move || take_chunks((work, partial, buffers), (chunks, next, stop), &sender));
        }
        drop(sender);
        for written in receiver {
            let written: Written = match written {
                Ok(written) => written,
                Err(error) => {
                    // The first error is the one that stopped the others.
                    if outcome.is_ok() {
                        outcome = Err(error);
                    }
                    continue;
                }
            };
            progress.bytes_done += written.bytes;
            is_written[written.index] = true;
            first_missing += is_written[first_missing..].iter().take_while(|is_written| **is_written).count();
            front.advance(work.start_of(chunks.get(first_missing)));
            let is_complete = match missing.get_mut(&written.tensor) {
                Some((chunks, checksum)) => {
                    *chunks -= 1;
                    *checksum = checksum.wrapping_add(written.checksum);
                    (*chunks == 0).then_some(*checksum)
                }
                None => None,
            };
            if let Some(checksum) = is_complete {
                progress.tensors_done += 1;
                if let Err(error) = partial.record(written.tensor, checksum)
                    && outcome.is_ok()
                {
                    stop.store(true, Ordering::Relaxed);
                    outcome = Err(error);
                }
            }
            if is_complete.is_some() || progress.bytes_done - progress.announced >= PROGRESS_BYTES {
                progress.announced = progress.bytes_done;
                observer.event(Event::Progress {
                    tensor: work.plan.tensors[written.tensor].name.clone(),
                    tensors_done: progress.tensors_done,
                    bytes_done: progress.bytes_done,
                });
            }
        }
    });
    outcome
}

/// One thread: chunk after chunk until there is none, an error, or an interruption.
fn take_chunks(
    (work, partial, mut buffers): (Work<'_>, &Partial, Buffers),
    (chunks, next, stop): (&[Chunk], &AtomicUsize, &AtomicBool),
    sender: &SyncSender<Result<Written, ConvertError>>,
) {
    while !stop.load(Ordering::Relaxed) {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(chunk) = chunks.get(index) else { return };
        let written = work.run.proceed().and_then(|()| write_chunk((work, partial), (index, *chunk), &mut buffers));
        if written.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        // The receiver lives until every sender is gone.
        if sender.send(written).is_err() {
            return;
        }
    }
}

fn write_chunk(
    (work, partial): (Work<'_>, &Partial),
    (index, chunk): (usize, Chunk),
    buffers: &mut Buffers,
) -> Result<Written, ConvertError> {
    let bytes = buffers.rows(work.plan, chunk.tensor, (chunk.first_row, chunk.rows))?;
    partial.write_at(bytes, work.start_of(Some(&chunk)))?;
    let checksum = output::checksum(0, chunk.first_row, bytes);
    Ok(Written { index, tensor: chunk.tensor, checksum, bytes: bytes.len() as u64 })
}

impl Buffers {
    /// `count` rows of a tensor of the output from `first_row` on, as they are written.
    pub(crate) fn rows(
        &mut self,
        plan: &Plan,
        tensor: usize,
        (first_row, count): (u64, u64),
    ) -> Result<&[u8], ConvertError> {
        let planned = &plan.tensors[tensor];
        let (_, columns) = planned.rows_and_columns();
        // A chunk is bounded (`plan::CHUNK_ELEMENTS`, `checkpoint::tensors::MAX_COLUMNS`), so these fit memory.
        let elements = (count * columns) as usize;
        match &planned.content {
            Content::Computed(values) => {
                let first = (first_row * columns) as usize;
                let values = &values[first..first + elements];
                self.encoded.clear();
                self.encoded.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                Ok(&self.encoded)
            }
            Content::Copied { file, offset, tensor_type } => {
                let row_bytes = tensor_type.row_bytes(columns).unwrap_or(0);
                self.encoded.resize((count * row_bytes) as usize, 0);
                plan.files[*file].read_at(&mut self.encoded, offset + first_row * row_bytes)?;
                Ok(&self.encoded)
            }
            Content::Encoded { from, to } => {
                self.stored.resize(from.encoding.bytes_of(elements), 0);
                from.read((&plan.files[from.file], &self.panels), first_row, &mut self.stored)?;
                self.values.resize(elements, 0.0);
                from.encoding.decode(&self.stored, &mut self.values);
                if !plan.allow_nonfinite {
                    check::finite(&self.values, *to, &planned.source_name)?;
                }
                if from.encoding == *to {
                    return Ok(&self.stored);
                }
                self.encoded.resize(to.bytes_of(elements), 0);
                to.encode(&self.values, &mut self.encoded);
                if !plan.allow_nonfinite && !to.scales_are_finite(&self.encoded) {
                    let reason = format!("has weights whose scale {to} cannot hold");
                    return Err(ConvertError::NotFinite { tensor: planned.source_name.clone(), reason });
                }
                Ok(&self.encoded)
            }
        }
    }

    /// The values behind the last call of [`Buffers::rows`]; empty where nothing was decoded.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}
