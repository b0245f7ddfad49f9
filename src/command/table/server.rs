//! The rows of the commands about the server and about the commands themselves.

use super::super::Run;
use super::super::connection::help;
use super::super::docs::{Arg, ArgKind, Group};
use super::super::spec::{Categories, Flags, Keys, Spec, category, flag::*};
use super::super::{introspection, server};
use super::{latency, rows::*};

pub(super) const EVER: Spec = Spec { arity: 2, flags: Flags(LOADING | STALE), ..Spec::BLANK };
pub(super) const ADMINISTRATION: Spec = Spec { flags: Flags(ADMIN | NOSCRIPT | LOADING | STALE), ..EVER };
const LOG: Spec = Spec { flags: Flags(ADMIN | LOADING | STALE), ..EVER };
const MEASURE: Spec = Spec { flags: Flags(0), tips: &[TIP_OUTPUT, TIP_ALL_SHARDS, TIP_SPECIAL], ..EVER };
const ABOUT_COMMANDS: Spec = Spec { own_categories: Categories(category::CONNECTION), ..EVER };
const ALL_COUNTERS: &str = "O(N), N being the number of counters";
const PER_COMMAND: &str = "O(N), N being the number of commands";

const COMMAND_NAMES: Arg = Arg::new("command-name", ArgKind::String).optional().multiple();
const SCRIPTS: Categories = Categories(category::SCRIPTING);

