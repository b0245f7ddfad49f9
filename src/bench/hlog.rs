//! Interval logs in HdrHistogram's format 1.2 (`.hlog`), which `HistogramLogProcessor` and others read.
//!
//! Values are nanoseconds, as those tools expect. Response times have no tag, since a reader that is told of no tag takes
//! the lines without; the others have the tags `service` and `lateness`, and a command's, over the whole run,
//! `response:incr` and so on.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, IntervalLogWriterError, LogEntry, Tag,
};

use super::histogram::{self, Packed};
use super::result::RunResult;
use super::units::shell;

/// `Interval_Max` is in milliseconds by custom.
const MAX_DIVISOR: f64 = 1e6;

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// What was recorded; none for response times.
    pub tag: Option<String>,
    /// Since the start of the log.
    pub start: Duration,
    /// How long it was recorded.
    pub length: Duration,
    /// Times in nanoseconds.
    pub histogram: Histogram<u64>,
}

/// A log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// When it starts, in Unix time.
    pub start: Duration,
    /// Its lines, by their start.
    pub intervals: Vec<Interval>,
    /// What else it says, a line each.
    pub comments: Vec<String>,
}

impl Log {
    /// Of a run: a line for each second and kind of time, one for what was answered after the last of them, and one for the
    /// whole of each command's.
    pub fn of(run: &RunResult) -> Result<Log, String> {
        let mut intervals = Vec::new();
        for second in run.intervals() {
            for (name, packed) in second.named() {
                intervals.push(Interval {
                    tag: (name != "response").then(|| name.to_owned()),
                    start: Duration::from_nanos(second.start_ns),
                    length: Duration::from_nanos(second.length_ns),
                    histogram: packed.unpack()?,
                });
            }
        }
        for command in &run.commands {
            for (name, recorded) in command.latency.named() {
                intervals.push(Interval {
                    tag: Some(format!("{name}:{}", command.tag)),
                    start: Duration::ZERO,
                    length: Duration::from_nanos(run.measured_ns),
                    histogram: recorded.0.clone(),
                });
            }
        }
        intervals.sort_by_key(|interval| interval.start);
        let comments =
            vec![format!("[Logged with tallyring {}: {}]", run.version, shell(&run.command_line)), run.verdict.line()];
        Ok(Log { start: Duration::from_millis(run.started_unix_ms), intervals, comments })
    }

    /// Of several logs, from different machines or times: every line of each, at its time.
    pub fn merged(logs: Vec<Log>) -> Log {
        let start = logs.iter().map(|log| log.start).min().unwrap_or_default();
        let mut merged = Log { start, ..Log::default() };
        for log in logs {
            let offset = log.start - start;
            merged.comments.extend(log.comments);
            merged.intervals.extend(
                log.intervals.into_iter().map(|interval| Interval { start: interval.start + offset, ..interval }),
            );
        }
        merged.intervals.sort_by_key(|interval| interval.start);
        merged
    }

    /// All that was recorded under each tag, added up; `None` is response times.
    pub fn totals(&self) -> Result<BTreeMap<Option<&str>, Histogram<u64>>, String> {
        let mut totals = BTreeMap::new();
        for interval in &self.intervals {
            let total = totals.entry(interval.tag.as_deref()).or_insert_with(histogram::empty);
            histogram::add(total, &interval.histogram)?;
        }
        Ok(totals)
    }

    /// Write it.
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut serializer = V2DeflateSerializer::new();
        let mut header = IntervalLogWriterBuilder::new();
        for line in &self.comments {
            header.add_comment(line);
        }
        header.add_comment("[Histogram log format version 1.2]");
        header.with_start_time(UNIX_EPOCH + self.start);
        header.begin_log_with(out, &mut serializer)?;
        out.write_all(b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n")?;
        let mut lines = IntervalLogWriterBuilder::new();
        lines.with_max_value_divisor(MAX_DIVISOR);
        let mut lines = lines.begin_log_with(out, &mut serializer)?;
        for interval in &self.intervals {
            let tag = match interval.tag.as_deref() {
                Some(tag) => Some(Tag::new(tag).ok_or_else(|| invalid(format!("no tag for a log: {tag:?}")))?),
                None => None,
            };
            lines.write_histogram(&interval.histogram, interval.start, interval.length, tag).map_err(|error| {
                match error {
                    IntervalLogWriterError::IoError(error) => error,
                    IntervalLogWriterError::SerializeError(error) => invalid(error.to_string()),
                }
            })?;
        }
        Ok(())
    }

    /// Read one, from this program or another.
    pub fn read(text: &[u8]) -> Result<Log, String> {
        let mut log = Log::default();
        let (mut start, mut base) = (None, None);
        for entry in IntervalLogIterator::new(text) {
            match entry.map_err(|error| damaged(text, &error))? {
                LogEntry::StartTime(time) => start = Some(time),
                LogEntry::BaseTime(time) => base = Some(time),
                LogEntry::Interval(line) => log.intervals.push(Interval {
                    tag: line.tag().map(|tag| tag.as_str().to_owned()),
                    start: line.start_timestamp(),
                    length: line.duration(),
                    histogram: Packed::from(line.encoded_histogram()).unpack()?,
                }),
            }
        }
        log.start = base.or(start).unwrap_or_default();
        if log.intervals.is_empty() {
            return Err("no intervals in it".to_owned());
        }
        Ok(log)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn damaged(text: &[u8], error: &hdrhistogram::serialization::interval_log::LogIteratorError) -> String {
    let hdrhistogram::serialization::interval_log::LogIteratorError::ParseError { offset } = error;
    let line = text[..*offset].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line} is neither a comment nor an interval")
}
