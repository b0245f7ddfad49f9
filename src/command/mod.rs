//! The commands: one table, and a short function each.
//!
//! A function here turns a request's arguments into what is to be done: an [`Op`] on one key, a run of operations on
//! many ([`Each`]), a reply of the session itself, or a [`Task`] that takes several shards. It
//! does no I/O and reads no clock.

mod clients;
mod cluster;
mod connection;
pub mod docs;
mod expiry;
mod introspection;
mod keys;
mod latency;
pub mod mistake;
mod plain;
mod server;
pub mod spec;
mod strings;
mod table;
mod task;
#[cfg(test)]
mod tests;
mod transactions;

use std::borrow::Cow;

pub use docs::reference_markdown;
pub use introspection::encode_described;
pub use plain::{PLAIN_ARGUMENT_COUNT_MAX, Plain, PlainSpec, plain};
pub use spec::{InTransaction, Keys, Spec, flag};
pub use table::{COMMAND_COUNT, SPEC_COUNT, by_index, commands, index_of, lookup, lookup_full, subcommand};
pub use task::{Bytes, ClientFilter, ClusterView, Described, Extent, Task};

use crate::client::Client;
use crate::counters::{Cond, Deadline, Fault, Op, SetReply};
use crate::limits::{ARGUMENT_COUNT_MAX, KEY_BYTES_MAX};
use crate::resp::integer;

/// The Redis version that clients are told: what they find here is what that version has, as far as it goes.
pub const REDIS_VERSION: &str = "7.2.0";

/// Where one argument lies in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Span {
    /// The bytes of the argument.
    #[inline]
    pub fn of(self, input: &[u8]) -> &[u8] {
        &input[self.start as usize..][..self.len as usize]
    }
}

/// The arguments of one request, the command's name first: at most [`ARGUMENT_COUNT_MAX`].
#[derive(Clone, Debug)]
pub struct Spans {
    spans: [Span; ARGUMENT_COUNT_MAX],
    count: usize,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { spans: [Span::default(); ARGUMENT_COUNT_MAX], count: 0 }
    }
}

impl Spans {
    /// Forget all arguments.
    pub fn clear(&mut self) {
        self.count = 0;
    }

    /// Append one; false when there is no room.
    #[inline]
    pub fn push(&mut self, span: Span) -> bool {
        let room = self.count < ARGUMENT_COUNT_MAX;
        if room {
            self.spans[self.count] = span;
            self.count += 1;
        }
        room
    }

    /// All arguments.
    pub fn as_slice(&self) -> &[Span] {
        &self.spans[..self.count]
    }
}

/// One request: its arguments as slices of the input, and the time of its batch.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The bytes that the spans point into.
    pub input: &'a [u8],
    /// The arguments, the command's name first.
    pub spans: &'a [Span],
    /// Unix time in milliseconds, read once a batch.
    pub now_ms: i64,
    /// The client speaks RESP3.
    pub resp3: bool,
}

/// What a session's own commands may know of the server.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// The password that `AUTH` and `HELLO … AUTH` must give; none is needed without one.
    pub password: Option<&'a [u8]>,
    /// `DEBUG` is allowed (`--enable-debug-command yes`).
    pub debug: bool,
    /// The shards are shown as the nodes of a cluster (`--cluster-enabled yes`).
    pub cluster: bool,
}

impl<'a> Call<'a> {
    /// Arguments, the command's name included.
    pub fn count(&self) -> usize {
        self.spans.len()
    }

    /// Argument `index`; 0 is the command's name.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.spans[index].of(self.input)
    }
}

/// Why a request is answered with an error; the connection lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// One of the fixed ones.
    Fault(Fault),
    /// A text with its code in front (`ERR …`), without the leading `-` or the CRLF. Bytes that are not printable have
    /// been replaced, and it is at most 512 bytes.
    Text(Cow<'static, str>),
}

impl From<Fault> for Mistake {
    fn from(fault: Fault) -> Mistake {
        Mistake::Fault(fault)
    }
}

