//! What a streaming command adds up over all its windows, and its one reply.
//!
//! Invariant: a fault is told with the argument that it happened at, where there are several, and the first of them is the one
//! that is told.

use bytes::BufMut;

use crate::command::Each;
use crate::counters::{Fault, Outcome};
use crate::resp::encode::{self, Out};

/// What a streaming command has added up so far, over all its windows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    sum: i64,
    fault: Option<(Fault, u32)>,
}

/// Where a command on one key, without a value, ends.
const END_OF_ONE_KEY: u32 = 2;

impl Totals {
    pub(super) fn add(&mut self, outcome: Outcome, argument: u32) {
        match outcome {
            Outcome::Int(count) => self.sum += count,
            Outcome::Fault(fault) => self.fault = self.fault.or(Some((fault, argument))),
            _ => {}
        }
    }

    /// Encode the reply and start anew. `ended`: what the command itself came to, at which argument, which is one past the
    /// last where it came to its end. The fault, when the reply is an error.
    pub(super) fn finish(&mut self, each: Each, ended: (Outcome, u32), out: &mut impl Out) -> Option<Fault> {
        let totals = std::mem::take(self);
        if let Some((fault, argument)) = totals.told(ended) {
            match ended {
                (Outcome::Nil, END_OF_ONE_KEY) => encode::error(out, fault.text()),
                _ => put_fault_at(out, fault, argument),
            }
            return Some(fault);
        }
        match each {
            Each::Mset => encode::simple(out, "OK"),
            _ => encode::integer(out, totals.sum),
        }
        None
    }

    /// Start anew without a reply. The fault, where it would have been an error.
    pub(super) fn forget(&mut self, ended: (Outcome, u32)) -> Option<Fault> {
        std::mem::take(self).told(ended).map(|(fault, _)| fault)
    }

    /// What happened first is what is told: an operation that failed stands before the argument that broke.
    fn told(self, (outcome, argument): (Outcome, u32)) -> Option<(Fault, u32)> {
        self.fault.or(match outcome {
            Outcome::Fault(fault) => Some((fault, argument)),
            _ => None,
        })
    }
}

/// `-ERR … (argument 7)`: which argument a command with many failed at, the command's name being argument 0.
pub(super) fn put_fault_at(out: &mut impl BufMut, fault: Fault, argument: u32) {
    out.put_slice(b"-");
    out.put_slice(fault.text().as_bytes());
    out.put_slice(b" (argument ");
    out.put_slice(itoa::Buffer::new().format(argument).as_bytes());
    out.put_slice(b")\r\n");
}
