//! One shard's file of a snapshot, frame by frame. All of it counts, or the snapshot is damaged.

use super::frames::FrameReader;
use super::{Damage, RecoveryError};
use crate::journal::disk::Files;
use crate::journal::frame::{Broken, Frame, FrameKind};
use crate::journal::manifest::snapshot_name;

/// Read a shard's file of a snapshot from its head to its end. `each` gets the frames that have counters.
///
/// # Errors
/// The file is damaged or cannot be read.
pub(super) fn read_snapshot(
    files: &impl Files,
    number: u64,
    shard: usize,
    each: &mut dyn FnMut(&Frame<'_>) -> Result<(), RecoveryError>,
) -> Result<(), RecoveryError> {
    let file = snapshot_name(number, shard);
    let mut frames = FrameReader::open(files, &file)?;
    let mut put_count = 0;
    let mut expected = 0;
    loop {
        let offset = frames.offset;
        let damaged = |why| Err(RecoveryError::Damaged(Damage::lasting(file.clone(), offset, why)));
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
                each(&frame)?;
            }
            FrameKind::End if frame.body == put_count.to_le_bytes() => return Ok(()),
            _ => return damaged(Broken::Magic),
        }
    }
}
