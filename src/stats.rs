//! What a shard counts: commands, errors, bytes, slow commands. Beside it, what they took: [`Latency`].
//!
//! One set per shard, owned by its thread; merged only when somebody asks. A batch costs one addition a kind of command.
//!
//! Invariant: its memory is bounded by the command table, the slow log's limits and [`ERROR_CODE_COUNT_MAX`].

use std::collections::{BTreeMap, VecDeque};

use crate::command::{self, SPEC_COUNT};
use crate::config::Config;
use crate::connection::Connection;
use crate::latency::{Event, Latency, Percentiles, STAGE_COUNT, Stage};
use crate::limits::SLOWLOG_COUNT_MAX;
use crate::server::Live;
use crate::session::{Calls, ErrorReply, Window, code};
use crate::shard::Eviction;

/// Error codes (`ERR`, `OOM` …) that are counted each; others are only in the sum.
pub const ERROR_CODE_COUNT_MAX: usize = 128;

/// Longest key that the slow log shows, as in Redis.
pub const SLOW_KEY_BYTES_MAX: usize = 128;

/// Longest code of an error reply.
const ERROR_CODE_BYTES_MAX: usize = 32;

/// How the commands of one kind fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandStats {
    /// How many were executed.
    pub call_count: u64,
    /// From the receive that completed them until the kernel had taken their replies, added up, in nanoseconds.
    pub total_ns: u64,
    /// How many were not executed: a wrong number of arguments, no password, not in a transaction.
    pub rejected_count: u64,
    /// How many were executed and answered with an error. An error at its place in an array is none.
    pub failed_count: u64,
}

/// One entry of the slow log.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Unique over the server's life, growing from 0.
    pub id: u64,
    /// Unix time in milliseconds.
    pub unix_ms: i64,
    /// How long its slow stage took, in microseconds.
    pub duration_us: u64,
    /// Which stage that was.
    pub stage: Stage,
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

/// What a shard counts, beside what it counts of each command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
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
    /// Commands that monitors were not shown, since they did not read, or as there were too many.
    pub monitor_missed_count: u64,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.command_count += other.command_count;
        self.error_count += other.error_count;
        self.connection_count += other.connection_count;
        self.mesh_batch_count += other.mesh_batch_count;
        self.received_bytes += other.received_bytes;
        self.sent_bytes += other.sent_bytes;
        self.recall_count += other.recall_count;
        self.monitor_missed_count += other.monitor_missed_count;
    }
}

/// See the module.
#[derive(Debug)]
pub struct Stats {
    commands: Vec<CommandStats>,
    /// By code.
    errors: BTreeMap<Box<str>, u64>,
    /// What commands took.
    pub latency: Latency,
    /// Counts since the start, or since they were reset.
    pub counts: Counts,
    rates: Rates,
    slow: VecDeque<SlowEntry>,
    /// `u64::MAX`: nothing is slow.
    slow_threshold_ns: u64,
    slow_count_max: usize,
}

/// What is counted in a second, over the last sixteen samples.
#[derive(Debug, Default)]
struct Rate {
    samples: [u64; 16],
    next: usize,
    last_count: u64,
}

impl Rate {
    fn sample(&mut self, count: u64, elapsed_ns: u64) {
        self.samples[self.next] = count.saturating_sub(self.last_count) * 1_000_000_000 / elapsed_ns;
        self.next = (self.next + 1) % self.samples.len();
        self.last_count = count;
    }

    fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

/// The rates of the counts that are told with one.
#[derive(Debug, Default)]
struct Rates {
    commands: Rate,
    received_bytes: Rate,
    sent_bytes: Rate,
    last_ns: u64,
}

/// How far a shard's journal is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalReport {
    /// Bytes that are not on the disk for certain.
    pub unsynced_bytes: u64,
    /// How long ago the oldest change was that is not on the disk for certain, in nanoseconds; of all shards, the oldest.
    pub unsynced_ns: u64,
    /// Syncs that are under way.
    pub syncing_count: u64,
    /// Syncs, and under `always` writes, which are syncs too.
    pub sync_count: u64,
    /// What they took, added up, in nanoseconds.
    pub sync_ns: u64,
    /// What the last one took; of all shards, the longest.
    pub last_sync_ns: u64,
    /// Those that took a second or longer.
    pub delayed_sync_count: u64,
}

