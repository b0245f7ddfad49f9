//! A plan on the terminal and as a page.

use std::fmt::Write;
use std::time::Duration;

use super::capacity::Fleet;
use super::result::{Plan, Scaling, Step};
use super::search::Found;
use super::trial::Outcome;
use crate::bench::html::percentile_curve;
use crate::bench::page::{Page, Tone};
use crate::bench::plot::{Axis, Kind, Series, figure};
use crate::bench::units::{date, grouped, percent, rate, shell, time, time_or_none};
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
            "{:.1} bytes a counter, {:.1} where the table has just grown",
            memory.counter_bytes, memory.counter_bytes_worst
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
    let most = |used: &[(super::capacity::Constraint, f64)]| used.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    [
        format!("{factor}x"),
        rate(fleet.demand.rate_per_s),
        grouped(fleet.demand.key_count as u64),
        grouped(fleet.node_count),
        percent(most(&fleet.used_before_loss)),
        percent(most(&fleet.used_after_loss)),
        fleet.binding.name().to_owned(),
    ]
}

/// The page.
pub fn html(plan: &Plan) -> String {
    let (tone, word) = match plan.exit_code() {
        0 => (Tone::Good, "goal met"),
        1 => (Tone::Bad, "goal not met"),
        _ => (Tone::Unclear, "inconclusive"),
    };
    let answer = answer(plan);
    let title = format!("{}{}", answer[..1].to_uppercase(), &answer[1..]);
    let software = plan.server.software.as_deref().unwrap_or("a server");
    let subtitle = format!("tallyring plan, {software} at {}, {}", plan.server.address, date(plan.started_unix_ms));
    let mut page = Page::new(&title, &subtitle, tone, word, "");
    if let Some(partial) = &plan.partial {
        page.warning(&format!("This plan is partial: {partial}."));
    }
    if let Some(warning) = plan.notes.first().filter(|_| plan.server.same_host) {
        page.warning(warning);
    }
    cards(&mut page, plan);
    page.command(&shell(&plan.command_line));
    if !plan.fleets.is_empty() {
        page.heading("How many servers");
        let rows: Vec<Vec<String>> =
            plan.fleets.iter().map(|(factor, fleet)| fleet_row(*factor, fleet).into()).collect();
        page.table(
            &["demand", "requests", "counters", "servers", "used", "used after the loss", "first to run out"],
            &rows,
        );
        let lost = plan.fleets[0].1.demand.nodes_lost;
        page.paragraph(&format!(
            "The servers include {lost} that may be lost. Used is the share of the constraint that runs out first; the \
             rate of one server is the lower bound of the confirmed one."
        ));
    }
    page.heading("The search");
    if !plan.steps.is_empty() {
        page.html(&rates(plan));
        page.html(&latency_by_rate(plan));
    }
    if let Some(confirmed) = plan.confirmed.as_ref().filter(|confirmed| !confirmed.response.is_empty()) {
        page.html(&percentile_curve(&[("response, all confirming runs", &confirmed.response)]));
    }
    if let Some(scaling) = &plan.scaling {
        page.heading("Scaling");
        page.html(&scaling_figure(scaling));
    }
    if let Some(memory) = &plan.memory {
        page.heading("Memory");
        page.html(&memory_figure(&memory.points, memory.counter_bytes));
    }
    page.heading("What was found");
    page.facts(&facts(plan));
    page.facts(&calibration(plan));
    if !plan.notes.is_empty() {
        page.heading("Notes");
        plan.notes.iter().for_each(|note| page.paragraph(note));
    }
    page.heading("All trials");
    page.table(
        &["phase", "offered", "achieved", "p50", "p99", "p99.9", "server's busiest thread", "outcome"],
        &step_rows(plan),
    );
    page.heading("What was asked");
    page.facts(&plan.workload);
    page.heading("The generator's host");
    page.facts(&plan.host.lines());
    page.finish()
}

