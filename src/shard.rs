//! One core: its counters, its buffers, its ends of the mesh, its clients.
//!
//! Everything here belongs to one thread. Other shards reach the counters only through messages, which are handled one
//! after the other, so a batch of the mesh is never interleaved with anything.
//!
//! A transaction over several shards *holds* them, in ascending order: a held shard executes for the holder alone, and
//! everybody else's work waits until it is released. Who holds waits for nobody but shards further up, so it always
//! comes to an end.

mod parked;
mod upkeep;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use slab::Slab;
use tokio::sync::Notify;

use crate::buffers::Buffers;
use crate::client::ShardSet;
use crate::clock::Clock;
use crate::command::Spans;
use crate::connection::Connection;
use crate::counters::{Counters, Key, Seed};
use crate::glob;
use crate::latency::{Event, Merged};
use crate::lend::Pool;
use crate::limits::{
    LARGE_REPLY_COUNT_MAX, LONG_BATCH_COUNT_MAX, QUEUES_BYTES_MAX, SCAN_STEP_BYTES_MAX, SHARD_COUNT_MAX,
    WATCHED_BYTES_MAX, WINDOW_COUNT_MAX,
};
use crate::mesh::{self, Answer, Ask, Batch, Mesh, Message};
use crate::server::{Live, Shared};
use crate::session::Window;
use crate::slot::{self, ShardMap};
use crate::stats::Stats;

pub use parked::Eviction;
use parked::Parked;

/// A socket that was accepted and counted, on its way to its shard.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: AcceptedSocket,
    /// The client's id.
    pub id: u64,
    /// It came to the port of the shard that serves it.
    pub direct: bool,
}

/// What kind of socket.
#[derive(Debug)]
pub enum AcceptedSocket {
    /// TCP: the peer and the local address.
    Tcp(std::net::TcpStream, SocketAddr, SocketAddr),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

/// A window with the number of the waiter that belongs to it.
#[derive(Debug)]
pub struct Turn {
    /// Index into the shard's waiters.
    pub waiter: u32,
    /// The window.
    pub window: Box<Window>,
}

/// Where a connection waits for other shards.
#[derive(Default)]
struct Waiter {
    /// Messages that have not come back.
    left_count: usize,
    /// By shard: the batch being filled.
    outgoing: Vec<Option<Box<Batch>>>,
    /// Batches that came back.
    #[expect(clippy::vec_box, reason = "the boxes themselves travel over the mesh and go back to their pool")]
    executed: Vec<Box<Batch>>,
    answer: Option<Box<Answer>>,
    waker: Option<Waker>,
}

/// Who wants to hold this shard.
enum Holder {
    Own { waiter: u32 },
    Other { shard: usize, waiter: u32 },
}

#[derive(Default)]
struct Hold {
    held: Cell<bool>,
    /// Who wants to hold it next.
    queue: RefCell<VecDeque<Holder>>,
    /// What came for this shard while it was held.
    deferred: RefCell<VecDeque<Message>>,
    released: Notify,
}

/// Connections that are ready, until a worker takes them over.
#[derive(Default)]
struct Jobs {
    queue: RefCell<VecDeque<Rc<Connection>>>,
    added: Notify,
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
    /// Windows to parse into.
    pub turns: Pool<Turn>,
    /// The clients.
    pub clients: RefCell<Slab<Rc<Connection>>>,
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
    /// Whoever adds up the histograms of all shards holds this one.
    pub merged: Pool<Box<Merged>>,
    /// When something was last received, in the shard's nanoseconds.
    worked_ns: Cell<u64>,
    work: Notify,
    /// No more requests are read.
    pub stopping: Cell<bool>,
    parked: Parked,
    jobs: Jobs,
    /// By worker: the connection that it has taken over. Only these can hold buffers.
    at_work: RefCell<Vec<Option<Rc<Connection>>>>,
    recalled_ns: Cell<u64>,
    mesh: Mesh,
    waiters: RefCell<Vec<Waiter>>,
    batches: Pool<Box<Batch>>,
    /// For a transaction that holds other shards: never waits for one that is held.
    holder_batches: Pool<Box<Batch>>,
    hold: Hold,
    live: RefCell<(u64, Rc<Live>)>,
    published_bytes: Cell<u64>,
}

impl Shard {
    /// A shard with its counters empty.
    pub fn new(index: usize, shared: Arc<Shared>, mesh: Mesh, buffers: Buffers) -> Shard {
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
            counters: RefCell::new(Counters::new(map.slots_of(index))),
            buffers,
            turns: Pool::new((0..WINDOW_COUNT_MAX).map(turn)),
            clients: RefCell::default(),
            stats: RefCell::new(Stats::new(&shared.config)),
            clock: Clock::new(),
            spans: RefCell::default(),
            queue_room_bytes: Cell::new(QUEUES_BYTES_MAX),
            watch_room_bytes: Cell::new(WATCHED_BYTES_MAX),
            long_batches: Pool::new([(); LONG_BATCH_COUNT_MAX]),
            large_replies: Pool::new([(); LARGE_REPLY_COUNT_MAX]),
            merged: Pool::new([Box::new(Merged::default())]),
            worked_ns: Cell::new(0),
            work: Notify::new(),
            stopping: Cell::new(false),
            parked: Parked::new(&shared.config),
            jobs: Jobs::default(),
            at_work: RefCell::new(vec![None; worker_count]),
            recalled_ns: Cell::new(0),
            mesh,
            waiters: RefCell::new((0..WINDOW_COUNT_MAX).map(|_| waiter()).collect()),
            batches: batches(mesh::batch_count(shard_count)),
            holder_batches: batches(shard_count - 1),
            hold: Hold::default(),
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
        let room_bytes = match max_bytes {
            0 => u64::MAX,
            _ => max_bytes.saturating_sub(self.shared.used_counter_bytes()),
        };
        self.counters.borrow_mut().set_room(room_bytes);
    }

