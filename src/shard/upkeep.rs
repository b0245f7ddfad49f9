//! What a shard does besides requests: expiry, time limits, taking buffers back, and telling about itself.

use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use super::sweep::sweep;
use super::{Eviction, Shard};
use crate::buffers::Purpose;
use crate::command::ClientFilter;
use crate::connection::{Connection, Waiting};
use crate::latency::Event;
use crate::limits::{LARGE_REPLY_COUNT_MAX, LONG_BATCH_COUNT_MAX, MEDIUM_REPLY_COUNT_MAX, QUEUES_BYTES_MAX};
use crate::mesh::Answer;
use crate::process;
use crate::server::Live;
use crate::socket::Buffer;
use crate::stats::Report;

/// How often upkeep is done.
const TICK: Duration = Duration::from_millis(100);

/// How soon it is done again while there is much to expire.
const TICK_BEHIND: Duration = Duration::from_millis(5);

/// How long a client may leave a fixed buffer in the kernel's hands: while they are plenty; while they are short, waiting
/// for its request; and, not reading its replies.
const IDLE_NS_MAX: u64 = NS_PER_S;
const STALL_NS_MAX: u64 = 100_000_000;
const SHORT_STALL_NS_MAX: u64 = 3_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// Least time between two rounds of taking buffers back for somebody who waits.
const RECALL_INTERVAL_NS: u64 = 500_000;

/// Buffers that are taken back at once.
const RECALL_COUNT_MAX: usize = 64;

/// Whose buffers are taken back first: connections that have waited so long for a request, then so long, then any.
const RECALL_IDLE_NS: [u64; 3] = [50_000_000, 5_000_000, 0];

/// How long whoever has a turn for long batches may wait for its client while others wait for the turn.
const TURN_IDLE_NS_MAX: u64 = 1_000_000;

/// Connections that are looked at, and ended, before others get a turn.
const OVERDUE_VISIT_COUNT: usize = 256;
const OVERDUE_END_COUNT: usize = 16;

/// Places for clients that are looked at, and lines that are written, before others get a turn.
const LISTED_VISIT_COUNT: usize = 1_024;
const LISTED_COUNT: usize = 64;

impl Shard {
    /// Upkeep, for as long as the shard runs.
    pub async fn tick(self: Rc<Self>) {
        let mut behind = false;
        let mut overdue_checked_ns = 0;
        loop {
            tokio::time::sleep(if behind || self.is_short() { TICK_BEHIND } else { TICK }).await;
            self.clock.renew();
            let now = self.clock.now();
            behind = self.sweep();
            self.stats.borrow_mut().sample(now.ns);
            if now.ns - overdue_checked_ns > NS_PER_S / 2 {
                overdue_checked_ns = now.ns;
                self.end_all_overdue(now.ns).await;
            }
            self.publish_memory();
            self.update_room();
            let (idle_ns_max, stall_ns_max) = match self.is_short() {
                true => (STALL_NS_MAX, SHORT_STALL_NS_MAX),
                false => (IDLE_NS_MAX, IDLE_NS_MAX),
            };
            self.recall(now.ns.saturating_sub(idle_ns_max), Waiting::Receive, RECALL_COUNT_MAX);
            self.recall(now.ns.saturating_sub(stall_ns_max), Waiting::Send, RECALL_COUNT_MAX);
            if self.long_batches.is_awaited() {
                let until_ns = now.ns.saturating_sub(TURN_IDLE_NS_MAX);
                self.recall_where(until_ns, LONG_BATCH_COUNT_MAX, |connection| {
                    connection.has_turn() && connection.waiting.get() == Waiting::Receive
                });
            }
        }
    }

    /// Whether connections wait for what stalled ones hold: buffers, workers, a turn for a long batch.
    fn is_short(&self) -> bool {
        !self.buffers.are_plenty()
            || self.long_batches.is_awaited()
            || self.are_permits_awaited()
            || self.lacks_workers()
    }

