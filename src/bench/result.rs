//! What one run of the load generator found out, as plain data.
//!
//! Times are in nanoseconds and rates in requests a second. *Response* counts from the moment that a request was to be
//! sent, *service* from the moment that it was sent, *lateness* is what lies between. What was to be sent before the
//! measured time (the warm-up) is in none of it, but for the count of replies that came within that time.

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::histogram::{Packed, Recorded};

/// The version of the JSON form. It grows when a reader of the old one could misunderstand the new one.
pub const FORMAT: u32 = 1;

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of the load generator.
    pub version: String,
    /// The program and its arguments, as given; a password is not in it.
    pub command_line: Vec<String>,
    /// When the measured time began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// How long it was, in nanoseconds.
    pub measured_ns: u64,
    /// Where the load came from.
    pub host: Fingerprint,
    /// Who was asked.
    pub server: Server,
    /// What was asked, and how often.
    pub workload: Workload,
    /// How many requests there were.
    pub requests: Requests,
    /// Times of all commands.
    pub latency: Latencies,
    /// Times by command, in the order of the mix; the name is a tag, as `incr` or `mget:10`.
    pub commands: Vec<CommandLatencies>,
    /// What happened in each second of the measured time, in order, without a gap.
    pub seconds: Vec<Second>,
    /// What was answered after the measured time, in the time of grace; its `answered` are no throughput. With it the
    /// histograms of all seconds add up to [`RunResult::latency`]. `None` where nothing was.
    #[serde(default)]
    pub late: Option<Second>,
    /// Whether the server counted right.
    pub verification: Verification,
    /// Who could not go faster.
    pub bottleneck: Bottleneck,
    /// What the run is worth.
    pub verdict: Verdict,
}

/// The server that was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// `127.0.0.1:6379`, or the path of a Unix socket.
    pub address: String,
    /// What `INFO server` says that it is, as `redis 7.0.15`.
    pub software: Option<String>,
    /// It runs on the machine of the generator: they took cores, caches and memory from each other.
    pub same_host: bool,
}

/// What was asked of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// When requests are sent.
    pub load: Load,
    /// Connections.
    pub connection_count: usize,
    /// Threads of the generator.
    pub thread_count: usize,
    /// Requests that a connection has under way at most.
    pub pipeline_depth: usize,
    /// Different keys.
    pub key_count: u64,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// How keys are chosen, as given: `uniform`, `zipf:0.99` …
    pub distribution: String,
    /// Commands and their shares, as given: `incr=90,get=10`.
    pub mix: String,
    /// What the random choices began from: the same gives the same requests.
    pub seed: u64,
    /// Seconds before the measured time.
    pub warmup_s: f64,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// At times chosen beforehand, whatever the server does.
    Open {
        /// Requests a second, over all connections.
        rate_per_s: f64,
        /// How the times are spread.
        arrivals: Arrivals,
    },
    /// Each as soon as an earlier one is answered: the server sets the pace, so its stalls hide themselves.
    Closed,
}

/// How the intended times of an open loop are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independently of each other, as those of many users are.
    Poisson,
    /// Evenly.
    Constant,
    /// As in a recorded trace.
    Trace,
}

/// How many requests a run had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// To be sent in the measured time; in a closed loop as many as were sent.
    pub intended: u64,
    /// Sent, of those.
    pub sent: u64,
    /// Never handed out to a connection, of those, because the generator did not come to it.
    #[serde(default)]
    pub withheld: u64,
    /// Replies that came within the measured time: the throughput is made of these alone. What the warm-up has left is
    /// among them; not so in a run of so many requests, whose replies these are.
    pub answered: u64,
    /// Error replies among them.
    pub errors: u64,
    /// Sent, and neither answered within the measured time nor in the time of grace after it.
    pub unanswered: u64,
    /// Connections that the server ended.
    pub resets: u64,
    /// How many of them were opened again.
    #[serde(default)]
    pub reopened: u64,
}

/// A run of so many requests ends with its last reply. That it took so much longer than its rate says is no shortfall.
const EXCESS_S_MAX: f64 = 0.1;

impl Requests {
    /// Share of the offered rate that was achieved; `None` in a closed loop.
    pub fn achieved_share(&self, load: Load, measured_ns: u64) -> Option<f64> {
        let Load::Open { rate_per_s, .. } = load else { return None };
        let (offered_s, measured_s) = (self.intended as f64 / rate_per_s, measured_ns as f64 / 1e9);
        // What the warm-up has left may be answered beside all that is offered.
        let of_requests = (self.answered as f64 / (self.intended as f64).max(1.0)).min(1.0);
        Some(if measured_s - offered_s <= EXCESS_S_MAX { of_requests } else { of_requests * offered_s / measured_s })
    }
}

