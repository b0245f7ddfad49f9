//! Start the shards, hand them their connections, stop them.

mod pause;
mod shared;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::accept::{self, Listener};
use crate::buffers::Buffers;
use crate::config::Config;
use crate::connection;
use crate::host::Host;
use crate::mesh::Mesh;
use crate::metrics;
use crate::notify::{self, notify};
use crate::readiness::IdleSockets;
use crate::shard::Shard;
use crate::startup::{StartError, classify_ring_error};

pub use pause::PauseKind;
pub use shared::{Live, Refusal, Shared, refusal};

/// Entries of a shard's submission queue.
const RING_ENTRY_COUNT: u32 = 1_024;

/// How long the kernel may take to give back what another process of this user had locked.
const REGISTER_PATIENCE: Duration = Duration::from_millis(300);

/// How long clients have at the end to take their last replies.
const STOP_GRACE: Duration = Duration::from_secs(5);

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
    notify(notify::State::Ready);
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
        let shard = std::rc::Rc::new(Shard::new(index, shared.clone(), mesh, buffers, IdleSockets::new()?));
        tokio_uring::spawn(shard.clone().receive_messages());
        tokio_uring::spawn(shard.clone().tick());
        tokio_uring::spawn(shard.clone().take_up_ready());
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
        notify(notify::State::Stopping);
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
