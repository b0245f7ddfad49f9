//! The pure part of a connection: received bytes in, operations and replies out.
//!
//! [`Session::parse`] reads requests in place and fills a [`Window`]; the window is executed by the shards that own its
//! keys and encoded into replies. A request of any length passes through: the commands with many keys push each key
//! (or pair) as it arrives, an argument that is too long is skipped, and nothing is sized from an announced number.
//!
//! Invariants: exactly one reply per command. A position between two calls is one at which parsing can go on whatever
//! comes next, so the same replies come out however the input is cut. No I/O, no clock, no async.

mod direct;
mod exec;
mod lookup;
mod plain;
mod queue;
mod request;
mod stream;
mod totals;
mod window;

#[cfg(test)]
mod tests;

use std::cell::Cell;

pub use direct::Direct;
pub use lookup::Lookup;
pub use totals::Totals;
pub use window::{Calls, ErrorReply, Routed, Window, code};

use crate::client::{Client, ReplyMode, Transaction};
use crate::command::{Env, Extent, Mistake, Spans, Task};
use crate::counters::{Counters, Seed};
use crate::resp::encode;
use crate::resp::parse::{Bulk, bulk};
use crate::slot::ShardMap;
use direct::SlotRange;
use queue::Queue;
use stream::Stream;

/// What a session may know of its surroundings while it parses.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// For the commands of the session itself.
    pub env: Env<'a>,
    /// Which shard owns which slot.
    pub map: ShardMap,
    /// Seed of the key hash.
    pub seed: Seed,
    /// The counters of the shard at hand, where what a lookup reads first is asked for as soon as a key's slot is known.
    pub counters: &'a Counters,
    /// Unix time in milliseconds, read once a batch.
    pub now_ms: i64,
    /// Writes wait (`CLIENT PAUSE … WRITE`).
    pub writes_paused: bool,
    /// Writes are refused with this text, since they could not be made durable.
    pub writes_refused: Option<&'a str>,
    /// Whose replies may be gathered now.
    pub permits: Permits,
    /// Somebody is shown what is executed (`MONITOR`).
    pub shown: bool,
    /// How many more bytes transactions may queue on this shard.
    pub queue_room_bytes: &'a Cell<usize>,
    /// The client came to this shard's own port: keys of other shards are elsewhere. `None` serves every key.
    pub direct: Option<Direct<'a>>,
}

/// Which replies that are not short may be gathered now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permits {
    /// Those of [`Extent::Medium`].
    pub medium: bool,
    /// Those of [`Extent::Long`].
    pub long: bool,
}

impl Permits {
    /// All of them.
    pub const ALL: Permits = Permits { medium: true, long: true };
    /// None of them.
    pub const NONE: Permits = Permits { medium: false, long: false };

    fn allow(self, extent: Extent) -> bool {
        match extent {
            Extent::Short => true,
            Extent::Medium => self.medium,
            Extent::Long => self.long,
        }
    }
}

/// Why [`Session::parse`] returned.
#[derive(Debug)]
pub enum Status {
    /// Everything complete was consumed: receive more.
    NeedInput,
    /// Execute and encode the window, then call again; if it is empty, with more room for replies.
    WindowFull,
    /// Execute and encode the window, then wait for the pause to end, then call again.
    Paused,
    /// The window is empty: wait until a reply of this extent may be gathered, then call again.
    Busy(Extent),
    /// The window is empty: carry this out, send its one reply (or none if quiet), then call again.
    Task {
        /// What to do.
        task: Box<Task>,
        /// The command's index in the table.
        command: u16,
        /// Its reply is not sent.
        quiet: bool,
    },
    /// Send what the window holds, then close.
    End,
}

/// Where in a request the session is.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Before a request.
    Start,
    /// Within a command that executes its arguments as they arrive.
    Stream(Stream),
    /// Within a command that is queued as its arguments arrive.
    Queue(Queue),
    /// Within a request that has been answered: its remaining arguments are passed over.
    Skip { left_count: u32 },
}

/// What is still to come of a request: first bytes of an argument that is too long, then whole arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// Bytes that are passed over.
    pub skip_bytes: u64,
    /// Arguments behind those.
    pub argument_count: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    /// What is known of the client.
    pub client: Client,
    /// Of the streaming command under way; [`Window::encode`] adds to it.
    pub totals: Totals,
    state: State,
    /// Bytes of an argument that is too long, and its CRLF, still to be passed over.
    skip_bytes: u64,
    /// Bytes of the request under way that are too long to be kept: before authentication they are bounded.
    skipped_bytes: u64,
    /// Every request is read argument by argument.
    #[cfg(test)]
    without_plain: bool,
}

/// The outcome of one step of the parser: go on, or return.
type Step = Result<(), Status>;

impl Session {
    /// A session of a client that has just connected.
    pub fn new(client: Client) -> Session {
        Session {
            client,
            totals: Totals::default(),
            state: State::Start,
            skip_bytes: 0,
            skipped_bytes: 0,
            #[cfg(test)]
            without_plain: false,
        }
    }

