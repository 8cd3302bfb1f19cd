//! What the kit does to a worker, one function a situation. Each returns what was against the rules in it.

use std::thread;

use protocol::error::{ErrorBody, ErrorCode, FieldErrors};
use protocol::event::StopReason;
use protocol::inference::InferenceAnswer;
use protocol::sse::Decoder;
use protocol::worker::{LoadingProgress, Ready};
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::stream::{Transcript, judge};
use super::{KitError, Options, Rule, Violation};

/// One situation.
pub type Scenario = fn(&Client, &Options) -> Result<Vec<Violation>, KitError>;

/// Every situation, the simple ones first.
pub const ALL: &[Scenario] = &[
    status_answers,
    short_stream,
    one_answer,
    bad_fields,
    unknown_fields,
    delete_of_what_is_not_there,
    cancel_by_delete,
    others_unaffected,
    dropped_connection,
    stale_attempt,
];

type Found = Result<Vec<Violation>, KitError>;

fn status_answers(client: &Client, _: &Options) -> Found {
    let mut found = Vec::new();
    match client.health()? {
        None => found.push(Violation::new(Rule::Health, "`/health` is not of its form")),
        Some(health) if !health.model_loaded || health.slots_total == 0 || health.slots_busy > health.slots_total => {
            found.push(Violation::new(Rule::Health, format!("`/health` contradicts itself: {health:?}")));
        }
        Some(_) => {}
    }
    let ready = client.get("/v1/ready")?;
    if ready.status != 200 || !serde_json::from_str::<Ready>(&ready.body).is_ok_and(|ready| ready.ready) {
        found.push(Violation::new(Rule::Health, format!("`/v1/ready` is {}: {}", ready.status, ready.body)));
    }
    let progress = client.get("/v1/loading/progress")?;
    let frames = Decoder::new().push(progress.body.as_bytes()).unwrap_or_default();
    let data: Vec<&str> = frames.iter().map(|frame| frame.data.as_str()).collect();
    let says_ready = |text: &str| matches!(serde_json::from_str(text), Ok(LoadingProgress::Ready));
    let ends_right = matches!(data.as_slice(), [.., last, "[DONE]"] if says_ready(last));
    if progress.status != 200 || !ends_right {
        found.push(Violation::new(Rule::Progress, format!("after the load it says {}: {data:?}", progress.status)));
    }
    Ok(found)
}

fn short_stream(client: &Client, options: &Options) -> Found {
    let run = || client.stream(&client.request(&options.prompt, options.tokens_short));
    let (first, second) = (run()?, run()?);
    let mut found = judge(&first, "a short stream");
    if first.text() != second.text() {
        found.push(Violation::new(Rule::Repeatable, format!("{:?}, then {:?}", first.text(), second.text())));
    }
    let counted = |transcript: &Transcript| transcript.started().map(|started| started.prompt_tokens);
    if counted(&first) != counted(&second) {
        let detail = format!("the same prompt counts {:?}, then {:?}", counted(&first), counted(&second));
        found.push(Violation::new(Rule::PromptTokens, detail));
    }
    let mut numbered = client.request(&options.prompt, options.tokens_short);
    numbered["attempt"] = json!(3);
    numbered["seed"] = json!(u64::MAX);
    found.extend(judge(&client.stream(&numbered)?, "a third attempt"));
    let mut one = client.request(&options.prompt, 1);
    one["temperature"] = json!(1.0);
    found.extend(judge(&client.stream(&one)?, "a stream of one token"));
    Ok(found)
}

fn one_answer(client: &Client, options: &Options) -> Found {
    let streamed = client.stream(&client.request(&options.prompt, options.tokens_short))?;
    let mut request = client.request(&options.prompt, options.tokens_short);
    request["stream"] = json!(false);
    let answer = client.post(&request.to_string())?;
    if answer.status != 200 || !answer.content_type.starts_with("application/json") {
        let detail = format!("`stream: false` gives {} `{}`", answer.status, answer.content_type);
        return Ok(vec![Violation::new(Rule::Unary, detail)]);
    }
    let Ok(one) = serde_json::from_str::<InferenceAnswer>(&answer.body) else {
        return Ok(vec![Violation::new(Rule::Unary, format!("`stream: false` gives {}", answer.body))]);
    };
    let mut found = Vec::new();
    if one.text != streamed.text() {
        let detail = format!("one answer {:?}, streamed {:?}", one.text, streamed.text());
        found.push(Violation::new(Rule::Repeatable, detail));
    }
    if one.end.tokens_out > u64::from(options.tokens_short) {
        found.push(Violation::new(Rule::MaxTokens, format!("one answer of {} tokens", one.end.tokens_out)));
    }
    if one.started.prompt_tokens != one.end.prompt_tokens {
        found.push(Violation::new(Rule::PromptTokens, "one answer counts its prompt in two ways"));
    }
    Ok(found)
}

