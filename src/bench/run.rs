//! One run: from a checked [`Run`] to its [`RunResult`].
//!
//! It tries the commands once, reads the counters, has the load driven, and reads the counters again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::account;
use super::collect::Progress;
use super::control::{Control, Value};
use super::distribution::Distribution;
use super::drive::Driven;
use super::judge::Tolerance;
use super::mix::Mix;
use super::nodes::{self, Node};
use super::result::{Load, RunResult, Server, Verification, Workload};
use super::target::{self, Target, TargetError};
use super::template::KeyNames;
use super::trace::Trace;
use super::verify;

/// Where a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// After so long.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
}

/// What is to be done. All of it has been checked ([`super::options`]).
#[derive(Clone, Debug)]
pub struct Run {
    /// Who is asked.
    pub target: Target,
    /// It is a cluster: its nodes are asked, each for its own keys.
    pub cluster: bool,
    /// When requests are sent.
    pub load: Load,
    /// How long.
    pub limit: Limit,
    /// What is not measured, before that.
    pub warmup: Duration,
    /// Connections, at least one a thread.
    pub connections: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// The core of each thread, where there is one.
    pub pin: Vec<usize>,
    /// The threads never sleep.
    pub busy_poll: bool,
    /// Requests that a connection sends at once: in a closed loop it waits for all their replies, in an open one they
    /// share their intended time.
    pub pipeline: usize,
    /// The commands; of a trace their names only.
    pub mix: Arc<Mix>,
    /// What is replayed instead.
    pub trace: Option<Arc<Trace>>,
    /// How keys are chosen.
    pub distribution: Distribution,
    /// Different keys.
    pub key_count: u32,
    /// Bytes of a key.
    pub key_bytes: usize,
    /// Of all that is random.
    pub seed: u64,
    /// Whether the server's counting is verified.
    pub verify: bool,
    /// What lateness of the generator spoils nothing.
    pub tolerances: Vec<Tolerance>,
    /// For the result: the program and its arguments, without a password.
    pub command_line: Vec<String>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The server cannot be asked.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A connection ended before the load began.
    #[error("{address} ended a connection before the load began: {error}. Does it have a limit of connections?")]
    Lost {
        /// Who.
        address: String,
        /// How.
        error: io::Error,
    },
    /// The kernel refuses a ring.
    #[error(
        "cannot set up io_uring for a load thread: {error}. It needs Linux 6.0 or newer, and kernel.io_uring_disabled must be 0"
    )]
    Ring {
        /// What it said.
        error: io::Error,
    },
    /// The counters cannot be read for the verification.
    #[error("the counters cannot be read: {}", counters_problem(problem))]
    Counters {
        /// Why.
        problem: String,
    },
    /// A node of the cluster does not have the keys any more that it was asked for.
    #[error("a node of the cluster sends requests elsewhere: {reply}{}", target::MOVED)]
    Moved {
        /// Its words.
        reply: String,
    },
    /// The cluster is not one.
    #[error("--cluster does not work with this server: {problem}")]
    Cluster {
        /// Why.
        problem: String,
    },
    /// Some thread would have nobody to give a node's requests to.
    #[error(
        "{connections} connections of {threads} threads are too few for {node_count} nodes: each thread needs one to each. \
         Choose --connections {least} or more, or fewer --threads"
    )]
    Connections {
        /// Connections there are.
        connections: usize,
        /// Threads that share them.
        threads: usize,
        /// Nodes that requests of the load belong to.
        node_count: usize,
        /// Connections that would do.
        least: usize,
    },
    /// Stopped before there was anything to tell.
    #[error("interrupted before anything was measured")]
    Interrupted,
}

/// Why the counters cannot be read, and what to do about it.
fn counters_problem(problem: &str) -> String {
    let remedy = match target::remedy(problem) {
        "" => ". Choose other keys (--command), or run with --verify no",
        remedy => remedy,
    };
    format!("{problem}{remedy}")
}

