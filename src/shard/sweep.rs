//! How long the background expiry goes on in one tick of upkeep.
//!
//! Counters that have expired and that nothing touches take memory until the sweep comes to them. While they are a
//! sixteenth of what it visits or more it goes on for a millisecond, and again soon; else it ends after a tenth of that.

use crate::counters::Counters;

/// Entries that are visited between two looks at the clock.
const ENTRY_COUNT: usize = 256;

/// While one in so many of the visited had expired, it pays to go on.
const PAYING_SHARE: usize = 16;

/// How long a tick goes on while it pays, or is urgent; and otherwise.
const PAYING_NS_MAX: u64 = 1_000_000;
const PLAIN_NS_MAX: u64 = 100_000;

/// Remove counters that have expired. `is_urgent`: others were refused for want of room. `elapsed_ns` tells how long it has
/// taken. True when there were too many for one tick.
pub(super) fn sweep(
    counters: &mut Counters,
    now_ms: i64,
    is_urgent: bool,
    mut elapsed_ns: impl FnMut() -> u64,
) -> bool {
    let (mut visited_count, mut removed_count, mut round_count) = (0, 0, 0);
    loop {
        let swept = counters.sweep(now_ms, ENTRY_COUNT);
        visited_count += swept.visited_count;
        removed_count += swept.removed_count;
        round_count += u32::from(swept.is_round_over);
        let pays = removed_count * PAYING_SHARE >= visited_count;
        let ns_max = if pays || is_urgent { PAYING_NS_MAX } else { PLAIN_NS_MAX };
        // Behind the second end of a round every one has been visited.
        if round_count == 2 {
            return false;
        }
        if elapsed_ns() > ns_max {
            return pays;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Cond, Deadline, Op, Outcome, Seed, SetReply};
    use crate::limits::SLOT_COUNT;

    /// What a visit takes, with much to spare: 3 ns were measured.
    const VISIT_NS: u64 = 20;

    const START_MS: i64 = 1_700_000_000_000;

    fn set_until(counters: &mut Counters, number: usize, at_ms: i64) {
        let name = format!("session:{number:010}");
        let op = Op::Set { value: 1, deadline: Deadline::At(at_ms), cond: Cond::Always, reply: SetReply::Ok };
        assert_eq!(counters.apply(Seed::of_process().key(name.as_bytes()), op, 0), Outcome::Ok);
    }

    fn tick(counters: &mut Counters, now_ms: i64, is_urgent: bool) -> bool {
        let mut ns = 0;
        sweep(counters, now_ms, is_urgent, || {
            ns += ENTRY_COUNT as u64 * VISIT_NS;
            ns
        })
    }

    #[test]
    fn of_counters_that_come_and_expire_all_the_time_few_are_dead() {
        const LIFE_MS_MAX: i64 = 60_000;
        const DURATION_MS: i64 = 4 * LIFE_MS_MAX;
        let mut counters = Counters::new(0..SLOT_COUNT as u16);
        let mut expiring_at = vec![0_u64; (DURATION_MS + LIFE_MS_MAX) as usize + 1];
        let (mut past_ms, mut tick_ms, mut made_count, mut expired_count, mut dead_share_max) = (0, 100, 0, 0, 0.0_f64);
        while past_ms < DURATION_MS {
            // Two a millisecond, 60,000 alive. Their lives are of all lengths, so each block has some that expire.
            for _ in 0..2 * tick_ms {
                let at_ms = past_ms + 1 + (made_count as i64 * 7_919) % LIFE_MS_MAX;
                set_until(&mut counters, made_count, START_MS + at_ms);
                expiring_at[at_ms as usize] += 1;
                made_count += 1;
            }
            expired_count += expiring_at[past_ms as usize..(past_ms + tick_ms) as usize].iter().sum::<u64>();
            past_ms += tick_ms;
            let there_count = counters.expiring_count();
            let dead_count = there_count - (made_count as u64 - expired_count);
            if past_ms > DURATION_MS / 2 {
                dead_share_max = dead_share_max.max(dead_count as f64 / there_count as f64);
            }
            tick_ms = if tick(&mut counters, START_MS + past_ms, false) { 5 } else { 100 };
        }
        assert!(dead_share_max < 1.0 / 16.0, "{dead_share_max:.3} of them are dead");
    }

    #[test]
    fn who_was_refused_has_more_of_them_looked_at() {
        let removed = |is_urgent| {
            let mut counters = Counters::new(0..SLOT_COUNT as u16);
            for number in 0..100_000 {
                let ahead_ms = if number % 100 == 0 { 1 } else { 1_000_000 };
                set_until(&mut counters, number, START_MS + ahead_ms);
            }
            assert!(!tick(&mut counters, START_MS + 2, is_urgent), "that is no reason to come back soon");
            100_000 - counters.expiring_count()
        };
        let (plain_count, urgent_count) = (removed(false), removed(true));
        assert!(plain_count >= 40 && urgent_count >= 8 * plain_count, "{plain_count} and {urgent_count}");
    }

    #[test]
    fn where_nothing_has_expired_a_tick_ends_with_the_rounds() {
        let mut counters = Counters::new(0..SLOT_COUNT as u16);
        let mut look_count = 0;
        let mut looks = |counters: &mut Counters, now_ms| {
            look_count = 0;
            let behind = sweep(counters, now_ms, true, || {
                look_count += 1;
                0
            });
            (behind, look_count)
        };
        assert_eq!(looks(&mut counters, START_MS), (false, 1));
        for number in 0..10_000 {
            set_until(&mut counters, number, START_MS + 10);
        }
        assert!(looks(&mut counters, START_MS).1 < 5, "a visit a block");
        assert!(!looks(&mut counters, START_MS + 11).0);
        assert_eq!(counters.expiring_count(), 0);
    }
}
