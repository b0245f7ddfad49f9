//! The commands that come most often: one key, and a value at most. They are known by their name as one word.

use super::table::index_of;
use crate::counters::{Cond, Deadline, Op, SetReply};

/// What such a command does. Without options, and with its value if it takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain {
    /// `GET key`.
    Get,
    /// `INCR key`, `DECR key`.
    Add(i64),
    /// `INCRBY key value`.
    AddValue,
    /// `DECRBY key value`.
    SubtractValue,
    /// `SET key value`.
    SetValue,
}

impl Plain {
    /// The operation with its value. `None`: it takes none, or not this one.
    #[inline]
    pub fn with(self, value: i64) -> Option<Op> {
        match self {
            Plain::Get | Plain::Add(_) => None,
            Plain::AddValue => Some(Op::Add(value)),
            Plain::SubtractValue => Some(Op::Add(value.checked_neg()?)),
            Plain::SetValue => {
                Some(Op::Set { value, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Ok })
            }
        }
    }
}

/// A plain command, and its index in the table.
#[derive(Clone, Copy, Debug)]
pub struct PlainSpec {
    /// What it does.
    pub plain: Plain,
    /// See [`Spec::index`](super::Spec::index).
    pub index: u16,
}

/// The plain command whose name is the first `len` bytes of `name` (little-endian), in any case, with `count` arguments,
/// the name included.
#[inline]
pub fn plain(name: u64, len: usize, count: u8) -> Option<PlainSpec> {
    const INCR: u64 = word(b"incr");
    const DECR: u64 = word(b"decr");
    const GET: u64 = word(b"get");
    const INCRBY: u64 = word(b"incrby");
    const DECRBY: u64 = word(b"decrby");
    const SET: u64 = word(b"set");
    if !(1..=8).contains(&len) {
        return None;
    }
    let known = u64::MAX >> (u64::BITS as usize - 8 * len);
    // Exactly the two cases of a letter become that letter.
    let folded = (name | 0x2020_2020_2020_2020) & known;
    macro_rules! spec {
        ($plain:expr, $name:literal) => {
            Some(PlainSpec { plain: $plain, index: const { index_of($name) } })
        };
    }
    match (count, folded) {
        (2, INCR) => spec!(Plain::Add(1), "incr"),
        (2, GET) => spec!(Plain::Get, "get"),
        (2, DECR) => spec!(Plain::Add(-1), "decr"),
        (3, INCRBY) => spec!(Plain::AddValue, "incrby"),
        (3, SET) => spec!(Plain::SetValue, "set"),
        (3, DECRBY) => spec!(Plain::SubtractValue, "decrby"),
        _ => None,
    }
}

/// A name as one word.
const fn word(name: &[u8]) -> u64 {
    let mut word = 0;
    let mut at = 0;
    while at < name.len() {
        word |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{self, Call, Run, Span};

    #[test]
    fn a_plain_command_is_what_the_table_says() {
        for (line, count) in [("incr", 2), ("Decr", 2), ("GET", 2), ("incrBY", 3), ("decrby", 3), ("sEt", 3)] {
            let mut bytes = [b'*'; 8];
            bytes[..line.len()].copy_from_slice(line.as_bytes());
            let found = plain(u64::from_le_bytes(bytes), line.len(), count).unwrap();
            let spec = command::lookup(line.as_bytes()).unwrap();
            assert_eq!(found.index, spec.index);
            let input = format!("{line}key-17");
            let name = Span { start: 0, len: line.len() as u32 };
            let key = Span { start: name.len, len: 3 };
            let value = Span { start: name.len + 3, len: 3 };
            let spans = &[name, key, value][..usize::from(count)];
            let Run::Key(parse) = spec.run else { panic!("{line} is on one key") };
            let expected = parse(&Call { input: input.as_bytes(), spans, now_ms: 0, resp3: false }).unwrap();
            let op = match found.plain {
                Plain::Get => Op::Get,
                Plain::Add(amount) => Op::Add(amount),
                with_value => with_value.with(-17).unwrap(),
            };
            assert_eq!(op, expected);
            assert!(plain(u64::from_le_bytes(bytes), line.len() + 1, count).is_none());
            assert!(plain(u64::from_le_bytes(bytes), line.len(), 5 - count).is_none());
        }
        assert!(plain(0, 0, 2).is_none() && plain(u64::MAX, 8, 2).is_none() && plain(0, 9, 2).is_none());
        assert_eq!(Plain::SubtractValue.with(i64::MIN), None);
    }
}
