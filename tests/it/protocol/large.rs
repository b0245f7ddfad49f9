//! Requests with many arguments: answered in full, while others are served.

use std::time::{Duration, Instant};

use crate::support::{Conn, Reply, Server, array, bulk, int, ok, simple, wire};

#[test]
fn a_hundred_thousand_keys() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let mut conn = server.connect();
        let pairs = |value: fn(usize) -> usize| {
            (0..50_000).flat_map(move |index| [format!("key:{index}"), value(index).to_string()])
        };
        let request =
            |name: &str, args: &mut dyn Iterator<Item = String>| wire(std::iter::once(name.to_owned()).chain(args));
        let set = request("MSET", &mut pairs(|index| index));
        assert_eq!(conn.exchange(&set, 1), [ok()]);
        conn.expect("DBSIZE", int(50_000));
        // Every second key does not exist.
        let mut keys = (0..50_000).flat_map(|index| [format!("key:{index}"), format!("nosuch:{index}")]);
        let reply = conn.exchange(&request("MGET", &mut keys), 1).remove(0);
        let expected = array((0..50_000).flat_map(|index| [bulk(index.to_string()), Reply::NullBulk]));
        assert!(reply == expected, "the reply to MGET of 100,000 keys");
        let reply = conn.exchange(&request("MINCRBY", &mut pairs(|index| index + 1)), 1).remove(0);
        let expected = array((0..50_000).map(|index| int(2 * index + 1)));
        assert!(reply == expected, "the reply to MINCRBY of 50,000 pairs");
        let mut keys = (0..100_000).map(|index| format!("key:{index}"));
        assert_eq!(conn.exchange(&request("EXISTS", &mut keys), 1), [int(50_000)]);
        let mut keys = (0..100_000).map(|index| format!("key:{index}"));
        assert_eq!(conn.exchange(&request("UNLINK", &mut keys), 1), [int(50_000)]);
        conn.expect("DBSIZE", int(0));
    }
}

#[test]
fn a_million_keys_are_deleted_while_others_are_served() {
    let server = Server::start(2);
    let mut other = server.connect();
    let mut conn = server.connect();
    for index in [0, 500_000, 999_999] {
        other.expect(&format!("SET key:{index} 1"), ok());
    }
    let before = server.resident_bytes();
    let request = wire(std::iter::once("DEL".to_owned()).chain((0..1_000_000).map(|index| format!("key:{index}"))));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| conn.exchange(&request, 1));
        while !deleting.is_finished() {
            other.expect("PING", simple("PONG"));
            assert!(start.elapsed() < Duration::from_secs(60), "a DEL of 1,000,000 keys takes {:?}", start.elapsed());
        }
        assert_eq!(deleting.join().expect("no panic"), [int(3)]);
    });
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < 128 * 1024 * 1024, "it grew by {growth} bytes");
    other.expect("DBSIZE", int(0));
}

#[test]
fn an_odd_count_of_pairs_changes_nothing() {
    let server = Server::start(2);
    let mut conn = server.connect();
    for name in ["MSET", "MINCRBY"] {
        let args = std::iter::once(name.to_owned()).chain((0..20_001).map(|index| index.to_string()));
        let mut bytes = wire(args);
        bytes.extend(wire(["DBSIZE"]));
        let replies = conn.exchange(&bytes, 2);
        let text = format!("ERR wrong number of arguments for '{}' command", name.to_lowercase());
        assert_eq!(replies, [crate::support::error(&text), int(0)]);
    }
}

#[test]
fn many_large_requests_at_once_are_all_answered() {
    let server = Server::start(2);
    let request = wire(std::iter::once("MGET".to_owned()).chain((0..20_000).map(|index| format!("key:{index}"))));
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut conn: Conn = server.connect();
                for _ in 0..3 {
                    let reply = conn.exchange(&request, 1).remove(0);
                    assert_eq!(reply.elements().len(), 20_000);
                    assert!(reply.elements().iter().all(Reply::is_null));
                }
            });
        }
    });
}

#[test]
fn what_does_not_stream_gets_one_error_for_too_many_arguments() {
    let server = Server::start(2);
    let mut conn = server.connect();
    let cases = [
        ("GET", 200),
        ("PING", 100_000),
        ("NOSUCH", 100_000),
        ("INCR", 1_000_000),
        ("WATCH", 100_000),
        ("MSETNX", 20_000),
    ];
    for (name, count) in cases {
        let mut bytes = wire(std::iter::once(name.to_owned()).chain((0..count).map(|index| index.to_string())));
        bytes.extend(wire(["ECHO", name]));
        let replies = conn.exchange(&bytes, 2);
        assert!(replies[0].is_error(), "{name} with {count} arguments: {:?}", replies[0]);
        assert_eq!(replies[1], bulk(name));
    }
    conn.expect("DBSIZE", int(0));
}

#[test]
fn many_keys_in_a_transaction_are_queued_or_refused() {
    let server = Server::start(2);
    let mut conn = server.connect();
    for count in [100, 300, 20_000, 500_000] {
        let mut bytes = wire(["MULTI"]);
        bytes.extend(wire(std::iter::once("MGET".to_owned()).chain((0..count).map(|index| index.to_string()))));
        bytes.extend(wire(["EXEC"]));
        bytes.extend(wire(["PING"]));
        let replies = conn.exchange(&bytes, 4);
        if replies[1] == simple("QUEUED") {
            let values = &replies[2].elements()[0];
            assert!(values.is_error() || values.elements().len() == count, "{count} keys: {values:?}");
        } else {
            assert!(replies[1].is_error(), "{:?}", replies[1]);
            let aborted = crate::support::error("EXECABORT Transaction discarded because of previous errors.");
            assert_eq!(replies[2], aborted, "after {:?}", replies[1]);
        }
        assert_eq!(replies[3], simple("PONG"));
    }
}
