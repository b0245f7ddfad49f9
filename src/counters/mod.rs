//! The counters of one shard: a range of slots, each a small table of keys, values and expiries.
//!
//! Pure: no I/O, no clock, no async, no lock, no atomic. Time comes in as `now_ms`, operations as [`Op`], and what
//! happened goes out as an [`Outcome`] of sixteen bytes, whatever the operation.
//!
//! ```text
//! Counters ─┬─ Index   a table a slot: hash → chunk of tags → cell            index.rs, segment.rs
//!           ├─ Cells   packed cells in blocks of 16 KiB: key, value, expiry    cells.rs, cell.rs
//!           ├─ Watched the keys that transactions watch                        watch.rs
//!           └─ Recorder what the journal will write, if there is one           record.rs, journal::changes
//! ```
//!
//! A lookup reads a slot's header, one chunk and one cell. Every counter has one cell and one index entry, and nothing
//! else refers to cells: a cell that moves is found again by the hash of its own key. Steady-state operations allocate
//! nothing, growth takes one block, one array of a segment, or the split of one segment, and removal gives back as much.

mod apply;
mod cell;
mod cells;
mod hash;
mod index;
mod op;
mod prefetch;
mod record;
mod scan;
mod segment;
mod watch;

use std::fmt;
use std::ops::Range;

use cell::Shape;
use cells::{CellRef, Cells, Moved, Round, Step};
pub use hash::Seed;
use index::{Index, Place};
pub use op::{Cond, Deadline, Entry, ExpireCond, Fault, Key, Op, Outcome, SetReply, TimeUnit, Word};
pub use scan::{Visit, cursor_slot};
use watch::Watched;

use crate::journal::changes::Recorder;

/// Counters of what happened to the counters, as `INFO stats` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lookups for reading that found a counter (`keyspace_hits`).
    pub hits: u64,
    /// Lookups for reading that found none (`keyspace_misses`).
    pub misses: u64,
    /// Counters that expired (`expired_keys`).
    pub expired: u64,
}

/// The counters of one shard.
pub struct Counters {
    index: Index,
    cells: Cells,
    watched: Watched,
    /// What is told of every change that is not the clock's: whoever replays the changes expires what has expired.
    recorder: Option<Box<Recorder>>,
    seed: Seed,
    /// New counters need [`Counters::bytes`] to be below this, and to stay at or below it.
    bytes_max: u64,
    /// Counters that need a block to get longer need them to stay at or below this.
    longer_bytes_max: u64,
    /// A counter was refused for want of room since this was last asked.
    lacked_room: bool,
    round: Round,
    stats: Stats,
    /// Changes whenever a cell has moved or gone: what was looked up before holds no longer.
    epoch: u64,
}

/// How many more bytes the tables may take; `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// For new counters.
    pub new_bytes: u64,
    /// For those that there are, and that need a longer cell: it is never less.
    pub longer_bytes: u64,
}

impl Headroom {
    /// For as many counters as can be told apart.
    pub const UNLIMITED: Headroom = Headroom { new_bytes: u64::MAX, longer_bytes: u64::MAX };
}

/// What [`Counters::sweep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Visits: to a counter, or to a block or a class that is passed over.
    pub visited_count: usize,
    /// Counters that had expired.
    pub removed_count: usize,
    /// The next one begins another round; or nothing has an expiry.
    pub is_round_over: bool,
}

/// What [`Counters::look_up`] found: the cell that is probably a key's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint(CellRef);

impl Hint {
    /// Nothing was looked up, or nothing found.
    pub const NONE: Hint = Hint(CellRef::NONE);
}

/// What `MEMORY USAGE` counts for an index entry: a tenth of a chunk, at the usual load.
const CHUNK_SHARE_BYTES: usize = 7;

/// Where a counter is.
#[derive(Clone, Copy)]
struct Found {
    cell: CellRef,
    /// Where the index names it; `None` while only a hint has told.
    place: Option<Place>,
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("slots", &self.index.slots()).field("key_count", &self.key_count()).finish()
    }
}

