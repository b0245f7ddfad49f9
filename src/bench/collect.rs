//! Adds up what the load threads hand over, and packs each second that is complete, on a thread of its own.
//!
//! That takes milliseconds a second, which neither the load threads nor the server are to miss: a load thread that wakes
//! up while another thread has its core waits until the scheduler takes that one off, up to a whole slice. So this one
//! runs under `SCHED_IDLE` (sched(7)), which gives way at once. What is left when the load is over is added up by the
//! calling thread, since an idle one might wait for ever on a machine that others use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

use super::histogram::{Packed, percentile_ns};
use super::pace::now_ns;
use super::record::{Recorded, Recording, SECOND_NS, Span, Times};
use super::result::Second;
use super::thread_report::ThreadReport;

/// How often the thread looks whether the load is over.
const TICK: Duration = Duration::from_millis(20);

/// A second of a run.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Which, from 0 on.
    pub second: usize,
    /// How long it was in nanoseconds; the last one may be shorter.
    pub length_ns: u64,
    /// Replies.
    pub answered_count: u64,
    /// Error replies among them.
    pub error_count: u64,
    /// Response times of all commands in nanoseconds: p50 and p99, where samples suffice, and the longest.
    pub response_ns: (Option<u64>, Option<u64>, u64),
    /// The lateness at p99, likewise.
    pub lateness_p99_ns: Option<u64>,
}

/// The thread.
pub struct Collecting {
    thread: JoinHandle<(Collector, Receiver<Recorded>)>,
    is_over: Arc<AtomicBool>,
}

impl Collecting {
    /// Begin to collect. What the threads' recordings are emptied for goes back through `spares`, each second's progress
    /// to the receiver.
    pub fn start(
        command_count: usize,
        span: Span,
        from_threads: Receiver<Recorded>,
        spares: Vec<Sender<Box<Recording>>>,
    ) -> (Collecting, Receiver<Progress>) {
        let (progress, seen) = mpsc::channel();
        let mut collector = Collector {
            span,
            commands: vec![Times::default(); command_count],
            open: VecDeque::new(),
            seconds: Vec::new(),
            late: Open::default(),
            passed_counts: vec![0; spares.len()],
            spares,
            progress,
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let collect = move || {
            stand_aside();
            while !over.load(Ordering::Relaxed) {
                match from_threads.recv_timeout(TICK) {
                    Ok(recorded) => collector.take(recorded),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            (collector, from_threads)
        };
        let thread = thread::Builder::new().name("collector".to_owned()).spawn(collect);
        (Collecting { thread: thread.expect("threads can be started: the load threads were"), is_over }, seen)
    }

    /// The load threads have ended.
    pub fn finish(self, span: Span, reports: &[ThreadReport]) -> Collected {
        self.is_over.store(true, Ordering::Relaxed);
        let (mut collector, left) = self.thread.join().expect("a thread that fails ends the process");
        left.iter().for_each(|recorded| collector.take(recorded));
        collector.finish(span, reports)
    }
}

/// All that was recorded.
#[derive(Debug)]
pub struct Collected {
    /// The times of each command.
    pub commands: Vec<Times>,
    /// All seconds up to the end.
    pub seconds: Vec<Second>,
    /// What came after it.
    pub late: Option<Second>,
}

/// Let everybody else go first.
fn stand_aside() {
    // Where that is refused it is collected all the same.
    let _ = set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Min,
        ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle),
    );
}

/// A second that not all threads have passed, or the time after the last one.
#[derive(Default)]
struct Open {
    answered_count: u64,
    error_count: u64,
    times: Times,
}

impl Open {
    fn add(&mut self, recording: &Recording) {
        recording.commands.iter().for_each(|times| self.times.add(times));
        self.answered_count += recording.answered_count;
        self.error_count += recording.error_count;
    }
}

struct Collector {
    span: Span,
    commands: Vec<Times>,
    /// The first of them first.
    open: VecDeque<Open>,
    /// Those that are complete.
    seconds: Vec<Second>,
    /// What came after the last second.
    late: Open,
    /// Seconds that each thread has passed.
    passed_counts: Vec<usize>,
    spares: Vec<Sender<Box<Recording>>>,
    progress: Sender<Progress>,
}

impl Collector {
    fn take(&mut self, recorded: Recorded) {
        let Recorded { thread, second, mut recording } = recorded;
        for (all, times) in self.commands.iter_mut().zip(&recording.commands) {
            all.add(times);
        }
        if let Some(second) = second {
            let complete_count = self.seconds.len();
            assert!(second >= complete_count, "a thread went back to a second that was over");
            while self.open.len() <= second - complete_count {
                self.open.push_back(Open::default());
            }
            self.open[second - complete_count].add(&recording);
            self.passed_counts[thread] = second + 1;
        } else {
            self.late.add(&recording);
        }
        recording.reset();
        let _ = self.spares[thread].send(recording);
        let passed_count = self.passed_counts.iter().copied().min().unwrap_or(0);
        while self.seconds.len() < passed_count {
            let complete = self.open.pop_front().expect("what was passed was begun");
            self.tell(&complete);
            self.seconds.push(pack(&complete));
        }
    }

