//! Snapshots: all counters of a shard in one file, written while they are counted on.
//!
//! A snapshot is not of one moment. It is taken slot by slot, and each counter is in it as it was when its slot's turn
//! came, or is missing if it was made behind the scan. Every change from the snapshot's beginning on is in the journal
//! too, as an absolute value, so the two together are exact: hence a snapshot counts only once the journal is safe up to
//! what was recorded when the last slot had been taken.

use std::io;

use super::disk::{Disk, DiskFile, write_all_at};
use super::frame::{self, FRAME_HEADER_BYTES, FileHead, FrameKind, Head};
use super::manifest::snapshot_name;
use super::record::{self, Kind, RECORD_BYTES_MAX};
use crate::counters::Entry;
use crate::limits::SNAPSHOT_PART_BYTES_MAX;

/// A part that is being filled.
#[derive(Debug)]
pub struct Part {
    bytes: Vec<u8>,
    end: usize,
    put_count: u64,
}

impl Default for Part {
    fn default() -> Part {
        Part { bytes: vec![0; SNAPSHOT_PART_BYTES_MAX], end: FRAME_HEADER_BYTES, put_count: 0 }
    }
}

impl Part {
    /// Add a counter; false when there is no room.
    pub fn put(&mut self, key: &[u8], entry: Entry) -> bool {
        if self.end + RECORD_BYTES_MAX > self.bytes.len() {
            return false;
        }
        self.end += record::write(&mut self.bytes[self.end..], Kind::of_put(entry.expires_at_ms.is_some()), key, entry);
        self.put_count += 1;
        true
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.put_count == 0
    }

    /// What it takes in the file.
    pub fn bytes(&self) -> u64 {
        self.end as u64
    }

    /// It should be written.
    pub fn is_full(&self) -> bool {
        self.end + RECORD_BYTES_MAX > self.bytes.len()
    }
}

/// Write one shard's file of a snapshot, whose parts `fill` writes, and have it on the disk; answers its length. Where that
/// fails the file is removed: it may have the room that the journal waits for, and with the journal whoever else would remove
/// it.
///
/// # Errors
/// What the disk or `fill` says.
pub async fn take<D: Disk>(
    disk: &D,
    number: u64,
    head: FileHead,
    fill: impl AsyncFnOnce(&mut SnapshotWriter<D::File>) -> io::Result<()>,
) -> io::Result<u64> {
    let taken = async {
        let mut writer = SnapshotWriter::create(disk, number, head).await?;
        fill(&mut writer).await?;
        writer.finish().await
    };
    let taken = taken.await;
    if taken.is_err() {
        // What cannot be removed now is removed at the next start.
        let _ = disk.remove(&snapshot_name(number, usize::from(head.shard))).await;
    }
    taken
}

/// One shard's file of a snapshot, while it is written.
pub struct SnapshotWriter<F> {
    file: F,
    number: u64,
    sequence: u64,
    bytes: u64,
    put_count: u64,
}

impl<F: DiskFile> SnapshotWriter<F> {
    /// Begin the file.
    pub async fn create<D: Disk<File = F>>(disk: &D, number: u64, head: FileHead) -> io::Result<SnapshotWriter<F>> {
        let file = disk.create(&snapshot_name(number, usize::from(head.shard)), false).await?;
        let frame = head.frame(number, 0);
        let len = frame.len();
        write_all_at(&file, frame, 0..len, 0).await.0?;
        Ok(SnapshotWriter { file, number, sequence: 1, bytes: len as u64, put_count: 0 })
    }

    /// Write a part, which is empty afterwards.
    pub async fn write(&mut self, part: &mut Part) -> io::Result<()> {
        self.put_count += part.put_count;
        let bytes = std::mem::take(&mut part.bytes);
        let (result, bytes) = self.write_frame(FrameKind::Part, bytes, part.end).await;
        *part = Part { bytes, end: FRAME_HEADER_BYTES, put_count: 0 };
        result
    }

    /// End the file and have it on the disk; answers its length.
    pub async fn finish(mut self) -> io::Result<u64> {
        let mut bytes = vec![0; FRAME_HEADER_BYTES];
        bytes.extend_from_slice(&self.put_count.to_le_bytes());
        let len = bytes.len();
        self.write_frame(FrameKind::End, bytes, len).await.0?;
        self.file.sync().await?;
        Ok(self.bytes)
    }

    async fn write_frame(&mut self, kind: FrameKind, mut bytes: Vec<u8>, len: usize) -> (io::Result<()>, Vec<u8>) {
        let head = Head { kind, link_count: 0, run_id: self.number, sequence: self.sequence, durable: 0 };
        frame::seal(&mut bytes[..len], head);
        let (result, bytes) = write_all_at(&self.file, bytes, 0..len, self.bytes).await;
        self.sequence += 1;
        self.bytes += len as u64;
        (result, bytes)
    }
}
