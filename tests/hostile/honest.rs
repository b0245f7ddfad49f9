//! Honest clients, and how long they wait among others.
//!
//! One thread drives them all, each at a fixed rate whatever the replies do (an open loop): a request that is due while
//! the one before is unanswered waits for it, and its time counts from when it was due. So a server that stands still
//! is counted for every request that would have been sent.

use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::set_current_timer_slack;

use crate::support::{Conn, wire};
use crate::swarm::connect;

/// How long each waits between two requests, from the time when one is due until the next is.
const INTERVAL: Duration = Duration::from_millis(10);

/// Longest reply: `:` and a 64-bit integer.
const REPLY_BYTES_MAX: usize = 32;

/// How long they waited.
pub struct Latencies {
    /// Those of all requests, in order.
    sorted: Vec<Duration>,
    /// The 99th percentile of the requests of one second, that in which it was greatest.
    worst_second_p99: Duration,
}

/// Of latencies in order: what so many of a thousand requests took at most.
fn at(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() - 1) * part / 1_000]
}

impl Latencies {
    /// From when each was due, and how long it took.
    fn new(start: Instant, requests: Vec<(Instant, Duration)>) -> Latencies {
        let mut seconds: Vec<Vec<Duration>> = Vec::new();
        for (due, latency) in requests {
            let second = due.duration_since(start).as_secs() as usize;
            seconds.resize_with(seconds.len().max(second + 1), Vec::new);
            seconds[second].push(latency);
        }
        seconds.retain(|second| !second.is_empty());
        seconds.iter_mut().for_each(|second| second.sort_unstable());
        let worst_second_p99 = seconds.iter().map(|second| at(second, 990)).max().expect("there were requests");
        let mut sorted = seconds.concat();
        sorted.sort_unstable();
        Latencies { sorted, worst_second_p99 }
    }

    /// What so many of a thousand requests took at most.
    pub fn at(&self, part: usize) -> Duration {
        at(&self.sorted, part)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests: ", self.sorted.len())?;
        let parts = [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999), ("longest", 1_000)];
        let parts = parts.map(|(name, part)| format!("{name} {} us", self.at(part).as_micros()));
        write!(f, "{}; p99 of the worst second {} us", parts.join(", "), self.worst_second_p99.as_micros())
    }
}

/// One honest client: it counts its own key, and knows what each reply must be.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    due: VecDeque<Instant>,
    /// The request that is due first has been sent.
    sent: bool,
    count: u64,
    reply: Vec<u8>,
}

/// Count with `client_count` clients while `meanwhile` runs.
///
/// # Panics
/// When one is disconnected, or a reply is wrong.
pub fn count(address: SocketAddr, client_count: u32, meanwhile: impl FnOnce()) -> Latencies {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients = scope.spawn(|| drive(address, client_count, &over));
        {
            // Also where it panics: the scope waits for them.
            let _ends = Ends(&over);
            meanwhile();
        }
        clients.join().expect("honest clients are served")
    })
}

/// Says that it is over when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn drive(address: SocketAddr, client_count: u32, over: &AtomicBool) -> Latencies {
    // Its timers are to be exact: by default they may be 50 us late.
    set_current_timer_slack(NonZeroU64::new(1)).expect("a thread may choose its slack");
    let mut clients: Vec<Client> = (0..client_count).map(|client| Client::new(address, client)).collect();
    let (start, step) = (Instant::now(), INTERVAL / client_count);
    let mut latencies = Vec::new();
    let mut turn = 0;
    while !over.load(Ordering::Relaxed) {
        // They are due one after the other, at equal distances.
        let now = Instant::now();
        while start + step * turn <= now {
            clients[(turn % client_count) as usize].due.push_back(start + step * turn);
            turn += 1;
        }
        clients.iter_mut().for_each(Client::send);
        let next = (start + step * turn).saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(next).expect("a short time");
        let mut fds: Vec<PollFd<'_>> =
            clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::IN)).collect();
        poll(&mut fds, Some(&timeout)).expect("they can be waited for");
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (client, _) in clients.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            latencies.extend(client.receive());
        }
    }
    Latencies::new(start, latencies)
}

impl Client {
    fn new(address: SocketAddr, index: u32) -> Client {
        let key = format!("honest:{index}");
        Conn::tcp(address).ask(&format!("SET {key} 0"));
        let stream = connect(address);
        stream.set_nonblocking(true).expect("non-blocking");
        let request = wire(["INCR", &key]);
        Client { stream, request, due: VecDeque::new(), sent: false, count: 0, reply: Vec::new() }
    }

    fn send(&mut self) {
        if !self.sent && !self.due.is_empty() {
            self.stream.write_all(&self.request).expect("an honest client's request is taken");
            self.sent = true;
            self.count += 1;
        }
    }

    /// When the request was due and how long the reply took, if it is whole.
    fn receive(&mut self) -> Option<(Instant, Duration)> {
        let mut bytes = [0; REPLY_BYTES_MAX];
        match self.stream.read(&mut bytes) {
            Ok(0) => panic!("an honest client was disconnected"),
            Ok(count) => self.reply.extend_from_slice(&bytes[..count]),
            Err(cause) if matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return None,
            Err(cause) => panic!("an honest client was disconnected: {cause}"),
        }
        if !self.reply.ends_with(b"\r\n") {
            return None;
        }
        assert_eq!(self.reply, format!(":{}\r\n", self.count).into_bytes(), "its own key counts its requests");
        self.reply.clear();
        self.sent = false;
        let due = self.due.pop_front().expect("a reply to a request");
        Some((due, due.elapsed()))
    }
}
