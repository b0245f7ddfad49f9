//! `tallyring import`: what a real Redis has written, in each of its forms, served again; and the way back.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tallyring::offline::import::rdb;

use super::{redis, refuse, serve_in, succeed, tallyring, text};
use crate::support::{Conn, PROCESS_LIMIT, Random, int, ok, peer_or_skip, run, seed};

/// Import into a new directory, and what a server there has then.
#[track_caller]
fn imported(files: &[&Path]) -> (String, Vec<(String, i64, i64)>) {
    let directory = tempfile::tempdir().expect("a directory");
    let target = directory.path().join("data");
    let mut args = vec!["import"];
    args.extend(files.iter().map(|file| text(file)));
    args.extend(["--dir", text(&target)]);
    let said = succeed(&args);
    let checked = succeed(&["check", text(&target)]);
    assert!(checked.ends_with("\nsound\n"), "{checked}");
    let server = serve_in(&target, 3);
    let mut conn = server.connect();
    let counters = redis::counters(&mut conn);
    conn.expect("DBSIZE", int(counters.len() as i64));
    (said, counters)
}

#[test]
fn snapshots_of_redis_are_imported() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(server) = redis::start(directory.path(), &[]) else { return };
    let mut conn = server.connect();
    redis::fill_with_counters(&mut conn);
    redis::fill_with_everything(&mut conn);
    conn.expect("SAVE", ok());
    let expected: Vec<_> = redis::counters(&mut conn).into_iter().filter(|(key, ..)| key.len() <= 1_024).collect();
    assert_eq!(expected.len(), 415);
    let (said, counters) = imported(&[&directory.path().join("dump.rdb")]);
    assert_eq!(counters, expected);
    assert!(said.starts_with("415 counters imported into "), "{said}");
    assert!(said.contains(", 100 of them with an expiry\n"), "{said}");
    for line in [
        "           7  string, no 64-bit integer: ",
        "           4  list: ",
        "           3  set: set:",
        "           2  sorted set: zset:",
        "           2  hash: hash:",
        "           1  stream: stream\n",
        "           1  key of more than 1024 bytes: long key long key",
        "           2  in database 1: only database 0 is taken: elsewhere",
        "           1  in database 3: only database 0 is taken: far\n",
    ] {
        assert!(said.contains(line), "{line:?} in {said}");
    }
    assert!(said.contains("23 keys skipped:\n"), "{said}");
}

#[test]
fn a_damaged_snapshot_is_refused_wherever_it_is_damaged() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(server) = redis::start(directory.path(), &[]) else { return };
    let mut conn = server.connect();
    redis::fill_with_everything(&mut conn);
    conn.expect("DEL list:many set:many hash:many zset:many", int(4));
    conn.expect("SET counter 1 PXAT 4102444800123", ok());
    conn.expect("SAVE", ok());
    let path = directory.path().join("dump.rdb");
    let whole = fs::read(&path).expect("the snapshot");
    let extent = rdb::Extent { bytes: whole.len() as u64, is_verified: true };
    assert_eq!(rdb::extent(&mut &whole[..]).expect("it is whole"), extent);
    let with_commands = [&whole[..], b"*1\r\n$4\r\nPING\r\n"].concat();
    assert_eq!(rdb::extent(&mut &with_commands[..]).expect("it is whole"), extent);
    let mut random = Random::new(seed());
    for at in 0..whole.len() {
        assert!(rdb::extent(&mut &whole[..at]).is_err(), "cut at {at}");
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << random.below(8);
        assert!(rdb::extent(&mut &damaged[..]).is_err(), "byte {at}");
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&path, &damaged).expect("the snapshot");
    let target = directory.path().join("data");
    let said = refuse(&["import", text(&path), "--dir", text(&target)]);
    assert!(said.contains("dump.rdb: ") && said.contains("Take another copy of it"), "{said}");
    // Nothing is left that would keep the next one from it.
    fs::write(&path, &whole).expect("the snapshot");
    succeed(&["import", text(&path), "--dir", text(&target)]);
}