    /// Remove counters that have expired. True when there were too many for one tick.
    fn sweep(&self) -> bool {
        if self.hold.held.get() {
            return true;
        }
        let start = self.clock.now();
        let mut counters = self.counters.borrow_mut();
        let is_urgent = counters.take_lacked_room();
        let elapsed_ns = || self.clock.now().ns - start.ns;
        let behind = sweep(&mut counters, start.unix_ms, is_urgent, elapsed_ns);
        self.stats.borrow_mut().note_event(Event::ExpireCycle, start.unix_ms, elapsed_ns());
        behind
    }

    /// End connections that take longer than they may, a few of them in each turn of the ring.
    async fn end_all_overdue(&self, now_ns: u64) {
        let live = self.live();
        let mut next_place = 0;
        loop {
            next_place = self.end_overdue(next_place, &live, now_ns);
            if next_place >= self.clients.borrow().capacity() {
                return;
            }
            // Only a ring that is torn down refuses it.
            let _ = tokio_uring::no_op().await;
        }
    }

    /// End those of the next connections that are overdue: idle, with a request unfinished, with replies unread, or
    /// without the password. Answers where to go on.
    fn end_overdue(&self, first_place: usize, live: &Live, now_ns: u64) -> usize {
        let is_over = |since_ns: u64, limit_s: u32| {
            limit_s > 0 && since_ns > 0 && now_ns.saturating_sub(since_ns) > u64::from(limit_s) * NS_PER_S
        };
        let clients = self.clients.borrow();
        let mut ended_count = 0;
        for place in first_place..first_place + OVERDUE_VISIT_COUNT {
            let Some(connection) = clients.get(place).filter(|connection| !connection.is_ended()) else { continue };
            let waiting = connection.waiting.get();
            let idle = matches!(waiting, Waiting::Receive | Waiting::Readable);
            let unsent_since_ns = match waiting {
                Waiting::Send if connection.unsent_since_ns.get() == 0 => connection.waiting_since_ns.get(),
                _ => connection.unsent_since_ns.get(),
            };
            if is_over(unsent_since_ns, live.reply_timeout_s) {
                self.evict(connection, Eviction::Reply);
            } else if idle && is_over(connection.unfinished_since_ns.get(), live.request_timeout_s) {
                self.evict(connection, Eviction::Request);
            } else if connection.session.borrow().client.is_stranger(live.requirepass.is_some())
                && is_over(connection.created_ns, live.auth_timeout_s)
            {
                self.evict(connection, Eviction::Auth);
            } else if idle && !connection.is_monitor() && is_over(connection.active_ns.get(), live.timeout_s) {
                connection.end();
            }
            ended_count += usize::from(connection.is_ended());
            if ended_count == OVERDUE_END_COUNT {
                return place + 1;
            }
        }
        first_place + OVERDUE_VISIT_COUNT
    }

    /// A fixed buffer. When they run short, those that idle connections hold are taken back first.
    pub async fn lend_buffer(&self, purpose: Purpose) -> Buffer {
        if !self.buffers.are_plenty() && self.buffers.free_count() < self.buffers.total_count() * 3 / 8 {
            let now_ns = self.clock.now().ns;
            if now_ns - self.recalled_ns.get() > RECALL_INTERVAL_NS {
                self.recalled_ns.set(now_ns);
                let mut left_count = RECALL_COUNT_MAX;
                for idle_ns in RECALL_IDLE_NS {
                    left_count -= self.recall(now_ns.saturating_sub(idle_ns), Waiting::Receive, left_count);
                }
                self.recall(now_ns.saturating_sub(SHORT_STALL_NS_MAX), Waiting::Send, RECALL_COUNT_MAX);
            }
        }
        self.buffers.lend(purpose).await.into()
    }

    /// Take back the buffers of connections that have waited so since before `until_ns`, `count_max` at most; how many.
    fn recall(&self, until_ns: u64, waiting: Waiting, count_max: usize) -> usize {
        self.recall_where(until_ns, count_max, |connection| connection.waiting.get() == waiting)
    }

