//! What a load thread notes beside the times of its requests, and hands over when it ends.

use hdrhistogram::Histogram;

use super::flight::Shown;
use super::histogram;
use super::record::Span;

/// What a thread did and saw.
#[derive(Debug)]
pub struct ThreadReport {
    /// Requests to be sent in the measured time.
    pub intended: Vec<u64>,
    /// Of those, what was sent; by the second in which it was.
    pub sent: Vec<u64>,
    /// Requests of the measured time that were never handed out to a connection, by nobody's doing but this thread's.
    pub withheld_count: u64,
    /// Requests of the measured time that were never answered.
    pub unanswered_count: u64,
    /// Connections that the server ended.
    pub reset_count: u64,
    /// How many of them were opened again.
    pub reopened_count: u64,
    /// How the first of them ended.
    pub reset: Option<String>,
    /// What the replies showed.
    pub shown: Shown,
    /// From when a request could have been sent until it was: what of its lateness is this thread's own.
    pub own_lateness: Histogram<u64>,
    /// Processor time between the beginning and the end of the measured time.
    pub cpu_ns: u64,
    /// Of that, what went into waiting without sleeping.
    pub spun_ns: u64,
    /// For so long other threads of the machine kept it from running.
    pub kept_ns: u64,
    /// When the measured time ended for this thread: early if it was stopped, or all requests were answered.
    pub end_ns: u64,
    /// The moment of the last reply.
    pub last_reply_ns: u64,
    /// It ended before its time because no connection was left.
    pub deserted: bool,
}

impl ThreadReport {
    /// Of a thread that has done nothing yet.
    pub(super) fn new() -> ThreadReport {
        let mut own_lateness = histogram::empty();
        // Its memory is there before the load begins, not page by page under it.
        own_lateness.reset();
        ThreadReport {
            intended: Vec::new(),
            sent: Vec::new(),
            withheld_count: 0,
            unanswered_count: 0,
            reset_count: 0,
            reopened_count: 0,
            reset: None,
            shown: Shown::default(),
            own_lateness,
            cpu_ns: 0,
            spun_ns: 0,
            kept_ns: 0,
            end_ns: 0,
            last_reply_ns: 0,
            deserted: false,
        }
    }

    /// So many requests were to be sent at a moment of the span.
    #[inline]
    pub fn count_intended(&mut self, span: Span, ns: u64, count: u64) {
        add(&mut self.intended, span, ns, count);
    }

    /// So many were sent.
    #[inline]
    pub fn count_sent(&mut self, span: Span, ns: u64, count: u64) {
        // What was to be sent within the span and was sent after it is the last second's.
        add(&mut self.sent, span, ns.min(span.end_ns - 1), count);
    }
}

fn add(counts: &mut Vec<u64>, span: Span, ns: u64, count: u64) {
    if let Some(second) = span.second_of(ns) {
        if counts.len() <= second {
            counts.resize(second + 1, 0);
        }
        counts[second] += count;
    }
}
