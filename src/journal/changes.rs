//! What has changed since the last flush: the frame that is being filled, one record for each counter.
//!
//! Pure, and of a fixed size. The counters mark who has changed, and the recorder keeps room for the records of these:
//! their records are made when the frame has ended, so a counter that moved 10,000 times costs one record, and each
//! move no more than a look at its mark. Deletions and flushes are recorded as they happen. While a frame is completed and
//! written the next one fills; who would overfill it must wait, so [`Recorder::has_room`] comes before every operation.
//!
//! Within a frame the last record of a key wins: a counter that was deleted and made again has its put behind the deletion.
//! Expiry is no change: a put says when its counter expires, and whoever replays it looks at the clock. Only where the put
//! that says so has not been made is the counter deleted instead.

use super::frame::{self, FRAME_HEADER_BYTES, LINK_BYTES, Link};
use super::record::{self, Kind, RECORD_BYTES_MAX};
use crate::counters::Entry;
use crate::limits::{JOURNAL_BUFFER_BYTES, SHARD_COUNT_MAX, TRANSACTION_RECORD_BYTES_MAX, WINDOW_ITEM_COUNT_MAX};

/// Kept for the links of a frame: one to every other shard.
const LINKS_BYTES_MAX: usize = SHARD_COUNT_MAX * LINK_BYTES;

/// Where records end at the latest.
const RECORDS_END: usize = JOURNAL_BUFFER_BYTES - LINKS_BYTES_MAX;

/// From here on a frame is nearly full: what all workers may execute before it is ended still fits behind it.
const NEARLY_FULL: usize = RECORDS_END / 8 * 7;

const NO_ENTRY: Entry = Entry { value: 0, expires_at_ms: None };

/// So many bytes must fit before something is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    bytes: usize,
}

impl Room {
    /// For a window or a batch of the mesh.
    pub const WINDOW: Room = Room { bytes: WINDOW_ITEM_COUNT_MAX * RECORD_BYTES_MAX };
    /// For a whole transaction, whose changes must not be divided between two frames.
    pub const TRANSACTION: Room = Room { bytes: TRANSACTION_RECORD_BYTES_MAX };
}

// An empty frame has room for the largest transaction, and so has one that a few windows have gone into.
const _: () = assert!(FRAME_HEADER_BYTES + Room::TRANSACTION.bytes + 4 * Room::WINDOW.bytes <= RECORDS_END);
const _: () = assert!(NEARLY_FULL + Room::WINDOW.bytes <= RECORDS_END);

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
}

/// What there is to write.
#[derive(Debug)]
pub enum Taken {
    /// Nothing, or the frame before has not come back.
    Nothing,
    /// A frame has ended, and some of its records are to be made still.
    Unfinished,
    /// A frame.
    Frame(Filled),
}

/// A frame before all of its records are made.
struct Draft {
    sequence: u64,
    bytes: Vec<u8>,
    end: usize,
    /// Counters that have its mark, and bytes of the records that will be made of them.
    due_count: usize,
    due_bytes: usize,
    links: Vec<Link>,
    /// Another transaction's frame refers to this one: it is written even if it is empty.
    linked: bool,
}

impl Draft {
    fn new(sequence: u64, bytes: Vec<u8>, links: Vec<Link>) -> Draft {
        Draft { sequence, bytes, end: FRAME_HEADER_BYTES, due_count: 0, due_bytes: 0, links, linked: false }
    }

    fn is_empty(&self) -> bool {
        self.end == FRAME_HEADER_BYTES && self.due_count == 0 && !self.linked
    }

    /// Where its records will end.
    #[inline]
    fn filled_bytes(&self) -> usize {
        self.end + self.due_bytes
    }

    fn push(&mut self, kind: Kind, key: &[u8], entry: Entry) {
        let record_bytes = kind.record_bytes(key.len());
        assert!(self.filled_bytes() + record_bytes <= RECORDS_END, "there was room before the operation was executed");
        self.end += record::write(&mut self.bytes[self.end..], kind, key, entry);
    }

    fn expect_no_put(&mut self, kind: Kind, key_bytes: usize) {
        assert!(self.due_count > 0, "a record was expected");
        self.due_count -= 1;
        self.due_bytes -= kind.record_bytes(key_bytes);
    }
}

/// The recorder of one shard's changes.
pub struct Recorder {
    filling: Draft,
    /// The frame before, while some of its records are to be made.
    ended: Option<Draft>,
    change_count: u64,
    spare: Option<Vec<u8>>,
    spare_links: Vec<Link>,
}

