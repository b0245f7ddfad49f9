//! What rows of several families share: documentation shorthands, common arguments, tips and key accesses.

use super::super::docs::{Arg, ArgKind, Docs, Group};
use super::super::spec::Access;

/// The documentation of a row.
pub const fn docs(
    since: &'static str,
    group: Group,
    complexity: &'static str,
    summary: &'static str,
    arguments: &'static [Arg],
) -> Docs {
    Docs { summary, since, group, complexity, arguments }
}

/// Cost of a command that does one thing.
pub const ONE: &str = "O(1)";
/// Cost of a command with several keys.
pub const PER_KEY: &str = "O(N), N being the number of keys";
/// Cost of a command that walks all counters.
pub const PER_COUNTER: &str = "O(N), N being the number of counters";
/// Cost of a container.
pub const BY_SUBCOMMAND: &str = "That of the subcommand";
/// What a `HELP` subcommand does.
pub const HELP_SUMMARY: &str = "List the subcommands and what they take.";

/// A key.
pub const KEY: Arg = Arg::new("key", ArgKind::Key(0));
/// One or more keys.
pub const KEYS: Arg = KEY.multiple();
/// A counter's value.
pub const VALUE: Arg = Arg::new("value", ArgKind::Integer);
/// Keys with their values.
pub const KEY_VALUES: Arg = Arg::block("key-value", &[KEY, VALUE]).multiple();
/// A time to live.
pub const SECONDS: Arg = Arg::new("seconds", ArgKind::Integer);
/// A time to live.
pub const MILLISECONDS: Arg = Arg::new("milliseconds", ArgKind::Integer);
/// A point in time.
pub const UNIX_SECONDS: Arg = Arg::new("unix-time-seconds", ArgKind::UnixTime);
/// A point in time.
pub const UNIX_MILLISECONDS: Arg = Arg::new("unix-time-milliseconds", ArgKind::UnixTime);
/// How to flush: the same either way here.
pub const ASYNC_OR_SYNC: Arg =
    Arg::one_of("mode", &[Arg::word("async", "ASYNC"), Arg::word("sync", "SYNC")]).optional();

/// The output differs from call to call.
pub const TIP_OUTPUT: &str = "nondeterministic_output";
/// The order of the output differs from call to call.
pub const TIP_ORDER: &str = "nondeterministic_output_order";
/// For proxies: ask every shard.
pub const TIP_ALL_SHARDS: &str = "request_policy:all_shards";
/// For proxies: ask every node.
pub const TIP_ALL_NODES: &str = "request_policy:all_nodes";
/// For proxies: split by key.
pub const TIP_MULTI_SHARD: &str = "request_policy:multi_shard";
/// For proxies: all must succeed.
pub const TIP_ALL_SUCCEED: &str = "response_policy:all_succeeded";
/// For proxies: add the replies.
pub const TIP_SUM: &str = "response_policy:agg_sum";
/// For proxies: the least of the replies counts.
pub const TIP_LEAST: &str = "response_policy:agg_min";
/// For proxies: merging the replies takes knowledge of the command.
pub const TIP_SPECIAL: &str = "response_policy:special";

const fn access(flags: &'static [&'static str]) -> Access {
    Access { flags, notes: "" }
}

/// Reads only whether the key exists, or of what kind it is.
pub const LOOKS: &[Access] = &[access(&["RO"])];
/// Reads the value.
pub const READS: &[Access] = &[access(&["RO", "access"])];
/// Reads the value and changes it.
pub const CHANGES: &[Access] = &[access(&["RW", "access", "update"])];
/// Changes what is beside the value.
pub const ADJUSTS: &[Access] = &[access(&["RW", "update"])];
/// Overwrites without reading.
pub const OVERWRITES: &[Access] = &[access(&["OW", "update"])];
/// Writes where nothing was.
pub const INSERTS: &[Access] = &[access(&["OW", "insert"])];
/// Removes.
pub const REMOVES: &[Access] = &[access(&["RM", "delete"])];
/// Reads the value and removes it.
pub const TAKES: &[Access] = &[access(&["RW", "access", "delete"])];
/// `COPY`: reads the first, overwrites the second.
pub const COPIES: &[Access] = &[access(&["RO", "access"]), access(&["OW", "update"])];
/// `RENAME`: takes the first, overwrites the second.
pub const MOVES_OVER: &[Access] = &[access(&["RW", "access", "delete"]), access(&["OW", "update"])];
/// `RENAMENX`: takes the first, writes the second where nothing was.
pub const MOVES_TO_NEW: &[Access] = &[access(&["RW", "access", "delete"]), access(&["OW", "insert"])];
