//! What can be asked of a counter, and what the answer is.
//!
//! A command is parsed into an [`Op`] by the shard that received it and is applied by the shard that owns the key; the
//! [`Outcome`] travels back and is encoded where the client is. Both are small and `Copy`, so neither allocates.

/// A key with what its slot and its place in the slot's table are found by.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The key's bytes, at most [`KEY_BYTES_MAX`](crate::limits::KEY_BYTES_MAX).
    pub bytes: &'a [u8],
    /// Hash of all the bytes, seeded once a process.
    pub hash: u64,
    /// The slot, `crc16(key or its {tag}) % SLOT_COUNT`.
    pub slot: u16,
}

/// A counter's whole state beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The count.
    pub value: i64,
    /// Unix time in milliseconds after which the counter does not exist; `None` lives on.
    pub expires_at_ms: Option<i64>,
}

/// What a write does to the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// Remove it (`SET`, `PERSIST`).
    Clear,
    /// Leave it (`SET … KEEPTTL`, `GETEX` without options).
    Keep,
    /// Unix time in milliseconds. A past one deletes the counter.
    At(i64),
}

/// When `SET` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Always.
    Always,
    /// `NX`: only a counter that does not exist.
    Absent,
    /// `XX`: only a counter that exists.
    Present,
}

/// What a `SET`-like command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetReply {
    /// `Ok` when written, `Nil` when the condition failed (`SET`).
    Ok,
    /// The old value or `Nil` (`SET … GET`, `GETSET`).
    Old,
    /// `Int(1)` when written, else `Int(0)` (`SETNX`).
    Written,
}

/// When `EXPIRE` and its kin change the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpireCond {
    /// Always.
    Always,
    /// `NX`: only without one.
    NoExpiry,
    /// `XX`: only with one.
    HasExpiry,
    /// `GT`: only to a later one; none counts as infinitely late.
    Later,
    /// `LT`: only to an earlier one; none counts as infinitely late.
    Earlier,
    /// `XX GT`.
    HasExpiryLater,
    /// `XX LT`.
    HasExpiryEarlier,
}

/// What `TTL` and its kin count in, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// `TTL`: seconds left, rounded to the nearest as Redis does, `(ms + 500) / 1000`.
    SecondsLeft,
    /// `PTTL`: milliseconds left.
    MillisLeft,
    /// `EXPIRETIME`: Unix time in seconds, `(ms + 500) / 1000`.
    SecondsAt,
    /// `PEXPIRETIME`: Unix time in milliseconds.
    MillisAt,
}

/// One operation on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `GET`, an element of `MGET`: `Value` or `Nil`.
    Get,
    /// `GETDEL`: `Value` or `Nil`, and the counter is gone.
    GetDel,
    /// `GETEX`: `Value` or `Nil`, and the expiry changes.
    GetEx(Deadline),
    /// `INCR`, `DECR`, `INCRBY`, `DECRBY`, a pair of `MINCRBY`: `Int` (the new value), or a fault. A counter that does
    /// not exist starts from 0. The expiry stays.
    Add(i64),
    /// `SET` and its kin, a pair of `MSET`.
    Set {
        /// The new value.
        value: i64,
        /// What happens to the expiry.
        deadline: Deadline,
        /// When it is written.
        cond: Cond,
        /// What is answered.
        reply: SetReply,
    },
    /// `STRLEN`: `Int`, the decimal digits of the value with its sign, or 0.
    StrLen,
    /// `EXISTS`, `TOUCH`: `Int(1)` or `Int(0)`.
    Exists,
    /// `DEL`, `UNLINK`: `Int(1)` or `Int(0)`.
    Delete,
    /// `TYPE`: `Word(String)` or `Word(None)`.
    Type,
    /// `EXPIRE` and its kin: `Int(1)` when changed (a past time deletes), else `Int(0)`.
    Expire {
        /// Unix time in milliseconds.
        at_ms: i64,
        /// When it is changed.
        cond: ExpireCond,
    },
    /// `PERSIST`: `Int(1)` when there was an expiry, else `Int(0)`.
    Persist,
    /// `TTL` and its kin: `Int(-2)` without the counter, `Int(-1)` without an expiry, else the time.
    Time(TimeUnit),
    /// `OBJECT ENCODING`: `Word(Int)`, or `Nil`.
    Encoding,
    /// `OBJECT REFCOUNT`: `Int(1)`, or `Nil`.
    RefCount,
    /// What is refused only if the counter exists (`OBJECT FREQ`, `OBJECT IDLETIME`, `GETEX` with a bad expiry): the
    /// fault, or `Nil`.
    Refuse(Fault),
    /// `MEMORY USAGE`: `Int`, the bytes that the entry takes in its table, its share of the index included; or `Nil`.
    Usage,
}

