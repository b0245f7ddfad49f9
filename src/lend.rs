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
        let mut state = self.state.borrow_mut();
        let thing = state.free.pop().expect("its turn came with one free");
        state.wake_next();
        thing
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

    /// Whether there is one that nobody waits for.
    pub fn has_free(&self) -> bool {
        let state = self.state.borrow();
        state.waiting.is_empty() && !state.free.is_empty()
    }

    /// Whether somebody waits for one.
    pub fn is_awaited(&self) -> bool {
        !self.state.borrow().waiting.is_empty()
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

/// An empty vector with room for `count`, whose memory is there already: the pages have been written to.
pub fn touched<T: Clone>(count: usize, filler: T) -> Vec<T> {
    let mut vector = Vec::with_capacity(count);
    vector.resize(count, filler);
    vector.clear();
    vector
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

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn on_one_thread(test: impl Future<Output = ()> + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn who_waits_longest_is_served_first() {
        on_one_thread(async {
            let pool = Rc::new(Pool::new([1]));
            let served = Rc::new(RefCell::new(Vec::new()));
            let held = pool.lend().await;
            let waiting: Vec<_> = (0..5)
                .map(|turn| {
                    let (pool, served) = (pool.clone(), served.clone());
                    tokio::task::spawn_local(async move {
                        let thing = pool.lend().await;
                        served.borrow_mut().push(turn);
                        tokio::task::yield_now().await;
                        pool.give_back(thing);
                    })
                })
                .collect();
            tokio::task::yield_now().await;
            assert_eq!(pool.try_lend(), None);
            pool.give_back(held);
            for task in waiting {
                task.await.expect("no task fails");
            }
            assert_eq!(*served.borrow(), [0, 1, 2, 3, 4]);
            assert_eq!(pool.try_lend(), Some(1));
        });
    }

    #[test]
    fn what_is_given_back_at_once_reaches_all_who_wait() {
        on_one_thread(async {
            let pool = Rc::new(Pool::new([1, 2]));
            let held = [pool.lend().await, pool.lend().await];
            let waiting: Vec<_> = (0..2)
                .map(|_| {
                    let pool = pool.clone();
                    // Neither is given back.
                    tokio::task::spawn_local(async move { pool.lend().await })
                })
                .collect();
            tokio::task::yield_now().await;
            held.into_iter().for_each(|thing| pool.give_back(thing));
            for task in waiting {
                let lent = tokio::time::timeout(std::time::Duration::from_secs(10), task).await;
                lent.expect("each is woken").expect("no task fails");
            }
        });
    }

    #[test]
    fn who_wants_many_is_not_overtaken_by_who_wants_one() {
        on_one_thread(async {
            let pool = Rc::new(Pool::new([1, 2, 3]));
            let first = pool.lend().await;
            let all = {
                let pool = pool.clone();
                tokio::task::spawn_local(async move {
                    let mut taken = Vec::new();
                    pool.lend_many(3, |thing| taken.push(thing)).await;
                    taken.into_iter().for_each(|thing| pool.give_back(thing));
                })
            };
            tokio::task::yield_now().await;
            // Two are free, but they are spoken for.
            assert_eq!(pool.try_lend(), None);
            pool.give_back(first);
            all.await.expect("no task fails");
            let mut taken = Vec::new();
            pool.lend_many(3, |thing| taken.push(thing)).await;
            taken.sort_unstable();
            assert_eq!(taken, [1, 2, 3]);
        });
    }

    #[test]
    fn touched_memory_is_empty_and_large_enough() {
        let vector = touched(1_000, 7_u64);
        assert!(vector.is_empty() && vector.capacity() >= 1_000);
    }
}
