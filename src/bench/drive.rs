//! Drives the load: starts the load threads together, looks after them until the last has ended, and gathers what they
//! did.
//!
//! The calling thread sleeps nearly all the time; what takes long is [`super::collect`]'s.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::account::Accounts;
use super::collect::{Collected, Collecting, Progress};
use super::nodes::Node;
use super::pace::now_ns;
use super::record::{Recorded, Recording, Span};
use super::result::Load;
use super::run::{BenchError, Observer, Run};
use super::thread::{self as load_thread, Order};
use super::thread_report::ThreadReport;

/// From the start of all threads until the load begins.
const LEAD_NS: u64 = 2_000_000;

/// How often is looked whether the run is to be stopped, or has ended.
const TICK: Duration = Duration::from_millis(20);

/// Empty sets of histograms that a load thread has to begin with. Whoever empties them runs when nobody else does.
const SPARE_COUNT: usize = 4;

/// What came of the threads.
pub struct Driven {
    /// Of each thread.
    pub reports: Vec<ThreadReport>,
    /// What was recorded.
    pub collected: Collected,
    /// When the measured time began, in milliseconds of Unix time.
    pub started_unix_ms: u64,
    /// When the measured time began and ended.
    pub span: Span,
    /// Share of a core that the server used: all its threads, and the busiest.
    pub server: Option<(f64, f64)>,
    /// TCP segments that were sent again.
    pub retransmits: Option<u64>,
    /// Why it ended before its time.
    pub cut_short: Option<String>,
}

/// The load threads, from when they are connected on.
struct Threads {
    threads: Vec<JoinHandle<Option<ThreadReport>>>,
    goes: Vec<Sender<(u64, Span)>>,
    spares: Vec<Sender<Box<Recording>>>,
    from_threads: Receiver<Recorded>,
    stop: Arc<AtomicBool>,
}

impl Threads {
    /// Start them, and wait until all have their connections.
    fn start(run: &Arc<Run>, nodes: &Arc<Vec<Node>>) -> Result<Threads, BenchError> {
        let command_count = run.mix.templates().len();
        let stop = Arc::new(AtomicBool::new(false));
        let (recorded, from_threads) = mpsc::channel();
        let (ready, are_ready) = mpsc::channel();
        let (mut threads, mut goes, mut spares) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..run.threads {
            let (go, goes_on) = mpsc::channel();
            let (spare, spare_sets) = mpsc::channel();
            for _ in 0..SPARE_COUNT {
                let _ = spare.send(Box::new(Recording::touched(command_count)));
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
        Ok(Threads { threads, goes, spares, from_threads, stop })
    }
}

impl Driven {
    /// Drive a load.
    ///
    /// # Errors
    /// Where it cannot begin, or is interrupted before the measured time.
    pub fn drive(
        run: &Arc<Run>,
        nodes: &Arc<Vec<Node>>,
        pid: Option<u32>,
        observer: &mut dyn Observer,
    ) -> Result<Driven, BenchError> {
        let Threads { threads, goes, spares, from_threads, stop } = Threads::start(run, nodes)?;
        let begin_ns = now_ns() + LEAD_NS;
        let start_ns = begin_ns + run.warmup.as_nanos() as u64;
        let due_end_ns = start_ns.saturating_add(run.length_ns());
        // Where the last reply is the end, that is not known yet.
        let end_ns = if run.ends_with_last_reply() { u64::MAX / 2 } else { due_end_ns };
        let span = Span { start_ns, end_ns };
        goes.iter().for_each(|go| _ = go.send((begin_ns, span)));
        let command_count = run.mix.templates().len();
        let (collecting, progress) = Collecting::start(command_count, span, from_threads, spares);
        let mut accounts = Accounts::new(pid);
        let started_unix =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_nanos(LEAD_NS);
        let mut interrupted_ns = None;
        while !threads.iter().all(JoinHandle::is_finished) {
            wait(&progress, observer);
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
            interrupted_ns.filter(|ns| *ns < due_end_ns).map(|_| format!("interrupted after {elapsed_s:.1} s"))
        };
        let span = Span { end_ns: ended_ns, ..span };
        let (server, retransmits) = accounts.shares();
        let collected = collecting.finish(span, &reports);
        progress.try_iter().for_each(|progress| observer.second(&progress));
        let started_unix_ms = (started_unix + run.warmup).as_millis() as u64;
        Ok(Driven { reports, collected, started_unix_ms, span, server, retransmits, cut_short })
    }
}

/// Sleep for a tick, unless there is progress to be told.
fn wait(progress: &Receiver<Progress>, observer: &mut dyn Observer) {
    match progress.recv_timeout(TICK) {
        Ok(progress) => observer.second(&progress),
        Err(RecvTimeoutError::Timeout) => {}
        // All threads have ended, or are about to.
        Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
    }
}

/// When the measured time ended: as planned, or when the last thread was done.
fn end_of(reports: &[ThreadReport], run: &Run, span: Span) -> u64 {
    let last_reply_ns = reports.iter().map(|report| report.last_reply_ns + 1).max().unwrap_or(span.start_ns);
    let planned_ns = match run.load {
        _ if !run.ends_with_last_reply() => span.end_ns,
        Load::Closed => last_reply_ns,
        Load::Open { .. } => last_reply_ns.max(span.start_ns + run.length_ns()),
    };
    let stopped_ns = reports.iter().map(|report| report.end_ns).max().unwrap_or(span.start_ns);
    planned_ns.min(stopped_ns).max(span.start_ns + 1)
}
