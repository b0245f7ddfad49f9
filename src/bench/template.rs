//! A request with holes for the digits of keys: encoded once, so that a request costs a copy and a few digits.
//!
//! Pure. Invariant: every request of a template is equally long, whatever its keys.

mod typed;

use std::ops::Range;

use crate::limits::LOAD_REQUEST_BYTES_MAX;
use crate::slot;

/// Keys from this many on have ten digits instead of eight.
const EIGHT_DIGITS_END: u32 = 100_000_000;

/// What a request does to counters, and so what can be said of its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Each integer of the reply is a counter that grew by the increment at its place, none of them negative.
    Counts(Vec<i64>),
    /// Each integer of the reply is a counter's value.
    Reads,
    /// Changes no counter.
    Nothing,
    /// Something else, so that the counters' growth cannot be foretold.
    Unknown,
}

/// What an argument consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// The digits of the request's n-th key.
    Digits(usize),
}

/// An argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument(Vec<Piece>);

impl Argument {
    /// A constant.
    pub fn text(text: impl AsRef<[u8]>) -> Argument {
        Argument(vec![Piece::Text(text.as_ref().to_vec())])
    }

    /// `prefix` and the digits of the request's key number `key`.
    pub fn key(prefix: impl AsRef<[u8]>, key: usize) -> Argument {
        Argument(vec![Piece::Text(prefix.as_ref().to_vec()), Piece::Digits(key)])
    }

    fn bytes_len(&self, digits: Digits) -> usize {
        let piece_bytes = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Digits(_) => digits.bytes(),
        };
        self.0.iter().map(piece_bytes).sum()
    }
}

/// How a key's number is written: with as many digits as all have, and perhaps with the end of a hash tag before the last
/// of them. Numbers that differ in those alone are then of one slot: a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digits {
    key_count: u32,
    count: usize,
    /// Digits behind the tag; 0 where there is none.
    untagged_count: usize,
}

impl Digits {
    /// Of numbers below `key_count`.
    pub fn new(key_count: u32) -> Digits {
        Digits { key_count, count: if key_count <= EIGHT_DIGITS_END { 8 } else { 10 }, untagged_count: 0 }
    }

    /// With groups that are larger than a request's `keys_per_request` keys.
    pub fn in_groups(key_count: u32, keys_per_request: usize) -> Digits {
        let digits = Digits::new(key_count);
        Digits { untagged_count: keys_per_request.to_string().len().min(digits.count - 1), ..digits }
    }

    /// Whether numbers form groups: a `{` belongs in front of their digits.
    pub fn are_grouped(self) -> bool {
        self.untagged_count > 0
    }

    /// What a number takes.
    pub fn bytes(self) -> usize {
        self.count + usize::from(self.are_grouped())
    }

    #[inline]
    fn write(self, to: &mut [u8], number: u32) {
        write_digits(&mut to[..self.count], number);
        if self.are_grouped() {
            let tag_end = self.count - self.untagged_count;
            to.copy_within(tag_end..self.count, tag_end + 1);
            to[tag_end] = b'}';
        }
    }

    /// Another number of the group that `first` is in.
    fn in_group_of(self, first: u32, drawn: u32) -> u32 {
        let size = 10_u32.pow(self.untagged_count as u32);
        let start = first - first % size;
        start + drawn % size.min(self.key_count - start)
    }
}

/// The keys that an argument stands for: text around the digits of a number, or one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyNames {
    before: Vec<u8>,
    /// None: there is one key.
    digits: Option<Digits>,
    after: Vec<u8>,
}

impl KeyNames {
    /// How many keys there are, of `count` numbers.
    pub fn count(&self, count: u32) -> u32 {
        if self.digits.is_none() { 1 } else { count }
    }

