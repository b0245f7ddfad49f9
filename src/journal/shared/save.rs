//! The snapshot under way: who has written its part, and what is put in force once all have.

use std::io;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Notify;

use super::Journals;
use crate::journal::disk::{Disk, DiskFile, Files, write_all_at};
use crate::journal::manifest::{
    MANIFEST, MANIFEST_NEW, Manifest, Run, Snapshot, parse_segment_name, parse_snapshot_name, snapshot_name,
};

/// One shard's part of a snapshot, complete.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotEnd {
    /// The first frame behind its beginning.
    pub from: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of the journal behind its beginning.
    pub journal_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Save {
    next_number: u64,
    /// By shard: the first frame behind the snapshot, once its part is complete.
    from: Vec<Option<u64>>,
    bytes: u64,
    journal_bytes: u64,
    failure: Option<String>,
    reported_count: usize,
    began: Option<Instant>,
}

impl Save {
    /// None yet; the first one will have this number.
    pub(super) fn from_number(next_number: u64) -> Save {
        Save { next_number, ..Save::default() }
    }

    /// The next one has this number, or a higher one.
    pub(super) fn grow_to(&mut self, next_number: u64) {
        self.next_number = self.next_number.max(next_number);
    }
}

impl Journals {
    /// The snapshot that shards are to take part in, or 0.
    pub fn saving(&self) -> u64 {
        self.saving.load(Ordering::Acquire)
    }

    /// The last snapshot that was completed since the start, or 0.
    pub fn saved(&self) -> u64 {
        self.saved.load(Ordering::Acquire)
    }

    /// When the last snapshot was completed, or else when the server started, Unix seconds.
    pub fn last_save_s(&self) -> i64 {
        self.last_save_s.load(Ordering::Relaxed)
    }

    /// How long the last snapshot took that has ended, in seconds.
    pub fn last_save_duration_s(&self) -> Option<u64> {
        u64::try_from(self.last_save_duration_s.load(Ordering::Relaxed)).ok()
    }

    /// How long the snapshot has taken so far that is under way, in seconds.
    pub fn save_duration_s(&self) -> Option<u64> {
        let save = self.lock_save();
        save.began.filter(|_| self.saving() != 0).map(|began| began.elapsed().as_secs())
    }

    /// How many snapshots were completed since the start.
    pub fn save_count(&self) -> u64 {
        self.save_count.load(Ordering::Relaxed)
    }

    /// Whether the last snapshot failed.
    pub fn last_save_failed(&self) -> bool {
        self.last_save_failed.load(Ordering::Relaxed)
    }

    /// Begin a snapshot; `None` when one is under way, or the journals are off.
    pub fn begin_save(&self) -> Option<u64> {
        let mut save = self.lock_save();
        if self.saving() != 0 || !self.is_on() {
            return None;
        }
        let number = save.next_number;
        *save = Save {
            next_number: number + 1,
            from: vec![None; self.shard_count()],
            began: Some(Instant::now()),
            ..Save::default()
        };
        self.saving.store(number, Ordering::Release);
        self.wakes.iter().for_each(Notify::notify_one);
        Some(number)
    }

    /// The same for one that nobody has asked for.
    pub fn begin_due_save(&self) -> Option<u64> {
        let number = self.begin_save()?;
        self.due.store(number, Ordering::Release);
        Some(number)
    }

    /// The last snapshot that nobody has asked for, or 0.
    pub fn due(&self) -> u64 {
        self.due.load(Ordering::Acquire)
    }

    /// Whether a shard's part of the snapshot under way has failed.
    pub fn has_part_failed(&self) -> bool {
        self.lock_save().failure.is_some()
    }

    /// Until this snapshot has ended; whether it is complete.
    pub async fn until_saved(&self, number: u64) -> bool {
        loop {
            let ended = self.save_ended.notified();
            if self.saving() != number {
                return self.saved() >= number;
            }
            ended.await;
        }
    }

