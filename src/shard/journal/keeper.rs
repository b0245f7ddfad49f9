//! The keeper of a shard's journal: has it written and synced when that is due, and says what became of it.
//!
//! It never changes a counter. While the disk fails it goes on trying, and commands that write are refused; under `always`
//! it ends the server, for nobody may be told what is not on the disk.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use super::automatic::Automatic;
use super::part::SnapshotPart;
use crate::config::AppendFsync;
use crate::journal::changes::{Filled, Recorder, Taken};
use crate::journal::disk::{Directory, Displaced};
use crate::journal::frame::FileHead;
use crate::journal::shared::{Closed, Journals};
use crate::journal::writer::Writer;
use crate::shard::Shard;

/// How often what was recorded is written and synced when nobody waits for it, on the same ticks for all shards.
const INTERVAL: Duration = Duration::from_secs(1);

/// How soon a write that has failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Frames that may be linked to those of other shards and not be synced, under `no`: about a minute of them. With those of
/// one tick, which a full frame may end too, and those under way that is a few more.
const LINKED_COUNT_MAX: u64 = 64;

/// Records that are made of a frame that has ended before others have their turn.
const RECORD_STEP_COUNT: usize = 1_024;

/// Under `always` a frame that waits for no one ends when a turn of the ring has brought no more changes, or after so many.
const GATHER_TURN_COUNT_MAX: usize = 4;

/// How long a frame waits for those who are expected back, what is done meanwhile included: as long as a sync takes, but
/// within these bounds.
const GATHER_NS_MIN: u64 = 1_000_000;
const GATHER_NS_MAX: u64 = 4_000_000;

/// Writes one shard's journal.
pub(super) struct Keeper<'a> {
    pub(super) shard: Rc<Shard>,
    pub(super) journals: &'a Journals,
    pub(super) writer: Writer<Directory>,
    pub(super) head: FileHead,
    /// The last snapshot that this shard has begun its part of.
    pub(super) begun: u64,
    /// The last of these that is known to have ended.
    pub(super) ended: u64,
    pub(super) begun_change_count: u64,
    pub(super) part: Option<SnapshotPart>,
    /// The last snapshot that is known to be complete.
    pub(super) saved: u64,
    /// When this shard has one taken by itself.
    pub(super) automatic: Automatic,
    /// Nothing may be written: the directory is another one, or the run could not begin.
    barred: bool,
    /// A tick has been, and the frame that is being filled is to end for it.
    is_tick: bool,
    /// A frame has not been written, and will not be.
    gave_up: bool,
}

