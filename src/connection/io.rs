//! What a worker holds for its connection: a fixed buffer to receive into, replies, and the calls that these answer.

use std::cell::Cell;

use crate::client::ShardSet;
use crate::clock::Moment;
use crate::limits::FIXED_BUFFER_BYTES;
use crate::session::Calls;
use crate::socket::{Buffer, Moving};

/// What a worker holds for its connection.
#[derive(Default)]
pub(super) struct Io {
    /// What is received into: a fixed buffer.
    pub(super) input: Option<Buffer>,
    /// The next receive, where it has begun before the replies were sent: it has `input` then.
    pub(super) receiving: Option<Moving>,
    /// It was idle until now, and what it waited for is there to be received.
    pub(super) is_ready: bool,
    /// The last receive brought a long batch.
    pub(super) is_long: bool,
    /// Received bytes in `input`.
    pub(super) received: usize,
    /// Consumed bytes in `input`.
    pub(super) consumed: usize,
    /// The worker's own memory for short replies, while it is not `output`.
    pub(super) short: Option<Box<[u8]>>,
    /// Where replies are encoded.
    pub(super) output: Option<Buffer>,
    /// Encoded bytes in `output`.
    pub(super) encoded: usize,
    /// The commands whose replies have not been sent: recorded when they are.
    pub(super) calls: [Option<Calls>; KIND_COUNT_MAX],
    /// How many replies have not been sent, those of the commands that found no place among `calls` too.
    pub(super) unsent_count: u64,
    /// The shards whose counters are told of in replies that have not been sent.
    pub(super) touched: ShardSet,
    /// When the batch was received.
    pub(super) batch: Moment,
    /// When the last of the replies was encoded, in the shard's nanoseconds.
    pub(super) encoded_ns: u64,
    /// What the clock showed last: when the connection was taken over, received, encoded or sent.
    pub(super) seen_ns: u64,
}

/// Kinds of commands that are told apart in one send. More of them are recorded when they are encoded, as if their
/// replies took no time to send.
const KIND_COUNT_MAX: usize = 8;

impl Io {
    /// Remember calls until they are sent. Those for which there is no place come back.
    pub(super) fn note(&mut self, calls: Calls) -> Option<Calls> {
        for place in &mut self.calls {
            match place {
                Some(noted) if noted.command == calls.command => {
                    noted.count += calls.count;
                    return None;
                }
                Some(_) => {}
                None => {
                    *place = Some(calls);
                    return None;
                }
            }
        }
        Some(calls)
    }
}

/// A client that moves is given time: what stalls is taken to have begun later, a second for each 16 KiB.
pub(super) fn allow(since_ns: &Cell<u64>, moved_bytes: usize, now_ns: u64) {
    if since_ns.get() > 0 {
        let allowed_ns = moved_bytes as u64 * (1_000_000_000 / FIXED_BUFFER_BYTES as u64);
        since_ns.set((since_ns.get() + allowed_ns).min(now_ns));
    }
}
