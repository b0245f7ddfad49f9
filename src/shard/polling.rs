//! Whether a shard sleeps as soon as it has nothing to do, or goes on polling for a while (`--busy-poll`).
//!
//! To sleep and be woken takes a core tens of microseconds, in a virtual machine above all. Where the next request comes
//! before that, polling answers it earlier and costs the core nothing that others could have used. So by default a shard
//! tries: it polls for a little while when it runs out of work, goes on with that habit as long as work mostly comes in
//! that time, and else gives it up for a while, twice as long each time. Who needs the core is given way to, and a
//! reason to give up sooner.
//!
//! Invariant: where polling never pays it takes less than a hundredth of a shard's time, unless it was asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::thread::yield_now;

use tokio::sync::Notify;

use super::Shard;
use crate::config::BusyPoll;

/// How long a shard polls when it decides by itself: what the quickest clients take, and a thread to be woken.
const AUTO_LIMIT_NS: u64 = 50_000;

/// A turn of the ring that takes longer has done something, if only for the server itself, or waited for the disk.
const IDLE_TURN_NS_MAX: u64 = 10_000;

/// To give way takes longer than this only if something else ran on the core; longer than that if it has work of its own.
const DISTURBED_NS_MIN: u64 = 10_000;
const TAKEN_NS_MIN: u64 = 500_000;

/// How often polling may be in vain, more often than not, until it is given up; with what it starts; and what it costs that
/// something else ran.
const SCORE_MAX: u32 = 32;
const SCORE_AT_START: u32 = 8;
const SCORE_OF_DISTURBANCE: u32 = 2;

/// How long it is given up for: at first, and at most; and how much longer where others have work for the core.
const REST_NS_MIN: u64 = 20_000_000;
const REST_NS_MAX: u64 = 1_280_000_000;
const REST_FACTOR_TAKEN: u64 = 8;

/// See the module.
pub(super) struct Polling {
    /// How often something was received.
    work_count: Cell<u64>,
    /// Work from then on starts polling again: never while it goes on.
    begins_ns: Cell<u64>,
    work: Notify,
    habit: RefCell<Habit>,
    /// Time that was spent polling while there was nothing to do.
    polled_ns: Cell<u64>,
}

impl Polling {
    pub(super) fn new(busy_poll: BusyPoll) -> Polling {
        let begins_ns = match busy_poll {
            BusyPoll::No => u64::MAX,
            _ => 0,
        };
        Polling {
            work_count: Cell::new(0),
            begins_ns: Cell::new(begins_ns),
            work: Notify::new(),
            habit: RefCell::default(),
            polled_ns: Cell::new(0),
        }
    }

    /// How often there was work.
    pub(super) fn work_count(&self) -> u64 {
        self.work_count.get()
    }

    pub(super) fn polled_ns(&self) -> u64 {
        self.polled_ns.get()
    }
}

impl Shard {
    /// There is work: who has given up polling may begin again.
    #[inline]
    pub fn note_work(&self, now_ns: u64) {
        self.polling.work_count.update(|count| count + 1);
        if now_ns >= self.polling.begins_ns.get() {
            self.polling.begins_ns.set(u64::MAX);
            self.polling.work.notify_one();
        }
    }

    /// Another shard has sent something: the same.
    pub(super) fn note_message(&self) {
        if self.shared.config.busy_poll != BusyPoll::No {
            self.note_work(self.clock.now().ns);
        }
    }

    /// Keep the shard from sleeping, as it was told to, for as long as it runs.
    pub async fn poll_busily(self: Rc<Self>) {
        let (limit_ns, decides) = match self.shared.config.busy_poll {
            BusyPoll::No => return,
            BusyPoll::Auto => (AUTO_LIMIT_NS, true),
            BusyPoll::For(limit_us) => (u64::from(limit_us) * 1_000, false),
            BusyPoll::Always => (u64::MAX, false),
        };
        let polling = &self.polling;
        loop {
            if limit_ns < u64::MAX {
                polling.work.notified().await;
            }
            let begins_ns = self.poll_until_idle(limit_ns, decides).await;
            polling.begins_ns.set(begins_ns);
        }
    }

