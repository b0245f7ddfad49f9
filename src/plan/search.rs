//! Which rate is tried next, and when the limit is known: climb, bisect, make sure, confirm.
//!
//! Pure: it is told outcomes and asked for trials. A failure is believed when it was clear, or when two of three trials
//! failed, since on a machine that others use a single trial fails by chance; a trial that was inconclusive is repeated
//! twice; and a rate that had passed a long trial is tried again when a much lower one is all that was confirmed. Every search ends: the number of trials is bounded.

use serde::{Deserialize, Serialize};

use super::trial::Outcome;
use crate::bench::units::rate;

/// Bisecting ends when the rate that failed is within this share above the one that passed.
pub const PRECISION: f64 = 0.03;

/// Trials are long once the bounds are this close to each other.
const LONG_FROM: f64 = 1.15;

/// While climbing, the next rate is so many times the last.
const CLIMB: f64 = 2.0;

/// When the first rate fails, the next is the last divided by this.
const DESCENT: f64 = 4.0;

/// Trials of one rate that may be inconclusive before it counts as out of reach.
const INCONCLUSIVE_COUNT_MAX: usize = 3;

/// Runs that confirm a rate, and how many of them must pass.
pub const CONFIRM_COUNT: usize = 5;
const CONFIRM_PASS_COUNT_MIN: usize = 4;

/// How often a rate that had passed a long trial is tried again after everything up to it had begun to fail.
const RETURN_COUNT_MAX: usize = 2;

/// Rates that are tried at most before the answer is that there is none.
const RATE_COUNT_MAX: usize = 64;

/// How long a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Enough to tell much too much from enough.
    Short,
    /// Enough to be believed.
    Long,
}

/// What a trial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Looking for a rate that is too high, or, when the first one is, for one that is not.
    Climb,
    /// Narrowing the limit down.
    Bisect,
    /// A rate that passed a short trial, in a long one.
    Check,
    /// The same rate again and again.
    Confirm,
}

impl Phase {
    /// In lower case.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Climb => "climb",
            Phase::Bisect => "bisect",
            Phase::Check => "check",
            Phase::Confirm => "confirm",
        }
    }
}

/// A trial that is to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Requests a second.
    pub rate_per_s: f64,
    /// How long.
    pub length: Length,
    /// What for.
    pub phase: Phase,
}

/// What a search found out. Rates are requests a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The highest rate that was confirmed. `upper_per_s` failed, where there is one.
    Limit {
        /// Confirmed.
        rate_per_s: f64,
        /// The lowest rate that failed; `None` when nothing did, and the server carries more than was tried.
        upper_per_s: Option<f64>,
        /// Why nothing higher was tried, or counts.
        bounded_by: Option<String>,
    },
    /// The goal is not met even at this rate.
    NotMet {
        /// The lowest that was tried.
        lowest_per_s: f64,
        /// Why it failed.
        reason: String,
    },
    /// No rate can be given.
    Inconclusive {
        /// Why, and what to do.
        reason: String,
    },
    /// The server counts wrongly.
    Wrong {
        /// What was found.
        reason: String,
    },
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// A trial.
    Trial(Trial),
    /// Nothing: this is the answer.
    Done(Found),
}

/// Where a search begins and between what it stays, in requests a second.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The first rate.
    pub start_per_s: f64,
    /// The lowest that is tried.
    pub floor_per_s: f64,
    /// The highest.
    pub ceiling_per_s: f64,
    /// Why it is the highest.
    pub ceiling_reason: String,
}

/// The rate above the limit, and why it is.
#[derive(Clone, Debug)]
struct Above {
    rate_per_s: f64,
    reason: String,
    /// It failed; otherwise nobody knows whether the server carries it.
    failed: bool,
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    range: Range,
    trial: Trial,
    /// Of the present rate.
    failures: usize,
    passes: usize,
    inconclusives: usize,
    /// The highest rate that passed a trial, and whether that was a long one.
    below: Option<(f64, Length)>,
    above: Option<Above>,
    /// All rates that were too high.
    all_above: Vec<Above>,
    /// The highest rate that ever passed a long trial.
    passed_max_per_s: f64,
    return_count: usize,
    rate_count: usize,
    /// The next step back from a rate that a short trial had passed, in steps of [`PRECISION`].
    step_back: i32,
    done: Option<Found>,
}

