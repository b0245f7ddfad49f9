//! `tallyring import`: a data directory made of what a Redis has written.
//!
//! ```text
//! sources.rs   the files behind a path      rdb.rs, blobs.rs    what a snapshot has   ┐
//!                                           aof.rs, replay.rs   what commands do    ┴→ store.rs → a snapshot of ours
//! ```
//!
//! The counters are gathered in memory, since commands change them again and again, and written as one snapshot at the
//! end. Until its manifest is in place the directory is one that holds nothing, so an import that is interrupted leaves
//! nothing behind that counts.

mod aof;
mod blobs;
mod commands;
pub mod rdb;
mod replay;
mod sources;
mod store;
mod strings;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{counted, now_ms, share, with_progress};
use crate::bench::units::grouped;
use crate::counters::{Counters, cursor_slot};
use crate::host::Host;
use crate::journal::disk::{Directory, Disk, FilesMut, is_full};
use crate::journal::frame::FileHead;
use crate::journal::manifest::{Manifest, Snapshot};
use crate::journal::recovery::{self, Examined, RecoveryError};
use crate::journal::snapshot::{Part, SnapshotWriter};
use crate::limits::SHARD_COUNT_MAX;
use crate::slot::{self, ShardMap};
use crate::startup::{StartError, classify_ring_error};

use aof::End;
use replay::Replay;
use sources::Source;
use store::Store;

/// Counters that the snapshot's scan visits at once.
const STEP_COUNT: u64 = 1_024;

/// What is to be imported, and where to.
#[derive(Clone, Debug)]
pub struct Import {
    /// Snapshots, append-only files, and directories with such. What two have, the later one says.
    pub files: Vec<PathBuf>,
    /// The data directory, which must not hold counters yet.
    pub directory: PathBuf,
}

/// Import, and print what was taken and what was skipped.
///
/// # Errors
/// The directory is in use, or a file is damaged or nothing that a Redis has written.
pub fn run(import: &Import) -> Result<(), StartError> {
    let unusable = |error: io::Error| unusable(&import.directory, &error);
    let mut sources = Vec::new();
    for path in &import.files {
        sources.extend(sources::find(path).map_err(|error| StartError::Stopped {
            problem: error.to_string(),
            remedy: "Name files that a Redis has written and that this user may read",
        })?);
    }
    let directory = Directory::new(&import.directory);
    let lock = directory.lock().map_err(unusable)?;
    let Some(_lock) = lock else { return Err(StartError::DataTaken { path: import.directory.clone() }) };
    let examined = unused(&directory, &import.directory)?;

    let mut store = Store::default();
    let (read_bytes, all_bytes) = (AtomicU64::new(0), sources.iter().map(bytes_to_read).sum());
    with_progress(
        || share("read", &read_bytes, all_bytes),
        || sources.iter().try_for_each(|source| take(source, &mut store, &read_bytes)),
    )?;
    write(&directory, &examined, store.counters(), unusable)?;
    print!("{}", summary(&store, &import.directory));
    Ok(())
}

/// Why the directory cannot be used. An import has no other place for the counters.
fn unusable(path: &Path, error: &io::Error) -> StartError {
    let problem = format!("the data directory {} cannot be used: {error}", path.display());
    let remedy = match is_full(error) {
        true => "Make room on that disk, or name another --dir",
        false => "Let this user write it, or name another --dir",
    };
    StartError::Stopped { problem, remedy }
}

/// What the directory was found to be, if it holds no counters.
fn unused(directory: &Directory, path: &Path) -> Result<Examined, StartError> {
    match recovery::examine(directory, false) {
        Ok(examined) if examined.manifest.snapshot.is_none() && examined.manifest.runs.is_empty() => Ok(examined),
        Err(RecoveryError::Io { error, .. }) => Err(unusable(path, &error)),
        _ => Err(StartError::Stopped {
            problem: format!("the directory {} holds counters already", path.display()),
            remedy: "Name another --dir; to add to the counters of a running server, import into a new directory, and pipe `tallyring export` of it into redis-cli --pipe",
        }),
    }
}

/// A snapshot is read twice, see [`rdb`].
fn bytes_to_read(source: &Source) -> u64 {
    if source.is_snapshot { 2 * source.bytes } else { source.bytes }
}

/// Take what a file has.
fn take(source: &Source, store: &mut Store, read_bytes: &AtomicU64) -> Result<(), StartError> {
    let path = source.path.display();
    let stopped = |problem: String, remedy| StartError::Stopped { problem, remedy };
    let unreadable = |error: io::Error| stopped(format!("{path}: {error}"), "Let this user read it");
    let broken = |error: rdb::Broken| {
        stopped(
            format!("{path}: {error}"),
            "Take another copy of it; of a later version of Redis, import its append-only file in the form of commands (aof-use-rdb-preamble no)",
        )
    };
    let open = || Ok(Counted { file: BufReader::with_capacity(1 << 20, File::open(&source.path)?), at: 0, read_bytes });
    let mut input = open().map_err(unreadable)?;
    if source.is_snapshot {
        let extent = rdb::extent(&mut input).map_err(broken)?;
        if !extent.is_verified {
            eprintln!("tallyring: {path} has no checksum: what the disk may have done to it is not seen");
        }
        input = open().map_err(unreadable)?;
        rdb::take(&mut input, extent, store).map_err(broken)?;
    }
    let start = input.at;
    match aof::replay(&mut input, start, &mut Replay::new(store)) {
        Ok(End::Whole) => Ok(()),
        Ok(End::Unfinished(at)) if source.is_last => {
            eprintln!("tallyring: {path} ends within what begins at byte {at}, as a crash leaves it: that is left out");
            Ok(())
        }
        Ok(End::Unfinished(at)) => {
            Err(stopped(format!("{path} ends within what begins at byte {at}"), "Take another copy of it"))
        }
        Err(aof::Broken::Io(error)) => Err(unreadable(error)),
        Err(error @ aof::Broken::Format(_)) => Err(stopped(format!("{path}: {error}"), "Take another copy of it")),
        Err(error @ aof::Broken::Unfollowed { .. }) => Err(stopped(
            format!("{path}: {error}"),
            "Have Redis write its counters anew, without their history (BGREWRITEAOF), and import that",
        )),
    }
}

