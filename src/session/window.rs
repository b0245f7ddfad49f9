//! The window: the commands of a batch between being parsed and being answered.
//!
//! A window is filled by the session, executed by the shards that own its keys, and encoded in the client's order. It
//! is lent by the shard while a batch is under way, so that a waiting connection holds none.
//!
//! Invariant: items are answered in the order in which they were pushed, each exactly once; a full window allocates
//! nothing, since all its parts have their greatest size from the start.

use bytes::BufMut;

use crate::command::{Each, Span};
use crate::counters::{Counters, Fault, Key, Op, Outcome};
use crate::lend::touched;
use crate::limits::{
    ARGUMENT_COUNT_MAX, OUTCOME_BYTES_MAX, SHORT_OUTCOME_BYTES_MAX, SHORT_REPLY_BYTES_MAX, WINDOW_ITEM_COUNT_MAX,
    WINDOW_TEXT_BYTES_MAX,
};
use crate::resp::encode;

/// From so many operations on, what they will read is read ahead, so that their cache misses overlap.
pub const WARM_ITEM_COUNT_MIN: usize = 4;

/// The shard of an item that needs no execution.
const NOWHERE: u16 = u16::MAX;

/// How an item becomes a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The outcome is the reply, or an element of it.
    Outcome,
    /// The text that the span points to is the reply, or a part of it.
    Text,
    /// The outcome is counted (`DEL`, `EXISTS`) or watched for the first fault (`MSET`).
    Total,
    /// The totals are the reply.
    Finish(Each),
    /// The totals are forgotten: their reply is not sent.
    Forget,
    /// Nothing is sent (`CLIENT REPLY`).
    Quiet,
}

/// One operation, or one ready-made reply.
#[derive(Clone, Copy, Debug)]
struct Item {
    hash: u64,
    op: Op,
    outcome: Outcome,
    /// The key in the input, or the text in the window's texts.
    span: Span,
    /// Which argument of its request the key is.
    argument: u32,
    slot: u16,
    shard: u16,
    how: How,
}

impl Item {
    /// One that needs no execution.
    fn plain(how: How, outcome: Outcome, span: Span, argument: u32) -> Item {
        Item { hash: 0, op: Op::Get, outcome, span, argument, slot: 0, shard: NOWHERE, how }
    }

    fn key<'a>(&self, input: &'a [u8]) -> Key<'a> {
        Key { bytes: self.span.of(input), hash: self.hash, slot: self.slot }
    }
}

/// How often a command stands in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// The command's index in the table.
    pub command: u16,
    /// How many in a row.
    pub count: u32,
}

/// What a streaming command has added up so far, over all its windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    sum: i64,
    fault: Option<(Fault, u32)>,
}

/// A key and its operation on their way to the shard that owns them.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'a> {
    /// Which item of the window it is.
    pub item: u16,
    /// The shard that owns the key.
    pub shard: usize,
    /// The key.
    pub key: Key<'a>,
    /// The operation.
    pub op: Op,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    items: Vec<Item>,
    texts: Vec<u8>,
    calls: Vec<Calls>,
    /// What the replies to come may take; the most that those of the items so far can take is off already.
    room_bytes: usize,
    error_count: u64,
    resp3: bool,
}

impl Window {
    /// What one takes, with everything that belongs to it.
    pub const BYTES: usize =
        size_of::<Window>() + WINDOW_ITEM_COUNT_MAX * (size_of::<Item>() + size_of::<Calls>()) + WINDOW_TEXT_BYTES_MAX;
}

impl Default for Window {
    fn default() -> Window {
        Window {
            items: touched(WINDOW_ITEM_COUNT_MAX, Item::plain(How::Quiet, Outcome::Nil, Span::default(), 0)),
            texts: touched(WINDOW_TEXT_BYTES_MAX, 0),
            calls: touched(WINDOW_ITEM_COUNT_MAX, Calls { command: 0, count: 0 }),
            room_bytes: 0,
            error_count: 0,
            resp3: false,
        }
    }
}

