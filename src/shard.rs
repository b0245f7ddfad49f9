//! One core: its counters, its buffers, its ends of the mesh, its clients.
//!
//! Everything here belongs to one thread. Other shards reach the counters only through messages, which are handled one
//! after the other, so a batch of the mesh is never interleaved with anything.
//!
//! A transaction over several shards *holds* them, in ascending order: a held shard executes for the holder alone, and
//! everybody else's work waits until it is released. Who holds waits for nobody but shards further up, so it always
//! comes to an end.

mod execute;
mod hold;
mod journal;
mod lag;
mod lap;
mod messages;
pub mod parked;
mod polling;
mod sweep;
mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use slab::Slab;
use tokio::sync::Notify;

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::command::{Env, Extent, Spans};
use crate::connection::Connection;
use crate::counters::{Counters, Headroom, Key, Seed};
use crate::latency::Merged;
use crate::lend::Pool;
use crate::limits::{
    LARGE_REPLY_COUNT_MAX, LONG_BATCH_COUNT_MAX, MEDIUM_REPLY_COUNT_MAX, QUEUES_BYTES_MAX, SHARD_COUNT_MAX,
    WATCHED_BYTES_MAX, WINDOW_COUNT_MAX,
};
use crate::mesh::{self, Batch, Mesh};
use crate::monitor::Monitors;
use crate::readiness::IdleSockets;
use crate::server::{Live, Shared};
use crate::session::{Permits, Surroundings, Window};
use crate::slot::{self, ShardMap};
use crate::socket::Socket;
use crate::startup::longer_counters_bytes;
use crate::stats::Stats;

use execute::Waiter;
use hold::Hold;
use journal::Journal;
use lap::Lap;
use parked::Parked;
use polling::Polling;

pub use parked::Eviction;

/// A socket that was accepted and counted, on its way to its shard.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: Socket,
    /// The client's id.
    pub id: u64,
    /// It came to the port of the shard that serves it.
    pub direct: bool,
}

/// A window with the number of the waiter that belongs to it.
#[derive(Debug)]
pub struct Turn {
    /// Index into the shard's waiters.
    pub waiter: u32,
    /// The window.
    pub window: Box<Window>,
}

/// Connections that are ready, until a worker takes them over.
#[derive(Default)]
struct Jobs {
    queue: RefCell<VecDeque<Rc<Connection>>>,
    added: Notify,
    /// Workers that wait for one.
    resting_count: Cell<usize>,
}

/// See the module.
pub struct Shard {
    /// Which one.
    pub index: usize,
    /// Which slots belong to whom.
    pub map: ShardMap,
    /// Seed of the key hash, the same on all shards.
    pub seed: Seed,
    /// What all shards share.
    pub shared: Arc<Shared>,
    /// The counters.
    pub counters: RefCell<Counters>,
    /// The fixed buffers.
    pub buffers: Buffers,
    /// The sockets of idle connections.
    pub idle_sockets: IdleSockets,
    /// Windows to parse into.
    pub turns: Pool<Turn>,
    /// The clients.
    pub clients: RefCell<Slab<Rc<Connection>>>,
    /// Who is shown this shard's clients' commands.
    pub monitors: Monitors,
    /// Statistics and histograms.
    pub stats: RefCell<Stats>,
    /// The time.
    pub clock: Clock,
    /// Scratch of the parser.
    pub spans: RefCell<Spans>,
    /// How many more bytes transactions may queue.
    pub queue_room_bytes: Cell<usize>,
    /// How many more bytes of keys clients may watch.
    pub watch_room_bytes: Cell<usize>,
    /// Whoever works through long batches holds one of these.
    pub long_batches: Pool<()>,
    /// Whoever gathers a large reply holds one of these.
    pub large_replies: Pool<()>,
    /// Whoever gathers a reply about the server holds one of these.
    pub medium_replies: Pool<()>,
    /// Whoever adds up the histograms of all shards holds this one.
    pub merged: Pool<Box<Merged>>,
    /// No more requests are read.
    pub stopping: Cell<bool>,
    polling: Polling,
    parked: Parked,
    jobs: Jobs,
    lap: Lap,
    /// By worker: the connection that it has taken over. Only these can hold buffers.
    at_work: RefCell<Vec<Option<Rc<Connection>>>>,
    recalled_ns: Cell<u64>,
    mesh: Mesh,
    waiters: RefCell<Vec<Waiter>>,
    batches: Pool<Box<Batch>>,
    /// For a transaction that holds other shards: never waits for one that is held.
    holder_batches: Pool<Box<Batch>>,
    hold: Hold,
    journal: Journal,
    live: RefCell<(u64, Rc<Live>)>,
    published_bytes: Cell<u64>,
}

