//! When a snapshot that is due is begun: at once, and later and later after those that have failed.

use std::time::{Duration, Instant};

/// After the first that has failed.
const RETRY_MIN: Duration = Duration::from_secs(5);

/// However many have failed.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// The same while writes are refused until one is complete.
const RETRY_REFUSING_MAX: Duration = Duration::from_secs(60);

/// See the module. All shards learn of the same snapshots that nobody has asked for, so each of them waits as long as the
/// others.
#[derive(Debug, Default)]
pub(super) struct Automatic {
    /// When the last one has failed, and how long the next one waits.
    failed: Option<(Instant, Duration)>,
    /// Somebody has been told that there is no room for it.
    refused: bool,
}

impl Automatic {
    /// Whether one may begin. `is_refusing`: writes are refused until one is complete.
    pub(super) fn is_time(&self, now: Instant, is_refusing: bool) -> bool {
        let wait_max = if is_refusing { RETRY_REFUSING_MAX } else { RETRY_MAX };
        self.failed.is_none_or(|(at, wait)| at + wait.min(wait_max) <= now)
    }

    /// One has begun.
    pub(super) fn note_begun(&mut self) {
        self.refused = false;
    }

    /// One was not begun, as there is no room for it. True when that is news.
    pub(super) fn note_refused(&mut self) -> bool {
        !std::mem::replace(&mut self.refused, true)
    }

    /// One has failed that nobody has asked for.
    pub(super) fn note_failed(&mut self, now: Instant) {
        let wait = self.failed.map_or(RETRY_MIN, |(_, wait)| (2 * wait).min(RETRY_MAX));
        self.failed = Some((now, wait));
    }

    /// One is complete, asked for or not.
    pub(super) fn note_complete(&mut self) {
        *self = Automatic::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each one waits when all fail, in seconds.
    fn waits_s(is_refusing: bool) -> Vec<u64> {
        let mut automatic = Automatic::default();
        let mut now = Instant::now();
        assert!(automatic.is_time(now, is_refusing), "the first waits for nothing");
        let mut next_wait_s = || {
            automatic.note_failed(now);
            let is_time = |wait_s: &u64| automatic.is_time(now + Duration::from_secs(*wait_s), is_refusing);
            let wait_s = (1..).find(is_time).expect("once");
            now += Duration::from_secs(wait_s);
            wait_s
        };
        (0..12).map(|_| next_wait_s()).collect()
    }

    #[test]
    fn each_one_that_fails_is_followed_later_until_one_is_complete() {
        assert_eq!(waits_s(false), [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
        let mut automatic = Automatic::default();
        let now = Instant::now();
        automatic.note_failed(now);
        automatic.note_complete();
        assert!(automatic.is_time(now, false));
    }

    #[test]
    fn while_writes_are_refused_none_waits_for_longer_than_a_minute() {
        assert_eq!(waits_s(true), [5, 10, 20, 40, 60, 60, 60, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn that_there_is_no_room_is_told_once_until_there_is() {
        let mut automatic = Automatic::default();
        assert_eq!([automatic.note_refused(), automatic.note_refused()], [true, false]);
        assert!(automatic.is_time(Instant::now(), false), "it begins as soon as there is room");
        automatic.note_begun();
        assert!(automatic.note_refused());
    }
}
