//! What is received whole and in pieces, good and bad, and what it is answered.

mod bench;
mod direct;
mod exec;
mod full;
mod plain;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::limits::{QUEUE_BYTES_MAX, QUEUES_BYTES_MAX};
use crate::slot;
use bench::{Bench, request, requests};

#[test]
fn counts_in_order() {
    let replies =
        Bench::new(3).run(&requests(&["INCR a", "incrby a 41", "GET a", "DECR b", "MGET a b c", "DEL a b c"]));
    assert_eq!(replies, ":1\r\n:42\r\n$2\r\n42\r\n:-1\r\n*3\r\n$2\r\n42\r\n$2\r\n-1\r\n$-1\r\n:2\r\n");
}

#[test]
fn streams_set_count_and_tell_where_they_broke() {
    let replies = Bench::new(2).run(&requests(&[
        "MSET a 1 b 2",
        "MINCRBY a 1 b 9223372036854775807 c x d 5",
        "MSET e 1 f x g 3",
        "MGET e f g",
        "MSET a",
        "MSET a 1 b",
        "EXISTS a a e f",
    ]));
    let expected = "+OK\r\n\
        *4\r\n:2\r\n-ERR increment or decrement would overflow\r\n\
        -ERR value is not an integer or out of range (argument 6)\r\n:5\r\n\
        -ERR value is not an integer or out of range (argument 4)\r\n\
        *3\r\n$1\r\n1\r\n$-1\r\n$-1\r\n\
        -ERR wrong number of arguments for 'mset' command\r\n\
        -ERR wrong number of arguments for 'mset' command\r\n\
        :3\r\n";
    assert_eq!(replies, expected);
}

#[test]
fn what_is_not_sent_is_not_added_to_what_is() {
    let replies = Bench::new(1).run(&requests(&[
        "MSET a 1 b 2",
        "CLIENT REPLY SKIP",
        "EXISTS a b",
        "EXISTS a",
        "CLIENT REPLY SKIP",
        "MSET c x",
        "MSET c 3",
    ]));
    assert_eq!(replies, "+OK\r\n:1\r\n+OK\r\n");
}

#[test]
fn a_line_with_quotes_survives_a_pause() {
    let mut bench = Bench::new(1);
    bench.pause_count = 2;
    assert_eq!(bench.run(b"SET \"a\\x20b\" '1'\r\nINCRBY \"a b\" '2'\r\n"), "+OK\r\n:3\r\n");
}

#[test]
fn replies_are_switched_as_in_redis() {
    let skip = "CLIENT REPLY SKIP";
    let replies = Bench::new(1).run(&requests(&[
        skip,
        "CLIENT REPLY ON",
        "ECHO a",
        "CLIENT REPLY OFF",
        skip,
        "ECHO b",
        "CLIENT REPLY ON",
        "ECHO c",
        skip,
        skip,
        "ECHO d",
        "ECHO e",
    ]));
    assert_eq!(replies, "+OK\r\n$1\r\na\r\n+OK\r\n$1\r\nc\r\n$1\r\ne\r\n");
}

#[test]
fn a_reset_is_answered_where_replies_are_off() {
    assert_eq!(Bench::new(1).run(&requests(&["CLIENT REPLY OFF", "RESET"])), "+Reset\r\n");
    assert_eq!(Bench::new(1).run(&requests(&["CLIENT REPLY SKIP", "RESET", "PING"])), "+PONG\r\n");
}

#[test]
fn a_line_with_quotes_survives_a_wait_for_others() {
    let mut bench = Bench::new(1);
    bench.pause_count = 2;
    let replies = bench.run(b"KEYS \"a\\x20'b\"\r\nKEYS 'a \"b'\r\nPING\r\n");
    assert_eq!(replies, "+Keys([97, 32, 39, 98])\r\n+Keys([97, 32, 34, 98])\r\n+PONG\r\n");
}

#[test]
fn a_request_of_a_million_keys_passes_through() {
    let mut bench = Bench::new(2);
    bench.receive(&requests(&["SET k7 7"]));
    bench.receive(b"*1000001\r\n$4\r\nMGET\r\n");
    for _ in 0..1_000_000 {
        bench.receive(b"$2\r\nk7\r\n");
    }
    bench.receive(&requests(&["GET k7"]));
    let expected_bytes = "+OK\r\n*1000000\r\n".len() + 1_000_001 * "$1\r\n7\r\n".len();
    assert_eq!(bench.replies.len(), expected_bytes);
    assert!(!bench.session.is_within_request());
}

