//! The rows of the commands on keys, whatever they hold.

use super::super::connection::help;
use super::super::docs::{Arg, ArgKind, Group};
use super::super::keys;
use super::super::spec::{Categories, Flags, Keys, Spec, category, flag::*};
use super::super::{Each, Run};
use super::rows::*;

const KEYSPACE: Categories = Categories(category::KEYSPACE);

const LOOK: Spec =
    Spec { flags: Flags(READONLY | FAST), own_categories: KEYSPACE, keys: Keys::ONE, access: LOOKS, ..Spec::BLANK };
const CHANGE: Spec = Spec { flags: Flags(WRITE | FAST), access: ADJUSTS, ..LOOK };
const INSPECT: Spec =
    Spec { arity: 3, flags: Flags(READONLY), keys: Keys::AFTER_SUBCOMMAND, tips: &[TIP_OUTPUT], ..LOOK };
const WHOLE: Spec = Spec { flags: Flags(READONLY), keys: Keys::NONE, access: &[], ..LOOK };

const EXPIRE_CONDITION: Arg = Arg::one_of(
    "condition",
    &[Arg::word("nx", "NX"), Arg::word("xx", "XX"), Arg::word("gt", "GT"), Arg::word("lt", "LT")],
)
.since("7.0.0")
.optional();

