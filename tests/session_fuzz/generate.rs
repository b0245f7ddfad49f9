//! Streams of requests from a seed: known to the model, valid by the command table, or any bytes.

use tallyring::command::{Spec, commands};
use tallyring::limits::QUEUES_BYTES_MAX;

use super::drive::Setting;
use super::pure::request;
use super::random::Random;

pub const PASSWORD: &[u8] = b"open sesame";

/// What is known of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The model knows all replies.
    Known,
    /// Every request gets one reply, as long as the connection lives.
    Valid,
    /// Nothing.
    Wild,
}

/// Requests in order.
pub struct Stream {
    pub kind: Kind,
    pub requests: Vec<Request>,
}

/// One request, or what stands at its place.
#[derive(Clone, Debug)]
pub struct Request {
    pub bytes: Vec<u8>,
    /// Its arguments, for the model.
    pub arguments: Vec<Vec<u8>>,
    pub inline: bool,
}

impl Request {
    /// Bytes of which nothing is known.
    pub fn bytes(bytes: Vec<u8>) -> Request {
        Request { bytes, arguments: Vec::new(), inline: false }
    }

    /// An array of bulk strings.
    pub fn multibulk(arguments: Vec<Vec<u8>>) -> Request {
        let slices: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        Request { bytes: request(&slices), arguments, inline: false }
    }

    /// As a client sends it: mostly an array, sometimes a line with any quotes.
    fn any(arguments: Vec<Vec<u8>>, random: &mut Random) -> Request {
        let line_bytes: usize = arguments.iter().map(|argument| 4 * argument.len() + 3).sum();
        if line_bytes > 8_000 || !random.one_in(5) {
            return Request::multibulk(arguments);
        }
        let mut bytes = Vec::new();
        for argument in &arguments {
            bytes.extend(quoted(argument, random));
            bytes.extend(*random.pick(&[&b" "[..], b"  ", b"\t"]));
        }
        bytes.extend(*random.pick(&[&b"\r\n"[..], b"\n"]));
        Request { bytes, arguments, inline: true }
    }
}

/// Requests whose replies the model knows.
pub fn known(random: &mut Random) -> (Setting, Stream) {
    let count = 1 + random.below(150);
    let requests = (0..count).map(|_| Request::any(known_call(random), random)).collect();
    let setting = Setting { password: None, queue_room_bytes: QUEUES_BYTES_MAX };
    (setting, Stream { kind: Kind::Known, requests })
}

/// Requests of the whole table, each with its reply.
pub fn valid(random: &mut Random) -> (Setting, Stream) {
    let count = 1 + random.below(80);
    let requests = (0..count).map(|_| Request::any(table_call(random, false), random)).collect();
    (any_setting(random), Stream { kind: Kind::Valid, requests })
}

/// Valid requests, broken ones, and what was never one.
pub fn wild(random: &mut Random) -> (Setting, Stream) {
    let count = 1 + random.below(40);
    let mut requests: Vec<Request> = (0..count)
        .map(|_| match random.below(12) {
            0 => Request::bytes(mutated(Request::any(table_call(random, true), random).bytes, random)),
            1 => Request::bytes(opening(random)),
            2 => Request::bytes((*random.pick(&[&b"\r\n"[..], b"*0\r\n", b"*-1\r\n", b"  \n"])).to_vec()),
            3 => Request::any(known_call(random), random),
            _ => Request::any(table_call(random, true), random),
        })
        .collect();
    if random.one_in(3) {
        let count = random.below(60);
        requests.push(Request::bytes(random.bytes(count)));
    }
    (any_setting(random), Stream { kind: Kind::Wild, requests })
}

fn any_setting(random: &mut Random) -> Setting {
    let password = random.one_in(4).then_some(PASSWORD);
    let queue_room_bytes = *random.pick(&[0, 100, 5_000, 100_000, QUEUES_BYTES_MAX]);
    Setting { password, queue_room_bytes }
}

fn known_call(random: &mut Random) -> Vec<Vec<u8>> {
    let mut arguments = vec![];
    let pairs_max = if random.one_in(10) { 300 } else { 4 };
    let pairs = 1 + random.below(pairs_max);
    match random.below(32) {
        0..7 => arguments.extend([any_of(&["incr", "decr", "get", "strlen"], random), key(random)]),
        7..11 => {
            arguments.extend([any_of(&["incrby", "decrby", "set"], random), key(random), value(random)]);
        }
        11..16 => {
            arguments.push(any_of(&["mget", "del", "unlink", "exists", "touch"], random));
            arguments.extend((0..pairs).map(|_| key(random)));
        }
        16..21 => {
            arguments.push(any_of(&["mset", "mincrby"], random));
            arguments.extend((0..pairs).flat_map(|_| [key(random), value(random)]));
            if random.one_in(12) {
                arguments.pop();
            }
        }
        21 => arguments.push(b"PING".to_vec()),
        22 => arguments.extend([b"ECHO".to_vec(), any_bytes(random)]),
        23 => arguments.push(any_of(&["get", "incrby", "mset", "nothing"], random)),
        24..26 => arguments.push(b"MULTI".to_vec()),
        26..29 => arguments.push(b"EXEC".to_vec()),
        29 => arguments.push(b"DISCARD".to_vec()),
        30 => arguments.extend([b"HELLO".to_vec(), (*random.pick(&[b"2", b"3"])).to_vec()]),
        _ => {
            let mode = *random.pick(&["ON", "ON", "OFF", "SKIP"]);
            arguments.extend([b"CLIENT".to_vec(), b"REPLY".to_vec(), mode.into()]);
        }
    }
    arguments
}

