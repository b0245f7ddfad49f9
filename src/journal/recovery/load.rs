//! Loading the counters of some slots, whatever the shards were when they were written.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::RecoveryError;
use super::snapshot::read_snapshot;
use super::stream::{read_stream, segments_of};
use crate::counters::{Counters, Key, Seed, cursor_slot};
use crate::journal::disk::Files;
use crate::journal::frame::Frame;
use crate::journal::manifest::Manifest;
use crate::journal::record::Record;
use crate::slot::{self, ShardMap};

/// Records that are looked up together when they are loaded, so that their cache misses overlap.
const LOAD_BATCH_COUNT: usize = 16;

/// Load the counters of `slots`. `recover`: of a snapshot what is whole suffices. `loaded` counts records.
///
/// # Errors
/// A file that counts is damaged or cannot be read.
pub fn load(
    files: &impl Files,
    manifest: &Manifest,
    recover: bool,
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
            let of = map.slots_of(shard);
            let damage = read_snapshot(files, snapshot, shard, &mut |frame| loader.frame(frame, &of))?;
            if let Some(damage) = damage.filter(|_| !recover) {
                return Err(RecoveryError::Damaged(damage));
            }
        }
    }
    for run in &manifest.runs {
        let map = ShardMap::new(run.shard_count());
        for shard in (0..run.shard_count()).filter(|shard| overlaps(map.slots_of(*shard))) {
            let segments = segments_of(&names, run, shard);
            let of = map.slots_of(shard);
            let end = read_stream(files, &segments, run, shard, &mut |_, frame| loader.frame(frame, &of))?;
            if let Some(damage) = end.missing(files, &segments, run, shard)? {
                return Err(RecoveryError::Damaged(damage));
            }
        }
    }
    Ok(())
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
        batch.iter().for_each(|(key, _)| counters.prefetch_chunks(key.slot, key.hash));
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