    /// Whether a long reply waits until others are sent.
    pub fn are_permits_awaited(&self) -> bool {
        self.large_replies.is_awaited() || self.medium_replies.is_awaited()
    }

    /// Who has gathered a long reply and waits for its client puts the rest of it aside, as another one is due.
    pub fn recall_gathered(&self) {
        let count_max = LARGE_REPLY_COUNT_MAX + MEDIUM_REPLY_COUNT_MAX;
        self.recall_where(u64::MAX, count_max, |connection| {
            connection.has_permit() && connection.waiting.get() == Waiting::Send
        });
    }

    /// Who waits for the next request of its client needs no turn for long batches when somebody else does.
    pub fn recall_idle_turns(&self) {
        self.recall_where(u64::MAX, LONG_BATCH_COUNT_MAX, |connection| {
            connection.has_turn() && connection.waiting.get() == Waiting::Receive
        });
    }

    fn recall_where(&self, until_ns: u64, count_max: usize, is_meant: impl Fn(&Connection) -> bool) -> usize {
        let at_work = self.at_work.borrow();
        let due = at_work
            .iter()
            .flatten()
            .filter(|connection| connection.waiting_since_ns.get() <= until_ns && is_meant(connection));
        let recalled_count = due.take(count_max).map(|connection| connection.recall()).count();
        self.stats.borrow_mut().counts.recall_count += recalled_count as u64;
        recalled_count
    }

    /// Read no more requests: what has been received is answered, then the connections end.
    pub fn stop_reading(&self) {
        self.stopping.set(true);
        self.clients.borrow().iter().for_each(|(_, connection)| connection.stop_reading());
    }

    pub(super) fn report(&self) -> Report {
        let counters = self.counters.borrow();
        let clients = self.clients.borrow();
        let (mut stalled_count, mut input_bytes_max) = (0, 0);
        for (_, connection) in clients.iter() {
            let parked = connection.parked.borrow();
            stalled_count += u64::from(parked.bytes() > 0);
            input_bytes_max = input_bytes_max.max(parked.input.len() as u64);
        }
        Report {
            key_count: counters.key_count(),
            expiring_count: counters.expiring_count(),
            counter_bytes: counters.bytes(),
            hit_count: counters.stats().hits,
            miss_count: counters.stats().misses,
            expired_count: counters.stats().expired,
            change_count: self.unsaved_change_count(&counters),
            journal: self.journal_report(&counters),
            buffer_count: self.buffers.total_count() as u64,
            lent_count: (self.buffers.total_count() - self.buffers.free_count()) as u64,
            queue_bytes: (QUEUES_BYTES_MAX - self.queue_room_bytes.get().min(QUEUES_BYTES_MAX)) as u64,
            client_count: clients.len() as u64,
            parked_bytes: self.parked_bytes() as u64,
            stalled_count,
            evicted_counts: self.evicted_counts(),
            input_bytes_max,
            cpu_ns: process::thread_cpu_ns(),
            polled_ns: self.polling.polled_ns(),
            ..self.stats.borrow().report()
        }
    }

    /// The lines of the clients at the next places.
    pub(super) fn client_lines(&self, filter: &ClientFilter, from: usize) -> Answer {
        let clients = self.clients.borrow();
        let end = (from + LISTED_VISIT_COUNT).min(clients.capacity());
        let (mut lines, mut line_count, mut at) = (String::new(), 0, from);
        while at < end && line_count < LISTED_COUNT {
            if let Some(connection) = clients.get(at).filter(|connection| connection.matches(filter)) {
                let _ = writeln!(lines, "{}", connection.line());
                line_count += 1;
            }
            at += 1;
        }
        Answer::Clients { next: (at < clients.capacity()).then_some(at), lines }
    }

    pub(super) fn kill_clients(&self, filter: &ClientFilter) -> u64 {
        let clients = self.clients.borrow();
        let matching = clients.iter().filter(|(_, connection)| connection.matches(filter));
        matching.map(|(_, connection)| connection.end()).count() as u64
    }
}
