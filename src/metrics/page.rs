//! What the page of metrics says: one report of each shard, the histograms of all added up, and the process.
//!
//! Names follow Prometheus's conventions (<https://prometheus.io/docs/practices/naming/>): base units, `_total` for what
//! only grows. What belongs to a shard has its number as a label. `CONFIG RESETSTAT` sets counters to 0, as a restart
//! does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::text::{Kind, Text, seconds};
use crate::command::{SPEC_COUNT, by_index};
use crate::journal::shared::Journals;
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

/// What each shard has one number of.
type Column = (&'static str, Kind, &'static str, fn(&Report) -> f64);

const COLUMNS: [Column; 19] = [
    ("tallyring_keys", Kind::Gauge, "Counters.", |report| report.key_count as f64),
    ("tallyring_expiring_keys", Kind::Gauge, "Counters that expire.", |report| report.expiring_count as f64),
    ("tallyring_keyspace_bytes", Kind::Gauge, "Memory of the counters.", |report| report.counter_bytes as f64),
    ("tallyring_expired_keys_total", Kind::Counter, "Counters that have expired.", |report| {
        report.expired_count as f64
    }),
    ("tallyring_keyspace_hits_total", Kind::Counter, "Reads that found their counter.", |report| {
        report.hit_count as f64
    }),
    ("tallyring_keyspace_misses_total", Kind::Counter, "Reads that did not find one.", |report| {
        report.miss_count as f64
    }),
    ("tallyring_shard_commands_total", Kind::Counter, "Commands that a shard's own clients have sent.", |report| {
        report.command_count as f64
    }),
    ("tallyring_shard_cpu_seconds_total", Kind::Counter, "Processor time of a shard's thread.", |report| {
        seconds(report.cpu_ns)
    }),
    ("tallyring_clients", Kind::Gauge, "Connections.", |report| report.client_count as f64),
    ("tallyring_stalled_clients", Kind::Gauge, "Connections with an unfinished request or unread replies.", |report| {
        report.stalled_count as f64
    }),
    ("tallyring_connections_total", Kind::Counter, "Connections that were let in.", |report| {
        report.connection_count as f64
    }),
    ("tallyring_received_bytes_total", Kind::Counter, "Bytes received from clients.", |report| {
        report.received_bytes as f64
    }),
    ("tallyring_sent_bytes_total", Kind::Counter, "Bytes sent to clients.", |report| report.sent_bytes as f64),
    ("tallyring_mesh_batches_total", Kind::Counter, "Batches of operations sent to other shards.", |report| {
        report.mesh_batch_count as f64
    }),
    ("tallyring_buffers", Kind::Gauge, "Fixed buffers.", |report| report.buffer_count as f64),
    ("tallyring_buffers_lent", Kind::Gauge, "Fixed buffers that connections hold.", |report| report.lent_count as f64),
    (
        "tallyring_buffers_recalled_total",
        Kind::Counter,
        "Fixed buffers taken back from clients that stall.",
        |report| report.recall_count as f64,
    ),
    ("tallyring_parked_bytes", Kind::Gauge, "What stalled clients have left over.", |report| {
        report.parked_bytes as f64
    }),
    ("tallyring_transaction_queue_bytes", Kind::Gauge, "Commands that transactions have queued.", |report| {
        report.queue_bytes as f64
    }),
];

/// The same, where there are journals.
const JOURNAL_COLUMNS: [Column; 6] = [
    ("tallyring_journal_unsynced_bytes", Kind::Gauge, "Bytes of the journal that are not on the disk.", |report| {
        report.journal.unsynced_bytes as f64
    }),
    (
        "tallyring_journal_unsynced_seconds",
        Kind::Gauge,
        "How long ago the oldest change was that is not on the disk; 0 when all are.",
        |report| seconds(report.journal.unsynced_ns),
    ),
    ("tallyring_journal_syncs_total", Kind::Counter, "Syncs of the journal.", |report| {
        report.journal.sync_count as f64
    }),
    ("tallyring_journal_sync_seconds_total", Kind::Counter, "What syncs of the journal took.", |report| {
        seconds(report.journal.sync_ns)
    }),
    ("tallyring_journal_last_sync_seconds", Kind::Gauge, "What the last sync of the journal took.", |report| {
        seconds(report.journal.last_sync_ns)
    }),
    ("tallyring_journal_delayed_syncs_total", Kind::Counter, "Syncs that took a second or longer.", |report| {
        report.journal.delayed_sync_count as f64
    }),
];

