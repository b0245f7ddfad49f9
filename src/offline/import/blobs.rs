//! Looks at the strings of a snapshot before the decoder reads them: a compressed one says how long it is, and the decoder
//! makes that much room at once, whatever it says.
//!
//! Where a key or a value begins, the decoder's filter tells ([`Blobs::check_next`]). Before the fields that describe the
//! file it does not ask, so those are found by their mark. Behind a byte that only looks like the mark the next thing is the
//! beginning of something else, which no compressed string of such a length can be mistaken for.

use std::cell::RefCell;
use std::io::{self, Read};

use crate::limits::ANNOUNCED_BYTES_MAX;

/// Marks a field that describes the file: two strings.
const FIELD_MARK: u8 = 0xFA;

/// Begins a compressed string: its length, its length before it was compressed, its bytes.
const COMPRESSED: u8 = 0xC3;

/// LZF makes at most 264 bytes of three.
const EXPANSION_MAX: u64 = 88;

/// What a string can begin with at most: the mark, and two lengths of nine bytes.
const HEAD_BYTES_MAX: usize = 1 + 2 * 9;

/// See the module. To be read through a reference.
pub struct Blobs<R>(RefCell<State<R>>);

struct State<R> {
    input: R,
    /// Read from it, and not by the decoder yet.
    ahead: Vec<u8>,
    /// So far the decoder has read.
    at: u64,
    /// There the second string of a field begins.
    second_at: Option<u64>,
    /// What a string claims to have. Nothing is read behind that.
    claimed_bytes: Option<u64>,
}

/// How a string begins.
struct Head {
    /// With the head itself.
    bytes: u64,
    /// What the decoder makes room for before it has seen as many bytes, if too much.
    claimed_bytes: Option<u64>,
}

impl<R: Read> Blobs<R> {
    /// Of a snapshot.
    pub fn new(input: R) -> Blobs<R> {
        Blobs(RefCell::new(State { input, ahead: Vec::new(), at: 0, second_at: None, claimed_bytes: None }))
    }

    /// What the decoder reads next is a string.
    pub fn check_next(&self) {
        let _ = self.0.borrow_mut().check_next();
    }

    /// What a string claims to have, if more than it can.
    pub fn claimed_bytes(&self) -> Option<u64> {
        self.0.borrow().claimed_bytes
    }
}

impl<R: Read> State<R> {
    /// Answers the bytes of the string that begins here.
    fn check_next(&mut self) -> Option<u64> {
        let wanted_bytes = HEAD_BYTES_MAX.saturating_sub(self.ahead.len()) as u64;
        // What cannot be read the decoder will find.
        let _ = self.input.by_ref().take(wanted_bytes).read_to_end(&mut self.ahead);
        let head = head(&self.ahead)?;
        self.claimed_bytes = self.claimed_bytes.or(head.claimed_bytes);
        Some(head.bytes)
    }
}

impl<R: Read> Read for &Blobs<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let state = &mut *self.0.borrow_mut();
        if state.second_at == Some(state.at) {
            state.second_at = None;
            state.check_next();
        }
        if state.claimed_bytes.is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let count = match state.ahead.len().min(into.len()) {
            0 => state.input.read(into)?,
            count => {
                into[..count].copy_from_slice(&state.ahead[..count]);
                state.ahead.drain(..count);
                count
            }
        };
        state.at += count as u64;
        if into.len() == 1 && into[..count] == [FIELD_MARK] {
            state.second_at = state.check_next().and_then(|bytes| state.at.checked_add(bytes));
        }
        Ok(count)
    }
}

/// `None`: no string begins so.
fn head(bytes: &[u8]) -> Option<Head> {
    let (first, rest) = bytes.split_first()?;
    match first {
        0xC0..=0xC2 => Some(Head { bytes: 1 + (1 << (first & 3)), claimed_bytes: None }),
        &COMPRESSED => {
            let (compressed_bytes, count) = length(rest)?;
            let (whole_bytes, more) = length(&rest[count..])?;
            let most_bytes = compressed_bytes.saturating_mul(EXPANSION_MAX).min(ANNOUNCED_BYTES_MAX as u64);
            let claimed_bytes = (whole_bytes > most_bytes).then_some(whole_bytes);
            Some(Head { bytes: compressed_bytes.saturating_add((1 + count + more) as u64), claimed_bytes })
        }
        // The decoder makes room as bytes come.
        _ => length(bytes).map(|(len, count)| Head { bytes: len.saturating_add(count as u64), claimed_bytes: None }),
    }
}

/// A length, and the bytes that it takes.
fn length(bytes: &[u8]) -> Option<(u64, usize)> {
    let (first, rest) = bytes.split_first()?;
    match first >> 6 {
        0 => Some((u64::from(first & 0x3F), 1)),
        1 => Some((u64::from(first & 0x3F) << 8 | u64::from(*rest.first()?), 2)),
        _ => match first {
            0x80 => Some((u64::from(u32::from_be_bytes(*rest.first_chunk()?)), 5)),
            0x81 => Some((u64::from_be_bytes(*rest.first_chunk()?), 9)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::rdb;
    use super::super::store::Store;
    use super::*;

    /// Take a snapshot with this between its head and its end.
    fn taken(body: &[u8]) -> Result<u64, rdb::Broken> {
        let bytes = [b"REDIS0010", body, &[0xFF; 1], &[0; 8]].concat();
        let extent = rdb::Extent { bytes: bytes.len() as u64, is_verified: false };
        let mut store = Store::default();
        rdb::take(&mut &bytes[..], extent, &mut store)?;
        Ok(store.counters().key_count())
    }

    #[test]
    fn what_a_compressed_string_claims_is_bounded() {
        // "aaaa…" of 200 bytes, and of 264 at most from three.
        let whole: &[u8] = &[0xC3, 9, 0x40, 200, 1, 97, 97, 224, 187, 0, 1, 97, 97];
        let claim = |bytes: u64| [&[0xC3, 3, 0x81], &bytes.to_be_bytes()[..], b"\0aa"].concat();
        let string = |key: &[u8], value: &[u8]| [b"\0", key, value].concat();
        let field = |name: &[u8], value: &[u8]| [b"\xFA", name, value].concat();
        let counter = string(b"\x01c", b"\xC0\x05");
        for huge in [claim(1 << 40), claim(u64::MAX), claim(3 * EXPANSION_MAX + 1)] {
            for body in [
                string(b"\x01a", &huge),
                string(&huge, b"\x01a"),
                field(b"\x01a", &huge),
                field(&huge, b"\x01a"),
                [string(b"\x01a", b"\xC0\xFA"), string(b"\x01b", &huge)].concat(),
                [counter.clone(), field(whole, whole), field(b"\xC1aa", &huge)].concat(),
                // Behind a list that is skipped.
                [b"\x01\x01l\x02\xC0\xFA\x01x".to_vec(), field(b"\xC2aaaa", &huge)].concat(),
            ] {
                assert!(matches!(taken(&body), Err(rdb::Broken::Length(_))), "{body:x?}");
            }
        }
        let all = [field(whole, whole), string(whole, whole), string(b"\xC0\xFA", whole), counter].concat();
        assert_eq!(taken(&all).expect("all is as it should be"), 1);
        // A list of -6 and of bytes that look like a huge one: they are some string's own.
        let looks = [b"\x01\x01l\x02\xC0\xFA\x0F".to_vec(), claim(1 << 40), b"x".to_vec()].concat();
        assert_eq!(taken(&looks).expect("it is a list"), 0);
    }
}
