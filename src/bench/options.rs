//! The flags of `tallyring bench`, and the [`Run`] that they describe.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::count;
use super::flags::{Flags, Shape, wrong};
use super::result::{Arrivals, Load};
use super::run::{Limit, Run};
use super::trace::Trace;
use crate::host::Host;
use crate::limits::LOAD_RATE_MAX;
use crate::startup::StartError;

/// How a trace is made.
const TRACE_REMEDY: &str = "Record one with `redis-cli monitor > FILE`";

/// The flags.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Who is asked, with what.
    #[command(flatten)]
    pub flags: Flags,

    /// Requests a second, each at its time whatever the server does (500k, 1.2m); or max: a closed loop, in which each
    /// connection waits for its replies before it sends more, for the peak throughput
    #[arg(short, long, help_heading = "Load", default_value = "100k", value_name = "RATE|max")]
    pub rate: Rate,

    /// How the requests of an open loop are spread: poisson, as those of many users, or constant
    #[arg(long, help_heading = "Load", default_value = "poisson", value_name = "poisson|constant")]
    pub arrivals: Spread,

    /// Measure for so long: 30s, 500ms, 5m
    #[arg(short, long, help_heading = "Load", default_value = "30s", value_name = "TIME")]
    pub duration: Time,

    /// Measure so many requests instead
    #[arg(short = 'n', long, help_heading = "Load", value_name = "COUNT", conflicts_with = "duration", value_parser = count::within(0..=u64::MAX))]
    pub requests: Option<u64>,

    /// Load the server for so long before
    #[arg(long, help_heading = "Load", default_value = "1s", value_name = "TIME")]
    pub warmup: Time,

    /// Replay what `redis-cli monitor` wrote into this file instead, each request at its time
    #[arg(long, help_heading = "Requests", value_name = "FILE", conflicts_with_all = ["mix", "command", "rate", "arrivals", "duration", "requests", "warmup", "pipeline", "keys", "key_size", "distribution", "cluster"])]
    pub trace: Option<PathBuf>,
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
        let (number, zeros) = count::split_unit(text);
        let per_s = number.parse().ok().map(|number: f64| number * 10_f64.powi(zeros as i32));
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
        let shape = match &self.trace {
            Some(path) => replay(path)?,
            None => self.shape()?,
        };
        self.flags.run(shape, host, command_line)
    }

    fn shape(&self) -> Result<Shape, StartError> {
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
        Ok(Shape { load, limit, warmup: self.warmup.0, trace: None })
    }
}

fn replay(path: &Path) -> Result<Shape, StartError> {
    let problem = |problem: String| wrong("trace", &format!("{}: {problem}", path.display()), TRACE_REMEDY);
    let trace = Trace::read(path).map_err(problem)?;
    let mix = trace.mix(&path.display().to_string()).map_err(problem)?;
    let length_ns = trace.length_ns();
    let rate_per_s = trace.len() as f64 / (length_ns as f64 / 1e9);
    Ok(Shape {
        load: Load::Open { rate_per_s, arrivals: Arrivals::Trace },
        limit: Limit::Time(Duration::from_nanos(length_ns)),
        warmup: Duration::ZERO,
        trace: Some((trace, mix)),
    })
}

#[cfg(test)]
#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

#[cfg(test)]
fn host() -> Host {
    Host { cores: vec![0, 1, 2, 3], ..Host::read() }
}

/// The run that a command line describes, for tests.
#[cfg(test)]
pub(super) fn described(flags: &str) -> Result<Run, String> {
    use clap::Parser;
    let arguments: Vec<String> = std::iter::once("bench").chain(flags.split_whitespace()).map(str::to_owned).collect();
    let line = Line::try_parse_from(&arguments).map_err(|error| error.to_string())?;
    line.options.resolve(&host(), arguments).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::described as resolve;
    use super::*;
    use crate::bench::flags::HIDDEN;

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
        let run = resolve("--keys 250k -n 1.5m").unwrap();
        assert_eq!((run.key_count, run.limit), (250_000, Limit::Requests(1_500_000)));
        assert_eq!("1.5m".parse(), Ok(Rate::PerSecond(1_500_000.0)));
        assert_eq!("250".parse(), Ok(Rate::PerSecond(250.0)));
        assert_eq!("250ms".parse(), Ok(Time(Duration::from_millis(250))));
        assert_eq!("1.5m".parse(), Ok(Time(Duration::from_secs(90))));
    }

    #[test]
    fn written_commands_for_a_cluster_must_have_their_keys_in_one_slot() {
        let with = |command: &str| {
            let arguments = ["bench", "--cluster", "--command", command].map(str::to_owned);
            let line = Line::try_parse_from(&arguments).unwrap();
            line.options.resolve(&host(), arguments.into()).map_err(|error| error.to_string())
        };
        assert!(with("MGET {u}a:{key} {u}b:{key}").is_ok() && with("INCR a:{key}").is_ok() && with("PING").is_ok());
        let error = with("MGET a:{key} b:{key}").unwrap_err();
        assert!(error.contains("not all of one slot"), "{error}");
    }

    #[test]
    fn a_password_is_in_no_result() {
        let run = resolve("--auth me:secret").unwrap();
        assert_eq!(run.command_line.join(" "), format!("bench --auth {HIDDEN}"));
        let (user, password) = run.target.auth.unwrap();
        assert_eq!((user.as_deref(), &*password), (Some("me"), "secret"));
        // What looks like it elsewhere is none.
        for auth in ["-a 1", "--auth 1", "--auth=1", "-a1"] {
            let shown = resolve(&format!("--port 4711 {auth} --keys 10")).unwrap().command_line.join(" ");
            assert_eq!(shown, format!("bench --port 4711 {} --keys 10", auth.replace('1', HIDDEN)));
        }
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
            ("--keys 0", "no whole number from 1 to 4294967295"),
            ("--keys 1.5", "such as 100000, 100k or 1.5m"),
            ("--requests many", "such as 100000, 100k or 1.5m"),
            ("--key-size 4", "--mix keys of 4 bytes are out of range"),
            ("--mix lpush", "--mix \"lpush\" is not one of"),
            ("--mix mget:1000 --pipeline 100", "bytes at once"),
            ("--cluster --mix mget:2 --key-size 10", "--mix keys of 10 bytes are out of range"),
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
