//! kill -9, again and again, with an oracle.
//!
//! Each client counts keys of its own and some that all share, and notes what it has sent and what was acknowledged. After
//! each kill, a key of its own must hold at least the last acknowledged value and at most what was sent; a shared one at
//! least the largest reply that anybody got; and the two halves of a transaction over two shards must be equal.
//!
//! `TALLYRING_KILL_CYCLES` sets how often (200 under `always`); `TALLYRING_SEED` repeats a run.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::serve_in;
use crate::support::{Conn, Random, Reply, Server, seed, spread_keys, wire};

const CLIENT_COUNT: usize = 3;
const KEY_COUNT: usize = 4;
const SHARED_KEY_COUNT: usize = 2;

/// What one client knows of one counter.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: i64,
    attempted: i64,
}

/// What one client knows.
#[derive(Clone, Debug)]
struct Oracle {
    own: BTreeMap<String, Known>,
    /// The two halves of its transactions.
    halves: [String; 2],
    half: Known,
    /// The largest replies for the shared keys.
    shared: BTreeMap<String, i64>,
}

impl Oracle {
    fn new(client: usize) -> Oracle {
        let own = (0..KEY_COUNT).map(|key| (format!("own:{client}:{key}"), Known::default())).collect();
        let halves = spread_keys(&format!("half:{client}:"), 2).try_into().expect("two keys");
        let shared = (0..SHARED_KEY_COUNT).map(|key| (format!("shared:{key}"), 0)).collect();
        Oracle { own, halves, half: Known::default(), shared }
    }

    /// Count until the server is gone.
    fn count(&mut self, mut conn: Conn, mut random: Random) {
        let keys: Vec<String> = self.own.keys().cloned().collect();
        loop {
            let mut bytes = Vec::new();
            let mut sent: Vec<(&str, &str)> = Vec::new();
            for _ in 0..1 + random.below(12) {
                match random.below(8) {
                    0 => {
                        let key: &'static str = ["shared:0", "shared:1"][random.below(2)];
                        bytes.extend(wire(["INCR", key]));
                        sent.push(("shared", key));
                    }
                    1 => {
                        bytes.extend(wire(["MULTI"]));
                        self.halves.iter().for_each(|half| bytes.extend(wire(["INCR", half.as_str()])));
                        bytes.extend(wire(["EXEC"]));
                        sent.extend([("skip", ""), ("skip", ""), ("skip", ""), ("exec", "")]);
                        self.half.attempted += 1;
                    }
                    2 => {
                        let key = &keys[random.below(keys.len())];
                        bytes.extend(wire(["MINCRBY", key, "1"]));
                        self.own.get_mut(key).expect("its own").attempted += 1;
                        sent.push(("each", key));
                    }
                    _ => {
                        let key = &keys[random.below(keys.len())];
                        bytes.extend(wire(["INCR", key]));
                        self.own.get_mut(key).expect("its own").attempted += 1;
                        sent.push(("own", key));
                    }
                }
            }
            if conn.try_send(&bytes).is_err() {
                return;
            }
            for (kind, key) in sent {
                let Ok(reply) = conn.try_read() else { return };
                match kind {
                    "own" => self.acknowledge(key, reply.as_int()),
                    "each" => self.acknowledge(key, reply.elements()[0].as_int()),
                    "shared" => {
                        let largest = self.shared.get_mut(key).expect("a shared key");
                        *largest = (*largest).max(reply.as_int());
                    }
                    "exec" => {
                        assert_eq!(reply.elements()[0], reply.elements()[1], "both halves count together");
                        self.half.acknowledged = reply.elements()[0].as_int();
                    }
                    _ => assert!(!reply.is_error(), "{reply:?}"),
                }
            }
        }
    }

    fn acknowledge(&mut self, key: &str, value: i64) {
        let known = self.own.get_mut(key).expect("its own");
        assert!(known.acknowledged < value && value <= known.attempted, "{key}: {value} after {known:?}");
        known.acknowledged = value;
    }

    /// What must hold after a kill; what is there is what goes on.
    fn check(&mut self, conn: &mut Conn, is_kept: bool) {
        let mut get = |key: &str| match conn.call(["GET", key]) {
            reply if reply.is_null() => 0,
            reply => reply.text().parse().expect("a count"),
        };
        let check = |key: &str, known: &mut Known, value: i64| {
            assert!(value <= known.attempted, "{key}: {value} was recovered, but {known:?}");
            assert!(!is_kept || known.acknowledged <= value, "{key}: {value} was recovered, but {known:?}");
            *known = Known { acknowledged: value, attempted: value };
        };
        for (key, known) in &mut self.own {
            check(key, known, get(key));
        }
        let halves = [get(&self.halves[0]), get(&self.halves[1])];
        assert_eq!(halves[0], halves[1], "one half of a transaction was recovered: {:?}", self.halves);
        check(&self.halves[0], &mut self.half, halves[0]);
        for (key, largest) in &mut self.shared {
            let value = get(key);
            assert!(!is_kept || *largest <= value, "{key}: {value} was recovered, but {largest} acknowledged");
            *largest = value;
        }
    }
}

