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

/// All that was recorded under each tag, added up; `None` is response times.
pub type Totals = BTreeMap<Option<String>, Histogram<u64>>;

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// What was recorded; none for response times.
    pub tag: Option<String>,
    /// Since the start of the log.
    pub start: Duration,
    /// How long it was recorded.
    pub length: Duration,
    /// Times in nanoseconds. Packed, since a log has as many as its run had seconds, and three times that.
    pub histogram: Packed,
}

/// A log that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// When it starts, in Unix time.
    pub start: Duration,
    /// Its lines, by their start.
    pub intervals: Vec<Interval>,
    /// What else it says, a line each.
    pub comments: Vec<String>,
}

/// Write a run's log: a line for each second and kind of time, one for what was answered after the last of them, and one
/// for the whole of each command's. No more than one histogram is unpacked at a time.
pub fn write_run(run: &RunResult, out: &mut impl io::Write) -> io::Result<()> {
    let comments =
        [format!("[Logged with tallyring {}: {}]", run.version, shell(&run.command_line)), run.verdict.line()];
    let mut lines = Lines::begin(out, Duration::from_millis(run.started_unix_ms), &comments)?;
    let length = Duration::from_nanos(run.measured_ns);
    let mut wholes = run.commands.iter().flat_map(|command| {
        command.latency.named().map(|(name, recorded)| (format!("{name}:{}", command.tag), &recorded.0))
    });
    let mut whole = |lines: &mut Lines<'_, _>| {
        wholes.try_for_each(|(tag, histogram)| lines.write(Some(&tag), Duration::ZERO, length, histogram))
    };
    // Lines ascend: those of the whole run begin with its first second.
    for second in run.intervals() {
        if second.start_ns > 0 {
            whole(&mut lines)?;
        }
        for (name, packed) in second.named() {
            let (start, length) = (Duration::from_nanos(second.start_ns), Duration::from_nanos(second.length_ns));
            let histogram = packed.unpack().map_err(invalid)?;
            lines.write((name != "response").then_some(name), start, length, &histogram)?;
        }
    }
    whole(&mut lines)
}

/// What writes the lines of a log behind its head.
struct Lines<'a, W: io::Write> {
    out: &'a mut W,
    serializer: V2DeflateSerializer,
}

impl<'a, W: io::Write> Lines<'a, W> {
    fn begin(out: &'a mut W, start: Duration, comments: &[String]) -> io::Result<Lines<'a, W>> {
        let mut serializer = V2DeflateSerializer::new();
        let mut header = IntervalLogWriterBuilder::new();
        for line in comments {
            header.add_comment(line);
        }
        header.add_comment("[Histogram log format version 1.2]");
        header.with_start_time(UNIX_EPOCH + start);
        header.begin_log_with(out, &mut serializer)?;
        out.write_all(b"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n")?;
        Ok(Lines { out, serializer })
    }

    fn write(
        &mut self,
        tag: Option<&str>,
        start: Duration,
        length: Duration,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        let mut line = IntervalLogWriterBuilder::new();
        line.with_max_value_divisor(MAX_DIVISOR);
        let mut line = line.begin_log_with(self.out, &mut self.serializer)?;
        let tag = match tag {
            Some(tag) => Some(Tag::new(tag).ok_or_else(|| invalid(format!("no tag for a log: {tag:?}")))?),
            None => None,
        };
        line.write_histogram(histogram, start, length, tag).map_err(|error| match error {
            IntervalLogWriterError::IoError(error) => error,
            IntervalLogWriterError::SerializeError(error) => invalid(error.to_string()),
        })
    }
}

impl Log {
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

    /// Write it.
    pub fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut lines = Lines::begin(out, self.start, &self.comments)?;
        for Interval { tag, start, length, histogram } in &self.intervals {
            lines.write(tag.as_deref(), *start, *length, &histogram.unpack().map_err(invalid)?)?;
        }
        Ok(())
    }

    /// Read one, from this program or another, and add what it has to `totals`.
    ///
    /// # Errors
    /// In words. Some of it may have been added then.
    pub fn read(text: &[u8], totals: &mut Totals) -> Result<Log, String> {
        let mut log = Log::default();
        let (mut start, mut base) = (None, None);
        for entry in IntervalLogIterator::new(text) {
            match entry.map_err(|error| damaged(text, &error))? {
                LogEntry::StartTime(time) => start = Some(time),
                LogEntry::BaseTime(time) => base = Some(time),
                LogEntry::Interval(line) => {
                    let tag = line.tag().map(|tag| tag.as_str().to_owned());
                    let histogram = Packed::from(line.encoded_histogram());
                    let total = totals.entry(tag.clone()).or_insert_with(histogram::empty);
                    histogram::add(total, &histogram.unpack()?)?;
                    let (start, length) = (line.start_timestamp(), line.duration());
                    log.intervals.push(Interval { tag, start, length, histogram });
                }
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