impl Recorder {
    /// Bytes that one takes.
    pub const BYTES: usize = 2 * JOURNAL_BUFFER_BYTES;

    /// One whose first frame has this number.
    pub fn new(sequence: u64) -> Recorder {
        // Ones, not zeros: zeroed pages would not be there before they are written to.
        let buffer = || vec![1; JOURNAL_BUFFER_BYTES];
        let links = || Vec::with_capacity(SHARD_COUNT_MAX);
        Recorder {
            filling: Draft::new(sequence, buffer(), links()),
            ended: None,
            change_count: 0,
            spare: Some(buffer()),
            spare_links: links(),
        }
    }

    /// Whether so much fits into the frame that is being filled.
    #[inline]
    pub fn has_room(&self, room: Room) -> bool {
        self.filling.filled_bytes() + room.bytes <= RECORDS_END
    }

    /// Whether the frame is nearly full: it should be ended soon. Not sooner than that, so that a counter that moves again
    /// costs nothing more.
    pub fn is_filling_up(&self) -> bool {
        self.filling.filled_bytes() > NEARLY_FULL
    }

    /// Whether records are made too slowly: all are to be made when the next frame is half full, so that the other half is
    /// time for writing.
    pub fn is_behind(&self) -> bool {
        let room_bytes = NEARLY_FULL.saturating_sub(2 * self.filling.filled_bytes());
        self.ended.as_ref().is_some_and(|ended| ended.due_bytes > room_bytes)
    }

