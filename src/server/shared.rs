//! What all shards share while the server runs.
//!
//! Invariant: what is shared changes rarely (settings, the pause, counts of clients) or is written by one shard and
//! only read by others (bytes of counters). No counter is reached from here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use crate::config::{AppendFsync, Config};
use crate::counters::Seed;
use crate::host::Host;
use crate::journal::shared::Journals;
use crate::limits::MONITOR_COUNT_MAX;
use crate::slot::ShardMap;
use crate::startup::{LONGER_COUNTERS, MemoryPlan, longer_counters_bytes};
use crate::stats::Report;

/// The settings that can change while the server runs.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Clients at once.
    pub maxclients: u32,
    /// Bytes of counters; 0 is no limit.
    pub maxmemory_bytes: u64,
    /// Seconds after which an idle connection ends; 0 never.
    pub timeout_s: u32,
    /// Seconds after which a silent connection is probed; 0 never.
    pub tcp_keepalive_s: u32,
    /// Seconds that a request may stay unfinished; 0 is no limit.
    pub request_timeout_s: u32,
    /// Seconds that replies may stay unread; 0 is no limit.
    pub reply_timeout_s: u32,
    /// Seconds that a client has to give the password; 0 is no limit.
    pub auth_timeout_s: u32,
    /// What `AUTH` must give.
    pub requirepass: Option<Arc<str>>,
    /// Threshold of the slow log; 0 is all, negative none.
    pub slowlog_slower_than_us: i64,
    /// Entries of the slow log.
    pub slowlog_count_max: usize,
    /// From how many milliseconds on the latency monitor notes what happens; 0 is off.
    pub latency_monitor_threshold_ms: u64,
    /// When a change is on the disk for certain.
    pub appendfsync: AppendFsync,
    /// A snapshot is taken when the journal has grown to so many percent of the last one; 0 never.
    pub auto_aof_rewrite_percentage: u32,
    /// But not before the journal has so many bytes.
    pub auto_aof_rewrite_min_bytes: u64,
}

/// What all shards share.
#[derive(Debug)]
pub struct Shared {
    /// As the server was started.
    pub config: Config,
    /// Which shard owns which slots.
    pub map: ShardMap,
    /// Seed of the key hash.
    pub seed: Seed,
    /// The port of each shard; empty without `--cluster-enabled yes`.
    pub cluster_ports: Vec<u16>,
    /// The journals, on or off, once the server has looked for them.
    pub journals: Option<Journals>,
    /// Bytes of each shard's counters, written by it alone.
    pub counter_bytes: Vec<AtomicU64>,
    /// Changes whenever the settings do.
    pub live_epoch: AtomicU64,
    /// 40 hexadecimal digits, different in every run.
    pub run_id: String,
    /// Name and release of the operating system.
    pub os: String,
    /// Path of this program.
    pub executable: String,
    /// Memory that this process can have.
    pub system_memory_bytes: u64,
    live: RwLock<Live>,
    client_counts: Vec<AtomicU32>,
    /// The numbers that monitors have, as bits.
    monitors: AtomicU32,
    next_client_id: AtomicU64,
    rejected_counts: [AtomicU64; Refusal::ALL.len()],
    pub(super) pause_until_ms: AtomicI64,
    pub(super) pause_writes_only: AtomicBool,
    pub(super) pause_changed: Notify,
    pub(super) port: AtomicU32,
    started: Instant,
    random_state: AtomicU64,
    peak_bytes: AtomicU64,
    pub(super) serving: AtomicBool,
    pub(super) stopping: AtomicBool,
    /// Entries that the slow log has had.
    slow_count: AtomicU64,
    pub(super) stops: Vec<Notify>,
    pub(super) stopped: Notify,
    pub(super) plan: MemoryPlan,
}

