//! One client's connection: idle, or at work.
//!
//! An idle connection waits for its socket (to be readable, or writable if replies are left over) and holds nothing but
//! itself and what is parked: no fixed buffer, no window, and a task of a few hundred bytes. When its socket is ready,
//! one of the shard's workers takes it over ([`work`]), and works until it has nothing to do and buffers are short, or
//! until its client stalls. There are as many workers as fixed buffers, made when the shard starts; each has a little
//! memory of its own for short replies.

mod display;
mod io;
mod monitor;
mod send;
mod work;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::client::Client;
use crate::command::Extent;
use crate::readiness::Readiness;
use crate::server::PauseKind;
use crate::session::Session;
use crate::shard::{Accepted, Eviction, Shard, parked};
use crate::socket::Socket;
use crate::tasks;

pub use work::work;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A request, without a buffer.
    Readable,
    /// Its client to read, without a buffer: replies are parked.
    Writable,
    /// The end of a pause; requests are parked.
    Pause(PauseKind),
    /// Few enough others to gather replies of this extent; requests are parked.
    Permit(Extent),
    /// Nothing of its client: a worker is at work.
    AtWork,
    /// A request, with a buffer in the kernel's hands.
    Receive,
    /// Its client to read, with a buffer in the kernel's hands.
    Send,
}

/// Bytes that a connection which waits has left over.
#[derive(Debug, Default)]
pub struct Parked {
    /// Received and not consumed.
    pub input: Box<[u8]>,
    /// Encoded and not sent.
    pub output: Unsent,
    /// Not for its client's sake: it waits for a pause to end, or for a permit.
    is_held_up: bool,
    /// Since when, in the shard's nanoseconds.
    since_ns: u64,
}

impl Parked {
    /// How many bytes are parked.
    pub fn bytes(&self) -> usize {
        self.input.len() + self.output.bytes.capacity()
    }
}

/// Replies that have not been sent: the bytes from `start` on. Those in front of it go when they are the greater part, so
/// that a long reply is not copied for each bit that its client takes.
#[derive(Debug, Default)]
pub struct Unsent {
    bytes: Vec<u8>,
    start: usize,
}

impl Unsent {
    fn new(mut bytes: Vec<u8>, mut start: usize) -> Unsent {
        if start > bytes.len() / 2 {
            bytes = bytes[start..].to_vec();
            start = 0;
        }
        Unsent { bytes, start }
    }

    /// How many bytes are to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The connection is over; its client is not told more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// See the module.
pub struct Connection {
    /// The shard that it lives on.
    pub shard: Rc<Shard>,
    /// The socket.
    pub socket: Socket,
    /// Everything but I/O.
    pub session: RefCell<Session>,
    /// It came to this shard's own port, and is served this shard's keys.
    pub direct: bool,
    /// When it was accepted, in the shard's nanoseconds.
    pub created_ns: u64,
    /// When something was last received.
    pub active_ns: Cell<u64>,
    /// Since when it waits.
    pub waiting_since_ns: Cell<u64>,
    /// Since when a request has been unfinished; 0 when none is.
    pub unfinished_since_ns: Cell<u64>,
    /// Since when replies have been unsent; 0 when none are.
    pub unsent_since_ns: Cell<u64>,
    /// What it waits for.
    pub waiting: Cell<Waiting>,
    /// The last command's index in the table; `u16::MAX` before the first.
    pub last_command: Cell<u16>,
    /// Left over while it waits. The shard counts these bytes.
    pub parked: RefCell<Parked>,
    place: Cell<u32>,
    /// The frame of the journal that it has last waited for, and not come back since; 0: none.
    released_by: Cell<u64>,
    /// Its last receive was a long batch: the next one waits for a turn.
    sends_much: Cell<bool>,
    /// While it sends, its next receive has begun.
    receives_ahead: Cell<bool>,
    /// It holds one of the shard's `long_batches`.
    has_turn: Cell<bool>,
    /// It holds a permit for a reply of this extent: it has waited for that, or gathers or sends such a reply.
    permit: Cell<Option<Extent>>,
    ended: Cell<bool>,
    /// Its socket is known to `idle_sockets`.
    known: Cell<bool>,
    ready: Cell<bool>,
    worked: Cell<Option<Result<(), Over>>>,
    waker: Cell<Option<Waker>>,
}

impl Connection {
    /// Serve an accepted socket on this shard until it ends.
    pub fn start(shard: &Rc<Shard>, accepted: Accepted) {
        let authenticated = shard.live().requirepass.is_none();
        let client = Client { id: accepted.id, authenticated, ..Client::default() };
        let now = shard.clock.now();
        let connection = Rc::new(Connection {
            shard: shard.clone(),
            socket: accepted.socket,
            session: RefCell::new(Session::new(client)),
            direct: accepted.direct,
            created_ns: now.ns,
            active_ns: Cell::new(now.ns),
            waiting_since_ns: Cell::new(now.ns),
            unfinished_since_ns: Cell::new(0),
            unsent_since_ns: Cell::new(0),
            waiting: Cell::new(Waiting::Readable),
            last_command: Cell::new(u16::MAX),
            parked: RefCell::default(),
            place: Cell::new(0),
            released_by: Cell::new(0),
            sends_much: Cell::new(false),
            receives_ahead: Cell::new(false),
            has_turn: Cell::new(false),
            permit: Cell::new(None),
            ended: Cell::new(false),
            known: Cell::new(false),
            ready: Cell::new(false),
            worked: Cell::new(None),
            waker: Cell::new(None),
        });
        let place = shard.clients.borrow_mut().insert(connection.clone());
        connection.place.set(u32::try_from(place).expect("fewer clients than descriptors"));
        shard.stats.borrow_mut().counts.connection_count += 1;
        if shard.stopping.get() {
            connection.stop_reading();
        }
        tokio_uring::spawn(connection.serve());
    }

