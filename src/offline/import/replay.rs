//! What the commands of an append-only file do to counters.
//!
//! Redis writes effects there: times are absolute, and a key that has expired is deleted. So each command is one line of a
//! table, here or in `commands.rs`, and one that would need the values of skipped keys, or a script, is not guessed at: [`Unfollowed`].
//!
//! Invariant: a counter that is taken has the value that Redis would load.

use std::fmt;

use super::commands::{MAKES, NOTHING};
use super::store::{Expiry, Skipped, Store, Text};
use crate::counters::Entry;
use crate::resp::integer;

/// A command that only a Redis can carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfollowed(String);

impl fmt::Display for Unfollowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Carries out commands.
pub struct Replay<'a> {
    pub(super) store: &'a mut Store,
    database: u32,
    /// What a transaction has queued.
    queue: Option<Vec<Vec<Vec<u8>>>>,
}

impl Replay<'_> {
    /// At the beginning of a file.
    pub fn new(store: &mut Store) -> Replay<'_> {
        Replay { store, database: 0, queue: None }
    }

    /// Whether a transaction has begun and not ended.
    pub fn is_in_transaction(&self) -> bool {
        self.queue.is_some()
    }

    /// Carry out a command, its name first.
    ///
    /// # Errors
    /// It cannot be followed.
    pub fn command(&mut self, arguments: &[Vec<u8>]) -> Result<(), Unfollowed> {
        let name = arguments[0].to_ascii_lowercase();
        match (name.as_slice(), &mut self.queue) {
            (b"multi", queue) => *queue = Some(Vec::new()),
            (b"exec", queue) => {
                for command in queue.take().unwrap_or_default() {
                    self.execute(&command)?;
                }
            }
            (name, Some(queue)) => {
                if !NOTHING.iter().any(|of| of.as_bytes() == name) {
                    queue.push(arguments.to_vec());
                }
            }
            (_, None) => self.execute(arguments)?,
        }
        Ok(())
    }

    fn execute(&mut self, arguments: &[Vec<u8>]) -> Result<(), Unfollowed> {
        let name = String::from_utf8_lossy(&arguments[0]).to_ascii_lowercase();
        let arguments: Vec<&[u8]> = arguments[1..].iter().map(Vec::as_slice).collect();
        let done = match name.as_str() {
            "select" => self.select(&arguments),
            "flushall" => {
                self.store.flush_all();
                Some(())
            }
            "flushdb" => {
                self.store.flush(self.database);
                Some(())
            }
            name if NOTHING.contains(&name) => Some(()),
            name if self.database == 0 => self.here(name, &arguments),
            name => self.elsewhere(name, &arguments),
        };
        done.ok_or_else(|| Unfollowed(name.to_ascii_uppercase()))
    }

    fn select(&mut self, arguments: &[&[u8]]) -> Option<()> {
        self.database = u32::try_from(number(arguments, 0)?).ok()?;
        Some(())
    }

    /// A command in database 0. `None`: it cannot be followed.
    fn here(&mut self, name: &str, arguments: &[&[u8]]) -> Option<()> {
        if let Some((_, place, what)) = MAKES.iter().find(|(of, ..)| *of == name) {
            let key = arguments.get(place - 1)?;
            // What is put in the place of another key has no expiry; what is changed keeps it.
            let is_new = name.ends_with("store") || name == "bitop";
            let expiry = if is_new { Expiry::Never } else { self.store.expiry(key) };
            // What is too long to be an integer stays so when it is changed.
            if *what != Skipped::Unknown || is_new || self.store.text(key) != Text::Long {
                self.store.skip(key, *what, expiry);
            }
            return Some(());
        }
        match (name, arguments) {
            ("set", [key, value, options @ ..]) => self.set(key, value, options)?,
            ("setnx" | "getset", [key, value]) => self.store.set(key, value, Expiry::Never)?,
            ("mset" | "msetnx", pairs) => {
                for pair in pairs.chunks(2) {
                    let [key, value] = pair else { return None };
                    self.store.set(key, value, Expiry::Never)?;
                }
            }
            ("append", [key, tail]) => self.append(key, tail)?,
            ("setrange", [key, _, piece]) => self.set_range(key, offset(arguments)?, piece)?,
            ("setbit", [key, _, bit]) => self.set_bit(key, offset(arguments)?, *bit == b"1")?,
            ("incr", [key]) => self.add(key, 1)?,
            ("decr", [key]) => self.add(key, -1)?,
            ("incrby", [key, amount]) => self.add(key, integer::parse(amount)?)?,
            ("decrby", [key, amount]) => self.add(key, integer::parse(amount)?.checked_neg()?)?,
            ("del" | "unlink" | "getdel", keys) => keys.iter().for_each(|key| _ = self.store.remove(key)),
            // The conditions were true, or it would not have been written.
            ("pexpireat", [key, _, ..]) => self.expire(key, Some(number(arguments, 1)?)),
            ("expireat", [key, _, ..]) => self.expire(key, Some(number(arguments, 1)?.checked_mul(1_000)?)),
            ("persist", [key]) => self.expire(key, None),
            ("rename" | "renamenx", [from, to]) => self.rename(from, to)?,
            ("copy", [from, to]) => self.copy(from, to)?,
            ("copy", [from, to, option]) if option.eq_ignore_ascii_case(b"replace") => self.copy(from, to)?,
            ("move", [key, to]) if *to != b"0" => _ = self.store.remove(key),
            _ => return None,
        }
        Some(())
    }

    /// A command in another database: its keys are skipped, whatever they are.
    fn elsewhere(&mut self, name: &str, arguments: &[&[u8]]) -> Option<()> {
        let why = Skipped::Database(self.database);
        match (name, arguments) {
            ("swapdb" | "move" | "copy" | "eval" | "evalsha" | "fcall", _) => return None,
            ("del" | "unlink" | "getdel", keys) => {
                keys.iter().for_each(|key| self.store.remove_elsewhere(key, self.database));
            }
            ("mset" | "msetnx", pairs) => {
                pairs.iter().step_by(2).for_each(|key| self.store.skip(key, why, Expiry::Never))
            }
            ("rename" | "renamenx", [from, to]) => {
                self.store.remove_elsewhere(from, self.database);
                self.store.skip(to, why, Expiry::Never);
            }
            (name, arguments) => {
                let place = MAKES.iter().find(|(of, ..)| *of == name).map_or(1, |(_, place, _)| *place);
                self.store.skip(arguments.get(place - 1)?, why, Expiry::Never);
            }
        }
        Some(())
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Option<()> {
        let (mut expiry, mut options) = (Expiry::Never, options.iter());
        while let Some(option) = options.next() {
            match option.to_ascii_lowercase().as_slice() {
                // The conditions were true, and what it answered is nobody's concern.
                b"nx" | b"xx" | b"get" => {}
                b"keepttl" => expiry = self.store.expiry(key),
                b"pxat" => expiry = Expiry::AtMs(integer::parse(options.next()?)?),
                b"exat" => expiry = Expiry::AtMs(integer::parse(options.next()?)?.checked_mul(1_000)?),
                _ => return None,
            }
        }
        self.store.set(key, value, expiry)
    }

    fn add(&mut self, key: &[u8], amount: i64) -> Option<()> {
        match (self.store.get(key), self.store.why_skipped(key)) {
            (Some(entry), _) => {
                let value = entry.value.checked_add(amount)?;
                self.store.put(key, Entry { value, ..entry });
            }
            (None, Some(Skipped::LongKey)) => {
                let Text::Known(text) = self.store.text(key) else { return None };
                let value = integer::parse(&text)?.checked_add(amount)?;
                let expiry = self.store.expiry(key);
                self.store.set(key, value.to_string().as_bytes(), expiry)?;
            }
            // Redis has counted it, so it is an integer: which one is not known.
            (None, Some(Skipped::NoInteger | Skipped::Unknown)) => return None,
            // It was a list, say, and has lost its last element since.
            (None, _) => self.store.put(key, Entry { value: amount, expires_at_ms: None }),
        }
        Some(())
    }

    fn expire(&mut self, key: &[u8], expires_at_ms: Option<i64>) {
        match (self.store.get(key), self.store.why_skipped(key)) {
            (Some(entry), _) => self.store.put(key, Entry { expires_at_ms, ..entry }),
            (None, Some(Skipped::NoInteger | Skipped::Unknown | Skipped::LongKey)) => {
                self.store.set_skipped_expiry(key, expires_at_ms.into());
            }
            // With its last element it goes, and its expiry.
            (None, Some(_)) => {
                self.store.set_skipped_expiry(key, expires_at_ms.map_or(Expiry::Never, |_| Expiry::Unknown));
            }
            (None, None) => {}
        }
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) -> Option<()> {
        if from != to {
            self.copy(from, to)?;
            self.store.remove(from);
        }
        Some(())
    }

    fn copy(&mut self, from: &[u8], to: &[u8]) -> Option<()> {
        match self.store.get(from) {
            Some(entry) => self.store.put(to, entry),
            None => self.store.copy_skipped(from, to)?,
        }
        Some(())
    }
}

