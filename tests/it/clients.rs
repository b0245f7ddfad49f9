//! Real clients: the `redis` crate, redis-cli, redis-benchmark, redis-py.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use redis::{Commands, Connection, Value};

use crate::support::{Finished, Server, left_out, ok, peer_or_skip, run};

const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// What redis-py's script exits with when redis-py is missing or too old.
const EXIT_LEFT_OUT: i32 = 77;

fn open(server: &Server, query: &str) -> Connection {
    let client = redis::Client::open(format!("redis://{}/{query}", server.address())).expect("an address");
    let conn = client.get_connection_with_timeout(Duration::from_secs(10)).expect("a connection");
    conn.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
    conn.set_write_timeout(Some(Duration::from_secs(30))).expect("a limit");
    conn
}

#[test]
fn the_redis_crate_plain() {
    let server = Server::start(2);
    let mut conn = open(&server, "");
    let value: i64 = conn.incr("hits", 5).expect("INCRBY");
    assert_eq!(value, 5);
    let _: () = conn.set("other", i64::MIN).expect("SET");
    let values: Vec<Option<i64>> = conn.mget(&["hits", "nosuch", "other"][..]).expect("MGET");
    assert_eq!(values, [Some(5), None, Some(i64::MIN)]);
    let refused: redis::RedisResult<i64> = conn.decr("other", 1);
    assert!(refused.expect_err("an overflow").to_string().contains("overflow"));
    let changed: bool = conn.expire("hits", 100).expect("EXPIRE");
    assert!(changed);
    let mut found: Vec<String> = conn.scan::<String>().expect("SCAN").map(|key| key.expect("a key")).collect();
    found.sort();
    assert_eq!(found, ["hits", "other"]);
    let info: String = redis::cmd("INFO").query(&mut conn).expect("INFO");
    assert!(info.contains("redis_version:"));
    let deleted: i64 = conn.del(&["hits", "other"][..]).expect("DEL");
    assert_eq!(deleted, 2);
}

#[test]
fn the_redis_crate_pipelines_and_transactions() {
    for (shard_count, query) in [(1, ""), (3, ""), (3, "?protocol=resp3")] {
        let server = Server::start(shard_count);
        let mut conn = open(&server, query);
        let mut pipe = redis::pipe();
        for index in 0..1000 {
            pipe.incr(format!("key:{}", index % 10), 1);
        }
        let values: Vec<i64> = pipe.query(&mut conn).expect("a pipeline");
        assert_eq!(values[990..], [100; 10]);
        let values: (i64, i64, Option<i64>) =
            redis::pipe().atomic().incr("a", 1).incr("b", 2).get("nosuch").query(&mut conn).expect("a transaction");
        assert_eq!(values, (1, 2, None));
        let (a,): (i64,) = redis::transaction(&mut conn, &["a"], |conn, pipe| {
            let value: i64 = conn.get("a")?;
            pipe.set("a", value + 1).ignore().get("a").query(conn)
        })
        .expect("a transaction with WATCH");
        assert_eq!(a, 2);
    }
}

#[test]
fn the_redis_crate_in_resp3() {
    let server = Server::start(2);
    let mut conn = open(&server, "?protocol=resp3");
    let nothing: Value = redis::cmd("GET").arg("nosuch").query(&mut conn).expect("GET");
    assert_eq!(nothing, Value::Nil);
    let settings: Value = redis::cmd("CONFIG").arg("GET").arg("maxmemory").query(&mut conn).expect("CONFIG GET");
    assert!(matches!(settings, Value::Map(_)), "{settings:?}");
    let values: Vec<i64> = redis::cmd("MINCRBY").arg(&["a", "1", "b", "2"]).query(&mut conn).expect("MINCRBY");
    assert_eq!(values, [1, 2]);
    let hello: Value = redis::cmd("HELLO").arg(3).query(&mut conn).expect("HELLO");
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
}

