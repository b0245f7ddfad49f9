//! A connection at work: receive → parse → execute → encode → send, again and again.
//!
//! Everything that one receive brought is executed and answered before the next. While a client does not read its
//! replies, its requests are not read.
//!
//! A worker waits for its client only in a receive or a send, with a fixed buffer and no window. Either may be recalled
//! when buffers run short: what the buffers held is parked, and the connection is idle again. So no client can keep
//! from others what they all need.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::buf::fixed::FixedBuf;

use super::{Connection, Over, Parked, Waiting};
use crate::buffers::Purpose;
use crate::clock::Moment;
use crate::command::{Env, Task};
use crate::latency::{Event, Stage};
use crate::limits::{
    FIXED_BUFFER_BYTES, LONG_BATCH_BYTES_MIN, SHORT_OUTCOME_BYTES_MAX, SHORT_REPLY_BYTES_MAX, WINDOW_ITEM_COUNT_MAX,
};
use crate::server::{Live, PauseKind};
use crate::session::{Calls, Direct, Status, Surroundings, code};
use crate::shard::{Shard, Turn};
use crate::socket::CANCELED;
use crate::stats::Stats;
use crate::tasks;

/// Replies are sent when less room than this is left for those of the next window: what a quarter of one takes.
const ROOM_BYTES_MIN: usize = SHORT_REPLY_BYTES_MAX + WINDOW_ITEM_COUNT_MAX / 4 * SHORT_OUTCOME_BYTES_MAX;

/// Why a connection is no longer at work.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// It waits; `waiting` says for what.
    Idle(Waiting),
    /// It has ended.
    Over,
}

/// What a worker holds for its connection.
#[derive(Default)]
struct Io {
    input: Option<FixedBuf>,
    /// Received bytes in `input`.
    received: usize,
    /// Consumed bytes in `input`.
    consumed: usize,
    output: Option<FixedBuf>,
    /// Encoded bytes in `output`.
    encoded: usize,
    /// The commands whose replies have not been sent: recorded when they are.
    calls: [Option<Calls>; KIND_COUNT_MAX],
    /// How many replies have not been sent, those of the commands that found no place among `calls` too.
    unsent_count: u64,
    /// When the batch was received.
    batch: Moment,
    /// When the last of the replies was encoded, in the shard's nanoseconds.
    encoded_ns: u64,
}

/// Kinds of commands that are told apart in one send. More of them are recorded when they are encoded, as if their
/// replies took no time to send.
const KIND_COUNT_MAX: usize = 8;

/// The task of a worker: take over connections that are ready, one after the other, for as long as the shard runs.
pub async fn work(shard: Rc<Shard>, worker: usize) {
    loop {
        let connection = shard.next_job(worker).await;
        let mut io = Io { batch: shard.clock.now(), ..Io::default() };
        let Err(rest) = connection.work(&mut io).await;
        // What was never sent ended here.
        if io.unsent_count > 0 {
            connection.record_sent(&mut io, shard.clock.now());
        }
        for buffer in [io.input.take(), io.output.take()].into_iter().flatten() {
            shard.buffers.give_back(buffer);
        }
        match rest {
            Rest::Idle(waiting) => {
                connection.wait_for(waiting);
                connection.set_worked(Ok(()));
            }
            Rest::Over => connection.set_worked(Err(Over)),
        }
    }
}

impl Connection {
    /// Work until there is a reason not to.
    async fn work(&self, io: &mut Io) -> Result<std::convert::Infallible, Rest> {
        let Parked { input, output } = self.unpark();
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
        loop {
            let received_bytes = self.receive(io).await?;
            self.process(io).await?;
            let must_wait = self.must_wait(received_bytes);
            if must_wait || (io.received == 0 && !self.shard.buffers.are_plenty()) {
                return Err(self.park_all(io, Vec::new(), Waiting::Readable));
            }
        }
    }

    /// Whether others come first: connections that no worker has taken over yet, or whose long batches wait for a turn.
    fn must_wait(&self, received_bytes: usize) -> bool {
        let shard = &*self.shard;
        let sends_much = received_bytes >= LONG_BATCH_BYTES_MIN;
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
        shard.has_jobs()
    }

