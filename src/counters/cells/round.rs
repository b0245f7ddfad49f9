//! The round of the background expiry over all cells that have an expiry.

use super::{CellRef, Cells};
use crate::counters::cell;

/// Where a round over all expiring cells stands. It goes down each class, so that a cell that takes a removed one's
/// place has been visited already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    class: usize,
    /// Blocks of the class that are not done; `None` before the first.
    blocks_left: Option<usize>,
    /// Cells of the last of these that are not done; `None` before it is entered.
    cells_left: Option<usize>,
}

/// What a step of a round found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An expired cell.
    Expired(CellRef),
    /// Nothing to remove.
    Nothing,
    /// The round is over; the next step starts another.
    End,
}

impl Cells {
    /// Go one step on: look at one expiring cell, or pass over one block in which nothing can have expired at `now_ms`.
    pub fn step(&mut self, round: &mut Round, now_ms: i64) -> Step {
        let Some(class) = self.classes.get_mut(round.class) else {
            *round = Round::default();
            return Step::End;
        };
        let mut blocks_left = round.blocks_left.unwrap_or(usize::MAX);
        if blocks_left > class.blocks.len() {
            // The round has just come to this class, or the block that it was in is gone.
            blocks_left = class.blocks.len();
            round.cells_left = None;
        }
        if !class.expiring || blocks_left == 0 {
            *round = Round { class: round.class + 1, ..Round::default() };
            return Step::Nothing;
        }
        let ordinal = blocks_left - 1;
        match round.cells_left.map(|left| left.min(class.cells_of(ordinal))) {
            None if class.earliest_ms[ordinal] < now_ms => {
                // Found anew from the cells that this round leaves, and from what is written meanwhile.
                class.earliest_ms[ordinal] = i64::MAX;
                round.blocks_left = Some(blocks_left);
                round.cells_left = Some(class.cells_of(ordinal));
                Step::Nothing
            }
            None | Some(0) => {
                round.blocks_left = Some(ordinal);
                round.cells_left = None;
                Step::Nothing
            }
            Some(cells_left) => {
                round.cells_left = Some(cells_left - 1);
                let cell = CellRef::new(class.blocks[ordinal], cells_left - 1);
                if cell::expires_at_ms(self.get(cell)).expect("an expiring class") < now_ms {
                    return Step::Expired(cell);
                }
                self.note_expiry(cell);
                Step::Nothing
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::cell::Shape;
    use crate::counters::op::Entry;

    #[test]
    fn a_round_meets_every_expired_cell() {
        let mut cells = Cells::default();
        for i in 0..5_000i64 {
            let entry = Entry { value: i, expires_at_ms: (i % 2 == 0).then_some(i) };
            cells.push(Shape::of(8, entry), &i.to_le_bytes(), entry).unwrap();
        }
        let mut round = Round::default();
        for now_ms in [-1, 0, 2_001, 10_000] {
            let mut removed = 0;
            loop {
                match cells.step(&mut round, now_ms) {
                    Step::Expired(cell) => {
                        assert!(cell::expires_at_ms(cells.get(cell)).unwrap() < now_ms);
                        cells.remove(cell);
                        removed += 1;
                    }
                    Step::Nothing => {}
                    Step::End => break,
                }
            }
            assert_eq!(
                removed,
                match now_ms {
                    2_001 => 1_001,
                    10_000 => 1_499,
                    _ => 0,
                }
            );
        }
        assert_eq!(cells.expiring_count(), 0);
    }
}
