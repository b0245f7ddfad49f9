//! The commands that take more than their session: other shards, the settings, the clock, the other clients.
//!
//! Each runs after everything before it in its pipeline has been answered, and appends exactly one reply.

mod appendonly;
mod clients;
mod cluster;
mod keys;
mod latency;
mod monitor;
mod save;
mod settings;
mod transaction;

use crate::command::{Extent, Task, encode_described};
use crate::connection::Connection;
use crate::info;
use crate::limits::{LARGE_REPLY_BYTES_MAX, MEDIUM_REPLY_BYTES_MAX};
use crate::mesh::{Answer, Ask};
use crate::resp::encode;
use crate::shard::Turn;
use crate::stats::Report;

pub use monitor::{take_monitored, unmonitor};
pub use transaction::forget_watches;

/// Where a task runs: its connection, where it waits, and whether its transaction holds the shards.
#[derive(Clone, Copy)]
struct Place<'a> {
    connection: &'a Connection,
    waiter: u32,
    holder: bool,
}

impl Place<'_> {
    /// Ask one shard.
    async fn ask(self, shard: usize, ask: Ask) -> Answer {
        self.connection.shard.ask(self.waiter, shard, self.holder, ask).await
    }

    /// Ask one shard for a step of something long. What has come in meanwhile goes first, here as on another shard,
    /// unless a transaction has it to itself.
    async fn ask_step(self, shard: usize, ask: Ask) -> Answer {
        let answer = self.ask(shard, ask).await;
        if shard == self.connection.shard.index && !self.holder {
            // Only a ring that is torn down refuses it.
            let _ = tokio_uring::no_op().await;
        }
        answer
    }

    /// Ask every shard, one after the other.
    async fn ask_all(self, ask: impl Fn() -> Ask, mut each: impl FnMut(Answer)) {
        for shard in 0..self.shard_count() {
            each(self.ask(shard, ask()).await);
        }
    }

    /// The shards whose counters this connection is shown: on a shard's own port that one, as a cluster client sums up
    /// what the nodes tell.
    fn keyspace(self) -> std::ops::Range<usize> {
        let own = self.connection.shard.index;
        if self.connection.direct { own..own + 1 } else { 0..self.shard_count() }
    }

    /// Ask the shards of [`Place::keyspace`], one after the other.
    async fn ask_keyspace(self, ask: impl Fn() -> Ask, mut each: impl FnMut(Answer)) {
        for shard in self.keyspace() {
            each(self.ask(shard, ask()).await);
        }
    }

    fn shard_count(self) -> usize {
        self.connection.shard.map.shard_count()
    }

    fn resp3(self) -> bool {
        self.connection.session.borrow().client.resp3
    }
}

/// Carry out a task and append its reply.
///
/// The caller holds a permit of the shard for a reply of the task's [`Extent`].
pub async fn run(connection: &Connection, task: Task, turn: &mut Turn, out: &mut Vec<u8>) {
    let place = Place { connection, waiter: turn.waiter, holder: false };
    match task {
        Task::Exec => transaction::exec(place, turn, out).await,
        task => run_plain(place, task, out).await,
    }
}

/// Every task but `EXEC`, which runs the others.
async fn run_plain(place: Place<'_>, task: Task, out: &mut Vec<u8>) {
    let (extent, start) = (task.extent(None), out.len());
    answer(place, task, out).await;
    if extent == Extent::Medium && out.len() - start > MEDIUM_REPLY_BYTES_MAX {
        refuse_length(MEDIUM_REPLY_BYTES_MAX, out, start, "ask for less at a time");
    }
}

