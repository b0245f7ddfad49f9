//! A shard's part in snapshots: begun when one is asked for or due, scanned while serving, told when it is complete.
//!
//! A part counts once the journal is safe up to the scan's end, so that both together are a state that there was.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::warn;

use super::keeper::Keeper;
use crate::journal::disk::OpenFile;
use crate::journal::frame::FileHead;
use crate::journal::shared::{Journals, SnapshotEnd};
use crate::journal::snapshot::{self, Part, SnapshotWriter};
use crate::shard::Shard;

/// So many runs are kept before a snapshot replaces them, however little is in them.
const RUN_COUNT_MAX: usize = 16;

/// Counters that a snapshot visits before others have their turn: at most about 20 µs.
const SNAPSHOT_STEP_COUNT: u64 = 64;

/// Turns of the ring that others have then.
const SNAPSHOT_REST_COUNT: usize = 8;

/// After so many steps, about 0.4 ms, the scan sleeps if clients were served meanwhile. A core that always has work gives
/// its kernel threads, which write to the disk and deliver packets, time only by taking it from the shard, for
/// milliseconds at once.
const SNAPSHOT_SPELL_COUNT: usize = 16;

/// So long.
const SNAPSHOT_SLEEP: Duration = Duration::from_millis(1);

/// A part of a snapshot under way.
pub(super) struct SnapshotPart {
    /// The first frame behind its beginning.
    from: u64,
    /// Once it is written: its bytes, and the frame that must be safe before it counts.
    written: Option<(u64, u64)>,
}

impl Keeper<'_> {
    /// Take part in a snapshot, and follow what becomes of it.
    pub(super) async fn follow_snapshots(&mut self, ticked: bool) {
        if self.journals.saved() != self.saved {
            self.saved = self.journals.saved();
            self.shard.journal.saved_change_count.set(self.begun_change_count);
            self.writer.set_found();
            self.automatic.note_complete();
            self.note_success();
            self.tell_synced();
        }
        if self.ended != self.begun && self.journals.saving() != self.begun {
            self.ended = self.begun;
            if self.journals.saved() < self.begun && self.journals.due() == self.begun {
                self.automatic.note_failed(Instant::now());
            }
        }
        let is_lost = self.writer.is_lost();
        if ticked && (is_lost || (self.shard.index == 0 && self.is_save_due())) {
            self.begin_due_save(is_lost);
        }
        let number = self.journals.saving();
        if number > self.begun && !self.journals.is_closing() {
            assert!(number > self.journals.saved(), "a snapshot that counts is not written again");
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
                return self.end_part(Err(error)).await;
            }
        }
        let Some(SnapshotPart { from, written: Some((bytes, until)) }) = self.part else { return };
        let part = match self.writer.has_on_disk(until) {
            Ok(true) if self.is_safe(until) => Ok(SnapshotEnd { from, bytes, journal_bytes: self.writer.bytes() }),
            // What it is linked to on another shard may never be on the disk then.
            Ok(_) if self.journals.has_part_failed() => Err(io::Error::other("another shard's part has failed")),
            Ok(_) => return,
            Err(error) => Err(error),
        };
        self.part = None;
        self.end_part(part).await;
    }

    /// Say what has become of this shard's part; if it was the last one, have removed what the snapshot replaces. The journal
    /// does not wait for that.
    async fn end_part(&self, part: io::Result<SnapshotEnd>) {
        let Some(superseded) = self.journals.end_part(self.shard.index, part, unix_s()).await else { return };
        let shard = self.shard.clone();
        tokio_uring::spawn(async move {
            if let Some(journals) = &shard.shared.journals {
                journals.remove_superseded(superseded).await;
            }
        });
    }

    /// Begin the snapshot that is due, unless it is known to fail. `is_refusing`: writes are refused until one is complete,
    /// so it is tried, whatever the last one took.
    fn begin_due_save(&mut self, is_refusing: bool) {
        let journals = self.journals;
        if journals.saving() != 0 || !self.automatic.is_time(Instant::now(), is_refusing) {
            return;
        }
        // About as much as the last one took; whether it is more the scan sees.
        let wanted_bytes = if is_refusing { 0 } else { journals.snapshot_bytes.load(Ordering::Relaxed) };
        if let Err(error) = journals.check_snapshot_room(wanted_bytes) {
            if self.automatic.note_refused() {
                journals.set_save_refused();
                warn!(
                    "a snapshot is due and cannot be taken in {}: {error}; the journal grows until then",
                    journals.directory.path().display()
                );
            }
        } else if journals.begin_due_save().is_some() {
            self.automatic.note_begun();
        }
    }

    fn is_safe(&self, sequence: u64) -> bool {
        self.journals.progress.safe(self.shard.index) >= sequence
    }

    /// Whether the journals have outgrown their snapshot, in bytes or in runs, or there is none that is whole.
    fn is_save_due(&self) -> bool {
        let journals = self.journals;
        if self.saved == 0 && (journals.found.runs.len() >= RUN_COUNT_MAX || journals.is_snapshot_damaged()) {
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

    /// The snapshot under way, if there is one, fails.
    pub(super) async fn give_up_part(&mut self) {
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
        self.end_part(Err(switched_off())).await;
    }
}

impl Shard {
    /// Write this shard's part of a snapshot; answers its bytes.
    async fn scan(&self, number: u64, head: FileHead) -> io::Result<u64> {
        let Some(journals) = &self.shared.journals else { unreachable!("only journals have snapshots") };
        let fill = async |writer: &mut SnapshotWriter<OpenFile>| self.fill(journals, writer).await;
        snapshot::take(&journals.directory, number, head, fill).await
    }

    /// Write all counters, while serving.
    async fn fill(&self, journals: &Journals, writer: &mut SnapshotWriter<OpenFile>) -> io::Result<()> {
        let mut part = Part::default();
        let mut cursor = 0;
        loop {
            let work_count = self.polling.work_count();
            for _ in 0..SNAPSHOT_SPELL_COUNT {
                let now_ms = self.clock.now().unix_ms;
                let put = &mut |key: &[u8], entry| part.put(key, entry);
                cursor = self.counters.borrow().scan(cursor, SNAPSHOT_STEP_COUNT, now_ms, put);
                if part.is_full() || (cursor == 0 && !part.is_empty()) {
                    journals.check_snapshot_room(part.bytes())?;
                    writer.write(&mut part).await?;
                }
                if cursor == 0 {
                    return Ok(());
                }
                for _ in 0..SNAPSHOT_REST_COUNT {
                    // Through the ring, so that all others that are ready come first.
                    let _ = tokio_uring::no_op().await;
                }
            }
            if self.journal.leftover.borrow().is_some() {
                return Err(switched_off());
            }
            if self.polling.work_count() != work_count {
                tokio::time::sleep(SNAPSHOT_SLEEP).await;
            }
        }
    }
}

fn switched_off() -> io::Error {
    io::Error::other("the journal was switched off")
}

fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