fn cards(page: &mut Page, plan: &Plan) {
    let mut cards = Vec::new();
    if let Some(confirmed) = &plan.confirmed {
        let runs = format!("95% lower bound, {} of {} runs", confirmed.passed_count, confirmed.run_count);
        cards.push(("one server", rate(confirmed.lower_bound_per_s), runs));
    }
    cards.push(("goal", goals(plan), "response time".to_owned()));
    if let Some((_, fleet)) = plan.fleets.first() {
        let demand = format!("for {}, {} may be lost", rate(fleet.demand.rate_per_s), fleet.demand.nodes_lost);
        cards.push(("servers", grouped(fleet.node_count), demand));
        let used = fleet.used_after_loss.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        cards.push(("used after the loss", percent(used), fleet.binding.name().to_owned()));
    }
    if let Some(memory) = &plan.memory {
        let worst = format!("up to {:.1} after growth", memory.counter_bytes_worst);
        cards.push(("bytes a counter", format!("{:.1}", memory.counter_bytes), worst));
    }
    page.cards(&cards);
}

fn calibration(plan: &Plan) -> Vec<(&'static str, String)> {
    let calibration = &plan.calibration;
    let ceiling = calibration.generator_per_s.map_or("not measured".to_owned(), rate);
    vec![
        ("generator", format!("at most {ceiling} against a server that does nothing")),
        (
            "host's jitter",
            format!(
                "a thread that never sleeps was kept from its core for {} at most, {:.2}% of a second in all",
                time(calibration.pause_max_ns),
                100.0 * calibration.paused_share
            ),
        ),
    ]
}

fn step_rows(plan: &Plan) -> Vec<Vec<String>> {
    let row = |step: &Step| {
        let mut row = vec![step.phase.name().to_owned(), rate(step.rate_per_s), rate(step.achieved_per_s)];
        row.extend(step.response_ns.map(time_or_none));
        row.push(step.server_thread_cpu.map_or("n/a".to_owned(), percent));
        row.push(step.outcome.line());
        row
    };
    plan.steps.iter().map(row).collect()
}

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

