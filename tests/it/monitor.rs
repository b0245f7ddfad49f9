//! `MONITOR` and `tallyring tail`: what is shown, to whom, and what it costs those who are watched.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    Conn, PROCESS_LIMIT, Process, REPLY_LIMIT, RedisServer, Reply, Server, array, binary, bulk, error, int, ok, run,
    simple, spread_keys, wire, within,
};

/// The next line that a monitor is shown, without its time; the client's address is `CLIENT`.
fn shown(monitor: &mut Conn) -> String {
    let Reply::Simple(line) = monitor.read() else { panic!("lines are simple strings") };
    let line = String::from_utf8(line).expect("everything is escaped");
    let (time, rest) = line.split_once(' ').expect("a time");
    let (seconds, micros) = time.split_once('.').expect("a fraction");
    assert!(seconds.parse::<u64>().is_ok_and(|seconds| seconds > 1_700_000_000) && micros.len() == 6, "{line}");
    let (address, words) = rest.split_once("] ").expect("an address");
    assert!(address.starts_with("[0 127.0.0.1:"), "{line}");
    format!("CLIENT {words}")
}

/// What a monitor is shown of one client's commands, up to an `ECHO end`.
fn watched(monitor: &mut Conn, client: &mut Conn, requests: &[&str]) -> Vec<String> {
    assert_eq!(monitor.ask("MONITOR"), ok());
    for request in requests {
        let _ = client.ask(request);
    }
    client.send(b"INCR \"a key\\x01\\\"\"\r\n");
    assert!(matches!(client.read(), Reply::Int(_)));
    assert_eq!(client.ask("ECHO end"), bulk("end"));
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| !line.ends_with("\"end\"")) {
        lines.push(shown(monitor));
    }
    lines
}

#[test]
fn monitors_are_shown_what_redis_shows() {
    let requests = [
        "AUTH wrong",
        "GET stranger",
        "AUTH secret",
        "HELLO 2 AUTH default secret SETNAME me",
        "SET key0 5",
        "mget key0 key1 {t}2",
        "INCR key0 more",
        "nonsense secret",
        "MULTI",
        "INCR forgotten",
        "DISCARD",
        "MULTI",
        "INCR one",
        "GET two",
        "EXEC",
        "CONFIG GET port",
        "CLIENT LIST",
        "CLIENT ID",
        "DEL a b c",
        "DBSIZE",
        "RESET",
        "AUTH secret",
    ];
    let server = Server::start_with(2, &["--requirepass", "secret"]);
    let mut monitor = server.connect();
    assert_eq!(monitor.ask("AUTH secret"), ok());
    let lines = watched(&mut monitor, &mut server.connect(), &requests);
    assert!(lines.iter().any(|line| line == "CLIENT \"AUTH\" \"(redacted)\""), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:#?}");
    if let Some(redis) = RedisServer::start_or_skip(&["--requirepass", "secret"]) {
        let mut monitor = redis.connect();
        assert_eq!(monitor.ask("AUTH secret"), ok());
        assert_eq!(lines, watched(&mut monitor, &mut redis.connect(), &requests));
    }
}

#[test]
fn commands_on_every_shard_are_shown_once_however_long_they_are() {
    let server = Server::start(3);
    let mut monitor = server.connect();
    assert_eq!(monitor.ask("MONITOR"), ok());
    let keys = spread_keys("key", 3);
    // Enough connections that every shard has some.
    let mut clients: Vec<Conn> = (0..9).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        for key in &keys {
            assert_eq!(client.ask(&format!("INCR {key}")), int(number as i64 + 1));
        }
    }
    let mut lines: Vec<String> = (0..27).map(|_| shown(&mut monitor)).collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = keys.iter().flat_map(|key| vec![format!("CLIENT \"INCR\" \"{key}\""); 9]).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);

    // A request of many receives is one line, and what follows it is found.
    let mut long = vec!["MGET".to_owned()];
    long.resize(50_000, "key0".to_owned());
    assert!(matches!(clients[0].call(&long), Reply::Array(values) if values.len() == 49_999));
    clients[0].call([&b"GET"[..], &[b'x'; 20_000]]);
    clients[0].ask("GET behind");
    let line = shown(&mut monitor);
    assert!(line.starts_with("CLIENT \"MGET\" \"key0\" \"key0\"") && line.ends_with(" more arguments)\""), "{line}");
    assert_eq!(shown(&mut monitor), "CLIENT \"GET\" \"behind\"");

    // It sees itself too, can ask, and is shown no more after RESET.
    assert_eq!(monitor.ask("PING"), simple("PONG"));
    assert_eq!(shown(&mut monitor), "CLIENT \"PING\"");
    assert!(monitor.ask("CLIENT INFO").text().contains(" flags=O "));
    assert_eq!(shown(&mut monitor), "CLIENT \"CLIENT\" \"INFO\"");
    assert_eq!(monitor.ask("RESET"), simple("RESET"));
    clients[0].ask("GET unseen");
    assert_eq!(monitor.ask("PING"), simple("PONG"));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(monitor.ask("ECHO end"), bulk("end"));
}

