//! The rows of the counters' commands.

use super::super::docs::{Arg, ArgKind, Group};
use super::super::spec::{Access, Categories, Flags, Keys, Spec, category, flag::*};
use super::super::strings;
use super::super::{Each, Run};
use super::rows::*;

const STRING: Categories = Categories(category::STRING);
const COUNT: Flags = Flags(WRITE | DENYOOM | FAST);
const STORE: Flags = Flags(WRITE | DENYOOM);

const CHANGE: Spec = Spec { flags: COUNT, own_categories: STRING, keys: Keys::ONE, access: CHANGES, ..Spec::BLANK };

const SET_CONDITION: Arg =
    Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")]).since("2.6.12").optional();

const SET_EXPIRATION: Arg = Arg::one_of(
    "expiration",
    &[
        SECONDS.after("EX").since("2.6.12"),
        MILLISECONDS.after("PX").since("2.6.12"),
        UNIX_SECONDS.after("EXAT").since("6.2.0"),
        UNIX_MILLISECONDS.after("PXAT").since("6.2.0"),
        Arg::word("keepttl", "KEEPTTL").since("6.0.0"),
    ],
)
.optional();

const GETEX_EXPIRATION: Arg = Arg::one_of(
    "expiration",
    &[
        SECONDS.after("EX"),
        MILLISECONDS.after("PX"),
        UNIX_SECONDS.after("EXAT"),
        UNIX_MILLISECONDS.after("PXAT"),
        Arg::word("persist", "PERSIST"),
    ],
)
.optional();

