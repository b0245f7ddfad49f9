//! What `--recover` leaves of a damaged run that was closed, and of a damaged snapshot: all that does not rest on what is
//! lost, and never a wrong value. Without it a refusal that says what would be dropped.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use super::damage::{Journal, State, a_journal, of_another_version, state_of};
use super::disk::{Random, SimulatedDisk};
use crate::counters::{Counters, Entry, Op, Seed};
use crate::journal::changes::{Recorder, Taken};
use crate::journal::disk::FilesMut;
use crate::journal::frame::{self, FRAME_HEADER_BYTES, FileHead, FrameKind, Head, Link};
use crate::journal::manifest::{Manifest, Run, Snapshot, segment_name, snapshot_name};
use crate::journal::record::{self, Kind};
use crate::journal::recovery::{self, Damage, Examined, Extent, Loss, RecoveryError};
use crate::journal::snapshot::{Part, SnapshotWriter};
use crate::journal::writer::Writer;

const SLOTS: Range<u16> = 0..16_384;

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

fn disk_with<'a>(manifest: &Manifest, files: impl IntoIterator<Item = (&'a String, &'a [u8])>) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    recovery::replace_manifest(&disk, manifest).expect("the disk does not fail");
    files.into_iter().for_each(|(name, bytes)| disk.set_bytes(name, bytes.to_vec()));
    disk
}

fn load(disk: &SimulatedDisk, manifest: &Manifest, recover: bool) -> Result<State, RecoveryError> {
    let mut counters = Counters::new(SLOTS);
    recovery::load(disk, manifest, recover, SLOTS, &mut counters, 0, &AtomicU64::new(0))?;
    Ok(state_of(&counters))
}

/// That a start is refused, and that one with `--recover` drops just what the refusal has named.
#[track_caller]
fn refused_and_recovered(disk: &SimulatedDisk) -> (Damage, Examined, State) {
    let strict = recovery::examine(disk, false).expect("the run that is open, if there is one, is whole");
    assert_eq!(strict.losses, []);
    let Err(RecoveryError::Damaged(damage)) = load(disk, &strict.manifest, false) else { panic!("it is damaged") };
    let examined = recovery::examine(disk, true).expect("all that is damaged can be dropped");
    assert_eq!(examined.losses.first(), Some(&Loss::Damage(damage.clone())));
    let state = load(disk, &examined.manifest, true).expect("what is left is whole");
    (damage, examined, state)
}

/// A start as the server does it: what was dropped stays dropped.
fn put_in_force(disk: &SimulatedDisk, examined: &Examined) {
    recovery::replace_manifest(disk, &examined.manifest).expect("the disk does not fail");
    examined.stale.iter().for_each(|name| FilesMut::remove(disk, name).expect("the disk does not fail"));
}

/// A run that was closed and one behind it.
struct TwoRuns {
    manifest: Manifest,
    first: Journal,
    second: (String, Vec<u8>),
    /// What the second run says of the counters that it has changed.
    changed: BTreeMap<Vec<u8>, Option<Entry>>,
}

impl TwoRuns {
    fn new() -> TwoRuns {
        let first = a_journal();
        let disk = SimulatedDisk::new(1);
        let mut counters = Counters::new(SLOTS);
        let seed = Seed::of_process();
        for (key, entry) in first.states.last().expect("there are states") {
            counters.put(seed.key(key), *entry).expect("there is no limit");
        }
        counters.start_recording(Box::new(Recorder::new(1)));
        let mut changed = BTreeMap::new();
        for index in 0..120 {
            let name = format!("counter:{}", index * 4);
            let key = seed.key(name.as_bytes());
            let was_there = counters.take(key, 0).is_some();
            if index % 3 > 0 {
                counters.apply(key, Op::Add(index), 0);
            }
            if was_there || index % 3 > 0 {
                changed.insert(name.into_bytes(), None);
            }
        }
        let Taken::Frame(mut filled) = counters.take_frame(usize::MAX) else { panic!("something has changed") };
        let state = state_of(&counters);
        changed.iter_mut().for_each(|(key, entry)| *entry = state.get(key).copied());
        assert!(changed.values().any(Option::is_none) && changed.values().any(Option::is_some));
        let head = FileHead { shard: 0, shard_count: 1 };
        block_on(async {
            let mut writer = Writer::new(disk.clone(), 2, 0xBEEF, head);
            writer.write(&mut filled, false).await.expect("the disk does not fail");
        });
        let mut manifest = first.manifest.clone();
        manifest.runs.push(Run { to: Some(vec![1]), ..Run::begin(2, 0xBEEF, 1) });
        manifest.runs[0].to = Some(vec![first.frames.len() as u64]);
        let name = segment_name(2, 0, 1);
        TwoRuns { manifest, first, second: (name.clone(), disk.bytes(&name)), changed }
    }

