//! One reply per command, in order, whatever the client does with its end of the connection.

use std::time::{Duration, Instant};

use crate::support::{Random, ReadError, Reply, Server, array, bulk, int, ok, read_reply, seed, simple, wire};

#[test]
fn ten_thousand_mixed_commands_give_as_many_replies() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let mut random = Random::new(seed());
        let lines = [
            "INCR a",
            "INCR {b}",
            "GET c",
            "MGET a b c d e f g",
            "MSET x 1 y 2 z 3",
            "NOSUCH",
            "GET",
            "SET a x",
            "PING",
            "DEL x y",
            "EXPIRE a 1000",
            "MINCRBY a 1 b 2 c 3",
            "TTL nosuch",
            "DBSIZE",
            "RENAME x y",
            "MULTI",
            "EXEC",
            "KEYS z*",
            "TYPE a",
            "CLIENT GETNAME",
            "SCAN 0 COUNT 5",
        ];
        let (mut bytes, mut markers) = (Vec::new(), Vec::new());
        let mut in_transaction = false;
        for index in 0..10_000 {
            if random.one_in(10) && !in_transaction {
                bytes.extend(wire(["ECHO".to_owned(), format!("marker {index}")]));
                markers.push(index);
                continue;
            }
            let line = *random.pick(&lines);
            in_transaction = (in_transaction || line == "MULTI") && line != "EXEC";
            bytes.extend(if random.one_in(8) { format!("{line}\r\n").into() } else { wire(line.split(' ')) });
        }
        // One more than counted would come before this.
        bytes.extend(wire(["DISCARD"]));
        bytes.extend(wire(["ECHO", "end"]));
        let mut conn = server.connect();
        let replies = conn.exchange(&bytes, 10_002);
        for index in markers {
            assert_eq!(replies[index], bulk(format!("marker {index}")));
        }
        assert_eq!(replies[10_001], bulk("end"));
    }
}

/// Short replies need no fixed buffer, more of them do: wherever in a batch that turns out.
#[test]
fn replies_of_one_batch_may_be_few_and_become_many() {
    let server = Server::start(1);
    let mut conn = server.connect();
    let mut counted = 0;
    for (before_count, echoed_bytes, after_count) in
        [(1, 0, 0), (16, 0, 0), (17, 0, 0), (0, 1_017, 0), (0, 1_018, 1), (3, 990, 1), (15, 200, 40), (1, 4_000, 120)]
    {
        // A task between them has its replies encoded apart from theirs.
        for with_task in [false, true] {
            let echoed = "e".repeat(echoed_bytes);
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            let mut increment = |bytes: &mut Vec<u8>, expected: &mut Vec<Reply>| {
                counted += 1;
                bytes.extend(wire(["INCR", "a"]));
                expected.push(int(counted));
            };
            (0..before_count).for_each(|_| increment(&mut bytes, &mut expected));
            if with_task {
                bytes.extend(wire(["DBSIZE"]));
                expected.push(int(1));
            }
            bytes.extend(wire(["ECHO", &echoed]));
            expected.push(bulk(echoed));
            (0..after_count).for_each(|_| increment(&mut bytes, &mut expected));
            assert_eq!(conn.exchange(&bytes, expected.len()), expected);
        }
    }
}

#[test]
fn commands_of_one_connection_on_one_key_keep_their_order() {
    let server = Server::start(3);
    let mut conn = server.connect();
    for key in ["a", "b", "c", "d"] {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for round in 0..500 {
            bytes.extend(wire(["SET", key, &(10 * round).to_string()]));
            bytes.extend(wire(["INCR", key]));
            bytes.extend(wire(["MGET", "nosuch", key]));
            bytes.extend(wire(["GETDEL", key]));
            bytes.extend(wire(["GET", key]));
            let value = (10 * round + 1).to_string();
            expected.extend([
                ok(),
                int(10 * round + 1),
                array([Reply::NullBulk, bulk(&value)]),
                bulk(&value),
                Reply::NullBulk,
            ]);
        }
        let replies = conn.exchange(&bytes, expected.len());
        for (index, (reply, expected)) in replies.iter().zip(&expected).enumerate() {
            assert_eq!(reply, expected, "reply {index} on {key}");
        }
    }
}

