//! Replies, in RESP2 and RESP3, byte for byte as Redis writes them.
//!
//! Invariant: each function appends exactly one reply, or exactly one header, and nothing is allocated here. The caller
//! has made room: as with [`BufMut`] itself, writing past the room that is left is a bug and panics.
//!
//! Source: the Redis serialization protocol specification.

use std::io::Write;

use bytes::BufMut;

use crate::counters::{Outcome, Word};
use crate::resp::integer;

/// What [`integer::decimal`] prints is below this.
const DECIMAL_END: i64 = integer::DECIMAL_END as i64;

/// What [`integer::short_decimal`] prints is below this.
const SHORT_DECIMAL_END: i64 = integer::SHORT_DECIMAL_END as i64;

const CRLF: [u8; 2] = *b"\r\n";

/// The null of RESP3.
const NULL_RESP3: &[u8] = b"_\r\n";

/// Where replies that are short and come often go.
pub trait Out: BufMut {
    /// Append `start`, the first `count` bytes of `digits`, the lowest first, and CRLF. The other digits may be written
    /// behind too, where there is room, and mean nothing: so a word is stored, whatever the length.
    fn put_line(&mut self, start: &[u8], digits: u64, count: usize);
}

/// The longest line is this long, with what may be written behind.
const LINE_BYTES: usize = 16;

impl Out for &mut [u8] {
    #[inline]
    fn put_line(&mut self, start: &[u8], digits: u64, count: usize) {
        assert!(start.len() <= LINE_BYTES - size_of::<u64>() - CRLF.len());
        match self.first_chunk_mut::<LINE_BYTES>() {
            Some(room) => {
                room[..start.len()].copy_from_slice(start);
                room[start.len()..][..8].copy_from_slice(&digits.to_le_bytes());
                room[start.len() + count..][..2].copy_from_slice(&CRLF);
                *self = &mut std::mem::take(self)[start.len() + count + CRLF.len()..];
            }
            None => put_last(self, start, digits, count),
        }
    }
}

/// Apart, so that the stores above stay three.
#[cold]
#[inline(never)]
fn put_last(room: &mut impl BufMut, start: &[u8], digits: u64, count: usize) {
    room.put_slice(start);
    room.put_slice(&digits.to_le_bytes()[..count]);
    room.put_slice(&CRLF);
}

impl<T: Out + ?Sized> Out for &mut T {
    #[inline]
    fn put_line(&mut self, start: &[u8], digits: u64, count: usize) {
        (**self).put_line(start, digits, count);
    }
}

impl Out for Vec<u8> {
    #[inline]
    fn put_line(&mut self, start: &[u8], digits: u64, count: usize) {
        put_last(self, start, digits, count);
    }
}

/// What one operation answers: at most [`OUTCOME_BYTES_MAX`](crate::limits::OUTCOME_BYTES_MAX) bytes.
#[inline(always)]
pub fn outcome(out: &mut impl Out, outcome: Outcome, resp3: bool) {
    match outcome {
        Outcome::Int(value) => integer(out, value),
        Outcome::Value(value) => bulk_integer(out, value),
        Outcome::Nil => null(out, resp3),
        Outcome::Ok => out.put_slice(b"+OK\r\n"),
        Outcome::Word(Word::String) => out.put_slice(b"+string\r\n"),
        Outcome::Word(Word::None) => out.put_slice(b"+none\r\n"),
        Outcome::Word(Word::Int) => out.put_slice(b"$3\r\nint\r\n"),
        Outcome::Fault(fault) => error(out, fault.text()),
    }
}

/// `:42`, an integer.
#[inline(always)]
pub fn integer(out: &mut impl Out, value: i64) {
    if let 0..SHORT_DECIMAL_END = value {
        let (digits, count) = integer::short_decimal(value as u32);
        return out.put_line(b":", digits.into(), count);
    }
    if let 0..DECIMAL_END = value {
        let (digits, count) = integer::decimal(value as u32);
        return out.put_line(b":", digits, count);
    }
    long_integer(out, value);
}

