//! What must hold of any body of `POST /v1/inference`. Shared by the fuzz target and the test that replays its corpus; each
//! brings the worker's parser as the module `validate` beside this one.

use super::validate;

/// Panics if a promise is broken.
pub fn check(bytes: &[u8]) {
    let request = match validate::request(bytes) {
        Ok(request) => request,
        Err(refusal) => {
            assert!((1..=33).contains(&refusal.errors.len()), "{} errors", refusal.errors.len());
            assert!(refusal.errors.iter().all(|error| !error.constraint.is_empty() && !error.message.is_empty()));
            return;
        }
    };
    assert!(request.prompt.is_some() != request.messages.is_some());
    assert!((1..=32_768).contains(&request.max_tokens) && request.attempt >= 1);
    assert!((0.0..=2.0).contains(&request.temperature) && request.top_p > 0.0 && request.top_p <= 1.0);
    assert!((0.0..=1.0).contains(&request.min_p) && (1.0..=2.0).contains(&request.repetition_penalty));
    assert!(request.stop.len() <= 4 && request.stop.iter().all(|stop| !stop.is_empty()));
    let text = serde_json::to_vec(&request).expect("it can be written");
    assert_eq!(validate::request(&text), Ok(request), "written and read again it is another request");
}
