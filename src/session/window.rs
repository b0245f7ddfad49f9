//! The window: the commands of a batch between being parsed and being answered.
//!
//! A window is filled by the session, executed by the shards that own its keys, and encoded in the client's order. It
//! is lent by the shard while a batch is under way, so that a waiting connection holds none.
//!
//! Invariant: items are answered in the order in which they were pushed, each exactly once; a full window allocates
//! nothing, since all its parts have their greatest size from the start.

mod calls;

use super::lookup::Lookup;
use super::plain::{Heads, plain_count_max};
use super::totals::Totals;
use crate::command::{Each, Span};
use crate::counters::{Counters, Fault, Hint, Key, Op, Outcome};
use crate::lend::touched;
use crate::limits::{
    ARGUMENT_COUNT_MAX, OUTCOME_BYTES_MAX, SHORT_OUTCOME_BYTES_MAX, SHORT_REPLY_BYTES_MAX, WINDOW_ITEM_COUNT_MAX,
    WINDOW_TEXT_BYTES_MAX,
};
use crate::resp::encode::{self, Out};

pub use calls::{Calls, ErrorReply, code};
use calls::{Streak, UNKNOWN};

/// The shard of an item that needs no execution.
const NOWHERE: u16 = u16::MAX;

/// How an item becomes a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// The outcome is the reply.
    Outcome,
    /// The outcome is an element of the reply.
    Element,
    /// The text that the span points to is the reply, or its head.
    Text,
    /// The text that the span points to is an element of the reply.
    TextElement,
    /// The outcome is counted (`DEL`, `EXISTS`) or watched for the first fault (`MSET`).
    Total,
    /// The totals are the reply.
    Finish(Each),
}

/// One operation, or one ready-made reply.
#[derive(Clone, Copy, Debug)]
struct Item {
    hash: u64,
    op: Op,
    outcome: Outcome,
    hint: Hint,
    /// The key in the input, or the text in the window's texts.
    span: Span,
    /// Which argument of its request the key is.
    argument: u32,
    slot: u16,
    shard: u16,
    how: How,
    /// Nothing of it is sent (`CLIENT REPLY`). What goes wrong is counted all the same.
    quiet: bool,
}

impl Item {
    /// One that needs no execution.
    fn plain(how: How, quiet: bool, outcome: Outcome, span: Span, argument: u32) -> Item {
        Item { hash: 0, op: Op::Get, outcome, hint: Hint::NONE, span, argument, slot: 0, shard: NOWHERE, how, quiet }
    }

    fn key<'a>(&self, input: &'a [u8]) -> Key<'a> {
        Key { bytes: self.span.of(input), hash: self.hash, slot: self.slot }
    }
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

/// What a window holds at some moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    item_count: usize,
    text_bytes: usize,
    streak_count: usize,
    last_streak: Option<Streak>,
    rejected: bool,
    room_bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Window {
    /// The first [`Window::len`] are in use.
    items: Box<[Item]>,
    len: usize,
    texts: Vec<u8>,
    streaks: Vec<Streak>,
    /// When the keys were looked up, in the counters' epochs; 0 while they have not been.
    epoch: u64,
    /// The streaming command that goes on from the window before.
    resumed: u16,
    /// Something was refused.
    rejected: bool,
    /// Items that were encoded as errors; with the fault where the item alone does not tell it.
    errors: Vec<(u16, Option<Fault>)>,
    /// What the replies to come may take; the most that those of the items so far can take is off already.
    room_bytes: usize,
    resp3: bool,
    /// How plain requests began, in windows before too.
    pub(super) heads: Heads,
}

impl Window {
    /// What one takes, with everything that belongs to it.
    pub const BYTES: usize = size_of::<Window>()
        + WINDOW_ITEM_COUNT_MAX * (size_of::<Item>() + size_of::<Streak>() + size_of::<(u16, Option<Fault>)>())
        + WINDOW_TEXT_BYTES_MAX;
}