/// The next answer to a monitor's request: what is no line that it is shown.
fn answered(monitor: &mut Conn, request: &str) -> Reply {
    monitor.send(format!("{request}\r\n").as_bytes());
    loop {
        match monitor.read() {
            Reply::Simple(line) if line.contains(&b'[') => {}
            reply => return reply,
        }
    }
}

#[test]
fn a_monitor_is_answered_as_by_redis_and_reaches_no_counter() {
    let requests = [
        "PING",
        "GET a",
        "INCR a",
        "MGET a b",
        "MSET a 1",
        "DEL a",
        "DBSIZE",
        "KEYS *",
        "SCAN 0",
        "FLUSHALL",
        "TTL a",
        "EXPIRE a 1",
        "WATCH a",
        "UNWATCH",
        "ECHO x",
        "CLIENT GETNAME",
        "GET",
        "NOPE",
        "SLOWLOG GET",
        "MULTI",
        "INCR a",
        "PING",
        "EXEC",
        "HELLO 3",
        "GET a",
        "PING hi",
        "RESET",
        "GET a",
        "INCR a",
    ];
    let answers = |mut monitor: Conn| -> Vec<Reply> {
        assert_eq!(monitor.ask("MONITOR"), ok());
        let is_hello = |request: &&str| request.starts_with("HELLO");
        let all = requests.iter().map(|request| (answered(&mut monitor, request), is_hello(request)));
        all.filter(|(_, is_hello)| !is_hello).map(|(reply, _)| reply).collect()
    };
    let server = Server::start(2);
    let ours = answers(server.connect());
    assert_eq!(ours[2], error("ERR Replica can't interact with the keyspace"));
    assert_eq!(ours.last(), Some(&int(1)), "it is an ordinary client again");
    // As they are sent by client libraries, which are read another way.
    let mut monitor = server.connect();
    assert_eq!(monitor.ask("MONITOR"), ok());
    assert_eq!(monitor.call(["INCR", "a"]), error("ERR Replica can't interact with the keyspace"));
    assert_eq!(monitor.call(["MGET", "a"]), error("ERR Replica can't interact with the keyspace"));
    if let Some(redis) = RedisServer::start_or_skip(&[]) {
        assert_eq!(ours, answers(redis.connect()));
    }
}

#[test]
fn few_can_monitor_and_their_places_are_free_again() {
    let server = Server::start(2);
    let mut asking = server.connect();
    let full = error("ERR at most 4 clients can monitor: CLIENT LIST shows who does (flag O)");
    let mut monitors: Vec<Conn> = (0..4).map(|_| server.connect()).collect();
    for monitor in &mut monitors {
        assert_eq!(monitor.ask("MONITOR"), ok());
        assert_eq!(monitor.ask("MONITOR SAMPLE 1000"), ok(), "another sample");
    }
    assert_eq!(asking.ask("MONITOR"), full);
    assert!(asking.ask("INFO clients").text().contains("monitor_clients:4\r\n"));
    assert_eq!(monitors[0].ask("RESET"), simple("RESET"));
    assert_eq!(monitors[1].ask("QUIT"), ok());
    drop(monitors.pop());
    let one_left = || asking.ask("INFO clients").text().contains("monitor_clients:1\r\n");
    within(REPLY_LIMIT, "the places are free", one_left);
    assert_eq!(asking.ask("MULTI"), ok());
    assert_eq!(asking.ask("MONITOR"), simple("QUEUED"));
    assert_eq!(asking.ask("EXEC"), array([error("ERR MONITOR isn't allowed for DENY BLOCKING client")]));
    for wrong in ["MONITOR SAMPLE", "MONITOR x", "MONITOR SAMPLE 1 x", "MONITOR RATE 1"] {
        assert_eq!(asking.ask(wrong), error("ERR syntax error"), "{wrong}");
    }
    for wrong in ["0", "-1", "x", "4294967296"] {
        assert!(asking.ask(&format!("MONITOR SAMPLE {wrong}")).text().starts_with("ERR SAMPLE must be"));
    }
}