    /// Append a key's bytes.
    pub fn write(&self, key: u32, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.before);
        if let Some(digits) = self.digits {
            let at = to.len();
            to.resize(at + digits.bytes(), 0);
            digits.write(&mut to[at..], key);
        }
        to.extend_from_slice(&self.after);
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Template {
    /// What its latencies are filed under: `incr`, `mget:10`.
    pub tag: String,
    /// What it does.
    pub effect: Effect,
    /// Replies that a request has.
    pub reply_count: u32,
    /// The keys that it counts or reads, of all its arguments; `None` where they are not of one form.
    pub names: Option<KeyNames>,
    /// It gives its key a time to live.
    pub expires: bool,
    bytes: Vec<u8>,
    holes: Vec<Hole>,
    digits: Digits,
    key_count: usize,
    /// Where the keys of the first command stand.
    keys: Vec<Range<usize>>,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    at: usize,
    key: usize,
}

impl Template {
    /// Encode `commands`, which are sent together. The arguments at `key_arguments` of the first are its keys.
    pub fn new(
        tag: &str,
        commands: &[Vec<Argument>],
        key_arguments: &[usize],
        effect: Effect,
        digits: Digits,
    ) -> Result<Template, String> {
        let mut template = Template {
            tag: tag.to_owned(),
            effect,
            reply_count: commands.len() as u32,
            names: key_names(&commands[0], key_arguments, digits),
            expires: commands.iter().any(|arguments| gives_expiry(arguments)),
            bytes: Vec::new(),
            holes: Vec::new(),
            digits,
            key_count: 0,
            keys: Vec::new(),
        };
        for (command, arguments) in commands.iter().enumerate() {
            template.bytes.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
            for (index, argument) in arguments.iter().enumerate() {
                let length = argument.bytes_len(digits);
                template.bytes.extend_from_slice(format!("${length}\r\n").as_bytes());
                let start = template.bytes.len();
                if command == 0 && key_arguments.contains(&index) {
                    template.keys.push(start..start + length);
                }
                argument.0.iter().for_each(|piece| template.push(piece));
                template.bytes.extend_from_slice(b"\r\n");
            }
        }
        if template.bytes.len() > LOAD_REQUEST_BYTES_MAX {
            return Err(format!(
                "a request of {} bytes is too long, at most {LOAD_REQUEST_BYTES_MAX} are sent at once",
                template.bytes.len()
            ));
        }
        Ok(template)
    }

    fn push(&mut self, piece: &Piece) {
        match piece {
            Piece::Text(text) => self.bytes.extend_from_slice(text),
            Piece::Digits(key) => {
                self.holes.push(Hole { at: self.bytes.len(), key: *key });
                self.bytes.resize(self.bytes.len() + self.digits.bytes(), b'0');
                self.key_count = self.key_count.max(key + 1);
            }
        }
    }

    /// Bytes of a request.
    pub fn request_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of its first key; 0 where there is none.
    pub fn key_bytes(&self) -> usize {
        self.keys.first().map_or(0, Range::len)
    }

    /// Keys that its first command names.
    pub fn named_key_count(&self) -> usize {
        self.keys.len()
    }

    /// Keys that a request draws.
    pub fn key_count(&self) -> usize {
        self.key_count
    }

    /// Write a request at the beginning of `buffer`, which has room for it. Its keys are drawn from `draw`; answers the
    /// first of them, or 0.
    #[inline]
    pub fn write(&self, buffer: &mut [u8], draw: impl FnMut() -> u32) -> u32 {
        buffer[..self.bytes.len()].copy_from_slice(&self.bytes);
        self.write_keys(buffer, draw)
    }

    /// As [`Template::write`], where a request of this template stands already.
    #[inline]
    pub fn write_keys(&self, buffer: &mut [u8], draw: impl FnMut() -> u32) -> u32 {
        self.fill(&self.holes, buffer, draw)
    }

