//! The searches behind the K encodings: several candidates for a group's scale, the one with the least weighted error wins.
//!
//! All groups of a block are searched at once, one lane a group, so that the loops vectorise. Within a lane the order of
//! operations is the reference's, and with it every bit of the result (single precision, no contraction).

/// Groups below this magnitude are zeros.
pub(super) const GROUP_EPSILON: f32 = 1e-15;

/// A row of lanes.
type Lanes<const G: usize> = [f32; G];

/// The nearest integer, ties to even, for magnitudes below 2^22: the sum has no bits left for a fraction.
#[inline(always)]
pub(super) fn nearest(value: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    ((value + SHIFT).to_bits() & 0x007f_ffff).cast_signed() - 0x0040_0000
}

/// Scale and offset of `G` groups of `N` elements.
pub(super) struct ScaleAndMin<const G: usize, const N: usize> {
    /// Step of each group, 0 where all its elements are equal.
    pub(super) scales: Lanes<G>,
    /// What is subtracted after scaling, never negative.
    pub(super) mins: Lanes<G>,
    /// Level of each element, by element and group.
    pub(super) levels: [[u8; G]; N],
}

/// Which candidates are tried: `(first + index · step + most) / range` for `index` up to `last`, inclusive.
#[derive(Clone, Copy)]
pub(super) struct Candidates {
    pub(super) most: f32,
    pub(super) first: f32,
    pub(super) step: f32,
    pub(super) last: i32,
}

/// The best of a lane so far; scale and base are those that gave the levels.
struct Best<const G: usize> {
    error: Lanes<G>,
    scales: Lanes<G>,
    mins: Lanes<G>,
    inverse: Lanes<G>,
    base: Lanes<G>,
}

/// Sums of one candidate.
struct Sums<const G: usize> {
    levels: Lanes<G>,
    squares: Lanes<G>,
    products: Lanes<G>,
}

/// Finds scale and offset for groups whose levels are 0 to `candidates.most`. `values` and `weights` are by element, then
/// group.
#[inline(always)]
pub(super) fn scale_and_min<const G: usize, const N: usize>(
    values: &[Lanes<G>; N],
    weights: &[Lanes<G>; N],
    candidates: Candidates,
) -> ScaleAndMin<G, N> {
    let most = candidates.most;
    let (mut least, mut greatest) = (values[0], values[0]);
    let mut sum_weights = weights[0];
    let mut sum_values: Lanes<G> = std::array::from_fn(|group| weights[0][group] * values[0][group]);
    for (value, weight) in values.iter().zip(weights).skip(1) {
        for group in 0..G {
            least[group] = if value[group] < least[group] { value[group] } else { least[group] };
            greatest[group] = if value[group] > greatest[group] { value[group] } else { greatest[group] };
            sum_weights[group] += weight[group];
            sum_values[group] += weight[group] * value[group];
        }
    }
    let least = least.map(|least| if least > 0.0 { 0.0 } else { least });
    let inverse: Lanes<G> = std::array::from_fn(|group| most / (greatest[group] - least[group]));
    let mut best =
        Best { error: [0.0; G], scales: inverse.map(|inverse| 1.0 / inverse), mins: least, inverse, base: least };
    let mut levels = [[0.0_f32; G]; N];
    level_sums((values, weights), (&inverse, &least), most, &mut levels);
    best.error = errors(values, weights, &levels, (&best.scales, &best.mins));
    for index in 0..=candidates.last {
        let numerator = candidates.first + candidates.step * index as f32 + most;
        let inverse: Lanes<G> = std::array::from_fn(|group| numerator / (greatest[group] - best.mins[group]));
        let base = best.mins;
        let sums = level_sums((values, weights), (&inverse, &base), most, &mut levels);
        let (mut scales, mut mins, mut usable) = ([0.0; G], [0.0; G], [false; G]);
        for group in 0..G {
            let (l, l2, xl) = (sums.levels[group], sums.squares[group], sums.products[group]);
            let determinant = sum_weights[group] * l2 - l * l;
            let scale = (sum_weights[group] * xl - sum_values[group] * l) / determinant;
            let min = (l2 * sum_values[group] - l * xl) / determinant;
            usable[group] = determinant > 0.0;
            (scales[group], mins[group]) = if min > 0.0 { (xl / l2, 0.0) } else { (scale, min) };
        }
        let error = errors(values, weights, &levels, (&scales, &mins));
        for group in 0..G {
            if usable[group] && error[group] < best.error[group] {
                best.error[group] = error[group];
                best.scales[group] = scales[group];
                best.mins[group] = mins[group];
                best.inverse[group] = inverse[group];
                best.base[group] = base[group];
            }
        }
    }
    let flat: [bool; G] = std::array::from_fn(|group| greatest[group] == least[group]);
    let mut found = ScaleAndMin { scales: best.scales, mins: best.mins.map(|min| -min), levels: [[0; G]; N] };
    for (levels, value) in found.levels.iter_mut().zip(values) {
        for group in 0..G {
            let level = nearest(best.inverse[group] * (value[group] - best.base[group])).clamp(0, most as i32);
            levels[group] = if flat[group] { 0 } else { level as u8 };
        }
    }
    for group in 0..G {
        if flat[group] {
            (found.scales[group], found.mins[group]) = (0.0, -least[group]);
        }
    }
    found
}

