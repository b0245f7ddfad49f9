//! What has changed since the last flush: the frame that is being filled, one record for each counter.
//!
//! Pure, and of a fixed size. A counter that moves again has its record overwritten in place, so a hot one costs one
//! record a flush. While a frame is written the next one fills; who would overfill it must wait, so [`Recorder::has_room`]
//! comes before every operation. The index from keys to records is cleared by counting generations, not by writing.
//!
//! Expiry is no change: a put says when its counter expires, and whoever replays it looks at the clock.

use super::frame::{self, FRAME_HEADER_BYTES, LINK_BYTES, Link};
use super::record::{self, HEAD_BYTES, Kind, RECORD_BYTES_MAX};
use crate::counters::{Entry, Key, prefetch};
use crate::limits::{
    JOURNAL_BUFFER_BYTES, JOURNAL_INDEX_ENTRY_COUNT, JOURNAL_RECORD_COUNT_MAX, SHARD_COUNT_MAX,
    TRANSACTION_RECORD_BYTES_MAX, TRANSACTION_RECORD_COUNT_MAX, WINDOW_ITEM_COUNT_MAX,
};

/// Kept for the links of a frame: one to every other shard.
const LINKS_BYTES_MAX: usize = SHARD_COUNT_MAX * LINK_BYTES;

/// Where records end at the latest.
const RECORDS_END: usize = JOURNAL_BUFFER_BYTES - LINKS_BYTES_MAX;

const NO_ENTRY: Entry = Entry { value: 0, expires_at_ms: None };

/// An entry of the index: the generation that it belongs to, some more bits of the hash, and where the record begins.
const OFFSET_BITS: u32 = 24;
const GENERATION_BITS: u32 = 16;
const TAG_SHIFT: u32 = OFFSET_BITS + GENERATION_BITS;
const NO_OFFSET: u64 = !((1 << OFFSET_BITS) - 1);

const _: () = assert!(JOURNAL_BUFFER_BYTES <= 1 << OFFSET_BITS);
const _: () = assert!(JOURNAL_INDEX_ENTRY_COUNT.is_power_of_two());

/// So much must fit before something is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    bytes: usize,
    record_count: usize,
}

impl Room {
    /// For a window or a batch of the mesh.
    pub const WINDOW: Room =
        Room { bytes: WINDOW_ITEM_COUNT_MAX * RECORD_BYTES_MAX, record_count: WINDOW_ITEM_COUNT_MAX };
    /// For a whole transaction, whose changes must not be divided between two frames.
    pub const TRANSACTION: Room =
        Room { bytes: TRANSACTION_RECORD_BYTES_MAX, record_count: TRANSACTION_RECORD_COUNT_MAX };
}

// An empty frame has room for the largest transaction, and so has one that a few windows have gone into.
const _: () = assert!(FRAME_HEADER_BYTES + Room::TRANSACTION.bytes + 4 * Room::WINDOW.bytes <= RECORDS_END);
const _: () = assert!(TRANSACTION_RECORD_COUNT_MAX + 4 * WINDOW_ITEM_COUNT_MAX <= JOURNAL_RECORD_COUNT_MAX);
const _: () = assert!(JOURNAL_RECORD_COUNT_MAX < JOURNAL_INDEX_ENTRY_COUNT);

/// A frame that is ready to be sealed and written. Its bytes come back with [`Recorder::give_back`].
#[derive(Debug)]
pub struct Filled {
    /// The place of the header, the records, the links, and unused bytes.
    pub bytes: Vec<u8>,
    /// Bytes of the frame, its header included.
    pub len: usize,
    /// Its number.
    pub sequence: u64,
    /// How many links there are.
    pub link_count: u16,
    /// How many records there are.
    pub record_count: usize,
}

/// The recorder of one shard's changes.
pub struct Recorder {
    bytes: Vec<u8>,
    end: usize,
    record_count: usize,
    change_count: u64,
    sequence: u64,
    links: Vec<Link>,
    /// Another transaction's frame refers to this one: it is written even if it is empty.
    linked: bool,
    index: Box<[u64]>,
    generation: u64,
    spare: Option<Vec<u8>>,
}

impl Recorder {
    /// Bytes that one takes.
    pub const BYTES: usize = 2 * JOURNAL_BUFFER_BYTES + JOURNAL_INDEX_ENTRY_COUNT * size_of::<u64>();

