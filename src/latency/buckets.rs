//! A histogram's durations, counted up to chosen bounds.

use hdrhistogram::Histogram;

/// Upper bounds in nanoseconds, ascending, and how many durations were at most so long, each with those below. What is
/// longer than the last bound is only in the count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cumulated {
    /// By bound.
    pub counts: Vec<u64>,
    /// How many were recorded.
    pub count: u64,
    /// All durations added up, as exact as the histogram is.
    pub total_ns: u64,
}

impl Cumulated {
    /// Nothing, of so many bounds.
    pub fn new(bound_count: usize) -> Cumulated {
        Cumulated { counts: vec![0; bound_count], count: 0, total_ns: 0 }
    }

    /// Add a histogram. What it does not tell apart from a longer duration counts as that one, so that a bound is never
    /// said to hold more than it does.
    pub fn add(&mut self, histogram: &Histogram<u64>, bounds_ns: &[u64]) {
        assert_eq!(bounds_ns.len(), self.counts.len(), "the bounds stay the same");
        let mut at = 0;
        let mut below_count = 0;
        for step in histogram.iter_recorded() {
            let longest_ns = step.value_iterated_to();
            while at < bounds_ns.len() && bounds_ns[at] < longest_ns {
                self.counts[at] += below_count;
                at += 1;
            }
            let count = step.count_since_last_iteration();
            below_count += count;
            self.total_ns = self.total_ns.saturating_add(histogram.median_equivalent(longest_ns).saturating_mul(count));
        }
        self.counts[at..].iter_mut().for_each(|count| *count += below_count);
        self.count += histogram.len();
    }
}

/// Bounds that tell durations apart to a sixteenth: 16 for each doubling from 256 ns to a minute and more. Each ends a
/// cell of the histograms of stages, so that counts up to them are exact.
pub fn fine_bounds_ns() -> Vec<u64> {
    let doublings = FINE_BITS.map(|bits| 1_u64 << bits);
    doublings.flat_map(|start_ns| (17..=32).map(move |part| start_ns * part / 16 - 1)).collect()
}

/// The doublings of [`fine_bounds_ns`]: from 2^8 ns to 2^36 ns.
const FINE_BITS: std::ops::Range<u32> = 8..36;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::latency::{for_command, for_stage};

    #[test]
    fn fine_bounds_are_exact_and_hold_everything() {
        let bounds_ns = fine_bounds_ns();
        assert_eq!((bounds_ns[0], bounds_ns[15], bounds_ns[16]), (271, 511, 543));
        assert!(bounds_ns.is_sorted_by(|left, right| left < right && *right <= left + left / 16 + 1));
        let histogram = for_stage();
        for bound_ns in bounds_ns.iter().filter(|bound_ns| **bound_ns < histogram.high()) {
            assert_eq!(histogram.highest_equivalent(*bound_ns), *bound_ns);
        }
        assert!(*bounds_ns.last().unwrap() >= histogram.high());
    }

    proptest! {
        #[test]
        fn bounds_hold_what_the_naive_twin_counts(
            durations_ns in proptest::collection::vec(0_u64..1_000_000, 0..50),
            more_ns in proptest::collection::vec(any::<u64>(), 0..5),
            mut bounds_ns in proptest::collection::vec(1_u64..2_000_000, 0..20),
        ) {
            bounds_ns.sort_unstable();
            let (mut histogram, mut other) = (for_command(), for_stage());
            durations_ns.iter().for_each(|ns| histogram.saturating_record(*ns));
            more_ns.iter().for_each(|ns| other.saturating_record(*ns));
            let mut cumulated = Cumulated::new(bounds_ns.len());
            cumulated.add(&histogram, &bounds_ns);
            cumulated.add(&other, &bounds_ns);
            let up_to = |bound_ns: u64| {
                let of = |durations_ns: &[u64], histogram: &Histogram<u64>| {
                    durations_ns.iter().filter(|ns| histogram.highest_equivalent((**ns).min(histogram.high())) <= bound_ns).count()
                };
                (of(&durations_ns, &histogram) + of(&more_ns, &other)) as u64
            };
            let naive: Vec<u64> = bounds_ns.iter().map(|bound_ns| up_to(*bound_ns)).collect();
            prop_assert_eq!(&cumulated.counts, &naive);
            prop_assert_eq!(cumulated.count, (durations_ns.len() + more_ns.len()) as u64);
            if more_ns.is_empty() {
                let exact_ns: u64 = durations_ns.iter().sum();
                prop_assert!(cumulated.total_ns.abs_diff(exact_ns) <= exact_ns / 100);
            }
        }
    }
}