#[test]
fn all_replies_come_after_the_client_has_finished_sending() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let mut conn = server.connect();
        let mut bytes = Vec::new();
        for index in 0..1000 {
            bytes.extend(wire(["INCR".to_owned(), format!("key {}", index % 7)]));
        }
        conn.send(&bytes);
        conn.finish_sending();
        let replies = conn.read_many(1000);
        assert_eq!(replies[999], int(1000 / 7 + 1));
        conn.expect_closed();
        // A request that was begun and never ended is dropped without a word.
        let mut conn = server.connect();
        conn.send(b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nINCR\r\n$5\r\nke");
        conn.finish_sending();
        assert_eq!(conn.read(), simple("PONG"));
        conn.expect_closed();
    }
}

#[test]
fn a_client_that_never_reads_harms_no_other() {
    let server = Server::start(1);
    let mut setup = server.connect();
    let mut keys = vec!["MGET".to_owned()];
    for index in 0..100 {
        setup.expect(&format!("SET key:{index} -9223372036854775808"), ok());
        keys.push(format!("key:{index}"));
    }
    let before = server.resident_bytes();
    let mut request = Vec::new();
    for _ in 0..20 {
        request.extend(wire(&keys));
    }
    let mut deaf: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for conn in &mut deaf {
        conn.set_write_limit(Duration::from_millis(300));
        // Until the server stops reading from who does not read: 64 MiB would come back otherwise.
        for _ in 0..1000 {
            if conn.try_send(&request).is_err() {
                break;
            }
        }
        let start = Instant::now();
        for _ in 0..20 {
            setup.expect("GET key:7", bulk("-9223372036854775808"));
        }
        assert!(start.elapsed() < Duration::from_secs(5), "20 requests took {:?}", start.elapsed());
    }
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < 64 * 1024 * 1024, "it grew by {growth} bytes");
    server.connect().expect("PING", simple("PONG"));
    // Who reads at last gets whole replies, in order.
    let mut late = deaf.swap_remove(0);
    let expected = read_reply(&mut wire(vec!["-9223372036854775808"; 100]).as_slice()).expect("an array");
    for _ in 0..50 {
        assert_eq!(late.read(), expected);
    }
}

#[test]
fn replies_can_be_switched_off() {
    let server = Server::start(2);
    let mut conn = server.connect();
    let lines = [
        "CLIENT REPLY OFF",
        "INCR a",
        "NOSUCH",
        "MGET a b",
        "PING",
        "CLIENT REPLY ON",
        "INCR a",
        "CLIENT REPLY SKIP",
        "INCR a",
        "GET a",
        "CLIENT REPLY SKIP",
        "MSET b 1 c 2",
        "MGET b c",
    ];
    let bytes: Vec<u8> = lines.iter().flat_map(|line| wire(line.split(' '))).collect();
    let replies = conn.exchange(&bytes, 4);
    assert_eq!(replies, [ok(), int(2), bulk("3"), array([bulk("1"), bulk("2")])]);
    conn.expect("PING", simple("PONG"));
}

#[test]
fn quit_and_reset() {
    let server = Server::start(2);
    let mut conn = server.connect();
    conn.send(&[wire(["INCR", "a"]), wire(["QUIT"]), wire(["INCR", "a"])].concat());
    assert_eq!(conn.read_many(2), [int(1), ok()]);
    assert_eq!(conn.try_read(), Err(ReadError::Closed));
    let mut conn = server.connect();
    conn.expect("GET a", bulk("1"));
    assert!(matches!(conn.ask("HELLO 3"), Reply::Map(_)));
    conn.expect("GET nosuch", Reply::Null);
    conn.expect("RESET", simple("RESET"));
    conn.expect("GET nosuch", Reply::NullBulk);
}
