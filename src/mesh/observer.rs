//! The end of the mesh that belongs to no shard: a thread beside them that asks what they can tell about themselves.
//!
//! Invariant: one question is under way to each shard at most, so its queues hold one message each, and a shard that
//! does not answer is not asked again before it has. Nothing is asked that a transaction's hold keeps waiting.

use std::sync::Arc;

use hdrhistogram::Histogram;
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use super::{Answer, Ask, Message};
use crate::latency::Which;
use crate::stats::Report;

/// Messages that a queue between the observer and a shard holds.
const QUEUE_CAPACITY: usize = 1;

/// See the module.
pub struct Observer {
    shards: Vec<Line>,
    wakes: Arc<Vec<Notify>>,
}

/// The queues to and from one shard.
struct Line {
    to: Producer<Message>,
    from: Consumer<Message>,
    /// A question has not been answered: whoever asked gave up waiting.
    is_owed: bool,
}

/// A shard's ends of its queues with the observer: to it, and from it.
pub(super) type Ends = (Producer<Message>, Consumer<Message>);

/// An observer of as many shards as there are wake-ups but one, and the shards' ends.
pub(super) fn observe(wakes: Arc<Vec<Notify>>) -> (Observer, Vec<Ends>) {
    let line = || {
        let (to, received) = RingBuffer::new(QUEUE_CAPACITY);
        let (sent, from) = RingBuffer::new(QUEUE_CAPACITY);
        (Line { to, from, is_owed: false }, (sent, received))
    };
    let (shards, ends) = (1..wakes.len()).map(|_| line()).unzip();
    (Observer { shards, wakes }, ends)
}

impl Observer {
    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// What a shard tells about itself.
    pub async fn report(&mut self, shard: usize) -> Box<Report> {
        match self.ask(shard, Ask::Report).await {
            Answer::Report(report) => report,
            _ => unreachable!("a report was asked for"),
        }
    }

    /// One of a shard's histograms, if anything is in it.
    pub async fn histogram(&mut self, shard: usize, which: Which) -> Option<Box<Histogram<u64>>> {
        match self.ask(shard, Ask::Histogram(which)).await {
            Answer::Histogram(histogram) => histogram,
            _ => unreachable!("a histogram was asked for"),
        }
    }

    /// Ask a shard and wait for its answer, which may be given up at any time.
    async fn ask(&mut self, shard: usize, ask: Ask) -> Answer {
        let own = self.shards.len();
        if self.shards[shard].is_owed {
            self.answered(shard).await;
        }
        let line = &mut self.shards[shard];
        let question = Message::Ask { from: own as u16, waiter: 0, holder: false, ask: Box::new(ask) };
        assert!(line.to.push(question).is_ok(), "the question before this one was taken");
        line.is_owed = true;
        self.wakes[shard].notify_one();
        self.answered(shard).await
    }

    /// Until a shard has answered.
    async fn answered(&mut self, shard: usize) -> Answer {
        let own = self.shards.len();
        loop {
            let line = &mut self.shards[shard];
            match line.from.pop() {
                Ok(Message::Answer { answer, .. }) => {
                    line.is_owed = false;
                    return *answer;
                }
                Ok(_) => unreachable!("an observer is sent answers alone"),
                Err(_) => self.wakes[own].notified().await,
            }
        }
    }
}
