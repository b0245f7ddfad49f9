//! A connection at work: receive → parse → execute → encode → send, again and again.
//!
//! Everything that one receive brought is executed and answered before the next is looked at, which may be under way
//! while the replies are sent. While a client does not read its replies, no more than that is read of its requests.
//!
//! A worker waits for its client only in a receive or a send, with a fixed buffer and no window. Either may be recalled
//! when buffers run short: what the buffers held is parked, and the connection is idle again. So no client can keep
//! from others what they all need.
//!
//! What is waited for has an order, so that nobody waits in a circle: a permit for a long reply, a buffer to receive into,
//! a turn, a buffer to send from. Who holds one of them waits only for those behind it, for other shards, or in the ring.
//! A permit is waited for by an idle connection, which holds none of the others.

use std::io;
use std::net::Shutdown;
use std::ops::Range;
use std::rc::Rc;

use super::io::{Io, allow};
use super::{Connection, Over, Parked, Unsent, Waiting};
use crate::buffers::Purpose;
use crate::clock::Moment;
use crate::command::{Extent, Task};
use crate::journal::shared::Journals;
use crate::latency::{Event, Stage};
use crate::lend::Pool;
use crate::limits::{
    FIXED_BUFFER_BYTES, LONG_BATCH_BYTES_MIN, SHORT_OUTCOME_BYTES_MAX, SHORT_OUTPUT_BYTES, SHORT_REPLY_BYTES_MAX,
    WINDOW_ITEM_COUNT_MAX,
};
use crate::server::{Live, PauseKind};
use crate::session::{Calls, Direct, Permits, Status, Surroundings};
use crate::shard::{Shard, Turn};
use crate::socket::{Buffer, CANCELED};
use crate::stats::Stats;
use crate::tasks;

/// Replies are sent when less room than this is left for those of the next window: what a quarter of one takes.
const ROOM_BYTES_MIN: usize = SHORT_REPLY_BYTES_MAX + WINDOW_ITEM_COUNT_MAX / 4 * SHORT_OUTCOME_BYTES_MAX;

/// Why a connection is no longer at work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    /// It waits; `waiting` says for what.
    Idle(Waiting),
    /// It has ended.
    Over,
}

/// The task of a worker: take over connections that are ready, one after the other, for as long as the shard runs.
pub async fn work(shard: Rc<Shard>, worker: usize) {
    // Touched, so that it is there from the start.
    let mut short: Option<Box<[u8]>> = Some(vec![1; SHORT_OUTPUT_BYTES].into());
    loop {
        let connection = shard.next_job(worker).await;
        let now = shard.clock.now();
        let batch = match connection.has_permit() {
            // To wait for it was part of what its request has taken.
            true => Moment { ns: connection.waiting_since_ns.get(), ..now },
            false => now,
        };
        connection.active_ns.set(now.ns);
        let is_ready = !connection.has_turn();
        let mut io = Io { short: short.take(), batch, seen_ns: now.ns, is_ready, ..Io::default() };
        let Err(rest) = connection.work(&mut io).await;
        if let Some(receiving) = io.receiving.take() {
            assert!(matches!(rest, Rest::Over), "who is idle has nothing in the ring");
            connection.socket.shutdown(Shutdown::Both);
            io.input = Some(receiving.await.1);
        }
        // What was never sent ended here.
        if io.unsent_count > 0 {
            connection.record_sent(&mut io, shard.clock.now());
        }
        connection.give_back_permit();
        for buffer in [io.input.take(), io.output.take()].into_iter().flatten() {
            connection.put_away(&mut io, buffer);
        }
        short = io.short.take();
        assert!(short.is_some(), "nothing of it is in the ring any more");
        match rest {
            Rest::Idle(waiting) => {
                connection.wait_for(waiting, shard.clock.now().ns);
                shard.keep_within_store();
                connection.set_worked(Ok(()));
            }
            Rest::Over => connection.set_worked(Err(Over)),
        }
    }
}

impl Connection {
    /// Work until there is a reason not to.
    async fn work(&self, io: &mut Io) -> Result<std::convert::Infallible, Rest> {
        let Parked { input, output, .. } = self.unpark();
        if !output.is_empty() {
            // What is not sent this time is parked again, with the input.
            self.send_parked(io, &input, output).await?;
        }
        if !input.is_empty() {
            let mut buffer = self.shard.lend_buffer(Purpose::Receive).await;
            buffer[..input.len()].copy_from_slice(&input);
            io.received = input.len();
            io.input = Some(buffer);
            drop(input);
            self.process(io).await?;
        }
        if self.is_monitor() {
            self.send_monitored(io).await?;
        }
        loop {
            self.receive(io).await?;
            self.process(io).await?;
            let must_wait = self.must_wait(io.is_long) || self.is_monitor();
            if io.receiving.is_some() {
                // There were enough buffers when it began; who waits for a worker now has it ended, unless it has brought
                // something.
                if must_wait {
                    self.socket.cancel(false).await;
                }
            } else if must_wait || !(self.has_turn.get() || self.shard.buffers.are_plenty()) {
                return Err(self.park_all(io, Unsent::default(), Waiting::Readable));
            }
        }
    }

