//! What the server knows of one client: what it said about itself, its protocol version, its transaction.
//!
//! Pure state, changed by the commands of the connection family. It lives as long as the connection.

use crate::limits::SHARD_COUNT_MAX;

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

    /// The shards in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..SHARD_COUNT_MAX).filter(move |shard| self.0[shard / 64] & (1 << (shard % 64)) != 0)
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
    /// The shards whose keys are named.
    pub shards: ShardSet,
    /// A command was queued that needs every shard.
    pub all_shards: bool,
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
    /// The password was given, or none is needed.
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
    /// The connection ends when the replies so far are sent (`QUIT`).
    pub closing: bool,
    /// The transaction that is being queued, if there is one.
    pub transaction: Option<Box<Transaction>>,
    /// The watched keys.
    pub watched: Vec<Watched>,
}
