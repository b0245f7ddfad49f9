//! What the known requests answer: a map of counters and the rules of the commands, slow and obvious.
//!
//! Source: the pages of the Redis commands and what redis-server 7.0 answers; the project's own limits.

use std::collections::HashMap;

use tallyring::command::REDIS_VERSION;

use super::drive::Setting;
use super::generate::{Kind, Request, Stream};

const KEY_BYTES_MAX: usize = 1_024;
const ARGUMENT_BYTES_MAX: usize = 4_096;

/// All replies; `None` where they are not known.
pub fn replies(setting: &Setting, stream: &Stream) -> Option<Vec<u8>> {
    if stream.kind != Kind::Known {
        return None;
    }
    assert!(setting.password.is_none());
    let mut model = Model::default();
    let mut replies = Vec::new();
    for request in &stream.requests {
        replies.extend(model.request(request)?);
    }
    Some(replies)
}

#[derive(Default)]
struct Model {
    counters: HashMap<Vec<u8>, i64>,
    resp3: bool,
    off: bool,
    skip: bool,
    transaction: Option<Transaction>,
}

#[derive(Default)]
struct Transaction {
    queue: Vec<Request>,
    aborted: bool,
}

impl Model {
    /// What is sent for one request.
    fn request(&mut self, request: &Request) -> Option<Vec<u8>> {
        let skip = std::mem::take(&mut self.skip);
        let arguments = &request.arguments;
        if arguments[0] == b"CLIENT" {
            // What becomes of it in a transaction is not modelled.
            if self.transaction.is_some() {
                return None;
            }
            match &arguments[2][..] {
                b"ON" => {
                    self.off = false;
                    return Some(b"+OK\r\n".to_vec());
                }
                b"OFF" => self.off = true,
                _ => self.skip = !self.off,
            }
            return Some(Vec::new());
        }
        let reply = self.reply(request)?;
        Some(if self.off || skip { Vec::new() } else { reply })
    }

    /// What is answered, in or out of a transaction.
    fn reply(&mut self, request: &Request) -> Option<Vec<u8>> {
        let refused = refusal(request);
        let Some(transaction) = &mut self.transaction else {
            if let Some(error) = refused {
                return Some(error);
            }
            return Some(match &request.arguments[0][..] {
                b"MULTI" => {
                    self.transaction = Some(Transaction::default());
                    b"+OK\r\n".to_vec()
                }
                b"EXEC" => b"-ERR EXEC without MULTI\r\n".to_vec(),
                b"DISCARD" => b"-ERR DISCARD without MULTI\r\n".to_vec(),
                b"HELLO" => {
                    self.resp3 = request.arguments[1] == b"3";
                    hello(self.resp3)
                }
                _ => self.execute(request),
            });
        };
        if let Some(error) = refused.or_else(|| queueing_refusal(request)) {
            transaction.aborted = true;
            return Some(error);
        }
        match &request.arguments[0][..] {
            b"MULTI" => Some(b"-ERR MULTI calls can not be nested\r\n".to_vec()),
            b"HELLO" => None,
            b"DISCARD" => {
                self.transaction = None;
                Some(b"+OK\r\n".to_vec())
            }
            b"EXEC" => {
                let transaction = self.transaction.take().expect("just seen");
                if transaction.aborted {
                    return Some(b"-EXECABORT Transaction discarded because of previous errors.\r\n".to_vec());
                }
                let mut replies = format!("*{}\r\n", transaction.queue.len()).into_bytes();
                transaction.queue.iter().for_each(|request| replies.extend(self.execute(request)));
                Some(replies)
            }
            _ => {
                // What is queued is executed as an array of bulk strings, however it came.
                transaction.queue.push(Request { inline: false, ..request.clone() });
                Some(b"+QUEUED\r\n".to_vec())
            }
        }
    }

    /// Carry out a command that is no transaction's own.
    fn execute(&mut self, request: &Request) -> Vec<u8> {
        let arguments = &request.arguments;
        let name = arguments[0].to_ascii_lowercase();
        let key = arguments.get(1).cloned().unwrap_or_default();
        let amount = |sign: i64| number(&arguments[2]).map(|amount| amount.wrapping_mul(sign));
        match &name[..] {
            b"ping" => b"+PONG\r\n".to_vec(),
            b"echo" => bulk(&key),
            b"incr" => self.add(key, 1),
            b"decr" => self.add(key, -1),
            b"incrby" => amount(1).map_or_else(not_integer, |amount| self.add(key, amount)),
            b"decrby" if number(&arguments[2]) == Some(i64::MIN) => b"-ERR decrement would overflow\r\n".to_vec(),
            b"decrby" => amount(-1).map_or_else(not_integer, |amount| self.add(key, amount)),
            b"set" if number(&arguments[2]).is_none() => not_integer(),
            b"set" | b"get" | b"strlen" if key.len() > KEY_BYTES_MAX => key_too_long(),
            b"set" => {
                self.counters.insert(key, number(&arguments[2]).expect("just checked"));
                b"+OK\r\n".to_vec()
            }
            b"get" => self.value(&key),
            b"strlen" => format!(":{}\r\n", self.counters.get(&key).map_or(0, |n| n.to_string().len())).into(),
            _ => self.each(&name, &arguments[1..]),
        }
    }