impl Counters {
    /// No counters yet, for the shard's slots. Keys come hashed with [`Seed::of_process`].
    pub fn new(slots: Range<u16>) -> Counters {
        Counters {
            index: Index::new(slots),
            cells: Cells::default(),
            watched: Watched::default(),
            recorder: None,
            seed: Seed::of_process(),
            bytes_max: u64::MAX,
            longer_bytes_max: u64::MAX,
            lacked_room: false,
            round: Round::default(),
            stats: Stats::default(),
            epoch: 1,
        }
    }

    /// How many more bytes the tables may grow until new counters get [`Fault::OutOfMemory`], and until longer ones do.
    /// Growth takes from it and shrinking gives back. What needs no longer cell still counts past both.
    pub fn set_room(&mut self, room: Headroom) {
        assert!(room.longer_bytes >= room.new_bytes, "who may come may grow");
        self.bytes_max = self.bytes().saturating_add(room.new_bytes);
        self.longer_bytes_max = self.bytes().saturating_add(room.longer_bytes);
    }

    /// Whether a counter was refused for want of room since this was last asked.
    pub fn take_lacked_room(&mut self) -> bool {
        std::mem::take(&mut self.lacked_room)
    }

    /// How many counters there are, expired ones that nothing has touched yet included.
    pub fn key_count(&self) -> u64 {
        self.cells.cell_count()
    }

    /// How many of them have an expiry.
    pub fn expiring_count(&self) -> u64 {
        self.cells.expiring_count()
    }

    /// Bytes of the tables: their heap with the allocator's headers, and 64 bytes a slot.
    pub fn bytes(&self) -> u64 {
        self.index.bytes() + self.cells.bytes()
    }

    /// How many counters a slot has.
    pub fn slot_key_count(&self, slot: u16) -> u64 {
        self.index.slot_len(slot) as u64
    }

    /// What happened so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Count from zero again.
    pub fn reset_stats(&mut self) {
        self.stats = Stats::default();
    }

    /// Ask for the first that a lookup in a slot will read, if the slot is this shard's.
    ///
    /// With [`prefetch_chunk`](Counters::prefetch_chunk) and [`look_up`](Counters::look_up) these are the steps of a
    /// lookup. Taken one after the other for all keys of a batch, with other work between them where there is one key, the
    /// cache misses overlap. None changes anything.
    #[inline]
    pub fn prefetch_slot(&self, slot: u16) {
        self.index.prefetch_slot(slot);
    }

    /// Ask for the second, which reads the first.
    #[inline]
    pub fn prefetch_chunk(&self, slot: u16, hash: u64) {
        self.index.prefetch_chunk(slot, hash);
    }

    /// The same for a key that is probably new.
    #[inline]
    pub fn prefetch_chunks(&self, slot: u16, hash: u64) {
        self.index.prefetch_chunks(slot, hash);
    }

    /// Look a key up, as far as can be told without its bytes, and ask for its cell: for
    /// [`apply_at`](Counters::apply_at) in the same [`epoch`](Counters::epoch).
    #[inline(always)]
    pub fn look_up(&self, slot: u16, hash: u64) -> Hint {
        let cell = self.index.first_with_tag(slot, hash);
        if cell != CellRef::NONE {
            self.cells.prefetch(cell);
            if self.recorder.is_some() {
                self.cells.prefetch_marks(cell);
            }
        }
        Hint(cell)
    }

    /// Hints hold as long as this does not change. It is never 0.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Remove all counters. The watched ones that exist are changed.
    pub fn flush(&mut self, _now_ms: i64) {
        let (index, cells, seed) = (&self.index, &self.cells, self.seed);
        self.watched.touch_all(|bytes| {
            let key = seed.key(bytes);
            index.find(key.slot, key.hash, |cell| cell::has_key(cells.get(cell), bytes)).is_some()
        });
        self.epoch += 1;
        self.make_records(usize::MAX);
        self.index = Index::new(self.index.slots());
        self.cells = Cells::default();
        self.round = Round::default();
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
    }

    /// A counter's state.
    pub fn entry(&mut self, key: Key<'_>, now_ms: i64) -> Option<Entry> {
        Some(self.find_live(key, Hint::NONE, now_ms)?.1)
    }

    /// Remove a counter and answer its state.
    pub fn take(&mut self, key: Key<'_>, now_ms: i64) -> Option<Entry> {
        let (found, entry) = self.find_live(key, Hint::NONE, now_ms)?;
        self.delete(key, found);
        Some(entry)
    }