fn redis_cli(program: &Path, server: &Server, args: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &server.port()]).args(args);
    let Finished { status, stdout, stderr } = run(command, input.as_bytes(), CLIENT_LIMIT);
    assert!(status.success(), "redis-cli {args:?}: {status}\n{stdout}\n{stderr}");
    stdout
}

#[test]
fn redis_cli_works() {
    let Some(program) = peer_or_skip("redis-cli") else { return };
    let server = Server::start(2);
    let cli = |args: &[&str], input: &str| redis_cli(&program, &server, args, input);
    assert_eq!(cli(&["set", "hits", "5"], ""), "OK\n");
    assert_eq!(cli(&["incr", "hits"], ""), "6\n");
    assert_eq!(cli(&["get", "hits"], ""), "6\n");
    assert_eq!(cli(&["get", "nosuch"], ""), "\n");
    assert_eq!(cli(&["-3", "get", "hits"], ""), "6\n");
    assert_eq!(cli(&["-3", "--json", "mget", "hits", "nosuch"], "").trim(), r#"["6",null]"#);
    assert_eq!(cli(&[], "MULTI\nINCR a\nINCR b\nEXEC\nGET a\n"), "OK\nQUEUED\nQUEUED\n1\n1\n1\n");
    for index in 0..100 {
        server.connect().expect(&format!("SET key:{index} {index}"), ok());
    }
    let keys = cli(&["--scan", "--pattern", "key:*"], "");
    let mut keys: Vec<&str> = keys.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 100);
    assert!(cli(&["info", "server"], "").contains("redis_version:"));
    assert_eq!(cli(&["set", "hits", "many"], "").trim(), "ERR value is not an integer or out of range");
}

#[test]
fn redis_cli_inserts_in_bulk() {
    let Some(program) = peer_or_skip("redis-cli") else { return };
    let server = Server::start(2);
    let lines: String = (0..5000).map(|index| format!("INCRBY pipe:{} 2\r\n", index % 50)).collect();
    let output = redis_cli(&program, &server, &["--pipe"], &lines);
    assert!(output.contains("errors: 0, replies: 5000"), "{output}");
    assert_eq!(server.connect().ask("GET pipe:7").as_count(), 200);
}

#[test]
fn redis_benchmark_runs() {
    let Some(program) = peer_or_skip("redis-benchmark") else { return };
    let server = Server::start(2);
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &server.port(), "-t", "ping,incr,get", "-P", "16", "-c", "50"]);
    command.args(["-n", "200000", "-q"]);
    let Finished { status, stdout, stderr } = run(command, b"", CLIENT_LIMIT);
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    for test in ["PING_INLINE", "PING_MBULK", "INCR", "GET"] {
        // The last line of a test overwrites its progress.
        let line =
            stdout.split(['\r', '\n']).find(|line| line.starts_with(test) && line.contains("requests per second"));
        let line = line.unwrap_or_else(|| panic!("no figure of {test}: {stdout}"));
        let figure = line.split_whitespace().nth(1).expect("a figure");
        assert!(figure.parse::<f64>().is_ok_and(|rate| rate > 0.0), "{line}");
    }
    assert!(!format!("{stdout}{stderr}").contains("ERR"), "{stdout}\n{stderr}");
    assert_eq!(server.connect().ask("GET counter:__rand_int__").as_count(), 200_000);
}

#[test]
fn redis_py_works() {
    let Some(python) = peer_or_skip("python3") else { return };
    for shard_count in ["1", "3"] {
        let server = Server::start(shard_count.parse().expect("a number"));
        let mut command = Command::new(&python);
        command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/redis_py.py")).arg(server.port());
        let Finished { status, stdout, stderr } = run(command, b"", CLIENT_LIMIT);
        if status.code() == Some(EXIT_LEFT_OUT) {
            left_out(stdout.trim());
            return;
        }
        assert!(status.success(), "redis_py.py: {status}\n{stdout}\n{stderr}");
        assert!(stdout.trim().ends_with("all passed"), "{stdout}\n{stderr}");
    }
}
