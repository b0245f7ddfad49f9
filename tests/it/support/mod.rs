//! What every test needs: servers as processes, a connection that speaks RESP, seeded randomness, bounded waits.
//!
//! Invariant: nothing here waits for ever; a limit that is reached panics and says what was waited for.

mod conn;
mod process;
mod random;
mod reply;
mod server;

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use conn::{Conn, ReadError, wire};
pub use process::{Finished, Process, run};
pub use random::{Random, seed};
pub use reply::{Reply, array, bulk, error, int, ok, read_reply, simple};
pub use server::{RedisServer, Server, binary, serve_command};

/// Longest wait for one reply, in a suite that runs many servers on few cores.
pub const REPLY_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for a process to start or to end.
pub const PROCESS_LIMIT: Duration = Duration::from_secs(30);

/// Wait until `done` is true, or panic with `what`.
pub fn within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program's path; `None`, with a line about what is left out, when the machine lacks it.
pub fn peer_or_skip(program: &str) -> Option<PathBuf> {
    let found = std::env::var_os("PATH")
        .and_then(|paths| std::env::split_paths(&paths).map(|dir| dir.join(program)).find(|path| path.is_file()));
    if found.is_none() {
        left_out(&format!("{program} is not installed"));
    }
    found
}

/// Say that the running test leaves something out; panic when peers are required.
pub fn left_out(reason: &str) {
    let required = std::env::var_os("TALLYRING_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "{reason}, and TALLYRING_REQUIRE_PEERS=1");
    let thread = std::thread::current();
    // Written past the test harness, which swallows what a passing test prints.
    let _ = writeln!(std::io::stderr(), "left out in {}: {reason}", thread.name().unwrap_or("a test"));
}

/// The slot of a key, bit by bit: the naive twin of the server's own.
pub fn slot_of(key: &[u8]) -> u16 {
    let open = key.iter().position(|&byte| byte == b'{');
    let tag = open.and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').filter(|&len| len > 0).map(|len| &rest[..len])
    });
    let mut crc = 0u16;
    for &byte in tag.unwrap_or(key) {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
        }
    }
    crc % 16_384
}

/// `count` keys that start with `prefix`, the n-th in the n-th of `count` equal ranges of slots.
pub fn spread_keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|range| {
            (0..100_000)
                .map(|n| format!("{prefix}{n}"))
                .find(|key| usize::from(slot_of(key.as_bytes())) * count / 16_384 == range)
                .expect("100,000 keys reach every range of slots")
        })
        .collect()
}

#[test]
fn slots_are_those_of_redis_cluster() {
    // The check value of the Redis Cluster specification, and its hash tag rules.
    assert_eq!(slot_of(b"123456789"), 0x31c3);
    assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
    assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
    assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
}