/// Of any number of digits.
#[inline(never)]
fn long_integer(out: &mut impl BufMut, value: i64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    out.put_u8(b':');
    out.put_slice(digits);
    out.put_slice(b"\r\n");
}

/// `$2`, `42`: a bulk string of the decimal integer.
#[inline]
pub fn bulk_integer(out: &mut impl Out, value: i64) {
    if let 0..DECIMAL_END = value {
        let (digits, count) = integer::decimal(value as u32);
        return out.put_line(&[b'$', b'0' + count as u8, b'\r', b'\n'], digits, count);
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(value).as_bytes();
    let (tens, ones) = (b'0' + (digits.len() / 10) as u8, b'0' + (digits.len() % 10) as u8);
    if tens == b'0' {
        out.put_slice(&[b'$', ones, b'\r', b'\n']);
    } else {
        out.put_slice(&[b'$', tens, ones, b'\r', b'\n']);
    }
    out.put_slice(digits);
    out.put_slice(b"\r\n");
}

/// `+text`, a simple string. It must hold no CR and no LF.
#[inline]
pub fn simple(out: &mut impl BufMut, text: &str) {
    assert!(memchr::memchr2(b'\r', b'\n', text.as_bytes()).is_none(), "a simple string is one line");
    out.put_u8(b'+');
    out.put_slice(text.as_bytes());
    out.put_slice(b"\r\n");
}

/// `-text`, an error; `text` starts with its code (`ERR …`). As in Redis, a CR or LF in it is sent as a space.
pub fn error(out: &mut impl BufMut, text: &str) {
    out.put_u8(b'-');
    let mut rest = text.as_bytes();
    while let Some(line_len) = memchr::memchr2(b'\r', b'\n', rest) {
        out.put_slice(&rest[..line_len]);
        out.put_u8(b' ');
        rest = &rest[line_len + 1..];
    }
    out.put_slice(rest);
    out.put_slice(b"\r\n");
}

/// `$5`, `bytes`: a bulk string.
#[inline]
pub fn bulk(out: &mut impl BufMut, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.put_slice(bytes);
    out.put_slice(b"\r\n");
}

/// The null: `$-1` in RESP2, `_` in RESP3.
#[inline]
pub fn null(out: &mut impl BufMut, resp3: bool) {
    out.put_slice(if resp3 { NULL_RESP3 } else { b"$-1\r\n" });
}

/// The null in an array's place: `*-1` in RESP2, `_` in RESP3.
pub fn null_array(out: &mut impl BufMut, resp3: bool) {
    out.put_slice(if resp3 { NULL_RESP3 } else { b"*-1\r\n" });
}

/// The header of an array of `count` replies.
#[inline]
pub fn array(out: &mut impl BufMut, count: usize) {
    header(out, b'*', count);
}

/// The header of a map of `count` pairs of replies: in RESP2 an array of twice as many.
pub fn map(out: &mut impl BufMut, count: usize, resp3: bool) {
    if resp3 {
        header(out, b'%', count);
    } else {
        header(out, b'*', 2 * count);
    }
}

/// The header of a set of `count` replies: in RESP2 an array.
pub fn set(out: &mut impl BufMut, count: usize, resp3: bool) {
    header(out, if resp3 { b'~' } else { b'*' }, count);
}

/// A truth: `#t` or `#f`, in RESP2 `:1` or `:0`.
pub fn boolean(out: &mut impl BufMut, truth: bool, resp3: bool) {
    out.put_slice(match (resp3, truth) {
        (true, true) => b"#t\r\n",
        (true, false) => b"#f\r\n",
        (false, true) => b":1\r\n",
        (false, false) => b":0\r\n",
    });
}

/// A number as C's `%.17g` prints it, in RESP2 as a bulk string.
pub fn double(out: &mut impl BufMut, number: f64, resp3: bool) {
    let mut line = [0; DOUBLE_BYTES_MAX];
    let text = double_text(&mut line, number);
    if resp3 {
        out.put_u8(b',');
        out.put_slice(text);
        out.put_slice(b"\r\n");
    } else {
        bulk(out, text);
    }
}

/// A text with its format (`txt`, `mkd`), in RESP2 a bulk string without it.
pub fn verbatim(out: &mut impl BufMut, format: &str, text: &str, resp3: bool) {
    verbatim_of(out, format, text.len(), std::iter::once(text), resp3);
}

/// The same of a text that is in pieces, of `bytes` together.
pub fn verbatim_of<'a>(
    out: &mut impl BufMut,
    format: &str,
    bytes: usize,
    pieces: impl Iterator<Item = &'a str>,
    resp3: bool,
) {
    assert!(format.len() == 3, "a format is three letters");
    if resp3 {
        header(out, b'=', format.len() + 1 + bytes);
        out.put_slice(format.as_bytes());
        out.put_u8(b':');
    } else {
        header(out, b'$', bytes);
    }
    let mut left_bytes = bytes;
    for piece in pieces {
        out.put_slice(piece.as_bytes());
        left_bytes = left_bytes.checked_sub(piece.len()).expect("no more comes than was announced");
    }
    assert_eq!(left_bytes, 0, "what was announced comes");
    out.put_slice(b"\r\n");
}

