//! The fixture against its model: what the real hub's answers look like.

use ureq::Agent;
use ureq::http::Response;

use super::{Fault, Hub, On, Repo, sha256_hex};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn agent() -> Agent {
    Agent::config_builder().http_status_as_error(false).max_redirects(0).build().new_agent()
}

fn header<'r>(response: &'r Response<ureq::Body>, name: &str) -> &'r str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

fn hub() -> Hub {
    let repo = Repo::new("org/name", COMMIT).large("big.gguf", "large bytes").small("config.json", "{}");
    let repo = repo.revision("refs/pr/1");
    Hub::builder().repo(repo).repo(Repo::new("org/gated", COMMIT).gated()).token("hf_x", &[]).start()
}

#[test]
fn large_files_are_redirected_with_a_description_and_a_misleading_length() {
    let hub = hub();
    for revision in [COMMIT, "main", "refs%2Fpr%2F1"] {
        let url = format!("{}/org/name/resolve/{revision}/big.gguf", hub.endpoint());
        let head = agent().head(&url).call().expect("an answer");
        assert_eq!(head.status(), 302);
        assert_eq!(header(&head, "x-repo-commit"), COMMIT);
        assert_eq!(header(&head, "x-linked-etag"), format!("\"{}\"", sha256_hex(b"large bytes")));
        assert_eq!(header(&head, "x-linked-size"), "11");
        assert_ne!(header(&head, "content-length"), "11");
        assert!(header(&head, "location").starts_with(&hub.store_origin()));
    }
}

#[test]
fn the_store_knows_ranges_and_refuses_tokens() {
    let hub = hub();
    let url = format!("{}/repos/{}?X-Amz-Signature=1", hub.store_origin(), sha256_hex(b"large bytes"));
    let get = |range: &str| agent().get(&url).header("range", range).call().expect("an answer");
    let mut rest = get("bytes=6-");
    assert_eq!((rest.status().as_u16(), header(&rest, "content-range")), (206, "bytes 6-10/11"));
    assert_eq!(rest.body_mut().read_to_string().expect("a body"), "bytes");
    let mut middle = get("bytes=2-4");
    assert_eq!((middle.status().as_u16(), header(&middle, "content-range")), (206, "bytes 2-4/11"));
    assert_eq!(middle.body_mut().read_to_string().expect("a body"), "rge");
    assert_eq!(header(&get("bytes=9-99"), "content-range"), "bytes 9-10/11");
    assert_eq!(get("bytes=4-2").status().as_u16(), 416);
    let beyond = get("bytes=11-");
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, "bytes */11"));
    let changed =
        agent().get(&url).header("range", "bytes=6-").header("if-range", "\"other\"").call().expect("an answer");
    assert_eq!(changed.status(), 200);
    let with_token = agent().get(&url).header("authorization", "Bearer hf_x").call().expect("an answer");
    assert_eq!(with_token.status(), 400);
    let unsigned = agent().get(url.split('?').next().expect("a path")).call().expect("an answer");
    assert_eq!(unsigned.status(), 403);
}

#[test]
fn a_file_that_is_nowhere_is_served_like_one_that_is() {
    let zeros = super::Content::zeros(3 << 20);
    assert_eq!(zeros.sha256(), sha256_hex(&vec![0; 3 << 20]));
    let sha256 = zeros.sha256();
    let hub = Hub::builder().repo(Repo::new("org/name", COMMIT).huge("zeros.gguf", zeros)).start();
    let url = format!("{}/repos/{sha256}?X-Amz-Signature=1", hub.store_origin());
    let mut part = agent().get(&url).header("range", "bytes=1000000-2999999").call().expect("an answer");
    assert_eq!(part.body_mut().read_to_vec().expect("a body"), vec![0; 2_000_000]);
    hub.fault(On::Store, Fault::FlipByte(5));
    let mut flipped = agent().get(&url).header("range", "bytes=0-9").call().expect("an answer");
    assert_eq!(flipped.body_mut().read_to_vec().expect("a body"), [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
}

#[test]
fn small_files_are_answered_at_once_under_their_git_name() {
    let hub = hub();
    let url = format!("{}/org/name/resolve/main/config.json", hub.endpoint());
    let mut answer = agent().get(&url).call().expect("an answer");
    // `printf '{}' | git hash-object --stdin`
    assert_eq!(header(&answer, "etag"), "\"9e26dfeeb6e641a33dae4961196235bdb965b21b\"");
    assert_eq!(answer.body_mut().read_to_string().expect("a body"), "{}");
    assert_eq!(hub.body_bytes(), 2);
}

#[test]
fn the_description_pages_and_stays_public_for_gated_repositories() {
    let hub = hub();
    let get = |path: &str| agent().get(format!("{}{path}", hub.endpoint())).call().expect("an answer");
    let mut first = get("/api/models/org/name/tree/main?limit=1");
    let next = header(&first, "link").to_owned();
    assert!(first.body_mut().read_to_string().expect("a page").contains("\"lfs\""));
    let next = next.trim_start_matches('<').split('>').next().expect("an address").to_owned();
    let mut second = get(&next);
    assert_eq!(header(&second, "link"), "");
    assert!(second.body_mut().read_to_string().expect("a page").contains("config.json"));
    assert_eq!(get("/api/models/org/name/revision/nowhere").status(), 404);
    assert_eq!(get("/api/models/org/gated").status(), 200);
    assert_eq!(get("/org/gated/resolve/main/x").status(), 401);
    assert_eq!(header(&get("/org/gated/resolve/main/x"), "x-error-code"), "GatedRepo");
    assert_eq!(header(&get("/org/nothing/resolve/main/x"), "x-error-code"), "RepoNotFound");
}

#[test]
fn faults_are_played_once_each_and_in_order() {
    let hub = hub();
    let url = format!("{}/org/name/resolve/main/config.json", hub.endpoint());
    hub.faults(On::Hub, 2, Fault::status(503));
    hub.fault(On::Hub, Fault::rate_limited(Some(3)));
    let statuses: Vec<u16> = (0..4).map(|_| agent().get(&url).call().expect("an answer").status().as_u16()).collect();
    assert_eq!(statuses, [503, 503, 429, 200]);
    let recorded: Vec<u16> = hub.requests().iter().map(|seen| seen.status).collect();
    assert_eq!(recorded, statuses);
}
