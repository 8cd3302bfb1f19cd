//! A source that sends other bytes than the model's, as its user sees it.

use std::time::{Duration, Instant};

use testkit::hub::{Fault, On, sha256_hex};

use crate::support::{Home, MODEL_BYTES, hub, model_bytes};

#[test]
fn wrong_bytes_end_the_command_at_once_with_both_hashes_and_where_they_are() {
    // A second and a half for the file, so that the last byte has a time of its own.
    let hub = hub(Some(200_000));
    hub.fault(On::Store, Fault::FlipByte(7));
    let home = Home::new().with("HF_ENDPOINT", &hub.endpoint());
    let child = home.start(&["models", "download", "tiny", "--json"]);
    let until = Instant::now() + Duration::from_secs(60);
    while hub.body_bytes() < MODEL_BYTES as u64 {
        assert!(Instant::now() < until && !home.model_folder().join("tiny.gguf").exists());
        std::thread::sleep(Duration::from_millis(2));
    }
    let last_byte = Instant::now();
    let outcome = crate::support::finish(child);
    // A second is the promise; a busy machine gets more.
    assert!(last_byte.elapsed() < Duration::from_secs(5), "{:?}", last_byte.elapsed());
    assert_eq!((outcome.code, &outcome.last_event()["code"]), (1, &"MODEL_INVALID".into()), "{outcome:?}");
    let mut wrong = model_bytes();
    wrong[7] ^= 1;
    let message = outcome.last_event()["message"].to_string();
    assert!(message.contains(&sha256_hex(&model_bytes())) && message.contains(&sha256_hex(&wrong)), "{message}");
    let quarantined = outcome.events().into_iter().find(|event| event["event"] == "quarantined").expect("told");
    let path = home.model_folder().join("tiny.gguf.quarantine");
    assert_eq!(quarantined["path"], path.display().to_string());
    assert!(std::fs::read(&path).expect("the bytes") == wrong);
    assert_eq!(hub.requests_to(On::Store, "GET").len(), 1);

    assert_eq!(home.run(&["models", "list", "--json"]).last_event()["incomplete"][0]["id"], "tiny");
    let told = home.run(&["models", "disk-usage", "--json"]).last_event();
    assert!(told["total_bytes"].as_u64().is_some_and(|bytes| bytes >= MODEL_BYTES as u64), "{told}");
    assert_eq!(home.run(&["models", "download", "tiny"]).code, 0);
    assert!(!path.exists());
}