/// `mark`, `count` and CRLF.
#[inline]
fn header(out: &mut impl BufMut, mark: u8, count: usize) {
    let mut digits = itoa::Buffer::new();
    out.put_u8(mark);
    out.put_slice(digits.format(count).as_bytes());
    out.put_slice(b"\r\n");
}

/// Significant digits of a printed double: as many as bring every double back.
const DOUBLE_DIGIT_COUNT: usize = 17;

/// A sign, the digits, a point and an exponent of five bytes, with room to spare.
const DOUBLE_BYTES_MAX: usize = 32;

/// `number` as C's `%.17g` prints it, in `line`.
fn double_text(line: &mut [u8; DOUBLE_BYTES_MAX], number: f64) -> &[u8] {
    let mut room = &mut line[..];
    if number.is_sign_negative() {
        room.put_u8(b'-');
    }
    if number.is_nan() {
        room.put_slice(b"nan");
    } else if number.is_infinite() {
        room.put_slice(b"inf");
    } else {
        put_magnitude(&mut room, number.abs());
    }
    let room_bytes = room.len();
    &line[..DOUBLE_BYTES_MAX - room_bytes]
}

/// A finite `magnitude`, with an exponent only where `%g` prints one: below -4, and from as many as there are digits.
fn put_magnitude(room: &mut &mut [u8], magnitude: f64) {
    let mut scientific = [0; DOUBLE_BYTES_MAX];
    let mut unused = &mut scientific[..];
    write!(unused, "{:.*e}", DOUBLE_DIGIT_COUNT - 1, magnitude).expect("a double's digits fit");
    let unused_bytes = unused.len();
    // `d.dddddddddddddddde-ddd`
    let scientific = &scientific[..DOUBLE_BYTES_MAX - unused_bytes];
    let mut digits = [scientific[0]; DOUBLE_DIGIT_COUNT];
    digits[1..].copy_from_slice(&scientific[2..=DOUBLE_DIGIT_COUNT]);
    let exponent = integer::parse(&scientific[DOUBLE_DIGIT_COUNT + 2..]).expect("an exponent is an integer");

    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    let digits = &digits[..significant];
    match exponent {
        -4..0 => {
            room.put_slice(b"0.");
            room.put_bytes(b'0', (-exponent - 1) as usize);
            room.put_slice(digits);
        }
        0..17 => {
            let whole_count = exponent as usize + 1;
            let (whole, fraction) = digits.split_at(whole_count.min(digits.len()));
            room.put_slice(whole);
            room.put_bytes(b'0', whole_count - whole.len());
            put_fraction(room, fraction);
        }
        _ => {
            room.put_slice(&digits[..1]);
            put_fraction(room, &digits[1..]);
            write!(room, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
                .expect("an exponent fits");
        }
    }
}

fn put_fraction(room: &mut &mut [u8], digits: &[u8]) {
    if !digits.is_empty() {
        room.put_u8(b'.');
        room.put_slice(digits);
    }
}

#[cfg(test)]
mod tests;