    fn tell(&self, complete: &Open) {
        let start_ns = self.seconds.len() as u64 * SECOND_NS;
        // A run that was ended early has a shorter last one.
        let since_ns = now_ns().saturating_sub(self.span.start_ns + start_ns).max(1);
        let response = &complete.times.response;
        // Nobody may look at it.
        let _ = self.progress.send(Progress {
            second: self.seconds.len(),
            length_ns: SECOND_NS.min(self.span.end_ns - self.span.start_ns - start_ns).min(since_ns),
            answered_count: complete.answered_count,
            error_count: complete.error_count,
            response_ns: (percentile_ns(response, 0.5), percentile_ns(response, 0.99), response.max()),
            lateness_p99_ns: percentile_ns(&complete.times.lateness, 0.99),
        });
    }

    fn finish(mut self, span: Span, reports: &[ThreadReport]) -> Collected {
        self.seconds.extend(self.open.iter().map(pack));
        let mut seconds = self.seconds;
        let length_ns = span.end_ns - span.start_ns;
        let second_count = length_ns.div_ceil(SECOND_NS) as usize;
        // A run that ends with its last reply may have begun a second behind it, in which nothing came.
        seconds.resize(second_count, pack(&Open::default()));
        for (index, second) in seconds.iter_mut().enumerate() {
            second.start_ns = index as u64 * SECOND_NS;
            second.length_ns = SECOND_NS.min(length_ns.saturating_sub(second.start_ns));
            second.intended = reports.iter().filter_map(|report| report.intended.get(index)).sum();
            second.sent = reports.iter().filter_map(|report| report.sent.get(index)).sum();
        }
        let last_reply_ns = reports.iter().map(|report| report.last_reply_ns).max().unwrap_or(0);
        let late = (self.late.answered_count > 0).then(|| Second {
            start_ns: length_ns,
            length_ns: last_reply_ns.saturating_sub(span.end_ns).max(1),
            ..pack(&self.late)
        });
        Collected { commands: self.commands, seconds, late }
    }
}

/// In the form that is kept. When it was and what was sent in it is told by the threads' reports.
fn pack(open: &Open) -> Second {
    Second {
        start_ns: 0,
        length_ns: 0,
        intended: 0,
        sent: 0,
        answered: open.answered_count,
        errors: open.error_count,
        response: Packed::new(&open.times.response),
        service: Packed::new(&open.times.service),
        lateness: Packed::new(&open.times.lateness),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(thread: usize, second: Option<usize>, count: u64) -> Recorded {
        let mut recording = Box::new(Recording::new(1));
        let times = &mut recording.commands[0];
        [&mut times.response, &mut times.service, &mut times.lateness]
            .into_iter()
            .for_each(|histogram| histogram.record_n(1_000, count).unwrap());
        recording.answered_count = count;
        Recorded { thread, second, recording }
    }

    #[test]
    fn a_second_is_told_once_all_threads_have_passed_it_and_nothing_is_lost() {
        let span = Span { start_ns: 0, end_ns: 2 * SECOND_NS + SECOND_NS / 2 };
        let (from, from_threads) = mpsc::channel();
        let (spare, spares) = mpsc::channel();
        let (collecting, seen) = Collecting::start(1, span, from_threads, vec![spare.clone(), spare]);
        for (thread, second, count) in [(0, 0, 1_000), (0, 1, 10), (1, 0, 2_000)] {
            from.send(recorded(thread, Some(second), count)).unwrap();
        }
        let progress = seen.recv().unwrap();
        assert_eq!((progress.second, progress.answered_count, progress.length_ns), (0, 3_000, SECOND_NS));
        assert_eq!(progress.response_ns, (Some(1_000), None, 1_000));
        // The second one is never passed by thread 1, and the last by nobody.
        from.send(recorded(1, None, 7)).unwrap();
        drop(from);
        let Collected { commands, seconds, late } = collecting.finish(span, &[]);
        assert_eq!(commands[0].response.len(), 3_017);
        let late = late.expect("something came after the end");
        assert_eq!((late.start_ns, late.answered, late.response.unpack().unwrap().len()), (span.end_ns, 7, 7));
        let told: Vec<_> = seconds.iter().map(|second| (second.answered, second.length_ns)).collect();
        assert_eq!(told, [(3_000, SECOND_NS), (10, SECOND_NS), (0, SECOND_NS / 2)]);
        assert_eq!(seconds[0].response.unpack().unwrap().len(), 3_000);
        assert_eq!(spares.iter().filter(|recording| recording.commands[0].response.is_empty()).count(), 4);
        assert!(seen.recv().is_err(), "only what is complete is told");
    }
}
