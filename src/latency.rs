//! How long commands take, always recorded: each kind of command as a whole, and all of them by stage.
//!
//! One set per shard, owned by its thread. A window costs a record a stage, a send a record a stage and one a kind of
//! command, whatever number of commands they hold. Batches of one lap of the shard's loop share readings of the clock, so
//! that one duration often comes several times in a row: it is counted, and enters its histogram once.
//!
//! Invariant: every histogram of a command has the same bounds, and so has every one of a stage, so that any two can be
//! added. All are there from the start, so that recording takes no memory. Nothing here reads a clock.

mod buckets;
mod monitor;

use hdrhistogram::Histogram;

use crate::command::SPEC_COUNT;
use crate::session::Calls;

pub use buckets::{Cumulated, fine_bounds_ns};
pub use monitor::{Event, Monitor, Sample, Series, doctor};

/// Bytes of the histogram of a stage, of three digits: 1,024 counts of 8 bytes for each doubling from 2,048 ns up to a
/// minute, and as many below.
pub const STAGE_HISTOGRAM_BYTES: usize = 27 * 1_024 * 8;

/// Bytes of the histogram of a command, of two digits as in Redis: 128 counts for each doubling from 256 ns.
pub const COMMAND_HISTOGRAM_BYTES: usize = 30 * 128 * 8;

/// Histograms of stages that a shard has: one a stage, one to merge into, and one that is under way to another shard.
pub const STAGE_HISTOGRAM_COUNT: usize = STAGE_COUNT + 2;

/// The same of the commands.
pub const COMMAND_HISTOGRAM_COUNT: usize = SPEC_COUNT + 2;

/// How many stages there are.
pub const STAGE_COUNT: usize = 4;

/// Longest latency that is told apart, one minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// The first bound of [`buckets_us`], and how many digits its bounds are exact to, in bits: those of Redis.
const BUCKET_NS_MIN: u64 = 1_024;
const BUCKET_PRECISION_BITS: u32 = 7;

/// A part of a command's time on its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the receive that completed it until its window is executed: parsing, and whatever it waits for.
    Queue,
    /// Until its reply is encoded, other shards' part included.
    Execute,
    /// From the last reply of its batch being encoded until the kernel has taken them all.
    Send,
    /// From the receive that completed it until the kernel has taken its reply.
    Whole,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: [Stage; STAGE_COUNT] = [Stage::Queue, Stage::Execute, Stage::Send, Stage::Whole];

    /// In lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Queue => "queue",
            Stage::Execute => "execute",
            Stage::Send => "send",
            Stage::Whole => "whole",
        }
    }
}

/// A histogram, and what is still to enter it: the last duration.
#[derive(Debug)]
struct Recording {
    histogram: Histogram<u64>,
    last_ns: u64,
    last_count: u64,
}

impl Recording {
    fn new(histogram: Histogram<u64>) -> Recording {
        Recording { histogram, last_ns: 0, last_count: 0 }
    }

    #[inline]
    fn record(&mut self, duration_ns: u64, count: u64) {
        if duration_ns != self.last_ns {
            self.settle();
            self.last_ns = duration_ns;
        }
        self.last_count += count;
    }

    #[inline]
    fn settle(&mut self) {
        let count = std::mem::take(&mut self.last_count);
        if count > 0 {
            self.histogram.saturating_record_n(self.last_ns, count);
        }
    }

    fn reset(&mut self) {
        self.histogram.reset();
        self.last_count = 0;
    }
}

/// What a shard has recorded.
#[derive(Debug)]
pub struct Latency {
    /// By the command's index: the whole time.
    commands: Vec<Recording>,
    stages: [Recording; STAGE_COUNT],
    /// Spikes, when they are watched for.
    pub monitor: Monitor,
}

/// What the histograms of all shards are added up in.
#[derive(Debug)]
pub struct Merged {
    command: Histogram<u64>,
    stage: Histogram<u64>,
}

impl Default for Merged {
    fn default() -> Merged {
        Merged { command: for_command(), stage: for_stage() }
    }
}

