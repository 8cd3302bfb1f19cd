//! What goes right.

use std::os::unix::fs::PermissionsExt;

use models::fetch::Event;
use models::store::manifest::{Authority, ModelKind, SourceKind};
use testkit::hub::{Fault, Hub, On, Repo, sha256_hex};

use crate::support::{Bench, COMMIT, FILE, content, entry, entry_text, repo};

#[test]
fn a_file_is_fetched_checked_and_recorded() {
    let bench = Bench::new();
    let run = bench.run();
    bench.assert_installed(&run);
    let installed = run.result.as_ref().expect("installed");
    let manifest = &installed.manifest;
    assert_eq!((manifest.kind, manifest.source), (ModelKind::Gguf, SourceKind::Hub));
    assert_eq!(manifest.files[0].checked_against, Authority::Catalog);
    assert_eq!(manifest.files[0].sha256.hex(), sha256_hex(&bench.bytes));
    let mode = std::fs::metadata(installed.model_file()).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o444);

    let started = run.events.iter().position(|event| {
        *event == Event::Started { file: FILE.parse().expect("a name"), total_bytes: Some(300_000), resumed_bytes: 0 }
    });
    let all = run.events.iter().position(|event| *event == Event::Progress { bytes: 300_000 });
    assert!(started.is_some() && started < all, "{:?}", run.events);
    assert_eq!(run.events.last(), Some(&Event::Finished));

    let requests = bench.hub.requests();
    let asked: Vec<(On, &str)> = requests.iter().map(|seen| (seen.on, seen.method.as_str())).collect();
    assert_eq!(asked, [(On::Hub, "HEAD"), (On::Store, "GET")]);
    assert!(requests.iter().all(|seen| seen.header("accept-encoding") == Some("identity") && !seen.has_token()));
    assert_eq!(requests[1].header("range"), None);
}

#[test]
fn an_installed_model_costs_no_request() {
    let bench = Bench::new();
    bench.assert_installed(&bench.run());
    let before = bench.hub.requests().len();
    let run = bench.run();
    bench.assert_installed(&run);
    assert_eq!(run.events, [Event::AlreadyInstalled]);
    assert_eq!(bench.hub.requests().len(), before);
    // With force it is fetched again.
    let run = bench.run_with(true, |_| false);
    bench.assert_installed(&run);
    assert_eq!(bench.hub.requests_to(On::Store, "GET").len(), 2);
}

#[test]
fn a_file_that_lost_its_manifest_is_hashed_not_fetched() {
    let bench = Bench::new();
    bench.assert_installed(&bench.run());
    std::fs::remove_file(bench.directory().join("manifest.json")).expect("removed");
    bench.assert_installed(&bench.run());
    assert_eq!(bench.hub.requests().len(), 2);
}

#[test]
fn a_checkpoint_of_many_files_is_fetched_and_said_to_be_one() {
    let weights = content(50_000);
    let repo = Repo::new("org/tiny", COMMIT)
        .small("config.json", "{\"a\": 1}\n")
        .small("sub/tokenizer.json", "{}")
        .large("model.safetensors", weights.as_slice());
    let files = format!(
        "convert = {{ from = \"safetensors\", outtype = \"f32\" }}\nfiles = [{{ name = \"config.json\" }}, \
         {{ name = \"sub/tokenizer.json\", sha256 = \"{}\" }}, {{ name = \"model.safetensors\" }}]",
        sha256_hex(b"{}")
    );
    let bench = Bench::with(Hub::builder().repo(repo), entry(&entry_text(&files, "")));
    let run = bench.run();
    let installed = run.result.expect("installed");
    assert_eq!(installed.manifest.kind, ModelKind::Checkpoint);
    let authorities: Vec<Authority> = installed.manifest.files.iter().map(|file| file.checked_against).collect();
    assert_eq!(authorities, [Authority::Hub, Authority::Catalog, Authority::Hub]);
    assert_eq!(std::fs::read(installed.model_file()).expect("weights"), weights);
    assert_eq!(std::fs::read(bench.directory().join("sub/tokenizer.json")).expect("a file"), b"{}");
    assert_eq!(installed.digest().hex(), sha256_hex(&weights));
    assert!(models::verify::verify(&installed).is_good());
    // Small files come from the hub itself.
    assert_eq!(bench.hub.requests_to(On::Hub, "GET").len(), 2);
}

#[test]
fn a_missing_hash_and_size_are_the_hubs_and_are_recorded() {
    let bytes = content(crate::support::SIZE);
    let bench = Bench::with(Hub::builder().repo(repo(&bytes)), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    let run = bench.run();
    bench.assert_installed(&run);
    let manifest = &run.result.expect("installed").manifest;
    assert_eq!(manifest.files[0].checked_against, Authority::Hub);
    assert_eq!(manifest.files[0].sha256.hex(), sha256_hex(&bytes));
}

#[test]
fn a_renamed_repository_is_followed() {
    let bytes = content(crate::support::SIZE);
    let new_home = Repo::new("org/new-name", COMMIT).large(FILE, bytes.as_slice());
    let hub = Hub::builder().repo(Repo::new("org/tiny", COMMIT).renamed_to("org/new-name")).repo(new_home);
    let bench = Bench::with(hub, crate::support::pinned_entry(&bytes, ""));
    bench.assert_installed(&bench.run());
    assert_eq!(bench.hub.requests_to(On::Hub, "HEAD").len(), 2);
}

#[test]
fn bytes_of_any_size_arrive() {
    for size in [1, 2, 65_535, 65_536, 65_537] {
        let bytes = content(size);
        let mut bench = Bench::with(Hub::builder().repo(repo(&bytes)), crate::support::pinned_entry(&bytes, ""));
        bench.bytes = bytes;
        bench.assert_installed(&bench.run());
    }
}

#[test]
fn small_files_may_be_redirected_within_the_hub() {
    let repo = Repo::new("org/tiny", COMMIT).small(FILE, "small");
    let bench = Bench::with(Hub::builder().repo(repo), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    let cached = format!("/org/tiny/resolve/{COMMIT}/{FILE}?cached=1");
    let tag = format!("\"{}\"", testkit::hub::git_blob_sha1(b"small"));
    // Part of the description only: the size is said at the end of the redirect.
    let headers = vec![("location", cached.clone()), ("x-linked-etag", tag), ("x-repo-commit", COMMIT.to_owned())];
    bench.hub.fault(On::Hub, Fault::Answer { status: 307, headers, body: vec![] });
    assert!(bench.run().result.is_ok());
    assert_eq!(std::fs::read(bench.final_path()).expect("the file"), b"small");
    assert!(bench.hub.requests_to(On::Hub, "GET").iter().all(|seen| seen.target == cached));
}
