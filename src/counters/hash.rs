//! The hash that keys are found by: foldhash, seeded once a process.
//!
//! Every shard and session of the process holds a copy of the same [`Seed`], so a key is hashed once, by the shard that
//! received it. Hashes mean nothing outside the process and are never stored or sent anywhere.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;

use super::op::Key;
use crate::slot;

/// What keys are hashed with. A copy of 16 bytes; hashing takes no lock and reads no global state.
#[derive(Clone, Copy)]
pub struct Seed {
    own: u64,
    shared: &'static SharedSeed,
}

impl fmt::Debug for Seed {
    /// Not its value, with which keys could be aimed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(hidden)")
    }
}

impl Seed {
    /// The process's seed, drawn at the first call from the randomness that std's `HashMap` takes from the kernel, so
    /// that nobody who only chooses keys can aim them at one place of a table. Who may `SCAN` can: the cursors tell bits of
    /// hashes, and foldhash is made to be fast, not to keep its seed from such a reader.
    pub fn of_process() -> Seed {
        static SEEDS: OnceLock<(u64, SharedSeed)> = OnceLock::new();
        let (own, shared) = SEEDS.get_or_init(|| {
            let random = RandomState::new();
            (random.hash_one(1u64), SharedSeed::from_u64(random.hash_one(2u64)))
        });
        Seed { own: *own, shared }
    }

    /// The hash of a key's bytes.
    #[inline]
    pub fn hash(self, key: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.own, self.shared);
        hasher.write(key);
        hasher.finish()
    }

    /// A key with its hash and its slot.
    #[inline]
    pub fn key(self, bytes: &[u8]) -> Key<'_> {
        Key { bytes, hash: self.hash(bytes), slot: slot::of(bytes) }
    }
}
