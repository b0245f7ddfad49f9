//! How steadily the generator's host runs a thread that never sleeps.

use std::time::{Duration, Instant};

/// How long it is measured.
const JITTER_TIME: Duration = Duration::from_secs(1);

/// A thread that reads the clock without end was kept from its core when two readings are this far apart.
const PAUSE_NS_MIN: u64 = 5_000;

/// The longest time that this thread was kept from its core in a second without rest, and the share of the second.
pub(super) fn jitter() -> (u64, f64) {
    let begun = Instant::now();
    let (mut last, mut longest_ns, mut paused_ns) = (begun, 0, 0);
    while begun.elapsed() < JITTER_TIME {
        let now = Instant::now();
        let gap_ns = now.duration_since(last).as_nanos() as u64;
        if gap_ns >= PAUSE_NS_MIN {
            paused_ns += gap_ns;
        }
        longest_ns = longest_ns.max(gap_ns);
        last = now;
    }
    (longest_ns, paused_ns as f64 / JITTER_TIME.as_nanos() as f64)
}