/// Commands that clients have had answered while they send as fast as they can, counted up until `stop`.
fn load(server: &Server, stop: &AtomicBool, count: &AtomicU64) {
    const DEPTH: usize = 64;
    let batch = b"*2\r\n$4\r\nINCR\r\n$3\r\nkey\r\n".repeat(DEPTH);
    let (mut conn, start) = (server.connect(), Instant::now());
    // A test that fails does not come to stop it.
    while !stop.load(Ordering::Relaxed) && start.elapsed() < PROCESS_LIMIT {
        conn.send(&batch);
        conn.read_many(DEPTH);
        count.fetch_add(DEPTH as u64, Ordering::Relaxed);
    }
}

#[test]
fn a_monitor_that_does_not_read_moves_no_memory_and_slows_nobody() {
    let server = Server::start_with(2, &["--reply-timeout", "2"]);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut asking = server.connect();
    let within_a_second = || {
        let before = count.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(1));
        count.load(Ordering::Relaxed) - before
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| load(&server, &stop, &count));
        }
        within_a_second();
        let bytes_before = server.resident_bytes();
        // Other tests run beside this one: the best of some tries counts.
        for left_count in (0..4).rev() {
            let rate_before = within_a_second();
            let mut monitors: Vec<Conn> = (0..4).map(|_| server.connect()).collect();
            monitors.iter_mut().for_each(|monitor| monitor.send(b"MONITOR\r\n"));
            let rate = within_a_second();
            let grown_bytes = server.resident_bytes().saturating_sub(bytes_before);
            // Four monitors' buffers on two shards, and what of each is being sent.
            let share_bytes = 4 * 3 * 64 * 1024 + (1 << 20);
            println!("{rate_before}/s before, {rate}/s with four monitors that do not read; {grown_bytes} bytes more");
            within(REPLY_LIMIT, "the monitors are evicted", || {
                asking.ask("INFO clients").text().contains("monitor_clients:0\r\n")
            });
            assert!(grown_bytes < share_bytes, "{grown_bytes} of {share_bytes} bytes");
            if rate * 2 > rate_before {
                break;
            }
            assert!(left_count > 0, "{rate} of {rate_before} a second");
        }
        stop.store(true, Ordering::Relaxed);
        let stats = asking.ask("INFO stats").text();
        let missed = stats.lines().find_map(|line| line.strip_prefix("monitor_missed_commands:")).expect("a number");
        assert!(missed.parse::<u64>().expect("a number") > 100_000, "{missed}");
    });
}

#[test]
fn a_monitor_that_reads_is_told_what_it_missed() {
    let server = Server::start(1);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut monitor = server.connect();
    assert_eq!(monitor.ask("MONITOR"), ok());
    let (mut line_count, mut missed_count) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| load(&server, &stop, &count));
        while missed_count == 0 {
            take(&mut monitor, &mut line_count, &mut missed_count);
        }
        stop.store(true, Ordering::Relaxed);
    });
    // What gathered last is sent at the next tick; a read that waits too long for it fails.
    let count = count.load(Ordering::Relaxed);
    while line_count + missed_count < count {
        take(&mut monitor, &mut line_count, &mut missed_count);
    }
    assert_eq!(line_count + missed_count, count, "{line_count} shown, {missed_count} missed");
    assert!(line_count > 500 && missed_count > 0, "{line_count} shown, {missed_count} missed");
}

/// Count the next line that a monitor is sent.
fn take(monitor: &mut Conn, line_count: &mut u64, missed_count: &mut u64) {
    match monitor.read().text().split_once(" [0 shard:0] \"#missed\" \"") {
        Some((_, missed)) => *missed_count += missed.trim_end_matches('"').parse::<u64>().expect("a number"),
        None => *line_count += 1,
    }
}

