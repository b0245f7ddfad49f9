//! What is asked of every server alike: `INCR` on a key of 16 bytes, by so many connections, so many requests at once.
//!
//! Pure. Invariant: every request is [`REQUEST_BYTES`] long, which the bare loop counts by.

use std::fmt;
use std::str::FromStr;

use tallyring::slot::{self, ShardMap};

/// Bytes of a key.
pub const KEY_BYTES: usize = 16;

/// A request, whose last eight digits are its key's number.
const TEMPLATE: &[u8; REQUEST_BYTES] = b"*2\r\n$4\r\nINCR\r\n$16\r\ncounter:00000000\r\n";

/// The first key.
const KEY: &[u8; KEY_BYTES] = b"counter:00000000";

/// Bytes of a request.
pub const REQUEST_BYTES: usize = 37;

/// Where the eight digits begin.
const DIGITS_AT: usize = REQUEST_BYTES - 2 - 8;

/// Keys are numbered below this: eight digits.
pub const KEY_COUNT_MAX: u32 = 100_000_000;

/// How a server is loaded: each connection sends `depth` requests at once, and the next ones when it has their replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Connections, 1 to [`CONNECTION_COUNT_MAX`].
    pub connection_count: usize,
    /// Requests in flight per connection, 1 to [`DEPTH_MAX`].
    pub depth: usize,
}

/// The bare loop has a buffer for so many connections.
pub const CONNECTION_COUNT_MAX: usize = 256;

/// More would not fit a receive of any of the servers.
pub const DEPTH_MAX: usize = 256;

impl FromStr for Load {
    type Err = String;

    fn from_str(text: &str) -> Result<Load, String> {
        let parsed = text.split_once('x').and_then(|(connections, depth)| {
            let load = Load { connection_count: connections.parse().ok()?, depth: depth.parse().ok()? };
            let fits = (1..=CONNECTION_COUNT_MAX).contains(&load.connection_count);
            (fits && (1..=DEPTH_MAX).contains(&load.depth)).then_some(load)
        });
        parsed.ok_or_else(|| format!("\"{text}\" is not connections x depth, such as 50x64 (at most 256x256)"))
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.connection_count, self.depth)
    }
}

/// Which keys are counted, one after the other.
#[derive(Clone, Debug)]
pub enum Keys {
    /// Each below the end once, in order.
    Sequence {
        /// The next one.
        next: u32,
        /// Where they end.
        end: u32,
    },
    /// Drawn afresh for every request, uniformly, without end.
    Random {
        /// State of the generator.
        state: u64,
        /// How many keys there are.
        count: u32,
    },
    /// The same, of one shard alone.
    OfShard {
        /// Of all shards.
        random: Box<Keys>,
        /// Whose slots are whose.
        map: ShardMap,
        /// Which shard.
        shard: usize,
    },
}

impl Keys {
    /// Each of `count` keys once.
    pub fn sequence(count: u32) -> Keys {
        assert!(count <= KEY_COUNT_MAX, "keys have eight digits");
        Keys::Sequence { next: 0, end: count }
    }

    /// Any of `count` keys, for ever; the same ones for the same seed.
    pub fn random(count: u32, seed: u64) -> Keys {
        assert!((1..=KEY_COUNT_MAX).contains(&count), "keys have eight digits");
        Keys::Random { state: seed, count }
    }

    /// Any of those of `count` keys that belong to one of the shards, for ever.
    pub fn of_shard(count: u32, seed: u64, map: ShardMap, shard: usize) -> Keys {
        Keys::OfShard { random: Box::new(Keys::random(count, seed)), map, shard }
    }
}

impl Iterator for Keys {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Keys::Sequence { next, end } => {
                let key = *next;
                (key < *end).then(|| {
                    *next += 1;
                    key
                })
            }
            Keys::Random { state, count } => {
                // SplitMix64 (Steele, Lea and Flood 2014); the product's upper half is uniform below `count`.
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = *state;
                mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
                Some((((mixed >> 32) * u64::from(*count)) >> 32) as u32)
            }
            Keys::OfShard { random, map, shard } => random.find(|number| {
                let mut key = *KEY;
                key[KEY_BYTES - 8..].copy_from_slice(&digits(*number));
                map.shard_of(slot::of(&key)) == *shard
            }),
        }
    }
}

/// Fill a buffer with requests, so that [`write_keys`] has only digits to write.
pub fn prepare(buffer: &mut [u8]) {
    for request in buffer.chunks_exact_mut(REQUEST_BYTES) {
        request.copy_from_slice(TEMPLATE);
    }
}

/// Write the next keys into up to `depth` requests of a prepared buffer, and say how many; fewer only when keys end.
pub fn write_keys(buffer: &mut [u8], depth: usize, keys: &mut Keys) -> usize {
    let mut count = 0;
    for request in buffer.chunks_exact_mut(REQUEST_BYTES).take(depth) {
        let Some(key) = keys.next() else { break };
        request[DIGITS_AT..DIGITS_AT + 8].copy_from_slice(&digits(key));
        count += 1;
    }
    count
}

/// Eight decimal digits of a number below [`KEY_COUNT_MAX`], all at once: halves, then quarters, then digits, each in
/// its own part of one word.
pub fn digits(number: u32) -> [u8; 8] {
    let number = u64::from(number);
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    // Division by 100 below 10,000, and by 10 below 100, as a multiplication and a shift.
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (quarters - tens * 10) << 8;
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

/// How many replies end in these bytes, all of which must be of integers that are not negative; else the error's text.
pub fn count_replies(bytes: &[u8]) -> Result<usize, String> {
    // An error begins with '-', and nothing else here has one.
    if let Some(at) = memchr::memchr(b'-', bytes) {
        let text = bytes[at..].split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(String::from_utf8_lossy(text).into_owned());
    }
    if let Some(strange) = bytes.iter().take(1).find(|byte| !matches!(byte, b':' | b'\r' | b'\n' | b'0'..=b'9')) {
        return Err(format!("a reply that is not an integer, with {:?}", char::from(*strange)));
    }
    Ok(memchr::memchr_iter(b'\n', bytes).count())
}
