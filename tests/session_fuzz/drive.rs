//! A stream through a session: received in pieces, answered with the room that there is.

use std::cell::Cell;

use tallyring::client::{Client, ReplyMode};
use tallyring::command::{Spans, Task, encode_described};
use tallyring::limits::{CLIENT_NAME_BYTES_MAX, FIXED_BUFFER_BYTES, LIBRARY_NAME_BYTES_MAX, QUEUE_BYTES_MAX};
use tallyring::resp::encode;
use tallyring::session::{Status, Window};

use super::pure::{Connection, NOW_MS, execute, surroundings};
use super::random::Random;

/// What a step may allocate at a time: a transaction's queue that grows, the reply of `COMMAND DOCS`, some counters.
const STEP_BYTES_MAX: u64 = 4 * 1_024 * 1_024;

/// What a stream is received by.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The password that clients must give.
    pub password: Option<&'static [u8]>,
    /// What transactions may queue.
    pub queue_room_bytes: usize,
}

/// How a stream is received.
pub struct Plan {
    shard_count: usize,
    /// The most bytes of one receive.
    chunk_bytes_max: usize,
    /// Replies get any room, else all that a buffer has.
    any_room: bool,
    /// Writes are paused once in so many windows.
    pause_one_in: Option<usize>,
    random: Random,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// All replies.
    pub replies: Vec<u8>,
    /// Where the protocol version changed, and whether to RESP3.
    pub versions: Vec<(usize, bool)>,
    /// The session closed the connection.
    pub ended: bool,
    /// The stream ended within a request.
    pub within_request: bool,
}

impl Plan {
    /// All at once, on one shard.
    pub fn whole() -> Plan {
        let random = Random::new(0);
        Plan { shard_count: 1, chunk_bytes_max: usize::MAX, any_room: false, pause_one_in: None, random }
    }

    /// Any other way.
    pub fn any(random: &mut Random) -> Plan {
        Plan {
            shard_count: 1 + random.below(4),
            chunk_bytes_max: *random.pick(&[1, 7, 60, 1_000, 5_000, FIXED_BUFFER_BYTES]),
            any_room: random.one_in(2),
            pause_one_in: *random.pick(&[None, Some(2), Some(20)]),
            random: Random::new(random.next()),
        }
    }

    /// What kind of way it is.
    pub fn name(&self) -> String {
        let Plan { shard_count, chunk_bytes_max, any_room, pause_one_in, .. } = self;
        format!("{shard_count} shards, receives up to {chunk_bytes_max}, any room {any_room}, pauses {pause_one_in:?}")
    }

    fn chunk_bytes(&mut self) -> usize {
        if self.chunk_bytes_max == usize::MAX { usize::MAX } else { 1 + self.random.below(self.chunk_bytes_max) }
    }

    fn room_bytes(&mut self) -> usize {
        if self.any_room { self.random.below(FIXED_BUFFER_BYTES + 1) } else { FIXED_BUFFER_BYTES }
    }

    fn pauses(&mut self) -> bool {
        self.pause_one_in.is_some_and(|n| self.random.one_in(n))
    }
}

impl Transcript {
    fn note_version(&mut self, resp3: bool) {
        if self.versions.last().is_some_and(|(_, last)| *last) != resp3 {
            self.versions.push((self.replies.len(), resp3));
        }
    }
}

/// Receive `bytes` and answer them, then close.
pub fn run(setting: &Setting, bytes: &[u8], plan: &mut Plan) -> Transcript {
    let mut connection = Connection::new(plan.shard_count);
    connection.password = setting.password;
    connection.session.client.authenticated = setting.password.is_none();
    connection.queue_room_bytes = Cell::new(setting.queue_room_bytes);
    let mut transcript = Transcript::default();
    transcript.ended = !receive_all(&mut connection, setting, bytes, plan, &mut transcript);
    transcript.within_request = connection.session.is_within_request();
    connection.session.end_transaction(&connection.queue_room_bytes);
    assert_eq!(connection.queue_room_bytes.get(), setting.queue_room_bytes, "a closed session gives all room back");
    transcript
}

/// False when the session ended.
fn receive_all(
    connection: &mut Connection,
    setting: &Setting,
    mut bytes: &[u8],
    plan: &mut Plan,
    transcript: &mut Transcript,
) -> bool {
    while !bytes.is_empty() {
        let received_bytes = connection.receive(&bytes[..plan.chunk_bytes().min(bytes.len())]);
        bytes = &bytes[received_bytes..];
        let (mut full_room, mut paused) = (false, plan.pauses());
        loop {
            let room_bytes = if full_room { FIXED_BUFFER_BYTES } else { plan.room_bytes() };
            let status = step(connection, setting, room_bytes, paused, &mut transcript.replies);
            let held = connection.take_window();
            transcript.note_version(connection.session.client.resp3);
            let was_paused = std::mem::replace(&mut paused, plan.pauses());
            match status {
                Status::NeedInput => break,
                Status::WindowFull => {
                    assert!(held || room_bytes < FIXED_BUFFER_BYTES, "an empty window has room");
                    full_room = !held;
                    continue;
                }
                Status::Paused | Status::Busy(_) => {
                    assert!(was_paused, "nothing is paused");
                    paused = false;
                }
                Status::Task { task, quiet, .. } => {
                    assert!(!held, "a task comes alone");
                    let replies = &mut transcript.replies;
                    let start = replies.len();
                    run_task(connection, *task, replies);
                    assert!(replies.len() > start, "a task has a reply");
                    if quiet {
                        replies.truncate(start);
                    }
                }
                Status::End => return false,
            }
            transcript.note_version(connection.session.client.resp3);
            full_room = false;
        }
        connection.compact();
    }
    true
}

