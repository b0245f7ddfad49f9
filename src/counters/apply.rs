//! What each operation does to its key, as Redis 7.0 does it.
//!
//! Source: the pages of the Redis commands; where they are silent, what redis-server 7.0.15 answers.

use super::cell::{self, Added};
use super::op::{Cond, Deadline, Entry, ExpireCond, Fault, Key, Op, Outcome, SetReply, TimeUnit, Word};
use super::{CHUNK_SHARE_BYTES, Counters, Found, Hint};

impl Counters {
    /// Carry out one operation.
    #[inline]
    pub fn apply(&mut self, key: Key<'_>, op: Op, now_ms: i64) -> Outcome {
        self.apply_hinted(Hint::NONE, key, op, now_ms)
    }

    #[inline]
    fn apply_hinted(&mut self, hint: Hint, key: Key<'_>, op: Op, now_ms: i64) -> Outcome {
        match op {
            Op::Add(amount) => self.add(hint, key, amount, now_ms),
            Op::Get => self.get(hint, key, now_ms),
            Op::Set { .. } => self.set(hint, key, op, now_ms),
            _ => self.apply_rarer(hint, key, op, now_ms),
        }
    }

    /// Carry out one operation on a key that was looked up in `epoch`.
    ///
    /// What comes most often, counting, reading and setting what is where it was expected and never expires, needs no
    /// other lookup.
    #[inline(always)]
    pub fn apply_at(&mut self, hint: Hint, epoch: u64, key: Key<'_>, op: &Op, now_ms: i64) -> Outcome {
        if epoch == self.epoch && hint != Hint::NONE {
            if !matches!(op, Op::Get) {
                self.settle(hint.0);
            }
            let cell = self.cells.get_mut(hint.0);
            match *op {
                Op::Add(amount) => {
                    if let Some(value) = cell::add_lasting(cell, key.bytes, amount) {
                        self.watched.touch(key.bytes);
                        self.note_change(hint.0);
                        return Outcome::Int(value);
                    }
                }
                Op::Get => {
                    if let Some(value) = cell::lasting(cell, key.bytes) {
                        self.stats.hits += 1;
                        return Outcome::Value(value);
                    }
                }
                Op::Set { value, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Ok }
                    if cell::is_lasting_of(cell, key.bytes) && cell::set_value(cell, value) =>
                {
                    self.watched.touch(key.bytes);
                    self.note_change(hint.0);
                    return Outcome::Ok;
                }
                _ => {}
            }
        }
        self.apply_apart(hint, epoch, key, op, now_ms)
    }

    /// Apart, so that what is only needed here is not put together before.
    #[inline(never)]
    fn apply_apart(&mut self, hint: Hint, epoch: u64, key: Key<'_>, op: &Op, now_ms: i64) -> Outcome {
        let hint = if epoch == self.epoch { hint } else { Hint::NONE };
        self.apply_hinted(hint, key, *op, now_ms)
    }

    #[inline]
    fn add(&mut self, hint: Hint, key: Key<'_>, amount: i64, now_ms: i64) -> Outcome {
        let Some((found, entry)) = self.find_live(key, hint, now_ms) else {
            return outcome(self.create(key, Entry { value: amount, expires_at_ms: None }), Outcome::Int(amount));
        };
        self.settle(found.cell);
        let value = match cell::add(self.cells.get_mut(found.cell), amount) {
            Added::Sum(value) => {
                self.note_change(found.cell);
                value
            }
            Added::Overflow => return Outcome::Fault(Fault::Overflow),
            Added::Outgrown => {
                let value = entry.value + amount;
                if let Err(fault) = self.reshape(key, found, Entry { value, ..entry }) {
                    return Outcome::Fault(fault);
                }
                value
            }
        };
        self.watched.touch(key.bytes);
        Outcome::Int(value)
    }

    #[inline]
    fn get(&mut self, hint: Hint, key: Key<'_>, now_ms: i64) -> Outcome {
        match self.find_to_read(key, hint, now_ms) {
            Some((_, entry)) => Outcome::Value(entry.value),
            None => Outcome::Nil,
        }
    }