fn rates(plan: &Plan) -> String {
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

fn latency_by_rate(plan: &Plan) -> String {
    // The quantile of the first goal, if the table has it; else p99.
    let goal = &plan.goals[0];
    let (at, name) = match goal.quantile {
        quantile if (quantile - 0.999).abs() < 1e-9 => (2, "p99.9"),
        quantile if (quantile - 0.5).abs() < 1e-9 => (0, "p50"),
        _ => (1, "p99"),
    };
    let mut series = by_outcome(plan, |_, step| step.response_ns[at].map(|ns| (step.rate_per_s, ns as f64)));
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
    figure("Latency by rate", &x, &y, &series, rate, |ns| time(ns as u64))
}

fn scaling_figure(scaling: &Scaling) -> String {
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

fn memory_figure(points: &[(u64, u64)], counter_bytes: f64) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample;
    use crate::plan::capacity::{Demand, PerNode, what_if};
    use crate::plan::memory::{Info, Memory};
    use crate::plan::result::{Calibration, Confirmed, FORMAT};
    use crate::plan::search::{Length, Phase};
    use crate::plan::usl::Usl;

    fn plan() -> Plan {
        let run = sample::run(1, 10, 200_000, 80.0);
        let step = |phase, rate_per_s: f64, p999_ns, outcome| Step {
            phase,
            length: Length::Short,
            rate_per_s,
            achieved_per_s: rate_per_s,
            response_ns: [Some(80_000), Some(300_000), Some(p999_ns)],
            server_thread_cpu: Some(0.7),
            outcome,
            log: "trial-01-climb.hlog".to_owned(),
        };
        let failed = Outcome::Failed { reason: "p99.9<1ms was not met".to_owned(), clearly: false };
        let points: Vec<(u64, f64)> =
            [1, 2, 4, 8, 16, 32, 50].map(|n| (n, 2e4 * n as f64 / (1.0 + 0.05 * n as f64))).into();
        let node = PerNode {
            rate_per_s: 200_000.0,
            memory_bytes: Some(8e9),
            counter_bytes: Some(46.0),
            network_bytes_per_s: None,
            request_bytes: 130.0,
        };
        Plan {
            format: FORMAT,
            version: run.version.clone(),
            command_line: ["tallyring", "plan", "--slo", "p99.9<1ms"].map(str::to_owned).into(),
            started_unix_ms: run.started_unix_ms,
            host: run.host.clone(),
            server: run.server.clone(),
            workload: vec![("workload".to_owned(), "incr; 100,000 keys".to_owned())],
            goals: vec!["p99.9<1ms".parse().unwrap()],
            calibration: Calibration { pause_max_ns: 40_000, paused_share: 0.001, generator_per_s: Some(900_000.0) },
            steps: vec![
                step(Phase::Climb, 50_000.0, 210_000, Outcome::Passed),
                step(Phase::Climb, 100_000.0, 260_000, Outcome::Passed),
                step(Phase::Climb, 200_000.0, 880_000, Outcome::Passed),
                step(Phase::Climb, 400_000.0, 412_000_000, failed.clone()),
                step(Phase::Bisect, 282_843.0, 9_300_000, failed.clone()),
                step(Phase::Bisect, 237_841.0, 2_100_000, failed.clone()),
                step(Phase::Bisect, 218_102.0, 1_240_000, failed.clone()),
                step(Phase::Bisect, 208_852.0, 1_090_000, failed),
                step(Phase::Bisect, 204_378.0, 1_010_000, Outcome::Inconclusive { reason: "late".to_owned() }),
                step(Phase::Confirm, 200_000.0, 900_000, Outcome::Passed),
            ],
            found: Some(Found::Limit { rate_per_s: 200_000.0, upper_per_s: Some(206_000.0), bounded_by: None }),
            confirmed: Some(Confirmed {
                run_count: 5,
                passed_count: 5,
                mean_per_s: 200_000.0,
                lower_bound_per_s: 199_700.0,
                response: run.latency.response.clone(),
            }),
            scaling: Some(Scaling {
                usl: Usl::fit(&points.iter().map(|(n, x)| (*n as f64, *x)).collect::<Vec<_>>()),
                points,
            }),
            memory: Memory::of(Info::default(), vec![(1_000, 40_000), (2_000, 90_000), (3_000, 130_000)], &[]),
            fleets: what_if(&node, Demand { rate_per_s: 3e6, key_count: 2e8, nodes_lost: 1 }),
            per_node: Some(node),
            notes: vec!["<note>".to_owned()],
            partial: None,
        }
    }

    #[test]
    fn the_page_has_everything_and_names_nothing_outside_of_itself() {
        let plan = plan();
        let text = html(&plan);
        if let Some(path) = std::env::var_os("TALLYRING_SAMPLE_PLAN") {
            std::fs::write(path, &text).unwrap();
        }
        for foreign in ["http:", "https:", "src=", "href=", "url(", "@import", "<script", "<note>", "NaN"] {
            assert!(!text.contains(foreign), "{foreign}");
        }
        for said in
            ["One server carries 200 k/s under p99.9&lt;1ms", "What was tried", "extrapolated", "Memory by counters"]
        {
            assert!(text.contains(said), "{said}");
        }
        let json = serde_json::to_string(&plan).unwrap();
        let back: Plan = serde_json::from_str(&json).unwrap();
        assert_eq!(html(&back), text);
    }

    #[test]
    fn the_summary_answers_first_and_exit_codes_follow() {
        let mut plan = plan();
        let text = summary(&plan);
        assert!(text.starts_with("\nanswer       one server carries 200 k/s under p99.9<1ms\n"), "{text}");
        assert!(text.contains("1x          3.00 M/s   200,000,000      16") && text.contains("run again"), "{text}");
        assert_eq!(plan.exit_code(), 0);
        plan.partial = Some("interrupted, after 9 s".to_owned());
        assert_eq!((plan.exit_code(), summary(&plan).contains("\npartial      interrupted, after 9 s\n")), (2, true));
        assert!(html(&plan).contains("This plan is partial: interrupted, after 9 s."));
        plan.partial = None;
        plan.found = Some(Found::NotMet { lowest_per_s: 100.0, reason: "x".to_owned() });
        assert_eq!((plan.exit_code(), summary(&plan).contains("is not met even at 100/s: x")), (1, true));
        plan.found = None;
        assert_eq!((plan.exit_code(), summary(&plan).contains("inconclusive")), (2, true));
        // With nothing at all there is still a page.
        plan.steps.clear();
        plan.confirmed = None;
        assert!(html(&plan).contains("inconclusive"));
    }
}