/// Commands on keys.
pub const SPECS: &[Spec] = &[
    Spec {
        name: "del",
        arity: -2,
        flags: Flags(WRITE),
        keys: Keys::ALL,
        access: REMOVES,
        run: Run::Each(Each::Del),
        tips: &[TIP_MULTI_SHARD, TIP_SUM],
        docs: docs("1.0.0", Group::Generic, PER_KEY, "Remove counters, and return how many there were.", &[KEYS]),
        ..CHANGE
    },
    Spec {
        name: "unlink",
        arity: -2,
        keys: Keys::ALL,
        access: REMOVES,
        run: Run::Each(Each::Del),
        tips: &[TIP_MULTI_SHARD, TIP_SUM],
        docs: docs(
            "4.0.0",
            Group::Generic,
            "O(1) for each key",
            "Remove counters, and return how many there were: the same as DEL.",
            &[KEYS],
        ),
        ..CHANGE
    },
    Spec {
        name: "exists",
        arity: -2,
        keys: Keys::ALL,
        run: Run::Each(Each::Exists),
        tips: &[TIP_MULTI_SHARD, TIP_SUM],
        docs: docs(
            "1.0.0",
            Group::Generic,
            PER_KEY,
            "Return how many of the keys exist. A key named twice counts twice.",
            &[KEYS],
        ),
        ..LOOK
    },
    Spec {
        name: "touch",
        arity: -2,
        keys: Keys::ALL,
        run: Run::Each(Each::Exists),
        tips: &[TIP_MULTI_SHARD, TIP_SUM],
        docs: docs(
            "3.2.1",
            Group::Generic,
            PER_KEY,
            "Return how many of the keys exist: the same as EXISTS, as accesses are not tracked.",
            &[KEYS],
        ),
        ..LOOK
    },
    Spec {
        name: "type",
        arity: 2,
        run: Run::Key(keys::kind),
        docs: docs("1.0.0", Group::Generic, ONE, "Return \"string\" for a counter, \"none\" without one.", &[KEY]),
        ..LOOK
    },
    Spec {
        name: "expire",
        arity: -3,
        run: Run::Key(keys::expire),
        docs: docs(
            "1.0.0",
            Group::Generic,
            ONE,
            "Let the counter end in so many seconds; 1 when that was set. NX, XX, GT and LT compare with the expiry that \
             it has.",
            &[KEY, SECONDS, EXPIRE_CONDITION],
        ),
        ..CHANGE
    },
    Spec {
        name: "pexpire",
        arity: -3,
        run: Run::Key(keys::pexpire),
        docs: docs(
            "2.6.0",
            Group::Generic,
            ONE,
            "Let the counter end in so many milliseconds; 1 when that was set.",
            &[KEY, MILLISECONDS, EXPIRE_CONDITION],
        ),
        ..CHANGE
    },
    Spec {
        name: "expireat",
        arity: -3,
        run: Run::Key(keys::expireat),
        docs: docs(
            "1.2.0",
            Group::Generic,
            ONE,
            "Let the counter end at a Unix time in seconds; 1 when that was set. A past one removes it.",
            &[KEY, UNIX_SECONDS, EXPIRE_CONDITION],
        ),
        ..CHANGE
    },
    Spec {
        name: "pexpireat",
        arity: -3,
        run: Run::Key(keys::pexpireat),
        docs: docs(
            "2.6.0",
            Group::Generic,
            ONE,
            "Let the counter end at a Unix time in milliseconds; 1 when that was set. A past one removes it.",
            &[KEY, UNIX_MILLISECONDS, EXPIRE_CONDITION],
        ),
        ..CHANGE
    },
    Spec {
        name: "ttl",
        arity: 2,
        access: READS,
        run: Run::Key(keys::ttl),
        tips: &[TIP_OUTPUT],
        docs: docs(
            "1.0.0",
            Group::Generic,
            ONE,
            "Return the seconds that are left, -1 without an expiry, -2 without a counter.",
            &[KEY],
        ),
        ..LOOK
    },
    Spec {
        name: "pttl",
        arity: 2,
        access: READS,
        run: Run::Key(keys::pttl),
        tips: &[TIP_OUTPUT],
        docs: docs(
            "2.6.0",
            Group::Generic,
            ONE,
            "Return the milliseconds that are left, -1 without an expiry, -2 without a counter.",
            &[KEY],
        ),
        ..LOOK
    },
    Spec {
        name: "expiretime",
        arity: 2,
        access: READS,
        run: Run::Key(keys::expiretime),
        docs: docs(
            "7.0.0",
            Group::Generic,
            ONE,
            "Return the Unix time of the expiry in seconds, -1 without an expiry, -2 without a counter.",
            &[KEY],
        ),
        ..LOOK
    },
    Spec {
        name: "pexpiretime",
        arity: 2,
        access: READS,
        run: Run::Key(keys::pexpiretime),
        docs: docs(
            "7.0.0",
            Group::Generic,
            ONE,
            "Return the Unix time of the expiry in milliseconds, -1 without an expiry, -2 without a counter.",
            &[KEY],
        ),
        ..LOOK
    },
    Spec {
        name: "persist",
        arity: 2,
        run: Run::Key(keys::persist),
        docs: docs("2.2.0", Group::Generic, ONE, "Remove the expiry; 1 when there was one.", &[KEY]),
        ..CHANGE
    },
    Spec {
        name: "rename",
        arity: 3,
        flags: Flags(WRITE),
        keys: Keys::TWO,
        access: MOVES_OVER,
        run: Run::Task(keys::rename),
        docs: docs(
            "1.0.0",
            Group::Generic,
            ONE,
            "Give the counter, with its expiry, another key, in place of what was there.",
            &[KEY, Arg::new("newkey", ArgKind::Key(1))],
        ),
        ..CHANGE
    },
    Spec {
        name: "renamenx",
        arity: 3,
        keys: Keys::TWO,
        access: MOVES_TO_NEW,
        run: Run::Task(keys::renamenx),
        docs: docs(
            "1.0.0",
            Group::Generic,
            ONE,
            "Give the counter, with its expiry, a key that does not exist yet; 0 if it does.",
            &[KEY, Arg::new("newkey", ArgKind::Key(1))],
        ),
        ..CHANGE
    },
    Spec {
        name: "copy",
        arity: -3,
        flags: Flags(WRITE | DENYOOM),
        keys: Keys::TWO,
        access: COPIES,
        run: Run::Task(keys::copy),
        docs: docs(
            "6.2.0",
            Group::Generic,
            ONE,
            "Give another key the same value and expiry; 0 without a counter, or if that key has one and it is not to be replaced.",
            &[
                Arg::new("source", ArgKind::Key(0)),
                Arg::new("destination", ArgKind::Key(1)),
                Arg::new("destination-db", ArgKind::Integer).after("DB").optional(),
                Arg::word("replace", "REPLACE").optional(),
            ],
        ),
        ..CHANGE
    },
    Spec {
        name: "randomkey",
        arity: 1,
        run: Run::Task(keys::randomkey),
        tips: &[TIP_ALL_SHARDS, TIP_OUTPUT],
        docs: docs("1.0.0", Group::Generic, ONE, "Return some key, or null when there is none.", &[]),
        ..WHOLE
    },
    Spec {
        name: "keys",
        arity: 2,
        own_categories: Categories(category::KEYSPACE | category::DANGEROUS),
        run: Run::Task(keys::keys),
        tips: &[TIP_ALL_SHARDS, TIP_ORDER],
        docs: docs(
            "1.0.0",
            Group::Generic,
            PER_COUNTER,
            "Return all keys that match a pattern. SCAN does the same in small steps.",
            &[Arg::new("pattern", ArgKind::Pattern)],
        ),
        ..WHOLE
    },
    Spec {
        name: "scan",
        arity: -2,
        run: Run::Task(keys::scan),
        tips: &[TIP_OUTPUT, "request_policy:special"],
        docs: docs(
            "2.8.0",
            Group::Generic,
            "O(1) for a call, O(N) for all calls until the cursor is 0 again, N being the number of counters",
            "Walk all keys in steps: start with cursor 0, go on with the cursor returned, end when it is 0.",
            &[
                Arg::new("cursor", ArgKind::Integer),
                Arg::new("pattern", ArgKind::Pattern).after("MATCH").optional(),
                Arg::new("count", ArgKind::Integer).after("COUNT").optional(),
                Arg::new("type", ArgKind::String).after("TYPE").since("6.0.0").optional(),
            ],
        ),
        ..WHOLE
    },
    Spec {
        name: "dbsize",
        arity: 1,
        flags: Flags(READONLY | FAST),
        run: Run::Task(keys::dbsize),
        tips: &[TIP_ALL_SHARDS, TIP_SUM],
        docs: docs("1.0.0", Group::Server, ONE, "Return how many counters there are.", &[]),
        ..WHOLE
    },
    Spec {
        name: "flushall",
        arity: -1,
        flags: Flags(WRITE),
        own_categories: Categories(category::KEYSPACE | category::DANGEROUS),
        run: Run::Task(keys::flush),
        tips: &[TIP_ALL_SHARDS, TIP_ALL_SUCCEED],
        docs: docs("1.0.0", Group::Server, PER_COUNTER, "Remove all counters.", &[ASYNC_OR_SYNC]),
        ..WHOLE
    },
    Spec {
        name: "flushdb",
        arity: -1,
        flags: Flags(WRITE),
        own_categories: Categories(category::KEYSPACE | category::DANGEROUS),
        run: Run::Task(keys::flush),
        tips: &[TIP_ALL_SHARDS, TIP_ALL_SUCCEED],
        docs: docs(
            "1.0.0",
            Group::Server,
            PER_COUNTER,
            "Remove all counters: the same as FLUSHALL, as there is one database.",
            &[ASYNC_OR_SYNC],
        ),
        ..WHOLE
    },
    Spec {
        name: "object",
        arity: -2,
        subcommands: OBJECT,
        docs: docs("2.2.3", Group::Generic, BY_SUBCOMMAND, "Look at how a counter is stored.", &[]),
        ..Spec::BLANK
    },
];