    /// One whose first frame has this number.
    pub fn new(sequence: u64) -> Recorder {
        // Ones, not zeros: zeroed pages would not be there before they are written to.
        let buffer = || vec![1; JOURNAL_BUFFER_BYTES];
        Recorder {
            bytes: buffer(),
            end: FRAME_HEADER_BYTES,
            record_count: 0,
            change_count: 0,
            sequence,
            links: Vec::with_capacity(SHARD_COUNT_MAX),
            linked: false,
            // Of a generation that is never current.
            index: vec![NO_OFFSET; JOURNAL_INDEX_ENTRY_COUNT].into_boxed_slice(),
            generation: 0,
            spare: Some(buffer()),
        }
    }

    /// Whether so much fits into the frame that is being filled.
    #[inline]
    pub fn has_room(&self, room: Room) -> bool {
        self.end + room.bytes <= RECORDS_END && self.record_count + room.record_count <= JOURNAL_RECORD_COUNT_MAX
    }

    /// Whether the frame is half full: it should be written soon.
    pub fn is_filling_up(&self) -> bool {
        self.end > RECORDS_END / 2 || self.record_count > JOURNAL_RECORD_COUNT_MAX / 2
    }

    /// The number of the frame that is being filled.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The last frame that has something in it; all that was recorded so far is in it or in those before.
    #[inline]
    pub fn last_sequence(&self) -> u64 {
        if self.is_empty() { self.sequence - 1 } else { self.sequence }
    }

    /// Whether there is nothing to write.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0 && !self.linked
    }

    /// Bytes of the frame so far; 0 while there is nothing to write.
    pub fn filled_bytes(&self) -> usize {
        if self.is_empty() { 0 } else { self.end }
    }

    /// How many records the frame has so far.
    pub fn record_count(&self) -> usize {
        self.record_count
    }

    /// How many changes there have been.
    #[inline]
    pub fn change_count(&self) -> u64 {
        self.change_count
    }

    /// A counter has this state.
    #[inline]
    pub fn put(&mut self, key: Key<'_>, entry: Entry) {
        self.change_count += 1;
        let kind = Kind::of(entry);
        let place = self.find(key);
        if let Some(start) = place.start
            && self.bytes[start] == kind as u8
        {
            let tail = start + HEAD_BYTES + key.bytes.len();
            return record::write_tail(&mut self.bytes[tail..], kind, entry);
        }
        self.push(kind, key, entry, place.index);
    }

    /// A counter is gone.
    pub fn delete(&mut self, key: Key<'_>) {
        self.change_count += 1;
        let place = self.find(key);
        if place.start.is_none_or(|start| self.bytes[start] != Kind::Delete as u8) {
            self.push(Kind::Delete, key, NO_ENTRY, place.index);
        }
    }

    /// All counters are gone: what the frame says of any before is void.
    pub fn flush(&mut self) {
        self.change_count += 1;
        self.end = FRAME_HEADER_BYTES;
        self.record_count = 0;
        self.forget_index();
        self.end += record::write(&mut self.bytes[self.end..], Kind::Flush, b"", NO_ENTRY);
        self.record_count = 1;
    }

    /// Ask for the first that recording a change of a key with this hash will read.
    #[inline]
    fn prefetch_entry(&self, hash: u64) {
        prefetch(&self.index[home(hash)]);
    }

    /// Ask for the second, which reads the first.
    #[inline]
    fn prefetch_record(&self, hash: u64) {
        let entry = self.index[home(hash)];
        // An entry of another generation names bytes too, which may as well be asked for.
        if let Some(record) = self.bytes.get((entry & !NO_OFFSET) as usize) {
            prefetch(record);
        }
    }

    /// The frame belongs to a transaction that changed other shards too: it counts only together with these of theirs.
    pub fn link(&mut self, links: impl Iterator<Item = Link>) {
        self.linked = true;
        for link in links {
            match self.links.iter_mut().find(|known| known.shard == link.shard) {
                Some(known) => known.sequence = known.sequence.max(link.sequence),
                None => self.links.push(link),
            }
        }
        assert!(self.links.len() <= SHARD_COUNT_MAX);
    }

    /// End the frame and begin the next one. `None` when it is empty, or when the one before has not come back.
    pub fn take(&mut self) -> Option<Filled> {
        if self.is_empty() {
            return None;
        }
        let next = self.spare.take()?;
        let link_count = self.links.len() as u16;
        for link in self.links.drain(..) {
            frame::write_link(&mut self.bytes[self.end..], link);
            self.end += LINK_BYTES;
        }
        let filled = Filled {
            bytes: std::mem::replace(&mut self.bytes, next),
            len: self.end,
            sequence: self.sequence,
            link_count,
            record_count: self.record_count,
        };
        self.end = FRAME_HEADER_BYTES;
        self.record_count = 0;
        self.linked = false;
        self.sequence += 1;
        self.forget_index();
        Some(filled)
    }

    /// A frame has been written: its bytes can be filled again.
    pub fn give_back(&mut self, bytes: Vec<u8>) {
        assert!(bytes.len() == JOURNAL_BUFFER_BYTES && self.spare.is_none(), "one frame is under way at a time");
        self.spare = Some(bytes);
    }

    fn forget_index(&mut self) {
        self.generation = (self.generation + 1) % ((1 << GENERATION_BITS) - 1);
        if self.generation == 0 {
            self.index.fill(NO_OFFSET);
        }
    }

    /// Where the index has the key's last record, or could have it.
    #[inline]
    fn find(&self, key: Key<'_>) -> IndexPlace {
        let wanted = self.index_entry(key.hash, 0);
        let mut index = home(key.hash);
        loop {
            let entry = self.index[index];
            if (entry >> OFFSET_BITS) & ((1 << GENERATION_BITS) - 1) != self.generation {
                return IndexPlace { index, start: None };
            }
            let start = (entry & !NO_OFFSET) as usize;
            if entry & NO_OFFSET == wanted && self.is_key_at(start, key.bytes) {
                return IndexPlace { index, start: Some(start) };
            }
            index = (index + 1) & (JOURNAL_INDEX_ENTRY_COUNT - 1);
        }
    }

    #[inline]
    fn is_key_at(&self, start: usize, key: &[u8]) -> bool {
        let record = &self.bytes[start..];
        usize::from(u16::from_le_bytes([record[1], record[2]])) == key.len() && record[HEAD_BYTES..].starts_with(key)
    }

    fn push(&mut self, kind: Kind, key: Key<'_>, entry: Entry, index: usize) {
        let fits = self.end + RECORD_BYTES_MAX <= RECORDS_END && self.record_count < JOURNAL_RECORD_COUNT_MAX;
        assert!(fits, "there was room before the operation was executed");
        self.index[index] = self.index_entry(key.hash, self.end as u64);
        self.end += record::write(&mut self.bytes[self.end..], kind, key.bytes, entry);
        self.record_count += 1;
    }

    #[inline]
    fn index_entry(&self, hash: u64, offset: u64) -> u64 {
        (hash >> TAG_SHIFT << TAG_SHIFT) | (self.generation << OFFSET_BITS) | offset
    }
}

