//! What a shard counts and times: commands, errors, bytes, latencies, slow commands.
//!
//! One set per shard, owned by its thread; merged only when somebody asks. A batch costs one record a kind of command.
//!
//! Invariant: its memory is bounded by the command table and the slow log's limits.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::command::{self, SPEC_COUNT};
use crate::config::Config;
use crate::connection::Connection;
use crate::limits::SLOWLOG_COUNT_MAX;
use crate::session::Calls;

/// Bytes of one histogram: 1,024 counts of 8 bytes for each doubling from 2,048 ns up to a minute, and as many below.
pub const HISTOGRAM_BYTES: usize = 27 * 1_024 * 8;

/// Longest key that the slow log shows, as in Redis.
pub const SLOW_KEY_BYTES_MAX: usize = 128;

/// Longest latency that is told apart, one minute.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// How the commands of one kind fared.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// How many were executed.
    pub call_count: u64,
    /// From the receive that completed them to their replies handed to the kernel, added up, in nanoseconds.
    pub total_ns: u64,
    /// The same, each; there once the command has been called.
    pub latency_ns: Option<Box<Histogram<u64>>>,
}

/// One entry of the slow log.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Unix time in milliseconds.
    pub unix_ms: i64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The command's index in the table.
    pub command: u16,
    /// The first key, shortened to [`SLOW_KEY_BYTES_MAX`]; empty where there was none.
    pub key: Box<[u8]>,
    /// The client.
    pub client_id: u64,
    /// Its address.
    pub address: String,
    /// Its name.
    pub client_name: String,
}

/// See the module.
#[derive(Debug)]
pub struct Stats {
    commands: Vec<CommandStats>,
    /// Commands executed.
    pub command_count: u64,
    /// Error replies.
    pub error_count: u64,
    /// Connections accepted.
    pub connection_count: u64,
    /// Batches of operations sent to other shards.
    pub mesh_batch_count: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Buffers that were taken back from clients that did not move.
    pub recall_count: u64,
    rate: Rate,
    slow: VecDeque<SlowEntry>,
    slow_threshold_us: i64,
    slow_count_max: usize,
}

/// Commands a second, over the last sixteen samples.
#[derive(Debug, Default)]
struct Rate {
    samples: [u64; 16],
    next: usize,
    last_count: u64,
    last_ns: u64,
}

/// What one shard tells about itself.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Counters.
    pub key_count: u64,
    /// Counters that expire.
    pub expiring_count: u64,
    /// Bytes of the tables.
    pub counter_bytes: u64,
    /// Reads that found their key.
    pub hit_count: u64,
    /// Reads that did not.
    pub miss_count: u64,
    /// Counters that expired.
    pub expired_count: u64,
    /// See [`Stats`].
    pub command_count: u64,
    /// See [`Stats`].
    pub error_count: u64,
    /// See [`Stats`].
    pub connection_count: u64,
    /// See [`Stats`].
    pub mesh_batch_count: u64,
    /// See [`Stats`].
    pub received_bytes: u64,
    /// See [`Stats`].
    pub sent_bytes: u64,
    /// See [`Stats`].
    pub recall_count: u64,
    /// Commands a second.
    pub commands_per_second: u64,
    /// Fixed buffers.
    pub buffer_count: u64,
    /// Fixed buffers that are lent.
    pub lent_count: u64,
    /// Bytes that transactions have queued.
    pub queue_bytes: u64,
    /// Connections.
    pub client_count: u64,
    /// Bytes that waiting connections have left over.
    pub parked_bytes: u64,
    /// Clients that had to go for others.
    pub evicted_count: u64,
    /// Longest unparsed input of a client, in bytes.
    pub input_bytes_max: u64,
    /// Clients that a pause or another shard keeps waiting.
    pub watching_count: u64,
    /// By the command's index.
    pub commands: Vec<CommandStats>,
}

impl Stats {
    /// Everything at zero.
    pub fn new(config: &Config) -> Stats {
        Stats {
            commands: vec![CommandStats::default(); SPEC_COUNT],
            command_count: 0,
            error_count: 0,
            connection_count: 0,
            mesh_batch_count: 0,
            received_bytes: 0,
            sent_bytes: 0,
            recall_count: 0,
            rate: Rate::default(),
            slow: VecDeque::new(),
            slow_threshold_us: config.slowlog_log_slower_than_us,
            slow_count_max: config.slowlog_max_len.min(SLOWLOG_COUNT_MAX),
        }
    }

    /// Commands were executed.
    pub fn count(&mut self, calls: Calls) {
        self.command_count += u64::from(calls.count);
        self.commands[usize::from(calls.command)].call_count += u64::from(calls.count);
    }

    /// Replies were sent, so long after their requests were received.
    pub fn record(&mut self, calls: Calls, duration_ns: u64) {
        let command = &mut self.commands[usize::from(calls.command)];
        command.total_ns += duration_ns * u64::from(calls.count);
        let histogram = command.latency_ns.get_or_insert_with(|| Box::new(new_histogram()));
        histogram.saturating_record_n(duration_ns, u64::from(calls.count));
    }

