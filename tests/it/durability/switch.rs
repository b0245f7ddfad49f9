//! `CONFIG SET appendonly` and `appendfsync` while the server runs: what is there after a kill at any moment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::serve_in;
use crate::support::{Conn, Random, Reply, Server, array, bulk, error, int, ok, seed, simple, spread_keys, wire};

fn kill(mut server: Server) {
    server.signal(Signal::KILL);
    server.wait();
}

fn persistence(conn: &mut Conn, line: &str) -> bool {
    conn.ask("INFO persistence").text().lines().any(|of| of == line)
}

const ALWAYS: [&str; 2] = ["--appendfsync", "always"];

#[test]
fn what_was_counted_before_it_was_switched_off_is_kept() {
    for policy in ["always", "everysec", "no"] {
        let directory = tempfile::tempdir().expect("a directory");
        let server = serve_in(directory.path(), 2, &["--appendfsync", policy]);
        let mut conn = server.connect();
        for index in 0..100 {
            conn.expect(&format!("INCRBY key:{index} {index}"), int(index));
        }
        conn.expect("CONFIG SET appendonly no", ok());
        assert_eq!(conn.ask("CONFIG GET appendonly").elements()[1], bulk("no"));
        assert!(persistence(&mut conn, "aof_enabled:0"));
        conn.expect("CONFIG SET appendonly no", ok());
        let off = "ERR the counters live in memory only: CONFIG SET appendonly yes keeps them on the disk";
        conn.expect("BGSAVE", error(off));
        conn.expect("SAVE", error(off));
        conn.expect("INCR key:1", int(2));
        conn.expect("SET new 1", ok());
        conn.expect("FLUSHALL", ok());
        kill(server);
        let server = serve_in(directory.path(), 3, &[]);
        let mut conn = server.connect();
        conn.expect("DBSIZE", int(100));
        conn.expect("MGET key:0 key:1 key:99 new", array([bulk("0"), bulk("1"), bulk("99"), Reply::NullBulk]));
    }
}

#[test]
fn what_is_counted_from_the_moment_it_is_on_is_kept_and_what_was_before_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_in(directory.path(), 2, &ALWAYS);
    let mut conn = server.connect();
    conn.expect("SET before 1", ok());
    conn.expect("SET gone 1", ok());
    for round in 0..3 {
        conn.expect("CONFIG SET appendonly no", ok());
        conn.expect("SET while:off 5 EX 5000", ok());
        conn.expect(&format!("INCR off:{round}"), int(1));
        conn.expect("DEL gone", int(i64::from(round == 0)));
        conn.expect("CONFIG SET appendonly yes", ok());
        assert!(persistence(&mut conn, "aof_enabled:1"));
        conn.expect("INCR while:off", int(6));
        conn.expect(&format!("INCR on:{round}"), int(1));
    }
    conn.expect("BGSAVE", simple("Background saving started"));
    kill(server);
    let server = serve_in(directory.path(), 1, &ALWAYS);
    let mut conn = server.connect();
    conn.expect("DBSIZE", int(8));
    conn.expect("MGET before while:off off:2 on:0 on:2", array(["1", "6", "1", "1", "1"].map(bulk)));
    assert!((4_900..=5_000).contains(&conn.ask("TTL while:off").as_int()));
}

#[test]
fn a_server_that_was_started_without_it_can_be_given_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let off = ["--appendonly", "no", "--appendfsync", "always"];
    let server = serve_in(directory.path(), 2, &off);
    let mut conn = server.connect();
    conn.expect("SET before 1", ok());
    assert_eq!(std::fs::read_dir(directory.path()).expect("the directory").count(), 0, "nothing is written");
    conn.expect("CONFIG SET appendonly yes appendfsync everysec slowlog-max-len 7", ok());
    conn.expect("CONFIG SET appendfsync always", ok());
    assert_eq!(conn.ask("CONFIG GET slowlog-max-len").elements()[1], bulk("7"));
    conn.expect("INCR before", int(2));

    // Another one that has the same directory, and one that finds what it has not loaded.
    let other = serve_in(directory.path(), 1, &off);
    let failed = "ERR CONFIG SET failed (possibly related to argument 'appendonly') - the data directory ";
    other
        .connect()
        .expect("CONFIG SET appendonly yes", error(&format!("{failed}cannot be used: another server uses it")));
    kill(server);
    let refused = other.connect().ask("CONFIG SET appendonly yes").text();
    assert!(refused.starts_with(&format!("{failed}holds counters that this server has not loaded")), "{refused}");
    other.connect().expect("INCR other", int(1));
    drop(other);

    let server = serve_in(directory.path(), 2, &ALWAYS);
    let mut conn = server.connect();
    conn.expect("GET before", bulk("2"));
    conn.expect("DBSIZE", int(1));
}

