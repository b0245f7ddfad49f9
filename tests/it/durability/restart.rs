//! Orderly ends: everything is there, exactly, whatever the number of shards is next time.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use super::serve_in;
use crate::support::{
    Conn, PROCESS_LIMIT, Process, Server, array, binary, bulk, error, int, ok, serve_command, simple, spread_keys,
    wire, within,
};

/// SIGTERM, and the next server.
#[track_caller]
fn restart(mut server: Server, directory: &std::path::Path, threads: usize, args: &[&str]) -> Server {
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    serve_in(directory, threads, args)
}

fn field(conn: &mut Conn, name: &str) -> String {
    let text = conn.ask("INFO persistence").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} in {text}")).to_owned()
}

/// Ask for a snapshot, and wait for it.
fn snapshot(conn: &mut Conn) {
    conn.expect("BGSAVE", simple("Background saving started"));
    within(crate::support::REPLY_LIMIT, "the snapshot is complete", || field(conn, "rdb_bgsave_in_progress") == "0");
    assert_eq!(field(conn, "rdb_last_bgsave_status"), "ok");
}

#[test]
fn every_kind_of_change_survives() {
    for policy in ["always", "everysec", "no"] {
        let directory = tempfile::tempdir().expect("a directory");
        let args = ["--appendfsync", policy];
        let server = serve_in(directory.path(), 2, &args);
        let mut conn = server.connect();
        let [a, b] = &spread_keys("k", 2)[..] else { panic!("two keys") };
        conn.expect("SET gone 1", ok());
        conn.expect("SET renamed 5 EX 5000", ok());
        conn.expect("INCRBY counted 40", int(40));
        conn.expect("INCR counted", int(41));
        conn.expect(&format!("MINCRBY {a} 3 {b} -9223372036854775808"), array([int(3), int(i64::MIN)]));
        conn.expect("DEL gone", int(1));
        conn.expect("RENAME renamed other", ok());
        conn.expect("SET expiring 7 PXAT 4102444800123", ok());
        conn.expect("SET short 1 PX 1", ok());
        conn.expect("SET persisted 8 EX 5000", ok());
        conn.expect("PERSIST persisted", int(1));
        conn.expect("SET taken 9", ok());
        conn.expect("GETDEL taken", bulk("9"));
        conn.expect("SET past 1", ok());
        conn.expect("SET past 2 PXAT 1", ok());
        conn.expect("MULTI", ok());
        conn.expect(&format!("INCR {a}"), simple("QUEUED"));
        conn.expect(&format!("INCR {b}"), simple("QUEUED"));
        conn.expect("EXEC", array([int(4), int(i64::MIN + 1)]));

        let mut server = server;
        for threads in [2, 1, 3, 2] {
            server = restart(server, directory.path(), threads, &args);
            let mut conn = server.connect();
            conn.expect("DBSIZE", int(6));
            conn.expect(
                &format!("MGET counted {a} {b} other expiring persisted"),
                array([bulk("41"), bulk("4"), bulk((i64::MIN + 1).to_string()), bulk("5"), bulk("7"), bulk("8")]),
            );
            conn.expect("PEXPIRETIME expiring", int(4_102_444_800_123));
            conn.expect("TTL persisted", int(-1));
            let left = conn.ask("TTL other").as_int();
            assert!((4_000..=5_000).contains(&left), "{left}");
            conn.expect("EXISTS gone renamed short taken past", int(0));
        }
    }
}

#[test]
fn a_flush_survives_also_when_shards_are_dealt_out_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_in(directory.path(), 2, &[]);
    let mut conn = server.connect();
    for index in 0..500 {
        conn.expect(&format!("SET before:{index} 1"), ok());
    }
    let server = restart(server, directory.path(), 3, &[]);
    let mut conn = server.connect();
    conn.expect("DBSIZE", int(500));
    conn.expect("FLUSHALL", ok());
    conn.expect("SET after 1", ok());
    let server = restart(server, directory.path(), 1, &[]);
    server.connect().expect("KEYS *", array([bulk("after")]));
}

#[test]
fn snapshots_replace_the_journal() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = serve_in(directory.path(), 2, &["--appendfsync", "always"]);
    let mut expected = 0;
    for threads in [1, 2, 2] {
        let mut conn = server.connect();
        for _ in 0..3 {
            for index in 0..2_000 {
                conn.send(format!("INCR key:{index}\r\n").as_bytes());
            }
            expected += 1;
            conn.read_many(2_000).iter().for_each(|reply| assert_eq!(*reply, int(expected)));
            snapshot(&mut conn);
            conn.expect("SAVE", ok());
            let last_save_s = conn.ask("LASTSAVE").as_int();
            assert_eq!(field(&mut conn, "rdb_last_save_time"), last_save_s.to_string());
            assert_eq!(field(&mut conn, "rdb_changes_since_last_save"), "0");
        }
        conn.expect("INCR key:0", int(expected + 1));
        conn.expect("DECR key:0", int(expected));
        server = restart(server, directory.path(), threads, &["--appendfsync", "always"]);
        let mut conn = server.connect();
        conn.expect("DBSIZE", int(2_000));
        conn.expect("MGET key:0 key:1999", array([bulk(expected.to_string()), bulk(expected.to_string())]));
        let names: Vec<String> = std::fs::read_dir(directory.path())
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        let segment_count = names.iter().filter(|name| name.starts_with("journal-")).count();
        assert!(segment_count <= 4, "the journal before the snapshot is gone: {names:?}");
    }
}