    fn set(&mut self, hint: Hint, key: Key<'_>, op: Op, now_ms: i64) -> Outcome {
        let Op::Set { value, deadline, cond, reply } = op else { unreachable!("it is called for nothing else") };
        let found = match reply {
            SetReply::Old => self.find_to_read(key, hint, now_ms),
            SetReply::Ok | SetReply::Written => self.find_live(key, hint, now_ms),
        };
        let old = found.map(|(_, entry)| entry);
        let written = match cond {
            Cond::Always => true,
            Cond::Absent => old.is_none(),
            Cond::Present => old.is_some(),
        };
        if written {
            let expires_at_ms = match deadline {
                Deadline::Clear => None,
                Deadline::Keep => old.and_then(|old| old.expires_at_ms),
                Deadline::At(at_ms) => Some(at_ms),
            };
            if let Err(fault) = self.write(key, found.map(|(found, _)| found), Entry { value, expires_at_ms }, now_ms) {
                return Outcome::Fault(fault);
            }
        }
        match (reply, written) {
            (SetReply::Ok, true) => Outcome::Ok,
            (SetReply::Ok, false) => Outcome::Nil,
            (SetReply::Old, _) => old.map_or(Outcome::Nil, |old| Outcome::Value(old.value)),
            (SetReply::Written, _) => Outcome::Int(i64::from(written)),
        }
    }