#[test]
fn a_snapshot_without_a_checksum_is_taken_and_that_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(server) = redis::start(directory.path(), &["--rdbchecksum", "no"]) else { return };
    let mut conn = server.connect();
    conn.expect("INCR counter", int(1));
    conn.expect("SAVE", ok());
    let target = directory.path().join("data");
    let done = tallyring(&["import", text(&directory.path().join("dump.rdb")), "--dir", text(&target)]);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("dump.rdb has no checksum"), "{}", done.stderr);
    assert!(done.stdout.starts_with("1 counter imported"), "{}", done.stdout);
}

/// A command that a key is met by if it is a string.
fn of_a_string(key: &str, command: &str) -> String {
    format!("EVAL \"if redis.call('TYPE', KEYS[1]).ok == 'string' then redis.pcall({command}) end\" 1 {key}")
}

/// Commands of all kinds that a counter or what is beside it can meet.
fn change_at_random(conn: &mut Conn, random: &mut Random, count: usize) {
    let mut lines = Vec::new();
    for _ in 0..count {
        let (a, b) = (format!("k{}", random.below(40)), format!("k{}", random.below(40)));
        let number = random.next() as i64 >> (1 + random.below(60));
        let at_ms = 4_102_444_800_000 + random.below(1_000) as i64;
        lines.push(match random.below(36) {
            0..6 => format!("INCRBY {a} {}", random.below(1_000)),
            6 => format!("SET {a} {number}"),
            7 => format!("SET {a} {number} EX 100000"),
            // What a list had is not known: that is refused, and has its own test.
            8 => of_a_string(
                &a,
                &format!("'SET', KEYS[1], '{}', 'KEEPTTL'", [number.to_string(), "text".to_owned()][random.below(2)]),
            ),
            9 => format!("SET {a} text:{number}"),
            10 => format!("DECRBY {a} {}", random.below(1_000)),
            11 => format!("PEXPIREAT {a} {at_ms}"),
            12 => format!("EXPIRE {a} 100000"),
            13 => format!("PERSIST {a}"),
            14 => format!("DEL {a} {b}"),
            15 => format!("RENAME {a} {b}"),
            16 => format!("COPY {a} {b} REPLACE"),
            17 => format!("MSET {a} {number} {b} 1"),
            18 => format!("GETSET {a} {number}"),
            19 => format!("GETDEL {a}"),
            20 => format!("GETEX {a} PXAT {at_ms}"),
            21 => format!("SETNX {a} {number}"),
            22 => format!("RPUSH {a} element"),
            23 => format!("LPOP {a}"),
            24 => format!("SADD {a} member"),
            25 => format!("SPOP {a}"),
            26 => format!("MSETNX {a} {number} {b} 1"),
            27 => of_a_string(&a, ["'INCRBYFLOAT', KEYS[1], 1", "'INCRBYFLOAT', KEYS[1], 0.5"][random.below(2)]),
            28 => format!("SET {a} 1 PX 1"),
            29 => format!("MOVE {a} 2"),
            32 => format!("APPEND {a} {}", random.below(10)),
            33 => format!("SETRANGE {a} {} {}", random.below(4), random.below(100)),
            34 => format!("SETBIT {a} {} {}", random.below(24), random.below(2)),
            35 => format!("SET {a} {}", ["-", "x1", "+5", "007"][random.below(4)]),
            30 => "SELECT 1\r\nINCR elsewhere\r\nDEL k1\r\nSELECT 0".to_owned(),
            _ => format!("MULTI\r\nINCR {a}\r\nINCR {b}\r\nEXEC"),
        });
    }
    if random.one_in(4) {
        lines.push(["FLUSHALL", "FLUSHDB"][random.below(2)].to_owned());
        lines.push("MSET k1 1 k2 2".to_owned());
    }
    let bytes = lines.iter().map(|line| format!("{line}\r\n")).collect::<String>();
    let count = bytes.matches("\r\n").count();
    conn.exchange(bytes.as_bytes(), count);
}