/// What all journals have one number of together.
type DurabilityRow = (&'static str, Kind, &'static str, fn(&Durability) -> f64);

const DURABILITY: [DurabilityRow; 8] = [
    ("tallyring_journal_bytes", Kind::Gauge, "Bytes of the journals since the last snapshot.", |journals| {
        journals.journal_bytes as f64
    }),
    (
        "tallyring_journal_failing",
        Kind::Gauge,
        "1 while the journal cannot be written: writes are refused.",
        |journals| f64::from(u8::from(journals.failing)),
    ),
    ("tallyring_snapshot_bytes", Kind::Gauge, "Bytes of the last snapshot.", |journals| journals.snapshot_bytes as f64),
    ("tallyring_snapshot_running", Kind::Gauge, "1 while a snapshot is taken.", |journals| {
        f64::from(u8::from(journals.saving))
    }),
    ("tallyring_snapshots_total", Kind::Counter, "Snapshots that were completed.", |journals| {
        journals.save_count as f64
    }),
    ("tallyring_snapshot_last_failed", Kind::Gauge, "1 when the last snapshot failed.", |journals| {
        f64::from(u8::from(journals.last_save_failed))
    }),
    (
        "tallyring_snapshot_last_timestamp_seconds",
        Kind::Gauge,
        "Unix time of the last snapshot that was completed, or of the start.",
        |journals| journals.last_save_s as f64,
    ),
    ("tallyring_snapshot_last_seconds", Kind::Gauge, "What the last snapshot took.", |journals| {
        journals.last_save_duration_s as f64
    }),
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

/// What the journals have in common.
#[derive(Debug)]
struct Durability {
    journal_bytes: u64,
    snapshot_bytes: u64,
    failing: bool,
    saving: bool,
    save_count: u64,
    last_save_failed: bool,
    /// Unix time.
    last_save_s: i64,
    /// 0 before the first.
    last_save_duration_s: u64,
}

impl Durability {
    fn of(journals: &Journals) -> Durability {
        Durability {
            journal_bytes: journals.journal_bytes.load(Ordering::Relaxed),
            snapshot_bytes: journals.snapshot_bytes.load(Ordering::Relaxed),
            failing: journals.is_failing(),
            saving: journals.saving() != 0,
            save_count: journals.save_count(),
            last_save_failed: journals.last_save_failed(),
            last_save_s: journals.last_save_s(),
            last_save_duration_s: journals.last_save_duration_s().unwrap_or(0),
        }
    }
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
    columns(&mut text, facts, &COLUMNS);
    if let Some(durability) = &facts.durability {
        journal(&mut text, facts, durability);
    }
    clients(&mut text, facts);
    memory(&mut text, facts);
    process_facts(&mut text, facts);
    text.finish()
}

fn columns(text: &mut Text, facts: &Facts, columns: &[Column]) {
    for (name, kind, help, number) in columns {
        text.family(name, *kind, help);
        for (shard, report) in facts.reports.iter().enumerate() {
            text.sample(("shard", &shard.to_string()), number(report));
        }
    }
}

/// How far the journals are behind, and the snapshots.
fn journal(text: &mut Text, facts: &Facts, durability: &Durability) {
    columns(text, facts, &JOURNAL_COLUMNS);
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
        "What the memory plan has for each part but the counters.",
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
    use crate::stats::{CommandStats, ERROR_CODE_COUNT_MAX, JournalReport};

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
            command_count: long,
            connection_count: long,
            mesh_batch_count: long,
            received_bytes: long,
            sent_bytes: long,
            recall_count: long,
            buffer_count: long,
            lent_count: long,
            queue_bytes: long,
            client_count: long,
            parked_bytes: long,
            stalled_count: long,
            cpu_ns: long,
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
