//! Whether two sets of runs differ: `tallyring bench compare A.json B.json`.
//!
//! What varies is the run, not the request: a percentile over a million requests of one run says nothing about the next
//! run. So each run gives one value of each measure, and the values of several runs give an interval (Welch's, of
//! logarithms, since times vary by ratio). As several measures are looked at, each gets its part of the 5% of cases in
//! which runs of the same thing may be called different (Bonferroni). What is smaller than the instrument resolves is no
//! difference, however alike the runs of each side are.
//!
//! Runs whose server was wrong, that ended early, or that were asked for different things are never called equal or better.

mod workload;

use std::fmt::Write;

use super::result::{Load, RunResult, Verdict};
use super::stats::{Sample, welch};
use super::units::{rate, time};

/// Runs of each side that a verdict takes at least.
pub const RUN_COUNT_MIN: usize = 3;

/// How often two sets of runs of the same thing are called equal, at least.
const CONFIDENCE: f64 = 0.95;

/// A rate is offered to within so much of what was asked for, and times have three digits: nothing smaller is told apart.
const RESOLUTION: f64 = 0.005;

/// What is compared: name, whether more is better, value of a run in requests a second or nanoseconds.
type Measure = (&'static str, bool, fn(&RunResult) -> Option<f64>);

const MEASURES: [Measure; 4] = [
    ("throughput", true, |run| Some(run.achieved_per_s()).filter(|per_s| *per_s > 0.0)),
    ("response p50", false, |run| run.latency.response.percentile_ns(0.5).map(|ns| ns as f64)),
    ("response p99", false, |run| run.latency.response.percentile_ns(0.99).map(|ns| ns as f64)),
    ("response p99.9", false, |run| run.latency.response.percentile_ns(0.999).map(|ns| ns as f64)),
];

/// One measure of both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What.
    pub name: &'static str,
    /// Geometric means of the runs.
    pub means: (f64, f64),
    /// B over A.
    pub ratio: f64,
    /// The interval of the ratio, where there are runs enough.
    pub interval: Option<(f64, f64)>,
    more_is_better: bool,
}

/// What is to be said of a measure, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No difference was found.
    Equal,
    /// B is better.
    Better,
    /// B is worse.
    Worse,
    /// It cannot be told.
    Unknown,
}

impl Difference {
    /// What the interval says.
    pub fn finding(&self) -> Finding {
        match self.interval {
            None => Finding::Unknown,
            Some((low, high)) if low <= 1.0 + RESOLUTION && high >= 1.0 - RESOLUTION => Finding::Equal,
            Some((low, _)) if (low > 1.0) == self.more_is_better => Finding::Better,
            Some(_) => Finding::Worse,
        }
    }
}

/// Both sides compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// Each measure that all runs have.
    pub differences: Vec<Difference>,
    /// What makes the comparison doubtful.
    pub warnings: Vec<String>,
    /// Why it has no verdict.
    pub obstacles: Vec<String>,
    /// B's server was wrong, and how: nothing makes up for that.
    pub wrong: Option<String>,
    counts: (usize, usize),
}

/// Compare. Runs that were asked for different things are compared only if that is wanted.
pub fn compare(a: &[RunResult], b: &[RunResult], different_workloads: bool) -> Comparison {
    let values = |side: &[RunResult]| side.iter().map(|run| MEASURES.map(|(_, _, of)| of(run))).collect::<Vec<_>>();
    let (a_values, b_values) = (values(a), values(b));
    let differences = differences(&a_values, &b_values);
    let mut comparison = Comparison { differences, counts: (a.len(), b.len()), ..Comparison::default() };
    for (name, side, runs) in [("A", Side::A, a), ("B", Side::B, b)] {
        comparison.look_at_verdicts(name, side, runs);
    }
    let different = workload::differences(a, b);
    if different_workloads {
        comparison.warnings.extend(different.asked);
    } else {
        let refused = |what| format!("{what}. Compare like with like, or say --different-workloads");
        comparison.obstacles.extend(different.asked.into_iter().map(refused));
    }
    comparison.warnings.extend(different.how);
    comparison.warn(a, b, [&a_values, &b_values]);
    if a.len().min(b.len()) < RUN_COUNT_MIN {
        let obstacle = format!("too few runs: a verdict takes {RUN_COUNT_MIN} of each at least, --repeat 5 makes them");
        comparison.obstacles.push(obstacle);
    } else if comparison.differences.is_empty() {
        comparison.obstacles.push("there is no measure that all runs have".to_owned());
    }
    comparison
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    A,
    B,
}

