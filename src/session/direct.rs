//! Cluster clients: a connection to a shard's own port serves that shard's slots, and says where the others are.
//!
//! As in Redis Cluster, all keys of one request are of one slot. A request that is read whole is looked through before
//! it is carried out; of one that streams the first key decides where it belongs, and each later one is held against
//! that as it arrives.

use std::net::IpAddr;
use std::ops::Range;

use super::stream::Argument;
use super::{Parsing, Status};
use crate::command::{Call, Mistake, Spec, mistake};
use crate::counters::Fault;
use crate::limits::SLOT_COUNT;
use crate::slot;

/// Where a client of a shard's own port is, and where the other shards are.
#[derive(Clone, Copy, Debug)]
pub struct Direct<'a> {
    /// The shard whose port it is.
    pub own: usize,
    /// The address that the client reached it at: it reaches the others there too.
    pub ip: IpAddr,
    /// The port of each shard.
    pub ports: &'a [u16],
}

/// Slots in a row. One comparison tells whether a slot is among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRange {
    start: u16,
    count: u16,
}

impl SlotRange {
    /// Every slot.
    pub(super) const ALL: SlotRange = SlotRange { start: 0, count: SLOT_COUNT as u16 };

    fn one(slot: u16) -> SlotRange {
        SlotRange { start: slot, count: 1 }
    }

    #[inline]
    pub(super) fn contains(self, slot: u16) -> bool {
        slot.wrapping_sub(self.start) < self.count
    }
}

impl From<Range<u16>> for SlotRange {
    fn from(slots: Range<u16>) -> SlotRange {
        SlotRange { start: slots.start, count: slots.end - slots.start }
    }
}

impl Parsing<'_> {
    /// What a client is told whose key belongs to another shard: where its slot is.
    #[cold]
    pub(super) fn moved(&self, slot: u16) -> Mistake {
        let Direct { ip, ports, .. } = self.around.direct.expect("only a shard's own port serves less than all slots");
        mistake::made(format!("MOVED {slot} {ip}:{}", ports[self.around.map.shard_of(slot)]))
    }

    /// Why a whole request is not carried out on this connection: its keys are of several slots, or of another shard's.
    pub(super) fn misdirected(&self, spec: &Spec, call: &Call<'_>) -> Option<Mistake> {
        self.around.direct?;
        let mut slots = spec.keys.positions(call.count()).map(|position| slot::of(call.arg(position)));
        let first = slots.next()?;
        if slots.any(|slot| slot != first) {
            return Some(Fault::CrossSlot.into());
        }
        (!self.served.contains(first)).then(|| self.moved(first))
    }

    /// The slots that the keys of a streaming command may be of: all that are served here, or on a shard's own port that
    /// of its first key, which lies at `input[at..]`. The error is that the whole request is to be sent elsewhere.
    pub(super) fn stream_slots(&mut self, input: &[u8], mut at: usize) -> Result<Result<SlotRange, Mistake>, Status> {
        if self.around.direct.is_none() {
            return Ok(Ok(self.served));
        }
        Ok(match self.next_bulk(input, &mut at)? {
            Argument::Whole(span) => self.slots_with(slot::of(span.of(input))),
            // Of no slot that could be told; it will be refused at its place.
            Argument::Long { .. } => Ok(self.served),
        })
    }

    /// The same, once the first key's slot is known.
    pub(super) fn slots_with(&self, first: u16) -> Result<SlotRange, Mistake> {
        match self.around.direct {
            None => Ok(self.served),
            Some(_) if self.served.contains(first) => Ok(SlotRange::one(first)),
            Some(_) => Err(self.moved(first)),
        }
    }
}
