//! The text of `INFO` and what `MEMORY` answers, from the reports of all shards.
//!
//! Fields have the names that clients and exporters read in Redis; what this server has not is either absent or has the
//! one value that is true here.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::command::{REDIS_VERSION, by_index};
use crate::journal::shared::Journals;
use crate::latency::{Percentiles, Stage};
use crate::process;
use crate::resp::encode;
use crate::server::Shared;
use crate::stats::Report;

/// The sections that are shown when they are named, or all are asked for.
const SECTIONS_ON_DEMAND: [&str; 4] = ["commandstats", "latencystats", "stages", "shards"];

/// Shown when it is named, and not among all: long, and for programs that compare it with an earlier one.
const SECTION_FOR_PROGRAMS: &str = "stagebuckets";

/// The sections of `INFO` without an argument, in their order.
const DEFAULT_SECTIONS: [&str; 10] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "modules", "errorstats", "cluster"];

/// The text of the named sections; none named: the default ones. `shards` are the reports that `report` adds up.
pub fn render(sections: &[String], shared: &Shared, report: &Report, shards: &[Report]) -> String {
    let mut text = String::new();
    let on_demand = SECTIONS_ON_DEMAND.into_iter().chain([SECTION_FOR_PROGRAMS]);
    let order = DEFAULT_SECTIONS.iter().copied().chain(on_demand).chain(["keyspace"]);
    for name in order.filter(|name| wants(sections, name)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        match name {
            "shards" => self::shards(&mut text, shards),
            name => section(&mut text, name, shared, report),
        }
    }
    text
}

/// Whether a section is among those that were asked for; none named: the default ones.
pub fn wants(sections: &[String], name: &str) -> bool {
    let is_default = DEFAULT_SECTIONS.contains(&name) || name == "keyspace";
    match sections {
        [] => is_default,
        sections => sections.iter().any(|section| match section.as_str() {
            "everything" | "all" => name != SECTION_FOR_PROGRAMS,
            "default" => is_default,
            section => section == name,
        }),
    }
}

fn section(text: &mut String, name: &str, shared: &Shared, report: &Report) {
    match name {
        "server" => server(text, shared),
        "clients" => clients(text, shared, report),
        "memory" => memory(text, shared, report),
        "persistence" => persistence(text, shared, report),
        "stats" => stats(text, shared, report),
        "replication" => replication(text, shared),
        "cpu" => cpu(text),
        "modules" => title(text, "Modules"),
        "errorstats" => error_stats(text, report),
        "cluster" => {
            title(text, "Cluster");
            field(text, "cluster_enabled", u8::from(shared.config.cluster_enabled));
        }
        "commandstats" => command_stats(text, report),
        "latencystats" => latency_stats(text, report),
        "stages" => stages(text, report),
        SECTION_FOR_PROGRAMS => stage_buckets(text, report),
        "keyspace" => keyspace(text, report),
        _ => {}
    }
}

fn title(text: &mut String, name: &str) {
    let _ = write!(text, "# {name}\r\n");
}

fn field(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(text, "{name}:{value}\r\n");
}

fn server(text: &mut String, shared: &Shared) {
    title(text, "Server");
    field(text, "redis_version", REDIS_VERSION);
    field(text, "tallyring_version", env!("CARGO_PKG_VERSION"));
    field(text, "redis_mode", if shared.config.cluster_enabled { "cluster" } else { "standalone" });
    field(text, "os", &shared.os);
    field(text, "arch_bits", usize::BITS);
    field(text, "multiplexing_api", "io_uring");
    field(text, "process_id", std::process::id());
    field(text, "run_id", &shared.run_id);
    field(text, "tcp_port", shared.port());
    field(text, "server_time_usec", shared.unix_us());
    let uptime_s = shared.uptime().as_secs();
    field(text, "uptime_in_seconds", uptime_s);
    field(text, "uptime_in_days", uptime_s / 86_400);
    field(text, "hz", 10);
    field(text, "executable", &shared.executable);
    field(text, "io_threads_active", u8::from(shared.config.threads > 1));
    field(text, "shards", shared.config.threads);
}

