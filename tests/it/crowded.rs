//! What clients that ask for much at once leave to others: memory, buffers, a place to wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Conn, Reply, Server, array, bulk, int, ok, read_reply, simple, wire, within};

const LIMIT: Duration = Duration::from_secs(30);

fn count_of(server: &Server, field: &str) -> u64 {
    let info = server.connect().ask("INFO all").text();
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{field} in {info}")).trim().parse().expect("a number")
}

fn set_counters(conn: &mut Conn, count: usize) {
    let keys: Vec<String> = (0..count).map(|number| format!("counter:{number:07}")).collect();
    for keys in keys.chunks(1_000) {
        let mut words = vec!["MSET"];
        keys.iter().for_each(|key| words.extend([key.as_str(), "1"]));
        assert_eq!(conn.call(words), ok());
    }
}

/// Queue a command many times, and execute that.
fn many_times(conn: &mut Conn, command: &[&str], count: usize) -> Vec<Reply> {
    conn.expect("MULTI", ok());
    let (request, queued) = (wire(command.iter()), simple("QUEUED"));
    for part in 0..count.div_ceil(1_000) {
        let part_count = (count - part * 1_000).min(1_000);
        assert!(conn.exchange(&request.repeat(part_count), part_count).iter().all(|reply| *reply == queued));
    }
    conn.ask("EXEC").elements().to_vec()
}

#[test]
fn the_reply_of_a_transaction_is_bounded_whatever_it_asks() {
    let server = Server::start(2);
    let mut conn = server.connect();
    set_counters(&mut conn, 3_000);
    let bytes = |replies: &[Reply]| replies.iter().map(|reply| format!("{reply:?}").len()).sum::<usize>();
    for command in [&["CONFIG", "GET", "*"][..], &["LATENCY", "LATEST"], &["CLUSTER", "NODES"], &["CLIENT", "INFO"]] {
        let replies = many_times(&mut conn, command, 12_000);
        assert_eq!(replies.len(), 12_000);
        let refused_count = replies.iter().filter(|reply| reply.is_error()).count();
        let answered_bytes = bytes(&replies[..12_000 - refused_count]);
        println!("{command:?}: {refused_count} of them refused, {answered_bytes} bytes answered");
        assert!(replies[12_000 - refused_count..].iter().all(Reply::is_error), "all behind the first one");
    }
    let replies = many_times(&mut conn, &["CONFIG", "GET", "*"], 12_000);
    assert!(replies[11_999].is_error() && !replies[100].is_error(), "8 MiB are fewer than these");
    // Of those that go through everything few are carried out.
    for command in [
        &["KEYS", "nosuch*"][..],
        &["LATENCY", "HISTOGRAM"],
        &["INFO"],
        &["SCAN", "0", "COUNT", "5000"],
        &["COMMAND"],
        &["COMMAND", "DOCS"],
        &["RANDOMKEY"],
    ] {
        let replies = many_times(&mut conn, command, 100);
        let refused = replies.iter().filter(|reply| reply.is_error()).count();
        assert_eq!((refused, replies[31].is_error(), replies[32].is_error()), (68, false, true), "{command:?}");
    }
    // What is done is done however long the replies are.
    let grown_bytes = server.resident_bytes();
    assert!(grown_bytes < 400 << 20, "{grown_bytes}");
}

#[test]
fn a_random_key_is_one_that_lives_however_many_do_not() {
    for threads in [1, 2] {
        let server = Server::start(threads);
        let mut conn = server.connect();
        for part in 0..100 {
            let set = |number: usize| wire(["SET", &format!("gone:{part}:{number}"), "1", "PX", "1"]);
            let sets: Vec<u8> = (0..1_000).flat_map(set).collect();
            assert!(conn.exchange(&sets, 1_000).iter().all(|reply| *reply == ok()));
        }
        conn.expect("SET alive 1", ok());
        thread::sleep(Duration::from_millis(2));
        for _ in 0..50 {
            conn.expect("RANDOMKEY", bulk("alive"));
        }
        conn.expect("DEL alive", int(1));
        assert!(conn.ask("RANDOMKEY").is_null());
        conn.expect("MULTI", ok());
        conn.expect("SET alive 1", simple("QUEUED"));
        conn.expect("RANDOMKEY", simple("QUEUED"));
        conn.expect("EXEC", array([ok(), bulk("alive")]));
    }
}

