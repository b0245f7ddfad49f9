//! What is in each file that counts, without loading it: for whoever examines a directory without starting a server.

use std::sync::atomic::{AtomicU64, Ordering};

use super::snapshot::read_snapshot;
use super::stream::{read_stream, segments_of};
use super::{Damage, RecoveryError};
use crate::journal::disk::Files;
use crate::journal::frame::Frame;
use crate::journal::manifest::{Manifest, segment_name, snapshot_name};

/// A file that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its name.
    pub file: String,
    /// The shard whose counters it has.
    pub shard: usize,
    /// Whole frames that count.
    pub frame_count: u64,
    /// Records in these.
    pub record_count: u64,
    /// What is wrong with it.
    pub damage: Option<Damage>,
}

impl Surveyed {
    fn new(file: String, shard: usize) -> Surveyed {
        Surveyed { file, shard, frame_count: 0, record_count: 0, damage: None }
    }

    fn add(&mut self, frame: &Frame<'_>, read_bytes: &AtomicU64) {
        self.frame_count += 1;
        self.record_count += frame.records().count() as u64;
        read_bytes.fetch_add(frame.len as u64, Ordering::Relaxed);
    }
}

/// Read every file that counts, of snapshots and of journals; `read_bytes` counts them. Damage in one keeps none of the
/// others from being read.
///
/// # Errors
/// A file cannot be read.
pub fn survey(files: &impl Files, manifest: &Manifest, read_bytes: &AtomicU64) -> Result<Vec<Surveyed>, RecoveryError> {
    let names = files.names().map_err(|error| RecoveryError::Io { file: ".".to_owned(), error })?;
    let mut all = Vec::new();
    if let Some(snapshot) = manifest.snapshot {
        for shard in 0..snapshot.shard_count {
            let mut found = Surveyed::new(snapshot_name(snapshot.number, shard), shard);
            found.damage = read_snapshot(files, snapshot, shard, &mut |frame| {
                found.add(frame, read_bytes);
                Ok(())
            })?;
            all.push(found);
        }
    }
    for run in &manifest.runs {
        for shard in 0..run.shard_count() {
            let segments = segments_of(&names, run, shard);
            let first_found = all.len();
            all.extend(segments.iter().map(|first| Surveyed::new(segment_name(run.number, shard, *first), shard)));
            let of_stream = &mut all[first_found..];
            let end = read_stream(files, &segments, run, shard, &mut |file, frame| {
                let found = of_stream.iter_mut().find(|found| found.file == file).expect("one of the segments");
                found.add(frame, read_bytes);
                Ok(())
            })?;
            if let Some(damage) = end.missing(files, &segments, run, shard)? {
                match all[first_found..].iter_mut().find(|found| found.file == damage.file) {
                    Some(found) => found.damage = Some(damage),
                    None => all.push(Surveyed { damage: Some(damage.clone()), ..Surveyed::new(damage.file, shard) }),
                }
            }
        }
    }
    Ok(all)
}
