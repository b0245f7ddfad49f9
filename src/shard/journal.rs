//! A shard's journal while it serves: when what was recorded is written, and who waits for it.
//!
//! One frame is under way at a time and the next one fills meanwhile. Under `always` a frame is written as soon as
//! something is in it, and replies wait until it is safe; under `everysec` and `no` once a second, or when it is nearly
//! full. A frame is never ended while a transaction holds the shard, so a transaction's changes stand in one frame.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::Shard;
use super::lag::Lag;
use crate::client::ShardSet;
use crate::config::AppendFsync;
use crate::counters::Counters;
use crate::journal::changes::{Filled, Recorder, Room, Taken};
use crate::journal::disk::Directory;
use crate::journal::frame::FileHead;
use crate::journal::shared::{Closed, Journals, SnapshotEnd};
use crate::journal::snapshot::{Part, SnapshotWriter};
use crate::journal::writer::Writer;
use crate::stats::JournalReport;

/// How often what was recorded is written and synced when nobody waits for it, on the same ticks for all shards.
const INTERVAL: Duration = Duration::from_secs(1);

/// How soon a write that has failed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// So many runs are kept before a snapshot replaces them, however little is in them.
const RUN_COUNT_MAX: usize = 16;

/// Records that are made of a frame that has ended before others have their turn.
const RECORD_STEP_COUNT: usize = 4_096;

/// Counters that a snapshot visits before others have their turn.
const SNAPSHOT_STEP_COUNT: u64 = 256;

/// The shard's own part.
#[derive(Default)]
pub(super) struct Journal {
    /// What [`Journals::progress`] has been told.
    recorded: Cell<u64>,
    /// How far it is behind.
    lag: Lag,
    /// There is room in the frame again.
    room: Notify,
    /// The shard's part of a snapshot is written, and how that went.
    scanned: Cell<Option<io::Result<u64>>>,
    /// How many changes had been recorded when the last complete snapshot began.
    saved_change_count: Cell<u64>,
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

    /// Until so much can be recorded.
    pub(super) async fn until_room(&self, room: Room) {
        while !self.has_room(room) {
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

    /// Under `always`: until all that has been recorded on these shards would be there after a crash.
    pub async fn until_safe(&self, shards: ShardSet) {
        let Some(journals) = &self.shared.journals else { return };
        if self.live.borrow().1.appendfsync != AppendFsync::Always {
            return;
        }
        for shard in shards.iter() {
            journals.progress.until_safe(shard, journals.progress.recorded(shard)).await;
        }
    }

    /// A transaction holds the shard from now on.
    pub(super) fn note_held(&self) {
        let counters = self.counters.borrow();
        self.journal.held_change_count.set(counters.recorder().map_or(0, Recorder::change_count));
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
            journals.until_on(self.index).await;
            self.start_recording(last + 1);
            let mark = journals.run();
            let keeper = Keeper {
                shard: self.clone(),
                journals,
                writer: Writer::new(journals.directory.clone(), mark.number, mark.id, head).after(last),
                head,
                begun: 0,
                begun_change_count: 0,
                part: None,
                saved: journals.saved(),
                failing: false,
                gave_up: false,
            };
            match keeper.keep().await {
                Some(end) => last = end,
                None => return,
            }
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

    /// Record no more. What has been recorded is written.
    pub(super) fn stop_recording(&self) {
        let recorder = self.counters.borrow_mut().stop_recording();
        self.journal.saved_change_count.set(0);
        self.journal.leftover.replace(recorder);
        // There is nothing to wait for room for.
        self.journal.room.notify_waiters();
        self.grant_hold();
        self.write_soon();
    }

    /// Write this shard's part of a snapshot; answers its bytes.
    async fn scan(&self, number: u64, head: FileHead) -> io::Result<u64> {
        let Some(journals) = &self.shared.journals else { unreachable!("only journals have snapshots") };
        let mut writer = SnapshotWriter::create(&journals.directory, number, head).await?;
        let mut part = Part::default();
        let mut cursor = 0;
        loop {
            let now_ms = self.clock.now().unix_ms;
            let put = &mut |key: &[u8], entry| part.put(key, entry);
            cursor = self.counters.borrow().scan(cursor, SNAPSHOT_STEP_COUNT, now_ms, put);
            if part.is_full() || (cursor == 0 && !part.is_empty()) {
                writer.write(&mut part).await?;
            } else {
                // Through the ring, so that all others that are ready come first.
                let _ = tokio_uring::no_op().await;
            }
            if cursor == 0 {
                return writer.finish().await;
            }
        }
    }
}

/// Writes one shard's journal.
struct Keeper<'a> {
    shard: Rc<Shard>,
    journals: &'a Journals,
    writer: Writer<Directory>,
    head: FileHead,
    /// The last snapshot that this shard has begun its part of.
    begun: u64,
    begun_change_count: u64,
    part: Option<SnapshotPart>,
    /// The last snapshot that is known to be complete.
    saved: u64,
    /// Commands that write are refused on account of this shard.
    failing: bool,
    /// A frame has not been written, and will not be.
    gave_up: bool,
}

/// A part of a snapshot under way.
struct SnapshotPart {
    /// The first frame behind its beginning.
    from: u64,
    /// Once it is written: its bytes, and the frame that must be safe before it counts.
    written: Option<(u64, u64)>,
}

impl Keeper<'_> {
    /// Answers the last frame that was recorded, when the journals are off again; `None` when the server ends.
    async fn keep(mut self) -> Option<u64> {
        let mut next_tick = tokio::time::Instant::now() + until_tick();
        loop {
            let ticked = tokio::select! {
                () = self.journals.wakes[self.shard.index].notified() => false,
                () = tokio::time::sleep_until(next_tick) => true,
            };
            if ticked {
                next_tick = tokio::time::Instant::now() + until_tick();
            }
            let written = self.write_recorded().await;
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
                AppendFsync::No => ticked && self.journals.saving() != 0,
            };
            if due {
                self.sync_written().await;
            }
            self.follow_snapshots(ticked).await;
            if self.journals.is_closing() {
                let is_whole = self.write_recorded().await && self.sync_written().await && !self.failing;
                let closed = if is_whole { Closed::Written(self.writer.written()) } else { Closed::GivenUp };
                self.journals.set_closed(self.shard.index, closed);
                return None;
            }
        }
    }

