//! Replays the fuzz corpus of the bodies of `POST /v1/inference`.

#[path = "../../../fuzz/checks/job_request_json.rs"]
mod job_request_json;
#[allow(dead_code, reason = "limits that the worker uses elsewhere")]
#[path = "../src/validate.rs"]
mod validate;

#[test]
fn every_body_of_the_corpus_is_handled() {
    testkit::corpus::replay("job_request_json", job_request_json::check);
}
