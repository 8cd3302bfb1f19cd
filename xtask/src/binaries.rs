//! Building the programs: one cargo call each, a stamp passed in, the stamp of the result checked.
//!
//! The plan is pure; `build`, `infer`, `worker`, `test` and `install` share it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use protocol::error::ErrorCode;
use protocol::identifiers::Backend;
use protocol::stamp::Stamp;

use crate::failure::Failure;
use crate::output::Output;
use crate::process::{Call, Group};
use crate::{cargo, git};

/// Backends this version can build a worker for. A new one is a row here and in `engine`.
pub const BACKENDS: [Backend; 1] = [Backend::Cpu];

/// A program of the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `llorch-worker` for one backend.
    Worker(Backend),
    /// `llorch-pool`.
    Pool,
    /// `llorch-convert`.
    Convert,
    /// This command, as it is installed.
    Command,
}

/// How it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Optimised.
    Release,
    /// With checks.
    Debug,
}

/// How much of cargo is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The command and all that cargo says.
    All,
    /// What cargo says only if it had something to do.
    Work,
}

/// A program that was built and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Which.
    pub product: Product,
    /// Where it is.
    pub path: PathBuf,
    /// What it says it is.
    pub stamp: Stamp,
}

/// What is compiled into a program: read once for a whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    commit: String,
    target: String,
}

impl Product {
    /// What cargo calls the program.
    fn binary(self) -> &'static str {
        match self {
            Product::Worker(_) => "llorch-worker",
            Product::Pool => "llorch-pool",
            Product::Convert => "llorch-convert",
            Product::Command => "xtask",
        }
    }

    /// Its name where it is used: workers of several backends lie side by side.
    pub fn installed_name(self) -> String {
        match self {
            Product::Worker(backend) => format!("llorch-worker-{backend}"),
            Product::Pool => String::from("llorch-pool"),
            Product::Convert => String::from("llorch-convert"),
            Product::Command => String::from("llorch"),
        }
    }
}

impl Marks {
    /// Asks git and rustc.
    pub fn read(root: &Path) -> Result<Self, Failure> {
        Ok(Self { commit: git::commit(root)?, target: cargo::host(root)? })
    }
}

/// Refuses backends that cannot be built here, before anything runs: there is no second best.
pub fn require_backend(backend: Backend) -> Result<(), Failure> {
    if BACKENDS.contains(&backend) {
        return Ok(());
    }
    let known: Vec<String> = BACKENDS.iter().map(|known| format!("`{known}`")).collect();
    let message = format!("this version builds no `{backend}` worker, only {}", known.join(", "));
    Err(Failure::new(message).hint("cargo xtask build worker cpu"))
}

/// The call that builds one program.
pub fn plan(root: &Path, product: Product, profile: Profile, marks: &Marks) -> Call {
    let call = cargo::call(root).args(["build", "--locked"]);
    let call = match profile {
        Profile::Release => call.args(["--release"]),
        Profile::Debug => call,
    };
    // The whole workspace is selected, one program of it is built: dependencies get the same features whichever program
    // that is, and are compiled once for all of them.
    call.args(["--workspace", "--bin", product.binary()])
        .env("LLORCH_BUILD_COMMIT", &marks.commit)
        .env("LLORCH_BUILD_TARGET", &marks.target)
}

/// Builds one program, checks its stamp, and gives a worker the name of its backend.
pub fn build(output: Output, call: &Call, product: Product, show: Show) -> Result<Built, Failure> {
    match show {
        Show::All => output.command(call),
        Show::Work => output.detail(format_args!("$ {call}")),
    }
    // Paths come from cargo itself: CARGO_TARGET_DIR and its configuration may put them anywhere.
    let ended = call.clone().args(["--message-format=json-render-diagnostics"]).capture(Group::Own)?;
    if ended.code != 0 {
        return Err(call.failed(ended.code).hint("`cargo xtask dev doctor` checks what a build needs"));
    }
    let report = Report::parse(&ended.stdout, product.binary());
    if show == Show::Work && report.is_all_fresh {
        output.take_back_line();
    }
    let path = report.executable.ok_or_else(|| {
        Failure::coded(ErrorCode::Internal, format!("cargo built `{}` and did not say where", product.binary()))
    })?;
    let stamp = stamp_of(&path)?;
    check_stamp(product, &path, &stamp)?;
    let path = match product {
        Product::Worker(_) => name_after_backend(&path, product)?,
        Product::Pool | Product::Convert | Product::Command => path,
    };
    Ok(Built { product, path, stamp })
}

