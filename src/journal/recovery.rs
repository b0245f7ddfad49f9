//! What a data directory holds: examined as a whole, then loaded by each shard for itself.
//!
//! [`examine`] finds out which frames count. In a run that has not ended orderly the journal of a shard ends where its
//! frames end to be whole: a crash leaves such an end, and what lies behind it was never on the disk for certain. But
//! where a frame is broken that a later one attests to have been on the disk, the disk has lost it: that is damage, and
//! nothing is dropped unless the operator says so.
//!
//! [`load`] reads the snapshot and the journals behind it into the counters of some slots, whatever the shards were
//! when they were written.

use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use memchr::memmem;

use super::cut::{Group, cut};
use super::disk::Files;
use super::frame::{self, Broken, FRAME_HEADER_BYTES, FileHead, Frame, FrameKind, MAGIC};
use super::manifest::{
    MANIFEST, MANIFEST_NEW, Manifest, Run, parse_segment_name, parse_snapshot_name, segment_name, snapshot_name,
};
use super::record::Record;
use crate::counters::{Counters, Key, Seed, cursor_slot};
use crate::limits::JOURNAL_BUFFER_BYTES;
use crate::slot::{self, ShardMap};

/// Records that are looked up together when they are loaded, so that their cache misses overlap.
const LOAD_BATCH_COUNT: usize = 64;

/// Why a data directory cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A file cannot be read.
    #[error("{file} cannot be read: {error}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The manifest is none.
    #[error("the file manifest is damaged ({error})")]
    Manifest {
        /// Where and how.
        error: super::manifest::Unreadable,
    },
    /// There are data, but nothing says which of them count.
    #[error("the file manifest is missing, although there is {file}")]
    NoManifest {
        /// One of the files that need it.
        file: String,
    },
    /// A file that counts is damaged, or ends too early.
    #[error("{0}")]
    Damaged(Damage),
}

/// Where a file is damaged, and what lies behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub why: Broken,
    /// Whole frames behind it.
    pub frame_count: u64,
    /// Records in these.
    pub record_count: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, why, frame_count, record_count } = self;
        write!(f, "{file} is damaged at byte {offset}: {why}")?;
        if *frame_count > 0 {
            write!(f, "; behind it are {frame_count} whole frames with {record_count} changes")?;
        }
        Ok(())
    }
}

/// Something that was found and does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// What a crash has left of writes under way at the end of a journal.
    Tail {
        /// The file.
        file: String,
        /// From which byte on.
        offset: u64,
        /// How many bytes, with those of files behind it.
        bytes: u64,
    },
    /// Frames that are linked to others which are missing.
    Linked {
        /// Whose.
        shard: usize,
        /// How many.
        frame_count: u64,
    },
    /// What the operator has allowed to drop.
    Damage(Damage),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Tail { file, offset, bytes } => {
                write!(f, "{file}: {bytes} bytes from byte {offset} on are what a crash left of unfinished writes: cut")
            }
            Loss::Linked { shard, frame_count } => write!(
                f,
                "shard {shard}: {frame_count} frames at the end belong to transactions of which another shard has lost its part: cut"
            ),
            Loss::Damage(damage) => write!(f, "dropped, as --recover allows: {damage}"),
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Examined {
    /// What counts. Every run is closed.
    pub manifest: Manifest,
    /// What does not, although it was there.
    pub losses: Vec<Loss>,
    /// Files that are not needed any more.
    pub stale: Vec<String>,
    /// The number of the next run.
    pub next_run: u64,
    /// The number of the next snapshot.
    pub next_snapshot: u64,
}

/// What one journal of a run was found to be.
struct Stream {
    /// The last whole frame in order.
    last: u64,
    /// Pairs of linked frames.
    links: Vec<Group>,
    loss: Option<Loss>,
}

