//! Power cuts, kills and failing operations, over and over, on two shards with transactions over both.
//!
//! Whatever the disk does, the counters that are recovered are those after some frame of each shard, no transaction is
//! divided, and no frame is missing that was said to be safe.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use super::damage::state_of;
use super::disk::{Random, SimulatedDisk, SimulatedFile};
use crate::counters::{Counters, Entry, Key, Op, Outcome, Seed};
use crate::journal::changes::{Recorder, Taken};
use crate::journal::cut::Progress;
use crate::journal::disk::{Disk, Files};
use crate::journal::frame::{FileHead, Link};
use crate::journal::manifest::{Manifest, Run, Snapshot};
use crate::journal::recovery;
use crate::journal::shared::{NotCommitted, commit_manifest, discard};
use crate::journal::snapshot::{self, Part, SnapshotWriter};
use crate::journal::writer::Writer;
use crate::slot::{self, ShardMap};

type State = BTreeMap<Vec<u8>, Entry>;

const SHARD_COUNT: usize = 2;
const KEY_COUNT: u64 = 24;

/// When frames are synced.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    Always,
    Everysec,
    No,
}

/// A shard as it runs, and what its counters were after each frame.
struct SimulatedShard {
    index: usize,
    counters: Counters,
    writer: Writer<SimulatedDisk>,
    states: Vec<State>,
}

/// One life of the server.
struct Life {
    disk: SimulatedDisk,
    policy: Policy,
    run: Run,
    shards: Vec<SimulatedShard>,
    progress: Progress,
    manifest: Manifest,
    next_snapshot: u64,
}

fn owner(key: &[u8]) -> usize {
    ShardMap::new(SHARD_COUNT).shard_of(slot::of(key))
}

fn name(number: u64) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn key(bytes: &[u8]) -> Key<'_> {
    Seed::of_process().key(bytes)
}

impl Life {
    /// Start on what the disk has. The counters found, and the frames that count of the run before.
    fn start(disk: &SimulatedDisk, policy: Policy, id: u64) -> (Life, State, Option<Vec<u64>>) {
        let examined = recovery::examine(disk, false).expect("a power cut damages nothing that was synced");
        let last = examined.manifest.runs.last();
        let to = last.filter(|run| run.number + 1 == examined.next_run).and_then(|run| run.to.clone());
        let run = Run::begin(examined.next_run, id, SHARD_COUNT);
        let manifest = examined.followed_by(disk, run.clone()).expect("nothing fails at the start");
        recovery::replace_manifest(disk, &manifest).expect("nothing fails at the start");
        // What counts is whole now, so there is nothing to drop.
        let again = recovery::examine(disk, true).expect("it was examined before");
        assert_eq!((&again.manifest, &again.losses[..]), (&examined.manifest, &[][..]));
        let map = ShardMap::new(SHARD_COUNT);
        let shards: Vec<SimulatedShard> = (0..SHARD_COUNT)
            .map(|index| {
                let mut counters = Counters::new(map.slots_of(index));
                let loaded = AtomicU64::new(0);
                recovery::load(disk, &examined.manifest, false, map.slots_of(index), &mut counters, 0, &loaded)
                    .expect("what was examined can be loaded");
                let states = vec![state_of(&counters)];
                counters.start_recording(Box::new(Recorder::new(1)));
                let head = FileHead { shard: index as u16, shard_count: SHARD_COUNT as u16 };
                let writer = Writer::new(disk.clone(), run.number, run.id, head);
                SimulatedShard { index, counters, writer, states }
            })
            .collect();
        // One shard of another number finds the same.
        let mut all = Counters::new(0..16_384);
        recovery::load(disk, &examined.manifest, false, 0..16_384, &mut all, 0, &AtomicU64::new(0)).expect("the same");
        let found = state_of(&all);
        let parts: State = shards.iter().flat_map(|shard| shard.states[0].clone()).collect();
        assert_eq!(found, parts);
        let progress = Progress::new(SHARD_COUNT);
        let next_snapshot = examined.next_snapshot;
        (Life { disk: disk.clone(), policy, run, shards, progress, manifest, next_snapshot }, found, to)
    }

    /// Some commands of clients.
    fn count(&mut self, random: &mut Random) {
        for _ in 0..1 + random.below(8) {
            if random.one_in(6) {
                self.transact(random);
                continue;
            }
            let name = name(random.below(KEY_COUNT));
            let counters = &mut self.shards[owner(&name)].counters;
            match random.below(24) {
                0..3 => {
                    counters.apply(key(&name), Op::Delete, 0);
                }
                _ => {
                    let outcome = counters.apply(key(&name), Op::Add(random.below(1_000) as i64), 0);
                    assert!(matches!(outcome, Outcome::Int(_)));
                }
            }
        }
    }

