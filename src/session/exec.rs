//! `EXEC` of a transaction that stands in the input as it was queued: its requests become items of the window like any
//! others.
//!
//! Clients send a transaction at once, mostly of plain commands on counters of one shard. A window's items of one shard are
//! executed in one go, and recorded in one frame: nobody needs to be kept off. Whatever is not so simple is a task.
//!
//! Invariants: the replies are those of the task (tests hold one against the other), but where the disk fails between
//! parsing and execution: then each change is refused at its place. What stands in front of a transaction in its pipeline
//! has taken effect before it, and what stands behind it has not, on all shards.

use super::{Parsing, Status, Step};
use crate::client::ReplyMode;
use crate::command::Spans;
use crate::limits::WINDOW_ITEM_COUNT_MAX;
use crate::resp::encode;
use crate::resp::parse::{Header, header};

impl Parsing<'_> {
    /// Push what the transaction has queued, if that can be, and pass over the `EXEC` in front of `end`. `None` leaves it to
    /// the task.
    pub(super) fn exec(&mut self, command: u16, end: usize, input: &[u8]) -> Option<Step> {
        let at = self.at;
        let client = &self.session.client;
        let transaction = client.transaction.as_deref()?;
        let count = transaction.command_count as usize;
        let needs_task = transaction.has_others
            || transaction.aborted
            || transaction.shards.count() > 1
            || transaction.crosses_slots && self.around.direct.is_some()
            || !client.watched.is_empty()
            || client.reply != ReplyMode::On
            || self.around.shown
            || self.around.writes_refused.is_some();
        let from =
            at.checked_sub(transaction.queue.len()).filter(|_| !needs_task && count < WINDOW_ITEM_COUNT_MAX - 2)?;
        if input[from..at] != transaction.queue[..] {
            return None;
        }
        let window_was_empty = self.window.is_empty();
        if !(self.window.has_item_room(count + 2) && self.window.has_room(2)) {
            return (!window_was_empty).then_some(Err(Status::WindowFull));
        }
        let is_alone = self.around.map.shard_count() == 1;
        if !is_alone && transaction.shards.iter().any(|shard| !self.window.is_of_shard(shard)) {
            return Some(Err(Status::WindowFull));
        }
        let before = self.window.mark();
        let transaction = self.session.client.transaction.take().expect("it was looked at");
        self.window.push_text(false, |out| encode::array(out, count));
        self.at = from;
        let is_pushed = self.push_queued(at, input);
        self.at = at;
        if !is_pushed {
            self.window.return_to(before);
            self.session.client.transaction = Some(transaction);
            return (!window_was_empty).then_some(Err(Status::WindowFull));
        }
        assert_eq!(self.window.item_count_since(before), 1 + count, "each queued request has a reply in the array");
        self.session.client.transaction = Some(transaction);
        self.session.end_transaction(self.around.queue_room_bytes);
        self.window.count_call(command);
        self.at = end;
        // Another shard might be sooner with what follows.
        Some(if is_alone { Ok(()) } else { Err(Status::WindowFull) })
    }

    /// Push the requests up to `end`. False when the window has no room for their replies.
    fn push_queued(&mut self, end: usize, input: &[u8]) -> bool {
        // Most need none.
        let mut spans = None;
        loop {
            self.plain(input);
            if self.at == end {
                return true;
            }
            let Header::Multibulk { count, consumed } = header(&input[self.at..]) else {
                unreachable!("requests are queued as arrays")
            };
            if !self.window.has_room(2) {
                return false;
            }
            let step = self.multibulk(count, consumed, input, spans.get_or_insert_with(Spans::default));
            assert!(step.is_ok() && self.at <= end, "a command on a key becomes an item");
        }
    }
}
