//! When the requests of an open loop are to be sent, whatever the server does.
//!
//! Pure. The count is exact, so that the offered rate is what was asked for and no random variable of its own: a Poisson
//! process is drawn second by second *on condition of* its count, which makes its moments independent and uniform
//! within the second (as for any Poisson process; Kingman, "Poisson Processes", 1993, section 2.4). Times ascend.

use super::random::Random;
use super::result::Arrivals;

/// Over so many nanoseconds a schedule has its exact share.
const BLOCK_NS: f64 = 1e9;

/// Moments, in nanoseconds from the beginning.
#[derive(Clone, Debug)]
pub struct Schedule {
    random: Random,
    arrivals: Arrivals,
    /// How long it is.
    length_ns: f64,
    /// Moments in all.
    count: u64,
    /// Those that have been given.
    given_count: u64,
    block_ns: f64,
    block_count: u64,
    /// The block that moments are being drawn in, counted from 0.
    block: u64,
    /// The last moment within it, as a part of it.
    part: f64,
    /// Where the moments of evenly spread ones lie between two, and when a block has the odd one: parts (threads) take
    /// turns.
    phase: f64,
}

impl Schedule {
    /// `count` moments within `length_ns`. `phase`, below 1, is where in each interval those of a constant rate lie, and how
    /// early a share that is no whole number is rounded up: that of all parts together then is as even as can be.
    pub fn new(arrivals: Arrivals, count: u64, length_ns: u64, phase: f64, random: Random) -> Schedule {
        assert!((0.0..1.0).contains(&phase), "a phase of {phase}");
        let length_ns = length_ns as f64;
        let block_count = (length_ns / BLOCK_NS).ceil().max(1.0);
        Schedule {
            random,
            arrivals,
            length_ns,
            count,
            given_count: 0,
            block_ns: length_ns / block_count,
            block_count: block_count as u64,
            block: 0,
            part: 0.0,
            phase,
        }
    }

    /// How many moments are left.
    pub fn left_count(&self) -> u64 {
        self.count - self.given_count
    }

    /// How many of the moments that are left lie before `at_ns`, without drawing them: of a Poisson process as many as are to
    /// be expected, and exactly as many at the end of a block.
    pub fn left_before(&self, at_ns: u64) -> u64 {
        let at_ns = at_ns as f64;
        if at_ns >= self.length_ns {
            return self.left_count();
        }
        let count = match self.arrivals {
            Arrivals::Poisson => {
                let block = ((at_ns / self.block_ns) as u64).max(self.block);
                let (before, end) = (self.count_before(block).max(self.given_count), self.count_before(block + 1));
                let from = if block == self.block { self.part } else { 0.0 };
                let part = (at_ns / self.block_ns - block as f64 - from) / (1.0 - from);
                before + (end.saturating_sub(before) as f64 * part.clamp(0.0, 1.0)).round() as u64
            }
            Arrivals::Constant | Arrivals::Trace => {
                (at_ns * self.count as f64 / self.length_ns - self.phase).ceil().max(0.0) as u64
            }
        };
        count.saturating_sub(self.given_count).min(self.left_count())
    }

    /// How many moments there are in the blocks before `block`.
    fn count_before(&self, block: u64) -> u64 {
        if block == 0 {
            return 0;
        }
        let rounding = (self.phase * self.block_count as f64) as u128;
        ((u128::from(self.count) * u128::from(block) + rounding) / u128::from(self.block_count)) as u64
    }

    fn poisson(&mut self) -> f64 {
        while self.given_count == self.count_before(self.block + 1) {
            self.block += 1;
            self.part = 0.0;
        }
        // The smallest of so many moments that are uniform in what is left of the block.
        let left_count = self.count_before(self.block + 1) - self.given_count;
        self.part += (1.0 - self.part) * (1.0 - (self.random.unit().ln() / left_count as f64).exp());
        (self.block as f64 + self.part) * self.block_ns
    }
}

