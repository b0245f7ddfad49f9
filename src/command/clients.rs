//! `CLIENT`: what the connection says of itself, and what it asks about the others.

use super::{Call, ClientFilter, Env, Mistake, Task, is, mistake};
use crate::client::{Client, ReplyMode};
use crate::counters::Fault;
use crate::limits::{CLIENT_NAME_BYTES_MAX, LIBRARY_NAME_BYTES_MAX};
use crate::resp::{encode, integer};

/// `CLIENT ID`.
pub fn id(client: &mut Client, _: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    encode::integer(out, client.id as i64);
    Ok(())
}

/// `CLIENT INFO`.
pub fn info(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::ClientInfo)
}

/// `CLIENT LIST [TYPE type | ID id [id …]]`.
pub fn list(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let mut filter = ClientFilter { type_matches: true, ..ClientFilter::default() };
    match call.count() {
        2 => {}
        4 if is(call.arg(2), "TYPE") => filter.type_matches = client_type(call.arg(3))?,
        4.. if is(call.arg(2), "ID") => {
            for at in 3..call.count() {
                let id = integer::parse(call.arg(at)).ok_or(mistake::fixed("ERR Invalid client ID"))?;
                // No client has the number 0, nor a negative one.
                filter.ids.push(u64::try_from(id).unwrap_or(0));
            }
        }
        _ => return Err(Fault::Syntax.into()),
    }
    Ok(Task::ClientList(filter))
}

/// `CLIENT KILL ip:port`, `CLIENT KILL filter value [filter value …]`. Of a filter given again the last counts.
pub fn kill(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let mut filter = ClientFilter { type_matches: true, ..ClientFilter::default() };
    if call.count() == 3 {
        filter.address = Some(text(call.arg(2)));
        return Ok(Task::ClientKill { filter, by_address: true });
    }
    filter.skip_me = true;
    for at in (2..call.count()).step_by(2) {
        if at + 1 == call.count() {
            return Err(Fault::Syntax.into());
        }
        let (option, argument) = (call.arg(at), call.arg(at + 1));
        if is(option, "ID") {
            let id = positive(argument).ok_or(mistake::fixed("ERR client-id should be greater than 0"))?;
            filter.ids = vec![id];
        } else if is(option, "TYPE") {
            filter.type_matches = client_type(argument)?;
        } else if is(option, "ADDR") {
            filter.address = Some(text(argument));
        } else if is(option, "LADDR") {
            filter.local_address = Some(text(argument));
        } else if is(option, "USER") {
            if argument != b"default" {
                return Err(mistake::made(format!("ERR No such user '{}'", mistake::shown(argument))));
            }
            filter.user = Some(text(argument));
        } else if is(option, "SKIPME") && (is(argument, "yes") || is(argument, "no")) {
            filter.skip_me = is(argument, "yes");
        } else if is(option, "MAXAGE") {
            integer::parse(argument).ok_or(mistake::fixed("ERR maxage is not an integer or out of range"))?;
            let age_s = positive(argument).ok_or(mistake::fixed("ERR maxage should be greater than 0"))?;
            filter.age_min_s = Some(age_s);
        } else {
            return Err(Fault::Syntax.into());
        }
    }
    Ok(Task::ClientKill { filter, by_address: false })
}

/// `CLIENT SETNAME name`.
pub fn setname(client: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    client.name = name(call.arg(2))?;
    encode::simple(out, "OK");
    Ok(())
}

/// `CLIENT GETNAME`.
pub fn getname(client: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    if client.name.is_empty() {
        encode::null(out, call.resp3);
    } else {
        encode::bulk(out, client.name.as_bytes());
    }
    Ok(())
}

/// `CLIENT SETINFO LIB-NAME libname`, `CLIENT SETINFO LIB-VER libver`.
pub fn setinfo(client: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    let attribute = call.arg(2);
    let field = if is(attribute, "LIB-NAME") {
        &mut client.lib_name
    } else if is(attribute, "LIB-VER") {
        &mut client.lib_version
    } else {
        return Err(mistake::made(format!("ERR Unrecognized option '{}'", mistake::shown(attribute))));
    };
    *field = label(call.arg(3), &mistake::shown(attribute), LIBRARY_NAME_BYTES_MAX)?;
    encode::simple(out, "OK");
    Ok(())
}

