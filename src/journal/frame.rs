//! Frames: what is written, checked and counted as a whole.
//!
//! ```text
//! magic 4 | version 1 | kind 1 | links 2 | run 8 | sequence 8 | durable 8 | payload bytes 4 | payload CRC 4
//! | reserved 4 | header CRC 4 || records | links of 10 bytes: shard 2, sequence 8
//! ```
//!
//! All numbers are little-endian, all CRCs are CRC-32C. `durable` says up to which frame of the same file's shard
//! everything was on the disk when this frame was written: a damaged frame up to there was lost by the disk; one beyond
//! may be what a crash has left of writes under way.

use super::record::{self, Record};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 48;

/// Bytes of a link.
pub const LINK_BYTES: usize = 10;

/// What a frame begins with.
pub const MAGIC: [u8; 4] = *b"TLYj";

/// The format that is written, and the only one that is read.
pub const VERSION: u8 = 1;

const HEADER_CRC_AT: usize = FRAME_HEADER_BYTES - 4;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// The head of a file; its payload is [`FileHead`].
    File = 1,
    /// Changes.
    Changes = 2,
    /// A part of a snapshot: puts.
    Part = 3,
    /// The end of a snapshot; its payload is the number of puts, 8 bytes.
    End = 4,
}

/// A frame of another shard without which this one does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The other shard.
    pub shard: u16,
    /// The number of its frame.
    pub sequence: u64,
}

/// What a header says, beside lengths and checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the frame holds.
    pub kind: FrameKind,
    /// How many links it ends with.
    pub link_count: u16,
    /// Random, drawn when the server starts: frames of another run are none of this one's.
    pub run_id: u64,
    /// Grows by one from frame to frame of a shard, from 1 on in every run.
    pub sequence: u64,
    /// See the module.
    pub durable: u64,
}

impl Head {
    /// The head of a frame of changes.
    pub fn changes(run_id: u64, sequence: u64, durable: u64, link_count: u16) -> Head {
        Head { kind: FrameKind::Changes, link_count, run_id, sequence, durable }
    }
}

/// A frame that was read and is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub head: Head,
    /// Its bytes, the header's included.
    pub len: usize,
    /// Records, or what the kind says.
    pub body: &'a [u8],
    links: &'a [u8],
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// There is no such file.
    #[error("it is missing")]
    Missing,
    /// The bytes end within it.
    #[error("it ends within a frame")]
    Short,
    /// It does not begin as a frame does.
    #[error("no frame begins here")]
    Magic,
    /// The header's checksum differs.
    #[error("the header's checksum does not match")]
    Header,
    /// Written by another version of the program.
    #[error("it has a format that this program does not know")]
    Version,
    /// The payload's checksum differs.
    #[error("the checksum does not match")]
    Payload,
}

/// Complete a frame: `bytes` is the place of the header and the payload.
pub fn seal(bytes: &mut [u8], head: Head) {
    let (header, payload) = bytes.split_at_mut(FRAME_HEADER_BYTES);
    let payload_bytes = u32::try_from(payload.len()).expect("a frame is shorter than 4 GiB");
    header[0..4].copy_from_slice(&MAGIC);
    header[4] = VERSION;
    header[5] = head.kind as u8;
    header[6..8].copy_from_slice(&head.link_count.to_le_bytes());
    header[8..16].copy_from_slice(&head.run_id.to_le_bytes());
    header[16..24].copy_from_slice(&head.sequence.to_le_bytes());
    header[24..32].copy_from_slice(&head.durable.to_le_bytes());
    header[32..36].copy_from_slice(&payload_bytes.to_le_bytes());
    header[36..40].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    header[40..44].copy_from_slice(&[0; 4]);
    let crc = crc32c::crc32c(&header[..HEADER_CRC_AT]);
    header[HEADER_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

/// Write a link to the start of `bytes`.
pub fn write_link(bytes: &mut [u8], link: Link) {
    bytes[..2].copy_from_slice(&link.shard.to_le_bytes());
    bytes[2..LINK_BYTES].copy_from_slice(&link.sequence.to_le_bytes());
}

/// Read a header: what it says, and how many bytes follow.
pub fn parse_header(bytes: &[u8]) -> Result<(Head, usize), Broken> {
    let magic_bytes = bytes.len().min(MAGIC.len());
    if bytes[..magic_bytes] != MAGIC[..magic_bytes] {
        return Err(Broken::Magic);
    }
    let header = bytes.first_chunk::<FRAME_HEADER_BYTES>().ok_or(Broken::Short)?;
    if crc32c::crc32c(&header[..HEADER_CRC_AT]) != u32_at(header, HEADER_CRC_AT) {
        return Err(Broken::Header);
    }
    let kinds = [FrameKind::File, FrameKind::Changes, FrameKind::Part, FrameKind::End];
    let kind =
        kinds.into_iter().find(|kind| *kind as u8 == header[5] && header[4] == VERSION).ok_or(Broken::Version)?;
    let head = Head {
        kind,
        link_count: u16::from_le_bytes([header[6], header[7]]),
        run_id: u64_at(header, 8),
        sequence: u64_at(header, 16),
        durable: u64_at(header, 24),
    };
    Ok((head, u32_at(header, 32) as usize))
}

/// Read the frame at the start of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Frame<'_>, Broken> {
    let (head, payload_bytes) = parse_header(bytes)?;
    let payload = bytes[FRAME_HEADER_BYTES..].get(..payload_bytes).ok_or(Broken::Short)?;
    if crc32c::crc32c(payload) != u32_at(bytes, 36) {
        return Err(Broken::Payload);
    }
    let links_bytes = usize::from(head.link_count) * LINK_BYTES;
    let (body, links) = payload.split_at_checked(payload.len().wrapping_sub(links_bytes)).ok_or(Broken::Payload)?;
    Ok(Frame { head, len: FRAME_HEADER_BYTES + payload_bytes, body, links })
}

impl<'a> Frame<'a> {
    /// The records. An error means that they were written by another version of the program.
    pub fn records(&self) -> impl Iterator<Item = Result<Record<'a>, Broken>> + use<'a> {
        let mut rest = self.body;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let Some((record, len)) = record::read(rest) else {
                rest = &[];
                return Some(Err(Broken::Version));
            };
            rest = &rest[len..];
            Some(Ok(record))
        })
    }

    /// The links.
    pub fn links(&self) -> impl Iterator<Item = Link> + use<'a> {
        self.links
            .chunks_exact(LINK_BYTES)
            .map(|link| Link { shard: u16::from_le_bytes([link[0], link[1]]), sequence: u64_at(link, 2) })
    }
}

