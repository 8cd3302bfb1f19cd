//! The hub's own client beside us: it reads what we leave in its cache, and we what it leaves.
//!
//! The client is a Python package. Where it cannot be installed (no Python, no package index) the test says so and is
//! over; on a CI machine (`CI=true`) that is a failure.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::AtomicBool;

use models::catalog::Catalog;
use models::fetch::{DownloadRequest, SourceSettings, download};
use models::hub_cache;
use models::store::manifest::SourceKind;
use models::store::{Installed, Store};
use protocol::catalog::CatalogEntry;
use testkit::hub::{Hub, Repo, sha256_hex};

const CLIENT: &str = "huggingface_hub==2.4.0";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[expect(clippy::disallowed_methods, reason = "a test beside another program")]
fn run(program: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> std::io::Result<Output> {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_") || name.starts_with("HUGGING")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(variables.iter().copied()).output()
}

/// The Python of an environment that has the client; made once and kept in the build's own folder.
fn client() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hub-client-2.4.0");
    let python = folder.join("bin/python");
    let has_client =
        || run(&python, &["-c", "import huggingface_hub"], &[]).is_ok_and(|output| output.status.success());
    if has_client() {
        return Ok(python);
    }
    let step = |program: &Path, arguments: &[&str]| match run(program, arguments, &[]) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(text.lines().last().unwrap_or("it failed").to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    let venv = folder.display().to_string();
    step(Path::new("python3"), &["-m", "venv", "--clear", &venv])?;
    step(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", CLIENT])?;
    if has_client() { Ok(python) } else { Err("it cannot be imported".to_owned()) }
}

struct Bench {
    hub: Hub,
    folder: tempfile::TempDir,
    entry: CatalogEntry,
    weights: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let weights: Vec<u8> = (0..400_000_u32).map(|index| (index * 31 % 251) as u8).collect();
        let repo =
            Repo::new("org/tiny", COMMIT).large("sub/model.safetensors", weights.clone()).small("config.json", "{}");
        let text = format!(
            "schema = 1\n[[model]]\nid = \"tiny\"\nrepo = \"org/tiny\"\nrevision = \"{COMMIT}\"\nlicense = \"MIT\"\ngated = false\n\
             architecture = \"llama\"\ntokenizer = \"llama\"\ncontext_length = 64\n\
             convert = {{ from = \"safetensors\", outtype = \"f32\" }}\n\
             files = [{{ name = \"config.json\" }}, {{ name = \"sub/model.safetensors\", sha256 = \"{}\" }}]\n",
            sha256_hex(&weights)
        );
        let entry = Catalog::parse(&text, "test.toml").expect("a catalog").entries()[0].clone();
        let folder = tempfile::tempdir().expect("a folder");
        Self { hub: Hub::builder().repo(repo).start(), folder, entry, weights }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    fn install(&self, is_offline: bool) -> Installed {
        let store = Store::open(self.folder.path().join("models")).expect("a store");
        let (endpoint, cache) = (self.hub.endpoint(), self.cache());
        let lookup = |name: &str| match name {
            "HF_ENDPOINT" => Some(endpoint.clone().into()),
            "HF_HUB_CACHE" => Some(cache.clone().into()),
            "HF_HUB_OFFLINE" => is_offline.then(|| "1".into()),
            _ => None,
        };
        let sources = SourceSettings::resolve(&lookup, self.folder.path()).expect("settings");
        let request = DownloadRequest { entry: &self.entry, store: &store, sources: &sources, force: false };
        download(&request, &mut |_| {}, &AtomicBool::new(false)).expect("installed")
    }

    /// Runs a program of the client; what it prints.
    fn ask(&self, python: &Path, is_offline: bool, program: &str) -> String {
        let (cache, endpoint) = (self.cache().display().to_string(), self.hub.endpoint());
        let home = self.folder.path().join("home").display().to_string();
        let mut variables = vec![
            ("HF_HUB_CACHE", cache.as_str()),
            ("HF_ENDPOINT", endpoint.as_str()),
            ("HF_HOME", home.as_str()),
            ("HF_HUB_DISABLE_TELEMETRY", "1"),
            ("HF_HUB_DISABLE_XET", "1"),
        ];
        if is_offline {
            variables.push(("HF_HUB_OFFLINE", "1"));
        }
        let output = run(python, &["-c", program], &variables).expect("it runs");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

const FETCH: &str = "import huggingface_hub as h; print(h.hf_hub_download('org/tiny', 'sub/model.safetensors')); \
                     print(h.hf_hub_download('org/tiny', 'config.json'))";

#[test]
fn the_client_and_we_read_each_others_cache() {
    let python = match client() {
        Ok(python) => python,
        Err(reason) => {
            assert!(
                std::env::var_os("CI").is_none_or(|value| value != "true"),
                "`{CLIENT}` cannot be installed: {reason}"
            );
            eprintln!("skipped: `{CLIENT}` cannot be installed: {reason}");
            return;
        }
    };
    // We leave, it reads: with no connection at all, then with one, and fetches nothing.
    let bench = Bench::new();
    let installed = bench.install(false);
    hub_cache::put(&installed, &bench.cache(), &AtomicBool::new(false)).expect("put");
    let before = bench.hub.body_bytes();
    for is_offline in [true, false] {
        let printed = bench.ask(&python, is_offline, FETCH);
        let paths: Vec<&str> = printed.lines().collect();
        assert_eq!(std::fs::read(paths[0]).expect("the weights"), bench.weights);
        assert_eq!(std::fs::read(paths[1]).expect("the configuration"), b"{}");
        assert!(paths[0].contains(&format!("snapshots/{COMMIT}/sub")), "{printed}");
    }
    assert_eq!(bench.hub.body_bytes(), before, "the client fetched what was there");
    let scan =
        "import huggingface_hub as h; r = h.scan_cache_dir(); print(len(r.repos), len(r.warnings), r.size_on_disk)";
    assert_eq!(bench.ask(&python, true, scan), format!("1 0 {}", bench.weights.len() + 2));

    // It leaves, we read: with no connection, and its files stay as they are.
    let bench = Bench::new();
    bench.ask(&python, false, FETCH);
    let before = bench.hub.body_bytes();
    let installed = bench.install(true);
    assert_eq!(installed.manifest.source, SourceKind::Cache);
    assert!(models::verify::verify(&installed).is_good());
    assert_eq!(bench.hub.body_bytes(), before);
    assert_eq!(std::fs::read(installed.model_file()).expect("the weights"), bench.weights);
    assert_eq!(bench.ask(&python, true, scan), format!("1 0 {}", bench.weights.len() + 2));
}
