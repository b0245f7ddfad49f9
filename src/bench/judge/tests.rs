//! Tests of what a run is worth.

use super::*;
use crate::bench::histogram;
use crate::bench::result::Arrivals;

const OPEN: Load = Load::Open { rate_per_s: 1_000.0, arrivals: Arrivals::Poisson };

fn of(count: u64, ns: u64) -> Histogram<u64> {
    let mut histogram = histogram::empty();
    histogram.record_n(ns, count).unwrap();
    histogram
}

fn facts<'a>(load: Load, response: &'a Histogram<u64>, own_lateness: &'a Histogram<u64>) -> Facts<'a> {
    static PASSED: Verification = Verification::Passed { acknowledged: 1, unknown: 0, grown: 1 };
    Facts {
        load,
        requests: Requests { intended: 1_000, sent: 1_000, answered: 1_000, ..Requests::default() },
        measured_ns: 1_000_000_000,
        response,
        own_lateness,
        tolerances: &[],
        generator_busy: vec![0.2, 0.5],
        generator_kept: 0.0,
        server: Some((0.7, 0.6)),
        retransmits: Some(0),
        verification: &PASSED,
        errors: None,
        is_cluster: false,
        reset: None,
        cut_short: None,
    }
}

fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Ok => "ok".to_owned(),
        Verdict::Mismatch { reason } | Verdict::Inconclusive { reason } | Verdict::Partial { reason } => reason,
    }
}

#[test]
fn a_late_generator_is_no_result() {
    let (response, punctual, late) = (of(1_000_000, 500_000), of(1_000_000, 40_000), of(1_000_000, 110_000));
    assert_eq!(facts(OPEN, &response, &punctual).verdict(), Verdict::Ok);
    let verdict = facts(OPEN, &response, &late).verdict();
    assert_eq!(verdict.exit_code(), 2);
    assert!(reason(verdict).contains("late by 110 us at p99"));
    // So few samples have no p99; they are late all the same.
    let verdict = facts(OPEN, &of(5_000, 500_000), &of(5_000, 110_000)).verdict();
    assert!(reason(verdict).contains("late by 110 us at p90"));
    // A closed loop has no times to be late for.
    assert_eq!(facts(Load::Closed, &response, &late).verdict(), Verdict::Ok);
    // Beside a response time of a second that is nothing.
    assert_eq!(facts(OPEN, &of(1_000_000, 1_000_000_000), &late).verdict(), Verdict::Ok);
}

#[test]
fn lateness_that_is_small_beside_a_goal_is_tolerated() {
    let response = of(1_000_000, 500_000);
    let mut late = of(990_000, 200_000);
    late.record_n(400_000, 10_000).unwrap();
    let verdict =
        |tolerances: &[Tolerance]| Facts { tolerances, ..facts(OPEN, &response, &late) }.verdict().exit_code();
    let at = |quantile, lateness_ns| Tolerance { quantile, lateness_ns };
    assert_eq!(verdict(&[]), 2);
    assert_eq!(verdict(&[at(0.9, 300_000)]), 0);
    assert_eq!(verdict(&[at(0.9, 300_000), at(0.999, 300_000)]), 2);
    assert_eq!(verdict(&[at(0.9, 300_000), at(1.0, 500_000)]), 0);
    // Beside no goal is a generator without a reserve of use.
    let busy = Facts { generator_busy: vec![0.97], ..facts(OPEN, &response, &late) };
    assert_eq!(Facts { tolerances: &[at(0.9, 300_000)], ..busy }.verdict().exit_code(), 2);
}

#[test]
fn a_busy_generator_is_no_result() {
    let (response, lateness) = (of(1_000_000, 500_000), of(1_000_000, 1_000));
    for load in [OPEN, Load::Closed] {
        let facts = Facts { generator_busy: vec![0.1, 0.97], ..facts(load, &response, &lateness) };
        assert!(reason(facts.verdict()).contains("busy for 97%"));
        assert!(facts.bottleneck().summary.starts_with("the generator"));
        // A round trip is too short to tell.
        let short = Facts { measured_ns: 80_000, ..facts };
        assert_eq!(short.verdict(), Verdict::Ok);
        assert!(!short.bottleneck().summary.starts_with("the generator"));
    }
}

#[test]
fn a_generator_that_was_kept_from_running_is_no_result() {
    let (response, lateness) = (of(1_000_000, 500_000), of(1_000_000, 1_000));
    let kept = |generator_kept, load| Facts { generator_kept, ..facts(load, &response, &lateness) };
    let verdict = kept(0.9, Load::Closed).verdict();
    assert_eq!(verdict.exit_code(), 2);
    assert!(reason(verdict).contains("kept the generator from running for 90%"));
    assert!(kept(0.9, Load::Closed).bottleneck().summary.starts_with("the generator: others"));
    // A little of it is only said, and not where the server is at its limit.
    assert_eq!(kept(0.3, Load::Closed).verdict(), Verdict::Ok);
    assert!(kept(0.3, Load::Closed).bottleneck().summary.contains("for 30% of the time"));
    let full = Facts { server: Some((1.0, 0.99)), ..kept(0.3, Load::Closed) };
    assert!(full.bottleneck().summary.starts_with("the server"));
    // An open loop has its lateness.
    assert_eq!(kept(0.9, OPEN).verdict(), Verdict::Ok);
}

