//! Records: what happened to one counter, as absolute values.
//!
//! ```text
//! kind 1 | key length 2 | key | value 8, of a put | expiry 8, of a put with one
//! ```
//!
//! All numbers are little-endian. Values have a fixed width, so that how long a record will be is known before its value
//! is. Replaying a record twice does no harm, and the last one of a key wins.

use crate::counters::Entry;
use crate::limits::KEY_BYTES_MAX;

/// The longest record.
pub const RECORD_BYTES_MAX: usize = HEAD_BYTES + KEY_BYTES_MAX + VALUE_BYTES + EXPIRY_BYTES;

/// Kind and key length.
const HEAD_BYTES: usize = 3;

const VALUE_BYTES: usize = 8;
const EXPIRY_BYTES: usize = 8;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A value, and no expiry.
    Put = 1,
    /// A value and an expiry.
    PutExpiring = 2,
    /// The counter is gone.
    Delete = 3,
    /// All counters of the shard are gone. No key.
    Flush = 4,
}

impl Kind {
    /// The kind of a put.
    #[inline]
    pub fn of_put(expiring: bool) -> Kind {
        if expiring { Kind::PutExpiring } else { Kind::Put }
    }

    /// Bytes of a record.
    #[inline]
    pub fn record_bytes(self, key_bytes: usize) -> usize {
        HEAD_BYTES + key_bytes + self.tail_bytes()
    }

    /// Bytes behind the key.
    #[inline]
    fn tail_bytes(self) -> usize {
        match self {
            Kind::Put => VALUE_BYTES,
            Kind::PutExpiring => VALUE_BYTES + EXPIRY_BYTES,
            Kind::Delete | Kind::Flush => 0,
        }
    }

    fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Put, Kind::PutExpiring, Kind::Delete, Kind::Flush].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The counter has this state.
    Put(&'a [u8], Entry),
    /// The counter is gone.
    Delete(&'a [u8]),
    /// All counters of the shard are gone.
    Flush,
}

/// Write a record to the start of `bytes`; answers its length. The entry is that of a put.
#[inline]
pub fn write(bytes: &mut [u8], kind: Kind, key: &[u8], entry: Entry) -> usize {
    assert!(key.len() <= KEY_BYTES_MAX);
    let record = &mut bytes[..kind.record_bytes(key.len())];
    record[0] = kind as u8;
    record[1..HEAD_BYTES].copy_from_slice(&(key.len() as u16).to_le_bytes());
    record[HEAD_BYTES..][..key.len()].copy_from_slice(key);
    let tail = &mut record[HEAD_BYTES + key.len()..];
    if matches!(kind, Kind::Put | Kind::PutExpiring) {
        tail[..VALUE_BYTES].copy_from_slice(&entry.value.to_le_bytes());
    }
    if let (Kind::PutExpiring, Some(at_ms)) = (kind, entry.expires_at_ms) {
        tail[VALUE_BYTES..][..EXPIRY_BYTES].copy_from_slice(&at_ms.to_le_bytes());
    }
    record.len()
}

/// Read the record at the start of `bytes`, and its length. `None`: this is no record.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(Record<'_>, usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>()?;
    let kind = Kind::from_byte(head[0])?;
    let key_bytes = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let (key, tail) = rest.split_at_checked(key_bytes).filter(|_| key_bytes <= KEY_BYTES_MAX)?;
    let number = |at: usize| Some(i64::from_le_bytes(*tail.get(at..)?.first_chunk()?));
    let record = match kind {
        Kind::Put => Record::Put(key, Entry { value: number(0)?, expires_at_ms: None }),
        Kind::PutExpiring => Record::Put(key, Entry { value: number(0)?, expires_at_ms: Some(number(VALUE_BYTES)?) }),
        Kind::Delete => Record::Delete(key),
        Kind::Flush if key.is_empty() => Record::Flush,
        Kind::Flush => return None,
    };
    Some((record, kind.record_bytes(key_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_is() {
        let mut bytes = vec![0; RECORD_BYTES_MAX];
        let plain = Entry { value: i64::MIN, expires_at_ms: None };
        let expiring = Entry { value: -1, expires_at_ms: Some(i64::MAX) };
        for key in [&b""[..], b"k", &[0xFF; KEY_BYTES_MAX]] {
            for (kind, entry, expected) in [
                (Kind::Put, plain, Record::Put(key, plain)),
                (Kind::PutExpiring, expiring, Record::Put(key, expiring)),
                (Kind::Delete, plain, Record::Delete(key)),
            ] {
                let len = write(&mut bytes, kind, key, entry);
                assert_eq!(read(&bytes[..len]), Some((expected, len)));
                assert!((0..len).all(|len| read(&bytes[..len]).is_none()));
            }
        }
        let len = write(&mut bytes, Kind::Flush, b"", plain);
        assert_eq!(read(&bytes[..len]), Some((Record::Flush, HEAD_BYTES)));
        assert_eq!((read(&[0, 0, 0]), read(&[5, 0, 0]), read(&[4, 1, 0, 7])), (None, None, None));
    }
}
