//! A journal that is cut at every byte, and one with every byte changed: an exact prefix, or a refusal that is right.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::disk::{Random, SimulatedDisk};
use crate::counters::{Counters, Entry, Op, Outcome, Seed};
use crate::journal::changes::{Recorder, Taken};
use crate::journal::disk::{Files, FilesMut};
use crate::journal::frame::{self, FRAME_HEADER_BYTES, FileHead, Head};
use crate::journal::manifest::{MANIFEST, Manifest, Run, segment_name};
use crate::journal::recovery::{self, Extent, Loss, RecoveryError};
use crate::journal::writer::Writer;

/// At least so long.
const JOURNAL_BYTES_MIN: usize = 64 * 1024;

/// Every so many frames are synced together.
const SYNC_INTERVAL: u64 = 3;

pub(super) type State = BTreeMap<Vec<u8>, Entry>;

/// A journal, where its frames lie, and what the counters were after each.
pub(super) struct Journal {
    pub manifest: Manifest,
    pub file: String,
    pub bytes: Vec<u8>,
    pub frames: Vec<Range<usize>>,
    pub states: Vec<State>,
}

pub(super) fn state_of(counters: &Counters) -> State {
    let mut state = State::new();
    let mut cursor = 0;
    loop {
        cursor = counters.scan(cursor, 1_000, 0, &mut |key, entry| {
            state.insert(key.to_vec(), entry);
            true
        });
        if cursor == 0 {
            return state;
        }
    }
}

pub(super) fn a_journal() -> Journal {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut random = Random(42);
    let disk = SimulatedDisk::new(1);
    let run = Run::begin(1, 0xFEED, 1);
    let mut writer = Writer::new(disk.clone(), run.number, run.id, FileHead { shard: 0, shard_count: 1 });
    let mut counters = Counters::new(0..16_384);
    counters.start_recording(Box::new(Recorder::new(1)));
    let mut states = vec![State::new()];
    let file = segment_name(1, 0, 1);
    loop {
        for _ in 0..200 {
            let name = format!("counter:{}", random.below(500));
            let key = Seed::of_process().key(name.as_bytes());
            let op = match random.below(20) {
                0 => Op::Delete,
                1 => Op::Expire { at_ms: i64::MAX / 2, cond: crate::counters::ExpireCond::Always },
                _ => Op::Add(random.next() as i64 >> 40),
            };
            assert!(!matches!(counters.apply(key, op, 0), Outcome::Fault(_)));
        }
        if random.one_in(5) {
            counters.flush(0);
        }
        let Taken::Frame(mut filled) = counters.take_frame(usize::MAX) else { panic!("something has changed") };
        runtime.block_on(async {
            writer.write(&mut filled, false).await.expect("the disk does not fail");
            if filled.sequence.is_multiple_of(SYNC_INTERVAL) {
                writer.sync().await.expect("the disk does not fail");
            }
        });
        counters.recorder_mut().expect("it records").give_back(filled.bytes);
        states.push(state_of(&counters));
        if disk.bytes(&file).len() >= JOURNAL_BYTES_MIN {
            break;
        }
    }
    let bytes = disk.bytes(&file);
    let mut frames = Vec::new();
    let mut at = FileHead::FRAME_BYTES;
    while at < bytes.len() {
        let len = frame::parse(&bytes[at..]).expect("whole frames").len;
        frames.push(at..at + len);
        at += len;
    }
    assert_eq!(frames.len() + 1, states.len());
    Journal { manifest: Manifest { snapshot: None, runs: vec![run] }, file, bytes, frames, states }
}

impl Journal {
    /// What the frames from the `first`-th on (from 0) say was on the disk: the number of a frame, from 1.
    fn attested(&self, first: usize) -> u64 {
        let heads = self.frames.iter().skip(first).map(|range| frame::parse(&self.bytes[range.clone()]));
        heads.map(|frame| frame.expect("whole frames").head.durable).max().unwrap_or(0)
    }

    fn disk_with(&self, bytes: Vec<u8>) -> SimulatedDisk {
        let disk = SimulatedDisk::new(1);
        recovery::replace_manifest(&disk, &self.manifest).expect("the disk does not fail");
        disk.set_bytes(&self.file, bytes);
        disk
    }

