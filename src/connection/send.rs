//! The sending half of a connection at work: replies go out of the output buffer, and what a client does not take is
//! parked.

use std::io;

use super::io::{Io, allow};
use super::work::Rest;
use super::{Connection, Parked, Unsent, Waiting};
use crate::buffers::Purpose;
use crate::client::ShardSet;
use crate::clock::Moment;
use crate::latency::Stage;
use crate::limits::{FIXED_BUFFER_BYTES, LENT_COUNT_OF_FEW_MAX, SHORT_OUTPUT_BYTES};
use crate::socket::{Buffer, CANCELED};

impl Connection {
    /// Encode bytes that may be too many for the output buffer; what does not fit any more is sent.
    pub(super) async fn reply(&self, io: &mut Io, mut reply: Vec<u8>) -> Result<(), Rest> {
        let mut encoded_bytes = 0;
        while encoded_bytes < reply.len() {
            let appended_bytes = self.append(io, &reply[encoded_bytes..]).await;
            encoded_bytes += appended_bytes;
            if encoded_bytes < reply.len() {
                self.flush_before(io, &mut reply, encoded_bytes, appended_bytes).await?;
            }
        }
        Ok(())
    }

    /// Send what was parked; `input` is parked again with what is left of it, if something is.
    pub(super) async fn send_parked(&self, io: &mut Io, input: &[u8], output: Unsent) -> Result<(), Rest> {
        let Unsent { mut bytes, start: mut sent_bytes } = output;
        while sent_bytes < bytes.len() {
            let appended_bytes = self.append(io, &bytes[sent_bytes..]).await;
            sent_bytes += appended_bytes;
            if let Err(rest) = self.flush_before(io, &mut bytes, sent_bytes, appended_bytes).await {
                if matches!(rest, Rest::Idle(_)) {
                    let parked = self.unpark();
                    self.park(Parked { input: input.into(), ..parked });
                }
                return Err(rest);
            }
        }
        Ok(())
    }

    /// Copy what fits into the output buffer.
    pub(super) async fn append(&self, io: &mut Io, bytes: &[u8]) -> usize {
        let count = bytes.len().min(FIXED_BUFFER_BYTES - io.encoded);
        let mut output = self.output(io, count).await;
        output[io.encoded..][..count].copy_from_slice(&bytes[..count]);
        io.encoded += count;
        io.output = Some(output);
        count
    }

    /// Where `bytes` more at most are encoded, behind those that are: a fixed buffer only if they are many.
    pub(super) async fn output(&self, io: &mut Io, bytes: usize) -> Buffer {
        let end = io.encoded + bytes;
        assert!(end <= FIXED_BUFFER_BYTES, "what does not fit is sent first");
        match io.output.take() {
            Some(output) if end <= output.len() => output,
            None if end <= SHORT_OUTPUT_BYTES => Buffer::Plain(io.short.take().expect("it is not in use")),
            before => {
                let mut buffer = self.shard.lend_buffer(Purpose::Send).await;
                if let Some(output) = before {
                    buffer[..io.encoded].copy_from_slice(&output[..io.encoded]);
                    self.put_away(io, output);
                }
                buffer
            }
        }
    }

    /// Give a fixed buffer back, or keep the worker's own memory: nothing is in it any more.
    pub(super) fn put_away(&self, io: &mut Io, buffer: Buffer) {
        match buffer {
            Buffer::Plain(bytes) => io.short = Some(bytes),
            Buffer::Fixed(buffer) => self.shard.buffers.give_back(buffer),
        }
    }

    /// Send what is encoded, up to the `appended_bytes` of `all` in front of `at`; if the client stalls, `all` from `at` on
    /// is parked behind what it has not taken.
    async fn flush_before(&self, io: &mut Io, all: &mut Vec<u8>, at: usize, appended_bytes: usize) -> Result<(), Rest> {
        match self.send(io, false).await {
            Ok(()) => Ok(()),
            Err(unsent) => {
                let mut unsent = unsent?;
                let output = if unsent.len() <= appended_bytes {
                    all.shrink_to_fit();
                    Unsent::new(std::mem::take(all), at - unsent.len())
                } else {
                    // Replies from before are in front of it.
                    unsent.extend_from_slice(&all[at..]);
                    Unsent::new(unsent, 0)
                };
                Err(self.park_all(io, output, Waiting::Writable))
            }
        }
    }

    /// Send what is encoded.
    pub(super) async fn flush(&self, io: &mut Io) -> Result<(), Rest> {
        self.park_unsent(io, false).await
    }

    /// The same when all that was received is answered: the next receive may begin meanwhile.
    pub(super) async fn flush_last(&self, io: &mut Io) -> Result<(), Rest> {
        self.park_unsent(io, true).await
    }

