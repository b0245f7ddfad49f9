//! The time of a shard: one reading of the monotonic clock gives both the time since the start and the Unix time.
//!
//! The offset between the two is renewed by the shard's tick, so that a change of the wall clock is followed within it.

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// See the module.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Unix time in nanoseconds at `start`, as far as is known. 64 bits last until the year 2262.
    start_unix_ns: Cell<i64>,
}

/// One reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Nanoseconds since the shard started; never goes back.
    pub ns: u64,
    /// Unix time in milliseconds.
    pub unix_ms: i64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

impl Clock {
    /// A clock that starts now.
    pub fn new() -> Clock {
        let clock = Clock { start: Instant::now(), start_unix_ns: Cell::new(0) };
        clock.renew();
        clock
    }

    /// Read the wall clock anew.
    pub fn renew(&self) {
        let unix_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64);
        self.start_unix_ns.set(unix_ns - self.start.elapsed().as_nanos() as i64);
    }

    /// The time.
    pub fn now(&self) -> Moment {
        let ns = self.start.elapsed().as_nanos() as u64;
        Moment { ns, unix_ms: (self.start_unix_ns.get() + ns as i64) / 1_000_000 }
    }

    /// Unix time in microseconds, for `TIME`.
    pub fn unix_us(&self) -> i64 {
        self.renew();
        (self.start_unix_ns.get() + self.start.elapsed().as_nanos() as i64) / 1_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_times_go_on_together() {
        let clock = Clock::new();
        let first = clock.now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let second = clock.now();
        let elapsed_ms = ((second.ns - first.ns) / 1_000_000) as i64;
        assert!(elapsed_ms >= 20);
        assert!((second.unix_ms - first.unix_ms - elapsed_ms).abs() <= 1);
        assert!((clock.unix_us() / 1_000 - clock.now().unix_ms).abs() <= 5);
    }
}
