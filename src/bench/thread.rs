//! One load thread: its ring, its connections, its part of the load.
//!
//! Nothing is shared with other threads but a flag that says stop. What it notes goes to whoever collects once a second
//! ([`Recorder`]), the rest comes as a [`ThreadReport`] at the end.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};

use super::buffer;
use super::flight::{Flight, Rule};
use super::grace::Grace;
use super::nodes::{self, Node};
use super::pace::{now_ns, sleep_until, thread_cpu_ns, thread_kept_ns};
use super::record::{Recorded, Recorder, Recording, SECOND_NS, Span};
use super::reply;
use super::requests::Requests;
use super::result::Load;
use super::run::{BenchError, Limit, Run};
use super::thread_report::ThreadReport;
use super::{closed, open};
use crate::socket::{Buffer, Socket};

/// Entries of the ring.
const RING_ENTRY_COUNT: u32 = 1_024;

/// How often a thread looks whether it is to stop.
const TICK_NS: u64 = 20_000_000;

/// What one thread is told.
pub struct Order {
    /// The run.
    pub run: Arc<Run>,
    /// Which of its threads this is.
    pub index: usize,
    /// Who is asked.
    pub nodes: Arc<Vec<Node>>,
    /// Where each second goes.
    pub recorded: Sender<Recorded>,
    /// Empty sets to record in.
    pub spares: Receiver<Box<Recording>>,
    /// Told once all connections are there.
    pub ready: Sender<Result<(), BenchError>>,
    /// When the load is to begin, and what is measured.
    pub go: Receiver<(u64, Span)>,
    /// Stop early.
    pub stop: Arc<AtomicBool>,
}

/// One connection of a thread.
pub struct Connection {
    /// Its number in the thread.
    pub index: usize,
    /// The node that it belongs to.
    pub node: usize,
    /// It has not ended.
    pub alive: Cell<bool>,
    /// It has ended, and will not be opened again.
    pub given_up: Cell<bool>,
    /// What is under way.
    pub flight: RefCell<Flight>,
    /// How often it was tried to open it again since it was last answered.
    pub try_count: Cell<u32>,
    socket: RefCell<Rc<Socket>>,
}

impl Connection {
    fn new(index: usize, node: usize, socket: Socket, key_count: u32) -> Connection {
        Connection {
            index,
            node,
            alive: Cell::new(true),
            given_up: Cell::new(false),
            flight: RefCell::new(Flight::new(key_count)),
            try_count: Cell::new(0),
            socket: RefCell::new(Rc::new(socket)),
        }
    }

    /// The socket, until it is lost.
    pub fn socket(&self) -> Rc<Socket> {
        self.socket.borrow().clone()
    }
}

/// What the tasks of a thread share.
pub struct Thread {
    /// The run.
    pub run: Arc<Run>,
    /// Which thread this is.
    pub index: usize,
    /// The nodes of the run.
    pub nodes: Arc<Vec<Node>>,
    /// How replies are checked.
    pub rules: Vec<Rule>,
    /// What is measured; ends earlier when the run is stopped.
    pub span: Cell<Span>,
    /// Until when requests come due; the measured time may go on until they are answered.
    pub due_end_ns: Cell<u64>,
    /// How long what came due until then may take.
    grace: RefCell<Grace>,
    /// When the load begins.
    pub begin_ns: u64,
    /// Its requests.
    pub requests: RefCell<Requests>,
    /// Its histograms.
    pub recorder: RefCell<Recorder>,
    /// Everything else that it notes.
    pub report: RefCell<ThreadReport>,
    /// Requests under way, and those of an open loop that wait for their connection.
    pub pending_count: Cell<usize>,
    /// Until when the server kept requests from being handed out to any connection.
    pub pacer_held_until_ns: Cell<u64>,
    /// Sends and receives that have ended.
    pub event_count: Cell<u64>,
    /// Nothing new is to be sent.
    pub stopping: Cell<bool>,
    /// Connections are being closed: whatever they end with is no reset.
    pub closing: Cell<bool>,
    /// Connections that are there.
    pub live: RefCell<Vec<Rc<Connection>>>,
    /// Those that are lost and may come back.
    pub reopening_count: Cell<usize>,
}

