//! What the journals of all shards share: the directory, how far each has come, what has failed, the snapshot under way.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::Notify;

use super::cut::Progress;
use super::disk::{Directory, DirectoryLock, Disk, DiskFile, Files, write_all_at};
use super::manifest::{MANIFEST, MANIFEST_NEW, Manifest, Run, Snapshot, parse_segment_name, parse_snapshot_name};
use super::recovery::{self, Loss, RecoveryError};

/// What keeps a data directory from being used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("another server uses it")]
    Locked,
    /// The system refuses something.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is in it cannot be used as it is.
    #[error("{0}")]
    Data(#[from] RecoveryError),
}

/// See the module.
#[derive(Debug)]
pub struct Journals {
    /// Where everything lies.
    pub directory: Directory,
    /// The run that began with this process.
    pub run: u64,
    /// What its frames are marked with.
    pub run_id: u64,
    /// What to load.
    pub found: Manifest,
    /// What was there and does not count.
    pub losses: Vec<Loss>,
    /// How far each shard has come.
    pub progress: Progress,
    /// By shard: there is something to write, to begin or to end.
    pub wakes: Vec<Notify>,
    /// Records that have been loaded.
    pub loaded: AtomicU64,
    /// Bytes of all journals since the last snapshot.
    pub journal_bytes: AtomicU64,
    /// Bytes of the last snapshot.
    pub snapshot_bytes: AtomicU64,
    /// Shards whose journal cannot be written.
    failing_count: AtomicUsize,
    failure: Mutex<String>,
    save: Mutex<Save>,
    /// The snapshot under way, or 0.
    saving: AtomicU64,
    /// The last one that was completed.
    saved: AtomicU64,
    /// A snapshot has ended, well or not.
    pub save_ended: Notify,
    last_save_s: AtomicI64,
    /// How long the last one took, -1 before the first.
    last_save_duration_s: AtomicI64,
    /// How many were completed.
    save_count: AtomicU64,
    last_save_failed: AtomicBool,
    closing: AtomicBool,
    closed: Mutex<Vec<Option<u64>>>,
    /// A shard has closed its journal.
    pub has_closed: Notify,
    _lock: DirectoryLock,
}

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
struct Save {
    next_number: u64,
    /// By shard: the first frame behind the snapshot, once its part is complete.
    from: Vec<Option<u64>>,
    bytes: u64,
    journal_bytes: u64,
    failure: Option<String>,
    reported_count: usize,
    began: Option<Instant>,
}

impl Journals {
    /// Take possession of a directory and find out what is in it. `now_s` is when, Unix seconds.
    ///
    /// # Errors
    /// The directory cannot be used, or what is in it.
    pub fn open(
        path: &Path,
        shard_count: usize,
        run_id: u64,
        recover: bool,
        now_s: i64,
    ) -> Result<Journals, OpenError> {
        let directory = Directory::new(path);
        let lock = directory.lock()?.ok_or(OpenError::Locked)?;
        let examined = recovery::examine(&directory, recover)?;
        let mut manifest = examined.manifest.clone();
        manifest.runs.push(Run::begin(examined.next_run, run_id, shard_count));
        // From here on the run before is closed: what was cut stays cut.
        recovery::replace_manifest(&directory, &manifest)?;
        for name in &examined.stale {
            Files::remove(&directory, name)?;
        }
        Ok(Journals {
            run: examined.next_run,
            run_id,
            losses: examined.losses,
            progress: Progress::new(shard_count),
            wakes: (0..shard_count).map(|_| Notify::new()).collect(),
            loaded: AtomicU64::new(0),
            journal_bytes: AtomicU64::new(directory.bytes(|name| parse_segment_name(name).is_some())),
            snapshot_bytes: AtomicU64::new(directory.bytes(|name| parse_snapshot_name(name).is_some())),
            failing_count: AtomicUsize::new(0),
            failure: Mutex::default(),
            save: Mutex::new(Save { next_number: examined.next_snapshot, ..Save::default() }),
            saving: AtomicU64::new(0),
            saved: AtomicU64::new(0),
            save_ended: Notify::new(),
            last_save_s: AtomicI64::new(now_s),
            last_save_duration_s: AtomicI64::new(-1),
            save_count: AtomicU64::new(0),
            last_save_failed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Mutex::new(vec![None; shard_count]),
            has_closed: Notify::new(),
            found: examined.manifest,
            directory,
            _lock: lock,
        })
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.wakes.len()
    }

    /// Writing has failed: commands that write are refused, with this text, until it succeeds again.
    pub fn refusal(&self) -> Option<String> {
        if !self.is_failing() {
            return None;
        }
        let cause = self.failure.lock().expect("no thread panics and goes on");
        Some(format!("MISCONF Errors writing to the AOF file: {cause}"))
    }

