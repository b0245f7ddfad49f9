//! What `--busy-poll` makes a shard do while it has nothing to do.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::{Conn, Server, int, simple};

/// What a shard has taken of its core, and what of that it has spent polling for nothing.
struct Spent {
    cpu_us: u64,
    polled_us: u64,
}

fn spent(server: &Server) -> Spent {
    let info = server.connect().ask("INFO shards").text();
    let value = |name: &str| {
        let (_, rest) = info.split_once(name).unwrap_or_else(|| panic!("{name} in {info}"));
        rest.split(',').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    Spent { cpu_us: value(",cpu_usec="), polled_us: value(",polled_usec=") }
}

/// A client that waits for each reply.
fn count(server: &Server, count: i64) {
    let mut conn = server.connect();
    let key = format!("count{}", server.id());
    let start = conn.ask(&format!("INCRBY {key} 0")).as_int();
    for number in 1..=count {
        conn.expect(&format!("INCR {key}"), int(start + number));
    }
}

#[test]
fn by_default_a_shard_polls_while_it_has_work_and_sleeps_while_it_has_none() {
    let server = Server::start(1);
    count(&server, 5_000);
    let before = spent(&server);
    // Whether it pays depends on who else wants the core just now.
    assert!(before.polled_us < before.cpu_us, "{} us of {} us", before.polled_us, before.cpu_us);
    thread::sleep(Duration::from_secs(1));
    let after = spent(&server);
    let (cpu_us, polled_us) = (after.cpu_us - before.cpu_us, after.polled_us - before.polled_us);
    assert!(
        polled_us < 10_000 && cpu_us < 200_000,
        "{cpu_us} us of the processor, {polled_us} us of polling, in an idle second"
    );
}

#[test]
fn where_requests_come_seldom_it_gives_polling_up() {
    let server = Server::start(1);
    count(&server, 100);
    let mut conn = server.connect();
    let ask = |conn: &mut Conn, duration: Duration| {
        let start = Instant::now();
        while start.elapsed() < duration {
            conn.ask("INCR seldom");
            thread::sleep(Duration::from_millis(1));
        }
    };
    ask(&mut conn, Duration::from_millis(500));
    let before = spent(&server);
    ask(&mut conn, Duration::from_secs(2));
    let polled_us = spent(&server).polled_us - before.polled_us;
    // In vain each time that would be 50 us of every millisecond.
    assert!(polled_us < 20_000, "{polled_us} us of 2 s");
}

#[test]
fn it_does_as_it_is_told() {
    let never = Server::start_with(1, &["--busy-poll", "no"]);
    count(&never, 1_000);
    assert_eq!(spent(&never).polled_us, 0);
    assert_eq!(never.connect().ask("CONFIG GET busy-poll").elements()[1].text(), "no");

    let always = Server::start_with(1, &["--busy-poll", "always"]);
    let before = spent(&always);
    thread::sleep(Duration::from_millis(500));
    let after = spent(&always);
    let (cpu_us, polled_us) = (after.cpu_us - before.cpu_us, after.polled_us - before.polled_us);
    assert!(polled_us > cpu_us / 2 && polled_us > 20_000, "{polled_us} us of {cpu_us} us");

    let for_a_while = Server::start_with(1, &["--busy-poll", "20000"]);
    let before = spent(&for_a_while);
    for _ in 0..5 {
        for_a_while.connect().expect("PING", simple("PONG"));
        thread::sleep(Duration::from_millis(40));
    }
    let polled_us = spent(&for_a_while).polled_us - before.polled_us;
    assert!((5_000..200_000).contains(&polled_us), "{polled_us} us: 20 ms after each of a few requests");
}
