//! What clients and the engine do wrong, and what the worker makes of it: disconnects, bad numbers, panics, drain.

mod harness;
mod silence;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use harness::{Poison, STALL_LIMIT, TestWorker, request, terminal, text};
use serde_json::json;
use testkit::tiny_model::TinyLlama;
use worker::ProbePoint;

/// Ceilings of the reference battery, generous for a machine that builds something else meanwhile.
const SLOT_FREE: Duration = Duration::from_millis(300);

#[test]
fn disconnect_while_decoding_frees_the_slot_each_time() {
    let worker = TestWorker::start(1);
    worker.disturbance.decode_delay_ms.store(3, Ordering::SeqCst);
    for round in 0..50_u64 {
        let mut stream = worker.stream(&request(&format!("j{round}"), 400));
        stream.read_tokens(1 + round % 5);
        // FIN, RST, and "I am done asking", which the worker takes for the same.
        let mut half_closed = None;
        match round % 3 {
            0 => stream.close(),
            1 => stream.reset(),
            _ => half_closed = Some(stream.close_half()),
        }
        let closed_at = worker.disturbance.decodes.load(Ordering::SeqCst);
        let freed = worker.eventually(Duration::from_secs(2), "free", || worker.slots_busy() == 0);
        assert!(freed <= SLOT_FREE, "round {round}: the slot was busy for {freed:?}");
        let decoded = worker.disturbance.decodes.load(Ordering::SeqCst) - closed_at;
        // Two tokens after the worker can know; hyper sees a closed socket within some steps of 3 ms.
        assert!(decoded <= 20, "round {round}: {decoded} tokens were decoded for nobody");
        drop(half_closed);
    }
    assert_eq!(worker.outcomes("cancelled"), 50);
    let before = worker.disturbance.decodes.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(worker.disturbance.decodes.load(Ordering::SeqCst), before, "nothing is computed for nobody");
    assert_eq!(terminal(&worker.generate(&request("after", 5))), ("end".into(), "MAX_TOKENS".into()));
}

#[test]
fn a_job_whose_client_leaves_before_its_slot_never_starts() {
    let worker = TestWorker::start(1);
    worker.disturbance.decode_delay_ms.store(5, Ordering::SeqCst);
    let mut first = worker.stream(&request("first", 400));
    first.read_tokens(1);
    let prefills = worker.disturbance.prefills.load(Ordering::SeqCst);
    let second = worker.stream(&request("second", 5));
    worker.eventually(Duration::from_secs(2), "waiting", || worker.gauge("jobs_waiting") == 1);
    second.close();
    worker.eventually(Duration::from_secs(2), "cancelled", || worker.outcomes("cancelled") == 1);
    first.close();
    worker.eventually(Duration::from_secs(2), "free", || worker.slots_busy() == 0);
    assert_eq!(worker.disturbance.prefills.load(Ordering::SeqCst), prefills, "no step was computed for it");
}

#[test]
fn closing_a_unary_call_cancels_it() {
    let worker = TestWorker::start(1);
    worker.disturbance.decode_delay_ms.store(5, Ordering::SeqCst);
    let mut body = request("unary", 400);
    body["stream"] = json!(false);
    let connection = worker.send("POST", "/v1/inference", &body.to_string());
    worker.eventually(Duration::from_secs(2), "busy", || worker.slots_busy() == 1);
    drop(connection);
    let freed = worker.eventually(Duration::from_secs(2), "free", || worker.slots_busy() == 0);
    assert!(freed <= Duration::from_millis(500), "{freed:?}");
    assert_eq!(worker.outcomes("cancelled"), 1);
}

#[test]
fn cancelling_is_idempotent_and_ends_the_stream_with_cancelled() {
    let worker = TestWorker::start(2);
    worker.disturbance.decode_delay_ms.store(5, Ordering::SeqCst);
    let mut stream = worker.stream(&request("job", 400));
    stream.read_tokens(2);
    let asked = Instant::now();
    for _ in 0..3 {
        assert_eq!(worker.request("DELETE", "/v1/inference/job", "").0, 204);
    }
    let mut last = String::new();
    while let Some(frame) = stream.next() {
        if frame.data != "[DONE]" {
            last = frame.data;
        }
    }
    assert!(last.contains("\"type\":\"end\"") && last.contains("CANCELLED"), "{last}");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!(worker.request("DELETE", "/v1/inference/never-seen", "").0, 204);
    assert_eq!(worker.request("DELETE", "/v1/inference/..%2Fx", "").0, 400);
}

