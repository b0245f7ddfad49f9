//! Executing windows: here at once, and on the shards that own the rest of the keys, over the mesh.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use tokio::sync::Notify;

use super::{Shard, Turn};
use crate::client::ShardSet;
use crate::journal::changes::Room;
use crate::mesh::{Answer, Batch, Message};

/// Where a connection waits for other shards.
#[derive(Default)]
pub(super) struct Waiter {
    /// Messages that have not come back.
    pub(super) left_count: usize,
    /// By shard: the batch being filled.
    pub(super) outgoing: Vec<Option<Box<Batch>>>,
    /// Batches that came back.
    #[expect(clippy::vec_box, reason = "the boxes themselves travel over the mesh and go back to their pool")]
    pub(super) executed: Vec<Box<Batch>>,
    pub(super) answer: Option<Box<Answer>>,
    pub(super) waker: Option<Waker>,
    /// The shards whose counters have been read or changed: what they have recorded must be safe before a reply leaves.
    pub(super) touched: ShardSet,
}

impl Shard {
    /// Execute all operations of a window, here and on the shards that own them.
    pub async fn execute(&self, turn: &mut Turn, input: &[u8], now_ms: i64, holder: bool) {
        let forwarded = self.map.shard_count() > 1 && self.forward(turn, input, now_ms, holder).await;
        let has_room = holder || self.until_free(Room::WINDOW).await;
        let executed = {
            let counters = &mut self.counters.borrow_mut();
            match has_room {
                true => turn.window.execute(input, self.index, counters, now_ms),
                false => turn.window.execute_reads(input, self.index, counters, now_ms),
            }
        };
        if executed {
            self.note_changes();
            self.waiters.borrow_mut()[turn.waiter as usize].touched.insert(self.index);
        }
        self.publish_memory();
        if forwarded {
            self.collect(turn).await;
        }
    }

    /// Until no transaction of another connection holds this shard, and so much can be recorded; false when it cannot be,
    /// since the journal cannot be written.
    #[inline]
    pub(super) async fn until_free(&self, room: Room) -> bool {
        loop {
            match self.room(room).filter(|_| !self.hold.held.get()) {
                Some(has_room) => return has_room,
                None => {
                    self.until_released().await;
                    self.until_room(room).await;
                }
            }
        }
    }

    /// A waiter's task tells of what every shard has recorded until now: under `always` its reply leaves when all of that is
    /// safe, which it soon is.
    pub fn touch_all(&self, waiter: u32) {
        let touched = &mut self.waiters.borrow_mut()[waiter as usize].touched;
        (0..self.map.shard_count()).for_each(|shard| touched.insert(shard));
        if let Some(journals) = &self.shared.journals {
            journals.wakes.iter().for_each(Notify::notify_one);
        }
    }

    /// The shards that a waiter's window or task has touched since this was last asked.
    pub fn take_touched(&self, waiter: u32) -> ShardSet {
        std::mem::take(&mut self.waiters.borrow_mut()[waiter as usize].touched)
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
            waiter.touched.insert(routed.shard);
        }
        waiter.left_count = target_count;
        self.stats.borrow_mut().counts.mesh_batch_count += target_count as u64;
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
    pub(super) async fn returned(&self, waiter: u32) {
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

    pub(super) fn come_back(&self, waiter: u32, put: impl FnOnce(&mut Waiter)) {
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
}
