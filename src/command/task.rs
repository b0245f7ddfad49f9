//! What a command asks for that one session cannot do alone: it takes other shards, the configuration, the clock or
//! the other clients. The connection carries it out, after everything before it in the pipeline has been answered.

use super::Spec;
use crate::client::Transaction;
use crate::latency::Event;
use crate::limits::{SCAN_STEP_COUNT, SMALL_QUEUE_BYTES_MAX};

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

/// What is told of the table of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Described {
    /// `COMMAND`.
    All,
    /// `COMMAND LIST`: the names of these.
    Names(Vec<&'static Spec>),
    /// `COMMAND INFO name …`: `None` is unknown.
    Infos(Vec<Option<&'static Spec>>),
    /// `COMMAND DOCS`.
    Docs(Vec<&'static Spec>),
    /// `HELP` of a container.
    Help(&'static Spec),
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// The reply is ready, and not much longer than the request (`COMMAND GETKEYS`).
    Reply(Vec<u8>),
    /// `COMMAND` and its like, help texts.
    Describe(Described),
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

/// How long a reply may be. Of those that are not short a shard gathers few at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It fits a fixed buffer, more or less.
    Short,
    /// It tells of the server: [`MEDIUM_REPLY_BYTES_MAX`](crate::limits::MEDIUM_REPLY_BYTES_MAX).
    Medium,
    /// It tells of what clients have made, or goes through all of that:
    /// [`LARGE_REPLY_BYTES_MAX`](crate::limits::LARGE_REPLY_BYTES_MAX).
    Long,
}

impl Task {
    /// How long its reply may be, where `queued` is the transaction that `EXEC` would execute.
    pub fn extent(&self, queued: Option<&Transaction>) -> Extent {
        match self {
            Task::Keys(_) | Task::ClientList(_) | Task::GetKeysInSlot { .. } | Task::SlowlogGet(_) => Extent::Long,
            // Its reply is short, but it holds a turn for as long as it takes.
            Task::Scan { count, .. } if *count > SCAN_STEP_COUNT => Extent::Long,
            Task::Info(_) | Task::MemoryStats | Task::MemoryDoctor | Task::LatencyHistogram(_) | Task::Describe(_) => {
                Extent::Medium
            }
            // The same where most counters have expired.
            Task::RandomKey => Extent::Medium,
            // Whatever may be long takes all shards.
            Task::Exec => {
                let is_long = |queued: &Transaction| {
                    !queued.aborted && (queued.all_shards || queued.queue.len() > SMALL_QUEUE_BYTES_MAX)
                };
                if queued.is_some_and(is_long) { Extent::Long } else { Extent::Short }
            }
            _ => Extent::Short,
        }
    }

    /// Whether it does something, instead of telling of something. Its reply is short.
    pub fn acts(&self) -> bool {
        matches!(
            self,
            Task::Flush
                | Task::Rename { .. }
                | Task::Copy { .. }
                | Task::MsetNx(_)
                | Task::Watch(_)
                | Task::Unwatch
                | Task::Exec
                | Task::AbortExec(_)
                | Task::Discard
                | Task::Reset
                | Task::Monitor { .. }
                | Task::ClientKill { .. }
                | Task::ClientPause { .. }
                | Task::ClientUnpause
                | Task::ConfigSet(_)
                | Task::ConfigResetStat
                | Task::SlowlogReset
                | Task::LatencyReset(_)
                | Task::Save
                | Task::BeginSave { .. }
                | Task::Shutdown { .. }
                | Task::DebugSleep { .. }
        )
    }
}