impl Search {
    /// Begin.
    pub fn new(range: Range) -> Search {
        assert!(range.floor_per_s > 0.0 && range.floor_per_s <= range.ceiling_per_s, "no range: {range:?}");
        let rate_per_s = range.start_per_s.clamp(range.floor_per_s, range.ceiling_per_s);
        Search {
            range,
            trial: Trial { rate_per_s, length: Length::Short, phase: Phase::Climb },
            failures: 0,
            passes: 0,
            inconclusives: 0,
            below: None,
            above: None,
            all_above: Vec::new(),
            passed_max_per_s: 0.0,
            return_count: 0,
            rate_count: 1,
            step_back: 1,
            done: None,
        }
    }

    /// What is to be done.
    pub fn next(&self) -> Next {
        self.done.clone().map_or(Next::Trial(self.trial), Next::Done)
    }

    /// The trials that are still to come, roughly: short ones, and long ones.
    pub fn remaining(&self) -> (usize, usize) {
        let halvings = |ratio: f64, until: f64| (ratio.ln() / until.ln()).log2().ceil().max(0.0) as usize;
        if self.done.is_some() {
            return (0, 0);
        }
        if self.trial.phase == Phase::Confirm {
            return (0, CONFIRM_COUNT.saturating_sub(self.passes + self.failures));
        }
        let ratio = match (&self.above, self.below) {
            (Some(above), Some((below, _))) => above.rate_per_s / below,
            _ => CLIMB,
        };
        let climbs = if self.above.is_none() { 2 } else { 0 };
        let long = halvings(ratio.min(LONG_FROM), 1.0 + PRECISION) + 1 + CONFIRM_COUNT;
        (climbs + if ratio > LONG_FROM { halvings(ratio, LONG_FROM) } else { 0 }, long)
    }

    /// What came of the trial that [`Search::next`] asked for.
    pub fn tell(&mut self, outcome: &Outcome) {
        assert!(self.done.is_none(), "a search that is done was told of another trial");
        match outcome {
            Outcome::Wrong { reason } => self.done = Some(Found::Wrong { reason: reason.clone() }),
            Outcome::Passed => {
                self.passes += 1;
                // After a failure by chance one more decides.
                let settled = self.failures == 0 || self.passes >= 2;
                match self.trial.phase {
                    Phase::Confirm => self.confirm("it failed in repeated runs"),
                    _ if settled => self.passed(),
                    _ => {}
                }
            }
            Outcome::Failed { reason, clearly } => {
                self.failures += 1;
                match self.trial.phase {
                    Phase::Confirm => self.confirm(reason),
                    _ if *clearly || self.failures >= 2 => self.too_high(reason, true),
                    _ => {}
                }
            }
            Outcome::Inconclusive { reason } => {
                self.inconclusives += 1;
                if self.inconclusives >= INCONCLUSIVE_COUNT_MAX {
                    self.too_high(reason, false);
                }
            }
        }
    }

    /// The present rate is carried.
    fn passed(&mut self) {
        let Trial { rate_per_s, length, phase } = self.trial;
        self.below = Some((rate_per_s, length));
        self.step_back = 1;
        if length == Length::Long {
            self.passed_max_per_s = self.passed_max_per_s.max(rate_per_s);
        }
        if phase == Phase::Climb && self.above.is_none() && rate_per_s < self.range.ceiling_per_s {
            return self.go(rate_per_s * CLIMB, Length::Short, Phase::Climb);
        }
        self.narrow();
    }