/// Find out what counts. `recover`: damage of journals is dropped, with all of the same shard behind it.
///
/// # Errors
/// Whatever makes it uncertain what counts.
pub fn examine(files: &impl Files, recover: bool) -> Result<Examined, RecoveryError> {
    let mut names = files.names().map_err(|error| RecoveryError::Io { file: ".".to_owned(), error })?;
    names.sort_unstable();
    let is_data = |name: &&String| parse_segment_name(name).is_some() || parse_snapshot_name(name).is_some();
    let mut manifest = if names.iter().any(|name| name == MANIFEST) {
        let text = String::from_utf8_lossy(&read_all(files, MANIFEST)?).into_owned();
        Manifest::parse(&text).map_err(|error| RecoveryError::Manifest { error })?
    } else if let Some(file) = names.iter().find(is_data) {
        return Err(RecoveryError::NoManifest { file: file.clone() });
    } else {
        Manifest::default()
    };
    let mut losses = Vec::new();
    if let Some(open) = manifest.runs.iter_mut().find(|run| run.to.is_none()) {
        close(files, &names, open, recover, &mut losses)?;
    }
    let next_run = manifest.runs.last().map_or(0, |run| run.number) + 1;
    manifest.runs.retain(|run| !run.is_empty());
    let needed: Vec<String> = manifest.runs.iter().flat_map(|run| needed_segments(&names, run)).collect();
    let counts = |name: &String| match (parse_segment_name(name), parse_snapshot_name(name)) {
        (Some(_), _) => needed.contains(name),
        (_, Some((number, _))) => manifest.snapshot.is_some_and(|snapshot| snapshot.number == number),
        _ => true,
    };
    let last_snapshot = names.iter().filter_map(|name| parse_snapshot_name(name)).map(|(number, _)| number).max();
    let known_snapshot = manifest.snapshot.map(|snapshot| snapshot.number);
    Ok(Examined {
        next_run: next_run
            .max(names.iter().filter_map(|name| parse_segment_name(name)).map(|(run, ..)| run + 1).max().unwrap_or(0)),
        next_snapshot: last_snapshot.max(known_snapshot).map_or(1, |last| last + 1),
        stale: names.iter().filter(|name| !counts(name)).cloned().collect(),
        losses,
        manifest,
    })
}