    /// That the disk has exactly the state after `count` frames.
    fn assert_prefix(&self, disk: &SimulatedDisk, count: usize, recover: bool) {
        let examined = recovery::examine(disk, recover).expect("it counts");
        let mut counters = Counters::new(0..16_384);
        recovery::load(disk, &examined.manifest, recover, 0..16_384, &mut counters, 0, &AtomicU64::new(0))
            .expect("it loads");
        assert!(state_of(&counters) == self.states[count], "not the state after {count} frames");
    }
}

fn end_of(examined: &recovery::Examined) -> usize {
    examined.manifest.runs.first().map_or(0, |run| run.to.as_ref().expect("closed")[0] as usize)
}

#[test]
fn frames_that_are_on_the_disk_at_once_stand_on_zeros() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for synchronous in [true, false] {
        let disk = SimulatedDisk::new(1);
        let mut writer = Writer::new(disk.clone(), 1, 0xFEED, FileHead { shard: 0, shard_count: 1 });
        let mut counters = Counters::new(0..16_384);
        counters.start_recording(Box::new(Recorder::new(1)));
        let file = segment_name(1, 0, 1);
        let (mut end, mut stood_on_zeros_count) = (FileHead::FRAME_BYTES, 0);
        for number in 0..200 {
            let before = if number > 0 { disk.bytes(&file) } else { Vec::new() };
            let key = Seed::of_process().key(b"counter");
            assert!(!matches!(counters.apply(key, Op::Add(1), 0), Outcome::Fault(_)));
            let Taken::Frame(mut filled) = counters.take_frame(usize::MAX) else { panic!("something has changed") };
            let frame_bytes = filled.len;
            runtime.block_on(writer.write(&mut filled, synchronous)).expect("the disk does not fail");
            let after = disk.bytes(&file);
            assert!(after[end..end + frame_bytes].iter().any(|byte| *byte != 0));
            if before.len() >= end + frame_bytes {
                assert_eq!(after.len(), before.len(), "a frame over zeros leaves the file as long as it was");
                stood_on_zeros_count += 1;
            }
            end += frame_bytes;
            assert!(after[end..].iter().all(|byte| *byte == 0));
            counters.recorder_mut().expect("it records").give_back(filled.bytes);
            runtime.block_on(writer.prepare());
            let ahead_bytes = disk.bytes(&file).len() - end;
            assert_eq!(ahead_bytes >= 2 * frame_bytes, synchronous, "room for two frames more, for those that need it");
        }
        assert_eq!(stood_on_zeros_count, if synchronous { 199 } else { 0 }, "only the first may make a file longer");
    }
}

#[test]
fn a_journal_that_is_cut_anywhere_is_an_exact_prefix() {
    let journal = a_journal();
    let mut checked = 0;
    for len in 0..=journal.bytes.len() {
        let disk = journal.disk_with(journal.bytes[..len].to_vec());
        let whole_count = journal.frames.iter().take_while(|range| range.end <= len).count();
        let examined = recovery::examine(&disk, false).unwrap_or_else(|error| panic!("cut at {len}: {error}"));
        assert_eq!(end_of(&examined), whole_count, "cut at {len}");
        let at_edge = len == 0 || len == FileHead::FRAME_BYTES || journal.frames.iter().any(|range| range.end == len);
        assert_eq!(examined.losses.is_empty(), at_edge, "cut at {len}: {:?}", examined.losses);
        // All cuts within a frame leave the same.
        if at_edge || len % 512 == 0 {
            journal.assert_prefix(&disk, whole_count, false);
            checked += 1;
        }
    }
    assert!(checked > 128 && journal.bytes.len() >= JOURNAL_BYTES_MIN);
}

