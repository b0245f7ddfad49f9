//! Start the shards, hand them their connections, stop them; and what they share meanwhile.
//!
//! Invariant: what is shared changes rarely (settings, the pause, counts of clients) or is written by one shard and
//! only read by others (bytes of counters). No counter is reached from here.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing::info;

use crate::accept::{self, Listener};
use crate::buffers::Buffers;
use crate::config::Config;
use crate::connection;
use crate::counters::Seed;
use crate::host::Host;
use crate::mesh::Mesh;
use crate::metrics;
use crate::process;
use crate::shard::Shard;
use crate::slot::ShardMap;
use crate::startup::{MemoryPlan, StartError, classify_ring_error};
use crate::stats::Report;

/// Entries of a shard's submission queue.
const RING_ENTRY_COUNT: u32 = 1_024;

/// How long the kernel may take to give back what another process of this user had locked.
const REGISTER_PATIENCE: Duration = Duration::from_millis(300);

/// How long clients have at the end to take their last replies.
const STOP_GRACE: Duration = Duration::from_secs(5);

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
}

/// Which commands a pause keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseKind {
    /// Every command.
    All,
    /// Those that write.
    Writes,
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
    next_client_id: AtomicU64,
    rejected_counts: [AtomicU64; Refusal::ALL.len()],
    pause_until_ms: AtomicI64,
    pause_writes_only: AtomicBool,
    pause_changed: Notify,
    port: AtomicU32,
    started: Instant,
    random_state: AtomicU64,
    peak_bytes: AtomicU64,
    serving: AtomicBool,
    stopping: AtomicBool,
    stops: Vec<Notify>,
    stopped: Notify,
    plan: MemoryPlan,
}

/// Serve until a signal or `SHUTDOWN`.
///
/// # Errors
/// Whatever keeps the server from starting, with its remedy.
pub fn run(config: Config) -> Result<(), StartError> {
    let host = Host::read();
    let listeners = accept::listen(&config)?;
    let direct_listeners = accept::listen_directly(&config)?;
    let metrics_listeners = accept::listen_for_metrics(&config)?;
    let mut shared = Shared::new(config, &host);
    shared.cluster_ports = direct_listeners.iter().filter_map(|listeners| listeners.first()?.port()).collect();
    let shared = Arc::new(shared);
    if let Some(port) = listeners.iter().find_map(Listener::port) {
        shared.port.store(port.into(), Ordering::Relaxed);
    }
    info!("tallyring {} on Linux {}", env!("CARGO_PKG_VERSION"), host.kernel_release);
    let unix_socket = shared.config.unixsocket.clone();
    let direct: Vec<String> = direct_listeners.iter().map(|listeners| comma_separated(listeners)).collect();
    let (meshes, observer) = Mesh::between(shared.map.shard_count());
    metrics::start(&shared, observer, metrics_listeners)?;
    start_shards(&shared, &host, meshes, &listeners, direct_listeners)?;
    shared.serving.store(true, Ordering::Release);
    describe(&shared, &listeners, &direct);
    wait_for_end(&shared)?;
    if let Some(path) = unix_socket {
        // It is ours: a path that was taken has been refused at the start.
        let _ = std::fs::remove_file(path);
    }
    info!("bye");
    Ok(())
}

/// Start a thread for each shard and wait until all of them serve.
fn start_shards(
    shared: &Arc<Shared>,
    host: &Host,
    meshes: Vec<Mesh>,
    listeners: &[Listener],
    direct_listeners: Vec<Vec<Listener>>,
) -> Result<(), StartError> {
    let (ready, readiness) = channel();
    for (index, (mesh, direct)) in meshes.into_iter().zip(direct_listeners).enumerate() {
        let (shared, ready) = (shared.clone(), ready.clone());
        // One shard accepts and deals the connections out, so that all have the same number.
        let listeners = match index {
            0 => listeners.iter().map(Listener::try_clone).collect::<io::Result<Vec<_>>>(),
            _ => Ok(Vec::new()),
        };
        let failed = ready_sender(&ready);
        let start = move || {
            let listeners = listeners?;
            if let Some(core) = shared.config.pin[index] {
                core_affinity::set_for_current(core_affinity::CoreId { id: core });
            }
            run_shard(index, shared, mesh, Listeners { common: listeners, direct }, &ready)
        };
        std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                if let Err(error) = start() {
                    failed(Err(error));
                }
            })
            .map_err(|error| StartError::Other {
                doing: "start a thread",
                error,
                remedy: "Lower --threads, or raise the limit of processes (ulimit -u)",
            })?;
    }
    drop(ready);
    for _ in 0..shared.map.shard_count() {
        match readiness.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(classify_ring_error(error, host)),
            Err(_) => unreachable!("every shard says whether it is ready"),
        }
    }
    Ok(())
}

