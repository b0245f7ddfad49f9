//! Whole runs against servers that count right, and what is found where they do not.

use tallyring::bench::mix::Mix;
use tallyring::bench::result::{Verdict, Verification};
use tallyring::bench::sink::Sink;

use crate::faulty::{self, Fault};
use crate::support::{RedisServer, Server};
use crate::{assert_right, findings, run};

#[test]
fn a_closed_loop_sends_as_many_requests_as_asked_for() {
    let server = Server::start(2);
    let result = run(server.address(), "--rate max --requests 100003 --pipeline 16 --keys 1000").unwrap();
    assert_right(&result);
    assert_eq!((result.requests.intended, result.requests.sent, result.requests.answered), (100_003, 100_003, 100_003));
    assert_eq!(result.latency.response.len(), 100_003);
    assert_eq!(result.latency.lateness.max(), 0);
    assert!(result.server.software.as_deref().is_some_and(|software| software.starts_with("tallyring ")));
    assert!(result.server.same_host && result.bottleneck.server_cpu.is_some());
}

/// The time in which so few requests come due is shorter than a round trip. What they are asked for is their replies.
#[test]
fn a_few_requests_are_answered_as_many_are() {
    let server = Server::start(1);
    for (flags, count) in [
        ("--requests 1", 1),
        ("--requests 3 --connections 50", 3),
        ("--rate 5k --requests 500", 500),
        // The last of what is sent at once is what the others have left.
        ("--rate 10k --requests 1000 --pipeline 300", 1_000),
        ("--requests 100 --pipeline 256", 100),
        ("--requests 101 --pipeline 7 --threads 2", 101),
    ] {
        let result = run(server.address(), &format!("--keys 10 {flags}")).unwrap();
        assert_right(&result);
        assert_eq!((result.requests.intended, result.requests.answered), (count, count), "{flags}");
        assert_eq!(result.late, None, "{flags}");
        assert!(result.bottleneck.generator_busy.iter().all(|share| *share <= 1.0), "{flags}");
        if result.measured_ns < 100_000_000 {
            assert_eq!(result.verdict, Verdict::Ok, "{flags}");
            assert!(result.bottleneck.summary.starts_with("none"), "{flags}: {}", result.bottleneck.summary);
        }
    }
}

#[test]
fn every_command_of_a_mix_is_counted_right() {
    let server = Server::start(2);
    let mix = "--mix incr=5,get=3,set,mget:20,mincrby:20,expiring:100,ping";
    for flags in ["--rate 20k --resp 2", "--rate max --pipeline 8 --resp 3"] {
        let result =
            run(server.address(), &format!("{mix} {flags} --duration 1s --keys 3000 --distribution zipf:0.99"));
        let result = result.unwrap();
        assert_right(&result);
        assert_eq!(result.commands.len(), 7);
        assert!(result.commands.iter().all(|command| !command.latency.response.is_empty()));
    }
}

#[test]
fn one_key_and_one_written_command_do_too() {
    let server = Server::start(1);
    let result = run(server.address(), "--rate max --requests 20000 --pipeline 32 --keys 1").unwrap();
    assert_right(&result);
    let mut run = crate::described(server.address(), "--rate 5k --duration 500ms --keys 100");
    let commands =
        ["INCR user:{key}".to_owned(), "MINCRBY a:{key} 2 a:{key} 3".to_owned(), "GET user:{key}".to_owned()];
    run.mix = std::sync::Arc::new(Mix::of_commands(&commands, 100).unwrap());
    assert_right(&tallyring::bench::run(&run, &mut ()).unwrap());
}

#[test]
fn more_connections_than_a_ring_has_buffers_and_threads() {
    let server = Server::start(1);
    let flags = "--connections 700 --threads 2 --rate 10k --duration 1s --keys 500 --arrivals constant";
    let result = run(server.address(), flags).unwrap();
    assert_right(&result);
    assert_eq!((result.requests.intended, result.workload.thread_count), (10_000, 2));
}

#[test]
fn a_unix_socket_with_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Server::start_with(1, &["--unixsocket", path.to_str().unwrap(), "--requirepass", "secret"]);
    let mut run = crate::described(server.address(), "--rate 5k --duration 500ms --keys 50 --auth secret --resp 3");
    assert_right(&tallyring::bench::run(&run, &mut ()).unwrap());
    run.target.address = tallyring::bench::target::Address::Unix(path);
    let result = tallyring::bench::run(&run, &mut ()).unwrap();
    assert_right(&result);
    assert!(result.bottleneck.server_cpu.is_some(), "the process at the other end is known");
    run.target.auth = None;
    let error = tallyring::bench::run(&run, &mut ()).unwrap_err().to_string();
    assert!(error.contains("--auth"), "{error}");
}

#[test]
fn redis_is_measured_and_counts_right() {
    let Some(redis) = RedisServer::start_or_skip(&[]) else { return };
    let result =
        run(redis.address(), "--rate 10k --duration 1s --keys 1000 --mix incr=8,get=1,mget:5,expiring").unwrap();
    assert_right(&result);
    assert!(result.server.software.as_deref().is_some_and(|software| software.starts_with("redis 7.")));
    let result = run(redis.address(), "--rate max --pipeline 16 --requests 50000 --resp 3").unwrap();
    assert_right(&result);
    // What it does not know is said before the load, not counted as errors.
    let error = run(redis.address(), "--mix mincrby:3 --duration 500ms").unwrap_err().to_string();
    assert!(error.contains("the server refuses mincrby:3: ERR unknown command"), "{error}");
}

#[test]
fn the_sink_answers_everything() {
    let mix = Mix::parse("incr", 1_000, 16).unwrap();
    let sink = Sink::start(&mix, None).unwrap();
    let result = run(sink.address(), "--rate max --requests 200000 --pipeline 64 --keys 1000 --verify no").unwrap();
    assert_eq!(result.requests.answered, 200_000);
    assert_eq!(result.verification, Verification::Off { reason: "it was switched off".to_owned() });
}

#[test]
fn a_lost_increment_is_found() {
    let server = faulty::start(Fault::Loses(1_000));
    let result =
        run(server, "--rate max --requests 5000 --keys 5000 --distribution sequential --connections 4").unwrap();
    assert!(findings(&result).contains("increments are lost"), "{}", findings(&result));
    assert_eq!(result.verdict.exit_code(), 1);
}

#[test]
fn an_increment_too_many_is_found() {
    let server = faulty::start(Fault::CountsTwice(1_000));
    let result = run(server, "--rate 10k --duration 500ms --keys 100 --connections 4").unwrap();
    assert!(findings(&result).contains("the counters grew by"), "{}", findings(&result));
}

#[test]
fn a_value_that_does_not_grow_is_found() {
    let server = faulty::start(Fault::Loses(100));
    let result = run(server, "--rate max --requests 5000 --keys 1 --connections 1").unwrap();
    assert!(findings(&result).contains("values did not grow"), "{}", findings(&result));
}

#[test]
fn errors_are_a_mismatch_and_their_increments_unknown() {
    let server = faulty::start(Fault::Fails(100));
    let result = run(server, "--rate 10k --duration 500ms --keys 100 --connections 4").unwrap();
    let Verdict::Mismatch { reason } = &result.verdict else { panic!("{:?}", result.verdict) };
    assert!(reason.contains("OOM no more of this"), "{reason}");
    let Verification::Passed { unknown, .. } = result.verification else { panic!("{:?}", result.verification) };
    assert!(unknown >= result.requests.errors && result.requests.errors > 0);
}
