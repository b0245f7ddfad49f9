//! Counting from many clients at once: nothing is lost, nothing is counted twice, and transactions are whole.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Conn, Random, Reply, Server, array, int, ok, seed, simple, spread_keys, wire};

const CLIENT_COUNT: usize = 50;

/// Longest time of one test's threads.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What one client was answered for one key: the new value and the increment that it asked for.
type Acknowledged = HashMap<String, Vec<(i64, i64)>>;

#[test]
fn fifty_clients_on_one_shard() {
    every_increment_counts_once(1);
}

#[test]
fn fifty_clients_on_two_shards() {
    every_increment_counts_once(2);
}

#[test]
fn fifty_clients_on_four_shards() {
    every_increment_counts_once(4);
}

fn every_increment_counts_once(shard_count: usize) {
    let server = Server::start(shard_count);
    let keys: Vec<String> = [spread_keys("count:", 4), vec!["hits".into(), "{hits}:b".into()]].concat();
    let seed = seed();
    let acknowledged: Vec<Acknowledged> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENT_COUNT as u64)
            .map(|client| {
                let (server, keys) = (&server, &keys);
                scope.spawn(move || count_for_a_while(&mut server.connect(), keys, &mut Random::new(seed + client)))
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no client fails")).collect()
    });
    for client in &acknowledged {
        for (key, answers) in client {
            assert!(answers.windows(2).all(|pair| pair[0].0 < pair[1].0), "a client sees {key} grow");
        }
    }
    let mut conn = server.connect();
    for key in &keys {
        let mut answers: Vec<(i64, i64)> = acknowledged.iter().flat_map(|client| client[key].iter().copied()).collect();
        answers.sort_unstable();
        // Each increment starts where the one before it ended: none is lost, none is counted twice.
        let mut value = 0;
        for (answer, increment) in answers {
            assert_eq!(answer, value + increment, "{key}: the increment to {answer} by {increment} started elsewhere");
            value = answer;
        }
        assert_eq!(conn.ask(&format!("GET {key}")).as_count(), value, "{key} is the sum of its increments");
        assert!(value > 0);
    }
}

