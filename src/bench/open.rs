//! The open loop: requests have their times, whatever the server does.
//!
//! A pacer hands each request to a connection when its time has come. It never waits for the server; what a connection
//! cannot send yet waits behind it, and its response time runs meanwhile. Only when so many wait that memory would not
//! hold more ([`LOAD_PENDING_COUNT_MAX`]) does the pacer wait too.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::batches::Batches;
use super::buffer;
use super::choice::{Choice, Place};
use super::histogram;
use super::pace::{now_ns, sleep_until};
use super::record::SECOND_NS;
use super::reopen::{closed_by_server, reopen};
use super::requests::{Drawn, Standing};
use super::thread::{Connection, Thread};
use crate::limits::LOAD_PENDING_COUNT_MAX;
use crate::socket::Buffer;

/// The last part of the time until a request is due is not slept, as waking up takes about so long.
const SPIN_NS: u64 = 50_000;

/// A send that took longer was held up by the server, which did not read.
const HELD_NS: u64 = 1_000_000;

/// Requests that are handed out before the ring is seen to again.
const TURN_COUNT_MAX: usize = 1_024;

/// How often is looked whether everything was answered.
const DRAIN_TICK_NS: u64 = 1_000_000;

/// The pacer never sleeps for longer, however far off the next request is: the run may be stopped meanwhile.
const SLEEP_NS_MAX: u64 = 50_000_000;

/// A request that is to come; several of them where they are sent together.
#[derive(Clone, Copy)]
struct Moment {
    intended_ns: u64,
    /// As many as a pipeline, but for the last moment of all.
    count: u32,
    /// Its number in the trace, if one is replayed.
    number: usize,
}

/// A request whose time has come; several of them where they are sent together.
#[derive(Clone, Copy)]
struct Due {
    intended_ns: u64,
    count: u32,
    what: What,
}

/// What a due request is.
#[derive(Clone, Copy)]
enum What {
    /// Whatever its connection draws.
    Any,
    /// In a cluster: what its connection was chosen for.
    Drawn(Drawn),
    /// That of the trace with this number.
    Recorded(u32),
}

/// What a connection is to send as soon as it can.
#[derive(Default)]
struct Queue {
    due: RefCell<VecDeque<Due>>,
    sender: Cell<Option<Waker>>,
    /// Until when the server held the connection up: it did not read, or had ended it.
    held_until_ns: Cell<u64>,
}

impl Queue {
    fn push(&self, due: Due) {
        self.due.borrow_mut().push_back(due);
        self.wake();
    }

