//! Who is expected back: clients that the last frame has released, under `always`.
//!
//! Who waits for each reply sends its next request as soon as it has that. A frame that waits for these holds the changes
//! of all; one that does not holds those of half of them, and each half then waits for the other's sync besides its own.
//! Whether they come back soon is found out by trying: while they do not, it is tried ever more seldom.
//!
//! Pure. Invariant: a frame waits for no one whom the last but one has released.

use std::cell::Cell;

/// After a try that did not pay, at most `1 << 6` frames do not wait.
const SKIPPED_LOG2_MAX: u32 = 6;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The frame that has released somebody last; 0 before the first.
    frame: Cell<u64>,
    released_count: Cell<u32>,
    /// Of these, who has not come back.
    out_count: Cell<u32>,
    /// Tries in a row that did not pay.
    vain_count: Cell<u32>,
    /// So many frames do not wait.
    skipped_count: Cell<u32>,
}

impl Expected {
    /// Whoever was released by this frame is back (0: by none).
    pub(super) fn note_back(&self, released_by: u64) {
        if released_by != 0 && released_by == self.frame.get() {
            let left_count = self.out_count.get().checked_sub(1);
            self.out_count.set(left_count.expect("who comes back was out"));
        }
    }

    /// A frame, which is the last one so far, has released somebody, who says so when it comes back.
    pub(super) fn note_released(&self, frame: u64) {
        if self.frame.replace(frame) != frame {
            self.released_count.set(0);
            self.out_count.set(0);
        }
        self.released_count.update(|count| count + 1);
        self.out_count.update(|count| count + 1);
    }

    /// How many are expected.
    pub(super) fn out_count(&self) -> u32 {
        self.out_count.get()
    }

    /// Whether the frame that is about to end shall wait.
    pub(super) fn is_worth_waiting(&self) -> bool {
        match self.skipped_count.get().checked_sub(1) {
            Some(left_count) => self.skipped_count.set(left_count),
            None => return true,
        }
        false
    }

    /// A frame has waited for as long as it may, or until all were back: it has paid if at least half were.
    pub(super) fn note_waited(&self) {
        if self.out_count.get() <= self.released_count.get() / 2 {
            self.vain_count.set(0);
        } else {
            self.vain_count.update(|count| (count + 1).min(SKIPPED_LOG2_MAX));
            self.skipped_count.set(1 << self.vain_count.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_the_last_frame_has_released_is_expected_once() {
        let expected = Expected::default();
        expected.note_back(0);
        expected.note_released(3);
        expected.note_released(3);
        assert_eq!(expected.out_count(), 2);
        expected.note_back(3);
        assert_eq!(expected.out_count(), 1);
        expected.note_released(5);
        assert_eq!(expected.out_count(), 1, "nobody waits any more for whom frame 3 has released");
        expected.note_back(3);
        expected.note_back(0);
        assert_eq!(expected.out_count(), 1);
        expected.note_back(5);
        assert_eq!(expected.out_count(), 0);
    }

    #[test]
    fn waiting_in_vain_is_tried_ever_more_seldom() {
        let expected = Expected::default();
        let skipped_count = || (0..).take_while(|_| !expected.is_worth_waiting()).count();
        (0..4).for_each(|_| expected.note_released(1));
        for count in [2, 4, 8, 16, 32, 64, 64] {
            expected.note_waited();
            assert_eq!(skipped_count(), count);
        }
        (0..2).for_each(|_| expected.note_back(1));
        expected.note_waited();
        assert_eq!(skipped_count(), 0, "half of them were back");
        (0..4).for_each(|_| expected.note_released(2));
        expected.note_waited();
        assert_eq!(skipped_count(), 2);
    }
}
