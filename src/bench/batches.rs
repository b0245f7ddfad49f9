//! What one thread of an open loop sends at once, and when: its part of all batches of the run.
//!
//! Pure. The requests of all threads together are exactly as many as were asked for: the last batch of all is shorter.

use super::random::Random;
use super::result::{Arrivals, Load};
use super::run::{Limit, Run};
use super::schedule::Schedule;

/// Moments, in nanoseconds from the beginning, and how many requests are sent at each.
pub struct Batches {
    schedule: Schedule,
    pipeline: u32,
    /// Requests of the last one.
    last_count: u32,
}

impl Batches {
    /// Those of the warm-up.
    pub fn of_warm_up(run: &Run, index: usize, length_ns: u64) -> Batches {
        Batches::new(run, index, in_time(run, length_ns), length_ns, 0)
    }

    /// Those of the measured time.
    pub fn measured(run: &Run, index: usize) -> Batches {
        let request_count = match run.limit {
            Limit::Requests(count) => count,
            Limit::Time(_) => in_time(run, run.length_ns()),
        };
        Batches::new(run, index, request_count, run.length_ns(), 1)
    }

    /// Of `request_count` requests of the whole run.
    fn new(run: &Run, index: usize, request_count: u64, length_ns: u64, stream: u64) -> Batches {
        let (_, arrivals) = open(run);
        let (pipeline, threads) = (run.pipeline as u64, run.threads as u128);
        let total = request_count.div_ceil(pipeline);
        // Until the end of a thread's part: rounding is not repeated for each thread.
        let until = |thread: usize| ((u128::from(total) * thread as u128 + threads / 2) / threads) as u64;
        let has_last = until(index + 1) == total;
        let last_count = if has_last { request_count - total.saturating_sub(1) * pipeline } else { pipeline };
        let phase = index as f64 / run.threads as f64;
        let random = Random::new(run.seed, 1 + (2 * run.threads + 3 * index) as u64 + stream);
        let schedule = Schedule::new(arrivals, until(index + 1) - until(index), length_ns, phase, random);
        Batches { schedule, pipeline: pipeline as u32, last_count: last_count as u32 }
    }

    /// How many of the requests that are left come before `at_ns` (see [`Schedule::left_before`]).
    pub fn left_before(&self, at_ns: u64) -> u64 {
        let count = self.schedule.left_before(at_ns);
        let has_last = count > 0 && count == self.schedule.left_count();
        count * u64::from(self.pipeline) - if has_last { u64::from(self.pipeline - self.last_count) } else { 0 }
    }
}

impl Iterator for Batches {
    type Item = (u64, u32);

    #[inline]
    fn next(&mut self) -> Option<(u64, u32)> {
        let ns = self.schedule.next()?;
        Some((ns, if self.schedule.left_count() == 0 { self.last_count } else { self.pipeline }))
    }
}

fn open(run: &Run) -> (f64, Arrivals) {
    let Load::Open { rate_per_s, arrivals } = run.load else { unreachable!("a closed loop has no schedule") };
    (rate_per_s, arrivals)
}

fn in_time(run: &Run, length_ns: u64) -> u64 {
    (open(run).0 * length_ns as f64 / 1e9).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::described;

    #[test]
    fn as_many_are_sent_as_asked_for_whatever_is_sent_at_once() {
        for (flags, count) in [
            ("--rate 10k -n 1000 -P 300", 1_000),
            ("-n 100 -P 256", 100),
            ("-n 1 -P 4 -t 4", 1),
            ("-n 1001 -P 7 -t 3", 1_001),
            ("--rate 100 -d 1s -P 256", 100),
            ("--rate 1234 -d 10s -P 100 -t 4", 12_340),
            ("--rate 0.1 -d 1s", 0),
        ] {
            let run = described(flags).unwrap();
            let parts: Vec<Batches> = (0..run.threads).map(|index| Batches::measured(&run, index)).collect();
            assert_eq!(parts.iter().map(|part| part.left_before(u64::MAX)).sum::<u64>(), count, "{flags}");
            let batches: Vec<(u64, u32)> = parts.into_iter().flatten().collect();
            assert_eq!(batches.iter().map(|(_, count)| u64::from(*count)).sum::<u64>(), count, "{flags}");
            let short_count = batches.iter().filter(|(_, count)| (*count as usize) < run.pipeline).count();
            assert!(short_count <= 1 && batches.iter().all(|(_, count)| *count > 0), "{flags}: {batches:?}");
        }
    }

    #[test]
    fn what_is_left_is_counted_with_the_short_one() {
        let run = described("--rate 100 -n 250 -P 100 --arrivals constant -t 1").unwrap();
        let mut batches = Batches::measured(&run, 0);
        assert_eq!([batches.left_before(1_000_000_000), batches.left_before(u64::MAX)], [200, 250]);
        assert_eq!(batches.next().unwrap().1, 100);
        assert_eq!([batches.left_before(1_000_000_000), batches.left_before(u64::MAX)], [100, 150]);
        assert_eq!(batches.map(|(_, count)| count).collect::<Vec<_>>(), [100, 50]);
    }
}