/// Commands of the server.
pub const SPECS: &[Spec] = &[
    Spec {
        name: "command",
        arity: -1,
        run: Run::Task(introspection::all),
        subcommands: COMMAND,
        tips: &[TIP_ORDER],
        docs: docs("2.8.13", Group::Server, PER_COMMAND, "Describe all commands for programs.", &[]),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "info",
        arity: -1,
        own_categories: Categories(category::DANGEROUS),
        run: Run::Task(server::info),
        tips: &[TIP_OUTPUT, TIP_ALL_SHARDS, TIP_SPECIAL],
        docs: docs(
            "1.0.0",
            Group::Server,
            ONE,
            "Report on the server, in sections.",
            &[Arg::new("section", ArgKind::String).optional().multiple()],
        ),
        ..EVER
    },
    Spec {
        name: "config",
        arity: -2,
        subcommands: CONFIG,
        docs: docs("2.0.0", Group::Server, BY_SUBCOMMAND, "Read and change the configuration.", &[]),
        ..Spec::BLANK
    },
    Spec {
        name: "time",
        arity: 1,
        flags: Flags(LOADING | STALE | FAST),
        run: Run::Task(server::time),
        tips: &[TIP_OUTPUT],
        docs: docs("2.6.0", Group::Server, ONE, "Return the Unix time: seconds, and microseconds in the second.", &[]),
        ..EVER
    },
    Spec {
        name: "monitor",
        arity: -1,
        flags: ADMINISTRATION.flags,
        run: Run::Task(server::monitor),
        docs: docs(
            "1.0.0",
            Group::Server,
            ONE,
            "Show what clients send from now on, every n-th command of it, as far as it is read; arguments are cut at 128 bytes.",
            &[Arg::new("n", ArgKind::Integer).after("SAMPLE").optional()],
        ),
        ..EVER
    },
    Spec {
        name: "slowlog",
        arity: -2,
        subcommands: SLOWLOG,
        docs: docs("2.2.12", Group::Server, BY_SUBCOMMAND, "Read the log of slow commands.", &[]),
        ..Spec::BLANK
    },
    Spec {
        name: "latency",
        arity: -2,
        subcommands: latency::SUBCOMMANDS,
        docs: docs("2.8.13", Group::Server, BY_SUBCOMMAND, "Report on latency.", &[]),
        ..Spec::BLANK
    },
    Spec {
        name: "memory",
        arity: -2,
        subcommands: MEMORY,
        docs: docs("4.0.0", Group::Server, BY_SUBCOMMAND, "Report on memory.", &[]),
        ..Spec::BLANK
    },
    Spec {
        name: "save",
        arity: 1,
        flags: Flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI),
        run: Run::Task(server::save),
        docs: docs("1.0.0", Group::Server, ALL_COUNTERS, "Take a snapshot, and answer when it is complete.", &[]),
        ..EVER
    },
    Spec {
        name: "bgsave",
        arity: -1,
        flags: Flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING),
        run: Run::Task(server::bgsave),
        docs: docs(
            "1.0.0",
            Group::Server,
            ONE,
            "Begin a snapshot.",
            &[Arg::word("schedule", "SCHEDULE").since("3.2.2").optional()],
        ),
        ..EVER
    },
    Spec {
        name: "bgrewriteaof",
        arity: 1,
        flags: Flags(ADMIN | NOSCRIPT | NO_ASYNC_LOADING),
        run: Run::Task(server::bgrewriteaof),
        docs: docs("1.0.0", Group::Server, ONE, "Begin a snapshot, which the journal is shortened to.", &[]),
        ..EVER
    },
    Spec {
        name: "lastsave",
        arity: 1,
        flags: Flags(LOADING | STALE | FAST),
        own_categories: Categories(category::ADMIN | category::DANGEROUS),
        run: Run::Task(server::lastsave),
        tips: &[TIP_OUTPUT],
        docs: docs("1.0.0", Group::Server, ONE, "Return when the last snapshot was completed.", &[]),
        ..EVER
    },
    Spec {
        name: "shutdown",
        arity: -1,
        flags: Flags(ADMINISTRATION.flags.0 | NO_MULTI | ALLOW_BUSY),
        run: Run::Task(server::shutdown),
        docs: docs(
            "1.0.0",
            Group::Server,
            "O(N) when counters are saved, N being their number, else O(1)",
            "Answer what has been received, and end the server.",
            &[
                Arg::one_of("save-mode", &[Arg::word("nosave", "NOSAVE"), Arg::word("save", "SAVE")]).optional(),
                Arg::word("now", "NOW").since("7.0.0").optional(),
                Arg::word("force", "FORCE").since("7.0.0").optional(),
                Arg::word("abort", "ABORT").since("7.0.0").optional(),
            ],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "role",
        arity: 1,
        flags: Flags(NOSCRIPT | LOADING | STALE | FAST),
        own_categories: Categories(category::ADMIN | category::DANGEROUS),
        run: Run::Reply(server::role),
        docs: docs(
            "2.8.12",
            Group::Server,
            ONE,
            "Return what the server is to others: a master without replicas.",
            &[],
        ),
        ..EVER
    },
    Spec {
        name: "debug",
        arity: -2,
        run: Run::Task(server::debug),
        docs: docs(
            "1.0.0",
            Group::Server,
            "O(1), and the time asked for",
            "Block a shard for so many seconds, to test clients. The server must allow it.",
            &[Arg::new("seconds", ArgKind::Double).after("SLEEP")],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "function",
        arity: -2,
        subcommands: FUNCTION,
        docs: docs("7.0.0", Group::Scripting, BY_SUBCOMMAND, "Functions: there are none.", &[]),
        ..Spec::BLANK
    },
    Spec {
        name: "script",
        arity: -2,
        subcommands: SCRIPT,
        docs: docs("2.6.0", Group::Scripting, BY_SUBCOMMAND, "Scripts: there are none.", &[]),
        ..Spec::BLANK
    },
];

const COMMAND: &[Spec] = &[
    Spec {
        name: "command|count",
        run: Run::Task(introspection::count),
        docs: docs("2.8.13", Group::Server, ONE, "Return how many commands there are.", &[]),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "command|list",
        arity: -2,
        run: Run::Task(introspection::list),
        tips: &[TIP_ORDER],
        docs: docs(
            "7.0.0",
            Group::Server,
            PER_COMMAND,
            "Return the names of all commands, or of some.",
            &[Arg::one_of(
                "filterby",
                &[
                    Arg::new("module-name", ArgKind::String).after("MODULE"),
                    Arg::new("category", ArgKind::String).after("ACLCAT"),
                    Arg::new("pattern", ArgKind::Pattern).after("PATTERN"),
                ],
            )
            .after("FILTERBY")
            .optional()],
        ),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "command|info",
        arity: -2,
        run: Run::Task(introspection::info),
        tips: &[TIP_ORDER],
        docs: docs("2.8.13", Group::Server, PER_COMMAND, "Describe commands for programs.", &[COMMAND_NAMES]),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "command|docs",
        arity: -2,
        run: Run::Task(introspection::docs),
        tips: &[TIP_ORDER],
        docs: docs("7.0.0", Group::Server, PER_COMMAND, "Describe commands for people.", &[COMMAND_NAMES]),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "command|getkeys",
        arity: -4,
        run: Run::Task(introspection::getkeys),
        docs: docs(
            "2.8.13",
            Group::Server,
            "O(N), N being the number of arguments",
            "Return the keys in a command with its arguments.",
            &[Arg::new("command", ArgKind::String), Arg::new("argument", ArgKind::String).multiple()],
        ),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "command|getkeysandflags",
        arity: -4,
        run: Run::Task(introspection::getkeysandflags),
        docs: docs(
            "7.0.0",
            Group::Server,
            "O(N), N being the number of arguments",
            "Return the keys in a command with its arguments, each with how it is used.",
            &[Arg::new("command", ArgKind::String), Arg::new("argument", ArgKind::String).multiple()],
        ),
        ..ABOUT_COMMANDS
    },
    Spec {
        name: "command|help",
        run: Run::Task(help),
        docs: docs("5.0.0", Group::Server, ONE, HELP_SUMMARY, &[]),
        ..ABOUT_COMMANDS
    },
];

const CONFIG: &[Spec] = &[
    Spec {
        name: "config|get",
        arity: -3,
        run: Run::Task(server::config_get),
        docs: docs(
            "2.0.0",
            Group::Server,
            "O(N), N being the number of patterns",
            "Return the settings whose names match.",
            &[Arg::new("parameter", ArgKind::String).multiple()],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "config|set",
        arity: -4,
        run: Run::Task(server::config_set),
        tips: &[TIP_ALL_NODES, TIP_ALL_SUCCEED],
        docs: docs(
            "2.0.0",
            Group::Server,
            "O(N), N being the number of settings",
            "Change settings of the running server: all, or none and an error.",
            &[Arg::block(
                "parameter-value",
                &[Arg::new("parameter", ArgKind::String), Arg::new("value", ArgKind::String)],
            )
            .multiple()],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "config|resetstat",
        run: Run::Task(server::config_resetstat),
        docs: docs("2.0.0", Group::Server, ONE, "Set the statistics that INFO reports back to zero.", &[]),
        ..ADMINISTRATION
    },
    Spec {
        name: "config|help",
        run: Run::Task(help),
        docs: docs("5.0.0", Group::Server, ONE, HELP_SUMMARY, &[]),
        ..EVER
    },
];

const SLOWLOG: &[Spec] = &[
    Spec {
        name: "slowlog|get",
        arity: -2,
        run: Run::Task(server::slowlog_get),
        tips: &[TIP_ALL_NODES, TIP_OUTPUT],
        docs: docs(
            "2.2.12",
            Group::Server,
            "O(N), N being the number of entries returned",
            "Return the latest slow commands: 10, so many, or with -1 all.",
            &[Arg::new("count", ArgKind::Integer).optional()],
        ),
        ..LOG
    },
    Spec {
        name: "slowlog|len",
        run: Run::Task(server::slowlog_len),
        tips: &[TIP_ALL_NODES, TIP_SUM, TIP_OUTPUT],
        docs: docs("2.2.12", Group::Server, ONE, "Return how many slow commands are kept.", &[]),
        ..LOG
    },
    Spec {
        name: "slowlog|reset",
        run: Run::Task(server::slowlog_reset),
        tips: &[TIP_ALL_NODES, TIP_ALL_SUCCEED],
        docs: docs(
            "2.2.12",
            Group::Server,
            "O(N), N being the number of entries",
            "Forget the slow commands so far.",
            &[],
        ),
        ..LOG
    },
    Spec {
        name: "slowlog|help",
        run: Run::Task(help),
        docs: docs("6.2.0", Group::Server, ONE, HELP_SUMMARY, &[]),
        ..EVER
    },
];

const MEMORY: &[Spec] = &[
    Spec {
        name: "memory|usage",
        arity: -3,
        flags: Flags(READONLY),
        keys: Keys::AFTER_SUBCOMMAND,
        access: LOOKS,
        run: Run::Key(server::memory_usage),
        docs: docs(
            "4.0.0",
            Group::Server,
            "O(N), N being the number of samples: one",
            "Return the bytes that a counter takes, or null.",
            &[KEY, Arg::new("count", ArgKind::Integer).after("SAMPLES").optional()],
        ),
        ..EVER
    },
    Spec {
        name: "memory|stats",
        run: Run::Task(server::memory_stats),
        docs: docs("4.0.0", Group::Server, ONE, "Report what memory is used for.", &[]),
        ..MEASURE
    },
    Spec {
        name: "memory|doctor",
        run: Run::Task(server::memory_doctor),
        docs: docs("4.0.0", Group::Server, ONE, "Report what about memory deserves attention.", &[]),
        ..MEASURE
    },
    Spec {
        name: "memory|purge",
        run: Run::Reply(server::memory_purge),
        tips: &[TIP_ALL_SHARDS, TIP_ALL_SUCCEED],
        docs: docs("4.0.0", Group::Server, ONE, "Nothing: what is freed is given back to the system already.", &[]),
        ..Spec { flags: Flags(0), ..EVER }
    },
    Spec {
        name: "memory|help",
        run: Run::Task(help),
        docs: docs("4.0.0", Group::Server, ONE, HELP_SUMMARY, &[]),
        ..EVER
    },
];

const FUNCTION: &[Spec] = &[
    Spec {
        name: "function|flush",
        arity: -2,
        flags: Flags(WRITE | NOSCRIPT),
        own_categories: SCRIPTS,
        run: Run::Reply(server::function_flush),
        tips: &[TIP_ALL_SHARDS, TIP_ALL_SUCCEED],
        docs: docs(
            "7.0.0",
            Group::Scripting,
            "O(N), N being the number of functions: none",
            "Nothing: there are no functions to remove.",
            &[ASYNC_OR_SYNC],
        ),
        ..EVER
    },
    Spec {
        name: "function|help",
        own_categories: SCRIPTS,
        run: Run::Task(help),
        docs: docs("7.0.0", Group::Scripting, ONE, HELP_SUMMARY, &[]),
        ..EVER
    },
];

const SCRIPT: &[Spec] = &[
    Spec {
        name: "script|flush",
        arity: -2,
        flags: Flags(NOSCRIPT),
        own_categories: SCRIPTS,
        run: Run::Reply(server::script_flush),
        tips: &[TIP_ALL_NODES, TIP_ALL_SUCCEED],
        docs: docs(
            "2.6.0",
            Group::Scripting,
            "O(N), N being the number of scripts: none",
            "Nothing: there are no scripts to remove.",
            &[ASYNC_OR_SYNC.since("6.2.0")],
        ),
        ..EVER
    },
    Spec {
        name: "script|help",
        own_categories: SCRIPTS,
        run: Run::Task(help),
        docs: docs("5.0.0", Group::Scripting, ONE, HELP_SUMMARY, &[]),
        ..EVER
    },
];
