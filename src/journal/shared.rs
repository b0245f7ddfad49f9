//! What the journals of all shards share: the directory, how far each has come, what has failed, the snapshot under way.
//!
//! Journals can be off: then nothing is recorded, and what the directory has is as it was when they were switched off.

mod room;
mod save;
mod switch;

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::cut::Progress;
use super::disk::{Directory, DirectoryLock, FilesMut, is_full};
use super::manifest::{Manifest, Run, parse_segment_name, parse_snapshot_name};
use super::recovery::{self, Examined, Loss, RecoveryError};

pub use save::{NotCommitted, SnapshotEnd, Superseded, commit_manifest, discard};
pub use switch::{Closed, Switch, SwitchError};

use save::Save;
use switch::State;

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
    /// The last run that has begun.
    run: Mutex<RunMark>,
    state: AtomicU8,
    /// A client is switching them on or off.
    switching: AtomicBool,
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
    /// Shards whose journal cannot be written, and one more while the run could not begin.
    failing_count: AtomicUsize,
    failure: Mutex<String>,
    /// The run that is to begin as soon as there is room for it in the manifest.
    unbegun: Mutex<Option<Unbegun>>,
    save: Mutex<Save>,
    /// The snapshot under way, or 0.
    saving: AtomicU64,
    /// The last one that the server has begun by itself.
    due: AtomicU64,
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
    /// The last manifest is in force, or the one before it.
    perhaps_in_force: AtomicBool,
    closing: AtomicBool,
    /// By shard: how its journal has ended, if it has.
    closed: Mutex<Vec<Option<Closed>>>,
    has_closed: Notify,
    /// Held from the first time on that they are on, until the process ends.
    lock: Mutex<Option<DirectoryLock>>,
}

/// What begins a run.
#[derive(Debug)]
struct Unbegun {
    manifest: Manifest,
    /// Files that count no more then.
    stale: Vec<String>,
}

/// A run: its number, and what its frames are marked with.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunMark {
    /// Its number, growing.
    pub number: u64,
    /// Random.
    pub id: u64,
}

impl Journals {
    /// Take possession of a directory and find out what is in it. `now_s` is when, Unix seconds. Where the disk is full and
    /// that may be waited for, writing fails ([`Journals::is_failing`]) until there is room ([`Journals::ready`]).
    ///
    /// # Errors
    /// The directory cannot be used, or what is in it.
    pub fn open(
        path: &Path,
        shard_count: usize,
        run_id: u64,
        recover: bool,
        waits_for_room: bool,
        now_s: i64,
    ) -> Result<Journals, OpenError> {
        let mut journals = Journals::off(path, shard_count, now_s);
        let (lock, examined) = possess(&journals.directory, recover)?;
        let run = RunMark { number: examined.next_run, id: run_id };
        let manifest = examined.followed_by(&journals.directory, Run::begin(run.number, run.id, shard_count))?;
        // What was not completed of a snapshot may have filled the disk. No manifest names it.
        let (unfinished, stale): (Vec<_>, Vec<_>) =
            examined.stale.into_iter().partition(|name| parse_snapshot_name(name).is_some());
        remove_all(&journals.directory, &unfinished)?;
        let unbegun = Unbegun { manifest, stale };
        match unbegun.begin(&journals.directory) {
            Ok(()) => {}
            Err(error) if waits_for_room && is_full(&error) => {
                tracing::warn!(
                    "the journal cannot be written ({}: {error}): commands that write are refused until it can. Make room",
                    path.display()
                );
                journals.fail(&error);
                journals.unbegun = Mutex::new(Some(unbegun));
            }
            Err(error) => return Err(error.into()),
        }
        let bytes = |of_kind: fn(&str) -> bool| AtomicU64::new(journals.directory.bytes(of_kind));
        journals.journal_bytes = bytes(|name| parse_segment_name(name).is_some());
        journals.snapshot_bytes = bytes(|name| parse_snapshot_name(name).is_some());
        journals.save = Mutex::new(Save::from_number(examined.next_snapshot));
        journals.run = Mutex::new(run);
        journals.state = AtomicU8::new(State::On as u8);
        journals.lock = Mutex::new(Some(lock));
        journals.losses = examined.losses;
        journals.found = examined.manifest;
        Ok(journals)
    }

    /// Journals that are off. The directory is not looked at.
    pub fn off(path: &Path, shard_count: usize, now_s: i64) -> Journals {
        Journals {
            directory: Directory::new(path),
            run: Mutex::default(),
            state: AtomicU8::new(State::Off as u8),
            switching: AtomicBool::new(false),
            found: Manifest::default(),
            losses: Vec::new(),
            progress: Progress::new(shard_count),
            wakes: (0..shard_count).map(|_| Notify::new()).collect(),
            loaded: AtomicU64::new(0),
            journal_bytes: AtomicU64::new(0),
            snapshot_bytes: AtomicU64::new(0),
            failing_count: AtomicUsize::new(0),
            failure: Mutex::default(),
            unbegun: Mutex::default(),
            save: Mutex::new(Save::from_number(1)),
            saving: AtomicU64::new(0),
            due: AtomicU64::new(0),
            saved: AtomicU64::new(0),
            save_ended: Notify::new(),
            last_save_s: AtomicI64::new(now_s),
            last_save_duration_s: AtomicI64::new(-1),
            save_count: AtomicU64::new(0),
            last_save_failed: AtomicBool::new(false),
            perhaps_in_force: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            closed: Mutex::new(vec![None; shard_count]),
            has_closed: Notify::new(),
            lock: Mutex::default(),
        }
    }

    /// Whether the snapshot that was found is damaged, and so is to be replaced.
    pub fn is_snapshot_damaged(&self) -> bool {
        self.losses.iter().any(|loss| matches!(loss, Loss::Damage(damage) if damage.is_of_snapshot()))
    }

    /// The last run that has begun.
    pub fn run(&self) -> RunMark {
        *self.run.lock().expect("no thread panics and goes on")
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
        Some(format!("MISCONF Errors writing to the AOF file: {}", self.failure()))
    }

    /// Why writing failed last.
    fn failure(&self) -> String {
        self.failure.lock().expect("no thread panics and goes on").clone()
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
}

impl Unbegun {
    /// From then on the run before is closed: what was cut stays cut.
    fn begin(&self, directory: &Directory) -> io::Result<()> {
        recovery::replace_manifest(directory, &self.manifest)?;
        remove_all(directory, &self.stale)
    }
}

fn remove_all(directory: &Directory, names: &[String]) -> io::Result<()> {
    names.iter().try_for_each(|name| match FilesMut::remove(directory, name) {
        // It is tried again where another one could not be removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    })
}

/// Keep all others out of a directory, and find out what is in it.
fn possess(directory: &Directory, recover: bool) -> Result<(DirectoryLock, Examined), OpenError> {
    let lock = directory.lock()?.ok_or(OpenError::Locked)?;
    Ok((lock, recovery::examine(directory, recover)?))
}