/// The values of a run, in the order of the measures.
type Values = [Option<f64>; MEASURES.len()];

/// Each measure that all runs have.
fn differences(a: &[Values], b: &[Values]) -> Vec<Difference> {
    let logarithms = |side: &[Values], at: usize| -> Option<Vec<f64>> {
        side.iter().map(|values| values[at].map(f64::ln)).collect()
    };
    let measured: Vec<_> = MEASURES
        .into_iter()
        .enumerate()
        .filter_map(|(at, measure)| Some((measure, logarithms(a, at)?, logarithms(b, at)?)))
        .collect();
    let confidence = 1.0 - (1.0 - CONFIDENCE) / measured.len().max(1) as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    measured
        .into_iter()
        .map(|((name, more_is_better, _), a, b)| {
            let enough = a.len().min(b.len()) >= RUN_COUNT_MIN;
            let samples = Sample::of(&a).zip(Sample::of(&b)).filter(|_| enough);
            Difference {
                name,
                means: (mean(&a).exp(), mean(&b).exp()),
                ratio: (mean(&b) - mean(&a)).exp(),
                interval: samples.map(|(a, b)| welch(a, b, confidence)).map(|(low, high)| (low.exp(), high.exp())),
                more_is_better,
            }
        })
        .collect()
}

impl Comparison {
    /// Runs that are not ok by themselves are not equal to anything.
    fn look_at_verdicts(&mut self, name: &str, side: Side, runs: &[RunResult]) {
        let count = |of: fn(&Verdict) -> Option<&String>| {
            let reasons: Vec<&String> = runs.iter().filter_map(|run| of(&run.verdict)).collect();
            Some((reasons.len(), (*reasons.first()?).clone()))
        };
        if let Some((count, reason)) = count(|verdict| match verdict {
            Verdict::Mismatch { reason } => Some(reason),
            _ => None,
        }) {
            let text = format!("the server was wrong in {count} of {} runs of {name}: {reason}", runs.len());
            match side {
                Side::A => self.obstacles.push(text),
                Side::B => self.wrong = Some(text),
            }
        }
        if let Some((count, reason)) = count(|verdict| match verdict {
            Verdict::Partial { reason } => Some(reason),
            _ => None,
        }) {
            let text = format!("{count} of {} runs of {name} ended early: {reason}", runs.len());
            self.obstacles.push(text);
        }
        if let Some((count, reason)) = count(|verdict| match verdict {
            Verdict::Inconclusive { reason } => Some(reason),
            _ => None,
        }) {
            self.warnings.push(format!("{count} of {} runs of {name} are inconclusive: {reason}", runs.len()));
        }
    }

    fn warn(&mut self, a: &[RunResult], b: &[RunResult], values: [&[Values]; 2]) {
        let runs = || a.iter().chain(b);
        for (at, (name, ..)) in MEASURES.iter().enumerate() {
            let missing = values.map(|side| side.iter().filter(|values| values[at].is_none()).count());
            let sides = ["A", "B"].into_iter().zip(missing).zip(values).filter(|((_, missing), _)| *missing > 0);
            let sides: Vec<String> =
                sides.map(|((side, missing), runs)| format!("{missing} of {} runs of {side}", runs.len())).collect();
            if !sides.is_empty() {
                let warning = format!("{name} is left out: {} have too few replies for it", sides.join(" and "));
                self.warnings.push(warning);
            }
        }
        if runs().any(|run| run.host != a[0].host) {
            self.warnings.push("the runs come from different generators' hosts".to_owned());
        }
        if runs().any(|run| run.workload.load == Load::Closed) {
            self.warnings.push("a closed loop understates latency: compare throughput only".to_owned());
        }
    }

    /// Of all measures together: worse when any is, or the server was wrong; better when none is worse and any is better.
    pub fn finding(&self) -> Finding {
        let any = |finding| self.differences.iter().any(|difference| difference.finding() == finding);
        match () {
            () if self.wrong.is_some() => Finding::Worse,
            () if !self.obstacles.is_empty() || self.differences.is_empty() || any(Finding::Unknown) => {
                Finding::Unknown
            }
            () if any(Finding::Worse) => Finding::Worse,
            () if any(Finding::Better) => Finding::Better,
            () => Finding::Equal,
        }
    }