#[test]
fn long_replies_take_turns_without_the_buffers_of_others() {
    let server = Server::start_with(1, &["--buffers", "16"]);
    let mut conn = server.connect();
    set_counters(&mut conn, 20_000);
    // Twice as many as there are buffers, and each asks for more than can be answered soon.
    let keys = wire(["KEYS", "nosuch*"]).repeat(100);
    let mut others: Vec<TcpStream> =
        (0..32).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    others.iter_mut().for_each(|other| other.write_all(&keys).expect("it receives"));
    let mut worst = Duration::ZERO;
    for number in 0..20 {
        let begun = Instant::now();
        assert_eq!(conn.ask(&format!("ECHO {number}")), bulk(number.to_string()));
        worst = worst.max(begun.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    println!("an ECHO took {worst:?} at most");
    assert!(worst < Duration::from_millis(500), "an ECHO took {worst:?}");
    // All of them are answered in the end.
    let expected = 100 * "*0\r\n".len();
    for other in &mut others {
        other.set_read_timeout(Some(LIMIT)).expect("a limit");
        let mut replies = vec![0; expected];
        other.read_exact(&mut replies).expect("all replies come");
        assert_eq!(replies, b"*0\r\n".repeat(100));
    }
}

#[test]
fn a_line_with_quotes_waits_for_a_long_reply_of_others() {
    let server = Server::start_with(1, &["--buffers", "16"]);
    let mut conn = server.connect();
    set_counters(&mut conn, 20_000);
    let mut others: Vec<TcpStream> =
        (0..8).map(|_| TcpStream::connect(server.address()).expect("it listens")).collect();
    let keys = wire(["KEYS", "nosuch*"]).repeat(40);
    others.iter_mut().for_each(|other| other.write_all(&keys).expect("it receives"));
    for _ in 0..5 {
        conn.send(b"SET \"a b\" 5\r\nKEYS \"a b\"\r\nGET \"a b\"\r\n");
        assert_eq!(conn.read_many(3), [ok(), array([bulk("a b")]), bulk("5")]);
    }
}

#[test]
fn who_is_paused_keeps_within_the_parked_store() {
    let server = Server::start_with(1, &["--maxmemory-clients", "1mb"]);
    let mut operator = server.connect();
    operator.expect("CLIENT PAUSE 60000 WRITE", ok());
    let pipeline = wire(["INCR", "views"]).repeat(160);
    let mut paused = Vec::new();
    for _ in 0..400 {
        let mut conn = server.connect();
        conn.send(&pipeline);
        paused.push(conn);
    }
    within(LIMIT, "the store is full", || count_of(&server, "evicted_clients") > 50);
    // Who stalls with a few bytes is not the one to go: the others have more.
    let mut half = server.connect();
    half.send(b"*1\r\n$4\r\nPI");
    thread::sleep(Duration::from_millis(100));
    half.send(b"NG\r\n");
    assert_eq!(half.read(), simple("PONG"));
    operator.expect("CLIENT UNPAUSE", ok());
    let survivors = paused.iter_mut().filter_map(|conn| conn.try_read().ok()).count();
    assert!((100..=350).contains(&survivors), "{survivors} are still there");
}

/// Slow readers of long replies while buffers are short get every byte once.
#[test]
fn a_long_reply_that_is_read_slowly_is_whole() {
    let server = Server::start_with(1, &["--buffers", "16"]);
    let mut conn = server.connect();
    set_counters(&mut conn, 40_000);
    let all = {
        let keys = conn.ask("KEYS *");
        assert_eq!(keys.elements().len(), 40_000);
        keys
    };
    let address = server.address();
    thread::scope(|scope| {
        for reader in 0..12 {
            let all = &all;
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                stream.set_read_timeout(Some(LIMIT)).expect("a limit");
                let mut sent = wire(["PING"]).repeat(50);
                sent.extend(wire(["KEYS", "*"]));
                sent.extend(wire(["ECHO", "end"]));
                stream.write_all(&sent).expect("it receives");
                let mut replies = Vec::new();
                let mut piece = vec![0; 3_000 + 7_000 * reader];
                while !replies.ends_with(b"$3\r\nend\r\n") {
                    let count = stream.read(&mut piece).expect("more comes");
                    assert!(count > 0, "it was ended after {} bytes", replies.len());
                    replies.extend_from_slice(&piece[..count]);
                    thread::sleep(Duration::from_micros(300));
                }
                let mut rest = &replies[..];
                for _ in 0..50 {
                    assert_eq!(read_reply(&mut rest).expect("whole"), simple("PONG"));
                }
                assert_eq!(read_reply(&mut rest).expect("whole"), *all, "reader {reader}");
                assert_eq!(read_reply(&mut rest).expect("whole"), bulk("end"));
                assert!(rest.is_empty());
            });
        }
    });
}
