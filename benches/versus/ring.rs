//! One io_uring with one block of registered memory, cut into buffers of equal size: what the load generator and the
//! bare loop receive and send with.
//!
//! The only file of this benchmark with unsafe code. Invariants: a buffer that the kernel may write to is not shown to
//! anybody, and one that the kernel may read from is not changed; both are counted per buffer and asserted. The memory
//! outlives every operation: a ring that is dropped with operations under way leaves its memory to the kernel.
#![allow(unsafe_code)]

use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::RawFd;
use std::{ptr, slice};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use tallyring::socket::entry::wait_first;

/// Entries of the submission queue; a full one is submitted early.
const ENTRIES_COUNT: u32 = 1_024;

/// poll(2)
const POLLIN: u32 = 1;

/// Registered memory begins at a multiple of this.
const ALIGNMENT_BYTES: usize = 4_096;

/// A page of the registered memory.
#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; ALIGNMENT_BYTES]);

/// What ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A descriptor became readable.
    Readable,
    /// Bytes were received into the buffer: the result is how many, 0 at the end of the stream.
    Receive,
    /// Bytes of the buffer were sent: the result is how many, which is all.
    Send,
}

/// An operation that ended.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// Which operation.
    pub operation: Operation,
    /// What its caller called it.
    pub token: u16,
    asked_bytes: usize,
    result: i32,
}

impl Completion {
    /// The kernel's result. A send that sent less than all is an error: nothing here is large enough for it to be right.
    pub fn result(&self) -> io::Result<usize> {
        match usize::try_from(self.result) {
            Err(_) => Err(io::Error::from_raw_os_error(-self.result)),
            Ok(done) if self.operation == Operation::Send && done < self.asked_bytes => {
                Err(io::Error::new(io::ErrorKind::WriteZero, "a send was cut short"))
            }
            Ok(done) => Ok(done),
        }
    }
}

/// What the kernel does with a buffer.
#[derive(Clone, Copy, Default)]
struct Use {
    receiving: bool,
    sending_count: u32,
}

/// See the module.
pub struct Ring {
    uring: IoUring,
    /// Owns what `start` points to; only `Drop` touches it.
    memory: Vec<Page>,
    start: *mut u8,
    buffer_bytes: usize,
    uses: Vec<Use>,
    under_way_count: usize,
}

impl Ring {
    /// A ring for the calling thread alone, with `buffer_count` buffers of `buffer_bytes`.
    pub fn new(buffer_count: usize, buffer_bytes: usize) -> io::Result<Ring> {
        assert!(buffer_count > 0 && buffer_bytes > 0, "a ring without buffers");
        // A multiple of the cache line keeps neighbours apart, an odd one keeps equal places out of equal cache sets.
        let buffer_bytes = (buffer_bytes.div_ceil(64) | 1) * 64;
        let uring = IoUring::builder()
            .setup_coop_taskrun()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(4 * ENTRIES_COUNT)
            .build(ENTRIES_COUNT)?;
        let page_count = (buffer_count * buffer_bytes).div_ceil(ALIGNMENT_BYTES);
        let mut memory = vec![Page([0; ALIGNMENT_BYTES]); page_count];
        let start = memory.as_mut_ptr().cast::<u8>();
        // SAFETY: `start` is that many initialised bytes, which nothing else refers to here.
        let block = IoSliceMut::new(unsafe { slice::from_raw_parts_mut(start, page_count * ALIGNMENT_BYTES) });
        // SAFETY: an `IoSliceMut` has the layout of an iovec (its documentation), and the block is `memory`'s own
        // allocation, which never grows and lives until the ring is dropped, or for ever where operations are still
        // under way then (see `Drop`).
        unsafe { uring.submitter().register_buffers(slice::from_raw_parts(ptr::from_ref(&block).cast(), 1))? };
        Ok(Ring { uring, memory, start, buffer_bytes, uses: vec![Use::default(); buffer_count], under_way_count: 0 })
    }

    /// A buffer's bytes.
    pub fn bytes(&self, buffer: usize) -> &[u8] {
        assert!(!self.uses[buffer].receiving, "buffer {buffer} is being received into");
        // SAFETY: within `memory` (`start`), initialised, and the kernel does not write to it.
        unsafe { slice::from_raw_parts(self.start(buffer), self.buffer_bytes) }
    }