impl Op {
    /// Whether it may change a counter, so that the journal needs room for it.
    pub const fn changes(self) -> bool {
        match self {
            Op::GetDel | Op::GetEx(_) | Op::Add(_) | Op::Set { .. } | Op::Delete | Op::Expire { .. } | Op::Persist => {
                true
            }
            Op::Get
            | Op::StrLen
            | Op::Exists
            | Op::Type
            | Op::Time(_)
            | Op::Encoding
            | Op::RefCount
            | Op::Refuse(_)
            | Op::Usage => false,
        }
    }

    /// The most bytes that its outcome takes as a reply: an integer, or one of the shorter errors.
    #[inline]
    pub const fn reply_bytes_max(self) -> usize {
        match self {
            Op::Refuse(_) => crate::limits::OUTCOME_BYTES_MAX,
            _ => crate::limits::SHORT_OUTCOME_BYTES_MAX,
        }
    }
}

/// A word that some commands answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// `+string`, of `TYPE`.
    String,
    /// `+none`, of `TYPE`.
    None,
    /// `$3 int`, of `OBJECT ENCODING`.
    Int,
}

/// What an operation answers. Sixteen bytes, no heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An integer reply.
    Int(i64),
    /// A bulk string of the decimal integer.
    Value(i64),
    /// The null of the protocol version.
    Nil,
    /// `+OK`.
    Ok,
    /// A fixed word.
    Word(Word),
    /// An error reply.
    Fault(Fault),
}

/// The fixed error replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A value or an amount is no 64-bit integer.
    NotInteger,
    /// The sum would leave the 64-bit range.
    Overflow,
    /// `DECRBY` of the smallest integer.
    DecrementOverflow,
    /// A new counter past `maxmemory`, or one that needs a longer cell far past it.
    OutOfMemory,
    /// Options that do not go together, or are unknown.
    Syntax,
    /// A key longer than the limit.
    KeyTooLong,
    /// Another argument longer than the limit.
    ArgumentTooLong,
    /// A request that does not stream and does not fit a fixed buffer.
    RequestTooLong,
    /// A request that does not stream, of more arguments than the limit.
    TooManyArguments,
    /// The keys of one request to a shard's own port are of several slots.
    CrossSlot,
    /// `RENAME` of a counter that does not exist.
    NoSuchKey,
    /// `GETEX` with an expiry that cannot be.
    GetExExpiry,
    /// The journal cannot be written, and has no room for more until it can.
    NotWritten,
    /// `OBJECT FREQ`.
    NoFrequency,
    /// `OBJECT IDLETIME`.
    NoIdleTime,
}

impl Fault {
    /// The reply's text, with its code in front and without the leading `-` or the CRLF.
    pub const fn text(self) -> &'static str {
        match self {
            Fault::NotInteger => "ERR value is not an integer or out of range",
            Fault::Overflow => "ERR increment or decrement would overflow",
            Fault::DecrementOverflow => "ERR decrement would overflow",
            Fault::OutOfMemory => "OOM command not allowed when used memory > 'maxmemory'.",
            Fault::Syntax => "ERR syntax error",
            Fault::KeyTooLong => "ERR key is too long: at most 1024 bytes",
            Fault::ArgumentTooLong => "ERR argument is too long: at most 4096 bytes",
            Fault::RequestTooLong => "ERR request is too long: at most 16384 bytes for a command that does not stream",
            Fault::TooManyArguments => "ERR too many arguments: at most 128 for a command that does not stream",
            Fault::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot",
            Fault::NoSuchKey => "ERR no such key",
            Fault::GetExExpiry => "ERR invalid expire time in 'getex' command",
            Fault::NoFrequency => {
                "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust."
            }
            // Who parses a command while it is so tells the cause too.
            Fault::NotWritten => "MISCONF Errors writing to the AOF file: see the log",
            Fault::NoIdleTime => "ERR the idle time of counters is not tracked",
        }
    }
}

const _: () = assert!(size_of::<Outcome>() <= 16);
const _: () = assert!(size_of::<Op>() <= 32);