    /// The journals are switched off: write what is left. Answers the last frame that was recorded.
    async fn end(mut self) -> u64 {
        let is_whole = !self.gave_up && self.write_recorded().await && self.sync_written().await && !self.failing;
        self.give_up_part().await;
        let recorder = self.shard.journal.leftover.take().expect("nothing more is recorded");
        let closed = if is_whole { Closed::Written(self.writer.written()) } else { Closed::GivenUp };
        if std::mem::take(&mut self.failing) {
            // Nothing is refused on account of a journal that there is not.
            self.journals.heal();
        }
        // Nor does anybody wait for it.
        let last = recorder.last_sequence();
        self.journals.progress.set_synced(self.shard.index, last);
        self.journals.set_closed(self.shard.index, closed);
        last
    }

    /// The snapshot under way, if there is one, fails.
    async fn give_up_part(&mut self) {
        match self.part.take() {
            Some(SnapshotPart { written: None, .. }) => {
                while self.shard.journal.scanned.take().is_none() {
                    self.journals.wakes[self.shard.index].notified().await;
                }
            }
            Some(_) => {}
            None if self.journals.saving() > self.begun => {}
            None => return,
        }
        let error = io::Error::other("the journal was switched off");
        self.journals.end_part(self.shard.index, Err(error), unix_s()).await;
    }

    fn policy(&self) -> AppendFsync {
        self.shard.live().appendfsync
    }