#[test]
fn append_only_files_are_imported_in_every_form() {
    let mut random = Random::new(seed());
    for preamble in ["yes", "no"] {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path();
        let args = ["--appendonly", "yes", "--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", preamble];
        let Some(server) = redis::start(directory, &args) else { return };
        let mut conn = server.connect();
        redis::fill_with_counters(&mut conn);
        redis::fill_with_everything(&mut conn);
        change_at_random(&mut conn, &mut random, 2_000);
        let parts = directory.join("appendonlydir");
        let equal = |conn: &mut Conn, files: &[&Path]| {
            // What was to expire has expired, and Redis has said so.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut expected = redis::counters(conn);
            expected.retain(|(key, ..)| key.len() <= 1_024);
            let (said, counters) = imported(files);
            assert_eq!(counters, expected, "{said}");
        };
        // Commands alone; then a base and what came behind it.
        equal(&mut conn, &[&parts]);
        redis::rewrite(&mut conn);
        equal(&mut conn, &[&parts]);
        change_at_random(&mut conn, &mut random, 2_000);
        equal(&mut conn, &[&parts.join("appendonly.aof.manifest")]);

        // In one file, as Redis 6 and older have it.
        let base = redis::part(directory, if preamble == "yes" { "base.rdb" } else { "base.aof" });
        let mut bytes = fs::read(base).expect("the base");
        bytes.extend(fs::read(redis::part(directory, "incr.aof")).expect("what came behind"));
        let single = directory.join("appendonly.aof");
        fs::write(&single, &bytes).expect("a file");
        equal(&mut conn, &[&single]);

        // A crash has cut it.
        bytes.extend(b"*2\r\n$4\r\nINCR\r\n$2\r\nk");
        fs::write(&single, &bytes).expect("a file");
        equal(&mut conn, &[&single]);

        // What cannot be followed is refused, until Redis has written its counters anew.
        conn.expect("SWAPDB 0 1", ok());
        let target = directory.join("data");
        let said = refuse(&["import", text(&parts), "--dir", text(&target)]);
        assert!(said.contains("cannot be followed: SWAPDB. Have Redis write its counters anew"), "{said}");
        redis::rewrite(&mut conn);
        equal(&mut conn, &[&parts]);
    }
}

#[test]
fn counters_go_to_redis_and_back() {
    let Some(redis_cli) = peer_or_skip("redis-cli") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let mut server = serve_in(&data, 2);
    let mut conn = server.connect();
    redis::fill_with_counters(&mut conn);
    let expected = redis::counters(&mut conn);
    server.signal(Signal::TERM);
    server.wait();

    let resp = succeed(&["export", text(&data), "--format", "resp"]);
    let Some(peer) = redis::start(directory.path(), &["--save", ""]) else { return };
    let mut command = Command::new(redis_cli);
    command.args(["-p", &peer.address().port().to_string(), "--pipe"]);
    let piped = run(command, resp.as_bytes(), PROCESS_LIMIT);
    assert!(piped.stdout.contains(&format!("errors: 0, replies: {}", expected.len())), "{}", piped.stdout);
    let mut conn = peer.connect();
    assert_eq!(redis::counters(&mut conn), expected);

    conn.expect("SAVE", ok());
    let (said, counters) = imported(&[&directory.path().join("dump.rdb")]);
    assert_eq!(counters, expected);
    assert!(!said.contains("skipped"), "{said}");
}

#[test]
fn a_directory_that_holds_counters_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("commands.aof");
    fs::write(&file, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n5\r\n").expect("a file");
    let (file, data) = (text(&file), directory.path().join("data"));
    let mut server = serve_in(&data, 1);
    let said = refuse(&["import", file, "--dir", text(&data)]);
    assert!(said.contains("is used by another server"), "{said}");

    // One that has nothing is taken.
    server.signal(Signal::TERM);
    server.wait();
    succeed(&["import", file, "--dir", text(&data)]);
    let said = refuse(&["import", file, "--dir", text(&data)]);
    assert!(said.contains("holds counters already. Name another --dir"), "{said}");
    let server = serve_in(&data, 2);
    server.connect().expect("INCR a", int(6));
    drop(server);

    // Two files: of a key that both have, the later one counts.
    let later = directory.path().join("later.aof");
    fs::write(&later, "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n").expect("a file");
    let (said, counters) = imported(&[Path::new(file), &later]);
    assert_eq!(counters, [("a".to_owned(), 6, -1), ("b".to_owned(), 1, -1)], "{said}");

    let said = refuse(&["import", text(&directory.path().join("missing.rdb")), "--dir", text(&data)]);
    assert!(said.contains("missing.rdb: No such file or directory"), "{said}");
}
