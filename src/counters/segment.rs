//! A hash table from tags, pieces of 16 bits of the keys' hashes, to cells: one segment of a slot's index.
//!
//! It is an array of 64-byte chunks, a cache line each, of ten tags and ten cells. A tag's home is the chunk at
//! `tag × chunks / 65536`; what finds its home full goes on to the next chunk with room, and every chunk that it passed
//! counts it, so a search ends at the first chunk that nothing passed. As a tag says where its home is among any number
//! of chunks, the array grows and shrinks by single chunks without a look at the keys.

use super::cells::CellRef;
use super::prefetch::prefetch;
use crate::lanes;

const CHUNK_ENTRIES: usize = 10;
/// Entries a chunk on average, at most: beyond it searches grow long.
const LOAD_MAX: usize = 9;
/// What the allocator puts before an array.
const ALLOCATION_BYTES: usize = 16;

const _: () = assert!(size_of::<Chunk>() == 64 && align_of::<Chunk>() == 64);
const _: () = assert!(LOAD_MAX < CHUNK_ENTRIES);

/// Its tags, and two counts, are lanes of 16 bits: three words that are compared with a tag all at once.
#[derive(Clone)]
#[repr(C, align(64))]
struct Chunk {
    lanes: [u64; LANE_WORDS],
    cells: [CellRef; CHUNK_ENTRIES],
}

const LANE_WORDS: usize = 3;
const LANES_PER_WORD: usize = 4;
const LANE_BITS: usize = 16;

/// Entries that have their home here or before and lie behind. Stays at the maximum once it got there.
const PASSED_LANE: usize = CHUNK_ENTRIES;
const LEN_LANE: usize = CHUNK_ENTRIES + 1;

const _: () = assert!(LEN_LANE < LANE_WORDS * LANES_PER_WORD);

/// The bits of [`Chunk::with_tag`] that stand for tags, not for the two counts.
const TAG_BITS: u32 = (1 << CHUNK_ENTRIES) - 1;

impl Chunk {
    const EMPTY: Chunk = Chunk { lanes: [0; LANE_WORDS], cells: [CellRef::NONE; CHUNK_ENTRIES] };

    #[inline]
    fn lane(&self, i: usize) -> u16 {
        (self.lanes[i / LANES_PER_WORD] >> (i % LANES_PER_WORD * LANE_BITS)) as u16
    }

    #[inline]
    fn set_lane(&mut self, i: usize, value: u16) {
        let (word, shift) = (&mut self.lanes[i / LANES_PER_WORD], i % LANES_PER_WORD * LANE_BITS);
        *word = *word & !(0xFFFF << shift) | u64::from(value) << shift;
    }

    #[inline]
    fn len(&self) -> usize {
        usize::from(self.lane(LEN_LANE))
    }

    #[inline]
    fn passed(&self) -> u16 {
        self.lane(PASSED_LANE)
    }

    /// The places that have the tag: a bit for each. One that is not in use names no cell.
    #[inline]
    fn with_tag(&self, tag: u16) -> u32 {
        lanes::equal(self.lanes, tag) & TAG_BITS
    }

    fn is_full(&self) -> bool {
        self.len() == CHUNK_ENTRIES
    }

    fn push(&mut self, tag: u16, cell: CellRef) {
        let i = self.len();
        self.set_lane(i, tag);
        self.cells[i] = cell;
        self.set_lane(LEN_LANE, i as u16 + 1);
    }

    fn swap_remove(&mut self, i: usize) {
        let last = self.len() - 1;
        self.set_lane(i, self.lane(last));
        self.cells[i] = self.cells[last];
        self.cells[last] = CellRef::NONE;
        self.set_lane(LEN_LANE, last as u16);
    }

    fn entries(&self) -> impl Iterator<Item = (u16, CellRef)> {
        (0..self.len()).map(|i| (self.lane(i), self.cells[i]))
    }
}

/// Where an entry lies in a segment.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    chunk: u32,
    i: u8,
}

/// One segment.
#[derive(Default)]
pub struct Segment {
    chunks: Box<[Chunk]>,
    len: u32,
}

impl Segment {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of heap.
    pub fn heap_bytes(&self) -> u64 {
        heap_bytes(self.chunks.len())
    }

    /// Bytes of heap that one more entry adds.
    pub fn insert_cost_bytes(&self) -> u64 {
        heap_bytes(self.chunks_for_insert()) - self.heap_bytes()
    }

