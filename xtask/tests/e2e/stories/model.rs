//! Download → verify → use, with an installed command and the model everybody starts with.

use crate::home::Home;
use crate::support::{MODEL, PROMPT, hub, root};

#[test]
fn a_model_is_downloaded_verified_and_used() {
    let hub = hub();
    let catalog = root().join("catalog.toml").display().to_string();
    let home = Home::new().with("LLORCH_CATALOG", &catalog).with("HF_ENDPOINT", &hub.endpoint());
    install_worker(&home);
    let downloaded = home.run(&["models", "download", MODEL]);
    assert_eq!(downloaded.code, 0, "{downloaded:?}");
    let requests = hub.requests().len();
    assert!(requests > 0, "it came from the hub");
    let verified = home.run(&["models", "verify", MODEL, "--json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
    let words = ["infer", "--model", MODEL, "--prompt", PROMPT.0, "--max-tokens", "24", "--temperature", "0"];
    let said = home.run(&words);
    assert_eq!((said.code, said.stdout.as_str()), (0, PROMPT.1), "{}", said.stderr);
    assert_eq!(hub.requests().len(), requests, "what is here is not asked for again");
    home.assert_nothing_runs();
}

/// The worker that these tests were built with, beside the command.
fn install_worker(home: &Home) {
    let worker = std::path::Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("llorch-worker");
    assert!(worker.is_file(), "there is no worker yet: `cargo xtask test e2e` builds it");
    let beside = std::path::PathBuf::from(home.program()).with_file_name("llorch-worker-cpu");
    std::fs::hard_link(&worker, &beside).or_else(|_| std::fs::copy(&worker, &beside).map(drop)).expect("a program");
}
