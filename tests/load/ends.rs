//! How the process ends: exit code, and what it says on which stream.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tallyring::bench::result::{Verdict, Verification};

use crate::faulty::{self, Fault};
use crate::support::{Finished, Process, Server, binary, run};

const LIMIT: Duration = Duration::from_secs(60);

fn command(address: SocketAddr, flags: &str) -> Command {
    let mut command = Command::new(binary());
    command.args(["bench", "--port", &address.port().to_string(), "--threads", "1", "--warmup", "100ms"]);
    command.args(flags.split_whitespace());
    command
}

fn bench(address: SocketAddr, flags: &str) -> Finished {
    run(command(address, flags), b"", LIMIT)
}

#[track_caller]
fn assert_ends(finished: &Finished, code: i32, said: &str) {
    let text = format!("{}{}", finished.stdout, finished.stderr);
    assert_eq!(finished.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "{said:?} is not in {text}");
}

#[test]
fn a_server_that_is_down() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let finished = bench(address, "");
    assert_ends(&finished, 1, "cannot connect to 127.0.0.1:");
    assert_eq!((finished.stderr.lines().count(), finished.stdout.len()), (1, 0), "{}", finished.stderr);
}

#[test]
fn a_server_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_ends(&bench(listener.local_addr().unwrap(), ""), 1, "nothing came for 5 s");
}

#[test]
fn a_server_that_is_no_redis() {
    assert_ends(&bench(faulty::start(Fault::IsNoRedis), ""), 1, "no RESP");
}

#[test]
fn a_server_that_falls_silent_in_the_middle() {
    let finished = bench(faulty::start(Fault::FallsSilent(2_000)), "--rate 5k --duration 1s --keys 100 -c 4");
    assert_ends(&finished, 1, "the server did not keep up");
    assert!(finished.stdout.contains("throughput"), "{}", finished.stdout);
}

/// Nobody knows beforehand when so many requests of a closed loop are answered; that nothing comes any more is an end.
#[test]
fn a_server_that_falls_silent_before_it_has_answered_so_many() {
    let mut described = crate::described(
        faulty::start(Fault::FallsSilent(2_000)),
        "--rate max --requests 5000 --keys 100 --connections 4",
    );
    described.warmup = Duration::ZERO;
    let result = tallyring::bench::run(&described, &mut ()).unwrap();
    let requests = result.requests;
    // The first increment of all was the trial of the command.
    assert_eq!((requests.answered, requests.unanswered, requests.resets), (1_998, 4, 0), "{requests:?}");
    let Verdict::Mismatch { reason } = &result.verdict else { panic!("{:?}", result.verdict) };
    assert!(reason.contains("4 requests were not answered"), "{reason}");
}

#[test]
fn a_server_that_disconnects_one_client() {
    let finished = bench(faulty::start(Fault::Disconnects(2_000)), "--rate 5k --duration 1s --keys 100 -c 4");
    let said = "1 connections were lost, the first: the server closed the connection; 1 were opened again";
    assert_ends(&finished, 1, said);
    // The increment that was under way may have been counted.
    assert!(finished.stdout.contains("passed"), "{}", finished.stdout);
}

/// Each connection goes on as another one, and what was under way is of unknown outcome, no more and no less: the server
/// counts all of it, so without that the counters would have grown by too much.
#[test]
fn a_server_that_keeps_disconnecting() {
    for flags in ["--rate 5k --duration 1s", "--rate max --requests 5000"] {
        let server = faulty::start(Fault::KeepsDisconnecting(500));
        let result = crate::run(server, &format!("{flags} --keys 100 --connections 4")).unwrap();
        let requests = result.requests;
        // One that is lost when all is sent need not come back.
        assert!(requests.resets >= 9 && requests.reopened + 4 >= requests.resets, "{flags}: {requests:?}");
        assert_eq!((requests.intended, requests.sent), (5_000, 5_000), "{flags}");
        let Verification::Passed { acknowledged, unknown, grown } = result.verification else {
            panic!("{flags}: {:?}", result.verification)
        };
        assert!(unknown >= requests.resets && grown > acknowledged, "{flags}: {:?}", result.verification);
        assert_eq!(result.verdict.exit_code(), 1, "{flags}: {:?}", result.verdict);
    }
}

/// Connecting works, and is of no use: that has an end too.
#[test]
fn a_server_that_lets_nobody_stay() {
    let finished = bench(faulty::start(Fault::Deserts(2_000)), "--rate 5k --duration 60s --keys 100 -c 4");
    assert_ends(&finished, 2, "partial: the server ended all connections after");
}

#[test]
fn a_server_that_goes_away_in_the_middle() {
    let mut server = Server::start(1);
    let mut process = Process::spawn(command(server.address(), "--rate 5k --duration 20s --keys 100"));
    crate::support::within(LIMIT, "a second has passed", || process.lines().iter().any(|line| line.contains("1/20 s")));
    server.signal(Signal::KILL);
    server.wait();
    assert_eq!(process.wait(LIMIT).code(), Some(2), "{}", process.tail());
    assert!(process.tail().contains("partial: the server ended all connections after"), "{}", process.tail());
}