/// `CLIENT REPLY ON | OFF | SKIP`. Only `ON` is answered; the session leaves out the replies that are not wanted.
pub fn reply(client: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    let mode = call.arg(2);
    if is(mode, "ON") {
        client.reply = ReplyMode::On;
        encode::simple(out, "OK");
    } else if client.executing && (is(mode, "OFF") || is(mode, "SKIP")) {
        return Err(mistake::fixed("ERR CLIENT REPLY OFF and SKIP are not possible in a transaction"));
    } else if is(mode, "OFF") {
        client.reply = ReplyMode::Off;
    } else if is(mode, "SKIP") {
        if client.reply != ReplyMode::Off {
            client.reply = ReplyMode::SkipNext;
        }
    } else {
        return Err(Fault::Syntax.into());
    }
    Ok(())
}

/// `CLIENT NO-EVICT ON | OFF`.
pub fn no_evict(client: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    client.no_evict = on_or_off(call.arg(2))?;
    encode::simple(out, "OK");
    Ok(())
}

/// `CLIENT NO-TOUCH ON | OFF`.
pub fn no_touch(client: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    client.no_touch = on_or_off(call.arg(2))?;
    encode::simple(out, "OK");
    Ok(())
}

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`: nobody is blocked.
pub fn unblock(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    match call.count() {
        3 => {}
        4 if is(call.arg(3), "TIMEOUT") || is(call.arg(3), "ERROR") => {}
        4 => return Err(mistake::fixed("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(mistake::subcommand_syntax(call)),
    }
    integer::parse(call.arg(2)).ok_or(Fault::NotInteger)?;
    encode::integer(out, 0);
    Ok(())
}

/// `CLIENT TRACKINGINFO`: it is off.
pub fn tracking_info(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    encode::map(out, 3, call.resp3);
    encode::bulk(out, b"flags");
    encode::set(out, 1, call.resp3);
    encode::bulk(out, b"off");
    encode::bulk(out, b"redirect");
    encode::integer(out, -1);
    encode::bulk(out, b"prefixes");
    encode::array(out, 0);
    Ok(())
}

/// `CLIENT GETREDIR`.
pub fn getredir(_: &mut Client, _: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    encode::integer(out, -1);
    Ok(())
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`.
pub fn pause(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let writes_only = match call.count() {
        3 => false,
        4 if is(call.arg(3), "ALL") => false,
        4 if is(call.arg(3), "WRITE") => true,
        4 => return Err(mistake::fixed("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return Err(mistake::subcommand_syntax(call)),
    };
    let timeout_ms =
        integer::parse(call.arg(2)).ok_or(mistake::fixed("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| mistake::fixed("ERR timeout is negative"))?;
    Ok(Task::ClientPause { timeout_ms, writes_only })
}

/// `CLIENT UNPAUSE`.
pub fn unpause(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::ClientUnpause)
}

/// A client's name, checked.
pub(super) fn name(argument: &[u8]) -> Result<String, Mistake> {
    label(argument, "Client names", CLIENT_NAME_BYTES_MAX)
}

/// A word that `CLIENT LIST` shows: printable, without spaces, at most so many bytes.
fn label(argument: &[u8], what: &str, bytes_max: usize) -> Result<String, Mistake> {
    if !argument.iter().all(|byte| byte.is_ascii_graphic()) {
        return Err(mistake::made(format!("ERR {what} cannot contain spaces, newlines or special characters.")));
    }
    if argument.len() > bytes_max {
        return Err(mistake::made(format!("ERR {what} cannot be longer than {bytes_max} bytes.")));
    }
    Ok(text(argument))
}

fn on_or_off(argument: &[u8]) -> Result<bool, Fault> {
    if is(argument, "ON") {
        Ok(true)
    } else if is(argument, "OFF") {
        Ok(false)
    } else {
        Err(Fault::Syntax)
    }
}

/// Whether clients of this type exist here: only normal ones do.
fn client_type(argument: &[u8]) -> Result<bool, Mistake> {
    let others = ["master", "replica", "slave", "pubsub"];
    if is(argument, "normal") {
        Ok(true)
    } else if others.iter().any(|other| is(argument, other)) {
        Ok(false)
    } else {
        Err(mistake::made(format!("ERR Unknown client type '{}'", mistake::shown(argument))))
    }
}

fn positive(argument: &[u8]) -> Option<u64> {
    integer::parse(argument).and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0)
}

fn text(argument: &[u8]) -> String {
    String::from_utf8_lossy(argument).into_owned()
}
