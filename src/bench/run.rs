//! One run: from a checked [`Run`] to its [`RunResult`].
//!
//! The calling thread looks after the others: it tries the commands once, reads the counters, starts the load threads,
//! collects what they hand over each second, and reads the counters again.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::account::{self, ProcessTime};
use super::distribution::Distribution;
use super::fingerprint::Fingerprint;
use super::flight::Shown;
use super::histogram::{self, Packed, Recorded as Histogram};
use super::judge::Facts;
use super::mix::Mix;
use super::nodes::{self, Node};
use super::pace::now_ns;
use super::record::{Recorded, Recording, SECOND_NS, Span, Times};
use super::result::{
    CommandLatencies, FORMAT, Latencies, Load, Requests, RunResult, Second, Server, Verification, Workload,
};
use super::target::{Control, Target, TargetError, Value};
use super::template::KeyNames;
use super::thread::{self as load_thread, Order, ThreadReport};
use super::trace::Trace;
use super::verify;
use crate::slot;

/// From the start of all threads until the load begins.
const LEAD_NS: u64 = 2_000_000;

/// How often the collector looks whether the run is to be stopped.
const TICK: Duration = Duration::from_millis(20);

/// Keys that are looked at to see which nodes of a cluster have any.
const LOOKED_AT_KEY_COUNT: u32 = 100_000;

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
    #[error("the counters cannot be read: {problem}. Choose other keys (--command), or run with --verify no")]
    Counters {
        /// Why.
        problem: String,
    },
    /// The cluster is not one.
    #[error("--cluster does not work with this server: {problem}")]
    Cluster {
        /// Why.
        problem: String,
    },
    /// Stopped before there was anything to tell.
    #[error("interrupted before anything was measured")]
    Interrupted,
}

impl BenchError {
    /// As a run's that was stopped, or failed.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, BenchError::Interrupted) { 2 } else { 1 }
    }
}

/// Who follows a run.
pub trait Observer {
    /// What is being done now, where it takes long.
    fn phase(&mut self, what: &str);

    /// A second has passed.
    fn second(&mut self, progress: &Progress<'_>);

    /// Whether the run is to end now. Looked at many times a second.
    fn interrupted(&self) -> bool;
}

/// Nobody.
impl Observer for () {
    fn phase(&mut self, _: &str) {}

    fn second(&mut self, _: &Progress<'_>) {}

    fn interrupted(&self) -> bool {
        false
    }
}

/// A second of a run.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Which, from 0 on.
    pub second: usize,
    /// How long it was in nanoseconds; the last one may be shorter.
    pub length_ns: u64,
    /// Replies.
    pub answered_count: u64,
    /// Error replies among them.
    pub error_count: u64,
    /// The times of all commands.
    pub times: &'a Times,
}

/// Run.
///
/// # Errors
/// Where there is nothing to tell. A run that ends early has a result.
pub fn run(run: &Run, observer: &mut dyn Observer) -> Result<RunResult, BenchError> {
    let mut control = run.target.control()?;
    let nodes = if run.cluster {
        with_keys(nodes::of_cluster(&mut control, &run.target)?, run)
    } else {
        vec![Node { target: run.target.clone(), slots: None }]
    };
    if run.trace.is_none() {
        try_commands(run, &nodes)?;
    }
    let server = describe_server(run, &mut control);
    let pid = if server.same_host { account::server_process(control.stream(), &run.target.address) } else { None };

    let counted = if run.verify { run.mix.counted_names() } else { Err("it was switched off".to_owned()) };
    let before = match &counted {
        Ok(names) => {
            observer.phase("reading the counters");
            Some(verify::sum(&nodes, names, run.key_count, observer)?)
        }
        Err(_) => None,
    };
    let nodes = Arc::new(nodes);
    let mut collected = Collected::run(&Arc::new(run.clone()), &nodes, pid, observer)?;
    let verification = verification(run, &nodes, &counted, before, &mut collected, observer);
    Ok(collected.result(run, server, verification))
}

/// What the sums say, if they can be had.
fn verification(
    run: &Run,
    nodes: &[Node],
    counted: &Result<Vec<KeyNames>, String>,
    before: Option<i128>,
    collected: &mut Collected,
    observer: &mut dyn Observer,
) -> Verification {
    let (names, before) = match (counted, before) {
        (Ok(names), Some(before)) => (names, before),
        (Err(reason), _) => return Verification::Off { reason: reason.clone() },
        (Ok(_), None) => unreachable!("what is counted was read before"),
    };
    observer.phase("reading the counters again");
    let shown = collected.shown();
    match verify::sum(nodes, names, run.key_count, &mut Deaf(observer)) {
        Ok(after) => verify::judge(before, after, &shown),
        Err(error) => {
            collected.cut_short.get_or_insert_with(|| format!("the server was gone after the run: {error}"));
            Verification::Off { reason: format!("the counters could not be read after the run: {error}") }
        }
    }
}

/// An observer whose wish to stop has been granted already.
struct Deaf<'a>(&'a mut dyn Observer);

