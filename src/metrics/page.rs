//! What the page of metrics says: one report of each shard, the histograms of all added up, and the process.
//!
//! Names follow Prometheus's conventions (<https://prometheus.io/docs/practices/naming/>): base units, `_total` for what
//! only grows. What belongs to a shard has its number as a label. `CONFIG RESETSTAT` sets counters to 0, as a restart
//! does.

use std::time::Duration;

use super::columns::{BY_SHARD, Column, DURABILITY, Durability, JOURNAL_BY_SHARD};
use super::text::{Kind, Text};
use crate::command::{SPEC_COUNT, by_index};
use crate::latency::{Cumulated, Stage, Which};
use crate::mesh::Observer;
use crate::process;
use crate::server::{Refusal, Shared};
use crate::shard::Eviction;
use crate::stats::Report;

/// Upper bounds of the histograms, in nanoseconds: 1, 2.5 and 5 of each power of ten from a microsecond to ten seconds.
pub(super) const BOUNDS_NS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What a page is made from.
#[derive(Debug)]
pub(super) struct Facts {
    /// By shard.
    reports: Vec<Report>,
    /// Of all shards, by stage.
    stages: Vec<Cumulated>,
    /// Of all shards, by the command's index: those that were called.
    commands: Vec<(usize, Cumulated)>,
    /// By the reason's number.
    rejected_counts: [u64; Refusal::ALL.len()],
    /// Where there are journals.
    durability: Option<Durability>,
    /// The parts of the memory plan, in bytes.
    parts: Vec<(&'static str, u64)>,
    /// Where there is one.
    ceiling_bytes: Option<u64>,
    maxmemory_bytes: u64,
    maxclients: u32,
    resident_bytes: u64,
    cpu_s: f64,
    descriptors: (u64, u64),
    started_unix_s: f64,
    uptime: Duration,
    run_id: String,
}

/// Makes pages.
#[derive(Debug)]
pub(super) struct Pages {
    started_unix_s: f64,
    asked_shard: usize,
    /// Of the last page.
    page_bytes: usize,
}

impl Pages {
    pub(super) fn new(shared: &Shared) -> Pages {
        let started_unix_s = shared.unix_us() as f64 / 1e6 - shared.uptime().as_secs_f64();
        Pages { started_unix_s, asked_shard: 0, page_bytes: 0 }
    }

    /// The shard that was asked last.
    pub(super) fn asked_shard(&self) -> usize {
        self.asked_shard
    }

    /// Ask all shards, and write a page.
    pub(super) async fn make(&mut self, observer: &mut Observer, shared: &Shared) -> String {
        let mut reports = Vec::with_capacity(observer.shard_count());
        for shard in 0..observer.shard_count() {
            self.asked_shard = shard;
            reports.push(*observer.report(shard).await);
        }
        let mut stages = Vec::new();
        for stage in Stage::ALL {
            stages.push(self.cumulated(observer, Which::Stage(stage)).await);
        }
        let mut commands = Vec::new();
        for index in (0..SPEC_COUNT).filter(|index| reports.iter().any(|report| report.commands[*index].call_count > 0))
        {
            commands.push((index, self.cumulated(observer, Which::Command(index)).await));
        }
        let (user_s, system_s) = process::cpu_seconds();
        let ceiling_bytes = shared.ceiling_bytes();
        let live = shared.read_live().1;
        let facts = Facts {
            reports,
            stages,
            commands,
            rejected_counts: shared.rejected_counts(),
            durability: shared.journals.as_ref().map(Durability::of),
            parts: shared.plan_parts(),
            ceiling_bytes: (ceiling_bytes > 0).then_some(ceiling_bytes),
            maxmemory_bytes: live.maxmemory_bytes,
            maxclients: live.maxclients,
            resident_bytes: process::resident_bytes(),
            cpu_s: user_s + system_s,
            descriptors: process::descriptors(),
            started_unix_s: self.started_unix_s,
            uptime: shared.uptime(),
            run_id: shared.run_id.clone(),
        };
        let page = write(&facts, self.page_bytes);
        self.page_bytes = page.len();
        page
    }