/// Run a thread to its end.
///
/// # Errors
/// Where it cannot start; the order's `ready` is told too.
pub fn run(order: Order) -> Option<ThreadReport> {
    let mut ring = tokio_uring::uring_builder();
    ring.setup_coop_taskrun().setup_single_issuer().setup_cqsize(4 * RING_ENTRY_COUNT);
    let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(RING_ENTRY_COUNT).uring_builder(&ring));
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = order.ready.send(Err(BenchError::Ring { error }));
            return None;
        }
    };
    runtime.block_on(work(order))
}

async fn work(order: Order) -> Option<ThreadReport> {
    let Order { run, index, nodes, recorded, spares, ready, go, stop } = order;
    if let Some(core) = run.pin.get(index) {
        core_affinity::set_for_current(core_affinity::CoreId { id: *core });
    }
    let connections = match connect(&run, index, &nodes) {
        Ok(connections) => connections,
        Err(error) => {
            let _ = ready.send(Err(error));
            return None;
        }
    };
    let buffer_bytes = reply::BUFFER_BYTES_MIN.max(run.pipeline * run.mix.request_bytes_max());
    let mut buffers = buffer::allocate(2 * connections.len(), buffer_bytes).into_iter();
    let _ = ready.send(Ok(()));
    // The run does not begin when another thread could not start.
    let (begin_ns, span) = go.recv().ok()?;

    let due_end_ns = span.start_ns.saturating_add(run.length_ns()).min(span.end_ns);
    let mix = run.mix.clone();
    let counts_requests = run.ends_with_last_reply();
    let requests = Requests::new(mix, run.distribution, run.key_count, run.seed, index, run.threads);
    let thread = Rc::new(Thread {
        rules: Rule::of(run.mix.templates(), run.verify),
        run,
        index,
        nodes,
        span: Cell::new(span),
        due_end_ns: Cell::new(due_end_ns),
        grace: RefCell::new(Grace::new(due_end_ns, now_ns())),
        begin_ns,
        requests: RefCell::new(requests),
        recorder: RefCell::new(Recorder::new(index, span, counts_requests, recorded, spares)),
        report: RefCell::new(ThreadReport::new()),
        pending_count: Cell::new(0),
        pacer_held_until_ns: Cell::new(0),
        event_count: Cell::new(0),
        stopping: Cell::new(false),
        closing: Cell::new(false),
        live: RefCell::new(connections.clone()),
        reopening_count: Cell::new(0),
    });
    let ticking = tokio_uring::spawn(thread.clone().tick(stop));
    let mut buffer = || buffers.next().expect("there are two a connection");
    let buffers: Vec<(Buffer, Buffer)> = connections.iter().map(|_| (buffer(), buffer())).collect();
    sleep_until(begin_ns).await;
    match thread.run.load {
        Load::Closed => closed::load(&thread, &connections, buffers).await,
        Load::Open { .. } => open::load(&thread, &connections, buffers).await,
    }
    thread.stopping.set(true);
    ticking.abort();
    thread.recorder.borrow_mut().hand_over();
    let mut report = thread.report.replace(ThreadReport::new());
    report.end_ns = thread.span.get().end_ns;
    Some(report)
}

fn connect(run: &Run, index: usize, nodes: &[Node]) -> Result<Vec<Rc<Connection>>, BenchError> {
    let count = (index..run.connections).step_by(run.threads).len();
    (0..count)
        .map(|number| {
            let node = nodes::of_connection(run, index, number, nodes.len());
            let target = &nodes[node].target;
            let socket = target
                .connect()?
                .into_socket()
                .map_err(|error| BenchError::Lost { address: target.address.to_string(), error })?;
            Ok(Rc::new(Connection::new(number, node, socket, run.key_count)))
        })
        .collect()
}