    /// Wait until there is something to send; false when this connection sends no more.
    async fn ready(&self, thread: &Thread, connection: &Connection) -> bool {
        poll_fn(|cx| {
            if thread.closing.get() || !connection.alive.get() {
                return Poll::Ready(false);
            }
            if !self.due.borrow().is_empty() {
                return Poll::Ready(true);
            }
            self.sender.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Have the sender look again.
    fn wake(&self) {
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }
}

/// Load until the schedule is over and everything is answered, or the time of grace is.
pub async fn load(thread: &Rc<Thread>, connections: &[Rc<Connection>], buffers: Vec<(Buffer, Buffer)>) {
    let queues: Rc<Vec<Queue>> = Rc::new(connections.iter().map(|_| Queue::default()).collect());
    let mut tasks = Vec::new();
    for (connection, (input, output)) in connections.iter().zip(buffers) {
        tasks.push(tokio_uring::spawn(attend(thread.clone(), connection.clone(), queues.clone(), input, output)));
    }
    pace(thread, connections, &queues).await;
    while thread.pending_count.get() > 0 && !thread.is_grace_over(now_ns()) && !thread.is_deserted() {
        sleep_until(now_ns() + DRAIN_TICK_NS).await;
    }
    thread.close();
    queues.iter().for_each(Queue::wake);
    for task in tasks {
        task.await.expect("a task that fails ends the process");
    }
}

/// Hand out requests at their times.
async fn pace(thread: &Rc<Thread>, connections: &[Rc<Connection>], queues: &[Queue]) {
    let mut choice = Choice::new(thread, connections);
    let (mut event_count, mut before_ns) = (0, now_ns());
    let mut moments = Moments::of(thread);
    let mut next = moments.next();
    // How long the server kept requests from being handed out: too many waited for it, or no connection was there.
    let mut held_ns = 0;
    while let Some(first) = next
        && !thread.stopping.get()
    {
        let now = now_ns();
        let is_over = thread.is_over(now);
        let has_room = thread.pending_count.get() < LOAD_PENDING_COUNT_MAX;
        // What came due before the end is handed out after it too, within the time of grace: a thread that was kept from
        // its core is late, and the server did nothing wrong. Where too many wait already, that would not help.
        let is_lost = thread.is_grace_over(now) || !has_room;
        if is_over && (is_lost || first.intended_ns > now) {
            break;
        }
        if first.intended_ns <= now {
            let mut turn_count = 0;
            while let Some(moment) =
                next.filter(|moment| moment.intended_ns <= now && turn_count < TURN_COUNT_MAX && has_room)
            {
                let (place, what) = place(&mut choice, thread, connections, moment);
                if place == Place::Later {
                    break;
                }
                let Moment { intended_ns, count, .. } = moment;
                thread.report.borrow_mut().count_intended(thread.span.get(), intended_ns, u64::from(count));
                if let Place::To(connection) = place {
                    thread.pending_count.set(thread.pending_count.get() + count as usize);
                    queues[connection].push(Due { intended_ns, count, what });
                }
                turn_count += 1;
                next = moments.next();
            }
            if turn_count > 0 {
                // What was handed out is sent when the ring turns.
                let _ = tokio_uring::no_op().await;
            } else if is_over {
                break;
            } else {
                sleep_until(now + DRAIN_TICK_NS).await;
                let after = now_ns();
                held_ns += after - now;
                thread.pacer_held_until_ns.set(thread.held_until_ns(now, after));
            }
            event_count = thread.event_count.get();
            before_ns = now_ns();
        } else if thread.run.busy_poll || first.intended_ns - now <= SPIN_NS {
            let _ = tokio_uring::no_op().await;
            thread.note_spin(&mut event_count, &mut before_ns);
        } else {
            sleep_until((first.intended_ns - SPIN_NS).min(now + SLEEP_NS_MAX)).await;
            event_count = thread.event_count.get();
            before_ns = now_ns();
        }
    }
    // What was not handed out before the end was to be sent all the same.
    let Some(first) = next else { return };
    let behind_ns = now_ns().saturating_sub(first.intended_ns);
    let left_count = moments.count_left(thread, first);
    // The pacer is so far behind by the doing of whoever has held it up for the larger part of that.
    if held_ns < behind_ns / 2 {
        thread.report.borrow_mut().withheld_count += left_count;
    }
}

/// What comes at a moment, and where it goes.
#[inline]
fn place(choice: &mut Choice, thread: &Thread, connections: &[Rc<Connection>], moment: Moment) -> (Place, What) {
    if thread.run.trace.is_some() {
        // A trace of the longest file has fewer.
        let number = u32::try_from(moment.number).expect("requests of a trace have numbers of 32 bits");
        return (choice.of_recorded(thread, connections, moment.number), What::Recorded(number));
    }
    let (place, drawn) = choice.next(thread, connections);
    (place, drawn.map_or(What::Any, What::Drawn))
}

/// What a thread is to send, in the order of its times.
enum Moments<'a> {
    /// Those of the warm-up, and those of the measured time, each from its own beginning on.
    Scheduled {
        begin_ns: u64,
        warm_up: Batches,
        start_ns: u64,
        measured: Batches,
    },
    Recorded(Box<dyn Iterator<Item = Moment> + 'a>),
}

impl Moments<'_> {
    fn of(thread: &Thread) -> Moments<'_> {
        let (begin_ns, start_ns) = (thread.begin_ns, thread.span.get().start_ns);
        if let Some(trace) = &thread.run.trace {
            let moments = trace.moments(thread.index, thread.run.threads, thread.run.connections);
            let moments = moments.map(move |(ns, number)| Moment { intended_ns: start_ns + ns, count: 1, number });
            return Moments::Recorded(Box::new(moments));
        }
        let warm_up = Batches::of_warm_up(&thread.run, thread.index, start_ns - begin_ns);
        let measured = Batches::measured(&thread.run, thread.index);
        Moments::Scheduled { begin_ns, warm_up, start_ns, measured }
    }

    /// Count as intended what was to be sent from `first` on until the end, and answer how many requests of the measured time
    /// that were. At a rate that nobody can offer there are too many to draw them one by one.
    fn count_left(self, thread: &Thread, first: Moment) -> u64 {
        let (span, end_ns) = (thread.span.get(), thread.due_end_ns.get());
        let report = &mut *thread.report.borrow_mut();
        let mut left_count = 0;
        let mut count = |ns: u64, request_count: u64| {
            report.count_intended(span, ns, request_count);
            left_count += if span.contains(ns) { request_count } else { 0 };
        };
        if first.intended_ns < end_ns {
            count(first.intended_ns, u64::from(first.count));
        }
        match self {
            Moments::Scheduled { start_ns, measured, .. } => {
                let mut counted = 0;
                for second_ns in (start_ns..end_ns).step_by(SECOND_NS as usize) {
                    let before = measured.left_before((second_ns + SECOND_NS).min(end_ns) - start_ns);
                    count(second_ns, before - counted);
                    counted = before;
                }
            }
            Moments::Recorded(moments) => {
                let due = moments.take_while(|moment| moment.intended_ns < end_ns);
                due.for_each(|moment| count(moment.intended_ns, u64::from(moment.count)));
            }
        }
        left_count
    }
}

impl Iterator for Moments<'_> {
    type Item = Moment;

