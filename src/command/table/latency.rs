//! The rows of `LATENCY`.

use super::super::connection::help;
use super::super::docs::{Arg, ArgKind, Group};
use super::super::spec::Spec;
use super::super::{Run, latency};
use super::rows::*;
use super::server::{ADMINISTRATION, EVER};

const REPORT: Spec = Spec { tips: &[TIP_OUTPUT, TIP_ALL_NODES, TIP_SPECIAL], ..ADMINISTRATION };
const PER_COMMAND: &str = "O(N), N being the number of commands with latencies";
const COMMANDS: Arg = Arg::new("command", ArgKind::String).optional().multiple();

/// The subcommands.
pub const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "latency|doctor",
        run: Run::Task(latency::doctor),
        docs: docs("2.8.13", Group::Server, ONE, "Report what took too long, and what to do about it.", &[]),
        ..REPORT
    },
    Spec {
        name: "latency|histogram",
        arity: -2,
        run: Run::Task(latency::histogram),
        docs: docs(
            "7.0.0",
            Group::Server,
            PER_COMMAND,
            "Return how long commands took: how many at most so many microseconds.",
            &[COMMANDS],
        ),
        ..REPORT
    },
    Spec {
        name: "latency|history",
        arity: 3,
        run: Run::Task(latency::history),
        docs: docs(
            "2.8.13",
            Group::Server,
            ONE,
            "Return when an event took too long, and how long.",
            &[Arg::new("event", ArgKind::String)],
        ),
        ..REPORT
    },
    Spec {
        name: "latency|latest",
        run: Run::Task(latency::latest),
        docs: docs(
            "2.8.13",
            Group::Server,
            ONE,
            "Return for each event when it last took too long, and how long.",
            &[],
        ),
        ..REPORT
    },
    Spec {
        name: "latency|reset",
        arity: -2,
        run: Run::Task(latency::reset),
        tips: &[TIP_ALL_NODES, TIP_ALL_SUCCEED],
        docs: docs(
            "2.8.13",
            Group::Server,
            ONE,
            "Forget what took too long, of some events or of all.",
            &[Arg::new("event", ArgKind::String).optional().multiple()],
        ),
        ..ADMINISTRATION
    },
    Spec {
        name: "latency|help",
        run: Run::Task(help),
        docs: docs("2.8.13", Group::Server, ONE, HELP_SUMMARY, &[]),
        ..EVER
    },
];