/// A program that was installed together with this one.
pub fn beside_this_program(product: Product) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().context("cannot find this program")?;
    let path = this.with_file_name(product.installed_name());
    if path.is_file() {
        return Ok(path);
    }
    let message = format!("`{}` is not there", path.display());
    Err(Failure::new(message).hint("run `cargo xtask install` in a checkout, or run this command inside one"))
}

/// What cargo's messages say about a build.
struct Report {
    executable: Option<PathBuf>,
    is_all_fresh: bool,
}

impl Report {
    fn parse(messages: &[u8], binary: &str) -> Self {
        let text = String::from_utf8_lossy(messages);
        let messages = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut report = Self { executable: None, is_all_fresh: true };
        for message in messages.filter(|message| message["reason"] == "compiler-artifact") {
            report.is_all_fresh &= message["fresh"] == true;
            let is_binary = message["target"]["name"] == binary && message["target"]["kind"][0] == "bin";
            if let (true, Some(path)) = (is_binary, message["executable"].as_str()) {
                report.executable = Some(PathBuf::from(path));
            }
        }
        report
    }
}

fn stamp_of(path: &Path) -> Result<Stamp, Failure> {
    let ended = Call::new(path).args(["--version", "--json"]).capture(Group::Own)?;
    let text = String::from_utf8_lossy(&ended.stdout);
    serde_json::from_str(text.trim()).map_err(|error| {
        let message = format!("`{} --version --json` does not print a stamp: {error}", path.display());
        Failure::coded(ErrorCode::Internal, message)
    })
}

fn check_stamp(product: Product, path: &Path, stamp: &Stamp) -> Result<(), Failure> {
    let expected = match product {
        Product::Worker(backend) => Some(backend),
        Product::Pool | Product::Convert | Product::Command => None,
    };
    if stamp.backend == expected {
        return Ok(());
    }
    let words =
        |backend: Option<Backend>| backend.map_or_else(|| String::from("no backend"), |backend| format!("`{backend}`"));
    let message = format!("`{}` is stamped for {}, expected {}", path.display(), words(stamp.backend), words(expected));
    Err(Failure::coded(ErrorCode::Internal, message))
}

/// Gives the program a second name, `llorch-worker-<backend>`: the next backend's build takes the first one away.
fn name_after_backend(built: &Path, product: Product) -> Result<PathBuf, Failure> {
    let named = built.with_file_name(product.installed_name());
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|data| (data.dev(), data.ino()));
    if inode(&named).is_some() && inode(&named) == inode(built) {
        return Ok(named);
    }
    let temporary = built.with_file_name(format!(".{}.{}", product.installed_name(), std::process::id()));
    // A link costs nothing; where the file system has none, a copy does as well.
    if fs_err::hard_link(built, &temporary).is_err() {
        fs_err::copy(built, &temporary)?;
    }
    fs_err::rename(&temporary, &named)?;
    Ok(named)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use protocol::identifiers::Backend;

    use super::{Marks, Product, Profile, Report, plan, require_backend};

    #[test]
    fn the_plan_names_package_binary_profile_and_stamp() {
        let marks = Marks { commit: "c0ffee-dirty".to_owned(), target: "x-y-z".to_owned() };
        let text = |product, profile| plan(Path::new("/r"), product, profile, &marks).to_string();
        let worker = text(Product::Worker(Backend::Cpu), Profile::Release);
        assert!(worker.starts_with("LLORCH_BUILD_COMMIT=c0ffee-dirty LLORCH_BUILD_TARGET=x-y-z "), "{worker}");
        assert!(worker.ends_with("build --locked --release --workspace --bin llorch-worker"), "{worker}");
        let pool = text(Product::Pool, Profile::Debug);
        assert!(pool.ends_with("build --locked --workspace --bin llorch-pool"), "{pool}");
    }

    #[test]
    fn a_backend_that_cannot_be_built_is_refused_not_replaced() {
        assert!(require_backend(Backend::Cpu).is_ok());
        let failure = require_backend(Backend::Cuda).expect_err("no cuda yet");
        assert!(failure.message.contains("`cuda`") && failure.exit_code == 1);
    }

    #[test]
    fn cargo_says_where_the_program_is() {
        let messages =
            br#"{"reason":"compiler-artifact","target":{"name":"x","kind":["lib"]},"fresh":true,"executable":null}
{"reason":"compiler-artifact","target":{"name":"x","kind":["bin"]},"fresh":false,"executable":"/t/release/x"}
{"reason":"build-finished","success":true}"#;
        let report = Report::parse(messages, "x");
        assert_eq!((report.executable.as_deref(), report.is_all_fresh), (Some(Path::new("/t/release/x")), false));
    }
}