    /// Whether others come first: connections that no worker has taken over yet, or whose long batches wait for a turn.
    fn must_wait(&self, sends_much: bool) -> bool {
        let shard = &*self.shard;
        self.sends_much.set(sends_much);
        if !sends_much {
            self.give_back_turn();
        } else if !self.has_turn.get() {
            match shard.long_batches.try_lend() {
                Some(()) => self.has_turn.set(true),
                None => return true,
            }
        } else if shard.long_batches.is_awaited() {
            return true;
        }
        shard.lacks_workers()
    }

    /// Receive once, behind the bytes that are there already.
    async fn receive(&self, io: &mut Io) -> Result<(), Rest> {
        let shard = &*self.shard;
        loop {
            if self.is_ended() {
                return Err(Rest::Over);
            }
            let is_ready = std::mem::take(&mut io.is_ready);
            let (result, buffer) = match io.receiving.take() {
                // The ring would take a turn for it.
                None if is_ready => {
                    let mut buffer = self.input_buffer(io).await;
                    (self.socket.receive_at_once(&mut buffer[self.receivable(io)]), buffer)
                }
                begun => {
                    let receiving = match begun {
                        Some(receiving) => receiving,
                        None => {
                            let buffer = self.input_buffer(io).await;
                            let range = self.receivable(io);
                            match io.is_long || self.has_turn.get() {
                                // A long batch, or more of one, is probably there.
                                true => self.socket.receive(buffer, range),
                                false => self.socket.receive_next(buffer, range),
                            }
                        }
                    };
                    self.wait_for(Waiting::Receive, io.seen_ns);
                    let received = receiving.await;
                    self.waiting.set(Waiting::AtWork);
                    received
                }
            };
            io.input = Some(buffer);
            match result {
                Ok(0) => return Err(Rest::Over),
                Ok(mut received_bytes) => {
                    io.received += received_bytes;
                    io.is_long = received_bytes >= LONG_BATCH_BYTES_MIN;
                    io.batch = shard.received_in_lap();
                    if io.is_long && !self.has_turn.get() {
                        received_bytes += self.receive_rest(io);
                    }
                    io.seen_ns = io.batch.ns;
                    self.active_ns.set(io.batch.ns);
                    shard.note_work(io.batch.ns);
                    allow(&self.unfinished_since_ns, received_bytes, io.batch.ns);
                    shard.stats.borrow_mut().counts.received_bytes += received_bytes as u64;
                    return Ok(());
                }
                Err(error) if error.raw_os_error() == Some(CANCELED) => {
                    return Err(self.park_all(io, Unsent::default(), Waiting::Readable));
                }
                // Not there after all: the next one is the ring's.
                Err(error) if is_ready && error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Rest::Over),
            }
        }
    }

    /// Receive the rest of a batch that is a little longer than what is received at once, if that is all of it: then it was
    /// no long batch, which would wait for a turn, and for a sync of its own. How many bytes.
    fn receive_rest(&self, io: &mut Io) -> usize {
        let shard = &*self.shard;
        let room_bytes = shard.rest_room_bytes().min(FIXED_BUFFER_BYTES - io.received);
        if room_bytes == 0 {
            return 0;
        }
        let place = &mut io.input.as_mut().expect("it was received into")[io.received..][..room_bytes];
        // Its end or a mistake is told again.
        let rest_bytes = self.socket.receive_at_once(place).unwrap_or(0);
        shard.note_rest(rest_bytes);
        io.received += rest_bytes;
        io.is_long = rest_bytes == room_bytes;
        rest_bytes
    }

    /// The buffer that is received into.
    async fn input_buffer(&self, io: &mut Io) -> Buffer {
        match io.input.take() {
            Some(buffer) => buffer,
            None => self.shard.lend_buffer(Purpose::Receive).await,
        }
    }

    /// What of it is received into: behind the bytes that are there already.
    fn receivable(&self, io: &Io) -> Range<usize> {
        assert!(io.received < FIXED_BUFFER_BYTES, "the session consumes something of a full buffer");
        let end = match self.has_turn.get() {
            true => FIXED_BUFFER_BYTES,
            false => FIXED_BUFFER_BYTES.min(io.received + LONG_BATCH_BYTES_MIN),
        };
        io.received..end
    }

    /// Have the ring receive the next batch while it sends the replies to this one: one turn of the ring for both. What
    /// comes is looked at when the replies are sent. Not if others need the buffer, or this one a turn.
    pub(super) fn receive_ahead(&self, io: &mut Io) {
        let shard = &*self.shard;
        let alone = !io.is_long && !self.has_turn.get() && shard.buffers.are_plenty() && !shard.lacks_workers();
        if alone
            && !self.is_ended()
            && let Some(buffer) = io.input.take()
        {
            io.receiving = Some(self.socket.receive_next(buffer, self.receivable(io)));
            self.receives_ahead.set(true);
        }
    }

    /// Take back the receive that has begun while replies are sent, with what it has brought.
    pub(super) async fn take_back_receive(&self, io: &mut Io) {
        if let Some(receiving) = io.receiving.take() {
            self.socket.cancel(false).await;
            let (result, buffer) = receiving.await;
            io.input = Some(buffer);
            // Its end or a mistake is told again.
            let received_bytes = result.unwrap_or(0);
            io.received += received_bytes;
            self.shard.stats.borrow_mut().counts.received_bytes += received_bytes as u64;
        }
    }

    /// Execute and answer every complete request that has been received.
    async fn process(&self, io: &mut Io) -> Result<(), Rest> {
        let shard = &*self.shard;
        loop {
            let live = shard.live();
            if shard.shared.pause(io.batch.unix_ms) == Some(PauseKind::All) {
                return self.wait(io, Waiting::Pause(PauseKind::All)).await;
            }
            if FIXED_BUFFER_BYTES - io.encoded < ROOM_BYTES_MIN {
                self.flush(io).await?;
            }
            let mut turn = match shard.turns.try_lend() {
                Some(turn) => turn,
                None => {
                    // Those who have one may need the buffer of these replies.
                    self.flush(io).await?;
                    shard.turns.lend().await
                }
            };
            let status = self.parse(io, &mut turn, &live);
            if !matches!(status, Status::Task { .. }) {
                self.give_back_permit();
            }
            let was_empty = turn.window.is_empty();
            if !was_empty {
                self.answer(io, &mut turn).await;
            }
            match status {
                Status::NeedInput => {
                    shard.turns.give_back(turn);
                    break;
                }
                Status::WindowFull => {
                    shard.turns.give_back(turn);
                    if was_empty {
                        assert!(io.encoded > 0, "an empty window and an empty buffer have room");
                        self.flush(io).await?;
                    }
                }
                Status::Paused => {
                    shard.turns.give_back(turn);
                    return self.wait(io, Waiting::Pause(PauseKind::Writes)).await;
                }
                Status::Busy(extent) => {
                    shard.turns.give_back(turn);
                    return self.wait(io, Waiting::Permit(extent)).await;
                }
                Status::Task { task, command, quiet } => Box::pin(self.run(io, *task, command, quiet, turn)).await?,
                Status::End => {
                    shard.turns.give_back(turn);
                    self.flush(io).await?;
                    return Err(Rest::Over);
                }
            }
        }
        self.compact(io);
        self.flush_last(io).await
    }

    /// Move what is left over to the front of the buffer.
    fn compact(&self, io: &mut Io) {
        let left_bytes = io.received - io.consumed;
        let within_request = left_bytes > 0 || self.session.borrow().is_within_request();
        match (within_request, self.unfinished_since_ns.get()) {
            (true, 0) => self.unfinished_since_ns.set(io.seen_ns),
            (true, _) => {}
            (false, _) => self.unfinished_since_ns.set(0),
        }
        if let Some(buffer) = io.input.as_mut() {
            buffer.copy_within(io.consumed..io.received, 0);
        }
        (io.received, io.consumed) = (left_bytes, 0);
    }

    /// Fill the window.
    fn parse(&self, io: &mut Io, turn: &mut Turn, live: &Live) -> Status {
        let shard = &*self.shard;
        let now_ms = io.batch.unix_ms;
        let counters = &shard.counters.borrow();
        let writes_refused = shard.shared.journals.as_ref().and_then(Journals::refusal);
        let around = Surroundings {
            writes_paused: shard.shared.pause(now_ms).is_some(),
            writes_refused: writes_refused.as_deref(),
            permits: self.permits(),
            direct: self.direct.then(|| Direct {
                own: shard.index,
                ip: self.reached_ip(),
                ports: &shard.shared.cluster_ports,
            }),
            ..shard.surroundings(live, counters, now_ms)
        };
        let room_bytes = FIXED_BUFFER_BYTES - io.encoded;
        let input = &mut io.input.as_mut().expect("there is input to parse")[..io.received];
        let (spans, window) = (&mut shard.spans.borrow_mut(), &mut turn.window);
        let before = self.before_parse(input, io.consumed, live);
        let status = self.session.borrow_mut().parse(input, &mut io.consumed, spans, window, room_bytes, &around);
        if let Some(before) = before {
            self.show(*before, input, io.consumed, window, &status);
        }
        status
    }

    /// Execute the window and encode its replies.
    async fn answer(&self, io: &mut Io, turn: &mut Turn) {
        let shard = &*self.shard;
        let started = shard.look_up(&mut turn.window).await;
        let bytes_max = FIXED_BUFFER_BYTES - io.encoded - turn.window.room_bytes();
        let mut output = self.output(io, bytes_max).await;
        let input = io.input.as_ref().expect("the window points into it");
        shard.execute(turn, input, io.batch.unix_ms, false).await;
        io.touched.insert_all(shard.take_touched(turn.waiter));
        let mut room = &mut output[io.encoded..];
        let room_bytes = room.len();
        turn.window.encode(&mut self.session.borrow_mut().totals, &mut room);
        io.encoded += room_bytes - room.len();
        io.output = Some(output);
        let mut stats = shard.stats.borrow_mut();
        stats.count_window(&turn.window);
        let encoded_ns = shard.clock.now().ns;
        (io.encoded_ns, io.seen_ns) = (encoded_ns, encoded_ns);
        let mut call_count = 0;
        for calls in turn.window.calls() {
            call_count += u64::from(calls.count);
            self.last_command.set(calls.command);
            if let Some(calls) = io.note(calls) {
                stats.record(calls, encoded_ns - io.batch.ns);
            }
        }
        io.unsent_count += call_count;
        let (queue_ns, execute_ns) = (started.ns - io.batch.ns, encoded_ns - started.ns);
        stats.latency.record_stage(Stage::Queue, queue_ns, call_count);
        stats.latency.record_stage(Stage::Execute, execute_ns, call_count);
        stats.note_event(Event::Command, started.unix_ms, execute_ns);
        if let Some(slow) = stats.slow_stage(queue_ns, execute_ns) {
            self.note_slow_window(&mut stats, turn, io.input.as_ref().expect("as above"), started, slow);
        }
        drop(stats);
        turn.window.clear(false, 0);
    }

    /// The commands of a window that took long enter the slow log: those of a kind in a row as one, the first with its
    /// key.
    #[cold]
    fn note_slow_window(&self, stats: &mut Stats, turn: &Turn, input: &[u8], started: Moment, slow: (Stage, u64)) {
        let mut key = turn.window.first_key().map_or(&[][..], |span| span.of(input));
        for calls in turn.window.calls() {
            stats.note_slow(self, calls.command, key, started.unix_ms, slow);
            key = &[];
        }
    }

    /// Carry out a task and send its reply.
    async fn run(&self, io: &mut Io, task: Task, command: u16, quiet: bool, mut turn: Turn) -> Result<(), Rest> {
        let shard = &*self.shard;
        let started = shard.clock.now();
        self.last_command.set(command);
        let mut reply = Vec::new();
        let extent = task.extent(self.session.borrow().client.transaction.as_deref());
        if self.permit.get() != Some(extent) {
            // What it has waited for, if it has, was refused meanwhile: this is another command.
            self.give_back_permit();
            if let Some(permits) = shard.permits(extent) {
                permits.try_lend().expect("the session was told that there is one");
                self.permit.set(Some(extent));
            }
        }
        tasks::run(self, task, &mut turn, &mut reply).await;
        io.touched.insert_all(shard.take_touched(turn.waiter));
        turn.window.clear(false, 0);
        shard.turns.give_back(turn);
        {
            let mut stats = shard.stats.borrow_mut();
            stats.count_task(command, &reply);
            io.encoded_ns = shard.clock.now().ns;
            io.seen_ns = io.encoded_ns;
            let (queue_ns, execute_ns) = (started.ns - io.batch.ns, io.encoded_ns - started.ns);
            if let Some(calls) = io.note(Calls { command, count: 1 }) {
                stats.record(calls, queue_ns + execute_ns);
            }
            io.unsent_count += 1;
            stats.latency.record_stage(Stage::Queue, queue_ns, 1);
            stats.latency.record_stage(Stage::Execute, execute_ns, 1);
            stats.note_event(Event::Command, started.unix_ms, execute_ns);
            if let Some(slow) = stats.slow_stage(queue_ns, execute_ns) {
                stats.note_slow(self, command, &[], started.unix_ms, slow);
            }
        }
        let replied = if quiet { Ok(()) } else { self.reply(io, reply).await };
        self.give_back_permit();
        replied
    }

    /// Which replies that are not short its session may ask for.
    fn permits(&self) -> Permits {
        let (shard, held) = (&self.shard, self.permit.get());
        let may = |extent| held == Some(extent) || shard.permits(extent).is_none_or(Pool::has_free);
        Permits { medium: may(Extent::Medium), long: may(Extent::Long) }
    }
}
