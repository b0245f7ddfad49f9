//! Which cells have changed since a frame of the journal began: two bits a cell, one for frames of even number and one for
//! those of odd, at the end of its block, growing downwards.
//!
//! A frame that is being filled and the one before, whose records are still being made, are never of the same parity. A
//! mark goes with its cell when that moves, and a cell that is removed has none.

use super::{BLOCK_BYTES, Block, CELLS_PER_BLOCK_MAX, CellRef, Cells, prefetch};

/// Cells whose marks share a word, and blocks whose notes do.
pub(super) const PER_WORD: usize = u64::BITS as usize / 2;

/// The bits of even frames in a word.
const EVEN: u64 = 0x5555_5555_5555_5555;

/// How many cells of a length fit a block with their marks.
pub(super) fn block_cells(cell_bytes: usize) -> u16 {
    let room_bytes = BLOCK_BYTES - size_of::<u64>();
    (room_bytes * 4 / (cell_bytes * 4 + 1)).min(CELLS_PER_BLOCK_MAX) as u16
}

/// The byte of a cell's marks, and which of its bits a frame's is.
#[inline]
fn place(index: usize, frame: u64) -> (usize, u8) {
    (BLOCK_BYTES - 1 - index / 4, 1 << (index % 4 * 2 + (frame & 1) as usize))
}

fn bits_of(frame: u64) -> u64 {
    EVEN << (frame & 1)
}

impl Block {
    /// No cell has a mark.
    pub(super) fn clear_marks(&mut self, cell_count: usize) {
        self.cells[BLOCK_BYTES - cell_count.div_ceil(PER_WORD) * size_of::<u64>()..].fill(0);
    }

    fn mark_word(&mut self, number: usize) -> &mut [u8; size_of::<u64>()] {
        let start = BLOCK_BYTES - (number + 1) * size_of::<u64>();
        self.cells[start..].first_chunk_mut().expect("marks end with the block")
    }
}

impl Cells {
    /// Ask for the marks of a cell.
    #[inline]
    pub fn prefetch_marks(&self, cell: CellRef) {
        prefetch(&self.block(cell).cells[place(cell.index(), 0).0]);
    }

    /// Whether a cell has a frame's mark.
    #[inline]
    pub fn is_marked(&self, cell: CellRef, frame: u64) -> bool {
        let (at, bit) = place(cell.index(), frame);
        self.block(cell).cells[at] & bit != 0
    }

    /// Give a cell a frame's mark; false if it has it already.
    #[inline]
    pub fn mark(&mut self, cell: CellRef, frame: u64) -> bool {
        let (at, bit) = place(cell.index(), frame);
        let block = self.blocks[cell.block()].as_mut().expect("a cell lies in a block");
        if block.cells[at] & bit != 0 {
            return false;
        }
        block.cells[at] |= bit;
        let note = 1 << (cell.block() % PER_WORD * 2 + (frame & 1) as usize);
        self.marked_blocks[cell.block() / PER_WORD] |= note;
        true
    }

    /// Take a frame's mark from a cell; false if it has none.
    #[inline]
    pub fn unmark(&mut self, cell: CellRef, frame: u64) -> bool {
        let (at, bit) = place(cell.index(), frame);
        let byte = &mut self.blocks[cell.block()].as_mut().expect("a cell lies in a block").cells[at];
        let marked = *byte & bit != 0;
        *byte &= !bit;
        marked
    }

    /// Fill `found` with cells that have a frame's mark, take it from them, and ask for their bytes. Answers how many:
    /// fewer than there is room for only when there are no more.
    pub fn take_marked(&mut self, frame: u64, found: &mut [CellRef]) -> usize {
        let mut count = 0;
        for at in 0..self.marked_blocks.len() {
            while self.marked_blocks[at] & bits_of(frame) != 0 {
                let bit = (self.marked_blocks[at] & bits_of(frame)).trailing_zeros() as usize;
                let id = (at * PER_WORD + bit / 2) as u32;
                count += self.take_marked_of(id, frame, &mut found[count..]);
                if count == found.len() {
                    // There may be more in this block.
                    return count;
                }
                self.marked_blocks[at] &= !(1 << bit);
            }
        }
        count
    }