impl Thread {
    /// What a connection is told of the replies that came into `input`, at `now_ns`. Answers how many bytes are left
    /// over, which have been moved to the front.
    #[inline]
    pub fn take_replies(
        &self,
        connection: &Connection,
        input: &mut Buffer,
        received_bytes: usize,
        now_ns: u64,
    ) -> io::Result<usize> {
        let mut flight = connection.flight.borrow_mut();
        let mut recorder = self.recorder.borrow_mut();
        let report = &mut *self.report.borrow_mut();
        let before_count = flight.len();
        let taken =
            flight.take(&input[..received_bytes], &self.rules, &mut report.shown, |alike, count, error_count| {
                recorder.record(alike, now_ns, count, error_count);
            });
        // What came before an error in the replies was answered, and is not under way any more.
        let answered_count = before_count - flight.len();
        self.pending_count.set(self.pending_count.get() - answered_count);
        if answered_count > 0 || taken.is_ok() {
            report.last_reply_ns = now_ns;
            connection.try_count.set(0);
        }
        let consumed_bytes = taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.event_count.set(self.event_count.get() + 1);
        input.copy_within(consumed_bytes..received_bytes, 0);
        Ok(received_bytes - consumed_bytes)
    }

    /// A connection has ended. What was under way has an unknown outcome.
    pub fn lose(&self, connection: &Connection, error: &io::Error) {
        let mut live = self.live.borrow_mut();
        let Some(place) = live.iter().position(|other| other.index == connection.index) else { return };
        live.swap_remove(place);
        connection.alive.set(false);
        connection.socket().shutdown(Shutdown::Both);
        let mut flight = connection.flight.borrow_mut();
        let mut report = self.report.borrow_mut();
        report.shown.unknown += flight.unknown(&self.rules);
        report.unanswered_count += flight.intended_within(self.span.get());
        self.pending_count.set(self.pending_count.get() - flight.len());
        flight.restart();
        if !self.closing.get() {
            report.reset_count += 1;
            report.reset.get_or_insert_with(|| error.to_string());
            self.reopening_count.set(self.reopening_count.get() + 1);
        }
    }

    /// A connection that was lost is there again.
    pub fn regain(&self, connection: &Rc<Connection>, socket: Socket) {
        assert!(!connection.alive.replace(true), "a connection that is there cannot come back");
        connection.socket.replace(Rc::new(socket));
        self.reopening_count.set(self.reopening_count.get() - 1);
        self.live.borrow_mut().push(connection.clone());
        self.report.borrow_mut().reopened_count += 1;
    }

    /// A connection that was lost will not come back.
    pub fn give_up(&self, connection: &Connection) {
        connection.given_up.set(true);
        self.reopening_count.set(self.reopening_count.get() - 1);
        if self.is_deserted() && !self.closing.get() && !self.is_over(now_ns()) {
            self.report.borrow_mut().deserted = true;
            self.end_now(now_ns());
        }
    }

    /// No connection is there, nor will be.
    pub fn is_deserted(&self) -> bool {
        self.live.borrow().is_empty() && self.reopening_count.get() == 0
    }

    /// End every connection: receives that wait for something end.
    pub fn close(&self) {
        self.closing.set(true);
        self.live.borrow().iter().for_each(|connection| connection.socket().shutdown(Shutdown::Both));
    }

    /// Whether anything more is to be sent at this moment.
    #[inline]
    pub fn is_over(&self, now_ns: u64) -> bool {
        self.stopping.get() || now_ns >= self.due_end_ns.get()
    }

    /// Whether nothing is sent or waited for any more that came due before the end.
    pub fn is_grace_over(&self, now_ns: u64) -> bool {
        self.grace.borrow_mut().is_over(now_ns)
    }

    /// Until when the server held up what was to be done from `since_ns` on and is done now.
    pub fn held_until_ns(&self, since_ns: u64, now_ns: u64) -> u64 {
        self.grace.borrow_mut().held_until_ns(since_ns, now_ns)
    }