    /// Write a counter that may exist. With an expiry that has passed it is gone at once: no later command could see it.
    fn write(&mut self, key: Key<'_>, found: Option<Found>, entry: Entry, now_ms: i64) -> Result<(), Fault> {
        let gone = entry.expires_at_ms.is_some_and(|at_ms| now_ms > at_ms);
        match found {
            Some(found) if gone => {
                self.stats.expired += 1;
                self.delete(key, found);
            }
            Some(found) => self.update(key, found, entry)?,
            None if gone => {
                self.stats.expired += 1;
                self.watched.touch(key.bytes);
            }
            None => self.create(key, entry)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn apply_rarer(&mut self, hint: Hint, key: Key<'_>, op: Op, now_ms: i64) -> Outcome {
        match op {
            Op::Add(_) | Op::Get | Op::Set { .. } => unreachable!("applied by their own functions"),
            Op::GetDel => {
                let Some((found, entry)) = self.find_to_read(key, hint, now_ms) else { return Outcome::Nil };
                self.delete(key, found);
                Outcome::Value(entry.value)
            }
            Op::GetEx(deadline) => {
                let Some((found, entry)) = self.find_to_read(key, hint, now_ms) else { return Outcome::Nil };
                let done = match deadline {
                    Deadline::Keep => Ok(()),
                    Deadline::Clear => self.persist(key, found, entry).map(|_| ()),
                    Deadline::At(at_ms) => self.expire_at(key, found, entry, at_ms, now_ms),
                };
                outcome(done, Outcome::Value(entry.value))
            }
            Op::StrLen => {
                let found = self.find_to_read(key, hint, now_ms);
                Outcome::Int(found.map_or(0, |(_, entry)| decimal_len(entry.value)))
            }
            Op::Exists => Outcome::Int(i64::from(self.find_to_read(key, hint, now_ms).is_some())),
            Op::Delete => {
                let Some((found, _)) = self.find_live(key, hint, now_ms) else { return Outcome::Int(0) };
                self.delete(key, found);
                Outcome::Int(1)
            }
            Op::Type => {
                let exists = self.find_to_read(key, hint, now_ms).is_some();
                Outcome::Word(if exists { Word::String } else { Word::None })
            }
            Op::Expire { at_ms, cond } => {
                let Some((found, entry)) = self.find_live(key, hint, now_ms) else { return Outcome::Int(0) };
                if !allows(cond, entry.expires_at_ms, at_ms) {
                    return Outcome::Int(0);
                }
                outcome(self.expire_at(key, found, entry, at_ms, now_ms), Outcome::Int(1))
            }
            Op::Persist => {
                let Some((found, entry)) = self.find_live(key, hint, now_ms) else { return Outcome::Int(0) };
                match self.persist(key, found, entry) {
                    Ok(had_expiry) => Outcome::Int(i64::from(had_expiry)),
                    Err(fault) => Outcome::Fault(fault),
                }
            }
            Op::Time(unit) => {
                let Some((_, entry)) = self.find_to_read(key, hint, now_ms) else { return Outcome::Int(-2) };
                Outcome::Int(entry.expires_at_ms.map_or(-1, |at_ms| in_unit(at_ms, unit, now_ms)))
            }
            Op::Encoding => self.if_read(key, hint, now_ms, Outcome::Word(Word::Int)),
            Op::RefCount => self.if_read(key, hint, now_ms, Outcome::Int(1)),
            Op::Refuse(fault) => self.if_read(key, hint, now_ms, Outcome::Fault(fault)),
            Op::Usage => match self.find_live(key, hint, now_ms) {
                Some((found, _)) => Outcome::Int((self.cells.get(found.cell).len() + CHUNK_SHARE_BYTES) as i64),
                None => Outcome::Nil,
            },
        }
    }

    /// Look a counter up for reading, and count whether it was there.
    #[inline]
    fn find_to_read(&mut self, key: Key<'_>, hint: Hint, now_ms: i64) -> Option<(Found, Entry)> {
        let found = self.find_live(key, hint, now_ms);
        match found {
            Some(_) => self.stats.hits += 1,
            None => self.stats.misses += 1,
        }
        found
    }

    fn if_read(&mut self, key: Key<'_>, hint: Hint, now_ms: i64, there: Outcome) -> Outcome {
        if self.find_to_read(key, hint, now_ms).is_some() { there } else { Outcome::Nil }
    }

    /// Set the expiry; one that is not ahead deletes.
    fn expire_at(&mut self, key: Key<'_>, found: Found, entry: Entry, at_ms: i64, now_ms: i64) -> Result<(), Fault> {
        if at_ms <= now_ms {
            self.delete(key, found);
            return Ok(());
        }
        self.update(key, found, Entry { expires_at_ms: Some(at_ms), ..entry })
    }

    /// Remove the expiry; answers whether there was one.
    fn persist(&mut self, key: Key<'_>, found: Found, entry: Entry) -> Result<bool, Fault> {
        if entry.expires_at_ms.is_none() {
            return Ok(false);
        }
        self.update(key, found, Entry { expires_at_ms: None, ..entry })?;
        Ok(true)
    }
}

fn outcome(done: Result<(), Fault>, answer: Outcome) -> Outcome {
    match done {
        Ok(()) => answer,
        Err(fault) => Outcome::Fault(fault),
    }
}

/// Whether a condition allows the expiry `current` to become `at_ms`.
fn allows(cond: ExpireCond, current: Option<i64>, at_ms: i64) -> bool {
    match cond {
        ExpireCond::Always => true,
        ExpireCond::NoExpiry => current.is_none(),
        ExpireCond::HasExpiry => current.is_some(),
        ExpireCond::Later | ExpireCond::HasExpiryLater => current.is_some_and(|current| at_ms > current),
        ExpireCond::Earlier => current.is_none_or(|current| at_ms < current),
        ExpireCond::HasExpiryEarlier => current.is_some_and(|current| at_ms < current),
    }
}

/// An expiry that has not passed, in the unit of a `TTL` command.
fn in_unit(at_ms: i64, unit: TimeUnit, now_ms: i64) -> i64 {
    let left_ms = at_ms.saturating_sub(now_ms).max(0);
    let rounded = |ms: i64| ms / 1000 + i64::from(ms % 1000 >= 500);
    match unit {
        TimeUnit::SecondsLeft => rounded(left_ms),
        TimeUnit::MillisLeft => left_ms,
        TimeUnit::SecondsAt => rounded(at_ms),
        TimeUnit::MillisAt => at_ms,
    }
}

/// Length of a value's decimal text.
fn decimal_len(value: i64) -> i64 {
    let digits = value.unsigned_abs().checked_ilog10().unwrap_or(0) + 1;
    i64::from(digits) + i64::from(value < 0)
}
