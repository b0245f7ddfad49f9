//! The commands about the client's own connection, but for `CLIENT`.

use super::{Call, Described, Env, Mistake, REDIS_VERSION, Task, clients, is, lookup, mistake};
use crate::client::Client;
use crate::counters::Fault;
use crate::limits::ARGUMENT_BYTES_MAX;
use crate::resp::{encode, integer};

/// `PING [message]`.
pub fn ping(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    match call.count() {
        1 => encode::simple(out, "PONG"),
        2 => encode::bulk(out, call.arg(1)),
        _ => return Err(mistake::wrong_arity("ping")),
    }
    Ok(())
}

/// `ECHO message`.
pub fn echo(_: &mut Client, _: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    encode::bulk(out, call.arg(1));
    Ok(())
}

/// `QUIT`.
pub fn quit(client: &mut Client, _: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    client.closing = true;
    encode::simple(out, "OK");
    Ok(())
}

/// `RESET`.
pub fn reset(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Reset)
}

/// `SELECT index`.
pub fn select(_: &mut Client, env: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    let index = database(call.arg(1))?;
    if index != 0 && env.cluster {
        return Err(mistake::fixed("ERR SELECT is not allowed in cluster mode"));
    }
    if index != 0 {
        return Err(mistake::fixed("ERR DB index is out of range"));
    }
    encode::simple(out, "OK");
    Ok(())
}

/// The number of a database.
pub(super) fn database(argument: &[u8]) -> Result<i32, Mistake> {
    let index = integer::parse(argument).ok_or(Fault::NotInteger)?;
    i32::try_from(index)
        .map_err(|_| mistake::fixed("ERR value is out of range, value must between -2147483648 and 2147483647"))
}

/// `AUTH [username] password`.
pub fn auth(client: &mut Client, env: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    match call.count() {
        2 if env.password.is_none() => {
            return Err(mistake::fixed(
                "ERR AUTH <password> called without any password configured for the default user. \
                 Are you sure your configuration is correct?",
            ));
        }
        2 => authenticate(client, env, DEFAULT_USER, call.arg(1))?,
        3 => authenticate(client, env, call.arg(1), call.arg(2))?,
        _ => return Err(Fault::Syntax.into()),
    }
    encode::simple(out, "OK");
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. Changes nothing unless all of it is right.
pub fn hello(client: &mut Client, env: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    let mut resp3 = client.resp3;
    if call.count() > 1 {
        resp3 = match integer::parse(call.arg(1)) {
            Some(2) => false,
            Some(3) => true,
            Some(_) => return Err(mistake::fixed("NOPROTO unsupported protocol version")),
            None => return Err(mistake::fixed("ERR Protocol version is not an integer or out of range")),
        };
    }
    let (mut credentials, mut name) = (None, None);
    let mut at = 2;
    while at < call.count() {
        let option = call.arg(at);
        let more = call.count() - 1 - at;
        if is(option, "AUTH") && more >= 2 {
            credentials = Some((call.arg(at + 1), call.arg(at + 2)));
            at += 3;
        } else if is(option, "SETNAME") && more >= 1 {
            name = Some(clients::name(call.arg(at + 1))?);
            at += 2;
        } else {
            return Err(mistake::made(format!("ERR Syntax error in HELLO option '{}'", mistake::shown(option))));
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(client, env, user, password)?;
    }
    if client.is_stranger(env.password.is_some()) {
        return Err(mistake::fixed(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
             option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = name {
        client.name = name;
    }
    client.resp3 = resp3;
    describe_server(client, env, out);
    Ok(())
}

/// The `HELP` of every container: its subcommands from the table.
pub fn help(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let container = lookup(call.arg(0)).expect("help was found through its container");
    Ok(Task::Describe(Described::Help(container)))
}

/// The only user.
const DEFAULT_USER: &[u8] = b"default";

fn authenticate(client: &mut Client, env: &Env<'_>, user: &[u8], password: &[u8]) -> Result<(), Mistake> {
    let known = user == DEFAULT_USER;
    let right = env.password.is_none_or(|secret| same_secret(password, secret));
    if !(known & right) {
        return Err(mistake::fixed("WRONGPASS invalid username-password pair or user is disabled."));
    }
    client.authenticated = true;
    Ok(())
}

/// Whether two secrets are equal, in a time that does not tell where they differ: all the bytes that a secret may have
/// are compared, always.
fn same_secret(given: &[u8], secret: &[u8]) -> bool {
    let (mut left, mut right) = ([0; ARGUMENT_BYTES_MAX], [0; ARGUMENT_BYTES_MAX]);
    let fits = given.len() <= ARGUMENT_BYTES_MAX && secret.len() <= ARGUMENT_BYTES_MAX;
    if fits {
        left[..given.len()].copy_from_slice(given);
        right[..secret.len()].copy_from_slice(secret);
    }
    let differing = left.iter().zip(&right).fold(0, |differing, (left, right)| differing | (left ^ right));
    // The compiler must not learn that a first difference decides.
    std::hint::black_box(differing) == 0 && fits && given.len() == secret.len()
}

fn describe_server(client: &Client, env: &Env<'_>, out: &mut Vec<u8>) {
    let resp3 = client.resp3;
    encode::map(out, 7, resp3);
    for (field, text) in [("server", "redis"), ("version", REDIS_VERSION)] {
        encode::bulk(out, field.as_bytes());
        encode::bulk(out, text.as_bytes());
    }
    encode::bulk(out, b"proto");
    encode::integer(out, if resp3 { 3 } else { 2 });
    encode::bulk(out, b"id");
    encode::integer(out, client.id as i64);
    let mode = if env.cluster { "cluster" } else { "standalone" };
    for (field, text) in [("mode", mode), ("role", "master")] {
        encode::bulk(out, field.as_bytes());
        encode::bulk(out, text.as_bytes());
    }
    encode::bulk(out, b"modules");
    encode::array(out, 0);
}
