//! The mesh: single-producer single-consumer queues from every shard to every other.
//!
//! One entry carries all the commands of a window for one shard, and one wake-up goes with it. What is sent is either
//! a batch of operations, which comes back with its outcomes in the same allocation, or a question ([`Ask`]) of the
//! rare commands that concern a whole shard.
//!
//! Invariant: a queue never fills, because the number of messages under way is bounded by the batches and the
//! windows that a shard lends out; pushing asserts it.
//!
//! One end belongs to no shard: the [`Observer`]'s, which comes behind the shards in their order and only asks.

mod keys;
mod observer;

use std::cell::RefCell;
use std::sync::Arc;

use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use crate::counters::{Counters, Entry, Fault, Hint, Key, Op, Outcome};
use crate::journal::frame::Link;
use crate::latency::{Event, Series, Which};
use crate::lend::touched;
use crate::limits::{
    FIXED_BUFFER_BYTES, MESH_BATCH_COUNT_MAX, MESH_CONNECTION_COUNT_MAX, WINDOW_COUNT_MAX, WINDOW_ITEM_COUNT_MAX,
};
use crate::monitor::Monitored;
use crate::session::Routed;
use crate::shard::Accepted;
use crate::stats::Report;

pub use keys::Keys;
pub use observer::Observer;

/// Operations of one window for one shard, and their outcomes.
#[derive(Debug)]
pub struct Batch {
    /// The time of the window, Unix milliseconds.
    pub now_ms: i64,
    /// It belongs to a transaction that holds the shard.
    pub holder: bool,
    entries: Vec<BatchEntry>,
    key_bytes: Vec<u8>,
    outcomes: Vec<Outcome>,
}

#[derive(Clone, Debug)]
struct BatchEntry {
    hash: u64,
    op: Op,
    key_start: u32,
    key_len: u16,
    slot: u16,
    item: u16,
    hint: Hint,
}

impl Default for Batch {
    fn default() -> Batch {
        let entry = BatchEntry { hash: 0, op: Op::Get, key_start: 0, key_len: 0, slot: 0, item: 0, hint: Hint::NONE };
        Batch {
            now_ms: 0,
            holder: false,
            entries: touched(WINDOW_ITEM_COUNT_MAX, entry),
            key_bytes: touched(FIXED_BUFFER_BYTES, 0),
            outcomes: touched(WINDOW_ITEM_COUNT_MAX, Outcome::Nil),
        }
    }
}

impl Batch {
    /// What one takes, with everything that belongs to it.
    pub const BYTES: usize = size_of::<Batch>()
        + WINDOW_ITEM_COUNT_MAX * (size_of::<BatchEntry>() + size_of::<Outcome>())
        + FIXED_BUFFER_BYTES;

    /// Forget everything.
    pub fn clear(&mut self, now_ms: i64, holder: bool) {
        self.now_ms = now_ms;
        self.holder = holder;
        self.entries.clear();
        self.key_bytes.clear();
        self.outcomes.clear();
    }

    /// Append an operation.
    pub fn push(&mut self, routed: &Routed<'_>) {
        let key_start = self.key_bytes.len() as u32;
        self.key_bytes.extend_from_slice(routed.key.bytes);
        self.entries.push(BatchEntry {
            hash: routed.key.hash,
            op: routed.op,
            key_start,
            key_len: routed.key.bytes.len() as u16,
            slot: routed.key.slot,
            item: routed.item,
            hint: Hint::NONE,
        });
    }

    /// Execute every operation, in order.
    pub fn execute(&mut self, counters: &mut Counters) {
        assert!(self.outcomes.is_empty());
        let key = |entry: &BatchEntry| {
            let bytes = &self.key_bytes[entry.key_start as usize..][..usize::from(entry.key_len)];
            Key { bytes, hash: entry.hash, slot: entry.slot }
        };
        // Step by step for all of them, so that their cache misses overlap.
        self.entries.iter().for_each(|entry| counters.prefetch_slot(entry.slot));
        self.entries.iter().for_each(|entry| counters.prefetch_chunk(entry.slot, entry.hash));
        let epoch = counters.epoch();
        self.entries.iter_mut().for_each(|entry| entry.hint = counters.look_up(entry.slot, entry.hash));
        let entries = self.entries.iter();
        let applied = entries.map(|entry| counters.apply_at(entry.hint, epoch, key(entry), &entry.op, self.now_ms));
        self.outcomes.extend(applied);
    }

