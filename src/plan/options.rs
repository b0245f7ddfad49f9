//! The flags of `tallyring plan`, and the [`Run`] that its trials are made of.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::slo::Goal;
use crate::bench::count;
use crate::bench::flags::{Flags, Shape, wrong};
use crate::bench::options::{Rate, Time};
use crate::bench::result::{Arrivals, Load};
use crate::bench::{Limit, Run};
use crate::config::ByteCount;
use crate::host::Host;
use crate::startup::StartError;

/// A long trial is at least so long: a share of its seconds must mean something.
const TRIAL_MIN: Duration = Duration::from_secs(1);

/// The lowest rate that is tried, in requests a second: in a shorter trial fewer say nothing of a goal.
pub(super) const FLOOR_PER_S: f64 = 100.0;

/// What of a trial is not measured, at its beginning.
const WARMUP: Duration = Duration::from_millis(500);

/// The flags.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("keys", |keys| keys.default_value("100000")))]
pub struct Options {
    /// Who is asked, with what.
    #[command(flatten)]
    pub flags: Flags,

    /// The goal, such as "p99.9<1ms"; several must all be met
    #[arg(long, help_heading = "Goal", default_value = "p99.9<1ms", value_name = "GOAL", value_delimiter = ',')]
    pub slo: Vec<Goal>,

    /// Requests a second at the peak that all servers together are to carry (3m): answers how many that takes
    #[arg(long, help_heading = "Goal", value_name = "RATE")]
    pub peak: Option<Rate>,

    /// How much more the peak is to become, in percent
    #[arg(long, help_heading = "Goal", default_value = "0%", value_name = "PERCENT")]
    pub growth: Percent,

    /// Servers that may be lost at the same time
    #[arg(long, help_heading = "Goal", default_value_t = 0, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=1_000))]
    pub nodes_lost: u64,

    /// Counters that all servers together are to hold (200m)
    #[arg(long, help_heading = "Goal", default_value_t = 0, value_name = "COUNT", value_parser = count::within(0..=u64::MAX))]
    pub total_keys: u64,

    /// Memory of one server for counters; otherwise what its own maxmemory leaves them, or half of its machine's memory
    #[arg(long, help_heading = "Goal", value_name = "SIZE")]
    pub node_memory: Option<ByteCount>,

    /// Network of one server, bits a second and direction (10g)
    #[arg(long, help_heading = "Goal", value_name = "BITS")]
    pub network: Option<Bits>,

    /// The first rate that is tried; 100 or more
    #[arg(long, help_heading = "Search", default_value = "10k", value_name = "RATE")]
    pub start_rate: Rate,

    /// The highest rate that is tried, 100 or more; the generator's own ceiling otherwise
    #[arg(long, help_heading = "Search", value_name = "RATE")]
    pub max_rate: Option<Rate>,

    /// How long the last trials are; the first ones take a fifth of it
    #[arg(long, help_heading = "Search", default_value = "10s", value_name = "TIME")]
    pub trial: Time,

    /// Counters that are added to see what one takes, and deleted again: as many as there are, to see a table grow; 0 for
    /// none
    #[arg(long, help_heading = "Search", default_value_t = 200_000, value_name = "COUNT", value_parser = count::within(0..=100_000_000_u64))]
    pub memory_keys: u64,

    /// Leave out how throughput grows with connections
    #[arg(long, help_heading = "Search")]
    pub no_sweep: bool,

    /// Where report.html, plan.json and the trials' logs go
    #[arg(short, long, help_heading = "Output", default_value = "tallyring-plan", value_name = "DIRECTORY")]
    pub output: PathBuf,
}

/// `--growth`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percent(pub f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        let number: Option<f64> = text.strip_suffix('%').unwrap_or(text).parse().ok();
        let percent = number.filter(|percent| (0.0..=10_000.0).contains(percent));
        percent.map(Percent).ok_or_else(|| format!("\"{text}\" is no growth such as 30%"))
    }
}

/// `--network`, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bits(pub f64);

impl FromStr for Bits {
    type Err = String;

    fn from_str(text: &str) -> Result<Bits, String> {
        let lower = text.to_ascii_lowercase();
        let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
        let unit = match &lower[digits..] {
            "m" | "mbit" => 1e6,
            "g" | "gbit" => 1e9,
            _ => f64::NAN,
        };
        let bits = lower[..digits].parse().ok().map(|number: f64| number * unit).filter(|bits| *bits >= 1.0);
        bits.map(Bits).ok_or_else(|| format!("\"{text}\" is no network such as 10g or 100m"))
    }
}

impl Options {
    /// The run that every trial is a variation of.
    pub fn run(&self, host: &Host, command_line: Vec<String>) -> Result<Run, StartError> {
        for (flag, rate) in [("start-rate", Some(self.start_rate)), ("max-rate", self.max_rate), ("peak", self.peak)] {
            if rate == Some(Rate::Max) {
                return Err(wrong(flag, "\"max\" is no rate here", "Give a number such as 500k"));
            }
        }
        for (flag, rate) in [("start-rate", Some(self.start_rate)), ("max-rate", self.max_rate)] {
            if rate.is_some_and(|rate| per_s(rate) < FLOOR_PER_S) {
                let problem = format!("is below {FLOOR_PER_S} a second, the lowest rate that is tried");
                return Err(wrong(flag, &problem, &format!("Choose {FLOOR_PER_S} or more")));
            }
        }
        let of_peak =
            [("total-keys", self.total_keys > 0), ("growth", self.growth.0 > 0.0), ("nodes-lost", self.nodes_lost > 0)];
        if let Some((flag, _)) = of_peak.iter().find(|(_, given)| *given && self.peak.is_none()) {
            let remedy = "Give the requests a second that all servers together are to carry, such as --peak 3m";
            return Err(wrong(flag, "is of no use without --peak", remedy));
        }
        if self.trial.0 < TRIAL_MIN {
            return Err(wrong("trial", "is too short to judge a goal by its seconds", "Choose 1s or more"));
        }
        // The load and its time are those of each trial.
        let load = Load::Open { rate_per_s: per_s(self.start_rate), arrivals: Arrivals::Poisson };
        let shape = Shape { load, limit: Limit::Time(self.trial.0), warmup: WARMUP, trace: None };
        let tolerances = self.slo.iter().map(Goal::tolerance).collect();
        Ok(Run { tolerances, ..self.flags.run(shape, host, command_line)? })
    }
}

/// Requests a second of a flag that was checked.
pub fn per_s(rate: Rate) -> f64 {
    match rate {
        Rate::PerSecond(per_s) => per_s,
        Rate::Max => unreachable!("refused before"),
    }
}