    /// A buffer's bytes, to be changed.
    pub fn bytes_mut(&mut self, buffer: usize) -> &mut [u8] {
        let Use { receiving, sending_count } = self.uses[buffer];
        assert!(!receiving && sending_count == 0, "buffer {buffer} is in the kernel's hands");
        // SAFETY: within `memory` (`start`), initialised, the kernel does not touch it, and `self` is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.start(buffer), self.buffer_bytes) }
    }

    /// Wait until a descriptor is readable: a listener that has a connection.
    pub fn readable(&mut self, descriptor: RawFd, token: u16) {
        let entry = opcode::PollAdd::new(Fd(descriptor), POLLIN).build();
        self.push(entry, Operation::Readable, token, 0, 0);
    }

    /// Receive into a buffer, from its beginning. Nothing can be there yet: the kernel does not look before it waits, which is
    /// worth more than what a registered buffer would spare.
    pub fn receive(&mut self, socket: RawFd, buffer: usize, token: u16) {
        let Use { receiving, sending_count } = self.uses[buffer];
        assert!(!receiving && sending_count == 0, "buffer {buffer} is in the kernel's hands");
        self.uses[buffer].receiving = true;
        let entry = opcode::Recv::new(Fd(socket), self.start(buffer), self.buffer_bytes as u32).build();
        self.push(wait_first(entry), Operation::Receive, token, buffer, self.buffer_bytes);
    }

    /// Send a part of a buffer. Several sends of one buffer may be under way.
    pub fn send(&mut self, socket: RawFd, buffer: usize, part: Range<usize>, token: u16) {
        assert!(part.start < part.end && part.end <= self.buffer_bytes, "{part:?} is not a part of a buffer");
        assert!(!self.uses[buffer].receiving, "buffer {buffer} is being received into");
        self.uses[buffer].sending_count += 1;
        let start = self.start(buffer).wrapping_add(part.start);
        let entry = opcode::WriteFixed::new(Fd(socket), start, part.len() as u32, 0).build();
        self.push(entry, Operation::Send, token, buffer, part.len());
    }

    /// Submit what was asked for, sleep until at least one operation has ended, and put all that have into `ended`,
    /// which is emptied before.
    pub fn wait(&mut self, ended: &mut Vec<Completion>) -> io::Result<()> {
        assert!(self.under_way_count > 0, "nothing to wait for");
        ended.clear();
        loop {
            match self.uring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result.map(drop)?,
            }
        }
        for entry in self.uring.completion() {
            let (operation, token, buffer, asked_bytes) = unpack(entry.user_data());
            match operation {
                Operation::Readable => {}
                Operation::Receive => self.uses[buffer].receiving = false,
                Operation::Send => self.uses[buffer].sending_count -= 1,
            }
            self.under_way_count -= 1;
            ended.push(Completion { operation, token, asked_bytes, result: entry.result() });
        }
        Ok(())
    }

    /// Where a buffer begins; all of it lies within `memory`.
    fn start(&self, buffer: usize) -> *mut u8 {
        assert!(buffer < self.uses.len(), "there is no buffer {buffer}");
        self.start.wrapping_add(buffer * self.buffer_bytes)
    }

    fn push(&mut self, entry: squeue::Entry, operation: Operation, token: u16, buffer: usize, asked_bytes: usize) {
        let entry = entry.user_data(pack(operation, token, buffer, asked_bytes));
        self.under_way_count += 1;
        // SAFETY: the memory that the entry names is registered, lives until the operation has ended, and is counted as
        // in use until then.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.uring.submit().expect("the kernel takes what fills the submission queue");
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.under_way_count > 0 {
            std::mem::forget(std::mem::take(&mut self.memory));
        }
    }
}

/// 16 bits of token, 16 of buffer, 24 of the length asked for, 8 of operation.
fn pack(operation: Operation, token: u16, buffer: usize, asked_bytes: usize) -> u64 {
    assert!(buffer < 1 << 16 && asked_bytes < 1 << 24, "buffer {buffer} of {asked_bytes} bytes does not fit");
    u64::from(token) << 48 | (buffer as u64) << 32 | (asked_bytes as u64) << 8 | operation as u64
}

fn unpack(user_data: u64) -> (Operation, u16, usize, usize) {
    let operation = match user_data & 0xff {
        0 => Operation::Readable,
        1 => Operation::Receive,
        _ => Operation::Send,
    };
    (operation, (user_data >> 48) as u16, (user_data >> 32 & 0xffff) as usize, (user_data >> 8 & 0xff_ffff) as usize)
}
