//! The disk: files in memory, with what was written since the last sync kept apart.
//!
//! A crash keeps any of the unsynced sectors and a prefix of the unsynced changes of names. An operation can be told to
//! fail: a write may have written a part, a sync that fails has dropped what it should have kept.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::journal::disk::{Disk, DiskFile, Files, FilesMut};

/// What a disk writes at once, or not at all.
const SECTOR_BYTES: usize = 512;

/// Zeros that it writes ahead at once.
const ZEROS_BYTES: usize = 4_000;

/// The next of a row of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Clone, Default)]
struct Inode {
    synced: Vec<u8>,
    /// Offset and bytes, in order.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Inode {
    fn content(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        self.unsynced.iter().for_each(|(at, written)| put(&mut bytes, *at, written));
        bytes
    }

    fn sync(&mut self) {
        self.synced = self.content();
        self.unsynced.clear();
    }

    /// Each sector that was not synced is there or not.
    fn crash(&mut self, random: &mut Random) {
        for (at, written) in std::mem::take(&mut self.unsynced) {
            let mut start = 0;
            while start < written.len() {
                let sector_end = (at + start) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - at;
                let end = sector_end.min(written.len());
                if random.one_in(2) {
                    put(&mut self.synced, at + start, &written[start..end]);
                }
                start = end;
            }
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, written: &[u8]) {
    if bytes.len() < at + written.len() {
        bytes.resize(at + written.len(), 0);
    }
    bytes[at..][..written.len()].copy_from_slice(written);
}

enum NameChange {
    Link(String, usize),
    Rename(String, String),
    Remove(String),
}

struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    random: Random,
    operation_count: u64,
    fail_at: Option<u64>,
    short_writes: bool,
}

/// See the module. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

/// An open file.
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
    synchronous: bool,
}

impl State {
    /// Count an operation; an error if it is the one that fails.
    fn operate(&mut self) -> io::Result<()> {
        self.operation_count += 1;
        if self.fail_at != Some(self.operation_count) {
            return Ok(());
        }
        let kind = if self.random.one_in(2) { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        Err(kind.into())
    }

    fn change_name(&mut self, change: NameChange) {
        apply(&mut self.names, &change);
        self.unsynced_names.push(change);
    }

    fn sync_names(&mut self) {
        self.synced_names = self.names.clone();
        self.unsynced_names.clear();
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &NameChange) {
    match change {
        NameChange::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
    }
}

impl SimulatedDisk {
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            random: Random(seed),
            operation_count: 0,
            fail_at: None,
            short_writes: seed.is_multiple_of(2),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test goes on after a panic")
    }

    /// The operation after so many more fails, once.
    pub fn fail_after(&self, count: u64) {
        let mut state = self.state();
        state.fail_at = Some(state.operation_count + count);
    }

    /// The power is gone: what was not synced is there or not.
    pub fn crash(&self) {
        let mut state = self.state();
        let State { inodes, unsynced_names, synced_names, random, .. } = &mut *state;
        inodes.iter_mut().for_each(|inode| inode.crash(random));
        let kept_count = random.below(unsynced_names.len() as u64 + 1) as usize;
        unsynced_names.drain(..).take(kept_count).for_each(|change| apply(synced_names, &change));
        state.names = state.synced_names.clone();
        state.fail_at = None;
    }

    /// The process ends, and nothing more fails: what was written is there, for as long as there is power.
    pub fn kill(&self) {
        self.state().fail_at = None;
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[name]].content()
    }

    /// Put a file there, synced.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        state.inodes.push(Inode { synced: bytes, unsynced: Vec::new() });
        let inode = state.inodes.len() - 1;
        state.change_name(NameChange::Link(name.to_owned(), inode));
        state.sync_names();
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    async fn create(&self, name: &str, synchronous: bool) -> io::Result<SimulatedFile> {
        let mut state = self.state();
        state.operate()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.change_name(NameChange::Link(name.to_owned(), inode));
        Ok(SimulatedFile { disk: self.clone(), inode, synchronous })
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        assert!(state.names.contains_key(from));
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    async fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state();
        state.operate()?;
        state.sync_names();
        Ok(())
    }
}

impl DiskFile for SimulatedFile {
    async fn write_at(&self, bytes: Vec<u8>, range: Range<usize>, at: u64) -> (io::Result<usize>, Vec<u8>) {
        let mut state = self.disk.state();
        let failed = state.operate();
        let is_short = (failed.is_err() || state.short_writes) && state.random.one_in(2);
        let len = if is_short { state.random.below(range.len() as u64 + 1) as usize } else { range.len() };
        let written = bytes[range.start..][..len].to_vec();
        let inode = &mut state.inodes[self.inode];
        inode.unsynced.push((at as usize, written));
        if failed.is_ok() && self.synchronous {
            inode.sync();
        }
        // A write of nothing would be taken for a full disk.
        let result = failed.and(if len == 0 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(len) });
        (result, bytes)
    }

    async fn write_zeros(&self, at: u64) -> io::Result<usize> {
        // As many as it takes to see the difference.
        let zeros = vec![0; ZEROS_BYTES];
        self.write_at(zeros, 0..ZEROS_BYTES, at).await.0
    }

    async fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        if let Err(error) = state.operate() {
            // As Linux does: the pages are clean now, whether they were written or not.
            let State { inodes, random, .. } = &mut *state;
            inodes[self.inode].crash(random);
            return Err(error);
        }
        state.inodes[self.inode].sync();
        Ok(())
    }
}

impl Files for SimulatedDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        if !self.state().names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(io::Cursor::new(self.bytes(name))))
    }
}

impl FilesMut for SimulatedDisk {
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.inodes.push(Inode { synced: bytes.to_vec(), unsynced: Vec::new() });
        let inode = state.inodes.len() - 1;
        state.change_name(NameChange::Link(name.to_owned(), inode));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()));
        state.sync_names();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state().change_name(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.inodes[inode].sync();
        Ok(())
    }
}
