//! A plan that nobody made, on the terminal and as a page.

use super::*;
use crate::bench::sample;
use crate::plan::capacity::{Demand, PerNode, what_if};
use crate::plan::memory::{Measured, Memory};
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
        memory: Memory::of(Measured {
            server_count: 1,
            points: vec![(1_000, 40_000), (2_000, 90_000), (3_000, 130_000)],
            ..Measured::default()
        }),
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
    assert!(text.contains("43.3 bytes each") && !text.contains("No trial has"), "{text}");
    let json = serde_json::to_string(&plan).unwrap();
    let back: Plan = serde_json::from_str(&json).unwrap();
    assert_eq!(html(&back), text);
}

#[test]
fn a_plot_without_a_point_says_why() {
    let mut plan = plan();
    plan.steps.iter_mut().for_each(|step| step.response_ns[2] = None);
    assert!(html(&plan).contains("No trial has a p99.9, which takes 400 replies beyond it"));
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
    // Without what can be left out no card is empty.
    (plan.memory, plan.scaling) = (None, None);
    let empty = |text: &str| ["<dl></dl>", "<tbody></tbody>", "<div></div>"].iter().any(|card| text.contains(card));
    assert!(!empty(&html(&plan)) && !summary(&plan).contains("memory"));
    // With nothing at all there is still a page.
    plan.steps.clear();
    plan.workload.clear();
    plan.confirmed = None;
    assert!(html(&plan).contains("inconclusive") && !empty(&html(&plan)));
}
