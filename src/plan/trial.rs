//! Whether one run meets the goals: passed, failed, or nobody knows.

use serde::{Deserialize, Serialize};

use super::slo::Goal;
use crate::bench::judge::ACHIEVED_SHARE_MIN;
use crate::bench::result::{RunResult, Verdict, Verification};
use crate::bench::units::percent;

/// A goal must be met in this share of the seconds.
const GOOD_SECONDS_SHARE_MIN: f64 = 0.95;

/// A last second that is shorter than this is not looked at by itself.
const SECOND_NS_MIN: u64 = 500_000_000;

/// What is on its way when a run ends, and not late yet, has not failed; but no more than this share of the run's requests
/// counts so, or a short run would hide a queue that grows.
const ON_ITS_WAY_SHARE_MAX: f64 = 0.01;

/// A run that achieves less of its rate than this would fail again: it need not be repeated.
const HOPELESS_SHARE: f64 = 0.9;

/// What a trial says of its rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server carries it.
    Passed,
    /// It does not.
    Failed {
        /// Why.
        reason: String,
        /// It failed by so much that chance is no explanation.
        clearly: bool,
    },
    /// Something but the server decided.
    Inconclusive {
        /// What, and what to do about it.
        reason: String,
    },
    /// The server counted wrongly: no rate is worth finding.
    Wrong {
        /// What was found.
        reason: String,
    },
}

impl Outcome {
    /// In words.
    pub fn line(&self) -> String {
        match self {
            Outcome::Passed => "pass".to_owned(),
            Outcome::Failed { reason, .. } => format!("fail: {reason}"),
            Outcome::Inconclusive { reason } => format!("inconclusive: {reason}"),
            Outcome::Wrong { reason } => format!("WRONG: {reason}"),
        }
    }
}

/// Judge a run of an open loop. Fails only on a histogram that was read from a damaged file.
pub fn judge(run: &RunResult, goals: &[Goal]) -> Result<Outcome, String> {
    if let Verification::Failed { findings } = &run.verification {
        return Ok(Outcome::Wrong { reason: findings.join("; ") });
    }
    let failed = |reason, clearly| Ok(Outcome::Failed { reason, clearly });
    let intended = run.requests.intended.max(1) as f64;
    let strictest_ns = goals.iter().map(|goal| goal.bound_ns).min().unwrap_or(0) as f64;
    let on_its_way = (strictest_ns / run.measured_ns.max(1) as f64).min(ON_ITS_WAY_SHARE_MAX);
    let achieved = (run.requests.answered as f64 / intended + on_its_way).min(1.0);
    match &run.verdict {
        Verdict::Partial { reason } | Verdict::Inconclusive { reason } => {
            return Ok(Outcome::Inconclusive { reason: reason.clone() });
        }
        Verdict::Mismatch { reason } => return failed(reason.clone(), achieved < HOPELESS_SHARE),
        Verdict::Ok => {}
    }
    if achieved < ACHIEVED_SHARE_MIN {
        return failed(format!("{} of the offered rate was achieved", percent(achieved)), achieved < HOPELESS_SHARE);
    }
    for goal in goals {
        match goal.is_met(&run.latency.response) {
            Some(true) => {}
            Some(false) => return failed(format!("{goal} was not met"), false),
            None => return Ok(Outcome::Inconclusive { reason: "nothing was answered".to_owned() }),
        }
        let (mut good_count, mut count) = (0_u64, 0_u64);
        for second in run.seconds.iter().filter(|second| second.length_ns >= SECOND_NS_MIN && second.intended > 0) {
            count += 1;
            // A second without a single reply is a bad one.
            good_count += u64::from(goal.is_met(&second.response.unpack()?).unwrap_or(false));
        }
        if (good_count as f64) < GOOD_SECONDS_SHARE_MIN * count as f64 {
            return failed(format!("{goal} was met in {good_count} of {count} seconds only"), false);
        }
    }
    Ok(Outcome::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::histogram::{Packed, empty};
    use crate::bench::sample;

    fn goals() -> Vec<Goal> {
        vec!["p99<1ms".parse().unwrap()]
    }

    fn outcome(change: impl FnOnce(&mut RunResult)) -> Outcome {
        let mut run = sample::run(3, 20, 50_000, 80.0);
        change(&mut run);
        judge(&run, &goals()).unwrap()
    }

    fn reason(outcome: &Outcome) -> &str {
        match outcome {
            Outcome::Failed { reason, .. } | Outcome::Inconclusive { reason } | Outcome::Wrong { reason } => reason,
            Outcome::Passed => "",
        }
    }

    #[test]
    fn each_rule_decides_by_itself() {
        assert_eq!(outcome(|_| {}), Outcome::Passed);
        let slow = outcome(|run| {
            run.latency.response.record_n(5_000_000, 20_000).unwrap();
        });
        assert_eq!(reason(&slow), "p99<1ms was not met");
        // A millisecond of 20 s is 0.005% of them.
        let held_up = outcome(|run| run.requests.answered = run.requests.intended * 9_942 / 10_000);
        assert!(reason(&held_up).starts_with("99.42% of the offered rate"), "{held_up:?}");
        let on_its_way = outcome(|run| run.requests.answered = run.requests.intended * 994_970 / 1_000_000);
        assert_eq!(on_its_way, Outcome::Passed);
        assert!(matches!(
            outcome(|run| run.requests.answered = run.requests.intended / 2),
            Outcome::Failed { clearly: true, .. }
        ));
        let late = outcome(|run| run.verdict = Verdict::Inconclusive { reason: "late".to_owned() });
        assert_eq!(late, Outcome::Inconclusive { reason: "late".to_owned() });
        let errors = outcome(|run| run.verdict = Verdict::Mismatch { reason: "errors".to_owned() });
        assert!(matches!(errors, Outcome::Failed { clearly: false, .. }));
        let wrong = outcome(|run| run.verification = Verification::Failed { findings: vec!["lost".to_owned()] });
        assert_eq!(wrong, Outcome::Wrong { reason: "lost".to_owned() });
    }

    #[test]
    fn one_second_of_twenty_may_be_bad_but_not_two() {
        let mut slow = empty();
        slow.record_n(2_000_000, 50_000).unwrap();
        let bad = |run: &mut RunResult, at: usize| run.seconds[at].response = Packed::new(&slow);
        assert_eq!(outcome(|run| bad(run, 4)), Outcome::Passed);
        let two = outcome(|run| {
            bad(run, 4);
            run.seconds[9].response = Packed::new(&empty());
        });
        assert_eq!(reason(&two), "p99<1ms was met in 18 of 20 seconds only");
    }
}
