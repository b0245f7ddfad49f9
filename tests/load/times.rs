//! The times of an open loop: whether requests come when they are to come, and whether a stall of the server shows.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tallyring::bench::hlog::{self, Log, Totals};
use tallyring::bench::result::Verdict;
use tallyring::bench::{self, Observer, Progress};

use crate::faulty::{self, Fault};
use crate::support::Server;
use crate::{assert_right, described, run, run_seen};

/// Stops the server for a while after so many seconds.
struct Stall<'a> {
    server: &'a Server,
    after: usize,
    length: Duration,
    took: Option<Duration>,
}

impl Observer for Stall<'_> {
    fn phase(&mut self, _: &str) {}

    fn second(&mut self, progress: &Progress) {
        if progress.second + 1 == self.after {
            self.server.signal(Signal::STOP);
            let start = Instant::now();
            std::thread::sleep(self.length);
            self.server.signal(Signal::CONT);
            self.took = Some(start.elapsed());
        }
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// A server that is stopped for a tenth of the run delays a tenth of the requests, evenly by up to that time: of all
/// requests, one in a hundred by nine tenths of it or more. `TALLYRING_TEST_LONG=1` stops it for 1 s of 10 s.
#[test]
fn a_stall_shows_in_the_response_times_as_arithmetic_says() {
    let long = std::env::var_os("TALLYRING_TEST_LONG").is_some();
    let (seconds, length) = if long { (10, Duration::from_secs(1)) } else { (5, Duration::from_millis(500)) };
    let server = Server::start(1);
    for arrivals in ["poisson", "constant"] {
        let mut stall = Stall { server: &server, after: 2, length, took: None };
        // So many that a thousandth is enough for a percentile.
        let flags = format!("--rate 10k --duration {seconds}s --keys 1000 --arrivals {arrivals}");
        let result = run_seen(server.address(), &flags, &mut stall).unwrap();
        assert_right(&result);
        assert_eq!(result.latency.response.len(), 10_000 * seconds);
        let stalled_s = stall.took.expect("it was stopped").as_secs_f64();
        // Of the run's requests 1% came within so long after the stop, and waited longer than the rest. A server that
        // had to wait for a core when it was to go on was stopped for longer: the longest wait tells for how long.
        let max_s = result.latency.response.max() as f64 / 1e9;
        assert!(max_s >= stalled_s * 0.95, "{max_s} s of {stalled_s} s ({arrivals})");
        let expected_s = |stalled_s: f64| stalled_s - 0.01 * seconds as f64;
        let (least_s, most_s) = (0.95 * expected_s(stalled_s), 1.05 * expected_s(stalled_s.max(max_s)));
        let p99_s = result.latency.response.percentile_ns(0.99).expect("enough samples") as f64 / 1e9;
        assert!((least_s..=most_s).contains(&p99_s), "p99 is {p99_s} s, not {least_s} s to {most_s} s ({arrivals})");
    }
}

/// `TALLYRING_TEST_LONG=1` measures 10 s each, and what was achieved too, which takes a machine with nothing else to do.
#[test]
fn the_offered_rate_is_what_was_asked_for() {
    let server = Server::start(1);
    let long = std::env::var_os("TALLYRING_TEST_LONG").is_some();
    let seconds = if long { 10 } else { 1 };
    for (rate, count) in [("100", 100_u64), ("2k", 2_000), ("20k", 20_000)] {
        for arrivals in ["poisson", "constant"] {
            let flags = format!("--rate {rate} --duration {seconds}s --keys 1000 --arrivals {arrivals}");
            let result = run(server.address(), &flags).unwrap();
            assert_right(&result);
            let expected = count * seconds;
            assert_eq!((result.requests.intended, result.requests.sent), (expected, expected));
            assert_eq!(result.latency.response.len(), expected);
            assert_eq!(result.seconds.len() as u64, seconds);
            assert!(result.seconds.iter().all(|second| second.intended == count), "{rate} {arrivals}");
            if long {
                let achieved = result.achieved_per_s() / count as f64;
                assert!((achieved - 1.0).abs() <= 0.005, "{rate} {arrivals}: {achieved}");
            }
        }
    }
}

/// The queue of the warm-up is longer than the measured time: all replies that come are of requests before it.
#[test]
fn the_throughput_of_an_overloaded_server_is_what_it_answers() {
    let server = faulty::start(Fault::TakesTime(Duration::from_millis(1)));
    let mut described = described(server, "--rate 10k --duration 1s --keys 10 --connections 2 --verify no");
    described.warmup = Duration::from_secs(2);
    let result = bench::run(&described, &mut ()).unwrap();
    let achieved = result.achieved_per_s();
    assert!((50.0..=1_000.0).contains(&achieved), "{achieved}/s");
    let share = result.requests.achieved_share(result.workload.load, result.measured_ns).unwrap();
    assert!((share - achieved / 10_000.0).abs() < 0.01, "{share}");
}

#[test]
fn a_rate_that_cannot_be_reached_is_said_and_not_waited_for() {
    let server = Server::start(1);
    let start = Instant::now();
    // Most of them never come to be drawn: that alone would take minutes.
    let result = run(server.address(), "--rate 1g --duration 5s --keys 10 --connections 2").unwrap();
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(result.achieved_per_s() < 0.05 * 1e9);
    assert_eq!(result.requests.intended, 5_000_000_000);
    assert!(result.seconds.iter().all(|second| second.intended == 1_000_000_000));
    // The generator did not come to most of them, which says nothing of the server.
    assert!(matches!(result.verdict, Verdict::Inconclusive { .. }), "{:?}", result.verdict);
}

/// What a stall at the end delays is answered behind it, and belongs to the log and to the lines of seconds as well.
#[test]
fn a_stall_over_the_end_is_in_the_log_too() {
    let server = Server::start(1);
    let mut stall = Stall { server: &server, after: 1, length: Duration::from_millis(1_600), took: None };
    let result = run_seen(server.address(), "--rate 2k --duration 2s --keys 1000", &mut stall).unwrap();
    assert_right(&result);
    assert_eq!(result.latency.response.len(), 4_000);
    let late = result.late.as_ref().expect("the stall went on over the end");
    assert!(late.answered > 1_000 && late.length_ns > 100_000_000, "{} in {} ns", late.answered, late.length_ns);
    // One or two of the warm-up may have been answered within the measured time.
    let answered_count = result.requests.answered + late.answered;
    assert!((4_000..4_050).contains(&answered_count), "{answered_count}");
    let (mut text, mut totals) = (Vec::new(), Totals::new());
    hlog::write_run(&result, &mut text).unwrap();
    Log::read(&text, &mut totals).unwrap();
    for (name, recorded) in result.latency.named() {
        assert_eq!(totals[&(name != "response").then(|| name.to_owned())], recorded.0, "{name}");
    }
}