/// A prompt that no message would contain by chance.
const MARKER: &str = "kit-marker-7f3a9c";

fn bad_fields(client: &Client, _: &Options) -> Found {
    let job_id = client.job_id();
    let job = job_id.as_str();
    let five = ["a", "b", "c", "d", "e"];
    let cases: [(Value, &[&str]); 7] = [
        (
            json!({"job_id": job, "prompt": MARKER, "max_tokens": 0, "temperature": 9.0, "top_p": 0.0, "stop": five}),
            &["max_tokens", "temperature", "top_p", "stop"],
        ),
        (
            json!({"job_id": job, "prompt": MARKER, "max_tokens": 40_000, "min_p": -0.5, "repetition_penalty": 0.0, "attempt": 0}),
            &["max_tokens", "min_p", "repetition_penalty", "attempt"],
        ),
        (
            json!({"job_id": job, "prompt": MARKER, "max_tokens": "many", "temperature": "hot"}),
            &["max_tokens", "temperature"],
        ),
        (json!({"prompt": MARKER}), &["job_id", "max_tokens"]),
        (json!({"job_id": "../x", "prompt": MARKER, "max_tokens": 1}), &["job_id"]),
        (json!({"job_id": job, "max_tokens": 1}), &["prompt"]),
        (json!([MARKER]), &[]),
    ];
    let mut found = Vec::new();
    for (request, fields) in cases {
        found.extend(refused(&client.post(&request.to_string())?, fields, Rule::FieldErrors));
    }
    let both =
        json!({"job_id": job, "prompt": MARKER, "messages": [{"role": "user", "content": "x"}], "max_tokens": 1});
    found.extend(refused(&client.post(&both.to_string())?, &[], Rule::FieldErrors));
    let broken = format!("{{\"job_id\":\"x\",\"prompt\":\"{MARKER}");
    found.extend(refused(&client.post(&broken)?, &[], Rule::FieldErrors));
    Ok(found)
}

fn unknown_fields(client: &Client, options: &Options) -> Found {
    let mut found = Vec::new();
    let reserved =
        ["typical_p", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "n", "response_format"];
    for field in ["frobnicate", "maxTokens"].into_iter().chain(reserved) {
        let mut request = client.request(&options.prompt, 1);
        request[field] = json!(1);
        found.extend(refused(&client.post(&request.to_string())?, &[field], Rule::UnknownField));
    }
    Ok(found)
}

/// A 400 that lists these fields (an index may follow the name) and does not quote what it refuses.
fn refused(answer: &Answer, fields: &[&str], rule: Rule) -> Vec<Violation> {
    let mut found = Vec::new();
    if answer.status != 400 {
        return vec![Violation::new(rule, format!("bad {fields:?} gives {}", answer.status))];
    }
    match serde_json::from_str::<FieldErrors>(&answer.body) {
        Err(_) => found.push(Violation::new(rule, format!("bad {fields:?} is not refused by field: {}", answer.body))),
        Ok(listed) => {
            let is_listed = |field: &&&str| {
                let bare = |name: &str| name.split(['[', '.']).next().unwrap_or_default().to_owned();
                listed.errors.iter().any(|error| bare(&error.field) == **field)
            };
            let missing: Vec<_> = fields.iter().filter(|field| !is_listed(field)).collect();
            if !missing.is_empty() || listed.errors.is_empty() {
                found.push(Violation::new(rule, format!("{missing:?} not listed in {}", answer.body)));
            }
        }
    }
    if answer.body.contains(MARKER) {
        found.push(Violation::new(Rule::NoEcho, "the refusal quotes the prompt"));
    }
    found
}

fn delete_of_what_is_not_there(client: &Client, options: &Options) -> Found {
    let finished = client.request(&options.prompt, 1);
    client.stream(&finished)?;
    let mut found = Vec::new();
    for (what, job_id) in [("never was", client.job_id()), ("has ended", text_of(&finished["job_id"]))] {
        for time in ["once", "twice"] {
            let status = client.delete(&job_id)?;
            if status != 204 {
                let detail = format!("deleting a job that {what}, {time}: {status}");
                found.push(Violation::new(Rule::DeleteIdempotent, detail));
            }
        }
    }
    Ok(found)
}

