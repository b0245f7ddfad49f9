//! The commands on keys, whatever they hold.

use super::expiry::{self, Clock};
use super::{Call, Env, Mistake, Task, is, key, mistake, strings};
use crate::counters::{ExpireCond, Fault, Op, TimeUnit};

/// `TYPE key`.
pub fn kind(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Type)
}

/// `EXPIRE key seconds [NX | XX | GT | LT]`.
pub fn expire(call: &Call<'_>) -> Result<Op, Mistake> {
    expire_at(call, Clock::Seconds, "expire")
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`.
pub fn pexpire(call: &Call<'_>) -> Result<Op, Mistake> {
    expire_at(call, Clock::Millis, "pexpire")
}

/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]`.
pub fn expireat(call: &Call<'_>) -> Result<Op, Mistake> {
    expire_at(call, Clock::UnixSeconds, "expireat")
}

/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]`.
pub fn pexpireat(call: &Call<'_>) -> Result<Op, Mistake> {
    expire_at(call, Clock::UnixMillis, "pexpireat")
}

/// `TTL key`.
pub fn ttl(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Time(TimeUnit::SecondsLeft))
}

/// `PTTL key`.
pub fn pttl(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Time(TimeUnit::MillisLeft))
}

/// `EXPIRETIME key`.
pub fn expiretime(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Time(TimeUnit::SecondsAt))
}

/// `PEXPIRETIME key`.
pub fn pexpiretime(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Time(TimeUnit::MillisAt))
}

/// `PERSIST key`.
pub fn persist(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Persist)
}

/// `RENAME key newkey`.
pub fn rename(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Rename { from: key(call, 1)?, to: key(call, 2)?, only_absent: false })
}

/// `RENAMENX key newkey`.
pub fn renamenx(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Rename { from: key(call, 1)?, to: key(call, 2)?, only_absent: true })
}

/// `COPY source destination [DB index] [REPLACE]`.
pub fn copy(env: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let (mut replace, mut at) = (false, 3);
    while at < call.count() {
        if is(call.arg(at), "REPLACE") {
            replace = true;
        } else if is(call.arg(at), "DB") && at + 1 < call.count() {
            at += 1;
            match super::connection::database(call.arg(at))? {
                0 => {}
                _ if env.cluster => {
                    return Err(mistake::fixed("ERR Copying to another database is not allowed in cluster mode"));
                }
                _ => return Err(mistake::fixed("ERR DB index is out of range")),
            }
        } else {
            return Err(Fault::Syntax.into());
        }
        at += 1;
    }
    let (from, to) = (key(call, 1)?, key(call, 2)?);
    if from == to {
        return Err(mistake::fixed("ERR source and destination objects are the same"));
    }
    Ok(Task::Copy { from, to, replace })
}

/// `RANDOMKEY`.
pub fn randomkey(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::RandomKey)
}

/// `KEYS pattern`.
pub fn keys(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Keys(call.arg(1).into()))
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`. Of an option given again the last counts.
pub fn scan(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let cursor = cursor(call.arg(1)).ok_or(mistake::fixed("ERR invalid cursor"))?;
    let (mut count, mut pattern, mut type_matches) = (10, None, true);
    let mut at = 2;
    while at < call.count() {
        let option = call.arg(at);
        if at + 1 == call.count() {
            return Err(Fault::Syntax.into());
        }
        let argument = call.arg(at + 1);
        if is(option, "COUNT") {
            let number = strings::value(argument)?;
            count = u64::try_from(number).ok().filter(|count| *count > 0).ok_or(Fault::Syntax)?;
        } else if is(option, "MATCH") {
            pattern = Some(argument.into());
        } else if is(option, "TYPE") {
            type_matches = is(argument, "string");
        } else {
            return Err(Fault::Syntax.into());
        }
        at += 2;
    }
    Ok(Task::Scan { cursor, count, pattern, type_matches })
}

/// `DBSIZE`.
pub fn dbsize(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::DbSize)
}

/// `FLUSHALL [ASYNC | SYNC]`, `FLUSHDB [ASYNC | SYNC]`.
pub fn flush(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    match call.count() {
        1 => Ok(Task::Flush),
        2 if is(call.arg(1), "ASYNC") || is(call.arg(1), "SYNC") => Ok(Task::Flush),
        _ => Err(Fault::Syntax.into()),
    }
}

/// `OBJECT ENCODING key`.
pub fn object_encoding(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Encoding)
}

/// `OBJECT REFCOUNT key`.
pub fn object_refcount(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::RefCount)
}

/// `OBJECT FREQ key`.
pub fn object_freq(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Refuse(Fault::NoFrequency))
}

/// `OBJECT IDLETIME key`.
pub fn object_idletime(_: &Call<'_>) -> Result<Op, Mistake> {
    Ok(Op::Refuse(Fault::NoIdleTime))
}

/// The options are checked before the number, as in Redis.
fn expire_at(call: &Call<'_>, clock: Clock, name: &str) -> Result<Op, Mistake> {
    let cond = expire_cond(call)?;
    Ok(Op::Expire { at_ms: expiry::any(call.arg(2), clock, call.now_ms, name)?, cond })
}

fn expire_cond(call: &Call<'_>) -> Result<ExpireCond, Mistake> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for at in 3..call.count() {
        let option = call.arg(at);
        let seen = if is(option, "NX") {
            &mut nx
        } else if is(option, "XX") {
            &mut xx
        } else if is(option, "GT") {
            &mut gt
        } else if is(option, "LT") {
            &mut lt
        } else {
            return Err(mistake::made(format!("ERR Unsupported option {}", mistake::shown(option))));
        };
        *seen = true;
    }
    match (nx, xx, gt, lt) {
        (true, true, _, _) | (true, _, true, _) | (true, _, _, true) => {
            Err(mistake::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"))
        }
        (_, _, true, true) => Err(mistake::fixed("ERR GT and LT options at the same time are not compatible")),
        (true, false, false, false) => Ok(ExpireCond::NoExpiry),
        (false, true, true, false) => Ok(ExpireCond::HasExpiryLater),
        (false, true, false, true) => Ok(ExpireCond::HasExpiryEarlier),
        (false, true, false, false) => Ok(ExpireCond::HasExpiry),
        (false, false, true, false) => Ok(ExpireCond::Later),
        (false, false, false, true) => Ok(ExpireCond::Earlier),
        (false, false, false, false) => Ok(ExpireCond::Always),
    }
}

/// A cursor as C's `strtoul` reads it, which is what Redis asks: a sign is allowed (and wraps), so is nothing at all.
fn cursor(argument: &[u8]) -> Option<u64> {
    if argument.is_empty() {
        return Some(0);
    }
    let (negative, digits) = match argument {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { number.wrapping_neg() } else { number })
}