    /// Consume requests from `input[*at..]` into `window`, and advance `at` over what will not be needed again.
    ///
    /// `spans` is scratch, `room_bytes` what the replies may take. The window's items point into `input`, which must
    /// stay as it is until they are executed. A caller that gets [`Status::NeedInput`] keeps the rest of the input and
    /// appends to it; at the latest when [`FIXED_BUFFER_BYTES`](crate::limits::FIXED_BUFFER_BYTES) have gathered,
    /// something is consumed.
    pub fn parse(
        &mut self,
        input: &mut [u8],
        at: &mut usize,
        spans: &mut Spans,
        window: &mut Window,
        room_bytes: usize,
        around: &Surroundings<'_>,
    ) -> Status {
        assert!(window.is_empty(), "a window is executed and encoded before it is filled again");
        window.clear(self.client.resp3, room_bytes);
        let served = around.direct.map_or(SlotRange::ALL, |direct| around.map.slots_of(direct.own).into());
        let mut parsing = Parsing { session: self, window, around, served, at: *at };
        let status = loop {
            let before = parsing.at;
            if matches!(parsing.session.state, State::Start) && parsing.session.skip_bytes == 0 {
                parsing.plain(input);
            }
            let step = parsing.step(input, spans);
            assert!(before <= parsing.at && parsing.at <= input.len());
            if let Err(status) = step {
                break status;
            }
        };
        *at = parsing.at;
        if matches!(status, Status::End) {
            self.state = State::Start;
        }
        status
    }

    /// The connection is over, or its transaction is: give back what the queue has taken.
    pub fn end_transaction(&mut self, queue_room_bytes: &Cell<usize>) -> Option<Box<Transaction>> {
        let transaction = self.client.transaction.take()?;
        queue_room_bytes.set(queue_room_bytes.get() + transaction.queue.capacity());
        Some(transaction)
    }

    /// What is still to come of a request under way, and will be consumed before the next one begins.
    pub fn unfinished(&self) -> Unfinished {
        let argument_count = match self.state {
            State::Start => 0,
            State::Stream(stream) => stream.left_count(),
            State::Queue(queue) => queue.left_count(),
            State::Skip { left_count } => left_count,
        };
        Unfinished { skip_bytes: self.skip_bytes, argument_count }
    }

    /// Whether a request is under way that has not ended.
    pub fn is_within_request(&self) -> bool {
        self.skip_bytes > 0 || !matches!(self.state, State::Start)
    }
}

/// A call of [`Session::parse`] under way.
struct Parsing<'a> {
    session: &'a mut Session,
    window: &'a mut Window,
    around: &'a Surroundings<'a>,
    /// The slots whose keys this connection serves.
    served: SlotRange,
    /// How much of the input has been consumed.
    at: usize,
}

impl Parsing<'_> {
    /// One request, or a part of one.
    fn step(&mut self, input: &mut [u8], spans: &mut Spans) -> Step {
        if self.session.skip_bytes > 0 {
            self.pass_over(input)?;
        }
        match self.session.state {
            State::Start => self.start(input, spans),
            State::Stream(stream) => self.stream(stream, input),
            State::Queue(queue) => self.queue_arguments(queue, input),
            State::Skip { left_count } => self.skip_arguments(left_count, input),
        }
    }

    /// Pass over the bytes of an argument that is too long.
    fn pass_over(&mut self, input: &[u8]) -> Step {
        let passed_bytes = self.session.skip_bytes.min((input.len() - self.at) as u64);
        self.at += passed_bytes as usize;
        self.session.skip_bytes -= passed_bytes;
        if self.session.skip_bytes > 0 { Err(Status::NeedInput) } else { Ok(()) }
    }

    fn skip_arguments(&mut self, mut left_count: u32, input: &[u8]) -> Step {
        while left_count > 0 && self.session.skip_bytes == 0 {
            match bulk(&input[self.at..]) {
                Bulk::Whole { consumed, .. } => self.at += consumed,
                Bulk::Incomplete => return Err(Status::NeedInput),
                Bulk::Long { len, consumed } => {
                    self.at += consumed;
                    self.skip(len)?;
                }
                // The request has had its reply, so its broken rest ends the connection without another.
                Bulk::Broken(_) => return Err(Status::End),
            }
            left_count -= 1;
            self.session.state = State::Skip { left_count };
        }
        if left_count == 0 {
            self.session.state = State::Start;
        }
        Ok(())
    }

    /// Whether the client has yet to give the password.
    #[inline]
    fn is_stranger(&self) -> bool {
        self.session.client.is_stranger(self.around.env.password.is_some())
    }

    /// Whether the reply of the command at hand is not sent.
    #[inline]
    fn take_quiet(&mut self) -> bool {
        match self.session.client.reply {
            ReplyMode::On => false,
            ReplyMode::Off => true,
            ReplyMode::SkipNext => {
                self.session.client.reply = ReplyMode::On;
                true
            }
        }
    }
}

/// Queue the error reply of a mistake.
fn push_mistake(mistake: Mistake, quiet: bool, window: &mut Window) {
    match mistake {
        Mistake::Fault(fault) => window.push_fault(fault, quiet),
        Mistake::Text(text) => window.push_text(quiet, |out| encode::error(out, &text)),
    }
}
