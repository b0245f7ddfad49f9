//! The bare loop: receive, count the bytes, send as many constants as there were requests. It parses nothing and keeps
//! nothing, so it is the limit of this kernel for this traffic.
//!
//! One thread, one ring, fixed buffers; a connection's next receive is submitted together with its send. Invariant: a
//! client's place is given to another only when the kernel has nothing to do for it any more.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use super::ring::{Completion, Operation, Ring};
use super::workload::{CONNECTION_COUNT_MAX, REQUEST_BYTES};

const REPLY: &[u8] = b":1\r\n";

/// Bytes of a receive.
const BUFFER_BYTES: usize = 16_384;

/// The buffer that holds nothing but replies; the others belong to clients, the one after their token.
const REPLIES: usize = 0;

struct Client {
    socket: TcpStream,
    token: u16,
    /// Bytes of a request that has not come whole.
    partial_bytes: usize,
    receiving: bool,
    sending_count: usize,
}

/// Serve the clients of a listener for ever.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut ring = Ring::new(1 + CONNECTION_COUNT_MAX, BUFFER_BYTES)?;
    for reply in ring.bytes_mut(REPLIES).chunks_exact_mut(REPLY.len()) {
        reply.copy_from_slice(REPLY);
    }
    let mut clients: Vec<Option<Client>> = (0..CONNECTION_COUNT_MAX).map(|_| None).collect();
    let mut ended = Vec::new();
    ring.readable(listener.as_raw_fd(), 0);
    loop {
        ring.wait(&mut ended)?;
        for completion in &ended {
            if completion.operation == Operation::Readable {
                accept(&mut ring, &mut clients, &listener)?;
                ring.readable(listener.as_raw_fd(), 0);
                continue;
            }
            let place = &mut clients[completion.token as usize];
            let client = place.as_mut().expect("operations belong to a client");
            if !client.advance(&mut ring, completion) {
                *place = None;
            }
        }
    }
}

/// Take all connections that wait; those for which there is no place are closed.
fn accept(ring: &mut Ring, clients: &mut [Option<Client>], listener: &TcpListener) -> io::Result<()> {
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        socket.set_nodelay(true)?;
        if let Some(token) = clients.iter().position(Option::is_none) {
            let mut client =
                Client { socket, token: token as u16, partial_bytes: 0, receiving: false, sending_count: 0 };
            client.receive(ring);
            clients[token] = Some(client);
        }
    }
}

impl Client {
    /// Go on after an operation has ended; whether there is something under way for this client.
    fn advance(&mut self, ring: &mut Ring, completion: &Completion) -> bool {
        match completion.operation {
            Operation::Send => self.sending_count -= 1,
            _ => self.receiving = false,
        }
        match completion.result() {
            Ok(received_bytes) if completion.operation == Operation::Receive && received_bytes > 0 => {
                let unanswered_bytes = self.partial_bytes + received_bytes;
                self.partial_bytes = unanswered_bytes % REQUEST_BYTES;
                self.send(ring, unanswered_bytes / REQUEST_BYTES);
                self.receive(ring);
            }
            Ok(_) => {}
            // Ends what is still under way.
            Err(_) => _ = self.socket.shutdown(Shutdown::Both),
        }
        self.receiving || self.sending_count > 0
    }

    fn receive(&mut self, ring: &mut Ring) {
        ring.receive(self.socket.as_raw_fd(), 1 + self.token as usize, self.token);
        self.receiving = true;
    }

    fn send(&mut self, ring: &mut Ring, reply_count: usize) {
        if reply_count > 0 {
            ring.send(self.socket.as_raw_fd(), REPLIES, 0..reply_count * REPLY.len(), self.token);
            self.sending_count += 1;
        }
    }
}