impl Iterator for Schedule {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        if self.given_count == self.count {
            return None;
        }
        let at_ns = match self.arrivals {
            Arrivals::Poisson => self.poisson(),
            Arrivals::Constant | Arrivals::Trace => {
                (self.given_count as f64 + self.phase) / self.count as f64 * self.length_ns
            }
        };
        self.given_count += 1;
        Some(at_ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn moments(arrivals: Arrivals, count: u64, length_ns: u64) -> Vec<u64> {
        let schedule = Schedule::new(arrivals, count, length_ns, 0.5, Random::new(3, 0));
        assert_eq!(schedule.left_count(), count);
        schedule.collect()
    }

    #[test]
    fn every_second_has_its_exact_share_and_times_ascend() {
        for (count, length_ns) in [(1_000, 10 * S), (7, 3 * S), (12_345, S / 4), (0, S), (1, 100 * S)] {
            for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
                let moments = moments(arrivals, count, length_ns);
                assert_eq!(moments.len() as u64, count);
                assert!(moments.is_sorted());
                assert!(moments.iter().all(|at_ns| *at_ns < length_ns));
            }
        }
        let moments = moments(Arrivals::Poisson, 1_000, 10 * S);
        for second in 0..10 {
            assert_eq!(moments.iter().filter(|at_ns| **at_ns / S == second).count(), 100);
        }
    }

    /// Threads that all rounded alike would have the odd requests in the same seconds.
    #[test]
    fn the_share_of_all_threads_is_even() {
        for (count, threads) in [(1_010, 4), (10_007, 7), (3, 4)] {
            let mut shares = [0_u64; 10];
            for thread in 0..threads {
                let phase = thread as f64 / threads as f64;
                let mine = count * (thread + 1) / threads - count * thread / threads;
                let schedule = Schedule::new(Arrivals::Poisson, mine, 10 * S, phase, Random::new(3, thread));
                schedule.for_each(|at_ns| shares[(at_ns / S) as usize] += 1);
            }
            assert_eq!(shares.iter().sum::<u64>(), count);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 2, "{count} of {threads} threads: {shares:?}");
        }
    }

    #[test]
    fn what_is_left_is_counted_as_if_it_had_been_drawn() {
        for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
            for given_count in [0, 1, 777, 9_999, 10_000] {
                let mut schedule = Schedule::new(arrivals, 10_000, 10 * S, 0.25, Random::new(3, 0));
                schedule.by_ref().take(given_count).for_each(drop);
                let left: Vec<u64> = schedule.clone().collect();
                for at_ns in (0..=10).map(|second| second * S).chain([10 * S + 5, 1_234_567_890, 770_000_000]) {
                    let (counted, drawn) = (schedule.left_before(at_ns), left.iter().filter(|ns| **ns < at_ns).count());
                    // Within a second a Poisson process is its own master: so many are expected, give or take 5 deviations.
                    let slack = if arrivals == Arrivals::Poisson && at_ns % S != 0 { 80 } else { 0 };
                    assert!(
                        counted.abs_diff(drawn as u64) <= slack,
                        "{arrivals:?} {given_count} {at_ns}: {counted} {drawn}"
                    );
                }
            }
        }
    }

    #[test]
    fn gaps_of_a_poisson_process_are_exponential() {
        let moments = moments(Arrivals::Poisson, 400_000, 4 * S);
        let mut gaps: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 10_000.0).collect();
        gaps.sort_by(f64::total_cmp);
        // Kolmogorov-Smirnov: the largest distance between the two distribution functions; 1.95 is one in a thousand.
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(index, gap)| ((1.0 - (-gap).exp()) - index as f64 / gaps.len() as f64).abs())
            .fold(0.0, f64::max);
        assert!(distance * (gaps.len() as f64).sqrt() < 1.95, "{distance}");
    }

    #[test]
    fn a_poisson_process_varies_within_the_second_as_it_must() {
        // The counts of a hundredth of a second have their mean as variance, but for what the fixed sum takes.
        let moments = moments(Arrivals::Poisson, 100_000, 10 * S);
        let mut counts = vec![0.0_f64; 1_000];
        moments.iter().for_each(|at_ns| counts[(at_ns / (S / 100)) as usize] += 1.0);
        let variance = counts.iter().map(|count| (count - 100.0).powi(2)).sum::<f64>() / counts.len() as f64;
        assert!((variance / (100.0 * 0.99) - 1.0).abs() < 0.2, "{variance}");
    }

    #[test]
    fn a_constant_rate_is_even() {
        assert_eq!(moments(Arrivals::Constant, 4, S), [S / 8, 3 * S / 8, 5 * S / 8, 7 * S / 8]);
    }
}
