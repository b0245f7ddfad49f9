//! Plain commands on one key, as every client library spells them, in one pass: `INCR key`, `SET key value` and the like.
//!
//! Such a request is compared as words, not argument by argument, and becomes an item of the window at once. Whatever
//! looks another way, is refused or has not wholly arrived is left where it is, for `request` to find out.
//!
//! Invariant: the replies are those that `request` alone would give, only sooner (tests hold one against the other).

use super::Parsing;
use crate::client::ReplyMode;
use crate::command::{Plain, PlainSpec, Span, plain};
use crate::counters::Op;
use crate::limits::{OUTCOME_BYTES_MAX, SHORT_OUTCOME_BYTES_MAX, SHORT_REPLY_BYTES_MAX};
use crate::resp::integer;
use crate::resp::parse::{Bulk, bulk};

/// A request that has wholly arrived.
struct Request {
    spec: PlainSpec,
    /// Where its key lies, from its own begin on.
    key: Span,
    /// And its value, where there is one.
    value: Span,
    bytes: usize,
}

impl Parsing<'_> {
    /// Push the plain commands that the input goes on with.
    #[inline]
    pub(super) fn plain(&mut self, input: &[u8]) {
        if !self.takes_plain() {
            return;
        }
        for _ in 0..self.window.plain_room() {
            let rest = &input[self.at..];
            let Some(Request { spec, key: span, value, bytes }) = request(rest) else { return };
            let key = self.around.seed.key(span.of(rest));
            if !self.served.contains(key.slot) {
                return;
            }
            self.around.counters.prefetch_slot(key.slot);
            let shard = self.around.map.shard_of(key.slot);
            let span = Span { start: self.at as u32 + span.start, len: span.len };
            // Each with an operation of its own kind, so that none is put together elsewhere and copied.
            match spec.plain {
                Plain::Add(amount) => self.window.push_plain_op(spec.index, key, span, shard, Op::Add(amount)),
                Plain::Get => self.window.push_plain_op(spec.index, key, span, shard, Op::Get),
                Plain::AddValue | Plain::SubtractValue | Plain::SetValue => {
                    let op = integer::parse(value.of(rest)).and_then(|value| spec.plain.with(value));
                    let Some(op) = op else { return };
                    self.window.push_plain_op(spec.index, key, span, shard, op);
                }
            }
            self.at += bytes;
        }
    }

    /// Nothing has been said that would make a plain command less plain.
    #[inline]
    fn takes_plain(&self) -> bool {
        #[cfg(test)]
        if self.session.without_plain {
            return false;
        }
        let client = &self.session.client;
        let stranger = !client.authenticated && self.around.env.password.is_some();
        client.transaction.is_none()
            && client.reply == ReplyMode::On
            && !client.closing
            && client.monitor.is_none()
            && !stranger
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
/// Where the digits stand.
const START_DIGITS: u64 = u64::from_le_bytes(*b"\0\xff\0\0\0\xff\0\0");
/// What follows the name.
const NEXT: u32 = u32::from_le_bytes(*b"\r\n$\0");
const CRLF: u16 = u16::from_le_bytes(*b"\r\n");
const CRLF_BYTES: usize = 2;

/// The plain request that `input` begins with. `None` says nothing.
///
/// No request of a name of up to eight letters, a key and its headers is shorter than what is read at a time here.
#[inline]
fn request(input: &[u8]) -> Option<Request> {
    let (start, rest) = input.split_first_chunk::<8>()?;
    let start = u64::from_le_bytes(*start);
    if start & !START_DIGITS != START {
        return None;
    }
    let digit = |shift: u32| ((start >> shift) as u8).wrapping_sub(b'0');
    let (count, name_len) = (digit(8), usize::from(digit(40)));
    let name = u64::from_le_bytes(*rest.first_chunk()?);
    let spec = plain(name, name_len, count)?;

    let header_at = 8 + name_len;
    let header = u64::from_le_bytes(*input.get(header_at..)?.first_chunk()?);
    if header as u32 & 0x00FF_FFFF != NEXT {
        return None;
    }
    let digit = |shift: u32| usize::from(((header >> shift) as u8).wrapping_sub(b'0'));
    let (tens, ones) = (digit(24), digit(32));
    let (key_len, header_bytes) = if (header >> 40) as u16 == CRLF && (1..=9).contains(&tens) && ones <= 9 {
        (tens * 10 + ones, "\r\n$10\r\n".len())
    } else if (header >> 32) as u16 == CRLF && tens <= 9 {
        (tens, "\r\n$1\r\n".len())
    } else {
        return None;
    };
    let key = Span { start: (header_at + header_bytes) as u32, len: key_len as u32 };
    let bytes = header_at + header_bytes + key_len + CRLF_BYTES;
    let rest = input.get(bytes..)?;
    if count == 2 {
        return Some(Request { spec, key, value: Span::default(), bytes });
    }
    match bulk(rest) {
        Bulk::Whole { start, len, consumed } => {
            let value = Span { start: (bytes + start) as u32, len: len as u32 };
            Some(Request { spec, key, value, bytes: bytes + consumed })
        }
        _ => None,
    }
}