    /// The exit code of the process: 0 for equal or better, 1 for worse, 2 for no verdict.
    pub fn exit_code(&self) -> u8 {
        match self.finding() {
            Finding::Equal | Finding::Better => 0,
            Finding::Worse => 1,
            Finding::Unknown => 2,
        }
    }

    /// The table, with the verdict as its last line.
    pub fn table(&self) -> String {
        const TAKES_ALL: &str = "a string takes all";
        let mut text = String::new();
        writeln!(text, "{:<16}{:>12}{:>12}{:>10}   {:<22}", "", "A", "B", "B/A", "95% interval").expect(TAKES_ALL);
        for difference in &self.differences {
            let value = |value: f64| if difference.more_is_better { rate(value) } else { time(value as u64) };
            let interval = difference.interval.map_or("n/a".to_owned(), |(low, high)| {
                format!("{:+.1}% to {:+.1}%", 100.0 * (low - 1.0), 100.0 * (high - 1.0))
            });
            let finding = match difference.finding() {
                Finding::Equal => "equal",
                Finding::Better => "BETTER",
                Finding::Worse => "WORSE",
                Finding::Unknown => "",
            };
            let (a, b) = difference.means;
            writeln!(
                text,
                "{:<16}{:>12}{:>12}{:>10.3}   {interval:<22}{finding}",
                difference.name,
                value(a),
                value(b),
                difference.ratio
            )
            .expect(TAKES_ALL);
        }
        self.warnings.iter().for_each(|warning| writeln!(text, "note: {warning}").expect(TAKES_ALL));
        let verdict = match (self.finding(), &self.wrong) {
            (_, Some(wrong)) => format!("B is worse: {wrong}"),
            (Finding::Equal, None) => "equal: no difference that the runs' own variation would not explain".to_owned(),
            (Finding::Better, None) => "B is better".to_owned(),
            (Finding::Worse, None) => "B is worse".to_owned(),
            (Finding::Unknown, None) => format!("undecided: {}", self.obstacles.join("; ")),
        };
        let (a, b) = self.counts;
        writeln!(text, "verdict: {verdict} ({a} and {b} runs)").expect(TAKES_ALL);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, Noise};
    use super::*;

    /// What runs give on a machine that others use: its speed varies by 3% from run to run, in every tenth run something
    /// else goes on, and the tail varies more than the middle.
    fn noisy(noise: &mut Noise, factor: f64) -> Values {
        let disturbed = if noise.uniform() < 0.1 { 1.2 } else { 1.0 };
        let speed = factor * disturbed * (0.03 * noise.normal()).exp();
        let tail = speed * (0.1 * noise.normal()).exp();
        [Some(1e5 / speed), Some(8e4 * speed), Some(9e5 * tail), Some(4e6 * tail * (0.1 * noise.normal()).exp())]
    }

    fn found(noise: &mut Noise, count: usize, factor: f64) -> Finding {
        let mut side = |factor: f64| (0..count).map(|_| noisy(noise, factor)).collect::<Vec<_>>();
        let differences = differences(&side(1.0), &side(factor));
        Comparison { differences, counts: (count, count), ..Comparison::default() }.finding()
    }

    #[test]
    fn the_same_is_called_equal_95_times_in_100() {
        let mut noise = Noise::new(5);
        for count in [3, 5, 10] {
            let trials = 500;
            let equal = (0..trials).filter(|_| found(&mut noise, count, 1.0) == Finding::Equal).count();
            assert!(equal * 100 >= trials * 95, "{equal} of {trials} with {count} runs");
        }
    }

    #[test]
    fn what_is_slower_by_a_third_is_called_worse() {
        let mut noise = Noise::new(6);
        let worse = (0..200).filter(|_| found(&mut noise, 10, 1.33) == Finding::Worse).count();
        assert!(worse >= 190, "{worse}");
        let better = (0..200).filter(|_| found(&mut noise, 10, 1.0 / 1.33) == Finding::Better).count();
        assert!(better >= 190, "{better}");
    }

