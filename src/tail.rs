//! `tallyring tail`: the commands that a running server's clients send, as they send them, a line each.
//!
//! It is a client that monitors (`MONITOR`), so it sees what that shows, from Tallyring or from Redis. What a server could
//! not show, since there was more than it keeps, is said once a second and at the end.

use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::glob;
use crate::monitor::MISSED;
use crate::process;
use crate::query::{Client, Failure, stopped};
use crate::startup::StartError;

/// How often commands that were missed are told of.
const MISSED_INTERVAL: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Tail {
    /// `HOST:PORT`.
    pub server: String,
    /// What `AUTH` is given.
    pub password: Option<String>,
    /// Every how many commands one is shown.
    pub sample: u32,
    /// Print only commands one of whose words matches.
    pub pattern: Option<String>,
    /// End after so many.
    pub count: Option<u64>,
}

/// Print commands until the user interrupts, `count` have been printed, or nobody reads them any more.
///
/// # Errors
/// The server cannot be reached, refuses, or goes away.
pub fn run(tail: &Tail) -> Result<(), StartError> {
    let problem = |failure| match failure {
        Failure::Gone(problem) | Failure::Refused(problem) => stopped("tail", &tail.server, &problem),
    };
    let mut client = Client::connect(&tail.server, tail.password.as_deref(), "tallyring-tail").map_err(problem)?;
    let sample = tail.sample.to_string();
    let monitor: &[&str] = if tail.sample == 1 { &["MONITOR"] } else { &["MONITOR", "SAMPLE", &sample] };
    client.ask(monitor).map_err(|failure| match failure {
        // Redis's words for arguments that it does not know.
        Failure::Refused(text) if tail.sample > 1 && text.contains("wrong number of arguments") => {
            StartError::Stopped {
                problem: format!("{}: it cannot show every {}th command only", tail.server, tail.sample),
                remedy: "Leave --sample out: that is Tallyring's alone",
            }
        }
        failure => problem(failure),
    })?;
    let ended = Arc::new(AtomicBool::new(false));
    let (ending, close) = (ended.clone(), client.closer().map_err(|error| problem(error.into()))?);
    let when_told = move || {
        ending.store(true, Ordering::Relaxed);
        close();
    };
    process::when_told_to_end(when_told).map_err(|error| problem(error.into()))?;
    let mut printer = Printer::new(tail, BufWriter::new(io::stdout().lock()));
    let lost = loop {
        match client.next_line() {
            Ok(Some(line)) => match printer.take(&line).and_then(|()| printer.flush_if(client.has_read_all())) {
                Ok(()) if printer.is_done() => break None,
                Ok(()) => {}
                // Who reads no further has seen enough.
                Err(_) => break None,
            },
            Ok(None) if ended.load(Ordering::Relaxed) => break None,
            Err(_) if ended.load(Ordering::Relaxed) => break None,
            Ok(None) => break Some(Failure::Gone("it has closed the connection".to_owned())),
            Err(failure) => break Some(failure),
        }
    };
    let _ = printer.finish();
    lost.map_or(Ok(()), |failure| Err(problem(failure)))
}

/// Prints what is wanted of the lines that come.
struct Printer<'a, W> {
    tail: &'a Tail,
    out: W,
    printed_count: u64,
    missed_count: u64,
    told_missed_count: u64,
    told: Instant,
}

impl<'a, W: Write> Printer<'a, W> {
    fn new(tail: &'a Tail, out: W) -> Printer<'a, W> {
        Printer { tail, out, printed_count: 0, missed_count: 0, told_missed_count: 0, told: Instant::now() }
    }

    fn is_done(&self) -> bool {
        self.tail.count.is_some_and(|count| self.printed_count >= count)
    }

    /// A line of `MONITOR`. One of another form is printed as it is.
    fn take(&mut self, line: &str) -> io::Result<()> {
        let Some(shown) = Shown::parse(line) else { return writeln!(self.out, "{line}") };
        if let [MISSED, count] = shown.words[..] {
            self.missed_count += count.parse().unwrap_or(0);
            return if self.told.elapsed() < MISSED_INTERVAL { Ok(()) } else { self.tell_missed() };
        }
        if !self.tail.pattern.as_ref().is_none_or(|pattern| shown.matches(pattern)) {
            return Ok(());
        }
        self.printed_count += 1;
        write!(self.out, "{}  {:<21} ", shown.time, shown.client)?;
        for word in &shown.words {
            write!(self.out, " {}", readable(word))?;
        }
        writeln!(self.out)
    }

    fn flush_if(&mut self, due: bool) -> io::Result<()> {
        if due { self.out.flush() } else { Ok(()) }
    }

    fn tell_missed(&mut self) -> io::Result<()> {
        let count = self.missed_count - self.told_missed_count;
        (self.told_missed_count, self.told) = (self.missed_count, Instant::now());
        writeln!(self.out, "# {count} more than could be shown")
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.missed_count > self.told_missed_count {
            self.tell_missed()?;
        }
        self.out.flush()
    }
}

/// One line of `MONITOR`: `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`.
#[derive(Debug, PartialEq, Eq)]
struct Shown<'a> {
    /// The time of the day, UTC.
    time: String,
    client: &'a str,
    /// Without their quotes, escaped still: they may hold anything.
    words: Vec<&'a str>,
}