impl Observer for Deaf<'_> {
    fn phase(&mut self, what: &str) {
        self.0.phase(what);
    }

    fn second(&mut self, progress: &Progress<'_>) {
        self.0.second(progress);
    }

    fn interrupted(&self) -> bool {
        false
    }
}

/// The nodes that own any of the load's keys.
fn with_keys(nodes: Vec<Node>, run: &Run) -> Vec<Node> {
    let Some(names) = run.mix.templates().iter().find_map(|template| template.names.as_ref()) else { return nodes };
    let mut key = Vec::new();
    let mut owns = vec![false; nodes.len()];
    for number in 0..names.count(run.key_count).min(LOOKED_AT_KEY_COUNT) {
        key.clear();
        names.write(number, &mut key);
        let slot = slot::of(&key);
        let owner = nodes.iter().position(|node| node.slots.as_ref().is_some_and(|slots| slots.contains(slot)));
        owner.into_iter().for_each(|owner| owns[owner] = true);
    }
    let mut owns = owns.into_iter();
    nodes.into_iter().filter(|_| owns.next().unwrap_or(false)).collect()
}

/// Each command once: what the server does not know would only make a run of errors.
fn try_commands(run: &Run, nodes: &[Node]) -> Result<(), BenchError> {
    let mut controls = nodes.iter().map(|node| node.target.control()).collect::<Result<Vec<_>, _>>()?;
    for template in run.mix.templates() {
        let mut request = vec![0; template.request_bytes()];
        template.write(&mut request, || 0);
        let slot = slot::of(template.first_key(&request));
        let owner = nodes.iter().position(|node| node.slots.as_ref().is_some_and(|slots| slots.contains(slot)));
        let replies = controls[owner.unwrap_or(0)].pipeline(&request, template.reply_count as usize, &template.tag)?;
        for reply in replies {
            if let Value::Error(reply) = reply {
                return Err(TargetError::Refused { command: template.tag.clone(), reply }.into());
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

/// What came of the threads.
struct Collected {
    reports: Vec<ThreadReport>,
    commands: Vec<Times>,
    seconds: Vec<Second>,
    started_unix_ms: u64,
    /// When the measured time began and ended.
    span: Span,
    /// Share of a core that the server used: all its threads, and the busiest.
    server: Option<(f64, f64)>,
    retransmits: Option<u64>,
    cut_short: Option<String>,
}

impl Collected {
    fn run(
        run: &Arc<Run>,
        nodes: &Arc<Vec<Node>>,
        pid: Option<u32>,
        observer: &mut dyn Observer,
    ) -> Result<Collected, BenchError> {
        let command_count = run.mix.templates().len();
        let stop = Arc::new(AtomicBool::new(false));
        let (recorded, from_threads) = mpsc::channel();
        let (ready, are_ready) = mpsc::channel();
        let (mut threads, mut goes, mut spares) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..run.threads {
            let (go, goes_on) = mpsc::channel();
            let (spare, spare_sets) = mpsc::channel();
            for _ in 0..2 {
                let _ = spare.send(Box::new(Recording::new(command_count)));
            }
            let order = Order {
                run: run.clone(),
                index,
                nodes: nodes.clone(),
                recorded: recorded.clone(),
                spares: spare_sets,
                ready: ready.clone(),
                go: goes_on,
                stop: stop.clone(),
            };
            let spawned = thread::Builder::new().name(format!("load-{index}")).spawn(move || load_thread::run(order));
            threads.push(spawned.map_err(|error| BenchError::Ring { error })?);
            goes.push(go);
            spares.push(spare);
        }
        drop((recorded, ready));
        for _ in 0..run.threads {
            // A thread that ends without a word has been told by another's failure.
            are_ready.recv().unwrap_or(Err(BenchError::Interrupted))?;
        }
        let begin_ns = now_ns() + LEAD_NS;
        let start_ns = begin_ns + run.warmup.as_nanos() as u64;
        let span = Span { start_ns, end_ns: start_ns.saturating_add(run.length_ns()) };
        goes.iter().for_each(|go| _ = go.send((begin_ns, span)));

        let mut collector = Collector::new(run.threads, command_count, span, spares);
        let mut accounts = Accounts::new(pid);
        let started_unix =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_nanos(LEAD_NS);
        let mut interrupted_ns = None;
        loop {
            match from_threads.recv_timeout(TICK) {
                Ok(recorded) => collector.take(recorded, observer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now_ns = now_ns();
            accounts.look(span, now_ns);
            if interrupted_ns.is_none() && observer.interrupted() {
                interrupted_ns = Some(now_ns);
                stop.store(true, Ordering::Relaxed);
            }
        }
        let reports: Vec<ThreadReport> = threads
            .into_iter()
            .filter_map(|thread| thread.join().expect("a thread that fails ends the process"))
            .collect();
        let ended_ns = end_of(&reports, run, span);
        if interrupted_ns.is_some_and(|ns| ns <= span.start_ns) {
            return Err(BenchError::Interrupted);
        }
        let elapsed_s = (ended_ns - span.start_ns) as f64 / 1e9;
        let cut_short = if reports.iter().all(|report| report.deserted) {
            let how = reports.iter().find_map(|report| report.reset.clone()).unwrap_or_default();
            Some(format!("the server ended all connections after {elapsed_s:.1} s: {how}"))
        } else {
            // Once everything was sent there is nothing to stop any more.
            interrupted_ns.filter(|ns| *ns < span.end_ns).map(|_| format!("interrupted after {elapsed_s:.1} s"))
        };
        let span = Span { end_ns: ended_ns, ..span };
        let (server, retransmits) = accounts.shares();
        let (commands, seconds) = collector.finish(span, &reports);
        let started_unix_ms = (started_unix + run.warmup).as_millis() as u64;
        Ok(Collected { reports, commands, seconds, started_unix_ms, span, server, retransmits, cut_short })
    }

    /// What all threads' replies showed.
    fn shown(&self) -> Shown {
        let mut all = Shown::default();
        for report in &self.reports {
            let Shown { acknowledged, unknown, error_count, error, backward_count, backward, strange_count } =
                report.shown.clone();
            all.acknowledged += acknowledged;
            all.unknown += unknown;
            all.error_count += error_count;
            all.backward_count += backward_count;
            all.strange_count += strange_count;
            all.error = all.error.or(error);
            all.backward = all.backward.or(backward);
        }
        all
    }

    fn result(self, run: &Run, server: Server, verification: Verification) -> RunResult {
        let sum = |of: fn(&ThreadReport) -> u64| self.reports.iter().map(of).sum::<u64>();
        let measured_ns = self.span.end_ns - self.span.start_ns;
        let requests = Requests {
            intended: sum(|report| report.intended.iter().sum()),
            sent: sum(|report| report.sent.iter().sum()),
            answered: self.seconds.iter().map(|second| second.answered).sum(),
            errors: self.seconds.iter().map(|second| second.errors).sum(),
            unanswered: sum(|report| report.unanswered_count),
            resets: sum(|report| report.reset_count),
        };
        let shown = self.shown();
        let mut all = Times::default();
        self.commands.iter().for_each(|times| all.add(times));
        let mut own_lateness = histogram::empty();
        let mut reset = None;
        for report in &self.reports {
            own_lateness.add(&report.own_lateness).expect("they have the same bounds");
            reset = reset.or(report.reset.as_deref());
        }
        let busy =
            |report: &ThreadReport| report.cpu_ns.saturating_sub(report.spun_ns) as f64 / (measured_ns as f64).max(1.0);
        let facts = Facts {
            load: run.load,
            requests,
            measured_ns,
            response: &all.response,
            own_lateness: &own_lateness,
            generator_busy: self.reports.iter().map(busy).collect(),
            server: self.server,
            retransmits: self.retransmits,
            verification: &verification,
            error: shown.error.as_deref(),
            reset,
            cut_short: self.cut_short.as_deref(),
        };
        let (bottleneck, verdict) = (facts.bottleneck(), facts.verdict());
        let templates = run.mix.templates().iter();
        RunResult {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: run.command_line.clone(),
            started_unix_ms: self.started_unix_ms,
            measured_ns,
            host: Fingerprint::read(),
            server,
            workload: run.workload(),
            requests,
            latency: latencies(all),
            commands: templates
                .zip(self.commands)
                .map(|(template, times)| CommandLatencies { tag: template.tag.clone(), latency: latencies(times) })
                .collect(),
            seconds: self.seconds,
            verification,
            bottleneck,
            verdict,
        }
    }
}

impl Run {
    /// How long the measured time is, in nanoseconds; a closed loop of so many requests has no end beforehand.
    fn length_ns(&self) -> u64 {
        match (self.limit, self.load) {
            (Limit::Time(time), _) => time.as_nanos() as u64,
            (Limit::Requests(count), Load::Open { rate_per_s, .. }) => (count as f64 / rate_per_s * 1e9) as u64,
            (Limit::Requests(_), Load::Closed) => u64::MAX / 4,
        }
    }

    fn workload(&self) -> Workload {
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

/// When the measured time ended: as planned, or when the last thread was done.
fn end_of(reports: &[ThreadReport], run: &Run, span: Span) -> u64 {
    let planned_ns = match (run.limit, run.load) {
        (Limit::Requests(_), Load::Closed) => {
            reports.iter().map(|report| report.last_reply_ns).max().unwrap_or(span.start_ns)
        }
        _ => span.end_ns,
    };
    let stopped_ns = reports.iter().map(|report| report.end_ns).max().unwrap_or(span.start_ns);
    planned_ns.min(stopped_ns).max(span.start_ns + 1)
}

fn latencies(times: Times) -> Latencies {
    let Times { response, service, lateness } = times;
    Latencies { response: Histogram(response), service: Histogram(service), lateness: Histogram(lateness) }
}

/// The server's processor time and the network's troubles, at the beginning and at the end of the measured time.
struct Accounts {
    pid: Option<u32>,
    before: Option<(u64, Option<ProcessTime>, Option<u64>)>,
    after: Option<(u64, Option<ProcessTime>, Option<u64>)>,
}

impl Accounts {
    fn new(pid: Option<u32>) -> Accounts {
        Accounts { pid, before: None, after: None }
    }

    fn look(&mut self, span: Span, now_ns: u64) {
        let read = || (now_ns, self.pid.and_then(ProcessTime::read), account::retransmit_count());
        if self.before.is_none() && now_ns >= span.start_ns {
            self.before = Some(read());
        } else if self.before.is_some() && self.after.is_none() && now_ns >= span.end_ns {
            self.after = Some(read());
        }
    }

    /// Shares of a core that the server used, and segments that were sent again.
    fn shares(self) -> (Option<(f64, f64)>, Option<u64>) {
        let pid = self.pid;
        let Some((before_ns, before, resent_before)) = self.before else { return (None, None) };
        let after =
            self.after.unwrap_or_else(|| (now_ns(), pid.and_then(ProcessTime::read), account::retransmit_count()));
        let (after_ns, after, resent_after) = after;
        let server = before.zip(after).map(|(before, after)| {
            let (all_ns, busiest_ns) = after.since(&before);
            let elapsed_ns = (after_ns - before_ns).max(1) as f64;
            (all_ns as f64 / elapsed_ns, busiest_ns as f64 / elapsed_ns)
        });
        (server, resent_before.zip(resent_after).map(|(before, after)| after.saturating_sub(before)))
    }
}

/// A second that is complete, on its way to being packed.
struct Complete {
    answered_count: u64,
    error_count: u64,
    times: Times,
}

/// Adds up what the threads hand over.
struct Collector {
    span: Span,
    commands: Vec<Times>,
    /// Seconds that not all threads have passed, the first of them first.
    open: std::collections::VecDeque<Complete>,
    /// How many seconds are complete.
    complete_count: usize,
    /// Seconds that each thread has passed.
    passed_counts: Vec<usize>,
    spares: Vec<Sender<Box<Recording>>>,
    packing: Sender<Complete>,
    packer: thread::JoinHandle<Vec<Second>>,
}

impl Collector {
    fn new(thread_count: usize, command_count: usize, span: Span, spares: Vec<Sender<Box<Recording>>>) -> Collector {
        let (packing, complete) = mpsc::channel();
        // It takes milliseconds a second, which neither the load threads nor the server are to miss.
        let packer = thread::Builder::new().name("packer".to_owned()).spawn(move || pack(&complete));
        Collector {
            span,
            commands: vec![Times::default(); command_count],
            open: std::collections::VecDeque::new(),
            complete_count: 0,
            passed_counts: vec![0; thread_count],
            spares,
            packing,
            packer: packer.expect("threads can be started: the load threads were"),
        }
    }

    fn take(&mut self, recorded: Recorded, observer: &mut dyn Observer) {
        let Recorded { thread, second, mut recording } = recorded;
        for (all, times) in self.commands.iter_mut().zip(&recording.commands) {
            all.add(times);
        }
        if let Some(second) = second {
            assert!(second >= self.complete_count, "a thread went back to a second that was over");
            while self.open.len() <= second - self.complete_count {
                self.open.push_back(Complete { answered_count: 0, error_count: 0, times: Times::default() });
            }
            let into = &mut self.open[second - self.complete_count];
            recording.commands.iter().for_each(|times| into.times.add(times));
            into.answered_count += recording.answered_count;
            into.error_count += recording.error_count;
            self.passed_counts[thread] = second + 1;
        }
        recording.reset();
        let _ = self.spares[thread].send(recording);
        let passed_count = self.passed_counts.iter().copied().min().unwrap_or(0);
        while self.complete_count < passed_count {
            self.complete(observer);
        }
    }

    fn complete(&mut self, observer: &mut dyn Observer) {
        let complete = self.open.pop_front().expect("what was passed was begun");
        let start_ns = self.complete_count as u64 * SECOND_NS;
        observer.second(&Progress {
            second: self.complete_count,
            length_ns: SECOND_NS.min(self.span.end_ns - self.span.start_ns - start_ns),
            answered_count: complete.answered_count,
            error_count: complete.error_count,
            times: &complete.times,
        });
        self.complete_count += 1;
        let _ = self.packing.send(complete);
    }

    /// The times of each command, and all seconds up to the end.
    fn finish(mut self, span: Span, reports: &[ThreadReport]) -> (Vec<Times>, Vec<Second>) {
        for complete in std::mem::take(&mut self.open) {
            let _ = self.packing.send(complete);
        }
        drop(self.packing);
        let mut seconds = self.packer.join().expect("a thread that fails ends the process");
        let length_ns = span.end_ns - span.start_ns;
        let empty = Packed::new(&histogram::empty());
        let second_count = length_ns.div_ceil(SECOND_NS) as usize;
        while seconds.len() < second_count {
            let (response, service, lateness) = (empty.clone(), empty.clone(), empty.clone());
            let (start_ns, length_ns, intended, sent, answered, errors) = (0, 0, 0, 0, 0, 0);
            seconds.push(Second { start_ns, length_ns, intended, sent, answered, errors, response, service, lateness });
        }
        for (index, second) in seconds.iter_mut().enumerate() {
            second.start_ns = index as u64 * SECOND_NS;
            second.length_ns = SECOND_NS.min(length_ns.saturating_sub(second.start_ns));
            second.intended = reports.iter().filter_map(|report| report.intended.get(index)).sum();
            second.sent = reports.iter().filter_map(|report| report.sent.get(index)).sum();
        }
        (self.commands, seconds)
    }
}

/// Bring seconds into the form that is kept, with the least priority that there is.
fn pack(complete: &Receiver<Complete>) -> Vec<Second> {
    // Where that is refused it is packed all the same.
    let _ = rustix::process::nice(19);
    let packed = complete.iter().map(|complete| Second {
        start_ns: 0,
        length_ns: 0,
        intended: 0,
        sent: 0,
        answered: complete.answered_count,
        errors: complete.error_count,
        response: Packed::new(&complete.times.response),
        service: Packed::new(&complete.times.service),
        lateness: Packed::new(&complete.times.lateness),
    });
    packed.collect()
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
