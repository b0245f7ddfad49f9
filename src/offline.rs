//! What can be done with a data directory without a server: check it, export it, make one of a Redis's files.
//!
//! Invariant: a directory that holds counters is never written to.

pub mod check;
pub mod export;
pub mod import;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bench::units::grouped;
use crate::config::ByteCount;
use crate::counters::Counters;
use crate::journal::disk::Directory;
use crate::journal::manifest::{Manifest, Run};
use crate::journal::picture::Picture;
use crate::journal::recovery::{self, RecoveryError};
use crate::slot::ShardMap;

/// How often it is told how far long work has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Do something that may take long, with a line on standard error every second: `line` says how far it is.
fn with_progress<T>(line: impl Fn() -> String + Sync, work: impl FnOnce() -> T) -> T {
    let line = &line;
    std::thread::scope(|scope| {
        let (working, done) = channel::<()>();
        scope.spawn(move || {
            while done.recv_timeout(PROGRESS_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                eprintln!("tallyring: {}", line());
            }
        });
        let result = work();
        drop(working);
        result
    })
}

/// While a server writes, what it is writing can look damaged: it is looked at again, so often.
const ATTEMPT_COUNT: usize = 5;

/// Look at a picture of a directory; at another one while a server is at work there and what was seen is in doubt. `look`
/// gets the picture and the server's process.
fn look_at<T>(
    directory: &Directory,
    look: impl Fn(Picture, Option<u32>) -> Result<T, RecoveryError>,
    is_in_doubt: impl Fn(&T) -> bool,
) -> Result<T, RecoveryError> {
    for attempt in 1.. {
        let user = directory.user();
        let picture = Picture::take(directory).map_err(|error| RecoveryError::Io { file: ".".to_owned(), error })?;
        let seen = look(picture, user);
        if user.is_none() || attempt == ATTEMPT_COUNT || seen.as_ref().is_ok_and(|seen| !is_in_doubt(seen)) {
            return seen;
        }
    }
    unreachable!("the last attempt is an answer")
}

/// How much of something has been read.
fn share(what: &str, read_bytes: &AtomicU64, all_bytes: u64) -> String {
    let read_bytes = read_bytes.load(Ordering::Relaxed);
    let percent = read_bytes.saturating_mul(100) / all_bytes.max(1);
    format!("{what}: {percent}%, {} of {}", ByteCount(read_bytes), ByteCount(all_bytes))
}

/// `1 counter`, `2,000 counters`.
fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// Load what counts, one shard after the other, so that no more is in memory than the counters of one. `each` gets them.
/// `recover`: of a snapshot what is whole suffices.
fn load_by_shard<E: From<RecoveryError>>(
    picture: &Picture,
    manifest: &Manifest,
    recover: bool,
    loaded: &AtomicU64,
    mut each: impl FnMut(&Counters) -> Result<(), E>,
) -> Result<(), E> {
    let of_run = manifest.runs.last().map(Run::shard_count);
    let shard_count = of_run.or(manifest.snapshot.map(|snapshot| snapshot.shard_count)).unwrap_or(1);
    let map = ShardMap::new(shard_count);
    for shard in 0..shard_count {
        let slots = map.slots_of(shard);
        let mut counters = Counters::new(slots.clone());
        recovery::load(picture, manifest, recover, slots, &mut counters, now_ms(), loaded)?;
        each(&counters)?;
    }
    Ok(())
}

/// Unix time in milliseconds.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
