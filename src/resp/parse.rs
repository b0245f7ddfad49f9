//! Where requests begin and end in the received bytes: headers and arguments, as positions, never as copies.
//!
//! Invariant: an answer depends on nothing but the bytes, and no prefix of a valid request gets another answer than
//! `Incomplete`; once the answer is anything else, more bytes never change it. So a stream may be cut anywhere.
//!
//! As in Redis, a header ends at its CR and the byte after it is skipped unread, and so are the two bytes after an
//! argument's body. Unlike Redis, which waits for a CR (for up to 64 KiB) before it looks at a header, a header is
//! refused at the first byte that no valid one could have there: such a client gets its error instead of silence.

use crate::limits::{
    ANNOUNCED_BYTES_MAX, ANNOUNCED_COUNT_MAX, ARGUMENT_BYTES_MAX, FIXED_BUFFER_BYTES, HEADER_BYTES_MAX,
};
use crate::resp::integer;

/// Bytes of a line's end, and of what follows an argument's body.
const CRLF_BYTES: usize = 2;

/// What the input starts with at a command boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// More bytes are needed.
    Incomplete,
    /// A blank line, `*0` or a negative count: no request and no reply.
    Empty {
        /// Bytes to drop.
        consumed: usize,
    },
    /// `*N`: that many arguments follow, each for [`bulk`].
    Multibulk {
        /// Arguments, the command's name included: 1 to [`ANNOUNCED_COUNT_MAX`].
        count: u32,
        /// Bytes of the header with its CRLF.
        consumed: usize,
    },
    /// A line for [`split`](crate::resp::inline::split), with at least one byte that is no white space.
    Inline {
        /// Bytes of the line without its LF or CRLF.
        line_len: usize,
        /// Bytes of the line with it.
        consumed: usize,
    },
    /// The connection ends after the error.
    Broken(Broken),
}

/// What the input starts with where an argument of a multibulk request is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    /// More bytes are needed.
    Incomplete,
    /// The whole argument is there.
    Whole {
        /// Offset of its body.
        start: usize,
        /// Bytes of its body, at most [`ARGUMENT_BYTES_MAX`].
        len: usize,
        /// Bytes of header, body and CRLF.
        consumed: usize,
    },
    /// The argument is longer than [`ARGUMENT_BYTES_MAX`]: `len` bytes and a CRLF are to be skipped after the header.
    Long {
        /// Bytes of its body, at most [`ANNOUNCED_BYTES_MAX`].
        len: u64,
        /// Bytes of the header with its CRLF; nothing of the body.
        consumed: usize,
    },
    /// The connection ends after the error.
    Broken(Broken),
}

/// How a client broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The count of `*N` is no integer in its only spelling, or over [`ANNOUNCED_COUNT_MAX`].
    MultibulkLength,
    /// The length of `$N` is no integer in its only spelling, negative, or over [`ANNOUNCED_BYTES_MAX`].
    BulkLength,
    /// This byte stands where an argument's `$` must.
    ExpectedBulk(u8),
    /// An inline request does not end within [`FIXED_BUFFER_BYTES`].
    InlineTooLong,
    /// A quote of an inline request is not closed, or is not followed by white space.
    UnbalancedQuotes,
    /// Too many arguments before authentication.
    UnauthenticatedMultibulkLength,
    /// Too long an argument before authentication.
    UnauthenticatedBulkLength,
}

impl Broken {
    /// Append Redis's words for it, which stand after `-ERR Protocol error: `. They hold no CR and no LF.
    pub fn text(self, out: &mut Vec<u8>) {
        let words = match self {
            Broken::MultibulkLength => "invalid multibulk length",
            Broken::BulkLength => "invalid bulk length",
            Broken::ExpectedBulk(byte) => {
                let shown = if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
                out.extend_from_slice(b"expected '$', got '");
                out.extend_from_slice(&[shown, b'\'']);
                return;
            }
            Broken::InlineTooLong => "too big inline request",
            Broken::UnbalancedQuotes => "unbalanced quotes in request",
            Broken::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Broken::UnauthenticatedBulkLength => "unauthenticated bulk length",
        };
        out.extend_from_slice(words.as_bytes());
    }
}

/// What `input` starts with. It must begin at a command boundary and may hold any number of bytes after the request.
#[inline]
pub fn header(input: &[u8]) -> Header {
    match *input {
        [b'*', count @ b'1'..=b'9', b'\r', _, ..] => {
            Header::Multibulk { count: u32::from(count - b'0'), consumed: "*1\r\n".len() }
        }
        _ => uncommon_header(input),
    }
}