struct IndexPlace {
    index: usize,
    /// Where the record begins.
    start: Option<usize>,
}

#[inline]
fn home(hash: u64) -> usize {
    hash as usize & (JOURNAL_INDEX_ENTRY_COUNT - 1)
}

/// A recorder, or none: what the counters tell of their changes to.
#[derive(Default)]
pub struct Changes(Option<Box<Recorder>>);

impl Changes {
    /// Record from now on.
    pub fn start(&mut self, recorder: Box<Recorder>) {
        self.0 = Some(recorder);
    }

    /// Record no more.
    pub fn stop(&mut self) -> Option<Box<Recorder>> {
        self.0.take()
    }

    /// The recorder.
    #[inline]
    pub fn recorder(&self) -> Option<&Recorder> {
        self.0.as_deref()
    }

    /// The recorder.
    #[inline]
    pub fn recorder_mut(&mut self) -> Option<&mut Recorder> {
        self.0.as_deref_mut()
    }

    /// See [`Recorder::put`].
    #[inline]
    pub fn put(&mut self, key: Key<'_>, entry: Entry) {
        if let Some(recorder) = &mut self.0 {
            recorder.put(key, entry);
        }
    }

    /// See [`Recorder::delete`].
    #[inline]
    pub fn delete(&mut self, key: Key<'_>) {
        if let Some(recorder) = &mut self.0 {
            recorder.delete(key);
        }
    }

    /// See [`Recorder::flush`].
    pub fn flush(&mut self) {
        if let Some(recorder) = &mut self.0 {
            recorder.flush();
        }
    }

