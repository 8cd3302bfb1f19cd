//! `models fit`: whether a model fits this machine, before a byte of weights moves.

use models::fetch::peek::peek;
use models::fit::{DeviceFit, DiskFit, DiskNeeds, FitRequest, Needs, needs, on_device, on_disk};
use models::store::Installed;
use protocol::catalog::{CatalogEntry, EntrySource};
use protocol::pool::DeviceList;
use serde::Serialize;

use super::ask_pool;
use crate::cli::Globals;
use crate::download::Shelf;
use crate::failure::Failure;
use crate::output::{size_words, table};
use crate::{interrupt, process};

/// Tell whether a model fits the devices and the disk
///
/// Reads the model's header only: from the store, or its beginning from the hub. Exit code 1 if it fits no device or not
/// the disk.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models fit smollm2
  cargo xtask models fit llama3 --context 4096 --slots 4
  cargo xtask models fit hf:bartowski/Llama-3.2-3B-Instruct-GGUF::Llama-3.2-3B-Instruct-Q8_0.gguf --json")]
pub struct Args {
    /// Which
    #[arg(value_name = "MODEL")]
    id: String,
    /// Positions of each sequence; what the model was made for if not given
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    context: Option<u64>,
    /// Sequences at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    slots: u64,
}

#[derive(Serialize)]
struct Document {
    model: String,
    fits: bool,
    context_length: u64,
    slots: u64,
    weights_bytes: u64,
    key_value_bytes: u64,
    buffer_bytes: u64,
    devices: Vec<DeviceRow>,
    disk: DiskRow,
}

#[derive(Serialize)]
struct DeviceRow {
    backend: String,
    device: u32,
    name: String,
    needed_bytes: u64,
    available_bytes: u64,
    fits: bool,
    reason: Option<String>,
}

#[derive(Serialize)]
struct DiskRow {
    needed_bytes: u64,
    free_bytes: u64,
    fits: bool,
    reason: Option<String>,
}

impl Args {
    /// Looks, decides, prints.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        interrupt::watch()?;
        let sources = shelf.sources()?;
        let entry = shelf.resolve(&self.id, &sources)?.entry;
        if globals.dry_run {
            let steps = [format!("read the header of {}", entry.id), "llorch-pool devices --json".to_owned()];
            return process::print_plan(globals.output, &steps);
        }
        let shape = peek(&entry, &shelf.store, &sources, interrupt::flag());
        let shape = shape.map_err(|error| Failure::new(error.to_string()).maybe_hint(error.hint()))?;
        let request = FitRequest { context_length: self.context, slots: self.slots };
        let needs = needs(&shape, request).map_err(|error| Failure::usage(error.to_string()))?;
        let devices: DeviceList = ask_pool(globals.output, &["devices"])?;
        let devices: Vec<DeviceFit> = devices.devices.iter().map(|device| on_device(&needs, device)).collect();
        let disk = on_disk(disk_needs(&shelf, &entry, &needs)?);
        let fits = disk.fits && devices.iter().any(|device| device.fits);
        let document = document(entry.id.as_str(), &needs, (fits, devices, disk));
        if globals.output.json {
            globals.output.value(&document)?;
        } else {
            lines(&document).iter().try_for_each(|line| globals.output.line(line))?;
        }
        Ok(u8::from(!fits))
    }
}

/// What is still to be written: nothing for a model that is here, twice for a checkpoint, which is converted.
fn disk_needs(shelf: &Shelf, entry: &CatalogEntry, needs: &Needs) -> Result<DiskNeeds, Failure> {
    let free_bytes = models::disk::free_bytes(shelf.store.root())?;
    let installed = shelf.store.get(&entry.id).ok().flatten().is_some_and(|model: Installed| model.is_complete());
    let file_bytes = entry.size_bytes().unwrap_or(needs.weights_bytes);
    let converted_bytes = match entry.source {
        EntrySource::File(_) => 0,
        EntrySource::Convert { .. } => needs.weights_bytes,
    };
    let fetched_bytes = if installed { 0 } else { file_bytes };
    Ok(DiskNeeds { missing_bytes: fetched_bytes.saturating_add(converted_bytes), free_bytes })
}

fn document(model: &str, needs: &Needs, (fits, devices, disk): (bool, Vec<DeviceFit>, DiskFit)) -> Document {
    let row = |fit: DeviceFit| DeviceRow {
        backend: fit.device.backend.to_string(),
        device: fit.device.device,
        name: fit.device.name,
        needed_bytes: fit.needed_bytes,
        available_bytes: fit.device.memory_bytes_available,
        fits: fit.fits,
        reason: fit.reason,
    };
    Document {
        model: model.to_owned(),
        fits,
        context_length: needs.context_length,
        slots: needs.slots,
        weights_bytes: needs.weights_bytes,
        key_value_bytes: needs.key_value_bytes,
        buffer_bytes: needs.buffer_bytes,
        devices: devices.into_iter().map(row).collect(),
        disk: DiskRow {
            needed_bytes: disk.needed_bytes,
            free_bytes: disk.free_bytes,
            fits: disk.fits,
            reason: disk.reason,
        },
    }
}

fn lines(document: &Document) -> Vec<String> {
    let answer = |fits: bool, reason: &Option<String>| match reason {
        Some(reason) => format!("no: {reason}"),
        None => String::from(if fits { "yes" } else { "no" }),
    };
    let mut lines = vec![format!(
        "{}: weights {}, context {} for {} positions in {} slots, buffers {}",
        document.model,
        size_words(document.weights_bytes),
        size_words(document.key_value_bytes),
        document.context_length,
        document.slots,
        size_words(document.buffer_bytes)
    )];
    let mut rows = vec![["WHERE", "NEEDED", "FREE", "FITS"].map(str::to_owned).to_vec()];
    for device in &document.devices {
        rows.push(vec![
            format!("{} {} ({})", device.backend, device.device, device.name),
            size_words(device.needed_bytes),
            size_words(device.available_bytes),
            answer(device.fits, &device.reason),
        ]);
    }
    let disk = &document.disk;
    let answer = answer(disk.fits, &disk.reason);
    rows.push(vec!["disk".to_owned(), size_words(disk.needed_bytes), size_words(disk.free_bytes), answer]);
    lines.extend(table(&rows));
    lines
}
