//! `bench models`: fetching, hashing and converting beside curl, the hub's own client, openssl and the reference converter.

mod conversion;

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use models::environment;
use models::places::Places;
use serde::Deserialize;

use super::comparison::{self, Table, run_setup};
use crate::binaries::{self, Marks, Product, Profile, Show};
use crate::cli::Globals;
use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, find_on_path, print_plan};
use crate::scratch::Scratch;
use crate::side_by_side::Contender;
use crate::{cargo, interrupt, workspace};

/// Rate of the slow server: a good home connection to a near mirror, and what the target is written for.
const THROTTLED_BYTES_PER_SECOND: u64 = 250_000_000;
/// The hub's own client.
const HUB_CLIENT: &str = "huggingface_hub==2.4.0";

/// Fetch and hash a file beside curl, the hub's own client and openssl
///
/// A server on loopback holds one file of made-up bytes. Each program fetches or hashes it in turn, one round uncounted,
/// then `--rounds` counted. Needs curl, openssl and python3; what is missing is named and left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench models
  cargo xtask bench models --size-mib 256 --rounds 5 --json
  cargo xtask bench models --checkpoint ./smollm2 --reference-source ./llama.cpp --reference-python ./venv/bin/python")]
pub struct Args {
    /// Size of the file
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    size_mib: u64,
    /// Counted rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
    #[command(flatten)]
    conversion: conversion::ConversionArgs,
}

impl Args {
    /// Sets up, measures, prints, clears away.
    pub fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let (root, output) = (workspace::require()?, globals.output);
        let marks = Marks::read(&root)?;
        let plan = binaries::plan(&root, Product::Command, Profile::Release, &marks);
        let hub = cargo::call(&root).args(["build", "--locked", "--release", "--workspace", "--bin", "fixture-hub"]);
        if globals.dry_run {
            let steps = [plan.call.to_string(), hub.to_string(), format!("python3 -m pip install {HUB_CLIENT}")];
            return print_plan(output, &steps);
        }
        interrupt::watch()?;
        let llorch = binaries::build(output, &plan, Show::Work)?.path;
        run_setup(output, &hub)?;
        let places = Places::from_environment()?;
        let bench = Bench {
            output,
            hub: llorch.with_file_name("fixture-hub"),
            llorch,
            rounds: usize::try_from(self.rounds).unwrap_or(usize::MAX),
            folder: places.cache.path.join("bench"),
            scratch: Scratch::at(places.cache.path.join("bench/scratch"))?,
        };
        let file = bench.scratch.path().join("large.gguf");
        write_made_up_bytes(&file, self.size_mib)?;
        let mut tables = bench.tables(&file)?;
        tables.extend(bench.conversions(&root, &self.conversion)?);
        comparison::print(output, tables)
    }
}

struct Bench {
    output: Output,
    llorch: PathBuf,
    hub: PathBuf,
    rounds: usize,
    /// Kept from run to run: the other programs.
    folder: PathBuf,
    scratch: Scratch,
}

impl Bench {
    fn tables(&self, file: &Path) -> Result<Vec<Table>, Failure> {
        let size = crate::output::size_words(fs_err::metadata(file)?.len());
        let mut tables = Vec::new();
        let slow = Server::start(self, file, Some(THROTTLED_BYTES_PER_SECOND))?;
        let title = format!("Download of {size}, the server held to 250 MB/s (ours verifies, curl does not)");
        let slow_contenders = [Some(self.ours(&slow)), self.curl(&slow)];
        tables.push(self.compare(title, slow_contenders.into_iter().flatten().collect())?);
        drop(slow);
        let fast = Server::start(self, file, None)?;
        let contenders = [Some(self.ours(&fast)), self.curl_and_sum(&fast), self.hub_client(&fast)?];
        let title = format!("Download of {size} as fast as it comes, verified");
        tables.push(self.compare(title, contenders.into_iter().flatten().collect())?);
        let title = format!("Hashing {size}, one core");
        let contenders = [Some(self.verify(&fast)?), self.openssl(file)];
        tables.push(self.compare(title, contenders.into_iter().flatten().collect())?);
        Ok(tables)
    }

    fn compare(&self, title: String, contenders: Vec<Contender<'_>>) -> Result<Table, Failure> {
        comparison::compare(self.output, title, &contenders, self.rounds)
    }

    /// Our command in a home of its own.
    fn command(&self, server: &Server) -> Call {
        let home = self.scratch.path().join("home");
        let places = [environment::DATA_DIRECTORY, environment::STATE_DIRECTORY, environment::CACHE_DIRECTORY];
        let call = Call::new(&self.llorch).env(environment::HOME, &home).env(environment::HUB_HOME, home.join("hub"));
        let call = places.into_iter().fold(call, |call, name| call.env(name, &home));
        call.env(environment::CATALOG, &server.address.catalog).env(environment::HUB_ENDPOINT, &server.address.endpoint)
    }