/// The three histograms.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// From the intended time of a request to its reply.
    pub response: Recorded,
    /// From its actual time to its reply.
    pub service: Recorded,
    /// From the intended to the actual time.
    pub lateness: Recorded,
}

impl Latencies {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, &Recorded); 3] {
        [("response", &self.response), ("service", &self.service), ("lateness", &self.lateness)]
    }
}

/// The histograms of one command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandLatencies {
    /// A tag without spaces and commas.
    pub tag: String,
    /// Its times.
    pub latency: Latencies,
}

/// One second of a run, of which the last may be shorter, or the time after them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// When it began, in nanoseconds of the measured time.
    pub start_ns: u64,
    /// How long it was.
    pub length_ns: u64,
    /// Requests to be sent in it.
    pub intended: u64,
    /// Requests that were sent in it.
    pub sent: u64,
    /// Replies that came in it.
    pub answered: u64,
    /// Error replies among them.
    pub errors: u64,
    /// Response times of the requests that were answered in it, without those of the warm-up.
    pub response: Packed,
    /// Their service times.
    pub service: Packed,
    /// Their lateness.
    pub lateness: Packed,
}

impl Second {
    /// Each histogram with its name.
    pub fn named(&self) -> [(&'static str, &Packed); 3] {
        [("response", &self.response), ("service", &self.service), ("lateness", &self.lateness)]
    }
}

/// Whether the counters are what they must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// It was switched off, or nothing was counted.
    Off {
        /// Why.
        reason: String,
    },
    /// All counters grew by what was acknowledged, and no reply went backwards.
    Passed {
        /// Increments that were acknowledged.
        acknowledged: u64,
        /// Increments whose outcome a reset left unknown.
        unknown: u64,
        /// By how much the counters grew: at least `acknowledged`, at most `unknown` more.
        grown: u64,
    },
    /// They did not.
    Failed {
        /// What was found, a line each, the worst first.
        findings: Vec<String>,
    },
}

/// What limits there were. A share is of the measured time: 1.0 is all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bottleneck {
    /// Share that each thread of the generator was busy.
    pub generator_busy: Vec<f64>,
    /// Share that the server's process used of one core, over all its threads, where it can be seen.
    pub server_cpu: Option<f64>,
    /// The same of its busiest thread.
    pub server_thread_cpu: Option<f64>,
    /// Segments that the generator's machine sent again, over all connections, where it can be seen.
    pub retransmits: Option<u64>,
    /// Who it was, in one sentence.
    pub summary: String,
}

/// What a run is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its numbers hold.
    Ok,
    /// The server counted wrongly, or answered with errors.
    Mismatch {
        /// What was found.
        reason: String,
    },
    /// Something but the server set the numbers: the generator was late, or could not keep the rate.
    Inconclusive {
        /// What, and what to do about it.
        reason: String,
    },
    /// It ended early: interrupted, or the server went away. The numbers hold for what there is.
    Partial {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// The exit code of the process: 0 for numbers that hold, 1 for a server that is wrong, 2 for no result.
    pub fn exit_code(&self) -> u8 {
        match self {
            Verdict::Ok => 0,
            Verdict::Mismatch { .. } => 1,
            Verdict::Inconclusive { .. } | Verdict::Partial { .. } => 2,
        }
    }

    /// In words.
    pub fn line(&self) -> String {
        match self {
            Verdict::Ok => "ok".to_owned(),
            Verdict::Mismatch { reason } => format!("WRONG: {reason}"),
            Verdict::Inconclusive { reason } => format!("inconclusive: {reason}"),
            Verdict::Partial { reason } => format!("partial: {reason}"),
        }
    }
}

impl RunResult {
    /// All seconds, and what came after them.
    pub fn intervals(&self) -> impl Iterator<Item = &Second> {
        self.seconds.iter().chain(&self.late)
    }

    /// The measured time in seconds.
    pub fn measured_s(&self) -> f64 {
        self.measured_ns as f64 / 1e9
    }

    /// Requests a second that were to be sent; `None` in a closed loop.
    pub fn offered_per_s(&self) -> Option<f64> {
        match self.workload.load {
            Load::Open { rate_per_s, .. } => Some(rate_per_s),
            Load::Closed => None,
        }
    }

    /// Replies a second, over the measured time.
    pub fn achieved_per_s(&self) -> f64 {
        if self.measured_ns == 0 { 0.0 } else { self.requests.answered as f64 / self.measured_s() }
    }
}