    /// Write a counter's state, whatever there was.
    ///
    /// # Errors
    /// It is a new counter or one that needs a longer cell, and there is no room for it. Nothing is changed then.
    pub fn put(&mut self, key: Key<'_>, entry: Entry) -> Result<(), Fault> {
        match self.find(key) {
            Some(found) => self.update(key, found, entry),
            None => self.create(key, entry),
        }
    }

    /// The same for one that has just left as much room elsewhere: the limit does not stand in its way.
    ///
    /// # Errors
    /// There are as many counters as can be told apart.
    pub fn put_moved(&mut self, key: Key<'_>, entry: Entry) -> Result<(), Fault> {
        match self.find(key) {
            Some(found) => {
                let longer_bytes_max = std::mem::replace(&mut self.longer_bytes_max, u64::MAX);
                let updated = self.update(key, found, entry);
                self.longer_bytes_max = longer_bytes_max;
                updated
            }
            None => self.make(key, Shape::of(key.bytes.len(), entry), entry),
        }
    }

    /// Visit about `visit_count` of the counters that may have expired and remove those that have, until the end of the
    /// round. Calls go round all blocks of counters with an expiry, those whose earliest expiry lies ahead at the cost of
    /// one visit a block.
    pub fn sweep(&mut self, now_ms: i64, visit_count: usize) -> Swept {
        let mut swept = Swept { is_round_over: self.expiring_count() == 0, ..Swept::default() };
        while !swept.is_round_over && swept.visited_count < visit_count {
            swept.visited_count += 1;
            match self.cells.step(&mut self.round, now_ms) {
                Step::Nothing => {}
                Step::End => swept.is_round_over = true,
                Step::Expired(cell) => {
                    self.watched.touch(cell::key(self.cells.get(cell)));
                    self.note_expired(cell);
                    self.remove(cell, self.place_of(cell, cell));
                    swept.removed_count += 1;
                }
            }
        }
        self.stats.expired += swept.removed_count as u64;
        swept
    }

    /// Register a watcher of a key (`WATCH`); answers the key's version, which every change makes another.
    pub fn watch(&mut self, key: Key<'_>, now_ms: i64) -> u64 {
        self.find_live(key, Hint::NONE, now_ms);
        self.watched.add(key.bytes)
    }

    /// The version of a watched key (`EXEC`). That it has expired since is a change.
    pub fn watched_version(&mut self, key: Key<'_>, now_ms: i64) -> u64 {
        self.find_live(key, Hint::NONE, now_ms);
        self.watched.version(key.bytes)
    }

    /// One watcher of a key fewer.
    pub fn unwatch(&mut self, key: Key<'_>) {
        self.watched.remove(key.bytes);
    }

    #[inline]
    fn find(&self, key: Key<'_>) -> Option<Found> {
        debug_assert_eq!(key.hash, self.seed.hash(key.bytes), "keys are hashed with the process's seed");
        let is = |cell| cell::has_key(self.cells.get(cell), key.bytes);
        let (place, cell) = self.index.find(key.slot, key.hash, is)?;
        Some(Found { cell, place: Some(place) })
    }

    /// A counter that has not expired, and its state; one that has is removed. The hint is of this epoch, or none.
    #[inline]
    fn find_live(&mut self, key: Key<'_>, hint: Hint, now_ms: i64) -> Option<(Found, Entry)> {
        let hinted = (hint != Hint::NONE).then(|| cell::entry_of(self.cells.get(hint.0), key.bytes)).flatten();
        let (found, entry) = match hinted {
            Some(entry) => (Found { cell: hint.0, place: None }, entry),
            None => {
                let found = self.find(key)?;
                (found, cell::entry(self.cells.get(found.cell)))
            }
        };
        if entry.expires_at_ms.is_some_and(|at_ms| now_ms > at_ms) {
            self.expire(key, found);
            return None;
        }
        Some((found, entry))
    }

    #[cold]
    fn expire(&mut self, key: Key<'_>, found: Found) {
        self.stats.expired += 1;
        self.watched.touch(key.bytes);
        self.note_expired(found.cell);
        self.remove(found.cell, self.place(key, found));
    }

