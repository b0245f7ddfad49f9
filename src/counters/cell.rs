//! The bytes of one counter: a packed cell.
//!
//! ```text
//! head 1 | key length 2, only from 31 bytes on | key | value 1, 2, 4 or 8 | expiry 8, only where there is one
//! ```
//!
//! The head's low five bits are the key's length (31: it follows), the next two the value's width as a power of two, the
//! top one says whether there is an expiry. All numbers are little-endian. A value keeps the width that it was given until
//! it outgrows it, so that counting is a write in place; most counters never need more than two bytes.

use super::op::Entry;
use crate::limits::KEY_BYTES_MAX;

/// The largest cell: the longest key, eight bytes of value, an expiry.
pub const CELL_BYTES_MAX: usize = 1 + 2 + KEY_BYTES_MAX + 8 + 8;

const LEN_MASK: u8 = 0b0001_1111;
const LEN_FOLLOWS: u8 = LEN_MASK;
const WIDTH_SHIFT: u32 = 5;
const EXPIRY_FLAG: u8 = 0b1000_0000;
const EXPIRY_BYTES: usize = 8;

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);

/// What a cell is made of, which says how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    key_bytes: usize,
    width_log2: u8,
    expiring: bool,
}

impl Shape {
    /// The smallest that holds a key of `key_bytes` bytes and `entry`.
    #[inline]
    pub fn of(key_bytes: usize, entry: Entry) -> Shape {
        assert!(key_bytes <= KEY_BYTES_MAX);
        Shape { key_bytes, width_log2: width_log2(entry.value), expiring: entry.expires_at_ms.is_some() }
    }

    /// Bytes of the cell.
    #[inline]
    pub fn cell_bytes(self) -> usize {
        let len_bytes = if self.key_bytes >= usize::from(LEN_FOLLOWS) { 2 } else { 0 };
        let expiry_bytes = if self.expiring { EXPIRY_BYTES } else { 0 };
        1 + len_bytes + self.key_bytes + (1 << self.width_log2) + expiry_bytes
    }

    /// Whether there is an expiry.
    #[inline]
    pub fn is_expiring(self) -> bool {
        self.expiring
    }
}

/// Fill `cell`, which is as long as `shape` says, with a counter of that shape.
pub fn write(cell: &mut [u8], shape: Shape, key: &[u8], entry: Entry) {
    assert!(cell.len() == shape.cell_bytes() && key.len() == shape.key_bytes);
    let flags = (shape.width_log2 << WIDTH_SHIFT) | if shape.expiring { EXPIRY_FLAG } else { 0 };
    let start = if key.len() >= usize::from(LEN_FOLLOWS) {
        cell[0] = flags | LEN_FOLLOWS;
        cell[1..3].copy_from_slice(&(key.len() as u16).to_le_bytes());
        3
    } else {
        cell[0] = flags | key.len() as u8;
        1
    };
    cell[start..][..key.len()].copy_from_slice(key);
    let written = set_entry(cell, entry);
    assert!(written);
}

/// Where the key lies in a cell.
#[inline]
fn key_range(cell: &[u8]) -> (usize, usize) {
    let len = cell[0] & LEN_MASK;
    if len < LEN_FOLLOWS { (1, usize::from(len)) } else { (3, usize::from(u16::from_le_bytes([cell[1], cell[2]]))) }
}

/// The key.
#[inline]
pub fn key(cell: &[u8]) -> &[u8] {
    let (start, len) = key_range(cell);
    &cell[start..][..len]
}

/// Whether the cell's key is `bytes`.
#[inline]
pub fn has_key(cell: &[u8], bytes: &[u8]) -> bool {
    let (start, len) = key_range(cell);
    len == bytes.len() && same(&cell[start..][..len], bytes)
}

/// Whether two slices of one length are the same. Most keys are compared as two words at each end, without a call.
#[inline(always)]
fn same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        Some((bytes.first_chunk()?, bytes.last_chunk()?))
    }
    match one.len() {
        8..=16 => ends::<8>(one) == ends::<8>(other),
        17..=32 => ends::<16>(one) == ends::<16>(other),
        _ => one == other,
    }
}

/// What [`add`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The sum is the new value.
    Sum(i64),
    /// The sum is no 64-bit integer. Nothing is changed.
    Overflow,
    /// The sum has outgrown the cell. Nothing is changed.
    Outgrown,
}

/// Add to the value in place.
#[inline]
pub fn add(cell: &mut [u8], amount: i64) -> Added {
    let (start, len) = key_range(cell);
    add_at(cell[0], &mut cell[start + len..], amount)
}

