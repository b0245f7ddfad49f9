//! A real Redis that writes files, and what is in it.

use std::path::{Path, PathBuf};

use crate::support::{Conn, PROCESS_LIMIT, RedisServer, Reply, within};

use super::text;

/// A Redis with four databases that writes into this directory, with more arguments.
pub fn start(directory: &Path, args: &[&str]) -> Option<RedisServer> {
    let mut all = vec!["--databases", "4", "--dir", text(directory), "--enable-debug-command", "yes"];
    all.extend(args);
    RedisServer::start_or_skip(&all)
}

/// Have it write its append-only file anew, and wait for that.
pub fn rewrite(conn: &mut Conn) {
    assert!(!conn.ask("BGREWRITEAOF").is_error());
    within(PROCESS_LIMIT, "the append-only file is rewritten", || {
        let info = conn.ask("INFO persistence").text();
        info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
    });
}

/// The counters of database 0: key, value, and when it expires (-1: never).
pub fn counters(conn: &mut Conn) -> Vec<(String, i64, i64)> {
    let mut found = Vec::new();
    for key in conn.ask("KEYS *").elements() {
        let key = key.text();
        if conn.call(["TYPE", &key]) != crate::support::simple("string") {
            continue;
        }
        let value = conn.call(["GET", &key]).text();
        if let Some(number) = value.parse::<i64>().ok().filter(|number| number.to_string() == value) {
            let expires_at_ms = conn.call(["PEXPIRETIME", &key]).as_int();
            found.push((key, number, expires_at_ms));
        }
    }
    found.sort();
    found
}

/// The file of the append-only directory whose name ends so.
pub fn part(directory: &Path, end: &str) -> PathBuf {
    let entries = std::fs::read_dir(directory.join("appendonlydir")).expect("the directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    paths.find(|path| path.to_string_lossy().ends_with(end)).expect("such a file")
}

/// Something of every type and encoding that a Redis 7 knows, beside the counters.
pub fn fill_with_everything(conn: &mut Conn) {
    let long = "compressible ".repeat(100);
    let mut lines = vec![
        "SET string hello".to_owned(),
        "SET float 1.5".to_owned(),
        "SET zeros 007".to_owned(),
        "SETBIT bits 100 1".to_owned(),
        "PFADD hyperloglog a b c".to_owned(),
        "SADD set:integers 1 2 3 70000 5000000000".to_owned(),
        "SADD set:few a b c".to_owned(),
        "HSET hash:few field value number 12".to_owned(),
        "ZADD zset:few 1 a 2.5 b -inf c".to_owned(),
        "RPUSH list:few a 1 b".to_owned(),
        "XADD stream 1-1 field value".to_owned(),
        "XADD stream 2-1 field value".to_owned(),
        "XGROUP CREATE stream group 0".to_owned(),
        "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >".to_owned(),
        "SET expiring:string hello PXAT 4102444800123".to_owned(),
        "RPUSH expiring:list a".to_owned(),
        "PEXPIREAT expiring:list 4102444800123".to_owned(),
        "SELECT 1".to_owned(),
        "SET elsewhere 1".to_owned(),
        "INCR elsewhere".to_owned(),
        "RPUSH elsewhere:list a".to_owned(),
        "SELECT 3".to_owned(),
        "SET far 3 PXAT 4102444800123".to_owned(),
        "SELECT 0".to_owned(),
    ];
    for index in 0..600 {
        lines.push(format!("RPUSH list:many element:{index}"));
        lines.push(format!("SADD set:many member:{index}"));
        lines.push(format!("HSET hash:many field:{index} {index}"));
        lines.push(format!("ZADD zset:many {index}.5 member:{index}"));
    }
    for line in lines {
        let reply = conn.ask(&line);
        assert!(!reply.is_error(), "{line}: {reply:?}");
    }
    for request in [
        &["SET", "string:long", &long][..],
        &["RPUSH", "list:long", &long],
        &["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"],
        &["SET", &"long key ".repeat(200), "1"],
    ] {
        let reply = conn.call(request);
        assert!(!reply.is_error() && reply != Reply::Null, "{reply:?}");
    }
}

/// Counters whose values and keys Redis writes in every way that it has.
pub fn fill_with_counters(conn: &mut Conn) {
    let values = [0, 1, -1, 127, -128, 128, 32_767, -32_768, 32_768, 2_147_483_647, -2_147_483_648, 2_147_483_648];
    for value in values.into_iter().chain([i64::MAX, i64::MIN]) {
        assert!(!conn.ask(&format!("SET value:{value} {value}")).is_error());
    }
    for index in 0..300 {
        assert!(!conn.ask(&format!("INCRBY counter:{index} {index}")).is_error());
    }
    for index in 0..100_i64 {
        assert!(!conn.ask(&format!("SET expiring:{index} {index} PXAT {}", 4_102_444_800_000 + index)).is_error());
    }
    // Long enough to be compressed.
    let key = "abc".repeat(100);
    assert!(!conn.ask(&format!("INCRBY {key} 5")).is_error());
}