    #[test]
    fn what_the_rate_is_not_accurate_to_is_no_difference() {
        // An open loop answers what it was offered, but for the last requests.
        let side = |per_s: [f64; 3]| per_s.map(|per_s| [Some(per_s), Some(5e4), None, None]);
        let of = |b: [f64; 3]| {
            let differences = differences(&side([25_000.0, 25_001.0, 25_000.0]), &side(b));
            Comparison { differences, counts: (3, 3), ..Comparison::default() }.finding()
        };
        assert_eq!(of([24_975.0, 24_976.0, 24_974.0]), Finding::Equal);
        assert_eq!(of([24_750.0, 24_752.0, 24_749.0]), Finding::Worse);
    }

    fn set(count: usize, answered: u64) -> Vec<RunResult> {
        let mut run = sample::run(1, 1, 100_000, 80.0);
        run.requests.answered = answered;
        vec![run; count]
    }

    #[track_caller]
    fn assert_says(comparison: &Comparison, code: u8, said: &[&str]) {
        let text = comparison.table();
        assert_eq!(comparison.exit_code(), code, "{text}");
        said.iter().for_each(|said| assert!(text.contains(said), "{said} in {text}"));
    }

    #[test]
    fn few_runs_have_no_verdict_and_other_circumstances_are_named() {
        let (a, mut b) = (set(2, 100_000), set(5, 100_000));
        b[0].host.kernel = "6.1.0".to_owned();
        b[1].verdict = Verdict::Inconclusive { reason: "the generator was late".to_owned() };
        let said = ["--repeat", "different generators' hosts", "1 of 5 runs of B are inconclusive: the generator"];
        assert_says(&compare(&a, &b, false), 2, &said);
        assert_says(&compare(&a, &b, false), 2, &["verdict: undecided: too few runs", "(2 and 5 runs)"]);
    }

    #[test]
    fn runs_that_are_wrong_or_partial_are_neither_better_nor_equal() {
        let with = |verdict: Verdict| {
            let mut runs = set(3, 200_000);
            runs[1].verdict = verdict;
            runs
        };
        let wrong = with(Verdict::Mismatch { reason: "4 increments are lost".to_owned() });
        let partial = with(Verdict::Partial { reason: "interrupted after 1 s".to_owned() });
        let good = set(3, 100_000);
        assert_says(&compare(&good, &set(3, 200_000), false), 0, &["verdict: B is better"]);
        let said = "verdict: B is worse: the server was wrong in 1 of 3 runs of B: 4 increments are lost";
        assert_says(&compare(&good, &wrong, false), 1, &[said]);
        assert_says(
            &compare(&wrong, &good, false),
            2,
            &["verdict: undecided: the server was wrong in 1 of 3 runs of A"],
        );
        assert_says(&compare(&good, &partial, false), 2, &["1 of 3 runs of B ended early: interrupted after 1 s"]);
        assert_says(&compare(&partial, &good, false), 2, &["1 of 3 runs of A ended early"]);
        assert_says(&compare(&wrong, &wrong, true), 1, &["B is worse"]);
    }

    #[test]
    fn different_workloads_are_compared_only_when_asked_to() {
        let (a, mut b) = (set(3, 100_000), set(3, 100_000));
        b.iter_mut().for_each(|run| run.workload.pipeline_depth = 16);
        assert_says(&compare(&a, &b, false), 2, &["undecided: pipeline: 1 and 16", "--different-workloads"]);
        assert_says(&compare(&a, &b, true), 0, &["note: pipeline: 1 and 16", "verdict: equal"]);
    }

    #[test]
    fn what_one_side_lacks_is_named() {
        let (a, mut b) = (set(3, 100_000), set(3, 100_000));
        b[2].latency = Default::default();
        let text = compare(&a, &b, false).table();
        assert!(text.contains("note: response p99 is left out: 1 of 3 runs of B have too few replies"), "{text}");
        b.iter_mut().for_each(|run| run.requests.answered = 0);
        assert_says(
            &compare(&a, &b, false),
            2,
            &["throughput is left out: 3 of 3 runs of B", "no measure that all runs"],
        );
    }

    #[test]
    fn the_table_shows_both_sides() {
        let comparison = compare(&set(3, 100_000), &set(3, 90_000), false);
        assert_eq!((comparison.finding(), comparison.exit_code()), (Finding::Worse, 1));
        let text = comparison.table();
        assert!(text.contains("throughput") && text.contains("0.900") && text.contains("-10.0%"), "{text}");
        let few = "response p99.9 is left out: 3 of 3 runs of A and 3 of 3 runs of B have too few replies";
        assert!(text.contains("response p99 ") && text.contains(few), "100 samples beyond it are too few: {text}");
    }
}
