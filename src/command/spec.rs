//! What the table says of one command: how it may be called, which keys it names, what it does.
//!
//! Plain constant data. The vocabulary (flags, categories, tips) is that of Redis 7's `COMMAND INFO` page, because
//! clients read it.

use super::Run;
use super::docs::{Docs, Group};

/// One command, or one subcommand of a container.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Lower case; a subcommand's has its container's in front: `client|id`.
    pub name: &'static str,
    /// Arguments with the name (and the subcommand): exactly so many, or at least `-arity`.
    pub arity: i16,
    /// How it behaves.
    pub flags: Flags,
    /// Access categories that do not follow from the flags; [`Spec::categories`] has all.
    pub own_categories: Categories,
    /// Which arguments are keys.
    pub keys: Keys,
    /// How the keys are used: one entry, or one per key where keys differ.
    pub access: &'static [Access],
    /// What it does.
    pub run: Run,
    /// Of a container.
    pub subcommands: &'static [Spec],
    /// Hints for proxies and clients.
    pub tips: &'static [&'static str],
    /// How it is described.
    pub docs: Docs,
    /// Dense over the table: first the commands, then the subcommands. Set by the table.
    pub index: u16,
}

/// What a command is while a transaction is being queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTransaction {
    /// It is queued.
    Queued,
    /// It is executed at once, as outside. An error of it does not abort the transaction.
    Immediate,
    /// It is refused, and the transaction is aborted.
    Refused,
}

/// One is the same as another if it stands at the same place in the table.
impl PartialEq for Spec {
    fn eq(&self, other: &Spec) -> bool {
        self.index == other.index
    }
}

impl Eq for Spec {}

impl Spec {
    /// The row that others are written as changes of.
    pub const BLANK: Spec = Spec {
        name: "",
        arity: 0,
        flags: Flags(0),
        own_categories: Categories(0),
        keys: Keys::NONE,
        access: &[],
        run: Run::Container,
        subcommands: &[],
        tips: &[],
        docs: Docs { summary: "", since: "", group: Group::Server, complexity: "O(1)", arguments: &[] },
        index: 0,
    };

    /// The name without its container: `id` of `client|id`.
    pub fn own_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, own)| own)
    }

    /// Whether `count` arguments, the name included, fit the arity.
    #[inline]
    pub const fn arity_allows(&self, count: usize) -> bool {
        if self.arity >= 0 { count == self.arity as usize } else { count >= self.arity.unsigned_abs() as usize }
    }

    /// Whether `count` arguments, the name included, are a right number: the arity, and whole pairs where keys come in
    /// pairs.
    #[inline]
    pub const fn accepts(&self, count: usize) -> bool {
        self.arity_allows(count) && (self.keys.step != 2 || count % 2 == 1)
    }

    /// Whether it reads or writes counters.
    pub const fn is_of_keyspace(&self) -> bool {
        self.flags.has(flag::WRITE) || self.flags.has(flag::READONLY)
    }

    /// What it is while a transaction is being queued.
    pub fn in_transaction(&self) -> InTransaction {
        if self.flags.has(flag::IMMEDIATE) {
            InTransaction::Immediate
        } else if self.flags.has(flag::NO_MULTI) {
            InTransaction::Refused
        } else {
            InTransaction::Queued
        }
    }

    /// All access categories: its own, and those that follow from the flags.
    pub const fn categories(&self) -> Categories {
        let mut all = self.own_categories.0;
        if self.flags.has(flag::WRITE) {
            all |= category::WRITE;
        }
        if self.flags.has(flag::READONLY) {
            all |= category::READ;
        }
        if self.flags.has(flag::ADMIN) {
            all |= category::ADMIN | category::DANGEROUS;
        }
        all |= if self.flags.has(flag::FAST) { category::FAST } else { category::SLOW };
        Categories(all)
    }
}

/// A set of [`flag`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u32);

/// The flags. All but the last two are shown by `COMMAND INFO`.
pub mod flag {
    #![allow(missing_docs)]
    pub const WRITE: u32 = 1 << 0;
    pub const READONLY: u32 = 1 << 1;
    /// Refused when it would create a counter past `maxmemory`.
    pub const DENYOOM: u32 = 1 << 2;
    pub const ADMIN: u32 = 1 << 3;
    pub const NOSCRIPT: u32 = 1 << 4;
    pub const LOADING: u32 = 1 << 5;
    pub const STALE: u32 = 1 << 6;
    pub const SKIP_SLOWLOG: u32 = 1 << 7;
    pub const FAST: u32 = 1 << 8;
    /// Allowed before authentication.
    pub const NO_AUTH: u32 = 1 << 9;
    /// Refused in a transaction.
    pub const NO_MULTI: u32 = 1 << 10;
    pub const ALLOW_BUSY: u32 = 1 << 11;
    pub const NO_ASYNC_LOADING: u32 = 1 << 12;
    /// In a transaction it is executed, not queued.
    pub const IMMEDIATE: u32 = 1 << 16;
}

