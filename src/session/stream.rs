//! The commands with many keys: each key (or pair) is pushed as it arrives.
//!
//! An argument that cannot be executed is an error at its place in the arrays of `MGET` and `MINCRBY`; the commands with
//! a single reply end there and say at which argument.

use super::direct::SlotRange;
use super::{Parsing, State, Status, Step, push_mistake, totals};
use crate::command::{self, Each, Span, Spec, flag, mistake};
use crate::counters::{Fault, Key, Op};
use crate::limits::KEY_BYTES_MAX;
use crate::resp::encode;
use crate::resp::parse::{Bulk, bulk};

/// A streaming command under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    each: Each,
    /// The command's index in the table.
    command: u16,
    /// Arguments that have not arrived.
    left_count: u32,
    /// Position of the next argument in its request; the command's name is 0.
    argument: u32,
    /// What its keys may be of.
    slots: SlotRange,
    /// The next argument belongs to a key that was refused.
    skip_value: bool,
    quiet: bool,
}

impl Stream {
    /// Arguments that have not arrived.
    pub(super) fn left_count(&self) -> u32 {
        self.left_count
    }
}

/// An argument that has arrived.
pub(super) enum Argument {
    /// It is there.
    Whole(Span),
    /// It is longer than any may be; its body follows.
    Long { len: u64 },
}

