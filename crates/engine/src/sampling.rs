//! From logits to a token. Pure: the only state is the generator's and the tokens seen.
//!
//! Order: repetition penalty, temperature, top-k, top-p, min-p, one draw. Temperature 0 takes the largest logit after
//! the penalty, the smallest id among equals, and draws nothing.

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use text::TokenId;

/// How the next token is chosen. Ranges are the caller's to check; see docs/protocol.md.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParameters {
    /// 0 is greedy.
    pub temperature: f32,
    /// Smallest set of tokens with this probability; 1 is off.
    pub top_p: f32,
    /// The k most likely tokens; 0 is off.
    pub top_k: u32,
    /// Tokens at least this fraction as likely as the likeliest; 0 is off.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens already seen; 1 is off (Keskar et al.,
    /// arXiv:1909.05858, section 4.1).
    pub repetition_penalty: f32,
    /// Makes draws repeatable.
    pub seed: u64,
}

/// Logits that no token can be chosen from, and what they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("logits hold {0}")]
pub struct NotFinite(pub &'static str);

/// Chooses the tokens of one sequence.
#[derive(Debug)]
pub struct Sampler {
    parameters: SamplingParameters,
    generator: ChaCha8Rng,
    seen: BTreeSet<TokenId>,
}

impl Sampler {
    /// A sampler at the beginning of its stream; `prompt` counts as seen.
    #[must_use]
    pub fn new(parameters: SamplingParameters, prompt: &[TokenId]) -> Self {
        let generator = ChaCha8Rng::seed_from_u64(parameters.seed);
        let is_penalising = parameters.repetition_penalty != 1.0;
        let seen = if is_penalising { prompt.iter().copied().collect() } else { BTreeSet::new() };
        Self { parameters, generator, seen }
    }

    /// The next token. `logits` is left changed.
    ///
    /// # Errors
    /// The logits hold NaN or +infinity, or nothing but -infinity.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<TokenId, NotFinite> {
        check_finite(logits)?;
        self.penalise(logits);
        let token = if self.parameters.temperature == 0.0 { largest(logits) } else { self.draw(logits) };
        if self.parameters.repetition_penalty != 1.0 {
            self.seen.insert(token);
        }
        Ok(token)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let penalty = self.parameters.repetition_penalty;
        for &token in &self.seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
            }
        }
    }

    fn draw(&mut self, logits: &[f32]) -> TokenId {
        let mut candidates = self.candidates(logits);
        self.truncate(&mut candidates);
        let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
        // 53 random bits make a uniform f64 in [0, 1).
        let uniform = (self.generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut remaining = uniform * total;
        for candidate in &candidates {
            remaining -= candidate.weight;
            if remaining < 0.0 {
                return candidate.token;
            }
        }
        // Rounding may leave a rest: it belongs to the last token that has any weight.
        candidates.iter().rev().find(|candidate| candidate.weight > 0.0).map_or(0, |candidate| candidate.token)
    }

    /// Every token with weight exp((logit - largest) / temperature), cut to the k largest.
    fn candidates(&self, logits: &[f32]) -> Vec<Candidate> {
        let temperature = f64::from(self.parameters.temperature);
        let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weigh = |(token, &logit): (TokenId, &f32)| Candidate {
            token,
            weight: (f64::from(logit - peak) / temperature).exp(),
        };
        let mut candidates: Vec<Candidate> = (0..).zip(logits).map(weigh).collect();
        let k = self.parameters.top_k as usize;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k, Candidate::descending);
            candidates.truncate(k);
            candidates.sort_unstable_by(Candidate::descending);
        }
        candidates
    }

    fn truncate(&self, candidates: &mut Vec<Candidate>) {
        if self.parameters.top_p < 1.0 {
            candidates.sort_unstable_by(Candidate::descending);
            let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
            let wanted = f64::from(self.parameters.top_p) * total;
            let mut sum = 0.0;
            let enough = candidates.iter().position(|candidate| {
                sum += candidate.weight;
                sum >= wanted
            });
            candidates.truncate(enough.map_or(candidates.len(), |last| last + 1));
        }
        if self.parameters.min_p > 0.0 {
            // The largest weight is exp(0) = 1.
            let threshold = f64::from(self.parameters.min_p);
            candidates.retain(|candidate| candidate.weight >= threshold);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    token: TokenId,
    weight: f64,
}

impl Candidate {
    /// Heaviest first, the smaller id first among equals, so that the order is the same on every machine.
    fn descending(left: &Self, right: &Self) -> std::cmp::Ordering {
        right.weight.total_cmp(&left.weight).then(left.token.cmp(&right.token))
    }
}

fn check_finite(logits: &[f32]) -> Result<(), NotFinite> {
    let mut any_finite = false;
    for logit in logits {
        if logit.is_nan() {
            return Err(NotFinite("NaN"));
        }
        if *logit == f32::INFINITY {
            return Err(NotFinite("infinity"));
        }
        any_finite |= logit.is_finite();
    }
    if any_finite { Ok(()) } else { Err(NotFinite("no finite logit")) }
}

fn largest(logits: &[f32]) -> TokenId {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in (0..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

#[cfg(test)]
mod tests;