    /// Write what has been recorded, if anything has. False only when the journals end before that has succeeded.
    async fn write_recorded(&mut self) -> bool {
        self.shard.until_released().await;
        let mut ended = false;
        let mut filled = loop {
            let taken = self.take_frame();
            if matches!(taken, Taken::Nothing) {
                return true;
            }
            if !std::mem::replace(&mut ended, true) {
                self.shard.journal.lag.note_ended();
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

    /// End the frame that is being filled, and make some of its records: all of them where the next one is nearly full.
    fn take_frame(&self) -> Taken {
        if let Some(leftover) = self.shard.journal.leftover.borrow_mut().as_mut() {
            leftover.end_frame();
            return leftover.take();
        }
        let mut counters = self.shard.counters.borrow_mut();
        let has_time = counters.recorder().is_some_and(|recorder| !recorder.is_filling_up());
        counters.take_frame(if has_time { RECORD_STEP_COUNT } else { usize::MAX })
    }

    fn with_recorder<T>(&self, with: impl FnOnce(&mut Recorder) -> T) -> T {
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
            let writing = self.writer.write(filled, always);
            let written = if always { timed(&self.shard, writing).await } else { writing.await };
            let Err(error) = written else { break };
            if always {
                self.stop(&error);
            }
            self.note_failure(&error);
            if self.journals.is_closing() || self.shard.journal.leftover.borrow().is_some() {
                self.gave_up = true;
                return false;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        self.note_success();
        true
    }

    /// Have what was written on the disk; false when the disk has failed.
    async fn sync_written(&mut self) -> bool {
        let synced = match self.writer.is_synced() {
            true => Ok(()),
            false => timed(&self.shard, self.writer.sync()).await,
        };
        self.judge(synced)
    }

    /// What a sync means; false when the disk has failed.
    fn judge(&mut self, synced: io::Result<()>) -> bool {
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
    fn tell_synced(&self) {
        if self.writer.on_disk() > self.journals.progress.synced(self.shard.index) {
            self.journals.progress.set_synced(self.shard.index, self.writer.on_disk());
        }
        if self.writer.is_synced() {
            self.shard.journal.lag.note_all_safe();
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) && self.journals.fail(error) {
            let path = self.journals.directory.path().display();
            warn!(
                "the journal cannot be written ({path}: {error}): commands that write are refused until it can. Make room, or see to the disk"
            );
        }
    }

    fn note_success(&mut self) {
        if self.failing && !self.writer.is_lost() {
            self.failing = false;
            if !self.journals.heal() {
                return;
            }
            info!("the journal can be written again, and so can counters");
        }
    }

    /// Under `always` nobody is told what is not on the disk: so nobody is told anything any more.
    fn stop(&self, error: &io::Error) -> ! {
        let path = self.journals.directory.path().display();
        error!(
            "the journal cannot be written ({path}: {error}), and with appendfsync always nothing may be acknowledged without it: stopping. Make room, or see to the disk, and start again: what was acknowledged is there"
        );
        std::process::exit(1);
    }

    /// Take part in a snapshot, and follow what becomes of it.
    async fn follow_snapshots(&mut self, ticked: bool) {
        if self.journals.saved() != self.saved {
            self.saved = self.journals.saved();
            self.shard.journal.saved_change_count.set(self.begun_change_count);
            self.writer.set_found();
            self.note_success();
            self.tell_synced();
        }
        if ticked && (self.writer.is_lost() || self.shard.index == 0 && self.is_save_due()) {
            // Another one may be under way.
            let _ = self.journals.begin_save();
        }
        let number = self.journals.saving();
        if number > self.begun && !self.journals.is_closing() {
            self.begun = number;
            let begun = self.writer.begin_segment().await;
            self.judge(begun);
            self.begun_change_count = self.with_recorder(|recorder| recorder.change_count());
            self.part = Some(SnapshotPart { from: self.writer.written() + 1, written: None });
            let (shard, head) = (self.shard.clone(), self.head);
            tokio_uring::spawn(async move {
                let scanned = shard.scan(number, head).await;
                shard.journal.scanned.set(Some(scanned));
                shard.write_soon();
            });
        }
        let Some(part) = self.part.as_ref() else { return };
        let from = part.from;
        match self.shard.journal.scanned.take() {
            None => {}
            Some(Ok(bytes)) => {
                let until = self.with_recorder(|recorder| recorder.last_sequence());
                self.part = Some(SnapshotPart { from, written: Some((bytes, until)) });
                if self.write_recorded().await {
                    self.sync_written().await;
                }
            }
            Some(Err(error)) => {
                self.part = None;
                return self.journals.end_part(self.shard.index, Err(error), unix_s()).await;
            }
        }
        let Some(SnapshotPart { from, written: Some((bytes, until)) }) = self.part else { return };
        if self.writer.on_disk() >= until && self.is_safe(until) {
            self.part = None;
            let end = SnapshotEnd { from, bytes, journal_bytes: self.writer.bytes() };
            self.journals.end_part(self.shard.index, Ok(end), unix_s()).await;
        }
    }

    fn is_safe(&self, sequence: u64) -> bool {
        self.journals.progress.safe(self.shard.index) >= sequence
    }

    /// Whether the journals have outgrown their snapshot, in bytes or in runs.
    fn is_save_due(&self) -> bool {
        if self.saved == 0 && self.journals.found.runs.len() >= RUN_COUNT_MAX {
            return true;
        }
        let live = self.shard.live();
        let journal_bytes = self.journals.journal_bytes.load(Ordering::Relaxed);
        let snapshot_bytes = self.journals.snapshot_bytes.load(Ordering::Relaxed);
        let percentage = u64::from(live.auto_aof_rewrite_percentage);
        percentage > 0
            && journal_bytes >= live.auto_aof_rewrite_min_bytes
            && u128::from(journal_bytes) * 100 >= u128::from(snapshot_bytes) * u128::from(percentage)
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    INTERVAL - Duration::from_nanos(u64::from(since.subsec_nanos()))
}

fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
