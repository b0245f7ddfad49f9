//! What a load thread notes while it runs, and how it hands that over: a set of histograms each second.
//!
//! Recording allocates nothing: the set that a second is recorded in is swapped for an empty one, and whoever collects
//! empties it and gives it back. So progress is seen each second, and adding up is not the load thread's work.

use std::sync::mpsc::{Receiver, Sender};

use hdrhistogram::Histogram;

use super::histogram;

/// Histograms of one command, or of all.
#[derive(Clone, Debug)]
pub struct Times {
    /// From the intended time to the reply.
    pub response: Histogram<u64>,
    /// From the actual time to the reply.
    pub service: Histogram<u64>,
    /// From the intended to the actual time.
    pub lateness: Histogram<u64>,
}

impl Default for Times {
    fn default() -> Times {
        Times { response: histogram::empty(), service: histogram::empty(), lateness: histogram::empty() }
    }
}

impl Times {
    fn all(&mut self) -> [&mut Histogram<u64>; 3] {
        [&mut self.response, &mut self.service, &mut self.lateness]
    }

    /// Add another's.
    pub fn add(&mut self, other: &Times) {
        let of_other = [&other.response, &other.service, &other.lateness];
        for (histogram, other) in self.all().into_iter().zip(of_other) {
            if !other.is_empty() {
                histogram.add(other).expect("they have the same bounds");
            }
        }
    }

    /// Forget all.
    pub fn reset(&mut self) {
        self.all().into_iter().filter(|histogram| !histogram.is_empty()).for_each(Histogram::reset);
    }

    /// Have its memory now. The kernel gives a page of zeros only when it is first written to.
    fn touch(&mut self) {
        self.all().into_iter().for_each(Histogram::reset);
    }
}

/// What a thread recorded in one second.
#[derive(Debug)]
pub struct Recording {
    /// By the index of the command.
    pub commands: Vec<Times>,
    /// Replies.
    pub answered_count: u64,
    /// Error replies among them.
    pub error_count: u64,
}

impl Recording {
    /// An empty one, whose memory comes as it is used.
    pub fn new(command_count: usize) -> Recording {
        Recording { commands: vec![Times::default(); command_count], answered_count: 0, error_count: 0 }
    }

    /// An empty one, whose memory is there: who records in it is not kept waiting for pages.
    pub fn touched(command_count: usize) -> Recording {
        let mut recording = Recording::new(command_count);
        recording.commands.iter_mut().for_each(Times::touch);
        recording
    }

    /// Forget all.
    pub fn reset(&mut self) {
        self.commands.iter_mut().for_each(Times::reset);
        (self.answered_count, self.error_count) = (0, 0);
    }
}

/// The measured time: what a run is to be judged by, in nanoseconds of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Requests that are to be sent from here on count.
    pub start_ns: u64,
    /// Those from here on do not.
    pub end_ns: u64,
}

impl Span {
    /// Whether it has this moment.
    pub fn contains(self, ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&ns)
    }

    /// The second that a moment lies in; `None` before it and after it.
    pub fn second_of(self, ns: u64) -> Option<usize> {
        self.contains(ns).then(|| ((ns - self.start_ns) / SECOND_NS) as usize)
    }
}

/// In nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// A set on its way to whoever collects.
#[derive(Debug)]
pub struct Recorded {
    /// The thread that recorded it.
    pub thread: usize,
    /// The second that it belongs to; `None` for what came after the last.
    pub second: Option<usize>,
    /// It.
    pub recording: Box<Recording>,
}

/// See the module.
pub struct Recorder {
    thread: usize,
    span: Span,
    recording: Box<Recording>,
    /// The second that is being recorded.
    second: Option<usize>,
    /// Answered is who was to be sent within the span, and not who was answered within it.
    counts_requests: bool,
    sender: Sender<Recorded>,
    spares: Receiver<Box<Recording>>,
}

/// Requests that were alike in everything that is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alike {
    /// The index of the command.
    pub command: u16,
    /// When they were to be sent.
    pub intended_ns: u64,
    /// When they were.
    pub sent_ns: u64,
}

impl Recorder {
    /// `spares` has at least one empty set already. `counts_requests`: the run is over so many requests, and those alone
    /// count as answered; else the throughput is that of the span, whatever was in the queue when it began.
    pub fn new(
        thread: usize,
        span: Span,
        counts_requests: bool,
        sender: Sender<Recorded>,
        spares: Receiver<Box<Recording>>,
    ) -> Recorder {
        let recording = spares.recv().expect("the first set is there");
        Recorder { thread, span, recording, second: Some(0), counts_requests, sender, spares }
    }