fn ready_sender(ready: &Sender<io::Result<()>>) -> impl FnOnce(io::Result<()>) + use<> {
    let ready = ready.clone();
    move |result| {
        // Nobody listens any more once one shard has failed.
        let _ = ready.send(result);
    }
}

/// What one shard accepts from.
struct Listeners {
    /// For all shards.
    common: Vec<Listener>,
    /// For itself.
    direct: Vec<Listener>,
}

/// The thread of a shard: its ring, its tasks. Returns only if it cannot start.
fn run_shard(
    index: usize,
    shared: Arc<Shared>,
    mesh: Mesh,
    listeners: Listeners,
    ready: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer().setup_cqsize(4 * RING_ENTRY_COUNT);
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRY_COUNT).uring_builder(&ring))?;
    runtime.block_on(async move {
        let buffers = register_buffers(shared.config.fixed_buffer_count)?;
        let shard = std::rc::Rc::new(Shard::new(index, shared.clone(), mesh, buffers));
        tokio_uring::spawn(shard.clone().receive_messages());
        tokio_uring::spawn(shard.clone().tick());
        tokio_uring::spawn(shard.clone().poll_busily());
        for worker in 0..shard.buffers.total_count() {
            tokio_uring::spawn(connection::work(shard.clone(), worker));
        }
        let accept = |direct| {
            let shard = shard.clone();
            move |listener| tokio_uring::spawn(accept::accept(shard.clone(), listener, direct))
        };
        let common = listeners.common.into_iter().map(accept(false));
        let accepting: Vec<_> = common.chain(listeners.direct.into_iter().map(accept(true))).collect();
        ready_sender(ready)(Ok(()));
        shared.stops[index].notified().await;
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        shard.stop_reading();
        // The other shards' clients may still need this one's counters: it goes on until the process ends.
        std::future::pending().await
    })
}

/// Register the fixed buffers. What a process that has just ended had locked is given back a little later, so a refusal
/// is not taken for an answer at once.
fn register_buffers(count: usize) -> io::Result<Buffers> {
    let deadline = Instant::now() + REGISTER_PATIENCE;
    loop {
        match Buffers::register(count) {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory && Instant::now() < deadline => {
                std::thread::sleep(REGISTER_PATIENCE / 10);
            }
            registered => return registered,
        }
    }
}

/// The first lines of the log.
fn describe(shared: &Shared, listeners: &[Listener], direct: &[String]) {
    let config = &shared.config;
    let cores = |core: &Option<usize>| core.map_or("any".to_owned(), |core| core.to_string());
    let cores: Vec<String> = config.pin.iter().map(cores).collect();
    info!("{} shards on cores {}", config.threads, cores.join(", "));
    for line in shared.plan.lines() {
        info!("memory: {line}");
    }
    info!("the counters live in memory only: they are gone when the server stops");
    for listener in listeners {
        info!("listening on {listener}");
    }
    if config.cluster_enabled {
        direct.iter().enumerate().for_each(|(shard, places)| info!("cluster: shard {shard} on {places}"));
    }
}

fn comma_separated(listeners: &[Listener]) -> String {
    listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Wait for a signal or `SHUTDOWN`, then let the clients have their last replies.
fn wait_for_end(shared: &Arc<Shared>) -> Result<(), StartError> {
    let system = |doing| move |error| StartError::Other { doing, error, remedy: "See the cause" };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("wait for signals"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for SIGINT"))?;
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
            () = shared.stopped.notified() => info!("SHUTDOWN: stopping"),
        }
        shared.stop();
        let all_left = async {
            while shared.client_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = all_left => {}
            () = tokio::time::sleep(STOP_GRACE) => info!("{} clients did not take their replies", shared.client_count()),
            _ = terminate.recv() => info!("SIGTERM again: not waiting any longer"),
            _ = interrupt.recv() => info!("SIGINT again: not waiting any longer"),
        }
        Ok(())
    })
}

