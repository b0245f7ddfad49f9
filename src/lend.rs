//! A pool of things that are lent in turn to the tasks of one thread.
//!
//! Invariant: who waits longest is served first, so nobody starves; lending and giving back allocate nothing once the
//! queue of those who wait has had its greatest length.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// See the module.
#[derive(Debug)]
pub struct Pool<T> {
    state: RefCell<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    free: Vec<T>,
    /// Ticket, how many are wanted, whom to wake.
    waiting: VecDeque<(u64, usize, Waker)>,
    next_ticket: u64,
}

impl<T> Pool<T> {
    /// A pool of these.
    pub fn new(things: impl IntoIterator<Item = T>) -> Pool<T> {
        let free = things.into_iter().collect();
        Pool { state: RefCell::new(State { free, waiting: VecDeque::new(), next_ticket: 0 }) }
    }

    /// One, when it is this task's turn.
    pub async fn lend(&self) -> T {
        if let Some(thing) = self.try_lend() {
            return thing;
        }
        self.wait_for(1).await;
        self.state.borrow_mut().free.pop().expect("its turn came with one free")
    }

    /// `count` at once, each given to `take`, when it is this task's turn.
    pub async fn lend_many(&self, count: usize, mut take: impl FnMut(T)) {
        let at_once = {
            let state = self.state.borrow();
            state.waiting.is_empty() && state.free.len() >= count
        };
        if !at_once {
            self.wait_for(count).await;
        }
        let mut state = self.state.borrow_mut();
        let kept_count = state.free.len() - count;
        state.free.drain(kept_count..).for_each(&mut take);
        state.wake_next();
    }

    /// One, if there is one that nobody waits for.
    pub fn try_lend(&self) -> Option<T> {
        let mut state = self.state.borrow_mut();
        if state.waiting.is_empty() { state.free.pop() } else { None }
    }

    /// Back into the pool.
    pub fn give_back(&self, thing: T) {
        let mut state = self.state.borrow_mut();
        state.free.push(thing);
        state.wake_next();
    }

    /// Until this task is first in line with `count` free; it must take them before it waits again.
    async fn wait_for(&self, count: usize) {
        let mut ticket = None;
        poll_fn(|cx| {
            let mut state = self.state.borrow_mut();
            match ticket {
                None => {
                    let entry = (state.next_ticket, count, cx.waker().clone());
                    ticket = Some(state.next_ticket);
                    state.next_ticket += 1;
                    state.waiting.push_back(entry);
                }
                Some(ticket) => {
                    let first = state.waiting.front().is_some_and(|(front, _, _)| *front == ticket);
                    if first && state.free.len() >= count {
                        state.waiting.pop_front();
                        return Poll::Ready(());
                    }
                    let entry = state.waiting.iter_mut().find(|(waiting, _, _)| *waiting == ticket);
                    entry.expect("a ticket stays until it is served").2.clone_from(cx.waker());
                }
            }
            state.wake_next();
            Poll::Pending
        })
        .await;
    }
}

impl<T> State<T> {
    fn wake_next(&self) {
        if let Some((_, count, waker)) = self.waiting.front()
            && self.free.len() >= *count
        {
            waker.wake_by_ref();
        }
    }
}