    /// Ask for the first that recording a change of a key with this hash will read.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        if let Some(recorder) = &self.0 {
            recorder.prefetch_entry(hash);
        }
    }

    /// Ask for the second, which reads the first.
    #[inline]
    pub fn prefetch_record(&self, hash: u64) {
        if let Some(recorder) = &self.0 {
            recorder.prefetch_record(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::counters::Seed;
    use crate::journal::frame::Head;
    use crate::journal::record::Record;

    fn key(bytes: &[u8]) -> Key<'_> {
        Seed::of_process().key(bytes)
    }

    fn entry(value: i64, expires_at_ms: Option<i64>) -> Entry {
        Entry { value, expires_at_ms }
    }

    /// What replaying a frame makes of a state.
    fn replay(filled: &mut Filled, state: &mut BTreeMap<Vec<u8>, Entry>) -> Vec<Link> {
        let head = Head::changes(7, filled.sequence, 0, filled.link_count);
        frame::seal(&mut filled.bytes[..filled.len], head);
        let frame = frame::parse(&filled.bytes[..filled.len]).expect("it was just sealed");
        for record in frame.records() {
            match record.expect("records are whole") {
                Record::Put(key, entry) => {
                    state.insert(key.to_vec(), entry);
                }
                Record::Delete(key) => {
                    state.remove(key);
                }
                Record::Flush => state.clear(),
            }
        }
        frame.links().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_frames_say_what_the_changes_were(
            steps in prop::collection::vec((0u8..12, 0u8..40, any::<i64>(), prop::option::of(any::<i64>())), 1..400),
        ) {
            let mut recorder = Recorder::new(1);
            let (mut state, mut replayed) = (BTreeMap::new(), BTreeMap::new());
            for (what, name, value, expires_at_ms) in steps {
                let name = vec![name; usize::from(name)];
                match what {
                    0 => {
                        state.clear();
                        recorder.flush();
                    }
                    1 => if let Some(mut filled) = recorder.take() {
                        replay(&mut filled, &mut replayed);
                        prop_assert_eq!(&replayed, &state);
                        recorder.give_back(filled.bytes);
                    }
                    2..5 => {
                        state.remove(&name);
                        recorder.delete(key(&name));
                    }
                    _ => {
                        state.insert(name.clone(), entry(value, expires_at_ms));
                        recorder.put(key(&name), entry(value, expires_at_ms));
                    }
                }
            }
            if let Some(mut filled) = recorder.take() {
                replay(&mut filled, &mut replayed);
            }
            prop_assert_eq!(replayed, state);
        }
    }

    #[test]
    fn a_hot_counter_costs_one_record() {
        let mut recorder = Recorder::new(5);
        for value in 0..10_000 {
            recorder.put(key(b"views"), entry(value, None));
        }
        assert_eq!((recorder.sequence(), recorder.last_sequence()), (5, 5));
        let mut filled = recorder.take().expect("something was recorded");
        assert_eq!((filled.record_count, filled.len, filled.sequence), (1, FRAME_HEADER_BYTES + 16, 5));
        let mut state = BTreeMap::new();
        replay(&mut filled, &mut state);
        assert_eq!(state, BTreeMap::from([(b"views".to_vec(), entry(9_999, None))]));
        assert!(recorder.take().is_none());
        assert_eq!((recorder.sequence(), recorder.last_sequence()), (6, 5));
    }

    #[test]
    fn a_full_frame_says_so_and_the_next_one_waits_for_the_first() {
        let mut recorder = Recorder::new(1);
        let mut count = 0u64;
        while recorder.has_room(Room::WINDOW) {
            for _ in 0..WINDOW_ITEM_COUNT_MAX {
                recorder.put(key(&count.to_le_bytes()), entry(1, None));
                count += 1;
            }
        }
        assert!(recorder.is_filling_up() && recorder.record_count() as u64 == count);
        let filled = recorder.take().expect("it is full");
        assert!(recorder.has_room(Room::TRANSACTION));
        recorder.put(key(b"next"), entry(1, None));
        assert!(recorder.take().is_none(), "the spare is under way");
        recorder.give_back(filled.bytes);
        assert_eq!(recorder.take().map(|filled| filled.record_count), Some(1));
    }

    #[test]
    fn generations_wrap_around() {
        let mut recorder = Recorder::new(1);
        for round in 0..70_000 {
            recorder.put(key(b"a"), entry(round, None));
            assert_eq!(recorder.record_count(), 1);
            let filled = recorder.take().expect("something was recorded");
            recorder.give_back(filled.bytes);
        }
    }

    #[test]
    fn a_linked_frame_is_written_even_when_it_is_empty() {
        let mut recorder = Recorder::new(3);
        recorder.link([Link { shard: 1, sequence: 9 }, Link { shard: 2, sequence: 4 }].into_iter());
        recorder.link([Link { shard: 1, sequence: 8 }].into_iter());
        let mut filled = recorder.take().expect("it is linked");
        let links = replay(&mut filled, &mut BTreeMap::new());
        assert_eq!(links, [Link { shard: 1, sequence: 9 }, Link { shard: 2, sequence: 4 }]);
    }
}
