//! Tests of the parts of `cargo bench --bench versus`, and of the load generator against the bare loop.
#![allow(dead_code, reason = "the benchmark's own main is not run here")]

#[path = "main.rs"]
mod versus;

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use versus::account::{machine_time, process_time, resident_bytes, thread_time};
use versus::load::{self, Measured};
use versus::options::Table;
use versus::peers::Peer;
use versus::results::{Ratio, Round, Row, Spread};
use versus::workload::{
    KEY_BYTES, KEY_COUNT_MAX, Keys, Load, REQUEST_BYTES, count_replies, digits, prepare, write_keys,
};

#[test]
fn digits_are_those_of_the_formatter() {
    let every_part = (0..10_000).flat_map(|part| [part, part * 10_000, part * 10_000 + 9_999 - part]);
    for number in every_part.chain(Keys::random(KEY_COUNT_MAX, 1).take(100_000)) {
        assert_eq!(digits(number), format!("{number:08}").as_bytes(), "{number}");
    }
}

#[test]
fn requests_are_what_a_client_would_send() {
    let mut buffer = [0; 3 * REQUEST_BYTES + 5];
    prepare(&mut buffer);
    let mut keys = Keys::sequence(2);
    assert_eq!(write_keys(&mut buffer, 3, &mut keys), 2);
    assert_eq!(&buffer[..REQUEST_BYTES], b"*2\r\n$4\r\nINCR\r\n$16\r\ncounter:00000000\r\n");
    assert_eq!(&buffer[REQUEST_BYTES..2 * REQUEST_BYTES], b"*2\r\n$4\r\nINCR\r\n$16\r\ncounter:00000001\r\n");
    assert_eq!(write_keys(&mut buffer, 3, &mut keys), 0);
    assert_eq!(write_keys(&mut buffer, 2, &mut Keys::random(10, 1)), 2);
    assert_eq!("counter:00000000".len(), KEY_BYTES);
}

#[test]
fn random_keys_are_spread_evenly() {
    let mut counts = [0_u32; 10];
    for key in Keys::random(1_000, 7).take(100_000) {
        counts[key as usize / 100] += 1;
    }
    assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
}

#[test]
fn replies_are_counted_by_their_ends_and_errors_told() {
    assert_eq!(count_replies(b":1\r\n:22\r\n:3"), Ok(2));
    assert_eq!(count_replies(b"33\r\n"), Ok(1));
    assert_eq!(count_replies(b"\n"), Ok(1));
    assert_eq!(count_replies(b""), Ok(0));
    assert_eq!(count_replies(b":1\r\n-OOM too much\r\n:2\r\n"), Err("-OOM too much".to_owned()));
    assert!(count_replies(b"+OK\r\n").is_err());
}

#[test]
fn loads_are_read() {
    assert_eq!("50x64".parse(), Ok(Load { connection_count: 50, depth: 64 }));
    for wrong in ["50", "0x1", "1x0", "257x1", "1x257", "ax1", ""] {
        assert!(wrong.parse::<Load>().is_err(), "{wrong}");
    }
}

fn round(peer: Peer, round: u32, request_count: u64, generator_s: u64, server_s: u64) -> Round {
    let mut latencies_ns = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
    latencies_ns.record_n(10_000, 990).unwrap();
    latencies_ns.record_n(50_000, 10).unwrap();
    let measured = Measured {
        elapsed: Duration::from_secs(10),
        request_count,
        latencies_ns,
        generator_time: Duration::from_secs(generator_s),
        server_time: Duration::from_secs(server_s),
        other_time: Duration::ZERO,
    };
    Round { table: Table::Small, key_count: 5, load: Load { connection_count: 2, depth: 3 }, peer, round, measured }
}

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
    assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
    assert_eq!(Spread::of([]), None);
}

