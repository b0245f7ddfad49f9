//! What is taken of a Redis: its counters, and what is known of the keys that are none.
//!
//! A key is a counter or skipped, never both. Of a skipped one its hash is kept, so that it is counted once, its text if it is
//! a short string, and the names of the first few of each kind.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::counters::{Counters, Entry, Seed};
use crate::limits::{KEY_BYTES_MAX, SLOT_COUNT};
use crate::resp::integer;

/// Names that are told of each kind.
const NAME_COUNT_MAX: usize = 3;

/// Longest name that is told whole, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Longest text of a 64-bit integer, in bytes.
pub const INTEGER_BYTES_MAX: usize = 20;

/// The clock stands still: what expires is the server's to say.
const NEVER_MS: i64 = i64::MIN;

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skipped {
    /// A string that is no 64-bit integer.
    NoInteger,
    /// A string of which only a Redis knows what it is.
    Unknown,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
    /// A module's.
    Module,
    /// An integer whose key is longer than one can be.
    LongKey,
    /// In another database than 0.
    Database(u32),
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Skipped::NoInteger => "string, no 64-bit integer",
            Skipped::Unknown => "string that BITFIELD or BITOP has made, perhaps a 64-bit integer",
            Skipped::List => "list",
            Skipped::Set => "set",
            Skipped::SortedSet => "sorted set",
            Skipped::Hash => "hash",
            Skipped::Stream => "stream",
            Skipped::Module => "of a module",
            Skipped::LongKey => return write!(f, "key of more than {KEY_BYTES_MAX} bytes"),
            Skipped::Database(number) => return write!(f, "in database {number}: only database 0 is taken"),
        })
    }
}

/// What is known of when a key expires. A skipped key can become a counter and keep its expiry (`SET … KEEPTTL`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// It does not.
    Never,
    /// Then, in Unix milliseconds.
    AtMs(i64),
    /// Perhaps it had one, and perhaps its last element and the expiry with it are gone.
    Unknown,
}

impl From<Option<i64>> for Expiry {
    fn from(expires_at_ms: Option<i64>) -> Expiry {
        expires_at_ms.map_or(Expiry::Never, Expiry::AtMs)
    }
}

/// What is known of a key's string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// This is it. A key that has none yet has an empty one.
    Known(Vec<u8>),
    /// It is too long to be an integer, and nothing but another one makes it shorter.
    Long,
    /// Only a Redis knows.
    Unknown,
}

/// What is known of a skipped key.
#[derive(Clone, Debug)]
struct Skip {
    why: Skipped,
    expiry: Expiry,
    /// Of a string, if it is short: commands that change a part of it can make it an integer, and one that is may get
    /// another name.
    text: Option<Box<[u8]>>,
}

/// See the module.
pub struct Store {
    counters: Counters,
    seed: Seed,
    skipped: HashMap<u64, Skip>,
    names: BTreeMap<Skipped, Vec<(u64, String)>>,
}

impl Default for Store {
    fn default() -> Store {
        let counters = Counters::new(0..SLOT_COUNT as u16);
        Store { counters, seed: Seed::of_process(), skipped: HashMap::new(), names: BTreeMap::new() }
    }
}

impl Store {
    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How many keys were skipped of each kind, and the names of some.
    pub fn skipped(&self) -> BTreeMap<Skipped, (u64, Vec<&str>)> {
        let mut all: BTreeMap<Skipped, (u64, Vec<&str>)> = BTreeMap::new();
        self.skipped.values().for_each(|skip| all.entry(skip.why).or_default().0 += 1);
        for (why, (_, names)) in &mut all {
            names.extend(self.names.get(why).into_iter().flatten().map(|(_, name)| name.as_str()));
        }
        all
    }

