//! The commands about the server: what they ask for is in the [`Task`], and carried out elsewhere.

use super::{Call, Env, Mistake, Task, is, mistake, strings};
use crate::client::Client;
use crate::counters::{Fault, Op};
use crate::resp::{encode, integer};

/// `INFO [section …]`.
pub fn info(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Info((1..call.count()).map(|at| text(call.arg(at)).to_lowercase()).collect()))
}

/// `MONITOR [SAMPLE n]`: without a number every command is shown.
pub fn monitor(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let sample = match call.count() {
        1 => 1,
        3 if is(call.arg(1), "SAMPLE") => integer::parse(call.arg(2))
            .and_then(|sample| u32::try_from(sample).ok())
            .filter(|sample| *sample > 0)
            .ok_or(mistake::fixed("ERR SAMPLE must be from 1 to 4294967295: of so many commands one is shown"))?,
        _ => return Err(Fault::Syntax.into()),
    };
    Ok(Task::Monitor { sample })
}

/// `CONFIG GET pattern [pattern …]`.
pub fn config_get(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::ConfigGet((2..call.count()).map(|at| text(call.arg(at))).collect()))
}

/// `CONFIG SET name value [name value …]`.
pub fn config_set(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    if call.count() % 2 == 1 {
        return Err(Fault::Syntax.into());
    }
    let pair = |at| match std::str::from_utf8(call.arg(at + 1)) {
        Ok(value) => Ok((text(call.arg(at)), value.to_owned())),
        // A password of other bytes would not be the one that was asked for.
        Err(_) => Err(mistake::made(format!(
            "ERR CONFIG SET failed (possibly related to argument '{}') - argument must be UTF-8",
            mistake::shown(call.arg(at))
        ))),
    };
    (2..call.count()).step_by(2).map(pair).collect::<Result<_, _>>().map(Task::ConfigSet)
}

/// `CONFIG RESETSTAT`.
pub fn config_resetstat(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::ConfigResetStat)
}

/// `TIME`.
pub fn time(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Time)
}

/// `SLOWLOG GET [count]`: 10 without a count.
pub fn slowlog_get(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let count = match call.count() {
        2 => 10,
        3 => integer::parse(call.arg(2))
            .filter(|count| *count >= -1)
            .ok_or(mistake::fixed("ERR count should be greater than or equal to -1"))?,
        _ => return Err(mistake::subcommand_syntax(call)),
    };
    Ok(Task::SlowlogGet(count))
}

/// `SLOWLOG LEN`.
pub fn slowlog_len(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::SlowlogLen)
}

/// `SLOWLOG RESET`.
pub fn slowlog_reset(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::SlowlogReset)
}

/// `MEMORY USAGE key [SAMPLES count]`. A counter has nothing to sample.
pub fn memory_usage(call: &Call<'_>) -> Result<Op, Mistake> {
    for at in (3..call.count()).step_by(2) {
        if !is(call.arg(at), "SAMPLES") || at + 1 == call.count() || strings::value(call.arg(at + 1))? < 0 {
            return Err(Fault::Syntax.into());
        }
    }
    Ok(Op::Usage)
}

/// `MEMORY STATS`.
pub fn memory_stats(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::MemoryStats)
}

/// `MEMORY DOCTOR`.
pub fn memory_doctor(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::MemoryDoctor)
}

/// `MEMORY PURGE`: what is freed is given back already.
pub fn memory_purge(_: &mut Client, _: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    encode::simple(out, "OK");
    Ok(())
}

/// `ROLE`: a master without replicas.
pub fn role(_: &mut Client, _: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    encode::array(out, 3);
    encode::bulk(out, b"master");
    encode::integer(out, 0);
    encode::array(out, 0);
    Ok(())
}

/// `WAIT numreplicas timeout`: none can be waited for, so it does not.
pub fn wait(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    integer::parse(call.arg(1)).ok_or(Fault::NotInteger)?;
    let timeout_ms =
        integer::parse(call.arg(2)).ok_or(mistake::fixed("ERR timeout is not an integer or out of range"))?;
    if timeout_ms < 0 {
        return Err(mistake::fixed("ERR timeout is negative"));
    }
    encode::integer(out, 0);
    Ok(())
}

/// `SAVE`.
pub fn save(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Save)
}

/// `BGSAVE [SCHEDULE]`.
pub fn bgsave(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    match call.count() {
        1 => Ok(Task::BeginSave { rewrite: false }),
        2 if is(call.arg(1), "SCHEDULE") => Ok(Task::BeginSave { rewrite: false }),
        _ => Err(Fault::Syntax.into()),
    }
}

/// `BGREWRITEAOF`.
pub fn bgrewriteaof(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::BeginSave { rewrite: true })
}

/// `LASTSAVE`.
pub fn lastsave(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::LastSave)
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`.
pub fn shutdown(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let (mut save, mut nosave, mut hurry, mut abort) = (false, false, false, false);
    for at in 1..call.count() {
        let option = call.arg(at);
        let seen = if is(option, "SAVE") {
            &mut save
        } else if is(option, "NOSAVE") {
            &mut nosave
        } else if is(option, "NOW") || is(option, "FORCE") {
            &mut hurry
        } else if is(option, "ABORT") {
            &mut abort
        } else {
            return Err(Fault::Syntax.into());
        };
        *seen = true;
    }
    if (save && nosave) || (abort && (save || nosave || hurry)) {
        return Err(Fault::Syntax.into());
    }
    Ok(Task::Shutdown { abort })
}

/// `DEBUG SLEEP seconds`, where the server allows it.
pub fn debug(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    if call.count() != 3 || !is(call.arg(1), "SLEEP") {
        return Err(mistake::subcommand_syntax(call));
    }
    let seconds = std::str::from_utf8(call.arg(2)).ok().and_then(|text| text.parse::<f64>().ok());
    let seconds = seconds
        .filter(|seconds| (0.0..=SLEEP_SECONDS_MAX).contains(seconds))
        .ok_or(mistake::fixed("ERR value is not a valid float"))?;
    Ok(Task::DebugSleep { duration_us: (seconds * 1e6) as u64 })
}

/// `FUNCTION FLUSH [ASYNC | SYNC]`: there are none.
pub fn function_flush(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    match call.count() {
        2 => {}
        3 if is_flush_mode(call.arg(2)) => {}
        3 => return Err(mistake::fixed("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return Err(mistake::subcommand_syntax(call)),
    }
    encode::simple(out, "OK");
    Ok(())
}

/// `SCRIPT FLUSH [ASYNC | SYNC]`: there are none.
pub fn script_flush(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    match call.count() {
        2 => {}
        3 if is_flush_mode(call.arg(2)) => {}
        _ => return Err(mistake::fixed("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    encode::simple(out, "OK");
    Ok(())
}

/// Longest `DEBUG SLEEP`: an hour.
const SLEEP_SECONDS_MAX: f64 = 3_600.0;

fn is_flush_mode(argument: &[u8]) -> bool {
    is(argument, "ASYNC") || is(argument, "SYNC")
}

fn text(argument: &[u8]) -> String {
    String::from_utf8_lossy(argument).into_owned()
}