    /// End it: what is being received or sent is broken off, and what is parked is dropped.
    pub fn end(&self) {
        self.ended.set(true);
        if !matches!(self.waiting.get(), Waiting::AtWork | Waiting::Receive | Waiting::Send) {
            self.unpark();
        }
        self.socket.shutdown(Shutdown::Both);
    }

    /// Whether it has been ended.
    pub fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether it gathers or sends a reply that few may at a time, or is about to.
    pub fn has_permit(&self) -> bool {
        self.permit.get().is_some()
    }

    /// Whether it holds one of the shard's turns for long batches.
    pub fn has_turn(&self) -> bool {
        self.has_turn.get()
    }

    /// Answer what has been received, then end.
    pub fn stop_reading(&self) {
        self.socket.shutdown(Shutdown::Read);
    }

    /// Take its buffers back from the kernel, where it waits with one. What is in them will be parked.
    pub fn recall(self: &Rc<Self>) {
        if matches!(self.waiting.get(), Waiting::Receive | Waiting::Send) {
            // It is not recalled again before it has come back.
            self.waiting.set(Waiting::AtWork);
            let (connection, both) = (self.clone(), self.receives_ahead.get());
            tokio_uring::spawn(async move { connection.socket.cancel(both).await });
        }
    }

    /// Say what it waits for, and since when.
    fn wait_for(&self, waiting: Waiting, since_ns: u64) {
        self.waiting.set(waiting);
        self.waiting_since_ns.set(since_ns);
    }

    /// Put bytes aside for as long as it waits.
    fn park(&self, mut parked: Parked) {
        let bytes = parked.bytes();
        if bytes > 0 {
            parked.since_ns = self.shard.clock.now().ns;
        }
        let entry = self.entry(&parked);
        let before = self.parked.replace(parked);
        assert_eq!(before.bytes(), 0, "what was parked is taken before more is");
        if bytes > 0 {
            self.shard.add_parked(entry);
        }
    }

    fn entry(&self, parked: &Parked) -> parked::Entry {
        let Parked { is_held_up, since_ns, .. } = *parked;
        parked::Entry { bytes: parked.bytes(), is_held_up, since_ns, place: self.place.get() }
    }

    /// Take what was put aside.
    fn unpark(&self) -> Parked {
        let parked = std::mem::take(&mut *self.parked.borrow_mut());
        if parked.bytes() > 0 {
            self.shard.sub_parked(self.entry(&parked));
        }
        parked
    }