    /// One histogram of all shards.
    async fn cumulated(&mut self, observer: &mut Observer, which: Which) -> Cumulated {
        let mut cumulated = Cumulated::new(BOUNDS_NS.len());
        for shard in 0..observer.shard_count() {
            self.asked_shard = shard;
            if let Some(histogram) = observer.histogram(shard, which).await {
                cumulated.add(&histogram, &BOUNDS_NS);
            }
        }
        cumulated
    }
}

/// The page, which will be about so long.
fn write(facts: &Facts, page_bytes: usize) -> String {
    let mut text = Text::with_capacity(page_bytes);
    commands(&mut text, facts);
    latencies(&mut text, facts);
    columns(&mut text, facts, &BY_SHARD);
    if let Some(durability) = &facts.durability {
        journal(&mut text, facts, durability);
    }
    clients(&mut text, facts);
    memory(&mut text, facts);
    process_facts(&mut text, facts);
    text.finish()
}

fn columns(text: &mut Text, facts: &Facts, columns: &[Column<Report>]) {
    for (name, kind, help, number) in columns {
        text.family(name, *kind, help);
        for (shard, report) in facts.reports.iter().enumerate() {
            text.sample(("shard", &shard.to_string()), number(report));
        }
    }
}

/// How far the journals are behind, and the snapshots.
fn journal(text: &mut Text, facts: &Facts, durability: &Durability) {
    columns(text, facts, &JOURNAL_BY_SHARD);
    for (name, kind, help, number) in DURABILITY {
        text.single(name, kind, help, number(durability));
    }
}

/// How often each command was called, by its name; of those that somebody has tried to call.
fn commands(text: &mut Text, facts: &Facts) {
    let mut sum = Report::default();
    facts.reports.iter().for_each(|report| sum.add(report));
    text.family("tallyring_commands_total", Kind::Counter, "Commands executed.");
    sum.called().for_each(|(name, command)| text.sample(("command", name), command.call_count));
    text.family("tallyring_commands_failed_total", Kind::Counter, "Commands executed and answered with an error.");
    sum.called().for_each(|(name, command)| text.sample(("command", name), command.failed_count));
    text.family(
        "tallyring_commands_rejected_total",
        Kind::Counter,
        "Commands not executed: wrong arguments, no password, not allowed in a transaction.",
    );
    sum.called().for_each(|(name, command)| text.sample(("command", name), command.rejected_count));
    text.family("tallyring_error_replies_total", Kind::Counter, "Error replies, by their first word.");
    sum.errors.iter().for_each(|(code, count)| text.sample(("code", code), count));
}

fn latencies(text: &mut Text, facts: &Facts) {
    text.family(
        "tallyring_stage_duration_seconds",
        Kind::Histogram,
        "What commands take: in the queue, being executed, being sent, and as a whole.",
    );
    for (stage, cumulated) in Stage::ALL.iter().zip(&facts.stages) {
        text.histogram(("stage", stage.name()), &BOUNDS_NS, cumulated);
    }
    text.family(
        "tallyring_command_duration_seconds",
        Kind::Histogram,
        "From the receipt of a command until the kernel has its reply.",
    );
    for (index, cumulated) in &facts.commands {
        text.histogram(("command", by_index(*index).name), &BOUNDS_NS, cumulated);
    }
}

fn clients(text: &mut Text, facts: &Facts) {
    text.single("tallyring_clients_max", Kind::Gauge, "Connections that there may be (maxclients).", facts.maxclients);
    text.family("tallyring_connections_rejected_total", Kind::Counter, "Connections that were not let in.");
    for (refusal, count) in Refusal::ALL.iter().zip(facts.rejected_counts) {
        text.sample(("reason", refusal.name()), count);
    }
    text.family(
        "tallyring_clients_evicted_total",
        Kind::Counter,
        "Clients disconnected because they stalled, by the setting that has it so.",
    );
    for (number, eviction) in Eviction::ALL.iter().enumerate() {
        let count: u64 = facts.reports.iter().map(|report| report.evicted_counts[number]).sum();
        text.sample(("reason", eviction.setting()), count);
    }
}

fn memory(text: &mut Text, facts: &Facts) {
    text.family(
        "tallyring_memory_reserved_bytes",
        Kind::Gauge,
        "What the memory plan has for each part but maxmemory.",
    );
    for (part, bytes) in &facts.parts {
        text.sample(("part", part), bytes);
    }
    if let Some(bytes) = facts.ceiling_bytes {
        let help = "What the server takes at most, maxmemory and all parts together.";
        text.single("tallyring_memory_ceiling_bytes", Kind::Gauge, help, bytes);
    }
    let help = "Bytes of counters from which on new ones are refused (maxmemory); 0 is no limit.";
    text.single("tallyring_maxmemory_bytes", Kind::Gauge, help, facts.maxmemory_bytes);
}

/// What every Prometheus client library calls the same.
fn process_facts(text: &mut Text, facts: &Facts) {
    text.family("tallyring_build_info", Kind::Gauge, "Always 1.");
    text.sample(("version", env!("CARGO_PKG_VERSION")), 1);
    text.family("tallyring_run_info", Kind::Gauge, "Always 1; the run_id is another after each start.");
    text.sample(("run_id", &facts.run_id), 1);
    text.single("tallyring_uptime_seconds", Kind::Gauge, "Since the start.", facts.uptime.as_secs_f64());
    let help = "Unix time of the start.";
    text.single("process_start_time_seconds", Kind::Gauge, help, facts.started_unix_s);
    text.single("process_cpu_seconds_total", Kind::Counter, "Processor time of all threads.", facts.cpu_s);
    text.single("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", facts.resident_bytes);
    let (open_count, open_count_max) = facts.descriptors;
    text.single("process_open_fds", Kind::Gauge, "Descriptors that are open.", open_count);
    text.single("process_max_fds", Kind::Gauge, "Descriptors that may be open.", open_count_max);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{SCRAPE_PAGE_BYTES_MAX, SHARD_COUNT_MAX};
    use crate::stats::{CommandStats, Counts, ERROR_CODE_COUNT_MAX, JournalReport};

    /// Everything that there can be, each number as long as it gets.
    fn most() -> Facts {
        let long = u64::MAX >> 9;
        let cumulated = Cumulated { counts: vec![long; BOUNDS_NS.len()], count: long, total_ns: long };
        let command = CommandStats { call_count: long, total_ns: long, rejected_count: long, failed_count: long };
        let report = Report {
            key_count: long,
            expiring_count: long,
            counter_bytes: long,
            hit_count: long,
            miss_count: long,
            expired_count: long,
            counts: Counts {
                command_count: long,
                error_count: long,
                connection_count: long,
                mesh_batch_count: long,
                received_bytes: long,
                sent_bytes: long,
                recall_count: long,
                monitor_missed_count: long,
            },
            buffer_count: long,
            lent_count: long,
            queue_bytes: long,
            client_count: long,
            parked_bytes: long,
            stalled_count: long,
            cpu_ns: long,
            polled_ns: long,
            journal: JournalReport {
                unsynced_bytes: long,
                unsynced_ns: long,
                syncing_count: long,
                sync_count: long,
                sync_ns: long,
                last_sync_ns: long,
                delayed_sync_count: long,
            },
            ..Report::default()
        };
        let mut reports = vec![report; SHARD_COUNT_MAX];
        reports[0].commands = vec![command; SPEC_COUNT];
        reports[0].errors = (0..ERROR_CODE_COUNT_MAX).map(|code| (format!("{code:032}").into(), long)).collect();
        Facts {
            reports,
            stages: vec![cumulated.clone(); Stage::ALL.len()],
            commands: (0..SPEC_COUNT).map(|index| (index, cumulated.clone())).collect(),
            rejected_counts: [long; Refusal::ALL.len()],
            durability: Some(Durability {
                journal_bytes: long,
                snapshot_bytes: long,
                failing: true,
                saving: true,
                save_count: long,
                last_save_failed: true,
                last_save_s: i64::MAX >> 9,
                last_save_duration_s: long,
            }),
            parts: vec![("a part of the plan with a name", long); 32],
            ceiling_bytes: Some(long),
            maxmemory_bytes: long,
            maxclients: u32::MAX,
            resident_bytes: long,
            cpu_s: long as f64,
            descriptors: (long, u64::MAX),
            started_unix_s: 1.7e9,
            uptime: Duration::from_nanos(long),
            run_id: "f".repeat(40),
        }
    }

    #[test]
    fn the_longest_page_is_as_long_as_the_plan_has_it() {
        let page_bytes = write(&most(), 0).len();
        assert!(page_bytes > SCRAPE_PAGE_BYTES_MAX / 4, "the limit is much too high: {page_bytes}");
        assert!(page_bytes <= SCRAPE_PAGE_BYTES_MAX, "{page_bytes}");
    }

    #[test]
    fn names_keep_the_conventions_and_come_once() {
        let page = write(&most(), 0);
        let types: Vec<(&str, &str)> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        assert!(types.len() > 30);
        for (at, (name, kind)) in types.iter().enumerate() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(name.starts_with("tallyring_") || name.starts_with("process_"), "{name}");
            assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
            assert_eq!(*kind == "histogram", name.ends_with("_duration_seconds"), "{name}");
            assert!(types[..at].iter().all(|(other, _)| other != name), "{name} comes twice");
        }
    }
}