    /// The entry with this tag of which `is` says that it is the one.
    #[inline]
    pub fn find(&self, tag: u16, mut is: impl FnMut(CellRef) -> bool) -> Option<(Spot, CellRef)> {
        let mut at = self.home(tag);
        for _ in 0..self.chunks.len() {
            let chunk = &self.chunks[at];
            let mut found = chunk.with_tag(tag);
            while found != 0 {
                let i = found.trailing_zeros() as usize;
                let cell = chunk.cells[i];
                if cell != CellRef::NONE && is(cell) {
                    return Some((Spot { chunk: at as u32, i: i as u8 }, cell));
                }
                found &= found - 1;
            }
            if chunk.passed() == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Ask for the chunk where `tag` is at home.
    #[inline]
    pub fn prefetch_home(&self, tag: u16) {
        if let Some(chunk) = self.chunks.get(self.home(tag)) {
            prefetch(chunk);
        }
    }

    /// The same, and the two behind it: whoever looks for a tag in vain, or adds one, goes on where a chunk was passed or is
    /// full.
    #[inline]
    pub fn prefetch_way(&self, tag: u16) {
        self.chunks.iter().skip(self.home(tag)).take(3).for_each(prefetch);
    }

    /// The first entry with this tag in the chunk where it is at home, or [`CellRef::NONE`]. There may be others.
    #[inline(always)]
    pub fn first_with_tag(&self, tag: u16) -> CellRef {
        let Some(chunk) = self.chunks.get(self.home(tag)) else { return CellRef::NONE };
        match chunk.with_tag(tag) {
            0 => CellRef::NONE,
            found => chunk.cells[found.trailing_zeros() as usize],
        }
    }

    /// Add an entry.
    pub fn insert(&mut self, tag: u16, cell: CellRef) {
        let chunk_count = self.chunks_for_insert();
        if chunk_count != self.chunks.len() {
            self.resize(chunk_count);
        }
        self.place(tag, cell);
    }

    /// Remove an entry.
    pub fn remove(&mut self, spot: Spot) {
        let tag = self.chunks[spot.chunk as usize].lane(usize::from(spot.i));
        let mut at = self.home(tag);
        while at != spot.chunk as usize {
            let passed = self.chunks[at].passed();
            assert!(passed > 0, "an entry was counted by the chunks that it passed");
            if passed < u16::MAX {
                self.chunks[at].set_lane(PASSED_LANE, passed - 1);
            }
            at = self.after(at);
        }
        self.chunks[at].swap_remove(usize::from(spot.i));
        self.len -= 1;
        if self.len() < self.chunks.len() * LOAD_MAX / 2 && (self.len == 0 || self.chunks.len() > 1) {
            self.resize(chunks_for(self.len()));
        }
    }

    /// Point an entry at another cell.
    pub fn set(&mut self, spot: Spot, cell: CellRef) {
        self.chunks[spot.chunk as usize].cells[usize::from(spot.i)] = cell;
    }

    /// All entries, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (u16, CellRef)> {
        self.chunks.iter().flat_map(Chunk::entries)
    }

    /// A segment of these entries.
    pub fn of(entries: impl ExactSizeIterator<Item = (u16, CellRef)>) -> Segment {
        let mut segment = Segment::default();
        segment.resize(chunks_for(entries.len()));
        entries.for_each(|(tag, cell)| segment.place(tag, cell));
        segment
    }

    #[inline]
    fn home(&self, tag: u16) -> usize {
        (usize::from(tag) * self.chunks.len()) >> u16::BITS
    }

    #[inline]
    fn after(&self, chunk: usize) -> usize {
        if chunk + 1 == self.chunks.len() { 0 } else { chunk + 1 }
    }

    /// Growth by quarters: each moves all entries, so it is a few moves an insertion, and little stays unused.
    fn chunks_for_insert(&self) -> usize {
        let chunk_count = self.chunks.len();
        if self.len() < chunk_count * LOAD_MAX { chunk_count } else { chunk_count + (chunk_count / 4).max(1) }
    }

    fn place(&mut self, tag: u16, cell: CellRef) {
        assert!(self.len() < self.chunks.len() * CHUNK_ENTRIES);
        let mut at = self.home(tag);
        while self.chunks[at].is_full() {
            let passed = self.chunks[at].passed();
            self.chunks[at].set_lane(PASSED_LANE, passed.saturating_add(1));
            at = self.after(at);
        }
        self.chunks[at].push(tag, cell);
        self.len += 1;
    }

    fn resize(&mut self, chunk_count: usize) {
        let old = std::mem::replace(&mut self.chunks, vec![Chunk::EMPTY; chunk_count].into_boxed_slice());
        self.len = 0;
        for (tag, cell) in old.iter().flat_map(Chunk::entries) {
            self.place(tag, cell);
        }
    }
}

/// A number of chunks that holds `len` entries with some room.
fn chunks_for(len: usize) -> usize {
    (2 * len).div_ceil(2 * LOAD_MAX - 1)
}

fn heap_bytes(chunk_count: usize) -> u64 {
    if chunk_count == 0 { 0 } else { (chunk_count * size_of::<Chunk>() + ALLOCATION_BYTES) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_a_list(
            steps in prop::collection::vec((any::<bool>(), any::<u16>()), 1..1500),
            // Few tags: entries pass full chunks, and chunks wrap around.
            tag_shift in 0u32..16,
        ) {
            let mut list: Vec<(u16, CellRef)> = Vec::new();
            let mut segment = Segment::default();
            for (n, (grow, random)) in steps.into_iter().enumerate() {
                if grow || list.is_empty() {
                    let entry = (random >> tag_shift << (tag_shift / 2), CellRef::for_test(n as u32));
                    list.push(entry);
                    segment.insert(entry.0, entry.1);
                } else {
                    let (tag, cell) = list.swap_remove(usize::from(random) % list.len());
                    let (spot, found) = segment.find(tag, |other| other == cell).unwrap();
                    prop_assert_eq!(found, cell);
                    segment.remove(spot);
                }
                prop_assert_eq!(segment.len(), list.len());
            }
            for &(tag, cell) in &list {
                prop_assert!(segment.find(tag, |other| other == cell).is_some());
                prop_assert!(segment.find(tag, |_| false).is_none());
            }
            let mut entries: Vec<_> = segment.entries().collect();
            entries.sort_by_key(|&(tag, cell)| (tag, format!("{cell:?}")));
            list.sort_by_key(|&(tag, cell)| (tag, format!("{cell:?}")));
            prop_assert_eq!(entries, list.clone());
            for (tag, cell) in list {
                let (spot, _) = segment.find(tag, |other| other == cell).unwrap();
                segment.remove(spot);
            }
            prop_assert_eq!((segment.len(), segment.heap_bytes()), (0, 0));
        }
    }
}
