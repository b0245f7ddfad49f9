//! The flags of `tallyring bench`, and the [`Run`] that they describe.
//!
//! A [`Run`] is checked here against everything that can be known before the server is asked; nothing is opened yet.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::distribution::Distribution;
use super::mix::Mix;
use super::result::{Arrivals, Load};
use super::run::{Limit, Run};
use super::target::{Address, Target};
use super::trace::Trace;
use crate::config::{Auto, Password, PinChoice, YesNo};
use crate::host::Host;
use crate::limits::{
    LOAD_BATCH_BYTES_MAX, LOAD_CONNECTION_COUNT_MAX, LOAD_PIPELINE_MAX, LOAD_RATE_MAX, LOAD_THREAD_COUNT_MAX,
};
use crate::startup::StartError;

/// Descriptors that are needed beside those of the connections.
const DESCRIPTORS_RESERVED: u64 = 64;

/// What stands for a password in a result.
const HIDDEN: &str = "(hidden)";

/// How a trace is made.
const TRACE_REMEDY: &str = "Record one with `redis-cli monitor > FILE`";

/// The flags.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The server's host
    #[arg(long, help_heading = "Server", default_value = "127.0.0.1", value_name = "HOST")]
    pub host: String,

    /// The server's port
    #[arg(short, long, help_heading = "Server", default_value_t = 6_379)]
    pub port: u16,

    /// Connect to this Unix socket instead
    #[arg(short = 's', long, help_heading = "Server", value_name = "PATH", conflicts_with_all = ["host", "port", "cluster"])]
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

    /// The protocol
    #[arg(long, help_heading = "Server", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub resp: u8,

    /// The server is a cluster: send each key to the node that owns it
    #[arg(long, help_heading = "Server")]
    pub cluster: bool,

    /// Requests a second, each at its time whatever the server does (500k, 1.2m); or max: a closed loop, in which each
    /// connection waits for its replies before it sends more, for the peak throughput
    #[arg(short, long, help_heading = "Load", default_value = "100k", value_name = "RATE|max")]
    pub rate: Rate,

    /// How the requests of an open loop are spread: poisson, as those of many users, or constant
    #[arg(long, help_heading = "Load", default_value = "poisson", value_name = "poisson|constant")]
    pub arrivals: Spread,

    /// Connections
    #[arg(short, long, help_heading = "Load", default_value_t = 50, value_name = "COUNT")]
    pub connections: usize,

    /// Requests that a connection sends at once
    #[arg(short = 'P', long, help_heading = "Load", default_value_t = 1, value_name = "DEPTH")]
    pub pipeline: usize,

    /// Measure for so long: 30s, 500ms, 5m
    #[arg(short, long, help_heading = "Load", default_value = "30s", value_name = "TIME")]
    pub duration: Time,

    /// Measure so many requests instead
    #[arg(short = 'n', long, help_heading = "Load", value_name = "COUNT", conflicts_with = "duration")]
    pub requests: Option<u64>,

    /// Load the server for so long before
    #[arg(long, help_heading = "Load", default_value = "1s", value_name = "TIME")]
    pub warmup: Time,

    /// Different keys
    #[arg(long, help_heading = "Requests", default_value_t = 1_000_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub keys: u32,

    /// Bytes of a key
    #[arg(long, help_heading = "Requests", default_value_t = 16, value_name = "BYTES")]
    pub key_size: usize,

    /// How keys are chosen: uniform, zipf:THETA, hotspot[:KEYS%:REQUESTS%], sequential, latest
    #[arg(long, help_heading = "Requests", default_value = "uniform", value_name = "DISTRIBUTION")]
    pub distribution: Distribution,

    /// Commands and their weights: incr, get, set, mget:KEYS, mincrby:KEYS, expiring or expiring:SECONDS, ping
    #[arg(long, help_heading = "Requests", default_value = "incr", value_name = "MIX")]
    pub mix: String,

    /// Send this command instead, {key} standing for a key's number: "INCR user:{key}". Several are sent equally often
    #[arg(long, help_heading = "Requests", value_name = "COMMAND", conflicts_with_all = ["mix", "key_size"])]
    pub command: Vec<String>,

    /// Replay what `redis-cli monitor` wrote into this file instead, each request at its time
    #[arg(long, help_heading = "Requests", value_name = "FILE", conflicts_with_all = ["mix", "command", "rate", "arrivals", "duration", "requests", "warmup", "pipeline", "keys", "key_size", "distribution", "cluster"])]
    pub trace: Option<PathBuf>,

    /// What random choices begin from: the same seed gives the same requests
    #[arg(long, help_heading = "Requests", default_value_t = 1)]
    pub seed: u64,

    /// Verify that the counters grow by what was acknowledged: yes or no
    #[arg(long, help_heading = "Requests", default_value = "yes", value_name = "YES|NO")]
    pub verify: YesNo,

    /// Threads, each with its own ring; auto is one for every two cores
    #[arg(short, long, help_heading = "Generator", default_value = "auto", value_name = "COUNT")]
    pub threads: Auto<usize>,

    /// Pin the threads to cores: none, auto, or a list such as 0,2-5
    #[arg(long, help_heading = "Generator", default_value = "none", value_name = "CORES")]
    pub pin: PinChoice,

    /// Never let the threads sleep: requests leave more punctually, for cores that are always busy
    #[arg(long, help_heading = "Generator")]
    pub busy_poll: bool,
}