    /// The same while the journal has no room: what might change a counter is refused.
    #[cold]
    #[inline(never)]
    pub fn execute_reads(&mut self, counters: &mut Counters) {
        assert!(self.outcomes.is_empty());
        for entry in &self.entries {
            let bytes = &self.key_bytes[entry.key_start as usize..][..usize::from(entry.key_len)];
            let key = Key { bytes, hash: entry.hash, slot: entry.slot };
            self.outcomes.push(match entry.op.changes() {
                true => Outcome::Fault(Fault::NotWritten),
                false => counters.apply(key, entry.op, self.now_ms),
            });
        }
    }

    /// The outcomes, each with the item of the window that it belongs to.
    pub fn outcomes(&self) -> impl Iterator<Item = (u16, Outcome)> {
        assert_eq!(self.outcomes.len(), self.entries.len());
        self.entries.iter().map(|entry| entry.item).zip(self.outcomes.iter().copied())
    }
}

/// What a shard can be asked by another's task.
#[derive(Debug)]
pub enum Ask {
    /// Let no one but the asker touch the counters until it releases them. Answered when it is so.
    Hold,
    /// The frame of the journal that the holder's changes are in, or 0 when there are none. Only the holder asks.
    ChangedFrame,
    /// That frame counts only together with these of other shards. Only the holder says so.
    Link(Vec<Link>),
    /// Of this tick another shard that the holder is about to change has ended its frame: end this one's too, if that has not
    /// been done. Only the holder asks.
    EndFrame(u64),
    /// The asker's hold is over.
    Release,
    /// Record no more changes. What was recorded is written.
    StopRecording,
    /// How many counters there are.
    KeyCount,
    /// How many counters a slot has.
    SlotKeyCount(u16),
    /// Forget all counters.
    Flush,
    /// The keys from a cursor on.
    Scan {
        /// As [`Counters::scan`](crate::counters::Counters::scan) returned it.
        cursor: u64,
        /// About how many to visit.
        count: u64,
        /// Only those that match.
        pattern: Option<Box<[u8]>>,
    },
    /// Any key.
    Random(u64),
    /// The entry of a key, left where it is.
    Entry(Box<[u8]>),
    /// The entry of a key, taken out.
    Take(Box<[u8]>),
    /// Put an entry in, whatever was there.
    Put(Box<[u8]>, Entry),
    /// The same, in the room that it has just left elsewhere.
    PutMoved(Box<[u8]>, Entry),
    /// Watch a key.
    Watch(Box<[u8]>),
    /// How often a watched key has changed.
    WatchedVersion(Box<[u8]>),
    /// Watch a key no more.
    Unwatch(Box<[u8]>),
    /// Statistics.
    Report,
    /// One histogram.
    Histogram(Which),
    /// What the latency monitor has seen.
    Spikes,
    /// Forget what it has seen of these events, by their number.
    ResetSpikes([bool; Event::ALL.len()]),
    /// Set the statistics to zero.
    ResetStats,
    /// Follow the settings that have just been changed.
    FollowSettings,
    /// Lines of `CLIENT LIST`.
    Clients {
        /// Which of them.
        filter: crate::command::ClientFilter,
        /// Where among the shard's places for clients to go on; 0 starts.
        from: usize,
    },
    /// End the clients that match.
    KillClients(crate::command::ClientFilter),
    /// Show the commands of the shard's own clients to this monitor.
    Monitor {
        /// Its number.
        monitor: u8,
        /// Every how many commands one is shown.
        sample: u32,
    },
    /// What has gathered for it.
    Monitored(u8),
    /// Show it nothing any more.
    Unmonitor(u8),
    /// The slow log's newest entries.
    Slowlog(usize),
    /// Empty the slow log.
    SlowlogReset,
}

/// What a shard answers.
#[derive(Debug)]
pub enum Answer {
    /// The shard is the asker's.
    Held {
        /// The tick at which a frame of its journal has last ended.
        cut_s: u64,
        /// Its changes can be recorded. Else it may only read.
        has_room: bool,
    },
    /// Done.
    Done,
    /// A number of things.
    Count(u64),
    /// Keys, and where to go on; a cursor of 0 says that this shard is through.
    Keys {
        /// The next cursor within this shard, or 0.
        cursor: u64,
        /// The keys that matched.
        keys: Keys,
    },
    /// A key.
    Key(Option<Box<[u8]>>),
    /// An entry.
    Entry(Option<Entry>),
    /// It was put, or there was no room.
    Put(Result<(), Fault>),
    /// Statistics.
    Report(Box<Report>),
    /// A histogram, if anything is in it.
    Histogram(Option<Box<Histogram<u64>>>),
    /// The events of the latency monitor, by their number.
    Spikes([Series; Event::ALL.len()]),
    /// Of which events something was forgotten.
    ResetSpikes([bool; Event::ALL.len()]),
    /// Text lines.
    Clients {
        /// Where to go on; `None` when that were all.
        next: Option<usize>,
        /// A line for each.
        lines: String,
    },
    /// Lines for a monitor.
    Monitored(Monitored),
    /// Entries of the slow log.
    Slowlog(Vec<crate::stats::SlowEntry>),
}

