//! A fixture hub as a program: serves one large file fast on loopback, so that downloads can be measured without a test.
//!
//! Prints one JSON line with the endpoint, the catalog to use and the addresses for other clients, then serves until its
//! standard input ends.

use std::io::Read;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use serde_json::json;
use testkit::hub::{Content, Hub, Repo};

/// Commit under which the file is served.
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Serve one file as a model hub on loopback
#[derive(Debug, Parser)]
struct Args {
    /// The file
    #[arg(long, conflicts_with = "size", required_unless_present = "size")]
    file: Option<PathBuf>,
    /// So many zero bytes instead of a file
    #[arg(long, value_name = "BYTES")]
    size: Option<u64>,
    /// Bytes a second over all connections together
    #[arg(long, value_name = "BYTES")]
    rate: Option<u64>,
    /// Where the catalog is written
    #[arg(long, value_name = "PATH", default_value = "fixture-catalog.toml")]
    catalog: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let content = match (&args.file, args.size) {
        (Some(path), _) => Content::of_file(path).with_context(|| format!("cannot open `{}`", path.display()))?,
        (None, size) => Content::zeros(size.unwrap_or(0)),
    };
    let (sha256, size_bytes) = (content.sha256(), content.len());
    let mut builder = Hub::builder().repo(Repo::new("fixture/large", COMMIT).huge("large.gguf", content));
    if let Some(rate) = args.rate {
        builder = builder.total_bytes_per_second(rate);
    }
    let hub = builder.start();
    let catalog = format!(
        "schema = 1\n[[model]]\nid = \"large\"\nrepo = \"fixture/large\"\nrevision = \"{COMMIT}\"\nfile = \"large.gguf\"\n\
         size_bytes = {size_bytes}\nsha256 = \"{sha256}\"\nlicense = \"MIT\"\ngated = false\narchitecture = \"llama\"\n\
         tokenizer = \"llama\"\ncontext_length = 1024\n"
    );
    fs_err::write(&args.catalog, catalog)?;
    let line = json!({
        "endpoint": hub.endpoint(),
        "catalog": fs_err::canonicalize(&args.catalog)?,
        "model": "large",
        "repo": "fixture/large",
        "file": "large.gguf",
        "resolve_url": format!("{}/fixture/large/resolve/{COMMIT}/large.gguf", hub.endpoint()),
        "sha256": sha256,
        "size_bytes": size_bytes,
    });
    println!("{line}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