/// Levels of one candidate, and their weighted sums.
#[inline(always)]
fn level_sums<const G: usize, const N: usize>(
    (values, weights): (&[Lanes<G>; N], &[Lanes<G>; N]),
    (inverse, base): (&Lanes<G>, &Lanes<G>),
    most: f32,
    levels: &mut [Lanes<G>; N],
) -> Sums<G> {
    let mut sums = Sums { levels: [0.0; G], squares: [0.0; G], products: [0.0; G] };
    for ((value, weight), levels) in values.iter().zip(weights).zip(levels) {
        for group in 0..G {
            let level = nearest(inverse[group] * (value[group] - base[group])).clamp(0, most as i32) as f32;
            levels[group] = level;
            let weighted = weight[group] * level;
            sums.levels[group] += weighted;
            sums.squares[group] += weighted * level;
            sums.products[group] += weighted * value[group];
        }
    }
    sums
}

/// Weighted squared error of each group.
#[inline(always)]
fn errors<const G: usize, const N: usize>(
    values: &[Lanes<G>; N],
    weights: &[Lanes<G>; N],
    levels: &[Lanes<G>; N],
    (scales, mins): (&Lanes<G>, &Lanes<G>),
) -> Lanes<G> {
    let mut errors = [0.0; G];
    for ((value, weight), level) in values.iter().zip(weights).zip(levels) {
        for group in 0..G {
            let difference = scales[group] * level[group] + mins[group] - value[group];
            errors[group] += weight[group] * (difference * difference);
        }
    }
    errors
}

/// Scale of `G` groups of `N` elements with levels around zero.
pub(super) struct Scale<const G: usize, const N: usize> {
    /// Step of each group, signed.
    pub(super) scales: Lanes<G>,
    /// Level of each element, 0 to 2 · half - 1.
    pub(super) levels: [[u8; G]; N],
}

/// Finds the scale for groups whose levels are -`half` to `half` - 1, each element weighted by its square.
#[inline(always)]
pub(super) fn scale<const G: usize, const N: usize>(values: &[Lanes<G>; N], half: i32) -> Scale<G, N> {
    let (mut largest, mut extreme) = ([0.0_f32; G], [0.0_f32; G]);
    for value in values {
        for group in 0..G {
            let magnitude = value[group].abs();
            if magnitude > largest[group] {
                largest[group] = magnitude;
                extreme[group] = value[group];
            }
        }
    }
    let mut best_inverse: Lanes<G> = extreme.map(|extreme| -(half as f32) / extreme);
    let (products, squares) = signed_sums(values, &best_inverse, half);
    let mut scales: Lanes<G> =
        std::array::from_fn(|group| if squares[group] == 0.0 { 0.0 } else { products[group] / squares[group] });
    let mut best: Lanes<G> = std::array::from_fn(|group| scales[group] * products[group]);
    for step in (-9..=9).filter(|step| *step != 0) {
        let inverse = extreme.map(|extreme| -(half as f32 + 0.1 * step as f32) / extreme);
        let (products, squares) = signed_sums(values, &inverse, half);
        for group in 0..G {
            let (product, square) = (products[group], squares[group]);
            if square > 0.0 && product * product > best[group] * square {
                scales[group] = product / square;
                best[group] = scales[group] * product;
                best_inverse[group] = inverse[group];
            }
        }
    }
    let mut levels = [[0; G]; N];
    for (levels, value) in levels.iter_mut().zip(values) {
        for group in 0..G {
            let level = half + nearest(best_inverse[group] * value[group]).clamp(-half, half - 1);
            levels[group] = if largest[group] < GROUP_EPSILON { 0 } else { level as u8 };
        }
    }
    for group in 0..G {
        if largest[group] < GROUP_EPSILON {
            scales[group] = 0.0;
        }
    }
    Scale { scales, levels }
}

/// Sums of weight · value · level and weight · level² of one candidate.
#[inline(always)]
fn signed_sums<const G: usize, const N: usize>(
    values: &[Lanes<G>; N],
    inverse: &Lanes<G>,
    half: i32,
) -> (Lanes<G>, Lanes<G>) {
    let (mut products, mut squares) = ([0.0; G], [0.0; G]);
    for value in values {
        for group in 0..G {
            let level = nearest(inverse[group] * value[group]).clamp(-half, half - 1) as f32;
            let weight = value[group] * value[group];
            products[group] += weight * value[group] * level;
            squares[group] += weight * level * level;
        }
    }
    (products, squares)
}