#[test]
fn what_is_too_long_is_skipped_and_the_connection_lives() {
    let long_key = vec![b'k'; 1_025];
    let long_value = vec![b'v'; 100_000];
    let mut bytes = Vec::new();
    bytes.extend(request(&[b"GET", &long_key]));
    bytes.extend(request(&[b"SET", b"a", &long_value]));
    bytes.extend(request(&[b"MGET", b"a", &long_key, b"b"]));
    bytes.extend(request(&[b"MGET", b"a", &long_value, b"b"]));
    bytes.extend(request(&[b"MINCRBY", b"a", &long_value, &long_key, b"1", &long_value, b"1", b"b", b"2"]));
    bytes.extend(request(&[b"MSET", b"c", b"1", &long_value, b"1", b"d", b"1"]));
    bytes.extend(request(&[b"DEL", b"c", &long_key, b"b"]));
    bytes.extend(request(&[b"ECHO", &long_value[..4_096]]));
    bytes.extend(request(&[b"MGET", b"b", b"c", b"d"]));
    let replies = Bench::new(1).run(&bytes);
    let echo = String::from_utf8_lossy(&long_value[..4_096]).into_owned();
    let expected = format!(
        "-ERR key is too long: at most 1024 bytes\r\n\
         -ERR argument is too long: at most 4096 bytes\r\n\
         *3\r\n$-1\r\n-ERR key is too long: at most 1024 bytes (argument 2)\r\n$-1\r\n\
         *3\r\n$-1\r\n-ERR key is too long: at most 1024 bytes (argument 2)\r\n$-1\r\n\
         *4\r\n-ERR argument is too long: at most 4096 bytes (argument 2)\r\n\
         -ERR key is too long: at most 1024 bytes (argument 3)\r\n\
         -ERR key is too long: at most 1024 bytes (argument 5)\r\n:2\r\n\
         -ERR key is too long: at most 1024 bytes (argument 3)\r\n\
         -ERR key is too long: at most 1024 bytes (argument 2)\r\n\
         $4096\r\n{echo}\r\n\
         *3\r\n$1\r\n2\r\n$-1\r\n$-1\r\n"
    );
    assert_eq!(replies, expected);
}

#[test]
fn a_request_that_fills_the_buffer_is_refused_and_skipped() {
    let argument = vec![b'x'; 4_000];
    let mut bytes = request(&[b"CONFIG", b"GET", &argument, &argument, &argument, &argument, &argument]);
    bytes.extend(requests(&["INCR a"]));
    let many: Vec<&[u8]> = std::iter::once(&b"GET"[..]).chain(std::iter::repeat_n(&b"k"[..], 5_000)).collect();
    bytes.extend(request(&many));
    bytes.extend(requests(&["INCR a"]));
    let expected = "-ERR request is too long: at most 16384 bytes for a command that does not stream\r\n:1\r\n\
        -ERR wrong number of arguments for 'get' command\r\n:2\r\n";
    assert_eq!(Bench::new(1).run(&bytes), expected);
}