    /// Receive once, behind the bytes that are there already. Answers how many bytes came.
    async fn receive(&self, io: &mut Io) -> Result<usize, Rest> {
        let shard = &*self.shard;
        loop {
            if self.is_ended() {
                return Err(Rest::Over);
            }
            let buffer = match io.input.take() {
                Some(buffer) => buffer,
                None => shard.lend_buffer(Purpose::Receive).await,
            };
            assert!(io.received < FIXED_BUFFER_BYTES, "the session consumes something of a full buffer");
            self.wait_for(Waiting::Receive);
            let end = match self.has_turn.get() {
                true => FIXED_BUFFER_BYTES,
                false => FIXED_BUFFER_BYTES.min(io.received + LONG_BATCH_BYTES_MIN),
            };
            let (result, slice) = self.socket.read_fixed(buffer.slice(io.received..end)).await;
            self.waiting.set(Waiting::AtWork);
            io.input = Some(slice.into_inner());
            match result {
                Ok(0) => return Err(Rest::Over),
                Ok(received_bytes) => {
                    io.received += received_bytes;
                    io.batch = shard.clock.now();
                    self.active_ns.set(io.batch.ns);
                    shard.note_work(io.batch.ns);
                    allow(&self.unfinished_since_ns, received_bytes, io.batch.ns);
                    shard.stats.borrow_mut().received_bytes += received_bytes as u64;
                    return Ok(received_bytes);
                }
                Err(error) if error.raw_os_error() == Some(CANCELED) => {
                    return Err(self.park_all(io, Vec::new(), Waiting::Readable));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Rest::Over),
            }
        }
    }

