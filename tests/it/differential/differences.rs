//! What is meant to be different from Redis: a counter server, and says so.
//!
//! Each line is asked on both sides: ours must answer as listed, and Redis must not, or the line is out of date.

use crate::support::{Conn, RedisServer, Reply, Server, array, bulk, error, int, ok};

const NOT_INTEGER: &str = "ERR value is not an integer or out of range";

/// What ours answers, after `FLUSHALL` and `SET five 5`.
fn deliberate() -> Vec<(Vec<&'static str>, Reply)> {
    let mut list: Vec<(Vec<&str>, Reply)> = Vec::new();
    // Redis keeps any bytes; a counter is a 64-bit integer in its one way of writing.
    for value in ["abc", "", "007", "+5", " 5", "5 ", "-0", "1.0", "1e3", "9223372036854775808", "-9223372036854775809"]
    {
        list.push((vec!["SET", "k", value], error(NOT_INTEGER)));
    }
    list.push((vec!["SET", "five", "abc", "XX"], error(NOT_INTEGER)));
    list.push((vec!["SETNX", "k", "abc"], error(NOT_INTEGER)));
    list.push((vec!["SETEX", "k", "100", "abc"], error(NOT_INTEGER)));
    list.push((vec!["PSETEX", "k", "100000", "abc"], error(NOT_INTEGER)));
    list.push((vec!["GETSET", "five", "abc"], error(NOT_INTEGER)));
    list.push((vec!["GET", "five"], bulk("5")));
    // Many counters at once, an overflow at its place.
    list.push((vec!["SET", "top", "9223372036854775807"], ok()));
    let overflow = error("ERR increment or decrement would overflow");
    list.push((
        vec!["MINCRBY", "five", "2", "top", "1", "new", "-3", "five", "1"],
        array([int(7), overflow, int(-3), int(8)]),
    ));
    list.push((vec!["MINCRBY", "five"], error("ERR wrong number of arguments for 'mincrby' command")));
    list.push((vec!["MINCRBY", "five", "1", "new"], error("ERR wrong number of arguments for 'mincrby' command")));
    // Of later versions of Redis than the 7.0 that is compared with.
    list.push((vec!["CLIENT", "SETINFO", "LIB-NAME", "tests"], ok()));
    list.push((vec!["CLIENT", "NO-TOUCH", "on"], ok()));
    list
}

/// What Redis has and a counter server has not.
const NOT_THERE: &[&str] =
    &["APPEND five 1", "LPUSH l 1", "SADD s 1", "HSET h f 1", "ZADD z 1 m", "INCRBYFLOAT float 1.5"];

#[test]
fn deliberate_differences_are_as_listed() {
    let ours = Server::start(2);
    let theirs = RedisServer::start_or_skip(&[]);
    let prepare = |conn: &mut Conn| {
        conn.expect("FLUSHALL", ok());
        conn.expect("SET five 5", ok());
    };
    let mut ours = ours.connect();
    prepare(&mut ours);
    let mut theirs = theirs.as_ref().map(RedisServer::connect);
    theirs.iter_mut().for_each(prepare);
    for (args, expected) in deliberate() {
        assert_eq!(ours.call(&args), expected, "the reply to {args:?}");
        // What only makes ready for the next line is the same on both sides.
        let makes_ready = matches!(args[1], "top") || args[0] == "GET";
        if let Some(theirs) = theirs.as_mut().filter(|_| !makes_ready) {
            assert_ne!(theirs.call(&args), expected, "Redis answers {args:?} alike");
        }
    }
    for line in NOT_THERE {
        let name = line.split(' ').next().expect("a name");
        let reply = ours.ask(line).text();
        assert!(
            reply.starts_with(&format!("ERR unknown command '{name}', with args beginning with: ")),
            "{line}: {reply}"
        );
        if let Some(theirs) = &mut theirs {
            assert!(!theirs.ask(line).is_error(), "Redis refuses {line}");
        }
    }
    // The idle time of a counter is not tracked: an error, and not a wrong number.
    assert!(ours.ask("OBJECT IDLETIME five").is_error());
    assert!(ours.ask("OBJECT IDLETIME nosuch").is_null());
}

#[test]
fn values_that_are_no_integers_change_nothing() {
    let server = Server::start(2);
    let mut conn = server.connect();
    conn.expect("SET a 5 EX 1000", ok());
    for line in ["SET a x", "GETSET a x", "SET a x GET", "INCRBY a x", "SETEX a 5 x", "SET a x KEEPTTL"] {
        conn.expect_error(line, NOT_INTEGER);
    }
    conn.expect("GET a", bulk("5"));
    assert!(conn.ask("TTL a").as_int() > 990);
    // A pair in the middle that is no integer leaves the earlier ones applied, in MSET; MSETNX is all or nothing.
    assert!(conn.ask("MSET b 1 c x d 2").is_error());
    conn.expect("GET b", bulk("1"));
    conn.expect("GET c", Reply::NullBulk);
    assert!(conn.ask("MSETNX e 1 f x").is_error());
    conn.expect("EXISTS e f", int(0));
    conn.expect("PING", Reply::Simple(b"PONG".to_vec()));
}