impl JournalReport {
    fn add(&mut self, other: JournalReport) {
        self.unsynced_bytes += other.unsynced_bytes;
        self.unsynced_ns = self.unsynced_ns.max(other.unsynced_ns);
        self.syncing_count += other.syncing_count;
        self.sync_count += other.sync_count;
        self.sync_ns += other.sync_ns;
        self.last_sync_ns = self.last_sync_ns.max(other.last_sync_ns);
        self.delayed_sync_count += other.delayed_sync_count;
    }
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
    /// Changes that no snapshot has.
    pub change_count: u64,
    /// The journal.
    pub journal: JournalReport,
    /// Counts since the start, or since they were reset.
    pub counts: Counts,
    /// Commands a second.
    pub commands_per_second: u64,
    /// Bytes received a second.
    pub received_bytes_per_second: u64,
    /// Bytes sent a second.
    pub sent_bytes_per_second: u64,
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
    /// Connections that have left something over: a request that is not finished, replies that are not read.
    pub stalled_count: u64,
    /// Clients that had to go for others, by the number of the [`Eviction`].
    pub evicted_counts: [u64; Eviction::ALL.len()],
    /// Longest unparsed input of a client, in bytes.
    pub input_bytes_max: u64,
    /// Processor time of the threads, in nanoseconds.
    pub cpu_ns: u64,
    /// Of it, what was spent polling while there was nothing to do (`--busy-poll`).
    pub polled_ns: u64,
    /// By the command's index.
    pub commands: Vec<CommandStats>,
    /// Error replies by their code.
    pub errors: BTreeMap<Box<str>, u64>,
    /// By the command's index, where somebody asked for it: the whole time. Filled in by who asks.
    pub latencies: Vec<(usize, Percentiles)>,
    /// The same by stage.
    pub stages: [Percentiles; STAGE_COUNT],
    /// By stage, where somebody asked for it: how many took at most so many nanoseconds, for each bound that adds some.
    pub stage_buckets: [Vec<(u64, u64)>; STAGE_COUNT],
}

impl Stats {
    /// Everything at zero.
    pub fn new(config: &Config) -> Stats {
        Stats {
            commands: vec![CommandStats::default(); SPEC_COUNT],
            errors: BTreeMap::new(),
            latency: Latency::default(),
            counts: Counts::default(),
            rates: Rates::default(),
            slow: VecDeque::new(),
            slow_threshold_ns: slow_threshold_ns(config.slowlog_log_slower_than_us),
            slow_count_max: config.slowlog_max_len.min(SLOWLOG_COUNT_MAX),
        }
    }

    /// Commands were executed.
    #[inline]
    pub fn count(&mut self, calls: Calls) {
        self.counts.command_count += u64::from(calls.count);
        self.commands[usize::from(calls.command)].call_count += u64::from(calls.count);
    }

    /// A task was carried out, with this reply.
    pub fn count_task(&mut self, command: u16, reply: &[u8]) {
        self.count(Calls { command, count: 1 });
        if let Some(text) = reply.strip_prefix(b"-") {
            self.count_error(code(text), Some(command));
        }
    }

    /// A window was executed and encoded: its calls and its errors.
    #[inline]
    pub fn count_window(&mut self, window: &Window) {
        window.calls().for_each(|calls| self.count(calls));
        if window.has_errors() {
            self.count_errors(window);
        }
    }

    #[cold]
    fn count_errors(&mut self, window: &Window) {
        for calls in window.rejected() {
            self.commands[usize::from(calls.command)].rejected_count += u64::from(calls.count);
        }
        for ErrorReply { code, failed } in window.errors() {
            self.count_error(code, failed);
        }
    }

    /// An error was replied: its code, and the command that failed, if one was executed.
    #[cold]
    pub fn count_error(&mut self, code: &[u8], failed: Option<u16>) {
        self.counts.error_count += 1;
        if let Some(command) = failed {
            self.commands[usize::from(command)].failed_count += 1;
        }
        let Some(code) = std::str::from_utf8(code).ok().filter(|code| code.len() <= ERROR_CODE_BYTES_MAX) else {
            return;
        };
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODE_COUNT_MAX {
            self.errors.insert(code.into(), 1);
        }
    }

    /// Replies were sent, so long after their requests were received.
    #[inline]
    pub fn record(&mut self, calls: Calls, duration_ns: u64) {
        self.commands[usize::from(calls.command)].total_ns += duration_ns * u64::from(calls.count);
        self.latency.record_command(calls, duration_ns);
    }

    /// The first of the stages that took so long that the slow log has it. Executing comes first: it is what Redis logs.
    #[inline]
    pub fn slow_stage(&self, queue_ns: u64, execute_ns: u64) -> Option<(Stage, u64)> {
        if execute_ns >= self.slow_threshold_ns {
            Some((Stage::Execute, execute_ns))
        } else if queue_ns >= self.slow_threshold_ns {
            Some((Stage::Queue, queue_ns))
        } else {
            None
        }
    }

    /// Whether a send took so long that the slow log has it. With a threshold of 0 every command is in it already.
    #[inline]
    pub fn is_slow_send(&self, send_ns: u64) -> bool {
        send_ns >= self.slow_threshold_ns && self.slow_threshold_ns > 0
    }

