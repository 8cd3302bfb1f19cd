//! Hostile values wherever a server can put one: a typed error or no effect, and nothing outside the store.

use std::path::{Path, PathBuf};

use models::fetch::FetchError;
use testkit::hub::{Fault, Hub, On, Repo};

use crate::support::{Bench, COMMIT, FILE, SIZE, content, entry, entry_text};

/// Values that can stand in a header; line ends cannot, the server would make two headers of them.
fn hostile() -> Vec<String> {
    let mut values: Vec<String> = [
        "../x",
        "a/../../x",
        "/etc/x",
        "C:\\x",
        "D:x",
        "\\\\h\\s\\x",
        "a/\\x",
        ".",
        "..",
        "",
        "a//b",
        "a/./b",
        "\u{202e}x",
        ".git/hooks/x",
        "..\\x",
        "model.gguf/",
        "-rf",
        "~/x",
        "$HOME",
        "%2e%2e%2fx",
        "\"",
        "\"\"",
        "W/\"",
        "sha256:",
        "null",
        "0x0123456789abcdef0123456789abcdef01234567",
        "0123456789ABCDEF0123456789ABCDEF01234567",
        "0123456789abcdef",
        " 0123456789abcdef0123456789abcdef0123456g",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push("x".repeat(300));
    values.push("a/".repeat(2048));
    values.push(format!("{}/../../x", "0".repeat(64)));
    values.push("0".repeat(63));
    values.push("0".repeat(65));
    values
}

/// Every path below `root`.
fn everything(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).expect("a folder").flatten() {
        found.push(entry.path());
        if entry.file_type().expect("a type").is_dir() {
            found.extend(everything(&entry.path()));
        }
    }
    found
}

fn assert_nothing_outside(bench: &Bench) {
    let allowed = [bench.folder.path().join("models")];
    for path in everything(bench.folder.path()) {
        assert!(allowed.iter().any(|root| path.starts_with(root)), "{} was made", path.display());
    }
    // No link was made, and nothing lies under a final name.
    bench.assert_nothing_final();
}

#[test]
fn hostile_tags_and_commits_are_typed_errors() {
    let large = || Repo::new("org/tiny", COMMIT).large(FILE, content(SIZE));
    let small = || Repo::new("org/tiny", COMMIT).small(FILE, content(1000));
    for (header, repo) in [
        ("x-linked-etag", large as fn() -> Repo),
        ("x-repo-commit", large),
        ("x-linked-size", large),
        ("etag", small),
        ("x-repo-commit", small),
    ] {
        let bench = Bench::with(Hub::builder().repo(repo()), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
        for value in hostile() {
            bench.hub.fault(On::Hub, Fault::Header(header, Some(value.clone())));
            let error = bench.run().error();
            let message = error.to_string();
            // Digits alone are a size, only a wrong one.
            let is_wrong_size = header == "x-linked-size" && matches!(error, FetchError::HashMismatch { .. });
            assert!(is_wrong_size || matches!(error, FetchError::Protocol { .. }), "{header} {value:?}: {error:?}");
            assert!(!message.contains('\u{202e}') && message.len() < 1000, "{header} {value:?}: {message}");
            assert_nothing_outside(&bench);
        }
        assert_eq!(bench.hub.body_bytes(), 0);
    }
}

#[test]
fn hostile_redirects_are_typed_errors() {
    let bench = Bench::new();
    let mut targets = hostile();
    targets.extend(
        ["file:///etc/passwd", "ftp://h/x", "//h/x", "http://", "http://u:p@127.0.0.1:1/x", "http://[::1"]
            .map(str::to_owned),
    );
    for target in targets {
        bench.hub.fault(On::Hub, Fault::Header("location", Some(target.clone())));
        // A path on the hub itself is an address; it leads to a file that is not there.
        let error = bench.run().error();
        let is_typed = matches!(
            error,
            FetchError::Protocol { .. }
                | FetchError::Status { .. }
                | FetchError::EntryMissing { .. }
                | FetchError::Connection { .. }
        );
        assert!(is_typed, "{target:?}: {error:?}");
        assert_nothing_outside(&bench);
    }
    assert!(bench.hub.requests_to(On::Store, "GET").is_empty());
}

#[test]
fn a_hostile_tag_of_the_store_never_comes_back_in_a_request() {
    for tag in ["W/\"weak\"", "unquoted", "\"a b\"", "\"", "\"\"", "\"\u{202e}\""] {
        let bench = Bench::new();
        bench.hub.fault(On::Store, Fault::Header("etag", Some(tag.to_owned())));
        let run = bench.run_until(|event| matches!(event, models::fetch::Event::Progress { .. }));
        assert!(matches!(run.result, Err(FetchError::Interrupted)), "{tag}: {:?}", run.result);
        bench.assert_installed(&bench.run());
        let resumed = bench.hub.requests_to(On::Store, "GET").pop().expect("a request");
        assert!(resumed.header("range").is_some(), "{tag}: {resumed:?}");
        assert_eq!(resumed.header("if-range"), None, "{tag}");
    }
}

#[test]
fn links_in_the_store_are_not_written_through() {
    use std::os::unix::fs::symlink;
    let bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).expect("a folder");
    std::fs::write(outside.join("precious"), "data").expect("a file");
    std::fs::create_dir_all(bench.store.root()).expect("a folder");
    symlink(&outside, bench.directory()).expect("a link");
    assert!(matches!(bench.run().error(), FetchError::Store(_)));
    std::fs::remove_file(bench.directory()).expect("removed");

    std::fs::create_dir(bench.directory()).expect("a folder");
    symlink(outside.join("precious"), bench.partial()).expect("a link");
    assert!(matches!(bench.run().error(), FetchError::Io { .. }));
    std::fs::remove_file(bench.partial()).expect("removed");

    // A link under the final name is replaced, not followed.
    symlink(outside.join("precious"), bench.final_path()).expect("a link");
    bench.assert_installed(&bench.run());
    assert_eq!(std::fs::read(outside.join("precious")).expect("a file"), b"data");
    assert_eq!(std::fs::read_dir(&outside).expect("a folder").count(), 1);
}