    #[inline]
    fn fill(&self, holes: &[Hole], buffer: &mut [u8], mut draw: impl FnMut() -> u32) -> u32 {
        let (mut first, mut last) = (0, 0);
        let mut drawn_count = 0;
        for hole in holes {
            // Keys are numbered in the order of their first holes, and another hole of one follows at once.
            if hole.key == drawn_count {
                last = draw();
                if drawn_count == 0 {
                    first = last;
                } else if self.digits.are_grouped() {
                    last = self.digits.in_group_of(first, last);
                }
                drawn_count += 1;
            }
            self.digits.write(&mut buffer[hole.at..hole.at + self.digits.bytes()], last);
        }
        first
    }

    /// Write a request up to the end of its first key, which decides where it belongs: other holes are left as they are.
    /// Answers as [`Template::write`] does, also where the first number that is drawn stands behind that key.
    #[inline]
    pub fn write_first_key(&self, buffer: &mut [u8], draw: impl FnMut() -> u32) -> u32 {
        let end = self.keys.first().map_or(0, |key| key.end);
        buffer[..end].copy_from_slice(&self.bytes[..end]);
        let count = self.holes.iter().take_while(|hole| hole.at < end).count();
        self.fill(&self.holes[..count.max(1).min(self.holes.len())], buffer, draw)
    }

    /// The bytes that decide where a written request belongs; none where any server will do.
    pub fn first_key<'a>(&self, request: &'a [u8]) -> Option<&'a [u8]> {
        self.keys.first().map(|key| &request[key.clone()])
    }

    /// A request has a key.
    pub fn has_key(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The keys of every request are of one slot, whatever their numbers.
    pub fn is_of_one_slot(&self) -> bool {
        let mut request = vec![0; self.request_bytes()];
        let mut number = 0;
        self.write(&mut request, || {
            number += 1;
            number % self.digits.key_count
        });
        let mut slots = self.keys.iter().map(|key| slot::of(&request[key.clone()]));
        slots.next().is_none_or(|first| slots.all(|slot| slot == first))
    }
}

/// Whether a command gives its key a time to live.
fn gives_expiry(arguments: &[Argument]) -> bool {
    let is_one_of = |argument: &Argument, words: &[&str]| match &argument.0[..] {
        [Piece::Text(text)] => words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes())),
        _ => false,
    };
    let [name, key_and_more @ ..] = arguments else { return false };
    is_one_of(name, &["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT", "SETEX", "PSETEX"])
        || (is_one_of(name, &["SET", "GETEX"])
            && key_and_more.iter().skip(1).any(|argument| is_one_of(argument, &["EX", "PX", "EXAT", "PXAT"])))
}

/// The one form that all key arguments have.
fn key_names(arguments: &[Argument], key_arguments: &[usize], digits: Digits) -> Option<KeyNames> {
    let names = |index: &usize| {
        let mut names = KeyNames { before: Vec::new(), digits: None, after: Vec::new() };
        for piece in &arguments[*index].0 {
            match piece {
                Piece::Text(text) if names.digits.is_none() => names.before.extend_from_slice(text),
                Piece::Text(text) => names.after.extend_from_slice(text),
                Piece::Digits(_) if names.digits.is_none() => names.digits = Some(digits),
                Piece::Digits(_) => return None,
            }
        }
        Some(names)
    };
    let first = names(key_arguments.first()?)?;
    key_arguments.iter().all(|index| names(index).as_ref() == Some(&first)).then_some(first)
}

/// Fill `digits`, 8 or 10 bytes, with a number, zeros in front.
#[inline]
fn write_digits(digits: &mut [u8], number: u32) {
    match <&mut [u8; 8]>::try_from(&mut *digits) {
        Ok(eight) => *eight = eight_digits(number),
        Err(_) => {
            let (high, low) = digits.split_at_mut(2);
            let (upper, lower) = (number / EIGHT_DIGITS_END, number % EIGHT_DIGITS_END);
            high.copy_from_slice(&[b'0' + (upper / 10) as u8, b'0' + (upper % 10) as u8]);
            low.copy_from_slice(&eight_digits(lower));
        }
    }
}