    /// Whether writing fails.
    #[inline]
    pub fn is_failing(&self) -> bool {
        self.failing_count.load(Ordering::Relaxed) > 0
    }

    /// A shard's journal cannot be written any more. True when all could be until now.
    pub fn fail(&self, error: &io::Error) -> bool {
        // As Redis tells it, without the number.
        let text = error.to_string();
        let cause = text.split(" (os error").next().unwrap_or_default();
        cause.clone_into(&mut self.failure.lock().expect("no thread panics and goes on"));
        self.failing_count.fetch_add(1, Ordering::Relaxed) == 0
    }

    /// A shard's journal can be written again. True when all can now.
    pub fn heal(&self) -> bool {
        self.failing_count.fetch_sub(1, Ordering::Relaxed) == 1
    }

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

    /// Begin a snapshot; `None` when one is under way.
    pub fn begin_save(&self) -> Option<u64> {
        let mut save = self.lock_save();
        if self.saving() != 0 {
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
                Err(error) => save.failure = Some(error.to_string()),
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
            Ok((from, bytes)) => {
                let done = self.commit(number, from).await.map_err(|error| error.to_string());
                done.map(|()| bytes)
            }
            Err(failure) => Err(failure),
        };
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
                tracing::warn!("snapshot {number} has failed: {failure}. The journal goes on without it");
                for shard in 0..self.shard_count() {
                    // What cannot be removed now is removed at the next start.
                    let _ = Disk::remove(&self.directory, &super::manifest::snapshot_name(number, shard)).await;
                }
            }
        }
        self.last_save_failed.store(outcome.is_err(), Ordering::Relaxed);
        let duration_s = self.save_duration_s().unwrap_or(0);
        self.last_save_duration_s.store(duration_s as i64, Ordering::Relaxed);
        self.saving.store(0, Ordering::Release);
        self.save_ended.notify_waiters();
        self.wakes.iter().for_each(Notify::notify_one);
    }

    /// Put a snapshot in force, and remove what it replaces.
    async fn commit(&self, number: u64, from: Vec<u64>) -> io::Result<()> {
        let snapshot = Some(Snapshot { number, shard_count: self.shard_count() });
        let run = Run { number: self.run, id: self.run_id, from: from.clone(), to: None };
        commit_manifest(&self.directory, &Manifest { snapshot, runs: vec![run] }).await?;
        let superseded = |name: &String| match (parse_segment_name(name), parse_snapshot_name(name)) {
            (Some((run, shard, first)), _) => {
                run < self.run || (run == self.run && from.get(shard).is_some_and(|from| first < *from))
            }
            (_, Some((other, _))) => other < number,
            _ => false,
        };
        for name in self.directory.names()?.iter().filter(|name| superseded(name)) {
            // What cannot be removed now is removed at the next start.
            let _ = Disk::remove(&self.directory, name).await;
        }
        Ok(())
    }

    /// End all journals: what has been recorded is written and synced.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wakes.iter().for_each(Notify::notify_one);
    }

    /// Whether the journals are to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// A shard's journal is on the disk up to this frame, its last.
    pub fn set_closed(&self, shard: usize, last: u64) {
        self.closed.lock().expect("no thread panics and goes on")[shard] = Some(last);
        self.has_closed.notify_one();
    }

    /// Until all journals have ended; then the run is closed for good, and whatever is missing later is damage.
    ///
    /// # Errors
    /// What the disk says. The run stays open: nothing is lost by that.
    pub async fn until_closed(&self) -> io::Result<()> {
        let last = loop {
            let closed = self.closed.lock().expect("no thread panics and goes on").clone();
            match closed.iter().copied().collect::<Option<Vec<u64>>>() {
                Some(last) => break last,
                None => self.has_closed.notified().await,
            }
        };
        let text = String::from_utf8_lossy(&std::fs::read(self.directory.path().join(MANIFEST))?).into_owned();
        let mut manifest = Manifest::parse(&text).map_err(|error| io::Error::other(error.to_string()))?;
        if let Some(run) = manifest.runs.iter_mut().find(|run| run.number == self.run) {
            run.to = Some(last);
        }
        recovery::replace_manifest(&self.directory, &manifest)
    }

    fn lock_save(&self) -> MutexGuard<'_, Save> {
        self.save.lock().expect("no thread panics and goes on")
    }
}

/// Replace the manifest while serving.
///
/// # Errors
/// What the disk says; the old one is in force then, or the new one.
pub async fn commit_manifest<D: Disk>(disk: &D, manifest: &Manifest) -> io::Result<()> {
    let file = disk.create(MANIFEST_NEW, false).await?;
    let text = manifest.to_string().into_bytes();
    let len = text.len();
    write_all_at(&file, text, 0..len, 0).await.0?;
    file.sync().await?;
    disk.rename(MANIFEST_NEW, MANIFEST).await?;
    disk.sync_names().await
}
