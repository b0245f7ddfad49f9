//! How far a shard's journal is behind: what would be lost if the machine stopped now, and how long the disk takes.
//!
//! Invariant: two clock readings a frame and none a change. Only the shard itself writes and reads it.

use std::cell::Cell;

use crate::stats::JournalReport;

/// A sync that takes longer than this is a delayed one: everybody who waits for the disk notices.
const DELAYED_NS_MIN: u64 = 1_000_000_000;

/// See the module. Times are the shard's nanoseconds; 0 is none.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// When the first change of the frame that is being filled was recorded.
    filling_since_ns: Cell<u64>,
    /// The same of the oldest frame that has ended and is not on the disk.
    taken_since_ns: Cell<u64>,
    /// Bytes of such frames.
    taken_bytes: Cell<u64>,
    syncing_since_ns: Cell<u64>,
    sync_count: Cell<u64>,
    sync_ns: Cell<u64>,
    last_sync_ns: Cell<u64>,
    delayed_sync_count: Cell<u64>,
}

impl Lag {
    /// The first change of a frame was recorded.
    pub(super) fn note_first(&self, now_ns: u64) {
        self.filling_since_ns.set(now_ns.max(1));
    }

    /// A frame has ended.
    pub(super) fn note_ended(&self) {
        let since_ns = self.filling_since_ns.take();
        if self.taken_since_ns.get() == 0 {
            self.taken_since_ns.set(since_ns);
        }
    }

    /// It is to be written, and has so many bytes.
    pub(super) fn note_taken(&self, bytes: usize) {
        self.taken_bytes.update(|taken| taken + bytes as u64);
    }

    /// All frames that were taken are on the disk.
    pub(super) fn note_all_safe(&self) {
        self.taken_since_ns.set(0);
        self.taken_bytes.set(0);
    }

    /// The disk is asked to have what it was given.
    pub(super) fn note_sync_begun(&self, now_ns: u64) {
        self.syncing_since_ns.set(now_ns.max(1));
    }

    /// It has answered.
    pub(super) fn note_sync_ended(&self, now_ns: u64) {
        let took_ns = now_ns - self.syncing_since_ns.take().min(now_ns);
        self.last_sync_ns.set(took_ns);
        self.sync_ns.update(|sum| sum + took_ns);
        self.sync_count.update(|count| count + 1);
        self.delayed_sync_count.update(|count| count + u64::from(took_ns >= DELAYED_NS_MIN));
    }

    /// What the last sync took; 0 before the first.
    pub(super) fn last_sync_ns(&self) -> u64 {
        self.last_sync_ns.get()
    }

    /// What is known now; `filling_bytes` are those of the frame that is being filled, if anything is in it.
    pub(super) fn report(&self, filling_bytes: usize, now_ns: u64) -> JournalReport {
        let since = |since_ns: u64| (since_ns > 0).then(|| now_ns.saturating_sub(since_ns));
        let oldest_ns = since(self.taken_since_ns.get()).or(since(self.filling_since_ns.get()));
        JournalReport {
            unsynced_bytes: self.taken_bytes.get() + filling_bytes as u64,
            unsynced_ns: oldest_ns.unwrap_or(0),
            syncing_count: u64::from(self.syncing_since_ns.get() > 0),
            sync_count: self.sync_count.get(),
            sync_ns: self.sync_ns.get(),
            last_sync_ns: self.last_sync_ns.get(),
            delayed_sync_count: self.delayed_sync_count.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_change_that_is_not_on_the_disk_counts() {
        let lag = Lag::default();
        assert_eq!(lag.report(0, 5), JournalReport::default());
        lag.note_first(10);
        assert_eq!(lag.report(7, 15), JournalReport { unsynced_bytes: 7, unsynced_ns: 5, ..JournalReport::default() });
        lag.note_ended();
        lag.note_taken(100);
        lag.note_first(20);
        lag.note_ended();
        lag.note_taken(50);
        lag.note_first(30);
        lag.note_sync_begun(35);
        let waiting = lag.report(7, 40);
        assert_eq!((waiting.unsynced_bytes, waiting.unsynced_ns, waiting.syncing_count), (157, 30, 1));
        lag.note_sync_ended(2_000_000_035);
        lag.note_all_safe();
        let safe = lag.report(7, 50);
        assert_eq!((safe.unsynced_bytes, safe.unsynced_ns, safe.syncing_count), (7, 20, 0));
        assert_eq!((safe.sync_count, safe.last_sync_ns, safe.delayed_sync_count), (1, 2_000_000_000, 1));
        lag.note_sync_begun(60);
        lag.note_sync_ended(63);
        let again = lag.report(0, 70);
        assert_eq!((again.sync_count, again.sync_ns, again.last_sync_ns), (2, 2_000_000_003, 3));
        assert_eq!(again.delayed_sync_count, 1);
    }
}
