//! A Redis's append-only file: the commands that it was written with, one after the other.
//!
//! Arguments are read as far as a key can be long, and the rest of each is stepped over, and so are arguments that do not
//! matter: memory does not follow the file's lists and blobs. It follows the longest `MSET` or `DEL`, and the longest
//! transaction, whose commands count together. A file whose last command is unfinished ends before it, as when Redis loads it
//! (`aof-load-truncated yes`).

use std::io::{self, BufRead, Read};

use super::commands::kept_count;
use super::replay::{Replay, Unfollowed};
use crate::limits::KEY_BYTES_MAX;

/// Bytes of an argument that are kept: enough to see that a key is too long.
const KEPT_BYTES_MAX: u64 = KEY_BYTES_MAX as u64 + 1;

/// Longest line of a header, and of a comment's beginning.
const LINE_BYTES_MAX: u64 = 64;

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind a command.
    Whole,
    /// Within a command or a transaction that begins at this byte.
    Unfinished(u64),
}

/// Why a file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what a Redis writes.
    #[error("no command begins at byte {0}")]
    Format(u64),
    /// A command that only a Redis can carry out.
    #[error("the command at byte {at} cannot be followed: {what}")]
    Unfollowed {
        /// Where it begins.
        at: u64,
        /// Which, and why.
        what: Unfollowed,
    },
}

/// Carry out all commands, from the present place of `input` on, which is `offset` bytes into its file.
///
/// # Errors
/// What makes it uncertain what the counters are.
pub fn replay(input: &mut impl BufRead, offset: u64, replay: &mut Replay<'_>) -> Result<End, Broken> {
    let mut commands = Commands { input, at: offset };
    let mut arguments = Vec::new();
    let mut transaction_at = None;
    loop {
        let at = commands.at;
        match commands.next(&mut arguments)? {
            Next::End => break,
            Next::Unfinished => return Ok(End::Unfinished(transaction_at.unwrap_or(at))),
            Next::Command => replay.command(&arguments).map_err(|what| Broken::Unfollowed { at, what })?,
        }
        transaction_at = if replay.is_in_transaction() { transaction_at.or(Some(at)) } else { None };
    }
    Ok(transaction_at.map_or(End::Whole, End::Unfinished))
}

enum Next {
    Command,
    End,
    Unfinished,
}

struct Commands<'a, R> {
    input: &'a mut R,
    /// The file's bytes that were read.
    at: u64,
}

impl<R: BufRead> Commands<'_, R> {
    fn next(&mut self, arguments: &mut Vec<Vec<u8>>) -> Result<Next, Broken> {
        arguments.clear();
        let start = self.at;
        let mut line = self.line()?;
        // Notes on the time, with aof-timestamp-enabled yes.
        while line.first() == Some(&b'#') {
            while line.last() != Some(&b'\n') {
                line = self.line()?;
                if line.is_empty() {
                    return Ok(Next::Unfinished);
                }
            }
            line = self.line()?;
        }
        if line.is_empty() {
            return Ok(Next::End);
        }
        let count = match header(&line, b'*') {
            Header::Number(count @ 1..) => count,
            Header::Unfinished => return Ok(Next::Unfinished),
            _ => return Err(Broken::Format(start)),
        };
        let mut needed_count = 1;
        for index in 0..count {
            let len = match header(&self.line()?, b'$') {
                Header::Number(len) => len,
                Header::Unfinished => return Ok(Next::Unfinished),
                Header::None => return Err(Broken::Format(start)),
            };
            let is_kept = index < needed_count as u64;
            let kept_bytes = if is_kept { len.min(KEPT_BYTES_MAX) } else { 0 };
            let mut argument = Vec::new();
            let kept = self.read(&mut argument, kept_bytes)?;
            let skipped = kept && self.skip(len - kept_bytes)?;
            let mut end = Vec::new();
            if !skipped || !self.read(&mut end, 2)? {
                return Ok(Next::Unfinished);
            }
            if end != b"\r\n" {
                return Err(Broken::Format(start));
            }
            if index == 0 {
                needed_count = kept_count(&argument);
            }
            if is_kept {
                arguments.push(argument);
            }
        }
        Ok(Next::Command)
    }

    /// A line with its end, or as much of it as is read at once.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        let count = self.input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        self.at += count as u64;
        Ok(line)
    }

    /// Read so many bytes; false when there are fewer.
    fn read(&mut self, into: &mut Vec<u8>, count: u64) -> io::Result<bool> {
        let read = self.input.by_ref().take(count).read_to_end(into)? as u64;
        self.at += read;
        Ok(read == count)
    }

    /// Step over so many bytes; false when there are fewer.
    fn skip(&mut self, count: u64) -> io::Result<bool> {
        let skipped = io::copy(&mut self.input.by_ref().take(count), &mut io::sink())?;
        self.at += skipped;
        Ok(skipped == count)
    }
}

