//! The flags of `tallyring plan`, and the [`Run`] that its trials are made of.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser};

use super::slo::Goal;
use crate::bench::Run;
use crate::bench::options::{self, Rate, Time};
use crate::config::{ByteCount, Password};
use crate::host::Host;
use crate::startup::StartError;

/// A long trial is at least so long: a share of its seconds must mean something.
const TRIAL_MIN: Duration = Duration::from_secs(1);

/// The flags.
#[derive(Args, Clone, Debug)]
pub struct Options {
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

    /// Counters that all servers together are to hold
    #[arg(long, help_heading = "Goal", default_value_t = 0, value_name = "COUNT")]
    pub total_keys: u64,

    /// Memory of one server for counters; its own maxmemory otherwise
    #[arg(long, help_heading = "Goal", value_name = "SIZE")]
    pub node_memory: Option<ByteCount>,

    /// Network of one server, bits a second and direction (10g)
    #[arg(long, help_heading = "Goal", value_name = "BITS")]
    pub network: Option<Bits>,

    /// The server's host
    #[arg(long, help_heading = "Server", default_value = "127.0.0.1", value_name = "HOST")]
    pub host: String,

    /// The server's port
    #[arg(short, long, help_heading = "Server", default_value_t = 6_379)]
    pub port: u16,

    /// Connect to this Unix socket instead
    #[arg(short = 's', long, help_heading = "Server", value_name = "PATH", conflicts_with_all = ["host", "port"])]
    pub unixsocket: Option<PathBuf>,

    /// The password, or USER:PASSWORD; $TALLYRING_AUTH hides it from `ps`
    #[arg(
        short = 'a',
        long,
        help_heading = "Server",
        value_name = "PASSWORD",
        env = "TALLYRING_AUTH",
        hide_env_values = true
    )]
    pub auth: Option<Password>,

    /// Connections
    #[arg(short, long, help_heading = "Load", default_value_t = 50, value_name = "COUNT")]
    pub connections: usize,

    /// Requests that a connection sends at once
    #[arg(short = 'P', long, help_heading = "Load", default_value_t = 1, value_name = "DEPTH")]
    pub pipeline: usize,

    /// Commands and their weights, as for `tallyring bench`
    #[arg(long, help_heading = "Load", default_value = "incr", value_name = "MIX")]
    pub mix: String,

    /// Different keys of the load
    #[arg(long, help_heading = "Load", default_value_t = 100_000, value_name = "COUNT")]
    pub keys: u32,

    /// How keys are chosen, as for `tallyring bench`
    #[arg(long, help_heading = "Load", default_value = "uniform", value_name = "DISTRIBUTION")]
    pub distribution: String,

    /// What random choices begin from
    #[arg(long, help_heading = "Load", default_value_t = 1)]
    pub seed: u64,

    /// Threads of the generator
    #[arg(short, long, help_heading = "Generator", default_value = "auto", value_name = "COUNT")]
    pub threads: String,

    /// Pin the threads to cores: none, auto, or a list such as 0,2-5
    #[arg(long, help_heading = "Generator", default_value = "none", value_name = "CORES")]
    pub pin: String,

    /// Never let the threads sleep
    #[arg(long, help_heading = "Generator")]
    pub busy_poll: bool,

    /// The first rate that is tried
    #[arg(long, help_heading = "Search", default_value = "10k", value_name = "RATE")]
    pub start_rate: Rate,

    /// The highest rate that is tried; the generator's own ceiling otherwise
    #[arg(long, help_heading = "Search", value_name = "RATE")]
    pub max_rate: Option<Rate>,

    /// How long the last trials are; the first ones take a fifth of it
    #[arg(long, help_heading = "Search", default_value = "10s", value_name = "TIME")]
    pub trial: Time,

    /// Counters that are added to see what one takes, and deleted again; 0 for none
    #[arg(long, help_heading = "Search", default_value_t = 200_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(..=100_000_000))]
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

/// The flags of a run, to make it of text.
#[derive(Debug, Parser)]
struct RunLine {
    #[command(flatten)]
    options: options::Options,
}

impl Options {
    /// The run that every trial is a variation of.
    pub fn run(&self, host: &Host, command_line: Vec<String>) -> Result<Run, StartError> {
        for (flag, rate) in [("start-rate", Some(self.start_rate)), ("max-rate", self.max_rate), ("peak", self.peak)] {
            if rate == Some(Rate::Max) {
                return Err(wrong(flag, "\"max\" is no rate here", "Give a number such as 500k"));
            }
        }
        if self.trial.0 < TRIAL_MIN {
            return Err(wrong("trial", "is too short to judge a goal by its seconds", "Choose 1s or more"));
        }
        let mut line = vec!["run".to_owned(), "--warmup".to_owned(), "500ms".to_owned()];
        let mut flag = |name: &str, value: String| line.push(format!("--{name}={value}"));
        match &self.unixsocket {
            Some(path) => flag("unixsocket", path.display().to_string()),
            None => {
                flag("host", self.host.clone());
                flag("port", self.port.to_string());
            }
        }
        self.auth.iter().for_each(|auth| flag("auth", auth.to_string()));
        flag("connections", self.connections.to_string());
        flag("pipeline", self.pipeline.to_string());
        flag("mix", self.mix.clone());
        flag("keys", self.keys.to_string());
        flag("distribution", self.distribution.clone());
        flag("seed", self.seed.to_string());
        flag("threads", self.threads.clone());
        flag("pin", self.pin.clone());
        if self.busy_poll {
            line.push("--busy-poll".to_owned());
        }
        let run = RunLine::try_parse_from(line).map_err(|error| {
            // `error: invalid value 'x' for '--threads <COUNT>': …`, and then how a run is used.
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            wrong("plan", &first, "See `tallyring plan --help`")
        })?;
        run.options.resolve(host, command_line)
    }
}

/// Requests a second of a flag that was checked.
pub fn per_s(rate: Rate) -> f64 {
    match rate {
        Rate::PerSecond(per_s) => per_s,
        Rate::Max => unreachable!("refused before"),
    }
}

fn wrong(flag: &'static str, problem: &str, remedy: &str) -> StartError {
    StartError::Option { flag, problem: problem.to_owned(), remedy: remedy.to_owned() }
}
