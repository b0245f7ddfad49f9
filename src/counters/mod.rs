//! The counters of one shard: a range of slots, each a small table of keys, values and expiries.
//!
//! Pure: no I/O, no clock, no async, no lock, no atomic. Time comes in as `now_ms`, operations as [`Op`], and what
//! happened goes out as an [`Outcome`] of sixteen bytes, whatever the operation.

mod op;

pub use op::{Cond, Deadline, Entry, ExpireCond, Fault, Key, Op, Outcome, SetReply, TimeUnit, Word};