    fn take_marked_of(&mut self, id: u32, frame: u64, found: &mut [CellRef]) -> usize {
        // A block may have gone since it was noted.
        let Some(block) = &mut self.blocks[id as usize] else { return 0 };
        let cell_count = usize::from(self.classes[usize::from(block.class)].block_cells);
        let cell_bytes = usize::from(block.cell_bytes);
        let mut count = 0;
        for number in 0..cell_count.div_ceil(PER_WORD) {
            // The last byte has the first cells.
            let mut word = u64::from_be_bytes(*block.mark_word(number));
            while word & bits_of(frame) != 0 && count < found.len() {
                let bit = (word & bits_of(frame)).trailing_zeros() as usize;
                word &= !(1 << bit);
                let index = number * PER_WORD + bit / 2;
                if let [first, .., last] = &block.cells[index * cell_bytes..][..cell_bytes] {
                    prefetch(first);
                    prefetch(last);
                }
                found[count] = CellRef::new(id, index);
                count += 1;
            }
            *block.mark_word(number) = word.to_be_bytes();
        }
        count
    }

    /// A cell has moved, and its marks with it.
    pub(super) fn move_marks(&mut self, from: CellRef, to: CellRef) {
        for frame in [0, 1] {
            if self.unmark(from, frame) {
                self.mark(to, frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::cell::{self, CELL_BYTES_MAX, Shape};
    use crate::counters::op::Entry;
    use std::collections::HashSet;

    #[test]
    fn cells_and_marks_fit_a_block() {
        for cell_bytes in 2..=CELL_BYTES_MAX {
            let cell_count = usize::from(block_cells(cell_bytes));
            let marks_bytes = cell_count.div_ceil(PER_WORD) * size_of::<u64>();
            assert!(cell_count * cell_bytes + marks_bytes <= BLOCK_BYTES, "{cell_bytes}");
        }
    }

    #[test]
    fn marks_go_with_their_cells_and_are_found_once() {
        let mut cells = Cells::default();
        let mut marked: [HashSet<u64>; 2] = Default::default();
        let mut present: Vec<(u64, CellRef)> = Vec::new();
        let mut random = 7u64;
        for number in 0..60_000u64 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let nth = (random >> 33) as usize % (present.len() + 1);
            if number < 6_000 || random >> 62 == 0 {
                let entry = Entry { value: 0, expires_at_ms: None };
                // Of two lengths.
                let name = [number.to_le_bytes(); 2].concat();
                let name = &name[..8 + (number % 2) as usize];
                present.push((number, cells.push(Shape::of(name.len(), entry), name, entry).unwrap()));
            } else if random >> 62 == 1 && nth < present.len() {
                let (number, cell) = present.swap_remove(nth);
                for frame in [0, 1] {
                    assert_eq!(cells.unmark(cell, frame), marked[frame as usize].remove(&number));
                }
                if let Some(moved) = cells.remove(cell) {
                    present.iter_mut().find(|(_, cell)| *cell == moved.from).unwrap().1 = moved.to;
                }
            } else if nth < present.len() {
                let (number, cell) = present[nth];
                let frame = random & 1;
                assert_eq!(cells.mark(cell, frame), marked[frame as usize].insert(number));
                assert!(cells.is_marked(cell, frame));
            }
        }
        assert!(marked.iter().all(|marked| marked.len() > 1_000));
        for frame in [8, 9] {
            let mut found = [CellRef::NONE; 100];
            loop {
                let count = cells.take_marked(frame, &mut found);
                for cell in &found[..count] {
                    let number = cell::key(cells.get(*cell)).first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
                    assert!(marked[frame as usize % 2].remove(&number.unwrap()));
                }
                if count < found.len() {
                    break;
                }
            }
        }
        assert!(marked.iter().all(HashSet::is_empty));
    }
}
