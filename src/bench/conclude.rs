//! What a run found out, made of what its threads did: the [`RunResult`] with its verdict.

use super::collect::Collected;
use super::drive::Driven;
use super::fingerprint::Fingerprint;
use super::flight::Shown;
use super::histogram::{self, Recorded as Histogram};
use super::judge::Facts;
use super::record::Times;
use super::result::{CommandLatencies, FORMAT, Latencies, Requests, RunResult, Server, Verification};
use super::run::Run;
use super::thread_report::ThreadReport;

impl Driven {
    /// What all threads' replies showed.
    pub fn shown(&self) -> Shown {
        let mut all = Shown::default();
        for report in &self.reports {
            let Shown { acknowledged, unknown, error_count, error, backward_count, backward, strange_count } =
                report.shown.clone();
            all.acknowledged += acknowledged;
            all.unknown += unknown;
            all.error_count += error_count;
            all.backward_count += backward_count;
            all.strange_count += strange_count;
            all.error = all.error.or(error);
            all.backward = all.backward.or(backward);
        }
        all
    }

    /// The result.
    pub fn result(self, run: &Run, server: Server, verification: Verification) -> RunResult {
        let shown = self.shown();
        let sum = |of: fn(&ThreadReport) -> u64| self.reports.iter().map(of).sum::<u64>();
        let measured_ns = self.span.end_ns - self.span.start_ns;
        let Collected { commands, seconds, late } = self.collected;
        let requests = Requests {
            intended: sum(|report| report.intended.iter().sum()),
            sent: sum(|report| report.sent.iter().sum()),
            answered: seconds.iter().map(|second| second.answered).sum(),
            errors: seconds.iter().map(|second| second.errors).sum(),
            withheld: sum(|report| report.withheld_count),
            unanswered: sum(|report| report.unanswered_count),
            resets: sum(|report| report.reset_count),
            reopened: sum(|report| report.reopened_count),
        };
        let mut all = Times::default();
        commands.iter().for_each(|times| all.add(times));
        let mut own_lateness = histogram::empty();
        let mut reset = None;
        for report in &self.reports {
            own_lateness.add(&report.own_lateness).expect("they have the same bounds");
            reset = reset.or(report.reset.as_deref());
        }
        // The account of a short time has more in it than that time.
        let busy = |report: &ThreadReport| {
            (report.cpu_ns.saturating_sub(report.spun_ns) as f64 / (measured_ns as f64).max(1.0)).min(1.0)
        };
        let kept = |report: &ThreadReport| (report.kept_ns as f64 / (measured_ns as f64).max(1.0)).min(1.0);
        let facts = Facts {
            load: run.load,
            requests,
            measured_ns,
            response: &all.response,
            own_lateness: &own_lateness,
            tolerances: &run.tolerances,
            generator_busy: self.reports.iter().map(busy).collect(),
            generator_kept: self.reports.iter().map(kept).fold(0.0, f64::max),
            server: self.server,
            retransmits: self.retransmits,
            verification: &verification,
            // One at least, also where the end came in the middle of its reply.
            errors: shown.error.as_deref().map(|error| (shown.error_count.max(1), error)),
            is_cluster: run.cluster,
            reset,
            cut_short: self.cut_short.as_deref(),
        };
        let (bottleneck, verdict) = (facts.bottleneck(), facts.verdict());
        let templates = run.mix.templates().iter();
        RunResult {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: run.command_line.clone(),
            started_unix_ms: self.started_unix_ms,
            measured_ns,
            host: Fingerprint::read(),
            server,
            workload: run.workload(),
            requests,
            latency: latencies(all),
            commands: templates
                .zip(commands)
                .map(|(template, times)| CommandLatencies { tag: template.tag.clone(), latency: latencies(times) })
                .collect(),
            seconds,
            late,
            verification,
            bottleneck,
            verdict,
        }
    }
}

fn latencies(times: Times) -> Latencies {
    let Times { response, service, lateness } = times;
    Latencies { response: Histogram(response), service: Histogram(service), lateness: Histogram(lateness) }
}
