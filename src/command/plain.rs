//! The commands on one key, their first argument. Those that come most often, with a value at most, are known by their
//! name as one word.

use super::table::{index_of, lookup};
use super::{Each, KeyParse, Run};
use crate::counters::{Cond, Deadline, Op, SetReply};

/// What such a command does.
#[derive(Clone, Copy, Debug)]
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
    /// `DEL key`, `UNLINK key`.
    Delete,
    /// `EXISTS key`, `TOUCH key`.
    Exists,
    /// What this says, with all arguments.
    Other(KeyParse),
}

/// Arguments of [`Plain::Other`], the name included: `SET key value GET NX EX seconds`.
pub const PLAIN_ARGUMENT_COUNT_MAX: usize = 7;

impl Plain {
    /// The operation with its value. `None`: it takes none, or not this one.
    #[inline]
    pub fn with(self, value: i64) -> Option<Op> {
        match self {
            Plain::Get | Plain::Add(_) | Plain::Delete | Plain::Exists | Plain::Other(_) => None,
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
    if !(1..=8).contains(&len) || count < 2 {
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
        _ => rarer(&name.to_le_bytes()[..len], usize::from(count)),
    }
}

/// The same of all others.
fn rarer(name: &[u8], count: usize) -> Option<PlainSpec> {
    let spec = lookup(name).filter(|spec| spec.keys.first == 1 && spec.arity_allows(count))?;
    let plain = match spec.run {
        Run::Key(parse) if count <= PLAIN_ARGUMENT_COUNT_MAX => Plain::Other(parse),
        Run::Each(Each::Del) if count == 2 => Plain::Delete,
        Run::Each(Each::Exists) if count == 2 => Plain::Exists,
        _ => return None,
    };
    Some(PlainSpec { plain, index: spec.index })
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
                Plain::Delete | Plain::Exists | Plain::Other(_) => unreachable!("{line} is known by its name"),
                with_value => with_value.with(-17).unwrap(),
            };
            assert_eq!(op, expected);
            assert!(plain(u64::from_le_bytes(bytes), line.len() + 1, count).is_none());
        }
        assert!(plain(0, 0, 2).is_none() && plain(u64::MAX, 8, 2).is_none() && plain(0, 9, 2).is_none());
        assert_eq!(Plain::SubtractValue.with(i64::MIN), None);
    }

    #[test]
    fn of_all_others_those_on_their_first_argument_are_plain() {
        let mut other_count = 0;
        for spec in command::commands().iter().filter(|spec| spec.name.len() <= 8) {
            let mut bytes = [b'*'; 8];
            bytes[..spec.name.len()].copy_from_slice(spec.name.to_ascii_uppercase().as_bytes());
            for count in 0..=9u8 {
                let found = plain(u64::from_le_bytes(bytes), spec.name.len(), count);
                assert!(found.is_none_or(|found| found.index == spec.index));
                let is_whole = spec.accepts(usize::from(count)) && spec.keys.positions(usize::from(count)).eq([1]);
                let is_plain = match (spec.run, found.map(|found| found.plain)) {
                    (Run::Key(_), None) => !is_whole || usize::from(count) > PLAIN_ARGUMENT_COUNT_MAX,
                    (Run::Key(parse), Some(Plain::Other(other))) => {
                        other_count += 1;
                        is_whole && std::ptr::fn_addr_eq(parse, other)
                    }
                    (Run::Key(_), Some(_)) => is_whole,
                    (Run::Each(Each::Del), Some(Plain::Delete)) => is_whole,
                    (Run::Each(Each::Exists), Some(Plain::Exists)) => is_whole,
                    (Run::Each(Each::Del | Each::Exists), None) => !is_whole,
                    (_, found) => found.is_none(),
                };
                assert!(is_plain, "{} with {count} arguments", spec.name);
            }
        }
        assert!(other_count > 20);
    }
}
