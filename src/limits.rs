//! Every limit of the server, in one file, with the relations between them proven at compile time.
//!
//! Invariant: nothing in this crate is sized from a number that a client sent; it is sized from a number here.

/// Slots of the key space, as in Redis Cluster: `crc16(key or its {tag}) % SLOT_COUNT`.
pub const SLOT_COUNT: usize = 16_384;

/// Shards (threads) at most. A set of shards is a bitmap of this many bits.
pub const SHARD_COUNT_MAX: usize = 256;

/// Longest key, in bytes. A longer one is skipped and answered with an error.
pub const KEY_BYTES_MAX: usize = 1_024;

/// Longest argument of any command, in bytes. A longer one is skipped and answered with an error.
pub const ARGUMENT_BYTES_MAX: usize = 4 * 1_024;

/// Most arguments of a command that does not stream, its name included.
pub const ARGUMENT_COUNT_MAX: usize = 128;

/// One fixed buffer, registered with its shard's ring.
pub const FIXED_BUFFER_BYTES: usize = 16 * 1_024;

/// Fixed buffers of a shard at most: tokio-uring drops any beyond `UIO_MAXIOV` without a word.
pub const FIXED_BUFFER_COUNT_MAX: usize = 1_024;

/// Fixed buffers of a shard at least: two make one connection move.
pub const FIXED_BUFFER_COUNT_MIN: usize = 16;

/// While no more than this are lent, one or two connections are at work, which send without the ring.
pub const LENT_COUNT_OF_FEW_MAX: usize = 2;

/// A receive of so many bytes is a long batch: many commands, or much of a very long one. Without a turn for such no more
/// is received at once.
pub const LONG_BATCH_BYTES_MIN: usize = FIXED_BUFFER_BYTES / 4;

/// So much more than that, of all connections together, is received at once in a lap of the loop: the ends of batches that
/// are a little longer, which need no turn then.
pub const REST_BYTES_OF_LAP_MAX: usize = 2 * FIXED_BUFFER_BYTES;

/// Connections of one shard that may work through long batches at the same time. Others with such wait for their turn,
/// so that who sends little is answered after a few long batches at most, however many clients send a lot.
pub const LONG_BATCH_COUNT_MAX: usize = 2;

/// Connections that one listening socket accepts in one turn of its shard's ring.
pub const ACCEPT_COUNT_MAX: usize = 4;

/// Idle connections that a shard takes up in one turn of its ring: so many that a burst of thousands is over in few turns,
/// so few that one turn is not much longer for it.
pub const READY_COUNT_MAX: usize = 16;

/// Commands (or arguments of a streaming command) that are parsed before they are executed together.
pub const WINDOW_ITEM_COUNT_MAX: usize = 128;

/// Bytes of ready-made replies (PING, HELLO, errors) that a window holds beside its items.
pub const WINDOW_TEXT_BYTES_MAX: usize = 16 * 1_024;

/// Longest reply that a session gives by itself: an ECHO of the longest argument, CLIENT INFO, HELLO.
pub const SHORT_REPLY_BYTES_MAX: usize = ARGUMENT_BYTES_MAX + 512;

/// Longest encoded reply of one counter operation: a bulk string of a 64-bit integer, or an error.
pub const OUTCOME_BYTES_MAX: usize = 256;

/// Longest encoded reply of an operation that counts: any but those of `OBJECT FREQ` and `OBJECT IDLETIME`.
pub const SHORT_OUTCOME_BYTES_MAX: usize = 64;

/// Replies that take no more are encoded in memory of the worker's own: no fixed buffer is lent for them. Those of sixteen
/// counter operations do.
pub const SHORT_OUTPUT_BYTES: usize = 1_024;

/// Longest header line (`*N`, `$N`) that can be valid, without its CRLF.
pub const HEADER_BYTES_MAX: usize = 32;

/// Most arguments that a client may announce (`*N`), as in Redis.
pub const ANNOUNCED_COUNT_MAX: i64 = i32::MAX as i64;

