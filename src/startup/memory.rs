//! The ceiling of the server's memory, as a list of parts that is printed when the server starts.
//!
//! Invariant: every part is a count times a size from [`limits`](crate::limits) or from the configuration, so the sum
//! is known before the first client comes. It counts what is reserved, not what is used.

use std::fmt;

use super::StartError;
use crate::config::{ByteCount, Config};
use crate::host::Host;
use crate::journal::changes::Recorder;
use crate::latency::{COMMAND_HISTOGRAM_BYTES, COMMAND_HISTOGRAM_COUNT, STAGE_HISTOGRAM_BYTES, STAGE_HISTOGRAM_COUNT};
use crate::limits::{
    self, CONNECTION_BYTES, FIXED_BUFFER_BYTES, LARGE_REPLY_BYTES_MAX, LARGE_REPLY_COUNT_MAX, MEDIUM_REPLY_BYTES_MAX,
    MEDIUM_REPLY_COUNT_MAX, MONITOR_BYTES_MAX, QUEUES_BYTES_MAX, SCRAPE_PAGE_BYTES_MAX, SCRAPER_COUNT_MAX,
    SHORT_OUTPUT_BYTES, SLOT_COUNT, SNAPSHOT_PART_BYTES_MAX, WATCHED_BYTES_MAX, WINDOW_COUNT_MAX,
};
use crate::mesh::{self, Batch};
use crate::session::Window;

/// The task of a worker, with its own memory for replies.
const WORKER_BYTES: usize = 2_560 + SHORT_OUTPUT_BYTES;

/// The header of one slot's table.
const SLOT_TABLE_BYTES: usize = 64;

/// An entry of the slow log.
const SLOW_ENTRY_BYTES: usize = 512;

/// The part of the plan that is for [`longer_counters_bytes`].
pub const LONGER_COUNTERS: &str = "counters that get longer";

/// How far beyond `maxmemory` counters may get longer: an eighth of it. They still count where new ones are refused, and
/// one whose value or expiry outgrows its cell takes a longer one.
pub const fn longer_counters_bytes(maxmemory_bytes: u64) -> u64 {
    maxmemory_bytes / 8
}

/// The greatest `maxmemory` that fits a room together with its eighth.
const fn maxmemory_within(room_bytes: u64) -> u64 {
    room_bytes - room_bytes.div_ceil(9)
}

/// One part: `count` pieces of at most `each_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is, in the plural.
    pub name: &'static str,
    /// How many.
    pub count: u64,
    /// How large one is at most.
    pub each_bytes: u64,
}

impl Part {
    /// All pieces together.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.each_bytes)
    }
}

/// What the server takes at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Everything but the counters.
    pub parts: Vec<Part>,
    /// The counters: `--maxmemory`, 0 for no limit.
    pub maxmemory_bytes: u64,
}

impl MemoryPlan {
    /// The plan of a configuration.
    pub fn new(config: &Config) -> MemoryPlan {
        let shards = config.threads;
        let part =
            |name, count: usize, each_bytes: usize| Part { name, count: count as u64, each_bytes: each_bytes as u64 };
        let buffers = shards * config.fixed_buffer_count;
        let on = config.appendonly;
        // Each scraper may still be taking an old one; beside those the newest, and one that is being written.
        let metrics_pages = if config.metrics_port == 0 { 0 } else { SCRAPER_COUNT_MAX + 2 };
        let batches = shards * (mesh::batch_count(shards) + shards - 1);
        MemoryPlan {
            parts: vec![
                part("fixed buffers", buffers, FIXED_BUFFER_BYTES),
                part("workers", buffers, WORKER_BYTES),
                part("windows", shards * WINDOW_COUNT_MAX, Window::BYTES),
                part("mesh batches", batches, Batch::BYTES),
                part("mesh queues", usize::from(shards > 1), mesh::queue_bytes(shards)),
                part("slot tables", SLOT_COUNT, SLOT_TABLE_BYTES),
                part("stage histograms", shards * STAGE_HISTOGRAM_COUNT, STAGE_HISTOGRAM_BYTES),
                part("command histograms", shards * COMMAND_HISTOGRAM_COUNT, COMMAND_HISTOGRAM_BYTES),
                part("slow logs", shards * config.slowlog_max_len, SLOW_ENTRY_BYTES),
                // The journal can be switched on at any time: a ceiling has room for it.
                part(if on { "journal buffers" } else { "journal buffers, once it is on" }, shards, Recorder::BYTES),
                part(
                    if on { "snapshot parts" } else { "snapshot parts, once the journal is on" },
                    shards,
                    SNAPSHOT_PART_BYTES_MAX,
                ),
                part("connections", config.maxclients as usize, CONNECTION_BYTES),
                part("parked stores", 1, config.maxmemory_clients_bytes as usize),
                part("transaction queues", shards, QUEUES_BYTES_MAX),
                part("watched keys", shards, WATCHED_BYTES_MAX),
                part("metrics pages", metrics_pages, SCRAPE_PAGE_BYTES_MAX),
                part("monitors", limits::monitor_buffer_count(shards), MONITOR_BYTES_MAX),
                part("large replies", shards * LARGE_REPLY_COUNT_MAX, 2 * LARGE_REPLY_BYTES_MAX),
                part("medium replies", shards * MEDIUM_REPLY_COUNT_MAX, 2 * MEDIUM_REPLY_BYTES_MAX),
            ],
            maxmemory_bytes: config.maxmemory_bytes,
        }
    }

