//! Servers that are only computed, for the tests of the search: one queue with a fixed time a request, as a shard is.

use super::search::{Found, Length, Next, Range, Search};
use super::slo::Goal;
use super::trial::{Outcome, judge};
use crate::bench::histogram::{Packed, empty};
use crate::bench::result::{RunResult, Second, Verdict};
use crate::bench::sample::{self, Noise};

/// A server that takes so long for each request, one after the other (M/D/1 with Poisson arrivals).
struct Queue {
    service_ns: f64,
    /// Runs in which something else took a tenth of the server's time.
    disturbed_share: f64,
    noise: Noise,
}

impl Queue {
    fn of_limit(limit_per_s: f64, seed: u64) -> Queue {
        Queue { service_ns: 1e9 / limit_per_s, disturbed_share: 0.0, noise: Noise::new(seed) }
    }

    /// One run of an open loop: Lindley's recursion for the waiting times.
    fn run(&mut self, rate_per_s: f64, seconds: u64) -> RunResult {
        let mut run = sample::run(1, 0, rate_per_s as u64, 80.0);
        let service_ns = if self.noise.uniform() < self.disturbed_share { 1.1 } else { 1.0 } * self.service_ns;
        let end_ns = seconds as f64 * 1e9;
        let (mut now_ns, mut waiting_ns) = (0.0, 0.0_f64);
        let mut of_second: Vec<_> = (0..seconds).map(|_| (empty(), 0_u64)).collect();
        while now_ns < end_ns {
            let second = (now_ns / 1e9) as usize;
            of_second[second].1 += 1;
            let response_ns = waiting_ns + service_ns;
            let answered_ns = now_ns + response_ns;
            if answered_ns < end_ns {
                of_second[(answered_ns / 1e9) as usize].0.record(response_ns as u64).unwrap();
                run.requests.answered += 1;
            }
            run.latency.response.record(response_ns as u64).unwrap();
            run.requests.intended += 1;
            let gap_ns = -self.noise.uniform().ln() * 1e9 / rate_per_s;
            now_ns += gap_ns;
            waiting_ns = (waiting_ns + service_ns - gap_ns).max(0.0);
        }
        run.measured_ns = end_ns as u64;
        for (index, (response, intended)) in of_second.into_iter().enumerate() {
            run.seconds.push(Second {
                start_ns: index as u64 * 1_000_000_000,
                length_ns: 1_000_000_000,
                intended,
                sent: intended,
                answered: response.len(),
                errors: 0,
                response: Packed::new(&response),
                service: Packed::new(&response),
                lateness: Packed::new(&empty()),
            });
        }
        run
    }
}

fn range(ceiling_per_s: f64) -> Range {
    Range {
        start_per_s: 1_000.0,
        floor_per_s: 100.0,
        ceiling_per_s,
        ceiling_reason: "the generator's ceiling".to_owned(),
    }
}

fn find(queue: &mut Queue, goal: &str, ceiling_per_s: f64) -> (Found, usize) {
    let goals: Vec<Goal> = vec![goal.parse().unwrap()];
    let mut search = Search::new(range(ceiling_per_s));
    for trial_count in 0..500 {
        match search.next() {
            Next::Done(found) => return (found, trial_count),
            Next::Trial(trial) => {
                let seconds = if trial.length == Length::Long { 6 } else { 2 };
                search.tell(&judge(&queue.run(trial.rate_per_s, seconds), &goals).unwrap());
            }
        }
    }
    panic!("the search does not end");
}

fn rate(found: &Found) -> f64 {
    match found {
        Found::Limit { rate_per_s, .. } => *rate_per_s,
        _ => panic!("{found:?}"),
    }
}

