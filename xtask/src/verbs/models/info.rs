//! `models info`: one model, what the catalog says and what is here.

use std::collections::BTreeMap;

use models::info::HeaderInfo;
use protocol::catalog::CatalogEntry;
use serde::Serialize;

use crate::cli::{Globals, program_name};
use crate::download::{FileLine, Shelf, file_lines};
use crate::failure::Failure;
use crate::output::{neutralise, size_words};

/// Show what is known about a model, and its files
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask models info smollm2
  cargo xtask models info smollm2 --json")]
pub struct Args {
    /// Which
    #[arg(value_name = "MODEL")]
    id: String,
}

#[derive(Serialize)]
struct Document<'a> {
    id: String,
    installed: bool,
    catalog: Option<&'a CatalogEntry>,
    files: Vec<FileLine>,
    header: Option<Header>,
}

/// What the model's own file says.
#[derive(Serialize)]
struct Header {
    architecture: String,
    name: Option<String>,
    quantization: String,
    tensors: u64,
    parameters: u64,
    context_length: Option<u64>,
    block_count: Option<u64>,
    embedding_length: Option<u64>,
    tokenizer: Option<String>,
    vocab_size: Option<u64>,
    has_chat_template: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    provenance: BTreeMap<String, String>,
}

impl Args {
    /// Prints the entry, the files and the header of the file.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let shelf = Shelf::open(globals)?;
        let id = shelf.id_of(&self.id)?;
        let entry = shelf.catalog.find(id.as_str()).ok();
        let installed = shelf.store.get(&id)?;
        let files = installed.as_ref().map(file_lines).unwrap_or_default();
        let described = installed.as_ref().map(models::info::info).transpose()?;
        let header = described.and_then(|info| info.header).map(Header::from);
        let document = Document { id: id.to_string(), installed: installed.is_some(), catalog: entry, files, header };
        if globals.output.json {
            globals.output.value(&document)?;
        } else {
            globals.output.table(&rows(&document))?;
        }
        Ok(0)
    }
}

impl From<HeaderInfo> for Header {
    fn from(info: HeaderInfo) -> Self {
        Self {
            architecture: info.architecture,
            name: info.name,
            quantization: info.quantization,
            tensors: info.tensors,
            parameters: info.parameters,
            context_length: info.context_length,
            block_count: info.block_count,
            embedding_length: info.embedding_length,
            tokenizer: info.tokenizer,
            vocab_size: info.vocab_size,
            has_chat_template: info.has_chat_template,
            provenance: info.provenance.into_iter().collect(),
        }
    }
}

fn rows(document: &Document<'_>) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::from("model"), document.id.clone()]];
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), neutralise(&value)]);
    if let Some(entry) = document.catalog {
        row("repository", format!("{} at {}", entry.repo, entry.revision));
        row("licence", entry.license.clone());
        row("size", entry.size_bytes().map_or_else(|| String::from("not known before it is fetched"), size_words));
        row("architecture", entry.architecture.clone());
        row("tokenizer", entry.tokenizer.clone());
        row("context", format!("{} tokens", entry.context_length));
        if let Some(note) = &entry.note {
            row("note", note.clone());
        }
    }
    if !document.installed {
        row("here", format!("no; `{} models download {}` fetches it", program_name(), document.id));
    }
    if let Some(header) = &document.header {
        let name = header.name.clone().unwrap_or_else(|| String::from("without a name"));
        row("file says", format!("{name}, {}, {}", header.architecture, header.quantization));
        row("parameters", format!("{} million in {} tensors", header.parameters / 1_000_000, header.tensors));
        row("chat template", String::from(if header.has_chat_template { "yes" } else { "no" }));
        for (key, value) in &header.provenance {
            row(&key.replace("source.", "made from "), value.clone());
        }
    }
    for file in &document.files {
        row("file", file.words());
    }
    rows
}
