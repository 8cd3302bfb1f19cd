//! The `general.*` keys: what the model is called, by whom, under which licence, with which sampling defaults.

use std::path::Path;

use serde::Deserialize;

use super::card::{self, CardValue};
use super::config::Hyperparameters;
use super::files;
use super::keys::Keys;
use super::naming::{self, Components};
use crate::error::ConvertError;

/// What is read of `generation_config.json`.
#[derive(Debug, Default, Deserialize)]
struct RawGeneration {
    sequence: Option<String>,
    top_k: Option<i32>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    xtc_probability: Option<f64>,
    xtc_threshold: Option<f64>,
    temperature: Option<f64>,
    penalty_last_n: Option<i32>,
    #[serde(alias = "penalty_repeat")]
    repetition_penalty: Option<f64>,
    mirostat: Option<i32>,
    mirostat_tau: Option<f64>,
    mirostat_eta: Option<f64>,
}

/// Keys of a card under which a value is looked for, first come first served.
const CARD_KEYS: [(&str, &[&str]); 8] = [
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("description", &["description", "model_description"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("size_label", &["size_label", "model_size_label"]),
];

/// Where the general keys come from.
pub(crate) struct Sources<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) hyperparameters: &'a Hyperparameters,
    /// Overrides the name, and only the name.
    pub(crate) model_name: Option<&'a str>,
    /// Weights of the output.
    pub(crate) parameters: u64,
}

/// Writes every general key but `general.architecture`, `general.file_type` and `general.quantization_version`.
pub(crate) fn write(keys: &mut Keys, sources: &Sources<'_>) -> Result<(), ConvertError> {
    let readme = files::read_text(&sources.directory.join("README.md"))?.unwrap_or_default();
    let card = card::parse(&String::from_utf8_lossy(&readme));
    let from_card = |names: &[&str]| {
        names.iter().find_map(|name| match card.get(*name) {
            Some(CardValue::Text(text)) => Some(text.clone()),
            _ => None,
        })
    };
    let mut known: Vec<(&str, Option<String>)> =
        CARD_KEYS.iter().map(|(key, names)| (*key, from_card(names))).collect();
    for identifier in identifiers(sources) {
        fill(&mut known, naming::components(&identifier, sources.parameters));
    }
    let value = |key: &str| known.iter().find(|(known, _)| *known == key).and_then(|(_, value)| value.clone());
    keys.set("general.type", "model");
    sampling(keys, sources.directory)?;
    let name = sources.model_name.map(str::to_owned).or_else(|| value("name"));
    keys.set("general.name", name.unwrap_or_default());
    for key in ["author", "version", "organization", "finetune", "basename", "description"] {
        keys.set(format!("general.{key}"), value(key).unwrap_or_default());
    }
    let size_label = value("size_label").unwrap_or_else(|| naming::size_label(sources.parameters));
    keys.set("general.size_label", size_label);
    keys.set("general.license", card.get("license").map(|license| license.items().join(",")).unwrap_or_default());
    for (key, name) in [
        ("license.name", "license_name"),
        ("license.link", "license_link"),
        ("source.url", "url"),
        ("source.doi", "doi"),
        ("source.uuid", "uuid"),
        ("source.repo_url", "repo_url"),
    ] {
        keys.set(format!("general.{key}"), from_card(&[name]).unwrap_or_default());
    }
    let items = |names: &[&str]| names.iter().find_map(|name| card.get(*name)).map(CardValue::items);
    references(keys, "base_model", items(&["base_model", "base_models", "base_model_sources"]), sources.parameters);
    references(keys, "dataset", items(&["datasets", "dataset", "dataset_sources"]), sources.parameters);
    let all = |names: [&str; 2]| {
        names.into_iter().filter_map(|name| card.get(name)).flat_map(CardValue::items).collect::<Vec<_>>()
    };
    keys.texts("general.tags", all(["tags", "pipeline_tag"]));
    keys.texts("general.languages", all(["languages", "language"]));
    Ok(())
}

