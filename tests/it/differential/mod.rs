//! The same requests to a real Redis 7 and to the server: the replies must be the same.
//!
//! `random` makes the sequences, `compare` runs them on both sides and says where they part, `edges` are chosen by
//! hand, and `differences` lists what is meant to be different, so that nothing else is.

mod compare;
mod differences;
mod edges;
mod random;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{Random, RedisServer, Server, seed};

use compare::{Command, Pair, shrink};
use random::sequence;

/// Sequences of one configuration; fewer when the time is up.
const SEQUENCE_COUNT: u64 = 2_000;

/// Time of one configuration.
const TIME_LIMIT: Duration = Duration::from_secs(14);

#[test]
fn random_sequences_resp2_one_shard() {
    compare_random_sequences(1, false);
}

#[test]
fn random_sequences_resp2_three_shards() {
    compare_random_sequences(3, false);
}

#[test]
fn random_sequences_resp3_one_shard() {
    compare_random_sequences(1, true);
}

#[test]
fn random_sequences_resp3_three_shards() {
    compare_random_sequences(3, true);
}

/// The comparison itself: it finds nothing between two that are alike, and something where one is broken.
#[test]
fn a_broken_side_is_found_out() {
    let Some(sound) = RedisServer::start_or_skip(&[]) else { return };
    let Some(alike) = RedisServer::start_or_skip(&[]) else { return };
    let Some(broken) = RedisServer::start_or_skip(&["--rename-command", "PERSIST", ""]) else { return };
    let base = seed();
    assert_eq!(first_difference(alike.address(), sound.address(), true, base, 100), Ok(100));
    let difference = first_difference(broken.address(), sound.address(), true, base, 100).unwrap_err();
    assert!(difference.to_lowercase().contains("persist"), "{difference}");
}

fn compare_random_sequences(shard_count: usize, resp3: bool) {
    let Some(theirs) = RedisServer::start_or_skip(&[]) else { return };
    let ours = Server::start(shard_count);
    let count = first_difference(ours.address(), theirs.address(), resp3, seed(), SEQUENCE_COUNT);
    let count = count.unwrap_or_else(|difference| panic!("{difference}"));
    assert!(count >= 20, "only {count} sequences within {TIME_LIMIT:?}");
    println!("{count} sequences");
}

/// Run up to `count_max` sequences; how many they were, or what is different. Every sequence has its own seed, the
/// base seed plus its number: `TALLYRING_SEED` set to that repeats it first.
fn first_difference(
    ours: SocketAddr,
    theirs: SocketAddr,
    resp3: bool,
    base: u64,
    count_max: u64,
) -> Result<u64, String> {
    let start = Instant::now();
    for count in 0..count_max {
        if start.elapsed() > TIME_LIMIT {
            return Ok(count);
        }
        let seed = base + count;
        let commands = sequence(&mut Random::new(seed));
        let run = |commands: &[Command]| Pair::new(ours, theirs, resp3).run(commands);
        if let Err(difference) = run(&commands) {
            let (shortest, difference) = shrink(commands, difference, run);
            let listing: Vec<String> = shortest.iter().map(|command| format!("  {command:?}")).collect();
            return Err(format!("TALLYRING_SEED={seed} parts, shortened to:\n{}\n{difference}", listing.join("\n")));
        }
    }
    Ok(count_max)
}
