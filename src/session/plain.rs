//! Plain commands on one key, as every client library spells them, in one pass: `INCR key`, `SET key value` and the like,
//! and all others whose key is their first argument.
//!
//! How such a request begins is compared as words, not argument by argument, and it becomes an item of the window at once.
//! Whatever looks another way, is refused or has not wholly arrived is left where it is, for `request` to find out.
//!
//! Invariant: the replies are those that `request` alone would give, only sooner (tests hold one against the other).

use super::Parsing;
use crate::client::ReplyMode;
use crate::command::{Call, KeyParse, PLAIN_ARGUMENT_COUNT_MAX, Plain, PlainSpec, Span, plain};
use crate::counters::Op;
use crate::limits::{OUTCOME_BYTES_MAX, SHORT_OUTCOME_BYTES_MAX, SHORT_REPLY_BYTES_MAX};
use crate::resp::integer;
use crate::resp::parse::{Bulk, bulk};

/// How a plain request begins: all before the key.
///
/// Whoever counts sends requests that begin alike, so the last ones are kept: another that begins as one of them is known
/// at three comparisons.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Its bytes, those of the key behind it taken out by `mask`.
    words: [u64; HEAD_WORDS],
    /// Of the last word.
    mask: u64,
    plain: Plain,
    /// The command's index in the table.
    command: u16,
    /// Where the key begins.
    bytes: u8,
    key_len: u8,
    name_len: u8,
    /// Arguments, the name included.
    argument_count: u8,
}

const HEAD_WORDS: usize = 3;

/// From `*2␍␊$3␍␊GET␍␊$1␍␊` to `*3␍␊$8␍␊EXPIREAT␍␊$10␍␊`: the last word is never wholly the head's.
const HEAD_BYTES: std::ops::RangeInclusive<usize> = 17..=23;

/// The heads that were seen last.
#[derive(Debug)]
pub(super) struct Heads([Head; HEAD_COUNT]);

const HEAD_COUNT: usize = 16;

impl Default for Heads {
    fn default() -> Heads {
        // Nothing begins so: the last word is not among what the mask leaves.
        let none = Head {
            words: [1; HEAD_WORDS],
            mask: 0,
            plain: Plain::Get,
            command: 0,
            bytes: 0,
            key_len: 0,
            name_len: 0,
            argument_count: 0,
        };
        Heads([none; HEAD_COUNT])
    }
}

impl Heads {
    /// Where the head is that the input begins with. `None` says nothing.
    #[inline(always)]
    fn place_of(&mut self, input: &[u8]) -> Option<usize> {
        let words = match input.first_chunk() {
            Some(bytes) => words(bytes),
            None => padded(input),
        };
        // The name, and the first digit of the key's length or what stands there else.
        let place = (words[1].wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - HEAD_COUNT.ilog2())) as usize;
        let known = &mut self.0[place];
        let differs =
            (words[0] ^ known.words[0]) | (words[1] ^ known.words[1]) | (words[2] & known.mask ^ known.words[2]);
        if differs != 0 {
            *known = head(words)?;
        }
        Some(place)
    }
}