impl BenchError {
    /// As a run's that was stopped, or failed.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, BenchError::Interrupted) { 2 } else { 1 }
    }
}

impl BenchError {
    /// With `--cluster` in use it is no remedy for a request that is sent elsewhere.
    fn in_cluster(self, run: &Run) -> BenchError {
        match self {
            BenchError::Counters { problem: reply } | BenchError::Target(TargetError::Refused { reply, .. })
                if run.cluster && target::is_redirection(&reply) =>
            {
                BenchError::Moved { reply }
            }
            error => error,
        }
    }
}

/// Who follows a run.
pub trait Observer {
    /// What is being done now, where it takes long.
    fn phase(&mut self, what: &str);

    /// A second has passed.
    fn second(&mut self, progress: &Progress);

    /// Whether the run is to end now. Looked at many times a second.
    fn interrupted(&self) -> bool;
}

/// Nobody.
impl Observer for () {
    fn phase(&mut self, _: &str) {}

    fn second(&mut self, _: &Progress) {}

    fn interrupted(&self) -> bool {
        false
    }
}

/// Run.
///
/// # Errors
/// Where there is nothing to tell. A run that ends early has a result.
pub fn run(run: &Run, observer: &mut dyn Observer) -> Result<RunResult, BenchError> {
    let mut control = run.target.control()?;
    let nodes = if run.cluster {
        nodes::of_cluster(&mut control, &run.target)?
    } else {
        vec![Node { target: run.target.clone(), part: None }]
    };
    let loaded = if run.cluster { nodes::loaded(&nodes, &run.mix, run.key_count) } else { nodes.clone() };
    check_connections(run, loaded.len())?;
    if run.connections < loaded.len() {
        let (connections, node_count) = (run.connections, loaded.len());
        observer.phase(&format!("{connections} connections: only as many of the {node_count} nodes are loaded"));
    }
    if run.trace.is_none() {
        try_commands(run, &nodes)?;
    }
    let server = describe_server(run, &mut control);
    let pid = if server.same_host { account::server_process(control.stream(), &run.target.address) } else { None };

    let counted = match (run.verify, &run.trace) {
        (false, _) => Err("it was switched off".to_owned()),
        (true, Some(_)) => Err("what a trace does to counters is not followed".to_owned()),
        (true, None) => run.mix.counted_names(),
    };
    let before = match &counted {
        Ok(names) => {
            observer.phase("reading the counters");
            Some(verify::sum(&nodes, names, run.key_count, observer).map_err(|error| error.in_cluster(run))?)
        }
        Err(_) => None,
    };
    let mut driven = Driven::drive(&Arc::new(run.clone()), &Arc::new(loaded), pid, observer)?;
    let verification = verification(run, &nodes, &counted, before, &mut driven, observer);
    Ok(driven.result(run, server, verification))
}

/// What the sums say, if they can be had.
fn verification(
    run: &Run,
    nodes: &[Node],
    counted: &Result<Vec<KeyNames>, String>,
    before: Option<i128>,
    driven: &mut Driven,
    observer: &mut dyn Observer,
) -> Verification {
    let (names, before) = match (counted, before) {
        (Ok(names), Some(before)) => (names, before),
        (Err(reason), _) => return Verification::Off { reason: reason.clone() },
        (Ok(_), None) => unreachable!("what is counted was read before"),
    };
    observer.phase("reading the counters again");
    let shown = driven.shown();
    match verify::sum(nodes, names, run.key_count, &mut Deaf(observer)) {
        Ok(after) => verify::judge(before, after, &shown),
        Err(error) => {
            let error = error.in_cluster(run);
            let reason = format!("the counters could not be read after the run: {error}");
            let is_gone = matches!(error, BenchError::Target(_));
            let cut_short =
                || if is_gone { format!("the server was gone after the run: {error}") } else { reason.clone() };
            driven.cut_short.get_or_insert_with(cut_short);
            Verification::Off { reason }
        }
    }
}

/// An observer whose wish to stop has been granted already.
struct Deaf<'a>(&'a mut dyn Observer);

