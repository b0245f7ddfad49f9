//! Garbage, and valid streams with a few bytes changed: the server lives, and every connection comes to its end.

use crate::support::{Random, Server, int, seed, simple, wire};

use super::split::stream;

#[test]
fn garbage_harms_nobody() {
    let server = Server::start(2);
    let mut random = Random::new(seed());
    let alphabet = b"*$:+-\r\n0123456789 \"'\\x\0\xffGETSINCR";
    for round in 0..300 {
        let len = 1 + random.below(2000);
        let mut bytes = match round % 3 {
            0 => random.bytes(len),
            1 => (0..len).map(|_| *random.pick(alphabet)).collect(),
            _ => (0..len / 10 + 1).flat_map(|_| snippet(&mut random)).collect(),
        };
        if round % 2 == 0 {
            bytes.splice(0..0, wire(["PING"]));
        }
        send_all_and_finish(&server, &mut random, &bytes);
    }
}

#[test]
fn changed_streams_harm_nobody() {
    let server = Server::start(2);
    let mut random = Random::new(seed());
    let valid = stream();
    for _ in 0..200 {
        let mut bytes = valid.clone();
        for _ in 0..1 + random.below(4) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] = random.next() as u8,
                1 => bytes[at] ^= 1 << random.below(8),
                2 => drop(bytes.drain(at..bytes.len().min(at + 1 + random.below(20)))),
                3 => bytes.truncate(at + 1),
                _ => {
                    let insert = snippet(&mut random);
                    bytes.splice(at..at, insert);
                }
            }
        }
        send_all_and_finish(&server, &mut random, &bytes);
    }
    let mut conn = server.connect();
    conn.expect("FLUSHALL", simple("OK"));
    conn.expect("DBSIZE", int(0));
}

/// A piece of the protocol, sound or not.
fn snippet(random: &mut Random) -> Vec<u8> {
    let numbers =
        ["0", "1", "2", "3", "-1", "10", "128", "129", "1024", "1025", "4097", "2147483647", "536870912", "x"];
    let number = *random.pick(&numbers);
    match random.below(8) {
        0 => format!("*{number}\r\n").into(),
        1 => format!("${number}\r\n").into(),
        2 => wire(["INCRBY", "a", number]),
        3 => wire(["MGET", "a", number, "b"]),
        4 => wire(["MINCRBY", "a", number, "b", "1"]),
        5 => format!("SET a {number} EX {number}\r\n").into(),
        6 => b"$4\r\nINCR\r\n".to_vec(),
        _ => wire([*random.pick(&["MULTI", "EXEC", "DISCARD", "RESET", "HELLO", "DBSIZE", "RANDOMKEY", "COMMAND"])]),
    }
}

/// The server may close at any time, and must once the client has finished.
fn send_all_and_finish(server: &Server, random: &mut Random, bytes: &[u8]) {
    let mut conn = server.connect();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.len().min(1 + random.below(3000)));
        if conn.try_send(piece).is_err() {
            break;
        }
        rest = after;
    }
    conn.finish_sending();
    conn.read_to_end();
    server.connect().expect("PING", simple("PONG"));
}