/// Commands that read and change values.
pub const SPECS: &[Spec] = &[
    Spec {
        name: "incr",
        arity: 2,
        run: Run::Key(strings::incr),
        docs: docs(
            "1.0.0",
            Group::String,
            ONE,
            "Add one, and return the new value. A new counter starts from 0.",
            &[KEY],
        ),
        ..CHANGE
    },
    Spec {
        name: "decr",
        arity: 2,
        run: Run::Key(strings::decr),
        docs: docs(
            "1.0.0",
            Group::String,
            ONE,
            "Subtract one, and return the new value. A new counter starts from 0.",
            &[KEY],
        ),
        ..CHANGE
    },
    Spec {
        name: "incrby",
        arity: 3,
        run: Run::Key(strings::incrby),
        docs: docs(
            "1.0.0",
            Group::String,
            ONE,
            "Add an amount, and return the new value. A sum past 64 bits is an error and changes nothing.",
            &[KEY, Arg::new("increment", ArgKind::Integer)],
        ),
        ..CHANGE
    },
    Spec {
        name: "decrby",
        arity: 3,
        run: Run::Key(strings::decrby),
        docs: docs(
            "1.0.0",
            Group::String,
            ONE,
            "Subtract an amount, and return the new value. A result past 64 bits is an error and changes nothing.",
            &[KEY, Arg::new("decrement", ArgKind::Integer)],
        ),
        ..CHANGE
    },
    Spec {
        name: "mincrby",
        arity: -3,
        flags: STORE,
        keys: Keys::PAIRS,
        run: Run::Each(Each::Mincrby),
        tips: &[TIP_MULTI_SHARD],
        docs: docs(
            "0.1.0",
            Group::String,
            PER_KEY,
            "Add to many counters at once, and return the new values in order. A sum past 64 bits is an error at its \
             place; the others count.",
            &[Arg::block("key-increment", &[KEY, Arg::new("increment", ArgKind::Integer)]).multiple()],
        ),
        ..CHANGE
    },
    Spec {
        name: "get",
        arity: 2,
        flags: Flags(READONLY | FAST),
        access: READS,
        run: Run::Key(strings::get),
        docs: docs("1.0.0", Group::String, ONE, "Return the value, or null.", &[KEY]),
        ..CHANGE
    },
    Spec {
        name: "set",
        arity: -3,
        flags: STORE,
        access: &[Access {
            flags: &["RW", "access", "update", "variable_flags"],
            notes: "RW and ACCESS due to the optional `GET` argument",
        }],
        run: Run::Key(strings::set),
        docs: docs(
            "1.0.0",
            Group::String,
            ONE,
            "Set the value, which must be a 64-bit integer; on demand only if there was none (NX) or one (XX), with an \
             expiry, returning the old value.",
            &[KEY, VALUE, SET_CONDITION, Arg::word("get", "GET").since("6.2.0").optional(), SET_EXPIRATION],
        ),
        ..CHANGE
    },
    Spec {
        name: "setnx",
        arity: 3,
        access: INSERTS,
        run: Run::Key(strings::setnx),
        docs: docs("1.0.0", Group::String, ONE, "Set the value of a new counter; 0 if there is one.", &[KEY, VALUE]),
        ..CHANGE
    },
    Spec {
        name: "setex",
        arity: 4,
        flags: STORE,
        access: OVERWRITES,
        run: Run::Key(strings::setex),
        docs: docs("2.0.0", Group::String, ONE, "Set the value and a time to live in seconds.", &[KEY, SECONDS, VALUE]),
        ..CHANGE
    },
    Spec {
        name: "psetex",
        arity: 4,
        flags: STORE,
        access: OVERWRITES,
        run: Run::Key(strings::psetex),
        docs: docs(
            "2.6.0",
            Group::String,
            ONE,
            "Set the value and a time to live in milliseconds.",
            &[KEY, MILLISECONDS, VALUE],
        ),
        ..CHANGE
    },
    Spec {
        name: "getset",
        arity: 3,
        run: Run::Key(strings::getset),
        docs: docs("1.0.0", Group::String, ONE, "Set the value and return the old one, or null.", &[KEY, VALUE]),
        ..CHANGE
    },
    Spec {
        name: "getdel",
        arity: 2,
        flags: Flags(WRITE | FAST),
        access: TAKES,
        run: Run::Key(strings::getdel),
        docs: docs("6.2.0", Group::String, ONE, "Remove the counter and return its value, or null.", &[KEY]),
        ..CHANGE
    },
    Spec {
        name: "getex",
        arity: -2,
        flags: Flags(WRITE | FAST),
        access: &[Access { flags: &["RW", "access", "update"], notes: "RW and UPDATE because it changes the TTL" }],
        run: Run::Key(strings::getex),
        docs: docs(
            "6.2.0",
            Group::String,
            ONE,
            "Return the value, or null, and set or remove the expiry.",
            &[KEY, GETEX_EXPIRATION],
        ),
        ..CHANGE
    },
    Spec {
        name: "mget",
        arity: -2,
        flags: Flags(READONLY | FAST),
        keys: Keys::ALL,
        access: READS,
        run: Run::Each(Each::Mget),
        tips: &[TIP_MULTI_SHARD],
        docs: docs(
            "1.0.0",
            Group::String,
            PER_KEY,
            "Return the values in order, null for each that does not exist. Answered key by key as they arrive.",
            &[KEYS],
        ),
        ..CHANGE
    },
    Spec {
        name: "mset",
        arity: -3,
        flags: STORE,
        keys: Keys::PAIRS,
        access: OVERWRITES,
        run: Run::Each(Each::Mset),
        tips: &[TIP_MULTI_SHARD, TIP_ALL_SUCCEED],
        docs: docs(
            "1.0.1",
            Group::String,
            PER_KEY,
            "Set many values. Executed pair by pair as they arrive: atomic per key, and an error leaves the pairs before \
             it set.",
            &[KEY_VALUES],
        ),
        ..CHANGE
    },
    Spec {
        name: "msetnx",
        arity: -3,
        flags: STORE,
        keys: Keys::PAIRS,
        access: INSERTS,
        run: Run::Task(strings::msetnx),
        tips: &[TIP_MULTI_SHARD, "response_policy:agg_min"],
        docs: docs(
            "1.0.1",
            Group::String,
            PER_KEY,
            "Set all values, or none if one of the keys exists.",
            &[KEY_VALUES],
        ),
        ..CHANGE
    },
    Spec {
        name: "strlen",
        arity: 2,
        flags: Flags(READONLY | FAST),
        access: LOOKS,
        run: Run::Key(strings::strlen),
        docs: docs(
            "2.2.0",
            Group::String,
            ONE,
            "Return how many characters the value has in decimal, its sign included; 0 without one.",
            &[KEY],
        ),
        ..CHANGE
    },
];