enum Header {
    Number(u64),
    Unfinished,
    None,
}

fn header(line: &[u8], mark: u8) -> Header {
    let Some(text) = line.strip_suffix(b"\r\n") else {
        // What has no end although more would have been read is cut.
        let is_cut = line.last() != Some(&b'\n') && (line.len() as u64) < LINE_BYTES_MAX;
        return if is_cut { Header::Unfinished } else { Header::None };
    };
    let digits = text.strip_prefix(&[mark]).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).map_or(Header::None, Header::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Entry;
    use crate::offline::import::store::Store;

    const COMMANDS: &[u8] =
        b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n5\r\n\
        *1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$4\r\nINCR\r\n$1\r\nb\r\n*1\r\n$4\r\nEXEC\r\n";

    fn taken(mut bytes: &[u8]) -> (Result<End, Broken>, Option<i64>, Option<i64>) {
        let mut store = Store::default();
        let end = replay(&mut bytes, 100, &mut Replay::new(&mut store));
        let value = |entry: Option<Entry>| entry.map(|entry| entry.value);
        (end, value(store.get(b"a")), value(store.get(b"b")))
    }

    #[test]
    fn a_file_that_is_cut_ends_before_the_command_or_transaction() {
        let set_at = COMMANDS.windows(3).position(|bytes| bytes == b"#TS").expect("it is there");
        let multi_at = COMMANDS.windows(9).position(|bytes| bytes == b"*1\r\n$5\r\nM").expect("it is there");
        for len in 0..=COMMANDS.len() {
            let (end, a, b) = taken(&COMMANDS[..len]);
            let end = end.unwrap_or_else(|error| panic!("cut at {len}: {error}"));
            let expected = match len {
                _ if len == COMMANDS.len() => (Some(6), Some(1)),
                _ if len < multi_at => (None, None),
                _ => (Some(5), None),
            };
            assert_eq!((a, b), expected, "cut at {len}");
            let start = if len > multi_at { multi_at } else { set_at };
            match end {
                End::Whole => assert!(
                    [0, multi_at, COMMANDS.len()].contains(&len) || (set_at..=set_at + 16).contains(&len),
                    "{len}"
                ),
                End::Unfinished(at) => assert!(at == 100 || at == 100 + start as u64, "cut at {len}: {at}"),
            }
        }
    }

    #[test]
    fn what_is_no_command_is_named() {
        for (bytes, at) in [
            (&b"*1\r\n$4\r\nPINGxx"[..], 100),
            (b"INCR a\r\n", 100),
            (b"*0\r\n", 100),
            (b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*x\r\n", 123),
            (b"*2\r\n$6\r\nSELECT\r\n:1\r\n0\r\n", 100),
        ] {
            assert!(matches!(taken(bytes).0, Err(Broken::Format(of)) if of == at), "{:?}", taken(bytes).0);
        }
        let (end, ..) = taken(b"*4\r\n$7\r\nRESTORE\r\n$1\r\na\r\n$1\r\n0\r\n$1\r\nx\r\n");
        let said = end.expect_err("it cannot be followed").to_string();
        assert_eq!(said, "the command at byte 100 cannot be followed: RESTORE");
    }

    #[test]
    fn arguments_that_do_not_matter_are_stepped_over() {
        for (name, kept_count) in
            [("rpush", 2), ("LPOP", 1), ("bitop", 3), ("MSET", 1_001), ("UNLINK", 1_001), ("EVAL", 16)]
        {
            let elements = "$4\r\n1234\r\n".repeat(1_000);
            let bytes = format!("*1001\r\n${}\r\n{name}\r\n{elements}*1\r\n$4\r\nPING\r\n", name.len());
            let mut commands = Commands { input: &mut bytes.as_bytes(), at: 0 };
            let mut arguments = Vec::new();
            assert!(matches!(commands.next(&mut arguments), Ok(Next::Command)), "{name}");
            assert_eq!(arguments.len(), kept_count, "{name}");
            assert!(matches!(commands.next(&mut arguments), Ok(Next::Command)), "the next one begins behind it");
            assert_eq!(arguments, [b"PING"]);
        }
    }

    #[test]
    fn a_long_argument_is_stepped_over() {
        let blob = "x".repeat(1 << 20);
        let bytes =
            format!("*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n${}\r\n{blob}\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", blob.len());
        assert!(matches!(taken(bytes.as_bytes()), (Ok(End::Whole), Some(1), None)));
    }
}