fn count_for_a_while(conn: &mut Conn, keys: &[String], random: &mut Random) -> Acknowledged {
    let mut acknowledged: Acknowledged = keys.iter().map(|key| (key.clone(), Vec::new())).collect();
    for _ in 0..20 {
        let (mut bytes, mut asked) = (Vec::new(), Vec::new());
        let depth = 1 + random.below(24);
        for _ in 0..depth {
            let mut pairs: Vec<(&String, i64)> = Vec::new();
            match random.below(4) {
                0 | 1 => {
                    pairs.push((random.pick(keys), 1));
                    bytes.extend(wire(["INCR", pairs[0].0]));
                }
                2 => {
                    pairs.push((random.pick(keys), 1 + random.below(9) as i64));
                    bytes.extend(wire(["INCRBY", pairs[0].0, &pairs[0].1.to_string()]));
                }
                _ => {
                    let mut args = vec!["MINCRBY".to_owned()];
                    for _ in 0..1 + random.below(5) {
                        pairs.push((random.pick(keys), 1 + random.below(9) as i64));
                        args.extend([pairs[pairs.len() - 1].0.clone(), pairs[pairs.len() - 1].1.to_string()]);
                    }
                    bytes.extend(wire(args));
                }
            }
            asked.push(pairs);
        }
        let replies = conn.exchange(&bytes, depth);
        for (pairs, reply) in asked.iter().zip(&replies) {
            let values = match reply {
                Reply::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            assert_eq!(values.len(), pairs.len());
            for ((key, increment), value) in pairs.iter().zip(values) {
                acknowledged.get_mut(*key).expect("a known key").push((value.as_int(), *increment));
            }
        }
    }
    acknowledged
}

#[test]
fn clients_that_disconnect_in_the_middle() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let keys = spread_keys("torn:", 3);
        let (sent, answered) = (AtomicI64::new(0), AtomicI64::new(0));
        let seed = seed();
        thread::scope(|scope| {
            for client in 0..CLIENT_COUNT as u64 {
                let (server, keys, sent, answered) = (&server, &keys, &sent, &answered);
                scope.spawn(move || {
                    let mut random = Random::new(seed + client);
                    for _ in 0..8 {
                        let mut conn = server.connect();
                        let count = 1 + random.below(200);
                        let bytes: Vec<u8> =
                            (0..count).flat_map(|_| wire(["INCR", random.pick::<String>(keys)])).collect();
                        // Cut off in a request, too: that one may not count.
                        let cut = bytes.len() - random.below(20);
                        conn.send(&bytes[..cut]);
                        sent.fetch_add(count as i64, Ordering::Relaxed);
                        let whole = if cut == bytes.len() { count } else { count - 1 };
                        for _ in 0..random.below(whole.max(1)) {
                            assert!(conn.read().as_int() > 0);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut conn = server.connect();
        let total: i64 = conn
            .call(std::iter::once("MGET").chain(keys.iter().map(String::as_str)))
            .elements()
            .iter()
            .map(Reply::as_count)
            .sum();
        let (sent, answered) = (sent.into_inner(), answered.into_inner());
        assert!(answered <= total && total <= sent, "answered {answered} ≤ counted {total} ≤ sent {sent}");
    }
}

#[test]
fn transactions_are_seen_whole() {
    for shard_count in [1, 2, 4] {
        let server = Server::start(shard_count);
        // The writers name the keys in either order, so that who takes the shards in that order hangs.
        let keys = spread_keys("pair:", 4);
        let (first, second) = (&keys[0], &keys[3]);
        let writing = AtomicBool::new(true);
        let start = Instant::now();
        thread::scope(|scope| {
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    let server = &server;
                    let (one, other) = if writer % 2 == 0 { (first, second) } else { (second, first) };
                    scope.spawn(move || {
                        let mut conn = server.connect();
                        let lines =
                            [wire(["MULTI"]), wire(["INCR", one]), wire(["INCR", other]), wire(["EXEC"])].concat();
                        for _ in 0..300 {
                            let replies = conn.exchange(&lines, 4);
                            let values = replies[3].elements();
                            assert_eq!(values[0], values[1], "both counters are the same inside");
                        }
                    })
                })
                .collect();
            for _ in 0..3 {
                let (server, writing) = (&server, &writing);
                scope.spawn(move || {
                    let mut conn = server.connect();
                    let lines = [wire(["MULTI"]), wire(["GET", first]), wire(["GET", second]), wire(["EXEC"])].concat();
                    let mut last = 0;
                    while writing.load(Ordering::Relaxed) {
                        assert!(start.elapsed() < TIME_LIMIT, "the writers do not come to an end");
                        let replies = conn.exchange(&lines, 4);
                        let values = replies[3].elements();
                        assert_eq!(values[0], values[1], "a reader sees both increments or neither");
                        assert!(values[0].as_count() >= last, "a reader sees it grow");
                        last = values[0].as_count();
                    }
                });
            }
            let results: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            writing.store(false, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok), "no writer fails");
        });
        assert_eq!(server.connect().call(["GET", first]).as_count(), 1200);
    }
}

#[test]
fn msetnx_sets_all_or_none() {
    let server = Server::start(4);
    let keys = spread_keys("all:", 4);
    for round in 0..30 {
        let wins = AtomicI64::new(0);
        let winner = AtomicI64::new(-1);
        thread::scope(|scope| {
            for client in 0..6 {
                let (server, keys, wins, winner) = (&server, &keys, &wins, &winner);
                scope.spawn(move || {
                    let mut conn = server.connect();
                    let mut args = vec!["MSETNX".to_owned()];
                    for index in 0..4 {
                        // Each client names the keys from another one on.
                        args.extend([format!("{}:{round}", keys[(index + client) % 4]), client.to_string()]);
                    }
                    if conn.call(args) == int(1) {
                        wins.fetch_add(1, Ordering::Relaxed);
                        winner.store(client as i64, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(wins.into_inner(), 1, "exactly one sets them");
        let mut conn = server.connect();
        let expected = winner.into_inner();
        for key in &keys {
            assert_eq!(
                conn.ask(&format!("GET {key}:{round}")).as_count(),
                expected,
                "all are of the one that set them"
            );
        }
    }
}

#[test]
fn optimistic_increments_lose_nothing() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let keys = spread_keys("watched:", 2);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..6 {
                let (server, keys) = (&server, &keys);
                scope.spawn(move || {
                    let mut conn = server.connect();
                    let mut done = 0;
                    while done < 50 {
                        assert!(start.elapsed() < TIME_LIMIT, "{done} of 50 within {TIME_LIMIT:?}");
                        assert_eq!(conn.call(["WATCH", &keys[0]]), ok());
                        let next = (conn.call(["GET", &keys[0]]).as_count() + 1).to_string();
                        conn.expect("MULTI", ok());
                        assert_eq!(conn.call(["SET", &keys[0], &next]), simple("QUEUED"));
                        assert_eq!(conn.call(["INCR", &keys[1]]), simple("QUEUED"));
                        match conn.ask("EXEC") {
                            Reply::NullArray => {}
                            reply => {
                                assert_eq!(reply, array([ok(), reply.elements()[1].clone()]));
                                done += 1;
                            }
                        }
                    }
                });
            }
        });
        let mut conn = server.connect();
        for key in &keys {
            assert_eq!(conn.call(["GET", key]).as_count(), 300, "{key} counts every EXEC that was answered");
        }
    }
}

#[test]
fn renames_and_flushes_among_increments_leave_whole_counters() {
    let server = Server::start(3);
    let keys = spread_keys("moved:", 3);
    let start = Instant::now();
    thread::scope(|scope| {
        for client in 0..6u64 {
            let (server, keys) = (&server, &keys);
            scope.spawn(move || {
                let mut conn = server.connect();
                let mut random = Random::new(client);
                for _ in 0..300 {
                    assert!(start.elapsed() < TIME_LIMIT);
                    let (from, to) = (random.pick(keys).clone(), random.pick(keys).clone());
                    let reply = match random.below(12) {
                        0 => conn.call(["RENAME", &from, &to]),
                        1 => conn.call(["RENAMENX", &from, &to]),
                        2 => conn.call(["FLUSHALL"]),
                        3 => conn.call(["DBSIZE"]),
                        4 => conn.call(["KEYS", "*"]),
                        5 => conn.call(["SCAN", "0"]),
                        _ => conn.call(["INCR", &from]),
                    };
                    let expected = !reply.is_error() || reply == crate::support::error("ERR no such key");
                    assert!(expected, "{reply:?}");
                }
            });
        }
    });
    let mut conn = server.connect();
    // Moved by renames only: a sum that no rename may change.
    conn.expect("FLUSHALL", ok());
    conn.call(["SET", &keys[0], "1000"]);
    thread::scope(|scope| {
        for client in 0..4u64 {
            let (server, keys) = (&server, &keys);
            scope.spawn(move || {
                let mut conn = server.connect();
                let mut random = Random::new(client);
                for _ in 0..200 {
                    conn.call(["RENAMENX", random.pick::<String>(keys), random.pick::<String>(keys)]);
                }
            });
        }
    });
    conn.expect("DBSIZE", int(1));
    let values = conn.call(std::iter::once("MGET").chain(keys.iter().map(String::as_str)));
    let sum: i64 = values.elements().iter().map(Reply::as_count).sum();
    assert_eq!(sum, 1000, "a renamed counter is in one place");
}
