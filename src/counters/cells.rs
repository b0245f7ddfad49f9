//! Where cells lie: blocks of equal size, each for cells of one length, packed without a hole.
//!
//! Cells of one length (and of one kind: with an expiry or without) form a class: a stack that goes on from block to
//! block. A new cell is pushed on its class; a removed one is replaced by the class's last, so at most one block a class
//! is partly empty, whatever was deleted, and an empty block goes back to the allocator. All blocks are of one size, so
//! the allocator cannot fragment either. Nothing is ever copied for growth: a growing class takes one more block.
//!
//! Who points at a cell must be told when it moves: [`Cells::remove`] says so.

mod marks;
mod round;

pub use round::{Round, Step};

use super::cell::{self, CELL_BYTES_MAX, Shape};
use super::op::Entry;
use super::prefetch::prefetch;

/// A block is this long with the allocator's own header of 16 bytes.
pub const BLOCK_COST_BYTES: usize = 16 * 1024;
const BLOCK_BYTES: usize = BLOCK_COST_BYTES - 16;

const INDEX_BITS: u32 = 11;
const CELLS_PER_BLOCK_MAX: usize = 1 << INDEX_BITS;
/// 32 GiB of cells.
const BLOCK_COUNT_MAX: usize = (1 << (u32::BITS - INDEX_BITS)) - 1;
const NO_CLASS: u16 = u16::MAX;

const _: () = assert!(CELL_BYTES_MAX < BLOCK_BYTES);
const _: () = assert!(2 * (CELL_BYTES_MAX + 1) < NO_CLASS as usize);

/// Which cell: a block, and a place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRef(u32);

impl CellRef {
    /// Names no cell.
    pub const NONE: CellRef = CellRef(u32::MAX);

    #[cfg(test)]
    pub fn for_test(number: u32) -> CellRef {
        CellRef(number)
    }

    fn new(block: u32, index: usize) -> CellRef {
        CellRef((block << INDEX_BITS) | index as u32)
    }

    #[inline]
    fn block(self) -> usize {
        (self.0 >> INDEX_BITS) as usize
    }

    #[inline]
    fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }
}

/// A cell went from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where it was.
    pub from: CellRef,
    /// Where it is.
    pub to: CellRef,
}

/// All cells of a shard.
#[derive(Default)]
pub struct Cells {
    blocks: Vec<Option<Block>>,
    /// Two bits a block: it may have cells with a mark of an even, or of an odd frame.
    marked_blocks: Vec<u64>,
    free_ids: Vec<u32>,
    /// One empty block, kept so that pushing and removing a cell at a block's edge does not allocate each time.
    spare: Option<Box<[u8; BLOCK_BYTES]>>,
    classes: Vec<Class>,
    /// By [`class_key`]; empty until the first cell.
    class_numbers: Vec<u16>,
    cell_count: u64,
    expiring_count: u64,
    /// Blocks in use and the spare one.
    held_block_count: usize,
    block_list_bytes: usize,
}

struct Block {
    cells: Box<[u8; BLOCK_BYTES]>,
    cell_bytes: u16,
    class: u16,
    /// Which of its class's blocks this is.
    ordinal: u32,
}

const _: () = assert!(size_of::<Option<Block>>() == 16);

/// The cells of one length, with an expiry or without.
struct Class {
    cell_bytes: u16,
    expiring: bool,
    /// Cells of a full block.
    block_cells: u16,
    /// Cells of the last block; the others are full.
    last_cells: u16,
    blocks: Vec<u32>,
    /// For each block no cell expires before this (Unix milliseconds); only of an expiring class.
    earliest_ms: Vec<i64>,
}

impl Class {
    fn cell_count(&self) -> u64 {
        let full = self.blocks.len().saturating_sub(1) as u64;
        full * u64::from(self.block_cells) + u64::from(self.last_cells)
    }

    fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<u32>() + self.earliest_ms.capacity() * size_of::<i64>()
    }

    fn cells_of(&self, ordinal: usize) -> usize {
        usize::from(if ordinal + 1 == self.blocks.len() { self.last_cells } else { self.block_cells })
    }
}

fn class_key(cell_bytes: usize, expiring: bool) -> usize {
    cell_bytes * 2 + usize::from(expiring)
}

impl Cells {
    /// How many cells there are.
    pub fn cell_count(&self) -> u64 {
        self.cell_count
    }

    /// How many of them have an expiry.
    pub fn expiring_count(&self) -> u64 {
        self.expiring_count
    }

    /// Bytes that all this takes.
    pub fn bytes(&self) -> u64 {
        let lists = self.blocks.capacity() * size_of::<Option<Block>>()
            + self.marked_blocks.capacity() * size_of::<u64>()
            + self.free_ids.capacity() * size_of::<u32>()
            + self.classes.capacity() * size_of::<Class>()
            + self.class_numbers.capacity() * size_of::<u16>()
            + self.block_list_bytes;
        (self.held_block_count * BLOCK_COST_BYTES + lists) as u64
    }

    /// Bytes that [`push`](Cells::push) of a cell of this shape would take from the allocator; `None` when there is no
    /// place for it at all.
    pub fn push_cost_bytes(&self, shape: Shape) -> Option<u64> {
        let class = self.class_numbers.get(class_key(shape.cell_bytes(), shape.is_expiring()));
        if let Some(&number) = class
            && number != NO_CLASS
            && !self.classes[usize::from(number)].blocks.is_empty()
            && self.classes[usize::from(number)].last_cells < self.classes[usize::from(number)].block_cells
        {
            return Some(0);
        }
        if self.free_ids.is_empty() && self.blocks.len() == BLOCK_COUNT_MAX {
            return None;
        }
        Some(if self.spare.is_some() { 0 } else { BLOCK_COST_BYTES as u64 })
    }

    /// Add a cell. `None` when the shard's 32 GiB of cells are full.
    pub fn push(&mut self, shape: Shape, key: &[u8], entry: Entry) -> Option<CellRef> {
        let number = self.class_number(shape);
        let class = &self.classes[usize::from(number)];
        if class.blocks.is_empty() || class.last_cells == class.block_cells {
            self.add_block(number)?;
        }
        let class = &mut self.classes[usize::from(number)];
        let cell = CellRef::new(*class.blocks.last().expect("a block"), usize::from(class.last_cells));
        class.last_cells += 1;
        self.cell_count += 1;
        self.expiring_count += u64::from(class.expiring);
        cell::write(self.get_mut(cell), shape, key, entry);
        self.note_expiry(cell);
        Some(cell)
    }

    /// Remove a cell. The last of its class takes its place; the answer says which that was, if it was another one.
    pub fn remove(&mut self, cell: CellRef) -> Option<Moved> {
        assert!(!self.is_marked(cell, 0) && !self.is_marked(cell, 1), "the journal knows before a cell goes");
        let number = self.block(cell).class;
        let class = &mut self.classes[usize::from(number)];
        let last_block = *class.blocks.last().expect("the class of a cell has a block");
        class.last_cells -= 1;
        let last = CellRef::new(last_block, usize::from(class.last_cells));
        let block_empty = class.last_cells == 0;
        self.cell_count -= 1;
        self.expiring_count -= u64::from(class.expiring);

        let moved = (last != cell).then_some(Moved { from: last, to: cell });
        if moved.is_some() {
            self.copy(last, cell);
            self.move_marks(last, cell);
            self.note_expiry(cell);
        }
        if block_empty {
            self.drop_last_block(number);
        }
        moved
    }

    /// The bytes of a cell.
    #[inline]
    pub fn get(&self, cell: CellRef) -> &[u8] {
        let block = self.block(cell);
        let len = usize::from(block.cell_bytes);
        &block.cells[cell.index() * len..][..len]
    }

