//! Who holds this shard: a transaction of its own clients, or of another shard's.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use super::Shard;
use crate::client::ShardSet;
use crate::journal::changes::Room;
use crate::mesh::{Answer, Message};

/// Who wants to hold this shard.
pub(super) enum Holder {
    Own { waiter: u32 },
    Other { shard: usize, waiter: u32 },
}

#[derive(Default)]
pub(super) struct Hold {
    pub(super) held: Cell<bool>,
    /// Who wants to hold it next.
    queue: RefCell<VecDeque<Holder>>,
    /// What came for this shard while it was held.
    deferred: RefCell<VecDeque<Message>>,
    released: Notify,
}

impl Shard {
    /// Until no transaction of another connection holds this shard.
    pub async fn until_released(&self) {
        while self.hold.held.get() {
            let released = self.hold.released.notified();
            if self.hold.held.get() {
                released.await;
            }
        }
    }

    pub(super) fn defer(&self, message: Message) -> bool {
        self.hold.deferred.borrow_mut().push_back(message);
        false
    }

    pub(super) fn want_hold(&self, holder: Holder) {
        self.hold.queue.borrow_mut().push_back(holder);
        self.grant_hold();
    }

    /// Give the hold to who has waited longest, if it is free.
    pub(super) fn grant_hold(&self) {
        if self.hold.held.get() || self.hold.queue.borrow().is_empty() {
            return;
        }
        // It is granted when there is room, or when it is known that there will be none.
        let Some(has_room) = self.room(Room::TRANSACTION) else { return self.write_soon() };
        let Some(holder) = self.hold.queue.borrow_mut().pop_front() else { return };
        self.hold.held.set(true);
        self.note_held();
        let answer = Box::new(Answer::Held { cut_s: self.cut_s(), has_room });
        match holder {
            Holder::Own { waiter } => self.come_back(waiter, |waiter| waiter.answer = Some(answer)),
            Holder::Other { shard, waiter } => {
                self.mesh.push(shard, Message::Answer { waiter, answer });
                self.mesh.wake(shard);
            }
        }
    }

    /// The holder is through: do what waited, then let the next one hold.
    pub(super) fn release(self: &Rc<Self>) {
        assert!(self.hold.held.replace(false), "only a held shard is released");
        let deferred_count = self.hold.deferred.borrow().len();
        let left_count = self.handle_deferred(deferred_count);
        self.hold.released.notify_waiters();
        if left_count == 0 && self.hold.queue.borrow().is_empty() {
            return;
        }
        // Those who were just woken go first: else transactions could keep everybody else out.
        let shard = self.clone();
        tokio_uring::spawn(async move {
            tokio::task::yield_now().await;
            shard.grant_hold();
            let mut left_count = left_count;
            while left_count > 0 {
                shard.until_free(Room::WINDOW).await;
                left_count = shard.handle_deferred(left_count);
            }
        });
    }

    /// Handle `count` of the deferred messages, as far as what they change can be recorded; answers how many are left
    /// at most.
    fn handle_deferred(self: &Rc<Self>, count: usize) -> usize {
        let mut answered = ShardSet::default();
        let mut left_count = count;
        while left_count > 0 && self.room(Room::WINDOW).is_some() {
            // Another release, of a hold that was granted while this one waited for room, may have handled some of them.
            let message = self.hold.deferred.borrow_mut().pop_front();
            let Some(message) = message else {
                left_count = 0;
                break;
            };
            left_count -= 1;
            let from = match message {
                Message::Execute { from, .. } | Message::Ask { from, .. } => usize::from(from),
                _ => unreachable!("only requests are deferred"),
            };
            if self.handle(message) {
                answered.insert(from);
            }
        }
        answered.iter().for_each(|shard| self.mesh.wake(shard));
        left_count
    }
}