fn cycle_count(default: usize) -> usize {
    std::env::var("TALLYRING_KILL_CYCLES").map_or(default, |count| count.parse().expect("a number of cycles"))
}

/// So many kills.
fn kill_again_and_again(directory: &Path, policy: &str, cycle_count: usize) {
    let mut random = Random::new(seed());
    let mut oracles: Vec<Oracle> = (0..CLIENT_COUNT).map(Oracle::new).collect();
    let mut total = 0;
    for cycle in 0..=cycle_count {
        let threads = 1 + random.below(3);
        let mut server: Server = serve_in(directory, threads, &["--appendfsync", policy]);
        let mut conn = server.connect();
        oracles.iter_mut().for_each(|oracle| oracle.check(&mut conn, policy == "always"));
        if cycle == cycle_count {
            break;
        }
        if random.one_in(3) {
            assert_ne!(conn.ask("BGSAVE"), Reply::Null);
        }
        let counting: Vec<_> = oracles
            .drain(..)
            .map(|mut oracle| {
                let (conn, random) = (server.connect(), Random::new(random.next()));
                thread::spawn(move || {
                    oracle.count(conn, random);
                    oracle
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5 + random.below(35) as u64));
        server.signal(Signal::KILL);
        server.wait();
        oracles.extend(counting.into_iter().map(|thread| thread.join().expect("the oracle agrees")));
        total +=
            oracles.iter().flat_map(|oracle| oracle.own.values()).map(|known| known.acknowledged).max().unwrap_or(0);
    }
    assert!(total > 0, "something was counted");
    println!("{cycle_count} kills under {policy}");
}

#[test]
fn nothing_that_was_acknowledged_is_lost_under_always() {
    let directory = tempfile::tempdir().expect("a directory");
    kill_again_and_again(directory.path(), "always", cycle_count(200));
}

#[test]
fn what_is_left_under_everysec_was_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    kill_again_and_again(directory.path(), "everysec", cycle_count(200) / 10);
}

/// Count with transactions on these keys until the server is gone: when each was acknowledged, by the first key's value.
fn transact(mut conn: Conn, keys: &[String], at_once: usize) -> Vec<(Instant, i64)> {
    let increments = keys.iter().flat_map(|key| wire(["INCR", key]));
    let one: Vec<u8> = wire(["MULTI"]).into_iter().chain(increments).chain(wire(["EXEC"])).collect();
    let many = one.repeat(at_once);
    let mut acknowledged = Vec::new();
    while conn.try_send(&many).is_ok() {
        for _ in 0..at_once {
            for _ in 0..1 + keys.len() {
                if conn.try_read().is_err() {
                    return acknowledged;
                }
            }
            let Ok(reply) = conn.try_read() else { return acknowledged };
            acknowledged.push((Instant::now(), reply.elements()[0].as_int()));
        }
    }
    acknowledged
}

#[test]
fn transactions_over_shards_lose_no_more_than_a_second_either() {
    // The second, and what the test's own machine takes to sync and to deliver replies.
    const LOSS_MAX: Duration = Duration::from_millis(1_900);
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = serve_in(directory.path(), 2, &["--appendfsync", "everysec"]);
    let names = spread_keys("name:", 2);
    let key = |shard: usize, client: usize, number: usize| format!("{{{}}}:{client}:{number}", names[shard]);
    // Some keep the second shard busy, some change both.
    let clients: Vec<Vec<String>> = (0..7)
        .map(|client| match client < 4 {
            true => (0..8).map(|number| key(1, client, number)).collect(),
            false => vec![key(1, client, 0), key(0, client, 0)],
        })
        .collect();
    let counting: Vec<_> = clients
        .iter()
        .cloned()
        .map(|keys| {
            let conn = server.connect();
            thread::spawn(move || transact(conn, &keys, if keys.len() > 2 { 20 } else { 1 }))
        })
        .collect();
    thread::sleep(Duration::from_millis(6_200));
    let killed = Instant::now();
    server.signal(Signal::KILL);
    server.wait();
    let acknowledged: Vec<_> = counting.into_iter().map(|thread| thread.join().expect("it counts")).collect();
    let server = serve_in(directory.path(), 2, &["--appendfsync", "everysec"]);
    let mut conn = server.connect();
    for (keys, acknowledged) in clients.iter().zip(acknowledged) {
        let found = conn.ask(&format!("GET {}", keys[0]));
        let found = if found.is_null() { 0 } else { found.text().parse().expect("a counter") };
        let lost = acknowledged.iter().find(|(_, value)| *value > found);
        let age = lost.map_or(Duration::ZERO, |(when, _)| killed.saturating_duration_since(*when));
        println!("{} acknowledged, {found} found, the oldest loss {age:?} old", acknowledged.len());
        assert!(age <= LOSS_MAX, "what was acknowledged {age:?} before the kill is lost");
    }
}
