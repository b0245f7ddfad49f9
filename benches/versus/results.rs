//! What the rounds say together: medians, spreads and ratios.
//!
//! Pure. Invariant: servers are compared round by round, and only the ratios of a round are brought together, so that
//! what slows the machine for a while slows both.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::Measured;
use super::options::Table;
use super::peers::Peer;
use super::workload::Load;

/// A percentile needs so many values beyond it.
const BEYOND_COUNT_MIN: f64 = 50.0;

/// The load generator limits what it measures when it is busy for more than this part of the time while the server is
/// not.
const BUSY_LIMIT: f64 = 0.9;

/// One measurement.
#[derive(Debug)]
pub struct Round {
    /// Which table it belongs to.
    pub table: Table,
    /// Counters that there are.
    pub key_count: u32,
    /// How it was loaded.
    pub load: Load,
    /// Which server.
    pub peer: Peer,
    /// Which round, from 0.
    pub round: u32,
    /// What was seen.
    pub measured: Measured,
}

impl Round {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.measured.request_count as f64 / self.measured.elapsed.as_secs_f64()
    }

    fn us_per_request(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.measured.request_count.max(1) as f64
    }

    fn part_of_time(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.measured.elapsed.as_secs_f64()
    }
}

/// A median and the extremes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value, or the mean of the two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, min, max })
    }
}

/// All rounds of a server under a load.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which table it belongs to.
    pub table: Table,
    /// Counters that there are.
    pub key_count: u32,
    /// How it was loaded, as connections x depth.
    pub load: String,
    /// Which server.
    pub server: String,
    /// Requests a second.
    pub rate: Spread,
    /// Microseconds of the server's processor time for each request.
    pub server_us_per_request: Spread,
    /// The same of the load generator.
    pub generator_us_per_request: Spread,
    /// Part of the time that the server was busy; more than 1 with several threads.
    pub server_busy: f64,
    /// The same of the load generator.
    pub generator_busy: f64,
    /// The same of everything else on the machine, in cores.
    pub other_busy: f64,
    /// Microseconds, of all rounds together; `None` where too few values are beyond.
    pub p50_us: Option<f64>,
    /// Likewise.
    pub p99_us: Option<f64>,
    /// Likewise.
    pub p999_us: Option<f64>,
    /// Batches that the percentiles are of.
    pub batch_count: u64,
    /// The generator, not the server, limited the rate.
    pub generator_bound: bool,
}

impl Row {
    /// What these rounds, which are of one server under one load, say together; `None` of none.
    pub fn of(rounds: &[&Round]) -> Option<Row> {
        let first = rounds.first()?;
        let spread = |value: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(|round| value(round)));
        let mut latencies_ns = first.measured.latencies_ns.clone();
        for round in &rounds[1..] {
            latencies_ns.add(&round.measured.latencies_ns).expect("they have the same bounds");
        }
        let server_busy = spread(&|round| round.part_of_time(round.measured.server_time))?.median;
        let generator_busy = spread(&|round| round.part_of_time(round.measured.generator_time))?.median;
        Some(Row {
            table: first.table,
            key_count: first.key_count,
            load: first.load.to_string(),
            server: first.peer.name(),
            rate: spread(&Round::rate)?,
            server_us_per_request: spread(&|round| round.us_per_request(round.measured.server_time))?,
            generator_us_per_request: spread(&|round| round.us_per_request(round.measured.generator_time))?,
            server_busy,
            generator_busy,
            other_busy: spread(&|round| round.part_of_time(round.measured.other_time))?.median,
            p50_us: percentile_us(&latencies_ns, 0.5),
            p99_us: percentile_us(&latencies_ns, 0.99),
            p999_us: percentile_us(&latencies_ns, 0.999),
            batch_count: latencies_ns.len(),
            generator_bound: generator_busy > BUSY_LIMIT && server_busy < BUSY_LIMIT,
        })
    }
}

/// Ours over another, under one load.
#[derive(Clone, Debug, Serialize)]
pub struct Ratio {
    /// Which table it belongs to.
    pub table: Table,
    /// How they were loaded.
    pub load: String,
    /// Which of ours.
    pub ours: String,
    /// Over which other.
    pub other: String,
    /// The ratios of the rates, round by round.
    pub ratio: Spread,
    /// What the ratio is to reach.
    pub bar: Option<f64>,
}

impl Ratio {
    /// Of all rounds under one load; `None` when no round has both.
    pub fn of(rounds: &[&Round], ours: Peer, other: Peer, bar: Option<f64>) -> Option<Ratio> {
        let first = rounds.first()?;
        let rate = |peer, number| rounds.iter().find(|round| (round.peer, round.round) == (peer, number));
        let ratios = rounds.iter().filter(|round| round.peer == ours).filter_map(|round| {
            let of_other = rate(other, round.round)?.rate();
            (of_other > 0.0).then(|| round.rate() / of_other)
        });
        let ratio = Spread::of(ratios)?;
        let (ours, other) = (ours.name(), other.name());
        Some(Ratio { table: first.table, load: first.load.to_string(), ours, other, ratio, bar })
    }
}

/// What a server's memory grew by.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Which server.
    pub server: String,
    /// Counters that were inserted.
    pub counter_count: u64,
    /// Resident bytes of the whole process before.
    pub before_bytes: u64,
    /// And after.
    pub after_bytes: u64,
    /// The growth for each counter.
    pub bytes_per_counter: f64,
}

fn percentile_us(latencies_ns: &Histogram<u64>, quantile: f64) -> Option<f64> {
    let beyond_count = latencies_ns.len() as f64 * (1.0 - quantile);
    (beyond_count >= BEYOND_COUNT_MIN).then(|| latencies_ns.value_at_quantile(quantile) as f64 / 1e3)
}