/// The commands that execute their arguments as they arrive, one key (or pair) after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Each {
    /// An array of values.
    Mget,
    /// `+OK` after all pairs, or the first error and at which argument it was.
    Mset,
    /// An array of new values; an error stands at its place.
    Mincrby,
    /// The count of the keys that existed. Also `UNLINK`.
    Del,
    /// The count of the keys that exist. Also `TOUCH`.
    Exists,
}

impl Each {
    /// Whether a value follows each key.
    #[inline]
    pub const fn takes_values(self) -> bool {
        matches!(self, Each::Mset | Each::Mincrby)
    }
}

/// The operation that a request on one key asks for.
pub type KeyParse = fn(&Call<'_>) -> Result<Op, Mistake>;

/// What a command does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Run {
    /// One operation on the key at the spec's first key position.
    Key(KeyParse),
    /// Operations on all its keys, as they arrive.
    Each(Each),
    /// The session answers by itself: appends exactly one reply, at most
    /// [`SHORT_REPLY_BYTES_MAX`](crate::limits::SHORT_REPLY_BYTES_MAX) bytes, or none and a mistake. `CLIENT REPLY OFF`
    /// and `SKIP` append none.
    Reply(fn(&mut Client, &Env<'_>, &Call<'_>, &mut Vec<u8>) -> Result<(), Mistake>),
    /// It takes more than this session.
    Task(fn(&Env<'_>, &Call<'_>) -> Result<Task, Mistake>),
    /// Argument 1 names one of the subcommands; [`resolve`] never returns this.
    Container,
}

/// The command that a request calls: found by its name, for a container by its subcommand's, with a right number of
/// arguments. (Whole pairs, where keys come in pairs, are asked for when the command is carried out, as in Redis.)
#[inline]
pub fn resolve(call: &Call<'_>) -> Result<&'static Spec, Mistake> {
    resolve_found(lookup(call.arg(0)), call, call.count())
}

/// The same where the name has been looked up, also for a request that has not wholly arrived: `call` has at least its
/// first two arguments (or all, if there are fewer), and `count` were announced.
#[inline]
pub fn resolve_found(found: Option<&'static Spec>, call: &Call<'_>, count: usize) -> Result<&'static Spec, Mistake> {
    let Some(mut spec) = found else {
        return Err(mistake::unknown_command(call));
    };
    if !spec.subcommands.is_empty() && call.count() > 1 {
        spec = subcommand(spec, call.arg(1)).ok_or_else(|| mistake::unknown_subcommand(call))?;
    }
    if spec.arity_allows(count) { Ok(spec) } else { Err(mistake::wrong_arity(spec.name)) }
}

/// The command that a request names, whatever is wrong with it otherwise.
#[cold]
pub fn called(call: &Call<'_>) -> Option<&'static Spec> {
    let spec = lookup(call.arg(0))?;
    if spec.subcommands.is_empty() || call.count() == 1 { Some(spec) } else { subcommand(spec, call.arg(1)) }
}

/// The operation of a streaming command on one of its keys. `value` is what follows the key, where keys come in pairs.
#[inline(always)]
pub fn each_op(each: Each, value: Option<&[u8]>) -> Result<Op, Fault> {
    assert_eq!(value.is_some(), each.takes_values());
    let number = || integer::parse(value.unwrap_or_default()).ok_or(Fault::NotInteger);
    Ok(match each {
        Each::Mget => Op::Get,
        Each::Mset => Op::Set { value: number()?, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Ok },
        Each::Mincrby => Op::Add(number()?),
        Each::Del => Op::Delete,
        Each::Exists => Op::Exists,
    })
}

/// An option is this word, in any case.
fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// A key that a task takes with it.
fn key(call: &Call<'_>, index: usize) -> Result<Bytes, Fault> {
    let bytes = call.arg(index);
    if bytes.len() <= KEY_BYTES_MAX { Ok(bytes.into()) } else { Err(Fault::KeyTooLong) }
}