    /// The task of the connection.
    async fn serve(self: Rc<Self>) {
        while !self.ended.get() {
            let ready = match self.waiting.get() {
                Waiting::Readable if self.is_monitor() => Box::pin(self.readable_or_tick()).await,
                Waiting::Readable => self.ready(Readiness::Readable).await,
                Waiting::Writable => self.ready(Readiness::Writable).await,
                Waiting::Pause(kind) => Box::pin(self.paused(kind)).await,
                Waiting::Permit(extent) => {
                    self.wait_for_permit(extent).await;
                    Ok(())
                }
                waiting => unreachable!("a worker left its connection in {waiting:?}"),
            };
            if ready.is_err() {
                self.shard.evict(&self, Eviction::Watches);
            }
            if self.ended.get() {
                break;
            }
            // What waited for a permit has been received: it needs no turn.
            if self.sends_much.get() && !self.has_permit() {
                if self.shard.long_batches.try_lend().is_none() {
                    self.shard.recall_idle_turns();
                    self.shard.long_batches.lend().await;
                }
                self.has_turn.set(true);
            }
            self.waiting.set(Waiting::AtWork);
            self.shard.hand_to_worker(self.clone());
            let worked = self.has_worked().await;
            self.give_back_turn();
            if worked.is_err() {
                break;
            }
        }
        self.give_back_permit();
        if !self.session.borrow().client.watched.is_empty() {
            Box::pin(tasks::forget_watches(&self)).await;
        }
        if self.is_monitor() {
            Box::pin(tasks::unmonitor(&self)).await;
        }
        self.session.borrow_mut().end_transaction(&self.shard.queue_room_bytes);
        self.unpark();
        self.socket.shutdown(Shutdown::Both);
        self.shard.clients.borrow_mut().remove(self.place.get() as usize);
        self.shard.shared.client_left(self.shard.index);
    }

    /// Another connection's long batch may be worked through.
    fn give_back_turn(&self) {
        if self.has_turn.replace(false) {
            self.shard.long_batches.give_back(());
        }
    }

    /// Until few enough others gather a reply of this extent. Meanwhile nothing is held that those may need.
    async fn wait_for_permit(&self, extent: Extent) {
        let permits = self.shard.permits(extent).expect("short replies take none");
        if permits.try_lend().is_none() {
            self.shard.recall_gathered();
            permits.lend().await;
        }
        self.permit.set(Some(extent));
    }

    /// Another connection's reply may be gathered.
    fn give_back_permit(&self) {
        if let Some(permits) = self.permit.take().and_then(|extent| self.shard.permits(extent)) {
            permits.give_back(());
        }
    }

    /// Until the pause ends, or its client does: it is not kept for that long.
    async fn paused(&self, kind: PauseKind) -> std::io::Result<()> {
        tokio::select! {
            () = self.shard.shared.until_unpaused(kind) => Ok(()),
            gone = self.ready(Readiness::Gone) => {
                // Who stops the server reads no more, and answers what has come.
                if !self.shard.stopping.get() {
                    self.end();
                }
                gone
            }
        }
    }

    /// Until its socket is ready, holding no buffer.
    async fn ready(&self, readiness: Readiness) -> std::io::Result<()> {
        self.ready.set(false);
        let known = self.known.replace(true);
        self.shard.idle_sockets.arm(self.socket.as_fd(), known, self.place.get().into(), readiness)?;
        poll_fn(|cx| {
            if self.ready.get() {
                return Poll::Ready(Ok(()));
            }
            self.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Its socket is ready. A report that comes late, when it has stopped waiting for that, changes nothing.
    pub fn set_ready(&self) {
        if matches!(self.waiting.get(), Waiting::Readable | Waiting::Writable | Waiting::Pause(_))
            && !self.ready.replace(true)
        {
            self.wake();
        }
    }

    /// Until the worker is through with it.
    async fn has_worked(&self) -> Result<(), Over> {
        poll_fn(|cx| match self.worked.take() {
            Some(worked) => Poll::Ready(worked),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    fn set_worked(&self, worked: Result<(), Over>) {
        self.worked.set(Some(worked));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}
