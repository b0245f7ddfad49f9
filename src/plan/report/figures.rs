//! The plots of a plan's page.

use crate::bench::histogram::BEYOND_COUNT_MIN;
use crate::bench::plot::{Axis, Kind, Series, figure};
use crate::bench::units::{grouped, rate, time};
use crate::config::ByteCount;
use crate::plan::result::{Plan, Scaling, Step};
use crate::plan::trial::Outcome;

/// Points of the trials with one outcome.
fn of_outcome(
    plan: &Plan,
    name: &str,
    color: usize,
    is: fn(&Outcome) -> bool,
    point: impl Fn(usize, &Step) -> Option<(f64, f64)>,
) -> Series {
    let steps = plan.steps.iter().enumerate().filter(|(_, step)| is(&step.outcome));
    let points = steps.filter_map(|(index, step)| point(index, step)).collect();
    Series { name: name.to_owned(), kind: Kind::Dots, color, points }
}

fn by_outcome(plan: &Plan, point: impl Fn(usize, &Step) -> Option<(f64, f64)> + Copy) -> Vec<Series> {
    let all = [
        of_outcome(plan, "passed", 1, |outcome| *outcome == Outcome::Passed, point),
        of_outcome(
            plan,
            "failed",
            5,
            |outcome| matches!(outcome, Outcome::Failed { .. } | Outcome::Wrong { .. }),
            point,
        ),
        of_outcome(plan, "inconclusive", 2, |outcome| matches!(outcome, Outcome::Inconclusive { .. }), point),
    ];
    all.into_iter().filter(|series| !series.points.is_empty()).collect()
}

pub(super) fn rates(plan: &Plan) -> String {
    let mut series = vec![Series {
        name: String::new(),
        kind: Kind::Line,
        color: 4,
        points: plan.steps.iter().enumerate().map(|(index, step)| (index as f64 + 1.0, step.rate_per_s)).collect(),
    }];
    series.extend(by_outcome(plan, |index, step| Some((index as f64 + 1.0, step.rate_per_s))));
    let (min, max) = bounds(&series);
    let x = Axis::linear("trial", plan.steps.len() as f64, |trial| format!("{trial}"));
    let y = Axis::log("offered requests a second", min, max, rate);
    figure("What was tried", &x, &y, &series, |trial| format!("trial {trial}"), rate)
}

/// The plot, and what there is to say where it has no point.
pub(super) fn latency_by_rate(plan: &Plan) -> (String, Option<String>) {
    // The quantile of the first goal, if the table has it; else p99.
    let goal = &plan.goals[0];
    let (at, name) = match goal.quantile {
        quantile if (quantile - 0.999).abs() < 1e-9 => (2, "p99.9"),
        quantile if (quantile - 0.5).abs() < 1e-9 => (0, "p50"),
        _ => (1, "p99"),
    };
    let mut series = by_outcome(plan, |_, step| step.response_ns[at].map(|ns| (step.rate_per_s, ns as f64)));
    let missing = series.is_empty().then(|| {
        format!("No trial has a {name}, which takes {BEYOND_COUNT_MIN} replies beyond it: trials were too short for their rates.")
    });
    let most = plan.steps.iter().map(|step| step.rate_per_s).fold(1.0, f64::max);
    let x = Axis::linear("offered requests a second", most, rate);
    let bound = (goal.bound_ns as f64, format!("{goal}"));
    series.push(Series {
        name: bound.1,
        kind: Kind::Dashed,
        color: 4,
        points: vec![(0.0, bound.0), (x.range.1, bound.0)],
    });
    let (min, max) = bounds(&series);
    let y = Axis::log(&format!("response time, {name}"), min, max, |ns| time(ns as u64));
    (figure("Latency by rate", &x, &y, &series, rate, |ns| time(ns as u64)), missing)
}

pub(super) fn scaling_figure(scaling: &Scaling) -> String {
    let points: Vec<(f64, f64)> = scaling.points.iter().map(|(count, per_s)| (*count as f64, *per_s)).collect();
    let measured_up_to = points.iter().map(|(count, _)| *count).fold(1.0, f64::max);
    let mut series = vec![Series { name: "measured".to_owned(), kind: Kind::Dots, color: 0, points }];
    let mut end = measured_up_to;
    if let Some(usl) = &scaling.usl {
        end = 2.0 * measured_up_to;
        let curve = |from: f64, to: f64| -> Vec<(f64, f64)> {
            (0..=60).map(|step| from + (to - from) * f64::from(step) / 60.0).map(|n| (n, usl.at(n))).collect()
        };
        let law = curve(1.0, measured_up_to);
        series.push(Series { name: "law".to_owned(), kind: Kind::Line, color: 1, points: law });
        let beyond = curve(measured_up_to, end);
        series.push(Series { name: "extrapolated".to_owned(), kind: Kind::Dashed, color: 4, points: beyond });
    }
    let (_, max) = bounds(&series);
    let x = Axis::linear("connections", end, |count| format!("{count}"));
    let y = Axis::linear("requests a second", max, rate);
    figure("Throughput by connections, without a goal", &x, &y, &series, |count| format!("{count} connections"), rate)
}

/// The line is of what was added, whatever had been there before.
pub(super) fn memory_figure(points: &[(u64, u64)]) -> String {
    let counter_bytes = points.last().map_or(0.0, |(count, bytes)| *bytes as f64 / (*count).max(1) as f64);
    let points: Vec<(f64, f64)> = points.iter().map(|(count, bytes)| (*count as f64, *bytes as f64)).collect();
    let most = points.iter().map(|(count, _)| *count).fold(1.0, f64::max);
    let line = vec![(0.0, 0.0), (most, most * counter_bytes)];
    let series = [
        Series { name: format!("{counter_bytes:.1} bytes each"), kind: Kind::Dashed, color: 4, points: line },
        Series { name: "used memory".to_owned(), kind: Kind::Dots, color: 0, points },
    ];
    let (_, max) = bounds(&series);
    let x = Axis::linear("counters", most, |count| grouped(count as u64));
    let bytes = |bytes: f64| ByteCount(bytes as u64).to_string();
    let y = Axis::linear("bytes", max, bytes);
    figure("Memory by counters", &x, &y, &series, |count| grouped(count as u64), bytes)
}

fn bounds(series: &[Series]) -> (f64, f64) {
    let values = series.iter().flat_map(|one| &one.points).map(|(_, y)| *y);
    values.filter(|y| *y > 0.0).fold((f64::MAX, 0.0), |(min, max), y| (min.min(y), max.max(y)))
}