    /// Make a counter that does not exist, if there is room.
    fn create(&mut self, key: Key<'_>, entry: Entry) -> Result<(), Fault> {
        let shape = Shape::of(key.bytes.len(), entry);
        if self.bytes_max != u64::MAX {
            let bytes = self.bytes();
            let cell_bytes = self.cells.push_cost_bytes(shape).ok_or(Fault::OutOfMemory)?;
            let grown_bytes = bytes + cell_bytes + self.index.insert_cost_bytes(key.slot, key.hash);
            if bytes >= self.bytes_max || grown_bytes > self.bytes_max {
                self.lacked_room = true;
                return Err(Fault::OutOfMemory);
            }
        }
        self.make(key, shape, entry)
    }

    #[inline]
    fn make(&mut self, key: Key<'_>, shape: Shape, entry: Entry) -> Result<(), Fault> {
        let cell = self.cells.push(shape, key.bytes, entry).ok_or(Fault::OutOfMemory)?;
        self.index.insert(key.slot, key.hash, cell, &self.cells, self.seed);
        self.watched.touch(key.bytes);
        self.note_change(cell);
        Ok(())
    }

    /// Write a counter's state: in place, or in another cell where its shape changes.
    #[inline]
    fn update(&mut self, key: Key<'_>, found: Found, entry: Entry) -> Result<(), Fault> {
        self.settle(found.cell);
        if cell::set_entry(self.cells.get_mut(found.cell), entry) {
            if let Some(at_ms) = entry.expires_at_ms {
                self.cells.note_expiry_at(found.cell, at_ms);
            }
            self.note_change(found.cell);
        } else {
            self.reshape(key, found, entry)?;
        }
        self.watched.touch(key.bytes);
        Ok(())
    }

    /// Write a counter's state into a cell of another shape.
    ///
    /// # Errors
    /// There is no room for a longer cell. Nothing is changed then: not the counter, its expiry or its watchers' version,
    /// and the journal is told nothing.
    #[cold]
    fn reshape(&mut self, key: Key<'_>, found: Found, entry: Entry) -> Result<(), Fault> {
        let shape = Shape::of(key.bytes.len(), entry);
        // One that is no longer is let be: what becomes free makes up for its block soon.
        if self.longer_bytes_max != u64::MAX && shape.cell_bytes() > self.cells.get(found.cell).len() {
            let cell_bytes = self.cells.push_cost_bytes(shape).ok_or(Fault::OutOfMemory)?;
            if cell_bytes > 0 && self.bytes() + cell_bytes > self.longer_bytes_max {
                self.lacked_room = true;
                return Err(Fault::OutOfMemory);
            }
        }
        let place = self.place(key, found);
        let cell = self.cells.push(shape, key.bytes, entry).ok_or(Fault::OutOfMemory)?;
        self.index.set(place, cell);
        self.epoch += 1;
        self.note_leaving(found.cell);
        self.note_change(cell);
        // The new cell is of another class, so it is not the one that moves.
        let moved = self.cells.remove(found.cell);
        self.follow(moved);
        Ok(())
    }

    /// Remove a counter for good; watchers and the journal see it.
    fn delete(&mut self, key: Key<'_>, found: Found) {
        self.watched.touch(key.bytes);
        self.note_delete(found.cell);
        self.remove(found.cell, self.place(key, found));
    }

    fn remove(&mut self, cell: CellRef, place: Place) {
        self.epoch += 1;
        let moved = self.cells.remove(cell);
        self.follow(moved);
        self.index.remove(place);
    }

    /// Where the index names the counter of a key.
    #[inline]
    fn place(&self, key: Key<'_>, found: Found) -> Place {
        found.place.unwrap_or_else(|| self.place_in(key, found.cell))
    }

    /// Point the index at a cell that has moved.
    fn follow(&mut self, moved: Option<Moved>) {
        if let Some(Moved { from, to }) = moved {
            let place = self.place_of(from, to);
            self.index.set(place, to);
        }
    }

    /// Where the index names `named`, a cell whose bytes lie at `at`.
    fn place_of(&self, named: CellRef, at: CellRef) -> Place {
        self.place_in(self.seed.key(cell::key(self.cells.get(at))), named)
    }

    fn place_in(&self, key: Key<'_>, named: CellRef) -> Place {
        let found = self.index.find(key.slot, key.hash, |cell| cell == named);
        found.expect("every cell has an entry in the index").0
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod twin;
