//! A recorded load: the output of Redis's `MONITOR`, replayed with its times.
//!
//! All requests are encoded beforehand, so replaying copies bytes. Commands of one client stay on one connection, in
//! their order. What would end or change a connection, and what scripts called, is left out. So is what is not there whole:
//! Tallyring's own `MONITOR` cuts long commands, and says how many it could not show.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::control::encode;
use super::mix::Mix;
use super::template::{Argument, Digits, Effect, Template};
use crate::limits::{LOAD_COMMAND_COUNT_MAX, LOAD_REQUEST_BYTES_MAX, LOAD_TRACE_BYTES_MAX};

/// What is not replayed.
const LEFT_OUT: [&str; 18] = [
    "auth",
    "client",
    "hello",
    "monitor",
    "psubscribe",
    "psync",
    "punsubscribe",
    "quit",
    "replicaof",
    "reset",
    "select",
    "shutdown",
    "slaveof",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "sync",
    // It has a reply for each channel.
    "unsubscribe",
];

/// A request as long as the longest, written as one argument, is still one that may be sent.
const REQUEST_BYTES_MAX: usize = LOAD_REQUEST_BYTES_MAX - 64;

/// Bytes of a line: more than any that is replayed has, with its escapes, and than most that are left out.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// The tag of commands that have none of their own, as there would be too many.
const OTHER: &str = "other";

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recorded {
    /// After the first one, in nanoseconds.
    at_ns: u64,
    /// Where its bytes begin.
    start: usize,
    /// The index of its tag.
    tag: u16,
    /// The number of its client.
    client: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Trace {
    requests: Vec<Recorded>,
    bytes: Vec<u8>,
    tags: Vec<String>,
    /// Commands that the server has shortened, and those that it says it could not show.
    shortened_count: u64,
    missed_count: u64,
}

impl Trace {
    /// Read a file.
    ///
    /// # Errors
    /// In words, with the line.
    pub fn read(path: &Path) -> Result<Trace, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        Trace::parse(BufReader::new(file))
    }

    /// Line by line, so that neither a line nor the whole can be longer than a trace is.
    fn parse(mut text: impl BufRead) -> Result<Trace, String> {
        let mut trace = Trace::default();
        let (mut tags, mut clients) = (HashMap::new(), HashMap::new());
        let mut first_us = None;
        let (mut line, mut read_bytes) = (Vec::new(), 0);
        for index in 0.. {
            let line_bytes = next_line(&mut text, &mut line).map_err(|error| error.to_string())?;
            read_bytes += line_bytes;
            if line_bytes == 0 {
                break;
            }
            if line_bytes == LINE_BYTES_MAX {
                return Err(format!(
                    "line {} has {LINE_BYTES_MAX} bytes or more, which none of MONITOR's has",
                    index + 1
                ));
            }
            if read_bytes > LOAD_TRACE_BYTES_MAX {
                return Err(format!("it has more than {LOAD_TRACE_BYTES_MAX} bytes"));
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // What `redis-cli monitor` begins with.
            if line.is_empty() || line == b"OK" {
                continue;
            }
            let Line { at_us, client, arguments } =
                Line::parse(line).ok_or_else(|| format!("line {} is none of MONITOR's", index + 1))?;
            if let (true, [_, count]) = (arguments[0] == MISSED, &arguments[..]) {
                trace.missed_count += std::str::from_utf8(count).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
                continue;
            }
            if arguments.iter().any(|argument| is_shortened(argument)) {
                trace.shortened_count += 1;
                continue;
            }
            let name = String::from_utf8_lossy(&arguments[0]).to_ascii_lowercase();
            if LEFT_OUT.contains(&name.as_str()) || client == b"lua" {
                continue;
            }
            let first_us = *first_us.get_or_insert(at_us);
            // The wall clock may have been set back meanwhile.
            let at_ns = at_us.saturating_sub(first_us) * 1_000;
            let at_ns = at_ns.max(trace.requests.last().map_or(0, |last: &Recorded| last.at_ns));
            let tag_count = tags.len();
            let name = if tag_count < LOAD_COMMAND_COUNT_MAX - 1 || tags.contains_key(&name) {
                name
            } else {
                OTHER.to_owned()
            };
            let tag = *tags.entry(name.clone()).or_insert_with(|| {
                trace.tags.push(name);
                tag_count as u16
            });
            let client_count = clients.len() as u32;
            let client = *clients.entry(client.to_vec()).or_insert(client_count);
            let start = trace.bytes.len();
            encode(&arguments, &mut trace.bytes);
            if trace.bytes.len() - start > REQUEST_BYTES_MAX {
                return Err(format!("line {} is a request of more than {REQUEST_BYTES_MAX} bytes", index + 1));
            }
            trace.requests.push(Recorded { at_ns, start, tag, client });
        }
        if trace.requests.is_empty() { Err("there is nothing to replay in it".to_owned()) } else { Ok(trace) }
    }

    /// How many requests there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// A trace is never empty; for the sake of completeness.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// From the first request to the last, in nanoseconds, and a little more.
    pub fn length_ns(&self) -> u64 {
        self.requests.last().map_or(0, |last| last.at_ns) + 1
    }

    /// When each request of one of `thread_count` threads is to be sent, from the beginning on, and its number.
    pub fn moments(
        &self,
        thread: usize,
        thread_count: usize,
        connections: usize,
    ) -> impl Iterator<Item = (u64, usize)> {
        let mine =
            move |(_, request): &(usize, &Recorded)| request.client as usize % connections % thread_count == thread;
        self.requests.iter().enumerate().filter(mine).map(|(number, request)| (request.at_ns, number))
    }

    /// The connection of a request: its number in the run.
    pub fn connection(&self, number: usize, connections: usize) -> usize {
        self.requests[number].client as usize % connections
    }

    /// A request's bytes, and the index of its tag.
    #[inline]
    pub fn request(&self, number: usize) -> (&[u8], usize) {
        let request = self.requests[number];
        let end = self.requests.get(number + 1).map_or(self.bytes.len(), |next| next.start);
        (&self.bytes[request.start..end], usize::from(request.tag))
    }

    /// The tags as a mix, whose requests are as long as the longest. What they do to counters is not followed.
    ///
    /// # Errors
    /// None that a trace which was read has.
    pub fn mix(&self, name: &str) -> Result<Mix, String> {
        let longest = (0..self.len()).map(|number| self.request(number).0.len()).max().unwrap_or(0);
        let templates = self.tags.iter().map(|tag| {
            let padding = Argument::text(vec![b' '; longest]);
            Template::new(tag, &[vec![padding]], &[], Effect::Unknown, Digits::new(1))
        });
        let mut text = format!("trace {name}, {} requests", self.len());
        for (count, what) in
            [(self.shortened_count, "shortened by MONITOR"), (self.missed_count, "that MONITOR missed")]
        {
            if count > 0 {
                text.push_str(&format!(", without {count} {what}"));
            }
        }
        Mix::of_templates(templates.collect::<Result<_, _>>()?, text)
    }
}

/// What stands for commands that a monitor was not shown.
const MISSED: &[u8] = b"#missed";

/// Whether Tallyring's `MONITOR` has cut this argument, or those behind it: `... (3 more bytes)`, `... (3 more arguments)`.
fn is_shortened(argument: &[u8]) -> bool {
    let cut = |what: &[u8]| {
        let rest = argument.strip_suffix(what)?;
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        (digits > 0 && rest[..rest.len() - digits].ends_with(b"... (")).then_some(())
    };
    cut(b" more bytes)").or_else(|| cut(b" more arguments)")).is_some()
}

/// Read a line with its end, or as much of it as a line may have. Answers its bytes; 0 at the end.
fn next_line(text: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    Ok(text.take(LINE_BYTES_MAX).read_until(b'\n', line)? as u64)
}

/// `1339518083.107412 [0 127.0.0.1:60866] "INCR" "hits"`
struct Line<'a> {
    at_us: u64,
    client: &'a [u8],
    arguments: Vec<Vec<u8>>,
}

