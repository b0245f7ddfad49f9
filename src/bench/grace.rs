//! How long after the end of a load its last requests may still be sent and answered, and what of a wait is the server's.
//!
//! Pure. A thread that was kept from running has not waited for anybody meanwhile: that is added to the time of grace, so
//! that what it finds when it runs again is neither thrown away nor held against the server; and a send that was under way
//! was not held up by the server for so long.

use super::record::SECOND_NS;

/// After the end of the load requests that are under way may still be answered for so long.
pub const GRACE_NS: u64 = 5 * SECOND_NS;

/// Who looks at the clock many times a second and finds that more has passed was kept from running.
const PAUSE_NS_MIN: u64 = 50_000_000;

/// See the module. Times are in nanoseconds of one clock.
#[derive(Debug)]
pub struct Grace {
    end_ns: u64,
    seen_ns: u64,
    /// The last pause: from when until when.
    pause: (u64, u64),
    /// The longest one, as far as it lay behind the end.
    pause_ns: u64,
}

impl Grace {
    /// Of a load whose requests come due until `end_ns`.
    pub fn new(end_ns: u64, now_ns: u64) -> Grace {
        Grace { end_ns, seen_ns: now_ns, pause: (0, 0), pause_ns: 0 }
    }

    /// The load ends earlier than was planned.
    pub fn end_at(&mut self, end_ns: u64) {
        self.end_ns = end_ns;
    }

    /// Nobody knows the end beforehand, and something was heard at `heard_ns`: it ends there, unless more comes.
    pub fn wait_from(&mut self, heard_ns: u64) {
        if self.end_ns != heard_ns {
            (self.end_ns, self.pause_ns) = (heard_ns, 0);
        }
    }

    /// Whether nothing is waited for any more. To be asked many times a second, before the end too.
    pub fn is_over(&mut self, now_ns: u64) -> bool {
        self.see(now_ns);
        now_ns >= self.end_ns.saturating_add(GRACE_NS + self.pause_ns)
    }

    /// Until when the server held up what was to be done from `since_ns` on and is done now.
    pub fn held_until_ns(&mut self, since_ns: u64, now_ns: u64) -> u64 {
        self.see(now_ns);
        let (paused_ns, resumed_ns) = self.pause;
        // From the pause on nobody knows.
        if resumed_ns > since_ns { paused_ns.max(since_ns) } else { now_ns }
    }

    fn see(&mut self, now_ns: u64) {
        let before_ns = std::mem::replace(&mut self.seen_ns, now_ns);
        if now_ns - before_ns >= PAUSE_NS_MIN {
            self.pause = (before_ns, now_ns);
            // The longest one and not their sum, or a thread that hardly runs would never end.
            let behind_ns = now_ns.saturating_sub(self.end_ns.max(before_ns));
            self.pause_ns = self.pause_ns.max(behind_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = SECOND_NS;

    fn over_at(grace: &mut Grace, moments: impl Iterator<Item = u64>) -> Option<u64> {
        moments.into_iter().find(|ns| grace.is_over(*ns))
    }

    #[test]
    fn whoever_runs_waits_for_as_long_as_is_said() {
        let mut grace = Grace::new(3 * S, 0);
        assert_eq!(over_at(&mut grace, (0..400).map(|part| part * S / 40)), Some(3 * S + GRACE_NS));
        let mut grace = Grace::new(3 * S, 0);
        assert!(!grace.is_over(S / 2));
        grace.end_at(S);
        assert_eq!(over_at(&mut grace, (20..400).map(|part| part * S / 40)), Some(S + GRACE_NS));
    }

    #[test]
    fn a_pause_behind_the_end_is_no_waiting() {
        let mut grace = Grace::new(3 * S, 0);
        assert!(!grace.is_over(S / 2));
        // Stopped until long after the end: the whole time of grace is still to come.
        assert!(!grace.is_over(10 * S));
        assert_eq!(over_at(&mut grace, (400..900).map(|part| part * S / 40)), Some(10 * S + GRACE_NS));
        // Before the end it delays nothing.
        let mut grace = Grace::new(3 * S, 0);
        assert!(!grace.is_over(2 * S));
        assert_eq!(over_at(&mut grace, (80..400).map(|part| part * S / 40)), Some(3 * S + GRACE_NS));
        // One that hardly runs has an end too.
        let mut grace = Grace::new(3 * S, 0);
        assert_eq!(over_at(&mut grace, (0..20).map(|second| 2 * S * second)), Some(10 * S));
    }

    #[test]
    fn a_load_without_an_end_ends_when_nothing_comes_any_more() {
        let mut grace = Grace::new(u64::MAX / 2, 0);
        let mut moments = (0..4_000).map(|part| part * S / 40);
        // A reply every four seconds until 20 s, and none from then on.
        let over_at = moments.find(|ns| {
            grace.wait_from((ns - ns % (4 * S)).min(20 * S));
            grace.is_over(*ns)
        });
        assert_eq!(over_at, Some(20 * S + GRACE_NS));
        // A pause is no waiting, and an earlier one delays nothing.
        let mut grace = Grace::new(u64::MAX / 2, 0);
        for (heard_ns, now_ns, is_over) in [
            (S, S, false),
            (S, 20 * S, false),
            (21 * S, 21 * S, false),
            (21 * S, 26 * S, false),
            (21 * S, 31 * S, true),
        ] {
            grace.wait_from(heard_ns);
            assert_eq!(grace.is_over(now_ns), is_over, "{now_ns}");
        }
    }

    #[test]
    fn what_a_pause_delays_is_not_held_up_by_the_server() {
        let mut grace = Grace::new(100 * S, 0);
        assert!((0..=40).all(|part| !grace.is_over(part * S / 40)));
        // The server did not read, while this thread ran.
        assert_eq!(grace.held_until_ns(S / 2, S + 1), S + 1);
        // Stopped for three seconds: of what was under way, and of what is found by whoever comes next.
        assert_eq!(grace.held_until_ns(S / 2, 4 * S), S + 1);
        assert_eq!(grace.held_until_ns(S / 4, 4 * S + 5), S + 1);
        assert!(!grace.is_over(4 * S + 10));
        assert_eq!(grace.held_until_ns(4 * S + 1, 4 * S + 2_000_000), 4 * S + 2_000_000);
    }
}
