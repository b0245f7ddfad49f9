//! The snapshot under way: who has written its part, and what is put in force once all have.

use std::io;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::Notify;

use super::Journals;
use crate::journal::disk::{DirectoryLock, Disk, DiskFile, Files, write_all_at};
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

/// What a snapshot that is in force replaces. It has not ended before that is removed.
#[derive(Debug)]
#[must_use = "no other snapshot begins before its files are removed"]
pub struct Superseded {
    names: Vec<String>,
    /// Another directory that has come to stand at the path is not touched.
    _lock: Option<DirectoryLock>,
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
    /// to say so completes the snapshot, and is to have [removed](Journals::remove_superseded) what it replaces. `now_s`: Unix
    /// seconds.
    pub async fn end_part(&self, shard: usize, part: io::Result<SnapshotEnd>, now_s: i64) -> Option<Superseded> {
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
                return None;
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
            Ok((from, bytes)) => self.commit(number, &from).await.map(|()| (from, bytes)),
            Err(failure) => Err(NotCommitted::Old(io::Error::other(failure))),
        };
        let is_given_up = self.is_closing() || !self.is_on();
        match &outcome {
            Ok((_, (bytes, journal_bytes))) => {
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
        let Ok((from, _)) = outcome else {
            self.end_save();
            return None;
        };
        // What is behind it counts from now on, also where a sync had failed.
        self.wakes.iter().for_each(Notify::notify_one);
        Some(self.superseded(number, &from))
    }

    /// Remove what a snapshot replaces, which has ended then. It may take long: many files of 64 MiB.
    pub async fn remove_superseded(&self, superseded: Superseded) {
        // What cannot be removed now is removed at the next start.
        for name in &superseded.names {
            let _ = Disk::remove(&self.directory, name).await;
        }
        self.end_save();
    }

    /// Another one may begin.
    fn end_save(&self) {
        self.saving.store(0, Ordering::Release);
        self.save_ended.notify_waiters();
        self.wakes.iter().for_each(Notify::notify_one);
    }

    /// Put a snapshot in force. `from`: by shard, the first frame behind it.
    async fn commit(&self, number: u64, from: &[u64]) -> Result<(), NotCommitted> {
        let snapshot = Some(Snapshot { number, shard_count: self.shard_count() });
        let mark = self.run();
        let run = Run { number: mark.number, id: mark.id, from: from.to_vec(), to: None };
        // No more than two manifests may be in force, and what they name be kept.
        if self.perhaps_in_force.load(Ordering::Relaxed) {
            self.directory.sync_names().await.map_err(NotCommitted::Old)?;
        }
        let done = commit_manifest(&self.directory, &Manifest { snapshot, runs: vec![run] }).await;
        self.perhaps_in_force.store(matches!(done, Err(NotCommitted::Perhaps(_))), Ordering::Relaxed);
        done?;
        // The run has begun with it.
        self.end_waiting();
        Ok(())
    }

    fn superseded(&self, number: u64, from: &[u64]) -> Superseded {
        let mark = self.run();
        let is_superseded = |name: &String| match (parse_segment_name(name), parse_snapshot_name(name)) {
            (Some((run, shard, first)), _) => {
                run < mark.number || (run == mark.number && from.get(shard).is_some_and(|from| first < *from))
            }
            (_, Some((other, _))) => other < number,
            _ => false,
        };
        // What cannot even be found is removed at the next start.
        let mut names = self.directory.names().unwrap_or_default();
        names.retain(is_superseded);
        Superseded { names, _lock: self.lock.lock().expect("no thread panics and goes on").clone() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::manifest::segment_name;

    #[test]
    fn a_snapshot_counts_before_what_it_replaces_is_removed_and_ends_behind_that() {
        let parent = tempfile::tempdir().expect("a directory");
        let (directory, aside) = (parent.path().join("data"), parent.path().join("aside"));
        let journals = Journals::open(&directory, 1, 7, false, false, 0).expect("it is empty");
        let path = |name: &str| directory.join(name);
        let old = [segment_name(1, 0, 1), snapshot_name(0, 0)];
        let kept = [segment_name(1, 0, 5), snapshot_name(1, 0)];
        old.iter().chain(&kept).for_each(|name| std::fs::write(path(name), b"any").expect("a file"));
        tokio_uring::start(async {
            let number = journals.begin_save().expect("none is under way");
            let end = SnapshotEnd { from: 5, bytes: 3, journal_bytes: 3 };
            let superseded = journals.end_part(0, Ok(end), 1).await.expect("it is in force");
            assert_eq!((journals.saved(), journals.saving(), journals.begin_save()), (number, number, None));
            assert!(old.iter().all(|name| path(name).exists()));
            journals.remove_superseded(superseded).await;
            assert!(journals.until_saved(number).await);
            assert!(!old.iter().any(|name| path(name).exists()) && kept.iter().all(|name| path(name).exists()));

            // Not in a directory that has come to stand at its place, even once nobody else holds the lock.
            let number = journals.begin_save().expect("none is under way");
            let end = SnapshotEnd { from: 9, bytes: 3, journal_bytes: 3 };
            let superseded = journals.end_part(0, Ok(end), 1).await.expect("it is in force");
            std::fs::rename(&directory, &aside).expect("it is there");
            std::fs::create_dir(&directory).expect("it has gone");
            std::fs::write(path("lock"), b"").expect("a file");
            std::fs::write(path(&kept[0]), b"another's").expect("a file");
            journals.lock.lock().expect("no thread panics and goes on").take();
            journals.remove_superseded(superseded).await;
            assert!(path(&kept[0]).exists() && journals.saved() == number && journals.saving() == 0);
        });
    }
}
