//! A request that is read whole: found in the input, looked up, and carried out or refused.

use bytes::BufMut;

use super::{Parsing, Permits, State, Status, Step, push_mistake};
use crate::client::ReplyMode;
use crate::command::{self, Call, InTransaction, Mistake, Run, Span, Spans, Spec, Task, flag, mistake};
use crate::counters::Fault;
use crate::limits::{
    ARGUMENT_BYTES_MAX, ARGUMENT_COUNT_MAX, FIXED_BUFFER_BYTES, KEY_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX,
    UNAUTHENTICATED_COUNT_MAX,
};
use crate::resp::inline::{self, Inline};
use crate::resp::parse::{Broken, Bulk, Header, bulk, header};
use crate::slot;

const CLIENT_REPLY: u16 = command::index_of("client|reply");
const DEBUG: u16 = command::index_of("debug");
const DISCARD: u16 = command::index_of("discard");
const EXEC: u16 = command::index_of("exec");
const RESET: u16 = command::index_of("reset");
const WATCH: u16 = command::index_of("watch");

impl Parsing<'_> {
    pub(super) fn start(&mut self, input: &mut [u8], spans: &mut Spans) -> Step {
        if self.session.client.is_leaving() {
            return Err(Status::End);
        }
        if !self.window.has_room(2) {
            return Err(Status::WindowFull);
        }
        self.session.skipped_bytes = 0;
        match header(&input[self.at..]) {
            Header::Incomplete => Err(Status::NeedInput),
            Header::Empty { consumed } => {
                self.at += consumed;
                Ok(())
            }
            Header::Broken(broken) => Err(self.broken(broken)),
            Header::Inline { line_len, consumed } => {
                if !self.window.has_line_room() {
                    return Err(Status::WindowFull);
                }
                // Quotes are undone in place: a line that has some, and is not carried out yet, is put back as it was.
                let (start, end) = (self.at, self.at + line_len);
                let may_wait = self.around.writes_paused || self.around.permits != Permits::ALL;
                let has_quotes = may_wait && memchr::memchr2(b'"', b'\'', &input[start..end]).is_some();
                let line = has_quotes.then(|| input[start..end].to_vec());
                let step = self.inline(line_len, consumed, input, spans);
                if let Some(line) = line.filter(|_| self.at == start) {
                    input[start..end].copy_from_slice(&line);
                }
                step
            }
            Header::Multibulk { count, consumed } => {
                if self.is_stranger() && i64::from(count) > UNAUTHENTICATED_COUNT_MAX {
                    return Err(self.broken(Broken::UnauthenticatedMultibulkLength));
                }
                self.multibulk(count, consumed, input, spans)
            }
        }
    }

    pub(super) fn inline(&mut self, line_len: usize, consumed: usize, input: &mut [u8], spans: &mut Spans) -> Step {
        let start = self.at;
        match inline::split(&mut input[start..start + line_len], start, spans) {
            Ok(()) => {}
            Err(Inline::Broken(broken)) => return Err(self.broken(broken)),
            Err(Inline::TooMany) => {
                self.at = start + consumed;
                return self.refuse(Mistake::from(Fault::TooManyArguments));
            }
        }
        let spans = spans.as_slice();
        let call = Call { input, spans, now_ms: self.around.now_ms, resp3: self.session.client.resp3 };
        let long = spans.iter().any(|span| span.len as usize > ARGUMENT_BYTES_MAX);
        let end = start + consumed;
        if long {
            self.at = end;
            return self.refuse(Mistake::from(Fault::ArgumentTooLong));
        }
        let spec = match command::resolve(&call) {
            Ok(spec) => spec,
            Err(mistake) => return self.refuse_unresolved(&call, mistake, end),
        };
        if let (Run::Each(each), false) = (spec.run, self.session.client.transaction.is_some()) {
            if let Some(refusal) = self.refusal(spec) {
                self.at = end;
                return self.refuse_command(spec, refusal);
            }
            if self.around.writes_paused && spec.flags.has(flag::WRITE) {
                return Err(Status::Paused);
            }
            self.at = end;
            let slots = match spans.get(1).map_or(Ok(self.served), |key| self.slots_with(slot::of(key.of(input)))) {
                Ok(slots) => slots,
                Err(mistake) => return self.refuse(mistake),
            };
            self.open_stream(spec, each, spans.len() as u32, slots)?;
            let mut rest = &spans[1..];
            while let (State::Stream(mut stream), [key, ..]) = (self.session.state, rest) {
                let value = if each.takes_values() { Some(rest[1]) } else { None };
                rest = &rest[1 + usize::from(value.is_some())..];
                self.element(&mut stream, input, *key, value);
            }
            // The line is the whole request: nothing of a refused one follows that would have to be passed over.
            self.session.state = State::Start;
            return Ok(());
        }
        self.command(spec, &call, end)
    }

    #[inline]
    pub(super) fn multibulk(&mut self, count: u32, consumed: usize, input: &[u8], spans: &mut Spans) -> Step {
        spans.clear();
        let mut end = self.at + consumed;
        let mut gathered_count = 0;
        let mut found = None;
        // A streaming command is taken up as soon as its name is there.
        while gathered_count < count && (gathered_count as usize) < ARGUMENT_COUNT_MAX {
            match bulk(&input[end..]) {
                Bulk::Whole { start, len, consumed } => {
                    spans.push(Span { start: (end + start) as u32, len: len as u32 });
                    end += consumed;
                    gathered_count += 1;
                    if gathered_count == 1 {
                        found = command::lookup(spans.as_slice()[0].of(input));
                        if let Some(spec) = found
                            && let Run::Each(each) = spec.run
                        {
                            return self.begin_each(spec, each, count, end, input);
                        }
                    }
                }
                Bulk::Incomplete if self.at == 0 && input.len() >= FIXED_BUFFER_BYTES => {
                    // The request does not fit a fixed buffer: answer it now and pass over the rest.
                    self.at = end;
                    self.session.state = State::Skip { left_count: count - gathered_count };
                    return self.refuse(Mistake::from(Fault::RequestTooLong));
                }
                Bulk::Incomplete => return Err(Status::NeedInput),
                Bulk::Long { len, consumed } => {
                    if self.is_stranger() && len > UNAUTHENTICATED_BYTES_MAX as u64 {
                        return Err(self.broken(Broken::UnauthenticatedBulkLength));
                    }
                    self.at = end + consumed;
                    self.skip(len)?;
                    self.session.state = State::Skip { left_count: count - gathered_count - 1 };
                    return self.refuse(Mistake::from(Fault::ArgumentTooLong));
                }
                Bulk::Broken(broken) => {
                    self.at = end;
                    return Err(self.broken(broken));
                }
            }
        }
        let call =
            Call { input, spans: spans.as_slice(), now_ms: self.around.now_ms, resp3: self.session.client.resp3 };
        if gathered_count < count {
            // More arguments than any command takes that does not stream.
            self.at = end;
            self.session.state = State::Skip { left_count: count - gathered_count };
            return match command::resolve_found(found, &call, count as usize) {
                Ok(spec) => self.refuse_command(spec, Mistake::from(Fault::TooManyArguments)),
                Err(mistake) => self.refuse_as(command::called(&call), mistake),
            };
        }
        match command::resolve_found(found, &call, count as usize) {
            Ok(spec) => self.command(spec, &call, end),
            Err(mistake) => self.refuse_unresolved(&call, mistake, end),
        }
    }

    /// Carry out a whole request that does not stream; `end` is where the next one begins.
    #[inline]
    pub(super) fn command(&mut self, spec: &'static Spec, call: &Call<'_>, end: usize) -> Step {
        if let Some(mistake) = self.refusal(spec) {
            self.at = end;
            return self.refuse_command(spec, mistake);
        }
        if self.session.client.transaction.is_some() && spec.in_transaction() == InTransaction::Queued {
            self.at = end;
            return match self.misdirected(spec, call) {
                Some(mistake) => self.refuse(mistake),
                None => self.queue(spec, call),
            };
        }
        if self.around.writes_paused && self.writes(spec) {
            return Err(Status::Paused);
        }
        match spec.run {
            Run::Key(parse) => {
                self.at = end;
                let quiet = self.take_quiet();
                self.window.count_call(spec.index);
                match parse(call) {
                    Ok(op) => {
                        let argument = spec.keys.first as usize;
                        let span = call.spans[argument];
                        if span.len as usize > KEY_BYTES_MAX {
                            self.window.push_fault(Fault::KeyTooLong, quiet);
                        } else {
                            let key = self.around.seed.key(span.of(call.input));
                            if !self.served.contains(key.slot) {
                                push_mistake(self.moved(key.slot), quiet, self.window);
                                return Ok(());
                            }
                            self.window.push_op(
                                key,
                                span,
                                self.around.map.shard_of(key.slot),
                                op,
                                argument as u32,
                                quiet,
                            );
                        }
                    }
                    Err(mistake) => {
                        push_mistake(self.misdirected(spec, call).unwrap_or(mistake), quiet, self.window);
                    }
                }
                Ok(())
            }
            Run::Reply(reply) => {
                self.at = end;
                self.window.count_call(spec.index);
                let resp3 = self.session.client.resp3;
                let quiet = self.take_quiet();
                // `CLIENT REPLY ON` is answered though replies were off until now, or this one was to be skipped.
                let text_quiet = quiet && spec.index != CLIENT_REPLY;
                let mut result = Ok(());
                let client = &mut self.session.client;
                self.window.push_text(false, |out| {
                    let start = out.len();
                    result = reply(client, &self.around.env, call, out);
                    if text_quiet || result.is_err() {
                        out.truncate(start);
                    }
                });
                if let Err(mistake) = result {
                    push_mistake(mistake, quiet, self.window);
                }
                if self.session.client.is_leaving() {
                    return Err(Status::End);
                }
                // What follows is encoded in another protocol version, or is no longer held to be a stranger's.
                if resp3 != self.session.client.resp3 { Err(Status::WindowFull) } else { Ok(()) }
            }
            Run::Task(_)
                if spec.index == EXEC
                    && let Some(step) = self.exec(spec.index, end, call.input) =>
            {
                step
            }
            Run::Task(parse) => {
                let parsed = match self.outside_transaction(spec).or_else(|| self.misdirected(spec, call)) {
                    None => parse(&self.around.env, call),
                    Some(mistake) => Err(mistake),
                };
                match parsed {
                    Ok(_) if !self.window.is_empty() => Err(Status::WindowFull),
                    Ok(task) => {
                        let extent = task.extent(self.session.client.transaction.as_deref());
                        if !self.around.permits.allow(extent) {
                            return Err(Status::Busy(extent));
                        }
                        self.at = end;
                        // `RESET` ends `CLIENT REPLY OFF` before it is answered.
                        let answers = spec.index == RESET && self.session.client.reply == ReplyMode::Off;
                        let quiet = self.take_quiet() && !answers;
                        Err(Status::Task { task: Box::new(task), command: spec.index, quiet })
                    }
                    Err(mistake) => {
                        self.at = end;
                        self.window.count_call(spec.index);
                        let quiet = self.take_quiet();
                        push_mistake(mistake, quiet, self.window);
                        Ok(())
                    }
                }
            }
            Run::Each(_) | Run::Container => unreachable!("streams are begun and containers resolved before"),
        }
    }

    /// Whether a pause of writes holds up this command, or what it executes.
    fn writes(&self, spec: &'static Spec) -> bool {
        let transaction = self.session.client.transaction.as_deref();
        spec.flags.has(flag::WRITE) || spec.index == EXEC && transaction.is_some_and(|transaction| transaction.writes)
    }

    /// `EXEC` and `DISCARD` need a transaction, `WATCH` must not be in one.
    fn outside_transaction(&self, spec: &'static Spec) -> Option<Mistake> {
        match (spec.index, self.session.client.transaction.is_some()) {
            (EXEC, false) => Some(mistake::EXEC_WITHOUT_MULTI),
            (DISCARD, false) => Some(mistake::DISCARD_WITHOUT_MULTI),
            (WATCH, true) => Some(mistake::WATCH_INSIDE_MULTI),
            _ => None,
        }
    }

    /// Why a known command is not carried out for this client, now.
    #[inline]
    pub(super) fn refusal(&mut self, spec: &'static Spec) -> Option<Mistake> {
        if self.is_stranger() && !spec.flags.has(flag::NO_AUTH) {
            return Some(if spec.index == EXEC { mistake::NOAUTH_EXEC } else { mistake::NOAUTH });
        }
        if spec.index == DEBUG && !self.around.env.debug {
            return Some(mistake::DEBUG_NOT_ALLOWED);
        }
        if self.session.client.transaction.is_some() && spec.in_transaction() == InTransaction::Refused {
            return Some(mistake::NOT_IN_TRANSACTION);
        }
        if let Some(text) = self.around.writes_refused.filter(|_| spec.flags.has(flag::WRITE)) {
            return Some(mistake::made(text.to_owned()));
        }
        (self.session.client.monitor.is_some() && spec.is_of_keyspace()).then_some(mistake::MONITOR_AND_KEYSPACE)
    }

    /// Answer a request with an error. A transaction that is being queued will not be executed.
    pub(super) fn refuse(&mut self, mistake: Mistake) -> Step {
        self.refuse_as(None, mistake)
    }

    /// The same, where the command is known.
    pub(super) fn refuse_command(&mut self, spec: &'static Spec, mistake: Mistake) -> Step {
        self.refuse_as(Some(spec), mistake)
    }

    fn refuse_as(&mut self, spec: Option<&'static Spec>, mistake: Mistake) -> Step {
        self.window.count_rejected(spec.map(|spec| spec.index));
        self.abort_transaction();
        let quiet = self.take_quiet();
        push_mistake(mistake, quiet, self.window);
        Ok(())
    }

    /// No such command, or not with so many arguments.
    fn refuse_unresolved(&mut self, call: &Call<'_>, mistake: Mistake, end: usize) -> Step {
        // EXEC itself is what is refused: the transaction ends with it.
        if let Some(exec) = command::lookup(call.arg(0)).filter(|spec| spec.index == EXEC) {
            if !self.window.is_empty() {
                return Err(Status::WindowFull);
            }
            self.at = end;
            let Mistake::Text(text) = mistake else { unreachable!("a wrong arity is told in words") };
            return Err(Status::Task {
                task: Box::new(Task::AbortExec(text.into_owned())),
                command: exec.index,
                quiet: self.take_quiet(),
            });
        }
        self.at = end;
        // A browser that was led here must not have its body read as commands.
        if [&b"POST"[..], b"Host:"].iter().any(|name| call.arg(0).eq_ignore_ascii_case(name)) {
            return Err(Status::End);
        }
        self.refuse_as(command::called(call), mistake)
    }

    /// The stream cannot be read any further: say so, once, and close.
    pub(super) fn broken(&mut self, broken: Broken) -> Status {
        self.window.count_rejected(None);
        self.window.push_text(self.session.client.reply != ReplyMode::On, |out| {
            out.put_slice(b"-ERR Protocol error: ");
            broken.text(out);
            out.put_slice(b"\r\n");
        });
        Status::End
    }

    /// Pass over an argument of `len` bytes whose header has been consumed. Strangers do not get far with such.
    pub(super) fn skip(&mut self, len: u64) -> Step {
        self.session.skipped_bytes += len;
        if self.is_stranger() && self.session.skipped_bytes > UNAUTHENTICATED_BYTES_MAX as u64 {
            return Err(Status::End);
        }
        self.session.skip_bytes = len + 2;
        Ok(())
    }
}
