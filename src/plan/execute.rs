//! Carries a plan out: calibrates, searches, confirms, measures, answers, and writes it all down.
//!
//! Progress goes to standard error, a line a trial; the answer to standard output. What there is is written even when
//! the plan is interrupted, marked as partial.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::capacity::{Demand, PerNode, what_if};
use super::directory;
use super::drain::drain;
use super::jitter::jitter;
use super::memory;
use super::options::{FLOOR_PER_S, Options, per_s};
use super::progress::{Quiet, line, say};
use super::report;
use super::result::{Calibration, Confirmed, FORMAT, Plan, Scaling, Step};
use super::room::Room;
use super::search::{Found, Length, Next, Phase, Range, Search};
use super::trial::judge;
use super::usl::Usl;
use crate::bench::file;
use crate::bench::fingerprint::Fingerprint;
use crate::bench::flags::command_line;
use crate::bench::histogram::{self, BEYOND_COUNT_MIN, Recorded};
use crate::bench::hlog;
use crate::bench::mix::Form;
use crate::bench::nodes::{self, Node};
use crate::bench::result::{Arrivals, Load, RunResult, Server};
use crate::bench::run::try_commands;
use crate::bench::sink::Sink;
use crate::bench::table;
use crate::bench::target::{Address, Target};
use crate::bench::units::{rate, time};
use crate::bench::watch::Interruption;
use crate::bench::written::{self, print};
use crate::bench::{self, BenchError, Limit, Observer, Run};
use crate::host::{self, Host};

/// How long the generator's ceiling and a point of the scaling are measured.
const CALIBRATION_TIME: Duration = Duration::from_secs(2);
const SWEEP_TIME: Duration = Duration::from_millis(1_500);

/// A host that takes a thread's core away for more than this share of the time is not fit to measure on.
const PAUSED_SHARE_MAX: f64 = 0.02;

/// A short trial takes this part of a long one, but a second at least.
const SHORT_DIVISOR: u32 = 5;

/// The keys of a load that has none, to see what a counter takes.
const ANY_FORM: Form = Form { key_bytes: 16, expires: false };

/// What a TCP segment takes on the wire beside its data: Ethernet with its gaps, IP, TCP with timestamps.
const SEGMENT_OVERHEAD_BYTES: f64 = 90.0;