#[test]
fn logits_that_are_not_finite_end_the_job_and_nothing_else() {
    let worker = TestWorker::start(2);
    let clean = text(&worker.generate(&request("clean", 8)));
    let poisons = [Poison::AllNan, Poison::OneNan, Poison::Infinity, Poison::AllNegativeInfinity];
    for (number, poison) in poisons.into_iter().enumerate() {
        for temperature in [0.0, 0.8] {
            *worker.disturbance.poison.lock().expect("a lock") = Some((3, poison));
            let mut body = request(&format!("p{number}-{temperature}"), 8);
            body["temperature"] = json!(temperature);
            body["top_k"] = json!(5);
            body["top_p"] = json!(0.9);
            let events = worker.generate(&body);
            assert_eq!(terminal(&events), ("error".into(), "NUMERIC".into()), "{poison:?} at {temperature}");
            assert_eq!(events.last().expect("a terminal")["tokens_out"], 3, "nothing after the bad step");
            *worker.disturbance.poison.lock().expect("a lock") = None;
            let again = worker.generate(&request(&format!("n{number}-{temperature}"), 8));
            assert_eq!(text(&again), clean, "the next job is as good as new");
            assert_eq!(worker.get("/health").1["status"], "healthy");
        }
    }
    *worker.disturbance.poison.lock().expect("a lock") = Some((0, Poison::AllNan));
    for number in 0..3 {
        worker.generate(&request(&format!("d{number}"), 8));
    }
    assert_eq!(worker.get("/health").1["status"], "degraded", "three in a row");
    *worker.disturbance.poison.lock().expect("a lock") = None;
    worker.generate(&request("healed", 8));
    assert_eq!(worker.get("/health").1["status"], "healthy");
}

#[test]
fn a_panic_in_a_step_fails_its_jobs_and_the_next_ones_work() {
    let worker = TestWorker::start(2);
    let clean = text(&worker.generate(&request("clean", 8)));
    for (number, point) in [ProbePoint::Prefill, ProbePoint::Decode, ProbePoint::Sample].into_iter().enumerate() {
        *worker.disturbance.panic_at.lock().expect("a lock") = Some(point);
        let started = Instant::now();
        let events = worker.generate(&request(&format!("p{number}"), 8));
        assert_eq!(terminal(&events), ("error".into(), "INTERNAL".into()), "{point:?}");
        assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
        for again in 0..20 {
            let events = worker.generate(&request(&format!("n{number}-{again}"), 8));
            assert_eq!(text(&events), clean, "{point:?}, {again}");
        }
        assert_eq!(worker.slots_busy(), 0);
    }
}

#[test]
fn a_panic_outside_a_step_ends_the_process_and_every_stream() {
    let mut worker = TestWorker::start(2);
    worker.disturbance.decode_delay_ms.store(5, Ordering::SeqCst);
    let mut stream = worker.stream(&request("victim", 400));
    stream.read_tokens(1);
    *worker.disturbance.panic_at.lock().expect("a lock") = Some(ProbePoint::Step);
    let mut frames = Vec::new();
    while let Some(frame) = stream.next() {
        frames.push(frame.data);
    }
    assert_eq!(frames.pop().as_deref(), Some("[DONE]"));
    let last = frames.pop().expect("a terminal event");
    assert!(last.contains("\"type\":\"error\"") && last.contains("INTERNAL"), "{last}");
    let error = worker.outcome(Duration::from_secs(1)).expect_err("the process ends with an error");
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[test]
fn a_reader_that_stands_still_pauses_only_itself_and_not_for_ever() {
    // Long enough that no buffer between the two holds it all.
    let worker = TestWorker::start_with(2, &TinyLlama { context: 16_384, ..TinyLlama::default() });
    let _stalled = worker.submit_and_read_nothing(&request("stalled", 16_000));
    worker.eventually(Duration::from_secs(30), "paused", || {
        let before = worker.disturbance.decodes.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(200));
        before > 0 && worker.disturbance.decodes.load(Ordering::SeqCst) == before
    });
    assert!(worker.disturbance.decodes.load(Ordering::SeqCst) < 15_999, "it was computed for nobody to the end");
    let events = worker.generate(&request("lively", 100));
    assert_eq!(terminal(&events), ("end".into(), "MAX_TOKENS".into()));
    // Given up by the engine's thread, or by the kernel, whose clock began a little earlier.
    let given_up = || worker.outcomes("client_stalled") + worker.outcomes("cancelled");
    worker.eventually(STALL_LIMIT + Duration::from_secs(10), "given up", || given_up() == 1);
    assert_eq!(worker.slots_busy(), 0);
}