#[test]
fn what_cannot_be_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_in(directory.path(), 2, &[]);
    let mut conn = server.connect();
    let failed = "ERR CONFIG SET failed (possibly related to argument 'appendonly') - ";
    conn.expect("CONFIG SET appendonly perhaps", error(&format!("{failed}argument must be 'yes' or 'no'")));
    conn.expect("CONFIG SET appendonly no appendonly no", error(&format!("{failed}duplicate parameter")));
    assert!(conn.ask("CONFIG SET appendonly no maxclients x").is_error());
    assert!(persistence(&mut conn, "aof_enabled:1"), "all of it, or nothing");
    conn.expect("MULTI", ok());
    conn.expect("CONFIG SET appendonly no", simple("QUEUED"));
    conn.expect("EXEC", array([error(&format!("{failed}it cannot be changed within a transaction"))]));
}

/// Even: something that is acknowledged now may be lost. Odd: nothing is. It grows with every change.
type Epoch = Arc<AtomicU64>;

/// What a client knows of a counter.
#[derive(Clone, Debug, Default)]
struct Known {
    /// It must be recovered.
    kept: i64,
    attempted: i64,
}

/// Count own keys, and two halves of transactions over two shards, until the server is gone.
fn count(mut conn: Conn, mut random: Random, keys: &[String], known: &mut [Known], epoch: &Epoch) {
    loop {
        // The first two keys are the halves.
        let index = random.below(keys.len() - 1).max(1);
        let request = match index {
            1 => [wire(["MULTI"]), wire(["INCR", &keys[0]]), wire(["INCR", &keys[1]]), wire(["EXEC"])].concat(),
            _ => wire(["INCR", &keys[index]]),
        };
        known[index].attempted += 1;
        let before = epoch.load(Ordering::SeqCst);
        if conn.try_send(&request).is_err() {
            return;
        }
        let replies = if index == 1 { 4 } else { 1 };
        let Ok(replies) = (0..replies).map(|_| conn.try_read()).collect::<Result<Vec<_>, _>>() else { return };
        let after = epoch.load(Ordering::SeqCst);
        let value = match &replies[..] {
            [reply] => reply.as_int(),
            [.., halves] => {
                assert_eq!(halves.elements()[0], halves.elements()[1], "both halves count together");
                halves.elements()[0].as_int()
            }
            [] => unreachable!("there is one"),
        };
        if before == after && before % 2 == 1 {
            known[index].kept = value;
        }
    }
}