fn cancel_by_delete(client: &Client, options: &Options) -> Found {
    let scenario = "a stream that is cancelled";
    let request = client.request(&options.prompt, options.tokens_long);
    let mut stream = client.open(&request)?;
    stream.read_until(|so_far| so_far.tokens().next().is_some() || so_far.end().is_some());
    let mut found = Vec::new();
    if client.health()?.is_some_and(|health| health.slots_busy == 0) && stream.transcript.end().is_none() {
        found.push(Violation::new(Rule::Health, "`/health` counts no busy slot while one generates"));
    }
    let ended_before = stream.transcript.end().is_some();
    let job_id = text_of(&request["job_id"]);
    for time in ["first", "second"] {
        let status = client.delete(&job_id)?;
        if status != 204 {
            found.push(Violation::new(Rule::DeleteIdempotent, format!("the {time} DELETE of a running job: {status}")));
        }
    }
    stream.read_to_end();
    let transcript = stream.transcript;
    found.extend(judge(&transcript, scenario));
    match (transcript.end().map(|end| end.stop_reason), transcript.failure()) {
        (Some(StopReason::Cancelled), _) => {}
        (Some(StopReason::Eos | StopReason::StopSequence), _) if ended_before => {
            return Err(KitError::Inconclusive { scenario });
        }
        (reason, failure) => {
            let detail = format!("{scenario} ends with {reason:?}, {:?}", failure.map(|failure| failure.code));
            found.push(Violation::new(Rule::CancelledEnd, detail));
        }
    }
    found.extend(slots_free(client, "a DELETE")?);
    Ok(found)
}

fn others_unaffected(client: &Client, options: &Options) -> Found {
    let several = client.health()?.is_some_and(|health| health.slots_total > 1);
    if !several {
        // With one slot there is nobody beside whom one could be disturbed.
        return Ok(Vec::new());
    }
    let tokens = options.tokens_short.saturating_mul(4);
    let alone = client.stream(&client.request(&options.prompt, tokens))?;
    let request = client.request(&options.prompt, options.tokens_long);
    let mut cancelled = client.open(&request)?;
    cancelled.read_until(|so_far| so_far.started().is_some());
    let beside = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut other = client.open(&client.request(&options.prompt, tokens))?;
            other.read_until(|so_far| so_far.tokens().next().is_some());
            let status = client.delete(&text_of(&request["job_id"]));
            other.read_to_end();
            status.map(|_| other.transcript)
        });
        cancelled.read_to_end();
        other.join().unwrap_or(Err(KitError::Inconclusive { scenario: "a second client" }))
    })?;
    let mut found = judge(&beside, "a stream beside one that is cancelled");
    if beside.text() != alone.text() {
        let detail = format!("alone {:?}, beside another {:?}", alone.text(), beside.text());
        found.push(Violation::new(Rule::OthersUnaffected, detail));
    }
    if beside.end().is_none_or(|end| end.stop_reason == StopReason::Cancelled) {
        found.push(Violation::new(Rule::OthersUnaffected, "the stream beside the cancelled one did not end by itself"));
    }
    Ok(found)
}

fn dropped_connection(client: &Client, options: &Options) -> Found {
    let mut found = Vec::new();
    // As soon as it is accepted, and in the middle.
    for tokens_read in [0, 2] {
        let mut stream = client.open(&client.request(&options.prompt, options.tokens_long))?;
        stream.read_until(|so_far| so_far.started().is_some() && so_far.tokens().count() >= tokens_read);
        drop(stream);
        found.extend(slots_free(client, "a dropped connection")?);
    }
    found.extend(judge(
        &client.stream(&client.request(&options.prompt, options.tokens_short))?,
        "a stream after dropped ones",
    ));
    Ok(found)
}

fn slots_free(client: &Client, after: &str) -> Found {
    if client.wait_for_busy(|busy| busy == 0)? {
        return Ok(Vec::new());
    }
    Ok(vec![Violation::new(Rule::SlotFreed, format!("slots are still busy after {after}"))])
}

fn stale_attempt(client: &Client, options: &Options) -> Found {
    let mut request = client.request(&options.prompt, 1);
    request["attempt"] = json!(2);
    let mut found = judge(&client.stream(&request)?, "a second attempt");
    request["attempt"] = json!(1);
    let answer = client.post(&request.to_string())?;
    let code = serde_json::from_str::<ErrorBody>(&answer.body).ok().map(|body| body.error.code);
    if answer.status != 409 || code != Some(ErrorCode::StaleAttempt) {
        let detail = format!("attempt 1 after attempt 2 gives {}, {code:?}", answer.status);
        found.push(Violation::new(Rule::StaleAttempt, detail));
    }
    Ok(found)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
