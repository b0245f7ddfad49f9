//! Broken protocol: Redis's own error, then the end of the connection, and of no other.

use std::time::{Duration, Instant};

use crate::support::{Conn, RedisServer, Reply, Server, bulk, int, ok, simple, wire};

/// Bytes, and all that is answered before the connection ends.
const BROKEN: &[(&[u8], &str)] = &[
    (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"* 1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1 \r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*+1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*01\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*9223372036854775808\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*99999999999999999999\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*1\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
    (b"*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"),
    (b"*1\r\n*1\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"),
    (b"*2\r\n$3\r\nGET\r\n+a\r\n", "-ERR Protocol error: expected '$', got '+'\r\n"),
    (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$+4\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$04\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$536870913\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$99999999999999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
    (b"*1\r\n$4\r\nPING\r\n*z\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2\r\n$4\r\nMGET\r\n$1\r\na\r\n*1\r\n$z\r\n", "*1\r\n$-1\r\n-ERR Protocol error: invalid bulk length\r\n"),
    (b"GET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"GET 'a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"GET \"a\"b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"GET 'a'b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"PING\r\n\"\r\n", "+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n"),
    // A browser that was sent here: no word, only the end.
    (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a 1\r\n", ""),
    (b"Host: localhost\r\n", ""),
    (b"*2\r\n$4\r\npost\r\n$1\r\n/\r\n", ""),
    (b"QUIT\r\nPING\r\n", "+OK\r\n"),
];

/// Bytes that are odd but not broken, and the answer to them and to a `PING` after them.
const ODD: &[(&[u8], &str)] = &[
    (b"\r\n", ""),
    (b"\n", ""),
    (b"   \r\n", ""),
    (b"*0\r\n", ""),
    (b"*-1\r\n", ""),
    (b"*-2147483648\r\n", ""),
    (b"PING\n", "+PONG\r\n"),
    (b"  PING  \r\n", "+PONG\r\n"),
    (b"\"PING\"\r\n", "+PONG\r\n"),
    (b"ECHO \"\\x41\\n\\t\\\"\\q\"\r\n", "$5\r\nA\n\t\"q\r\n"),
    (b"ECHO 'it\\'s \\n'\r\n", "$7\r\nit's \\n\r\n"),
    (b"ECHO \"\"\r\n", "$0\r\n\r\n"),
    (b"ECHO a\"b c\"\r\n", "$4\r\nab c\r\n"),
    (b"$4\r\n", "-ERR unknown command '$4', with args beginning with: \r\n"),
    (b":1\r\n", "-ERR unknown command ':1', with args beginning with: \r\n"),
    (b"+PONG\r\n", "-ERR unknown command '+PONG', with args beginning with: \r\n"),
    (b"*1\r\n$0\r\n\r\n", "-ERR unknown command '', with args beginning with: \r\n"),
    (
        b"*3\r\n$4\r\nNOPE\r\n$1\r\na\r\n$0\r\n\r\n",
        "-ERR unknown command 'NOPE', with args beginning with: 'a' '' \r\n",
    ),
];

fn check_broken(conn: &mut Conn, name: &str, bytes: &[u8], expected: &str) {
    conn.send(bytes);
    let answer = conn.read_to_end();
    assert_eq!(
        answer.escape_ascii().to_string(),
        expected.as_bytes().escape_ascii().to_string(),
        "{name} on \"{}\"",
        bytes.escape_ascii()
    );
}

#[test]
fn broken_protocol_gets_redis_error_and_the_end() {
    let server = Server::start(2);
    let mut bystander = server.connect();
    for (bytes, expected) in BROKEN {
        check_broken(&mut server.connect(), "tallyring", bytes, expected);
        bystander.expect("PING", simple("PONG"));
    }
    bystander.expect("EXISTS a", int(0));
    let Some(redis) = RedisServer::start_or_skip(&[]) else { return };
    for (bytes, expected) in BROKEN {
        check_broken(&mut redis.connect(), "redis-server", bytes, expected);
    }
}

#[test]
fn a_browser_is_sent_away_before_it_can_count() {
    let server = Server::start(2);
    for request in ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\nINCR a\r\n", "POST / HTTP/1.1\r\n\r\nINCR a\r\n"] {
        let mut conn = server.connect();
        conn.send(request.as_bytes());
        // The error to the first line may be under way already when the second one ends the connection.
        let answer = conn.read_to_end();
        let error = b"-ERR wrong number of arguments for 'get' command\r\n";
        assert!(answer.is_empty() || answer == error, "\"{}\"", answer.escape_ascii());
    }
    server.connect().expect("EXISTS a", int(0));
}

#[test]
fn odd_requests_are_answered_as_redis_answers_them() {
    let server = Server::start(2);
    let redis = RedisServer::start_or_skip(&[]);
    let conns = [("tallyring", Some(server.connect())), ("redis-server", redis.as_ref().map(RedisServer::connect))];
    for (name, conn) in conns {
        let Some(mut conn) = conn else { continue };
        for (bytes, expected) in ODD {
            conn.send(bytes);
            let replies = usize::from(!expected.is_empty());
            let mut answer = conn.exchange(&wire(["PING"]), replies + 1);
            assert_eq!(answer.pop(), Some(simple("PONG")), "{name} after \"{}\"", bytes.escape_ascii());
            let expected = (!expected.is_empty())
                .then(|| crate::support::read_reply(&mut expected.as_bytes()).expect("the table holds replies"));
            assert_eq!(answer.pop(), expected, "{name} on \"{}\"", bytes.escape_ascii());
        }
    }
}

#[test]
fn lines_without_an_end_are_cut_off() {
    let server = Server::start(1);
    let redis = RedisServer::start_or_skip(&[]);
    let cases = [
        // Redis waits for 64 KiB of digits before it has enough of them.
        (b"".as_slice(), b'a', ["too big inline request", "too big inline request"]),
        (b"*", b'1', ["invalid multibulk length", "too big mbulk count string"]),
        (b"*1\r\n$", b'1', ["invalid bulk length", "too big bulk count string"]),
    ];
    for (head, filler, [ours, theirs]) in cases {
        let servers =
            [("tallyring", Some(server.connect())), ("redis-server", redis.as_ref().map(RedisServer::connect))];
        for (name, conn) in servers {
            let Some(mut conn) = conn else { continue };
            let mut bytes = head.to_vec();
            bytes.resize(100_000, filler);
            // A server that has closed resets what is still under way to it, and with it perhaps its last words.
            let _ = conn.try_send(&bytes);
            let answer = conn.read_to_end();
            let words = if name == "tallyring" { ours } else { theirs };
            let expected = format!("-ERR Protocol error: {words}\r\n");
            assert!(
                answer.is_empty() || answer == expected.as_bytes(),
                "{name} on a long line after \"{}\": \"{}\"",
                head.escape_ascii(),
                answer.escape_ascii()
            );
        }
    }
    server.connect().expect("PING", simple("PONG"));
}

#[test]
fn huge_announcements_cost_nothing() {
    let server = Server::start(2);
    let mut bystander = server.connect();
    bystander.expect("SET a 5", ok());
    let before = server.resident_bytes();
    let heads: [&[u8]; 5] = [
        b"*2147483647\r\n",
        b"*2147483647\r\n$3\r\nDEL\r\n$1\r\nb\r\n",
        b"*2147483647\r\n$4\r\nMGET\r\n$1\r\na\r\n",
        b"*2147483647\r\n$4\r\nPING\r\n$1\r\na\r\n",
        b"*2\r\n$3\r\nGET\r\n$536870912\r\nabc",
    ];
    let mut holders = Vec::new();
    for round in 0..100 {
        let mut conn = server.connect();
        conn.send(heads[round % heads.len()]);
        holders.push(conn);
    }
    let start = Instant::now();
    for _ in 0..100 {
        bystander.expect("GET a", bulk("5"));
    }
    assert!(start.elapsed() < Duration::from_secs(5), "100 requests took {:?}", start.elapsed());
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < 16 * 1024 * 1024, "100 announcements made it grow by {growth} bytes");
    drop(holders);
    server.connect().expect("GET a", bulk("5"));
}

#[test]
fn overlong_arguments_get_one_error_and_are_skipped() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let mut conn = server.connect();
        let key = |len: usize| vec![b'k'; len];
        let requests: Vec<(Vec<Vec<u8>>, bool)> = vec![
            (vec![b"INCR".into(), key(1024)], true),
            (vec![b"INCR".into(), key(1025)], false),
            (vec![b"GET".into(), key(1025)], false),
            (vec![b"GET".into(), key(4096)], false),
            (vec![b"GET".into(), key(4097)], false),
            (vec![b"SET".into(), key(100_000), b"1".into()], false),
            (vec![b"SET".into(), b"a".into(), vec![b'1'; 4097]], false),
            (vec![b"SET".into(), b"a".into(), vec![b'1'; 1_000_000]], false),
            (vec![b"INCRBY".into(), b"a".into(), vec![b'1'; 5000]], false),
            (vec![b"ECHO".into(), key(4096)], true),
            (vec![b"ECHO".into(), key(4097)], false),
            (vec![b"ECHO".into(), key(100_000)], false),
            (vec![key(5000)], false),
            (vec![key(100_000), b"a".into()], false),
            (vec![b"EXPIRE".into(), b"a".into(), b"100".into(), key(20_000)], false),
            (vec![b"CLIENT".into(), b"SETNAME".into(), key(5000)], false),
            (vec![b"PING".into(), key(4097)], false),
        ];
        let mut bytes = Vec::new();
        for (index, (args, _)) in requests.iter().enumerate() {
            bytes.extend(wire(args));
            bytes.extend(wire(["ECHO".to_owned(), format!("after {index}")]));
        }
        let replies = conn.exchange(&bytes, 2 * requests.len());
        for (index, (args, fine)) in requests.iter().enumerate() {
            let name = args[0][..args[0].len().min(10)].escape_ascii();
            let lens: Vec<usize> = args.iter().map(Vec::len).collect();
            let reply = &replies[2 * index];
            assert_eq!(!reply.is_error(), *fine, "{name} with arguments of {lens:?} bytes: {reply:?}");
            if let Reply::Error(text) = reply {
                assert!(text.starts_with(b"ERR "), "{reply:?}");
            }
            assert_eq!(replies[2 * index + 1], bulk(format!("after {index}")), "after {name} of {lens:?} bytes");
        }
        conn.expect("EXISTS a", int(0));
        conn.expect("DBSIZE", int(1));
    }
}

#[test]
fn an_overlong_key_among_many_gives_one_reply() {
    let server = Server::start(3);
    let mut conn = server.connect();
    let long = "k".repeat(1025);
    for line in [
        format!("MGET a {long} b"),
        format!("DEL a {long} b"),
        format!("EXISTS {long}"),
        format!("MSET a 1 {long} 2 b 3"),
        format!("MINCRBY a 1 {long} 2 b 3"),
        format!("MSETNX c 1 {long} 2"),
        format!("RENAME a {long}"),
        format!("WATCH {long}"),
    ] {
        let mut bytes = wire(line.split(' '));
        bytes.extend(wire(["ECHO", "next"]));
        let replies = conn.exchange(&bytes, 2);
        let name = &line[..7];
        let refused = match &replies[0] {
            Reply::Array(elements) => elements.iter().any(Reply::is_error),
            other => other.is_error(),
        };
        assert!(refused, "{name}: {:?}", replies[0]);
        assert_eq!(replies[1], bulk("next"), "after {name}");
    }
    conn.expect("EXISTS c", int(0));
}
