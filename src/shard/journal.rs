//! A shard's journal while it serves: when what was recorded is written, and who waits for it.
//!
//! One frame is under way at a time and the next one fills meanwhile. Under `always` a frame is written as soon as
//! something is in it and nobody is about to add to it, and replies wait until it is safe; under `everysec` and `no` once a second, or when it is nearly
//! full. A frame is never ended while a transaction holds the shard, so a transaction's changes stand in one frame.

mod automatic;
mod expected;
mod keeper;
mod part;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use tokio::sync::Notify;

use super::Shard;
use super::lag::Lag;
use crate::client::ShardSet;
use crate::config::AppendFsync;
use crate::counters::Counters;
use crate::journal::changes::{Recorder, Room};
use crate::journal::frame::FileHead;
use crate::journal::shared::Journals;
use crate::stats::JournalReport;
use expected::Expected;
use keeper::Keeper;

/// The shard's own part.
#[derive(Default)]
pub(super) struct Journal {
    /// What [`Journals::progress`] has been told.
    recorded: Cell<u64>,
    /// How far it is behind.
    lag: Lag,
    /// Whom the last frame has released.
    expected: Expected,
    /// There is room in the frame again, or it is known that there will be none.
    room: Notify,
    /// It cannot be written: commands that write are refused on account of this shard.
    failing: Cell<bool>,
    /// The shard's part of a snapshot is written, and how that went.
    scanned: Cell<Option<io::Result<u64>>>,
    /// How many changes had been recorded when the last complete snapshot began.
    saved_change_count: Cell<u64>,
    /// The tick, in Unix seconds, at which a frame has last ended.
    cut_s: Cell<u64>,
    /// How many changes had been recorded when the shard was last held.
    held_change_count: Cell<u64>,
    /// What has been recorded and is to be written still, now that nothing more is recorded.
    leftover: RefCell<Option<Box<Recorder>>>,
}

impl Shard {
    /// To be called when counters may have changed, before anybody is told.
    #[inline]
    pub fn note_changes(&self) {
        if let Some(journals) = &self.shared.journals {
            self.note_recorded(journals);
        }
    }

    fn note_recorded(&self, journals: &Journals) {
        let counters = self.counters.borrow();
        let Some(recorder) = counters.recorder() else { return };
        let last = recorder.last_sequence();
        if last != self.journal.recorded.replace(last) {
            journals.progress.set_recorded(self.index, last);
            self.journal.lag.note_first(self.clock.now().ns);
            if self.live.borrow().1.appendfsync == AppendFsync::Always {
                journals.wakes[self.index].notify_one();
            }
        } else if recorder.is_filling_up() {
            journals.wakes[self.index].notify_one();
        }
    }

    /// Whether so much can be recorded now.
    #[inline]
    pub(super) fn has_room(&self, room: Room) -> bool {
        self.counters.borrow().recorder().is_none_or(|recorder| recorder.has_room(room))
    }

    /// The same where it is known: `None` while a frame is on its way to the disk, which makes room.
    #[inline]
    pub(super) fn room(&self, room: Room) -> Option<bool> {
        let has_room = self.has_room(room);
        (has_room || self.journal.failing.get()).then_some(has_room)
    }

    /// Until so much can be recorded, or the journal cannot be written.
    pub(super) async fn until_room(&self, room: Room) {
        while self.room(room).is_none() {
            let again = self.journal.room.notified();
            if let Some(journals) = &self.shared.journals {
                journals.wakes[self.index].notify_one();
            }
            again.await;
        }
    }

    /// Have what was recorded written soon: somebody needs the room.
    pub(super) fn write_soon(&self) {
        if let Some(journals) = &self.shared.journals {
            journals.wakes[self.index].notify_one();
        }
    }