    #[inline]
    fn next(&mut self) -> Option<Moment> {
        match self {
            Moments::Scheduled { begin_ns, warm_up, start_ns, measured } => {
                let warm_up = warm_up.next().map(|(ns, count)| (*begin_ns + ns, count));
                let (intended_ns, count) =
                    warm_up.or_else(|| measured.next().map(|(ns, count)| (*start_ns + ns, count)))?;
                Some(Moment { intended_ns, count, number: 0 })
            }
            Moments::Recorded(moments) => moments.next(),
        }
    }
}

/// Send what is queued for a connection and receive the replies, both at their own pace; opened again where it is lost.
async fn attend(
    thread: Rc<Thread>,
    connection: Rc<Connection>,
    queues: Rc<Vec<Queue>>,
    mut input: Buffer,
    mut output: Buffer,
) {
    let queue = &queues[connection.index];
    loop {
        let sending = tokio_uring::spawn(send(thread.clone(), connection.clone(), queues.clone(), output));
        let received = receive_replies(&thread, &connection, &mut input).await;
        if let Err(error) = received {
            thread.lose(&connection, &error);
        }
        queue.wake();
        output = sending.await.expect("a task that fails ends the process");
        if !reopen(&thread, &connection).await {
            break;
        }
        queue.held_until_ns.set(now_ns());
    }
    // What was not sent never will be.
    let unsent_count: usize = queue.due.take().iter().map(|due| due.count as usize).sum();
    thread.pending_count.set(thread.pending_count.get() - unsent_count);
}

async fn send(thread: Rc<Thread>, connection: Rc<Connection>, queues: Rc<Vec<Queue>>, mut output: Buffer) -> Buffer {
    if let Err(error) = send_queued(&thread, &connection, &queues[connection.index], &mut output).await {
        thread.lose(&connection, &error);
    }
    output
}

async fn send_queued(thread: &Thread, connection: &Connection, queue: &Queue, output: &mut Buffer) -> io::Result<()> {
    let socket = connection.socket();
    let part = thread.nodes[connection.node].part.as_ref();
    let pipeline = thread.run.pipeline;
    let mut standing = Standing::default();
    while queue.ready(thread, connection).await {
        let now = now_ns();
        let held_until_ns = queue.held_until_ns.get().max(thread.pacer_held_until_ns.get());
        let bytes = {
            let flight = &mut *connection.flight.borrow_mut();
            let mut due = queue.due.borrow_mut();
            let mut report = thread.report.borrow_mut();
            let mut requests = thread.requests.borrow_mut();
            let span = thread.span.get();
            let room_count = output.len() / (pipeline * thread.run.mix.request_bytes_max());
            let mut bytes = 0;
            for _ in 0..room_count.min(due.len()) {
                let Due { intended_ns, count, what } = due.pop_front().expect("it is not empty");
                if let (What::Recorded(number), Some(trace)) = (what, &thread.run.trace) {
                    let (request, tag) = trace.request(number as usize);
                    output[bytes..bytes + request.len()].copy_from_slice(request);
                    flight.push(tag, 0, intended_ns, &thread.rules);
                    bytes += request.len();
                } else {
                    let mut push = |command, key| flight.push(command, key, intended_ns, &thread.rules);
                    let mut left_count = count as usize;
                    if let (What::Drawn(drawn), Some(part)) = (what, part) {
                        bytes += requests.write_drawn(&mut output[bytes..], drawn, part, &mut push);
                        left_count -= 1;
                    }
                    let mut none = Standing::default();
                    let standing = if bytes == 0 { &mut standing } else { &mut none };
                    let (written_count, more_bytes) =
                        requests.write(&mut output[bytes..], standing, left_count, part, &mut push);
                    assert!(written_count == left_count, "there is room for {room_count} times {pipeline} requests");
                    bytes += more_bytes;
                }
                flight.sent(count, now);
                if span.contains(intended_ns) {
                    report.count_sent(span, now, u64::from(count));
                    let own_ns = now - intended_ns.max(held_until_ns).min(now);
                    histogram::record(&mut report.own_lateness, own_ns, u64::from(count));
                }
            }
            bytes
        };
        buffer::send(&socket, output, 0..bytes).await?;
        thread.event_count.set(thread.event_count.get() + 1);
        let after = now_ns();
        if after - now > HELD_NS {
            queue.held_until_ns.set(thread.held_until_ns(now, after));
        }
    }
    Ok(())
}

async fn receive_replies(thread: &Thread, connection: &Connection, input: &mut Buffer) -> io::Result<()> {
    let socket = connection.socket();
    let mut partial_bytes = 0;
    loop {
        let end = input.len();
        let received_bytes = buffer::receive_next(&socket, input, partial_bytes..end).await?;
        // What comes after a connection was given up has been counted as unanswered.
        if received_bytes == 0 || !connection.alive.get() {
            return Err(closed_by_server());
        }
        partial_bytes = thread.take_replies(connection, input, partial_bytes + received_bytes, now_ns())?;
    }
}
