//! Commands over all keys, on several shards, while others change them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Conn, Reply, Server, array, bulk, int, ok, wire};

/// All keys that a scan from its start to its end gives, and how often any was given.
fn scan(conn: &mut Conn, options: &str) -> (BTreeSet<String>, usize) {
    let (mut cursor, mut found, mut given) = ("0".to_owned(), BTreeSet::new(), 0);
    for _ in 0..200_000 {
        let reply = conn.ask(&format!("SCAN {cursor} {options}"));
        cursor = reply.elements()[0].text();
        given += reply.elements()[1].elements().len();
        found.extend(reply.elements()[1].elements().iter().map(Reply::text));
        if cursor == "0" {
            return (found, given);
        }
    }
    panic!("SCAN {options} does not come to an end");
}

fn fill(conn: &mut Conn, prefix: &str, count: usize) -> BTreeSet<String> {
    let keys: BTreeSet<String> = (0..count).map(|index| format!("{prefix}{index}")).collect();
    let bytes: Vec<u8> = keys.iter().flat_map(|key| wire(["SET", key, "1"])).collect();
    assert!(conn.exchange(&bytes, count).iter().all(|reply| *reply == ok()));
    keys
}

#[test]
fn a_scan_gives_all_keys() {
    for shard_count in [1, 2, 5] {
        let server = Server::start(shard_count);
        let mut conn = server.connect();
        assert_eq!(scan(&mut conn, "").0, BTreeSet::new());
        let keys = fill(&mut conn, "key:", 3000);
        for options in ["", "COUNT 1", "COUNT 100", "COUNT 1000000", "TYPE string", "MATCH key:*"] {
            let (found, given) = scan(&mut conn, options);
            assert!(found == keys, "SCAN {options} on {shard_count} shards finds {}", found.len());
            assert_eq!(given, 3000, "nothing changes, so that SCAN {options} gives each key once");
        }
        let (found, _) = scan(&mut conn, "MATCH key:1??");
        assert_eq!(found.len(), 100);
        assert_eq!(scan(&mut conn, "TYPE list").0.len(), 0);
        let listed = conn.ask("KEYS *");
        assert_eq!(listed.elements().iter().map(Reply::text).collect::<BTreeSet<_>>(), keys);
        conn.expect("DBSIZE", int(3000));
        conn.expect("KEYS key:2999", array([bulk("key:2999")]));
    }
}

#[test]
fn a_scan_gives_all_that_stay_while_others_come_and_go() {
    let server = Server::start(3);
    let mut conn = server.connect();
    let stay = fill(&mut conn, "stay:", 2000);
    let scanning = AtomicBool::new(true);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut other = server.connect();
            let mut round = 0;
            while scanning.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                let add: Vec<u8> = (0..200).flat_map(|index| wire(["INCR", &format!("go:{round}:{index}")])).collect();
                other.exchange(&add, 200);
                let remove: Vec<u8> =
                    (0..200).flat_map(|index| wire(["DEL", &format!("go:{round}:{index}")])).collect();
                other.exchange(&remove, 200);
                round += 1;
            }
        });
        let results: Vec<bool> = (0..5).map(|_| scan(&mut conn, "COUNT 50").0.is_superset(&stay)).collect();
        scanning.store(false, Ordering::Relaxed);
        assert!(results.iter().all(|all| *all), "a key that stays is given by every scan: {results:?}");
    });
}

#[test]
fn a_random_key_is_one_of_all() {
    let server = Server::start(3);
    let mut conn = server.connect();
    conn.expect("RANDOMKEY", Reply::NullBulk);
    let keys = fill(&mut conn, "key:", 20);
    let mut seen = BTreeSet::new();
    for _ in 0..2000 {
        seen.insert(conn.ask("RANDOMKEY").text());
    }
    assert!(seen.is_subset(&keys), "{seen:?}");
    assert!(seen.len() >= 10, "2,000 draws of 20 keys gave only {seen:?}");
}

#[test]
fn a_flush_empties_all_shards() {
    let server = Server::start(4);
    let mut conn = server.connect();
    for line in ["FLUSHALL", "FLUSHDB", "FLUSHALL ASYNC", "FLUSHDB SYNC"] {
        fill(&mut conn, "key:", 500);
        conn.expect("DBSIZE", int(500));
        conn.expect(line, ok());
        conn.expect("DBSIZE", int(0));
        assert_eq!(scan(&mut conn, "").0.len(), 0);
        conn.expect("GET key:7", Reply::NullBulk);
    }
}

#[test]
fn renames_move_value_and_expiry_between_shards() {
    let server = Server::start(4);
    let mut conn = server.connect();
    let names: Vec<String> = crate::support::spread_keys("name:", 4);
    conn.expect(&format!("SET {} 5 PXAT 4102444800123", names[0]), ok());
    for pair in names.windows(2) {
        conn.expect(&format!("RENAME {} {}", pair[0], pair[1]), ok());
        conn.expect(&format!("GET {}", pair[0]), Reply::NullBulk);
        conn.expect(&format!("GET {}", pair[1]), bulk("5"));
        conn.expect(&format!("PEXPIRETIME {}", pair[1]), int(4_102_444_800_123));
        conn.expect("DBSIZE", int(1));
    }
    conn.expect(&format!("SET {} 7", names[0]), ok());
    conn.expect(&format!("RENAMENX {} {}", names[3], names[0]), int(0));
    conn.expect(&format!("RENAME {} {}", names[0], names[3]), ok());
    conn.expect(&format!("TTL {}", names[3]), int(-1));
    conn.expect(&format!("GET {}", names[3]), bulk("7"));
}

#[test]
fn a_counter_may_expire_at_any_moment_of_a_rename() {
    for shard_count in [1, 2] {
        let server = Server::start(shard_count);
        let mut conn = server.connect();
        let names = crate::support::spread_keys("name:", 2);
        let no_such_key = crate::support::error("ERR no such key");
        let deadline = Instant::now() + Duration::from_secs(3);
        let mut expired_count = 0;
        while expired_count < 100 && Instant::now() < deadline {
            let mut at = 0;
            conn.expect(&format!("SET {} 7 PX 5", names[at]), ok());
            loop {
                let to = 1 - at;
                let moved = match expired_count % 3 {
                    0 => conn.ask(&format!("RENAME {} {}", names[at], names[to])) == ok(),
                    1 => match conn.ask(&format!("RENAMENX {} {}", names[at], names[to])) {
                        Reply::Error(text) => {
                            assert_eq!(text, b"ERR no such key");
                            false
                        }
                        moved => moved == int(1),
                    },
                    _ => {
                        let transaction = [
                            wire(["MULTI"]),
                            wire(["RENAME", &names[at], &names[to]]),
                            wire(["INCR", "whole"]),
                            wire(["EXEC"]),
                        ];
                        let replies = conn.exchange(&transaction.concat(), 4);
                        let executed = replies[3].elements();
                        assert!(executed[0] == ok() || executed[0] == no_such_key, "{replies:?}");
                        assert!(matches!(executed[1], Reply::Int(_)), "{replies:?}");
                        executed[0] == ok()
                    }
                };
                if !moved {
                    break;
                }
                at = to;
            }
            expired_count += 1;
            conn.expect(&format!("GET {}", names[0]), Reply::NullBulk);
            conn.expect(&format!("GET {}", names[1]), Reply::NullBulk);
        }
        assert!(expired_count > 10, "they expire within milliseconds");
    }
}