/// What the name is guessed from: the configuration's, unless it is a path, then the directory's.
fn identifiers(sources: &Sources<'_>) -> Vec<String> {
    let written = sources.hyperparameters.name_or_path.clone().filter(|name| name.matches('/').count() <= 1);
    let resolved = sources.directory.canonicalize().ok();
    let directory = resolved.as_deref().unwrap_or(sources.directory).file_name();
    written.into_iter().chain(directory.map(|name| name.to_string_lossy().into_owned())).collect()
}

/// Fills in what is still unknown.
fn fill(known: &mut [(&str, Option<String>)], found: Components) {
    let title = |text: Option<String>| text.map(|text| naming::title(&text));
    for (key, value) in known {
        if value.is_none() {
            *value = match *key {
                "name" => title(found.full_name.clone()),
                "organization" => title(found.organization.clone()),
                "basename" => found.basename.clone(),
                "finetune" => found.finetune.clone(),
                "version" => found.version.clone(),
                "size_label" => found.size_label.clone(),
                _ => None,
            };
        }
    }
}

/// Models and data sets that a card refers to.
fn references(keys: &mut Keys, kind: &str, identifiers: Option<Vec<String>>, parameters: u64) {
    const HUB: &str = "https://huggingface.co/";
    let Some(identifiers) = identifiers else { return };
    keys.count(format!("general.{kind}.count"), identifiers.len() as u64);
    for (index, identifier) in identifiers.iter().enumerate() {
        let is_address = ["http://", "https://", "ssh://"].iter().any(|scheme| identifier.starts_with(scheme));
        let on_hub = identifier.strip_prefix(HUB).filter(|rest| rest.matches('/').count() == 1 && !rest.ends_with('/'));
        let found = match (is_address, on_hub) {
            (true, None) => Components::default(),
            (true, Some(rest)) => naming::components(rest, parameters),
            (false, _) => naming::components(identifier, parameters),
        };
        let mut set = |key: &str, value: Option<String>| {
            keys.set(format!("general.{kind}.{index}.{key}"), value.unwrap_or_default());
        };
        set("name", found.full_name.as_deref().map(naming::title));
        set("version", found.version);
        set("organization", found.organization.as_deref().map(naming::title));
        let address = match (&found.organization, &found.full_name) {
            _ if is_address => Some(identifier.clone()),
            (Some(organization), Some(name)) => Some(format!("{HUB}{organization}/{name}")),
            _ => None,
        };
        set("repo_url", address);
    }
}

fn sampling(keys: &mut Keys, directory: &Path) -> Result<(), ConvertError> {
    // A file that is not as expected says nothing; the reference passes over it too.
    let bytes = files::read_text(&directory.join("generation_config.json"))?.unwrap_or_default();
    let raw: RawGeneration = serde_json::from_slice(&bytes).unwrap_or_default();
    keys.set("general.sampling.sequence", raw.sequence.unwrap_or_default());
    let mut integer = |key: &str, value: Option<i32>| {
        if let Some(value) = value {
            keys.set(format!("general.sampling.{key}"), value);
        }
    };
    integer("top_k", raw.top_k);
    let floats = [
        ("top_p", raw.top_p),
        ("min_p", raw.min_p),
        ("xtc_probability", raw.xtc_probability),
        ("xtc_threshold", raw.xtc_threshold),
        ("temp", raw.temperature),
    ];
    let mut float = |key: &str, value: Option<f64>| {
        if let Some(value) = value {
            keys.float(format!("general.sampling.{key}"), value);
        }
    };
    floats.into_iter().for_each(|(key, value)| float(key, value));
    let mut integer = |key: &str, value: Option<i32>| {
        if let Some(value) = value {
            keys.set(format!("general.sampling.{key}"), value);
        }
    };
    integer("penalty_last_n", raw.penalty_last_n);
    if let Some(value) = raw.repetition_penalty {
        keys.float("general.sampling.penalty_repeat", value);
    }
    if let Some(value) = raw.mirostat {
        keys.set("general.sampling.mirostat", value);
    }
    for (key, value) in [("mirostat_tau", raw.mirostat_tau), ("mirostat_eta", raw.mirostat_eta)] {
        if let Some(value) = value {
            keys.float(format!("general.sampling.{key}"), value);
        }
    }
    Ok(())
}