    /// The number of the frame that is being filled.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.filling.sequence
    }

    /// The number of the frame that has ended and of which records are to be made still.
    #[inline]
    pub fn ended_sequence(&self) -> Option<u64> {
        self.ended.as_ref().map(|draft| draft.sequence)
    }

    /// The last frame that has something in it; all that was recorded so far is in it or in those before.
    #[inline]
    pub fn last_sequence(&self) -> u64 {
        if self.filling.is_empty() { self.filling.sequence - 1 } else { self.filling.sequence }
    }

    /// Bytes of the frame that is being filled and of one that has ended; 0 while there is nothing to write.
    pub fn filled_bytes(&self) -> usize {
        let drafts = self.ended.iter().chain((!self.filling.is_empty()).then_some(&self.filling));
        drafts.map(Draft::filled_bytes).sum()
    }

    /// How many changes there have been.
    #[inline]
    pub fn change_count(&self) -> u64 {
        self.change_count
    }

    /// There has been one more.
    #[inline]
    pub fn count_change(&mut self) {
        self.change_count += 1;
    }

    /// A counter has got the mark of the frame that is being filled.
    #[inline]
    pub fn expect_put(&mut self, key_bytes: usize, expiring: bool) {
        let record_bytes = Kind::of_put(expiring).record_bytes(key_bytes);
        assert!(self.has_room(Room { bytes: record_bytes }), "there was room before the operation was executed");
        self.filling.due_count += 1;
        self.filling.due_bytes += record_bytes;
    }

    /// A counter has lost the mark of the frame that is being filled.
    pub fn expect_no_put(&mut self, key_bytes: usize, expiring: bool) {
        self.filling.expect_no_put(Kind::of_put(expiring), key_bytes);
    }

    /// Whether there are counters with this frame's mark.
    pub fn expects_puts(&self, frame: u64) -> bool {
        self.draft(frame).due_count > 0
    }

    /// Make the record of a counter that has just lost a frame's mark.
    pub fn put(&mut self, frame: u64, key: &[u8], entry: Entry) {
        let kind = Kind::of_put(entry.expires_at_ms.is_some());
        let draft = match &mut self.ended {
            Some(ended) if ended.sequence == frame => ended,
            _ => &mut self.filling,
        };
        assert_eq!(draft.sequence, frame);
        draft.expect_no_put(kind, key.len());
        draft.push(kind, key, entry);
    }

    /// A counter is gone, and has not the mark of the frame that is being filled.
    pub fn delete(&mut self, key: &[u8]) {
        self.filling.push(Kind::Delete, key, NO_ENTRY);
    }

    /// All counters are gone, and all marks: what the frame that is being filled says of any before is void. One that has
    /// ended is complete.
    pub fn flush(&mut self) {
        assert!(self.ended.as_ref().is_none_or(|ended| ended.due_count == 0), "its records were made before");
        self.change_count += 1;
        self.filling.end = FRAME_HEADER_BYTES;
        self.filling.due_count = 0;
        self.filling.due_bytes = 0;
        self.filling.push(Kind::Flush, b"", NO_ENTRY);
    }

    /// The frame that is being filled belongs to a transaction that changed other shards too: it counts only together with
    /// these of theirs.
    pub fn link(&mut self, links: impl Iterator<Item = Link>) {
        let Draft { links: known_links, linked, .. } = &mut self.filling;
        *linked = true;
        for link in links {
            match known_links.iter_mut().find(|known| known.shard == link.shard) {
                Some(known) => known.sequence = known.sequence.max(link.sequence),
                None => known_links.push(link),
            }
        }
        assert!(known_links.len() <= SHARD_COUNT_MAX);
    }

    /// End the frame that is being filled and begin the next one, unless it is empty. False when the one before is under
    /// way still, and this one goes on.
    pub fn end_frame(&mut self) -> bool {
        if self.filling.is_empty() {
            return true;
        }
        if self.ended.is_some() {
            return false;
        }
        let Some(bytes) = self.spare.take() else { return false };
        let next = Draft::new(self.filling.sequence + 1, bytes, std::mem::take(&mut self.spare_links));
        self.ended = Some(std::mem::replace(&mut self.filling, next));
        true
    }

    /// The frame that has ended, if all of its records are made.
    pub fn take(&mut self) -> Taken {
        let Some(draft) = self.ended.take_if(|draft| draft.due_count == 0) else {
            return if self.ended.is_some() { Taken::Unfinished } else { Taken::Nothing };
        };
        let Draft { sequence, mut bytes, end, mut links, .. } = draft;
        let (link_count, mut len) = (links.len() as u16, end);
        for link in links.drain(..) {
            frame::write_link(&mut bytes[len..], link);
            len += LINK_BYTES;
        }
        self.spare_links = links;
        Taken::Frame(Filled { bytes, len, sequence, link_count })
    }

    /// A frame has been written: its bytes can be filled again.
    pub fn give_back(&mut self, bytes: Vec<u8>) {
        assert!(bytes.len() == JOURNAL_BUFFER_BYTES && self.spare.is_none(), "one frame is under way at a time");
        self.spare = Some(bytes);
    }

    fn draft(&self, frame: u64) -> &Draft {
        self.ended.iter().chain([&self.filling]).find(|draft| draft.sequence == frame).expect("a frame under way")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::counters::{Counters, Key, Seed};
    use crate::journal::frame::Head;
    use crate::journal::record::Record;

    type State = BTreeMap<Vec<u8>, Entry>;

    fn key(bytes: &[u8]) -> Key<'_> {
        Seed::of_process().key(bytes)
    }

    fn entry(value: i64, expires_at_ms: Option<i64>) -> Entry {
        Entry { value, expires_at_ms }
    }

    fn recording(sequence: u64) -> Counters {
        let mut counters = Counters::new(0..16_384);
        counters.start_recording(Box::new(Recorder::new(sequence)));
        counters
    }

    fn recorder(counters: &mut Counters) -> &mut Recorder {
        counters.recorder_mut().expect("it records")
    }

    fn frame_of(counters: &mut Counters) -> Option<Filled> {
        match counters.take_frame(usize::MAX) {
            Taken::Frame(filled) => Some(filled),
            Taken::Nothing => None,
            Taken::Unfinished => panic!("all records were made"),
        }
    }

    /// What replaying a frame makes of a state.
    fn replay(filled: &mut Filled, state: &mut State) -> (usize, Vec<Link>) {
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
        (frame.records().count(), frame.links().collect())
    }

    fn live(state: &State, now_ms: i64) -> State {
        let is_live = |entry: &Entry| entry.expires_at_ms.is_none_or(|at_ms| at_ms >= now_ms);
        state.iter().filter(|(_, entry)| is_live(entry)).map(|(key, entry)| (key.clone(), *entry)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn a_frame_is_the_state_when_it_ended(
            steps in prop::collection::vec((0u8..16, 0u8..60, any::<i64>(), prop::option::of(1i64..30)), 1..600),
            shift in 0u32..64,
        ) {
            let mut counters = recording(1);
            let (mut state, mut replayed) = (State::new(), State::new());
            // The frame that has ended: what the state was, and when.
            let mut ended: Option<(State, i64)> = None;
            let mut now_ms = 0;
            for (what, name, value, left_ms) in steps {
                let name = vec![name; usize::from(name)];
                match what {
                    0 => {
                        state.clear();
                        counters.flush(now_ms);
                    }
                    1 => now_ms += 5,
                    2 => {
                        counters.sweep(now_ms, 10);
                    }
                    3..6 => {
                        if ended.is_none() {
                            ended = Some((state.clone(), now_ms));
                        }
                        // Not all at once, so that counters change meanwhile.
                        if let Taken::Frame(mut filled) = counters.take_frame(1) {
                            let (state, ended_ms) = ended.take().expect("a frame that has ended");
                            replay(&mut filled, &mut replayed);
                            prop_assert_eq!(live(&replayed, ended_ms), live(&state, ended_ms));
                            recorder(&mut counters).give_back(filled.bytes);
                        } else if recorder(&mut counters).ended_sequence().is_none() {
                            ended = None;
                        }
                    }
                    6..9 => {
                        state.remove(&name);
                        counters.take(key(&name), now_ms);
                    }
                    _ => {
                        let entry = entry(value >> shift, left_ms.map(|left_ms| now_ms + left_ms));
                        state.insert(name.clone(), entry);
                        // One that has expired is seen to be gone.
                        counters.entry(key(&name), now_ms);
                        prop_assert!(counters.put(key(&name), entry).is_ok());
                    }
                }
            }
            let mut recorder = counters.stop_recording().expect("it records");
            loop {
                recorder.end_frame();
                match recorder.take() {
                    Taken::Frame(mut filled) => {
                        replay(&mut filled, &mut replayed);
                        recorder.give_back(filled.bytes);
                    }
                    Taken::Nothing => break,
                    Taken::Unfinished => panic!("records were made when recording stopped"),
                }
            }
            prop_assert_eq!(live(&replayed, now_ms), live(&state, now_ms));
        }
    }

    #[test]
    fn a_hot_counter_costs_one_record() {
        let mut counters = recording(5);
        for value in 0..10_000 {
            counters.put(key(b"views"), entry(value, None)).expect("there is room");
        }
        let recorder = recorder(&mut counters);
        assert_eq!((recorder.sequence(), recorder.last_sequence(), recorder.change_count()), (5, 5, 10_000));
        assert_eq!(recorder.filled_bytes(), FRAME_HEADER_BYTES + 16);
        let mut filled = frame_of(&mut counters).expect("something was recorded");
        assert_eq!((filled.len, filled.sequence), (FRAME_HEADER_BYTES + 16, 5));
        let mut state = BTreeMap::new();
        assert_eq!(replay(&mut filled, &mut state).0, 1);
        assert_eq!(state, BTreeMap::from([(b"views".to_vec(), entry(9_999, None))]));
        assert!(frame_of(&mut counters).is_none());
        let recorder = counters.recorder().expect("it records");
        assert_eq!((recorder.sequence(), recorder.last_sequence()), (6, 5));
    }

    #[test]
    fn a_full_frame_says_so_and_the_next_one_waits_for_the_first() {
        let mut counters = recording(1);
        let mut count = 0u64;
        while recorder(&mut counters).has_room(Room::WINDOW) {
            for _ in 0..WINDOW_ITEM_COUNT_MAX {
                counters.put(key(&count.to_le_bytes()), entry(1, None)).expect("there is room");
                count += 1;
            }
        }
        assert!(recorder(&mut counters).is_filling_up());
        let mut filled = frame_of(&mut counters).expect("it is full");
        assert_eq!(replay(&mut filled, &mut State::new()).0 as u64, count);
        assert!(recorder(&mut counters).has_room(Room::TRANSACTION));
        counters.put(key(b"next"), entry(1, None)).expect("there is room");
        assert!(frame_of(&mut counters).is_none(), "the spare is under way");
        recorder(&mut counters).give_back(filled.bytes);
        let mut filled = frame_of(&mut counters).expect("it has ended");
        assert_eq!(replay(&mut filled, &mut State::new()).0, 1);
    }

    #[test]
    fn a_linked_frame_is_written_even_when_it_is_empty() {
        let mut counters = recording(3);
        let linked = recorder(&mut counters);
        linked.link([Link { shard: 1, sequence: 9 }, Link { shard: 2, sequence: 4 }].into_iter());
        linked.link([Link { shard: 1, sequence: 8 }].into_iter());
        let mut filled = frame_of(&mut counters).expect("it is linked");
        let (_, links) = replay(&mut filled, &mut BTreeMap::new());
        assert_eq!(links, [Link { shard: 1, sequence: 9 }, Link { shard: 2, sequence: 4 }]);
    }
}
