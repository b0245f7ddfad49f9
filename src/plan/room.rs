//! How much of a server's memory there is for counters.
//!
//! Pure. Tallyring's `maxmemory` is for counters alone; other servers' is for everything, and without one nothing is kept
//! free at all, which is no plan.

use super::memory::Memory;
use crate::config::ByteCount;

/// Where a server has no limit, this share of its machine's memory is planned with: a snapshot's fork may copy all of it.
const UNLIMITED_SHARE: f64 = 0.5;

/// What there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Room {
    /// Bytes for counters, where they are known.
    pub bytes: Option<f64>,
    /// What the reader must know of it.
    pub note: Option<String>,
}

impl Room {
    /// Of a server with so many connections; `given_bytes` is what the user says.
    pub fn of(memory: Option<&Memory>, given_bytes: Option<u64>, connection_count: usize) -> Room {
        if let Some(given) = given_bytes {
            return Room { bytes: Some(given as f64), note: None };
        }
        let Some(memory) = memory else { return Room::default() };
        let info = &memory.info;
        let connections_bytes = connection_count as f64 * memory.connection_bytes.unwrap_or(0.0);
        let others_bytes = info.startup_bytes.unwrap_or(0) as f64 + connections_bytes;
        let (bytes, note) = match (info.maxmemory_bytes, info.fixed_bytes, info.system_bytes) {
            (Some(max), Some(_), _) => (max as f64, None),
            (Some(max), None, _) => (max as f64 - others_bytes, None),
            (None, _, Some(system)) => {
                let note = format!(
                    "The server has no maxmemory: half of its machine's {} is kept for the copy that a snapshot makes, for \
                     fragmentation and for all else. Give --node-memory, or set its maxmemory",
                    ByteCount(system)
                );
                (UNLIMITED_SHARE * system as f64 - others_bytes, Some(note))
            }
            (None, _, None) => return Room::default(),
        };
        if bytes <= 0.0 {
            let note = format!(
                "{} connections and the empty server take all of its memory. Give --node-memory, or raise its maxmemory",
                connection_count
            );
            return Room { bytes: None, note: Some(note) };
        }
        Room { bytes: Some(bytes), note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::memory::{Info, Measured};

    fn memory(info: Info) -> Memory {
        let points = vec![(1, 40), (2, 80), (3, 120)];
        let connections = vec![(0, 0), (1, 10_000), (2, 20_000)];
        Memory::of(Measured { info, points, connections, ..Measured::default() }).unwrap()
    }

    fn room(info: Info, connection_count: usize) -> Room {
        Room::of(Some(&memory(info)), None, connection_count)
    }

    #[test]
    fn a_limit_for_all_is_less_what_connections_take_and_one_for_counters_is_not() {
        let redis = Info { maxmemory_bytes: Some(10_000_000), startup_bytes: Some(1_000_000), ..Info::default() };
        assert_eq!(room(redis, 50), Room { bytes: Some(8_500_000.0), note: None });
        let ours = Info { fixed_bytes: Some(5), ..redis };
        assert_eq!(room(ours, 50), Room { bytes: Some(10_000_000.0), note: None });
        let full = room(redis, 1_000);
        assert!(full.bytes.is_none() && full.note.as_ref().unwrap().contains("1000 connections"), "{full:?}");
    }

    #[test]
    fn without_a_limit_half_is_kept_and_that_is_said() {
        let unlimited = Info { system_bytes: Some(8 << 30), ..Info::default() };
        let room = room(unlimited, 100);
        assert_eq!(room.bytes, Some((4_u64 << 30) as f64 - 1_000_000.0));
        let note = room.note.unwrap();
        assert!(note.contains("no maxmemory") && note.contains("--node-memory"), "{note}");
    }

    #[test]
    fn what_is_said_counts_and_what_is_not_known_is_not_guessed() {
        let given = Room::of(Some(&memory(Info::default())), Some(7), 50);
        assert_eq!(given, Room { bytes: Some(7.0), note: None });
        assert_eq!(room(Info::default(), 50), Room::default());
        assert_eq!(Room::of(None, None, 50), Room::default());
    }
}