    /// `count` requests were answered at `now_ns`, `error_count` of them with an error. Their times are recorded where they
    /// were to be sent within the span.
    #[inline]
    pub fn record(&mut self, alike: Alike, now_ns: u64, count: u64, error_count: u64) {
        let is_measured = self.span.contains(alike.intended_ns);
        if !is_measured {
            // What was sent before the span and is answered within it is the server's work of that time.
            if !self.counts_requests && self.span.contains(now_ns) {
                self.recording.answered_count += count;
                self.recording.error_count += error_count;
            }
            return;
        }
        if now_ns >= self.span.end_ns && self.second.is_some() {
            // What comes after the end is no last second's.
            self.advance(now_ns);
        }
        let recording = &mut *self.recording;
        let times = &mut recording.commands[usize::from(alike.command)];
        histogram::record(&mut times.response, now_ns.saturating_sub(alike.intended_ns), count);
        histogram::record(&mut times.service, now_ns.saturating_sub(alike.sent_ns), count);
        histogram::record(&mut times.lateness, alike.sent_ns.saturating_sub(alike.intended_ns), count);
        recording.answered_count += count;
        recording.error_count += error_count;
    }

    /// Hand over what belongs to a second that has passed. Called at least once a second.
    pub fn advance(&mut self, now_ns: u64) {
        let second = if now_ns < self.span.start_ns { Some(0) } else { self.span.second_of(now_ns) };
        if second != self.second {
            self.hand_over();
            self.second = second;
        }
    }

    /// The measured time ends earlier than was planned.
    pub fn end_at(&mut self, end_ns: u64) {
        self.span.end_ns = end_ns;
    }

    /// Hand over what there is.
    pub fn hand_over(&mut self) {
        let empty = self.spares.try_recv().unwrap_or_else(|_| Box::new(Recording::new(self.recording.commands.len())));
        let full = std::mem::replace(&mut self.recording, empty);
        // Who collects may have given up.
        let _ = self.sender.send(Recorded { thread: self.thread, second: self.second, recording: full });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SPAN: Span = Span { start_ns: 5 * SECOND_NS, end_ns: 7 * SECOND_NS + 1 };

    /// What a recorder hands over: the second, samples, replies and errors among them.
    fn handed_over(counts_requests: bool, record: impl FnOnce(&mut Recorder)) -> Vec<(Option<usize>, u64, u64, u64)> {
        let (sender, receiver) = mpsc::channel();
        let (spare_sender, spares) = mpsc::channel();
        spare_sender.send(Box::new(Recording::new(1))).unwrap();
        let mut recorder = Recorder::new(0, SPAN, counts_requests, sender, spares);
        record(&mut recorder);
        recorder.hand_over();
        let told = |Recorded { second, recording, .. }: Recorded| {
            (second, recording.commands[0].response.len(), recording.answered_count, recording.error_count)
        };
        receiver.try_iter().map(told).collect()
    }

    fn alike(ns: u64) -> Alike {
        Alike { command: 0, intended_ns: ns, sent_ns: ns + 10 }
    }

    #[test]
    fn each_second_is_handed_over_on_its_own() {
        let got = handed_over(false, |recorder| {
            recorder.advance(SPAN.start_ns - 1);
            recorder.record(alike(SPAN.start_ns), SPAN.start_ns + 1_000, 2, 1);
            recorder.advance(SPAN.start_ns + SECOND_NS);
            recorder.record(alike(SPAN.start_ns + 2), SPAN.start_ns + SECOND_NS + 1, 3, 0);
            // An answer after the end has its time, and belongs to no second, whether or not the end was seen before.
            recorder.record(alike(SPAN.end_ns - 1), SPAN.end_ns + 5, 4, 4);
            recorder.advance(SPAN.end_ns + 6);
        });
        assert_eq!(got, [(Some(0), 2, 2, 1), (Some(1), 3, 3, 0), (None, 4, 4, 4)]);
    }

    /// An overloaded server answers what the warm-up has left it first: that is its throughput, and no response time.
    #[test]
    fn what_the_warm_up_has_left_counts_when_it_is_answered_and_has_no_time() {
        let record = |recorder: &mut Recorder| {
            let warm = alike(SPAN.start_ns - 1);
            recorder.record(warm, SPAN.start_ns - 1, 1, 1);
            recorder.record(warm, SPAN.start_ns + 1, 20, 3);
            recorder.record(alike(SPAN.start_ns), SPAN.start_ns + 2, 5, 0);
            recorder.record(warm, SPAN.end_ns, 400, 0);
        };
        assert_eq!(handed_over(false, record), [(Some(0), 5, 25, 3)]);
        // Where so many requests were asked for, those are what counts.
        assert_eq!(handed_over(true, record), [(Some(0), 5, 5, 0)]);
    }
}
