//! From a key's slot and hash to its cell: one table a slot, each of segments of about a thousand entries.
//!
//! A slot of up to about [`SEGMENT_LEN`] counters has one segment; with more it grows by linear hashing (Litwin, 1980): one
//! segment at a time is split in two, so that a slot of any size grows without a pause. Which segment, is said by the
//! hash's low bits, as many as the segment's level; the sixteen bits above these are the tag. A split or a merge changes
//! the level by one, so a tag gains or loses one bit.
//!
//! The hash's low 32 bits, reversed, are a key's **position**. A segment holds a contiguous range of positions, whatever
//! was split or merged, and a tag says where in it: that is the order that a scan follows.

use std::hint::black_box;
use std::ops::Range;

use super::cell;
use super::cells::{CellRef, Cells};
use super::hash::Seed;
use super::prefetch::prefetch;
use super::segment::{Segment, Spot};

/// Counters a segment on average, at most, in a slot of the middle.
const SEGMENT_LEN: usize = 1024;

/// Slots grow alike, so their limits differ by up to this: or else all of them would split at the same time.
const SEGMENT_LEN_SPREAD: usize = SEGMENT_LEN / 2;

/// The limit of a slot.
#[inline]
fn segment_len(slot: u16) -> usize {
    // Neighbours far apart.
    let place = slot.reverse_bits() as usize;
    SEGMENT_LEN - SEGMENT_LEN_SPREAD / 2 + place * SEGMENT_LEN_SPREAD / (1 << u16::BITS)
}

/// The tables of a range of slots.
pub struct Index {
    first: u16,
    slots: Box<[Slot]>,
    heap_bytes: u64,
}

/// A cache line: a lookup in a small slot reads it and the chunk.
#[derive(Default)]
#[repr(align(64))]
struct Slot {
    segment: Segment,
    /// The other segments, from 1 on.
    more: Vec<Segment>,
    len: u32,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    slot: u16,
    segment: u32,
    spot: Spot,
}

/// What one segment covers.
pub struct Stretch {
    /// Positions of 32 bits.
    pub positions: Range<u64>,
    /// How many low bits of a position are unknown.
    pub unknown_bits: u32,
}

impl Index {
    /// Empty tables for `slots`.
    pub fn new(slots: Range<u16>) -> Index {
        Index { first: slots.start, slots: slots.map(|_| Slot::default()).collect(), heap_bytes: 0 }
    }

    /// Bytes that all this takes.
    pub fn bytes(&self) -> u64 {
        (self.slots.len() * size_of::<Slot>()) as u64 + self.heap_bytes
    }

    /// [`bytes`](Index::bytes), counted anew.
    #[cfg(test)]
    pub fn bytes_counted(&self) -> u64 {
        let heap = |slot: &Slot| {
            let more: u64 = slot.more.iter().map(Segment::heap_bytes).sum();
            slot.segment.heap_bytes() + more + slot.list_bytes()
        };
        (self.slots.len() * size_of::<Slot>()) as u64 + self.slots.iter().map(heap).sum::<u64>()
    }

    /// The slots.
    pub fn slots(&self) -> Range<u16> {
        self.first..self.first + self.slots.len() as u16
    }

    /// How many entries a slot has.
    pub fn slot_len(&self, slot: u16) -> usize {
        self.slots[self.number(slot)].len as usize
    }

    /// The entry of a hash of which `is` says that it is the one.
    #[inline]
    pub fn find(&self, slot: u16, hash: u64, is: impl FnMut(CellRef) -> bool) -> Option<(Place, CellRef)> {
        let table = &self.slots[self.number(slot)];
        let (number, level) = table.segment_of(hash);
        let (spot, cell) = table.segment(number).find(tag(hash, level), is)?;
        Some((Place { slot, segment: number as u32, spot }, cell))
    }

    /// Ask for the first that a lookup will read.
    #[inline]
    pub fn prefetch_slot(&self, slot: u16) {
        if let Some(slot) = self.slots.get(self.number(slot)) {
            prefetch(slot);
        }
    }

    /// Ask for the next: the chunk.
    #[inline]
    pub fn prefetch_chunk(&self, slot: u16, hash: u64) {
        let table = &self.slots[self.number(slot)];
        let (number, level) = table.segment_of(hash);
        table.segment(number).prefetch_home(tag(hash, level));
    }

    /// The same where the key is probably added: with the chunks behind it.
    #[inline]
    pub fn prefetch_chunks(&self, slot: u16, hash: u64) {
        let table = &self.slots[self.number(slot)];
        let (number, level) = table.segment_of(hash);
        table.segment(number).prefetch_way(tag(hash, level));
    }

