//! `SCAN`, `KEYS` and `RANDOMKEY`: going through a shard's counters while they change.
//!
//! A cursor is `slot << 32 | position << 1 | 1`, where a position is the top 31 bits of a key's place in the order of its
//! slot (see [`Index`](super::index::Index)). The order is the keys' own, so it does not change when tables grow, split
//! or shrink: all keys before a cursor have been visited, and all others will be. `slot << 32` is the slot's start.

use super::cell;
use super::cells::CellRef;
use super::index::Stretch;
use super::{Counters, Entry};
use crate::limits::SLOT_COUNT;

/// Empty slots that one call passes over, at most: all, so that a small data set is scanned in one call, as in Redis.
/// (A header of 64 bytes each, one after the other: about 0.1 ms.)
const EMPTY_SLOT_COUNT_MAX: usize = SLOT_COUNT;

/// Room for the entries of a small slot.
const ENTRY_ROOM_COUNT: usize = 64;

/// Random cells that are tried before all are gone through.
const RANDOM_TRY_COUNT: u64 = 64;

/// Whether a scan goes on behind a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// It does.
    Next,
    /// It does not, but for those of the same position, which a cursor cannot tell apart.
    Last,
    /// There was no room for this one: it goes on with it. Where those of one position are refused whenever they come, it
    /// goes on with them for ever.
    Refused,
}

/// The slot that a cursor of [`Counters::scan`] stands in; it may lie past the last one.
pub fn cursor_slot(cursor: u64) -> u64 {
    cursor >> 32
}

impl Counters {
    /// Visit about `count` counters from `cursor` on, and answer where to go on; 0 when all slots are done.
    ///
    /// 0 starts, and so does a cursor before the shard's first slot; one past its last answers 0. `each` gets the live
    /// counters; when it answers false it has no room, and the cursor that comes back stands at the counter that it
    /// refused. A counter that exists from the first call to the last is visited, perhaps twice. Counters of equal
    /// position are visited in one call, so `each` must have room for them. A segment knows 16 bits of its counters'
    /// positions: of a thousand, eight pairs have the same, once in thirty times three have, and nine never by chance.
    pub fn scan(&self, cursor: u64, count: u64, now_ms: i64, each: &mut dyn FnMut(&[u8], Entry) -> bool) -> u64 {
        let mut visit = |key: &[u8], entry: Entry| if each(key, entry) { Visit::Next } else { Visit::Refused };
        self.scan_until(cursor, count, now_ms, &mut visit)
    }

    /// The same with more to answer.
    pub fn scan_until(&self, cursor: u64, count: u64, now_ms: i64, each: &mut dyn FnMut(&[u8], Entry) -> Visit) -> u64 {
        let slots = self.index.slots();
        let mut slot = u64::from(slots.start);
        let mut position = 0;
        if cursor_slot(cursor) >= slot {
            slot = cursor_slot(cursor);
            position = u64::from(cursor as u32 >> 1);
        }
        let mut left = count.max(1);
        let mut empty_left = EMPTY_SLOT_COUNT_MAX;
        let mut entries = Vec::with_capacity(ENTRY_ROOM_COUNT);
        while slot < u64::from(slots.end) {
            if self.index.slot_len(slot as u16) == 0 {
                if empty_left == 0 {
                    return slot << 32;
                }
                empty_left -= 1;
                (slot, position) = (slot + 1, 0);
                continue;
            }
            // A small slot is visited sooner than the chunk of the next one comes.
            if slot + 2 < u64::from(slots.end) {
                self.index.prefetch_chunk(slot as u16 + 2, 0);
            }
            let stretch = self.index.stretch(slot as u16, (position << 1) as u32, &mut entries);
            let end = stretch.positions.end >> 1;
            if let Some(next) = self.visit(&stretch, &mut entries, position, &mut left, now_ms, each) {
                return (slot << 32) | (next << 1) | 1;
            }
            (slot, position) = if end == 1 << 31 { (slot + 1, 0) } else { (slot, end) };
        }
        0
    }

    /// Visit the rest of a stretch from `position` (of 31 bits) on. Answers the position to go on at, if it must end.
    fn visit(
        &self,
        stretch: &Stretch,
        entries: &mut Vec<(u32, CellRef)>,
        position: u64,
        left: &mut u64,
        now_ms: i64,
        each: &mut dyn FnMut(&[u8], Entry) -> Visit,
    ) -> Option<u64> {
        // What is known of the entries' positions is rounded down, and so is where to start.
        let step = 1u64 << (stretch.unknown_bits.max(1) - 1);
        let start = position & !(step - 1);
        entries.retain(|&(at, _)| u64::from(at >> 1) >= start);
        let mut end = None;
        let nth = usize::try_from(*left).unwrap_or(usize::MAX);
        if nth < entries.len() {
            // Of the others only the first counts: it says where to go on.
            let last = entries.select_nth_unstable_by_key(nth, |&(at, _)| at).1.0 >> 1;
            let count = entries.len();
            entries.retain(|&(at, _)| at >> 1 <= last);
            end = (entries.len() < count).then_some(u64::from(last) + step);
        }
        // So that their cache misses overlap.
        entries.iter().for_each(|&(_, cell)| self.cells.prefetch(cell));
        entries.sort_unstable_by_key(|&(at, _)| at);
        let mut before = None;
        for &(at, cell) in &*entries {
            let at = u64::from(at >> 1);
            if *left == 0 && before != Some(at) {
                return Some(at);
            }
            let bytes = self.cells.get(cell);
            let entry = cell::entry(bytes);
            let live = entry.expires_at_ms.is_none_or(|at_ms| now_ms <= at_ms);
            match live.then(|| each(cell::key(bytes), entry)) {
                None | Some(Visit::Next) => {}
                Some(Visit::Last) => *left = 1,
                Some(Visit::Refused) => return Some(at),
            }
            *left = left.saturating_sub(1);
            before = Some(at);
        }
        end
    }

    /// A live counter's key; every counter is as likely, for a `pick` that is uniformly random, unless many have
    /// expired. `None` when none of those is alive that were looked at: a few, and `visit_count_max` in a row.
    pub fn random(&self, pick: u64, now_ms: i64, visit_count_max: usize) -> Option<&[u8]> {
        let live_key = |cell| {
            let bytes = self.cells.get(cell);
            cell::expires_at_ms(bytes).is_none_or(|at_ms| now_ms <= at_ms).then(|| cell::key(bytes))
        };
        let tries = (0..RANDOM_TRY_COUNT).filter_map(|nth| {
            // Fibonacci hashing spreads the tries that follow the first.
            let pick = pick.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            self.cells.iter_from(pick).next().and_then(live_key)
        });
        tries.chain(self.cells.iter_from(pick).take(visit_count_max).filter_map(live_key)).next()
    }
}
