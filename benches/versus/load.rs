//! The load generator: one thread, one ring, fixed buffers, a closed loop.
//!
//! Each connection sends `depth` requests at once, waits for all their replies, and sends the next. Invariants: never
//! more requests in flight than that; every reply was checked; when a run has ended well, nothing is in flight.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::account;
use super::ring::{Completion, Operation, Ring};
use super::workload::{self, Keys, Load, REQUEST_BYTES};

/// Longest latency that is told apart.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// What was seen from outside between the end of the warm-up and the end of the run.
#[derive(Debug)]
pub struct Measured {
    /// How long it was.
    pub elapsed: Duration,
    /// Requests that were answered.
    pub request_count: u64,
    /// Nanoseconds from handing over a batch of requests until its last reply was seen; one value for each batch.
    pub latencies_ns: Histogram<u64>,
    /// Processor time of the generator.
    pub generator_time: Duration,
    /// Processor time of the server, all its threads.
    pub server_time: Duration,
    /// Processor time of everything else on the machine.
    pub other_time: Duration,
}

/// Send each key of `keys`, which must have an end, once, and see the replies.
pub fn insert(port: u16, load: Load, keys: Keys) -> io::Result<()> {
    let mut run = Run::start(load, vec![(port, keys)])?;
    while run.in_flight_count > 0 {
        run.turn(|_| ())?;
    }
    Ok(())
}

/// Load the server, the process `pid`, for `warm_up` and then for `duration`, which is measured. `targets` are its ports,
/// each with the keys, which must have no end, that are asked of it; connections are dealt to them in turn.
pub fn measure(
    targets: Vec<(u16, Keys)>,
    pid: u32,
    load: Load,
    warm_up: Duration,
    duration: Duration,
) -> io::Result<Measured> {
    let mut run = Run::start(load, targets)?;
    let warm = Instant::now() + warm_up;
    while run.now < warm {
        run.turn(|_| ())?;
    }

    let mut latencies_ns = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3).expect("the bounds are in order");
    let before = Accounts::read(pid)?;
    let (start, answered_count) = (run.now, run.answered_count);
    while run.now < start + duration {
        run.turn(|latency_ns| latencies_ns.saturating_record(latency_ns))?;
    }
    let after = Accounts::read(pid)?;
    let elapsed = run.now - start;
    let request_count = run.answered_count - answered_count;

    run.ending = true;
    while run.in_flight_count > 0 {
        run.turn(|_| ())?;
    }
    let generator_time = after.generator - before.generator;
    let server_time = after.server - before.server;
    Ok(Measured {
        elapsed,
        request_count,
        latencies_ns,
        generator_time,
        server_time,
        other_time: (after.machine - before.machine).saturating_sub(generator_time + server_time),
    })
}

/// Processor time until now.
struct Accounts {
    generator: Duration,
    server: Duration,
    machine: Duration,
}

impl Accounts {
    fn read(pid: u32) -> io::Result<Accounts> {
        Ok(Accounts {
            generator: account::thread_time(),
            server: account::process_time(pid)?,
            machine: account::machine_time()?,
        })
    }
}

struct Connection {
    socket: TcpStream,
    /// Replies that are yet to come.
    awaited_count: usize,
    /// Requests of the batch in flight.
    batch_count: usize,
    sending: bool,
    sent_at: Instant,
}

struct Run {
    // Before the ring: a socket that is closed ends what is under way.
    connections: Vec<Connection>,
    ring: Ring,
    ended: Vec<Completion>,
    /// Ports, and the keys that are asked of each; a connection's is the one of its number, counted round.
    targets: Vec<(u16, Keys)>,
    depth: usize,
    /// Connections that wait for replies.
    in_flight_count: usize,
    answered_count: u64,
    /// No batch is to be sent any more.
    ending: bool,
    /// When the kernel last handed over what had ended.
    now: Instant,
}

impl Run {
    /// Connect, and ask for the first batch of each connection.
    fn start(load: Load, targets: Vec<(u16, Keys)>) -> io::Result<Run> {
        let mut ring = Ring::new(2 * load.connection_count, load.depth * REQUEST_BYTES)?;
        let mut connections = Vec::new();
        let now = Instant::now();
        for index in 0..load.connection_count {
            let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, targets[index % targets.len()].0))?;
            socket.set_nodelay(true)?;
            workload::prepare(ring.bytes_mut(request_buffer(index)));
            connections.push(Connection { socket, awaited_count: 0, batch_count: 0, sending: false, sent_at: now });
        }
        let mut run = Run {
            connections,
            ring,
            ended: Vec::new(),
            targets,
            depth: load.depth,
            in_flight_count: 0,
            answered_count: 0,
            ending: false,
            now,
        };
        for index in 0..load.connection_count {
            run.send_batch(index);
        }
        Ok(run)
    }

    /// Hand over what is to be sent, sleep until something has ended, and go on with that. Latencies are given to
    /// `record`.
    fn turn(&mut self, mut record: impl FnMut(u64)) -> io::Result<()> {
        let mut ended = std::mem::take(&mut self.ended);
        self.ring.wait(&mut ended)?;
        self.now = Instant::now();
        for completion in &ended {
            let index = usize::from(completion.token);
            let done_bytes = completion.result()?;
            match completion.operation {
                Operation::Send => self.connections[index].sending = false,
                _ => self.count_replies(index, done_bytes)?,
            }
            let connection = &self.connections[index];
            if connection.awaited_count == 0 && !connection.sending {
                record(connection.latency_ns(self.now));
                self.answered_count += connection.batch_count as u64;
                self.in_flight_count -= 1;
                self.send_batch(index);
            }
        }
        self.ended = ended;
        Ok(())
    }

    fn count_replies(&mut self, index: usize, received_bytes: usize) -> io::Result<()> {
        if received_bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection"));
        }
        let replies = &self.ring.bytes(reply_buffer(index))[..received_bytes];
        let reply_count = workload::count_replies(replies)
            .map_err(|text| io::Error::new(io::ErrorKind::InvalidData, format!("the server answered {text}")))?;
        let connection = &mut self.connections[index];
        let Some(awaited_count) = connection.awaited_count.checked_sub(reply_count) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the server sent more replies than were due"));
        };
        connection.awaited_count = awaited_count;
        if awaited_count > 0 {
            self.ring.receive(connection.socket.as_raw_fd(), reply_buffer(index), index as u16);
        }
        Ok(())
    }

    fn send_batch(&mut self, index: usize) {
        if self.ending {
            return;
        }
        let requests = self.ring.bytes_mut(request_buffer(index));
        let target = index % self.targets.len();
        let count = workload::write_keys(requests, self.depth, &mut self.targets[target].1);
        if count == 0 {
            return;
        }
        let connection = &mut self.connections[index];
        let socket = connection.socket.as_raw_fd();
        self.ring.send(socket, request_buffer(index), 0..count * REQUEST_BYTES, index as u16);
        self.ring.receive(socket, reply_buffer(index), index as u16);
        connection.awaited_count = count;
        connection.batch_count = count;
        connection.sending = true;
        connection.sent_at = self.now;
        self.in_flight_count += 1;
    }
}

impl Connection {
    fn latency_ns(&self, now: Instant) -> u64 {
        u64::try_from((now - self.sent_at).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn request_buffer(connection: usize) -> usize {
    2 * connection
}

fn reply_buffer(connection: usize) -> usize {
    2 * connection + 1
}
