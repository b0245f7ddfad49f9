//! Commands that the replay of an append-only file need not carry out in full, and how much of each command it needs.

use super::store::Skipped;

/// Commands of lists, sets, hashes and so on that make a key, by the argument that names it. Whether it is there
/// afterwards only Redis knows; it is no counter in any case.
pub const MAKES: &[(&str, usize, Skipped)] = &[
    ("lpush", 1, Skipped::List),
    ("rpush", 1, Skipped::List),
    ("lmove", 2, Skipped::List),
    ("blmove", 2, Skipped::List),
    ("rpoplpush", 2, Skipped::List),
    ("brpoplpush", 2, Skipped::List),
    ("sadd", 1, Skipped::Set),
    ("smove", 2, Skipped::Set),
    ("sinterstore", 1, Skipped::Set),
    ("sunionstore", 1, Skipped::Set),
    ("sdiffstore", 1, Skipped::Set),
    ("hset", 1, Skipped::Hash),
    ("hmset", 1, Skipped::Hash),
    ("hsetnx", 1, Skipped::Hash),
    ("hsetex", 1, Skipped::Hash),
    ("hincrby", 1, Skipped::Hash),
    ("hincrbyfloat", 1, Skipped::Hash),
    ("zadd", 1, Skipped::SortedSet),
    ("zincrby", 1, Skipped::SortedSet),
    ("zunionstore", 1, Skipped::SortedSet),
    ("zinterstore", 1, Skipped::SortedSet),
    ("zdiffstore", 1, Skipped::SortedSet),
    ("zrangestore", 1, Skipped::SortedSet),
    ("geoadd", 1, Skipped::SortedSet),
    ("geosearchstore", 1, Skipped::SortedSet),
    ("xadd", 1, Skipped::Stream),
    ("xgroup", 2, Skipped::Stream),
    ("bitfield", 1, Skipped::Unknown),
    ("bitop", 2, Skipped::Unknown),
    // Longer than any integer.
    ("pfadd", 1, Skipped::NoInteger),
    ("pfmerge", 1, Skipped::NoInteger),
    ("pfcount", 1, Skipped::NoInteger),
];

/// Commands that change or shrink what is skipped already, or no key.
pub const NOTHING: &[&str] = &[
    "lpushx",
    "rpushx",
    "linsert",
    "lset",
    "lpop",
    "rpop",
    "lrem",
    "ltrim",
    "lmpop",
    "blmpop",
    "blpop",
    "brpop",
    "srem",
    "spop",
    "hdel",
    "hexpire",
    "hpexpire",
    "hexpireat",
    "hpexpireat",
    "hpersist",
    "hgetdel",
    "hgetex",
    "zrem",
    "zpopmin",
    "zpopmax",
    "bzpopmin",
    "bzpopmax",
    "zmpop",
    "bzmpop",
    "zremrangebyscore",
    "zremrangebyrank",
    "zremrangebylex",
    "xdel",
    "xdelex",
    "xtrim",
    "xack",
    "xackdel",
    "xclaim",
    "xautoclaim",
    "xsetid",
    "xreadgroup",
    "publish",
    "spublish",
    "script",
    "function",
    "ping",
    "replconf",
];

/// Commands of any number of keys.
const KEYS: &[&str] = &["mset", "msetnx", "del", "unlink"];

/// Arguments of every other command that is followed, its name included. More of one are no concern.
const ARGUMENT_COUNT_MAX: usize = 16;

/// How many arguments of a command matter, its name included, which decides how many are kept.
pub fn kept_count(name: &[u8]) -> usize {
    let name = name.to_ascii_lowercase();
    let is_name = |of: &str| of.as_bytes() == name;
    if NOTHING.iter().any(|of| is_name(of)) {
        return 1;
    }
    match MAKES.iter().find(|(of, ..)| is_name(of)) {
        Some((_, place, _)) => place + 1,
        None if KEYS.iter().any(|of| is_name(of)) => usize::MAX,
        None => ARGUMENT_COUNT_MAX,
    }
}
