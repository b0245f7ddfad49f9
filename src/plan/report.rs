//! A plan on the terminal, and what the terminal and the page say in the same words.

mod figures;
mod page;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::time::Duration;

pub use page::html;

use super::capacity::{Constraint, Fleet};
use super::result::{Plan, Scaling, Step};
use super::search::Found;
use super::trial::Outcome;
use crate::bench::units::{grouped, percent, rate, shell, time_or_none};
use crate::config::ByteCount;

const TAKES_ALL: &str = "a string takes all";

/// What stands above the lines of the trials.
pub fn step_headings() -> String {
    format!(
        "{:>7}  {:<8}{:>12}{:>12}{:>10}{:>10}{:>10}  outcome",
        "time", "phase", "offered", "achieved", "p50", "p99", "p99.9"
    )
}

/// A trial.
pub fn step_line(step: &Step, elapsed: Duration) -> String {
    let [p50, p99, p999] = step.response_ns.map(time_or_none);
    format!(
        "{:>5} s  {:<8}{:>12}{:>12}{p50:>10}{p99:>10}{p999:>10}  {}",
        elapsed.as_secs(),
        step.phase.name(),
        rate(step.rate_per_s),
        rate(step.achieved_per_s),
        step.outcome.line()
    )
}

/// The answer, a line each; what does not fit one is a note.
pub fn summary(plan: &Plan) -> String {
    let mut text = String::new();
    let goals = goals(plan);
    writeln!(text, "\n{:<13}{}", "answer", answer(plan)).expect(TAKES_ALL);
    if let Some(partial) = &plan.partial {
        writeln!(text, "{:<13}{partial}", "partial").expect(TAKES_ALL);
    }
    if let Some(confirmed) = &plan.confirmed {
        writeln!(
            text,
            "{:<13}{} of {} runs met {goals}; they achieved {} on average",
            "confirmed",
            confirmed.passed_count,
            confirmed.run_count,
            rate(confirmed.mean_per_s)
        )
        .expect(TAKES_ALL);
    }
    for (name, line) in facts(plan) {
        writeln!(text, "{name:<13}{line}").expect(TAKES_ALL);
    }
    if !plan.fleets.is_empty() {
        writeln!(
            text,
            "\n{:<8}{:>12}{:>14}{:>8}{:>14}  first to run out",
            "demand", "requests", "counters", "nodes", "after a loss"
        )
        .expect(TAKES_ALL);
        for (factor, fleet) in &plan.fleets {
            let [name, requests, counters, nodes, _, used, binding] = fleet_row(*factor, fleet);
            writeln!(text, "{name:<8}{requests:>12}{counters:>14}{nodes:>8}{used:>14}  {binding}").expect(TAKES_ALL);
        }
    }
    text.push('\n');
    plan.notes.iter().for_each(|note| writeln!(text, "note: {note}").expect(TAKES_ALL));
    writeln!(text, "{:<13}{}", "run again", shell(&plan.command_line)).expect(TAKES_ALL);
    text
}

fn goals(plan: &Plan) -> String {
    plan.goals.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// One sentence.
fn answer(plan: &Plan) -> String {
    let goals = goals(plan);
    match (&plan.found, &plan.confirmed) {
        (Some(Found::Limit { bounded_by, .. }), Some(confirmed)) => {
            let least = if bounded_by.is_some() { "at least " } else { "" };
            format!("one server carries {least}{} under {goals}", rate(confirmed.lower_bound_per_s))
        }
        (Some(Found::NotMet { lowest_per_s, reason }), _) => {
            format!("{goals} is not met even at {}: {reason}", rate(*lowest_per_s))
        }
        (Some(Found::Wrong { reason }), _) => format!("the server counts WRONGLY: {reason}"),
        (Some(Found::Inconclusive { reason }), _) => format!("inconclusive: {reason}"),
        _ => {
            let passed = plan.steps.iter().filter(|step| step.outcome == Outcome::Passed);
            let best = passed.map(|step| step.rate_per_s).reduce(f64::max);
            let best = best.map_or("none passed a trial".to_owned(), |best| format!("{} passed a trial", rate(best)));
            format!("inconclusive: the plan ended before a rate was confirmed; {best}")
        }
    }
}

/// Name and text of what else was found.
fn facts(plan: &Plan) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(memory) = &plan.memory {
        let mut line = format!(
            "{:.1} bytes a counter, {:.1} where the table has just grown{}",
            memory.counter_bytes,
            memory.counter_bytes_worst,
            if memory.growth_seen { "" } else { " (estimated)" }
        );
        if let Some(bytes) = memory.connection_bytes {
            write!(line, "; {bytes:.0} bytes an idle connection").expect(TAKES_ALL);
        }
        if let Some(bytes) = memory.info.fixed_bytes {
            write!(line, "; {} planned for everything else", ByteCount(bytes)).expect(TAKES_ALL);
        }
        facts.push(("memory", line));
    }
    if let Some(Scaling { points, usl }) = &plan.scaling {
        let best = points.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut line = best.map_or(String::new(), |(count, per_s)| {
            format!("peak without a goal {} at {count} connections", rate(per_s))
        });
        if let Some(usl) = usl {
            write!(line, "; law: λ {}, σ {:.4}, κ {:.6}", rate(usl.lambda), usl.sigma, usl.kappa).expect(TAKES_ALL);
            if let Some(peak) = usl.peak().filter(|peak| *peak < 1e6) {
                let extrapolated = if usl.is_extrapolated(peak) { " (extrapolated)" } else { "" };
                write!(line, ", highest at {peak:.0} connections{extrapolated}").expect(TAKES_ALL);
            }
        }
        facts.push(("scaling", line));
    }
    facts
}

/// Demand, requests, counters, servers, use before a loss, use after it, constraint.
fn fleet_row(factor: f64, fleet: &Fleet) -> [String; 7] {
    [
        format!("{factor}x"),
        rate(fleet.demand.rate_per_s),
        grouped(fleet.demand.key_count as u64),
        grouped(fleet.node_count),
        percent(most_used(&fleet.used_before_loss)),
        percent(most_used(&fleet.used_after_loss)),
        fleet.binding.name().to_owned(),
    ]
}

/// The share that is used of what is used most.
fn most_used(used: &[(Constraint, f64)]) -> f64 {
    used.iter().map(|(_, share)| *share).fold(0.0, f64::max)
}
