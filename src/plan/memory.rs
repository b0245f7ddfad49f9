//! What a counter and a connection take of a server's memory, measured on that server.
//!
//! A table grows in steps, so one measurement says nothing: counters are added up to several times their first number,
//! memory is read at points between, and both the mean and the worst of them are given. It works with every server that
//! has `used_memory` in `INFO memory` and knows `SET`, `DBSIZE` and `DEL`. The counters have names of their own and are
//! deleted afterwards.

use serde::{Deserialize, Serialize};

use crate::bench::Observer;
use crate::bench::control::{Control, Value, encode};
use crate::bench::target::{Stream, Target, TargetError};

/// Points at which memory is read, evenly up to the number of counters: the last three quarters span two doublings.
const POINT_COUNT: u64 = 8;

/// Counters that are set or deleted at once.
const BATCH_COUNT: u64 = 1_000;

/// Bytes of a key's name, as those of the load have by default.
const KEY_DIGITS: usize = 11;

/// Connections that are opened to see what one takes, and at how many points.
const CONNECTION_STEP: usize = 64;
const CONNECTION_POINT_COUNT: usize = 3;

/// What `INFO memory` says. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// `used_memory`.
    pub used_bytes: u64,
    /// `maxmemory`, where there is a limit.
    pub maxmemory_bytes: Option<u64>,
    /// `total_system_memory`.
    pub system_bytes: Option<u64>,
    /// `used_memory_ceiling` less `maxmemory`: what Tallyring plans for everything but the counters.
    pub fixed_bytes: Option<u64>,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The server's limits, before.
    pub info: Info,
    /// Counters there were more, and bytes that were used more, in the order in which they were added.
    pub points: Vec<(u64, u64)>,
    /// Bytes of a counter: the slope over all points.
    pub counter_bytes: f64,
    /// Bytes of a counter where the table had grown last: what to plan with.
    pub counter_bytes_worst: f64,
    /// Bytes of an idle connection, where `INFO memory` shows any.
    pub connection_bytes: Option<f64>,
}