/// Longest argument that a client may announce (`$N`), as in Redis; beyond it the protocol is broken.
pub const ANNOUNCED_BYTES_MAX: i64 = 512 * 1_024 * 1_024;

/// Before authentication: most arguments of a request, as in Redis.
pub const UNAUTHENTICATED_COUNT_MAX: i64 = 10;

/// Before authentication: longest request, in bytes.
pub const UNAUTHENTICATED_BYTES_MAX: usize = 16 * 1_024;

/// Bytes of commands that one transaction may queue.
pub const QUEUE_BYTES_MAX: usize = 1_024 * 1_024;

/// Bytes that the first command of a transaction takes room for: most transactions are of two or three.
pub const QUEUE_BYTES_MIN: usize = 256;

/// Bytes of commands that all transactions of a shard may queue together.
pub const QUEUES_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Keys that one connection may watch.
pub const WATCHED_KEY_COUNT_MAX: usize = 1_024;

/// Bytes of the keys that all connections of a shard may watch together, with what goes with each.
pub const WATCHED_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// What a watched key takes beside its bytes, where it is watched and where it lives.
pub const WATCHED_KEY_OVERHEAD_BYTES: usize = 128;

/// Bytes of one reply that is too long for a fixed buffer (KEYS, CLIENT LIST, COMMAND DOCS, EXEC).
pub const LARGE_REPLY_BYTES_MAX: usize = 8 * 1_024 * 1_024;

/// Commands of one shard that may gather such a reply at the same time; others wait.
pub const LARGE_REPLY_COUNT_MAX: usize = 2;

/// Bytes of a reply about the server (INFO, LATENCY HISTOGRAM, MEMORY STATS, COMMAND DOCS).
pub const MEDIUM_REPLY_BYTES_MAX: usize = 512 * 1_024;

/// Commands of one shard that may gather such a reply at the same time. They do not wait for the larger ones.
pub const MEDIUM_REPLY_COUNT_MAX: usize = 2;

/// A transaction whose queue is longer gathers its reply as a large one.
pub const SMALL_QUEUE_BYTES_MAX: usize = 16 * 1_024;

/// Bytes of keys that one step of a scan carries between shards.
pub const SCAN_STEP_BYTES_MAX: usize = 64 * 1_024;

/// Keys that one step of a scan visits: all others on the shard wait for that long.
pub const SCAN_STEP_COUNT: u64 = 1_000;

/// Comparisons of bytes with a pattern after which a step of a scan visits no further key: those of a thousand ordinary
/// keys are fewer.
pub const SCAN_STEP_COMPARISON_COUNT_MAX: usize = 256 * 1_024;

/// Longest pattern of the names of commands, and of all patterns of settings together, in bytes. A name is shorter.
pub const NAME_PATTERN_BYTES_MAX: usize = 512;

/// Commands of one transaction whose replies may be long (KEYS, INFO, SCAN of many …). Nobody else is served meanwhile.
pub const LONG_COUNT_OF_TRANSACTION_MAX: u32 = 32;

/// Longest name of a client, in bytes: as long as the name of a host.
pub const CLIENT_NAME_BYTES_MAX: usize = 255;

/// Longest name, and longest version, of a client's library, in bytes.
pub const LIBRARY_NAME_BYTES_MAX: usize = 64;

/// What an idle connection takes of this process's memory, at most: its state with its names and a transaction that has
/// queued nothing, its task, its place in the ring's table.
pub const CONNECTION_BYTES: usize = 1_472;

/// Entries of one shard's slow log.
pub const SLOWLOG_COUNT_MAX: usize = 1_024;

/// Clients that `MONITOR` at once.
pub const MONITOR_COUNT_MAX: usize = 4;

/// Bytes of lines that one shard keeps for one monitor.
pub const MONITOR_BYTES_MAX: usize = 64 * 1_024;

/// Such buffers that there are at most: one on each shard for each monitor, and one that it is being sent.
pub const fn monitor_buffer_count(shard_count: usize) -> usize {
    MONITOR_COUNT_MAX * (shard_count + 1)
}

/// Longest line that a monitor is shown, in bytes.
pub const MONITOR_LINE_BYTES_MAX: usize = 2 * 1_024;