/// `--rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// A closed loop.
    Max,
    /// Requests a second.
    PerSecond(f64),
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text == "max" {
            return Ok(Rate::Max);
        }
        let lower = text.to_ascii_lowercase();
        let (number, unit) = match lower.as_bytes().last() {
            Some(b'k') => (&lower[..lower.len() - 1], 1e3),
            Some(b'm') => (&lower[..lower.len() - 1], 1e6),
            _ => (&lower[..], 1.0),
        };
        let per_s = number.parse().ok().map(|number: f64| number * unit);
        per_s.filter(|per_s| *per_s > 0.0 && *per_s <= LOAD_RATE_MAX).map(Rate::PerSecond).ok_or_else(|| {
            format!("\"{text}\" is neither \"max\" nor a rate above 0 and up to {LOAD_RATE_MAX}, such as 500k or 1.2m")
        })
    }
}

/// `--arrivals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread(pub Arrivals);

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Spread, String> {
        match text {
            "poisson" => Ok(Spread(Arrivals::Poisson)),
            "constant" => Ok(Spread(Arrivals::Constant)),
            _ => Err(format!("\"{text}\" is neither \"poisson\" nor \"constant\"")),
        }
    }
}

/// A duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Time, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit_s = match unit {
            "" | "s" => 1.0,
            "ms" => 1e-3,
            "m" => 60.0,
            "h" => 3_600.0,
            _ => f64::NAN,
        };
        // A day is long enough for every number of nanoseconds.
        let seconds = number.parse().ok().map(|number: f64| number * unit_s).filter(|s| (0.0..=86_400.0).contains(s));
        seconds
            .map(|seconds| Time(Duration::from_secs_f64(seconds)))
            .ok_or_else(|| format!("\"{text}\" is no time of up to a day, such as 30s, 500ms, 5m"))
    }
}

impl Options {
    /// The run that the flags describe. `command_line` is the program and its arguments, as given.
    ///
    /// # Errors
    /// Values that do not go together, or that the machine does not allow.
    pub fn resolve(&self, host: &Host, command_line: Vec<String>) -> Result<Run, StartError> {
        let threads = self.threads(host)?;
        if let Some(path) = &self.trace {
            return self.replay(path, host, threads, command_line);
        }
        let load = match self.rate {
            Rate::Max => Load::Closed,
            Rate::PerSecond(rate_per_s) => Load::Open { rate_per_s, arrivals: self.arrivals.0 },
        };
        let limit = match self.requests {
            Some(0) => return Err(wrong("requests", "0 is not a load", "Choose 1 or more")),
            Some(count) => Limit::Requests(count),
            None if self.duration.0.is_zero() => {
                return Err(wrong("duration", "0 is too short", "Choose a time such as 10s"));
            }
            None => Limit::Time(self.duration.0),
        };
        let mix = self.mix()?;
        self.check_batches(&mix)?;
        if self.cluster && mix.templates().iter().any(|template| template.key_count() > 1) {
            return Err(wrong(
                "cluster",
                "does not go with commands of several keys, which would have to be of one slot",
                "Choose a --mix of commands with one key",
            ));
        }
        Ok(Run {
            target: self.target()?,
            cluster: self.cluster,
            load,
            limit,
            warmup: self.warmup.0,
            connections: self.connections,
            threads,
            pin: self.cores(host, threads)?,
            busy_poll: self.busy_poll,
            pipeline: self.pipeline,
            key_bytes: if self.command.is_empty() { self.key_size } else { mix.key_bytes() },
            mix: Arc::new(mix),
            trace: None,
            distribution: self.distribution,
            key_count: self.keys,
            seed: self.seed,
            verify: self.verify.0,
            command_line: self.without_password(command_line),
        })
    }

