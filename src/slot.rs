//! From a key to its slot, exactly as Redis Cluster computes it, and from a slot to the shard that owns it.
//!
//! Source: the Redis Cluster specification, "Key distribution model" and "Hash tags"; CRC-16/XMODEM.

use crate::limits::{SHARD_COUNT_MAX, SLOT_COUNT};

/// Which shard owns which slots: contiguous ranges, as even as they can be.
#[derive(Clone, Copy, Debug)]
pub struct ShardMap {
    shard_count: u32,
}

impl ShardMap {
    /// A map over `shard_count` shards, 1 to [`SHARD_COUNT_MAX`].
    pub fn new(shard_count: usize) -> ShardMap {
        assert!((1..=SHARD_COUNT_MAX).contains(&shard_count));
        ShardMap { shard_count: shard_count as u32 }
    }

    /// How many shards there are.
    pub fn shard_count(self) -> usize {
        self.shard_count as usize
    }

    /// The shard that owns `slot`.
    #[inline]
    pub fn shard_of(self, slot: u16) -> usize {
        ((u32::from(slot) * self.shard_count) / SLOT_COUNT as u32) as usize
    }

    /// The slots of `shard`.
    pub fn slots_of(self, shard: usize) -> std::ops::Range<u16> {
        let start = |shard: usize| (shard * SLOT_COUNT).div_ceil(self.shard_count as usize) as u16;
        start(shard)..start(shard + 1)
    }
}