/// Arguments that a line shows, and bytes of each, as in the slow log of Redis.
pub const MONITOR_ARGUMENT_COUNT_MAX: usize = 32;
/// See [`MONITOR_ARGUMENT_COUNT_MAX`].
pub const MONITOR_ARGUMENT_BYTES_MAX: usize = 128;

/// Batches that one shard may have under way over the mesh.
pub const MESH_BATCH_COUNT_MAX: usize = 128;

/// Windows that one shard may have under way: connections that wait for another shard, or whose task does.
pub const WINDOW_COUNT_MAX: usize = 64;

/// Keys of one window that are looked up together with those of others. More of them overlap well enough by themselves.
pub const GATHERED_KEY_COUNT_OF_WINDOW_MAX: usize = 4;

/// Keys that are looked up together at most.
pub const GATHERED_KEY_COUNT_MAX: usize = 512;

/// Accepted connections on their way to one shard.
pub const MESH_CONNECTION_COUNT_MAX: usize = 64;

/// One of the two frames of a shard's journal, of which one fills while the other is written.
pub const JOURNAL_BUFFER_BYTES: usize = 4 * 1_024 * 1_024;

/// So much of a frame is handed to the kernel at once. It copies that while everything else on the shard waits.
pub const JOURNAL_PIECE_BYTES: usize = 256 * 1_024;

/// A file of the journal that is longer gets no more frames.
pub const JOURNAL_SEGMENT_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// A file of a journal whose writes are synchronous is filled with zeros so far ahead. Over zeros a small write is on the
/// disk sooner than behind the file's end, where its length must be written too.
pub const JOURNAL_AHEAD_BYTES: usize = 256 * 1_024;

/// A frame from this size on gains less by it than the zeros take.
pub const JOURNAL_AHEAD_FRAME_BYTES_MAX: usize = JOURNAL_AHEAD_BYTES / 2;

/// Bytes of one part of a snapshot, which is written as a frame.
pub const SNAPSHOT_PART_BYTES_MAX: usize = 128 * 1_024;

/// While a snapshot is taken so much of the disk is left to the journal of each shard.
pub const SNAPSHOT_RESERVE_BYTES: u64 = JOURNAL_BUFFER_BYTES as u64;

/// What the changes of one transaction take in the journal. The shortest pair in a queue that makes the longest record is
/// one of `MINCRBY`: 14 bytes for a key of one byte, whose record has 20 with its expiry.
pub const TRANSACTION_RECORD_BYTES_MAX: usize = QUEUE_BYTES_MAX / 14 * 20 + 4 * 1_024;

/// Scrapers that are served at once; others wait to be accepted.
pub const SCRAPER_COUNT_MAX: usize = 8;

/// Longest request of a scraper, in bytes.
pub const SCRAPE_REQUEST_BYTES_MAX: usize = 16 * 1_024;

/// Longest page of metrics, in bytes: every command called, every kind of error seen, [`SHARD_COUNT_MAX`] shards.
pub const SCRAPE_PAGE_BYTES_MAX: usize = 1_536 * 1_024;

/// The load generator: longest request.
pub const LOAD_REQUEST_BYTES_MAX: usize = 64 * 1_024;

/// The load generator: different commands of one load.
pub const LOAD_COMMAND_COUNT_MAX: usize = 16;

/// The load generator: keys of one `mget` or `mincrby` of a mix.
pub const LOAD_KEYS_PER_REQUEST_MAX: usize = 1_024;

/// The load generator: threads.
pub const LOAD_THREAD_COUNT_MAX: usize = 256;

/// The load generator: connections of all threads.
pub const LOAD_CONNECTION_COUNT_MAX: usize = 60_000;

/// The load generator: requests that a connection sends at once.
pub const LOAD_PIPELINE_MAX: usize = 4_096;

/// The load generator: tries to open a connection again that the server ended, without a reply in between.
pub const LOAD_REOPEN_TRY_COUNT_MAX: u32 = 10;

