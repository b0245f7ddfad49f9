//! The fixed buffers of one shard: registered with its ring at start-up, lent while bytes flow.
//!
//! Invariant: every buffer is either in the free list or lent to exactly one connection. A quarter is kept for replies:
//! a connection that has received can always answer in the end, so receivers never starve each other for good.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::{Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio_uring::buf::fixed::{FixedBuf, FixedBufRegistry};

use crate::limits::{FIXED_BUFFER_BYTES, FIXED_BUFFER_COUNT_MAX, FIXED_BUFFER_COUNT_MIN};

/// A page of memory, as the kernel locks it.
const PAGE_BYTES: usize = 4_096;

/// What a buffer is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To receive into.
    Receive,
    /// To send from.
    Send,
}

/// See the module.
pub struct Buffers {
    registry: FixedBufRegistry<BytesMut>,
    state: RefCell<State>,
    total_count: usize,
}

struct State {
    free: Vec<u16>,
    /// Connections that wait for a buffer, the longest waiting first.
    waiting: VecDeque<(u64, Purpose, Waker)>,
    next_ticket: u64,
}

impl Buffers {
    /// Allocate, touch and register `count` buffers. Within the shard's runtime.
    ///
    /// # Errors
    /// What `io_uring_register` says: `ENOMEM` where `RLIMIT_MEMLOCK` is too low.
    pub fn register(count: usize) -> io::Result<Buffers> {
        assert!((FIXED_BUFFER_COUNT_MIN..=FIXED_BUFFER_COUNT_MAX).contains(&count));
        // On page boundaries: the kernel locks whole pages, and a buffer that straddles one would lock one more.
        let mut region = BytesMut::with_capacity(count * FIXED_BUFFER_BYTES + PAGE_BYTES);
        // Ones, not zeros: zeroed pages would not be there before they are written to.
        region.resize(region.capacity(), 1);
        region.advance(region.as_ptr().align_offset(PAGE_BYTES));
        let registry = FixedBufRegistry::new((0..count).map(|_| region.split_to(FIXED_BUFFER_BYTES)));
        registry.register()?;
        let free = (0..count as u16).rev().collect();
        let state = RefCell::new(State { free, waiting: VecDeque::new(), next_ticket: 0 });
        Ok(Buffers { registry, state, total_count: count })
    }

    /// How many there are.
    pub fn total_count(&self) -> usize {
        self.total_count
    }

    /// How many are free.
    pub fn free_count(&self) -> usize {
        self.state.borrow().free.len()
    }

    /// How many are lent.
    pub fn lent_count(&self) -> usize {
        self.total_count - self.free_count()
    }

    /// So many are free that an idle connection may keep one while it waits for its next request.
    pub fn are_plenty(&self) -> bool {
        self.free_count() >= self.total_count / 2
    }

    /// A buffer, now or when it is this connection's turn.
    pub async fn lend(&self, purpose: Purpose) -> FixedBuf {
        let mut ticket = None;
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            let first = match (ticket, state.waiting.front()) {
                (_, None) => true,
                (Some(ticket), Some((front, _, _))) => *front == ticket,
                (None, Some(_)) => purpose == Purpose::Send,
            };
            if (first || purpose == Purpose::Send) && state.free.len() > self.reserve_count(purpose) {
                let index = state.free.pop().expect("a free buffer was seen");
                if let Some(ticket) = ticket {
                    state.waiting.retain(|(waiting, _, _)| *waiting != ticket);
                }
                state.wake_next(self.total_count);
                let buffer = self.registry.check_out(usize::from(index)).expect("a free buffer is not lent");
                assert!(buffer.len() == FIXED_BUFFER_BYTES);
                return Poll::Ready(buffer);
            }
            match ticket {
                None => {
                    ticket = Some(state.next_ticket);
                    let entry = (state.next_ticket, purpose, cx.waker().clone());
                    state.next_ticket += 1;
                    state.waiting.push_back(entry);
                }
                Some(ticket) => {
                    let entry = state.waiting.iter_mut().find(|(waiting, _, _)| *waiting == ticket);
                    entry.expect("a ticket stays until it is served").2.clone_from(cx.waker());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Take a buffer back.
    pub fn give_back(&self, buffer: FixedBuf) {
        let index = buffer.buf_index();
        drop(buffer);
        let mut state = self.state.borrow_mut();
        state.free.push(index);
        state.wake_next(self.total_count);
    }

    fn reserve_count(&self, purpose: Purpose) -> usize {
        match purpose {
            Purpose::Receive => self.total_count / 4,
            Purpose::Send => 0,
        }
    }
}

impl State {
    /// Wake whoever a buffer could be lent to now: the first in line, or else the first that would send.
    fn wake_next(&self, total_count: usize) {
        if self.free.is_empty() {
            return;
        }
        let sender = self.waiting.iter().find(|(_, purpose, _)| *purpose == Purpose::Send);
        let receiver = self.waiting.front().filter(|_| self.free.len() > total_count / 4);
        if let Some((_, _, waker)) = sender.or(receiver) {
            waker.wake_by_ref();
        }
    }
}
