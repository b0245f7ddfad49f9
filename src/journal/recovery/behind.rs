//! What lies behind the place where a journal stops to be whole: read once something is wrong, never before.

use memchr::memmem;

use super::frames::read_all;
use super::stream::Stop;
use super::{Damage, Extent, RecoveryError};
use crate::journal::disk::Files;
use crate::journal::frame::{self, Frame, FrameKind, MAGIC};
use crate::journal::manifest::{Run, segment_name};
use crate::limits::JOURNAL_BUFFER_BYTES;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// All bytes but zeros at the end of a file, which were written ahead of frames that never came.
    pub bytes: u64,
    /// The greatest `durable` of the whole frames.
    pub durable: u64,
    /// Whole frames that would count if those before them were there.
    frame_count: u64,
    /// Records in these.
    record_count: u64,
    /// The last frame that has been counted.
    last: u64,
}

impl Behind {
    /// Read the rest of a journal that counts up to the frame `last`. `segments` are its files from that on in which it
    /// stops.
    pub fn of(
        files: &impl Files,
        segments: &[u64],
        stop: &Stop,
        run: &Run,
        shard: usize,
        last: u64,
    ) -> Result<Behind, RecoveryError> {
        let mut behind = Behind { last, ..Behind::default() };
        let to = run.to.as_ref().map_or(u64::MAX, |to| to[shard]);
        for (index, first) in segments.iter().enumerate() {
            let bytes = read_all(files, &segment_name(run.number, shard, *first))?;
            let start = if index == 0 { (stop.offset as usize).min(bytes.len()) } else { 0 };
            behind.look(&bytes[start..], run.id, to);
        }
        Ok(behind)
    }

    fn look(&mut self, bytes: &[u8], run_id: u64, to: u64) {
        self.bytes += bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let mut at = 0;
        while let Some(found) = memmem::find(&bytes[at..], &MAGIC) {
            at += found;
            match parse_own(&bytes[at..], run_id) {
                Some(frame) => {
                    if frame.head.kind == FrameKind::Changes {
                        self.durable = self.durable.max(frame.head.durable);
                        // One that was written again, after the first write had failed, is there twice.
                        if frame.head.sequence > self.last && frame.head.sequence <= to {
                            self.last = frame.head.sequence;
                            self.frame_count += 1;
                            self.record_count += frame.records().count() as u64;
                        }
                    }
                    at += frame.len;
                }
                None => at += 1,
            }
        }
    }

    /// The damage that this lies behind.
    pub fn damage(&self, stop: Stop) -> Damage {
        let extent = Extent::Journal { frame_count: self.frame_count, record_count: self.record_count };
        Damage { file: stop.file, offset: stop.offset, why: stop.why, extent }
    }
}

/// The frame of a run at the start of `bytes`. A client can put headers of frames into its keys, as many as it likes, but it
/// does not know the run's id: so what follows a header is looked at only where that fits, or it would be looked at again
/// and again.
fn parse_own(bytes: &[u8], run_id: u64) -> Option<Frame<'_>> {
    let (head, payload_bytes) = frame::parse_header(bytes).ok()?;
    let is_own = head.run_id == run_id && payload_bytes <= JOURNAL_BUFFER_BYTES;
    is_own.then(|| frame::parse(bytes).ok()).flatten()
}
