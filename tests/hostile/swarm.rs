//! Many clients in few threads: non-blocking sockets that send what their script says and check what comes back.
//!
//! Invariant: nobody here waits for ever; a client whose replies are wrong, or that is disconnected where it must not
//! be, says so.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::script::Script;

/// Bytes that one client moves in one direction before others get a turn.
const TURN_BYTES: usize = 256 * 1024;

/// How long a thread rests when none of its clients could move.
const REST: Duration = Duration::from_micros(500);

/// Longest wait for a connection. The first packet is sent again where the backlog is full.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// One client.
pub struct Client {
    stream: TcpStream,
    request: Script,
    /// It sends no more than so many bytes of its request for now.
    pub send_until: u64,
    /// Bytes sent.
    pub sent: u64,
    reply: Script,
    /// Whether it reads at all.
    pub reads: bool,
    /// Bytes received; all of them were right.
    pub received: u64,
    /// The server has ended it.
    pub ended: bool,
}

impl Client {
    /// Connect; it will send `request` and expect `reply`.
    #[track_caller]
    pub fn connect(address: SocketAddr, request: Script, reply: Script) -> Client {
        let stream = connect(address);
        stream.set_nonblocking(true).expect("non-blocking");
        let send_until = request.len();
        Client { stream, request, send_until, sent: 0, reply, reads: true, received: 0, ended: false }
    }

    /// One that never reads, and whose system takes as little as possible for it.
    #[track_caller]
    pub fn connect_deaf(address: SocketAddr, request: Script) -> Client {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a small buffer");
        socket.connect_timeout(&address.into(), CONNECT_LIMIT).expect("the server accepts a connection");
        socket.set_nonblocking(true).expect("non-blocking");
        let (stream, send_until) = (TcpStream::from(socket), request.len());
        Client {
            stream,
            request,
            send_until,
            sent: 0,
            reply: Script::default(),
            reads: false,
            received: 0,
            ended: false,
        }
    }

    /// Whether all of the request that may be sent has been.
    pub fn has_sent(&self) -> bool {
        self.sent == self.send_until
    }

    /// Whether the whole reply has come.
    pub fn is_answered(&self) -> bool {
        self.received == self.reply.len()
    }

    /// It may send all that it has.
    pub fn send_all(&mut self) {
        self.send_until = self.request.len();
    }

    /// Where the tails of the request and of the reply begin.
    pub fn tails_at(&self) -> (u64, u64) {
        (self.request.tail_at(), self.reply.tail_at())
    }

    /// Send and receive what can be without waiting. True when something moved.
    pub fn turn(&mut self, scratch: &mut [u8]) -> bool {
        !self.ended && (self.send() | self.receive(scratch))
    }

    fn send(&mut self) -> bool {
        let before = self.sent;
        while self.sent < self.send_until && self.sent - before < TURN_BYTES as u64 {
            let bytes = self.request.at(self.sent);
            let count = bytes.len().min((self.send_until - self.sent) as usize);
            match self.stream.write(&bytes[..count]) {
                Ok(count) => self.sent += count as u64,
                Err(cause) if is_not_now(&cause) => break,
                Err(_) => {
                    self.ended = true;
                    break;
                }
            }
        }
        self.sent > before
    }

    fn receive(&mut self, scratch: &mut [u8]) -> bool {
        let before = self.received;
        while self.reads && self.received - before < TURN_BYTES as u64 {
            match self.stream.read(scratch) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    let bytes = &scratch[..count];
                    let at = self.received;
                    let shown = &bytes[..bytes.len().min(200)];
                    assert!(self.reply.matches(at, bytes), "wrong from byte {at} on: {}", shown.escape_ascii());
                    self.received += count as u64;
                    continue;
                }
                Err(cause) if is_not_now(&cause) => {}
                Err(_) => self.ended = true,
            }
            break;
        }
        self.received > before
    }
}

/// A connection.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT).expect("the server accepts a connection");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// Give all clients turns, in two threads, until each is `done`. Panics when that takes too long.
#[track_caller]
pub fn drive(clients: &mut [Client], limit: Duration, what: &str, done: impl Fn(&Client) -> bool + Sync) {
    let left_count = drive_for(clients, limit, done);
    assert_eq!(left_count, 0, "clients that did not come so far within {limit:?}: {what}");
}

/// The same, but at the limit how many are not done is the result.
pub fn drive_for(clients: &mut [Client], limit: Duration, done: impl Fn(&Client) -> bool + Sync) -> usize {
    let end = Instant::now() + limit;
    let share = clients.len().div_ceil(2).max(1);
    let done = &done;
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            clients.chunks_mut(share).map(|clients| scope.spawn(move || drive_here(clients, end, done))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the replies are right")).sum()
    })
}

fn drive_here(clients: &mut [Client], end: Instant, done: &impl Fn(&Client) -> bool) -> usize {
    let mut scratch = vec![0; 64 * 1024];
    loop {
        let mut moved = false;
        let mut left_count = 0;
        for client in clients.iter_mut().filter(|client| !done(client)) {
            moved |= client.turn(&mut scratch);
            left_count += usize::from(!done(client));
        }
        if left_count == 0 || Instant::now() > end {
            return left_count;
        }
        if !moved {
            std::thread::sleep(REST);
        }
    }
}

fn is_not_now(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