impl<'a> Shown<'a> {
    fn parse(line: &'a str) -> Option<Shown<'a>> {
        let (time, rest) = line.split_once(" [")?;
        let (seconds, micros) = time.split_once('.')?;
        let (seconds, micros): (u64, u32) = (seconds.parse().ok()?, micros.parse().ok()?);
        let (second, minute, hour) = (seconds % 60, seconds / 60 % 60, seconds / 3_600 % 24);
        let time = format!("{hour:02}:{minute:02}:{second:02}.{micros:06}");
        let (from, mut rest) = rest.split_once("] \"")?;
        let (_, client) = from.split_once(' ')?;
        let mut words = Vec::new();
        loop {
            let end = closing_quote(rest)?;
            words.push(&rest[..end]);
            match &rest[end + 1..] {
                "" => return Some(Shown { time, client, words }),
                more => rest = more.strip_prefix(" \"")?,
            }
        }
    }

    fn matches(&self, pattern: &str) -> bool {
        self.words.iter().any(|word| glob::matches(pattern.as_bytes(), word.as_bytes()))
    }
}

/// Where a word ends, whose opening quote has been read.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// In quotes only where it would not be one word without.
fn readable(word: &str) -> Cow<'_, str> {
    match word.is_empty() || word.contains([' ', '\\']) {
        true => Cow::Owned(format!("\"{word}\"")),
        false => Cow::Borrowed(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(pattern: Option<&str>, lines: &[&str]) -> String {
        let (server, pattern) = (String::new(), pattern.map(str::to_owned));
        let tail = Tail { server, password: None, sample: 1, pattern, count: Some(2) };
        let mut out = Vec::new();
        let mut printer = Printer::new(&tail, &mut out);
        for line in lines {
            printer.take(line).unwrap();
        }
        assert_eq!(printer.is_done(), printer.printed_count == 2);
        printer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_printed_for_people() {
        let lines = [
            r#"1339518083.007412 [0 127.0.0.1:60866] "SET" "a key" "1""#,
            r#"1339518083.107412 [0 unix:/run/a b] "get" "" "q\"\\" "x""#,
            r##"1339518084.000000 [0 shard:1] "#missed" "17""##,
            "what is this",
        ];
        assert_eq!(
            printed(None, &lines),
            "16:21:23.007412  127.0.0.1:60866        SET \"a key\" 1\n\
             16:21:23.107412  unix:/run/a b          get \"\" \"q\\\"\\\\\" x\nwhat is this\n# 17 more than could be shown\n"
        );
    }

    #[test]
    fn only_what_matches_is_printed_and_counted() {
        let lines = [
            r#"1.000001 [0 127.0.0.1:1] "INCR" "user:7""#,
            r#"1.000002 [0 127.0.0.1:1] "INCR" "page:7""#,
            r#"1.000003 [0 127.0.0.1:1] "MGET" "page:1" "user:8""#,
        ];
        let text = printed(Some("user:*"), &lines);
        assert_eq!(text.lines().map(|line| &line[40..]).collect::<Vec<_>>(), ["INCR user:7", "MGET page:1 user:8"]);
    }

    #[test]
    fn what_is_no_line_of_monitor_is_known() {
        for strange in
            ["", "OK", "1.5 [0 a] \"x", "1.5 [0 a] x", "1.5 [a] \"x\"", "1.5 [0 a] \"x\"y", "x.5 [0 a] \"x\""]
        {
            assert_eq!(Shown::parse(strange), None, "{strange}");
        }
    }
}