/// What the first frame of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// Whose file it is.
    pub shard: u16,
    /// Of how many shards: which slots are its own follows from both.
    pub shard_count: u16,
}

impl FileHead {
    /// Bytes of a whole frame of this kind.
    pub const FRAME_BYTES: usize = FRAME_HEADER_BYTES + 4;

    /// The first frame of a file. Its sequence is that of the frame that will follow.
    pub fn frame(self, run_id: u64, sequence: u64) -> Vec<u8> {
        let mut bytes = vec![0; FileHead::FRAME_BYTES];
        bytes[FRAME_HEADER_BYTES..][..2].copy_from_slice(&self.shard.to_le_bytes());
        bytes[FRAME_HEADER_BYTES + 2..].copy_from_slice(&self.shard_count.to_le_bytes());
        seal(&mut bytes, Head { kind: FrameKind::File, link_count: 0, run_id, sequence, durable: 0 });
        bytes
    }

    /// What such a frame says.
    pub fn of(frame: &Frame<'_>) -> Option<FileHead> {
        let body: &[u8; 4] = frame.body.try_into().ok().filter(|_| frame.head.kind == FrameKind::File)?;
        let number = |at: usize| u16::from_le_bytes([body[at], body[at + 1]]);
        Some(FileHead { shard: number(0), shard_count: number(2) })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Entry;
    use crate::journal::record::Kind;

    fn a_frame() -> Vec<u8> {
        let mut bytes = vec![0; 200];
        let mut end = FRAME_HEADER_BYTES;
        let entry = Entry { value: 42, expires_at_ms: Some(1) };
        end += record::write(&mut bytes[end..], Kind::PutExpiring, b"views", entry);
        end += record::write(&mut bytes[end..], Kind::Delete, b"likes", entry);
        write_link(&mut bytes[end..], Link { shard: 3, sequence: 77 });
        bytes.truncate(end + LINK_BYTES);
        seal(&mut bytes, Head::changes(0xABCD, 5, 4, 1));
        bytes
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let bytes = a_frame();
        let frame = parse(&bytes).expect("it is whole");
        assert_eq!((frame.head, frame.len), (Head::changes(0xABCD, 5, 4, 1), bytes.len()));
        let entry = Entry { value: 42, expires_at_ms: Some(1) };
        let records: Vec<_> = frame.records().map(|record| record.expect("a record")).collect();
        assert_eq!(records, [Record::Put(b"views", entry), Record::Delete(b"likes")]);
        assert!(frame.links().eq([Link { shard: 3, sequence: 77 }]));
    }

    #[test]
    fn a_frame_that_is_cut_or_changed_anywhere_is_none() {
        let bytes = a_frame();
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), Err(Broken::Short), "cut at {len}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(parse(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_file_begins_with_its_shard() {
        let head = FileHead { shard: 2, shard_count: 5 };
        let bytes = head.frame(9, 100);
        let frame = parse(&bytes).expect("it is whole");
        assert_eq!((FileHead::of(&frame), frame.head.sequence), (Some(head), 100));
        let bytes = a_frame();
        assert_eq!(FileHead::of(&parse(&bytes).expect("it is whole")), None);
    }
}