/// What `input` starts with. It must begin where an argument of a multibulk request is expected.
#[inline]
pub fn bulk(input: &[u8]) -> Bulk {
    let (len, start) = match *input {
        [b'$', one @ b'0'..=b'9', b'\r', _, ..] => (usize::from(one - b'0'), "$1\r\n".len()),
        [b'$', ten @ b'1'..=b'9', one @ b'0'..=b'9', b'\r', _, ..] => {
            (usize::from(ten - b'0') * 10 + usize::from(one - b'0'), "$10\r\n".len())
        }
        _ => return uncommon_bulk(input),
    };
    body(input, start, len)
}

/// An argument whose header has been read, with `len` at most [`ARGUMENT_BYTES_MAX`].
#[inline]
fn body(input: &[u8], start: usize, len: usize) -> Bulk {
    let consumed = start + len + CRLF_BYTES;
    if input.len() < consumed { Bulk::Incomplete } else { Bulk::Whole { start, len, consumed } }
}

#[inline(never)]
fn uncommon_header(input: &[u8]) -> Header {
    match input.first() {
        None => Header::Incomplete,
        Some(b'*') => match number_line(input) {
            NumberLine::Incomplete => Header::Incomplete,
            NumberLine::Whole { number: ..=0, consumed } => Header::Empty { consumed },
            NumberLine::Whole { number: number @ 1..=ANNOUNCED_COUNT_MAX, consumed } => {
                Header::Multibulk { count: number as u32, consumed }
            }
            NumberLine::Whole { .. } | NumberLine::Invalid => Header::Broken(Broken::MultibulkLength),
        },
        Some(_) => inline_header(input),
    }
}

fn inline_header(input: &[u8]) -> Header {
    let reach = &input[..input.len().min(FIXED_BUFFER_BYTES)];
    let Some(newline) = memchr::memchr(b'\n', reach) else {
        let full = reach.len() == FIXED_BUFFER_BYTES;
        return if full { Header::Broken(Broken::InlineTooLong) } else { Header::Incomplete };
    };
    let line = &input[..newline];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let consumed = newline + 1;
    if line.iter().copied().all(is_space) {
        Header::Empty { consumed }
    } else {
        Header::Inline { line_len: line.len(), consumed }
    }
}

#[inline(never)]
fn uncommon_bulk(input: &[u8]) -> Bulk {
    match input.first() {
        None => Bulk::Incomplete,
        Some(b'$') => match number_line(input) {
            NumberLine::Incomplete => Bulk::Incomplete,
            NumberLine::Whole { number: number @ 0..=ANNOUNCED_BYTES_MAX, consumed } => {
                if number <= ARGUMENT_BYTES_MAX as i64 {
                    body(input, consumed, number as usize)
                } else {
                    Bulk::Long { len: number as u64, consumed }
                }
            }
            NumberLine::Whole { .. } | NumberLine::Invalid => Bulk::Broken(Broken::BulkLength),
        },
        Some(&byte) => Bulk::Broken(Broken::ExpectedBulk(byte)),
    }
}

/// A mark (`*` or `$`), a number and a CRLF.
enum NumberLine {
    Incomplete,
    Whole { number: i64, consumed: usize },
    Invalid,
}

fn number_line(input: &[u8]) -> NumberLine {
    // With one byte more than the longest valid line: that is where its CR would be.
    let reach = &input[1..input.len().min(HEADER_BYTES_MAX + 1)];
    match reach.iter().position(|&byte| byte == b'\r') {
        Some(digit_count) => {
            let consumed = 1 + digit_count + CRLF_BYTES;
            match integer::parse(&reach[..digit_count]) {
                None => NumberLine::Invalid,
                Some(_) if input.len() < consumed => NumberLine::Incomplete,
                Some(number) => NumberLine::Whole { number, consumed },
            }
        }
        None if reach.len() == HEADER_BYTES_MAX => NumberLine::Invalid,
        None if may_become_integer(reach) => NumberLine::Incomplete,
        None => NumberLine::Invalid,
    }
}

/// Whether bytes can be appended that make `prefix` an integer in its only spelling, its range aside.
fn may_become_integer(prefix: &[u8]) -> bool {
    match prefix.strip_prefix(b"-").unwrap_or(prefix) {
        [] => true,
        [b'0'] => prefix.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// White space as C's `isspace` has it in the POSIX locale, which is what Redis asks.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

#[cfg(test)]
mod tests;