impl Observer for Deaf<'_> {
    fn phase(&mut self, what: &str) {
        self.0.phase(what);
    }

    fn second(&mut self, progress: &Progress) {
        self.0.second(progress);
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// A thread of an open loop hands out requests for every node.
fn check_connections(run: &Run, node_count: usize) -> Result<(), BenchError> {
    let Run { connections, threads, .. } = *run;
    if run.load == Load::Closed || connections / threads >= node_count {
        return Ok(());
    }
    Err(BenchError::Connections { connections, threads, node_count, least: threads * node_count })
}

/// Each command once: what the server does not know would only make a run of errors.
///
/// # Errors
/// Where it refuses one, or does not answer.
pub fn try_commands(run: &Run, nodes: &[Node]) -> Result<(), BenchError> {
    let mut controls = nodes.iter().map(|node| node.target.control()).collect::<Result<Vec<_>, _>>()?;
    for template in run.mix.templates() {
        let mut request = vec![0; template.request_bytes()];
        template.write(&mut request, || 0);
        let owner = nodes::owner(nodes, template.first_key(&request));
        let replies = controls[owner].pipeline(&request, template.reply_count as usize, &template.tag)?;
        for reply in replies {
            if let Value::Error(reply) = reply {
                let refused = TargetError::Refused { command: template.tag.clone(), reply };
                return Err(BenchError::from(refused).in_cluster(run));
            }
        }
    }
    Ok(())
}

fn describe_server(run: &Run, control: &mut Control) -> Server {
    let info = match control.call(&["INFO", "server"]) {
        Ok(Value::Text(text)) => text,
        _ => String::new(),
    };
    Server {
        address: run.target.address.to_string(),
        software: software(&info),
        same_host: run.target.address.is_local(),
    }
}

/// Of `INFO server`: `redis 7.0.15`. What only claims to be a Redis names itself before.
fn software(info: &str) -> Option<String> {
    let versions: Vec<(&str, &str)> = info
        .lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .filter_map(|(field, value)| Some((field.strip_suffix("_version")?, value)))
        .filter(|(name, _)| ["redis", "valkey", "tallyring", "kevy", "dragonfly", "keydb"].contains(name))
        .collect();
    let (name, version) = versions.iter().find(|(name, _)| *name != "redis").or(versions.first())?;
    Some(format!("{name} {version}"))
}

impl Run {
    /// Within how many nanoseconds of measured time requests come due; a closed loop of so many has no end beforehand.
    pub fn length_ns(&self) -> u64 {
        match (self.limit, self.load) {
            (Limit::Time(time), _) => time.as_nanos() as u64,
            (Limit::Requests(count), Load::Open { rate_per_s, .. }) => (count as f64 / rate_per_s * 1e9) as u64,
            (Limit::Requests(_), Load::Closed) => u64::MAX / 4,
        }
    }

    /// The measured time goes on until the last reply: what is asked for is so many requests, or those of a trace. A loop
    /// over so long a time ends when that is over, and what comes later is no throughput.
    pub fn ends_with_last_reply(&self) -> bool {
        matches!(self.limit, Limit::Requests(_)) || self.trace.is_some()
    }

    /// What was asked, for the result.
    pub fn workload(&self) -> Workload {
        Workload {
            load: self.load,
            connection_count: self.connections,
            thread_count: self.threads,
            pipeline_depth: self.pipeline,
            key_count: u64::from(self.key_count),
            key_bytes: self.key_bytes,
            distribution: self.distribution.to_string(),
            mix: self.mix.text().to_owned(),
            seed: self.seed,
            warmup_s: self.warmup.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_by_its_own_name() {
        assert_eq!(software("# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n").as_deref(), Some("redis 7.0.15"));
        let info = "redis_version:7.2.4\r\nvalkey_version:8.0.1\r\ngcc_version:12\r\n";
        assert_eq!(software(info).as_deref(), Some("valkey 8.0.1"));
        assert_eq!(software("nothing"), None);
    }
}
