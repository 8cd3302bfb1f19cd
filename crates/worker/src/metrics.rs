//! Counters and their Prometheus text.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: String,
}

/// What a worker counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Outcome, Counter>,
    pub prompt_tokens: Counter,
    pub generated_tokens: Counter,
    pub prefill_seconds: Histogram,
    pub decode_seconds: Histogram,
    pub slots_busy: Gauge,
    pub waiting: Gauge,
    memory_bytes: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // From one token of a small model to a long answer of a large one.
        const SECONDS: [f64; 11] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0];
        let mut metrics = Self {
            registry: Registry::with_prefix("llorch_worker"),
            requests: Family::default(),
            prompt_tokens: Counter::default(),
            generated_tokens: Counter::default(),
            prefill_seconds: Histogram::new(SECONDS),
            decode_seconds: Histogram::new(SECONDS),
            slots_busy: Gauge::default(),
            waiting: Gauge::default(),
            memory_bytes: Gauge::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("requests", "Jobs that ended, by outcome", metrics.requests.clone());
        registry.register("prompt_tokens", "Prompt tokens taken in", metrics.prompt_tokens.clone());
        registry.register("generated_tokens", "Tokens generated", metrics.generated_tokens.clone());
        registry.register("prefill_seconds", "Time from slot to first token", metrics.prefill_seconds.clone());
        registry.register("decode_seconds", "Time from first token to end", metrics.decode_seconds.clone());
        registry.register("slots_busy", "Sequences that run", metrics.slots_busy.clone());
        registry.register("jobs_waiting", "Jobs that wait for a slot", metrics.waiting.clone());
        registry.register("memory_bytes", "Memory held by the process", metrics.memory_bytes.clone());
        metrics
    }

    /// Counts a job that ended: `eos`, `max_tokens`, `stop_sequence`, `cancelled`, or an error code in lower case.
    pub(crate) fn count(&self, outcome: &str) {
        self.requests.get_or_create(&Outcome { outcome: outcome.to_lowercase() }).inc();
    }

    /// The text a scraper reads.
    pub(crate) fn text(&self) -> String {
        self.memory_bytes.set(i64::try_from(crate::shared::resident_bytes()).unwrap_or(i64::MAX));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