/// Carry out `tallyring plan`.
pub fn execute(options: &Options) -> ExitCode {
    host::raise_soft_limits();
    let run = match options.run(&Host::read(), command_line()) {
        Ok(run) => run,
        Err(error) => {
            written::say(&format!("tallyring: {error}"));
            return ExitCode::from(error.exit_code());
        }
    };
    let mut planning = match Planning::begin(options, run) {
        Ok(planning) => planning,
        Err(failure) => {
            written::say(&format!("tallyring: {failure}"));
            return ExitCode::from(failure.exit_code());
        }
    };
    if let Err(problem) = planning.carry_out() {
        let reason = if planning.observer.interrupted() { "interrupted" } else { problem.as_str() };
        let partial = format!("{reason}, after {} s", planning.started.elapsed().as_secs());
        line(&format!("partial: {partial}"));
        planning.plan.partial = Some(partial);
    }
    let mut text = report::summary(&planning.plan);
    let written = planning.write().map(|()| {
        text += &format!("written      {}\n", options.output.join(directory::PAGE).display());
    });
    let printed = print(&text).map_err(|error| error.to_string());
    match written.and(printed).map_err(Failure::Output) {
        Ok(()) => ExitCode::from(planning.plan.exit_code()),
        Err(failure) => {
            written::say(&format!("tallyring: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

struct Planning<'a> {
    options: &'a Options,
    run: Run,
    nodes: Vec<Node>,
    observer: Quiet,
    plan: Plan,
    started: Instant,
}

/// Why there is no plan, not even a partial one.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Server(#[from] BenchError),
    #[error("{0}")]
    Output(String),
}

impl Failure {
    /// A server that cannot be asked is 1, as in `tallyring bench`; what cannot be written is 2.
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Server(error) => error.exit_code(),
            Failure::Output(_) => 2,
        }
    }
}

impl<'a> Planning<'a> {
    /// Everything that can go wrong at once does so here: a server that is down, or refuses the commands, a directory that
    /// cannot be made. The server comes first: where it cannot be asked, an earlier plan is left as it is.
    fn begin(options: &'a Options, run: Run) -> Result<Planning<'a>, Failure> {
        let mut control = run.target.control().map_err(BenchError::from)?;
        let nodes = match run.cluster {
            true => nodes::of_cluster(&mut control, &run.target)?,
            false => vec![Node { target: run.target.clone(), part: None }],
        };
        try_commands(&run, &nodes)?;
        directory::prepare(&options.output).map_err(Failure::Output)?;
        let started_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let server = Server {
            address: run.target.address.to_string(),
            software: None,
            same_host: run.target.address.is_local(),
        };
        let mut notes = Vec::new();
        if server.same_host {
            notes.push(
                "This is NOT a capacity figure: the generator ran on the server's own machine, and they took cores, \
                 caches and memory from each other. Run it from another machine for one."
                    .to_owned(),
            );
        }
        let plan = Plan {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command_line: run.command_line.clone(),
            started_unix_ms,
            host: Fingerprint::read(),
            server,
            workload: Vec::new(),
            goals: options.slo.clone(),
            calibration: Calibration::default(),
            steps: Vec::new(),
            found: None,
            confirmed: None,
            scaling: None,
            memory: None,
            per_node: None,
            fleets: Vec::new(),
            notes,
            partial: Some("the program ended in the middle of it".to_owned()),
        };
        let observer = Quiet { interruption: Interruption::listen() };
        let mut planning = Planning { options, run, nodes, observer, plan, started: Instant::now() };
        // Until there is another one: the files beside it are known by it, whatever ends this program.
        planning.write_json().map_err(Failure::Output)?;
        planning.plan.partial = None;
        Ok(planning)
    }

    /// The error is why it ended early; what was found until then is in the plan.
    fn carry_out(&mut self) -> Result<(), String> {
        self.calibrate()?;
        self.search()?;
        if !self.options.no_sweep {
            self.sweep()?;
        }
        self.measure_memory()?;
        self.answer();
        Ok(())
    }

    fn go_on(&self) -> Result<(), String> {
        if self.observer.interrupted() { Err("interrupted".to_owned()) } else { Ok(()) }
    }

    fn calibrate(&mut self) -> Result<(), String> {
        say("calibrating: the host's jitter");
        let (pause_max_ns, paused_share) = jitter();
        self.plan.calibration = Calibration { pause_max_ns, paused_share, generator_per_s: None };
        if paused_share > PAUSED_SHARE_MAX {
            self.plan.notes.push(format!(
                "The generator's host is disturbed: it took a core away for {:.1}% of the time. The figures understate the \
                 server; end what else runs there",
                100.0 * paused_share
            ));
        }
        say("calibrating: the generator's ceiling");
        let sink = Sink::start(&self.run.mix, None).map_err(|error| format!("no port for the null sink: {error}"))?;
        let target = Target { address: Address::Tcp(sink.address()), auth: None, resp: 2 };
        // The sink is one server, whatever is planned.
        let ceiling = Run { target, cluster: false, verify: false, ..self.variation(Load::Closed, CALIBRATION_TIME) };
        let result = bench::run(&ceiling, &mut self.observer).map_err(|error| error.to_string())?;
        drop(sink);
        self.plan.calibration.generator_per_s = Some(result.achieved_per_s());
        line(&format!(
            "calibrated   longest pause of a core {}, {:.2}% of its time taken; generator's ceiling {}",
            time(pause_max_ns),
            100.0 * paused_share,
            rate(result.achieved_per_s())
        ));
        self.go_on()
    }

    fn range(&self) -> Range {
        let generator_per_s = self.plan.calibration.generator_per_s.unwrap_or(f64::MAX);
        let (ceiling_per_s, ceiling_reason) = match self.options.max_rate.map(per_s) {
            Some(max) if max <= generator_per_s => (max, "it is --max-rate".to_owned()),
            _ => (generator_per_s, "it is the generator's ceiling: give it more threads, cores or machines".to_owned()),
        };
        let ceiling_per_s = ceiling_per_s.max(FLOOR_PER_S);
        Range { start_per_s: per_s(self.options.start_rate), floor_per_s: FLOOR_PER_S, ceiling_per_s, ceiling_reason }
    }

    fn search(&mut self) -> Result<(), String> {
        line(&report::step_headings());
        let mut search = Search::new(self.range());
        let mut confirming = (0.0, histogram::empty());
        let found = loop {
            let trial = match search.next() {
                Next::Done(found) => break found,
                Next::Trial(trial) => trial,
            };
            let length = self.length(trial.length);
            let (short, long) = search.remaining();
            let remaining = length * (long as u32) + self.length(Length::Short) * (short as u32);
            say(&format!(
                "{} at {} for {} s; about {} s of trials to go",
                trial.phase.name(),
                rate(trial.rate_per_s),
                length.as_secs(),
                remaining.as_secs()
            ));
            let load = Load::Open { rate_per_s: trial.rate_per_s, arrivals: Arrivals::Poisson };
            let result = bench::run(&self.variation(load, length), &mut self.observer);
            self.go_on()?;
            let result = result.map_err(|error| error.to_string())?;
            let outcome = judge(&result, &self.plan.goals)?;
            let log = self.keep_log(&result, trial.phase)?;
            let response = &result.latency.response;
            let step = Step {
                phase: trial.phase,
                length: trial.length,
                rate_per_s: trial.rate_per_s,
                achieved_per_s: result.achieved_per_s(),
                response_ns: [0.5, 0.99, 0.999].map(|quantile| response.percentile_ns(quantile)),
                server_thread_cpu: result.bottleneck.server_thread_cpu,
                outcome,
                log,
            };
            line(&report::step_line(&step, self.started.elapsed()));
            search.tell(&step.outcome);
            if trial.phase == Phase::Confirm {
                if confirming.0 != trial.rate_per_s {
                    confirming = (trial.rate_per_s, histogram::empty());
                }
                histogram::add(&mut confirming.1, response)?;
            }
            self.plan.steps.push(step);
            self.describe(&result);
            drain(&self.nodes, || self.go_on())?;
        };
        self.plan.confirmed = Confirmed::of(&self.plan.steps, Recorded(confirming.1));
        self.plan.found = Some(found);
        self.warn();
        Ok(())
    }

    /// What the reader must know of the number.
    fn warn(&mut self) {
        let Some(confirmed) = &self.plan.confirmed else { return };
        for goal in &self.plan.goals {
            let beyond = confirmed.response.len() as f64 * (1.0 - goal.quantile);
            if beyond < BEYOND_COUNT_MIN as f64 && goal.quantile < 1.0 {
                self.plan.notes.push(format!(
                    "{goal} rests on {beyond:.0} samples beyond it only, of all confirming runs: choose a longer --trial"
                ));
            }
        }
        if let Some(Found::Limit { bounded_by: Some(reason), .. }) = &self.plan.found {
            let note = format!("The server carries at least this much; nothing higher could be told, because {reason}");
            self.plan.notes.push(note);
        }
    }

    /// Throughput with 1, 2, 4 … connections, as fast as they go.
    fn sweep(&mut self) -> Result<(), String> {
        let most = self.run.connections;
        let mut counts: Vec<usize> = (0..).map(|power| 1 << power).take_while(|count| *count < most).collect();
        counts.push(most);
        let mut points = Vec::new();
        for count in counts {
            say(&format!("scaling: {count} connections"));
            let threads = self.run.threads.min(count);
            let run = Run { connections: count, threads, ..self.variation(Load::Closed, SWEEP_TIME) };
            let result = bench::run(&run, &mut self.observer);
            self.go_on()?;
            points.push((count as u64, result.map_err(|error| error.to_string())?.achieved_per_s()));
            drain(&self.nodes, || self.go_on())?;
        }
        let usl = Usl::fit(&points.iter().map(|(count, per_s)| (*count as f64, *per_s)).collect::<Vec<_>>());
        self.plan.scaling = Some(Scaling { points, usl });
        Ok(())
    }

    fn measure_memory(&mut self) -> Result<(), String> {
        if self.options.memory_keys == 0 {
            return Ok(());
        }
        let mut forms = self.run.mix.forms();
        if forms.is_empty() {
            forms.push(ANY_FORM);
        }
        let (key_count, seed) = (self.options.memory_keys, self.run.seed);
        let measured = memory::measure(&self.nodes, &forms, key_count, seed, &mut self.observer);
        self.go_on()?;
        match measured {
            Ok(memory) => {
                self.plan.notes.extend(memory.notes());
                self.plan.memory = Some(memory);
            }
            Err(problem) => self.plan.notes.push(format!("Memory was not measured: {problem}")),
        }
        Ok(())
    }

    fn answer(&mut self) {
        let Some(confirmed) = &self.plan.confirmed else { return };
        let memory = self.plan.memory.as_ref();
        let given_bytes = self.options.node_memory.map(|bytes| bytes.0);
        let room = Room::of(memory, given_bytes, self.run.connections);
        let segments = SEGMENT_OVERHEAD_BYTES / self.run.pipeline as f64;
        let node = PerNode {
            rate_per_s: confirmed.lower_bound_per_s,
            memory_bytes: room.bytes,
            counter_bytes: memory.map(|memory| memory.counter_bytes_worst),
            network_bytes_per_s: self.options.network.map(|bits| bits.0 / 8.0),
            request_bytes: self.run.mix.request_bytes_max() as f64 + segments,
        };
        if let Some(peak) = self.options.peak {
            let factor = 1.0 + self.options.growth.0 / 100.0;
            let demand = Demand {
                rate_per_s: per_s(peak) * factor,
                key_count: self.options.total_keys as f64,
                nodes_lost: self.options.nodes_lost,
            };
            self.plan.notes.extend(room.note.filter(|_| demand.key_count > 0.0));
            if demand.key_count > 0.0 && (node.memory_bytes.is_none() || node.counter_bytes.is_none()) {
                let note = "The counters' memory is not in the answer: it was not measured, or the server's is not known \
                            (--node-memory)";
                self.plan.notes.push(note.to_owned());
            }
            self.plan.fleets = what_if(&node, demand);
        }
        self.plan.per_node = Some(node);
    }

    /// The run with another load.
    fn variation(&self, load: Load, time: Duration) -> Run {
        Run { load, limit: Limit::Time(time), ..self.run.clone() }
    }

    fn length(&self, length: Length) -> Duration {
        let long = self.options.trial.0;
        match length {
            Length::Long => long,
            Length::Short => (long / SHORT_DIVISOR).max(Duration::from_secs(1)),
        }
    }

    fn describe(&mut self, result: &RunResult) {
        if self.plan.workload.is_empty() {
            self.plan.server = result.server.clone();
            let facts = table::facts(result).into_iter().filter(|(name, _)| ["server", "workload"].contains(name));
            self.plan.workload = facts.map(|(name, text)| (name.to_owned(), text)).collect();
        }
    }

    fn keep_log(&self, result: &RunResult, phase: Phase) -> Result<String, String> {
        let name = format!("trial-{:02}-{}.hlog", self.plan.steps.len() + 1, phase.name());
        let path = self.options.output.join(&name);
        let written = file::write(&path, |out| hlog::write_run(result, out));
        written.map(|()| name).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    fn write(&self) -> Result<(), String> {
        self.write_json()?;
        self.write_file(directory::PAGE, &report::html(&self.plan))
    }

    fn write_json(&self) -> Result<(), String> {
        let json = serde_json::to_string_pretty(&self.plan).expect("all of it has a form in JSON") + "\n";
        self.write_file(directory::JSON, &json)
    }

    fn write_file(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.options.output.join(name);
        fs::write(&path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}