#[test]
fn a_server_that_answers_too_much() {
    let finished = bench(faulty::start(Fault::AnswersTwice(2_000)), "--rate 5k --duration 1s --keys 100 -c 4");
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stdout);
}

/// What came before the broken reply was answered, and nothing is waited for behind it.
#[test]
fn a_server_that_answers_with_no_reply_in_the_middle() {
    let start = Instant::now();
    let result = crate::run(faulty::start(Fault::Garbles(2_000)), "--rate 5k --duration 1s --keys 100").unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let requests = result.requests;
    assert_eq!((requests.sent, requests.resets, requests.reopened), (5_000, 1, 1), "{requests:?}");
    let Verdict::Mismatch { reason } = &result.verdict else { panic!("{:?}", result.verdict) };
    assert!(reason.contains("not RESP"), "{reason}");
}

#[test]
fn ctrl_c_prints_what_there_is() {
    let server = Server::start(1);
    for (flags, seen) in [("--rate 2k", "1/60 s"), ("--rate max --pipeline 4", "1/60 s")] {
        let mut process = Process::spawn(command(server.address(), &format!("{flags} --duration 60s --keys 100")));
        crate::support::within(LIMIT, "a second has passed", || process.lines().iter().any(|line| line.contains(seen)));
        process.signal(Signal::INT);
        assert_eq!(process.wait(LIMIT).code(), Some(2), "{}", process.tail());
        let text = process.tail();
        assert!(text.contains("partial: interrupted after") && text.contains("passed"), "{text}");
    }
}

/// The next request may be a minute off.
#[test]
fn ctrl_c_is_not_waited_for_until_the_next_request() {
    let server = Server::start(1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.txt");
    let line = |s: u64| format!("{}.000000 [0 10.0.0.1:5] \"INCR\" \"traced\"\n", 1_700_000_000 + s);
    std::fs::write(&path, line(0) + &line(3_600)).unwrap();
    let trace = format!("bench --port {} --threads 1 --trace {}", server.port(), path.display());
    let mut replay = Command::new(binary());
    replay.args(trace.split(' '));
    for (command, seen) in
        [(command(server.address(), "--rate 0.02 --duration 150s --keys 100"), "1/150 s"), (replay, "1/3601 s")]
    {
        let mut process = Process::spawn(command);
        crate::support::within(LIMIT, "a second has passed", || process.lines().iter().any(|line| line.contains(seen)));
        process.signal(Signal::INT);
        assert_eq!(process.wait(Duration::from_secs(10)).code(), Some(2), "{}", process.tail());
        assert!(process.tail().contains("partial: interrupted after"), "{}", process.tail());
    }
}

/// Also where it is stopped for so long that the time of grace has passed when it goes on.
#[test]
fn a_generator_that_is_stopped_beyond_the_time_of_grace_does_not_blame_the_server() {
    let server = Server::start(1);
    let mut process = Process::spawn(command(server.address(), "--rate 2k --duration 2s --keys 100"));
    crate::support::within(LIMIT, "a second has passed", || process.lines().iter().any(|line| line.contains("1/2 s")));
    process.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(6_500));
    process.signal(Signal::CONT);
    assert_eq!(process.wait(LIMIT).code(), Some(2), "{}", process.tail());
    let text = process.tail();
    assert!(text.contains("inconclusive: the generator was late") && text.contains("0 not answered"), "{text}");
}

/// What came due while the generator was not running is late by its own doing: all of it is sent, and the verdict blames
/// nobody else.
#[test]
fn a_generator_that_is_stopped_over_the_end_does_not_blame_the_server() {
    let server = Server::start(1);
    let mut process = Process::spawn(command(server.address(), "--rate 10k --duration 2s --keys 100"));
    crate::support::within(LIMIT, "a second has passed", || process.lines().iter().any(|line| line.contains("1/2 s")));
    process.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(1_500));
    process.signal(Signal::CONT);
    assert_eq!(process.wait(LIMIT).code(), Some(2), "{}", process.tail());
    let text = process.tail();
    assert!(text.contains("inconclusive: the generator was late") && text.contains("0 not answered"), "{text}");
}

#[test]
fn wrong_flags() {
    let address = "127.0.0.1:1".parse().unwrap();
    for (flags, said) in [
        ("--rate 0", "a rate above 0"),
        ("--rte 5", "--rate"),
        ("--mix lpush", "is not one of incr, get, set"),
        ("--connections 0", "--connections 0 is out of range. Choose from 1 to"),
        ("--distribution zipf", "zipf:THETA"),
    ] {
        let finished = bench(address, flags);
        assert_ends(&finished, 2, said);
        assert!(finished.stdout.is_empty());
    }
}