async fn answer(place: Place<'_>, task: Task, out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    match task {
        Task::Exec => unreachable!("a transaction is not queued in another"),
        Task::Reply(reply) => out.extend_from_slice(&reply),
        Task::Describe(described) => encode_described(&described, place.resp3(), out),
        Task::DbSize => {
            let mut key_count = 0;
            place.ask_keyspace(|| Ask::KeyCount, |answer| key_count += count_of(&answer)).await;
            encode::integer(out, key_count as i64);
        }
        Task::Flush => {
            place.ask_keyspace(|| Ask::Flush, |_| ()).await;
            encode::simple(out, "OK");
        }
        Task::Keys(pattern) => keys::keys(place, pattern, out).await,
        Task::Scan { cursor, count, pattern, type_matches } => {
            keys::scan(place, cursor, count, pattern, type_matches, out).await;
        }
        Task::RandomKey => keys::random_key(place, out).await,
        Task::Rename { from, to, only_absent } => keys::rename(place, from, to, only_absent, out).await,
        Task::Copy { from, to, replace } => keys::copy(place, from, to, replace, out).await,
        Task::MsetNx(pairs) => keys::mset_nx(place, pairs, out).await,
        Task::Watch(keys) => transaction::watch(place, keys, out).await,
        Task::Unwatch => {
            transaction::unwatch(place).await;
            encode::simple(out, "OK");
        }
        Task::AbortExec(why) => {
            transaction::discard(place).await;
            let why = why.strip_prefix("ERR ").unwrap_or(&why);
            encode::error(out, &format!("EXECABORT Transaction discarded because of: {why}"));
        }
        Task::Discard => {
            transaction::discard(place).await;
            encode::simple(out, "OK");
        }
        Task::Reset => transaction::reset(place, out).await,
        Task::Monitor { sample } => monitor::monitor(place, sample, out).await,
        Task::Info(sections) => {
            let shards = reports(place).await;
            let mut report = sum(&shards);
            latency::report(place, &sections, &mut report).await;
            let text = info::render(&sections, &shard.shared, &report, &shards);
            encode::verbatim(out, "txt", &text, place.resp3());
        }
        Task::ClientList(filter) => clients::list(place, filter, out).await,
        Task::ClientInfo => encode::verbatim(out, "txt", &format!("{}\n", place.connection.line()), place.resp3()),
        Task::ClientKill { filter, by_address } => clients::kill(place, filter, by_address, out).await,
        Task::ClientPause { timeout_ms, writes_only } => {
            shard.shared.set_pause(shard.clock.now().unix_ms, timeout_ms, writes_only);
            encode::simple(out, "OK");
        }
        Task::ClientUnpause => {
            shard.shared.unpause();
            encode::simple(out, "OK");
        }
        Task::Cluster(view) => cluster::view(place, view, out),
        Task::CountKeysInSlot(slot) => cluster::count_keys(place, slot, out).await,
        Task::GetKeysInSlot { slot, count } => cluster::get_keys(place, slot, count, out).await,
        Task::ConfigGet(patterns) => settings::get(place, &patterns, out),
        Task::ConfigSet(pairs) => settings::set(place, &pairs, out).await,
        Task::ConfigResetStat => {
            place.ask_all(|| Ask::ResetStats, |_| ()).await;
            shard.shared.reset_stats();
            encode::simple(out, "OK");
        }
        Task::Time => {
            let unix_us = shard.clock.unix_us();
            encode::array(out, 2);
            encode::bulk(out, (unix_us / 1_000_000).to_string().as_bytes());
            encode::bulk(out, (unix_us % 1_000_000).to_string().as_bytes());
        }
        Task::SlowlogGet(count) => clients::slowlog(place, count, out).await,
        Task::SlowlogLen => {
            let mut len = 0;
            let all = || Ask::Slowlog(usize::MAX);
            place
                .ask_all(all, |answer| {
                    if let Answer::Slowlog(entries) = answer {
                        len += entries.len()
                    }
                })
                .await;
            encode::integer(out, len as i64);
        }
        Task::SlowlogReset => {
            place.ask_all(|| Ask::SlowlogReset, |_| ()).await;
            encode::simple(out, "OK");
        }
        Task::LatencyHistogram(names) => latency::histogram(place, &names, out).await,
        Task::LatencyLatest => latency::latest(place, out).await,
        Task::LatencyHistory(event) => latency::history(place, event, out).await,
        Task::LatencyReset(events) => latency::reset(place, events, out).await,
        Task::LatencyDoctor => latency::doctor(place, out).await,
        Task::MemoryStats => {
            let report = sum(&reports(place).await);
            info::memory_stats(&shard.shared, &report, place.resp3(), out);
        }
        Task::MemoryDoctor => {
            let report = sum(&reports(place).await);
            encode::verbatim(out, "txt", &info::memory_doctor(&shard.shared, &report), place.resp3());
        }
        Task::Save => save::save(place, out).await,
        Task::BeginSave { rewrite } => save::begin(place, rewrite, out),
        Task::LastSave => {
            let last_save_s = shard.shared.journals.as_ref().map_or(0, |journals| journals.last_save_s());
            encode::integer(out, last_save_s);
        }
        Task::Shutdown { abort: true } => encode::error(out, "ERR No shutdown in progress."),
        Task::Shutdown { abort: false } => shard.shared.stop(),
        Task::DebugSleep { duration_us } => {
            std::thread::sleep(std::time::Duration::from_micros(duration_us));
            encode::simple(out, "OK");
        }
    }
}

/// What each shard tells about itself.
async fn reports(place: Place<'_>) -> Vec<Report> {
    let mut reports = Vec::with_capacity(place.shard_count());
    let each = |answer| {
        let Answer::Report(report) = answer else { unreachable!("it was asked for") };
        reports.push(*report);
    };
    place.ask_all(|| Ask::Report, each).await;
    reports
}

fn sum(reports: &[Report]) -> Report {
    let mut sum = Report::default();
    reports.iter().for_each(|report| sum.add(report));
    sum
}

fn count_of(answer: &Answer) -> u64 {
    match answer {
        Answer::Count(count) => *count,
        _ => unreachable!("a count was asked for"),
    }
}

/// Whether the reply that is being gathered from `start` on, or that of the transaction that it is part of, has become too
/// long; if so it is replaced by an error.
fn is_too_long(out: &mut Vec<u8>, start: usize, remedy: &str) -> bool {
    let too_long = out.len() > LARGE_REPLY_BYTES_MAX;
    if too_long {
        refuse_length(LARGE_REPLY_BYTES_MAX, out, start, remedy);
    }
    too_long
}

fn refuse_length(bytes_max: usize, out: &mut Vec<u8>, start: usize, remedy: &str) {
    out.truncate(start);
    encode::error(out, &format!("ERR the reply would be longer than {bytes_max} bytes: {remedy}"));
}
