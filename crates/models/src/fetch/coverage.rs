//! Which bytes of a file are here. Pure: stretches of bytes, added as they arrive, and the gaps between them.

use std::ops::Range;

/// Stretches that are kept apart at most: every connection makes one, and interrupted runs leave some.
const MAX_STRETCHES: usize = 1024;

/// The bytes that are here: stretches in order, none empty, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    stretches: Vec<Range<u64>>,
}

impl Coverage {
    /// The first `bytes` bytes.
    pub(super) fn front_of(bytes: u64) -> Self {
        let mut coverage = Self::default();
        coverage.add(0..bytes);
        coverage
    }

    /// What a file says was there; `None` if that cannot be, in a file of `size_bytes`.
    pub(super) fn from_pairs(pairs: &[(u64, u64)], size_bytes: u64) -> Option<Self> {
        let stretches: Vec<Range<u64>> = pairs.iter().map(|(start, end)| *start..*end).collect();
        let is_each_good = stretches.iter().all(|stretch| stretch.start < stretch.end && stretch.end <= size_bytes);
        let is_in_order = stretches.windows(2).all(|pair| pair[0].end < pair[1].start);
        (is_each_good && is_in_order && stretches.len() <= MAX_STRETCHES).then_some(Self { stretches })
    }

    /// For a file.
    pub(super) fn to_pairs(&self) -> Vec<(u64, u64)> {
        self.stretches.iter().map(|stretch| (stretch.start, stretch.end)).collect()
    }

    /// These bytes are here now.
    pub(super) fn add(&mut self, new: Range<u64>) {
        if new.is_empty() {
            return;
        }
        let first = self.stretches.partition_point(|stretch| stretch.end < new.start);
        let after = self.stretches.partition_point(|stretch| stretch.start <= new.end);
        let merged = self.stretches[first..after]
            .iter()
            .fold(new, |sum, stretch| sum.start.min(stretch.start)..sum.end.max(stretch.end));
        self.stretches.splice(first..after, [merged]);
    }

    /// These bytes are of no use.
    pub(super) fn remove(&mut self, gone: &Range<u64>) {
        let mut left = Self::default();
        for stretch in &self.stretches {
            left.add(stretch.start..stretch.end.min(gone.start));
            left.add(stretch.start.max(gone.end)..stretch.end);
        }
        *self = left;
    }

    /// How many bytes are here from the beginning without a gap.
    pub(super) fn front(&self) -> u64 {
        self.stretches.first().filter(|stretch| stretch.start == 0).map_or(0, |stretch| stretch.end)
    }

    /// How many bytes are here.
    pub(super) fn bytes(&self) -> u64 {
        self.stretches.iter().fold(0, |sum, stretch| sum.saturating_add(stretch.end - stretch.start))
    }

    /// The first gap in a file of `size_bytes`, ending at the next multiple of `step` at the latest.
    pub(super) fn first_gap(&self, size_bytes: u64, step: u64) -> Option<Range<u64>> {
        let start = self.front();
        let gap_end = self.stretches.iter().map(|stretch| stretch.start).find(|next| *next > start);
        let step_end = (start / step).saturating_add(1).saturating_mul(step);
        let end = gap_end.unwrap_or(size_bytes).min(size_bytes).min(step_end);
        (start < end).then_some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Coverage;

    #[test]
    fn it_behaves_like_a_set_of_bytes() {
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        let mut coverage = Coverage::default();
        let mut model: BTreeSet<u64> = BTreeSet::new();
        for round in 0..2000 {
            let start = next(100);
            let range = start..start + next(12);
            if round % 5 == 4 {
                coverage.remove(&range);
                model.retain(|byte| !range.contains(byte));
            } else {
                coverage.add(range.clone());
                model.extend(range);
            }
            assert_eq!(coverage.bytes(), model.len() as u64);
            let front = (0..).find(|byte| !model.contains(byte)).expect("an end");
            assert_eq!(coverage.front(), front);
            let gap = coverage.first_gap(112, 16);
            assert_eq!(gap.as_ref().map(|gap| gap.start), (front < 112).then_some(front));
            if let Some(gap) = gap {
                assert!(gap.clone().all(|byte| !model.contains(&byte)) && gap.end <= (gap.start / 16 + 1) * 16);
            }
            assert_eq!(Coverage::from_pairs(&coverage.to_pairs(), 200), Some(coverage.clone()));
        }
    }

    #[test]
    fn what_a_file_claims_is_checked() {
        for bad in [&[(0, 0)][..], &[(5, 3)], &[(0, 11)], &[(0, 3), (2, 5)], &[(0, 3), (3, 5)], &[(4, 5), (0, 1)]] {
            assert_eq!(Coverage::from_pairs(bad, 10), None, "{bad:?}");
        }
        assert_eq!(Coverage::from_pairs(&[(0, 3), (4, 10)], 10).map(|good| good.bytes()), Some(9));
    }
}
