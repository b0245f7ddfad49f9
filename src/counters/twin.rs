//! The naive twin of the counters: one map, and each operation as the Redis documentation tells it.

use std::collections::BTreeMap;

use super::{Cond, Deadline, Entry, ExpireCond, Fault, Op, Outcome, SetReply, Stats, TimeUnit, Word};

/// What [`Counters`](super::Counters) must do, slowly.
#[derive(Default)]
pub struct Twin {
    /// The counters.
    pub map: BTreeMap<Vec<u8>, Entry>,
    /// How often each key was changed.
    pub changes: BTreeMap<Vec<u8>, u64>,
    /// As the counters count.
    pub stats: Stats,
}

impl Twin {
    /// How often a key was changed.
    pub fn change_count(&self, key: &[u8]) -> u64 {
        self.changes.get(key).copied().unwrap_or(0)
    }

    /// Remove a key that has expired, as a touch does.
    pub fn touch(&mut self, key: &[u8], now_ms: i64) {
        if let Some(Entry { expires_at_ms: Some(at_ms), .. }) = self.map.get(key)
            && *at_ms < now_ms
        {
            self.stats.expired += 1;
            self.delete(key);
        }
    }

    /// Write.
    pub fn put(&mut self, key: &[u8], entry: Entry) {
        self.map.insert(key.to_vec(), entry);
        *self.changes.entry(key.to_vec()).or_default() += 1;
    }

    /// Remove.
    pub fn delete(&mut self, key: &[u8]) -> Option<Entry> {
        let entry = self.map.remove(key)?;
        *self.changes.entry(key.to_vec()).or_default() += 1;
        Some(entry)
    }

    /// Remove all that have expired.
    pub fn sweep(&mut self, now_ms: i64) {
        for key in self.map.keys().cloned().collect::<Vec<_>>() {
            self.touch(&key, now_ms);
        }
    }

    /// One operation.
    pub fn apply(&mut self, key: &[u8], op: Op, now_ms: i64) -> Outcome {
        self.touch(key, now_ms);
        let old = self.map.get(key).copied();
        let reads = match op {
            Op::Add(_) | Op::Delete | Op::Expire { .. } | Op::Persist | Op::Usage => false,
            Op::Set { reply, .. } => reply == SetReply::Old,
            _ => true,
        };
        if reads && old.is_some() {
            self.stats.hits += 1;
        } else if reads {
            self.stats.misses += 1;
        }
        match (op, old) {
            (Op::Add(amount), None) => {
                self.put(key, Entry { value: amount, expires_at_ms: None });
                Outcome::Int(amount)
            }
            (Op::Add(amount), Some(old)) => match i64::try_from(i128::from(old.value) + i128::from(amount)) {
                Ok(value) => {
                    self.put(key, Entry { value, ..old });
                    Outcome::Int(value)
                }
                Err(_) => Outcome::Fault(Fault::Overflow),
            },
            (Op::Set { value, deadline, cond, reply }, old) => {
                let written = cond == Cond::Always || (cond == Cond::Present) == old.is_some();
                if written {
                    let expires_at_ms = match deadline {
                        Deadline::Clear => None,
                        Deadline::Keep => old.and_then(|old| old.expires_at_ms),
                        Deadline::At(at_ms) => Some(at_ms),
                    };
                    self.put(key, Entry { value, expires_at_ms });
                    self.touch(key, now_ms);
                }
                match reply {
                    SetReply::Ok if written => Outcome::Ok,
                    SetReply::Ok => Outcome::Nil,
                    SetReply::Old => old.map_or(Outcome::Nil, |old| Outcome::Value(old.value)),
                    SetReply::Written => Outcome::Int(written.into()),
                }
            }
            (Op::StrLen | Op::Exists | Op::Delete | Op::Expire { .. } | Op::Persist, None) => Outcome::Int(0),
            (Op::Type, None) => Outcome::Word(Word::None),
            (Op::Time(_), None) => Outcome::Int(-2),
            (_, None) => Outcome::Nil,
            (Op::Get, Some(old)) => Outcome::Value(old.value),
            (Op::GetDel, Some(old)) => {
                self.delete(key);
                Outcome::Value(old.value)
            }
            (Op::GetEx(deadline), Some(old)) => {
                match deadline {
                    Deadline::At(at_ms) => self.expire_at(key, old, at_ms, now_ms),
                    Deadline::Clear if old.expires_at_ms.is_some() => {
                        self.put(key, Entry { expires_at_ms: None, ..old })
                    }
                    Deadline::Clear | Deadline::Keep => {}
                }
                Outcome::Value(old.value)
            }
            (Op::StrLen, Some(old)) => Outcome::Int(old.value.to_string().len() as i64),
            (Op::Exists | Op::RefCount, Some(_)) => Outcome::Int(1),
            (Op::Delete, Some(_)) => {
                self.delete(key);
                Outcome::Int(1)
            }
            (Op::Type, Some(_)) => Outcome::Word(Word::String),
            (Op::Expire { at_ms, cond }, Some(old)) => {
                let current = old.expires_at_ms;
                let late = |at_ms: Option<i64>| at_ms.map_or(i128::MAX, i128::from);
                let later = late(Some(at_ms)) > late(current);
                let earlier = late(Some(at_ms)) < late(current);
                let allowed = match cond {
                    ExpireCond::Always => true,
                    ExpireCond::NoExpiry => current.is_none(),
                    ExpireCond::HasExpiry => current.is_some(),
                    ExpireCond::Later => later,
                    ExpireCond::Earlier => earlier,
                    ExpireCond::HasExpiryLater => current.is_some() && later,
                    ExpireCond::HasExpiryEarlier => current.is_some() && earlier,
                };
                if allowed {
                    self.expire_at(key, old, at_ms, now_ms);
                }
                Outcome::Int(allowed.into())
            }
            (Op::Persist, Some(old)) => {
                if old.expires_at_ms.is_some() {
                    self.put(key, Entry { expires_at_ms: None, ..old });
                }
                Outcome::Int(old.expires_at_ms.is_some().into())
            }
            (Op::Time(_), Some(Entry { expires_at_ms: None, .. })) => Outcome::Int(-1),
            (Op::Time(unit), Some(Entry { expires_at_ms: Some(at_ms), .. })) => {
                let at_ms = i128::from(at_ms);
                let left_ms = at_ms - i128::from(now_ms);
                let time = match unit {
                    TimeUnit::SecondsLeft => (left_ms + 500) / 1000,
                    TimeUnit::MillisLeft => left_ms,
                    TimeUnit::SecondsAt => (at_ms + 500) / 1000,
                    TimeUnit::MillisAt => at_ms,
                };
                Outcome::Int(time as i64)
            }
            (Op::Encoding, Some(_)) => Outcome::Word(Word::Int),
            (Op::Refuse(fault), Some(_)) => Outcome::Fault(fault),
            (Op::Usage, Some(_)) => Outcome::Int(0),
        }
    }

    fn expire_at(&mut self, key: &[u8], old: Entry, at_ms: i64, now_ms: i64) {
        if at_ms <= now_ms {
            self.delete(key);
        } else {
            self.put(key, Entry { expires_at_ms: Some(at_ms), ..old });
        }
    }
}