impl Window {
    /// Forget everything. What follows is encoded in the protocol version `resp3` and takes at most `room_bytes`.
    pub fn clear(&mut self, resp3: bool, room_bytes: usize) {
        self.items.clear();
        self.texts.clear();
        self.calls.clear();
        self.room_bytes = room_bytes;
        self.error_count = 0;
        self.resp3 = resp3;
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.calls.is_empty()
    }

    /// There is room for `item_count` more items and one more short reply, also where they will be encoded.
    #[inline]
    pub fn has_room(&self, item_count: usize) -> bool {
        self.items.len() + item_count <= WINDOW_ITEM_COUNT_MAX
            && self.room_bytes >= item_count * OUTCOME_BYTES_MAX + SHORT_REPLY_BYTES_MAX
            && self.texts.len() + SHORT_REPLY_BYTES_MAX <= WINDOW_TEXT_BYTES_MAX
            && self.calls.len() < WINDOW_ITEM_COUNT_MAX
    }

    /// There is room for every argument of an inline request, and nothing that would have to be answered before it.
    pub fn has_line_room(&self) -> bool {
        let line_bytes_max = ARGUMENT_COUNT_MAX * SHORT_OUTCOME_BYTES_MAX + SHORT_REPLY_BYTES_MAX + OUTCOME_BYTES_MAX;
        self.is_empty() && self.room_bytes >= line_bytes_max
    }

    /// The commands in it, with their counts, in runs.
    pub fn calls(&self) -> &[Calls] {
        &self.calls
    }

    /// Error replies among what was encoded.
    pub fn error_count(&self) -> u64 {
        self.error_count
    }

    /// The first key and its operation, for the slow log: the span lies in the input.
    pub fn first_key(&self) -> Option<Span> {
        self.items.iter().find(|item| item.shard != NOWHERE).map(|item| item.span)
    }

    /// One more call of a command.
    #[inline]
    pub(super) fn count_call(&mut self, command: u16) {
        match self.calls.last_mut() {
            Some(last) if last.command == command => last.count += 1,
            _ => self.calls.push(Calls { command, count: 1 }),
        }
    }

    /// Queue an operation on a key, whose outcome is a reply.
    #[inline]
    pub(super) fn push_op(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32, quiet: bool) {
        self.push_keyed(key, span, shard, op, argument, if quiet { How::Quiet } else { How::Outcome });
    }

    /// Queue an operation on a key, whose outcome goes into the totals.
    #[inline]
    pub(super) fn push_total(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32) {
        self.push_keyed(key, span, shard, op, argument, How::Total);
    }

    #[inline]
    fn push_keyed(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32, how: How) {
        let outcome = Outcome::Nil;
        self.take_room(op.reply_bytes_max());
        self.push(Item { hash: key.hash, op, outcome, span, argument, slot: key.slot, shard: shard as u16, how });
    }

    /// Queue a ready-made reply, or a part of one: what `write` appends.
    pub(super) fn push_text(&mut self, quiet: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.texts.len();
        write(&mut self.texts);
        assert!(self.texts.len() <= WINDOW_TEXT_BYTES_MAX, "a short reply is longer than its limit");
        if quiet {
            self.texts.truncate(start);
            return;
        }
        let span = Span { start: start as u32, len: (self.texts.len() - start) as u32 };
        if span.len > 0 {
            self.take_room(span.len as usize);
            self.push_plain(How::Text, Outcome::Nil, span, 0);
        }
    }

    /// Queue an error reply with one of the fixed texts.
    pub(super) fn push_fault(&mut self, fault: Fault, quiet: bool) {
        if !quiet {
            self.take_room(OUTCOME_BYTES_MAX);
            self.push_plain(How::Outcome, Outcome::Fault(fault), Span::default(), 0);
        }
    }

    /// Queue the reply of a streaming command's totals. A fault is one that ended the command at `argument`.
    pub(super) fn push_finish(&mut self, each: Each, fault: Option<Fault>, argument: u32, quiet: bool) {
        let outcome = fault.map_or(Outcome::Nil, Outcome::Fault);
        let how = if quiet { How::Forget } else { How::Finish(each) };
        self.take_room(OUTCOME_BYTES_MAX);
        self.push_plain(how, outcome, Span::default(), argument);
    }