/// Settings that change on one shard while another parses what is shown.
#[test]
fn settings_may_change_while_commands_are_shown() {
    let mut server = Server::start(2);
    let mut monitor = server.connect();
    monitor.expect("MONITOR", ok());
    let end = Instant::now() + Duration::from_secs(2);
    let address = server.address();
    let pipeline = wire(["INCR", "views"]).repeat(500);
    let many = spread_keys("key", 1_000);
    // Replies that are sent in pieces: between two of them settings may change.
    let many = wire(["MGET"].into_iter().chain(many.iter().map(String::as_str))).repeat(20);
    thread::scope(|scope| {
        scope.spawn(move || while monitor.try_read().is_ok() && Instant::now() < end {});
        for (sent, reply_count) in [(&pipeline, 500), (&many, 20), (&many, 20)] {
            scope.spawn(move || {
                let mut conn = Conn::tcp(address);
                while Instant::now() < end {
                    conn.exchange(sent, reply_count);
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(move || {
                let mut conn = Conn::tcp(address);
                for number in 0.. {
                    conn.expect(&format!("CONFIG SET slowlog-max-len {}", 100 + number % 2), ok());
                    if Instant::now() > end {
                        break;
                    }
                }
            });
        }
    });
    assert!(server.connect().ask("PING") == simple("PONG"), "it lives");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
}

fn tail(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["tail", server]).args(args).env_remove("REDISCLI_AUTH");
    command
}

#[test]
fn tail_prints_what_is_wanted_and_ends_when_it_is_told() {
    let server = Server::start(2);
    let address = server.address().to_string();
    let mut client = server.connect();
    let mut all = Process::spawn(tail(&address, &[]));
    let mut some = Process::spawn(tail(&address, &["--match", "user:*", "--count", "2"]));
    let mut sampled = Process::spawn(tail(&address, &["--sample", "10"]));
    within(PROCESS_LIMIT, "all three monitor", || client.ask("INFO clients").text().contains("monitor_clients:3\r\n"));
    for number in 0..40 {
        client.ask(&format!("INCR page:{number}"));
        client.ask(&format!("INCR user:{number}"));
    }
    assert!(some.wait(PROCESS_LIMIT).success());
    let lines = some.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with("  INCR user:0") && lines[1].ends_with("  INCR user:1"), "{lines:?}");
    within(PROCESS_LIMIT, "all is printed", || all.lines().iter().any(|line| line.ends_with(" INCR user:39")));
    all.signal(Signal::INT);
    assert!(all.wait(PROCESS_LIMIT).success(), "{:?}", all.lines());
    sampled.signal(Signal::TERM);
    assert!(sampled.wait(PROCESS_LIMIT).success());
    let lines = sampled.lines();
    assert!((8..=20).contains(&lines.len()), "{lines:?}");
    within(PROCESS_LIMIT, "nobody monitors", || client.ask("INFO clients").text().contains("monitor_clients:0\r\n"));
}

#[test]
fn tail_says_what_keeps_it_from_printing() {
    let mut server = Server::start_with(1, &["--requirepass", "secret"]);
    let address = server.address().to_string();
    let refused = run(tail(&address, &[]), b"", PROCESS_LIMIT);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stderr.ends_with("Give the server's password with --password, or in REDISCLI_AUTH\n"));
    let mut tailing = Process::spawn(tail(&address, &["--password", "secret"]));
    let mut client = server.connect();
    client.ask("AUTH secret");
    within(PROCESS_LIMIT, "it monitors", || client.ask("INFO clients").text().contains("monitor_clients:1\r\n"));
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert_eq!(tailing.wait(PROCESS_LIMIT).code(), Some(1));
    assert!(tailing.tail().contains("it has closed the connection. Check that the server listens there"));
    for wrong in [&["--sample", "0"][..], &["--count", "0"], &["--sample", "x"], &["--forever"]] {
        assert_eq!(run(tail(&address, wrong), b"", PROCESS_LIMIT).status.code(), Some(2));
    }
    if let Some(redis) = RedisServer::start_or_skip(&[]) {
        let address = redis.address().to_string();
        let mut tailing = Process::spawn(tail(&address, &["--count", "1"]));
        let mut client = redis.connect();
        within(PROCESS_LIMIT, "something is printed", || {
            client.ask("INCR views");
            tailing.ended().is_some()
        });
        assert!(tailing.wait(PROCESS_LIMIT).success(), "{:?}", tailing.lines());
        assert!(tailing.lines()[0].ends_with("INCR views"), "{:?}", tailing.lines());
        let refused = run(tail(&address, &["--sample", "10"]), b"", PROCESS_LIMIT);
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stderr.contains("only. Leave --sample out: that is Tallyring's alone"), "{}", refused.stderr);
    }
}