impl Memory {
    /// From points of (counters, bytes) and of (connections, bytes). `None` of fewer than three points.
    pub fn of(info: Info, points: Vec<(u64, u64)>, connections: &[(u64, u64)]) -> Option<Memory> {
        let counter_bytes = slope(&points)?;
        let each = points.iter().filter(|(count, _)| *count > 0).map(|(count, bytes)| *bytes as f64 / *count as f64);
        Some(Memory {
            info,
            counter_bytes,
            counter_bytes_worst: each.fold(counter_bytes, f64::max),
            connection_bytes: slope(connections).filter(|bytes| *bytes >= 1.0),
            points,
        })
    }
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

/// Measure with up to `key_count` counters. What was added is deleted again, also when it fails or is interrupted.
pub fn measure(target: &Target, key_count: u64, seed: u64, observer: &mut dyn Observer) -> Result<Memory, String> {
    let mut control = target.control().map_err(|error| error.to_string())?;
    let info = info(&mut control)?;
    let room = info.maxmemory_bytes.map_or(u64::MAX, |max| max.saturating_sub(info.used_bytes));
    if room < key_count * 256 {
        return Err(format!("there is no room for {key_count} counters below the server's maxmemory"));
    }
    let before = size(&mut control)?;
    // Different in every run, so that nobody else's counters are met.
    let prefix = format!("plan:{:08x}:", seed as u32 ^ std::process::id().rotate_left(16));
    let mut points = Vec::new();
    let mut added = 0;
    let mut fill = || -> Result<(), String> {
        for point in 1..=POINT_COUNT {
            observer.phase(&format!("memory: {} of {key_count} counters", key_count * point / POINT_COUNT));
            let until = key_count * point / POINT_COUNT;
            while added < until {
                if observer.interrupted() {
                    return Err("interrupted".to_owned());
                }
                let next = (added + BATCH_COUNT).min(until);
                batch(&mut control, &prefix, added..next, |key| vec!["SET".to_owned(), key, "1".to_owned()])?;
                added = next;
            }
            let used = self::info(&mut control)?.used_bytes;
            let count = size(&mut control)?.saturating_sub(before);
            points.push((count, used.saturating_sub(info.used_bytes)));
        }
        Ok(())
    };
    let filled = fill();
    let mut removed = 0;
    while removed < added {
        let next = (removed + BATCH_COUNT).min(added);
        batch(&mut control, &prefix, removed..next, |key| vec!["DEL".to_owned(), key])?;
        removed = next;
    }
    filled?;
    let connections = connections(target, &mut control)?;
    Memory::of(info, points, &connections).ok_or_else(|| "the server's memory did not change".to_owned())
}

/// Connections and the bytes they take. Where the server lets no more in, what there is must do.
fn connections(target: &Target, control: &mut Control) -> Result<Vec<(u64, u64)>, String> {
    let before = info(control)?.used_bytes;
    let mut open: Vec<Stream> = Vec::new();
    let mut points = vec![(0, 0)];
    for _ in 0..CONNECTION_POINT_COUNT {
        for _ in 0..CONNECTION_STEP {
            match target.connect() {
                Ok(stream) => open.push(stream),
                Err(_) => return Ok(points),
            }
        }
        points.push((open.len() as u64, info(control)?.used_bytes.saturating_sub(before)));
    }
    Ok(points)
}

fn batch(
    control: &mut Control,
    prefix: &str,
    numbers: std::ops::Range<u64>,
    command: impl Fn(String) -> Vec<String>,
) -> Result<(), String> {
    let mut requests = Vec::new();
    let count = (numbers.end - numbers.start) as usize;
    let mut name = String::new();
    for number in numbers {
        let arguments = command(format!("{prefix}{number:0KEY_DIGITS$}"));
        name.clone_from(&arguments[0]);
        encode(&arguments, &mut requests);
    }
    for reply in control.pipeline(&requests, count, &name).map_err(|error| error.to_string())? {
        if let Value::Error(reply) = reply {
            return Err(TargetError::Refused { command: name, reply }.to_string());
        }
    }
    Ok(())
}

fn size(control: &mut Control) -> Result<u64, String> {
    let reply = control.ask(&["DBSIZE"]).map_err(|error| error.to_string())?;
    reply.counter().and_then(|count| u64::try_from(count).ok()).ok_or_else(|| "DBSIZE is no number".to_owned())
}

fn info(control: &mut Control) -> Result<Info, String> {
    let reply = control.ask(&["INFO", "memory"]).map_err(|error| error.to_string())?;
    parse(reply.text().unwrap_or_default()).ok_or_else(|| "INFO memory has no used_memory".to_owned())
}

fn parse(info: &str) -> Option<Info> {
    let field = |name: &str| -> Option<u64> {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let maxmemory_bytes = field("maxmemory").filter(|bytes| *bytes > 0);
    Some(Info {
        used_bytes: field("used_memory")?,
        maxmemory_bytes,
        system_bytes: field("total_system_memory").filter(|bytes| *bytes > 0),
        fixed_bytes: field("used_memory_ceiling")
            .zip(maxmemory_bytes)
            .map(|(all, counters)| all.saturating_sub(counters)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_point_is_where_the_table_grew_last() {
        // 50 bytes an entry, and a table of 8 bytes a place that doubles when it is full.
        let bytes = |count: u64| 50 * count + 8 * count.next_power_of_two();
        let points: Vec<(u64, u64)> = (1..=8).map(|point| (point * 10_000, bytes(point * 10_000))).collect();
        let memory = Memory::of(Info::default(), points, &[(0, 0), (64, 64_000), (128, 128_000)]).unwrap();
        assert!((58.0..=66.0).contains(&memory.counter_bytes), "{memory:?}");
        assert!(memory.counter_bytes_worst > 63.0, "{memory:?}");
        assert_eq!(memory.connection_bytes, Some(1_000.0));
        assert_eq!(Memory::of(Info::default(), vec![(1, 1), (2, 2)], &[]), None);
    }

    #[test]
    fn info_is_understood() {
        let redis =
            "# Memory\r\nused_memory:1000\r\nused_memory_human:1K\r\ntotal_system_memory:9000\r\nmaxmemory:0\r\n";
        let expected = Info { used_bytes: 1_000, system_bytes: Some(9_000), ..Info::default() };
        assert_eq!(parse(redis), Some(expected));
        let ours = "used_memory:1000\r\nused_memory_ceiling:700\r\nmaxmemory:500\r\n";
        assert_eq!(parse(ours).unwrap().fixed_bytes, Some(200));
        assert_eq!(parse("nothing"), None);
    }
}