/// The rate at which a run just meets the goal.
fn truth(service_per_s: f64, goal: &str) -> f64 {
    let goal: Goal = goal.parse().unwrap();
    let (mut low, mut high) = (0.2 * service_per_s, service_per_s);
    for step in 0..9 {
        let middle = 0.5 * (low + high);
        let run = Queue::of_limit(service_per_s, 100 + step).run(middle, 8);
        if goal.is_met(&run.latency.response) == Some(true) { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[test]
fn a_fixed_limit_is_found_within_5_percent() {
    for (limit_per_s, seed) in [(2_345.0, 1), (20_000.0, 2), (31_000.0, 3)] {
        let (found, trial_count) = find(&mut Queue::of_limit(limit_per_s, seed), "p99<100ms", 1e6);
        let error = rate(&found) / limit_per_s - 1.0;
        assert!(error.abs() < 0.05, "{limit_per_s}: {found:?}");
        assert!(trial_count < 40, "{trial_count} trials");
        assert!(matches!(found, Found::Limit { upper_per_s: Some(_), bounded_by: None, .. }), "{found:?}");
    }
}

#[test]
fn the_limit_of_a_queue_under_a_goal_is_found_within_5_percent() {
    // A request takes 10 µs; the goal leaves room for few to wait. A second has samples enough to be judged alone.
    let expected = truth(100_000.0, "p99<60us");
    assert!(expected > 50_000.0 && expected < 95_000.0, "{expected}");
    for seed in [1, 2] {
        let (found, _) = find(&mut Queue::of_limit(100_000.0, seed), "p99<60us", 1e6);
        let error = rate(&found) / expected - 1.0;
        assert!(error.abs() < 0.05, "{expected}: {found:?}");
    }
}

#[test]
fn two_searches_agree_on_a_machine_that_others_use() {
    let mut rates: Vec<f64> = (0..6)
        .map(|seed| {
            let mut queue = Queue { disturbed_share: 0.1, ..Queue::of_limit(10_000.0, 10 + seed) };
            rate(&find(&mut queue, "p99<10ms", 1e6).0)
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    assert!(rates[4] / rates[1] < 1.05, "{rates:?}");
}

#[test]
fn a_ceiling_is_no_limit_of_the_server() {
    let (found, _) = find(&mut Queue::of_limit(20_000.0, 1), "p99<100ms", 8_000.0);
    assert_eq!(
        found,
        Found::Limit { rate_per_s: 8_000.0, upper_per_s: None, bounded_by: Some("the generator's ceiling".to_owned()) }
    );
}

#[test]
fn a_goal_that_is_never_met_is_said_to_be() {
    let (found, _) = find(&mut Queue::of_limit(5_000.0, 1), "p99<100us", 1e6);
    assert!(matches!(found, Found::NotMet { lowest_per_s: 100.0, .. }), "{found:?}");
}

#[test]
fn a_disturbance_in_the_middle_does_not_decide() {
    let goals: Vec<Goal> = vec!["p99<100ms".parse().unwrap()];
    let mut queue = Queue::of_limit(10_000.0, 3);
    let (mut search, mut long_count) = (Search::new(range(1e6)), 0);
    let found = loop {
        match search.next() {
            Next::Done(found) => break found,
            Next::Trial(trial) => {
                let seconds = if trial.length == Length::Long { 6 } else { 2 };
                long_count += usize::from(trial.length == Length::Long);
                // For a while something else takes half of the server.
                queue.service_ns = if (5..12).contains(&long_count) { 2e5 } else { 1e5 };
                search.tell(&judge(&queue.run(trial.rate_per_s, seconds), &goals).unwrap());
            }
        }
    };
    assert!((rate(&found) / 10_000.0 - 1.0).abs() < 0.05, "{found:?} after {long_count} long trials");
}

#[test]
fn a_server_that_is_taken_away_is_no_server_that_fails() {
    let mut search = Search::new(range(1e6));
    let mut long_count = 0;
    let found = loop {
        match search.next() {
            Next::Done(found) => break found,
            Next::Trial(trial) => {
                long_count += usize::from(trial.length == Length::Long);
                let failed = Outcome::Failed { reason: "slow".to_owned(), clearly: true };
                let passes = trial.rate_per_s < 10_000.0 && long_count < 3;
                search.tell(if passes { &Outcome::Passed } else { &failed });
            }
        }
    };
    assert!(
        matches!(&found, Found::Inconclusive { reason } if reason.contains("even 100/s failed (slow)")),
        "{found:?}"
    );
}

/// A server that carries all, and a generator that is late from some rate on.
#[test]
fn what_the_generator_cannot_tell_bounds_the_answer() {
    let goals: Vec<Goal> = vec!["p99<1ms".parse().unwrap()];
    let mut queue = Queue::of_limit(1e9, 1);
    for (late_from, expected) in [(5_000.0, true), (0.0, false)] {
        let mut search = Search::new(range(50_000.0));
        let found = loop {
            match search.next() {
                Next::Done(found) => break found,
                Next::Trial(trial) => {
                    let mut run = queue.run(trial.rate_per_s, 1);
                    if trial.rate_per_s >= late_from {
                        run.verdict = Verdict::Inconclusive { reason: "late".to_owned() };
                    }
                    search.tell(&judge(&run, &goals).unwrap());
                }
            }
        };
        match found {
            Found::Limit { rate_per_s, upper_per_s: None, bounded_by: Some(reason) } if expected => {
                assert!(rate_per_s < 5_000.0 && rate_per_s > 4_700.0, "{rate_per_s}");
                assert_eq!(reason, "late");
            }
            Found::Inconclusive { reason } if !expected => assert_eq!(reason, "late"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_server_that_counts_wrongly_ends_the_search() {
    let mut search = Search::new(range(1e6));
    search.tell(&Outcome::Wrong { reason: "lost".to_owned() });
    assert_eq!(search.next(), Next::Done(Found::Wrong { reason: "lost".to_owned() }));
}