fn clients(text: &mut String, shared: &Shared, report: &Report) {
    title(text, "Clients");
    field(text, "connected_clients", report.client_count);
    field(text, "cluster_connections", 0);
    field(text, "maxclients", shared.read_live().1.maxclients);
    field(text, "client_recent_max_input_buffer", report.input_bytes_max);
    field(text, "client_recent_max_output_buffer", 0);
    field(text, "blocked_clients", 0);
    field(text, "stalled_clients", report.stalled_count);
    field(text, "monitor_clients", shared.monitor_count());
    field(text, "tracking_clients", 0);
    field(text, "clients_in_timeout_table", 0);
}

fn memory(text: &mut String, shared: &Shared, report: &Report) {
    title(text, "Memory");
    let (used, peak_bytes) = shared.used_bytes(report);
    let rss_bytes = process::resident_bytes();
    let maxmemory = shared.read_live().1.maxmemory_bytes;
    field(text, "used_memory", used);
    field(text, "used_memory_human", human(used));
    field(text, "used_memory_rss", rss_bytes);
    field(text, "used_memory_rss_human", human(rss_bytes));
    field(text, "used_memory_peak", peak_bytes);
    field(text, "used_memory_peak_human", human(peak_bytes));
    field(text, "used_memory_overhead", used.saturating_sub(report.counter_bytes));
    field(text, "used_memory_startup", used.saturating_sub(report.counter_bytes));
    field(text, "used_memory_dataset", report.counter_bytes);
    field(text, "total_system_memory", shared.system_memory_bytes);
    field(text, "total_system_memory_human", human(shared.system_memory_bytes));
    field(text, "used_memory_ceiling", shared.ceiling_bytes());
    field(text, "fixed_buffers", report.buffer_count);
    field(text, "fixed_buffers_lent", report.lent_count);
    field(text, "fixed_buffers_recalled", report.counts.recall_count);
    field(text, "mem_clients_normal", report.parked_bytes);
    field(text, "parked_bytes", report.parked_bytes);
    field(text, "transaction_queue_bytes", report.queue_bytes);
    field(text, "maxmemory", maxmemory);
    field(text, "maxmemory_human", human(maxmemory));
    field(text, "maxmemory_policy", "noeviction");
    field(text, "mem_fragmentation_ratio", format!("{:.2}", rss_bytes as f64 / used.max(1) as f64));
    field(text, "mem_allocator", "libc");
}

fn persistence(text: &mut String, shared: &Shared, report: &Report) {
    title(text, "Persistence");
    let journals = shared.journals.as_ref();
    let is_on = journals.is_some_and(Journals::is_on);
    let ok = |failed: bool| if failed { "err" } else { "ok" };
    let saving = journals.is_some_and(|journals| journals.saving() != 0);
    let last_save_s = journals.map_or(0, |journals| journals.last_save_s());
    let last_save = ok(journals.is_some_and(|journals| journals.last_save_failed()));
    let bytes = |of: fn(&Journals) -> &AtomicU64| journals.map_or(0, |journals| of(journals).load(Ordering::Relaxed));
    field(text, "loading", 0);
    field(text, "async_loading", 0);
    field(text, "rdb_changes_since_last_save", report.change_count);
    field(text, "rdb_bgsave_in_progress", u8::from(saving));
    field(text, "rdb_last_save_time", last_save_s);
    field(text, "rdb_last_bgsave_status", last_save);
    let seconds = |of: fn(&Journals) -> Option<u64>| journals.and_then(of).map_or(-1, |seconds| seconds as i64);
    field(text, "rdb_last_bgsave_time_sec", seconds(Journals::last_save_duration_s));
    field(text, "rdb_current_bgsave_time_sec", seconds(Journals::save_duration_s));
    field(text, "rdb_saves", journals.map_or(0, Journals::save_count));
    field(text, "aof_enabled", u8::from(is_on));
    field(text, "aof_rewrite_in_progress", u8::from(saving));
    field(text, "aof_rewrite_scheduled", 0);
    field(text, "aof_last_rewrite_time_sec", seconds(Journals::last_save_duration_s));
    field(text, "aof_current_rewrite_time_sec", seconds(Journals::save_duration_s));
    field(text, "aof_last_bgrewrite_status", last_save);
    field(text, "aof_last_write_status", ok(journals.is_some_and(|journals| journals.is_failing())));
    if is_on {
        field(
            text,
            "aof_current_size",
            bytes(|journals| &journals.journal_bytes) + bytes(|journals| &journals.snapshot_bytes),
        );
        field(text, "aof_base_size", bytes(|journals| &journals.snapshot_bytes));
        field(text, "aof_pending_rewrite", 0);
        field(text, "aof_pending_bio_fsync", report.journal.syncing_count);
        field(text, "aof_delayed_fsync", report.journal.delayed_sync_count);
        field(text, "journal_unsynced_bytes", report.journal.unsynced_bytes);
        field(text, "journal_unsynced_usec", report.journal.unsynced_ns / 1_000);
        field(text, "journal_syncs", report.journal.sync_count);
        field(text, "journal_sync_usec", report.journal.sync_ns / 1_000);
        field(text, "journal_last_sync_usec", report.journal.last_sync_ns / 1_000);
        field(text, "journal_unsynced_frames", journals.map_or(0, |journals| journals.progress.unsynced_count()));
    }
}