impl Shared {
    pub(super) fn new(config: Config, host: &Host) -> Shared {
        let map = ShardMap::new(config.threads);
        let mut seed = random_seed();
        let run_id = (0..3).map(|_| format!("{:016x}", split_mix(&mut seed))).collect::<String>();
        let per_shard = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let live = Live {
            maxclients: config.maxclients,
            maxmemory_bytes: config.maxmemory_bytes,
            timeout_s: config.timeout_s,
            request_timeout_s: config.request_timeout_s,
            reply_timeout_s: config.reply_timeout_s,
            auth_timeout_s: config.auth_timeout_s,
            tcp_keepalive_s: config.tcp_keepalive_s,
            requirepass: config.requirepass.as_ref().map(|password| Arc::from(&**password)),
            slowlog_slower_than_us: config.slowlog_log_slower_than_us,
            slowlog_count_max: config.slowlog_max_len,
            latency_monitor_threshold_ms: config.latency_monitor_threshold_ms,
            appendfsync: config.appendfsync,
            auto_aof_rewrite_percentage: config.auto_aof_rewrite_percentage,
            auto_aof_rewrite_min_bytes: config.auto_aof_rewrite_min_bytes,
        };
        Shared {
            map,
            seed: Seed::of_process(),
            cluster_ports: Vec::new(),
            journals: None,
            counter_bytes: per_shard(config.threads),
            live_epoch: AtomicU64::new(1),
            run_id: run_id[..40].to_owned(),
            os: format!("Linux {} {}", host.kernel_release, std::env::consts::ARCH),
            executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
            system_memory_bytes: host.memory_bytes(),
            live: RwLock::new(live),
            client_counts: (0..config.threads).map(|_| AtomicU32::new(0)).collect(),
            monitors: AtomicU32::new(0),
            next_client_id: AtomicU64::new(1),
            rejected_counts: Default::default(),
            pause_until_ms: AtomicI64::new(0),
            pause_writes_only: AtomicBool::new(false),
            pause_changed: Notify::new(),
            port: AtomicU32::new(0),
            started: Instant::now(),
            random_state: AtomicU64::new(seed),
            peak_bytes: AtomicU64::new(0),
            serving: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            slow_count: AtomicU64::new(0),
            stops: (0..config.threads).map(|_| Notify::new()).collect(),
            stopped: Notify::new(),
            plan: MemoryPlan::new(&config),
            config,
        }
    }

    /// The settings, and the epoch that they belong to.
    pub fn read_live(&self) -> (u64, Live) {
        let live = self.live.read().expect("no thread panics and goes on");
        (self.live_epoch.load(Ordering::Acquire), live.clone())
    }

    /// Change the settings, or leave them: what `change` makes of them while nobody else changes any. Every shard follows
    /// with its next batch.
    ///
    /// # Errors
    /// What `change` says.
    pub fn change_live<E>(&self, change: impl FnOnce(&Live) -> Result<Live, E>) -> Result<(), E> {
        let mut live = self.live.write().expect("no thread panics and goes on");
        *live = change(&live)?;
        self.live_epoch.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// The TCP port, or 0.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed) as u16
    }

    /// Bytes of all shards' counters.
    pub fn used_counter_bytes(&self) -> u64 {
        self.counter_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum()
    }

    /// The clients of all shards.
    pub fn client_count(&self) -> u32 {
        self.client_counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The shard with the fewest clients, counting one more there, and the new client's id.
    pub fn place_client(&self) -> (usize, u64) {
        let fewest =
            (0..self.client_counts.len()).min_by_key(|shard| self.client_counts[*shard].load(Ordering::Relaxed));
        let shard = fewest.expect("there is a shard");
        (shard, self.add_client(shard))
    }

    /// Count one more client of a shard; the new client's id.
    pub fn add_client(&self, shard: usize) -> u64 {
        self.client_counts[shard].fetch_add(1, Ordering::Relaxed);
        self.next_client_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The id of a shard as a node of a cluster: 40 hexadecimal digits, the same for as long as the server runs.
    pub fn node_id(&self, shard: usize) -> String {
        format!("{}{shard:04x}", &self.run_id[..36])
    }

    /// A client of a shard is gone.
    pub fn client_left(&self, shard: usize) {
        let before = self.client_counts[shard].fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "nobody leaves who has not come");
    }

    /// A number for one more monitor, unless there are as many as there may be.
    pub fn add_monitor(&self) -> Option<u8> {
        let with_next = |taken: u32| {
            let next = taken.trailing_ones();
            (next < MONITOR_COUNT_MAX as u32).then_some(taken | 1 << next)
        };
        let before = self.monitors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_next).ok()?;
        Some(before.trailing_ones() as u8)
    }