impl Default for Window {
    fn default() -> Window {
        Window {
            items: vec![Item::plain(How::Outcome, true, Outcome::Nil, Span::default(), 0); WINDOW_ITEM_COUNT_MAX]
                .into(),
            len: 0,
            texts: touched(WINDOW_TEXT_BYTES_MAX, 0),
            streaks: touched(WINDOW_ITEM_COUNT_MAX, Streak::default()),
            epoch: 0,
            resumed: UNKNOWN,
            rejected: false,
            errors: touched(WINDOW_ITEM_COUNT_MAX, (0, None)),
            room_bytes: 0,
            resp3: false,
            heads: Heads::default(),
        }
    }
}

impl Window {
    /// Forget everything. What follows is encoded in the protocol version `resp3` and takes at most `room_bytes`.
    pub fn clear(&mut self, resp3: bool, room_bytes: usize) {
        self.len = 0;
        self.texts.clear();
        self.streaks.clear();
        self.epoch = 0;
        self.resumed = UNKNOWN;
        self.rejected = false;
        self.errors.clear();
        self.room_bytes = room_bytes;
        self.resp3 = resp3;
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0 && self.streaks.is_empty()
    }

    /// How many bytes of the room that it was cleared for its replies certainly leave.
    pub fn room_bytes(&self) -> usize {
        self.room_bytes
    }

    /// There is room for `item_count` more items and one more short reply, also where they will be encoded.
    #[inline]
    pub fn has_room(&self, item_count: usize) -> bool {
        self.len + item_count <= WINDOW_ITEM_COUNT_MAX
            && self.room_bytes >= item_count * OUTCOME_BYTES_MAX + SHORT_REPLY_BYTES_MAX
            && self.texts.len() + SHORT_REPLY_BYTES_MAX <= WINDOW_TEXT_BYTES_MAX
            && self.streaks.len() < WINDOW_ITEM_COUNT_MAX
    }

    /// There is room for so many more items, of as many commands, whatever their replies take.
    pub(super) fn has_item_room(&self, item_count: usize) -> bool {
        self.len.max(self.streaks.len()) + item_count <= WINDOW_ITEM_COUNT_MAX
    }

    /// All keys in it are of one shard.
    pub(super) fn is_of_shard(&self, shard: usize) -> bool {
        self.items[..self.len].iter().all(|item| item.shard == NOWHERE || usize::from(item.shard) == shard)
    }

    /// So many plain commands can be pushed before [`Window::has_room`] is to be asked again.
    #[inline]
    pub(super) fn plain_room(&self) -> usize {
        if !self.has_room(2) {
            return 0;
        }
        let item_count = WINDOW_ITEM_COUNT_MAX - self.len;
        let streak_count = WINDOW_ITEM_COUNT_MAX - self.streaks.len();
        item_count.min(streak_count).min(plain_count_max(self.room_bytes))
    }

    /// There is room for every argument of an inline request, and nothing that would have to be answered before it.
    pub fn has_line_room(&self) -> bool {
        let line_bytes_max = ARGUMENT_COUNT_MAX * SHORT_OUTCOME_BYTES_MAX + SHORT_REPLY_BYTES_MAX + OUTCOME_BYTES_MAX;
        self.is_empty() && self.room_bytes >= line_bytes_max
    }

    /// The first key and its operation, for the slow log: the span lies in the input.
    pub fn first_key(&self) -> Option<Span> {
        self.items[..self.len].iter().find(|item| item.shard != NOWHERE).map(|item| item.span)
    }