impl Merged {
    /// The empty histogram that those of this kind can be added to.
    pub fn start(&mut self, which: Which) -> &mut Histogram<u64> {
        let histogram = match which {
            Which::Command(_) => &mut self.command,
            Which::Stage(_) => &mut self.stage,
        };
        histogram.reset();
        histogram
    }
}

/// One of a shard's histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// That of a command, by its index.
    Command(usize),
    /// That of a stage.
    Stage(Stage),
}

impl Default for Latency {
    fn default() -> Latency {
        Latency {
            commands: (0..SPEC_COUNT).map(|_| Recording::new(for_command())).collect(),
            stages: std::array::from_fn(|_| Recording::new(for_stage())),
            monitor: Monitor::default(),
        }
    }
}

impl Latency {
    /// `count` commands took so long in a stage.
    #[inline]
    pub fn record_stage(&mut self, stage: Stage, duration_ns: u64, count: u64) {
        self.stages[stage as usize].record(duration_ns, count);
    }

    /// Commands of one kind took so long, each.
    #[inline]
    pub fn record_command(&mut self, calls: Calls, duration_ns: u64) {
        self.commands[usize::from(calls.command)].record(duration_ns, u64::from(calls.count));
    }

    /// One histogram, if anything has been recorded in it.
    pub fn histogram(&mut self, which: Which) -> Option<&Histogram<u64>> {
        let recording = match which {
            Which::Command(index) => &mut self.commands[index],
            Which::Stage(stage) => &mut self.stages[stage as usize],
        };
        recording.settle();
        (!recording.histogram.is_empty()).then_some(&recording.histogram)
    }

    /// Forget all durations. What the monitor has is another matter.
    pub fn reset(&mut self) {
        self.commands.iter_mut().chain(&mut self.stages).for_each(Recording::reset);
    }
}

/// A command's histogram with nothing in it.
pub fn for_command() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 2).expect("the bounds are sound")
}

/// A stage's histogram with nothing in it.
pub fn for_stage() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are sound")
}

/// What `LATENCY HISTOGRAM` answers: (microseconds, how many took at most so long), the bounds doubling, without those
/// that add nothing to the one before. The bounds are the ones that Redis 7 gives: 1, 2, 4, 8, 16, 33, 66 …
pub fn buckets_us(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    let mut buckets: Vec<(u64, u64)> = Vec::new();
    let mut level_ns = BUCKET_NS_MIN;
    let mut count = 0;
    for step in histogram.iter_recorded() {
        while bound_ns(level_ns) < step.value_iterated_to() {
            level_ns *= 2;
        }
        count += step.count_since_last_iteration();
        let bound_us = bound_ns(level_ns) / 1_000;
        match buckets.last_mut() {
            Some((last_us, last_count)) if *last_us == bound_us => *last_count = count,
            _ => buckets.push((bound_us, count)),
        }
    }
    buckets
}

/// The end of the bucket that `level_ns`, a power of two, begins in a histogram of two decimal digits, as Redis has it.
fn bound_ns(level_ns: u64) -> u64 {
    level_ns + (level_ns >> BUCKET_PRECISION_BITS) - 1
}

/// What `INFO` tells of a histogram, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many were recorded.
    pub count: u64,
    /// Half took at most so long.
    pub p50_ns: u64,
    /// 99 of 100 did.
    pub p99_ns: u64,
    /// 999 of 1,000 did.
    pub p999_ns: u64,
    /// All did.
    pub max_ns: u64,
}

