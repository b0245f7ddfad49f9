//! What the server has said at one time, and what two such times say together. Pure.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::latency::Stage;

/// The sections of `INFO` that are asked for.
pub(super) const SECTIONS: [&str; 8] =
    ["INFO", "server", "clients", "memory", "stats", "commandstats", "stagebuckets", "shards"];

/// The answer to one `INFO`.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    at: Instant,
    fields: BTreeMap<String, String>,
}

/// What happened between two samples, and how it stands at the second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    pub(super) version: String,
    pub(super) uptime_s: u64,
    /// Over all shards, as the server counts it.
    pub(super) total_count: u64,
    pub(super) rates: Rates,
    pub(super) client_count: u64,
    pub(super) client_count_max: u64,
    pub(super) stalled_count: u64,
    pub(super) evicted_count: u64,
    pub(super) rejected_count: u64,
    pub(super) key_bytes: u64,
    /// 0 is no limit.
    pub(super) key_bytes_max: u64,
    pub(super) used_bytes: u64,
    /// 0 is no limit.
    pub(super) ceiling_bytes: u64,
    pub(super) resident_bytes: u64,
    pub(super) parked_bytes: u64,
    pub(super) key_count: u64,
    /// By stage.
    pub(super) stages: [Latencies; Stage::ALL.len()],
    /// In their order.
    pub(super) shards: Vec<ShardRow>,
    /// Those called in between, the most often called first.
    pub(super) commands: Vec<CommandRow>,
}

/// A second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) commands: f64,
    pub(super) errors: f64,
    pub(super) connections: f64,
    pub(super) received_bytes: f64,
    pub(super) sent_bytes: f64,
}

/// What commands took in between, in nanoseconds; `None` when there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latencies {
    pub(super) p50_ns: Option<u64>,
    pub(super) p99_ns: Option<u64>,
    pub(super) p999_ns: Option<u64>,
    pub(super) max_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ShardRow {
    pub(super) commands_per_s: f64,
    /// Of the core's time, 0 to 1.
    pub(super) load: f64,
    pub(super) key_count: u64,
    pub(super) key_bytes: u64,
    pub(super) client_count: u64,
    pub(super) stalled_count: u64,
    pub(super) buffer_count: u64,
    pub(super) lent_count: u64,
    pub(super) parked_bytes: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CommandRow {
    pub(super) name: String,
    pub(super) calls_per_s: f64,
    /// Of all calls, 0 to 1.
    pub(super) share: f64,
    pub(super) mean_ns: f64,
    /// Failed and rejected.
    pub(super) errors_per_s: f64,
}

/// `name=value` pairs of a line, separated by commas.
type Row<'a> = BTreeMap<&'a str, f64>;

impl Sample {
    /// Read the text of `INFO`; `None` when it is not Tallyring's.
    pub(super) fn parse(text: &str, at: Instant) -> Option<Sample> {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let fields: BTreeMap<String, String> =
            fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect();
        fields.contains_key("shard_0").then_some(Sample { at, fields })
    }

    fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// The lines whose names begin so, by the rest of their name.
    fn rows(&self, prefix: &str) -> BTreeMap<&str, Row<'_>> {
        let rows = self.fields.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, row(value))));
        rows.collect()
    }

    /// Bounds in nanoseconds, and how many took at most so long.
    fn buckets(&self, stage: Stage) -> Vec<(u64, u64)> {
        let pairs = self.text(&format!("stage_buckets_nsec_{}", stage.name())).split(',');
        pairs
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(bound, count)| Some((bound.parse().ok()?, count.parse().ok()?)))
            .collect()
    }

    /// Whether the counts of `self` go on from those of `before`: the same run, not reset.
    fn continues(&self, before: &Sample) -> bool {
        let name = "total_commands_processed";
        self.text("run_id") == before.text("run_id") && self.number(name) >= before.number(name)
    }
}

fn row(line: &str) -> Row<'_> {
    line.split(',')
        .filter_map(|pair| pair.split_once('='))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