    /// A transaction: all counters are gone, or the same amount is added to a counter on each shard that nothing else
    /// touches.
    fn transact(&mut self, random: &mut Random) {
        let amount = 1 + random.below(1_000) as i64;
        let flushes = random.one_in(8);
        for half in halves() {
            if flushes {
                self.shards[owner(&half)].counters.flush(0);
                continue;
            }
            let outcome = self.shards[owner(&half)].counters.apply(key(&half), Op::Add(amount), 0);
            assert!(matches!(outcome, Outcome::Int(_)));
        }
        let frames: Vec<Link> = self
            .shards
            .iter_mut()
            .map(|shard| Link { shard: shard.index as u16, sequence: shard.recorder().sequence() })
            .collect();
        self.progress.add_group(frames.iter().map(|link| (link.shard, link.sequence)).collect());
        for shard in &mut self.shards {
            let index = shard.index as u16;
            shard.recorder().link(frames.iter().filter(|link| link.shard != index).copied());
        }
    }

    /// Write and perhaps sync one shard's frame. False: the server has stopped.
    async fn write(&mut self, index: usize, sync: bool) -> bool {
        let always = self.policy == Policy::Always;
        let shard = &mut self.shards[index];
        let state = state_of(&shard.counters);
        if let Taken::Frame(mut filled) = shard.counters.take_frame(usize::MAX) {
            shard.states.push(state);
            while shard.writer.write(&mut filled, always).await.is_err() {
                if always {
                    return false;
                }
            }
            shard.recorder().give_back(filled.bytes);
            shard.writer.prepare().await;
        }
        if always || sync {
            let synced = shard.writer.sync().await;
            if always && synced.is_err() {
                return false;
            }
        }
        self.progress.set_synced(index, self.shards[index].writer.on_disk());
        true
    }

    /// Take a snapshot while counting goes on. False: the server has stopped.
    async fn snapshot(&mut self, random: &mut Random) -> bool {
        let number = self.next_snapshot;
        self.next_snapshot += 1;
        let mut from = Vec::new();
        for index in 0..SHARD_COUNT {
            if !self.write(index, true).await {
                return false;
            }
            let begun = self.shards[index].writer.begin_segment().await;
            if begun.is_err() && self.policy == Policy::Always {
                return false;
            }
            from.push(self.shards[index].writer.written() + 1);
        }
        for index in 0..SHARD_COUNT {
            let head = FileHead { shard: index as u16, shard_count: SHARD_COUNT as u16 };
            let Ok(mut writer) = SnapshotWriter::create(&self.disk, number, head).await else { return true };
            let mut part = Part::default();
            let mut cursor = 0;
            loop {
                let put = &mut |key: &[u8], entry| part.put(key, entry);
                cursor = self.shards[index].counters.scan(cursor, 3, 0, put);
                self.count(random);
                if random.one_in(4) && !self.write(random.below(2) as usize, false).await {
                    return false;
                }
                if writer.write(&mut part).await.is_err() {
                    return true;
                }
                if cursor == 0 {
                    break;
                }
            }
            if writer.finish().await.is_err() {
                return true;
            }
        }
        let mut until = Vec::new();
        for index in 0..SHARD_COUNT {
            if !self.write(index, true).await {
                return false;
            }
            until.push(self.shards[index].writer.written());
        }
        for index in 0..SHARD_COUNT {
            for attempt in 1.. {
                // No more than one operation fails, so what is not on the disk after another sync never will be.
                assert!(attempt < 4, "the snapshot neither counts nor fails");
                let has_all: std::io::Result<Vec<bool>> =
                    self.shards.iter().zip(&until).map(|(shard, until)| shard.writer.has_on_disk(*until)).collect();
                let Ok(has_all) = has_all else { return true };
                if has_all[index] && self.progress.safe(index) >= until[index] {
                    break;
                }
                for other in 0..SHARD_COUNT {
                    if !self.write(other, true).await {
                        return false;
                    }
                }
            }
        }
        let run = Run { from: from.clone(), ..self.run.clone() };
        let snapshot = Some(Snapshot { number, shard_count: SHARD_COUNT });
        let manifest = Manifest { snapshot, runs: vec![run] };
        let committed = commit_manifest(&self.disk, &manifest).await;
        if let Err(NotCommitted::Old(_)) = &committed {
            discard(&self.disk, number, SHARD_COUNT).await;
        }
        if committed.is_ok() {
            self.manifest = manifest;
            for shard in &mut self.shards {
                shard.writer.set_found();
                self.progress.set_synced(shard.index, shard.writer.synced());
            }
            // What it replaces goes.
            let names = Files::names(&self.disk).expect("names");
            for name in names {
                let old = crate::journal::manifest::parse_segment_name(&name).is_some_and(|(run, shard, first)| {
                    run < self.run.number || (run == self.run.number && first < from[shard])
                });
                if old && Disk::remove(&self.disk, &name).await.is_err() {
                    break;
                }
            }
        }
        true
    }
}

