//! The rows of the commands for cluster clients.

use super::super::docs::{Arg, ArgKind, Group};
use super::super::spec::{Categories, Flags, Spec, category, flag::*};
use super::super::{Run, cluster};
use super::rows::*;

const OWN: Spec = Spec { arity: 2, flags: Flags(STALE), ..Spec::BLANK };
const MODE: Spec = Spec {
    arity: 1,
    flags: Flags(LOADING | STALE | FAST),
    own_categories: Categories(category::CONNECTION),
    run: Run::Reply(cluster::accept),
    ..Spec::BLANK
};

const SLOT: Arg = Arg::new("slot", ArgKind::Integer);
const PER_SHARD: &str = "O(N), N being the number of shards";

/// Commands of cluster clients.
pub const SPECS: &[Spec] = &[
    Spec {
        name: "cluster",
        arity: -2,
        subcommands: CLUSTER,
        docs: docs("3.0.0", Group::Cluster, BY_SUBCOMMAND, "Tell which shard owns which slots, and its port.", &[]),
        ..Spec::BLANK
    },
    Spec {
        name: "readonly",
        docs: docs("3.0.0", Group::Cluster, ONE, "Accepted: there are no replicas to read from.", &[]),
        ..MODE
    },
    Spec {
        name: "readwrite",
        docs: docs("3.0.0", Group::Cluster, ONE, "Accepted: there are no replicas to read from.", &[]),
        ..MODE
    },
];

const CLUSTER: &[Spec] = &[
    Spec {
        name: "cluster|slots",
        run: Run::Task(cluster::slots),
        tips: &[TIP_OUTPUT],
        docs: docs("3.0.0", Group::Cluster, PER_SHARD, "Return ranges of slots, each with its shard's address.", &[]),
        ..OWN
    },
    Spec {
        name: "cluster|shards",
        run: Run::Task(cluster::shards),
        tips: &[TIP_OUTPUT],
        docs: docs("7.0.0", Group::Cluster, PER_SHARD, "Return the shards, each with its slots and address.", &[]),
        ..OWN
    },
    Spec {
        name: "cluster|nodes",
        run: Run::Task(cluster::nodes),
        tips: &[TIP_OUTPUT],
        docs: docs("3.0.0", Group::Cluster, PER_SHARD, "Describe the shards in a line each.", &[]),
        ..OWN
    },
    Spec {
        name: "cluster|info",
        run: Run::Task(cluster::info),
        tips: &[TIP_OUTPUT],
        docs: docs("3.0.0", Group::Cluster, ONE, "Return the state of the cluster.", &[]),
        ..OWN
    },
    Spec {
        name: "cluster|myid",
        run: Run::Task(cluster::myid),
        docs: docs("3.0.0", Group::Cluster, ONE, "Return the id of the shard that the connection lives on.", &[]),
        ..OWN
    },
    Spec {
        name: "cluster|keyslot",
        arity: 3,
        run: Run::Reply(cluster::keyslot),
        docs: docs(
            "3.0.0",
            Group::Cluster,
            "O(N), N being the bytes of the key",
            "Return the slot of a key.",
            &[Arg::new("key", ArgKind::String)],
        ),
        ..OWN
    },
    Spec {
        name: "cluster|countkeysinslot",
        arity: 3,
        run: Run::Task(cluster::countkeysinslot),
        docs: docs("3.0.0", Group::Cluster, ONE, "Return how many counters a slot has.", &[SLOT]),
        ..OWN
    },
    Spec {
        name: "cluster|getkeysinslot",
        arity: 4,
        run: Run::Task(cluster::getkeysinslot),
        tips: &[TIP_OUTPUT],
        docs: docs(
            "3.0.0",
            Group::Cluster,
            "O(N), N being the number of keys returned",
            "Return some keys of a slot.",
            &[SLOT, Arg::new("count", ArgKind::Integer)],
        ),
        ..OWN
    },
    Spec {
        name: "cluster|help",
        flags: Flags(LOADING | STALE),
        run: Run::Task(cluster::help),
        docs: docs("5.0.0", Group::Cluster, ONE, HELP_SUMMARY, &[]),
        ..OWN
    },
];