#[test]
fn a_broken_protocol_is_told_once_and_ends_the_session() {
    for (bytes, expected) in [
        (&b"*1\r\n!3\r\n"[..], "-ERR Protocol error: expected '$', got '!'\r\n"),
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n$-5\r\nINCR a\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$-5\r\n", "*2\r\n$-1\r\n-ERR Protocol error: invalid bulk length\r\n"),
        (b"POST / HTTP/1.1\r\nINCR a\r\n", ""),
        (b"GET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut bench = Bench::new(1);
        bench.receive(bytes);
        assert!(bench.ended, "{bytes:?}");
        assert_eq!(String::from_utf8_lossy(&bench.replies), expected);
    }
}

#[test]
fn strangers_get_little() {
    let replies =
        Bench::with_password(b"secret").run(&requests(&["GET a", "MGET a b c", "AUTH wrong", "AUTH secret", "INCR a"]));
    assert!(replies.starts_with("-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n-WRONGPASS "));
    assert!(replies.ends_with("\r\n+OK\r\n:1\r\n"), "{replies}");
    assert_eq!(
        Bench::with_password(b"secret").run(&requests(&["EXEC"])),
        "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n"
    );
    let many = request(&[&b"MGET"[..]; 11]);
    let replies = Bench::with_password(b"secret").run(&many);
    assert_eq!(replies, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    let long = request(&[b"ECHO", &[b'x'; 16_385]]);
    let replies = Bench::with_password(b"secret").run(&long);
    assert_eq!(replies, "-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[test]
fn a_transaction_queues_what_will_be_executed() {
    let mut bench = Bench::new(4);
    bench.receive(&requests(&["MULTI", "INCR a"]));
    bench.receive(b"MGET a b\r\n");
    bench.receive(&requests(&["DEL a b c"]));
    let queued = bench.session.client.transaction.as_ref().expect("a transaction is being queued");
    assert_eq!(queued.command_count, 3);
    assert_eq!(queued.queue, requests(&["INCR a", "MGET a b", "DEL a b c"]));
    let owners: Vec<usize> = queued.shards.iter().collect();
    assert!(["a", "b", "c"].iter().all(|key| owners.contains(&bench.map.shard_of(slot::of(key.as_bytes())))));
    assert!(bench.queue_room_bytes.get() < QUEUES_BYTES_MAX);
    bench.receive(&requests(&["EXEC"]));
    assert_eq!(bench.queue_room_bytes.get(), QUEUES_BYTES_MAX);
    assert_eq!(bench.replies, b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:1\r\n*2\r\n$1\r\n1\r\n$-1\r\n:1\r\n");
}

#[test]
fn a_queue_has_a_limit_and_gives_everything_back() {
    let mut bench = Bench::new(1);
    bench.receive(&requests(&["MULTI"]));
    let value = vec![b'v'; 4_000];
    let mut refused = false;
    for _ in 0..QUEUE_BYTES_MAX / 4_000 + 2 {
        bench.replies.clear();
        bench.receive(&request(&[b"ECHO", &value]));
        refused |= bench.replies.starts_with(b"-");
    }
    assert!(refused);
    assert!(bench.session.client.transaction.as_ref().is_some_and(|transaction| transaction.aborted));
    assert_eq!(bench.queue_room_bytes.get(), QUEUES_BYTES_MAX);
}

#[test]
fn an_inline_request_that_is_refused_ends_with_its_line() {
    let long_key = "k".repeat(1_025);
    let lines =
        format!("MSET a 1 b\nMSET a 1 b x c 3\nDEL a {long_key} b\nMINCRBY a x b 2\nMGET a {long_key} b\nINCR a\n");
    let expected = "-ERR wrong number of arguments for 'mset' command\r\n\
        -ERR value is not an integer or out of range (argument 4)\r\n\
        -ERR key is too long: at most 1024 bytes (argument 2)\r\n\
        *2\r\n-ERR value is not an integer or out of range (argument 2)\r\n:2\r\n\
        *3\r\n$-1\r\n-ERR key is too long: at most 1024 bytes (argument 2)\r\n$1\r\n2\r\n:1\r\n";
    assert_eq!(Bench::new(1).run(lines.as_bytes()), expected);
}

#[test]
fn replies_can_be_switched_off_and_skipped() {
    let replies = Bench::new(1).run(&requests(&[
        "INCR a",
        "CLIENT REPLY SKIP",
        "INCR a",
        "INCR a",
        "CLIENT REPLY OFF",
        "INCR a",
        "MGET a b",
        "GET",
        "NOSUCH",
        "DEL b c",
        "CLIENT REPLY ON",
        "GET a",
    ]));
    assert_eq!(replies, ":1\r\n:3\r\n+OK\r\n$1\r\n4\r\n");
}

/// Requests as clients send them, good and bad, whole and broken.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let key = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("{t}c".to_owned()), "[a-z]{1,3}"];
    let number =
        prop_oneof![Just("1".to_owned()), Just("-9223372036854775808".to_owned()), Just("x".to_owned()), "[0-9]{1,3}"];
    let line = (key.clone(), key, number).prop_flat_map(|(a, b, n)| {
        prop_oneof![
            Just(format!("INCR {a}")),
            Just(format!("INCRBY {a} {n}")),
            Just(format!("SET {a} {n} PX 1000")),
            Just(format!("GET {a}")),
            Just(format!("MGET {a} {b} {a}")),
            Just(format!("MSET {a} 1 {b} {n} {a} 3")),
            Just(format!("MINCRBY {a} {n} {b} 2")),
            Just(format!("DEL {a} {b}")),
            Just(format!("ECHO {n}")),
            Just(format!("SCAN {n}")),
            Just("MULTI".to_owned()),
            Just("EXEC".to_owned()),
            Just("HELLO 3".to_owned()),
            Just("CLIENT REPLY SKIP".to_owned()),
            Just(format!("NOSUCH {a}")),
            Just("GET".to_owned()),
        ]
    });
    let transaction = vec(line.clone(), 0..7).prop_map(|lines| {
        let lines: Vec<&str> = ["MULTI"].into_iter().chain(lines.iter().map(String::as_str)).chain(["EXEC"]).collect();
        requests(&lines)
    });
    let piece = prop_oneof![
        2 => transaction,
        8 => line.clone().prop_map(|line| requests(&[&line])),
        3 => line.prop_map(|line| format!("{line}\r\n").into_bytes()),
        1 => (1_000usize..9_000).prop_map(|len| request(&[b"MGET", &vec![b'k'; len], b"a"])),
        1 => (1_000usize..9_000).prop_map(|len| request(&[b"SET", b"a", &vec![b'1'; len]])),
        1 => (100usize..400).prop_map(|count| request(&[&b"MGET"[..]].into_iter().chain(vec![&b"a"[..]; count]).collect::<Vec<_>>())),
        1 => vec(any::<u8>(), 0..6),
        1 => Just(b"*0\r\n\r\n*-1\r\n".to_vec()),
    ];
    vec(piece, 1..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_replies(bytes in stream(), cuts in vec(1usize..700, 1..60), shard_count in 1usize..5) {
        let whole = Bench::new(1).run(&bytes);
        let mut cut = Bench::new(shard_count);
        let mut rest = &bytes[..];
        for count in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*count).min(rest.len()));
            cut.receive(piece);
            rest = behind;
        }
        prop_assert_eq!(String::from_utf8_lossy(&cut.replies), whole);
    }

    #[test]
    fn byte_by_byte_gives_the_same_replies(bytes in stream()) {
        let whole = Bench::new(1).run(&bytes);
        let mut cut = Bench::new(2);
        bytes.iter().for_each(|byte| cut.receive(&[*byte]));
        prop_assert_eq!(String::from_utf8_lossy(&cut.replies), whole);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..3_000)) {
        Bench::new(2).run(&bytes);
    }
}