    /// The state of a counter.
    pub fn get(&mut self, key: &[u8]) -> Option<Entry> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        self.counters.entry(self.seed.key(key), NEVER_MS)
    }

    /// Why a key was skipped, if it was.
    pub fn why_skipped(&self, key: &[u8]) -> Option<Skipped> {
        self.skipped.get(&self.identity(key, 0)).map(|skip| skip.why)
    }

    /// The string of a key of database 0. What is no string has none: a list, say, has lost its last element since, or
    /// nothing would have been done with it as a string.
    pub fn text(&mut self, key: &[u8]) -> Text {
        if let Some(entry) = self.get(key) {
            return Text::Known(entry.value.to_string().into_bytes());
        }
        match self.skipped.get(&self.identity(key, 0)) {
            Some(Skip { why: Skipped::Unknown, .. }) => Text::Unknown,
            Some(Skip { why: Skipped::NoInteger | Skipped::LongKey, text: Some(text), .. }) => {
                Text::Known(text.to_vec())
            }
            Some(Skip { why: Skipped::NoInteger | Skipped::LongKey, text: None, .. }) => Text::Long,
            _ => Text::Known(Vec::new()),
        }
    }

    /// When a key of database 0 expires; one that is not there never does.
    pub fn expiry(&mut self, key: &[u8]) -> Expiry {
        match self.skipped.get(&self.identity(key, 0)) {
            Some(skip) => skip.expiry,
            None => self.get(key).and_then(|entry| entry.expires_at_ms).into(),
        }
    }

    /// A key is a string now. `None`: a counter of which is not known when it expires, and nothing was done.
    pub fn set(&mut self, key: &[u8], value: &[u8], expiry: Expiry) -> Option<()> {
        match (integer::parse(value), expiry) {
            (Some(value), Expiry::Never) => self.put(key, Entry { value, expires_at_ms: None }),
            (Some(value), Expiry::AtMs(at_ms)) => self.put(key, Entry { value, expires_at_ms: Some(at_ms) }),
            (Some(_), Expiry::Unknown) => return None,
            (None, expiry) => {
                let text = (value.len() <= INTEGER_BYTES_MAX).then(|| value.into());
                self.skip_as(key, 0, Skip { why: Skipped::NoInteger, expiry, text });
            }
        }
        Some(())
    }

    /// A key of database 0 that is skipped expires then.
    pub fn set_skipped_expiry(&mut self, key: &[u8], expiry: Expiry) {
        let identity = self.identity(key, 0);
        if let Some(skip) = self.skipped.get_mut(&identity) {
            skip.expiry = expiry;
        }
    }

    /// A key of database 0 that is skipped is another one, too. `None`: a counter of which is not known when it expires.
    pub fn copy_skipped(&mut self, from: &[u8], to: &[u8]) -> Option<()> {
        match self.skipped.get(&self.identity(from, 0)).cloned() {
            None => {}
            // It may be short.
            Some(Skip { why: Skipped::LongKey, expiry, text: Some(text) }) => self.set(to, &text, expiry)?,
            Some(skip) => self.skip_as(to, 0, skip),
        }
        Some(())
    }

    /// A key is this counter now.
    pub fn put(&mut self, key: &[u8], entry: Entry) {
        if key.len() > KEY_BYTES_MAX {
            let text = Some(entry.value.to_string().into_bytes().into());
            return self.skip_as(key, 0, Skip { why: Skipped::LongKey, expiry: entry.expires_at_ms.into(), text });
        }
        self.unskip(self.identity(key, 0));
        let put = self.counters.put(self.seed.key(key), entry);
        assert!(put.is_ok(), "there is no limit while counters are imported");
    }

    /// A key is something now that is not taken; if a string that is no integer, one that is too long to be any.
    pub fn skip(&mut self, key: &[u8], why: Skipped, expiry: Expiry) {
        let database = if let Skipped::Database(number) = why { number } else { 0 };
        self.skip_as(key, database, Skip { why, expiry, text: None });
    }

    fn skip_as(&mut self, key: &[u8], database: u32, skip: Skip) {
        let why = skip.why;
        if database == 0 {
            self.remove(key);
        }
        let identity = self.identity(key, database);
        if self.skipped.insert(identity, skip).is_none_or(|before| before.why != why) {
            let names = self.names.entry(why).or_default();
            if names.len() < NAME_COUNT_MAX {
                names.push((identity, shown(key)));
            }
        }
    }

    /// A key of database 0 is gone. What it was.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.unskip(self.identity(key, 0));
        if key.len() > KEY_BYTES_MAX { None } else { self.counters.take(self.seed.key(key), NEVER_MS) }
    }

    /// A key of another database is gone.
    pub fn remove_elsewhere(&mut self, key: &[u8], database: u32) {
        self.unskip(self.identity(key, database));
    }

    /// All keys of a database are gone.
    pub fn flush(&mut self, database: u32) {
        let is_there = |why: &Skipped| match why {
            Skipped::Database(number) => *number == database,
            _ => database == 0,
        };
        self.skipped.retain(|_, skip| !is_there(&skip.why));
        self.names.retain(|why, _| !is_there(why));
        if database == 0 {
            self.counters.flush(NEVER_MS);
        }
    }

    /// All keys of all databases are gone.
    pub fn flush_all(&mut self) {
        self.skipped.clear();
        self.names.clear();
        self.counters.flush(NEVER_MS);
    }

    fn unskip(&mut self, identity: u64) {
        if let Some(skip) = self.skipped.remove(&identity)
            && let Some(names) = self.names.get_mut(&skip.why)
        {
            names.retain(|(of, _)| *of != identity);
        }
    }

    fn identity(&self, key: &[u8], database: u32) -> u64 {
        // Some odd number, so that databases differ in all bits.
        self.seed.hash(key) ^ u64::from(database).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// A key for people: escaped, and not too long.
fn shown(key: &[u8]) -> String {
    let text = key[..key.len().min(NAME_BYTES_MAX)].escape_ascii().to_string();
    if key.len() > NAME_BYTES_MAX { text + "…" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_counter_or_skipped_and_never_both() {
        let mut store = Store::default();
        assert_eq!(store.set(b"a", b"5", Expiry::AtMs(7)), Some(()));
        store.skip(b"a", Skipped::List, Expiry::Unknown);
        assert_eq!((store.set(b"a", b"5", Expiry::Unknown), store.expiry(b"a")), (None, Expiry::Unknown));
        assert_eq!((store.get(b"a"), store.why_skipped(b"a")), (None, Some(Skipped::List)));
        store.set(b"a", b"-6", Expiry::Never);
        assert_eq!(store.get(b"a"), Some(Entry { value: -6, expires_at_ms: None }));
        assert!(store.skipped().is_empty());
        for no_integer in ["", "+1", "007", "1.0", "-0", " 1", "9223372036854775808"] {
            store.set(b"b", no_integer.as_bytes(), Expiry::AtMs(8));
            assert_eq!(store.why_skipped(b"b"), Some(Skipped::NoInteger), "{no_integer:?}");
            assert_eq!(store.expiry(b"b"), Expiry::AtMs(8));
        }
        store.set(&[b'k'; KEY_BYTES_MAX], b"1", Expiry::Never);
        store.set(&[b'k'; KEY_BYTES_MAX + 1], b"1", Expiry::Never);
        store.skip(b"a", Skipped::Database(1), Expiry::Never);
        let skipped = store.skipped();
        let counts: Vec<u64> = skipped.values().map(|(count, _)| *count).collect();
        assert_eq!((store.counters().key_count(), counts), (2, vec![1, 1, 1]));
        assert_eq!(skipped[&Skipped::NoInteger].1, ["b"]);
        store.flush(0);
        assert_eq!((store.counters().key_count(), store.skipped().len()), (0, 1));
        store.remove_elsewhere(b"a", 1);
        assert!(store.skipped().is_empty());
    }

    #[test]
    fn the_first_few_names_are_told() {
        let mut store = Store::default();
        for number in 0..100 {
            store.skip(format!("list:{number}").as_bytes(), Skipped::List, Expiry::Never);
        }
        assert_eq!(store.skipped()[&Skipped::List], (100, vec!["list:0", "list:1", "list:2"]));
        assert_eq!(shown(b"a\n\xFF"), "a\\n\\xff");
    }
}