    /// Send what is encoded, and park what the client does not take.
    async fn park_unsent(&self, io: &mut Io, is_last: bool) -> Result<(), Rest> {
        match self.send(io, is_last).await {
            Ok(()) => Ok(()),
            Err(unsent) => Err(self.park_all(io, Unsent::new(unsent?, 0), Waiting::Writable)),
        }
    }

    /// Send what is encoded, all of it, and give the buffer back. `Err(Ok(bytes))`: recalled, and so much is unsent.
    async fn send(&self, io: &mut Io, is_last: bool) -> Result<(), Result<Vec<u8>, Rest>> {
        let shard = &*self.shard;
        if io.output.is_none() {
            return Ok(());
        }
        // Neither the disk nor a client that does not read must keep others from their turn.
        self.give_back_turn();
        // Not a byte of what might be forgotten leaves.
        let touched = std::mem::take(&mut io.touched);
        if touched != ShardSet::default() {
            shard.until_safe(touched, &self.released_by).await;
            io.seen_ns = shard.clock.now().ns;
        }
        let Some(mut output) = io.output.take() else { return Ok(()) };
        let mut sent_bytes = 0;
        let mut now = None;
        let mut outcome = Ok(());
        // Who is idle next, or nearly alone, would wait for a turn of the ring that carries nothing else. Long batches do:
        // each takes its turn.
        let few = shard.buffers.lent_count() <= LENT_COUNT_OF_FEW_MAX;
        if is_last && !io.is_long && (few || !shard.buffers.are_plenty()) {
            sent_bytes = self.socket.send_at_once(&output[..io.encoded]).unwrap_or(0);
            let moment = shard.clock.now();
            (now, io.seen_ns) = (Some(moment), moment.ns);
            allow(&self.unsent_since_ns, sent_bytes, moment.ns);
        }
        while sent_bytes < io.encoded {
            // Who does not read keeps no buffer while they are short, and lets the next long reply be gathered.
            let waits = shard.buffers.are_plenty() && !(self.has_permit() && shard.are_permits_awaited());
            self.wait_for(Waiting::Send, io.seen_ns);
            let sending = self.socket.send(output, sent_bytes..io.encoded, waits);
            if is_last {
                self.receive_ahead(io);
            }
            let (result, back) = sending.await;
            self.waiting.set(Waiting::AtWork);
            output = back;
            match result {
                Ok(count) if count > 0 => {
                    sent_bytes += count;
                    let moment = shard.seen_in_lap(io.encoded_ns);
                    (now, io.seen_ns) = (Some(moment), moment.ns);
                    allow(&self.unsent_since_ns, count, moment.ns);
                }
                Err(error) if is_stalled(&error) && !self.is_ended() => {
                    if self.unsent_since_ns.get() == 0 {
                        self.unsent_since_ns.set(self.waiting_since_ns.get());
                    }
                    outcome = Err(Ok(output[sent_bytes..io.encoded].to_vec()));
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => {
                    outcome = Err(Err(Rest::Over));
                    break;
                }
            }
        }
        self.receives_ahead.set(false);
        match outcome {
            Ok(()) => self.unsent_since_ns.set(0),
            // Whoever is idle has nothing in the ring.
            Err(Ok(_)) => self.take_back_receive(io).await,
            Err(Err(_)) => {}
        }
        self.put_away(io, output);
        io.encoded = 0;
        shard.stats.borrow_mut().counts.sent_bytes += sent_bytes as u64;
        if io.unsent_count > 0 {
            let now = now.filter(|_| outcome.is_ok()).unwrap_or_else(|| shard.clock.now());
            self.record_sent(io, now);
        }
        outcome
    }

    /// The replies that were encoded have been sent, or never will be.
    pub(super) fn record_sent(&self, io: &mut Io, now: Moment) {
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

    /// Send what has been answered, then wait for what is no doing of its client.
    pub(super) async fn wait(&self, io: &mut Io, waiting: Waiting) -> Result<(), Rest> {
        self.flush(io).await?;
        self.unfinished_since_ns.set(0);
        Err(self.park_all(io, Unsent::default(), waiting))
    }

    /// Put everything aside and be idle.
    pub(super) fn park_all(&self, io: &mut Io, output: Unsent, waiting: Waiting) -> Rest {
        let input = match &io.input {
            Some(buffer) => &buffer[io.consumed..io.received],
            None => &[],
        };
        let is_held_up = matches!(waiting, Waiting::Pause(_) | Waiting::Permit(_));
        self.park(Parked { input: input.into(), output, is_held_up, ..Parked::default() });
        Rest::Idle(waiting)
    }
}

/// The client does not read: the send was recalled, or had no time to wait.
fn is_stalled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(CANCELED) || error.kind() == io::ErrorKind::WouldBlock
}
