//! Writing one shard's journal: frames into segments, one at a time, and having them on the disk.
//!
//! A frame that could not be written is written again at the same place, so a failed write leaves nothing behind that a
//! later one does not cover. After a failed sync nobody knows what the disk has, so the writer is [`Writer::is_lost`]:
//! what it holds counts only once a snapshot has been taken that needs none of it.

use std::io;

use super::changes::Filled;
use super::disk::{Disk, DiskFile, write_all_at, write_pieces_at};
use super::frame::{self, FileHead, Head};
use super::manifest::segment_name;
use crate::limits::{JOURNAL_AHEAD_FRAME_BYTES_MAX, JOURNAL_PIECE_BYTES, JOURNAL_SEGMENT_BYTES_MAX};

/// Frames like the last one for which there is room made beforehand.
const FRAMES_AHEAD_COUNT: usize = 2;

/// The writer of one shard's journal.
pub struct Writer<D: Disk> {
    disk: D,
    run: u64,
    run_id: u64,
    head: FileHead,
    segment: Option<Segment<D::File>>,
    written: u64,
    synced: u64,
    lost: bool,
    /// A sync has failed since a snapshot began.
    stale: bool,
    /// Of what has been written since a snapshot began, up to which frame is on the disk, even if what was before is lost.
    behind: u64,
    bytes: u64,
}

struct Segment<F> {
    file: F,
    /// Bytes of whole frames.
    end: u64,
    /// Bytes of the last one.
    last_bytes: usize,
    /// Its writes are on the disk when they come back.
    synchronous: bool,
    /// Up to here zeros have been written; `None`: no more of them are.
    ahead: Option<u64>,
}

impl<F: DiskFile> Segment<F> {
    /// Have zeros where so many frames of this size will stand, if they are to be on the disk at once. Zeros behind the last
    /// frame are no frame, and recovery passes over them.
    async fn fill_ahead(&mut self, frame_bytes: usize, count: usize) {
        let end = self.end + (count * frame_bytes) as u64;
        while let Some(ahead) = self.ahead.filter(|ahead| *ahead < end)
            && frame_bytes < JOURNAL_AHEAD_FRAME_BYTES_MAX
        {
            let from = ahead.max(self.end);
            // Without zeros it only takes longer. What is wrong with the disk the frame itself will show.
            self.ahead = match self.file.write_zeros(from).await {
                Ok(count) if count > 0 => Some(from + count as u64),
                _ => None,
            };
        }
    }
}

impl<D: Disk> Writer<D> {
    /// The writer of a shard, in a run that begins.
    pub fn new(disk: D, run: u64, run_id: u64, head: FileHead) -> Writer<D> {
        Writer {
            disk,
            run,
            run_id,
            head,
            segment: None,
            written: 0,
            synced: 0,
            lost: false,
            stale: false,
            behind: 0,
            bytes: 0,
        }
    }

    /// Its frames come after this one, which was the last of the runs before in this process.
    pub fn after(self, last: u64) -> Writer<D> {
        Writer { written: last, synced: last, behind: last, ..self }
    }

    /// The last frame that was written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The last frame that is on the disk, and all before it.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// A sync has failed.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// A snapshot that began with the last [`Writer::begin_segment`] counts: what was lost before is not needed.
    pub fn set_found(&mut self) {
        if !self.stale {
            self.lost = false;
            self.synced = self.synced.max(self.behind);
        }
    }

    /// The last frame that is on the disk, for a snapshot that began with the last [`Writer::begin_segment`]: what was lost
    /// before is none of it.
    pub fn on_disk(&self) -> u64 {
        self.behind.max(self.synced)
    }

    /// Whether all frames up to this one are, for that snapshot.
    ///
    /// # Errors
    /// They never will be: a sync has failed since it began. The next one may have them.
    pub fn has_on_disk(&self, sequence: u64) -> io::Result<bool> {
        match self.on_disk() >= sequence {
            false if self.stale => Err(io::Error::other("a sync has failed since it began")),
            has => Ok(has),
        }
    }

    /// Everything that was written is on the disk, or needed no more.
    pub fn is_synced(&self) -> bool {
        self.on_disk() == self.written
    }

    /// Frames that were written and are not known to be on the disk.
    pub fn unsynced_count(&self) -> u64 {
        self.written - self.on_disk()
    }

    /// Bytes that have been written since [`Writer::begin_segment`] was last called.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Write a frame. `synchronous`: it is on the disk when this comes back.
    pub async fn write(&mut self, filled: &mut Filled, synchronous: bool) -> io::Result<()> {
        assert_eq!(filled.sequence, self.written + 1, "frames are written in their order");
        let fits =
            |segment: &Segment<D::File>| segment.end < JOURNAL_SEGMENT_BYTES_MAX && segment.synchronous == synchronous;
        if !self.segment.as_ref().is_some_and(fits) {
            self.next_segment(synchronous).await?;
        }
        let durable = if self.lost { 0 } else { self.synced };
        let head = Head::changes(self.run_id, filled.sequence, durable, filled.link_count);
        frame::seal(&mut filled.bytes[..filled.len], head);
        let segment = self.segment.as_mut().expect("just made sure");
        segment.fill_ahead(filled.len, 1).await;
        let bytes = std::mem::take(&mut filled.bytes);
        // Each synchronous write takes a sync.
        let piece_bytes = if synchronous { usize::MAX } else { JOURNAL_PIECE_BYTES };
        let (result, bytes) = write_pieces_at(&segment.file, bytes, 0..filled.len, segment.end, piece_bytes).await;
        filled.bytes = bytes;
        result?;
        segment.end += filled.len as u64;
        segment.last_bytes = filled.len;
        self.bytes += filled.len as u64;
        self.written = filled.sequence;
        if synchronous {
            self.note_synced();
        }
        Ok(())
    }

    /// Make ready for frames like the last one while nobody waits for the disk.
    pub async fn prepare(&mut self) {
        if let Some(segment) = &mut self.segment {
            segment.fill_ahead(segment.last_bytes, FRAMES_AHEAD_COUNT).await;
        }
    }

    /// Have everything that was written on the disk.
    pub async fn sync(&mut self) -> io::Result<()> {
        let Some(segment) = self.segment.as_ref().filter(|_| !self.is_synced()) else { return Ok(()) };
        if let Err(error) = segment.file.sync().await {
            self.lost = true;
            self.stale = true;
            return Err(error);
        }
        self.note_synced();
        Ok(())
    }

    fn note_synced(&mut self) {
        if !self.stale {
            self.behind = self.written;
        }
        if !self.lost {
            self.synced = self.written;
        }
    }

    /// Go on in another file: a snapshot that begins now replaces those before.
    pub async fn begin_segment(&mut self) -> io::Result<()> {
        let synced = self.sync().await;
        self.segment = None;
        self.stale = false;
        self.behind = self.written;
        self.bytes = 0;
        synced
    }

    async fn next_segment(&mut self, synchronous: bool) -> io::Result<()> {
        self.sync().await?;
        self.segment = None;
        let first = self.written + 1;
        let file = self.disk.create(&segment_name(self.run, usize::from(self.head.shard), first), synchronous).await?;
        let head = self.head.frame(self.run_id, first);
        let end = head.len();
        write_all_at(&file, head, 0..end, 0).await.0?;
        self.disk.sync_names().await?;
        self.segment = Some(Segment {
            file,
            end: end as u64,
            last_bytes: 0,
            synchronous,
            ahead: synchronous.then_some(end as u64),
        });
        Ok(())
    }
}