#[test]
fn a_journal_that_outgrows_its_snapshot_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let args = ["--appendfsync", "always", "--auto-aof-rewrite-min-size", "20kb"];
    let server = serve_in(directory.path(), 2, &args);
    let mut conn = server.connect();
    let before_s = conn.ask("LASTSAVE").as_int();
    within(crate::support::REPLY_LIMIT, "a snapshot is taken", || {
        for index in 0..200 {
            conn.send(format!("INCR key:{index}\r\n").as_bytes());
        }
        conn.read_many(200);
        conn.ask("LASTSAVE").as_int() > before_s
    });
}

#[test]
fn the_settings_are_told_and_can_be_changed() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = serve_in(directory.path(), 2, &[]);
    let mut conn = server.connect();
    assert_eq!(field(&mut conn, "aof_enabled"), "1");
    for policy in ["always", "no", "everysec", "always"] {
        conn.expect(&format!("CONFIG SET appendfsync {policy}"), ok());
        assert_eq!(conn.ask("CONFIG GET appendfsync").elements()[1], bulk(policy));
        assert!(!conn.ask(&format!("INCR {policy}")).is_error());
    }
    let refusal = "argument(s) must be one of the following: everysec, always, no";
    let refused = conn.ask("CONFIG SET appendfsync sometimes").text();
    assert!(refused.ends_with(refusal), "{refused}");
    let server = restart(server, directory.path(), 1, &[]);
    let mut conn = server.connect();
    conn.expect("MGET always no everysec", array([bulk("2"), bulk("1"), bulk("1")]));
    let plain = Server::start(1);
    let mut conn = plain.connect();
    assert_eq!(field(&mut conn, "aof_enabled"), "0");
    assert!(conn.ask("LASTSAVE").as_int() > 0, "when the server started");
    conn.expect(
        "SAVE",
        error("ERR the counters live in memory only: CONFIG SET appendonly yes keeps them on the disk"),
    );
}

#[test]
fn a_signal_while_a_shard_loads_loses_nothing_that_others_have_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let [quick, slow] = &spread_keys("k", 2)[..] else { panic!("two keys") };
    let mut server = serve_in(directory.path(), 2, &[]);
    let mut conn = server.connect();
    // The second shard has much to load, the first one nothing.
    for batch in 0..400 {
        let names = (0..1_000).flat_map(|number| [format!("{{{slow}}}:{batch}:{number}"), "1".to_owned()]);
        conn.send(&wire(std::iter::once("MSET".to_owned()).chain(names)));
    }
    assert!(conn.read_many(400).iter().all(|reply| *reply == ok()));
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));

    let (path, socket) = (directory.path().to_str().expect("a path of text"), directory.path().join("socket"));
    for (signal, reply) in [(Signal::TERM, ":1\r\n"), (Signal::INT, ":2\r\n")] {
        let args = ["--dir", path, "--buffers", "16", "--maxclients", "64", "--maxmemory", "1gb"];
        let mut command = serve_command(&binary(), 2, &args);
        command.arg("--unixsocket").arg(&socket);
        let mut loading = Process::spawn(command);
        // The first client is the first shard's.
        let mut client = Err(std::io::ErrorKind::NotFound.into());
        within(PROCESS_LIMIT, "it listens", || {
            client = UnixStream::connect(&socket);
            client.is_ok()
        });
        let mut client = client.expect("just connected");
        client.set_read_timeout(Some(PROCESS_LIMIT)).expect("a time limit");
        client.write_all(&wire(["INCR", quick])).expect("it reads");
        let mut told = [0; 4];
        client.read_exact(&mut told).expect("it answers");
        assert_eq!(told, reply.as_bytes());
        loading.signal(signal);
        assert_eq!(loading.wait(PROCESS_LIMIT).code(), Some(0), "{signal:?}: {}", loading.tail());
    }
    let server = serve_in(directory.path(), 2, &[]);
    let mut conn = server.connect();
    conn.expect(&format!("GET {quick}"), bulk("2"));
    conn.expect("DBSIZE", int(400_001));
}