#[test]
fn a_job_can_be_cancelled_while_its_prompt_is_read() {
    let worker = TestWorker::start(1);
    // Two long texts keep both readers of texts busy.
    let content = "the king and ".repeat(80_000);
    let text = json!({ "content": content }).to_string();
    let busy: Vec<_> = (0..2).map(|_| worker.send("POST", "/tokenize", &text)).collect();
    std::thread::sleep(Duration::from_millis(50));
    let mut stream = worker.stream(&request("early", 400));
    // Once it is known, one of these finds it; before and after, they find nothing.
    for _ in 0..10 {
        assert_eq!(worker.request("DELETE", "/v1/inference/early", "").0, 204);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(busy);
    let mut last = String::new();
    while let Some(frame) = stream.next() {
        last = if frame.data == "[DONE]" { last } else { frame.data };
    }
    assert!(last.contains("CANCELLED"), "{last}");
    assert_eq!(worker.disturbance.prefills.load(Ordering::SeqCst), 0, "no step was computed for it");
}

#[test]
fn draining_lets_running_jobs_finish_and_refuses_new_ones() {
    let mut worker = TestWorker::start(2);
    worker.disturbance.decode_delay_ms.store(5, Ordering::SeqCst);
    let mut stream = worker.stream(&request("last", 60));
    stream.read_tokens(1);
    assert_eq!(worker.request("POST", "/v1/shutdown", "").0, 202);
    worker.eventually(Duration::from_millis(500), "unready", || worker.get("/v1/ready").0 == 503);
    let (status, body) = worker.request("POST", "/v1/inference", &request("late", 5).to_string());
    assert!(status == 503 && body.contains("DRAINING"), "{status} {body}");
    let mut frames = Vec::new();
    while let Some(frame) = stream.next() {
        frames.push(frame.data);
    }
    assert!(frames.iter().any(|frame| frame.contains("MAX_TOKENS")), "{frames:?}");
    worker.outcome(Duration::from_secs(3)).expect("a clean end");
}

#[test]
fn a_full_queue_is_refused_before_any_stream() {
    let worker = TestWorker::start(1);
    worker.disturbance.decode_delay_ms.store(20, Ordering::SeqCst);
    let mut running = worker.stream(&request("running", 400));
    running.read_tokens(1);
    let waiting = (0..64).map(|number| worker.stream(&request(&format!("j{number}"), 400)));
    let streams: Vec<_> = waiting.chain([running]).collect();
    worker.eventually(Duration::from_secs(5), "full", || worker.gauge("jobs_waiting") == 64);
    let (status, body) = worker.request("POST", "/v1/inference", &request("extra", 1).to_string());
    assert!(status == 429 && body.contains("QUEUE_FULL") && body.contains("retry_after_ms"), "{status} {body}");
    streams.into_iter().for_each(harness::Stream::close);
    worker.eventually(Duration::from_secs(5), "empty", || worker.outcomes("cancelled") >= 65);
    assert_eq!(terminal(&worker.generate(&request("after", 3))), ("end".into(), "MAX_TOKENS".into()));
}

#[test]
fn an_orphaned_job_waits_for_its_grace_and_can_be_resumed() {
    let worker = TestWorker::start(1);
    worker.disturbance.decode_delay_ms.store(3, Ordering::SeqCst);
    let whole = worker.generate(&request("whole", 40));
    let mut body = request("orphan", 40);
    body["orphan_grace_ms"] = json!(20_000);
    let mut stream = worker.stream(&body);
    stream.read_tokens(3);
    stream.close();
    let (status, text_of_rest) = {
        let mut connection = {
            use std::io::Write;
            let mut connection = std::net::TcpStream::connect(worker.address).expect("a connection");
            let head = format!(
                "GET /v1/inference/orphan/events HTTP/1.0\r\nHost: {}\r\nLast-Event-ID: 1:2\r\n\r\n",
                worker.address
            );
            connection.write_all(head.as_bytes()).expect("a request");
            connection
        };
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut connection, &mut answer).expect("an answer");
        (answer[9..12].to_owned(), answer)
    };
    assert_eq!(status, "200");
    assert!(text_of_rest.contains("id: 1:3\n"), "it begins after the last event seen");
    assert!(!text_of_rest.contains("id: 1:2\n"), "and repeats nothing");
    assert!(text_of_rest.ends_with("data: [DONE]\n\n"));
    let whole_tail = text(&whole[3..]);
    let frames = protocol::sse::Decoder::new().push(text_of_rest.split_once("\r\n\r\n").expect("a head").1.as_bytes());
    let events: Vec<serde_json::Value> =
        frames.expect("frames").iter().filter_map(|frame| serde_json::from_str(&frame.data).ok()).collect();
    assert_eq!(text(&events), whole_tail);
    // A new attempt is accepted, an older one is not.
    body["attempt"] = json!(2);
    worker.generate(&body);
    body["attempt"] = json!(1);
    let (status, answer) = worker.request("POST", "/v1/inference", &body.to_string());
    assert!(status == 409 && answer.contains("STALE_ATTEMPT"), "{status} {answer}");
}
