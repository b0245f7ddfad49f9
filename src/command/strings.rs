//! The commands that read and change values.

use super::expiry::{self, Clock};
use super::{Call, Env, Mistake, Task, is, key, mistake};
use crate::counters::{Cond, Deadline, Fault, Op, SetReply};
use crate::resp::integer;

/// `INCR key`.
pub fn incr(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Add(1))
}

/// `DECR key`.
pub fn decr(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Add(-1))
}

/// `INCRBY key increment`.
pub fn incrby(call: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Add(value(call.arg(2))?))
}

/// `DECRBY key decrement`. The smallest integer has no opposite.
pub fn decrby(call: &Call<'_>) -> Result<Op, Mistake> {
    let amount = value(call.arg(2))?.checked_neg().ok_or(Fault::DecrementOverflow)?;
    Ok(Op::Add(amount))
}

/// `GET key`.
pub fn get(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Get)
}

/// `SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT s | PXAT ms | KEEPTTL]`.
pub fn set(call: &Call<'_>) -> Result<Op, Mistake> {
    let options = SetOptions::parse(call, 3, &SET_WORDS)?;
    let deadline = options.deadline(call, "set", Deadline::Clear)?;
    let reply = if options.get { SetReply::Old } else { SetReply::Ok };
    Ok(Op::Set { value: value(call.arg(2))?, deadline, cond: options.cond, reply })
}

/// `SETNX key value`.
pub fn setnx(call: &Call<'_>) -> Result<Op, Mistake> {
    let value = value(call.arg(2))?;
    Ok(Op::Set { value, deadline: Deadline::Clear, cond: Cond::Absent, reply: SetReply::Written })
}

/// `SETEX key seconds value`.
pub fn setex(call: &Call<'_>) -> Result<Op, Mistake> {
    set_with_expiry(call, Clock::Seconds, "setex")
}

/// `PSETEX key milliseconds value`.
pub fn psetex(call: &Call<'_>) -> Result<Op, Mistake> {
    set_with_expiry(call, Clock::Millis, "psetex")
}

/// `GETSET key value`.
pub fn getset(call: &Call<'_>) -> Result<Op, Mistake> {
    let value = value(call.arg(2))?;
    Ok(Op::Set { value, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Old })
}

/// `GETDEL key`.
pub fn getdel(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::GetDel)
}

/// `GETEX key [EX seconds | PX milliseconds | EXAT s | PXAT ms | PERSIST]`.
pub fn getex(call: &Call<'_>) -> Result<Op, Mistake> {
    let options = SetOptions::parse(call, 2, &GETEX_WORDS)?;
    // Redis looks for the key before it looks at the number.
    Ok(match options.deadline(call, "getex", Deadline::Keep) {
        Ok(deadline) => Op::GetEx(deadline),
        Err(Mistake::Fault(fault)) => Op::Refuse(fault),
        Err(Mistake::Text(_)) => Op::Refuse(Fault::GetExExpiry),
    })
}

/// `STRLEN key`.
pub fn strlen(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::StrLen)
}

/// `MSETNX key value [key value …]`.
pub fn msetnx(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    if call.count().is_multiple_of(2) {
        return Err(mistake::wrong_arity("msetnx"));
    }
    let pairs = (1..call.count()).step_by(2).map(|at| Ok((key(call, at)?, value(call.arg(at + 1))?)));
    Ok(Task::MsetNx(pairs.collect::<Result<_, Mistake>>()?))
}

/// A value or an amount.
pub(super) fn value(argument: &[u8]) -> Result<i64, Mistake> {
    integer::parse(argument).ok_or(Mistake::Fault(Fault::NotInteger))
}

fn set_with_expiry(call: &Call<'_>, clock: Clock, name: &str) -> Result<Op, Mistake> {
    let at_ms = expiry::positive(call.arg(2), clock, call.now_ms, name)?;
    let value = value(call.arg(3))?;
    Ok(Op::Set { value, deadline: Deadline::At(at_ms), cond: Cond::Always, reply: SetReply::Ok })
}

/// One option of `SET` or `GETEX`.
#[derive(Clone, Copy)]
enum Word {
    Cond(Cond),
    Get,
    /// Takes a number.
    Expiry(Clock),
    Fixed(Deadline),
}

const SET_WORDS: [(&str, Word); 8] = [
    ("NX", Word::Cond(Cond::Absent)),
    ("XX", Word::Cond(Cond::Present)),
    ("GET", Word::Get),
    ("KEEPTTL", Word::Fixed(Deadline::Keep)),
    ("EX", Word::Expiry(Clock::Seconds)),
    ("PX", Word::Expiry(Clock::Millis)),
    ("EXAT", Word::Expiry(Clock::UnixSeconds)),
    ("PXAT", Word::Expiry(Clock::UnixMillis)),
];

const GETEX_WORDS: [(&str, Word); 5] = [
    ("PERSIST", Word::Fixed(Deadline::Clear)),
    ("EX", Word::Expiry(Clock::Seconds)),
    ("PX", Word::Expiry(Clock::Millis)),
    ("EXAT", Word::Expiry(Clock::UnixSeconds)),
    ("PXAT", Word::Expiry(Clock::UnixMillis)),
];

/// The options of `SET` and `GETEX`. An option may be given again, but not with one that contradicts it; of an expiry
/// given again the last number counts.
struct SetOptions {
    cond: Cond,
    get: bool,
    fixed: Option<Deadline>,
    /// The unit, and at which argument its number is.
    expiry: Option<(Clock, usize)>,
}

impl SetOptions {
    fn parse(call: &Call<'_>, first: usize, words: &[(&str, Word)]) -> Result<SetOptions, Fault> {
        let mut options = SetOptions { cond: Cond::Always, get: false, fixed: None, expiry: None };
        let mut at = first;
        while at < call.count() {
            let (_, word) = words.iter().find(|(word, _)| is(call.arg(at), word)).ok_or(Fault::Syntax)?;
            match *word {
                Word::Cond(cond) if options.cond == Cond::Always || options.cond == cond => options.cond = cond,
                Word::Get => options.get = true,
                Word::Fixed(deadline) if options.expiry.is_none() => options.fixed = Some(deadline),
                Word::Expiry(clock)
                    if options.fixed.is_none()
                        && options.expiry.is_none_or(|(other, _)| other == clock)
                        && at + 1 < call.count() =>
                {
                    options.expiry = Some((clock, at + 1));
                    at += 1;
                }
                _ => return Err(Fault::Syntax),
            }
            at += 1;
        }
        Ok(options)
    }

    fn deadline(&self, call: &Call<'_>, name: &str, without: Deadline) -> Result<Deadline, Mistake> {
        match self.expiry {
            Some((clock, at)) => Ok(Deadline::At(expiry::positive(call.arg(at), clock, call.now_ms, name)?)),
            None => Ok(self.fixed.unwrap_or(without)),
        }
    }
}
