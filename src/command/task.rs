//! What a command asks for that one session cannot do alone: it takes other shards, the configuration, the clock or
//! the other clients. The connection carries it out, after everything before it in the pipeline has been answered.

use crate::latency::Event;

/// Bytes of a key or a pattern, owned: a task outlives the buffer that it was parsed from.
pub type Bytes = Box<[u8]>;

/// Which clients `CLIENT LIST` shows and `CLIENT KILL` ends. All that are given must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFilter {
    /// `ID id [id …]`; empty matches all.
    pub ids: Vec<u64>,
    /// `ADDR ip:port`, the client's address.
    pub address: Option<String>,
    /// `LADDR ip:port`, the server's address.
    pub local_address: Option<String>,
    /// `USER name`: only `default` exists.
    pub user: Option<String>,
    /// `MAXAGE seconds`: connected at least so long.
    pub age_min_s: Option<u64>,
    /// `SKIPME yes` (the default of `CLIENT KILL` with filters): not the asking client.
    pub skip_me: bool,
    /// Not this client, whatever else matches.
    pub excluded_id: Option<u64>,
    /// `TYPE`: false when only types are asked for that this server has none of (master, replica, pubsub).
    pub type_matches: bool,
}

/// What `CLUSTER` tells about all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterView {
    /// `CLUSTER SLOTS`.
    Slots,
    /// `CLUSTER SHARDS`.
    Shards,
    /// `CLUSTER NODES`.
    Nodes,
    /// `CLUSTER INFO`.
    Info,
    /// `CLUSTER MYID`.
    MyId,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The reply is ready, but may be too long for a fixed buffer (`COMMAND`, help texts).
    Reply(Vec<u8>),
    /// `DBSIZE`.
    DbSize,
    /// `FLUSHALL`, `FLUSHDB`.
    Flush,
    /// `KEYS pattern`.
    Keys(Bytes),
    /// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`.
    Scan {
        /// Where to go on; 0 starts.
        cursor: u64,
        /// About how many keys to visit, at least 1.
        count: u64,
        /// Only keys that match.
        pattern: Option<Bytes>,
        /// False when another type than `string` was asked for: no key matches.
        type_matches: bool,
    },
    /// `RANDOMKEY`.
    RandomKey,
    /// `RENAME`, `RENAMENX`.
    Rename {
        /// The counter to rename.
        from: Bytes,
        /// Its new key.
        to: Bytes,
        /// `RENAMENX`: only if the new key does not exist; answers 1 or 0.
        only_absent: bool,
    },
    /// `COPY`.
    Copy {
        /// The counter to copy.
        from: Bytes,
        /// The key of the copy.
        to: Bytes,
        /// Also where there is a counter.
        replace: bool,
    },
    /// `MSETNX`: all or none.
    MsetNx(Vec<(Bytes, i64)>),
    /// `WATCH`.
    Watch(Vec<Bytes>),
    /// `UNWATCH`.
    Unwatch,
    /// `EXEC`.
    Exec,
    /// `EXEC` with a wrong number of arguments: the transaction ends, and this is why.
    AbortExec(String),
    /// `DISCARD`.
    Discard,
    /// `RESET`.
    Reset,
    /// `MONITOR [SAMPLE n]`.
    Monitor {
        /// Every how many commands one is shown.
        sample: u32,
    },
    /// `INFO [section …]`, lower-cased; empty is the default set.
    Info(Vec<String>),
    /// `CLIENT LIST`.
    ClientList(ClientFilter),
    /// `CLIENT INFO`.
    ClientInfo,
    /// `CLIENT KILL`. The old form `CLIENT KILL ip:port` answers +OK or an error, the new one how many.
    ClientKill {
        /// Whom.
        filter: ClientFilter,
        /// The old form.
        by_address: bool,
    },
    /// `CLIENT PAUSE`.
    ClientPause {
        /// How long.
        timeout_ms: u64,
        /// `WRITE`: only writes wait; else all.
        writes_only: bool,
    },
    /// `CLIENT UNPAUSE`.
    ClientUnpause,
    /// `CLUSTER SLOTS` and its like.
    Cluster(ClusterView),
    /// `CLUSTER COUNTKEYSINSLOT slot`.
    CountKeysInSlot(u16),
    /// `CLUSTER GETKEYSINSLOT slot count`.
    GetKeysInSlot {
        /// The slot.
        slot: u16,
        /// At most so many keys.
        count: u64,
    },
    /// `CONFIG GET pattern …`.
    ConfigGet(Vec<String>),
    /// `CONFIG SET name value …`, names lower-cased.
    ConfigSet(Vec<(String, String)>),
    /// `CONFIG RESETSTAT`.
    ConfigResetStat,
    /// `TIME`.
    Time,
    /// `SLOWLOG GET [count]`, -1 for all.
    SlowlogGet(i64),
    /// `SLOWLOG LEN`.
    SlowlogLen,
    /// `SLOWLOG RESET`.
    SlowlogReset,
    /// `LATENCY HISTOGRAM [command …]`: commands by their index, none for all.
    LatencyHistogram(Option<Vec<usize>>),
    /// `LATENCY LATEST`.
    LatencyLatest,
    /// `LATENCY HISTORY event`; `None` is an event that this server does not have.
    LatencyHistory(Option<Event>),
    /// `LATENCY RESET [event …]`: which of [`Event::ALL`].
    LatencyReset([bool; Event::ALL.len()]),
    /// `LATENCY DOCTOR`.
    LatencyDoctor,
    /// `MEMORY STATS`.
    MemoryStats,
    /// `MEMORY DOCTOR`.
    MemoryDoctor,
    /// `SAVE`.
    Save,
    /// `BGSAVE`, `BGREWRITEAOF`.
    BeginSave {
        /// `BGREWRITEAOF`: the same in other words.
        rewrite: bool,
    },
    /// `LASTSAVE`.
    LastSave,
    /// `SHUTDOWN`. Answered only with an error; else the server stops.
    Shutdown {
        /// `ABORT`: there is never one in progress to abort.
        abort: bool,
    },
    /// `DEBUG SLEEP seconds`, behind a flag of the server.
    DebugSleep {
        /// How long this shard blocks.
        duration_us: u64,
    },
}

impl Task {
    /// Whether it changes nothing, however long its reply is.
    pub fn is_read_only(&self) -> bool {
        matches!(
            self,
            Task::Reply(_)
                | Task::Keys(_)
                | Task::Scan { .. }
                | Task::GetKeysInSlot { .. }
                | Task::Info(_)
                | Task::ClientList(_)
                | Task::SlowlogGet(_)
        )
    }
}