    /// A shard's part is complete, and its journal begins behind it at a frame; or it has failed. The shard that is last
    /// to say so completes the snapshot. `now_s`: Unix seconds.
    pub async fn end_part(&self, shard: usize, part: io::Result<SnapshotEnd>, now_s: i64) {
        let number = self.saving();
        let outcome = {
            let mut save = self.lock_save();
            save.reported_count += 1;
            match part {
                Ok(end) => {
                    save.from[shard] = Some(end.from);
                    save.bytes += end.bytes;
                    save.journal_bytes += end.journal_bytes;
                }
                Err(error) => _ = save.failure.get_or_insert_with(|| error.to_string()),
            }
            if save.reported_count < self.shard_count() {
                return;
            }
            match &save.failure {
                Some(failure) => Err(failure.clone()),
                None => {
                    let from: Vec<u64> = save.from.iter().flatten().copied().collect();
                    Ok((from, (save.bytes, save.journal_bytes)))
                }
            }
        };
        let outcome = match outcome {
            Ok((from, bytes)) => self.commit(number, from).await.map(|()| bytes),
            Err(failure) => Err(NotCommitted::Old(io::Error::other(failure))),
        };
        let is_given_up = self.is_closing() || !self.is_on();
        match &outcome {
            Ok((bytes, journal_bytes)) => {
                self.snapshot_bytes.store(*bytes, Ordering::Relaxed);
                self.journal_bytes.store(*journal_bytes, Ordering::Relaxed);
                self.last_save_s.store(now_s, Ordering::Relaxed);
                self.save_count.fetch_add(1, Ordering::Relaxed);
                self.saved.store(number, Ordering::Release);
                tracing::info!("snapshot {number} is complete: {}", crate::config::ByteCount(*bytes));
            }
            Err(failure) => {
                if is_given_up {
                    tracing::info!(
                        "snapshot {number} is given up ({failure}): the journal has all that it would have had"
                    );
                } else {
                    tracing::warn!("snapshot {number} has failed: {failure}. The journal goes on without it");
                }
                if let NotCommitted::Old(_) = failure {
                    discard(&self.directory, number, self.shard_count()).await;
                }
            }
        }
        if outcome.is_ok() || !is_given_up {
            self.last_save_failed.store(outcome.is_err(), Ordering::Relaxed);
        }
        let duration_s = self.save_duration_s().unwrap_or(0);
        self.last_save_duration_s.store(duration_s as i64, Ordering::Relaxed);
        self.saving.store(0, Ordering::Release);
        self.save_ended.notify_waiters();
        self.wakes.iter().for_each(Notify::notify_one);
    }

    /// Put a snapshot in force, and remove what it replaces.
    async fn commit(&self, number: u64, from: Vec<u64>) -> Result<(), NotCommitted> {
        let snapshot = Some(Snapshot { number, shard_count: self.shard_count() });
        let mark = self.run();
        let run = Run { number: mark.number, id: mark.id, from: from.clone(), to: None };
        // No more than two manifests may be in force, and what they name be kept.
        if self.perhaps_in_force.load(Ordering::Relaxed) {
            self.directory.sync_names().await.map_err(NotCommitted::Old)?;
        }
        let done = commit_manifest(&self.directory, &Manifest { snapshot, runs: vec![run] }).await;
        self.perhaps_in_force.store(matches!(done, Err(NotCommitted::Perhaps(_))), Ordering::Relaxed);
        done?;
        // The run has begun with it.
        self.end_waiting();
        let superseded = |name: &String| match (parse_segment_name(name), parse_snapshot_name(name)) {
            (Some((run, shard, first)), _) => {
                run < mark.number || (run == mark.number && from.get(shard).is_some_and(|from| first < *from))
            }
            (_, Some((other, _))) => other < number,
            _ => false,
        };
        // What cannot be removed now, or not even be found, is removed at the next start.
        let names = self.directory.names().unwrap_or_default();
        for name in names.iter().filter(|name| superseded(name)) {
            let _ = Disk::remove(&self.directory, name).await;
        }
        Ok(())
    }

    pub(super) fn lock_save(&self) -> MutexGuard<'_, Save> {
        self.save.lock().expect("no thread panics and goes on")
    }
}

/// Why a manifest has not been replaced for certain.
#[derive(Debug, thiserror::Error)]
pub enum NotCommitted {
    /// The old one is in force, and stays so.
    #[error("{0}")]
    Old(io::Error),
    /// The new one is, unless the machine loses its power: what either of them names has to be kept.
    #[error("the directory could not be synced: {0}. What it has and what it would replace are both kept")]
    Perhaps(io::Error),
}

/// Replace the manifest while serving.
///
/// # Errors
/// What the disk says, and which one is in force then.
pub async fn commit_manifest<D: Disk>(disk: &D, manifest: &Manifest) -> Result<(), NotCommitted> {
    let write = async {
        let file = disk.create(MANIFEST_NEW, false).await?;
        let text = manifest.to_string().into_bytes();
        let len = text.len();
        write_all_at(&file, text, 0..len, 0).await.0?;
        file.sync().await?;
        disk.rename(MANIFEST_NEW, MANIFEST).await
    };
    write.await.map_err(NotCommitted::Old)?;
    disk.sync_names().await.map_err(NotCommitted::Perhaps)
}

/// Remove the files of a snapshot that no manifest names, nor one that may be in force.
pub async fn discard<D: Disk>(disk: &D, number: u64, shard_count: usize) {
    for shard in 0..shard_count {
        // What cannot be removed now is removed at the next start.
        let _ = disk.remove(&snapshot_name(number, shard)).await;
    }
}
