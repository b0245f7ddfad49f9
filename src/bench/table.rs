//! What a run prints on the terminal at its end.

use std::fmt::Write;

use super::histogram::{QUANTILES, Recorded};
use super::result::{Arrivals, Latencies, Load, RunResult, Verification};
use super::units::{grouped, percent, rate, shell, time, time_or_none};

/// The whole result. Each line ends with a newline.
pub fn table(run: &RunResult) -> String {
    let mut text = String::new();
    head(&mut text, run);
    text.push('\n');
    let tagged = run.commands.iter().filter(|_| run.commands.len() > 1);
    let mut rows = rows_of(&run.latency);
    rows.extend(tagged.map(|command| (format!("response {}", command.tag), &command.latency.response)));
    latencies(&mut text, &rows);
    text.push('\n');
    tail(&mut text, run);
    text
}

/// A table of percentiles; a row is a name and a histogram.
pub fn latencies(text: &mut String, rows: &[(String, &Recorded)]) {
    let name_width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    write!(text, "{:name_width$}", "").expect("a string takes all");
    QUANTILES.iter().for_each(|(name, _)| write!(text, "{name:>10}").expect("a string takes all"));
    writeln!(text, "{:>10}{:>16}", "max", "samples").expect("a string takes all");
    for (name, recorded) in rows {
        write!(text, "{name:name_width$}").expect("a string takes all");
        for (_, quantile) in QUANTILES {
            write!(text, "{:>10}", time_or_none(recorded.percentile_ns(quantile))).expect("a string takes all");
        }
        let max = if recorded.is_empty() { "n/a".to_owned() } else { time(recorded.max()) };
        writeln!(text, "{max:>10}{:>16}", grouped(recorded.len())).expect("a string takes all");
    }
}

/// How the load is called.
pub fn load_line(run: &RunResult) -> String {
    match run.workload.load {
        Load::Open { rate_per_s, arrivals } => {
            let arrivals = match arrivals {
                Arrivals::Poisson => "Poisson arrivals",
                Arrivals::Constant => "even arrivals",
                Arrivals::Trace => "arrivals of a trace",
            };
            format!("open loop, {} offered, {arrivals}", rate(rate_per_s))
        }
        Load::Closed => {
            "closed loop: peak throughput. A stall holds back the requests behind it, so these percentiles \
                         understate it; for latency give a --rate"
                .to_owned()
        }
    }
}

/// Who is asked what, in a few lines: name and text.
pub fn facts(run: &RunResult) -> Vec<(&'static str, String)> {
    let workload = &run.workload;
    let software = run.server.software.as_deref().map_or(String::new(), |software| format!(" ({software})"));
    let same_host = if run.server.same_host { ", on the generator's own machine" } else { "" };
    vec![
        ("command", shell(&run.command_line)),
        ("server", format!("{}{software}{same_host}", run.server.address)),
        ("load", load_line(run)),
        (
            "workload",
            match workload.key_bytes {
                // None, or those of a trace.
                0 => format!(
                    "{}; {} connections x {} deep, {} threads",
                    workload.mix, workload.connection_count, workload.pipeline_depth, workload.thread_count
                ),
                key_bytes => format!(
                    "{}; {} keys of {key_bytes} bytes, {}; {} connections x {} deep, {} threads; seed {}",
                    workload.mix,
                    grouped(workload.key_count),
                    workload.distribution,
                    workload.connection_count,
                    workload.pipeline_depth,
                    workload.thread_count,
                    workload.seed
                ),
            },
        ),
        ("measured", format!("{:.1} s after {:.1} s of warm-up", run.measured_s(), workload.warmup_s)),
    ]
}

/// Replies a second, and what share of the offered rate that is.
pub fn throughput_line(run: &RunResult) -> String {
    let achieved = rate(run.achieved_per_s());
    match run.requests.achieved_share(run.workload.load, run.measured_ns) {
        Some(share) => format!("{achieved}, {} of what was offered", percent(share)),
        None => achieved,
    }
}

/// What the check of the counters found.
pub fn verification_line(verification: &Verification) -> String {
    match verification {
        Verification::Off { reason } => format!("off: {reason}"),
        Verification::Passed { acknowledged, unknown: 0, .. } => {
            format!("passed: {} acknowledged increments are in the counters", grouped(*acknowledged))
        }
        Verification::Passed { acknowledged, unknown, grown } => format!(
            "passed: {} acknowledged increments, {} of unknown outcome, and the counters grew by {}",
            grouped(*acknowledged),
            grouped(*unknown),
            grouped(*grown)
        ),
        Verification::Failed { findings } => format!("FAILED: {}", findings.join("; ")),
    }
}

fn head(text: &mut String, run: &RunResult) {
    lines(text, &facts(run));
    let requests = run.requests;
    lines(
        text,
        &[
            ("throughput", throughput_line(run)),
            (
                "requests",
                format!(
                    "{} answered, {} of them errors; {} not answered; {} connections lost, {} opened again",
                    grouped(requests.answered),
                    grouped(requests.errors),
                    grouped(requests.unanswered),
                    grouped(requests.resets),
                    grouped(requests.reopened)
                ),
            ),
        ],
    );
}

/// How busy everybody was.
pub fn busy_line(run: &RunResult) -> String {
    let bottleneck = &run.bottleneck;
    let mut busy: Vec<String> = Vec::new();
    if let Some(most) = bottleneck.generator_busy.iter().copied().reduce(f64::max) {
        busy.push(format!("generator's busiest thread {}", percent(most)));
    }
    busy.extend(bottleneck.server_cpu.map(|share| format!("server {} of a core", percent(share))));
    busy.extend(bottleneck.server_thread_cpu.map(|share| format!("its busiest thread {}", percent(share))));
    busy.extend(bottleneck.retransmits.map(|count| format!("{} segments sent again", grouped(count))));
    if busy.is_empty() { "not known".to_owned() } else { busy.join(", ") }
}

fn tail(text: &mut String, run: &RunResult) {
    lines(
        text,
        &[
            ("counters", verification_line(&run.verification)),
            ("busy", busy_line(run)),
            ("bottleneck", run.bottleneck.summary.clone()),
            ("verdict", run.verdict.line()),
        ],
    );
}

fn lines(text: &mut String, lines: &[(&str, String)]) {
    lines.iter().for_each(|(name, line)| writeln!(text, "{name:<12}{line}").expect("a string takes all"));
}

fn rows_of(latency: &Latencies) -> Vec<(String, &Recorded)> {
    latency.named().map(|(name, recorded)| (name.to_owned(), recorded)).into()
}
