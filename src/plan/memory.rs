//! What a counter and a connection take of a server's memory, from what was measured on that server.
//!
//! A table grows in steps, so one measurement says nothing: counters are added, memory is read at points between, and both
//! the mean and the worst of them are given. What the counters that were there before take is told by a doubling of their
//! number, as a table that doubles has twice as much for twice as many. Where no growth was seen the worst is estimated,
//! and [`Memory::growth_seen`] says so. [`measure`] asks the servers; the rest is pure.

mod measure;

use serde::{Deserialize, Serialize};

pub use measure::measure;

/// A step of memory between two points is growth of the table from this many times the usual one on.
const GROWTH_RATIO: f64 = 1.05;

/// The worst is looked for among this last part of all counters: two doublings.
const LAST_PART: f64 = 0.25;

/// What `INFO memory` says; of a cluster all its servers together. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// `used_memory`.
    pub used_bytes: u64,
    /// `maxmemory`, where there is a limit.
    pub maxmemory_bytes: Option<u64>,
    /// `total_system_memory`, of one server.
    pub system_bytes: Option<u64>,
    /// `used_memory_ceiling` less `maxmemory` and its eighth: what Tallyring plans for everything but the counters.
    pub fixed_bytes: Option<u64>,
    /// `used_memory_startup`: what is used without a counter.
    pub startup_bytes: Option<u64>,
}

/// What the servers said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Before anything was added.
    pub info: Info,
    /// Servers that were asked.
    pub server_count: u64,
    /// Counters that were there before.
    pub before_count: u64,
    /// Counters there were more, and bytes that were used more, in the order in which they were added.
    pub points: Vec<(u64, u64)>,
    /// Idle connections, and the bytes they take.
    pub connections: Vec<(u64, u64)>,
}

/// What a counter and a connection take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The servers' limits, before.
    pub info: Info,
    /// Servers that were asked: more than one in a cluster, whose memory is that of all of them.
    pub server_count: u64,
    /// Counters that were there before.
    pub before_count: u64,
    /// Counters there were more, and bytes that were used more, in the order in which they were added.
    pub points: Vec<(u64, u64)>,
    /// Bytes of a counter: the slope over all points, or, where no growth of the table was seen, the mean of all.
    pub counter_bytes: f64,
    /// Bytes of a counter where the table had grown last: what to plan with.
    pub counter_bytes_worst: f64,
    /// The table grew while counters were added; otherwise the worst is an estimate.
    pub growth_seen: bool,
    /// Bytes of an idle connection, where `INFO memory` shows any.
    pub connection_bytes: Option<f64>,
}

impl Memory {
    /// From what was measured. `None` of fewer than three points.
    pub fn of(measured: Measured) -> Option<Memory> {
        let Measured { info, server_count, before_count, points, connections } = measured;
        let slope_bytes = slope(&points)?;
        let (added_count, added_bytes) = *points.last()?;
        let steps = steps(&points);
        let usual_bytes = median(&steps)?;
        // What the first step has of the connection's own buffers is no growth.
        let grew = steps.iter().skip(1).any(|bytes| *bytes > GROWTH_RATIO * usual_bytes);
        let growth_seen = grew && added_count >= before_count;
        let (counter_bytes, counter_bytes_worst) = if growth_seen {
            (slope_bytes, worst(&points, before_count, slope_bytes))
        } else {
            let taken_bytes = info.used_bytes.saturating_sub(info.startup_bytes.unwrap_or(0)) + added_bytes;
            let mean_bytes = (taken_bytes as f64 / (before_count + added_count) as f64).max(slope_bytes);
            // What is not in the usual step is the table's: when it has just doubled, at most twice that.
            (mean_bytes, mean_bytes + (mean_bytes - usual_bytes).max(0.0))
        };
        Some(Memory {
            info,
            server_count,
            before_count,
            counter_bytes,
            counter_bytes_worst,
            growth_seen,
            connection_bytes: slope(&connections).filter(|bytes| *bytes >= 1.0),
            points,
        })
    }

    /// What the reader must know of it.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.growth_seen {
            let added_count = self.points.last().map_or(0, |point| point.0);
            notes.push(format!(
                "No growth of the table was seen while {added_count} counters were added to the {} that were there: {:.1} \
                 bytes after growth are an estimate, in which everything else in the server's memory counts as the \
                 table's. Measure it on a server that is empty, or with --memory-keys {} or more",
                self.before_count,
                self.counter_bytes_worst,
                2 * self.before_count.max(added_count)
            ));
        }
        if self.server_count > 1 {
            notes.push(format!(
                "The {} servers of the cluster were measured together: a server of the answer is a cluster of as many",
                self.server_count
            ));
        }
        notes
    }
}

