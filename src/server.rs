//! Start the shards, hand them their connections, stop them.

mod end;
mod pause;
mod shared;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tracing::{info, warn};

use crate::accept::{self, Listener};
use crate::buffers::Buffers;
use crate::config::{AppendFsync, Config};
use crate::connection;
use crate::counters::Counters;
use crate::host::Host;
use crate::journal::changes::Recorder;
use crate::journal::recovery::{self, RecoveryError};
use crate::journal::shared::{Journals, OpenError};
use crate::mesh::Mesh;
use crate::metrics;
use crate::notify::{self, notify};
use crate::readiness::IdleSockets;
use crate::shard::Shard;
use crate::startup::{StartError, classify_ring_error};

use end::End;

pub use pause::PauseKind;
pub use shared::{Live, Refusal, Shared, refusal};

/// Entries of a shard's submission queue.
const RING_ENTRY_COUNT: u32 = 1_024;

/// How long the kernel may take to give back what another process of this user had locked.
const REGISTER_PATIENCE: Duration = Duration::from_millis(300);

/// How often it is told how far loading has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// How long the disk has at the end to take what is left.
const CLOSE_PATIENCE: Duration = Duration::from_secs(30);

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
    shared.journals = Some(open_journals(&shared)?);
    shared.cluster_ports = direct_listeners.iter().filter_map(|listeners| listeners.first()?.port()).collect();
    let shared = Arc::new(shared);
    if let Some(port) = listeners.iter().find_map(Listener::port) {
        shared.port.store(port.into(), Ordering::Relaxed);
    }
    info!("tallyring {} on Linux {}", env!("CARGO_PKG_VERSION"), host.kernel_release);
    let unix_socket = shared.config.unixsocket.clone();
    let direct: Vec<String> = direct_listeners.iter().map(|listeners| comma_separated(listeners)).collect();
    let (meshes, observer) = Mesh::between(shared.map.shard_count());
    // A shard that has loaded acknowledges writes while others load: from here on no signal may end the process hard.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| StartError::Other { doing: "wait for signals", error, remedy: "See the cause" })?;
    let mut end = runtime.block_on(async { End::new(shared.clone()) })?;
    metrics::start(&shared, observer, metrics_listeners)?;
    runtime.block_on(start_shards(&shared, &host, meshes, &listeners, direct_listeners, &mut end))?;
    shared.serving.store(true, Ordering::Release);
    describe(&shared, &listeners, &direct);
    if !end.has_begun() {
        notify(notify::State::Ready);
    }
    runtime.block_on(end.serve_until());
    close_journals(&shared)?;
    if let Some(path) = unix_socket {
        // It is ours: a path that was taken has been refused at the start.
        let _ = std::fs::remove_file(path);
    }
    info!("bye");
    Ok(())
}

/// Start a thread for each shard and wait until all of them serve; also where the end has begun meanwhile: what is not
/// loaded has no journal that could be closed, and clients may wait for it.
async fn start_shards(
    shared: &Arc<Shared>,
    host: &Host,
    meshes: Vec<Mesh>,
    listeners: &[Listener],
    direct_listeners: Vec<Vec<Listener>>,
    end: &mut End,
) -> Result<(), StartError> {
    let (ready, mut readiness) = unbounded_channel();
    let started = Instant::now();
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
    let mut left_count = shared.map.shard_count();
    while left_count > 0 {
        tokio::select! {
            told = readiness.recv() => match told.expect("every shard says whether it is ready") {
                Ok(()) => left_count -= 1,
                Err(NotReady::Ring(error)) => return Err(classify_ring_error(error, host)),
                Err(NotReady::Data(error)) => return Err(data_error(&shared.config, error.into())),
            },
            () = end.asked(), if !end.has_begun() => info!("the end waits until everything is loaded"),
            () = tokio::time::sleep(PROGRESS_INTERVAL) => tell_loading(shared, "loading", started),
        }
    }
    tell_loading(shared, "loaded", started);
    Ok(())
}

/// Why a shard does not serve.
enum NotReady {
    Ring(io::Error),
    Data(RecoveryError),
}

impl From<io::Error> for NotReady {
    fn from(error: io::Error) -> NotReady {
        NotReady::Ring(error)
    }
}

