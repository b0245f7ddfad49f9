//! The rows of the commands about the client's own connection and the other clients.

use super::super::Run;
use super::super::docs::{Arg, ArgKind, Group};
use super::super::spec::{Categories, Flags, Spec, category, flag::*};
use super::super::{clients, connection, server};
use super::rows::*;

const CONNECTION: Categories = Categories(category::CONNECTION);

const BARE: Spec = Spec { own_categories: CONNECTION, ..Spec::BLANK };
const EARLY: Spec = Spec { flags: Flags(NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY), ..BARE };

const OWN: Spec = Spec { arity: 2, flags: Flags(NOSCRIPT | LOADING | STALE), ..BARE };
const ADMINISTRATION: Spec = Spec { flags: Flags(ADMIN | NOSCRIPT | LOADING | STALE), ..OWN };

const ON_OR_OFF: Arg = Arg::one_of("enabled", &[Arg::word("on", "ON"), Arg::word("off", "OFF")]);
const CLIENT_TYPE: Arg = Arg::one_of(
    "client-type",
    &[
        Arg::word("normal", "NORMAL"),
        Arg::word("master", "MASTER"),
        Arg::word("replica", "REPLICA"),
        Arg::word("pubsub", "PUBSUB"),
    ],
)
.after("TYPE")
.optional();
const CLIENT_ID: Arg = Arg::new("client-id", ArgKind::Integer);
const PER_CLIENT: &str = "O(N), N being the number of clients";

/// Commands of a connection.
pub const SPECS: &[Spec] = &[
    Spec {
        name: "ping",
        arity: -1,
        flags: Flags(FAST),
        run: Run::Reply(connection::ping),
        tips: &[TIP_ALL_SHARDS, TIP_ALL_SUCCEED],
        docs: docs(
            "1.0.0",
            Group::Connection,
            ONE,
            "Return PONG, or the message.",
            &[Arg::new("message", ArgKind::String).optional()],
        ),
        ..BARE
    },
    Spec {
        name: "echo",
        arity: 2,
        flags: Flags(LOADING | STALE | FAST),
        run: Run::Reply(connection::echo),
        docs: docs("1.0.0", Group::Connection, ONE, "Return the message.", &[Arg::new("message", ArgKind::String)]),
        ..BARE
    },
    Spec {
        name: "quit",
        arity: -1,
        flags: Flags(EARLY.flags.0 | IMMEDIATE),
        run: Run::Reply(connection::quit),
        docs: docs("1.0.0", Group::Connection, ONE, "Close the connection after the replies so far.", &[]),
        ..EARLY
    },
    Spec {
        name: "reset",
        arity: 1,
        flags: Flags(EARLY.flags.0 | IMMEDIATE),
        run: Run::Task(connection::reset),
        docs: docs(
            "6.2.0",
            Group::Connection,
            ONE,
            "Make the connection as it was when it was new: no transaction, no name, RESP2, not authenticated.",
            &[],
        ),
        ..EARLY
    },
    Spec {
        name: "hello",
        arity: -1,
        run: Run::Reply(connection::hello),
        docs: docs(
            "6.0.0",
            Group::Connection,
            ONE,
            "Choose the protocol version, 2 or 3, authenticate and name the connection; return what the server is.",
            &[Arg::block(
                "arguments",
                &[
                    Arg::new("protover", ArgKind::Integer),
                    Arg::block(
                        "credentials",
                        &[Arg::new("username", ArgKind::String), Arg::new("password", ArgKind::String)],
                    )
                    .after("AUTH")
                    .optional(),
                    Arg::new("clientname", ArgKind::String).after("SETNAME").optional(),
                ],
            )
            .optional()],
        ),
        ..EARLY
    },
    Spec {
        name: "auth",
        arity: -2,
        run: Run::Reply(connection::auth),
        docs: docs(
            "1.0.0",
            Group::Connection,
            "O(N), N being the number of passwords: one",
            "Authenticate. The only user is \"default\".",
            &[Arg::new("username", ArgKind::String).since("6.0.0").optional(), Arg::new("password", ArgKind::String)],
        ),
        ..EARLY
    },
    Spec {
        name: "select",
        arity: 2,
        flags: Flags(LOADING | STALE | FAST),
        run: Run::Reply(connection::select),
        docs: docs(
            "1.0.0",
            Group::Connection,
            ONE,
            "Choose the database: 0, as there is one.",
            &[Arg::new("index", ArgKind::Integer)],
        ),
        ..BARE
    },
    Spec {
        name: "wait",
        arity: 3,
        flags: Flags(NOSCRIPT),
        run: Run::Reply(server::wait),
        tips: &[TIP_ALL_SHARDS, TIP_LEAST],
        docs: docs(
            "3.0.0",
            Group::Generic,
            ONE,
            "Return how many replicas have this connection's writes: 0 at once, as there are none.",
            &[Arg::new("numreplicas", ArgKind::Integer), Arg::new("timeout", ArgKind::Integer)],
        ),
        ..BARE
    },
    Spec {
        name: "client",
        arity: -2,
        subcommands: CLIENT,
        docs: docs("2.4.0", Group::Connection, BY_SUBCOMMAND, "Look at connections and steer them.", &[]),
        ..Spec::BLANK
    },
];