/// The same if the cell is that of `key` and has no expiry, and the sum fits; else `None`. Most are found here, at the
/// cost of one look at the head.
#[inline(always)]
pub fn add_lasting(cell: &mut [u8], key: &[u8], amount: i64) -> Option<i64> {
    let head = cell[0];
    let place = lasting_value(head, &mut cell[1..], key)?;
    match add_at(head, place, amount) {
        Added::Sum(sum) => Some(sum),
        Added::Overflow | Added::Outgrown => None,
    }
}

/// What stands behind the key, if the cell is that of `key`, which is short, and has no expiry.
#[inline]
fn lasting_value<'a>(head: u8, behind_head: &'a mut [u8], key: &[u8]) -> Option<&'a mut [u8]> {
    if key.len() >= usize::from(LEN_FOLLOWS) || head & (EXPIRY_FLAG | LEN_MASK) != key.len() as u8 {
        return None;
    }
    let (name, place) = behind_head.split_at_mut_checked(key.len())?;
    same(name, key).then_some(place)
}

/// Whether the cell is that of `key`, which is short, and has no expiry.
#[inline(always)]
pub fn is_lasting_of(cell: &[u8], key: &[u8]) -> bool {
    let Some((head, behind)) = cell.split_first() else { return false };
    key.len() < usize::from(LEN_FOLLOWS)
        && head & (EXPIRY_FLAG | LEN_MASK) == key.len() as u8
        && behind.get(..key.len()).is_some_and(|name| same(name, key))
}

/// The value, if the cell is that of `key`, which is short, and has no expiry.
#[inline(always)]
pub fn lasting(cell: &[u8], key: &[u8]) -> Option<i64> {
    is_lasting_of(cell, key).then(|| value_at(cell, 1 + key.len()))
}

#[inline(always)]
fn add_at(head: u8, place: &mut [u8], amount: i64) -> Added {
    macro_rules! add {
        ($int:ty) => {{
            let place = place.first_chunk_mut().expect("the value is as wide as the head says");
            let Some(sum) = i64::from(<$int>::from_le_bytes(*place)).checked_add(amount) else {
                return Added::Overflow;
            };
            let narrow = sum as $int;
            if i64::from(narrow) != sum {
                return Added::Outgrown;
            }
            *place = narrow.to_le_bytes();
            Added::Sum(sum)
        }};
    }
    match cell_width_log2(head) {
        0 => add!(i8),
        1 => add!(i16),
        2 => add!(i32),
        _ => add!(i64),
    }
}

/// The value and the expiry.
#[inline]
pub fn entry(cell: &[u8]) -> Entry {
    let (start, len) = key_range(cell);
    Entry { value: value_at(cell, start + len), expires_at_ms: expires_at_ms(cell) }
}

/// The same if the cell's key is `bytes`.
#[inline]
pub fn entry_of(cell: &[u8], bytes: &[u8]) -> Option<Entry> {
    let (start, len) = key_range(cell);
    let is_its_key = len == bytes.len() && same(&cell[start..][..len], bytes);
    is_its_key.then(|| Entry { value: value_at(cell, start + len), expires_at_ms: expires_at_ms(cell) })
}

/// Whether there is no expiry.
#[inline]
pub fn is_lasting(cell: &[u8]) -> bool {
    cell[0] & EXPIRY_FLAG == 0
}

/// The expiry.
#[inline]
pub fn expires_at_ms(cell: &[u8]) -> Option<i64> {
    if is_lasting(cell) {
        return None;
    }
    let bytes = cell.last_chunk::<EXPIRY_BYTES>().expect("a cell with an expiry holds one");
    Some(i64::from_le_bytes(*bytes))
}

/// Write the value in place; false, and nothing is changed, when it has outgrown the cell.
#[inline]
pub fn set_value(cell: &mut [u8], value: i64) -> bool {
    let (start, len) = key_range(cell);
    let width_log2 = cell_width_log2(cell[0]);
    let place = &mut cell[start + len..];
    match (width_log2, value) {
        (3, _) => place[..8].copy_from_slice(&value.to_le_bytes()),
        (2, _) if i32::try_from(value).is_ok() => place[..4].copy_from_slice(&(value as i32).to_le_bytes()),
        (1, _) if i16::try_from(value).is_ok() => place[..2].copy_from_slice(&(value as i16).to_le_bytes()),
        (0, _) if i8::try_from(value).is_ok() => place[0] = value as u8,
        _ => return false,
    }
    true
}

/// Write value and expiry in place; false, and nothing is changed, when the cell's shape does not allow it.
#[inline]
pub fn set_entry(cell: &mut [u8], entry: Entry) -> bool {
    if is_lasting(cell) == entry.expires_at_ms.is_some() || !set_value(cell, entry.value) {
        return false;
    }
    entry.expires_at_ms.is_none_or(|at_ms| set_expiry(cell, at_ms))
}

