//! Which frames count: as many of each shard as there are, less those of which a part is missing on another shard.
//!
//! A transaction that changed several shards has a frame on each, and these are linked: all of them count, or none. A
//! frame that does not count takes those behind it along, since they may rest on it.
//!
//! The same rule decides while the server runs ("may this reply leave?", from what is on the disk) and when it starts
//! ("what is there?", from what was found), so what was answered is what is found.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Frames that count together: the shard and the number of each.
pub type Group = Vec<(u16, u64)>;

/// Two of these. What is in pairs with the first of a group is not divided from it, nor from each other.
pub type Pair = [(u16, u64); 2];

/// Lower `ends`, the last frame of each shard, until no pair is divided.
pub fn cut<'a>(ends: &mut [u64], pairs: impl IntoIterator<Item = &'a Pair> + Copy) {
    loop {
        let mut changed = false;
        for group in pairs {
            if group.iter().all(|(shard, sequence)| *sequence <= ends[usize::from(*shard)]) {
                continue;
            }
            for (shard, sequence) in group {
                let end = &mut ends[usize::from(*shard)];
                if *end >= *sequence {
                    *end = sequence - 1;
                    changed = true;
                }
            }
        }
        if !changed {
            return;
        }
    }
}

/// How far each shard's journal has come.
#[derive(Debug)]
pub struct Progress {
    shards: Vec<Marks>,
    /// Those of which something is not safe. As many transactions as there may be, of two shards there are no more pairs than
    /// there are frames of both, since the frames that are being filled only move on; and the keeper bounds these.
    pairs: Mutex<BTreeSet<Pair>>,
    pair_count: AtomicUsize,
}

#[derive(Debug, Default)]
struct Marks {
    /// The last frame that something was recorded in.
    recorded: AtomicU64,
    /// The last frame that is on the disk.
    synced: AtomicU64,
    /// The last frame that would count after a crash now.
    safe: AtomicU64,
    /// Tells who waits for `safe`.
    moved: Notify,
}

impl Marks {
    fn move_to(&self, end: u64) {
        if self.safe.fetch_max(end, Ordering::AcqRel) < end {
            self.moved.notify_waiters();
        }
    }
}

impl Progress {
    /// Nothing recorded yet.
    pub fn new(shard_count: usize) -> Progress {
        Progress {
            shards: (0..shard_count).map(|_| Marks::default()).collect(),
            pairs: Mutex::default(),
            pair_count: AtomicUsize::new(0),
        }
    }

    /// The last frame of a shard that something was recorded in.
    #[inline]
    pub fn recorded(&self, shard: usize) -> u64 {
        self.shards[shard].recorded.load(Ordering::Acquire)
    }

    /// Only the shard itself says so.
    #[inline]
    pub fn set_recorded(&self, shard: usize, sequence: u64) {
        self.shards[shard].recorded.store(sequence, Ordering::Release);
    }

    /// The last frame of a shard that would count after a crash now.
    #[inline]
    pub fn safe(&self, shard: usize) -> u64 {
        self.shards[shard].safe.load(Ordering::Acquire)
    }

    /// The last frame of a shard that is on the disk.
    pub fn synced(&self, shard: usize) -> u64 {
        self.shards[shard].synced.load(Ordering::Acquire)
    }

    /// Frames of all shards that something was recorded in and that are not on the disk.
    pub fn unsynced_count(&self) -> u64 {
        (0..self.shards.len()).map(|shard| self.recorded(shard).saturating_sub(self.synced(shard))).sum()
    }

    /// Frames that will count only together. To be said before any of them can be written.
    pub fn add_group(&self, group: Group) {
        let Some((first, others)) = group.split_first() else { return };
        let mut pairs = self.pairs.lock().expect("no thread panics and goes on");
        pairs.extend(others.iter().map(|other| [*first, *other]));
        self.pair_count.store(pairs.len(), Ordering::Release);
    }

    /// Pairs of frames that count only together and of which something is not safe.
    pub fn pair_count(&self) -> usize {
        self.pair_count.load(Ordering::Acquire)
    }