impl View {
    /// What two samples say. When the second does not go on from the first, there are no rates.
    pub(super) fn between(before: &Sample, now: &Sample) -> View {
        let elapsed_s = now.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let before = if now.continues(before) { before } else { now };
        let rate = |name: &str| now.number(name).saturating_sub(before.number(name)) as f64 / elapsed_s;
        View {
            version: now.text("tallyring_version").to_owned(),
            uptime_s: now.number("uptime_in_seconds"),
            total_count: now.number("total_commands_processed"),
            rates: Rates {
                commands: rate("total_commands_processed"),
                errors: rate("total_error_replies"),
                connections: rate("total_connections_received"),
                received_bytes: rate("total_net_input_bytes"),
                sent_bytes: rate("total_net_output_bytes"),
            },
            client_count: now.number("connected_clients"),
            client_count_max: now.number("maxclients"),
            stalled_count: now.number("stalled_clients"),
            evicted_count: now.number("evicted_clients"),
            rejected_count: now.number("rejected_connections"),
            key_bytes: now.number("used_memory_dataset"),
            key_bytes_max: now.number("maxmemory"),
            used_bytes: now.number("used_memory"),
            ceiling_bytes: now.number("used_memory_ceiling"),
            resident_bytes: now.number("used_memory_rss"),
            parked_bytes: now.number("parked_bytes"),
            stages: Stage::ALL.map(|stage| Latencies::between(&before.buckets(stage), &now.buckets(stage))),
            key_count: shard_rows(before, now, elapsed_s).iter().map(|row| row.key_count).sum(),
            shards: shard_rows(before, now, elapsed_s),
            commands: command_rows(before, now, elapsed_s),
        }
    }

    /// How much more the busiest shard has to do than the mean; 1 is even. `None` when nothing was done.
    pub(super) fn skew(&self) -> Option<f64> {
        let rates = || self.shards.iter().map(|row| row.commands_per_s);
        let mean = rates().sum::<f64>() / self.shards.len().max(1) as f64;
        (mean > 0.0).then(|| rates().fold(0.0, f64::max) / mean)
    }
}

fn shard_rows(before: &Sample, now: &Sample, elapsed_s: f64) -> Vec<ShardRow> {
    let then = before.rows("shard_");
    let rows = now.rows("shard_");
    let mut rows: Vec<(usize, ShardRow)> = rows
        .iter()
        .filter_map(|(number, row)| {
            let value = |name: &str| row.get(name).copied().unwrap_or(0.0);
            let earlier = |name: &str| then.get(number).and_then(|row| row.get(name)).copied().unwrap_or(0.0);
            let rate = |name: &str| (value(name) - earlier(name)).max(0.0) / elapsed_s;
            let shard = ShardRow {
                commands_per_s: rate("commands"),
                load: (rate("cpu_usec") - rate("polled_usec")).max(0.0) / 1e6,
                key_count: value("keys") as u64,
                key_bytes: value("bytes") as u64,
                client_count: value("clients") as u64,
                stalled_count: value("stalled") as u64,
                buffer_count: value("buffers") as u64,
                lent_count: value("lent") as u64,
                parked_bytes: value("parked_bytes") as u64,
            };
            Some((number.parse().ok()?, shard))
        })
        .collect();
    rows.sort_by_key(|(number, _)| *number);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn command_rows(before: &Sample, now: &Sample, elapsed_s: f64) -> Vec<CommandRow> {
    let then = before.rows("cmdstat_");
    let rows = now.rows("cmdstat_");
    let more = |name: &str, row: &Row<'_>, field: &str| {
        let earlier = then.get(name).and_then(|row| row.get(field)).copied().unwrap_or(0.0);
        (row.get(field).copied().unwrap_or(0.0) - earlier).max(0.0)
    };
    let mut commands: Vec<CommandRow> = rows
        .iter()
        .map(|(name, row)| {
            let calls = more(name, row, "calls");
            CommandRow {
                name: (*name).to_owned(),
                calls_per_s: calls / elapsed_s,
                share: 0.0,
                mean_ns: more(name, row, "usec") * 1_000.0 / calls.max(1.0),
                errors_per_s: (more(name, row, "failed_calls") + more(name, row, "rejected_calls")) / elapsed_s,
            }
        })
        .filter(|command| command.calls_per_s + command.errors_per_s > 0.0)
        .collect();
    let all: f64 = commands.iter().map(|command| command.calls_per_s).sum();
    commands.iter_mut().for_each(|command| command.share = command.calls_per_s / all.max(f64::MIN_POSITIVE));
    commands.sort_by(|left, right| right.calls_per_s.total_cmp(&left.calls_per_s));
    commands
}