/// Write another expiry in place; false, and nothing is changed, when the cell has none.
#[inline]
pub fn set_expiry(cell: &mut [u8], at_ms: i64) -> bool {
    if is_lasting(cell) {
        return false;
    }
    *cell.last_chunk_mut::<EXPIRY_BYTES>().expect("a cell with an expiry holds one") = at_ms.to_le_bytes();
    true
}

#[inline]
fn cell_width_log2(head: u8) -> u8 {
    (head >> WIDTH_SHIFT) & 0b11
}

#[inline(always)]
fn value_at(cell: &[u8], start: usize) -> i64 {
    let place = &cell[start..];
    match cell_width_log2(cell[0]) {
        0 => i64::from(place[0] as i8),
        1 => i64::from(i16::from_le_bytes([place[0], place[1]])),
        2 => i64::from(i32::from_le_bytes(*place.first_chunk().expect("four bytes of value"))),
        _ => i64::from_le_bytes(*place.first_chunk().expect("eight bytes of value")),
    }
}

#[inline]
fn width_log2(value: i64) -> u8 {
    if i8::try_from(value).is_ok() {
        0
    } else if i16::try_from(value).is_ok() {
        1
    } else if i32::try_from(value).is_ok() {
        2
    } else {
        3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let values = [0, 1, -1, 127, 128, -128, -129, 32767, 32768, -32769, i64::from(i32::MAX), i64::MAX, i64::MIN];
        for key_bytes in [0, 1, 16, 30, 31, 32, 255, 256, KEY_BYTES_MAX] {
            let name: Vec<u8> = (0..key_bytes).map(|i| i as u8).collect();
            for value in values {
                for expires_at_ms in [None, Some(1), Some(i64::MAX)] {
                    let written = Entry { value, expires_at_ms };
                    let shape = Shape::of(key_bytes, written);
                    let mut cell = vec![0xAA; shape.cell_bytes()];
                    write(&mut cell, shape, &name, written);
                    assert!(cell.len() <= CELL_BYTES_MAX);
                    assert_eq!((key(&cell), entry(&cell)), (&name[..], written));
                    assert!(has_key(&cell, &name) && !has_key(&cell, b"another"));
                    assert_eq!((entry_of(&cell, &name), entry_of(&cell, b"another")), (Some(written), None));
                    let later = Entry { expires_at_ms: expires_at_ms.map(|_| 4711), ..written };
                    assert_eq!(set_expiry(&mut cell, 4711), expires_at_ms.is_some());
                    assert_eq!((key(&cell), entry(&cell)), (&name[..], later));
                }
            }
        }
    }

    #[test]
    fn what_is_added_is_as_if_it_were_written() {
        let edges =
            [0, 1, -1, 100, -100, 127, -128, 300, 32_767, -32_768, 70_000, i64::from(i32::MAX), i64::MAX, i64::MIN];
        for before in edges {
            for amount in edges {
                for expires_at_ms in [None, Some(9)] {
                    let entry = |value| Entry { value, expires_at_ms };
                    let shape = Shape::of(5, entry(before));
                    let mut cell = vec![0; shape.cell_bytes()];
                    write(&mut cell, shape, b"a key"[..5].as_ref(), entry(before));
                    let mut twin = cell.clone();
                    let expected = match before.checked_add(amount) {
                        None => Added::Overflow,
                        Some(sum) if set_value(&mut twin, sum) => Added::Sum(sum),
                        Some(_) => Added::Outgrown,
                    };
                    assert_eq!(add(&mut cell, amount), expected, "{before} + {amount}");
                    assert_eq!(cell, twin);
                }
            }
        }
    }

    #[test]
    fn keys_are_told_apart_by_every_byte() {
        for len in 0..70 {
            let name: Vec<u8> = (0..len).map(|i| i as u8).collect();
            assert!(same(&name, &name.clone()));
            for at in 0..len {
                let mut other = name.clone();
                other[at] ^= 0x40;
                assert!(!same(&name, &other), "{len} bytes, another at {at}");
            }
        }
    }

    #[test]
    fn a_value_that_outgrows_its_cell_is_refused_whole() {
        for (value, larger) in
            [(127, 128), (-128, -129), (32767, 32768), (i64::from(i32::MIN), i64::from(i32::MIN) - 1)]
        {
            let first = Entry { value, expires_at_ms: Some(7) };
            let shape = Shape::of(3, first);
            let mut cell = vec![0; shape.cell_bytes()];
            write(&mut cell, shape, b"key", first);
            assert!(!set_entry(&mut cell, Entry { value: larger, expires_at_ms: Some(9) }));
            assert!(!set_entry(&mut cell, Entry { value, expires_at_ms: None }));
            assert_eq!(entry(&cell), first);
            assert!(set_entry(&mut cell, Entry { value: 0, expires_at_ms: Some(9) }));
            assert_eq!(entry(&cell), Entry { value: 0, expires_at_ms: Some(9) });
        }
    }
}
