//! A server that keeps nothing: it answers each command with the same integer. What a generator achieves against it is
//! the generator's own limit.
//!
//! One thread with its ring, on the loopback, for as long as the [`Sink`] lives. It answers any command, so that a run
//! begins as with every server, and is quick with requests that look like those it was told of.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::buffer;
use super::mix::Mix;
use crate::limits::ARGUMENT_BYTES_MAX;
use crate::socket::{Buffer, Socket, readable};

/// The answer.
const REPLY: &[u8] = b":1\r\n";

/// Bytes of a receive, and of a send.
const BUFFER_BYTES: usize = 16 * 1_024;

/// Bytes of a request that are compared with what was expected: to the first argument's length.
const HEAD_BYTES: usize = 8;

/// See the module.
pub struct Sink {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sink {
    /// Start one, on the core `core` if given. It is quick where the load is of one command.
    ///
    /// # Errors
    /// Where there is no port, or no ring.
    pub fn start(mix: &Mix, core: Option<usize>) -> io::Result<Sink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let ended = Arc::new(AtomicBool::new(false));
        let expected = Expected::of(mix);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = {
            let ended = ended.clone();
            std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
                if let Some(id) = core {
                    core_affinity::set_for_current(core_affinity::CoreId { id });
                }
                let mut ring = tokio_uring::uring_builder();
                ring.setup_coop_taskrun().setup_single_issuer();
                match tokio_uring::Runtime::new(tokio_uring::builder().entries(1_024).uring_builder(&ring)) {
                    Ok(runtime) => {
                        let _ = ready.send(Ok(()));
                        runtime.block_on(accept(listener, expected, ended));
                    }
                    Err(error) => _ = ready.send(Err(error)),
                }
            })?
        };
        is_ready.recv().expect("it says how it went")?;
        Ok(Sink { address, ended, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Its accept ends with one connection more.
        let woken = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, expected: Expected, ended: Arc<AtomicBool>) {
    loop {
        match listener.accept() {
            Ok(_) if ended.load(Ordering::Relaxed) => return,
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let local = peer;
                let socket = Socket::Tcp { stream, peer, local };
                let mut buffers = buffer::allocate_plain(2, BUFFER_BYTES).into_iter();
                let mut buffer = || buffers.next().expect("there are two");
                tokio_uring::spawn(answer(socket, expected, buffer(), buffer()));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if readable(listener.as_raw_fd()).await.is_err() {
                    return;
                }
            }
            // A connection that ended before it was accepted, or no descriptors.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
        }
    }
}

/// Answer one client until it goes, or sends what is no request.
async fn answer(socket: Socket, expected: Expected, mut input: Buffer, mut output: Buffer) {
    for reply in output.chunks_exact_mut(REPLY.len()) {
        reply.copy_from_slice(REPLY);
    }
    let replies_max = output.len() / REPLY.len();
    let mut held_bytes = 0;
    loop {
        let end = input.len();
        let Ok(received_bytes @ 1..) = buffer::receive(&socket, &mut input, held_bytes..end).await else { return };
        let bytes = &input[..held_bytes + received_bytes];
        let Some((mut command_count, consumed_bytes)) = expected.count(bytes) else { return };
        held_bytes = bytes.len() - consumed_bytes;
        let tail = consumed_bytes..consumed_bytes + held_bytes;
        input.copy_within(tail, 0);
        while command_count > 0 {
            let count = command_count.min(replies_max);
            if buffer::send(&socket, &mut output, 0..count * REPLY.len()).await.is_err() {
                return;
            }
            command_count -= count;
        }
    }
}

/// What requests are expected to look like.
#[derive(Clone, Copy)]
struct Expected {
    head: [u8; HEAD_BYTES],
    /// Bytes of a request, and commands in it; 0 where nothing is expected.
    request_bytes: usize,
    command_count: usize,
}

impl Expected {
    fn of(mix: &Mix) -> Expected {
        match mix.templates() {
            [template] => {
                let mut request = vec![0; template.request_bytes()];
                template.write(&mut request, || 0);
                let head = *request.first_chunk().expect("a request has a header and a name");
                Expected { head, request_bytes: request.len(), command_count: template.reply_count as usize }
            }
            _ => Expected { head: [0; HEAD_BYTES], request_bytes: 0, command_count: 0 },
        }
    }

    /// How many whole commands there are, and their bytes; `None` where they are none.
    fn count(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let (mut command_count, mut at) = (0, 0);
        loop {
            let rest = &bytes[at..];
            let as_expected = rest.len() >= self.request_bytes && rest.first_chunk() == Some(&self.head);
            if as_expected && self.request_bytes > 0 && rest[..self.request_bytes].ends_with(b"\r\n") {
                command_count += self.command_count;
                at += self.request_bytes;
                continue;
            }
            match command_bytes(rest)? {
                0 => return Some((command_count, at)),
                length => (command_count, at) = (command_count + 1, at + length),
            }
        }
    }
}

/// Bytes of the command at the beginning, 0 if it is not whole; `None` if it is none.
fn command_bytes(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize, kind: u8| -> Option<Option<(usize, usize)>> {
        let Some(end) = memchr::memchr(b'\n', &bytes[at.min(bytes.len())..]) else { return Some(None) };
        let line = bytes[at..at + end].strip_suffix(b"\r")?.strip_prefix(&[kind])?;
        let number = std::str::from_utf8(line).ok()?.parse().ok()?;
        Some(Some((number, at + end + 1)))
    };
    let Some((argument_count, mut at)) = number(0, b'*')? else { return Some(0) };
    for _ in 0..argument_count {
        let Some((length, start)) = number(at, b'$')? else { return Some(0) };
        if length > ARGUMENT_BYTES_MAX {
            return None;
        }
        at = start + length + 2;
        if at > bytes.len() {
            return Some(0);
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn every_command_has_its_answer() {
        let sink = Sink::start(&Mix::parse("incr", 10, 16).unwrap(), None).unwrap();
        let mut stream = TcpStream::connect(sink.address()).unwrap();
        let incr = b"*2\r\n$4\r\nINCR\r\n$16\r\ncounter:00000001\r\n";
        let requests: Vec<u8> = [&incr[..], b"*1\r\n$4\r\nINFO\r\n", incr, incr].concat();
        // In two parts, cut within a request that is expected.
        stream.write_all(&requests[..60]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(10));
        stream.write_all(&requests[60..]).unwrap();
        let mut replies = [0; 16];
        stream.read_exact(&mut replies).unwrap();
        assert_eq!(&replies, b":1\r\n:1\r\n:1\r\n:1\r\n");
        // What is no command ends the connection.
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(stream.read(&mut replies).unwrap(), 0);
    }

    #[test]
    fn a_request_that_is_cut_anywhere_is_not_whole() {
        let command = b"*2\r\n$4\r\nINCR\r\n$1\r\nx\r\n";
        for end in 0..command.len() {
            assert_eq!(command_bytes(&command[..end]), Some(0), "{end}");
        }
        assert_eq!(command_bytes(command), Some(command.len()));
        for wrong in [&b"PING\r\n"[..], b"*x\r\n", b"*1\r\n+x\r\n", b"*1\r\n$99999999\r\n", b"*1\n"] {
            assert_eq!(command_bytes(wrong), None, "{:?}", String::from_utf8_lossy(wrong));
        }
    }
}