#[test]
fn a_changed_byte_anywhere_is_a_cut_or_a_refusal_that_is_right() {
    let journal = a_journal();
    let damaged_frame = |at: usize| journal.frames.iter().position(|range| range.contains(&at));
    let (mut cut_count, mut refused_count) = (0, 0);
    let mut random = Random(7);
    for at in 0..journal.bytes.len() {
        let mut bytes = journal.bytes.clone();
        bytes[at] ^= 1 << random.below(8);
        let disk = journal.disk_with(bytes);
        // The head of the file stands before all frames.
        let whole_count = damaged_frame(at).unwrap_or(0);
        let attested = journal.attested(damaged_frame(at).map_or(0, |frame| frame + 1)) > whole_count as u64;
        match recovery::examine(&disk, false) {
            Ok(examined) => {
                assert!(!attested, "byte {at}: frame {} was on the disk", whole_count + 1);
                assert_eq!(end_of(&examined), whole_count, "byte {at}");
                assert!(matches!(examined.losses[..], [Loss::Tail { .. }]), "byte {at}");
                cut_count += 1;
            }
            Err(RecoveryError::Damaged(damage)) => {
                assert!(attested, "byte {at}: {damage}");
                assert_eq!(damage.file, journal.file);
                let start = damaged_frame(at).map_or(0, |frame| journal.frames[frame].start);
                assert_eq!(damage.offset, start as u64, "byte {at}");
                let behind = &journal.frames[damaged_frame(at).map_or(0, |frame| frame + 1)..];
                assert!(
                    matches!(damage.extent, Extent::Journal { frame_count, .. } if frame_count == behind.len() as u64)
                );
                refused_count += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
        if at % 2_048 == 0 {
            journal.assert_prefix(&disk, whole_count, true);
        }
    }
    assert!(cut_count > 1_000 && refused_count > 1_000, "{cut_count} cut, {refused_count} refused");
}

#[test]
fn zeros_behind_the_last_frame_are_no_loss() {
    let journal = a_journal();
    for count in [1, 3, 47, 48, 4_096, 100_000] {
        let frame_count = journal.frames.len() / 2;
        let end = journal.frames[frame_count - 1].end;
        let mut bytes = journal.bytes[..end].to_vec();
        bytes.resize(end + count, 0);
        let disk = journal.disk_with(bytes.clone());
        let examined = recovery::examine(&disk, false).expect("it counts");
        assert_eq!((end_of(&examined), examined.losses.len()), (frame_count, 0), "{count} zeros");
        journal.assert_prefix(&disk, frame_count, false);
        // A frame of which something has come is a loss, wherever the zeros end.
        *bytes.last_mut().expect("there are bytes") = 1;
        let examined = recovery::examine(&journal.disk_with(bytes), false).expect("it counts");
        assert_eq!(end_of(&examined), frame_count, "{count} zeros");
        assert!(matches!(&examined.losses[..], [Loss::Tail { bytes, .. }] if *bytes == count as u64));
    }
}

#[test]
fn what_was_closed_must_be_there() {
    let journal = a_journal();
    let mut manifest = journal.manifest.clone();
    manifest.runs[0].to = Some(vec![journal.frames.len() as u64]);
    let last = journal.frames.last().expect("there are frames").clone();
    for bytes in [journal.bytes[..last.end - 1].to_vec(), journal.bytes[..last.start].to_vec(), Vec::new()] {
        let disk = journal.disk_with(bytes);
        let mut counters = Counters::new(0..16_384);
        let loaded = recovery::load(&disk, &manifest, false, 0..16_384, &mut counters, 0, &AtomicU64::new(0));
        assert!(matches!(loaded, Err(RecoveryError::Damaged(_))));
    }
    let disk = journal.disk_with(journal.bytes.clone());
    FilesMut::remove(&disk, "manifest").expect("it was there");
    assert!(matches!(recovery::examine(&disk, false), Err(RecoveryError::NoManifest { .. })));
}

/// Another version's header, intact.
pub(super) fn of_another_version(frame: &mut [u8], at: usize) {
    frame[at] = 9;
    let crc = crc32c::crc32c(&frame[..FRAME_HEADER_BYTES - 4]);
    frame[FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn what_another_version_has_written_is_neither_cut_nor_dropped() {
    let journal = a_journal();
    let last = journal.frames.last().expect("there are frames").start;
    let mut closed = journal.manifest.clone();
    closed.runs[0].to = Some(vec![journal.frames.len() as u64]);
    // Where the version is, and the kind.
    for (offset, at) in [(0, 4), (journal.frames[5].start, 4), (last, 4), (last, 5)] {
        let mut bytes = journal.bytes.clone();
        of_another_version(&mut bytes[offset..], at);
        let disk = journal.disk_with(bytes);
        let is_told = |result: &Result<(), RecoveryError>| {
            matches!(result, Err(RecoveryError::Format { file, offset: told })
                if *file == journal.file && *told == offset as u64)
        };
        for recover in [false, true] {
            let examined = recovery::examine(&disk, recover).map(|_| ());
            assert!(is_told(&examined), "byte {offset}: {examined:?}");
        }
        let mut counters = Counters::new(0..16_384);
        let loaded = recovery::load(&disk, &closed, false, 0..16_384, &mut counters, 0, &AtomicU64::new(0));
        assert!(is_told(&loaded), "byte {offset}: {loaded:?}");
        recovery::replace_manifest(&disk, &closed).expect("the disk does not fail");
        let examined = recovery::examine(&disk, true).map(|_| ());
        assert!(is_told(&examined), "byte {offset} of a closed run: {examined:?}");
    }
}

/// A journal that a server writes while it is read: another state of its file each time that it is opened.
struct Growing<'a> {
    journal: &'a Journal,
    states: Vec<Vec<u8>>,
    opened_count: AtomicUsize,
}

impl<'a> Growing<'a> {
    fn new(journal: &'a Journal, states: Vec<Vec<u8>>) -> Growing<'a> {
        Growing { journal, states, opened_count: AtomicUsize::new(0) }
    }
}

impl Files for Growing<'_> {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(vec![MANIFEST.to_owned(), self.journal.file.clone()])
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn io::Read + '_>> {
        if name == MANIFEST {
            return Ok(Box::new(io::Cursor::new(self.journal.manifest.to_string())));
        }
        let opened_count = self.opened_count.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(&self.states[opened_count.min(self.states.len() - 1)][..]))
    }
}

#[test]
fn what_a_server_writes_while_it_is_read_is_no_damage() {
    let journal = a_journal();
    let frame_count = journal.frames.len();
    // Zeros are written ahead, and frames over them.
    let with_frames = |is_there: &dyn Fn(usize) -> bool| {
        let mut bytes = journal.bytes.clone();
        let missing = journal.frames.iter().enumerate().filter(|(frame, _)| !is_there(*frame));
        missing.for_each(|(_, range)| bytes[range.clone()].fill(0));
        bytes
    };
    // So many more each time that a new one attests to frames which were not there before.
    let step_count = SYNC_INTERVAL as usize + 1;
    let states = (1..).map(|step| step * step_count);
    let states: Vec<Vec<u8>> =
        states.take_while(|count| *count <= frame_count).map(|count| with_frames(&|frame| frame < count)).collect();
    assert!(states.len() > 2);
    let growing = Growing::new(&journal, states);
    let examined = recovery::examine(&growing, false).expect("nothing is damaged");
    assert_eq!(examined.losses, []);
    assert!(end_of(&examined) > frame_count - step_count, "{} of {frame_count} frames", end_of(&examined));

    // A reading goes page by page: a frame may have been looked for before it was there, and one behind it after.
    let (torn, whole) = (with_frames(&|frame| frame != 4), journal.bytes.clone());
    let growing = Growing::new(&journal, vec![torn.clone(), torn.clone(), whole]);
    assert_eq!(end_of(&recovery::examine(&growing, false).expect("nothing is damaged")), frame_count);
    let standing = Growing::new(&journal, vec![torn]);
    let refused = recovery::examine(&standing, false);
    let start = journal.frames[4].start as u64;
    assert!(matches!(refused, Err(RecoveryError::Damaged(damage)) if damage.offset == start));
}

#[test]
fn headers_that_clients_have_put_into_keys_behind_a_torn_frame_are_passed_over() {
    let journal = a_journal();
    let mut bytes = journal.bytes.clone();
    let start = bytes.len();
    // Each says that megabytes follow, which are there.
    let (header_count, payload_bytes) = (100_000, 3 << 20);
    let mut forged = vec![0; FRAME_HEADER_BYTES];
    frame::seal(&mut forged, Head::changes(0xBAD, 1, u64::MAX, 0));
    forged[32..36].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    let crc = crc32c::crc32c(&forged[..FRAME_HEADER_BYTES - 4]);
    forged[FRAME_HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    assert!(frame::parse_header(&forged).is_ok());
    bytes.push(1);
    bytes.extend(forged.repeat(header_count));
    let disk = journal.disk_with(bytes.clone());
    let began = Instant::now();
    let examined = recovery::examine(&disk, false).expect("nothing is damaged");
    // Hundreds of gigabytes of checksums would take half a minute.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let bytes = (bytes.len() - start) as u64;
    assert_eq!(examined.losses, [Loss::Tail { file: journal.file.clone(), offset: start as u64, bytes }]);
}