    fn replay(&self, path: &Path, host: &Host, threads: usize, command_line: Vec<String>) -> Result<Run, StartError> {
        let problem = |problem: String| wrong("trace", &format!("{}: {problem}", path.display()), TRACE_REMEDY);
        let trace = Trace::read(path).map_err(problem)?;
        let mix = trace.mix(&path.display().to_string()).map_err(problem)?;
        let length_ns = trace.length_ns();
        let rate_per_s = trace.len() as f64 / (length_ns as f64 / 1e9);
        Ok(Run {
            target: self.target()?,
            cluster: false,
            load: Load::Open { rate_per_s, arrivals: Arrivals::Trace },
            limit: Limit::Time(Duration::from_nanos(length_ns)),
            warmup: Duration::ZERO,
            connections: self.connections,
            threads,
            pin: self.cores(host, threads)?,
            busy_poll: self.busy_poll,
            pipeline: 1,
            key_bytes: 0,
            mix: Arc::new(mix),
            trace: Some(Arc::new(trace)),
            distribution: self.distribution,
            key_count: 1,
            seed: self.seed,
            verify: self.verify.0,
            command_line: self.without_password(command_line),
        })
    }

    fn mix(&self) -> Result<Mix, StartError> {
        let (flag, mix) = match &self.command[..] {
            [] => ("mix", Mix::parse(&self.mix, self.keys, self.key_size)),
            commands => ("command", Mix::of_commands(commands, self.keys)),
        };
        mix.map_err(|problem| wrong(flag, &problem, "See `tallyring bench --help`"))
    }

    fn threads(&self, host: &Host) -> Result<usize, StartError> {
        in_range("connections", self.connections, LOAD_CONNECTION_COUNT_MAX)?;
        in_range("pipeline", self.pipeline, LOAD_PIPELINE_MAX)?;
        let available = host.descriptors.soft.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS_RESERVED);
        if self.connections as u64 > available {
            return Err(wrong(
                "connections",
                &format!(
                    "{} is more than the {available} descriptors that this process may still open",
                    self.connections
                ),
                "Raise the limit (ulimit -n), or choose fewer",
            ));
        }
        let auto = host.cores.len().div_ceil(2).min(self.connections);
        let threads = self.threads.given().unwrap_or(auto);
        in_range("threads", threads, LOAD_THREAD_COUNT_MAX.min(self.connections))?;
        Ok(threads)
    }

    fn cores(&self, host: &Host, threads: usize) -> Result<Vec<usize>, StartError> {
        let cores = match &self.pin {
            PinChoice::None => return Ok(Vec::new()),
            PinChoice::Auto => host.cores.clone(),
            PinChoice::Cores(cores) => cores.clone(),
        };
        if let Some(core) = cores.iter().find(|core| !host.cores.contains(core)) {
            let problem = format!("{core} is not a core that this process may use ({:?})", host.cores);
            return Err(wrong("pin", &problem, "Choose from those"));
        }
        if cores.len() < threads {
            let problem = format!("names {} cores for {threads} threads", cores.len());
            return Err(wrong("pin", &problem, "Name more, or choose fewer --threads"));
        }
        Ok(cores)
    }

    /// A batch is sent before its replies are read, so it must fit what lies between the two.
    fn check_batches(&self, mix: &Mix) -> Result<(), StartError> {
        let batch_bytes = self.pipeline * mix.request_bytes_max();
        if batch_bytes > LOAD_BATCH_BYTES_MAX {
            let problem = format!(
                "{} sends {batch_bytes} bytes at once with these commands, more than {LOAD_BATCH_BYTES_MAX}",
                self.pipeline
            );
            return Err(wrong("pipeline", &problem, "Choose a smaller one, or fewer keys a command"));
        }
        Ok(())
    }

    fn target(&self) -> Result<Target, StartError> {
        let address = match &self.unixsocket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::resolve(&self.host, self.port).map_err(|error| {
                wrong("host", &format!("{} is not found ({error})", self.host), "Give a name or an address that is")
            })?,
        };
        let auth = self.auth.as_ref().map(|auth| match auth.split_once(':') {
            Some((user, password)) => (Some(user.to_owned()), Password::from(password)),
            None => (None, auth.clone()),
        });
        Ok(Target { address, auth, resp: self.resp })
    }

    /// A result goes to files and colleagues.
    fn without_password(&self, command_line: Vec<String>) -> Vec<String> {
        let Some(password) = self.auth.as_deref().filter(|password| !password.is_empty()) else { return command_line };
        command_line.into_iter().map(|argument| argument.replace(password, HIDDEN)).collect()
    }
}