    /// The cell that a lookup will probably look at first, or [`CellRef::NONE`].
    #[inline(always)]
    pub fn first_with_tag(&self, slot: u16, hash: u64) -> CellRef {
        let table = &self.slots[self.number(slot)];
        let (number, level) = table.segment_of(hash);
        table.segment(number).first_with_tag(tag(hash, level))
    }

    /// Point an entry at another cell.
    #[inline]
    pub fn set(&mut self, place: Place, cell: CellRef) {
        let slot = self.number(place.slot);
        self.slots[slot].segment_mut(place.segment as usize).set(place.spot, cell);
    }

    /// Bytes that [`insert`](Index::insert) would take from the allocator.
    pub fn insert_cost_bytes(&self, slot: u16, hash: u64) -> u64 {
        let table = &self.slots[self.number(slot)];
        let (number, _) = table.segment_of(hash);
        let split = if table.is_split_due(1, segment_len(slot)) { table.split_cost_bytes() } else { 0 };
        table.segment(number).insert_cost_bytes() + split
    }

    /// Add an entry. Where that splits a segment, its keys are read from `cells` and hashed with `seed`.
    pub fn insert(&mut self, slot: u16, hash: u64, cell: CellRef, cells: &Cells, seed: Seed) {
        let limit = segment_len(slot);
        let slot = self.number(slot);
        let table = &mut self.slots[slot];
        let (number, level) = table.segment_of(hash);
        let segment = table.segment_mut(number);
        self.heap_bytes -= segment.heap_bytes();
        segment.insert(tag(hash, level), cell);
        self.heap_bytes += segment.heap_bytes();
        table.len += 1;
        if table.is_split_due(0, limit) {
            self.heap_bytes -= table.list_bytes();
            let (before, after) = table.split(cells, seed);
            self.heap_bytes = self.heap_bytes + table.list_bytes() + after - before;
        }
    }

    /// Remove an entry.
    pub fn remove(&mut self, place: Place) {
        let limit = segment_len(place.slot);
        let slot = self.number(place.slot);
        let table = &mut self.slots[slot];
        let segment = table.segment_mut(place.segment as usize);
        self.heap_bytes -= segment.heap_bytes();
        segment.remove(place.spot);
        self.heap_bytes += segment.heap_bytes();
        table.len -= 1;
        if table.is_merge_due(limit) {
            self.heap_bytes -= table.list_bytes();
            let (before, after) = table.merge();
            self.heap_bytes = self.heap_bytes + table.list_bytes() + after - before;
        }
    }

    /// The slot's segment that covers `position`; `entries` are replaced by its own, with each entry's position as far as
    /// it is known: never above the true one.
    pub fn stretch(&self, slot: u16, position: u32, entries: &mut Vec<(u32, CellRef)>) -> Stretch {
        let table = &self.slots[self.number(slot)];
        let (number, level) = table.segment_of(u64::from(position.reverse_bits()));
        let prefix = number as u64 & low_bits(level);
        let start = u64::from((prefix as u32).reverse_bits());
        let of_tag = |tag| position_of(prefix | (u64::from(tag) << level));
        entries.clear();
        entries.extend(table.segment(number).entries().map(|(tag, cell)| (of_tag(tag), cell)));
        Stretch {
            positions: start..start + (1 << (u32::BITS - level)),
            unknown_bits: u32::BITS.saturating_sub(level + u16::BITS),
        }
    }

    #[inline]
    fn number(&self, slot: u16) -> usize {
        usize::from(slot.wrapping_sub(self.first))
    }
}

impl Slot {
    fn segment_count(&self) -> usize {
        1 + self.more.len()
    }

    /// Which segment holds a hash, and its level.
    #[inline]
    fn segment_of(&self, hash: u64) -> (usize, u32) {
        if self.more.is_empty() { (0, 0) } else { segment_of(self.segment_count(), hash) }
    }

    #[inline]
    fn segment(&self, number: usize) -> &Segment {
        if number == 0 { &self.segment } else { &self.more[number - 1] }
    }

    #[inline]
    fn segment_mut(&mut self, number: usize) -> &mut Segment {
        if number == 0 { &mut self.segment } else { &mut self.more[number - 1] }
    }

    fn list_bytes(&self) -> u64 {
        (self.more.capacity() * size_of::<Segment>()) as u64
    }

    fn is_split_due(&self, inserts: usize, segment_len: usize) -> bool {
        self.len as usize + inserts > self.segment_count() * segment_len
    }

    fn is_merge_due(&self, segment_len: usize) -> bool {
        !self.more.is_empty() && (self.len as usize) < self.more.len() * segment_len / 2
    }