/// In the order in which Redis shows them.
const FLAG_NAMES: [(u32, &str); 13] = [
    (flag::WRITE, "write"),
    (flag::READONLY, "readonly"),
    (flag::DENYOOM, "denyoom"),
    (flag::ADMIN, "admin"),
    (flag::NOSCRIPT, "noscript"),
    (flag::LOADING, "loading"),
    (flag::STALE, "stale"),
    (flag::SKIP_SLOWLOG, "skip_slowlog"),
    (flag::FAST, "fast"),
    (flag::NO_AUTH, "no_auth"),
    (flag::NO_ASYNC_LOADING, "no_async_loading"),
    (flag::NO_MULTI, "no_multi"),
    (flag::ALLOW_BUSY, "allow_busy"),
];

impl Flags {
    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(self, flags: u32) -> bool {
        self.0 & flags == flags
    }

    /// The names that `COMMAND INFO` shows.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.into_iter().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| name)
    }
}

/// A set of access [`category`] bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Categories(pub u32);

/// The access categories that this server's commands are in.
pub mod category {
    #![allow(missing_docs)]
    pub const KEYSPACE: u32 = 1 << 0;
    pub const READ: u32 = 1 << 1;
    pub const WRITE: u32 = 1 << 2;
    pub const STRING: u32 = 1 << 3;
    pub const ADMIN: u32 = 1 << 4;
    pub const FAST: u32 = 1 << 5;
    pub const SLOW: u32 = 1 << 6;
    pub const DANGEROUS: u32 = 1 << 7;
    pub const CONNECTION: u32 = 1 << 8;
    pub const TRANSACTION: u32 = 1 << 9;
    pub const SCRIPTING: u32 = 1 << 10;
}

/// In the order in which Redis shows them.
const CATEGORY_NAMES: [&str; 11] = [
    "@keyspace",
    "@read",
    "@write",
    "@string",
    "@admin",
    "@fast",
    "@slow",
    "@dangerous",
    "@connection",
    "@transaction",
    "@scripting",
];

impl Categories {
    /// The names, each with its `@`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        CATEGORY_NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name)
    }
}

/// Which arguments are keys: from `first` to `last` in steps. `first` 0: none; a negative `last` counts from the end,
/// -1 being the last argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Position of the first key; the command's name is at 0.
    pub first: i16,
    /// Position of the last.
    pub last: i16,
    /// From one key to the next.
    pub step: i16,
}

impl Keys {
    /// No keys.
    pub const NONE: Keys = Keys { first: 0, last: 0, step: 0 };
    /// The argument after the name.
    pub const ONE: Keys = Keys { first: 1, last: 1, step: 1 };
    /// The argument after the subcommand.
    pub const AFTER_SUBCOMMAND: Keys = Keys { first: 2, last: 2, step: 1 };
    /// The two arguments after the name.
    pub const TWO: Keys = Keys { first: 1, last: 2, step: 1 };
    /// All arguments.
    pub const ALL: Keys = Keys { first: 1, last: -1, step: 1 };
    /// The first of each pair of arguments.
    pub const PAIRS: Keys = Keys { first: 1, last: -1, step: 2 };

    /// The positions of the keys among `count` arguments, the name included.
    pub fn positions(self, count: usize) -> impl Iterator<Item = usize> {
        let end = match (self.first, self.last) {
            (0, _) => 0,
            (_, last) if last < 0 => (count + 1).saturating_sub(last.unsigned_abs() as usize),
            (_, last) => count.min(last as usize + 1),
        };
        (self.first as usize..end).step_by(self.step.max(1) as usize)
    }
}

/// How keys are used, in the words of Redis's key specifications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// `RO`, `RW`, `OW` or `RM`, then `access`, `update`, `insert`, `delete`.
    pub flags: &'static [&'static str],
    /// Why, where it is not plain; else empty.
    pub notes: &'static str,
}