#[test]
fn rounds_are_compared_with_their_own_kind() {
    let rounds = [
        round(Peer::Ours, 0, 100, 5, 10),
        round(Peer::Kevy, 0, 50, 5, 10),
        round(Peer::Ours, 1, 10, 5, 10),
        round(Peer::Kevy, 1, 10, 5, 10),
        round(Peer::Ours, 2, 1_000, 5, 10),
    ];
    let all: Vec<&Round> = rounds.iter().collect();
    let ratio = Ratio::of(&all, Peer::Ours, Peer::Kevy, Some(1.0)).unwrap();
    assert_eq!(ratio.ratio, Spread { median: 1.5, min: 1.0, max: 2.0 });
    assert!(Ratio::of(&all, Peer::Ours, Peer::Bare, None).is_none());
}

#[test]
fn a_row_brings_rounds_together() {
    let rounds = [round(Peer::Ours, 0, 1_000_000, 10, 8), round(Peer::Ours, 1, 2_000_000, 10, 8)];
    let row = Row::of(&rounds.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!((row.rate.min, row.rate.max), (100_000.0, 200_000.0));
    assert_eq!((row.server_us_per_request.max, row.server_busy), (8.0, 0.8));
    assert!(row.generator_bound);
    assert_eq!(row.p50_us.unwrap().round(), 10.0);
    // Twenty values are beyond p99, two beyond p99.9.
    assert_eq!((row.p99_us, row.p999_us, row.batch_count), (None, None, 2_000));
    let saturated = Row::of(&[&round(Peer::Ours, 0, 1, 10, 10)]).unwrap();
    assert!(!saturated.generator_bound);
}

#[test]
fn work_is_accounted() {
    let pid = std::process::id();
    let (machine, process, thread) = (machine_time().unwrap(), process_time(pid).unwrap(), thread_time());
    let start = Instant::now();
    while thread_time() - thread < Duration::from_millis(50) {
        assert!(start.elapsed() < Duration::from_secs(60), "this thread never gets to work");
    }
    assert!(process_time(pid).unwrap() - process >= Duration::from_millis(30));
    assert!(machine_time().unwrap() - machine >= Duration::from_millis(30));
    assert!(resident_bytes(pid).unwrap() > 100_000);
}

fn bare_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(|| versus::bare::serve(listener));
    port
}

#[test]
fn every_request_of_a_sequence_is_answered() {
    let port = bare_port();
    // The last batches are not full, and the last connections have none.
    for (connection_count, depth, key_count) in [(3, 7, 1_000), (200, 1, 999), (5, 256, 300), (1, 1, 1)] {
        load::insert(port, Load { connection_count, depth }, Keys::sequence(key_count)).unwrap();
    }
}

#[test]
fn what_is_measured_adds_up() {
    let load = Load { connection_count: 4, depth: 16 };
    let (warm_up, duration) = (Duration::from_millis(20), Duration::from_millis(300));
    let pid = std::process::id();
    let measured = load::measure(vec![(bare_port(), Keys::random(1_000, 1))], pid, load, warm_up, duration).unwrap();
    assert!(measured.elapsed >= duration);
    assert!(measured.request_count > 0);
    assert_eq!(measured.request_count, measured.latencies_ns.len() * 16);
    assert!(measured.generator_time <= measured.elapsed + Duration::from_millis(10));
}

#[test]
fn errors_and_closed_connections_end_a_run() {
    use std::io::{Read, Write};
    let answering = |answer: &'static [u8]| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.read_exact(&mut [0; REQUEST_BYTES]).unwrap();
            socket.write_all(answer).unwrap();
        });
        let load = Load { connection_count: 1, depth: 1 };
        load::insert(port, load, Keys::sequence(10)).unwrap_err().to_string()
    };
    assert_eq!(answering(b"-OOM nothing left\r\n"), "the server answered -OOM nothing left");
    assert_eq!(answering(b":1\r\n:2\r\n"), "the server sent more replies than were due");
    assert_eq!(answering(b""), "the server closed a connection");
}
