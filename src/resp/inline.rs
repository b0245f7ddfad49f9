//! Inline requests: a line that a person typed, split into arguments as Redis splits it.
//!
//! Quotes and escapes are undone in place: an argument never takes more bytes than its spelling, and starts where its
//! spelling starts. Nothing is allocated. A NUL is a byte like any other, where Redis would wait forever.

use crate::command::{Span, Spans};
use crate::resp::parse::{Broken, is_space};

/// Why a line is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// The quotes are not balanced: the connection ends after the error.
    Broken(Broken),
    /// The quotes are balanced, but there are more arguments than [`Spans`] holds: the connection lives on.
    TooMany,
}

/// Split `line`, an inline request without its LF or CRLF, into arguments, and replace what `spans` held by them.
///
/// `base` is the offset of `line` in the input that the spans point into. Quotes and escapes are undone in place, so
/// the line cannot be split again. A line that [`header`](crate::resp::parse::header) calls `Inline` has at least one
/// argument. After an error the spans and the line mean nothing.
///
/// An argument ends at a space, a tab, a CR or the end of the line. In it, `"…"` may hold `\n \r \t \b \a \xHH`, and
/// `\` before any other byte stands for that byte; `'…'` may hold `\'`. White space or the end must follow a closing
/// quote.
pub fn split(line: &mut [u8], base: usize, spans: &mut Spans) -> Result<(), Inline> {
    spans.clear();
    let mut room = true;
    let mut at = 0;
    loop {
        while at < line.len() && is_space(line[at]) {
            at += 1;
        }
        if at == line.len() {
            return if room { Ok(()) } else { Err(Inline::TooMany) };
        }
        let start = at;
        let len = argument(line, &mut at).map_err(Inline::Broken)?;
        assert!(start + len <= at, "an argument never outgrows its spelling");
        room &= spans.push(Span { start: (base + start) as u32, len: len as u32 });
    }
}

/// Undo the quotes of the argument at `*at`, move `*at` past its spelling, and return its length.
fn argument(line: &mut [u8], at: &mut usize) -> Result<usize, Broken> {
    let start = *at;
    let mut end = start;
    while let Some(&byte) = line.get(*at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => break,
            b'"' | b'\'' => {
                *at += 1;
                quoted(line, at, &mut end, byte)?;
                break;
            }
            _ => {
                line[end] = byte;
                end += 1;
                *at += 1;
            }
        }
    }
    Ok(end - start)
}

/// Move what stands between `*at` and the closing `quote` to `*end`, and both past it.
fn quoted(line: &mut [u8], at: &mut usize, end: &mut usize, quote: u8) -> Result<(), Broken> {
    loop {
        let (byte, spelling_bytes) = match line[*at..] {
            [] => return Err(Broken::UnbalancedQuotes),
            [byte, ref rest @ ..] if byte == quote => {
                *at += 1;
                let closed = rest.first().is_none_or(|&next| is_space(next));
                return if closed { Ok(()) } else { Err(Broken::UnbalancedQuotes) };
            }
            [b'\\', escaped, ref rest @ ..] if quote == b'"' => unescape(escaped, rest),
            [b'\\', b'\'', ..] => (b'\'', 2),
            [byte, ..] => (byte, 1),
        };
        line[*end] = byte;
        *end += 1;
        *at += spelling_bytes;
    }
}

/// What `\` and `escaped` stand for with the bytes that follow, and the bytes of that spelling.
fn unescape(escaped: u8, rest: &[u8]) -> (u8, usize) {
    match (escaped, rest) {
        (b'x', &[high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            (hex_digit(high) << 4 | hex_digit(low), r"\x00".len())
        }
        (b'n', _) => (b'\n', 2),
        (b'r', _) => (b'\r', 2),
        (b't', _) => (b'\t', 2),
        (b'b', _) => (0x08, 2),
        (b'a', _) => (0x07, 2),
        _ => (escaped, 2),
    }
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests;