/// One window, with what must hold after each.
fn step(connection: &mut Connection, setting: &Setting, room_bytes: usize, paused: bool, out: &mut Vec<u8>) -> Status {
    out.reserve(FIXED_BUFFER_BYTES);
    let mut result = None;
    let allocated = allocation_counter::measure(|| {
        let (status, replies) = connection.step(room_bytes, paused);
        out.extend_from_slice(replies);
        result = Some(status);
    });
    assert!(allocated.bytes_max <= STEP_BYTES_MAX, "{} bytes allocated at a time", allocated.bytes_max);
    let client = &connection.session.client;
    let queued_bytes = client.transaction.as_ref().map_or(0, |transaction| transaction.queue.capacity());
    assert!(queued_bytes <= QUEUE_BYTES_MAX);
    let room_bytes = connection.queue_room_bytes.get();
    assert_eq!(room_bytes + queued_bytes, setting.queue_room_bytes, "what is queued is accounted for");
    assert!(client.name.len() <= CLIENT_NAME_BYTES_MAX);
    assert!([&client.lib_name, &client.lib_version].into_iter().all(|name| name.len() <= LIBRARY_NAME_BYTES_MAX));
    result.expect("a step has a status")
}

/// What the server's tasks do, as far as the replies of a session depend on it; the others say what they are.
fn run_task(connection: &mut Connection, task: Task, out: &mut Vec<u8>) {
    match task {
        Task::Exec => exec(connection, out),
        Task::Reply(reply) => out.extend_from_slice(&reply),
        Task::Describe(described) => encode_described(&described, connection.session.client.resp3, out),
        Task::AbortExec(why) => {
            end_transaction(connection);
            encode::error(out, &format!("EXECABORT {why}"));
        }
        Task::Discard => {
            end_transaction(connection);
            encode::simple(out, "OK");
        }
        Task::Reset => {
            end_transaction(connection);
            let client = &mut connection.session.client;
            let authenticated = connection.password.is_none();
            *client = Client { id: client.id, authenticated, ..Client::default() };
            encode::simple(out, "RESET");
        }
        Task::Flush => {
            connection.counters.iter_mut().for_each(|counters| counters.flush(NOW_MS));
            encode::simple(out, "OK");
        }
        Task::DbSize => {
            let key_count: u64 = connection.counters.iter().map(|counters| counters.key_count()).sum();
            encode::integer(out, key_count as i64);
        }
        task => encode::bulk(out, format!("{task:?}").as_bytes()),
    }
}

fn end_transaction(connection: &mut Connection) {
    connection.session.end_transaction(&connection.queue_room_bytes);
}

/// `EXEC`: the queue as if it had just been received, with room for everything.
fn exec(connection: &mut Connection, out: &mut Vec<u8>) {
    let transaction = connection.session.end_transaction(&connection.queue_room_bytes).expect("MULTI came before EXEC");
    if transaction.aborted {
        return encode::error(out, "EXECABORT Transaction discarded because of previous errors.");
    }
    encode::array(out, transaction.command_count as usize);
    let client = &mut connection.session.client;
    client.executing = true;
    let mode = std::mem::replace(&mut client.reply, ReplyMode::On);
    let (mut queue, mut at) = (transaction.queue, 0);
    let (mut spans, mut window) = (Spans::default(), Window::default());
    let mut batches: Vec<_> = connection.counters.iter().map(|_| Default::default()).collect();
    loop {
        let counters = &connection.counters[0];
        let around = surroundings(connection.password, connection.map, counters, false, &connection.queue_room_bytes);
        let status = connection.session.parse(&mut queue, &mut at, &mut spans, &mut window, usize::MAX, &around);
        execute(&mut window, &queue, &mut connection.counters, &mut batches);
        window.encode(&mut connection.session.totals, out);
        window.clear(false, 0);
        match status {
            Status::WindowFull => {}
            Status::NeedInput => break,
            Status::Task { task, .. } => run_task(connection, *task, out),
            status => panic!("{status:?} within a transaction"),
        }
    }
    assert_eq!(at, queue.len(), "every queued request is executed");
    connection.session.client.executing = false;
    connection.session.client.reply = mode;
}