/// A file that tells how far it has been read.
struct Counted<'a> {
    file: BufReader<File>,
    at: u64,
    read_bytes: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(into)?;
        self.note(count);
        Ok(count)
    }
}

impl BufRead for Counted<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.file.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.file.consume(count);
        self.note(count);
    }
}

impl Counted<'_> {
    fn note(&mut self, count: usize) {
        self.at += count as u64;
        self.read_bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Write a snapshot and put it in force.
fn write(
    directory: &Directory,
    examined: &Examined,
    counters: &Counters,
    unusable: impl Fn(io::Error) -> StartError,
) -> Result<(), StartError> {
    // The directory is one that holds nothing, until it holds all.
    recovery::replace_manifest(directory, &examined.manifest).map_err(&unusable)?;
    for name in &examined.stale {
        FilesMut::remove(directory, name).map_err(&unusable)?;
    }
    // As many parts as the server has shards by default: each loads its own.
    let shard_count = std::thread::available_parallelism().map_or(1, usize::from).min(SHARD_COUNT_MAX);
    let snapshot = Snapshot { number: examined.next_snapshot, shard_count };
    let ring = tokio_uring::Runtime::new(&tokio_uring::builder());
    let ring = ring.map_err(|error| classify_ring_error(error, &Host::read()))?;
    let written = AtomicU64::new(0);
    let line = || {
        let written = grouped(written.load(Ordering::Relaxed));
        format!("{written} of {} counters written", grouped(counters.key_count()))
    };
    with_progress(line, || {
        ring.block_on(async {
            for shard in 0..shard_count {
                write_part(directory, snapshot, shard, counters, &written).await?;
            }
            directory.sync_names().await
        })
    })
    .map_err(&unusable)?;
    let manifest = Manifest { snapshot: Some(snapshot), runs: Vec::new() };
    recovery::replace_manifest(directory, &manifest).map_err(&unusable)
}

/// Write one shard's part.
async fn write_part(
    directory: &Directory,
    snapshot: Snapshot,
    shard: usize,
    counters: &Counters,
    written: &AtomicU64,
) -> io::Result<()> {
    let head = FileHead { shard: shard as u16, shard_count: snapshot.shard_count as u16 };
    let slots = ShardMap::new(snapshot.shard_count).slots_of(shard);
    let mut writer = SnapshotWriter::create(directory, snapshot.number, head).await?;
    let mut part = Part::default();
    let mut cursor = u64::from(slots.start) << 32;
    loop {
        cursor = counters.scan(cursor, STEP_COUNT, i64::MIN, &mut |key, entry| {
            // A step may go on into the slots of the next shard.
            if !slots.contains(&slot::of(key)) {
                return true;
            }
            let has_room = part.put(key, entry);
            written.fetch_add(u64::from(has_room), Ordering::Relaxed);
            has_room
        });
        let is_end = cursor == 0 || cursor_slot(cursor) >= u64::from(slots.end);
        if part.is_full() || (is_end && !part.is_empty()) {
            writer.write(&mut part).await?;
        }
        if is_end {
            writer.finish().await?;
            return Ok(());
        }
    }
}

/// What was taken and what was not. Each line ends with a newline.
fn summary(store: &Store, directory: &Path) -> String {
    let (mut count, mut expiring_count, mut expired_count, mut cursor) = (0, 0, 0, 0);
    let now_ms = now_ms();
    loop {
        cursor = store.counters().scan(cursor, STEP_COUNT, i64::MIN, &mut |_, entry| {
            count += 1;
            expiring_count += u64::from(entry.expires_at_ms.is_some());
            expired_count += u64::from(entry.expires_at_ms.is_some_and(|at_ms| at_ms < now_ms));
            true
        });
        if cursor == 0 {
            break;
        }
    }
    let mut text = format!(
        "{} imported into {}, {} of them with an expiry",
        counted(count, "counter"),
        directory.display(),
        grouped(expiring_count)
    );
    if expired_count > 0 {
        let _ = write!(text, ", of which {} have expired already", grouped(expired_count));
    }
    text.push('\n');
    let skipped = store.skipped();
    if !skipped.is_empty() {
        let all: u64 = skipped.values().map(|(count, _)| count).sum();
        let _ = writeln!(text, "{} skipped:", counted(all, "key"));
    }
    for (why, (count, names)) in skipped {
        let more = if count > names.len() as u64 { ", …" } else { "" };
        let _ = writeln!(text, "{:>12}  {why}: {}{more}", grouped(count), names.join(", "));
    }
    text
}