    fn disk(&self, first: &[u8]) -> SimulatedDisk {
        disk_with(&self.manifest, [(&self.first.file, first), (&self.second.0, &self.second.1)])
    }

    /// What there is when only so many frames of the first run count.
    fn expected(&self, frame_count: usize) -> State {
        let mut state = self.first.states[frame_count].clone();
        for (key, entry) in &self.changed {
            match entry {
                Some(entry) => _ = state.insert(key.clone(), *entry),
                None => _ = state.remove(key),
            }
        }
        state
    }

    fn check(&self, first: &[u8], whole_count: usize, behind_count: usize, what: &str) {
        let disk = self.disk(first);
        let (damage, examined, state) = refused_and_recovered(&disk);
        assert_eq!(examined.losses.len(), 1, "{what}");
        let is_behind =
            |extent| matches!(extent, Extent::Journal { frame_count, .. } if frame_count == behind_count as u64);
        assert!(is_behind(damage.extent), "{what}: {damage}");
        assert!(state == self.expected(whole_count), "{what}: not {whole_count} frames and the next run");
        put_in_force(&disk, &examined);
        let next = recovery::examine(&disk, false).expect("what was damaged is dropped for good");
        assert!(load(&disk, &next.manifest, false).expect("it is whole") == state, "{what}");
    }
}

#[test]
fn of_a_closed_run_a_prefix_is_left_and_later_runs_apply_on_top() {
    let runs = TwoRuns::new();
    let Journal { bytes, frames, .. } = &runs.first;
    assert!(load(&runs.disk(bytes), &runs.manifest, false).expect("it is whole") == runs.expected(frames.len()));
    let mut random = Random(7);
    for at in (0..bytes.len()).step_by(101) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.below(8);
        let (whole_count, behind_count) = match frames.iter().position(|range| range.contains(&at)) {
            Some(frame) => (frame, frames.len() - frame - 1),
            None => (0, frames.len()),
        };
        runs.check(&changed, whole_count, behind_count, &format!("byte {at}"));
        let whole_count = frames.iter().take_while(|range| range.end <= at).count();
        runs.check(&bytes[..at], whole_count, 0, &format!("cut at {at}"));
    }
}

#[test]
fn of_a_closed_run_no_transaction_is_left_in_part() {
    let link = |shard: u16, sequence| Some(Link { shard, sequence });
    let frame = |sequence, name: &str, link: Option<Link>| {
        let mut bytes = vec![0; 200];
        let entry = Entry { value: 1, expires_at_ms: None };
        let mut end =
            FRAME_HEADER_BYTES + record::write(&mut bytes[FRAME_HEADER_BYTES..], Kind::Put, name.as_bytes(), entry);
        if let Some(link) = link {
            frame::write_link(&mut bytes[end..], link);
            end += frame::LINK_BYTES;
        }
        bytes.truncate(end);
        frame::seal(&mut bytes, Head::changes(5, sequence, 0, u16::from(link.is_some())));
        bytes
    };
    let files: Vec<(String, Vec<u8>)> = [
        [frame(1, "a1", None), frame(2, "a2", None), frame(3, "a3", link(1, 2))],
        [frame(1, "b1", None), frame(2, "b2", link(0, 3)), frame(3, "b3", None)],
    ]
    .into_iter()
    .enumerate()
    .map(|(shard, frames)| {
        let head = FileHead { shard: shard as u16, shard_count: 2 }.frame(5, 1);
        (segment_name(1, shard, 1), [head, frames.concat()].concat())
    })
    .collect();
    let manifest = Manifest { snapshot: None, runs: vec![Run { to: Some(vec![3, 3]), ..Run::begin(1, 5, 2) }] };
    let [(first, first_bytes), (second, second_bytes)] = &files[..] else { panic!("two shards") };
    let whole = disk_with(&manifest, [(first, &first_bytes[..]), (second, second_bytes)]);
    let examined = recovery::examine(&whole, true).expect("it is whole");
    assert_eq!((&examined.manifest, &examined.losses[..]), (&manifest, &[][..]));

    let cut = &first_bytes[..first_bytes.len() - 1];
    let disk = disk_with(&manifest, [(first, cut), (second, second_bytes)]);
    let (_, examined, state) = refused_and_recovered(&disk);
    assert_eq!(examined.losses[1..], [Loss::Linked { run: 1, shard: 1, frame_count: 2 }]);
    assert_eq!(state.keys().map(|key| String::from_utf8_lossy(key)).collect::<Vec<_>>(), ["a1", "a2", "b1"]);
}

/// One shard's file of a snapshot, where its frames lie, and which counters are in each; and a run behind it.
struct TakenSnapshot {
    manifest: Manifest,
    file: String,
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
    parts: Vec<State>,
    run: (String, Vec<u8>),
}