impl Life {
    /// After a sync has failed the next snapshot sets all right, as no more than one operation fails. False: the server has
    /// stopped.
    async fn heal(&mut self, random: &mut Random) -> bool {
        if !self.is_lost() {
            return true;
        }
        let goes_on = self.snapshot(random).await;
        assert!(
            !goes_on || !self.is_lost(),
            "a snapshot that began behind the failed sync needs nothing of what was lost"
        );
        goes_on
    }

    fn is_lost(&self) -> bool {
        self.shards.iter().any(|shard| shard.writer.is_lost())
    }
}

impl SimulatedShard {
    fn recorder(&mut self) -> &mut Recorder {
        self.counters.recorder_mut().expect("it records")
    }
}

/// A key on each shard.
fn halves() -> [Vec<u8>; SHARD_COUNT] {
    let half = |shard| (0..).map(|n| format!("half:{n}").into_bytes()).find(|key| owner(key) == shard);
    [half(0).expect("some key"), half(1).expect("some key")]
}

/// Several lives on one disk.
async fn simulate(seed: u64) {
    let mut random = Random(seed);
    let disk = SimulatedDisk::new(seed);
    let policy = [Policy::Always, Policy::Everysec, Policy::No][random.below(3) as usize];
    let (mut life, found, _) = Life::start(&disk, policy, random.next());
    assert!(found.is_empty());
    for _ in 0..4 {
        if random.one_in(2) {
            disk.fail_after(1 + random.below(40));
        }
        for _ in 0..random.below(40) {
            life.count(&mut random);
            let goes_on = match random.below(30) {
                0 => life.snapshot(&mut random).await && life.heal(&mut random).await,
                1..20 => {
                    let sync = life.policy == Policy::Everysec && random.one_in(3);
                    life.write(random.below(2) as usize, sync).await
                }
                _ => true,
            };
            if !goes_on {
                break;
            }
        }
        let before = life;
        // What the process has written is there after it was killed, and the next power cut may take what was not synced.
        if random.one_in(2) {
            disk.crash()
        } else {
            disk.kill()
        }
        let safe: Vec<u64> = (0..SHARD_COUNT).map(|shard| before.progress.safe(shard)).collect();
        let lost = before.is_lost();
        let (next, found, to) = Life::start(&disk, policy, random.next());
        let to = to.unwrap_or(vec![0; SHARD_COUNT]);
        for (shard, (to, safe)) in before.shards.iter().zip(to.iter().zip(&safe)) {
            // Where a sync has failed nothing is safe until a snapshot is complete, and nobody waits for it to be.
            assert!(lost || to >= safe, "shard {}: {to} frames were recovered, {safe} were safe", shard.index);
        }
        let expected: State =
            before.shards.iter().zip(&to).flat_map(|(shard, to)| shard.states[*to as usize].clone()).collect();
        assert_eq!(found, expected, "not the counters after the frames {to:?}");
        let [one, other] = halves().map(|half| found.get(&half).map(|entry| entry.value));
        assert_eq!(one, other, "a transaction was divided");
        life = next;
    }
}

#[test]
fn whatever_a_disk_does_the_counters_are_those_after_some_frame() {
    let seeds = std::env::var("TALLYRING_SIMULATION_SEEDS").unwrap_or_else(|_| "0..400".to_owned());
    let (first, last) = seeds.split_once("..").expect("first..last");
    let range = first.parse::<u64>().expect("a seed")..last.parse::<u64>().expect("a seed");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for seed in range {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(simulate(seed))));
        if let Err(panic) = run {
            println!("TALLYRING_SIMULATION_SEEDS={seed}..{} repeats it", seed + 1);
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn a_part_of_a_snapshot_that_fails_leaves_no_file() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let head = FileHead { shard: 1, shard_count: 2 };
    let fill = async |writer: &mut SnapshotWriter<SimulatedFile>| {
        let mut part = Part::default();
        for number in 0..3 {
            assert!(part.put(&name(number), Entry { value: 1, expires_at_ms: None }));
            writer.write(&mut part).await?;
        }
        Ok(())
    };
    let mut failed_count = 0;
    for operation in 1.. {
        let disk = SimulatedDisk::new(1);
        disk.fail_after(operation);
        let taken = runtime.block_on(snapshot::take(&disk, 7, head, fill));
        let names = Files::names(&disk).expect("names");
        match taken {
            Err(_) => assert_eq!(names, [""; 0], "operation {operation} has failed"),
            Ok(bytes) => {
                assert_eq!(names, ["snapshot-000007-001"]);
                assert_eq!(bytes, disk.bytes(&names[0]).len() as u64);
                break;
            }
        }
        failed_count += 1;
    }
    // Made, begun, three parts, the end, synced.
    assert!(failed_count >= 7, "{failed_count}");
}