/// The load generator: bytes that a connection sends at once. They and their replies must fit between the two sockets,
/// as replies are read only when all is sent.
pub const LOAD_BATCH_BYTES_MAX: usize = 128 * 1_024;

/// The load generator: bytes of a recorded trace.
pub const LOAD_TRACE_BYTES_MAX: u64 = 4 << 30;

/// The load generator: requests a second.
pub const LOAD_RATE_MAX: f64 = 1e9;

/// The load generator: nodes of a cluster.
pub const LOAD_NODE_COUNT_MAX: usize = 1_000;

/// The load generator: requests of one thread that wait for being sent or answered. Beyond it the schedule waits too.
pub const LOAD_PENDING_COUNT_MAX: usize = 4 * 1_024 * 1_024;

const _: () = assert!(SLOT_COUNT.is_power_of_two());
const _: () = assert!(SHARD_COUNT_MAX <= SLOT_COUNT);
const _: () = assert!(KEY_BYTES_MAX <= ARGUMENT_BYTES_MAX);
// A key and its value with their headers always fit a fixed buffer, so a streaming command always moves.
const _: () = assert!(KEY_BYTES_MAX + ARGUMENT_BYTES_MAX + 4 * HEADER_BYTES_MAX < FIXED_BUFFER_BYTES);
// The longest short reply always fits an empty fixed buffer and an empty window.
const _: () = assert!(SHORT_REPLY_BYTES_MAX < FIXED_BUFFER_BYTES);
const _: () = assert!(SHORT_REPLY_BYTES_MAX < WINDOW_TEXT_BYTES_MAX);
const _: () = assert!(OUTCOME_BYTES_MAX < SHORT_REPLY_BYTES_MAX);
// A whole window of operations and one short reply fit a fixed buffer, with the headers and errors between them.
const _: () = assert!(
    WINDOW_ITEM_COUNT_MAX * SHORT_OUTCOME_BYTES_MAX + SHORT_REPLY_BYTES_MAX + 2 * OUTCOME_BYTES_MAX
        < FIXED_BUFFER_BYTES
);
// What an `INCR` at depth 16 is answered is a short output.
const _: () = assert!(16 * SHORT_OUTCOME_BYTES_MAX <= SHORT_OUTPUT_BYTES && SHORT_OUTPUT_BYTES < FIXED_BUFFER_BYTES);
// An inline command's arguments all fit one window.
const _: () = assert!(ARGUMENT_COUNT_MAX <= WINDOW_ITEM_COUNT_MAX);
const _: () = assert!(FIXED_BUFFER_COUNT_MAX <= u16::MAX as usize);
// Who counts as few leaves buffers plenty.
const _: () = assert!(LENT_COUNT_OF_FEW_MAX <= FIXED_BUFFER_COUNT_MIN / 2);
const _: () = assert!(QUEUE_BYTES_MIN <= QUEUE_BYTES_MAX && QUEUE_BYTES_MAX <= QUEUES_BYTES_MAX);
const _: () = assert!(UNAUTHENTICATED_BYTES_MAX <= FIXED_BUFFER_BYTES);
// A step of a scan that has more room than for one key goes on.
const _: () = assert!(4 * KEY_BYTES_MAX <= SCAN_STEP_BYTES_MAX);
// The end of one batch fits a lap.
const _: () = assert!(FIXED_BUFFER_BYTES - LONG_BATCH_BYTES_MIN <= REST_BYTES_OF_LAP_MAX);
// A line has room for its time, an address (of a Unix socket's path), and the longest argument with every byte escaped.
const _: () = assert!(4 * MONITOR_ARGUMENT_BYTES_MAX + 512 <= MONITOR_LINE_BYTES_MAX);
// What all monitors take on one shard is a small part of what its clients may: a large reply is more.
const _: () = assert!(MONITOR_LINE_BYTES_MAX * 16 <= MONITOR_BYTES_MAX);
const _: () = assert!(monitor_buffer_count(1) * MONITOR_BYTES_MAX <= LARGE_REPLY_BYTES_MAX);
const _: () = assert!(MONITOR_COUNT_MAX <= u32::BITS as usize);