    /// The measured time ends now, if it has not yet.
    fn end_now(&self, now_ns: u64) {
        let span = self.span.get();
        let end_ns = span.end_ns.min(now_ns.max(span.start_ns + 1));
        self.span.set(Span { end_ns, ..span });
        self.due_end_ns.set(self.due_end_ns.get().min(end_ns));
        self.grace.borrow_mut().end_at(self.due_end_ns.get());
        self.recorder.borrow_mut().end_at(end_ns);
        self.stopping.set(true);
    }

    /// Until the thread ends: hand over each second, read the accounts, stop when that is asked for, and see to it that
    /// a server that answers nothing does not keep the run from ending.
    async fn tick(self: Rc<Self>, stop: Arc<AtomicBool>) {
        let mut cpu_at_start_ns = None;
        let (mut counted, mut kept_due_ns) = (false, 0);
        let mut heard = (0, 0);
        loop {
            let now_ns = now_ns();
            let span = self.span.get();
            self.hear(&mut heard, now_ns);
            if stop.load(Ordering::Relaxed) && !self.is_over(now_ns) {
                self.end_now(now_ns);
                continue;
            }
            self.recorder.borrow_mut().advance(now_ns);
            if now_ns >= span.start_ns && cpu_at_start_ns.is_none() {
                cpu_at_start_ns = Some((thread_cpu_ns(), thread_kept_ns()));
                self.report.borrow_mut().spun_ns = 0;
            }
            if let Some((cpu_ns, kept_ns)) = cpu_at_start_ns.filter(|_| !counted) {
                let mut report = self.report.borrow_mut();
                report.cpu_ns = thread_cpu_ns() - cpu_ns;
                counted = now_ns >= span.end_ns;
                if counted || now_ns >= kept_due_ns {
                    report.kept_ns = thread_kept_ns().saturating_sub(kept_ns);
                    kept_due_ns = now_ns + SECOND_NS;
                }
            }
            if self.is_grace_over(now_ns) {
                self.close();
            }
            let next_second_ns = span.start_ns
                + now_ns.checked_sub(span.start_ns).map_or(0, |since_ns| (since_ns / SECOND_NS + 1) * SECOND_NS);
            let end_ns = if now_ns < span.end_ns { span.end_ns } else { u64::MAX };
            sleep_until(next_second_ns.min(end_ns).min(now_ns + TICK_NS)).await;
        }
    }

    /// A closed loop of so many requests has no end beforehand: it is over too when the server owes replies and says
    /// nothing. `heard` is how many replies had come when somebody looked last, and since when no more have.
    fn hear(&self, heard: &mut (u64, u64), now_ns: u64) {
        let has_end = self.run.load != Load::Closed || matches!(self.run.limit, Limit::Time(_)) || self.is_over(now_ns);
        let count = self.event_count.get();
        if count != heard.0 || self.pending_count.get() == 0 {
            *heard = (count, now_ns);
        }
        if !has_end {
            self.grace.borrow_mut().wait_from(heard.1);
        }
    }

    /// After a turn of the ring that slept not: what went by since the last one was waiting, if nothing has happened.
    pub fn note_spin(&self, event_count: &mut u64, before_ns: &mut u64) {
        let (events, now_ns) = (self.event_count.get(), now_ns());
        if events == *event_count {
            self.report.borrow_mut().spun_ns += now_ns - *before_ns;
        }
        (*event_count, *before_ns) = (events, now_ns);
    }

    /// How many requests this connection sends at most.
    pub fn budget(&self, connection: &Connection) -> Option<u64> {
        match self.run.limit {
            Limit::Time(_) => None,
            Limit::Requests(count) => {
                let number = (connection.index * self.run.threads + self.index) as u64;
                let connections = self.run.connections as u64;
                Some(count / connections + u64::from(number < count % connections))
            }
        }
    }
}
