//! A key of a window on its own: what is looked up together with the keys of other windows.
//!
//! Invariant: what was found counts only in the epoch of the counters in which it was looked up.

use crate::counters::{Counters, Hint};

/// A key that is looked up apart from its window.
#[derive(Clone, Copy, Debug)]
pub struct Lookup {
    pub(super) hash: u64,
    /// When, in the counters' epochs.
    pub(super) epoch: u64,
    pub(super) hint: Hint,
    pub(super) slot: u16,
}

impl Default for Lookup {
    fn default() -> Lookup {
        Lookup { hash: 0, epoch: 0, hint: Hint::NONE, slot: 0 }
    }
}

impl Lookup {
    /// As [`Window::prefetch`](super::Window::prefetch).
    #[inline]
    pub fn prefetch(&self, counters: &Counters) {
        counters.prefetch_chunk(self.slot, self.hash);
    }

    /// As [`Window::look_up`](super::Window::look_up).
    #[inline]
    pub fn look_up(&mut self, counters: &Counters) {
        self.hint = counters.look_up(self.slot, self.hash);
        self.epoch = counters.epoch();
    }
}