/// The bytes of a counter at the point at which that is most, those that were there before included.
fn worst(points: &[(u64, u64)], before_count: u64, at_least_bytes: f64) -> f64 {
    let doubled = points.iter().find(|(count, _)| *count >= before_count.max(1));
    let before_bytes = doubled.map_or(0.0, |(count, bytes)| before_count as f64 * *bytes as f64 / *count as f64);
    let all = points.iter().map(|(count, bytes)| ((before_count + count) as f64, before_bytes + *bytes as f64));
    let most = points.last().map_or(0, |(count, _)| before_count + count) as f64;
    all.filter(|(count, _)| *count >= LAST_PART * most && *count > 0.0)
        .map(|(count, bytes)| bytes / count)
        .fold(at_least_bytes, f64::max)
}

/// Bytes for each counter more, from point to point.
fn steps(points: &[(u64, u64)]) -> Vec<f64> {
    let from = std::iter::once(&(0, 0)).chain(points);
    let step = |(a, b): (&(u64, u64), &(u64, u64))| (b.0 > a.0).then(|| (b.1 as f64 - a.1 as f64) / (b.0 - a.0) as f64);
    from.zip(points).filter_map(step).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// Least squares.
fn slope(points: &[(u64, u64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(u64, u64)) -> u64| points.iter().map(|point| of(point) as f64).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut above, mut below) = (0.0, 0.0);
    for (x, y) in points {
        above += (*x as f64 - mean_x) * (*y as f64 - mean_y);
        below += (*x as f64 - mean_x).powi(2);
    }
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an empty server uses, and an entry, and a place of a table that doubles when it is full.
    const STARTUP_BYTES: u64 = 1_000_000;
    const ENTRY_BYTES: u64 = 64;
    const PLACE_BYTES: u64 = 8;

    fn used(count: u64) -> u64 {
        STARTUP_BYTES + ENTRY_BYTES * count + PLACE_BYTES * count.next_power_of_two()
    }

    /// `added` counters more than `before`.
    fn measured(before: u64, added: u64) -> Memory {
        let info = Info { used_bytes: used(before), startup_bytes: Some(STARTUP_BYTES), ..Info::default() };
        let points = (1..=32).map(|point| (added * point / 32, used(before + added * point / 32) - used(before)));
        let measured = Measured { info, before_count: before, points: points.collect(), ..Measured::default() };
        Memory::of(measured).unwrap()
    }

    #[test]
    fn the_worst_point_is_where_the_table_grew_last_whatever_was_there_before() {
        // Right after growth each counter has two places: 80 bytes.
        for (before, added) in [(0, 200_000), (100_000, 200_000), (125_000, 200_000), (300_000, 1_000_000)] {
            let memory = measured(before, added);
            assert!(memory.growth_seen && memory.notes().is_empty(), "{before}: {memory:?}");
            assert!((78.0..=82.0).contains(&memory.counter_bytes_worst), "{before}: {memory:?}");
            assert!((70.0..=82.0).contains(&memory.counter_bytes), "{before}: {memory:?}");
        }
    }

    #[test]
    fn where_the_table_did_not_grow_its_share_is_added_and_said() {
        let memory = measured(600_000, 200_000);
        assert!(!memory.growth_seen, "{memory:?}");
        assert!((74.0..=76.0).contains(&memory.counter_bytes), "{memory:?}");
        assert!((80.0..=90.0).contains(&memory.counter_bytes_worst), "{memory:?}");
        let note = memory.notes().join("\n");
        assert!(note.starts_with("No growth of the table was seen while 200000") && note.contains("1200000"), "{note}");
    }

    #[test]
    fn a_table_that_earlier_counters_have_left_large_is_not_taken_for_none() {
        // There is room for 524,288 already.
        let bytes = |count: u64| STARTUP_BYTES + ENTRY_BYTES * count + PLACE_BYTES * 524_288;
        let info = Info { used_bytes: bytes(100_000), startup_bytes: Some(STARTUP_BYTES), ..Info::default() };
        let points = (1..=8).map(|point| (25_000 * point, ENTRY_BYTES * 25_000 * point)).collect();
        let measured = Measured { info, before_count: 100_000, points, ..Measured::default() };
        let memory = Memory::of(measured).unwrap();
        assert!(!memory.growth_seen && memory.counter_bytes_worst >= 80.0, "{memory:?}");
    }

    #[test]
    fn connections_are_measured_and_few_points_say_nothing() {
        let points: Vec<(u64, u64)> = (1..=8).map(|point| (point * 10_000, 50 * point * 10_000)).collect();
        let connections = vec![(0, 0), (64, 64_000), (128, 128_000)];
        let with = |points, server_count| {
            Memory::of(Measured { points, server_count, connections: connections.clone(), ..Measured::default() })
        };
        let memory = with(points, 3).unwrap();
        assert_eq!((memory.connection_bytes, memory.counter_bytes), (Some(1_000.0), 50.0));
        assert!(memory.notes().iter().any(|note| note.contains("cluster of as many")), "{:?}", memory.notes());
        assert_eq!(with(vec![(1, 1), (2, 2)], 1), None);
    }
}