    /// Poll until there has been no work for so long, or it is given up. From when on work starts it again.
    async fn poll_until_idle(&self, limit_ns: u64, decides: bool) -> u64 {
        let polling = &self.polling;
        let mut seen_ns = self.clock.now().ns;
        let mut idle_since_ns = seen_ns;
        let mut is_idle = false;
        loop {
            let work_count = polling.work_count.get();
            // The ring always has an operation that completes at once. Only one that is torn down refuses it.
            let _ = tokio_uring::no_op().await;
            let now_ns = self.clock.now().ns;
            let turn_ns = now_ns - seen_ns;
            seen_ns = now_ns;
            let has_work = polling.work_count.get() != work_count;
            if has_work && is_idle && decides {
                polling.habit.borrow_mut().note(Trial::Paid);
            }
            if has_work || turn_ns > IDLE_TURN_NS_MAX {
                (idle_since_ns, is_idle) = (now_ns, false);
                continue;
            }
            let is_in_vain = now_ns - idle_since_ns > limit_ns;
            if decides {
                yield_now();
                seen_ns = self.clock.now().ns;
            }
            let away_ns = seen_ns - now_ns;
            // The first one has sent what was answered before it.
            if is_idle && away_ns < DISTURBED_NS_MIN {
                polling.polled_ns.update(|before| before + turn_ns + away_ns);
            }
            is_idle = true;
            let trial = match away_ns {
                TAKEN_NS_MIN.. => Trial::Taken,
                DISTURBED_NS_MIN.. => Trial::Disturbed,
                _ if is_in_vain => Trial::InVain,
                _ => continue,
            };
            return match decides.then(|| polling.habit.borrow_mut().note(trial)) {
                None | Some(0) => 0,
                Some(rest_ns) => seen_ns + rest_ns,
            };
        }
    }
}

/// How a time of polling ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Work came.
    Paid,
    /// None came.
    InVain,
    /// Something else ran on the core.
    Disturbed,
    /// Something else had much to do on the core.
    Taken,
}

/// Whether polling pays, as far as the last trials tell.
#[derive(Debug)]
struct Habit {
    /// How much more often it may be in vain than not.
    score: u32,
    /// How long it rests when it is given up next.
    next_rest_ns: u64,
}

impl Default for Habit {
    fn default() -> Habit {
        Habit { score: SCORE_AT_START, next_rest_ns: REST_NS_MIN }
    }
}

impl Habit {
    /// How long polling is given up for; 0 if it is not.
    fn note(&mut self, trial: Trial) -> u64 {
        let lost = match trial {
            Trial::Paid => 0,
            Trial::InVain => 1,
            Trial::Disturbed => SCORE_OF_DISTURBANCE,
            Trial::Taken => SCORE_MAX,
        };
        if lost >= self.score {
            let rest_ns = self.next_rest_ns * if trial == Trial::Taken { REST_FACTOR_TAKEN } else { 1 };
            self.next_rest_ns = (2 * self.next_rest_ns).min(REST_NS_MAX);
            self.score = SCORE_AT_START;
            return rest_ns;
        }
        if lost > 0 {
            self.score -= lost;
        } else if self.score < SCORE_MAX {
            self.score += 1;
        } else {
            self.next_rest_ns = REST_NS_MIN;
        }
        0
    }
}

// In vain, and again after the longest rest: a hundredth of the time at most.
const _: () = assert!(100 * (SCORE_AT_START as u64) * AUTO_LIMIT_NS <= REST_NS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_mostly_comes_keeps_it_going() {
        let mut habit = Habit::default();
        for round in 0..10_000 {
            let rest_ns = habit.note(if round % 3 == 0 { Trial::InVain } else { Trial::Paid });
            assert_eq!(rest_ns, 0, "round {round}");
        }
    }

    #[test]
    fn in_vain_it_is_given_up_for_longer_and_longer() {
        let mut habit = Habit::default();
        let mut rests_ns = Vec::new();
        for _ in 0..12 {
            for _ in 1..SCORE_AT_START {
                assert_eq!(habit.note(Trial::InVain), 0);
            }
            rests_ns.push(habit.note(Trial::InVain));
        }
        assert_eq!(rests_ns[..3], [REST_NS_MIN, 2 * REST_NS_MIN, 4 * REST_NS_MIN]);
        assert_eq!(rests_ns[11], REST_NS_MAX);
        // It has to pay for a while until that is forgotten. What takes the core makes it rest for longer.
        let pay = |habit: &mut Habit, count: u32| (0..count).for_each(|_| assert_eq!(habit.note(Trial::Paid), 0));
        let disturb =
            |habit: &mut Habit| (0..SCORE_MAX / SCORE_OF_DISTURBANCE).map(|_| habit.note(Trial::Disturbed)).max();
        pay(&mut habit, SCORE_MAX - SCORE_AT_START);
        assert_eq!(disturb(&mut habit), Some(REST_NS_MAX));
        pay(&mut habit, SCORE_MAX - SCORE_AT_START + 1);
        assert_eq!(disturb(&mut habit), Some(REST_NS_MIN));
        pay(&mut habit, SCORE_MAX - SCORE_AT_START + 1);
        assert_eq!(habit.note(Trial::Taken), REST_FACTOR_TAKEN * REST_NS_MIN);
    }
}