impl Shared {
    fn new(config: Config, host: &Host) -> Shared {
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
        };
        Shared {
            map,
            seed: Seed::of_process(),
            cluster_ports: Vec::new(),
            counter_bytes: per_shard(config.threads),
            live_epoch: AtomicU64::new(1),
            run_id: run_id[..40].to_owned(),
            os: format!("Linux {} {}", host.kernel_release, std::env::consts::ARCH),
            executable: std::env::current_exe().map_or_else(|_| String::new(), |path| path.display().to_string()),
            system_memory_bytes: host.memory_bytes(),
            live: RwLock::new(live),
            client_counts: (0..config.threads).map(|_| AtomicU32::new(0)).collect(),
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

    /// Change the settings. Every shard follows with its next batch.
    pub fn write_live(&self, changed: Live) {
        let mut live = self.live.write().expect("no thread panics and goes on");
        *live = changed;
        self.live_epoch.fetch_add(1, Ordering::Release);
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

    /// What waits now, if anything does.
    #[inline]
    pub fn pause(&self, now_ms: i64) -> Option<PauseKind> {
        if self.pause_until_ms.load(Ordering::Relaxed) <= now_ms {
            return None;
        }
        let writes_only = self.pause_writes_only.load(Ordering::Relaxed);
        Some(if writes_only { PauseKind::Writes } else { PauseKind::All })
    }

    /// `CLIENT PAUSE`. A pause is never shortened or made milder by another, as in Redis.
    pub fn set_pause(&self, now_ms: i64, timeout_ms: u64, writes_only: bool) {
        let until_ms = now_ms.saturating_add(i64::try_from(timeout_ms).unwrap_or(i64::MAX));
        let in_force = self.pause(now_ms);
        let writes_only = writes_only && in_force != Some(PauseKind::All);
        self.pause_writes_only.store(writes_only, Ordering::Relaxed);
        self.pause_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// `CLIENT UNPAUSE`.
    pub fn unpause(&self) {
        self.pause_until_ms.store(0, Ordering::Relaxed);
        self.pause_changed.notify_waiters();
    }

    /// Until nothing of the kind waits any more.
    pub async fn until_unpaused(&self, kind: PauseKind) {
        loop {
            let changed = self.pause_changed.notified();
            let now_ms = unix_us() / 1_000;
            match self.pause(now_ms) {
                Some(in_force) if in_force == kind || in_force == PauseKind::All => {}
                _ => return,
            }
            let left_ms = self.pause_until_ms.load(Ordering::Relaxed).saturating_sub(now_ms).clamp(1, 1_000);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(Duration::from_millis(left_ms as u64)) => {}
            }
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
        }
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

    /// Bytes that the server has reserved or uses: everything fixed, and the counters.
    pub fn used_bytes(&self, report: &Report) -> u64 {
        self.plan.fixed_bytes() + report.counter_bytes
    }

    /// The ceiling, or 0 where there is none.
    pub fn ceiling_bytes(&self) -> u64 {
        self.plan.ceiling_bytes().unwrap_or(0)
    }

    /// The parts of the memory plan, for `MEMORY STATS`.
    pub fn plan_parts(&self) -> Vec<(&'static str, u64)> {
        self.plan.parts.iter().map(|part| (part.name, part.bytes())).collect()
    }

    /// Resident bytes of the process, and the most that it had when somebody asked.
    pub fn resident_bytes(&self) -> (u64, u64) {
        let now = process::resident_bytes();
        (now, self.peak_bytes.fetch_max(now, Ordering::Relaxed).max(now))
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

fn unix_us() -> i64 {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;

    fn shared(options: &str) -> Shared {
        let host = Host::read();
        let options = Options::parse(options, std::path::Path::new("test.toml")).expect("sound options");
        Shared::new(Config::resolve(options, &host).expect("a sound configuration"), &host)
    }

    #[test]
    fn without_a_password_only_this_machine_is_served() {
        let open = shared("threads = 1");
        let locked = shared("threads = 1\nrequirepass = \"secret\"");
        for (peer, is_local) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("10.0.0.1:1", false),
            ("[::ffff:10.0.0.1]:1", false),
            ("[fe80::1]:1", false),
        ] {
            let peer = Some(peer.parse().expect("an address"));
            let refused = refusal(&open, &open.read_live().1, peer);
            assert_eq!(refused, (!is_local).then_some(Refusal::Unprotected), "{peer:?}");
            assert_eq!(refusal(&locked, &locked.read_live().1, peer), None);
        }
        assert_eq!(refusal(&open, &open.read_live().1, None), None, "a Unix socket is local");
    }

    #[test]
    fn connections_are_dealt_out_evenly() {
        let shared = shared("threads = 3\npin = \"none\"\nmaxclients = 32");
        let dealt: Vec<(usize, u64)> = (0..30).map(|_| shared.place_client()).collect();
        for shard in 0..3 {
            assert_eq!(dealt.iter().filter(|(to, _)| *to == shard).count(), 10);
        }
        assert!(dealt.iter().map(|(_, id)| *id).eq(1..=30), "ids grow from 1");
        shared.client_left(1);
        assert_eq!(shared.place_client().0, 1, "the one with the fewest is next");
        let _ = (shared.place_client(), shared.place_client());
        let full = refusal(&shared, &shared.read_live().1, None);
        assert_eq!(full, Some(Refusal::Maxclients));
    }

    #[test]
    fn a_pause_is_never_made_milder() {
        let shared = shared("threads = 1");
        assert_eq!(shared.pause(1_000), None);
        shared.set_pause(1_000, 500, true);
        assert_eq!(shared.pause(1_499), Some(PauseKind::Writes));
        assert_eq!(shared.pause(1_500), None);
        shared.set_pause(1_100, 100, false);
        assert_eq!(shared.pause(1_499), Some(PauseKind::All));
        shared.set_pause(1_200, 1_000, true);
        assert_eq!(shared.pause(2_199), Some(PauseKind::All));
        shared.unpause();
        assert_eq!(shared.pause(1_200), None);
    }
}
