//! A lap of the shard's loop: everything that had completed when the ring was last looked at.
//!
//! Many connections with a few requests each cost what one with many does if they share what can be shared. The clock is
//! read once a lap: whatever it brings had completed before. And who has received little waits until all others of the
//! lap have parsed what they have received; then the keys of all are looked up together, so that their cache misses
//! overlap. A lookup has three, each of which depends on the one before.
//!
//! Invariant: nobody waits for longer than the tasks that are ready already take, and nothing here allocates.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;

use tokio::sync::Notify;

use super::Shard;
use crate::clock::Moment;
use crate::counters::Counters;
use crate::lend::touched;
use crate::limits::{
    GATHERED_KEY_COUNT_MAX, GATHERED_KEY_COUNT_OF_WINDOW_MAX, REST_BYTES_OF_LAP_MAX, WINDOW_COUNT_MAX,
};
use crate::session::{Lookup, Window};

/// See the module.
#[derive(Default)]
pub(super) struct Lap {
    /// When it was begun; `None` between two.
    began: Cell<Option<Moment>>,
    /// Receives that have completed in it.
    receive_count: Cell<u32>,
    /// The same of the last one.
    last_receive_count: Cell<u32>,
    /// Bytes of longer batches that have been received in it.
    rest_bytes: Cell<usize>,
    begun: Notify,
    gathered: RefCell<Gathered>,
}

/// Keys that wait to be looked up, or for their window to take the result.
struct Gathered {
    lookups: Vec<Lookup>,
    /// So many of them have been looked up, the last ones at `looked_up`.
    looked_up_count: usize,
    looked_up: Moment,
    /// Windows that have not come for theirs.
    window_count: usize,
}

impl Default for Gathered {
    fn default() -> Gathered {
        let lookups = touched(GATHERED_KEY_COUNT_MAX, Lookup::default());
        Gathered { lookups, looked_up_count: 0, looked_up: Moment::default(), window_count: 0 }
    }
}

impl Gathered {
    /// Take in the keys of a window, if they are few, and say where they are.
    fn take_in(&mut self, keys: impl Iterator<Item = Lookup>) -> Option<Range<usize>> {
        let start = self.lookups.len();
        let room = (GATHERED_KEY_COUNT_MAX - start).min(GATHERED_KEY_COUNT_OF_WINDOW_MAX);
        for (count, key) in keys.enumerate() {
            if count == room {
                self.lookups.truncate(start);
                return None;
            }
            self.lookups.push(key);
        }
        let range = start..self.lookups.len();
        self.window_count += usize::from(!range.is_empty());
        (!range.is_empty()).then_some(range)
    }

    /// Look up all that have not been.
    fn look_up(&mut self, counters: &Counters) {
        let lookups = &mut self.lookups[self.looked_up_count..];
        lookups.iter().for_each(|lookup| lookup.prefetch(counters));
        lookups.iter_mut().for_each(|lookup| lookup.look_up(counters));
        self.looked_up_count = self.lookups.len();
    }

    /// A window has come for its own.
    fn leave(&mut self) {
        assert!(self.window_count > 0, "who leaves was taken in");
        self.window_count -= 1;
        if self.window_count == 0 {
            self.lookups.clear();
            self.looked_up_count = 0;
        }
    }
}

impl Shard {
    /// When what has just completed was seen: when its lap began. That is not before `after_ns`, when the caller has last
    /// read the clock.
    #[inline]
    pub fn seen_in_lap(&self, after_ns: u64) -> Moment {
        match self.lap.began.get() {
            Some(began) if began.ns >= after_ns => began,
            _ => self.begin_lap(),
        }
    }

    fn begin_lap(&self) -> Moment {
        let began = self.clock.now();
        self.lap.began.set(Some(began));
        self.lap.begun.notify_one();
        began
    }

    /// A receive has completed.
    #[inline]
    pub fn received_in_lap(&self) -> Moment {
        self.lap.receive_count.update(|count| count + 1);
        self.seen_in_lap(0)
    }

