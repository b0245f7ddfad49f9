//! When a snapshot that is due is begun: at once, and later and later after those that have failed.

use std::time::{Duration, Instant};

/// After the first that has failed.
const RETRY_MIN: Duration = Duration::from_secs(5);

/// However many have failed.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// See the module. Each one counts as failed until it is known to be complete.
#[derive(Debug, Default)]
pub(super) struct Automatic {
    /// How long the next one waits behind this one, and until when.
    waits: Option<(Duration, Instant)>,
    /// Somebody has been told that there is no room for it.
    refused: bool,
}

impl Automatic {
    /// Whether one may begin.
    pub(super) fn is_time(&self, now: Instant) -> bool {
        self.waits.is_none_or(|(_, until)| until <= now)
    }

    /// One has begun.
    pub(super) fn note_begun(&mut self, now: Instant) {
        let wait = self.waits.map_or(RETRY_MIN, |(wait, _)| (2 * wait).min(RETRY_MAX));
        *self = Automatic { waits: Some((wait, now + wait)), refused: false };
    }

    /// One was not begun, as there is no room for it. True when that is news.
    pub(super) fn note_refused(&mut self) -> bool {
        !std::mem::replace(&mut self.refused, true)
    }

    /// One is complete, whoever has asked for it.
    pub(super) fn note_complete(&mut self) {
        *self = Automatic::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_one_that_fails_is_followed_later_until_one_is_complete() {
        let begin = Instant::now();
        let mut automatic = Automatic::default();
        let mut now = begin;
        let mut waits_s = Vec::new();
        for _ in 0..12 {
            assert!(automatic.is_time(now));
            automatic.note_begun(now);
            let wait = (1..).find(|wait_s| automatic.is_time(now + Duration::from_secs(*wait_s))).expect("once");
            waits_s.push(wait);
            now += Duration::from_secs(wait);
        }
        assert_eq!(waits_s, [5, 10, 20, 40, 80, 160, 320, 640, 1_280, 2_560, 3_600, 3_600]);
        automatic.note_begun(now);
        automatic.note_complete();
        assert!(automatic.is_time(now));
    }

    #[test]
    fn that_there_is_no_room_is_told_once_until_there_is() {
        let mut automatic = Automatic::default();
        let now = Instant::now();
        assert_eq!([automatic.note_refused(), automatic.note_refused()], [true, false]);
        assert!(automatic.is_time(now), "it begins as soon as there is room");
        automatic.note_begun(now);
        assert!(automatic.note_refused());
    }
}
