//! The rows of the transactions' commands. All but `UNWATCH` are executed at once while a transaction is being queued.

use super::super::Run;
use super::super::docs::Group;
use super::super::spec::{Categories, Flags, Keys, Spec, category, flag::*};
use super::super::transactions;
use super::rows::*;

const AT_ONCE: Spec = Spec {
    flags: Flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | IMMEDIATE),
    own_categories: Categories(category::TRANSACTION),
    ..Spec::BLANK
};

/// Commands of transactions.
pub const SPECS: &[Spec] = &[
    Spec {
        name: "multi",
        arity: 1,
        run: Run::Reply(transactions::multi),
        docs: docs("1.2.0", Group::Transactions, ONE, "Queue the commands that follow, until EXEC or DISCARD.", &[]),
        ..AT_ONCE
    },
    Spec {
        name: "exec",
        arity: 1,
        flags: Flags(NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | IMMEDIATE),
        run: Run::Task(transactions::exec),
        docs: docs(
            "1.2.0",
            Group::Transactions,
            "Depends on the queued commands",
            "Execute the queued commands with no other command between them, and return their replies; null when a \
             watched counter has changed.",
            &[],
        ),
        ..AT_ONCE
    },
    Spec {
        name: "discard",
        arity: 1,
        run: Run::Task(transactions::discard),
        docs: docs(
            "2.0.0",
            Group::Transactions,
            "O(N), N being the number of queued commands",
            "Forget the queued commands and the watched keys.",
            &[],
        ),
        ..AT_ONCE
    },
    Spec {
        name: "watch",
        arity: -2,
        keys: Keys::ALL,
        access: LOOKS,
        run: Run::Task(transactions::watch),
        docs: docs(
            "2.2.0",
            Group::Transactions,
            "O(1) for each key",
            "Let the next EXEC execute nothing if one of these counters changes before it.",
            &[KEYS],
        ),
        ..AT_ONCE
    },
    Spec {
        name: "unwatch",
        arity: 1,
        flags: Flags(NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY),
        run: Run::Task(transactions::unwatch),
        docs: docs("2.2.0", Group::Transactions, ONE, "Forget the watched keys.", &[]),
        ..AT_ONCE
    },
];