    /// Under `always`: until all that has been recorded on these shards would be there after a crash. `released_by` is the
    /// caller's own: the frame of this shard that it has last waited for.
    pub async fn until_safe(&self, shards: ShardSet, released_by: &Cell<u64>) {
        let Some(journals) = &self.shared.journals else { return };
        if self.live.borrow().1.appendfsync != AppendFsync::Always {
            return;
        }
        let expected = &self.journal.expected;
        expected.note_back(released_by.take());
        let is_safe = |shard: usize| journals.progress.safe(shard) >= journals.progress.recorded(shard);
        let waits_here = shards.iter().any(|shard| shard == self.index && !is_safe(shard));
        for shard in shards.iter() {
            journals.progress.until_safe(shard, journals.progress.recorded(shard)).await;
        }
        if waits_here {
            released_by.set(journals.progress.safe(self.index));
            expected.note_released(released_by.get());
        }
    }

    /// A transaction holds the shard from now on.
    pub(super) fn note_held(&self) {
        let counters = self.counters.borrow();
        self.journal.held_change_count.set(counters.recorder().map_or(0, Recorder::change_count));
    }

    /// The tick at which a frame has last ended here. It stays the same while the shard is held.
    pub(super) fn cut_s(&self) -> u64 {
        self.journal.cut_s.get()
    }

    /// The holding transaction is to change another shard too, whose frame of that tick has ended already: so this one's
    /// ends before it changes anything. Else it would count only together with the other's next one, that perhaps with this
    /// shard's next one, and so on, and the last second's loss would be that of many seconds.
    pub(super) fn end_frame_of(&self, tick_s: u64) {
        if self.journal.cut_s.get() >= tick_s {
            return;
        }
        if let Some(recorder) = self.counters.borrow_mut().recorder_mut() {
            if recorder.ended_sequence().is_some() || !recorder.end_frame() {
                // It may, where the disk is so slow that the frame before is under way still.
                return;
            }
            self.journal.lag.note_ended();
        }
        self.journal.cut_s.set(tick_s);
    }

    /// The frame that the holding transaction's changes are in; 0 when it has made none.
    pub(super) fn changed_frame(&self) -> u64 {
        let counters = self.counters.borrow();
        let changed = |recorder: &&Recorder| recorder.change_count() != self.journal.held_change_count.get();
        counters.recorder().filter(changed).map_or(0, Recorder::sequence)
    }

    /// How far the journal is behind.
    pub(super) fn journal_report(&self, counters: &Counters) -> JournalReport {
        let filling_bytes = counters.recorder().map_or(0, Recorder::filled_bytes);
        self.journal.lag.report(filling_bytes, self.clock.now().ns)
    }

    /// Changes that no snapshot has.
    pub(super) fn unsaved_change_count(&self, counters: &Counters) -> u64 {
        let saved = self.journal.saved_change_count.get();
        counters.recorder().map_or(0, |recorder| recorder.change_count() - saved)
    }

    /// Write the journal, whenever there is one, for as long as the shard runs.
    pub async fn keep_journal(self: Rc<Self>) {
        let Some(journals) = &self.shared.journals else { return };
        let head = FileHead { shard: self.index as u16, shard_count: self.map.shard_count() as u16 };
        let mut last = 0;
        loop {
            self.until_recorded(journals).await;
            if self.journal.leftover.borrow().is_none() {
                self.start_recording(last + 1);
            }
            let keeper = Keeper::new(self.clone(), journals, head, last);
            match keeper.keep().await {
                Some(end) => last = end,
                None => return,
            }
        }
    }

    /// Until changes are recorded, or have been: the journals may be switched off before this shard has begun with its own.
    async fn until_recorded(&self, journals: &Journals) {
        while !journals.is_on() && self.journal.leftover.borrow().is_none() {
            journals.wakes[self.index].notified().await;
        }
    }

    /// Record changes from now on, in frames from `first` on, unless that has begun when the counters were loaded.
    fn start_recording(&self, first: u64) {
        if self.counters.borrow().recorder().is_none() {
            let recorder = Box::new(Recorder::new(first));
            self.journal.saved_change_count.set(0);
            self.counters.borrow_mut().start_recording(recorder);
        }
    }

    /// Record no more, if that has not been said before. What has been recorded is written.
    pub(super) fn stop_recording(&self) {
        let Some(recorder) = self.counters.borrow_mut().stop_recording() else { return };
        self.journal.saved_change_count.set(0);
        self.journal.leftover.replace(Some(recorder));
        // There is nothing to wait for room for.
        self.journal.room.notify_waiters();
        self.grant_hold();
        self.write_soon();
    }
}
