//! The requests that one thread sends: which command, which keys, written into a buffer one behind the other.
//!
//! Pure. Writing allocates nothing. Where a load has one command, a buffer keeps its requests from batch to batch, and
//! only the digits of their keys are written anew.

use std::sync::Arc;

use super::distribution::{Distribution, Keys};
use super::mix::Mix;
use super::random::Random;
use super::template::Template;
use crate::limits::SLOT_COUNT;
use crate::slot;

/// Draws after which a node is sent its example: hardly any request belongs to it.
const DRAW_COUNT_MAX: usize = 10_000;

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

/// What of a load belongs to one node of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The slots of its keys.
    pub slots: Slots,
    /// A request that belongs there: the index of its command, and the number of all its keys. Every node that is loaded
    /// has one.
    pub example: (usize, u32),
    /// Nodes that have such a part. Requests without a key belong to each as often.
    pub node_count: u32,
}

impl Part {
    /// Whether a request that is written belongs here.
    #[inline]
    fn has(&self, template: &Template, request: &[u8]) -> bool {
        template.first_key(request).is_none_or(|key| self.slots.contains(slot::of(key)))
    }
}

/// A request that is yet to be written: its command, and the number of its first key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    command: u16,
    key: u32,
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

    /// Bytes of the longest request.
    pub fn request_bytes_max(&self) -> usize {
        self.mix.request_bytes_max()
    }

    /// Draw a request that is to be written elsewhere, and the slot that it belongs to, if it has a key. `scratch` has room
    /// for any request.
    #[inline]
    pub fn draw(&mut self, scratch: &mut [u8]) -> (Drawn, Option<u16>) {
        let command = self.mix.draw(&mut self.random);
        let template = &self.mix.templates()[command];
        let key = template.write_first_key(scratch, || self.keys.draw());
        (Drawn { command: command as u16, key }, template.first_key(scratch).map(slot::of))
    }

    /// Write a request that was drawn; it belongs to `part`. Answers its bytes.
    #[inline]
    pub fn write_drawn(
        &mut self,
        buffer: &mut [u8],
        Drawn { command, key }: Drawn,
        part: &Part,
        wrote: impl FnOnce(usize, u32),
    ) -> usize {
        let template = &self.mix.templates()[usize::from(command)];
        for _ in 0..DRAW_COUNT_MAX {
            let mut first = Some(key);
            template.write(buffer, || first.take().unwrap_or_else(|| self.keys.draw()));
            // Where two numbers make one key, the other one is to go with the first.
            if part.has(template, buffer) {
                break;
            }
        }
        wrote(usize::from(command), key);
        template.request_bytes()
    }

    /// Write requests until `count` are written, or the next might not fit behind them. `wrote` is told the index of
    /// each command and its first key. Answers how many, and their bytes. All belong to `part`, if given.
    #[inline]
    pub fn write(
        &mut self,
        buffer: &mut [u8],
        standing: &mut Standing,
        count: usize,
        part: Option<&Part>,
        mut wrote: impl FnMut(usize, u32),
    ) -> (usize, usize) {
        if self.single && part.is_none() {
            return self.write_single(buffer, standing, count, wrote);
        }
        let room_bytes = buffer.len().saturating_sub(self.mix.request_bytes_max());
        let (mut written_count, mut at) = (0, 0);
        while written_count < count && at <= room_bytes {
            let (command, key) = match part {
                Some(part) => self.write_of_part(&mut buffer[at..], part),
                None => self.write_any(&mut buffer[at..]),
            };
            wrote(command, key);
            at += self.mix.templates()[command].request_bytes();
            written_count += 1;
        }
        (written_count, at)
    }

    #[inline]
    fn write_any(&mut self, buffer: &mut [u8]) -> (usize, u32) {
        let command = self.mix.draw(&mut self.random);
        (command, self.mix.templates()[command].write(buffer, || self.keys.draw()))
    }

    /// What is drawn is passed over until it belongs there, so that a node gets of each command and key what it would get of
    /// the whole load.
    fn write_of_part(&mut self, buffer: &mut [u8], part: &Part) -> (usize, u32) {
        for _ in 0..DRAW_COUNT_MAX {
            let (command, key) = self.write_any(buffer);
            let template = &self.mix.templates()[command];
            let is_anothers = !template.has_key() && self.random.below(part.node_count) > 0;
            if part.has(template, buffer) && !is_anothers {
                return (command, key);
            }
        }
        let (command, number) = part.example;
        self.mix.templates()[command].write(buffer, || number);
        (command, number)
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

    fn batches(requests: &mut Requests, buffer_bytes: usize, counts: &[usize], part: Option<&Part>) -> Vec<String> {
        let (mut buffer, mut standing) = (vec![0; buffer_bytes], Standing::default());
        let batch = |count: &usize| {
            let mut keys = Vec::new();
            let (_, bytes) = requests.write(&mut buffer, &mut standing, *count, part, |_, key| keys.push(key));
            let text = String::from_utf8(buffer[..bytes].to_vec()).unwrap();
            keys.iter().for_each(|key| assert!(text.contains(&format!(":{key:08}\r\n")), "{text}"));
            text
        };
        counts.iter().map(batch).collect()
    }

    fn part(slots: std::ops::Range<u16>) -> Part {
        let mut part = Part { node_count: 2, ..Part::default() };
        slots.for_each(|slot| part.slots.insert(slot));
        part
    }

    fn of_commands(commands: &[&str]) -> Requests {
        let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
        let mix = Arc::new(Mix::of_commands(&commands, 1_000).unwrap());
        Requests::new(mix, Distribution::Uniform, 1_000, 5, 0, 1)
    }

    #[test]
    fn standing_requests_are_as_good_as_new_ones() {
        let counts = [1, 3, 2, 3];
        let standing = batches(&mut requests("incr"), 500, &counts, None);
        // The same keys, without the short cut.
        let all = part(0..SLOT_COUNT as u16);
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
        let half = part(0..SLOT_COUNT as u16 / 2);
        let text = &batches(&mut requests("incr,get"), 5_000, &[100], Some(&half))[0];
        let mut count = 0;
        for line in text.split("\r\n").filter(|line| line.starts_with("counter:")) {
            assert!(half.slots.contains(slot::of(line.as_bytes())), "{line}");
            count += 1;
        }
        assert_eq!(count, 100);
    }

    /// Written by a node's own draws and by those that were made before, each request belongs where it goes, and commands
    /// come as often as they are to: those whose keys are all of one slot, and those without a key too.
    #[test]
    fn commands_of_a_cluster_go_where_their_keys_are() {
        let commands = ["INCR a:{key}", "INCR {user}b:{key}", "GET {key}:{key}", "PING"];
        let halves = [part(0..SLOT_COUNT as u16 / 2), part(SLOT_COUNT as u16 / 2..SLOT_COUNT as u16)];
        let (mut drawing, mut writing) = (of_commands(&commands), of_commands(&commands));
        let template = |command: usize| Template::parse(commands[command], 1_000).unwrap();
        let (mut scratch, mut buffer) = (vec![0; 200], vec![0; 200]);
        let mut counts = [0; 4];
        for _ in 0..40_000 {
            let (drawn, slot) = drawing.draw(&mut scratch);
            let half = &halves[slot.map_or(0, |slot| usize::from(slot) / (SLOT_COUNT / 2))];
            let mut wrote = (0, 0);
            let bytes = writing.write_drawn(&mut buffer, drawn, half, |command, key| wrote = (command, key));
            let template = template(wrote.0);
            assert_eq!(bytes, template.request_bytes());
            assert!(half.has(&template, &buffer[..bytes]));
            counts[wrote.0] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        let mut counts = [[0; 4]; 2];
        for (half, counts) in halves.iter().zip(&mut counts) {
            for _ in 0..10_000 {
                let mut command = 0;
                writing.write(&mut buffer, &mut Standing::default(), 1, Some(half), |wrote, _| command = wrote);
                assert!(half.has(&template(command), &buffer));
                counts[command] += 1;
            }
        }
        // The slot of {user} is in the first half: there it is 2 of 5, besides halves of the others.
        assert!(slot::of(b"{user}b:1") < SLOT_COUNT as u16 / 2);
        let expected = [[2_000, 4_000, 2_000, 2_000], [3_333, 0, 3_333, 3_333]];
        for (count, expected) in counts.iter().flatten().zip(expected.iter().flatten()) {
            assert!(i32::abs(count - expected) < 250, "{counts:?}");
        }
    }

    #[test]
    fn a_node_that_hardly_any_request_belongs_to_gets_its_example() {
        let mut requests = of_commands(&["INCR a:{key}"]);
        let only = slot::of(b"a:00000007");
        let mut small = Part { example: (0, 7), ..part(only..only + 1) };
        requests.keys = Keys::new("hotspot:1:100".parse().unwrap(), 500, 1, 0, 1);
        let mut buffer = vec![0; 100];
        let mut write = |part: &Part| {
            let mut key = None;
            requests.write(&mut buffer, &mut Standing::default(), 1, Some(part), |_, wrote| key = Some(wrote));
            key
        };
        assert_eq!(write(&small), Some(7));
        small.example = (0, 9);
        assert_eq!(write(&small), Some(9));
    }
}