fn stats(text: &mut String, shared: &Shared, report: &Report) {
    title(text, "Stats");
    field(text, "total_connections_received", report.counts.connection_count);
    field(text, "total_commands_processed", report.counts.command_count);
    field(text, "instantaneous_ops_per_sec", report.commands_per_second);
    field(text, "total_net_input_bytes", report.counts.received_bytes);
    field(text, "total_net_output_bytes", report.counts.sent_bytes);
    let kib = |bytes: u64| format!("{:.2}", bytes as f64 / 1_024.0);
    field(text, "instantaneous_input_kbps", kib(report.received_bytes_per_second));
    field(text, "instantaneous_output_kbps", kib(report.sent_bytes_per_second));
    field(text, "rejected_connections", shared.rejected_counts().iter().sum::<u64>());
    field(text, "expired_keys", report.expired_count);
    field(text, "mesh_batches_sent", report.counts.mesh_batch_count);
    field(text, "monitor_missed_commands", report.counts.monitor_missed_count);
    field(text, "evicted_keys", 0);
    field(text, "evicted_clients", report.evicted_count());
    field(text, "keyspace_hits", report.hit_count);
    field(text, "keyspace_misses", report.miss_count);
    field(text, "pubsub_channels", 0);
    field(text, "pubsub_patterns", 0);
    field(text, "latest_fork_usec", 0);
    field(text, "total_error_replies", report.counts.error_count);
}

fn replication(text: &mut String, shared: &Shared) {
    title(text, "Replication");
    field(text, "role", "master");
    field(text, "connected_slaves", 0);
    field(text, "master_failover_state", "no-failover");
    field(text, "master_replid", &shared.run_id);
    field(text, "master_repl_offset", 0);
    field(text, "second_repl_offset", -1);
    field(text, "repl_backlog_active", 0);
}

fn cpu(text: &mut String) {
    title(text, "CPU");
    let (user_s, system_s) = crate::process::cpu_seconds();
    field(text, "used_cpu_sys", format!("{system_s:.6}"));
    field(text, "used_cpu_user", format!("{user_s:.6}"));
}