    fn ours<'a>(&'a self, server: &Server) -> Contender<'a> {
        let call = self.command(server).args(["models", "download", &server.address.model, "--quiet"]);
        Contender { name: "llorch models download", call, prepare: self.without("home") }
    }

    fn curl<'a>(&'a self, server: &Server) -> Option<Contender<'a>> {
        let path = self.scratch.path().join("curl.gguf");
        let call = Call::new("curl").args(["--silent", "--fail", "--location", "--output"]).args([&path]);
        let call = call.args([&server.address.resolve_url]);
        let contender = Contender { name: "curl", call, prepare: self.without("curl.gguf") };
        self.has("curl").then_some(contender)
    }

    fn curl_and_sum<'a>(&'a self, server: &Server) -> Option<Contender<'a>> {
        let path = self.scratch.path().join("curl.gguf");
        // Arguments, not text: nothing in a path is read by the shell.
        let script = "curl --silent --fail --location --output \"$1\" \"$2\" && sha256sum \"$1\"";
        let call = Call::new("sh").args(["-c", script, "sh"]).args([&path]).args([&server.address.resolve_url]);
        let contender = Contender { name: "curl, then sha256sum", call, prepare: self.without("curl.gguf") };
        (self.has("curl") && self.has("sha256sum")).then_some(contender)
    }

    fn hub_client<'a>(&'a self, server: &Server) -> Result<Option<Contender<'a>>, Failure> {
        if !self.has("python3") {
            return Ok(None);
        }
        let venv = self.folder.join("hub-client");
        let client = venv.join("bin/hf");
        if !client.is_file() {
            run_setup(self.output, &Call::new("python3").args(["-m", "venv", "--clear"]).args([&venv]))?;
            let pip = Call::new(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet", HUB_CLIENT]);
            run_setup(self.output, &pip)?;
        }
        let call = Call::new(client).args(["download", &server.address.repo, &server.address.file]);
        let call = call.env("HF_HOME", self.scratch.path().join("hf")).env("HF_HUB_DISABLE_TELEMETRY", "1");
        let call = call.env(environment::HUB_ENDPOINT, &server.address.endpoint);
        Ok(Some(Contender { name: "hf download", call, prepare: self.without("hf") }))
    }

    /// The file is in the store already.
    fn verify(&self, server: &Server) -> Result<Contender<'_>, Failure> {
        run_setup(self.output, &self.command(server).args(["models", "download", &server.address.model, "--quiet"]))?;
        let verify = self.command(server).args(["models", "verify", &server.address.model, "--quiet"]);
        Ok(Contender { name: "llorch models verify", call: on_one_core(self, verify), prepare: Box::new(|| Ok(())) })
    }

    fn openssl(&self, file: &Path) -> Option<Contender<'_>> {
        let call = Call::new("openssl").args(["dgst", "-sha256"]).args([file]);
        let call = on_one_core(self, call);
        let contender = Contender { name: "openssl dgst -sha256", call, prepare: Box::new(|| Ok(())) };
        self.has("openssl").then_some(contender)
    }

    /// Takes away what an earlier run left under that name.
    fn without<'a>(&self, name: &'static str) -> Box<dyn Fn() -> Result<(), Failure> + 'a> {
        let path = self.scratch.path().join(name);
        Box::new(move || match std::fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() => Ok(fs_err::remove_dir_all(&path)?),
            Ok(_) => Ok(fs_err::remove_file(&path)?),
            Err(_) => Ok(()),
        })
    }

    /// Whether a program is there; says so if not.
    fn has(&self, program: &str) -> bool {
        let is_there = find_on_path(program, &[]).is_some();
        if !is_there {
            self.output.warning(format_args!("`{program}` is not installed and left out"));
        }
        is_there
    }
}

/// The call held to the first processor, where there is a program for that.
fn on_one_core(bench: &Bench, call: Call) -> Call {
    if bench.has("taskset") { call.through("taskset", &["-c", "0"]) } else { call }
}

/// What the fixture hub says of itself.
#[derive(Deserialize)]
struct Address {
    endpoint: String,
    catalog: PathBuf,
    model: String,
    repo: String,
    file: String,
    resolve_url: String,
}

/// A hub that serves until this is dropped.
struct Server {
    address: Address,
    handle: duct::Handle,
    /// Its standard input: it ends with it.
    control: Option<PipeWriter>,
}

impl Server {
    fn start(bench: &Bench, file: &Path, rate: Option<u64>) -> Result<Self, Failure> {
        let catalog = bench.scratch.path().join("catalog.toml");
        let mut call = Call::new(&bench.hub).args(["--file".as_ref(), file.as_os_str()]);
        call = call.args(["--catalog".as_ref(), catalog.as_os_str()]);
        if let Some(rate) = rate {
            call = call.args(["--rate", &rate.to_string()]);
        }
        let (input, control) = std::io::pipe().context("cannot make a pipe")?;
        let (answer, output): (PipeReader, PipeWriter) = std::io::pipe().context("cannot make a pipe")?;
        let handle = call.start(&call.expression().stdin_file(input).stdout_file(output))?;
        let mut line = String::new();
        BufReader::new(answer).read_line(&mut line).context("the fixture hub does not say where it is")?;
        let address = serde_json::from_str(&line).context("the fixture hub does not say where it is")?;
        Ok(Self { address, handle, control: Some(control) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.control.take());
        let _killed_at_worst = self.handle.wait_timeout(std::time::Duration::from_secs(2));
        let _gone = self.handle.kill();
    }
}

/// Bytes that no file system stores in less space (xorshift64, Marsaglia 2003), the same on every machine.
fn write_made_up_bytes(path: &Path, size_mib: u64) -> Result<(), Failure> {
    let mut file = fs_err::File::create(path)?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut block = vec![0_u8; 1 << 20];
    for _ in 0..size_mib {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block)?;
    }
    Ok(())
}
