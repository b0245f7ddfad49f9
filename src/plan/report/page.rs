//! A plan as a page: the answer first, then what it rests on.

use super::figures::{latency_by_rate, memory_figure, rates, scaling_figure};
use super::{answer, facts, fleet_row, goals, most_used};
use crate::bench::html::percentile_curve;
use crate::bench::page::{Page, Tone};
use crate::bench::units::{date, grouped, percent, rate, shell, time, time_or_none};
use crate::plan::result::{Plan, Step};

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
    if !plan.steps.is_empty() {
        page.heading("The search");
        page.html(&rates(plan));
        let (plot, missing) = latency_by_rate(plan);
        page.html(&plot);
        missing.iter().for_each(|missing| page.paragraph(missing));
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
        page.html(&memory_figure(&memory.points));
    }
    page.heading("What was found");
    page.facts(&[facts(plan), calibration(plan)].concat());
    if !plan.notes.is_empty() {
        page.heading("Notes");
        plan.notes.iter().for_each(|note| page.paragraph(note));
    }
    if !plan.steps.is_empty() {
        page.heading("All trials");
        page.table(
            &["phase", "offered", "achieved", "p50", "p99", "p99.9", "server's busiest thread", "outcome"],
            &step_rows(plan),
        );
    }
    if !plan.workload.is_empty() {
        page.heading("What was asked");
        page.facts(&plan.workload);
    }
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
        let used = percent(most_used(&fleet.used_after_loss));
        cards.push(("used after the loss", used, fleet.binding.name().to_owned()));
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