/// Close a run that ended without saying so.
fn close(
    files: &impl Files,
    names: &[String],
    run: &mut Run,
    recover: bool,
    losses: &mut Vec<Loss>,
) -> Result<(), RecoveryError> {
    let run_now = &*run;
    // The journals are independent of each other up to here: one thread each, in rounds of as many as there are cores.
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut streams = Vec::new();
    let shards: Vec<usize> = (0..run.shard_count()).collect();
    for round in shards.chunks(at_once) {
        let examined: Vec<_> = std::thread::scope(|scope| {
            let examine = |shard| scope.spawn(move || examine_stream(files, names, run_now, shard, recover));
            let threads: Vec<_> = round.iter().map(|shard| examine(*shard)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        for stream in examined {
            streams.push(stream?);
        }
    }
    let found: Vec<u64> = streams.iter().map(|stream| stream.last).collect();
    let groups: Vec<Group> = streams.iter().flat_map(|stream| stream.links.iter().cloned()).collect();
    let mut to = found.clone();
    cut(&mut to, &groups);
    losses.extend(streams.into_iter().filter_map(|stream| stream.loss));
    for (shard, (found, to)) in found.into_iter().zip(&mut to).enumerate() {
        // Never before the snapshot: what it holds was all on the disk when it was completed.
        *to = (*to).max(run.from[shard] - 1);
        if *to < found {
            losses.push(Loss::Linked { shard, frame_count: found - *to });
        }
    }
    run.to = Some(to);
    Ok(())
}

fn examine_stream(
    files: &impl Files,
    names: &[String],
    run: &Run,
    shard: usize,
    recover: bool,
) -> Result<Stream, RecoveryError> {
    let segments = segments_of(names, run, shard);
    let mut links: Vec<Group> = Vec::new();
    let end = read_stream(files, &segments, run, shard, u64::MAX, &mut |frame| {
        let own = (shard as u16, frame.head.sequence);
        links.extend(frame.links().map(|link| vec![own, (link.shard, link.sequence)]));
        Ok(())
    })?;
    links.retain(|group| group.iter().all(|(shard, _)| usize::from(*shard) < run.shard_count()));
    let mut stream = Stream { last: end.last, links, loss: None };
    let Some(stop) = end.stop else { return Ok(stream) };
    let behind = Behind::of(files, &segments[stop.segment..], &stop, run)?;
    let damage = Damage {
        file: stop.file.clone(),
        offset: stop.offset,
        why: stop.why,
        frame_count: behind.frame_count,
        record_count: behind.record_count,
    };
    stream.loss = match behind.durable > end.last {
        true if !recover => return Err(RecoveryError::Damaged(damage)),
        true => Some(Loss::Damage(damage)),
        false if behind.bytes == 0 => None,
        false => Some(Loss::Tail { file: stop.file, offset: stop.offset, bytes: behind.bytes }),
    };
    Ok(stream)
}

/// The first frame and the name of each of a journal's files, in order.
fn segments_of(names: &[String], run: &Run, shard: usize) -> Vec<u64> {
    let own = names.iter().filter_map(|name| parse_segment_name(name));
    let mut firsts: Vec<u64> =
        own.filter(|(of, by, _)| (*of, *by) == (run.number, shard)).map(|(.., first)| first).collect();
    firsts.sort_unstable();
    // Of those that begin before the first frame that counts only the last can have it.
    let before = firsts.iter().take_while(|first| **first <= run.from[shard]).count();
    firsts.drain(..before.saturating_sub(1));
    firsts
}

/// The files of a closed run that have frames which count.
fn needed_segments(names: &[String], run: &Run) -> Vec<String> {
    let to = run.to.as_ref().expect("the run is closed");
    let of = |shard: usize| {
        let counts = move |first: &u64| *first <= to[shard] && run.from[shard] <= to[shard];
        let firsts = segments_of(names, run, shard).into_iter().filter(counts);
        firsts.map(move |first| segment_name(run.number, shard, first))
    };
    (0..run.shard_count()).flat_map(of).collect()
}

struct StreamEnd {
    last: u64,
    /// Where it stopped, if not behind the last byte of the last file.
    stop: Option<Stop>,
}

struct Stop {
    segment: usize,
    file: String,
    offset: u64,
    why: Broken,
}

/// Read the frames `run.from..=to` of a journal in order, as far as they are whole.
fn read_stream(
    files: &impl Files,
    segments: &[u64],
    run: &Run,
    shard: usize,
    to: u64,
    each: &mut dyn FnMut(&Frame<'_>) -> Result<(), RecoveryError>,
) -> Result<StreamEnd, RecoveryError> {
    let mut expected = run.from[shard];
    let mut stop = None;
    let own_head = FileHead { shard: shard as u16, shard_count: run.shard_count() as u16 };
    for (segment, first) in segments.iter().enumerate() {
        if expected > to {
            break;
        }
        if *first > expected {
            // The frames in between are missing: it stops where the file before has ended.
            let file = segment_name(run.number, shard, *first);
            stop = stop.or(Some(Stop { segment, file, offset: 0, why: Broken::Short }));
            break;
        }
        let file = segment_name(run.number, shard, *first);
        let mut frames = FrameReader::open(files, &file)?;
        let mut is_head = true;
        stop = loop {
            if expected > to {
                break None;
            }
            let offset = frames.offset;
            let why = match frames.next()? {
                None if is_head => Broken::Short,
                None => break None,
                Some(Err(why)) => why,
                Some(Ok(frame)) if frame.head.run_id != run.id => Broken::Magic,
                Some(Ok(frame)) if is_head => match FileHead::of(&frame) {
                    Some(head) if head == own_head && frame.head.sequence == *first => {
                        is_head = false;
                        continue;
                    }
                    _ => Broken::Magic,
                },
                Some(Ok(frame)) if frame.head.kind != FrameKind::Changes => Broken::Magic,
                // Written again in another file, after the first write had failed.
                Some(Ok(frame)) if frame.head.sequence < expected => continue,
                Some(Ok(frame)) if frame.head.sequence == expected => {
                    each(&frame)?;
                    expected += 1;
                    continue;
                }
                Some(Ok(_)) => Broken::Magic,
            };
            break Some(Stop { segment, file: file.clone(), offset, why });
        };
    }
    Ok(StreamEnd { last: expected - 1, stop })
}

/// What lies behind the place where a journal stops.
#[derive(Default)]
struct Behind {
    bytes: u64,
    frame_count: u64,
    record_count: u64,
    /// The greatest `durable` of the whole frames.
    durable: u64,
}

impl Behind {
    fn of(files: &impl Files, segments: &[u64], stop: &Stop, run: &Run) -> Result<Behind, RecoveryError> {
        let mut behind = Behind::default();
        for (index, first) in segments.iter().enumerate() {
            let shard = parse_segment_name(&stop.file).expect("a journal's file").1;
            let bytes = read_all(files, &segment_name(run.number, shard, *first))?;
            let start = if index == 0 { (stop.offset as usize).min(bytes.len()) } else { 0 };
            behind.look(&bytes[start..], run.id);
        }
        Ok(behind)
    }

    fn look(&mut self, bytes: &[u8], run_id: u64) {
        self.bytes += bytes.len() as u64;
        let mut at = 0;
        while let Some(found) = memmem::find(&bytes[at..], &MAGIC) {
            at += found;
            match frame::parse(&bytes[at..]) {
                Ok(frame) if frame.head.run_id == run_id => {
                    if frame.head.kind == FrameKind::Changes {
                        self.frame_count += 1;
                        self.record_count += frame.records().count() as u64;
                        self.durable = self.durable.max(frame.head.durable);
                    }
                    at += frame.len;
                }
                _ => at += 1,
            }
        }
    }
}

/// Load the counters of `slots`. `loaded` counts records.
///
/// # Errors
/// A file that counts is damaged or cannot be read.
pub fn load(
    files: &impl Files,
    manifest: &Manifest,
    slots: Range<u16>,
    counters: &mut Counters,
    now_ms: i64,
    loaded: &AtomicU64,
) -> Result<(), RecoveryError> {
    let names = files.names().map_err(|error| RecoveryError::Io { file: ".".to_owned(), error })?;
    let own = slots.clone();
    let overlaps = |of: Range<u16>| of.start < own.end && own.start < of.end;
    let mut loader = Loader { counters, seed: Seed::of_process(), slots, now_ms, loaded };
    if let Some(snapshot) = manifest.snapshot {
        let map = ShardMap::new(snapshot.shard_count);
        for shard in (0..snapshot.shard_count).filter(|shard| overlaps(map.slots_of(*shard))) {
            load_snapshot(files, &snapshot_name(snapshot.number, shard), map.slots_of(shard), &mut loader)?;
        }
    }
    for run in &manifest.runs {
        let map = ShardMap::new(run.shard_count());
        for shard in (0..run.shard_count()).filter(|shard| overlaps(map.slots_of(*shard))) {
            let to = run.to.as_ref().map_or(u64::MAX, |to| to[shard]);
            let segments = segments_of(&names, run, shard);
            let of = map.slots_of(shard);
            let end = read_stream(files, &segments, run, shard, to, &mut |frame| loader.frame(frame, &of))?;
            if end.last < to {
                let next = segment_name(run.number, shard, end.last + 1);
                let (file, offset, why) =
                    end.stop.map_or((next, 0, Broken::Short), |stop| (stop.file, stop.offset, stop.why));
                return Err(RecoveryError::Damaged(Damage { file, offset, why, frame_count: 0, record_count: 0 }));
            }
        }
    }
    Ok(())
}

fn load_snapshot(files: &impl Files, file: &str, of: Range<u16>, loader: &mut Loader<'_>) -> Result<(), RecoveryError> {
    let mut frames = FrameReader::open(files, file)?;
    let mut put_count = 0;
    let mut expected = 0;
    loop {
        let offset = frames.offset;
        let damaged = |why| {
            let damage = Damage { file: file.to_owned(), offset, why, frame_count: 0, record_count: 0 };
            Err(RecoveryError::Damaged(damage))
        };
        let frame = match frames.next()? {
            None => return damaged(Broken::Short),
            Some(Err(why)) => return damaged(why),
            Some(Ok(frame)) => frame,
        };
        if frame.head.sequence != expected {
            return damaged(Broken::Magic);
        }
        expected += 1;
        match frame.head.kind {
            FrameKind::File if expected == 1 => {}
            FrameKind::Part => {
                put_count += frame.records().count() as u64;
                loader.frame(&frame, &of)?;
            }
            FrameKind::End if frame.body == put_count.to_le_bytes() => return Ok(()),
            _ => return damaged(Broken::Magic),
        }
    }
}

/// Puts records into the counters.
struct Loader<'a> {
    counters: &'a mut Counters,
    seed: Seed,
    slots: Range<u16>,
    now_ms: i64,
    loaded: &'a AtomicU64,
}

impl Loader<'_> {
    /// The records of a frame that was written for the slots `of`.
    fn frame(&mut self, frame: &Frame<'_>, of: &Range<u16>) -> Result<(), RecoveryError> {
        let own_all = self.slots.start <= of.start && of.end <= self.slots.end;
        let mut batch: Vec<(Key<'_>, Record<'_>)> = Vec::with_capacity(LOAD_BATCH_COUNT);
        let mut count = 0;
        for record in frame.records() {
            let record = record.unwrap_or_else(|_| unreachable!("a frame of a known version has known records"));
            count += 1;
            let key = match record {
                Record::Put(key, _) | Record::Delete(key) => self.seed.key(key),
                Record::Flush => {
                    self.apply(&mut batch);
                    self.flush(of);
                    continue;
                }
            };
            if own_all || self.slots.contains(&key.slot) {
                batch.push((key, record));
            }
            if batch.len() == LOAD_BATCH_COUNT {
                self.apply(&mut batch);
            }
        }
        self.apply(&mut batch);
        self.loaded.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }

    fn apply(&mut self, batch: &mut Vec<(Key<'_>, Record<'_>)>) {
        let counters = &self.counters;
        batch.iter().for_each(|(key, _)| counters.prefetch_slot(key.slot));
        batch.iter().for_each(|(key, _)| counters.prefetch_chunk(key.slot, key.hash));
        batch.iter().for_each(|(key, _)| _ = counters.look_up(key.slot, key.hash));
        for (key, record) in batch.drain(..) {
            match record {
                Record::Put(_, entry) if entry.expires_at_ms.is_none_or(|at_ms| self.now_ms <= at_ms) => {
                    let put = self.counters.put(key, entry);
                    assert!(put.is_ok(), "there is no limit while counters are loaded");
                }
                Record::Put(..) | Record::Delete(_) => {
                    self.counters.take(key, self.now_ms);
                }
                Record::Flush => unreachable!("it has no key"),
            }
        }
    }

    /// All counters of the slots `of` are gone.
    fn flush(&mut self, of: &Range<u16>) {
        if of.start <= self.slots.start && self.slots.end <= of.end {
            return self.counters.flush(self.now_ms);
        }
        let mut cursor = u64::from(of.start) << 32;
        loop {
            let mut keys: Vec<Box<[u8]>> = Vec::new();
            cursor = self.counters.scan(cursor, LOAD_BATCH_COUNT as u64, i64::MIN, &mut |key, _| {
                keys.push(Box::from(key));
                true
            });
            for key in keys.iter().filter(|key| of.contains(&slot::of(key))) {
                self.counters.take(self.seed.key(key), i64::MIN);
            }
            if cursor == 0 || cursor_slot(cursor) >= u64::from(of.end) {
                return;
            }
        }
    }
}

/// Reads a file frame by frame.
struct FrameReader<'a> {
    file: String,
    reader: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// Where the next frame begins in the buffer, and where the bytes end that were read.
    start: usize,
    end: usize,
    /// Where the next frame begins in the file.
    offset: u64,
}

/// Read at once.
const READ_BYTES: usize = 1 << 20;

impl<'a> FrameReader<'a> {
    fn open(files: &'a impl Files, file: &str) -> Result<FrameReader<'a>, RecoveryError> {
        let reader = files.open(file).map_err(|error| RecoveryError::Io { file: file.to_owned(), error })?;
        Ok(FrameReader { file: file.to_owned(), reader, buffer: vec![0; READ_BYTES], start: 0, end: 0, offset: 0 })
    }

    /// The next frame; `None` behind the last byte.
    fn next(&mut self) -> Result<Option<Result<Frame<'_>, Broken>>, RecoveryError> {
        self.fill(FRAME_HEADER_BYTES)?;
        if self.start == self.end {
            return Ok(None);
        }
        let payload_bytes = match frame::parse_header(&self.buffer[self.start..self.end]) {
            Ok((_, payload_bytes)) => payload_bytes,
            Err(why) => return Ok(Some(Err(why))),
        };
        if payload_bytes > JOURNAL_BUFFER_BYTES {
            return Ok(Some(Err(Broken::Version)));
        }
        self.fill(FRAME_HEADER_BYTES + payload_bytes)?;
        let parsed = frame::parse(&self.buffer[self.start..self.end]);
        if let Ok(frame) = &parsed {
            self.start += frame.len;
            self.offset += frame.len as u64;
        }
        Ok(Some(parsed))
    }

    /// Have at least `count` bytes in the buffer, unless the file ends.
    fn fill(&mut self, count: usize) -> Result<(), RecoveryError> {
        if self.end - self.start >= count {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < count {
            self.buffer.resize(count, 0);
        }
        while self.end < count {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read_bytes) => self.end += read_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RecoveryError::Io { file: self.file.clone(), error }),
            }
        }
        Ok(())
    }
}

fn read_all(files: &impl Files, file: &str) -> Result<Vec<u8>, RecoveryError> {
    let failed = |error| RecoveryError::Io { file: file.to_owned(), error };
    let mut bytes = Vec::new();
    files.open(file).map_err(failed)?.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Replace the manifest: the old one or the new one is there, whatever happens.
///
/// # Errors
/// What the disk says; the old one is in force then.
pub fn replace_manifest(files: &impl Files, manifest: &Manifest) -> io::Result<()> {
    files.write(MANIFEST_NEW, manifest.to_string().as_bytes())?;
    files.rename(MANIFEST_NEW, MANIFEST)
}