impl Percentiles {
    /// Those of a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Percentiles {
        Percentiles {
            count: histogram.len(),
            p50_ns: histogram.value_at_quantile(0.5),
            p99_ns: histogram.value_at_quantile(0.99),
            p999_ns: histogram.value_at_quantile(0.999),
            max_ns: histogram.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every bound from the first to the last that is needed, each counted from scratch.
    fn naive(durations_ns: &[u64]) -> Vec<(u64, u64)> {
        let mut buckets: Vec<(u64, u64)> = Vec::new();
        let mut before = 0;
        for bits in 10..40 {
            let end_ns = (1_u64 << bits) + (1_u64 << (bits - 7));
            let count = durations_ns.iter().filter(|duration_ns| **duration_ns < end_ns).count() as u64;
            if count > before {
                buckets.push(((end_ns - 1) / 1_000, count));
            }
            before = count;
        }
        buckets
    }

    fn recorded(durations_ns: &[u64]) -> Histogram<u64> {
        let mut latency = Latency::default();
        durations_ns.iter().for_each(|duration_ns| latency.record_stage(Stage::Send, *duration_ns, 1));
        latency.histogram(Which::Stage(Stage::Send)).cloned().unwrap_or_else(for_stage)
    }

    #[test]
    fn the_bounds_are_those_of_redis() {
        let edges: Vec<u64> = (10..32).map(|bits| 1 << bits).collect();
        let bounds_us: Vec<u64> = buckets_us(&recorded(&edges)).iter().map(|(bound_us, _)| *bound_us).collect();
        assert_eq!(bounds_us[..10], [1, 2, 4, 8, 16, 33, 66, 132, 264, 528]);
        assert_eq!(bounds_us.len(), edges.len());
    }

    #[test]
    fn nothing_recorded_has_no_buckets() {
        assert_eq!(buckets_us(&for_command()), []);
        assert_eq!(Percentiles::of(&for_stage()), Percentiles::default());
        assert!(Latency::default().histogram(Which::Stage(Stage::Queue)).is_none());
    }

    #[test]
    fn a_histogram_takes_what_the_plan_counts() {
        assert_eq!(for_stage().distinct_values() * size_of::<u64>(), STAGE_HISTOGRAM_BYTES);
        assert_eq!(for_command().distinct_values() * size_of::<u64>(), COMMAND_HISTOGRAM_BYTES);
    }

    #[test]
    fn what_is_longer_than_a_minute_is_counted_as_a_minute() {
        let histogram = recorded(&[u64::MAX, 0]);
        assert_eq!(histogram.len(), 2);
        assert!(histogram.max() >= LATENCY_NS_MAX);
        assert_eq!(buckets_us(&histogram).last().map(|(_, count)| *count), Some(2));
    }

    #[test]
    fn reset_forgets_durations() {
        let mut latency = Latency::default();
        latency.record_command(Calls { command: 3, count: 7 }, 5_000);
        latency.record_stage(Stage::Whole, 5_000, 7);
        assert_eq!(latency.histogram(Which::Command(3)).map(Histogram::len), Some(7));
        latency.record_stage(Stage::Whole, 5_000, 7);
        latency.reset();
        for which in [Which::Command(3), Which::Stage(Stage::Whole)] {
            assert!(latency.histogram(which).is_none());
        }
    }

    #[test]
    fn a_duration_that_comes_again_and_again_counts_as_often() {
        let durations_ns = [5_000, 5_000, 5_000, 0, 0, 7_000, 5_000, u64::MAX, u64::MAX];
        let mut plain = for_stage();
        durations_ns.iter().for_each(|duration_ns| plain.saturating_record(*duration_ns));
        assert_eq!(recorded(&durations_ns), plain);
    }

    proptest! {
        #[test]
        fn buckets_are_those_of_the_naive_twin(exponents in proptest::collection::vec((0_u32..35, any::<u64>()), 0..60)) {
            let durations_ns: Vec<u64> =
                exponents.iter().map(|(bits, low)| (1_u64 << bits) | (low & ((1_u64 << bits) - 1))).collect();
            let buckets = buckets_us(&recorded(&durations_ns));
            prop_assert_eq!(&buckets, &naive(&durations_ns));
            prop_assert!(buckets.is_sorted_by(|left, right| left.0 < right.0 && left.1 < right.1));
            prop_assert_eq!(buckets.last().map_or(0, |(_, count)| *count), durations_ns.len() as u64);
        }
    }
}