const CLIENT: &[Spec] = &[
    Spec {
        name: "client|id",
        run: Run::Reply(clients::id),
        docs: docs("5.0.0", Group::Connection, ONE, "Return the connection's number, which is never used again.", &[]),
        ..OWN
    },
    Spec {
        name: "client|info",
        run: Run::Task(clients::info),
        tips: &[TIP_OUTPUT],
        docs: docs("6.2.0", Group::Connection, ONE, "Describe this connection in one line.", &[]),
        ..OWN
    },
    Spec {
        name: "client|list",
        arity: -2,
        run: Run::Task(clients::list),
        tips: &[TIP_OUTPUT],
        docs: docs(
            "2.4.0",
            Group::Connection,
            PER_CLIENT,
            "Describe all connections, or some, in a line each.",
            &[
                CLIENT_TYPE.since("5.0.0"),
                Arg::block("id", &[CLIENT_ID.multiple()]).after("ID").since("6.2.0").optional(),
            ],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "client|kill",
        arity: -3,
        run: Run::Task(clients::kill),
        docs: docs(
            "2.4.0",
            Group::Connection,
            PER_CLIENT,
            "Close the connections that match, and return how many; or the one of an address.",
            &[Arg::one_of(
                "filter",
                &[
                    Arg::new("ip:port", ArgKind::String),
                    Arg::block(
                        "filters",
                        &[
                            CLIENT_ID.after("ID").since("2.8.12").optional(),
                            CLIENT_TYPE.since("2.8.12"),
                            Arg::new("username", ArgKind::String).after("USER").optional(),
                            Arg::new("ip:port", ArgKind::String).after("ADDR").optional(),
                            Arg::new("ip:port", ArgKind::String).after("LADDR").since("6.2.0").optional(),
                            Arg::new("yes/no", ArgKind::String).after("SKIPME").optional(),
                            Arg::new("maxage", ArgKind::Integer).after("MAXAGE").since("7.4.0").optional(),
                        ],
                    ),
                ],
            )],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "client|setname",
        arity: 3,
        run: Run::Reply(clients::setname),
        docs: docs(
            "2.6.9",
            Group::Connection,
            ONE,
            "Name this connection; an empty name takes it away.",
            &[Arg::new("connection-name", ArgKind::String)],
        ),
        ..OWN
    },
    Spec {
        name: "client|getname",
        run: Run::Reply(clients::getname),
        docs: docs("2.6.9", Group::Connection, ONE, "Return the name of this connection, or null.", &[]),
        ..OWN
    },
    Spec {
        name: "client|setinfo",
        arity: 4,
        run: Run::Reply(clients::setinfo),
        tips: &[TIP_ALL_NODES, TIP_ALL_SUCCEED],
        docs: docs(
            "7.2.0",
            Group::Connection,
            ONE,
            "Note the client library, or its version, for CLIENT LIST.",
            &[Arg::one_of(
                "attr",
                &[
                    Arg::new("libname", ArgKind::String).after("LIB-NAME"),
                    Arg::new("libver", ArgKind::String).after("LIB-VER"),
                ],
            )],
        ),
        ..OWN
    },
    Spec {
        name: "client|reply",
        arity: 3,
        run: Run::Reply(clients::reply),
        docs: docs(
            "3.2.0",
            Group::Connection,
            ONE,
            "Send replies, send none from now on, or none for the next command.",
            &[Arg::one_of("on-off-skip", &[Arg::word("on", "ON"), Arg::word("off", "OFF"), Arg::word("skip", "SKIP")])],
        ),
        ..OWN
    },
    Spec {
        name: "client|no-evict",
        arity: 3,
        run: Run::Reply(clients::no_evict),
        docs: docs(
            "7.0.0",
            Group::Connection,
            ONE,
            "Keep this connection when others are closed for want of memory.",
            &[ON_OR_OFF],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "client|no-touch",
        arity: 3,
        run: Run::Reply(clients::no_touch),
        docs: docs(
            "7.2.0",
            Group::Connection,
            ONE,
            "Let this connection's commands not count as accesses. Accepted; accesses are not tracked.",
            &[ON_OR_OFF],
        ),
        ..OWN
    },
    Spec {
        name: "client|pause",
        arity: -3,
        run: Run::Task(clients::pause),
        docs: docs(
            "2.9.50",
            Group::Connection,
            ONE,
            "Let the commands of all clients, or only the writing ones, wait for so many milliseconds.",
            &[
                Arg::new("timeout", ArgKind::Integer),
                Arg::one_of("mode", &[Arg::word("write", "WRITE"), Arg::word("all", "ALL")]).since("6.2.0").optional(),
            ],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "client|unpause",
        run: Run::Task(clients::unpause),
        docs: docs(
            "6.2.0",
            Group::Connection,
            "O(N), N being the number of waiting clients",
            "Let waiting commands go on.",
            &[],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "client|unblock",
        arity: -3,
        run: Run::Reply(clients::unblock),
        docs: docs(
            "5.0.0",
            Group::Connection,
            ONE,
            "Return 0: no command waits for a key here.",
            &[
                CLIENT_ID,
                Arg::one_of("unblock-type", &[Arg::word("timeout", "TIMEOUT"), Arg::word("error", "ERROR")]).optional(),
            ],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "client|trackinginfo",
        run: Run::Reply(clients::tracking_info),
        docs: docs("6.2.0", Group::Connection, ONE, "Return that this connection's keys are not tracked.", &[]),
        ..OWN
    },
    Spec {
        name: "client|getredir",
        run: Run::Reply(clients::getredir),
        docs: docs("6.0.0", Group::Connection, ONE, "Return -1: no keys are tracked for another connection.", &[]),
        ..OWN
    },
    Spec {
        name: "client|help",
        flags: Flags(LOADING | STALE),
        run: Run::Task(connection::help),
        docs: docs("5.0.0", Group::Connection, ONE, HELP_SUMMARY, &[]),
        ..OWN
    },
];
