//! One shard's file of a snapshot, frame by frame. All of it counts, or the snapshot is damaged.
//!
//! Its parts do not depend on each other: behind a damaged place the next whole one is as good as those before. So a
//! damaged file is read to its end too, and who reads it decides whether what is whole suffices.

use std::io;

use super::frames::FrameReader;
use super::{Damage, Extent, RecoveryError};
use crate::journal::disk::Files;
use crate::journal::frame::{Broken, FileHead, Frame, FrameKind, Head};
use crate::journal::manifest::{Snapshot, snapshot_name};

/// Read a shard's file of a snapshot from its head to its end. `each` gets the whole frames that have counters. Answers
/// what is damaged.
///
/// # Errors
/// The file cannot be read, or another version has written it.
pub(super) fn read_snapshot(
    files: &impl Files,
    snapshot: Snapshot,
    shard: usize,
    each: &mut dyn FnMut(&Frame<'_>) -> Result<(), RecoveryError>,
) -> Result<Option<Damage>, RecoveryError> {
    let file = snapshot_name(snapshot.number, shard);
    let mut frames = match FrameReader::open(files, &file) {
        Ok(frames) => frames,
        Err(RecoveryError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            let extent = Extent::Snapshot { place_count: 1, lost_count: None };
            return Ok(Some(Damage { file, offset: 0, why: Broken::Missing, extent }));
        }
        Err(error) => return Err(error),
    };
    let own_head = FileHead { shard: shard as u16, shard_count: snapshot.shard_count as u16 };
    let mut damaged_places: Vec<(u64, Broken)> = Vec::new();
    let mut is_behind_damage = false;
    let mut put_count = 0;
    // The number of the next frame; the head has 0.
    let mut expected = 0;
    let lost_count = loop {
        let offset = frames.offset;
        let why = match frames.next()? {
            None => {
                damaged_places.push((offset, Broken::Short));
                break None;
            }
            Some(Err(Broken::Version)) => return Err(RecoveryError::Format { file, offset }),
            Some(Err(why)) => why,
            Some(Ok(frame)) if frame.head.run_id != snapshot.number || frame.head.sequence < expected => Broken::Magic,
            Some(Ok(frame)) => match frame.head.kind {
                FrameKind::File if frame.head.sequence == 0 && FileHead::of(&frame) == Some(own_head) => {
                    expected = 1;
                    continue;
                }
                FrameKind::File | FrameKind::Changes => {
                    // A whole frame that this file cannot have: nothing behind it is known to be this shard's.
                    damaged_places.push((offset, Broken::Magic));
                    break None;
                }
                FrameKind::Part | FrameKind::End => {
                    if frame.head.sequence > expected && !is_behind_damage {
                        damaged_places.push((offset, Broken::Magic));
                    }
                    is_behind_damage = false;
                    expected = frame.head.sequence.saturating_add(1);
                    if frame.head.kind == FrameKind::Part {
                        put_count += frame.records().count() as u64;
                        each(&frame)?;
                        continue;
                    }
                    let end_count = frame.body.try_into().ok().map(u64::from_le_bytes);
                    let lost_count = end_count.and_then(|count| count.checked_sub(put_count));
                    if lost_count != Some(0) && damaged_places.is_empty() {
                        damaged_places.push((offset, Broken::Magic));
                    }
                    break lost_count;
                }
            },
        };
        damaged_places.push((offset, why));
        is_behind_damage = true;
        let is_wanted = |head: &Head| {
            let is_content = matches!(head.kind, FrameKind::Part | FrameKind::End);
            is_content && head.run_id == snapshot.number && head.sequence >= expected
        };
        if !frames.find(&is_wanted)? {
            break None;
        }
    };
    let Some((offset, why)) = damaged_places.first().copied() else { return Ok(None) };
    let extent = Extent::Snapshot { place_count: damaged_places.len(), lost_count };
    Ok(Some(Damage { file, offset, why, extent }))
}