    /// Whether what took so long enters the slow log.
    #[inline]
    pub fn is_slow(&self, duration_ns: u64) -> bool {
        self.slow_threshold_us >= 0 && duration_ns / 1_000 >= self.slow_threshold_us as u64 && self.slow_count_max > 0
    }

    /// Put a command into the slow log. `key` is the first that it named, if it named one.
    pub fn note_slow(&mut self, connection: &Connection, command: u16, key: &[u8], unix_ms: i64, duration_ns: u64) {
        while self.slow.len() >= self.slow_count_max {
            self.slow.pop_back();
        }
        let session = connection.session.borrow();
        self.slow.push_front(SlowEntry {
            unix_ms,
            duration_us: duration_ns / 1_000,
            command,
            key: key[..key.len().min(SLOW_KEY_BYTES_MAX)].into(),
            client_id: session.client.id,
            address: connection.address(),
            client_name: session.client.name.clone(),
        });
    }

    /// Change what the slow log keeps.
    pub fn set_slow_limits(&mut self, threshold_us: i64, count_max: usize) {
        self.slow_threshold_us = threshold_us;
        self.slow_count_max = count_max.min(SLOWLOG_COUNT_MAX);
        self.slow.truncate(self.slow_count_max);
    }

    /// The newest entries of the slow log, the newest first.
    pub fn slow_entries(&self, count: usize) -> Vec<SlowEntry> {
        self.slow.iter().take(count).cloned().collect()
    }

    /// Empty the slow log.
    pub fn reset_slow(&mut self) {
        self.slow.clear();
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset(&mut self) {
        self.commands.iter_mut().for_each(|command| *command = CommandStats::default());
        self.command_count = 0;
        self.error_count = 0;
        self.connection_count = 0;
        self.mesh_batch_count = 0;
        self.received_bytes = 0;
        self.sent_bytes = 0;
        self.recall_count = 0;
        self.rate = Rate::default();
    }

    /// Sample the rate; about ten times a second.
    pub fn sample(&mut self, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.rate.last_ns).max(1);
        let count = self.command_count.saturating_sub(self.rate.last_count);
        self.rate.samples[self.rate.next] = count * 1_000_000_000 / elapsed_ns;
        self.rate.next = (self.rate.next + 1) % self.rate.samples.len();
        self.rate.last_ns = now_ns;
        self.rate.last_count = self.command_count;
    }

    /// What is known here; the rest is filled in by the shard.
    pub fn report(&self) -> Report {
        Report {
            command_count: self.command_count,
            error_count: self.error_count,
            connection_count: self.connection_count,
            mesh_batch_count: self.mesh_batch_count,
            received_bytes: self.received_bytes,
            sent_bytes: self.sent_bytes,
            recall_count: self.recall_count,
            commands_per_second: self.rate.samples.iter().sum::<u64>() / self.rate.samples.len() as u64,
            commands: self.commands.clone(),
            ..Report::default()
        }
    }
}

impl Report {
    /// Add another shard's.
    pub fn add(&mut self, other: &Report) {
        self.key_count += other.key_count;
        self.expiring_count += other.expiring_count;
        self.counter_bytes += other.counter_bytes;
        self.hit_count += other.hit_count;
        self.miss_count += other.miss_count;
        self.expired_count += other.expired_count;
        self.command_count += other.command_count;
        self.error_count += other.error_count;
        self.connection_count += other.connection_count;
        self.mesh_batch_count += other.mesh_batch_count;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.recall_count += other.recall_count;
        self.commands_per_second += other.commands_per_second;
        self.buffer_count += other.buffer_count;
        self.lent_count += other.lent_count;
        self.queue_bytes += other.queue_bytes;
        self.client_count += other.client_count;

        self.parked_bytes += other.parked_bytes;
        self.evicted_count += other.evicted_count;
        self.input_bytes_max = self.input_bytes_max.max(other.input_bytes_max);
        self.watching_count += other.watching_count;
        self.commands.resize(SPEC_COUNT, CommandStats::default());
        for (sum, command) in self.commands.iter_mut().zip(&other.commands) {
            sum.call_count += command.call_count;
            sum.total_ns += command.total_ns;
            let Some(latency_ns) = &command.latency_ns else { continue };
            let merged = sum.latency_ns.get_or_insert_with(|| Box::new(new_histogram()));
            merged.add(latency_ns.as_ref()).expect("all histograms have the same bounds");
        }
    }

    /// The commands that were called, each with its name.
    pub fn called(&self) -> impl Iterator<Item = (&'static str, &CommandStats)> {
        self.commands
            .iter()
            .enumerate()
            .filter(|(_, command)| command.call_count > 0)
            .map(|(index, command)| (command::by_index(index).name, command))
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are sound")
}