fn offset(arguments: &[&[u8]]) -> Option<usize> {
    usize::try_from(number(arguments, 1)?).ok()
}

fn number(arguments: &[&[u8]], index: usize) -> Option<i64> {
    integer::parse(arguments.get(index)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the counters are after commands, each a line of words.
    fn after(commands: &str) -> (Store, Result<(), Unfollowed>) {
        let mut store = Store::default();
        let mut replay = Replay::new(&mut store);
        let done = commands.lines().try_for_each(|line| {
            let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
            replay.command(&words)
        });
        (store, done)
    }

    #[track_caller]
    fn assert_counters(commands: &str, expected: &[(&str, i64, Option<i64>)]) {
        let (mut store, done) = after(commands);
        assert_eq!(done, Ok(()), "{commands}");
        assert_eq!(store.counters().key_count(), expected.len() as u64, "{commands}");
        for (key, value, expires_at_ms) in expected {
            let entry = Entry { value: *value, expires_at_ms: *expires_at_ms };
            assert_eq!(store.get(key.as_bytes()), Some(entry), "{key} after {commands}");
        }
    }

    #[test]
    fn counters_are_what_redis_would_load() {
        assert_counters(
            "SET a 5\nINCR a\nincrby a 10\nDECR a\nDECRBY a 20\nINCR b",
            &[("a", -5, None), ("b", 1, None)],
        );
        assert_counters("SET a 5 PXAT 9000\nSET a 6 KEEPTTL\nINCR a", &[("a", 7, Some(9_000))]);
        assert_counters("SET a x PXAT 9000\nSET a y KEEPTTL\nRENAME a b\nSET b 7 KEEPTTL", &[("b", 7, Some(9_000))]);
        assert_counters("SET a 1\nEXPIREAT a 9\nSETRANGE a 1 x\nSET a 7 KEEPTTL", &[("a", 7, Some(9_000))]);
        assert_counters("RPUSH a x\nPEXPIREAT a 5\nPERSIST a\nSET a 7 KEEPTTL", &[("a", 7, None)]);
        assert_counters("RPUSH a x\nPEXPIREAT a 5\nLPOP a\nINCR a\nINCR a", &[("a", 2, None)]);
        assert_counters("SET a x EXAT 9\nBITOP NOT a b\nSET a 7 KEEPTTL", &[("a", 7, None)]);
        assert_counters("SET a 5 EXAT 9\nSET a 6", &[("a", 6, None)]);
        assert_counters(
            "SET a 5\nPEXPIREAT a 9000 NX\nSET b 1\nEXPIREAT b 7\nSET c 1 PXAT 5\nPERSIST c",
            &[("a", 5, Some(9_000)), ("b", 1, Some(7_000)), ("c", 1, None)],
        );
        assert_counters("MSET a 1 b 2 c x\nDEL b nothing\nUNLINK c", &[("a", 1, None)]);
        assert_counters(
            "SET a 1 PXAT 5\nRENAME a b\nCOPY b c\nCOPY b d REPLACE\nRENAME d d",
            &[("b", 1, Some(5)), ("c", 1, Some(5)), ("d", 1, Some(5))],
        );
        assert_counters("APPEND a 1\nAPPEND a 0\nAPPEND b x", &[("a", 10, None)]);
        assert_counters("SET a 1\nFLUSHALL\nSET b 2\nSELECT 1\nFLUSHDB\nSET c 3\nFLUSHDB", &[("b", 2, None)]);
        assert_counters("SET a 1\nMULTI\nINCR a\nINCR a\nEXEC\nMULTI\nINCR a", &[("a", 3, None)]);
        assert_counters("SET a 1\nMOVE a 3\nSET b 1", &[("b", 1, None)]);
        assert_counters("SET a 1\nLPUSH a x", &[]);
        assert_counters("LPUSH a x\nLPOP a\nINCR a", &[("a", 1, None)]);
        assert_counters("SET a x\nRENAME a b\nSET a 4", &[("a", 4, None)]);
    }

    #[test]
    fn a_string_that_becomes_an_integer_is_a_counter() {
        assert_counters("SET a - PXAT 9000\nAPPEND a 5\nINCR a", &[("a", -4, Some(9_000))]);
        assert_counters("SET b 10\nSETRANGE b 0 9\nINCRBY b 5", &[("b", 95, None)]);
        assert_counters("SET b 10 PXAT 9000\nSETRANGE b 2 x\nSETRANGE b 2 7", &[("b", 107, Some(9_000))]);
        assert_counters("SETRANGE a 1 5\nSETRANGE a 0 1\nINCR a", &[("a", 16, None)]);
        // "0" and "1" differ in their last bit.
        assert_counters("SET a 10\nSETBIT a 15 1\nINCR a", &[("a", 12, None)]);
        assert_counters("SETBIT a 2 1\nSETBIT a 3 1\nSETBIT a 7 1\nSETBIT a 7 0\nDECR a", &[("a", -1, None)]);
        assert_counters("RPUSH a x\nPEXPIREAT a 5\nLPOP a\nSETRANGE a 0 7", &[("a", 7, None)]);
        assert_counters(
            "SET a x1\nRENAME a b\nCOPY b c\nSETRANGE c 0 2\nPEXPIREAT b 7\nSETRANGE b 0 3",
            &[("b", 31, Some(7)), ("c", 21, None)],
        );
        // What is too long stays so, whatever is in it.
        assert_counters("SETRANGE a 536870911 1\nSETRANGE a 0 5\nAPPEND a 5\nSETBIT a 0 1\nBITFIELD a SET u8 0 1", &[]);
        assert_counters("APPEND a 123456789012345678901\nSETRANGE a 0 5\nSET b 1\nPFADD b x\nAPPEND b 1", &[]);
        for command in ["SETRANGE a -1 x", "SETRANGE a x x", "SETBIT a -1 1"] {
            assert!(after(command).1.is_err(), "{command}");
        }
        let mut store = Store::default();
        let words: [&[u8]; 4] = [b"SETRANGE", b"a", b"5", b""];
        Replay::new(&mut store).command(&words.map(<[u8]>::to_vec)).expect("it does nothing");
        assert!(store.skipped().is_empty());
    }

    #[test]
    fn an_integer_under_a_key_that_is_too_long_is_a_counter_under_another_name() {
        let long = "k".repeat(1_025);
        let assert_counters = |commands: &str, expected: &[(&str, i64, Option<i64>)]| {
            assert_counters(&commands.replace("LONG", &long), expected);
        };
        assert_counters("SET LONG 5 PXAT 9000\nINCR LONG\nRENAME LONG b\nINCR b", &[("b", 7, Some(9_000))]);
        assert_counters("SET a 3\nCOPY a LONG\nINCRBY LONG 4\nCOPY LONG c", &[("a", 3, None), ("c", 7, None)]);
        assert_counters("INCR LONG\nAPPEND LONG 2\nPEXPIREAT LONG 9\nRENAMENX LONG d", &[("d", 12, Some(9))]);
        assert_counters("SET LONG 5\nAPPEND LONG x\nRENAME LONG b\nSET b 1\nPERSIST b", &[("b", 1, None)]);
        assert_counters("RPUSH LONG x\nRENAME LONG b\nDEL b\nINCR b", &[("b", 1, None)]);
        let (_, done) = after(&format!("BITFIELD {long} SET u8 0 57\nRENAME {long} b\nINCR b"));
        assert_eq!(done, Err(Unfollowed("INCR".to_owned())));
        let (store, done) = after(&format!("SET {long} 5\nRENAME {long} b\nSET b x\nSET {long} 6"));
        assert_eq!(done, Ok(()));
        let counts: Vec<_> = store.skipped().into_iter().map(|(why, (count, _))| (why, count)).collect();
        assert_eq!(counts, [(Skipped::NoInteger, 1), (Skipped::LongKey, 1)]);
    }

    #[test]
    fn what_redis_has_counted_on_is_not_left_out() {
        for commands in [
            "SET a x\nINCR a",
            "SET a 5\nBITFIELD a SET u8 0 57\nINCR a",
            "BITOP NOT a b\nDECRBY a 5",
            "SETRANGE a 100 x\nINCR a",
        ] {
            let name = commands.lines().last().and_then(|line| line.split(' ').next()).expect("a name");
            assert_eq!(after(commands).1, Err(Unfollowed(name.to_owned())), "{commands}");
        }
        // What nobody has counted on is told apart from what is certainly none.
        let (store, done) =
            after("SET a 5\nBITFIELD a SET u8 0 57\nAPPEND a 1\nSET b x\nBITOP NOT c d\nSETRANGE c 90 x");
        assert_eq!(done, Ok(()));
        let skipped: Vec<_> = store.skipped().into_iter().collect();
        assert_eq!(skipped, [(Skipped::NoInteger, (2, vec!["b", "c"])), (Skipped::Unknown, (1, vec!["a"]))]);
    }

    #[test]
    fn a_transaction_queues_nothing_that_does_nothing() {
        let mut store = Store::default();
        let mut replay = Replay::new(&mut store);
        for line in ["MULTI", "lpop l", "LTRIM l 0 1", "INCR a", "PUBLISH c m"] {
            let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
            replay.command(&words).expect("it is queued or nothing");
        }
        assert_eq!(replay.queue.as_ref().map(Vec::len), Some(1));
        replay.command(&[b"EXEC".to_vec()]).expect("it counts");
        assert_eq!(store.get(b"a").map(|entry| entry.value), Some(1));
    }

    #[test]
    fn everything_else_is_skipped_by_kind() {
        let (store, done) = after(
            "SET s hello\nRPUSH l 1 2\nLMOVE l l2 LEFT LEFT\nSADD set a\nHSET h f 1\nZADD z 1 a\nXADD x * f 1\nPFADD pf a\n\
             SELECT 2\nSET n 1\nINCR n\nLPUSH m 1\nMSET o 1 p 2\nDEL p",
        );
        assert_eq!(done, Ok(()));
        let counts: Vec<_> = store.skipped().into_iter().map(|(why, (count, _))| (why, count)).collect();
        assert_eq!(
            counts,
            [
                (Skipped::NoInteger, 2),
                (Skipped::List, 2),
                (Skipped::Set, 1),
                (Skipped::SortedSet, 1),
                (Skipped::Hash, 1),
                (Skipped::Stream, 1),
                (Skipped::Database(2), 3),
            ]
        );
    }

    #[test]
    fn what_cannot_be_followed_is_not_guessed() {
        for command in [
            "EVAL script 0",
            "RESTORE a 0 x",
            "SWAPDB 0 1",
            "SETEX a 10 1",
            "SET a 1 EX 10",
            "COPY a b DB 1",
            "FCALL f 0",
            "MOVE a 0",
            "NOSUCH a",
            "INCRBY a x",
            "SELECT x",
            "MSET a",
        ] {
            let (_, done) = after(command);
            let name = command.split(' ').next().expect("a name");
            assert_eq!(done, Err(Unfollowed(name.to_owned())), "{command}");
        }
        // Whether the list was still there only Redis knows.
        let (_, done) = after("RPUSH a x\nPEXPIREAT a 5\nLPOP a\nSET a text KEEPTTL");
        assert_eq!(done, Ok(()));
        let (_, done) = after("RPUSH a x\nPEXPIREAT a 5\nLPOP a\nSET a 5 KEEPTTL");
        assert_eq!(done, Err(Unfollowed("SET".to_owned())));
        let (_, done) = after(&format!("SET a {}\nINCR a", i64::MAX));
        assert_eq!(done, Err(Unfollowed("INCR".to_owned())));
        let (_, done) = after("SELECT 1\nMOVE a 0");
        assert_eq!(done, Err(Unfollowed("MOVE".to_owned())));
    }
}
