//! `MONITOR`: which commands clients send, shown to others while it happens.
//!
//! A shard whose commands somebody monitors reads what its sessions have consumed a second time, here, and writes the
//! lines that Redis would write. The session knows nothing of it: with no monitor a batch pays for one comparison.
//!
//! Each monitor has a buffer of [`MONITOR_BYTES_MAX`] on each shard, which its connection empties every [`TICK`]. A buffer
//! that is full takes no more, and what is missed is counted from the numbers of commands alone, without reading them. So
//! a shard writes [`MONITOR_BYTES_MAX`] a tick for a monitor at most, whatever it executes, and a monitor that does not
//! read costs nothing but its buffers. Who wants a fair choice instead of the first commands of each tick asks for every
//! n-th command: `MONITOR SAMPLE n`.
//!
//! Invariant: nobody waits for a monitor, and no line has a password. No I/O, no clock, no async.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::time::Duration;

use crate::command::{self, Call, InTransaction, Span, Spans, Spec, flag};
use crate::limits::{
    MONITOR_ARGUMENT_BYTES_MAX, MONITOR_ARGUMENT_COUNT_MAX, MONITOR_BYTES_MAX, MONITOR_COUNT_MAX,
    MONITOR_LINE_BYTES_MAX,
};
use crate::resp::inline;
use crate::resp::parse::{Bulk, Header, bulk, header};
use crate::session::Unfinished;

/// How often a monitor is sent what has gathered.
pub const TICK: Duration = Duration::from_millis(20);

/// The monitors of one shard.
#[derive(Debug, Default)]
pub struct Monitors {
    attached: Cell<bool>,
    buffers: RefCell<[Option<Buffer>; MONITOR_COUNT_MAX]>,
    /// One line, before it is copied to everybody who is shown it.
    line: RefCell<Vec<u8>>,
}

/// What one monitor has not been sent yet.
#[derive(Debug)]
struct Buffer {
    lines: Vec<u8>,
    /// Every how many commands one is shown.
    sample: u32,
    /// How many commands go by until the next that is shown, that one included.
    left_count: u32,
    missed_count: u64,
}

/// What a monitor is sent.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Monitored {
    /// Whole lines, each a simple string of the protocol.
    pub lines: Vec<u8>,
    /// Commands that should have been among them, and that there was no room for.
    pub missed_count: u64,
}

/// What a session has consumed, and what is to be known about it.
#[derive(Clone, Copy, Debug)]
pub struct Consumed<'a> {
    /// The bytes, as they were received.
    pub input: &'a [u8],
    /// What the first of them belong to, if not to a new request.
    pub unfinished: Unfinished,
    /// How many requests begin in them that were carried out.
    pub command_count: u64,
    /// Whether the client had yet to give its password.
    pub is_stranger: bool,
    /// Whether it monitors itself, and reaches no counter.
    pub is_monitor: bool,
    /// Whether a transaction was being queued.
    pub in_transaction: bool,
    /// Unix time in microseconds.
    pub unix_us: i64,
}

impl Monitors {
    /// Whether anybody monitors.
    #[inline]
    pub fn are_attached(&self) -> bool {
        self.attached.get()
    }

    /// Show every `sample`-th command to the monitor of this number from now on.
    pub fn attach(&self, number: usize, sample: u32) {
        assert!(sample > 0);
        let buffer = Buffer { lines: Vec::new(), sample, left_count: sample, missed_count: 0 };
        self.buffers.borrow_mut()[number] = Some(buffer);
        self.attached.set(true);
    }

    /// Show it nothing any more.
    pub fn detach(&self, number: usize) {
        let buffers = &mut *self.buffers.borrow_mut();
        buffers[number] = None;
        self.attached.set(buffers.iter().any(Option::is_some));
    }

    /// Take what has gathered for it.
    pub fn take(&self, number: usize) -> Monitored {
        let buffers = &mut *self.buffers.borrow_mut();
        let Some(buffer) = &mut buffers[number] else { return Monitored::default() };
        Monitored { lines: std::mem::take(&mut buffer.lines), missed_count: std::mem::take(&mut buffer.missed_count) }
    }

    /// Show what a session has consumed to everybody who is due to see some of it. `client` is asked for its address when
    /// there is something to show.
    pub fn show(&self, consumed: Consumed<'_>, client: impl FnOnce() -> String) {
        let buffers = &mut *self.buffers.borrow_mut();
        let count = consumed.command_count;
        if !buffers.iter().flatten().any(|buffer| buffer.has_room() && u64::from(buffer.left_count) <= count) {
            return buffers.iter_mut().flatten().for_each(|buffer| buffer.pass_over(count));
        }
        let client = client();
        let line = &mut *self.line.borrow_mut();
        let mut requests = Requests::new(consumed);
        while let Some(request) = requests.next() {
            line.clear();
            for buffer in buffers.iter_mut().flatten() {
                if !buffer.count_one() {
                    continue;
                }
                if line.is_empty() {
                    write_line(line, consumed.unix_us, &client, &request);
                }
                buffer.push(line);
            }
        }
    }
}

