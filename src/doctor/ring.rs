//! Asks the kernel whether it gives this process a ring as the shards need it, and which operations that ring has.

use std::io;

use io_uring::{IoUring, Probe, cqueue, opcode, squeue};

/// Every operation that the server submits, by its name in io_uring_enter(2).
const OPERATIONS: [(&str, u8); 7] = [
    ("NOP", opcode::Nop::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("READ_FIXED", opcode::ReadFixed::CODE),
    ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel2::CODE),
];

/// What the kernel said.
#[derive(Debug)]
pub enum Ring {
    /// Nobody asked it: another machine's files are examined.
    NotTried,
    /// There is no ring with the flags that a shard's has.
    Refused(io::Error),
    /// There is one, and it lacks these operations.
    Works {
        /// Their names in io_uring_enter(2), none where all is well.
        missing: Vec<&'static str>,
    },
}

impl Ring {
    /// Set up a small ring with a shard's flags, ask it, and drop it.
    pub fn try_out() -> Ring {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_coop_taskrun().setup_single_issuer();
        match builder.build(8).and_then(|ring| {
            let mut probe = Probe::new();
            ring.submitter().register_probe(&mut probe).map(|()| probe)
        }) {
            Err(error) => Ring::Refused(error),
            Ok(probe) => {
                let lacks = |(name, code): &(&'static str, u8)| (!probe.is_supported(*code)).then_some(*name);
                Ring::Works { missing: OPERATIONS.iter().filter_map(lacks).collect() }
            }
        }
    }

    /// How many operations are asked for.
    pub fn operation_count() -> usize {
        OPERATIONS.len()
    }
}
