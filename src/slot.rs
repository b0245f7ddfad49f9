//! From a key to its slot, exactly as Redis Cluster computes it, and from a slot to the shard that owns it.
//!
//! Source: the Redis Cluster specification, "Key distribution model" and "Hash tags"; CRC-16/XMODEM.

#[cfg(target_arch = "x86_64")]
mod clmul;

use crate::lanes;
use crate::limits::{SHARD_COUNT_MAX, SLOT_COUNT};

/// The CRC's polynomial, `x^16 + x^12 + x^5 + 1`; the initial value is 0, which the head's zero padding relies on.
const POLYNOMIAL: u16 = 0x1021;

/// `CRC[n][byte]`: what `byte` with `n` bytes behind it adds to the CRC of a word.
static CRC: [[u16; 256]; 8] = crc_tables();

/// The slot of `key`: of its hash tag if it has one, else of all its bytes.
///
/// The hash tag is what stands between the first `{` and the first `}` after it, if that is not empty.
#[inline]
pub fn of(key: &[u8]) -> u16 {
    // Most keys are two overlapping words.
    #[cfg(target_arch = "x86_64")]
    if let (8..=16, Some(first), Some(last)) = (key.len(), key.first_chunk(), key.last_chunk())
        && !lanes::has_byte([u64::from_le_bytes(*first), u64::from_le_bytes(*last)], b'{')
        && let Some(crc) = clmul::crc16_of_two_words(*first, *last, key.len())
    {
        return crc % SLOT_COUNT as u16;
    }
    of_any(key)
}

fn of_any(key: &[u8]) -> u16 {
    let (crc, brace_seen) = crc16(key);
    let crc = if brace_seen { crc16(tag(key)).0 } else { crc };
    crc % SLOT_COUNT as u16
}

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

/// The CRC-16/XMODEM of `bytes`, and whether there is a `{` among them.
fn crc16(bytes: &[u8]) -> (u16, bool) {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() > 16
        && let Some(crc) = clmul::crc16(bytes)
    {
        return (crc, memchr::memchr(b'{', bytes).is_some());
    }
    crc16_by_words(bytes)
}

/// The same where the processor cannot multiply without carry, and of short keys: both in one pass over words of 8 bytes.
fn crc16_by_words(bytes: &[u8]) -> (u16, bool) {
    let (head, words) = bytes.as_rchunks::<8>();
    let (mut crc, mut brace_seen) = (0, false);
    if !head.is_empty() {
        // Leading zero bytes leave a CRC that starts from 0 as it is.
        let word = head.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        (crc, brace_seen) = (crc16_of_word(word), lanes::has_byte([word, 0], b'{'));
    }
    for word in words {
        let word = u64::from_be_bytes(*word);
        brace_seen |= lanes::has_byte([word, 0], b'{');
        crc = crc16_of_word(word ^ u64::from(crc) << 48);
    }
    (crc, brace_seen)
}

#[inline]
fn crc16_of_word(word: u64) -> u16 {
    let bytes = word.to_le_bytes();
    let part = |n: usize| CRC[n][usize::from(bytes[n])];
    (part(0) ^ part(1)) ^ (part(2) ^ part(3)) ^ ((part(4) ^ part(5)) ^ (part(6) ^ part(7)))
}

/// What decides the slot of a `key` that has a `{`.
#[cold]
fn tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let behind = &key[open + 1..];
    match memchr::memchr(b'}', behind) {
        None | Some(0) => key,
        Some(close) => &behind[..close],
    }
}

const fn crc_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut n = 0;
        while n < 8 {
            let mut bit = 0;
            while bit < 8 {
                crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ POLYNOMIAL };
                bit += 1;
            }
            tables[n][byte] = crc;
            n += 1;
        }
        byte += 1;
    }
    tables
}

#[cfg(test)]
mod tests;
