//! What an installed GGUF file says about itself.

use std::sync::atomic::AtomicBool;

use gguf::{Array, StringArray, TensorSpec, TensorType, Value, Writer};
use models::catalog::Catalog;
use models::fetch::{DownloadRequest, SourceSettings, download};
use models::info::{InfoError, info};
use models::store::{Installed, Store};
use testkit::hub::sha256_hex;

fn install(folder: &std::path::Path, bytes: &[u8]) -> Installed {
    let text = format!(
        "schema = 1\n[[model]]\nid = \"tiny\"\nrepo = \"org/tiny\"\nrevision = \"{}\"\nlicense = \"MIT\"\ngated = false\n\
         architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\nfile = \"model.gguf\"\nsha256 = \"{}\"\n",
        "0".repeat(40),
        sha256_hex(bytes),
    );
    let catalog = Catalog::parse(&text, "test.toml").expect("a catalog");
    let store = Store::open(folder.join("models")).expect("a store");
    let mut sources = SourceSettings::resolve(&|_| None, folder).expect("settings");
    std::fs::write(folder.join("source"), bytes).expect("a file");
    sources.local = Some(folder.join("source"));
    let request = DownloadRequest { entry: &catalog.entries()[0], store: &store, sources: &sources, force: false };
    download(&request, &mut |_| {}, &AtomicBool::new(false)).expect("installed")
}

fn tiny(architecture: &str) -> Vec<u8> {
    let text = |text: &str| Value::String(text.to_owned());
    let mut tokens = StringArray::default();
    ["a", "b", "c"].iter().for_each(|token| tokens.push(token));
    let metadata = [
        ("general.architecture".to_owned(), text(architecture)),
        ("general.name".to_owned(), text("Tiny")),
        ("llama.context_length".to_owned(), Value::U32(128)),
        ("llama.block_count".to_owned(), Value::U32(2)),
        ("tokenizer.ggml.model".to_owned(), text("gpt2")),
        ("tokenizer.ggml.pre".to_owned(), text("smollm")),
        ("tokenizer.ggml.tokens".to_owned(), Value::Array(Array::String(tokens))),
    ];
    let spec =
        |name: &str, shape: &[u64], ggml_type| TensorSpec { name: name.to_owned(), shape: shape.to_vec(), ggml_type };
    let tensors = [spec("norm", &[4], TensorType::F32), spec("weights", &[32, 8], TensorType::Q8_0)];
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).expect("a writer");
    writer.write_tensor("norm", &[0; 16]).expect("written");
    writer.write_tensor("weights", &[0; 8 * 34]).expect("written");
    writer.finish().expect("a file")
}

#[test]
fn the_header_is_summed_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let described = info(&install(folder.path(), &tiny("llama"))).expect("a description");
    let header = described.header.expect("a header");
    assert_eq!((header.architecture.as_str(), header.name.as_deref()), ("llama", Some("Tiny")));
    assert_eq!((header.tensors, header.parameters), (2, 4 + 256));
    assert_eq!(header.quantization, "Q8_0");
    let types: Vec<(&str, u64, u64)> =
        header.tensor_types.iter().map(|usage| (usage.name.as_str(), usage.tensors, usage.size_bytes)).collect();
    assert_eq!(types, [("Q8_0", 1, 272), ("F32", 1, 16)]);
    assert_eq!((header.context_length, header.block_count, header.embedding_length), (Some(128), Some(2), None));
    assert_eq!((header.tokenizer.as_deref(), header.vocab_size), (Some("gpt2/smollm"), Some(3)));
    assert!(!header.has_chat_template);
}

#[test]
fn a_file_that_is_no_gguf_is_a_typed_error_with_a_hint() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = info(&install(folder.path(), b"not a model at all")).expect_err("no header");
    assert!(matches!(error, InfoError::Open { .. }), "{error}");
    assert!(error.hint().contains("models verify tiny"));
}