    /// About what a split takes: its half of the entries, and a place in the list.
    fn split_cost_bytes(&self) -> u64 {
        let list_grows = self.more.len() == self.more.capacity();
        let list = if list_grows { self.more_step() * size_of::<Segment>() } else { 0 };
        self.segment(split_next(self.segment_count()).0).heap_bytes() / 2 + 128 + list as u64
    }

    fn more_step(&self) -> usize {
        (self.more.len() / 8).max(1)
    }

    /// Split the next segment in two. Answers the bytes of heap that it took, and those that the two take.
    fn split(&mut self, cells: &Cells, seed: Seed) -> (u64, u64) {
        let (number, level) = split_next(self.segment_count());
        let old = std::mem::take(self.segment_mut(number));
        // A pass that only reads lets the cells' cache misses overlap.
        black_box(old.entries().fold(0, |sum, (_, cell)| sum ^ cells.get(cell)[0]));
        let hash_of = |cell| seed.hash(cell::key(cells.get(cell)));
        let hashed: Vec<(u64, CellRef)> = old.entries().map(|(_, cell)| (hash_of(cell), cell)).collect();
        let half = |bit: u64| {
            let chosen = hashed.iter().filter(|(hash, _)| (hash >> level) & 1 == bit);
            let entries: Vec<_> = chosen.map(|&(hash, cell)| (tag(hash, level + 1), cell)).collect();
            Segment::of(entries.into_iter())
        };
        let (low, high) = (half(0), half(1));
        let sizes = (old.heap_bytes(), low.heap_bytes() + high.heap_bytes());
        *self.segment_mut(number) = low;
        if self.more.len() == self.more.capacity() {
            self.more.reserve_exact(self.more_step());
        }
        self.more.push(high);
        sizes
    }

    /// Merge the last segment with the one that it was split from. Answers as [`split`](Slot::split).
    fn merge(&mut self) -> (u64, u64) {
        let high = self.more.pop().expect("there is more than one segment");
        let (number, level) = split_next(self.segment_count());
        let low = std::mem::take(self.segment_mut(number));
        assert!(level < u64::BITS);
        let longer = |segment: &Segment, bit: u16| -> Vec<_> {
            segment.entries().map(|(tag, cell)| ((tag << 1) | bit, cell)).collect()
        };
        let mut entries = longer(&low, 0);
        entries.extend(longer(&high, 1));
        let merged = Segment::of(entries.into_iter());
        let sizes = (low.heap_bytes() + high.heap_bytes(), merged.heap_bytes());
        *self.segment_mut(number) = merged;
        if self.more.len() < self.more.capacity() / 2 {
            self.more.shrink_to_fit();
        }
        sizes
    }
}

/// Which of `count` segments holds a hash, and its level.
#[inline]
fn segment_of(count: usize, hash: u64) -> (usize, u32) {
    let (next, level) = split_next(count);
    let number = (hash & low_bits(level)) as usize;
    if number < next { ((hash & low_bits(level + 1)) as usize, level + 1) } else { (number, level) }
}

/// Which of `count` segments is to be split next, and its level.
#[inline]
fn split_next(count: usize) -> (usize, u32) {
    let level = count.ilog2();
    (count - (1 << level), level)
}

#[inline]
fn low_bits(count: u32) -> u64 {
    (1 << count) - 1
}

#[inline]
fn tag(hash: u64, level: u32) -> u16 {
    (hash >> level) as u16
}

/// A key's position in the order of a scan.
fn position_of(hash: u64) -> u32 {
    (hash as u32).reverse_bits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_halves_one_segment_and_leaves_the_others() {
        for count in 1..200 {
            let (next, level) = split_next(count);
            for hash in (0..4_096).map(|i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) {
                let (number, own_level) = segment_of(count, hash);
                assert!(number < count);
                assert_eq!(number as u64, hash & low_bits(own_level));
                let after = segment_of(count + 1, hash);
                if number == next {
                    assert_eq!(own_level, level);
                    assert_eq!(after, (next + (((hash >> level) & 1) << level) as usize, level + 1));
                } else {
                    assert_eq!(after, (number, own_level));
                }
            }
        }
    }

    #[test]
    fn stretches_cover_all_positions_once() {
        let mut index = Index::new(0..1);
        for count in 0..40 {
            assert_eq!(index.slots[0].more.len(), count);
            let mut position = 0;
            let mut stretches = 0;
            while position < 1 << u32::BITS {
                let stretch = index.stretch(0, position as u32, &mut Vec::new());
                assert_eq!(stretch.positions.start, position);
                position = stretch.positions.end;
                stretches += 1;
            }
            assert_eq!((position, stretches), (1 << u32::BITS, count + 1));
            index.slots[0].more.push(Segment::default());
        }
    }
}