impl Buffer {
    fn has_room(&self) -> bool {
        self.lines.len() + MONITOR_LINE_BYTES_MAX <= MONITOR_BYTES_MAX
    }

    /// One more command: whether it is to be shown.
    fn count_one(&mut self) -> bool {
        self.left_count -= 1;
        let is_due = self.left_count == 0;
        if is_due {
            self.left_count = self.sample;
            self.missed_count += u64::from(!self.has_room());
        }
        is_due && self.has_room()
    }

    /// So many more commands, none of which is shown.
    fn pass_over(&mut self, count: u64) {
        let (sample, left_count) = (u64::from(self.sample), u64::from(self.left_count));
        let behind = sample - left_count + count;
        self.missed_count += behind / sample;
        self.left_count = (sample - behind % sample) as u32;
    }

    fn push(&mut self, line: &[u8]) {
        if self.lines.capacity() == 0 {
            self.lines.reserve_exact(MONITOR_BYTES_MAX);
        }
        assert!(self.lines.len() + line.len() <= MONITOR_BYTES_MAX, "a line is pushed where there is room");
        self.lines.extend_from_slice(line);
    }
}

/// The requests that a session has carried out, found once more in what it has consumed.
struct Requests<'a> {
    input: &'a [u8],
    at: usize,
    is_stranger: bool,
    is_monitor: bool,
    in_transaction: bool,
    spans: Spans,
    /// An inline request, whose quotes are undone in place.
    line: Vec<u8>,
}

/// One of them.
struct Request<'a> {
    call: Call<'a>,
    /// How many arguments were announced; of very many only the first are in `call`.
    count: usize,
    spec: &'static Spec,
}

/// A request that has been found, with its arguments in `spans`.
struct Found {
    /// How many were announced.
    count: usize,
    /// They lie in `line`, not in the input.
    inline: bool,
}

impl<'a> Requests<'a> {
    fn new(consumed: Consumed<'a>) -> Requests<'a> {
        let Consumed { input, unfinished, is_stranger, is_monitor, in_transaction, .. } = consumed;
        let at = usize::try_from(unfinished.skip_bytes).unwrap_or(usize::MAX).min(input.len());
        let spans = Spans::default();
        let line = Vec::new();
        let mut requests = Requests { input, at, is_stranger, is_monitor, in_transaction, spans, line };
        requests.arguments(unfinished.argument_count as usize);
        requests
    }

    /// The next one that is shown.
    fn next(&mut self) -> Option<Request<'_>> {
        loop {
            let Some(Found { count, inline }) = self.find()? else { continue };
            let mut in_transaction = self.in_transaction;
            let spec = shown(&self.call(inline), count, self.is_stranger, &mut in_transaction);
            self.in_transaction = in_transaction;
            if let Some(spec) = spec.filter(|spec| !(self.is_monitor && spec.is_of_keyspace())) {
                return Some(Request { call: self.call(inline), count, spec });
            }
        }
    }

    fn call(&self, inline: bool) -> Call<'_> {
        let input = if inline { &self.line } else { self.input };
        Call { input, spans: self.spans.as_slice(), now_ms: 0, resp3: false }
    }

    /// Find the next request and its arguments; `Some(None)` when there is none that could be carried out, `None` at the
    /// end.
    fn find(&mut self) -> Option<Option<Found>> {
        self.spans.clear();
        let (count, inline) = match header(&self.input[self.at..]) {
            Header::Incomplete | Header::Broken(_) => return None,
            Header::Empty { consumed } => {
                self.at += consumed;
                return Some(None);
            }
            Header::Inline { line_len, consumed } => {
                self.line.clear();
                self.line.extend_from_slice(&self.input[self.at..][..line_len]);
                self.at += consumed;
                if inline::split(&mut self.line, 0, &mut self.spans).is_err() {
                    return Some(None);
                }
                (self.spans.as_slice().len(), true)
            }
            Header::Multibulk { count, consumed } => {
                self.at += consumed;
                self.arguments(count as usize);
                (count as usize, false)
            }
        };
        Some((!self.spans.as_slice().is_empty()).then_some(Found { count, inline }))
    }

    /// Pass over so many arguments, as far as they are there, and note where those lie that are no longer than they may be.
    fn arguments(&mut self, count: usize) {
        for _ in 0..count {
            match bulk(&self.input[self.at..]) {
                Bulk::Whole { start, len, consumed } => {
                    self.spans.push(Span { start: (self.at + start) as u32, len: len as u32 });
                    self.at += consumed;
                }
                Bulk::Long { len, consumed } => {
                    let end = self.at as u64 + consumed as u64 + len + 2;
                    self.at = usize::try_from(end).unwrap_or(usize::MAX).min(self.input.len());
                }
                Bulk::Incomplete | Bulk::Broken(_) => {
                    self.at = self.input.len();
                    return;
                }
            }
        }
    }
}