#[test]
fn what_is_wrong_comes_before_what_is_late() {
    let (response, late) = (of(1_000_000, 500_000), of(1_000_000, 400_000));
    let failed = Verification::Failed { findings: vec!["lost".to_owned()] };
    let wrong = Facts { verification: &failed, cut_short: Some("stopped"), ..facts(OPEN, &response, &late) };
    assert_eq!(wrong.verdict(), Verdict::Mismatch { reason: "lost".to_owned() });
    let partial = Facts { cut_short: Some("stopped"), ..facts(OPEN, &response, &late) };
    assert_eq!(partial.verdict(), Verdict::Partial { reason: "stopped".to_owned() });
    // An error was the server's own, whatever ended the run.
    let refused = Facts { errors: Some((3, "OOM no")), ..partial };
    assert_eq!(refused.verdict().exit_code(), 1);
    for requests in [
        Requests { resets: 1, answered: 1, ..Requests::default() },
        Requests { unanswered: 1, answered: 1, ..Requests::default() },
        Requests { intended: 2, sent: 1, answered: 1, ..Requests::default() },
    ] {
        assert_eq!(Facts { requests, ..facts(OPEN, &response, &late) }.verdict().exit_code(), 1);
    }
}

#[test]
fn errors_are_told_with_their_number_and_what_to_do() {
    let (response, lateness) = (of(1_000_000, 500_000), of(1_000_000, 1_000));
    let verdict = |errors, text, is_cluster| {
        let requests = Requests { errors, answered: 10, ..Requests::default() };
        let facts = facts(OPEN, &response, &lateness);
        reason(Facts { requests, errors: Some((7, text)), is_cluster, ..facts }.verdict())
    };
    assert_eq!(verdict(5, "OOM no", true), "7 requests were answered with errors, the first: OOM no");
    let outside = verdict(0, "OOM no", false);
    assert!(outside.contains("7 requests") && outside.contains("before or after the measured time"), "{outside}");
    assert!(verdict(5, "MOVED 1 10.0.0.1:7000", true).contains("Slots moved meanwhile"));
    assert!(!verdict(5, "MOVED 1 10.0.0.1:7000", false).contains("Slots moved meanwhile"));
}

#[test]
fn what_the_generator_never_handed_out_is_not_the_servers() {
    let (response, lateness) = (of(1_000_000, 500_000), of(1_000_000, 1_000));
    let verdict = |requests| Facts { requests, ..facts(OPEN, &response, &lateness) }.verdict();
    let withheld = Requests { intended: 9, sent: 5, withheld: 4, answered: 5, ..Requests::default() };
    assert_eq!(verdict(withheld).exit_code(), 2);
    assert!(reason(verdict(withheld)).contains("the generator did not come to 4 of 9 requests"));
    let bottleneck = Facts { requests: withheld, ..facts(OPEN, &response, &lateness) }.bottleneck();
    assert!(bottleneck.summary.starts_with("the generator"));
    let queued = Requests { withheld: 0, ..withheld };
    assert!(reason(verdict(queued)).contains("4 could not be sent"));
    let lost = verdict(Requests { resets: 1, ..queued });
    assert!(reason(lost).contains("4 could not be sent; the response times are without them"));
}

#[test]
fn a_server_that_was_asked_nothing_is_not_blamed() {
    let (response, lateness) = (of(10, 500_000), of(10, 1_000));
    let of_none = |intended| Facts {
        requests: Requests { intended, sent: intended, ..Requests::default() },
        ..facts(OPEN, &response, &lateness)
    };
    assert!(reason(of_none(0).verdict()).contains("choose a higher --rate"));
    assert!(of_none(0).bottleneck().summary.starts_with("none"));
    assert!(reason(of_none(5).verdict()).contains("nothing was answered"));
    assert_eq!(of_none(5).bottleneck().summary, "the server answered nothing");
}

#[test]
fn a_run_that_ends_with_its_last_reply_achieves_its_rate_when_that_comes_in_time() {
    let (response, lateness) = (of(10, 500_000), of(10, 1_000));
    let all = Requests { intended: 1_000, sent: 1_000, answered: 1_000, ..Requests::default() };
    let share = |measured_ns| all.achieved_share(OPEN, measured_ns).unwrap();
    assert_eq!([share(1_000_000_000), share(1_050_000_000), share(2_000_000_000)], [1.0, 1.0, 0.5]);
    assert_eq!(all.achieved_share(Load::Closed, 1), None);
    let with_warm_up = Requests { answered: 1_200, ..all };
    assert_eq!(with_warm_up.achieved_share(OPEN, 1_000_000_000), Some(1.0));
    // One request takes as long as it takes.
    let one = Requests { intended: 1, sent: 1, answered: 1, ..Requests::default() };
    let one = Facts { requests: one, measured_ns: 1_080_000, ..facts(OPEN, &response, &lateness) };
    assert!(one.bottleneck().summary.starts_with("none"));
    assert_eq!(one.verdict(), Verdict::Ok);
}

#[test]
fn the_bottleneck_is_named() {
    let (response, lateness) = (of(1_000, 500_000), of(1_000, 1_000));
    let summary = |facts: Facts<'_>| facts.bottleneck().summary;
    assert!(summary(facts(OPEN, &response, &lateness)).starts_with("none"));
    let requests = Requests { intended: 1_000, answered: 900, ..Requests::default() };
    let slow = || Facts { requests, ..facts(OPEN, &response, &lateness) };
    assert!(summary(Facts { server: Some((1.0, 0.99)), ..slow() }).starts_with("the server:"));
    assert!(summary(slow()).starts_with("neither"));
    assert!(summary(Facts { server: None, ..slow() }).starts_with("the server or the network"));
}
