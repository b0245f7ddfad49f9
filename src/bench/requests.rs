//! The requests that one thread sends: which command, which keys, written into a buffer one behind the other.
//!
//! Pure. Writing allocates nothing. Where a load has one command, a buffer keeps its requests from batch to batch, and
//! only the digits of their keys are written anew.

use std::sync::Arc;

use super::distribution::{Distribution, Keys};
use super::mix::Mix;
use super::random::Random;
use crate::limits::SLOT_COUNT;
use crate::slot;

/// Draws after which a request goes to a node although its key does not belong there: the node has hardly any.
const DRAW_COUNT_MAX: usize = 100_000;

/// The slots of one node of a cluster.
#[derive(Clone, Debug)]
pub struct Slots(Box<[u64; SLOT_COUNT / 64]>);

impl Default for Slots {
    fn default() -> Slots {
        Slots(Box::new([0; SLOT_COUNT / 64]))
    }
}

impl Slots {
    /// Add a slot.
    pub fn insert(&mut self, slot: u16) {
        self.0[usize::from(slot) / 64] |= 1 << (slot % 64);
    }

    /// Whether it has a slot.
    #[inline]
    pub fn contains(&self, slot: u16) -> bool {
        self.0[usize::from(slot) / 64] >> (slot % 64) & 1 == 1
    }
}

/// A buffer's requests of earlier batches, which stand there still.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Requests {
    mix: Arc<Mix>,
    keys: Keys,
    random: Random,
    single: bool,
}

impl Requests {
    /// Those of thread `thread` of `thread_count`.
    pub fn new(
        mix: Arc<Mix>,
        distribution: Distribution,
        key_count: u32,
        seed: u64,
        thread: usize,
        thread_count: usize,
    ) -> Requests {
        let keys = Keys::new(distribution, key_count, seed, thread, thread_count);
        // Streams of the keys are numbered from 1 on, one a thread.
        let random = Random::new(seed, 1 + (thread_count + thread) as u64);
        let single = mix.templates().len() == 1;
        Requests { mix, keys, random, single }
    }

    /// Write requests until `count` are written, or the next might not fit behind them. `wrote` is told the index of
    /// each command and its first key. Answers how many, and their bytes. All belong to `slots`, if given.
    #[inline]
    pub fn write(
        &mut self,
        buffer: &mut [u8],
        standing: &mut Standing,
        count: usize,
        slots: Option<&Slots>,
        mut wrote: impl FnMut(usize, u32),
    ) -> (usize, usize) {
        if self.single && slots.is_none() {
            return self.write_single(buffer, standing, count, wrote);
        }
        let room_bytes = buffer.len().saturating_sub(self.mix.request_bytes_max());
        let (mut written_count, mut at) = (0, 0);
        while written_count < count && at <= room_bytes {
            let command = self.mix.draw(&mut self.random);
            let template = &self.mix.templates()[command];
            let keys = &mut self.keys;
            let mut key = template.write(&mut buffer[at..], || keys.draw());
            if let Some(slots) = slots {
                for _ in 0..DRAW_COUNT_MAX {
                    if slots.contains(slot::of(template.first_key(&buffer[at..]))) {
                        break;
                    }
                    key = template.write_keys(&mut buffer[at..], || keys.draw());
                }
            }
            wrote(command, key);
            at += template.request_bytes();
            written_count += 1;
        }
        (written_count, at)
    }

    fn write_single(
        &mut self,
        buffer: &mut [u8],
        standing: &mut Standing,
        count: usize,
        mut wrote: impl FnMut(usize, u32),
    ) -> (usize, usize) {
        let template = &self.mix.templates()[0];
        let keys = &mut self.keys;
        let request_bytes = template.request_bytes();
        let count = count.min(buffer.len() / request_bytes);
        let bytes = count * request_bytes;
        for (index, request) in buffer[..bytes].chunks_exact_mut(request_bytes).enumerate() {
            let key = match index * request_bytes < standing.bytes {
                true => template.write_keys(request, || keys.draw()),
                false => template.write(request, || keys.draw()),
            };
            wrote(0, key);
        }
        standing.bytes = standing.bytes.max(bytes);
        (count, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(mix: &str) -> Requests {
        Requests::new(Arc::new(Mix::parse(mix, 1_000, 16).unwrap()), Distribution::Uniform, 1_000, 5, 0, 1)
    }

    fn batches(requests: &mut Requests, buffer_bytes: usize, counts: &[usize], slots: Option<&Slots>) -> Vec<String> {
        let (mut buffer, mut standing) = (vec![0; buffer_bytes], Standing::default());
        let batch = |count: &usize| {
            let mut keys = Vec::new();
            let (_, bytes) = requests.write(&mut buffer, &mut standing, *count, slots, |_, key| keys.push(key));
            let text = String::from_utf8(buffer[..bytes].to_vec()).unwrap();
            keys.iter().for_each(|key| assert!(text.contains(&format!(":{key:08}\r\n")), "{text}"));
            text
        };
        counts.iter().map(batch).collect()
    }

    #[test]
    fn standing_requests_are_as_good_as_new_ones() {
        let counts = [1, 3, 2, 3];
        let standing = batches(&mut requests("incr"), 500, &counts, None);
        // The same keys, without the short cut.
        let mut all = Slots::default();
        (0..SLOT_COUNT as u16).for_each(|slot| all.insert(slot));
        assert_eq!(standing, batches(&mut requests("incr"), 500, &counts, Some(&all)));
        assert!(standing[1].starts_with("*2\r\n$4\r\nINCR\r\n$16\r\ncounter:"));
        assert_eq!(standing[1].len(), 3 * 37);
    }

    #[test]
    fn what_does_not_fit_is_left_for_the_next_batch() {
        assert_eq!(batches(&mut requests("incr"), 80, &[9], None)[0].len(), 74);
        // The longest command might be next.
        assert!(batches(&mut requests("incr,mget:2"), 200, &[99], None)[0].len() > 100);
    }

    #[test]
    fn requests_of_a_node_have_its_keys() {
        let mut half = Slots::default();
        (0..SLOT_COUNT as u16 / 2).for_each(|slot| half.insert(slot));
        let text = &batches(&mut requests("incr,get"), 5_000, &[100], Some(&half))[0];
        let mut count = 0;
        for line in text.split("\r\n").filter(|line| line.starts_with("counter:")) {
            assert!(half.contains(slot::of(line.as_bytes())), "{line}");
            count += 1;
        }
        assert_eq!(count, 100);
    }
}