const NUMBER: u64 = 4;

impl TakenSnapshot {
    fn new() -> TakenSnapshot {
        // The last part is shorter than a key may be, the others are not.
        let counts = std::iter::repeat_n(60, 40).chain([5]).enumerate();
        let parts = counts.map(|(part, count)| {
            let entry =
                |index: i64| Entry { value: index - 7, expires_at_ms: (index % 4 == 0).then_some(i64::MAX / 2) };
            (0..count).map(|index| (format!("part:{part}:{index}").into_bytes(), entry(index))).collect()
        });
        TakenSnapshot::with_parts(parts.collect())
    }

    fn with_parts(parts: Vec<State>) -> TakenSnapshot {
        let disk = SimulatedDisk::new(1);
        block_on(async {
            let head = FileHead { shard: 0, shard_count: 1 };
            let mut writer = SnapshotWriter::create(&disk, NUMBER, head).await.expect("the disk does not fail");
            for state in &parts {
                let mut part = Part::default();
                state.iter().for_each(|(key, entry)| assert!(part.put(key, *entry)));
                writer.write(&mut part).await.expect("the disk does not fail");
            }
            writer.finish().await.expect("the disk does not fail");
        });
        let file = snapshot_name(NUMBER, 0);
        let bytes = disk.bytes(&file);
        let mut frames = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let len = frame::parse(&bytes[at..]).expect("whole frames").len;
            frames.push(at..at + len);
            at += len;
        }
        assert_eq!(frames.len(), parts.len() + 2);
        let mut payload = vec![0; FRAME_HEADER_BYTES + 100];
        let mut end = FRAME_HEADER_BYTES;
        let entry = Entry { value: 77, expires_at_ms: None };
        end += record::write(&mut payload[end..], Kind::Put, b"part:3:5", entry);
        end += record::write(&mut payload[end..], Kind::Delete, b"part:7:0", entry);
        payload.truncate(end);
        frame::seal(&mut payload, Head::changes(9, 1, 0, 0));
        let run = FileHead { shard: 0, shard_count: 1 }.frame(9, 1);
        let snapshot = Some(Snapshot { number: NUMBER, shard_count: 1 });
        let manifest = Manifest { snapshot, runs: vec![Run { to: Some(vec![1]), ..Run::begin(1, 9, 1) }] };
        TakenSnapshot { manifest, file, bytes, frames, parts, run: (segment_name(1, 0, 1), [run, payload].concat()) }
    }

    fn disk(&self, bytes: &[u8]) -> SimulatedDisk {
        disk_with(&self.manifest, [(&self.file, bytes), (&self.run.0, &self.run.1)])
    }

    /// What there is when only some parts, by their frames, are whole.
    fn expected(&self, is_whole: impl Fn(usize) -> bool) -> State {
        let whole = self.parts.iter().enumerate().filter(|(part, _)| is_whole(part + 1));
        let mut state: State = whole.flat_map(|(_, part)| part.clone()).collect();
        state.insert(b"part:3:5".to_vec(), Entry { value: 77, expires_at_ms: None });
        state.remove(&b"part:7:0"[..]);
        state
    }

    /// The damage that is found in such a file, when these frames are left.
    fn check(&self, bytes: &[u8], is_whole: impl Fn(usize) -> bool, lost_count: Option<u64>, what: &str) -> Damage {
        let disk = self.disk(bytes);
        let (damage, examined, state) = refused_and_recovered(&disk);
        assert_eq!(examined.losses.len(), 1, "{what}");
        assert!(state == self.expected(is_whole), "{what}: not all whole parts, or more");
        assert_eq!(damage.file, self.file, "{what}");
        assert_eq!(damage.extent, Extent::Snapshot { place_count: 1, lost_count }, "{what}");
        assert_eq!(examined.manifest, self.manifest, "{what}");
        put_in_force(&disk, &examined);
        assert!(load(&disk, &self.manifest, false).is_err(), "{what}: only another snapshot mends it");
        damage
    }
}