/// A command of the table with arguments that may be right. Unless `wild`, every such request has one reply.
fn table_call(random: &mut Random, wild: bool) -> Vec<Vec<u8>> {
    if random.one_in(8) {
        // Else few transactions would begin, and fewer strangers would get in.
        let name = *random.pick(&["MULTI", "EXEC", "AUTH"]);
        let password = (name == "AUTH").then(|| PASSWORD.to_vec());
        return std::iter::once(name.into()).chain(password).collect();
    }
    let spec: &Spec = random.pick(commands());
    let mut arguments = vec![any_case(spec.name, random)];
    let mut arity = spec.arity;
    if !spec.subcommands.is_empty() {
        let subcommand = random.pick(spec.subcommands);
        if !wild && subcommand.name == "client|reply" {
            return vec![b"PING".to_vec()];
        }
        arguments.push(any_case(subcommand.own_name(), random));
        arity = subcommand.arity;
    }
    let least = usize::from(arity.unsigned_abs());
    let count = match random.below(8) {
        0 => least.saturating_sub(1),
        1 | 2 => least + 1 + random.below(3),
        3 if random.one_in(10) => least + random.below(300),
        _ => least,
    };
    while arguments.len() < count {
        arguments.push(match random.below(10) {
            0..4 => key(random),
            4..7 => value(random),
            7 => any_bytes(random),
            _ => (*random.pick(&WORDS)).into(),
        });
    }
    arguments
}

/// Words that commands have a use for.
const WORDS: [&str; 30] = [
    "NX",
    "XX",
    "GT",
    "LT",
    "GET",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL",
    "PERSIST",
    "MATCH",
    "COUNT",
    "TYPE",
    "string",
    "ON",
    "OFF",
    "SKIP",
    "SETNAME",
    "AUTH",
    "default",
    "open sesame",
    "LIB-NAME",
    "ID",
    "2",
    "3",
    "0",
    "1700000000",
    "*",
    "INCR",
];

/// A request that announces more than comes.
fn opening(random: &mut Random) -> Vec<u8> {
    let openings: [&[u8]; 8] = [
        b"*2147483647\r\n$4\r\nMGET\r\n$1\r\nk\r\n",
        b"*2147483647\r\n$7\r\nMINCRBY\r\n$1\r\nk\r\n$1\r\n1\r\n",
        b"*2147483647\r\n$3\r\nGET\r\n",
        b"*2147483648\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n",
        b"*2\r\n$3\r\nDEL\r\n$20000\r\n",
        b"$5\r\n",
        b"*1\r\n$536870913\r\n",
    ];
    random.pick(&openings).to_vec()
}

fn mutated(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len().max(1));
        match random.below(4) {
            _ if bytes.is_empty() => {}
            0 => bytes[at] = random.next() as u8,
            1 => bytes.insert(at, *random.pick(b"\r\n$*0123456789-\"'\\ ")),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

fn key(random: &mut Random) -> Vec<u8> {
    match random.below(60) {
        0 => vec![b'k'; 1_024],
        1 => vec![b'k'; 1_025 + random.below(3_000)],
        2 => vec![b'k'; 4_097 + random.below(30_000)],
        3 => any_bytes(random),
        _ => format!("key:{}", random.below(12)).into(),
    }
}

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => b"not a number".to_vec(),
        1 => i64::MAX.to_string().into(),
        2 => i64::MIN.to_string().into(),
        3 => vec![b'9'; 4_096],
        4 => vec![b'9'; 4_097 + random.below(30_000)],
        5 => b"01".to_vec(),
        6 => random.next().to_string().into(),
        _ => (random.below(300) as i64 - 100).to_string().into(),
    }
}

fn any_bytes(random: &mut Random) -> Vec<u8> {
    let count = random.below(20);
    random.bytes(count)
}

fn any_of(names: &[&str], random: &mut Random) -> Vec<u8> {
    let name = names[random.below(names.len())];
    any_case(name, random)
}

fn any_case(name: &str, random: &mut Random) -> Vec<u8> {
    if random.one_in(2) { name.to_uppercase().into() } else { name.into() }
}

/// An argument of an inline request, in one of its spellings.
fn quoted(argument: &[u8], random: &mut Random) -> Vec<u8> {
    let is_plain = !argument.is_empty() && argument.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b':');
    if is_plain && !random.one_in(3) {
        return argument.to_vec();
    }
    if random.one_in(3) && !argument.iter().any(|byte| matches!(byte, b'\'' | b'\\' | b'\r' | b'\n')) {
        return [b"'", argument, b"'"].concat();
    }
    let mut bytes = vec![b'"'];
    for &byte in argument {
        match byte {
            b' ' => bytes.push(byte),
            _ if byte.is_ascii_alphanumeric() && !random.one_in(10) => bytes.push(byte),
            _ => bytes.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    bytes.push(b'"');
    bytes
}