    /// Ask for the bytes of a cell, which may lie across two cache lines.
    #[inline]
    pub fn prefetch(&self, cell: CellRef) {
        if let [first, .., last] = self.get(cell) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// The bytes of a cell, to write a value of the same shape.
    #[inline]
    pub fn get_mut(&mut self, cell: CellRef) -> &mut [u8] {
        let block = self.blocks[cell.block()].as_mut().expect("a cell lies in a block");
        let len = usize::from(block.cell_bytes);
        &mut block.cells[cell.index() * len..][..len]
    }

    /// To be called when an expiry was written: its block will be looked at in time.
    pub fn note_expiry(&mut self, cell: CellRef) {
        if let Some(at_ms) = cell::expires_at_ms(self.get(cell)) {
            self.note_expiry_at(cell, at_ms);
        }
    }

    /// The same where it is known.
    #[inline]
    pub fn note_expiry_at(&mut self, cell: CellRef, at_ms: i64) {
        let Block { class, ordinal, .. } = *self.block(cell);
        let earliest_ms = &mut self.classes[usize::from(class)].earliest_ms[ordinal as usize];
        *earliest_ms = at_ms.min(*earliest_ms);
    }

    /// The cells in some order, each once, from the `start`-th (modulo their number) on.
    pub fn iter_from(&self, start: u64) -> impl Iterator<Item = CellRef> {
        let start = if self.cell_count == 0 { 0 } else { start % self.cell_count };
        let mut before = start;
        let (mut first_class, mut first_cell) = (0, 0);
        for (number, class) in self.classes.iter().enumerate() {
            if before < class.cell_count() {
                (first_class, first_cell) = (number, before);
                break;
            }
            before -= class.cell_count();
        }
        let classes = self.classes.iter().cycle().skip(first_class);
        let cells = classes.enumerate().flat_map(move |(nth, class)| {
            let from = if nth == 0 { first_cell } else { 0 };
            (from..class.cell_count()).map(|cell| {
                let (ordinal, index) = (cell / u64::from(class.block_cells), cell % u64::from(class.block_cells));
                CellRef::new(class.blocks[ordinal as usize], index as usize)
            })
        });
        cells.take(self.cell_count as usize)
    }

    #[inline]
    fn block(&self, cell: CellRef) -> &Block {
        self.blocks[cell.block()].as_ref().expect("a cell lies in a block")
    }

    fn copy(&mut self, from: CellRef, to: CellRef) {
        let len = usize::from(self.block(from).cell_bytes);
        let (from_start, to_start) = (from.index() * len, to.index() * len);
        let present = "a cell lies in a block";
        if from.block() == to.block() {
            let block = self.blocks[from.block()].as_mut().expect(present);
            block.cells.copy_within(from_start..from_start + len, to_start);
        } else {
            let [source, target] =
                self.blocks.get_disjoint_mut([from.block(), to.block()]).expect("two blocks").map(|b| b.as_mut());
            let bytes = &source.expect(present).cells[from_start..][..len];
            target.expect(present).cells[to_start..][..len].copy_from_slice(bytes);
        }
    }

    fn class_number(&mut self, shape: Shape) -> u16 {
        if self.class_numbers.is_empty() {
            self.class_numbers = vec![NO_CLASS; class_key(CELL_BYTES_MAX, true) + 1];
        }
        let number = &mut self.class_numbers[class_key(shape.cell_bytes(), shape.is_expiring())];
        if *number == NO_CLASS {
            *number = self.classes.len() as u16;
            self.classes.push(Class {
                cell_bytes: shape.cell_bytes() as u16,
                expiring: shape.is_expiring(),
                block_cells: marks::block_cells(shape.cell_bytes()),
                last_cells: 0,
                blocks: Vec::new(),
                earliest_ms: Vec::new(),
            });
        }
        *number
    }

    fn add_block(&mut self, class_number: u16) -> Option<()> {
        let id = match self.free_ids.pop() {
            Some(id) => id,
            None if self.blocks.len() < BLOCK_COUNT_MAX => {
                self.blocks.push(None);
                (self.blocks.len() - 1) as u32
            }
            None => return None,
        };
        let cells = self.spare.take().unwrap_or_else(|| {
            self.held_block_count += 1;
            vec![0; BLOCK_BYTES].into_boxed_slice().try_into().expect("the length of a block")
        });
        let class = &mut self.classes[usize::from(class_number)];
        let ordinal = class.blocks.len() as u32;
        let mut block = Block { cells, cell_bytes: class.cell_bytes, class: class_number, ordinal };
        block.clear_marks(usize::from(class.block_cells));
        self.blocks[id as usize] = Some(block);
        self.marked_blocks.resize(self.blocks.len().div_ceil(marks::PER_WORD), 0);
        self.block_list_bytes -= class.heap_bytes();
        class.blocks.push(id);
        if class.expiring {
            class.earliest_ms.push(i64::MAX);
        }
        self.block_list_bytes += class.heap_bytes();
        class.last_cells = 0;
        Some(())
    }

    fn drop_last_block(&mut self, class_number: u16) {
        let class = &mut self.classes[usize::from(class_number)];
        self.block_list_bytes -= class.heap_bytes();
        let id = class.blocks.pop().expect("a block");
        class.earliest_ms.pop();
        if class.blocks.len() < class.blocks.capacity() / 4 {
            class.blocks.shrink_to(class.blocks.len() * 2);
            class.earliest_ms.shrink_to(class.blocks.len() * 2);
        }
        self.block_list_bytes += class.heap_bytes();
        class.last_cells = if class.blocks.is_empty() { 0 } else { class.block_cells };
        let block = self.blocks[id as usize].take().expect("a block");
        self.free_ids.push(id);
        if self.spare.is_none() {
            self.spare = Some(block.cells);
        } else {
            self.held_block_count -= 1;
        }
        if self.free_ids.len() == self.blocks.len() {
            self.blocks = Vec::new();
            self.marked_blocks = Vec::new();
            self.free_ids = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn entry(value: i64, expires_at_ms: Option<i64>) -> Entry {
        Entry { value, expires_at_ms }
    }

    #[test]
    fn cells_stay_packed_and_say_where_they_go() {
        let mut cells = Cells::default();
        let mut places: HashMap<Vec<u8>, CellRef> = HashMap::new();
        let mut random = 1u64;
        for round in 0..40_000u64 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key = format!("{:0width$}", (random >> 33) % 4_000, width = 4 + (random >> 60) as usize).into_bytes();
            if let Some(place) = places.remove(&key) {
                assert_eq!(cell::key(cells.get(place)), key);
                if let Some(moved) = cells.remove(place) {
                    let key = cell::key(cells.get(moved.to)).to_vec();
                    assert_eq!(places.insert(key, moved.to), Some(moved.from));
                }
            } else {
                let entry = entry(round as i64, round.is_multiple_of(3).then_some(5));
                let place = cells.push(Shape::of(key.len(), entry), &key, entry).unwrap();
                places.insert(key, place);
            }
            assert_eq!(cells.cell_count(), places.len() as u64);
        }
        let listed: Vec<CellRef> = cells.iter_from(random).collect();
        assert_eq!(listed.len(), places.len());
        assert!(places.iter().all(|(key, &place)| cell::key(cells.get(place)) == key));
        let used: usize = listed.iter().map(|&cell| cells.get(cell).len()).sum();
        let packed_max = used * 17 / 16 + (cells.classes.len() + 1) * BLOCK_COST_BYTES;
        assert!(cells.held_block_count * BLOCK_COST_BYTES <= packed_max);

        for key in places.keys().cloned().collect::<Vec<_>>() {
            let place = places.remove(&key).unwrap();
            if let Some(moved) = cells.remove(place) {
                places.insert(cell::key(cells.get(moved.to)).to_vec(), moved.to);
            }
        }
        assert_eq!((cells.cell_count(), cells.expiring_count(), cells.held_block_count), (0, 0, 1));
        assert!(cells.blocks.is_empty());
    }
}