impl<'a> Keeper<'a> {
    /// One whose frames come after `last`.
    pub(super) fn new(shard: Rc<Shard>, journals: &'a Journals, head: FileHead, last: u64) -> Keeper<'a> {
        let mark = journals.run();
        Keeper {
            shard,
            journals,
            writer: Writer::new(journals.directory.clone(), mark.number, mark.id, head).after(last),
            head,
            // One that counts may not have ended: what it replaces is being removed still.
            begun: journals.saved(),
            ended: journals.saved(),
            begun_change_count: 0,
            part: None,
            saved: journals.saved(),
            automatic: Automatic::default(),
            barred: journals.is_unbegun(),
            is_tick: false,
            gave_up: false,
        }
    }

    /// Answers the last frame that was recorded, when the journals are off again; `None` when the server ends.
    pub(super) async fn keep(mut self) -> Option<u64> {
        let mut next_tick = tokio::time::Instant::now() + until_tick();
        loop {
            let ticked = tokio::select! {
                () = self.journals.wakes[self.shard.index].notified() => false,
                () = tokio::time::sleep_until(next_tick) => true,
            };
            if ticked {
                next_tick = tokio::time::Instant::now() + until_tick();
                self.check_ready();
            }
            if self.policy() == AppendFsync::Always {
                self.gather().await;
            }
            let written = match ticked && self.is_cut() {
                true => self.write_ended().await,
                false => {
                    self.is_tick = ticked;
                    self.write_recorded().await
                }
            };
            self.is_tick = false;
            if self.shard.journal.leftover.borrow().is_some() {
                return Some(self.end().await);
            }
            if !written {
                self.journals.set_closed(self.shard.index, Closed::GivenUp);
                return None;
            }
            let due = match self.policy() {
                AppendFsync::Always => true,
                AppendFsync::Everysec => ticked,
                AppendFsync::No => ticked && (self.journals.saving() != 0 || self.has_many_links()),
            };
            if due {
                self.sync_written().await;
            }
            if self.policy() == AppendFsync::Always {
                // Those whom this frame has released are on their way meanwhile.
                self.writer.prepare().await;
            }
            self.follow_snapshots(ticked).await;
            if self.journals.is_closing() {
                let is_whole = self.write_recorded().await && self.sync_written().await && !self.is_failing();
                let closed = if is_whole { Closed::Written(self.writer.written()) } else { Closed::GivenUp };
                self.journals.set_closed(self.shard.index, closed);
                return None;
            }
        }
    }

    /// The journals are switched off: write what is left. Answers the last frame that was recorded.
    async fn end(mut self) -> u64 {
        let is_whole = !self.gave_up && self.write_recorded().await && self.sync_written().await && !self.is_failing();
        self.give_up_part().await;
        let recorder = self.shard.journal.leftover.take().expect("nothing more is recorded");
        let closed = if is_whole { Closed::Written(self.writer.written()) } else { Closed::GivenUp };
        if self.shard.journal.failing.take() {
            // Nothing is refused on account of a journal that there is not.
            self.journals.heal();
        }
        // Nor does anybody wait for it.
        let last = recorder.last_sequence();
        self.journals.progress.set_synced(self.shard.index, last);
        self.journals.set_closed(self.shard.index, closed);
        last
    }

    fn is_failing(&self) -> bool {
        self.shard.journal.failing.get()
    }

    fn policy(&self) -> AppendFsync {
        self.shard.live().appendfsync
    }

    /// Whether so many frames are not synced that the links to other shards take too much room, which are kept until then.
    fn has_many_links(&self) -> bool {
        self.journals.progress.pair_count() > 0 && self.writer.unsynced_count() >= LINKED_COUNT_MAX
    }

    /// Until the frame should end: whose changes can be had for a short wait have their changes in it. A single client is
    /// not kept waiting.
    async fn gather(&self) {
        let expected = &self.shard.journal.expected;
        let has_any = self.with_recorder(|recorder| recorder.filled_bytes() > 0);
        if !has_any || (expected.out_count() == 0 && !self.shard.is_lap_shared()) {
            return;
        }
        if expected.is_worth_waiting() {
            self.gather_expected().await;
            expected.note_waited();
        } else {
            self.gather_arriving().await;
        }
    }

    /// Until all who are expected are back; or turns of the ring that brought nothing have taken half as long as a sync,
    /// which is what there is to win.
    async fn gather_expected(&self) {
        let expected = &self.shard.journal.expected;
        // The replies that the last frame has released are sent with it.
        let _ = tokio_uring::no_op().await;
        let sync_ns = self.shard.journal.lag.last_sync_ns();
        let (gather_ns_max, idle_ns_max) = (sync_ns.clamp(GATHER_NS_MIN, GATHER_NS_MAX), sync_ns / 2);
        let began_ns = self.shard.clock.now().ns;
        let (mut now_ns, mut idle_ns) = (began_ns, 0);
        let mut change_count = self.change_count();
        while expected.out_count() > 0
            && idle_ns < idle_ns_max
            && now_ns - began_ns < gather_ns_max
            && !self.with_recorder(|recorder| recorder.is_filling_up())
        {
            let _ = tokio_uring::no_op().await;
            let (turn_began_ns, seen_count) = (now_ns, change_count);
            now_ns = self.shard.clock.now().ns;
            change_count = self.change_count();
            if change_count == seen_count {
                idle_ns += now_ns - turn_began_ns;
            }
        }
    }

    /// Until those who have changed something a moment ago are no longer followed by others.
    async fn gather_arriving(&self) {
        let mut seen_count = None;
        for _ in 0..GATHER_TURN_COUNT_MAX {
            let change_count = self.change_count();
            if seen_count.replace(change_count) == Some(change_count) {
                break;
            }
            let _ = tokio_uring::no_op().await;
        }
    }

    fn change_count(&self) -> u64 {
        self.with_recorder(|recorder| recorder.change_count())
    }

    /// Whether a transaction has ended this tick's frame already, since another shard's had. Under `always` a frame does not
    /// wait for a tick.
    fn is_cut(&self) -> bool {
        self.policy() != AppendFsync::Always && self.shard.cut_s() == since_epoch().as_secs()
    }

    /// Write what has been recorded until now, if anything has. False only when the journals end before that has succeeded.
    pub(super) async fn write_recorded(&mut self) -> bool {
        // Of a frame that a transaction has ended, and the one behind it.
        let until = self.with_recorder(|recorder| recorder.last_sequence());
        loop {
            let before = self.writer.written();
            if !self.write_ended_or_filling().await {
                return false;
            }
            // Nothing was left to be written.
            if self.writer.written() >= until || self.writer.written() == before {
                return true;
            }
        }
    }

    /// Write the frame that a transaction has ended, if there was something in it.
    async fn write_ended(&mut self) -> bool {
        !self.was_ended() || self.write_ended_or_filling().await
    }

    fn was_ended(&self) -> bool {
        self.with_recorder(|recorder| recorder.ended_sequence().is_some())
    }

    /// Write the frame that has ended; or end the one that is being filled, and write that.
    async fn write_ended_or_filling(&mut self) -> bool {
        self.shard.until_released().await;
        let was_ended = self.was_ended();
        let mut ended = false;
        let mut filled = loop {
            let taken = self.take_frame();
            if self.is_tick && !was_ended {
                self.is_tick = false;
                self.shard.journal.cut_s.set(since_epoch().as_secs());
            }
            if matches!(taken, Taken::Nothing) {
                return true;
            }
            if !std::mem::replace(&mut ended, true) {
                if !was_ended {
                    self.shard.journal.lag.note_ended();
                }
                // The next one is being filled.
                self.shard.journal.room.notify_waiters();
                self.shard.grant_hold();
            }
            if let Taken::Frame(filled) = taken {
                break filled;
            }
            // Through the ring, so that all others that are ready come first.
            let _ = tokio_uring::no_op().await;
        };
        self.shard.journal.lag.note_taken(filled.len);
        if !self.write(&mut filled).await {
            return false;
        }
        self.with_recorder(|recorder| recorder.give_back(filled.bytes));
        self.shard.journal.room.notify_waiters();
        self.journals.journal_bytes.fetch_add(filled.len as u64, Ordering::Relaxed);
        self.tell_synced();
        true
    }

    /// End the frame that is being filled, and make some of its records.
    fn take_frame(&self) -> Taken {
        if let Some(leftover) = self.shard.journal.leftover.borrow_mut().as_mut() {
            leftover.end_frame();
            return leftover.take();
        }
        self.shard.counters.borrow_mut().take_frame(RECORD_STEP_COUNT)
    }

    pub(super) fn with_recorder<T>(&self, with: impl FnOnce(&mut Recorder) -> T) -> T {
        if let Some(leftover) = self.shard.journal.leftover.borrow_mut().as_mut() {
            return with(leftover);
        }
        let mut counters = self.shard.counters.borrow_mut();
        with(counters.recorder_mut().expect("a shard with a journal records"))
    }

    /// Write a frame, however long it takes. False only when the journals end before it has succeeded.
    async fn write(&mut self, filled: &mut Filled) -> bool {
        loop {
            let always = self.policy() == AppendFsync::Always;
            let ready = if self.barred { self.journals.ready() } else { Ok(()) };
            let written = match ready {
                Err(error) => Err(error),
                Ok(()) if always => timed(&self.shard, self.writer.write(filled, true)).await,
                Ok(()) => self.writer.write(filled, false).await,
            };
            let Err(error) = written else { break };
            if always {
                self.stop(&error);
            }
            self.note_failure(&error);
            if self.journals.is_stopping() {
                // Who switches it off waits for its turn, and with that, where the next frame is full, for this disk.
                self.shard.until_released().await;
                self.shard.stop_recording();
            }
            if self.journals.is_closing() || self.shard.journal.leftover.borrow().is_some() {
                self.gave_up = true;
                return false;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        self.barred = false;
        self.note_success();
        true
    }

    /// Find out early that nothing can be written, and that it can again.
    fn check_ready(&mut self) {
        match self.journals.ready() {
            Ok(()) if !self.barred => {}
            Ok(()) => {
                self.barred = false;
                self.note_success();
            }
            Err(error) => {
                self.barred = true;
                self.judge(Err(error));
            }
        }
    }

    /// Have what was written on the disk; false when the disk has failed.
    pub(super) async fn sync_written(&mut self) -> bool {
        let synced = match self.writer.is_synced() {
            true => Ok(()),
            false => timed(&self.shard, self.writer.sync()).await,
        };
        self.judge(synced)
    }

    /// What a sync means; false when the disk has failed.
    pub(super) fn judge(&mut self, synced: io::Result<()>) -> bool {
        let is_always = self.policy() == AppendFsync::Always;
        match synced {
            Err(error) if is_always => self.stop(&error),
            Err(error) => self.note_failure(&error),
            Ok(()) if is_always && self.writer.is_lost() => self.stop(&io::Error::other("an earlier sync has failed")),
            Ok(()) => self.tell_synced(),
        }
        !self.writer.is_lost()
    }

    /// Tell the others how far this shard is. When a sync has failed, only a snapshot rests on this, which replaces what
    /// is lost: under `always` the server has stopped.
    pub(super) fn tell_synced(&self) {
        if self.writer.on_disk() > self.journals.progress.synced(self.shard.index) {
            self.journals.progress.set_synced(self.shard.index, self.writer.on_disk());
        }
        if self.writer.is_synced() {
            self.shard.journal.lag.note_all_safe();
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        if self.shard.journal.failing.replace(true) {
            return;
        }
        // Who waits for room need not.
        self.shard.journal.room.notify_waiters();
        self.shard.grant_hold();
        if self.journals.fail(error) {
            let path = self.journals.directory.path().display();
            match Displaced::is_in(error) {
                true => error!(
                    "the journal cannot be written ({path}: {error}): commands that write are refused until it can. Bring the directory back; or have all counters written into a new one: CONFIG SET appendonly no, then yes"
                ),
                false => warn!(
                    "the journal cannot be written ({path}: {error}): commands that write are refused until it can. Make room, or see to the disk"
                ),
            }
        }
    }

    pub(super) fn note_success(&mut self) {
        if self.is_failing() && !self.writer.is_lost() {
            self.shard.journal.failing.set(false);
            if !self.journals.heal() {
                return;
            }
            info!("the journal can be written again, and so can counters");
        }
    }

    /// Under `always` nobody is told what is not on the disk: so nobody is told anything any more.
    fn stop(&self, error: &io::Error) -> ! {
        let path = self.journals.directory.path().display();
        let remedy = match Displaced::is_in(error) {
            true => "Bring the directory back and start again: what was acknowledged is there and nowhere else",
            false => "Make room, or see to the disk, and start again: what was acknowledged is there",
        };
        error!(
            "the journal cannot be written ({path}: {error}), and with appendfsync always nothing may be acknowledged without it: stopping. {remedy}"
        );
        std::process::exit(1);
    }
}

/// Wait for the disk, and note how long that took.
async fn timed<T>(shard: &Shard, work: impl Future<Output = T>) -> T {
    shard.journal.lag.note_sync_begun(shard.clock.now().ns);
    let done = work.await;
    shard.journal.lag.note_sync_ended(shard.clock.now().ns);
    done
}

/// How long until the next tick, which all shards have at the same time: a transaction over several shards is then on the
/// disk with all its parts within the same second.
fn until_tick() -> Duration {
    INTERVAL - Duration::from_nanos(u64::from(since_epoch().subsec_nanos()))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
