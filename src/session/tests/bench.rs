//! A session driven by hand: a connection of one receive buffer, shards side by side in one thread.

use std::cell::Cell;
use std::net::IpAddr;

use super::super::*;
use crate::client::Client;
use crate::counters::Counters;
use crate::limits::{FIXED_BUFFER_BYTES, QUEUES_BYTES_MAX};

/// Of the shards, when they have ports of their own.
pub(super) const PORTS: [u16; 4] = [7_001, 7_002, 7_003, 7_004];

const NOW_MS: i64 = 1_700_000_000_000;

/// A connection without sockets: a receive buffer of the real size, and shards that answer at once.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) shards: Vec<Counters>,
    pub(super) map: ShardMap,
    pub(super) window: Window,
    pub(super) spans: Spans,
    pub(super) buffer: Vec<u8>,
    pub(super) filled: usize,
    pub(super) replies: Vec<u8>,
    pub(super) queue_room_bytes: Cell<usize>,
    pub(super) password: Option<&'static [u8]>,
    /// Writes are paused so many times.
    pub(super) pause_count: usize,
    /// The shard whose own port the client came to.
    pub(super) direct: Option<usize>,
    /// The journal has no room for changes.
    pub(super) is_full: bool,
    pub(super) ended: bool,
    /// Transactions that the session has left to the task.
    pub(super) exec_count: usize,
    /// Windows that held keys.
    pub(super) window_count: usize,
}

impl Bench {
    pub(super) fn new(shard_count: usize) -> Bench {
        let map = ShardMap::new(shard_count);
        Bench {
            session: Session::new(Client { authenticated: true, ..Client::default() }),
            shards: (0..shard_count).map(|shard| Counters::new(map.slots_of(shard))).collect(),
            map,
            window: Window::default(),
            spans: Spans::default(),
            buffer: vec![0; FIXED_BUFFER_BYTES],
            filled: 0,
            replies: Vec::new(),
            queue_room_bytes: Cell::new(QUEUES_BYTES_MAX),
            password: None,
            pause_count: 0,
            direct: None,
            is_full: false,
            ended: false,
            exec_count: 0,
            window_count: 0,
        }
    }

    pub(super) fn with_password(password: &'static [u8]) -> Bench {
        let mut bench = Bench::new(1);
        bench.password = Some(password);
        bench.session.client.authenticated = false;
        bench
    }

    /// Receive `bytes`, as many at a time as the buffer has room for.
    pub(super) fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.ended {
            let count = bytes.len().min(FIXED_BUFFER_BYTES - self.filled);
            assert!(count > 0, "the session consumes something of a full buffer");
            self.buffer[self.filled..][..count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            self.process();
        }
    }

    fn process(&mut self) {
        let at = self.answer_all();
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
    }

    /// Answer all complete requests in the buffer; how many bytes they were.
    fn answer_all(&mut self) -> usize {
        let mut at = 0;
        loop {
            let around = Surroundings {
                env: Env { password: self.password, debug: false, cluster: false },
                map: self.map,
                seed: Seed::of_process(),
                counters: &self.shards[0],
                now_ms: NOW_MS,
                writes_refused: None,
                writes_paused: self.pause_count > 0,
                permits: if self.pause_count > 0 { Permits::NONE } else { Permits::ALL },
                shown: false,
                queue_room_bytes: &self.queue_room_bytes,
                direct: self.direct.map(|own| Direct { own, ip: IpAddr::from([10, 0, 0, 7]), ports: &PORTS }),
            };
            let input = &mut self.buffer[..self.filled];
            let status =
                self.session.parse(input, &mut at, &mut self.spans, &mut self.window, FIXED_BUFFER_BYTES, &around);
            if let Some(own) = self.direct {
                assert_eq!(self.window.routed(&self.buffer, own).count(), 0, "nothing is for another shard");
            }
            self.window_count += usize::from(self.window.first_key().is_some());
            for (own, counters) in self.shards.iter_mut().enumerate() {
                // Both ways are the same to what follows.
                if self.filled.is_multiple_of(2) {
                    self.window.prefetch(own, counters);
                    self.window.look_up(own, counters);
                } else {
                    let mut lookups: Vec<_> = self.window.lookups(own).collect();
                    lookups.iter().for_each(|lookup| lookup.prefetch(counters));
                    lookups.iter_mut().for_each(|lookup| lookup.look_up(counters));
                    self.window.take_looked_up(own, &lookups);
                }
                match self.is_full {
                    true => self.window.execute_reads(&self.buffer, own, counters, NOW_MS),
                    false => self.window.execute(&self.buffer, own, counters, NOW_MS),
                };
            }
            let start = self.replies.len();
            self.window.encode(&mut self.session.totals, &mut self.replies);
            let taken_bytes = FIXED_BUFFER_BYTES - self.window.room_bytes();
            assert!(
                self.replies.len() - start <= taken_bytes,
                "the replies fit the room that the window has taken for them"
            );
            self.window.clear(false, 0);
            match status {
                Status::WindowFull => {}
                Status::NeedInput => return at,
                Status::Task { task, quiet, .. } => {
                    let start = self.replies.len();
                    match *task {
                        Task::Exec => self.exec(),
                        _ => encode::simple(&mut self.replies, &format!("{task:?}").replace(['\r', '\n'], " ")),
                    }
                    if quiet {
                        self.replies.truncate(start);
                    }
                    if matches!(*task, Task::Discard) {
                        self.session.end_transaction(&self.queue_room_bytes);
                    }
                }
                Status::End => {
                    self.ended = true;
                    return at;
                }
                Status::Paused | Status::Busy(_) => self.pause_count -= 1,
            }
        }
    }

    /// What the task does: the queue as if it had just been received.
    fn exec(&mut self) {
        self.exec_count += 1;
        let transaction = self.session.end_transaction(&self.queue_room_bytes).expect("MULTI came before EXEC");
        if transaction.aborted {
            return encode::error(&mut self.replies, "EXECABORT");
        }
        encode::array(&mut self.replies, transaction.command_count as usize);
        self.session.client.executing = true;
        let mode = std::mem::replace(&mut self.session.client.reply, ReplyMode::On);
        let filled = std::mem::replace(&mut self.filled, transaction.queue.len());
        let buffer = std::mem::replace(&mut self.buffer, transaction.queue);
        let pause_count = std::mem::take(&mut self.pause_count);
        assert_eq!(self.answer_all(), self.filled, "every queued request is executed");
        (self.filled, self.buffer, self.pause_count) = (filled, buffer, pause_count);
        self.session.client.executing = false;
        self.session.client.reply = mode;
    }

    pub(super) fn run(mut self, bytes: &[u8]) -> String {
        self.receive(bytes);
        String::from_utf8_lossy(&self.replies).into_owned()
    }
}

pub(super) fn request(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::array(&mut bytes, arguments.len());
    arguments.iter().for_each(|argument| encode::bulk(&mut bytes, argument));
    bytes
}

pub(super) fn requests(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| request(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())).collect()
}