    /// Put a command into the slow log. `key` is the first that it named, if it named one.
    pub fn note_slow(
        &mut self,
        connection: &Connection,
        command: u16,
        key: &[u8],
        unix_ms: i64,
        (stage, duration_ns): (Stage, u64),
    ) {
        if self.slow_count_max == 0 {
            return;
        }
        self.slow.truncate(self.slow_count_max - 1);
        let session = connection.session.borrow();
        self.slow.push_front(SlowEntry {
            id: connection.shard.shared.next_slow_id(),
            unix_ms,
            duration_us: duration_ns / 1_000,
            stage,
            command,
            key: key[..key.len().min(SLOW_KEY_BYTES_MAX)].into(),
            client_id: session.client.id,
            address: connection.address(),
            client_name: session.client.name.clone(),
        });
    }

    /// Follow the settings.
    pub fn follow(&mut self, live: &Live) {
        self.slow_threshold_ns = slow_threshold_ns(live.slowlog_slower_than_us);
        self.slow_count_max = live.slowlog_count_max.min(SLOWLOG_COUNT_MAX);
        self.slow.truncate(self.slow_count_max);
        self.latency.monitor.set_threshold_ms(live.latency_monitor_threshold_ms);
    }

    /// Something took so long: an event, if the monitor has it so.
    #[inline]
    pub fn note_event(&mut self, event: Event, unix_ms: i64, duration_ns: u64) {
        if self.latency.monitor.is_spike(duration_ns) {
            self.latency.monitor.note(event, unix_ms, duration_ns);
        }
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
        self.commands.fill(CommandStats::default());
        self.errors.clear();
        self.latency.reset();
        self.counts = Counts::default();
        self.rates = Rates::default();
    }

    /// Sample the rates; about ten times a second.
    pub fn sample(&mut self, now_ns: u64) {
        let Rates { commands, received_bytes, sent_bytes, last_ns } = &mut self.rates;
        let elapsed_ns = now_ns.saturating_sub(std::mem::replace(last_ns, now_ns)).max(1);
        commands.sample(self.counts.command_count, elapsed_ns);
        received_bytes.sample(self.counts.received_bytes, elapsed_ns);
        sent_bytes.sample(self.counts.sent_bytes, elapsed_ns);
    }

    /// What is known here; the rest is filled in by the shard.
    pub fn report(&self) -> Report {
        Report {
            counts: self.counts,
            commands_per_second: self.rates.commands.per_second(),
            received_bytes_per_second: self.rates.received_bytes.per_second(),
            sent_bytes_per_second: self.rates.sent_bytes.per_second(),
            commands: self.commands.clone(),
            errors: self.errors.clone(),
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
        self.change_count += other.change_count;
        self.journal.add(other.journal);
        self.counts.add(other.counts);
        self.commands_per_second += other.commands_per_second;
        self.received_bytes_per_second += other.received_bytes_per_second;
        self.sent_bytes_per_second += other.sent_bytes_per_second;
        self.buffer_count += other.buffer_count;
        self.lent_count += other.lent_count;
        self.queue_bytes += other.queue_bytes;
        self.client_count += other.client_count;
        self.parked_bytes += other.parked_bytes;
        self.stalled_count += other.stalled_count;
        for (sum, count) in self.evicted_counts.iter_mut().zip(other.evicted_counts) {
            *sum += count;
        }
        self.input_bytes_max = self.input_bytes_max.max(other.input_bytes_max);
        self.cpu_ns += other.cpu_ns;
        self.polled_ns += other.polled_ns;
        self.commands.resize(SPEC_COUNT, CommandStats::default());
        for (sum, command) in self.commands.iter_mut().zip(&other.commands) {
            sum.call_count += command.call_count;
            sum.total_ns += command.total_ns;
            sum.rejected_count += command.rejected_count;
            sum.failed_count += command.failed_count;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// Clients that had to go for others, whatever the reason.
    pub fn evicted_count(&self) -> u64 {
        self.evicted_counts.iter().sum()
    }

    /// The commands that somebody has tried to call, each with its name.
    pub fn called(&self) -> impl Iterator<Item = (&'static str, &CommandStats)> {
        self.commands
            .iter()
            .enumerate()
            .filter(|(_, command)| command.call_count + command.rejected_count > 0)
            .map(|(index, command)| (command::by_index(index).name, command))
    }
}

/// The slow log's threshold as it is compared; a negative one is never reached.
fn slow_threshold_ns(threshold_us: i64) -> u64 {
    u64::try_from(threshold_us).map_or(u64::MAX, |threshold_us| threshold_us.saturating_mul(1_000))
}
