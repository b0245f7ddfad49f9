//! Which requests a window answers, and which of them went wrong.
//!
//! Requests of one command in a row are one streak. Invariant: every request that the session takes is counted in exactly
//! one streak, refused ones too; one that goes on from the window before was counted there.

use super::{How, Window};
use crate::counters::Outcome;
use crate::limits::WINDOW_ITEM_COUNT_MAX;

/// How often a command stands in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// The command's index in the table.
    pub command: u16,
    /// How many in a row.
    pub count: u32,
}

/// The command of a request that was refused before it was known.
pub(super) const UNKNOWN: u16 = u16::MAX;

/// Requests in a row of one command, all carried out or all refused, and the item that the first of them begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    calls: Calls,
    first_item: u16,
    rejected: bool,
}

impl Default for Streak {
    fn default() -> Streak {
        Streak { calls: Calls { command: UNKNOWN, count: 0 }, first_item: 0, rejected: false }
    }
}

/// One error among the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// Its first word: `ERR`, `OOM` …
    pub code: &'a [u8],
    /// The command whose reply it is, if one was carried out and this is all of its reply.
    pub failed: Option<u16>,
}

impl Window {
    /// The commands in it that are carried out, with their counts, in runs.
    #[inline]
    pub fn calls(&self) -> impl Iterator<Item = Calls> {
        self.streaks.iter().filter(|streak| !streak.rejected).map(|streak| streak.calls)
    }

    /// The known commands in it that are refused.
    pub fn rejected(&self) -> impl Iterator<Item = Calls> {
        let rejected = self.streaks.iter().filter(|streak| streak.rejected && streak.calls.command != UNKNOWN);
        rejected.map(|streak| streak.calls)
    }

    /// How many requests it answers, carried out or refused, but for the one that goes on from the window before.
    pub fn request_count(&self) -> u32 {
        self.streaks.iter().map(|streak| streak.calls.count).sum()
    }

    /// Whether there is anything in [`Window::rejected`] or [`Window::errors`].
    #[inline]
    pub fn has_errors(&self) -> bool {
        self.rejected || !self.errors.is_empty()
    }

    /// The errors among what was encoded.
    pub fn errors(&self) -> impl Iterator<Item = ErrorReply<'_>> {
        self.errors.iter().map(|(index, fault)| {
            let item = &self.items[usize::from(*index)];
            let text = match (item.how, *fault, item.outcome) {
                (How::Text | How::TextElement, ..) => &item.span.of(&self.texts)[1..],
                (_, Some(fault), _) | (_, None, Outcome::Fault(fault)) => fault.text().as_bytes(),
                _ => unreachable!("what was encoded as an error has a text or a fault"),
            };
            let is_element = matches!(item.how, How::Element | How::TextElement);
            let failed = if is_element { None } else { self.carried_out(*index) };
            ErrorReply { code: code(text), failed }
        })
    }

    /// The command that an item belongs to, unless it was refused.
    fn carried_out(&self, item: u16) -> Option<u16> {
        let after = self.streaks.partition_point(|streak| streak.first_item <= item);
        let command = match after.checked_sub(1).map(|last| self.streaks[last]) {
            Some(streak) if streak.rejected => UNKNOWN,
            Some(streak) => streak.calls.command,
            None => self.resumed,
        };
        (command != UNKNOWN).then_some(command)
    }

    /// One more call of a command.
    #[inline]
    pub(in crate::session) fn count_call(&mut self, command: u16) {
        self.count_request(command, false);
    }

    /// One more request that is refused; its error reply is pushed next. `None`: it names no known command.
    #[cold]
    pub(in crate::session) fn count_rejected(&mut self, command: Option<u16>) {
        self.rejected = true;
        self.count_request(command.unwrap_or(UNKNOWN), true);
    }

    /// A streaming command goes on.
    #[inline]
    pub(in crate::session) fn resume(&mut self, command: u16) {
        if self.streaks.is_empty() {
            self.resumed = command;
        }
    }

    #[inline]
    fn count_request(&mut self, command: u16, rejected: bool) {
        match self.streaks.last_mut() {
            Some(last) if last.calls.command == command && last.rejected == rejected => last.calls.count += 1,
            _ => {
                assert!(self.streaks.len() < WINDOW_ITEM_COUNT_MAX, "requests are counted only where there is room");
                let first_item = self.len as u16;
                self.streaks.push(Streak { calls: Calls { command, count: 1 }, first_item, rejected });
            }
        }
    }
}

/// The first word of an error's text.
pub fn code(text: &[u8]) -> &[u8] {
    let len = text.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n')).unwrap_or(text.len());
    &text[..len]
}
