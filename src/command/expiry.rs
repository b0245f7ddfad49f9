//! From the expiry that a client names to Unix time in milliseconds, checked as Redis checks it.

use super::{Mistake, mistake};
use crate::counters::Fault;
use crate::resp::integer;

/// What a number of an expiry counts, and from when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Seconds from now.
    Seconds,
    /// Milliseconds from now.
    Millis,
    /// Unix time in seconds.
    UnixSeconds,
    /// Unix time in milliseconds.
    UnixMillis,
}

impl Clock {
    fn in_seconds(self) -> bool {
        matches!(self, Clock::Seconds | Clock::UnixSeconds)
    }

    fn start_ms(self, now_ms: i64) -> i64 {
        if matches!(self, Clock::Seconds | Clock::Millis) { now_ms } else { 0 }
    }
}

/// The expiry of `SET`, `GETEX` and their kin: must be positive. `name` is the command's, for the error.
pub fn positive(argument: &[u8], clock: Clock, now_ms: i64, name: &str) -> Result<i64, Mistake> {
    let number = integer::parse(argument).ok_or(Fault::NotInteger)?;
    if number <= 0 { Err(mistake::invalid_expire(name)) } else { at_ms(number, clock, now_ms, name) }
}

/// The expiry of `EXPIRE` and its kin: a past one is allowed, it deletes. `name` is the command's, for the error.
pub fn any(argument: &[u8], clock: Clock, now_ms: i64, name: &str) -> Result<i64, Mistake> {
    let number = integer::parse(argument).ok_or(Fault::NotInteger)?;
    at_ms(number, clock, now_ms, name)
}

fn at_ms(number: i64, clock: Clock, now_ms: i64, name: &str) -> Result<i64, Mistake> {
    let millis = if clock.in_seconds() { number.checked_mul(1_000) } else { Some(number) };
    millis.and_then(|millis| millis.checked_add(clock.start_ms(now_ms))).ok_or_else(|| mistake::invalid_expire(name))
}
