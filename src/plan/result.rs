//! What a plan found out, as plain data: `plan.json` is this.

use serde::{Deserialize, Serialize};

use super::capacity::{Fleet, PerNode};
use super::memory::Memory;
use super::search::{CONFIRM_COUNT, Found, Length, Phase};
use super::slo::Goal;
use super::trial::Outcome;
use super::usl::Usl;
use crate::bench::fingerprint::Fingerprint;
use crate::bench::histogram::Recorded;
use crate::bench::result::Server;
use crate::bench::stats::Sample;

/// The version of the JSON form.
pub const FORMAT: u32 = 1;

/// How often the true mean lies in an interval.
const CONFIDENCE: f64 = 0.95;

/// Everything.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the program.
    pub version: String,
    /// The program and its arguments; a password is not in it.
    pub command_line: Vec<String>,
    /// When it began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// Where the load came from.
    pub host: Fingerprint,
    /// Who was asked.
    pub server: Server,
    /// What was asked, in words: name and text.
    pub workload: Vec<(String, String)>,
    /// What is to be met.
    pub goals: Vec<Goal>,
    /// What the generator and its host can do.
    pub calibration: Calibration,
    /// Every trial, in order.
    pub steps: Vec<Step>,
    /// The limit; nothing when the plan ended early.
    pub found: Option<Found>,
    /// The runs that confirmed it.
    pub confirmed: Option<Confirmed>,
    /// Throughput by connections.
    pub scaling: Option<Scaling>,
    /// Memory by counter and connection.
    pub memory: Option<Memory>,
    /// What one server carries.
    pub per_node: Option<PerNode>,
    /// How many servers that means, by factor of the demand.
    pub fleets: Vec<(f64, Fleet)>,
    /// What the reader must know.
    pub notes: Vec<String>,
    /// Why it ended before its time, if it did.
    #[serde(default)]
    pub partial: Option<String>,
}

/// What the generator and its host can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The longest time that a thread which never sleeps was kept from its core, in nanoseconds.
    pub pause_max_ns: u64,
    /// The share of the time that it was kept from it.
    pub paused_share: f64,
    /// Requests a second against a server that does nothing; none when it was not measured.
    pub generator_per_s: Option<f64>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What for.
    pub phase: Phase,
    /// Short or long.
    pub length: Length,
    /// Offered.
    pub rate_per_s: f64,
    /// Achieved.
    pub achieved_per_s: f64,
    /// Response times in nanoseconds: p50, p99, p99.9, where samples suffice.
    pub response_ns: [Option<u64>; 3],
    /// The server's share of a core, its busiest thread, where it can be seen.
    pub server_thread_cpu: Option<f64>,
    /// What it says of the rate.
    pub outcome: Outcome,
    /// Its log, beside the report.
    pub log: String,
}

/// Runs at the same rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confirmed {
    /// How many.
    pub run_count: usize,
    /// How many of them met the goals.
    pub passed_count: usize,
    /// What they achieved, mean, in requests a second.
    pub mean_per_s: f64,
    /// The lower bound of the 95% interval of that mean: the answer.
    pub lower_bound_per_s: f64,
    /// The response times of all of them.
    pub response: Recorded,
}

impl Confirmed {
    /// From the steps that confirmed, and their response times.
    pub fn of(steps: &[Step], response: Recorded) -> Option<Confirmed> {
        // A rate that was not confirmed is followed by a lower one.
        let rate_per_s = steps.last().filter(|step| step.phase == Phase::Confirm)?.rate_per_s;
        let last: Vec<&Step> = steps
            .iter()
            .rev()
            .take_while(|step| step.phase == Phase::Confirm && step.rate_per_s == rate_per_s)
            .collect();
        let told: Vec<&&Step> =
            last.iter().filter(|step| !matches!(step.outcome, Outcome::Inconclusive { .. })).collect();
        let passed: Vec<f64> = told
            .iter()
            .filter(|step| step.outcome == Outcome::Passed)
            .map(|step| step.achieved_per_s.min(step.rate_per_s))
            .collect();
        let sample = Sample::of(&passed).filter(|_| told.len() >= CONFIRM_COUNT)?;
        Some(Confirmed {
            run_count: told.len(),
            passed_count: passed.len(),
            mean_per_s: sample.mean,
            lower_bound_per_s: sample.mean - sample.half_width(CONFIDENCE),
            response,
        })
    }
}

/// Throughput by connections, in a closed loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Connections, and requests a second.
    pub points: Vec<(u64, f64)>,
    /// The law, where there are points enough.
    pub usl: Option<Usl>,
}

impl Plan {
    /// The exit code of the process: 0 the goal is met at the rate that was found, 1 it is not, or the server is wrong, 2
    /// inconclusive or partial.
    pub fn exit_code(&self) -> u8 {
        match (&self.found, &self.confirmed) {
            (Some(Found::Limit { .. }), Some(_)) if self.partial.is_none() => 0,
            (Some(Found::NotMet { .. } | Found::Wrong { .. }), _) => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate_per_s: f64, achieved_per_s: f64, outcome: Outcome) -> Step {
        Step {
            phase: Phase::Confirm,
            length: Length::Long,
            rate_per_s,
            achieved_per_s,
            response_ns: [None; 3],
            server_thread_cpu: None,
            outcome,
            log: String::new(),
        }
    }

    #[test]
    fn the_bound_is_that_of_the_last_rate_and_below_its_mean() {
        let failed = Outcome::Failed { reason: "x".to_owned(), clearly: false };
        let mut steps = vec![step(1_030.0, 1_030.0, failed.clone()), step(1_030.0, 1_030.0, failed.clone())];
        let achieved = [999.0, 1_000.0, 998.0, 1_000.5];
        steps.extend(achieved.map(|achieved| step(1_000.0, achieved, Outcome::Passed)));
        assert_eq!(Confirmed::of(&steps, Recorded::default()), None, "four runs are not enough");
        steps.push(step(1_000.0, 1_000.0, Outcome::Inconclusive { reason: "late".to_owned() }));
        steps.push(step(1_000.0, 1_000.0, failed));
        let confirmed = Confirmed::of(&steps, Recorded::default()).unwrap();
        assert_eq!((confirmed.run_count, confirmed.passed_count), (5, 4));
        // What was sent too early or late must not count for more than was offered.
        assert!((confirmed.mean_per_s - 999.25).abs() < 1e-9);
        // 3.182 * 0.957 / 2
        assert!((confirmed.mean_per_s - confirmed.lower_bound_per_s - 1.523).abs() < 1e-3, "{confirmed:?}");
    }
}