/// A flag whose value cannot be.
pub fn wrong(flag: &'static str, problem: &str, remedy: &str) -> StartError {
    StartError::Option { flag, problem: problem.to_owned(), remedy: remedy.to_owned() }
}

fn in_range(flag: &'static str, count: usize, max: usize) -> Result<(), StartError> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(wrong(flag, &format!("{count} is out of range"), &format!("Choose from 1 to {max}")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn host() -> Host {
        Host { cores: vec![0, 1, 2, 3], ..Host::read() }
    }

    fn resolve(flags: &str) -> Result<Run, String> {
        let arguments: Vec<String> =
            std::iter::once("bench").chain(flags.split_whitespace()).map(str::to_owned).collect();
        let line = Line::try_parse_from(&arguments).map_err(|error| error.to_string())?;
        line.options.resolve(&host(), arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_is_the_canonical_workload() {
        let run = resolve("").unwrap();
        assert_eq!(run.target.address.to_string(), "127.0.0.1:6379");
        assert_eq!(run.load, Load::Open { rate_per_s: 100_000.0, arrivals: Arrivals::Poisson });
        assert_eq!(run.limit, Limit::Time(Duration::from_secs(30)));
        assert_eq!((run.connections, run.threads, run.pipeline, run.key_count), (50, 2, 1, 1_000_000));
        assert!(run.verify && run.pin.is_empty());
    }

    #[test]
    fn flags_are_understood() {
        let run = resolve("-p 7000 --rate max -c 3 -P 64 -n 1000 --pin 2-3 -t 2 --mix incr=9,get=1 --resp 3").unwrap();
        assert_eq!((run.load, run.limit), (Load::Closed, Limit::Requests(1_000)));
        assert_eq!((run.pin, run.target.resp), (vec![2, 3], 3));
        assert_eq!("1.5m".parse(), Ok(Rate::PerSecond(1_500_000.0)));
        assert_eq!("250".parse(), Ok(Rate::PerSecond(250.0)));
        assert_eq!("250ms".parse(), Ok(Time(Duration::from_millis(250))));
        assert_eq!("1.5m".parse(), Ok(Time(Duration::from_secs(90))));
    }

    #[test]
    fn a_password_is_in_no_result() {
        let run = resolve("--auth me:secret").unwrap();
        assert_eq!(run.command_line.join(" "), format!("bench --auth {HIDDEN}"));
        let (user, password) = run.target.auth.unwrap();
        assert_eq!((user.as_deref(), &*password), (Some("me"), "secret"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        for (flags, said) in [
            ("--rate 0", "a rate above 0"),
            ("--rate fast", "a rate above 0"),
            ("--arrivals bursts", "poisson"),
            ("--duration 0", "--duration 0 is too short"),
            ("--duration 3x", "is no time"),
            ("--requests 0", "--requests 0 is not a load"),
            ("--requests 5 --duration 5s", "cannot be used with"),
            ("--connections 0", "--connections 0 is out of range. Choose from 1"),
            ("--pipeline 5000", "--pipeline 5000 is out of range"),
            ("--threads 51", "--threads 51 is out of range. Choose from 1 to 50"),
            ("--pin 9", "--pin 9 is not a core"),
            ("--pin 1 --threads 2", "--pin names 1 cores for 2 threads"),
            ("--keys 0", "0"),
            ("--key-size 4", "--mix keys of 4 bytes are out of range"),
            ("--mix lpush", "--mix \"lpush\" is not one of"),
            ("--mix mget:1000 --pipeline 100", "bytes at once"),
            ("--cluster --mix mget:2", "--cluster does not go with commands of several keys"),
            ("--resp 4", "4"),
            ("--host no.such.host.invalid", "--host no.such.host.invalid is not found"),
            ("--unixsocket /x --port 1", "cannot be used with"),
            ("--verify perhaps", "perhaps"),
            ("--trace /nonexistent", "--trace /nonexistent: "),
            ("--trace /x --rate 5", "cannot be used with"),
        ] {
            let error = resolve(flags).expect_err(flags);
            assert!(error.contains(said), "{flags}: {error}");
        }
    }
}