fn error_stats(text: &mut String, report: &Report) {
    title(text, "Errorstats");
    for (code, count) in &report.errors {
        field(text, &format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn command_stats(text: &mut String, report: &Report) {
    title(text, "Commandstats");
    for (name, command) in report.called() {
        let total_us = command.total_ns / 1_000;
        let each_us = command.total_ns as f64 / 1_000.0 / command.call_count.max(1) as f64;
        let value = format_args!(
            "calls={},usec={total_us},usec_per_call={each_us:.2},rejected_calls={},failed_calls={}",
            command.call_count, command.rejected_count, command.failed_count
        );
        field(text, &format!("cmdstat_{name}"), value);
    }
}

fn latency_stats(text: &mut String, report: &Report) {
    title(text, "Latencystats");
    let us = |ns: u64| ns as f64 / 1_000.0;
    for (index, latency) in &report.latencies {
        let name = format!("latency_percentiles_usec_{}", by_index(*index).name);
        let (p50_us, p99_us, p999_us) = (us(latency.p50_ns), us(latency.p99_ns), us(latency.p999_ns));
        field(text, &name, format_args!("p50={p50_us:.3},p99={p99_us:.3},p99.9={p999_us:.3}"));
    }
}

fn stages(text: &mut String, report: &Report) {
    title(text, "Stages");
    for (stage, latency) in Stage::ALL.iter().zip(&report.stages) {
        let Percentiles { count, p50_ns, p99_ns, p999_ns, max_ns } = latency;
        let value = format_args!("count={count},p50={p50_ns},p99={p99_ns},p99.9={p999_ns},max={max_ns}");
        field(text, &format!("stage_nsec_{}", stage.name()), value);
    }
}

fn stage_buckets(text: &mut String, report: &Report) {
    title(text, "Stagebuckets");
    for (stage, buckets) in Stage::ALL.iter().zip(&report.stage_buckets) {
        let buckets: Vec<String> = buckets.iter().map(|(bound_ns, count)| format!("{bound_ns}={count}")).collect();
        field(text, &format!("stage_buckets_nsec_{}", stage.name()), buckets.join(","));
    }
}

fn shards(text: &mut String, shards: &[Report]) {
    title(text, "Shards");
    for (number, shard) in shards.iter().enumerate() {
        let (cpu_us, polled_us) = (shard.cpu_ns / 1_000, shard.polled_ns / 1_000);
        let value = format_args!(
            "keys={},bytes={},clients={},stalled={},commands={},ops_per_sec={},cpu_usec={cpu_us},polled_usec={polled_us},input_bytes={},output_bytes={},mesh_batches={},buffers={},lent={},parked_bytes={}",
            shard.key_count,
            shard.counter_bytes,
            shard.client_count,
            shard.stalled_count,
            shard.counts.command_count,
            shard.commands_per_second,
            shard.counts.received_bytes,
            shard.counts.sent_bytes,
            shard.counts.mesh_batch_count,
            shard.buffer_count,
            shard.lent_count,
            shard.parked_bytes,
        );
        field(text, &format!("shard_{number}"), value);
    }
}

fn keyspace(text: &mut String, report: &Report) {
    title(text, "Keyspace");
    if report.key_count > 0 {
        field(text, "db0", format!("keys={},expires={},avg_ttl=0", report.key_count, report.expiring_count));
    }
}

/// `MEMORY STATS`: a map.
pub fn memory_stats(shared: &Shared, report: &Report, resp3: bool, out: &mut Vec<u8>) {
    let (used, peak_bytes) = shared.used_bytes(report);
    let rss_bytes = process::resident_bytes();
    let keys = report.key_count;
    let per_key_bytes = report.counter_bytes.checked_div(keys).unwrap_or(0);
    let mut rows: Vec<(&str, u64)> = vec![
        ("peak.allocated", peak_bytes),
        ("total.allocated", used),
        ("startup.allocated", used.saturating_sub(report.counter_bytes)),
        ("keys.count", keys),
        ("keys.bytes-per-key", per_key_bytes),
        ("dataset.bytes", report.counter_bytes),
        ("transactions.queued", report.queue_bytes),
        ("clients.normal", report.parked_bytes),
        ("fixed-buffers.count", report.buffer_count),
        ("fixed-buffers.lent", report.lent_count),
        ("resident", rss_bytes),
    ];
    rows.extend(shared.plan_parts());
    encode::map(out, rows.len(), resp3);
    for (name, bytes) in rows {
        encode::bulk(out, name.as_bytes());
        encode::integer(out, bytes as i64);
    }
}

/// `MEMORY DOCTOR`: what an operator should know.
pub fn memory_doctor(shared: &Shared, report: &Report) -> String {
    let maxmemory = shared.read_live().1.maxmemory_bytes;
    let mut text = String::new();
    if maxmemory > 0 && report.counter_bytes * 10 > maxmemory * 9 {
        let _ = writeln!(
            text,
            "The counters take {} of {} ('maxmemory'): new ones will soon be refused. Raise it with CONFIG SET maxmemory, or let counters expire.",
            human(report.counter_bytes),
            human(maxmemory)
        );
    }
    if report.lent_count * 10 > report.buffer_count * 9 {
        let _ = writeln!(
            text,
            "{} of {} fixed buffers are lent: clients send slowly or do not read. CLIENT LIST shows which.",
            report.lent_count, report.buffer_count
        );
    }
    if text.is_empty() {
        text.push_str("Memory is as it should be: everything but the counters was reserved at start-up.\n");
    }
    text
}

fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M", "G"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes}B") } else { format!("{value:.2}{unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.2}T")
}
