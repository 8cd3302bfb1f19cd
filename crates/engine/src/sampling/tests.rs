//! Behaviour of the sampler: greedy, truncations, repeatability, bad logits.

use super::{NotFinite, Sampler, SamplingParameters};

fn parameters(temperature: f32) -> SamplingParameters {
    SamplingParameters { temperature, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0, seed: 7 }
}

fn draws(parameters: SamplingParameters, logits: &[f32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(parameters, &[]);
    (0..count).map(|_| sampler.sample(&mut logits.to_vec()).expect("finite logits")).collect()
}

#[test]
fn greedy_takes_the_largest_and_the_smaller_id_among_equals() {
    assert_eq!(draws(parameters(0.0), &[0.0, 3.0, 3.0, -1.0], 3), [1, 1, 1]);
    assert_eq!(draws(parameters(0.0), &[f32::NEG_INFINITY, -5.0], 1), [1]);
}

#[test]
fn the_same_seed_draws_the_same_and_another_seed_does_not() {
    let logits: Vec<f32> = (0..100_u8).map(|n| f32::from(n % 7)).collect();
    let first = draws(parameters(1.0), &logits, 50);
    assert_eq!(first, draws(parameters(1.0), &logits, 50));
    assert_ne!(first, draws(SamplingParameters { seed: 8, ..parameters(1.0) }, &logits, 50));
}

#[test]
fn frequencies_follow_the_softmax() {
    // Weights 1 : 3, by logits 0 and ln 3.
    let ones = draws(parameters(1.0), &[0.0, 3.0_f32.ln()], 4_000).iter().filter(|&&token| token == 1).count();
    assert!((2_850..3_150).contains(&ones), "{ones} of 4000, 3000 expected");
    // At temperature 0.5 the ratio is 1 : 9.
    let ones = draws(parameters(0.5), &[0.0, 3.0_f32.ln()], 4_000).iter().filter(|&&token| token == 1).count();
    assert!((3_500..3_700).contains(&ones), "{ones} of 4000, 3600 expected");
}

#[test]
fn truncations_leave_out_what_they_should() {
    let logits = [0.0, 1.0, 2.0, 3.0];
    let only = |parameters: SamplingParameters, allowed: &[u32]| {
        let drawn = draws(parameters, &logits, 500);
        assert!(drawn.iter().all(|token| allowed.contains(token)), "{drawn:?}");
        assert!(allowed.iter().all(|token| drawn.contains(token)), "not all of {allowed:?} were drawn");
    };
    only(SamplingParameters { top_k: 2, ..parameters(1.0) }, &[2, 3]);
    // Probabilities are .032 .087 .237 .644: two tokens reach 0.8.
    only(SamplingParameters { top_p: 0.8, ..parameters(1.0) }, &[2, 3]);
    only(SamplingParameters { top_p: 0.000_1, ..parameters(1.0) }, &[3]);
    // exp(-1) = 0.368 stays, exp(-2) = 0.135 goes.
    only(SamplingParameters { min_p: 0.3, ..parameters(1.0) }, &[2, 3]);
    only(SamplingParameters { top_k: 100, ..parameters(5.0) }, &[0, 1, 2, 3]);
}

#[test]
fn repetition_penalty_counts_prompt_and_output() {
    let penalised = SamplingParameters { repetition_penalty: 2.0, ..parameters(0.0) };
    let mut sampler = Sampler::new(penalised, &[2]);
    let logits = [1.0, 1.5, 2.5];
    // 2 was in the prompt: 1.25 against 1.5. Then 1 was seen too: 0.75 and 1.25 against 1.
    assert_eq!(sampler.sample(&mut logits.to_vec()), Ok(1));
    assert_eq!(sampler.sample(&mut logits.to_vec()), Ok(2));
    // Negative logits move away from zero, not towards it.
    let penalised = SamplingParameters { repetition_penalty: 2.0, ..parameters(0.0) };
    assert_eq!(Sampler::new(penalised, &[0]).sample(&mut [-1.0, -1.5]), Ok(1));
}

#[test]
fn logits_that_are_not_finite_are_named() {
    for temperature in [0.0, 0.8] {
        let sample = |logits: &[f32]| Sampler::new(parameters(temperature), &[]).sample(&mut logits.to_vec());
        assert_eq!(sample(&[f32::NAN; 4]), Err(NotFinite("NaN")));
        assert_eq!(sample(&[1.0, f32::NAN, 2.0]), Err(NotFinite("NaN")));
        assert_eq!(sample(&[1.0, f32::INFINITY]), Err(NotFinite("infinity")));
        assert_eq!(sample(&[f32::NEG_INFINITY; 4]), Err(NotFinite("no finite logit")));
    }
}