    /// The key as the counters know it.
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        self.seed.key(bytes)
    }

    /// The shard that owns a key.
    pub fn owner(&self, bytes: &[u8]) -> usize {
        self.map.shard_of(slot::of(bytes))
    }

    /// Execute all operations of a window, here and on the shards that own them.
    pub async fn execute(&self, turn: &mut Turn, input: &[u8], now_ms: i64, holder: bool) {
        let forwarded = self.map.shard_count() > 1 && self.forward(turn, input, now_ms, holder).await;
        if !holder && self.hold.held.get() {
            self.until_released().await;
        }
        turn.window.execute(input, self.index, &mut self.counters.borrow_mut(), now_ms);
        self.publish_memory();
        if forwarded {
            self.collect(turn).await;
        }
    }

    /// Send every other shard its part of the window. False when there is none.
    async fn forward(&self, turn: &Turn, input: &[u8], now_ms: i64, holder: bool) -> bool {
        let mut targets = ShardSet::default();
        turn.window.routed(input, self.index).for_each(|routed| targets.insert(routed.shard));
        let target_count = targets.count();
        if target_count == 0 {
            return false;
        }
        let pool = if holder { &self.holder_batches } else { &self.batches };
        let mut empty_targets = targets.iter();
        let waiter = turn.waiter as usize;
        pool.lend_many(target_count, |mut batch| {
            batch.clear(now_ms, holder);
            let target = empty_targets.next().expect("as many batches as targets");
            self.waiters.borrow_mut()[waiter].outgoing[target] = Some(batch);
        })
        .await;
        let waiter = &mut self.waiters.borrow_mut()[waiter];
        for routed in turn.window.routed(input, self.index) {
            waiter.outgoing[routed.shard].as_mut().expect("every target has a batch").push(&routed);
        }
        waiter.left_count = target_count;
        self.stats.borrow_mut().mesh_batch_count += target_count as u64;
        for target in targets.iter() {
            let batch = waiter.outgoing[target].take().expect("every target has a batch");
            self.mesh.push(target, Message::Execute { from: self.index as u16, waiter: turn.waiter, batch });
            self.mesh.wake(target);
        }
        true
    }

    /// Wait for the batches of a window and put their outcomes into it.
    async fn collect(&self, turn: &mut Turn) {
        self.returned(turn.waiter).await;
        let mut waiters = self.waiters.borrow_mut();
        for batch in waiters[turn.waiter as usize].executed.drain(..) {
            batch.outcomes().for_each(|(item, outcome)| turn.window.complete(item, outcome));
            let pool = if batch.holder { &self.holder_batches } else { &self.batches };
            pool.give_back(batch);
        }
    }

