//! Any byte stream cut into any chunks gives the same replies.

use crate::support::{Random, Server, seed, wire};

/// Requests of all shapes whose replies do not depend on the clock; it ends with `QUIT`.
pub fn stream() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut request = |line: &str| bytes.extend(wire(line.split(' ')));
    for line in [
        "FLUSHALL",
        "SET a 5",
        "INCR a",
        "INCRBY a -100",
        "GET a",
        "GET nosuch",
        "NOSUCH command with arguments",
        "GET",
        "SET a x",
        "MSET b 1 c 2 d 3 e 4",
        "MGET a b c d e nosuch",
        "MULTI",
        "INCR a",
        "MGET a b",
        "EXEC",
        "MULTI",
        "GET",
        "EXEC",
        "DEL b c nosuch",
        "EXPIRE a 0",
        "ECHO hello",
        "SET top 9223372036854775807",
        "INCR top",
        "DBSIZE",
    ] {
        request(line);
    }
    for key in 0..40 {
        request(&format!("INCRBY key:{key} {key}000"));
    }
    bytes.extend_from_slice(
        b"PING\r\n  GET   top \r\nECHO \"a\\r\\n\\x41\\\"\" \nSET 'q k' 7\r\nGET \"q k\"\r\n\r\n\r\n",
    );
    // Arguments at their limits and past them, empty and binary.
    bytes.extend(wire([b"INCR".to_vec(), vec![b'k'; 1024]]));
    bytes.extend(wire([b"INCR".to_vec(), vec![b'k'; 1025]]));
    bytes.extend(wire([b"ECHO".to_vec(), vec![b'e'; 4096]]));
    bytes.extend(wire([b"ECHO".to_vec(), vec![b'e'; 4097]]));
    bytes.extend(wire([b"ECHO".as_slice(), b""]));
    bytes.extend(wire([b"INCR".as_slice(), b""]));
    bytes.extend(wire([b"ECHO".as_slice(), b"\r\n$5\r\n*1\r\n\0\xff"]));
    bytes.extend_from_slice(b"*0\r\n*-1\r\n");
    bytes.extend(wire(["MGET"].into_iter().map(String::from).chain((0..300).map(|key| format!("key:{key}")))));
    bytes.extend(wire(["QUIT"]));
    bytes
}

#[test]
fn any_pieces_give_the_same_replies_on_one_shard() {
    any_pieces_give_the_same_replies(1);
}

#[test]
fn any_pieces_give_the_same_replies_on_three_shards() {
    any_pieces_give_the_same_replies(3);
}

fn any_pieces_give_the_same_replies(shard_count: usize) {
    let server = Server::start(shard_count);
    let stream = stream();
    let whole = replies_to(&server, [&stream[..]]);
    assert!(whole.starts_with(b"+OK\r\n+OK\r\n:6\r\n:-94\r\n$3\r\n-94\r\n$-1\r\n-ERR unknown command 'NOSUCH'"));
    assert!(whole.ends_with(b"$-1\r\n+OK\r\n"), "the last reply is to QUIT");
    let bytewise = replies_to(&server, stream.chunks(1));
    assert_same(&whole, &bytewise, "one byte a write");
    let seed = seed();
    let mut random = Random::new(seed);
    for round in 0..30 {
        let mut rest = &stream[..];
        let mut pieces = Vec::new();
        let longest = *random.pick(&[3, 40, 700, 9000]);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(1 + random.below(longest)));
            pieces.push(piece);
            rest = after;
        }
        let pieced = replies_to(&server, pieces);
        assert_same(&whole, &pieced, &format!("round {round} of seed {seed}"));
    }
}

fn replies_to<'a>(server: &Server, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut conn = server.connect();
    for piece in pieces {
        conn.send(piece);
    }
    conn.read_to_end()
}

fn assert_same(expected: &[u8], actual: &[u8], pieces: &str) {
    let same = expected.iter().zip(actual).take_while(|(expected, actual)| expected == actual).count();
    let around = |bytes: &[u8]| bytes[same.saturating_sub(40)..bytes.len().min(same + 40)].escape_ascii().to_string();
    assert!(
        expected == actual,
        "{pieces}: parts at byte {same} of {}\n  whole:  {}\n  pieces: {}",
        expected.len(),
        around(expected),
        around(actual)
    );
}