impl Shard {
    /// A shard with these counters.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        mesh: Mesh,
        buffers: Buffers,
        idle_sockets: IdleSockets,
        counters: Counters,
    ) -> Shard {
        let map = shared.map;
        let shard_count = map.shard_count();
        // One shard never waits for another, but its tasks still hold a window.
        let waiter = || Waiter { outgoing: (0..shard_count).map(|_| None).collect(), ..Waiter::default() };
        let turn = |waiter: usize| Turn { waiter: waiter as u32, window: Box::default() };
        let batches = |count: usize| Pool::new((0..count).map(|_| Box::<Batch>::default()));
        let worker_count = buffers.total_count();
        let shard = Shard {
            index,
            map,
            seed: shared.seed,
            counters: RefCell::new(counters),
            buffers,
            idle_sockets,
            turns: Pool::new((0..WINDOW_COUNT_MAX).map(turn)),
            clients: RefCell::default(),
            monitors: Monitors::default(),
            stats: RefCell::new(Stats::new(&shared.config)),
            clock: Clock::new(),
            spans: RefCell::default(),
            queue_room_bytes: Cell::new(QUEUES_BYTES_MAX),
            watch_room_bytes: Cell::new(WATCHED_BYTES_MAX),
            long_batches: Pool::new([(); LONG_BATCH_COUNT_MAX]),
            large_replies: Pool::new([(); LARGE_REPLY_COUNT_MAX]),
            medium_replies: Pool::new([(); MEDIUM_REPLY_COUNT_MAX]),
            merged: Pool::new([Box::new(Merged::default())]),
            stopping: Cell::new(false),
            polling: Polling::new(shared.config.busy_poll),
            parked: Parked::new(&shared.config),
            jobs: Jobs::default(),
            lap: Lap::default(),
            at_work: RefCell::new(vec![None; worker_count]),
            recalled_ns: Cell::new(0),
            mesh,
            waiters: RefCell::new((0..WINDOW_COUNT_MAX).map(|_| waiter()).collect()),
            batches: batches(mesh::batch_count(shard_count)),
            holder_batches: batches(shard_count - 1),
            hold: Hold::default(),
            journal: Journal::default(),
            live: RefCell::new((0, Rc::default())),
            published_bytes: Cell::new(0),
            shared,
        };
        shard.refresh_live();
        shard.publish_memory();
        shard
    }

    /// The settings that can change while the server runs.
    pub fn live(&self) -> Rc<Live> {
        if self.shared.live_epoch.load(Ordering::Acquire) != self.live.borrow().0 {
            self.refresh_live();
        }
        self.live.borrow().1.clone()
    }

    fn refresh_live(&self) {
        let (epoch, live) = self.shared.read_live();
        self.stats.borrow_mut().follow(&live);
        *self.live.borrow_mut() = (epoch, Rc::new(live));
        self.update_room();
    }

    /// Tell the other shards how many bytes this one's counters take, and learn how much room is left.
    pub fn publish_memory(&self) {
        let bytes = self.counters.borrow().bytes();
        if bytes != self.published_bytes.replace(bytes) {
            self.shared.counter_bytes[self.index].store(bytes, Ordering::Relaxed);
            self.update_room();
        }
    }

    /// How much more the counters may grow: what `maxmemory` leaves of all shards' bytes.
    pub fn update_room(&self) {
        let max_bytes = self.live.borrow().1.maxmemory_bytes;
        let used_bytes = self.shared.used_counter_bytes();
        let room = match max_bytes {
            0 => Headroom::UNLIMITED,
            _ => Headroom {
                new_bytes: max_bytes.saturating_sub(used_bytes),
                longer_bytes: max_bytes.saturating_add(longer_counters_bytes(max_bytes)).saturating_sub(used_bytes),
            },
        };
        self.counters.borrow_mut().set_room(room);
    }

    /// The key as the counters know it.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.seed.key(bytes)
    }

    /// The shard that owns a key.
    pub fn owner(&self, bytes: &[u8]) -> usize {
        self.map.shard_of(slot::of(bytes))
    }

    /// What sessions may know of this shard while they parse. Nothing stands in the way of writes, and every key is served.
    pub fn surroundings<'a>(&'a self, live: &'a Live, counters: &'a Counters, now_ms: i64) -> Surroundings<'a> {
        Surroundings {
            env: Env {
                password: live.requirepass.as_deref().map(str::as_bytes),
                debug: self.shared.config.enable_debug_command,
                cluster: self.shared.config.cluster_enabled,
            },
            map: self.map,
            seed: self.seed,
            counters,
            now_ms,
            writes_paused: false,
            writes_refused: None,
            permits: Permits::ALL,
            shown: self.monitors.are_attached(),
            queue_room_bytes: &self.queue_room_bytes,
            direct: None,
        }
    }

    /// What whoever gathers a reply of this extent holds one of; nothing for a short one.
    pub fn permits(&self, extent: Extent) -> Option<&Pool<()>> {
        match extent {
            Extent::Short => None,
            Extent::Medium => Some(&self.medium_replies),
            Extent::Long => Some(&self.large_replies),
        }
    }

    /// Let a worker take over a connection that is ready.
    pub fn hand_to_worker(&self, connection: Rc<Connection>) {
        self.jobs.queue.borrow_mut().push_back(connection);
        // The worker that rested last has its memory in the cache still.
        self.jobs.added.notify_last();
    }

    /// Wake idle connections as their sockets become ready, for as long as the shard runs.
    pub async fn take_up_ready(self: Rc<Self>) {
        loop {
            let taken_up = self.idle_sockets.ready(|place| {
                if let Some(connection) = self.clients.borrow().get(place as usize) {
                    connection.set_ready();
                }
            });
            // Only a ring that is torn down refuses it.
            let _ = taken_up.await;
        }
    }

    /// Whether more connections are ready than there are workers who could take them over.
    pub fn lacks_workers(&self) -> bool {
        self.jobs.queue.borrow().len() > self.jobs.resting_count.get()
    }

    /// The connection that has been ready longest, for a worker that has given up the one before.
    pub async fn next_job(&self, worker: usize) -> Rc<Connection> {
        self.at_work.borrow_mut()[worker] = None;
        // One a turn of the ring, though a short batch does not need any.
        if !self.jobs.queue.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        loop {
            if let Some(connection) = self.jobs.queue.borrow_mut().pop_front() {
                self.at_work.borrow_mut()[worker] = Some(connection.clone());
                return connection;
            }
            self.jobs.resting_count.update(|count| count + 1);
            self.jobs.added.notified().await;
            self.jobs.resting_count.update(|count| count - 1);
        }
    }

    /// Serve a connection here.
    pub fn start(self: &Rc<Self>, accepted: Accepted) {
        Connection::start(self, accepted);
    }

    /// Hand a connection to another shard.
    ///
    /// # Errors
    /// The connection, when that shard is behind with taking them.
    pub fn hand_over(&self, target: usize, accepted: Box<Accepted>) -> Result<(), Box<Accepted>> {
        self.mesh.push_accepted(target, accepted)?;
        self.mesh.wake(target);
        Ok(())
    }
}

const _: () = assert!(SHARD_COUNT_MAX <= u16::MAX as usize);