    /// The commands with many keys.
    fn each(&mut self, name: &[u8], arguments: &[Vec<u8>]) -> Vec<u8> {
        let is_array = matches!(name, b"mget" | b"mincrby");
        let step = if matches!(name, b"mset" | b"mincrby") { 2 } else { 1 };
        if !arguments.len().is_multiple_of(step) {
            return wrong_arity(name);
        }
        let mut replies = if is_array { format!("*{}\r\n", arguments.len() / step).into_bytes() } else { Vec::new() };
        let mut sum = 0;
        for (nth, key_and_value) in arguments.chunks(step).enumerate() {
            let key = &key_and_value[0];
            if let Some((error, at)) = element_error(key_and_value) {
                let error = format!("-{error} (argument {})\r\n", 1 + nth * step + at).into_bytes();
                if !is_array {
                    return error;
                }
                replies.extend(error);
                continue;
            }
            let value = key_and_value.get(1).and_then(|value| number(value));
            match name {
                b"mget" => replies.extend(self.value(key)),
                b"mincrby" => replies.extend(self.add(key.clone(), value.expect("an element is right"))),
                b"mset" => drop(self.counters.insert(key.clone(), value.expect("an element is right"))),
                b"del" | b"unlink" => sum += usize::from(self.counters.remove(key).is_some()),
                _ => sum += usize::from(self.counters.contains_key(key)),
            }
        }
        match name {
            _ if is_array => replies,
            b"mset" => b"+OK\r\n".to_vec(),
            _ => format!(":{sum}\r\n").into_bytes(),
        }
    }

    fn add(&mut self, key: Vec<u8>, amount: i64) -> Vec<u8> {
        if key.len() > KEY_BYTES_MAX {
            return key_too_long();
        }
        match self.counters.get(&key).copied().unwrap_or(0).checked_add(amount) {
            None => b"-ERR increment or decrement would overflow\r\n".to_vec(),
            Some(value) => {
                self.counters.insert(key, value);
                format!(":{value}\r\n").into_bytes()
            }
        }
    }

    fn value(&self, key: &[u8]) -> Vec<u8> {
        match self.counters.get(key) {
            Some(value) => bulk(value.to_string().as_bytes()),
            None if self.resp3 => b"_\r\n".to_vec(),
            None => b"$-1\r\n".to_vec(),
        }
    }
}

/// Why a request is refused, whatever the state.
fn refusal(request: &Request) -> Option<Vec<u8>> {
    let arguments = &request.arguments;
    let name = arguments[0].to_ascii_lowercase();
    let long = arguments.iter().any(|argument| argument.len() > ARGUMENT_BYTES_MAX);
    if long && (request.inline || !streams(&name)) {
        return Some(argument_too_long());
    }
    let right = match &name[..] {
        b"nothing" => {
            let name = String::from_utf8_lossy(&arguments[0]);
            return Some(error(&format!("ERR unknown command '{name}', with args beginning with: ")));
        }
        b"get" | b"incr" | b"decr" | b"strlen" => arguments.len() == 2,
        b"incrby" | b"decrby" => arguments.len() == 3,
        b"set" | b"mset" | b"mincrby" => arguments.len() >= 3,
        _ => true,
    };
    if right { None } else { Some(wrong_arity(&name)) }
}

/// Why a right request cannot be queued.
fn queueing_refusal(request: &Request) -> Option<Vec<u8>> {
    let long = request.arguments.iter().any(|argument| argument.len() > ARGUMENT_BYTES_MAX);
    long.then(argument_too_long)
}

/// Why a key, or a key and its value, cannot be executed, and which of them is at fault.
fn element_error(key_and_value: &[Vec<u8>]) -> Option<(&'static str, usize)> {
    let key_bytes = key_and_value[0].len();
    match key_and_value.get(1) {
        _ if key_bytes > ARGUMENT_BYTES_MAX => Some((KEY_TOO_LONG, 0)),
        Some(value) if value.len() > ARGUMENT_BYTES_MAX => Some((ARGUMENT_TOO_LONG, 1)),
        _ if key_bytes > KEY_BYTES_MAX => Some((KEY_TOO_LONG, 0)),
        Some(value) if number(value).is_none() => Some((NOT_INTEGER, 1)),
        _ => None,
    }
}

const KEY_TOO_LONG: &str = "ERR key is too long: at most 1024 bytes";
const ARGUMENT_TOO_LONG: &str = "ERR argument is too long: at most 4096 bytes";
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";

fn streams(name: &[u8]) -> bool {
    matches!(name, b"mget" | b"mset" | b"mincrby" | b"del" | b"unlink" | b"exists" | b"touch")
}

/// An integer in its only spelling.
fn number(bytes: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == bytes).then_some(number)
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn error(text: &str) -> Vec<u8> {
    format!("-{text}\r\n").into_bytes()
}

fn not_integer() -> Vec<u8> {
    error(NOT_INTEGER)
}

fn key_too_long() -> Vec<u8> {
    error(KEY_TOO_LONG)
}

fn argument_too_long() -> Vec<u8> {
    error(ARGUMENT_TOO_LONG)
}

fn wrong_arity(name: &[u8]) -> Vec<u8> {
    error(&format!("ERR wrong number of arguments for '{}' command", String::from_utf8_lossy(name)))
}

fn hello(resp3: bool) -> Vec<u8> {
    let (mark, proto) = if resp3 { ("%7", 3) } else { ("*14", 2) };
    let mut reply = format!("{mark}\r\n").into_bytes();
    ["server", "redis", "version", REDIS_VERSION, "proto"].iter().for_each(|text| reply.extend(bulk(text.as_bytes())));
    reply.extend(format!(":{proto}\r\n$2\r\nid\r\n:7\r\n").bytes());
    ["mode", "standalone", "role", "master", "modules"].iter().for_each(|text| reply.extend(bulk(text.as_bytes())));
    reply.extend(b"*0\r\n");
    reply
}