fn ready_sender(ready: &UnboundedSender<Result<(), NotReady>>) -> impl FnOnce(Result<(), NotReady>) + use<> {
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
    ready: &UnboundedSender<Result<(), NotReady>>,
) -> Result<(), NotReady> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer().setup_cqsize(4 * RING_ENTRY_COUNT);
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRY_COUNT).uring_builder(&ring))?;
    runtime.block_on(async move {
        let buffers = register_buffers(shared.config.fixed_buffer_count)?;
        let counters = load_counters(&shared, index).map_err(NotReady::Data)?;
        let idle_sockets = IdleSockets::new()?;
        let shard = std::rc::Rc::new(Shard::new(index, shared.clone(), mesh, buffers, idle_sockets, counters));
        tokio_uring::spawn(shard.clone().receive_messages());
        tokio_uring::spawn(shard.clone().keep_journal());
        tokio_uring::spawn(shard.clone().tick());
        tokio_uring::spawn(shard.clone().take_up_ready());
        tokio_uring::spawn(shard.clone().end_laps());
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

/// Take possession of the data directory, and say what in it does not count; or leave it alone until a client has the
/// journals switched on.
fn open_journals(shared: &Shared) -> Result<Journals, StartError> {
    let config = &shared.config;
    let now_s = shared::unix_us() / 1_000_000;
    if !config.appendonly {
        return Ok(Journals::off(&config.dir, config.threads, now_s));
    }
    if config.recover {
        info!("--recover: everything in {} is read once before it is loaded", config.dir.display());
    }
    // With `always` nothing could be acknowledged meanwhile, and a journal that cannot be written ends the server.
    let waits_for_room = config.appendfsync != AppendFsync::Always;
    let opened = Journals::open(&config.dir, config.threads, shared.random(), config.recover, waits_for_room, now_s);
    let journals = opened.map_err(|error| data_error(config, error))?;
    journals.losses.iter().for_each(|loss| warn!("{}: {loss}", config.dir.display()));
    Ok(journals)
}

fn data_error(config: &Config, error: OpenError) -> StartError {
    let path = config.dir.clone();
    match error {
        OpenError::Locked => StartError::DataTaken { path },
        OpenError::Io(error) => StartError::DataDirectory { path, error },
        OpenError::Data(error) => StartError::DataDamaged { path, error },
    }
}

/// The counters of a shard, as they were when the last server ended.
fn load_counters(shared: &Shared, index: usize) -> Result<Counters, RecoveryError> {
    let slots = shared.map.slots_of(index);
    let mut counters = Counters::new(slots.clone());
    if let Some(journals) = shared.journals.as_ref().filter(|journals| journals.is_on()) {
        let now_ms = shared::unix_us() / 1_000;
        let (found, recover) = (&journals.found, journals.is_snapshot_damaged());
        recovery::load(&journals.directory, found, recover, slots, &mut counters, now_ms, &journals.loaded)?;
        counters.reset_stats();
        counters.start_recording(Box::new(Recorder::new(1)));
    }
    Ok(counters)
}

/// A line about how loading goes, if there is something to load.
fn tell_loading(shared: &Shared, what: &str, started: Instant) {
    let Some(journals) = &shared.journals else { return };
    let count = journals.loaded.load(Ordering::Relaxed);
    if count > 0 {
        let seconds = started.elapsed().as_secs_f64();
        let rate = count as f64 / seconds / 1e6;
        info!("{what} {}: {count} records in {seconds:.1} s, {rate:.1} million a second", shared.config.dir.display());
    }
}

/// Have everything on the disk, and the run closed.
fn close_journals(shared: &Shared) -> Result<(), StartError> {
    let Some(journals) = &shared.journals else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let closed = runtime
        .and_then(|runtime| runtime.block_on(async { tokio::time::timeout(CLOSE_PATIENCE, journals.close()).await? }));
    closed.map_err(|error| StartError::Other {
        doing: "write the end of the journal",
        error,
        remedy: "Make room, or see to the disk; the last seconds of counting may be lost",
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
    match config.appendonly {
        true => info!("data directory {}, appendfsync {}", config.dir.display(), config.appendfsync.name()),
        false => info!("the counters live in memory only: they are gone when the server stops"),
    }
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
