//! The hub's refusals, told apart; and where a token goes.

use models::fetch::FetchError;
use models::fetch::settings::Token;
use protocol::error::ErrorCode;
use testkit::hub::{Fault, Hub, HubBuilder, On, Repo};

use crate::support::{Bench, COMMIT, Expected, FILE, SIZE, content, entry, entry_text, pinned_entry, repo};

fn bench(repo: Repo, token: Option<&str>) -> Bench {
    with_hub(Hub::builder().repo(repo).token("hf_member", &["org/tiny"]).token("hf_stranger", &[]), token)
}

fn with_hub(hub: HubBuilder, token: Option<&str>) -> Bench {
    let mut bench = Bench::with(hub, pinned_entry(&content(SIZE), ""));
    bench.settings.token = token.and_then(|token| Token::parse(token, "test").expect("a token"));
    bench
}

#[test]
fn each_refusal_has_its_own_error() {
    let tiny = || repo(&content(SIZE));
    let cases: [(&str, Bench, Expected, ErrorCode); 9] = [
        (
            "missing, anonymous",
            with_hub(Hub::builder(), None),
            |error| matches!(error, FetchError::RepositoryMissing { anonymous: true, .. }),
            ErrorCode::ModelNotFound,
        ),
        (
            "missing, with a token",
            bench(Repo::new("org/other", COMMIT), Some("hf_member")),
            |error| matches!(error, FetchError::RepositoryMissing { anonymous: false, .. }),
            ErrorCode::ModelNotFound,
        ),
        (
            "private, anonymous",
            bench(tiny().private(), None),
            |error| matches!(error, FetchError::RepositoryMissing { anonymous: true, .. }),
            ErrorCode::ModelNotFound,
        ),
        (
            "gated, anonymous",
            bench(tiny().gated(), None),
            |error| matches!(error, FetchError::Gated { anonymous: true, .. }),
            ErrorCode::Unauthorized,
        ),
        (
            "gated, a stranger's token",
            bench(tiny().gated(), Some("hf_stranger")),
            |error| matches!(error, FetchError::Gated { anonymous: false, .. }),
            ErrorCode::Unauthorized,
        ),
        (
            "a bad token",
            bench(tiny(), Some("hf_nobody")),
            |error| matches!(error, FetchError::TokenRefused),
            ErrorCode::Unauthorized,
        ),
        (
            "disabled",
            bench(tiny().disabled(), None),
            |error| matches!(error, FetchError::Disabled { .. }),
            ErrorCode::ModelNotFound,
        ),
        (
            "another commit",
            bench(Repo::new("org/tiny", "ffff456789abcdef0123456789abcdef01234567").large(FILE, content(SIZE)), None),
            |error| matches!(error, FetchError::RevisionMissing { .. }),
            ErrorCode::ModelNotFound,
        ),
        (
            "no such file",
            bench(Repo::new("org/tiny", COMMIT).large("other.gguf", content(SIZE)), None),
            |error| matches!(error, FetchError::EntryMissing { .. }),
            ErrorCode::ModelNotFound,
        ),
    ];
    let mut hints = std::collections::BTreeSet::new();
    for (name, bench, expected, code) in cases {
        let error = bench.run().error();
        // Private and missing look alike to an anonymous caller; everything else has advice of its own.
        let is_new = hints.insert(error.hint().unwrap_or_else(|| panic!("{name}: no hint")));
        assert!(is_new || name == "private, anonymous", "{name}: {:?}", error.hint());
        assert!(expected(&error), "{name}: {error:?}");
        assert_eq!(error.code(), code, "{name}");
        bench.assert_nothing_final();
        assert_eq!(bench.hub.requests().len(), 1, "{name}: a refusal is not tried again");
    }
}

#[test]
fn a_token_opens_and_goes_to_the_hub_only() {
    for repo in [repo(&content(SIZE)).gated(), repo(&content(SIZE)).private()] {
        let bench = bench(repo, Some("hf_member"));
        bench.assert_installed(&bench.run());
        for seen in bench.hub.requests() {
            assert_eq!(seen.has_token(), seen.on == On::Hub, "{seen:?}");
        }
    }
}

#[test]
fn a_token_does_not_follow_the_hubs_own_redirect_to_another_origin() {
    // The description of the file is elsewhere: the redirect says nothing about a file, so it is followed or refused, but
    // in no case with the token.
    let bench = bench(Repo::new("org/tiny", COMMIT).small(FILE, content(SIZE)), Some("hf_member"));
    let elsewhere = format!("{}/steal?X-Amz-Signature=1", bench.hub.store_origin());
    bench.hub.fault(On::Hub, Fault::Answer { status: 302, headers: vec![("location", elsewhere)], body: vec![] });
    assert!(matches!(bench.run().error(), FetchError::Protocol { .. }));
    assert!(bench.hub.requests().iter().all(|seen| seen.on == On::Hub || !seen.has_token()));
}

#[test]
fn a_server_that_is_no_hub_is_said_to_be_none() {
    let bench = Bench::new();
    bench.hub.fault(On::Hub, Fault::Header("x-repo-commit", None));
    let error = bench.run().error();
    assert!(error.to_string().contains("no model hub"), "{error}");

    let repo = Repo::new("org/tiny", COMMIT).small(FILE, "x");
    let bench = Bench::with(Hub::builder().repo(repo), entry(&entry_text(&format!("file = \"{FILE}\""), "")));
    let other = "ffff456789abcdef0123456789abcdef01234567".to_owned();
    bench.hub.fault(On::Hub, Fault::Header("x-repo-commit", Some(other)));
    let error = bench.run().error();
    assert!(error.to_string().contains("instead of the pinned"), "{error}");
}
