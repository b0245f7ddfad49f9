//! A connection without sockets: the session, its buffers of the real size, and shards that answer at once.
//!
//! The way of a request is the server's: parsed in the receive buffer, executed by the shard of the connection (shard
//! 0), forwarded to the others as batches of the mesh, encoded into the send buffer. Nothing here allocates after
//! [`Connection::new`]; what does is the crate under test.

use std::cell::Cell;

use tallyring::client::Client;
use tallyring::command::{Env, Spans};
use tallyring::counters::{Counters, Seed};
use tallyring::limits::{FIXED_BUFFER_BYTES, QUEUES_BYTES_MAX};
use tallyring::mesh::Batch;
use tallyring::session::{Permits, Session, Status, Surroundings, Window};
use tallyring::slot::ShardMap;

/// The time at which everything happens, Unix milliseconds.
pub const NOW_MS: i64 = 1_700_000_000_000;

/// See the module.
pub struct Connection {
    pub session: Session,
    pub counters: Vec<Counters>,
    /// The password that clients must give.
    pub password: Option<&'static [u8]>,
    pub queue_room_bytes: Cell<usize>,
    pub map: ShardMap,
    pub spans: Spans,
    pub window: Window,
    /// One a shard; that of shard 0 stays empty.
    batches: Vec<Batch>,
    input: Box<[u8]>,
    received: usize,
    consumed: usize,
    output: Box<[u8]>,
}

impl Connection {
    /// A connection that has authenticated, to a server of `shard_count` shards.
    pub fn new(shard_count: usize) -> Connection {
        let map = ShardMap::new(shard_count);
        Connection {
            session: Session::new(Client { id: 7, authenticated: true, ..Client::default() }),
            counters: (0..shard_count).map(|shard| Counters::new(map.slots_of(shard))).collect(),
            password: None,
            queue_room_bytes: Cell::new(QUEUES_BYTES_MAX),
            map,
            spans: Spans::default(),
            window: Window::default(),
            batches: (0..shard_count).map(|_| Batch::default()).collect(),
            input: vec![0; FIXED_BUFFER_BYTES].into(),
            received: 0,
            consumed: 0,
            output: vec![0; FIXED_BUFFER_BYTES].into(),
        }
    }

    /// Receive as many of `bytes` as there is room for, and answer how many.
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(FIXED_BUFFER_BYTES - self.received);
        assert!(count > 0, "the session consumes something of a full buffer");
        self.input[self.received..][..count].copy_from_slice(&bytes[..count]);
        self.received += count;
        count
    }

    /// Parse, execute and encode one window, with `room_bytes` for its replies, which are returned.
    pub fn step(&mut self, room_bytes: usize, writes_paused: bool) -> (Status, &[u8]) {
        let around = surroundings(self.password, self.map, &self.counters[0], writes_paused, &self.queue_room_bytes);
        let input = &mut self.input[..self.received];
        let status =
            self.session.parse(input, &mut self.consumed, &mut self.spans, &mut self.window, room_bytes, &around);
        assert!(self.consumed <= self.received, "no more is consumed than was received");
        execute(&mut self.window, &self.input, &mut self.counters, &mut self.batches);
        let mut room = &mut self.output[..room_bytes];
        self.window.encode(&mut self.session.totals, &mut room);
        let encoded_bytes = room_bytes - room.len();
        // Short replies are encoded where there is room for no more than this.
        assert!(encoded_bytes <= room_bytes - self.window.room_bytes(), "no more is encoded than was taken for it");
        (status, &self.output[..encoded_bytes])
    }

    /// Whether the last window held anything. To be called before the next [`Connection::step`], once.
    pub fn take_window(&mut self) -> bool {
        let held = !self.window.is_empty();
        self.window.clear(false, 0);
        held
    }

    /// Everything complete has been answered: move what is left over to the front of the buffer.
    pub fn compact(&mut self) {
        self.input.copy_within(self.consumed..self.received, 0);
        self.received -= self.consumed;
        self.consumed = 0;
    }

    /// Receive and answer all of `bytes`, which ask for nothing that takes a task. `send` gets the replies.
    pub fn pass(&mut self, mut bytes: &[u8], mut send: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let count = self.receive(bytes);
            bytes = &bytes[count..];
            loop {
                let (status, replies) = self.step(FIXED_BUFFER_BYTES, false);
                send(replies);
                self.take_window();
                match status {
                    Status::WindowFull => {}
                    Status::NeedInput => break,
                    status => panic!("{status:?}"),
                }
            }
            self.compact();
        }
    }
}

/// What the session may know. While writes are paused no reply that may be long is gathered either.
pub fn surroundings<'a>(
    password: Option<&'a [u8]>,
    map: ShardMap,
    counters: &'a Counters,
    writes_paused: bool,
    queue_room_bytes: &'a Cell<usize>,
) -> Surroundings<'a> {
    let env = Env { password, debug: true, cluster: false };
    Surroundings {
        env,
        map,
        seed: Seed::of_process(),
        counters,
        now_ms: NOW_MS,
        writes_paused,
        writes_refused: None,
        permits: if writes_paused { Permits::NONE } else { Permits::ALL },
        shown: false,
        queue_room_bytes,
        direct: None,
    }
}

/// Execute a window: shard 0's keys at once, the others' as batches.
pub fn execute(window: &mut Window, input: &[u8], counters: &mut [Counters], batches: &mut [Batch]) {
    window.prefetch(0, &counters[0]);
    window.look_up(0, &counters[0]);
    window.execute(input, 0, &mut counters[0], NOW_MS);
    if batches.len() == 1 {
        return;
    }
    batches.iter_mut().for_each(|batch| batch.clear(NOW_MS, false));
    for routed in window.routed(input, 0) {
        batches[routed.shard].push(&routed);
    }
    for (batch, counters) in batches.iter_mut().zip(counters) {
        batch.execute(counters);
        batch.outcomes().for_each(|(item, outcome)| window.complete(item, outcome));
    }
}

/// A request as clients send it: an array of bulk strings.
pub fn request(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