    /// The present rate is not carried, or nobody can tell.
    fn too_high(&mut self, reason: &str, failed: bool) {
        let rate_per_s = self.trial.rate_per_s;
        let above = Above { rate_per_s, reason: reason.to_owned(), failed };
        self.all_above.push(above.clone());
        self.above = Some(above);
        // A short trial may have passed what a long one does not.
        if self.below.is_some_and(|(below, _)| below >= rate_per_s) {
            self.below = None;
        }
        match self.below {
            Some(_) => self.narrow(),
            None if rate_per_s <= self.range.floor_per_s => self.done = Some(self.nothing()),
            None if self.trial.phase == Phase::Climb => self.go(rate_per_s / DESCENT, Length::Short, Phase::Climb),
            None => {
                let step_back = self.step_back;
                self.step_back *= 2;
                self.go(rate_per_s / (1.0 + PRECISION).powi(step_back), Length::Long, Phase::Check);
            }
        }
    }

    /// Between a rate that is carried and one that is not, if there is one.
    fn narrow(&mut self) {
        let (below, length) = self.below.expect("something passed");
        let ratio = self.above.as_ref().map_or(1.0, |above| above.rate_per_s / below);
        if ratio > 1.0 + PRECISION {
            let length = if ratio <= LONG_FROM { Length::Long } else { Length::Short };
            return self.go(below * ratio.sqrt(), length, Phase::Bisect);
        }
        match length {
            Length::Short => self.go(below, Length::Long, Phase::Check),
            Length::Long => self.go(below, Length::Long, Phase::Confirm),
        }
    }

    /// One more of the runs that confirm.
    fn confirm(&mut self, reason: &str) {
        let failures_max = CONFIRM_COUNT - CONFIRM_PASS_COUNT_MIN;
        if self.failures > failures_max {
            self.below = None;
            return self.too_high(reason, true);
        }
        if self.passes + self.failures == CONFIRM_COUNT {
            // A higher rate had passed before: something else went on when the rates between failed.
            let passed_max_per_s = self.passed_max_per_s;
            if passed_max_per_s > self.trial.rate_per_s * (1.0 + PRECISION) && self.return_count < RETURN_COUNT_MAX {
                self.return_count += 1;
                let higher = self.all_above.iter().filter(|above| above.rate_per_s > passed_max_per_s);
                self.above = higher.min_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s)).cloned();
                return self.go(passed_max_per_s, Length::Long, Phase::Check);
            }
            let above = self.above.as_ref();
            let bounded_by = match above {
                None => Some(self.range.ceiling_reason.clone()),
                Some(above) => (!above.failed).then(|| above.reason.clone()),
            };
            let upper_per_s = above.filter(|above| above.failed).map(|above| above.rate_per_s);
            self.done = Some(Found::Limit { rate_per_s: self.trial.rate_per_s, upper_per_s, bounded_by });
        }
    }

    fn go(&mut self, rate_per_s: f64, length: Length, phase: Phase) {
        let rate_per_s = rate_per_s.clamp(self.range.floor_per_s, self.range.ceiling_per_s);
        self.trial = Trial { rate_per_s, length, phase };
        (self.failures, self.passes, self.inconclusives) = (0, 0, 0);
        self.rate_count += 1;
        if self.rate_count > RATE_COUNT_MAX {
            let reason =
                format!("no rate was confirmed after {RATE_COUNT_MAX}: the server or the machine is too unsteady");
            self.done = Some(Found::Inconclusive { reason });
        }
    }

    fn nothing(&self) -> Found {
        let above = self.above.as_ref().expect("a rate was too high");
        if self.passed_max_per_s > 0.0 {
            let passed = rate(self.passed_max_per_s);
            let reason = format!(
                "{passed} had passed a long trial, and later even {} failed ({}): something else took the server, or this \
                 machine. Run it again when they are alone",
                rate(above.rate_per_s),
                above.reason
            );
            return Found::Inconclusive { reason };
        }
        match above.failed {
            true => Found::NotMet { lowest_per_s: above.rate_per_s, reason: above.reason.clone() },
            false => Found::Inconclusive { reason: above.reason.clone() },
        }
    }
}