    /// What has been pushed so far, to come back to.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            item_count: self.len,
            text_bytes: self.texts.len(),
            streak_count: self.streaks.len(),
            last_streak: self.streaks.last().copied(),
            rejected: self.rejected,
            room_bytes: self.room_bytes,
        }
    }

    /// Forget what has been pushed since.
    pub(super) fn return_to(&mut self, mark: Mark) {
        self.len = mark.item_count;
        self.texts.truncate(mark.text_bytes);
        self.streaks.truncate(mark.streak_count);
        if let (Some(streak), Some(last)) = (self.streaks.last_mut(), mark.last_streak) {
            *streak = last;
        }
        self.rejected = mark.rejected;
        self.room_bytes = mark.room_bytes;
    }

    /// How many items have been pushed since.
    pub(super) fn item_count_since(&self, mark: Mark) -> usize {
        self.len - mark.item_count
    }

    /// Queue an operation on a key, whose outcome is a reply.
    #[inline]
    pub(super) fn push_op(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32, quiet: bool) {
        self.push_keyed(key, span, shard, op, argument, How::Outcome, quiet);
    }

    /// Queue an operation on a key, whose outcome is an element of a reply.
    #[inline]
    pub(super) fn push_element(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32, quiet: bool) {
        self.push_keyed(key, span, shard, op, argument, How::Element, quiet);
    }

    /// Queue an operation on a key, whose outcome goes into the totals.
    #[inline]
    pub(super) fn push_total(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32) {
        self.push_keyed(key, span, shard, op, argument, How::Total, false);
    }

    /// The same for one more call of a plain command; there is [room](Window::plain_room) for it.
    #[inline(always)]
    pub(super) fn push_plain_op(&mut self, command: u16, key: Key<'_>, span: Span, shard: usize, op: Op) {
        self.count_call(command);
        self.room_bytes -= SHORT_OUTCOME_BYTES_MAX;
        self.put_keyed(key, span, shard, op, 1, (How::Outcome, false));
    }

    /// Written field by field: a whole item would be put together elsewhere and copied.
    #[inline(always)]
    fn put_keyed(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32, (how, quiet): (How, bool)) {
        assert!(self.len < self.items.len(), "the session pushes only where there is room");
        let item = &mut self.items[self.len];
        self.len += 1;
        item.hash = key.hash;
        item.op = op;
        item.outcome = Outcome::Nil;
        item.hint = Hint::NONE;
        item.span = span;
        item.argument = argument;
        item.slot = key.slot;
        item.shard = shard as u16;
        item.how = how;
        item.quiet = quiet;
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "each is a field of the item")]
    fn push_keyed(&mut self, key: Key<'_>, span: Span, shard: usize, op: Op, argument: u32, how: How, quiet: bool) {
        self.take_room(op.reply_bytes_max());
        self.put_keyed(key, span, shard, op, argument, (how, quiet));
    }

    /// Queue a ready-made reply, or the head of one: what `write` appends.
    pub(super) fn push_text(&mut self, quiet: bool, write: impl FnOnce(&mut Vec<u8>)) {
        self.push_written(How::Text, quiet, write);
    }

    /// Queue a ready-made element of a reply.
    pub(super) fn push_text_element(&mut self, quiet: bool, write: impl FnOnce(&mut Vec<u8>)) {
        self.push_written(How::TextElement, quiet, write);
    }

    fn push_written(&mut self, how: How, quiet: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.texts.len();
        write(&mut self.texts);
        assert!(self.texts.len() <= WINDOW_TEXT_BYTES_MAX, "a short reply is longer than its limit");
        let span = Span { start: start as u32, len: (self.texts.len() - start) as u32 };
        if quiet && span.of(&self.texts).first() != Some(&b'-') {
            self.texts.truncate(start);
        } else if span.len > 0 {
            self.take_room(span.len as usize);
            self.push_plain(how, quiet, Outcome::Nil, span, 0);
        }
    }

    /// Queue an error reply with one of the fixed texts.
    pub(super) fn push_fault(&mut self, fault: Fault, quiet: bool) {
        self.take_room(OUTCOME_BYTES_MAX);
        self.push_plain(How::Outcome, quiet, Outcome::Fault(fault), Span::default(), 0);
    }

    /// Queue the reply of a streaming command's totals. A fault is one that ended the command at `argument`, which else is one
    /// past its last.
    pub(super) fn push_finish(&mut self, each: Each, fault: Option<Fault>, argument: u32, quiet: bool) {
        let outcome = fault.map_or(Outcome::Nil, Outcome::Fault);
        self.take_room(OUTCOME_BYTES_MAX);
        self.push_plain(How::Finish(each), quiet, outcome, Span::default(), argument);
    }

    fn push_plain(&mut self, how: How, quiet: bool, outcome: Outcome, span: Span, argument: u32) {
        self.push(Item::plain(how, quiet, outcome, span, argument));
    }

    #[inline]
    fn take_room(&mut self, bytes: usize) {
        assert!(bytes <= self.room_bytes, "the session pushes only where there is room");
        self.room_bytes -= bytes;
    }

    #[inline]
    fn push(&mut self, item: Item) {
        assert!(self.len < self.items.len(), "the session pushes only where there is room");
        self.items[self.len] = item;
        self.len += 1;
    }

    /// Ask for what [`look_up`](Window::look_up) will read, for every key of shard `own`. The session has asked for what
    /// is read before that.
    #[inline(never)]
    pub fn prefetch(&self, own: usize, counters: &Counters) {
        let here = self.items[..self.len].iter().filter(|item| usize::from(item.shard) == own);
        here.for_each(|item| counters.prefetch_chunk(item.slot, item.hash));
    }

    /// Look up every key of shard `own` and ask for its cell. What is executed in the same epoch needs no other lookup.
    #[inline(never)]
    pub fn look_up(&mut self, own: usize, counters: &Counters) {
        self.epoch = counters.epoch();
        let here = self.items[..self.len].iter_mut().filter(|item| usize::from(item.shard) == own);
        here.for_each(|item| item.hint = counters.look_up(item.slot, item.hash));
    }

    /// The keys of shard `own`, to be looked up elsewhere; the session has asked for what is read first.
    pub fn lookups(&self, own: usize) -> impl Iterator<Item = Lookup> {
        let here = self.items[..self.len].iter().filter(move |item| usize::from(item.shard) == own);
        here.map(|item| Lookup { hash: item.hash, slot: item.slot, ..Lookup::default() })
    }

    /// Take over what was found for [`Window::lookups`], at once for all.
    pub fn take_looked_up(&mut self, own: usize, lookups: &[Lookup]) {
        self.epoch = lookups.first().map_or(0, |first| first.epoch);
        let here = self.items[..self.len].iter_mut().filter(|item| usize::from(item.shard) == own);
        for (item, lookup) in here.zip(lookups) {
            assert!(lookup.epoch == self.epoch && lookup.hash == item.hash, "the lookups are those of this window");
            item.hint = lookup.hint;
        }
    }

    /// Execute every operation whose key belongs to shard `own`, in order; answers whether there was one. `input` is what
    /// the session parsed.
    #[inline(never)]
    pub fn execute(&mut self, input: &[u8], own: usize, counters: &mut Counters, now_ms: i64) -> bool {
        let epoch = self.epoch;
        let mut executed = false;
        for item in self.items[..self.len].iter_mut().filter(|item| usize::from(item.shard) == own) {
            item.outcome = counters.apply_at(item.hint, epoch, item.key(input), &item.op, now_ms);
            executed = true;
        }
        executed
    }

    /// The same while the journal has no room: what might change a counter is refused.
    #[cold]
    #[inline(never)]
    pub fn execute_reads(&mut self, input: &[u8], own: usize, counters: &mut Counters, now_ms: i64) -> bool {
        let mut executed = false;
        for item in self.items[..self.len].iter_mut().filter(|item| usize::from(item.shard) == own) {
            item.outcome = match item.op.changes() {
                true => Outcome::Fault(Fault::NotWritten),
                // Without the hint: a second place that it is looked at from would cost the first one its speed.
                false => counters.apply(item.key(input), item.op, now_ms),
            };
            executed = true;
        }
        executed
    }

    /// The operations that belong to other shards than `own`, in order.
    pub fn routed<'a>(&'a self, input: &'a [u8], own: usize) -> impl Iterator<Item = Routed<'a>> {
        self.items[..self.len]
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
    #[inline(never)]
    pub fn encode(&mut self, totals: &mut Totals, out: &mut impl Out) {
        let errors = &mut self.errors;
        let mut note = |index: usize, fault| errors.push((index as u16, fault));
        for (index, item) in self.items[..self.len].iter().enumerate() {
            match item.how {
                How::Outcome | How::Element => {
                    if matches!(item.outcome, Outcome::Fault(_)) {
                        note(index, None);
                    }
                    if !item.quiet {
                        encode::outcome(out, item.outcome, self.resp3);
                    }
                }
                How::Text | How::TextElement => {
                    let text = item.span.of(&self.texts);
                    if text[0] == b'-' {
                        note(index, None);
                    }
                    if !item.quiet {
                        out.put_slice(text);
                    }
                }
                How::Total => totals.add(item.outcome, item.argument),
                How::Finish(each) => {
                    let ended = (item.outcome, item.argument);
                    let fault = if item.quiet { totals.forget(ended) } else { totals.finish(each, ended, out) };
                    if let Some(fault) = fault {
                        note(index, Some(fault));
                    }
                }
            }
        }
    }
}
