//! One shard's journal of one run, frame by frame over its files, as far as it is whole.

use super::behind::Behind;
use super::frames::FrameReader;
use super::{Damage, RecoveryError};
use crate::journal::disk::Files;
use crate::journal::frame::{Broken, FileHead, Frame, FrameKind};
use crate::journal::manifest::{Run, parse_segment_name, segment_name};

/// The first frame and the name of each of a journal's files, in order.
pub(super) fn segments_of(names: &[String], run: &Run, shard: usize) -> Vec<u64> {
    let own = names.iter().filter_map(|name| parse_segment_name(name));
    let mut firsts: Vec<u64> =
        own.filter(|(of, by, _)| (*of, *by) == (run.number, shard)).map(|(.., first)| first).collect();
    firsts.sort_unstable();
    // Of those that begin before the first frame that counts only the last can have it.
    let before = firsts.iter().take_while(|first| **first <= run.from[shard]).count();
    firsts.drain(..before.saturating_sub(1));
    firsts
}

/// How far a journal is whole.
pub(super) struct StreamEnd {
    /// The last frame; the one before the first that counts, if there is none.
    pub last: u64,
    /// Where it stopped, if not behind the last byte of the last file.
    pub stop: Option<Stop>,
}

impl StreamEnd {
    /// What is damaged, if not all frames of a closed run are there.
    ///
    /// # Errors
    /// What lies behind cannot be read.
    pub fn missing(
        self,
        files: &impl Files,
        segments: &[u64],
        run: &Run,
        shard: usize,
    ) -> Result<Option<Damage>, RecoveryError> {
        if run.to.as_ref().is_none_or(|to| self.last >= to[shard]) {
            return Ok(None);
        }
        let next = segment_name(run.number, shard, self.last + 1);
        let nothing_more = Stop { segment: segments.len(), file: next, offset: 0, why: Broken::Missing };
        let stop = self.stop.unwrap_or(nothing_more);
        stop.check_format()?;
        let behind = Behind::of(files, &segments[stop.segment..], &stop, run, shard, self.last)?;
        Ok(Some(behind.damage(stop)))
    }
}

/// Where a journal stops to be whole.
pub(super) struct Stop {
    /// Index into the files.
    pub segment: usize,
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub why: Broken,
}

impl Stop {
    /// Look whether it is the program that must stop here, and not the journal.
    ///
    /// # Errors
    /// It is.
    pub fn check_format(&self) -> Result<(), RecoveryError> {
        match self.why {
            Broken::Version => Err(RecoveryError::Format { file: self.file.clone(), offset: self.offset }),
            _ => Ok(()),
        }
    }
}

/// Read the frames of a journal that count, in order, as far as they are whole: of an open run all that there are. `each`
/// gets them with the names of their files.
pub(super) fn read_stream(
    files: &impl Files,
    segments: &[u64],
    run: &Run,
    shard: usize,
    each: &mut dyn FnMut(&str, &Frame<'_>) -> Result<(), RecoveryError>,
) -> Result<StreamEnd, RecoveryError> {
    read_stream_from(files, segments, run, shard, run.from[shard], each)
}

/// The same from a frame on, which is in the first of the files, or would be.
pub(super) fn read_stream_from(
    files: &impl Files,
    segments: &[u64],
    run: &Run,
    shard: usize,
    mut expected: u64,
    each: &mut dyn FnMut(&str, &Frame<'_>) -> Result<(), RecoveryError>,
) -> Result<StreamEnd, RecoveryError> {
    let to = run.to.as_ref().map_or(u64::MAX, |to| to[shard]);
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
                    each(&file, &frame)?;
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
