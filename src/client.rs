//! What the server knows of one client: what it said about itself, its protocol version, its transaction.
//!
//! Pure state, changed by the commands of the connection family. It lives as long as the connection.

use crate::limits::SHARD_COUNT_MAX;
use crate::slot::ShardMap;

/// Whether replies are sent (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    /// All are sent.
    #[default]
    On,
    /// None are sent.
    Off,
    /// `CLIENT REPLY SKIP` was just read: the next command's reply is not sent.
    SkipNext,
}

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet([u64; SHARD_COUNT_MAX / 64]);

impl ShardSet {
    /// Add one.
    pub fn insert(&mut self, shard: usize) {
        self.0[shard / 64] |= 1 << (shard % 64);
    }

    /// Add all of another set.
    pub fn insert_all(&mut self, other: ShardSet) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    /// How many are in it.
    pub fn count(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The shards in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(index, mut word)| {
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// A transaction that is being queued (`MULTI`).
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// The queued requests, as RESP arrays of bulk strings, exactly as they will be executed.
    pub queue: Vec<u8>,
    /// How many requests are queued.
    pub command_count: u32,
    /// A command could not be queued: `EXEC` will refuse.
    pub aborted: bool,
    /// The queue had no room for a command: neither has it for those that follow.
    pub full: bool,
    /// The shards whose keys are named.
    pub shards: ShardSet,
    /// Something else than commands on one key each is queued.
    pub has_others: bool,
    /// A command was queued that needs every shard.
    pub all_shards: bool,
    /// A command was queued that writes: a pause of writes holds up `EXEC`.
    pub writes: bool,
    /// The slot of the first key that was named.
    pub slot: Option<u16>,
    /// Keys of several slots are named: on a shard's own port `EXEC` will refuse.
    pub crosses_slots: bool,
}

impl Transaction {
    /// A key of this slot is named.
    pub fn add_slot(&mut self, slot: u16, map: ShardMap) {
        self.shards.insert(map.shard_of(slot));
        self.crosses_slots |= *self.slot.get_or_insert(slot) != slot;
    }
}

/// A watched key, and how often it had been changed when it was watched.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The key.
    pub key: Box<[u8]>,
    /// [`Counters::watch`](crate::counters::Counters::watch) returned this.
    pub version: u64,
}

/// One client.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Unique over the server's life, growing from 1.
    pub id: u64,
    /// RESP3 was negotiated with `HELLO 3`.
    pub resp3: bool,
    /// The password was given, or none was needed when it connected.
    pub authenticated: bool,
    /// `CLIENT SETNAME`, `HELLO … SETNAME`.
    pub name: String,
    /// `CLIENT SETINFO lib-name`.
    pub lib_name: String,
    /// `CLIENT SETINFO lib-ver`.
    pub lib_version: String,
    /// `CLIENT NO-EVICT`.
    pub no_evict: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// `CLIENT REPLY`.
    pub reply: ReplyMode,
    /// The connection ends when the replies so far are sent (`QUIT`, `CLIENT KILL` of itself).
    pub closing: bool,
    /// The transaction that is being queued, if there is one.
    pub transaction: Option<Box<Transaction>>,
    /// `EXEC` is carrying out its transaction: each command's reply has its place in the array.
    pub executing: bool,
    /// It monitors, under this number.
    pub monitor: Option<u8>,
    /// The watched keys.
    pub watched: Vec<Watched>,
}

impl Client {
    /// Whether it has yet to give the password, if there is one.
    #[inline]
    pub fn is_stranger(&self, has_password: bool) -> bool {
        has_password && !self.authenticated
    }

    /// Whether it ends now. A transaction that is being executed is carried out first.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        self.closing && !self.executing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_shard_set_is_a_set_in_ascending_order(shards: BTreeSet<u8>) {
            let mut set = ShardSet::default();
            shards.iter().for_each(|shard| set.insert(usize::from(*shard)));
            prop_assert_eq!(set.count(), shards.len());
            prop_assert!(set.iter().eq(shards.iter().map(|shard| usize::from(*shard))));
        }
    }
}