const OBJECT: &[Spec] = &[
    Spec {
        name: "object|encoding",
        run: Run::Key(keys::object_encoding),
        docs: docs("2.2.3", Group::Generic, ONE, "Return \"int\" for a counter, null without one.", &[KEY]),
        ..INSPECT
    },
    Spec {
        name: "object|refcount",
        run: Run::Key(keys::object_refcount),
        docs: docs("2.2.3", Group::Generic, ONE, "Return 1 for a counter, null without one.", &[KEY]),
        ..INSPECT
    },
    Spec {
        name: "object|freq",
        run: Run::Key(keys::object_freq),
        docs: docs(
            "4.0.0",
            Group::Generic,
            ONE,
            "An error, as accesses are not tracked; null without a counter.",
            &[KEY],
        ),
        ..INSPECT
    },
    Spec {
        name: "object|idletime",
        run: Run::Key(keys::object_idletime),
        docs: docs(
            "2.2.3",
            Group::Generic,
            ONE,
            "An error, as accesses are not tracked; null without a counter.",
            &[KEY],
        ),
        ..INSPECT
    },
    Spec {
        name: "object|help",
        arity: 2,
        flags: Flags(LOADING | STALE),
        run: Run::Task(help),
        docs: docs("6.2.0", Group::Generic, ONE, HELP_SUMMARY, &[]),
        ..WHOLE
    },
];