    /// How much of the end of a batch that is a little longer may be received at once in this lap.
    pub fn rest_room_bytes(&self) -> usize {
        REST_BYTES_OF_LAP_MAX - self.lap.rest_bytes.get()
    }

    /// So much of it was.
    pub fn note_rest(&self, bytes: usize) {
        self.lap.rest_bytes.update(|before| before + bytes);
    }

    /// End each lap when all tasks that it has woken have been polled, for as long as the shard runs.
    pub async fn end_laps(self: Rc<Self>) {
        loop {
            // Woken behind them.
            self.lap.begun.notified().await;
            self.lap.began.set(None);
            self.lap.rest_bytes.set(0);
            self.lap.last_receive_count.set(self.lap.receive_count.take());
        }
    }

    /// Whether this lap or the last one has brought something from more than one connection.
    pub(super) fn is_lap_shared(&self) -> bool {
        self.lap.receive_count.get().max(self.lap.last_receive_count.get()) > 1
    }

    /// Look up the window's keys of this shard, together with those of other windows if there are any. When that was done.
    #[inline]
    pub async fn look_up(&self, window: &mut Window) -> Moment {
        if self.lap.last_receive_count.get() > 1 {
            let taken_in = self.lap.gathered.borrow_mut().take_in(window.lookups(self.index));
            if let Some(range) = taken_in {
                all_others().await;
                let gathered = &mut *self.lap.gathered.borrow_mut();
                if gathered.looked_up_count < range.end {
                    gathered.look_up(&self.counters.borrow());
                    gathered.looked_up = self.clock.now();
                }
                window.take_looked_up(self.index, &gathered.lookups[range]);
                gathered.leave();
                return gathered.looked_up;
            }
        }
        // What is asked for comes while the clock is read: that is all that one key can overlap with.
        let counters = &self.counters.borrow();
        window.prefetch(self.index, counters);
        let started = self.clock.now();
        window.look_up(self.index, counters);
        started
    }
}

/// Until every task that is ready now has been polled.
async fn all_others() {
    let mut waited = false;
    poll_fn(|cx| match std::mem::replace(&mut waited, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

// All windows at once are taken in.
const _: () = assert!(WINDOW_COUNT_MAX * GATHERED_KEY_COUNT_OF_WINDOW_MAX <= GATHERED_KEY_COUNT_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> impl Iterator<Item = Lookup> {
        std::iter::repeat_n(Lookup::default(), count)
    }

    #[test]
    fn windows_with_many_keys_or_none_are_left_alone() {
        let mut gathered = Gathered::default();
        assert_eq!(gathered.take_in(keys(0)), None);
        assert_eq!(gathered.take_in(keys(GATHERED_KEY_COUNT_OF_WINDOW_MAX + 1)), None);
        assert_eq!(gathered.take_in(keys(GATHERED_KEY_COUNT_OF_WINDOW_MAX)), Some(0..GATHERED_KEY_COUNT_OF_WINDOW_MAX));
        assert_eq!(gathered.window_count, 1);
    }

    #[test]
    fn there_is_room_until_it_is_full_and_again_when_all_have_left() {
        let (mut gathered, counters) = (Gathered::default(), Counters::new(0..1));
        let capacity = gathered.lookups.capacity();
        for _ in 0..3 {
            let mut taken_in = 0;
            while let Some(range) = gathered.take_in(keys(3)) {
                assert_eq!(range, taken_in * 3..(taken_in + 1) * 3);
                taken_in += 1;
                gathered.look_up(&counters);
                assert_eq!(gathered.looked_up_count, range.end);
            }
            assert_eq!(taken_in, GATHERED_KEY_COUNT_MAX / 3);
            (0..taken_in).for_each(|_| gathered.leave());
            assert_eq!((gathered.lookups.len(), gathered.looked_up_count), (0, 0));
        }
        assert_eq!(gathered.lookups.capacity(), capacity);
    }
}