#[test]
fn of_a_snapshot_all_whole_parts_are_left() {
    let taken = TakenSnapshot::new();
    let TakenSnapshot { bytes, frames, parts, .. } = &taken;
    assert!(load(&taken.disk(bytes), &taken.manifest, false).expect("it is whole") == taken.expected(|_| true));
    assert_eq!(recovery::examine(&taken.disk(bytes), true).expect("it is whole").losses, []);
    let mut random = Random(7);
    for at in (0..bytes.len()).step_by(127) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.below(8);
        let damaged = frames.iter().position(|range| range.contains(&at)).expect("frames are all there is");
        let lost_count = match damaged {
            0 => Some(0),
            end if end == frames.len() - 1 => None,
            part => Some(parts[part - 1].len() as u64),
        };
        let damage = taken.check(&changed, |frame| frame != damaged, lost_count, &format!("byte {at}"));
        assert_eq!(damage.offset, frames[damaged].start as u64, "byte {at}");

        let damage = taken.check(&bytes[..at], |frame| frames[frame].end <= at, None, &format!("cut at {at}"));
        assert_eq!(damage.offset, frames[damaged].start as u64, "cut at {at}");
    }
    for (index, Range { start, end }) in frames.iter().cloned().enumerate() {
        let damage = taken.check(&bytes[..start], |frame| frame < index, None, &format!("cut before frame {index}"));
        assert_eq!(damage.offset, start as u64, "cut before frame {index}");
        // Bytes that are gone from its middle are known by the numbers of the frames.
        if (1..frames.len() - 1).contains(&index) {
            let shorter = [&bytes[..start], &bytes[end..]].concat();
            let lost_count = Some(parts[index - 1].len() as u64);
            taken.check(&shorter, |frame| frame != index, lost_count, &format!("without frame {index}"));
        }
    }
}

#[test]
fn of_a_snapshot_in_many_places_damaged_the_rest_is_left() {
    let taken = TakenSnapshot::new();
    let TakenSnapshot { bytes, frames, parts, .. } = &taken;
    let mut changed = bytes.clone();
    let damaged = [3, 4, 9, 20];
    damaged.iter().for_each(|frame| changed[frames[*frame].start + 70] ^= 1);
    let (damage, _, state) = refused_and_recovered(&taken.disk(&changed));
    assert!(state == taken.expected(|frame| !damaged.contains(&frame)));
    let lost_count = damaged.iter().map(|frame| parts[frame - 1].len() as u64).sum();
    // Two that follow each other are one place.
    assert_eq!(damage.extent, Extent::Snapshot { place_count: 3, lost_count: Some(lost_count) });
    assert!(damage.to_string().contains(", and so in 2 more places; 240 of its counters are lost"), "{damage}");
}

#[test]
fn a_file_of_a_snapshot_that_is_missing_or_another_shards_is_lost_as_a_whole() {
    let taken = TakenSnapshot::new();
    let disk = disk_with(&taken.manifest, [(&taken.run.0, &taken.run.1[..])]);
    let (damage, _, state) = refused_and_recovered(&disk);
    assert!(state == taken.expected(|_| false));
    assert_eq!((damage.offset, damage.extent), (0, Extent::Snapshot { place_count: 1, lost_count: None }));
    assert!(damage.to_string().contains("it is missing; an unknown number of its counters are lost"), "{damage}");

    let head = FileHead { shard: 1, shard_count: 2 }.frame(NUMBER, 0);
    let anothers = [&head, &taken.bytes[head.len()..]].concat();
    let damage = taken.check(&anothers, |_| false, None, "another shard's file");
    assert_eq!(damage.offset, 0);
}

#[test]
fn what_a_client_has_put_into_a_key_is_no_frame() {
    let mut forged = vec![0; FRAME_HEADER_BYTES + 100];
    let entry = Entry { value: 666, expires_at_ms: None };
    let end = FRAME_HEADER_BYTES + record::write(&mut forged[FRAME_HEADER_BYTES..], Kind::Put, b"forged", entry);
    forged.truncate(end);
    let head = Head { kind: FrameKind::Part, link_count: 0, run_id: NUMBER, sequence: 2, durable: 0 };
    frame::seal(&mut forged, head);
    assert!(frame::parse(&forged).is_ok());
    let filler = |part: usize| (0..100).map(move |index| (format!("filler:{part}:{index}").into_bytes(), entry));
    let parts = [filler(0).chain([(forged, entry)]).collect(), filler(1).collect(), filler(2).collect()];
    let taken = TakenSnapshot::with_parts(parts.to_vec());
    for at in [0, 40, FRAME_HEADER_BYTES + 20] {
        let mut changed = taken.bytes.clone();
        changed[taken.frames[1].start + at] ^= 1;
        taken.check(&changed, |frame| frame != 1, Some(101), &format!("byte {at} of the frame"));
    }
}

#[test]
fn a_snapshot_of_another_version_is_not_dropped() {
    let taken = TakenSnapshot::new();
    for frame in [0, 3, taken.frames.len() - 1] {
        let mut changed = taken.bytes.clone();
        let start = taken.frames[frame].start;
        of_another_version(&mut changed[start..], 4);
        let disk = taken.disk(&changed);
        let is_told = |error: &RecoveryError| matches!(error, RecoveryError::Format { file, offset } if *file == taken.file && *offset == start as u64);
        assert!(recovery::examine(&disk, true).is_err_and(|error| is_told(&error)), "frame {frame}");
        assert!(load(&disk, &taken.manifest, false).is_err_and(|error| is_told(&error)), "frame {frame}");
    }
}