    /// A shard's frames up to this one are on the disk.
    pub fn set_synced(&self, shard: usize, sequence: u64) {
        self.shards[shard].synced.store(sequence, Ordering::SeqCst);
        if self.pair_count.load(Ordering::SeqCst) == 0 {
            self.shards[shard].move_to(sequence);
        } else {
            let mut pairs = self.pairs.lock().expect("no thread panics and goes on");
            let mut ends: Vec<u64> = (0..self.shards.len()).map(|shard| self.synced(shard)).collect();
            cut(&mut ends, &*pairs);
            for (marks, end) in self.shards.iter().zip(&ends) {
                marks.move_to(*end);
            }
            pairs.retain(|pair| pair.iter().any(|(shard, sequence)| *sequence > ends[usize::from(*shard)]));
            self.pair_count.store(pairs.len(), Ordering::SeqCst);
        }
    }

    /// Until a frame of a shard, and so all before it, would count after a crash.
    pub async fn until_safe(&self, shard: usize, sequence: u64) {
        while self.safe(shard) < sequence {
            let moved = self.shards[shard].moved.notified();
            if self.safe(shard) < sequence {
                moved.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_divided_is_cut_on_all_sides() {
        // Shard 0 has lost frame 8, which shard 1's frame 5 belongs to, behind which 6 belongs to shard 2's 2.
        let groups = [[(0, 8), (1, 5)], [(1, 6), (2, 2)], [(0, 3), (2, 1)]];
        let mut ends = [7, 9, 4];
        cut(&mut ends, &groups);
        assert_eq!(ends, [7, 4, 1]);
        let mut whole = [8, 9, 4];
        cut(&mut whole, &groups);
        assert_eq!(whole, [8, 9, 4]);
    }

    #[test]
    fn a_frame_is_safe_when_those_it_is_linked_to_are() {
        let progress = Progress::new(2);
        progress.set_synced(0, 3);
        assert_eq!(progress.safe(0), 3);
        progress.add_group(vec![(0, 5), (1, 2)]);
        progress.set_synced(0, 6);
        assert_eq!((progress.synced(0), progress.safe(0)), (6, 4));
        progress.set_synced(1, 1);
        assert_eq!((progress.safe(0), progress.safe(1)), (4, 1));
        progress.set_synced(1, 2);
        assert_eq!((progress.safe(0), progress.safe(1)), (6, 2));
        progress.set_synced(0, 7);
        assert_eq!(progress.safe(0), 7);
    }

    #[test]
    fn transactions_in_the_same_frames_take_the_room_of_one() {
        let progress = Progress::new(3);
        for _ in 0..100_000 {
            progress.add_group(vec![(0, 5), (1, 2)]);
            progress.add_group(vec![(0, 5), (1, 2), (2, 7)]);
        }
        assert_eq!(progress.pair_count(), 2);
        progress.set_synced(0, 5);
        progress.set_synced(1, 2);
        assert_eq!([0, 1, 2].map(|shard| progress.safe(shard)), [4, 1, 0]);
        progress.set_synced(2, 7);
        assert_eq!([0, 1, 2].map(|shard| progress.safe(shard)), [5, 2, 7]);
        assert_eq!(progress.pair_count(), 0);
        // Frames go on one after the other: of two shards no more pairs than frames.
        for number in 10..200 {
            progress.add_group(vec![(0, number / 2), (1, number / 3)]);
        }
        assert!(progress.pair_count() <= 200 / 2 + 200 / 3, "{}", progress.pair_count());
    }

    proptest! {
        #[test]
        fn the_cut_divides_nothing_and_is_the_longest(
            ends in prop::collection::vec(0u64..8, 3),
            pairs in prop::collection::vec((0u16..3, 1u64..9, 0u16..3, 1u64..9), 0..8),
        ) {
            let groups: Vec<Pair> = pairs.into_iter().map(|(a, n, b, m)| [(a, n), (b, m)]).collect();
            let is_whole = |ends: &[u64]| groups.iter().all(|group: &Pair| {
                let there = |(shard, sequence): &(u16, u64)| *sequence <= ends[usize::from(*shard)];
                group.iter().all(there) || !group.iter().any(there)
            });
            let mut cut_ends = ends.clone();
            cut(&mut cut_ends, &groups);
            prop_assert!(is_whole(&cut_ends));
            // Any other that divides nothing is shorter everywhere.
            for a in 0..=ends[0] {
                for b in 0..=ends[1] {
                    for c in 0..=ends[2] {
                        let other = [a, b, c];
                        prop_assert!(!is_whole(&other) || other.iter().zip(&cut_ends).all(|(other, end)| other <= end));
                    }
                }
            }
        }
    }
}