    /// Everything but the counters, in bytes.
    pub fn fixed_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes()))
    }

    /// The ceiling in bytes; `None` when the counters have no limit.
    pub fn ceiling_bytes(&self) -> Option<u64> {
        self.ceiling_bytes_with(self.maxmemory_bytes)
    }

    /// The same with another `maxmemory`: it can change while the server runs.
    pub fn ceiling_bytes_with(&self, maxmemory_bytes: u64) -> Option<u64> {
        let counters_bytes = maxmemory_bytes.saturating_add(longer_counters_bytes(maxmemory_bytes));
        (maxmemory_bytes != 0).then(|| self.fixed_bytes().saturating_add(counters_bytes))
    }

    /// The parts and the ceiling, a line each.
    pub fn lines(&self) -> Vec<String> {
        let parts = self.parts.iter().filter(|part| part.count > 0);
        let mut lines: Vec<String> = parts
            .map(|part| {
                let (each, all) = (ByteCount(part.each_bytes), ByteCount(part.bytes()));
                format!("{}: {} x {each} = {all}", part.name, part.count)
            })
            .collect();
        match self.ceiling_bytes() {
            Some(bytes) => {
                let longer_bytes = longer_counters_bytes(self.maxmemory_bytes);
                lines.push(format!("counters: {} (maxmemory)", ByteCount(self.maxmemory_bytes)));
                lines.push(format!("{LONGER_COUNTERS}: {} (an eighth of maxmemory)", ByteCount(longer_bytes)));
                lines.push(format!("ceiling: {}", ByteCount(bytes)));
            }
            None => {
                lines.push("counters: no limit (maxmemory 0)".to_owned());
                lines.push(format!("ceiling: none; {} without the counters", ByteCount(self.fixed_bytes())));
            }
        }
        lines
    }

    /// Whether the machine can hold it.
    pub fn check(&self, host: &Host) -> Result<(), StartError> {
        let (fixed_bytes, memory_bytes) = (self.fixed_bytes(), host.memory_bytes());
        if fixed_bytes >= memory_bytes {
            return Err(StartError::MemoryTooSmall { fixed_bytes, memory_bytes });
        }
        if self.ceiling_bytes().is_some_and(|bytes| bytes > memory_bytes) {
            let maxmemory_bytes = self.maxmemory_bytes;
            let fitting_bytes = maxmemory_within(memory_bytes - fixed_bytes);
            return Err(StartError::MaxmemoryTooHigh { maxmemory_bytes, fixed_bytes, memory_bytes, fitting_bytes });
        }
        Ok(())
    }

    /// What the counters get when nobody says: three quarters of the memory, or if that is less what fits, with its
    /// eighth, beside the fixed parts.
    pub fn default_maxmemory_bytes(&self, host: &Host) -> u64 {
        let memory_bytes = host.memory_bytes();
        let left_bytes = memory_bytes.saturating_sub(self.fixed_bytes());
        (memory_bytes - memory_bytes / 4).min(maxmemory_within(left_bytes))
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}