    /// A monitor is gone, on all shards.
    pub fn monitor_left(&self, number: u8) {
        let before = self.monitors.fetch_and(!(1 << number), Ordering::Relaxed);
        assert!(before & 1 << number != 0, "nobody leaves who has not come");
    }

    /// How many clients monitor.
    pub fn monitor_count(&self) -> u32 {
        self.monitors.load(Ordering::Relaxed).count_ones()
    }

    /// The number of the next entry of the slow log.
    pub fn next_slow_id(&self) -> u64 {
        self.slow_count.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection was not let in.
    pub fn reject(&self, refusal: Refusal) {
        self.rejected_counts[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that were not let in, by the reason's number.
    pub fn rejected_counts(&self) -> [u64; Refusal::ALL.len()] {
        Refusal::ALL.map(|refusal| self.rejected_counts[refusal as usize].load(Ordering::Relaxed))
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset_stats(&self) {
        self.rejected_counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Whether the shards serve clients: all have started, and none has been told to stop.
    pub fn is_ready(&self) -> bool {
        self.serving.load(Ordering::Acquire) && !self.stopping.load(Ordering::Relaxed)
    }

    /// Stop serving: every shard answers what it has received.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.pause_until_ms.store(0, Ordering::Relaxed);
        self.pause_changed.notify_waiters();
        self.stops.iter().for_each(Notify::notify_one);
        self.stopped.notify_one();
    }

    /// Unix time in microseconds.
    pub fn unix_us(&self) -> i64 {
        unix_us()
    }

    /// How long the server has run.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// A random number. Not for secrets.
    pub fn random(&self) -> u64 {
        let mut state = self.random_state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        split_mix(&mut state)
    }

    /// Bytes that the server has reserved or uses: everything fixed, and the counters. And the most that they were when
    /// somebody asked.
    pub fn used_bytes(&self, report: &Report) -> (u64, u64) {
        let now = self.plan.fixed_bytes() + report.counter_bytes;
        (now, self.peak_bytes.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// The ceiling with the `maxmemory` that is in force, or 0 where there is none.
    pub fn ceiling_bytes(&self) -> u64 {
        self.plan.ceiling_bytes_with(self.maxmemory_bytes()).unwrap_or(0)
    }

    /// The parts of the memory plan but `maxmemory` itself, for `MEMORY STATS`.
    pub fn plan_parts(&self) -> Vec<(&'static str, u64)> {
        let longer = (LONGER_COUNTERS, longer_counters_bytes(self.maxmemory_bytes()));
        self.plan.parts.iter().map(|part| (part.name, part.bytes())).chain([longer]).collect()
    }

    fn maxmemory_bytes(&self) -> u64 {
        self.live.read().expect("no thread panics and goes on").maxmemory_bytes
    }
}

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It comes from elsewhere, and there is no password.
    Unprotected,
    /// There are as many clients as there may be.
    Maxclients,
}

impl Refusal {
    /// All of them, in their order.
    pub const ALL: [Refusal; 2] = [Refusal::Unprotected, Refusal::Maxclients];

    /// In one word.
    pub const fn name(self) -> &'static str {
        match self {
            Refusal::Unprotected => "unprotected",
            Refusal::Maxclients => "maxclients",
        }
    }

    /// What the client is told.
    pub const fn text(self) -> &'static str {
        match self {
            Refusal::Unprotected => {
                "-DENIED Tallyring has no password, so it serves only this machine: connect through the loopback interface, or start it with --requirepass.\r\n"
            }
            Refusal::Maxclients => "-ERR max number of clients reached\r\n",
        }
    }
}

/// Why a new client is not let in, or `None`.
pub fn refusal(shared: &Shared, live: &Live, peer: Option<SocketAddr>) -> Option<Refusal> {
    let foreign = peer.is_some_and(|peer| !peer.ip().to_canonical().is_loopback());
    if foreign && live.requirepass.is_none() {
        return Some(Refusal::Unprotected);
    }
    (shared.client_count() >= live.maxclients).then_some(Refusal::Maxclients)
}

pub(super) fn unix_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// From the hasher's keys, which the system gives.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