/// One entry of a queue.
pub enum Message {
    /// Operations to execute. Comes back as [`Message::Executed`].
    Execute {
        /// Who asks.
        from: u16,
        /// Where the asker waits.
        waiter: u32,
        /// The operations.
        batch: Box<Batch>,
    },
    /// Operations that were executed.
    Executed {
        /// Where the asker waits.
        waiter: u32,
        /// With their outcomes.
        batch: Box<Batch>,
    },
    /// A question.
    Ask {
        /// Who asks.
        from: u16,
        /// Where the asker waits.
        waiter: u32,
        /// The asker holds this shard.
        holder: bool,
        /// The question.
        ask: Box<Ask>,
    },
    /// Its answer.
    Answer {
        /// Where the asker waits.
        waiter: u32,
        /// The answer.
        answer: Box<Answer>,
    },
    /// A connection to be served.
    Accepted(Box<Accepted>),
}

/// One shard's ends of the queues. Behind those of all shards are those of the observer.
pub struct Mesh {
    own: usize,
    to: RefCell<Vec<Option<Producer<Message>>>>,
    from: RefCell<Vec<Option<Consumer<Message>>>>,
    wakes: Arc<Vec<Notify>>,
}

impl Mesh {
    /// The ends of all shards, in their order, and the observer's.
    pub fn between(shard_count: usize) -> (Vec<Mesh>, Observer) {
        let wakes: Arc<Vec<Notify>> = Arc::new((0..=shard_count).map(|_| Notify::new()).collect());
        let mut meshes: Vec<Mesh> = (0..shard_count)
            .map(|own| Mesh {
                own,
                to: RefCell::new((0..=shard_count).map(|_| None).collect()),
                from: RefCell::new((0..=shard_count).map(|_| None).collect()),
                wakes: wakes.clone(),
            })
            .collect();
        for source in 0..shard_count {
            for target in (0..shard_count).filter(|target| *target != source) {
                let (producer, consumer) = RingBuffer::new(queue_capacity(shard_count));
                meshes[source].to.get_mut()[target] = Some(producer);
                meshes[target].from.get_mut()[source] = Some(consumer);
            }
        }
        let (observer, ends) = observer::observe(wakes);
        for (mesh, (to, from)) in meshes.iter_mut().zip(ends) {
            mesh.to.get_mut()[shard_count] = Some(to);
            mesh.from.get_mut()[shard_count] = Some(from);
        }
        (meshes, observer)
    }

    /// Everybody that this shard gets messages from.
    pub fn sources(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.own;
        (0..self.wakes.len()).filter(move |source| *source != own)
    }

    /// Put a message into the queue to `target`. Nobody is woken: see [`Mesh::wake`].
    pub fn push(&self, target: usize, message: Message) {
        assert_ne!(target, self.own);
        let mut to = self.to.borrow_mut();
        let queue = to[target].as_mut().expect("there is a queue to everybody else");
        assert!(queue.push(message).is_ok(), "the queue to shard {target} is full, which its bound excludes");
    }

    /// Hand over a connection, unless too many are under way.
    ///
    /// # Errors
    /// The connection, when there is no room for now.
    pub fn push_accepted(&self, target: usize, accepted: Box<Accepted>) -> Result<(), Box<Accepted>> {
        let mut to = self.to.borrow_mut();
        let queue = to[target].as_mut().expect("there is a queue to every other shard");
        if queue.slots() <= queue_capacity(self.wakes.len() - 1) - MESH_CONNECTION_COUNT_MAX {
            return Err(accepted);
        }
        assert!(queue.push(Message::Accepted(accepted)).is_ok());
        Ok(())
    }

    /// Wake a shard.
    pub fn wake(&self, target: usize) {
        self.wakes[target].notify_one();
    }

    /// Wait until somebody wakes this shard.
    pub async fn woken(&self) {
        self.wakes[self.own].notified().await;
    }