/// Switch at random until the server is gone. It begins with the journal on, under `always`.
fn switch(mut conn: Conn, mut random: Random, epoch: &Epoch) {
    let (mut on, mut always) = (true, true);
    loop {
        thread::sleep(Duration::from_millis(random.below(15) as u64));
        let was_kept = on && always;
        if random.one_in(2) {
            on = !on
        } else {
            always = !always
        }
        let setting = format!(
            "CONFIG SET appendonly {} appendfsync {}",
            if on { "yes" } else { "no" },
            if always { "always" } else { "everysec" }
        );
        if was_kept {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
        if conn.try_send(format!("{setting}\r\n").as_bytes()).is_err() {
            return;
        }
        let Ok(reply) = conn.try_read() else { return };
        assert_eq!(reply, ok(), "{setting}");
        if on && always {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn kill_while_switching(directory: &Path, cycle_count: usize) {
    const CLIENT_COUNT: usize = 2;
    let mut random = Random::new(seed());
    let halves: Vec<Vec<String>> = (0..CLIENT_COUNT).map(|client| spread_keys(&format!("half:{client}:"), 2)).collect();
    let keys: Vec<Vec<String>> = (0..CLIENT_COUNT)
        .map(|client| halves[client].iter().cloned().chain((0..4).map(|key| format!("own:{client}:{key}"))).collect())
        .collect();
    let mut all: Vec<Vec<Known>> = keys.iter().map(|keys| vec![Known::default(); keys.len()]).collect();
    let mut kept_count = 0;
    for cycle in 0..=cycle_count {
        let server = serve_in(directory, 1 + random.below(3), &ALWAYS);
        let mut conn = server.connect();
        for (keys, known) in keys.iter().zip(&mut all) {
            let mut get = |key: &String| match conn.call(["GET", key]) {
                reply if reply.is_null() => 0,
                reply => reply.text().parse::<i64>().expect("a count"),
            };
            assert_eq!(get(&keys[0]), get(&keys[1]), "one half of a transaction was recovered in cycle {cycle}");
            for (key, known) in keys.iter().zip(known.iter_mut()).skip(1) {
                let value = get(key);
                assert!(
                    known.kept <= value && value <= known.attempted,
                    "{key}: {value}, but {known:?}, cycle {cycle}"
                );
                kept_count += known.kept;
                *known = Known { kept: value, attempted: value };
            }
        }
        if cycle == cycle_count {
            break;
        }
        let epoch: Epoch = Arc::new(AtomicU64::new(1));
        let switching = {
            let (conn, random, epoch) = (server.connect(), Random::new(random.next()), epoch.clone());
            thread::spawn(move || switch(conn, random, &epoch))
        };
        let counting: Vec<_> = all
            .drain(..)
            .enumerate()
            .map(|(client, mut known)| {
                let (conn, random, epoch) = (server.connect(), Random::new(random.next()), epoch.clone());
                let keys = keys[client].clone();
                thread::spawn(move || {
                    count(conn, random, &keys, &mut known, &epoch);
                    known
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5 + random.below(120) as u64));
        kill(server);
        switching.join().expect("the settings are taken");
        all.extend(counting.into_iter().map(|thread| thread.join().expect("the replies are right")));
    }
    assert!(kept_count > 0, "something was kept");
}

#[test]
fn a_kill_while_it_is_switched_loses_nothing_that_was_to_be_kept() {
    let cycle_count = std::env::var("TALLYRING_KILL_CYCLES").map_or(40, |count| count.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a directory");
    kill_while_switching(directory.path(), cycle_count);
}

#[test]
fn who_switches_it_off_at_once_is_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    for _ in 0..10 {
        let server = serve_in(directory.path(), 8, &["--appendfsync", "everysec"]);
        let mut conn = server.connect();
        conn.expect("CONFIG SET appendonly no", ok());
        conn.expect("CONFIG GET appendonly", array([bulk("appendonly"), bulk("no")]));
        conn.expect("INCR forgotten", int(1));
        kill(server);
    }
}

/// Switch on and off and on while others do, and count in between, until that is to stop. Who is refused tries again.
fn contend(mut conn: Conn, key: &str, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        for setting in ["yes", "no", "yes"] {
            let reply = conn.ask(&format!("CONFIG SET appendonly {setting}"));
            let refused =
                "ERR CONFIG SET failed (possibly related to argument 'appendonly') - another client is changing it";
            assert!(reply == ok() || reply == error(refused), "{reply:?}");
            conn.exchange(wire(["INCR", key]).repeat(8).as_slice(), 8);
        }
    }
}

#[test]
fn several_clients_that_switch_at_once_leave_a_journal_that_keeps_what_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..4 {
        let mut server = serve_in(directory.path(), 2, &["--appendfsync", "everysec"]);
        let is_over = Arc::new(AtomicBool::new(false));
        let contending: Vec<_> = (0..3)
            .map(|client| {
                let (conn, is_over) = (server.connect(), is_over.clone());
                thread::spawn(move || contend(conn, &format!("contended:{client}"), &is_over))
            })
            .collect();
        thread::sleep(Duration::from_millis(400));
        is_over.store(true, Ordering::Relaxed);
        contending.into_iter().for_each(|thread| thread.join().expect("the replies are right"));

        let mut conn = server.connect();
        conn.expect("CONFIG SET appendonly yes", ok());
        conn.expect("CONFIG SET appendfsync always", ok());
        let counts: Vec<Reply> = (0..20).map(|index| conn.ask(&format!("INCR kept:{index}"))).collect();
        assert_eq!(counts, vec![int(round + 1); 20]);
        server.signal(Signal::KILL);
        server.wait();
        let server = serve_in(directory.path(), 1, &ALWAYS);
        let mut conn = server.connect();
        for index in 0..20 {
            conn.expect(&format!("GET kept:{index}"), bulk((round + 1).to_string()));
        }
        kill(server);
    }
}

#[test]
fn a_snapshot_that_ends_with_the_journal_has_not_failed() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_in(directory.path(), 2, &[]);
    let mut conn = server.connect();
    for first in (0..200_000).step_by(500) {
        let pairs: Vec<String> = (first..first + 500).map(|index| format!("key:{index} 1")).collect();
        conn.expect(&format!("MSET {}", pairs.join(" ")), ok());
    }
    let given_up = |server: &Server| server.log().iter().any(|line| line.contains("is given up"));
    // In one go, so that it has just begun.
    let replies = conn.exchange(b"BGSAVE\r\nCONFIG SET appendonly no\r\n", 2);
    assert_eq!(replies, [simple("Background saving started"), ok()]);
    assert!(given_up(&server), "{:?}", server.log());
    assert!(persistence(&mut conn, "rdb_last_bgsave_status:ok"));
}

#[test]
fn what_was_counted_before_always_is_on_the_disk_when_that_is_answered() {
    for _ in 0..5 {
        let directory = tempfile::tempdir().expect("a directory");
        let server = serve_in(directory.path(), 2, &["--appendfsync", "no"]);
        let mut conn = server.connect();
        for index in 0..50 {
            conn.expect(&format!("INCR views:{index}"), int(1));
        }
        conn.expect("MULTI", ok());
        conn.expect("INCR views:0", simple("QUEUED"));
        conn.expect("CONFIG SET appendfsync always", simple("QUEUED"));
        conn.expect("EXEC", array([int(2), ok()]));
        kill(server);
        let server = serve_in(directory.path(), 1, &[]);
        let mut conn = server.connect();
        conn.expect("DBSIZE", int(50));
        conn.expect("INCR views:0", int(3));
        conn.expect("CONFIG SET appendfsync always", ok());
        kill(server);
        serve_in(directory.path(), 2, &[]).connect().expect("GET views:0", bulk("3"));
    }
}
