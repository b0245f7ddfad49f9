//! Requests between `MULTI` and `EXEC`: kept as they came, to be executed as if they came then.
//!
//! Invariant: what is queued is whole requests, or the transaction is aborted and nothing is queued. The bytes of all
//! queues of a shard are bounded.

use bytes::BufMut;

use super::direct::SlotRange;
use super::stream::Argument;
use super::{Parsing, State, Status, Step};
use crate::command::{Call, Each, Keys, Mistake, Run, Spec, flag, mistake};
use crate::counters::Fault;
use crate::limits::{HEADER_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN};
use crate::resp::encode;
use crate::slot;

/// A request does not fit the queue of its transaction.
const QUEUE_FULL: Mistake =
    mistake::fixed("ERR transaction queue is full: at most 1 MiB of commands, all clients' together 16 MiB a shard");

/// A streaming command on its way into the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Arguments that have not arrived.
    left_count: u32,
    each: Each,
    /// What its keys may be of.
    slots: SlotRange,
    /// The next argument is a key.
    at_key: bool,
}

impl Queue {
    /// Arguments that have not arrived.
    pub(super) fn left_count(&self) -> u32 {
        self.left_count
    }
}

impl Parsing<'_> {
    /// Queue a whole request.
    pub(super) fn queue(&mut self, spec: &'static Spec, call: &Call<'_>) -> Step {
        let bytes_max: usize = call.spans.iter().map(|span| span.len as usize + 2 * HEADER_BYTES_MAX).sum();
        let room = self.reserve_queue(bytes_max);
        let Some(transaction) = self.session.client.transaction.as_mut().filter(|_| room) else {
            return self.refuse_command(spec, QUEUE_FULL);
        };
        if !transaction.aborted {
            encode::array(&mut transaction.queue, call.count());
            for span in call.spans {
                encode::bulk(&mut transaction.queue, span.of(call.input));
            }
            transaction.command_count += 1;
            transaction.writes |= spec.flags.has(flag::WRITE);
            transaction.has_others |= !matches!(spec.run, Run::Key(_));
            match spec.run {
                Run::Task(_) if spec.keys == Keys::NONE => transaction.all_shards = true,
                _ => {
                    for position in spec.keys.positions(call.count()) {
                        transaction.add_slot(slot::of(call.arg(position)), self.around.map);
                    }
                }
            }
        }
        let quiet = self.take_quiet();
        self.window.push_text(quiet, |out| encode::simple(out, "QUEUED"));
        Ok(())
    }

    pub(super) fn begin_queue(
        &mut self,
        spec: &'static Spec,
        each: Each,
        count: u32,
        slots: SlotRange,
        head: &[u8],
        end: usize,
    ) -> Step {
        let left_count = count - 1;
        self.at = end;
        if !self.reserve_queue(head.len()) {
            self.session.state = State::Skip { left_count };
            return self.refuse_command(spec, QUEUE_FULL);
        }
        if let Some(transaction) = self.session.client.transaction.as_mut().filter(|queued| !queued.aborted) {
            transaction.queue.put_slice(head);
            transaction.command_count += 1;
            transaction.has_others = true;
            transaction.writes |= spec.flags.has(flag::WRITE);
        }
        self.session.state = State::Queue(Queue { left_count, each, slots, at_key: true });
        Ok(())
    }

    /// Queue the arguments of a streaming command that have arrived.
    pub(super) fn queue_arguments(&mut self, mut queue: Queue, input: &[u8]) -> Step {
        if !self.window.has_room(2) {
            return Err(Status::WindowFull);
        }
        while queue.left_count > 0 {
            let mut end = self.at;
            let mistake = match self.next_bulk(input, &mut end)? {
                Argument::Whole(span) => {
                    let slot = queue.at_key.then(|| slot::of(span.of(input)));
                    if slot.is_some_and(|slot| !queue.slots.contains(slot)) {
                        Some(Mistake::from(Fault::CrossSlot))
                    } else if self.reserve_queue(end - self.at) {
                        if let Some(transaction) =
                            self.session.client.transaction.as_mut().filter(|queued| !queued.aborted)
                        {
                            transaction.queue.put_slice(&input[self.at..end]);
                            if let Some(slot) = slot {
                                transaction.add_slot(slot, self.around.map);
                            }
                        }
                        None
                    } else {
                        Some(QUEUE_FULL)
                    }
                }
                Argument::Long { len } => {
                    self.skip(len)?;
                    Some(Mistake::from(Fault::ArgumentTooLong))
                }
            };
            self.at = end;
            queue.left_count -= 1;
            queue.at_key = !(queue.at_key && queue.each.takes_values());
            self.session.state = State::Queue(queue);
            if let Some(mistake) = mistake {
                let left_count = queue.left_count;
                self.session.state = if left_count > 0 { State::Skip { left_count } } else { State::Start };
                return self.refuse(mistake);
            }
        }
        self.session.state = State::Start;
        let quiet = self.take_quiet();
        self.window.push_text(quiet, |out| encode::simple(out, "QUEUED"));
        Ok(())
    }

    /// Make room for `bytes` more in the queue; false when a limit is in the way.
    fn reserve_queue(&mut self, bytes: usize) -> bool {
        let Some(transaction) = self.session.client.transaction.as_mut() else { return false };
        if transaction.aborted {
            return !transaction.full;
        }
        let needed_bytes = transaction.queue.len() + bytes;
        let capacity_before = transaction.queue.capacity();
        if needed_bytes <= capacity_before {
            return true;
        }
        let capacity = needed_bytes.max(2 * capacity_before).clamp(QUEUE_BYTES_MIN, QUEUE_BYTES_MAX);
        if needed_bytes > capacity || capacity - capacity_before > self.around.queue_room_bytes.get() {
            transaction.full = true;
            return false;
        }
        transaction.queue.reserve_exact(capacity - transaction.queue.len());
        let grown_bytes = transaction.queue.capacity() - capacity_before;
        let left_bytes = self.around.queue_room_bytes.get().checked_sub(grown_bytes);
        self.around.queue_room_bytes.set(left_bytes.expect("a queue grows by no more than there is room for"));
        true
    }

    /// The transaction will be refused by `EXEC`; what it has queued is forgotten now.
    pub(super) fn abort_transaction(&mut self) {
        if let Some(transaction) = self.session.client.transaction.as_mut() {
            transaction.aborted = true;
            self.around.queue_room_bytes.set(self.around.queue_room_bytes.get() + transaction.queue.capacity());
            transaction.queue = Vec::new();
        }
    }
}