    /// Until every message of a waiter has come back.
    async fn returned(&self, waiter: u32) {
        poll_fn(|cx| {
            let waiter = &mut self.waiters.borrow_mut()[waiter as usize];
            if waiter.left_count == 0 {
                return Poll::Ready(());
            }
            waiter.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Until no transaction of another connection holds this shard.
    pub async fn until_released(&self) {
        while self.hold.held.get() {
            let released = self.hold.released.notified();
            if self.hold.held.get() {
                released.await;
            }
        }
    }

    /// Ask a shard (this one too) something. `holder`: the asker holds it.
    pub async fn ask(self: &Rc<Self>, waiter: u32, target: usize, holder: bool, ask: Ask) -> Answer {
        if target != self.index {
            self.waiters.borrow_mut()[waiter as usize].left_count = 1;
            let ask = Box::new(ask);
            self.mesh.push(target, Message::Ask { from: self.index as u16, waiter, holder, ask });
            self.mesh.wake(target);
        } else if matches!(ask, Ask::Hold) {
            self.waiters.borrow_mut()[waiter as usize].left_count = 1;
            self.want_hold(Holder::Own { waiter });
        } else {
            if !holder && touches_counters(&ask) {
                self.until_released().await;
            }
            return self.answer(ask);
        }
        self.returned(waiter).await;
        let answer = self.waiters.borrow_mut()[waiter as usize].answer.take();
        *answer.expect("who is woken has an answer")
    }

    /// Handle what other shards send, for as long as the shard runs.
    pub async fn receive_messages(self: Rc<Self>) {
        loop {
            self.mesh.woken().await;
            for source in self.mesh.sources() {
                let mut answered = false;
                while let Some(message) = self.mesh.pop(source) {
                    answered |= self.handle(message);
                }
                if answered {
                    self.mesh.wake(source);
                }
            }
            self.publish_memory();
            self.note_message();
        }
    }

    /// Handle a message. True when something was sent back, to a shard that is still to be woken.
    fn handle(self: &Rc<Self>, message: Message) -> bool {
        match message {
            Message::Execute { ref batch, .. } if self.hold.held.get() && !batch.holder => self.defer(message),
            Message::Ask { ref ask, holder: false, .. } if self.hold.held.get() && touches_counters(ask) => {
                self.defer(message)
            }
            Message::Execute { from, waiter, mut batch } => {
                batch.execute(&mut self.counters.borrow_mut());
                self.mesh.push(usize::from(from), Message::Executed { waiter, batch });
                true
            }
            Message::Executed { waiter, batch } => {
                self.come_back(waiter, |waiter| waiter.executed.push(batch));
                false
            }
            Message::Ask { from, waiter, ask, .. } => match *ask {
                Ask::Hold => {
                    self.want_hold(Holder::Other { shard: usize::from(from), waiter });
                    false
                }
                ask => {
                    let answer = Box::new(self.answer(ask));
                    self.mesh.push(usize::from(from), Message::Answer { waiter, answer });
                    true
                }
            },
            Message::Answer { waiter, answer } => {
                self.come_back(waiter, |waiter| waiter.answer = Some(answer));
                false
            }
            Message::Accepted(accepted) => {
                Connection::start(self, *accepted);
                false
            }
        }
    }

    fn defer(&self, message: Message) -> bool {
        self.hold.deferred.borrow_mut().push_back(message);
        false
    }

    fn come_back(&self, waiter: u32, put: impl FnOnce(&mut Waiter)) {
        let waiter = &mut self.waiters.borrow_mut()[waiter as usize];
        put(waiter);
        assert!(waiter.left_count > 0, "nothing comes back that was not sent");
        waiter.left_count -= 1;
        if waiter.left_count == 0
            && let Some(waker) = waiter.waker.take()
        {
            waker.wake();
        }
    }

    fn want_hold(&self, holder: Holder) {
        self.hold.queue.borrow_mut().push_back(holder);
        self.grant_hold();
    }

    /// Give the hold to who has waited longest, if it is free.
    fn grant_hold(&self) {
        if self.hold.held.get() {
            return;
        }
        let Some(holder) = self.hold.queue.borrow_mut().pop_front() else { return };
        self.hold.held.set(true);
        let answer = Box::new(Answer::Done);
        match holder {
            Holder::Own { waiter } => self.come_back(waiter, |waiter| waiter.answer = Some(answer)),
            Holder::Other { shard, waiter } => {
                self.mesh.push(shard, Message::Answer { waiter, answer });
                self.mesh.wake(shard);
            }
        }
    }

    /// The holder is through: do what waited, then let the next one hold.
    fn release(self: &Rc<Self>) {
        assert!(self.hold.held.replace(false), "only a held shard is released");
        let mut answered = ShardSet::default();
        let deferred_count = self.hold.deferred.borrow().len();
        for _ in 0..deferred_count {
            let message = self.hold.deferred.borrow_mut().pop_front().expect("counted");
            let from = match message {
                Message::Execute { from, .. } | Message::Ask { from, .. } => usize::from(from),
                _ => unreachable!("only requests are deferred"),
            };
            if self.handle(message) {
                answered.insert(from);
            }
        }
        answered.iter().for_each(|shard| self.mesh.wake(shard));
        self.hold.released.notify_waiters();
        // Those who were just woken go first: else transactions could keep everybody else out.
        let shard = self.clone();
        tokio_uring::spawn(async move {
            tokio::task::yield_now().await;
            shard.grant_hold();
        });
    }

    /// Answer a question at once. `Hold` is not one of these.
    fn answer(self: &Rc<Self>, ask: Ask) -> Answer {
        let now_ms = self.clock.now().unix_ms;
        let mut counters = self.counters.borrow_mut();
        match ask {
            Ask::Hold => unreachable!("a hold is granted, not answered"),
            Ask::Release => {
                drop(counters);
                self.release();
                Answer::Done
            }
            Ask::KeyCount => Answer::Count(counters.key_count()),
            Ask::SlotKeyCount(slot) => Answer::Count(counters.slot_key_count(slot)),
            Ask::Flush => {
                counters.flush(now_ms);
                Answer::Done
            }
            Ask::Scan { cursor, count, pattern } => scan(&counters, cursor, count, pattern.as_deref(), now_ms),
            Ask::Random(pick) => Answer::Key(counters.random(pick, now_ms).map(Box::from)),
            Ask::Entry(key) => Answer::Entry(counters.entry(self.key(&key), now_ms)),
            Ask::Take(key) => Answer::Entry(counters.take(self.key(&key), now_ms)),
            Ask::Put(key, entry) => Answer::Put(counters.put(self.key(&key), entry)),
            Ask::Watch(key) => Answer::Count(counters.watch(self.key(&key), now_ms)),
            Ask::WatchedVersion(key) => Answer::Count(counters.watched_version(self.key(&key), now_ms)),
            Ask::Unwatch(key) => {
                counters.unwatch(self.key(&key));
                Answer::Done
            }
            Ask::Report => {
                drop(counters);
                Answer::Report(Box::new(self.report()))
            }
            Ask::Histogram(which) => {
                Answer::Histogram(self.stats.borrow().latency.histogram(which).cloned().map(Box::new))
            }
            Ask::Spikes => {
                let stats = self.stats.borrow();
                Answer::Spikes(Event::ALL.map(|event| stats.latency.monitor.series(event).clone()))
            }
            Ask::ResetSpikes(events) => {
                let monitor = &mut self.stats.borrow_mut().latency.monitor;
                let reset = Event::ALL.map(|event| events[event as usize] && monitor.reset(event));
                Answer::ResetSpikes(reset)
            }
            Ask::ResetStats => {
                counters.reset_stats();
                self.stats.borrow_mut().reset();
                Answer::Done
            }
            Ask::Clients(filter) => Answer::Text(self.client_lines(&filter)),
            Ask::KillClients(filter) => Answer::Count(self.kill_clients(&filter)),
            Ask::Slowlog(count) => Answer::Slowlog(self.stats.borrow().slow_entries(count)),
            Ask::SlowlogReset => {
                self.stats.borrow_mut().reset_slow();
                Answer::Done
            }
        }
    }

    /// Let a worker take over a connection that is ready.
    pub fn hand_to_worker(&self, connection: Rc<Connection>) {
        self.jobs.queue.borrow_mut().push_back(connection);
        // The worker that rested last has its memory in the cache still.
        self.jobs.added.notify_last();
    }

    /// Whether connections are ready that no worker has taken over.
    pub fn has_jobs(&self) -> bool {
        !self.jobs.queue.borrow().is_empty()
    }

    /// The connection that has been ready longest, for a worker that has given up the one before.
    pub async fn next_job(&self, worker: usize) -> Rc<Connection> {
        self.at_work.borrow_mut()[worker] = None;
        loop {
            if let Some(connection) = self.jobs.queue.borrow_mut().pop_front() {
                self.at_work.borrow_mut()[worker] = Some(connection.clone());
                return connection;
            }
            self.jobs.added.notified().await;
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

/// Whether a transaction's hold must keep this question waiting.
fn touches_counters(ask: &Ask) -> bool {
    !matches!(
        ask,
        Ask::Hold
            | Ask::Release
            | Ask::Report
            | Ask::Histogram(_)
            | Ask::Spikes
            | Ask::ResetSpikes(_)
            | Ask::ResetStats
            | Ask::Clients(_)
            | Ask::KillClients(_)
            | Ask::Slowlog(_)
            | Ask::SlowlogReset
            | Ask::Unwatch(_)
    )
}

/// One step of `SCAN` or `KEYS`.
fn scan(counters: &Counters, cursor: u64, count: u64, pattern: Option<&[u8]>, now_ms: i64) -> Answer {
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    let mut bytes = 0;
    let cursor = counters.scan(cursor, count, now_ms, &mut |key, _| {
        if bytes + key.len() > SCAN_STEP_BYTES_MAX {
            return false;
        }
        if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
            bytes += key.len();
            keys.push(Box::from(key));
        }
        true
    });
    Answer::Keys { cursor, keys }
}

const _: () = assert!(SHARD_COUNT_MAX <= u16::MAX as usize);