/// The command that a request calls, if it is carried out now and may be shown: as in Redis, what is refused or is for
/// administrators is not, and the commands of a transaction are when it is executed.
fn shown(call: &Call<'_>, count: usize, is_stranger: bool, in_transaction: &mut bool) -> Option<&'static Spec> {
    let spec = command::resolve_found(command::lookup(call.arg(0)), call, count).ok()?;
    if spec.flags.has(flag::ADMIN) || is_stranger && !spec.flags.has(flag::NO_AUTH) {
        return None;
    }
    let is_queued = *in_transaction && spec.in_transaction() == InTransaction::Queued;
    match spec.name {
        "multi" => *in_transaction = true,
        "discard" | "reset" => *in_transaction = false,
        // It is shown behind what it executes.
        "exec" if *in_transaction => return None,
        _ => {}
    }
    (!is_queued).then_some(spec)
}

/// `+1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`, as Redis writes it; long arguments and many are cut as in its
/// slow log.
fn write_line(line: &mut Vec<u8>, unix_us: i64, client: &str, request: &Request<'_>) {
    let Request { call, count, spec } = request;
    let (seconds, micros) = (unix_us / 1_000_000, unix_us % 1_000_000);
    let _ = write!(line, "+{seconds}.{micros:06} [0 {client}]");
    let mut redact_from = if spec.name == "auth" { 1..usize::MAX } else { 0..0 };
    let mut shown_count = 0;
    for (index, span) in call.spans.iter().take(MONITOR_ARGUMENT_COUNT_MAX).enumerate() {
        let argument = span.of(call.input);
        // A whole argument may be escaped, and the words that tell of what was left out follow it.
        if line.len() + 4 * argument.len().min(MONITOR_ARGUMENT_BYTES_MAX) + END_BYTES_MAX > MONITOR_LINE_BYTES_MAX {
            break;
        }
        shown_count += 1;
        if redact_from.contains(&index) {
            line.extend_from_slice(b" \"(redacted)\"");
        } else {
            write_argument(line, argument);
        }
        if spec.name == "hello" && index > 1 && argument.eq_ignore_ascii_case(b"AUTH") && redact_from.is_empty() {
            redact_from = index + 1..index + 3;
        }
    }
    if *count > shown_count {
        let _ = write!(line, " \"... ({} more arguments)\"", count - shown_count);
    }
    line.extend_from_slice(b"\r\n");
    assert!(line.len() <= MONITOR_LINE_BYTES_MAX, "a line is longer than its limit");
}

/// What stands behind an argument's bytes, and behind all arguments, at most.
const END_BYTES_MAX: usize = 96;

/// An argument in quotes, with everything that is not printable escaped, as Redis does it.
fn write_argument(line: &mut Vec<u8>, argument: &[u8]) {
    let (start, rest) = argument.split_at(argument.len().min(MONITOR_ARGUMENT_BYTES_MAX));
    line.extend_from_slice(b" \"");
    for byte in start {
        match byte {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', *byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x07 => line.extend_from_slice(b"\\a"),
            0x08 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(*byte),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
    if !rest.is_empty() {
        let _ = write!(line, "... ({} more bytes)", rest.len());
    }
    line.push(b'"');
}

impl Monitored {
    /// Append a line that tells how many commands of a shard were missed, in the form of the others, so that programs
    /// that read those can read it too.
    pub fn tell_missed(&mut self, unix_us: i64, shard: usize) {
        if self.missed_count > 0 {
            let (seconds, micros) = (unix_us / 1_000_000, unix_us % 1_000_000);
            let count = self.missed_count;
            let _ = write!(self.lines, "+{seconds}.{micros:06} [0 shard:{shard}] \"{MISSED}\" \"{count}\"\r\n");
        }
    }
}

/// The first word of a line that tells of missed commands, followed by their number. No command has this name.
pub const MISSED: &str = "#missed";

#[cfg(test)]
mod tests;