#[inline(always)]
fn words(bytes: &[u8; HEAD_WORDS * 8]) -> [u64; HEAD_WORDS] {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// Of an input that ends sooner, which may still be a whole request with a key of a few bytes.
#[inline(never)]
fn padded(input: &[u8]) -> [u64; HEAD_WORDS] {
    let mut bytes = [0; HEAD_WORDS * 8];
    bytes[..input.len()].copy_from_slice(input);
    words(&bytes)
}

impl Parsing<'_> {
    /// Push the plain commands that the input goes on with. Apart, as a loop that has the registers for itself.
    #[inline(never)]
    pub(super) fn plain(&mut self, input: &[u8]) {
        if !self.takes_plain() {
            return;
        }
        for _ in 0..self.window.plain_room() {
            let rest = &input[self.at..];
            let Some(place) = self.window.heads.place_of(rest) else { return };
            let Head { plain, command, bytes: start, key_len, .. } = self.window.heads.0[place];
            let (start, key_len) = (usize::from(start), usize::from(key_len));
            let mut bytes = start + key_len + CRLF_BYTES;
            let Some(request) = rest.get(..bytes) else { return };
            let key = self.around.seed.key(&request[start..][..key_len]);
            if !self.served.contains(key.slot) {
                return;
            }
            self.around.counters.prefetch_slot(key.slot);
            let shard = self.around.map.shard_of(key.slot);
            let span = Span { start: (self.at + start) as u32, len: key_len as u32 };
            // Each with an operation of its own kind, so that none is put together elsewhere and copied.
            match plain {
                Plain::Add(amount) => self.window.push_plain_op(command, key, span, shard, Op::Add(amount)),
                Plain::Get => self.window.push_plain_op(command, key, span, shard, Op::Get),
                Plain::Delete => self.window.push_plain_op(command, key, span, shard, Op::Delete),
                Plain::Exists => self.window.push_plain_op(command, key, span, shard, Op::Exists),
                Plain::AddValue | Plain::SubtractValue | Plain::SetValue => {
                    let rest = &rest[bytes..];
                    let Bulk::Whole { start, len, consumed } = bulk(rest) else { return };
                    let op = integer::parse(&rest[start..][..len]).and_then(|value| plain.with(value));
                    let Some(op) = op else { return };
                    self.window.push_plain_op(command, key, span, shard, op);
                    bytes += consumed;
                }
                Plain::Other(parse) => {
                    let Some((op, end)) = self.other(parse, place, span, input, self.at + bytes) else { return };
                    self.window.push_plain_op(command, key, span, shard, op);
                    bytes = end - self.at;
                }
            }
            self.at += bytes;
        }
    }

    /// The operation of a command whose other arguments follow from `at` on, and where it ends.
    #[inline(never)]
    fn other(&self, parse: KeyParse, head: usize, key: Span, input: &[u8], at: usize) -> Option<(Op, usize)> {
        let Head { name_len, argument_count, .. } = self.window.heads.0[head];
        let name = Span { start: self.at as u32 + START_BYTES, len: u32::from(name_len) };
        let mut spans = [name; PLAIN_ARGUMENT_COUNT_MAX];
        let spans = &mut spans[..usize::from(argument_count)];
        spans[1] = key;
        let mut end = at;
        for span in &mut spans[2..] {
            let Bulk::Whole { start, len, consumed } = bulk(&input[end..]) else { return None };
            *span = Span { start: (end + start) as u32, len: len as u32 };
            end += consumed;
        }
        let call = Call { input, spans, now_ms: self.around.now_ms, resp3: self.session.client.resp3 };
        let op = parse(&call).ok().filter(|op| op.reply_bytes_max() <= SHORT_OUTCOME_BYTES_MAX)?;
        Some((op, end))
    }

    /// Nothing has been said that would make a plain command less plain.
    #[inline]
    fn takes_plain(&self) -> bool {
        #[cfg(test)]
        if self.session.without_plain {
            return false;
        }
        let client = &self.session.client;
        client.transaction.is_none()
            && client.reply == ReplyMode::On
            && !client.closing
            && client.monitor.is_none()
            && !self.is_stranger()
            && !self.around.writes_paused
            && self.around.writes_refused.is_none()
    }
}

/// What a window must have room for when a plain command is pushed is what [`Window::has_room`](super::Window::has_room)
/// asks for; each takes so much of it.
pub(super) const fn plain_count_max(room_bytes: usize) -> usize {
    room_bytes.saturating_sub(2 * OUTCOME_BYTES_MAX + SHORT_REPLY_BYTES_MAX) / SHORT_OUTCOME_BYTES_MAX
}

/// `*n␍␊$n␍␊`, the digits zero.
const START: u64 = u64::from_le_bytes(*b"*\0\r\n$\0\r\n");
const START_BYTES: u32 = 8;
/// Where the digits stand.
const START_DIGITS: u64 = u64::from_le_bytes(*b"\0\xff\0\0\0\xff\0\0");
/// What follows the name.
const NEXT: u32 = u32::from_le_bytes(*b"\r\n$\0");
const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
const CRLF_BYTES: usize = 2;

/// The head that begins with `words`, if it is of a plain request.
fn head(words: [u64; HEAD_WORDS]) -> Option<Head> {
    if words[0] & !START_DIGITS != START {
        return None;
    }
    let digit = |word: u64, byte: usize| ((word >> (8 * byte)) as u8).wrapping_sub(b'0');
    let (count, name_len) = (digit(words[0], 1), usize::from(digit(words[0], 5)));
    let PlainSpec { plain, index } = plain(words[1], name_len, count)?;

    let behind_name = u128::from(words[1]) | u128::from(words[2]) << 64;
    let header = (behind_name >> (8 * name_len)) as u64;
    if header as u32 & 0x00FF_FFFF != NEXT {
        return None;
    }
    let (tens, ones) = (digit(header, 3), digit(header, 4));
    let (key_len, header_bytes) = if (header >> 40) as u16 == CRLF && (1..=9).contains(&tens) && ones <= 9 {
        (tens * 10 + ones, "\r\n$10\r\n".len())
    } else if (header >> 32) as u16 == CRLF && tens <= 9 {
        (tens, "\r\n$1\r\n".len())
    } else {
        return None;
    };
    let bytes = START_BYTES as usize + name_len + header_bytes;
    assert!(HEAD_BYTES.contains(&bytes), "a plain command has a name of three to eight letters");
    let mask = u64::MAX >> (8 * (8 * HEAD_WORDS - bytes));
    let words = [words[0], words[1], words[2] & mask];
    let (bytes, name_len) = (bytes as u8, name_len as u8);
    Some(Head { words, mask, plain, command: index, bytes, key_len, name_len, argument_count: count })
}