impl Latencies {
    /// Of what two cumulated histograms have between them.
    fn between(before: &[(u64, u64)], now: &[(u64, u64)]) -> Latencies {
        let earlier = |bound_ns: u64| match before.partition_point(|(other_ns, _)| *other_ns <= bound_ns) {
            0 => 0,
            behind => before[behind - 1].1,
        };
        let counts: Vec<(u64, u64)> =
            now.iter().map(|(bound_ns, count)| (*bound_ns, count.saturating_sub(earlier(*bound_ns)))).collect();
        let count = counts.last().map_or(0, |(_, count)| *count);
        let at = |part: f64| {
            let rank = ((count as f64 * part).ceil() as u64).clamp(1, count.max(1));
            counts.iter().find(|(_, up_to)| *up_to >= rank).map(|(bound_ns, _)| *bound_ns)
        };
        Latencies { p50_ns: at(0.5), p99_ns: at(0.99), p999_ns: at(0.999), max_ns: at(1.0) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// Two samples, a second apart.
    pub(in crate::top) fn samples() -> (Sample, Sample) {
        let start = Instant::now();
        let text = |commands: u64, cpu_us: u64, buckets: &str| {
            format!(
                "# Server\r\ntallyring_version:0.1.0\r\nrun_id:abc\r\nuptime_in_seconds:273724\r\n\
                 connected_clients:50\r\nmaxclients:10000\r\nstalled_clients:2\r\nused_memory:90000000\r\n\
                 used_memory_ceiling:900000000\r\nused_memory_rss:70000000\r\nused_memory_dataset:32000000\r\n\
                 maxmemory:512000000\r\nparked_bytes:4096\r\ntotal_commands_processed:{commands}\r\n\
                 total_error_replies:{}\r\ntotal_net_input_bytes:{}\r\nevicted_clients:1\r\n\
                 cmdstat_incr:calls={commands},usec={},usec_per_call=2.00,rejected_calls=0,failed_calls=3\r\n\
                 cmdstat_client|list:calls=7,usec=70,usec_per_call=10.00,rejected_calls=0,failed_calls=0\r\n\
                 stage_buckets_nsec_whole:{buckets}\r\n\
                 shard_0:keys=600000,bytes=16000000,clients=25,stalled=2,commands={commands},cpu_usec={},polled_usec={},buffers=512,lent=30,parked_bytes=4096\r\n\
                 shard_1:keys=400000,bytes=16000000,clients=25,stalled=0,commands=1000,cpu_usec=1000,buffers=512,lent=3,parked_bytes=0\r\n",
                commands / 100,
                commands * 30,
                commands * 2,
                2 * cpu_us,
                cpu_us,
            )
        };
        let before = Sample::parse(&text(1_000_000, 1_000_000, "1023=10,2047=100"), start).expect("Tallyring's");
        let now = start + Duration::from_secs(1);
        let after = Sample::parse(&text(2_234_567, 1_750_000, "511=50,1023=60,2047=1040,65535=1099,131071=1100"), now);
        (before, after.expect("Tallyring's"))
    }

    #[test]
    fn two_samples_give_rates_and_percentiles_of_the_time_between() {
        let (before, now) = samples();
        let view = View::between(&before, &now);
        assert_eq!(view.rates.commands, 1_234_567.0);
        assert_eq!(view.key_count, 1_000_000);
        let whole = view.stages[Stage::Whole as usize];
        // 1,000 in between: 50 up to 511, none more up to 1,023, 940 up to 2,047, 999 up to 65,535, one longer.
        assert_eq!(whole.p50_ns, Some(2_047));
        assert_eq!(whole.p99_ns, Some(65_535));
        assert_eq!(whole.p999_ns, Some(65_535));
        assert_eq!(whole.max_ns, Some(131_071));
        assert_eq!(view.stages[Stage::Send as usize], Latencies::default());
        assert_eq!(view.shards.len(), 2);
        assert!((view.shards[0].load - 0.75).abs() < 1e-9);
        assert_eq!(view.skew(), Some(2.0), "one of two does it all");
        assert_eq!(view.commands.len(), 1, "the other was not called in between");
        assert_eq!((view.commands[0].name.as_str(), view.commands[0].share), ("incr", 1.0));
        assert!((view.commands[0].mean_ns - 2_000.0).abs() < 1.0);
    }

    #[test]
    fn a_server_that_was_started_anew_has_no_rates_yet() {
        let (before, now) = samples();
        let view = View::between(&now, &before);
        assert_eq!((view.rates, view.skew()), (Rates::default(), None));
        assert_eq!(view.stages[Stage::Whole as usize], Latencies::default());
        assert_eq!(view.client_count, 50);
    }

    #[test]
    fn the_text_of_another_server_is_not_taken() {
        assert!(Sample::parse("# Server\r\nredis_version:7.0.15\r\n", Instant::now()).is_none());
        assert!(Sample::parse("", Instant::now()).is_none());
    }
}