    fn push_plain(&mut self, how: How, outcome: Outcome, span: Span, argument: u32) {
        self.push(Item::plain(how, outcome, span, argument));
    }

    #[inline]
    fn take_room(&mut self, bytes: usize) {
        assert!(bytes <= self.room_bytes, "the session pushes only where there is room");
        self.room_bytes -= bytes;
    }

    #[inline]
    fn push(&mut self, item: Item) {
        assert!(self.items.len() < WINDOW_ITEM_COUNT_MAX, "the session pushes only where there is room");
        self.items.push(item);
    }

    /// Execute every operation whose key belongs to shard `own`, in order. `input` is what the session parsed.
    pub fn execute(&mut self, input: &[u8], own: usize, counters: &mut Counters, now_ms: i64) {
        let here = |item: &&Item| usize::from(item.shard) == own;
        if self.items.len() >= WARM_ITEM_COUNT_MIN {
            counters.warm(self.items.iter().filter(here).map(|item| item.key(input)));
        }
        for item in &mut self.items {
            if usize::from(item.shard) == own {
                item.outcome = counters.apply(item.key(input), item.op, now_ms);
            }
        }
    }

    /// The operations that belong to other shards than `own`, in order.
    pub fn routed<'a>(&'a self, input: &'a [u8], own: usize) -> impl Iterator<Item = Routed<'a>> {
        self.items
            .iter()
            .enumerate()
            .filter(move |(_, item)| item.shard != NOWHERE && usize::from(item.shard) != own)
            .map(move |(index, item)| Routed {
                item: index as u16,
                shard: usize::from(item.shard),
                key: item.key(input),
                op: item.op,
            })
    }

    /// The outcome of an operation that another shard has executed.
    pub fn complete(&mut self, item: u16, outcome: Outcome) {
        self.items[usize::from(item)].outcome = outcome;
    }

    /// Encode all replies in order. `out` has the room that the window was cleared for.
    pub fn encode(&mut self, totals: &mut Totals, out: &mut impl BufMut) {
        for item in &self.items {
            match item.how {
                How::Outcome => {
                    self.error_count += u64::from(matches!(item.outcome, Outcome::Fault(_)));
                    encode::outcome(out, item.outcome, self.resp3);
                }
                How::Text => {
                    let text = item.span.of(&self.texts);
                    self.error_count += u64::from(text[0] == b'-');
                    out.put_slice(text);
                }
                How::Total => totals.add(item.outcome, item.argument),
                How::Finish(each) => self.error_count += u64::from(totals.finish(each, item, out)),
                How::Forget => *totals = Totals::default(),
                How::Quiet => {}
            }
        }
    }
}

impl Totals {
    fn add(&mut self, outcome: Outcome, argument: u32) {
        match outcome {
            Outcome::Int(count) => self.sum += count,
            Outcome::Fault(fault) => self.fault = self.fault.or(Some((fault, argument))),
            _ => {}
        }
    }

    /// Encode the reply and start anew. True when it was an error.
    fn finish(&mut self, each: Each, item: &Item, out: &mut impl BufMut) -> bool {
        let totals = std::mem::take(self);
        let ended = match item.outcome {
            Outcome::Fault(fault) => Some((fault, item.argument)),
            _ => None,
        };
        // What happened first is what is told: an operation that failed stands before the argument that broke.
        if let Some((fault, argument)) = totals.fault.or(ended) {
            put_fault_at(out, fault, argument);
            return true;
        }
        match each {
            Each::Mset => encode::simple(out, "OK"),
            _ => encode::integer(out, totals.sum),
        }
        false
    }
}

/// `-ERR … (argument 7)`: which argument a command with many failed at, the command's name being argument 0.
pub(super) fn put_fault_at(out: &mut impl BufMut, fault: Fault, argument: u32) {
    out.put_slice(b"-");
    out.put_slice(fault.text().as_bytes());
    out.put_slice(b" (argument ");
    out.put_slice(itoa::Buffer::new().format(argument).as_bytes());
    out.put_slice(b")\r\n");
}