impl Parsing<'_> {
    pub(super) fn begin_each(&mut self, spec: &'static Spec, each: Each, count: u32, end: usize, input: &[u8]) -> Step {
        let left_count = count - 1;
        if !spec.arity_allows(count as usize) {
            self.at = end;
            self.session.state = State::Skip { left_count };
            return self.refuse_command(spec, mistake::wrong_arity(spec.name));
        }
        if let Some(mistake) = self.refusal(spec) {
            self.at = end;
            self.session.state = State::Skip { left_count };
            return self.refuse_command(spec, mistake);
        }
        let slots = match self.stream_slots(input, end)? {
            Ok(slots) => slots,
            Err(mistake) => {
                self.at = end;
                self.session.state = State::Skip { left_count };
                return self.refuse(mistake);
            }
        };
        if self.session.client.transaction.is_some() {
            return self.begin_queue(spec, each, count, slots, &input[self.at..end], end);
        }
        if self.around.writes_paused && spec.flags.has(flag::WRITE) {
            return Err(Status::Paused);
        }
        self.at = end;
        self.open_stream(spec, each, count, slots)
    }

    /// Begin a streaming command of `count` arguments, its name included.
    pub(super) fn open_stream(&mut self, spec: &'static Spec, each: Each, count: u32, slots: SlotRange) -> Step {
        let quiet = self.take_quiet();
        let command = spec.index;
        self.window.count_call(command);
        let left_count = count - 1;
        if !spec.accepts(count as usize) {
            self.session.state = if left_count > 0 { State::Skip { left_count } } else { State::Start };
            push_mistake(mistake::wrong_arity(spec.name), quiet, self.window);
            return Ok(());
        }
        match each {
            Each::Mget => self.window.push_text(quiet, |out| encode::array(out, left_count as usize)),
            Each::Mincrby => self.window.push_text(quiet, |out| encode::array(out, left_count as usize / 2)),
            Each::Mset | Each::Del | Each::Exists => {}
        }
        let stream = Stream { each, command, left_count, argument: 1, slots, skip_value: false, quiet };
        self.session.state = State::Stream(stream);
        Ok(())
    }

    /// Push the keys (or pairs) of a streaming command that have arrived.
    pub(super) fn stream(&mut self, mut stream: Stream, input: &[u8]) -> Step {
        self.window.resume(stream.command);
        while let State::Stream(_) = self.session.state {
            self.elements(&mut stream, input);
            if !self.window.has_room(2) {
                return Err(Status::WindowFull);
            }
            let mut end = self.at;
            let first = match self.next_bulk(input, &mut end)? {
                Argument::Whole(span) => span,
                Argument::Long { len } => {
                    self.at = end;
                    self.skip(len)?;
                    let fault = if stream.skip_value { None } else { Some(Fault::KeyTooLong) };
                    self.refuse_element(&mut stream, 1, fault);
                    return Ok(());
                }
            };
            if stream.skip_value {
                self.at = end;
                self.refuse_element(&mut stream, 1, None);
                continue;
            }
            if !stream.each.takes_values() {
                self.at = end;
                self.element(&mut stream, input, first, None);
                continue;
            }
            match self.next_bulk(input, &mut end)? {
                Argument::Whole(value) => {
                    self.at = end;
                    self.element(&mut stream, input, first, Some(value));
                }
                Argument::Long { len } => {
                    self.at = end;
                    self.skip(len)?;
                    self.refuse_element(&mut stream, 2, Some(Fault::ArgumentTooLong));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Push the keys (or pairs) that have arrived as almost all do, for as long as there is room; the last of the command
    /// is left for [`Parsing::element`], as is all else.
    #[inline(never)]
    fn elements(&mut self, stream: &mut Stream, input: &[u8]) {
        if stream.skip_value {
            return;
        }
        let each = stream.each;
        let argument_count = if each.takes_values() { 2 } else { 1 };
        let count = self.window.plain_room().min(stream.left_count.saturating_sub(1) as usize / argument_count);
        for _ in 0..count {
            let mut at = self.at;
            let mut whole = || match bulk(&input[at..]) {
                Bulk::Whole { start, len, consumed } => {
                    let span = Span { start: (at + start) as u32, len: len as u32 };
                    at += consumed;
                    Some(span)
                }
                _ => None,
            };
            let Some(span) = whole() else { break };
            let value = if argument_count == 2 { whole() } else { None };
            if span.len as usize > KEY_BYTES_MAX || value.is_some() != (argument_count == 2) {
                break;
            }
            let Ok(op) = command::each_op(each, value.map(|value| value.of(input))) else { break };
            let key = self.around.seed.key(span.of(input));
            if !stream.slots.contains(key.slot) {
                break;
            }
            self.push_key(stream, key, span, op);
            self.at = at;
            stream.left_count -= argument_count as u32;
            stream.argument += argument_count as u32;
        }
        self.session.state = State::Stream(*stream);
    }

    /// Push an element whose key is served here.
    #[inline(always)]
    fn push_key(&mut self, stream: &Stream, key: Key<'_>, span: Span, op: Op) {
        self.around.counters.prefetch_slot(key.slot);
        let shard = self.around.map.shard_of(key.slot);
        match stream.each {
            Each::Mget | Each::Mincrby => self.window.push_element(key, span, shard, op, stream.argument, stream.quiet),
            Each::Mset | Each::Del | Each::Exists => self.window.push_total(key, span, shard, op, stream.argument),
        }
    }

    /// The argument at `input[*end..]`; advances `end` over it, or over its header if it is too long.
    #[inline]
    pub(super) fn next_bulk(&mut self, input: &[u8], end: &mut usize) -> Result<Argument, Status> {
        match bulk(&input[*end..]) {
            Bulk::Whole { start, len, consumed } => {
                let span = Span { start: (*end + start) as u32, len: len as u32 };
                *end += consumed;
                Ok(Argument::Whole(span))
            }
            Bulk::Incomplete => Err(Status::NeedInput),
            Bulk::Long { len, consumed } => {
                *end += consumed;
                Ok(Argument::Long { len })
            }
            Bulk::Broken(broken) => Err(self.broken(broken)),
        }
    }

    /// Push one key, or one pair, of a streaming command.
    #[inline]
    pub(super) fn element(&mut self, stream: &mut Stream, input: &[u8], span: Span, value: Option<Span>) {
        let argument_count = 1 + u32::from(value.is_some());
        if span.len as usize > KEY_BYTES_MAX {
            return self.refuse_element(stream, argument_count, Some(Fault::KeyTooLong));
        }
        let op = match command::each_op(stream.each, value.map(|value| value.of(input))) {
            Ok(op) => op,
            Err(fault) => return self.refuse_element(stream, argument_count, Some(fault)),
        };
        let key = self.around.seed.key(span.of(input));
        if !stream.slots.contains(key.slot) {
            return self.refuse_element(stream, argument_count, Some(Fault::CrossSlot));
        }
        self.push_key(stream, key, span, op);
        self.advance_stream(stream, argument_count);
    }

    /// Pass over arguments of a streaming command that cannot be executed. In an array the error stands at their place;
    /// a command with one reply ends there.
    fn refuse_element(&mut self, stream: &mut Stream, argument_count: u32, fault: Option<Fault>) {
        let at_value = argument_count == 2;
        let Some(fault) = fault else {
            // A value whose key was refused: its error has been pushed.
            stream.skip_value = false;
            return self.advance_stream(stream, argument_count);
        };
        let about_key = matches!(fault, Fault::KeyTooLong | Fault::CrossSlot);
        let argument = stream.argument + u32::from(at_value && !about_key);
        match stream.each {
            Each::Mget | Each::Mincrby => {
                self.window.push_text_element(stream.quiet, |out| totals::put_fault_at(out, fault, argument));
                stream.skip_value = stream.each.takes_values() && !at_value;
                self.advance_stream(stream, argument_count);
            }
            Each::Mset | Each::Del | Each::Exists => {
                self.window.push_finish(stream.each, Some(fault), argument, stream.quiet);
                let left_count = stream.left_count - argument_count;
                self.session.state = if left_count > 0 { State::Skip { left_count } } else { State::Start };
            }
        }
    }

    #[inline]
    fn advance_stream(&mut self, stream: &mut Stream, argument_count: u32) {
        stream.left_count -= argument_count;
        stream.argument += argument_count;
        if stream.left_count > 0 {
            self.session.state = State::Stream(*stream);
            return;
        }
        self.session.state = State::Start;
        if matches!(stream.each, Each::Mset | Each::Del | Each::Exists) {
            self.window.push_finish(stream.each, None, stream.argument, stream.quiet);
        }
    }
}
