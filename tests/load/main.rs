//! `tallyring bench` against servers: its own, Redis, and ones that are wrong on purpose.
//!
//! Other programs may take the cores meanwhile, so what is asserted are counts, arithmetic and words, not speed.

mod cluster;
mod ends;
mod faulty;
mod files;
mod runs;
mod same;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests need less of it than the other ones")]
mod support;
mod times;

use std::net::SocketAddr;

use clap::Parser;
use tallyring::bench::options::Options;
use tallyring::bench::result::{RunResult, Verdict, Verification};
use tallyring::bench::{self, BenchError, Observer, Run};
use tallyring::host::Host;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// The run that the flags describe, of the server at `address`.
fn described(address: SocketAddr, flags: &str) -> Run {
    let mut arguments: Vec<String> = ["bench", "--port"].map(str::to_owned).into();
    arguments.push(address.port().to_string());
    arguments.extend(["--warmup", "100ms"].map(str::to_owned));
    if !flags.contains("--threads") {
        // Two cores have to do for everything.
        arguments.extend(["--threads", "1"].map(str::to_owned));
    }
    arguments.extend(flags.split_whitespace().map(str::to_owned));
    // All tests of this process have their connections at once.
    tallyring::host::raise_soft_limits();
    let line = Line::try_parse_from(&arguments).expect("the flags are right");
    line.options.resolve(&Host::read(), arguments).expect("the flags are sound")
}

/// Run in this process.
fn run(address: SocketAddr, flags: &str) -> Result<RunResult, BenchError> {
    run_seen(address, flags, &mut ())
}

fn run_seen(address: SocketAddr, flags: &str, observer: &mut dyn Observer) -> Result<RunResult, BenchError> {
    bench::run(&described(address, flags), observer)
}

/// The server was right. Whether the generator had a core for itself is another matter here.
#[track_caller]
fn assert_right(result: &RunResult) {
    assert!(matches!(result.verdict, Verdict::Ok | Verdict::Inconclusive { .. }), "{:?}", result.verdict);
    assert!(matches!(result.verification, Verification::Passed { .. }), "{:?}", result.verification);
    assert_eq!((result.requests.errors, result.requests.unanswered, result.requests.resets), (0, 0, 0));
    let answered: u64 = result.seconds.iter().map(|second| second.answered).sum();
    assert_eq!(answered, result.requests.answered);
    let by_command: u64 = result.commands.iter().map(|command| command.latency.response.len()).sum();
    assert_eq!(by_command, result.latency.response.len());
}

/// What the verification found.
#[track_caller]
fn findings(result: &RunResult) -> String {
    match &result.verification {
        Verification::Failed { findings } => findings.join("; "),
        other => panic!("the verification found nothing: {other:?}"),
    }
}