impl Line<'_> {
    fn parse(line: &[u8]) -> Option<Line<'_>> {
        let (time, rest) = split_at(line, b" [")?;
        let (source, mut rest) = split_at(rest, b"] ")?;
        let (_, client) = split_at(source, b" ")?;
        let (seconds, micros) = split_at(time, b".")?;
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
        let at_us =
            number(seconds)?.checked_mul(1_000_000)?.checked_add(number(micros).filter(|us| *us < 1_000_000)?)?;
        let mut arguments = Vec::new();
        while !rest.is_empty() {
            let (argument, behind) = quoted(rest)?;
            arguments.push(argument);
            rest = behind.strip_prefix(b" ").unwrap_or(behind);
        }
        (!arguments.is_empty()).then_some(Line { at_us, client, arguments })
    }
}

fn split_at<'a>(bytes: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::find(bytes, separator)?;
    Some((&bytes[..at], &bytes[at + separator.len()..]))
}

/// A string in quotation marks with the escapes of Redis's `sdscatrepr`, and what stands behind it.
fn quoted(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = bytes.strip_prefix(b"\"")?;
    let mut text = Vec::new();
    loop {
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' => return Some((text, rest)),
            b'\\' => {
                let (&escaped, behind) = rest.split_first()?;
                rest = behind;
                text.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    b'x' => {
                        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                        rest = &rest[2..];
                        u8::from_str_radix(digits, 16).ok()?
                    }
                    other => other,
                });
            }
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONITORED: &[u8] = b"OK\n\
        1339518083.107412 [0 127.0.0.1:60866] \"INCR\" \"a \\\"b\\\" \\x01\\n\"\n\
        1339518083.107512 [0 127.0.0.1:60867] \"get\" \"a\"\r\n\
        1339518083.107000 [0 lua] \"get\" \"of a script\"\n\
        1339518083.107000 [0 127.0.0.1:60866] \"QUIT\"\n\
        1339518083.107000 [0 127.0.0.1:60866] \"UNSUBSCRIBE\" \"a\" \"b\"\n\
        1339518083.106000 [0 unix:/x y] \"incr\" \"c\"\n";

    #[test]
    fn what_monitor_prints_is_replayed() {
        let trace = Trace::parse(MONITORED).unwrap();
        assert_eq!((trace.len(), trace.tags.join(" ")), (3, "incr get".to_owned()));
        let all: Vec<(u64, usize)> = trace.moments(0, 1, 50).collect();
        // The last one's clock was set back.
        assert_eq!(all, [(0, 0), (100_000, 1), (100_000, 2)]);
        assert_eq!(trace.request(0), (&b"*2\r\n$4\r\nINCR\r\n$8\r\na \"b\" \x01\n\r\n"[..], 0));
        assert_eq!(trace.request(2), (&b"*2\r\n$4\r\nincr\r\n$1\r\nc\r\n"[..], 0));
        assert_eq!(trace.length_ns(), 100_001);
        let mix = trace.mix("x").unwrap();
        assert!(mix.request_bytes_max() >= trace.request(0).0.len());
        assert!(mix.counted_names().is_err());
    }

    #[test]
    fn what_is_not_there_whole_is_left_out_and_counted() {
        let text = b"1.000001 [0 c] \"INCR\" \"a\"\n\
            1.000002 [0 c] \"INCR\" \"aaa... (172 more bytes)\"\n\
            1.000003 [0 c] \"MGET\" \"a\" \"... (69 more arguments)\"\n\
            1.000004 [0 shard:0] \"#missed\" \"209\"\n\
            1.000005 [0 c] \"INCR\" \"(3 more bytes)\"\n";
        let trace = Trace::parse(&text[..]).unwrap();
        assert_eq!((trace.len(), trace.shortened_count, trace.missed_count), (2, 2, 209));
        let mix = trace.mix("x").unwrap();
        assert_eq!(mix.text(), "trace x, 2 requests, without 2 shortened by MONITOR, without 209 that MONITOR missed");
    }

    #[test]
    fn a_client_stays_on_its_connection_and_each_thread_has_its_own() {
        let trace = Trace::parse(MONITORED).unwrap();
        let numbers = |thread| trace.moments(thread, 2, 3).map(|(_, number)| number).collect::<Vec<_>>();
        assert_eq!((numbers(0), numbers(1)), (vec![0, 2], vec![1]));
        assert_eq!([0, 1, 2].map(|number| trace.connection(number, 3)), [0, 1, 2]);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        for (text, said) in [
            (&b""[..], "nothing to replay"),
            (b"OK\nINCR a\n", "line 2"),
            (b"1.5 [0 x]\n", "line 1"),
            (b"1.5 [0 x] \"a\n", "line 1"),
            (b"x.5 [0 x] \"a\"\n", "line 1"),
            (b"1.5 [0 x] \"\\xzz\"\n", "line 1"),
        ] {
            let error = Trace::parse(text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn what_has_no_end_is_refused_at_its_first_line() {
        let error = Trace::read(Path::new("/dev/zero")).unwrap_err();
        assert!(error.starts_with("line 1 has 16777216 bytes or more"), "{error}");
    }

    #[test]
    fn many_commands_share_a_tag() {
        let text: String = (0..40).map(|n| format!("1.000001 [0 c] \"command{n}\"\n")).collect();
        let trace = Trace::parse(text.as_bytes()).unwrap();
        assert_eq!(trace.tags.len(), LOAD_COMMAND_COUNT_MAX);
        assert_eq!(trace.tags.last().unwrap(), OTHER);
        assert!(trace.mix("x").is_ok());
    }
}