/// Eight decimal digits of a number below 10^8, all at once: halves, then quarters, then digits, each in its own part of
/// one word.
#[inline]
fn eight_digits(number: u32) -> [u8; 8] {
    let number = u64::from(number);
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    // Division by 100 below 10,000, and by 10 below 100, as a multiplication and a shift.
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let quarters = hundreds | (halves - hundreds * 100) << 16;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (quarters - tens * 10) << 8;
    (digits | 0x3030_3030_3030_3030).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(template: &Template, keys: &[u32]) -> String {
        let mut buffer = vec![b'#'; template.request_bytes()];
        let mut keys = keys.iter().copied();
        template.write(&mut buffer, || keys.next().expect("a key too many is drawn"));
        assert_eq!(keys.next(), None, "a key was not drawn");
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_written_command_is_encoded_with_its_keys() {
        let template = Template::parse("INCR user:{key}", 1_000).unwrap();
        assert_eq!(request(&template, &[42]), "*2\r\n$4\r\nINCR\r\n$13\r\nuser:00000042\r\n");
        assert_eq!(template.effect, Effect::Counts(vec![1]));
        assert_eq!(template.tag, "incr");
        assert_eq!(template.first_key(request(&template, &[42]).as_bytes()), Some(&b"user:00000042"[..]));
        let mut key = Vec::new();
        template.names.unwrap().write(7, &mut key);
        assert_eq!(key, b"user:00000007");
    }

    #[test]
    fn the_first_key_is_written_without_the_rest() {
        let written = |text, numbers: &[u32]| {
            let template = Template::parse(text, 1_000).unwrap();
            let (mut buffer, mut numbers) = (vec![b'#'; template.request_bytes()], numbers.iter().copied());
            let first = template.write_first_key(&mut buffer, || numbers.next().expect("too many are drawn"));
            let key = template.first_key(&buffer).map(|key| String::from_utf8(key.to_vec()).unwrap());
            (key.unwrap_or_default(), first, numbers.count())
        };
        assert_eq!(written("MGET {u}a:{key} {u}b:{key}", &[4, 5]), ("{u}a:00000004".to_owned(), 4, 1));
        assert_eq!(written("INCR {key}:{key}", &[4, 5]), ("00000004:00000005".to_owned(), 4, 0));
        // The number of the first hole is told, wherever it is.
        assert_eq!(written("MSET {u}a 1 {u}b:{key} 1", &[4]), ("{u}a".to_owned(), 4, 0));
        assert_eq!(written("PING", &[]), (String::new(), 0, 0));
        assert!(!Template::parse("PING", 1).unwrap().has_key());
    }

    #[test]
    fn each_placeholder_is_another_key() {
        let template = Template::parse("mincrby a:{key} 2 a:{key} 3", 2_000_000_000).unwrap();
        assert_eq!(
            request(&template, &[1_234_567_890, 5]),
            "*5\r\n$7\r\nmincrby\r\n$12\r\na:1234567890\r\n$1\r\n2\r\n$12\r\na:0000000005\r\n$1\r\n3\r\n"
        );
        assert_eq!(template.effect, Effect::Counts(vec![2, 3]));
        assert_eq!(template.key_count(), 2);
        assert!(template.names.is_some());
    }

    #[test]
    fn digits_are_those_of_format() {
        for number in [0, 1, 9, 10, 99, 100, 9_999, 10_000, 12_345_678, 99_999_999] {
            assert_eq!(eight_digits(number), format!("{number:08}").as_bytes());
        }
        for number in [0, 99_999_999, 100_000_000, u32::MAX] {
            let mut digits = [0; 10];
            write_digits(&mut digits, number);
            assert_eq!(digits, format!("{number:010}").as_bytes());
        }
    }
}