    /// Execute and answer every complete request that has been received.
    async fn process(&self, io: &mut Io) -> Result<(), Rest> {
        let shard = &*self.shard;
        loop {
            let live = shard.live();
            if shard.shared.pause(io.batch.unix_ms) == Some(PauseKind::All) {
                return self.pause(io, PauseKind::All).await;
            }
            if FIXED_BUFFER_BYTES - io.encoded < ROOM_BYTES_MIN {
                self.flush(io).await?;
            }
            let mut turn = shard.turns.lend().await;
            let status = self.parse(io, &mut turn, &live);
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
                    return self.pause(io, PauseKind::Writes).await;
                }
                Status::Task { task, command, quiet } => Box::pin(self.run(io, *task, command, quiet, turn)).await?,
                Status::End => {
                    shard.turns.give_back(turn);
                    self.flush(io).await?;
                    return Err(Rest::Over);
                }
            }
        }
        self.flush(io).await?;
        self.compact(io);
        Ok(())
    }

    /// Move what is left over to the front of the buffer.
    fn compact(&self, io: &mut Io) {
        let left_bytes = io.received - io.consumed;
        let within_request = left_bytes > 0 || self.session.borrow().is_within_request();
        match (within_request, self.unfinished_since_ns.get()) {
            (true, 0) => self.unfinished_since_ns.set(io.batch.ns),
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
        let around = Surroundings {
            env: Env {
                password: live.requirepass.as_deref().map(str::as_bytes),
                debug: shard.shared.config.enable_debug_command,
                cluster: shard.shared.config.cluster_enabled,
            },
            map: shard.map,
            seed: shard.seed,
            now_ms,
            writes_paused: shard.shared.pause(now_ms).is_some(),
            queue_room_bytes: &shard.queue_room_bytes,
            direct: self.direct.then(|| Direct {
                own: shard.index,
                ip: self.reached_ip(),
                ports: &shard.shared.cluster_ports,
            }),
        };
        let room_bytes = FIXED_BUFFER_BYTES - io.encoded;
        let input = &mut io.input.as_mut().expect("there is input to parse")[..io.received];
        let (spans, window) = (&mut shard.spans.borrow_mut(), &mut turn.window);
        self.session.borrow_mut().parse(input, &mut io.consumed, spans, window, room_bytes, &around)
    }

    /// Execute the window and encode its replies.
    async fn answer(&self, io: &mut Io, turn: &mut Turn) {
        let shard = &*self.shard;
        let input = io.input.as_ref().expect("the window points into it");
        let started = shard.clock.now();
        shard.execute(turn, input, io.batch.unix_ms, false).await;
        let mut buffer = match io.output.take() {
            Some(buffer) => buffer,
            None => shard.lend_buffer(Purpose::Send).await,
        };
        let mut room = &mut buffer[io.encoded..];
        let room_bytes = room.len();
        turn.window.encode(&mut self.session.borrow_mut().totals, &mut room);
        io.encoded += room_bytes - room.len();
        io.output = Some(buffer);
        let mut stats = shard.stats.borrow_mut();
        stats.count_window(&turn.window);
        let encoded_ns = shard.clock.now().ns;
        io.encoded_ns = encoded_ns;
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
        let large = tasks::may_be_long(self, &task);
        if large {
            shard.large_replies.lend().await;
        }
        tasks::run(self, task, &mut turn, &mut reply).await;
        turn.window.clear(false, 0);
        shard.turns.give_back(turn);
        {
            let mut stats = shard.stats.borrow_mut();
            let calls = Calls { command, count: 1 };
            stats.count(calls);
            if let Some(text) = reply.strip_prefix(b"-") {
                stats.count_error(code(text), Some(command));
            }
            io.encoded_ns = shard.clock.now().ns;
            let (queue_ns, execute_ns) = (started.ns - io.batch.ns, io.encoded_ns - started.ns);
            if let Some(calls) = io.note(calls) {
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
        if large {
            shard.large_replies.give_back(());
        }
        replied
    }

    /// Encode bytes that may be too many for the output buffer; what does not fit any more is sent.
    async fn reply(&self, io: &mut Io, mut reply: Vec<u8>) -> Result<(), Rest> {
        let mut encoded_bytes = 0;
        while encoded_bytes < reply.len() {
            encoded_bytes += self.append(io, &reply[encoded_bytes..]).await;
            if encoded_bytes < reply.len() {
                self.flush_before(io, &mut reply, &mut encoded_bytes).await?;
            }
        }
        Ok(())
    }

    /// Send what was parked; `input` is parked again with what is left of it, if something is.
    async fn send_parked(&self, io: &mut Io, input: &[u8], mut output: Vec<u8>) -> Result<(), Rest> {
        let mut sent_bytes = 0;
        while sent_bytes < output.len() {
            sent_bytes += self.append(io, &output[sent_bytes..]).await;
            if let Err(rest) = self.flush_before(io, &mut output, &mut sent_bytes).await {
                if matches!(rest, Rest::Idle(_)) {
                    let Parked { output, .. } = self.unpark();
                    self.park(input, output);
                }
                return Err(rest);
            }
        }
        Ok(())
    }

    /// Copy what fits into the output buffer.
    async fn append(&self, io: &mut Io, bytes: &[u8]) -> usize {
        let mut buffer = match io.output.take() {
            Some(buffer) => buffer,
            None => self.shard.lend_buffer(Purpose::Send).await,
        };
        let count = bytes.len().min(FIXED_BUFFER_BYTES - io.encoded);
        buffer[io.encoded..][..count].copy_from_slice(&bytes[..count]);
        io.encoded += count;
        io.output = Some(buffer);
        count
    }

    /// Send what is encoded; if the client stalls, `rest` from `at` on is parked behind it.
    async fn flush_before(&self, io: &mut Io, rest: &mut Vec<u8>, at: &mut usize) -> Result<(), Rest> {
        match self.send(io).await {
            Ok(()) => Ok(()),
            Err(unsent) => {
                let mut output = unsent?;
                rest.drain(..*at);
                output.append(rest);
                Err(self.park_all(io, output, Waiting::Writable))
            }
        }
    }

    /// Send what is encoded.
    async fn flush(&self, io: &mut Io) -> Result<(), Rest> {
        match self.send(io).await {
            Ok(()) => Ok(()),
            Err(unsent) => Err(self.park_all(io, unsent?, Waiting::Writable)),
        }
    }

    /// Send what is encoded, all of it, and give the buffer back. `Err(Ok(bytes))`: recalled, and so much is unsent.
    async fn send(&self, io: &mut Io) -> Result<(), Result<Vec<u8>, Rest>> {
        let shard = &*self.shard;
        let Some(mut buffer) = io.output.take() else { return Ok(()) };
        let mut sent_bytes = 0;
        let mut now = None;
        let mut outcome = Ok(());
        while sent_bytes < io.encoded {
            self.wait_for(Waiting::Send);
            let (result, slice) = self.socket.write_fixed(buffer.slice(sent_bytes..io.encoded)).await;
            self.waiting.set(Waiting::AtWork);
            buffer = slice.into_inner();
            match result {
                Ok(count) if count > 0 => {
                    sent_bytes += count;
                    let moment = shard.clock.now();
                    now = Some(moment);
                    allow(&self.unsent_since_ns, count, moment.ns);
                }
                Err(error) if error.raw_os_error() == Some(CANCELED) && !self.is_ended() => {
                    if self.unsent_since_ns.get() == 0 {
                        self.unsent_since_ns.set(self.waiting_since_ns.get());
                    }
                    outcome = Err(Ok(buffer[sent_bytes..io.encoded].to_vec()));
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    outcome = Err(Err(Rest::Over));
                    break;
                }
            }
        }
        if outcome.is_ok() {
            self.unsent_since_ns.set(0);
        }
        shard.buffers.give_back(buffer);
        io.encoded = 0;
        shard.stats.borrow_mut().sent_bytes += sent_bytes as u64;
        if io.unsent_count > 0 {
            let now = now.filter(|_| outcome.is_ok()).unwrap_or_else(|| shard.clock.now());
            self.record_sent(io, now);
        }
        outcome
    }

    /// The replies that were encoded have been sent, or never will be.
    fn record_sent(&self, io: &mut Io, now: Moment) {
        let mut stats = self.shard.stats.borrow_mut();
        let (send_ns, whole_ns) = (now.ns - io.encoded_ns, now.ns - io.batch.ns);
        let slow = stats.is_slow_send(send_ns);
        for calls in io.calls.iter_mut().map_while(Option::take) {
            stats.record(calls, whole_ns);
            if slow {
                stats.note_slow(self, calls.command, &[], now.unix_ms, (Stage::Send, send_ns));
            }
        }
        let unsent_count = std::mem::take(&mut io.unsent_count);
        stats.latency.record_stage(Stage::Send, send_ns, unsent_count);
        stats.latency.record_stage(Stage::Whole, whole_ns, unsent_count);
    }

    /// Answer what can be answered, then wait for the end of a pause.
    async fn pause(&self, io: &mut Io, kind: PauseKind) -> Result<(), Rest> {
        self.flush(io).await?;
        Err(self.park_all(io, Vec::new(), Waiting::Pause(kind)))
    }

    /// Put everything aside and be idle.
    fn park_all(&self, io: &mut Io, output: Vec<u8>, waiting: Waiting) -> Rest {
        let input = match &io.input {
            Some(buffer) => &buffer[io.consumed..io.received],
            None => &[],
        };
        self.park(input, output);
        Rest::Idle(waiting)
    }
}

/// A client that moves is given time: what stalls is taken to have begun later, a second for each 16 KiB.
fn allow(since_ns: &Cell<u64>, moved_bytes: usize, now_ns: u64) {
    if since_ns.get() > 0 {
        let allowed_ns = moved_bytes as u64 * (1_000_000_000 / FIXED_BUFFER_BYTES as u64);
        since_ns.set((since_ns.get() + allowed_ns).min(now_ns));
    }
}

impl Io {
    /// Remember calls until they are sent. Those for which there is no place come back.
    fn note(&mut self, calls: Calls) -> Option<Calls> {
        for place in &mut self.calls {
            match place {
                Some(noted) if noted.command == calls.command => {
                    noted.count += calls.count;
                    return None;
                }
                Some(_) => {}
                None => {
                    *place = Some(calls);
                    return None;
                }
            }
        }
        Some(calls)
    }
}