    /// The next message from `source`.
    pub fn pop(&self, source: usize) -> Option<Message> {
        self.from.borrow_mut()[source].as_mut()?.pop().ok()
    }
}

/// Batches that a shard lends out besides those for a transaction that holds others: enough for every other shard.
pub fn batch_count(shard_count: usize) -> usize {
    if shard_count == 1 { 0 } else { MESH_BATCH_COUNT_MAX.max(shard_count) }
}

/// Bytes of all queues together.
pub fn queue_bytes(shard_count: usize) -> usize {
    shard_count * (shard_count - 1) * queue_capacity(shard_count) * size_of::<Message>()
}

/// Each shard's requests to the other, its answers to the other's, and connections handed over.
fn queue_capacity(shard_count: usize) -> usize {
    2 * (batch_count(shard_count) + shard_count + WINDOW_COUNT_MAX) + MESH_CONNECTION_COUNT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Seed;

    #[test]
    fn a_batch_comes_back_with_an_outcome_for_each_item() {
        let mut counters = Counters::new(0..16_384);
        let mut batch = Batch::default();
        for round in 1..=3 {
            batch.clear(0, false);
            let keys = [&b"a"[..], b"", b"bb", b"a"];
            for (item, key) in keys.into_iter().enumerate() {
                let key = Seed::of_process().key(key);
                batch.push(&Routed { item: item as u16 * 10, shard: 1, key, op: Op::Add(1) });
            }
            batch.execute(&mut counters);
            let outcomes: Vec<(u16, Outcome)> = batch.outcomes().collect();
            let count = Outcome::Int;
            let expected = [(0, count(2 * round - 1)), (10, count(round)), (20, count(round)), (30, count(2 * round))];
            assert_eq!(outcomes, expected);
        }
    }

    #[test]
    fn a_batch_for_which_there_is_no_room_only_reads() {
        let mut counters = Counters::new(0..16_384);
        let key = || Seed::of_process().key(b"a");
        counters.apply(key(), Op::Add(5), 0);
        let mut batch = Batch::default();
        for (item, op) in [Op::Get, Op::Add(1), Op::Exists, Op::Delete, Op::Get].into_iter().enumerate() {
            batch.push(&Routed { item: item as u16, shard: 1, key: key(), op });
        }
        batch.execute_reads(&mut counters);
        let refused = Outcome::Fault(Fault::NotWritten);
        let expected = [Outcome::Value(5), refused, Outcome::Int(1), refused, Outcome::Value(5)];
        assert!(batch.outcomes().map(|(_, outcome)| outcome).eq(expected));
    }

    #[test]
    fn messages_come_in_order_and_only_to_their_shard() {
        let (meshes, _) = Mesh::between(3);
        for waiter in 0..5 {
            meshes[2].push(1, Message::Answer { waiter, answer: Box::new(Answer::Done) });
        }
        assert!(meshes[1].pop(0).is_none());
        assert!(meshes[0].pop(2).is_none());
        for expected in 0..5 {
            let Some(Message::Answer { waiter, .. }) = meshes[1].pop(2) else { panic!("five answers were sent") };
            assert_eq!(waiter, expected);
        }
        assert!(meshes[1].pop(2).is_none());
    }

    #[tokio::test]
    async fn an_observer_that_gives_up_is_not_given_the_answer_to_its_last_question() {
        let (meshes, mut observer) = Mesh::between(2);
        assert_eq!(observer.shard_count(), 2);
        let patience = std::time::Duration::from_millis(5);
        let own = 2;
        let answer = |key_count| {
            let Some(Message::Ask { from, waiter, holder: false, .. }) = meshes[1].pop(own) else { panic!("asked") };
            assert!(meshes[0].pop(own).is_none() && meshes[1].pop(own).is_none(), "one question, to one shard");
            let report = Report { key_count, ..Report::default() };
            let answer = Box::new(Answer::Report(Box::new(report)));
            meshes[1].push(usize::from(from), Message::Answer { waiter, answer });
            meshes[1].wake(own);
        };
        for _ in 0..3 {
            assert!(tokio::time::timeout(patience, observer.report(1)).await.is_err(), "nobody answers");
        }
        answer(1);
        let (asked, ()) = tokio::join!(observer.report(1), async {
            tokio::task::yield_now().await;
            answer(2);
        });
        assert_eq!(asked.key_count, 2);
        assert!(meshes[1].sources().eq([0, 2]) && meshes[0].sources().eq([1, 2]));
    }
}
