//! The metrics that are one number each: of each shard, of each shard's journal, and of all journals together.
//!
//! A metric is a row here and nothing else; the page writes what it finds.

use std::sync::atomic::Ordering;

use super::text::{Kind, seconds};
use crate::journal::shared::Journals;
use crate::stats::Report;

/// A number that each `T` has: the name of its metric, its kind, what it is, and where it stands.
pub(super) type Column<T> = (&'static str, Kind, &'static str, fn(&T) -> f64);

/// What each shard has one number of.
pub(super) const BY_SHARD: [Column<Report>; 20] = [
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
        report.counts.command_count as f64
    }),
    ("tallyring_shard_cpu_seconds_total", Kind::Counter, "Processor time of a shard's thread.", |report| {
        seconds(report.cpu_ns)
    }),
    (
        "tallyring_shard_polled_seconds_total",
        Kind::Counter,
        "Of it, what was spent polling while there was nothing to do (--busy-poll).",
        |report| seconds(report.polled_ns),
    ),
    ("tallyring_clients", Kind::Gauge, "Connections.", |report| report.client_count as f64),
    ("tallyring_stalled_clients", Kind::Gauge, "Connections with an unfinished request or unread replies.", |report| {
        report.stalled_count as f64
    }),
    ("tallyring_connections_total", Kind::Counter, "Connections that were let in.", |report| {
        report.counts.connection_count as f64
    }),
    ("tallyring_received_bytes_total", Kind::Counter, "Bytes received from clients.", |report| {
        report.counts.received_bytes as f64
    }),
    ("tallyring_sent_bytes_total", Kind::Counter, "Bytes sent to clients.", |report| report.counts.sent_bytes as f64),
    ("tallyring_mesh_batches_total", Kind::Counter, "Batches of operations sent to other shards.", |report| {
        report.counts.mesh_batch_count as f64
    }),
    ("tallyring_buffers", Kind::Gauge, "Fixed buffers.", |report| report.buffer_count as f64),
    ("tallyring_buffers_lent", Kind::Gauge, "Fixed buffers that connections hold.", |report| report.lent_count as f64),
    (
        "tallyring_buffers_recalled_total",
        Kind::Counter,
        "Fixed buffers taken back from clients that stall.",
        |report| report.counts.recall_count as f64,
    ),
    ("tallyring_parked_bytes", Kind::Gauge, "What stalled clients have left over.", |report| {
        report.parked_bytes as f64
    }),
    ("tallyring_transaction_queue_bytes", Kind::Gauge, "Commands that transactions have queued.", |report| {
        report.queue_bytes as f64
    }),
];

/// The same, where there are journals.
pub(super) const JOURNAL_BY_SHARD: [Column<Report>; 6] = [
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
pub(super) const DURABILITY: [Column<Durability>; 8] = [
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

/// What the journals have in common.
#[derive(Debug)]
pub(super) struct Durability {
    pub(super) journal_bytes: u64,
    pub(super) snapshot_bytes: u64,
    pub(super) failing: bool,
    pub(super) saving: bool,
    pub(super) save_count: u64,
    pub(super) last_save_failed: bool,
    /// Unix time.
    pub(super) last_save_s: i64,
    /// 0 before the first.
    pub(super) last_save_duration_s: u64,
}

impl Durability {
    pub(super) fn of(journals: &Journals) -> Durability {
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
