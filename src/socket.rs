//! A client's socket, TCP or Unix: how the ring receives and sends on it, and how that is done at once, without the ring.
//!
//! Operations of the ring take the descriptor, not the socket: whoever awaits one keeps the socket until it has completed.
//! The ring keeps a buffer until then, whatever becomes of the future.

mod buffer;
pub mod entry;

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use io_uring::{cqueue, opcode, squeue, types};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio_uring::{InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

pub use buffer::Buffer;

/// `POLLIN | POLLRDHUP`, as in `poll(2)`.
const READABLE: u32 = 0x0001 | 0x2000;
/// `MSG_NOSIGNAL`, as in `send(2)`.
const NO_SIGNAL: i32 = 0x4000;
/// `MSG_DONTWAIT | MSG_NOSIGNAL`.
const DO_NOT_WAIT: i32 = 0x40 | NO_SIGNAL;
/// `ECANCELED`, as in `errno(3)`.
pub const CANCELED: i32 = 125;

/// See the module.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Tcp {
        /// The stream.
        stream: TcpStream,
        /// Whose it is.
        peer: SocketAddr,
        /// Where it was accepted.
        local: SocketAddr,
    },
    /// A Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Receive into `range` of the buffer, from now on. 0 is the end of the stream, so the range must not be empty.
    pub fn receive(&self, mut buffer: Buffer, range: Range<usize>) -> Moving {
        let index = buffer.index();
        let (fd, (to, count)) = (types::Fd(self.fd()), place(&mut buffer, range));
        let entry = match index {
            Some(index) => opcode::ReadFixed::new(fd, to, count, index).build(),
            None => opcode::Recv::new(fd, to, count).build(),
        };
        UnsubmittedOneshot::new(buffer, WithBuffer, entry).submit()
    }

    /// The same where nothing can be there yet: the answer to what is about to be sent. The kernel does not look before it
    /// waits, which is worth more than what a registered buffer spares.
    pub fn receive_next(&self, mut buffer: Buffer, range: Range<usize>) -> Moving {
        let (to, count) = place(&mut buffer, range);
        let entry = entry::wait_first(opcode::Recv::new(types::Fd(self.fd()), to, count).build());
        UnsubmittedOneshot::new(buffer, WithBuffer, entry).submit()
    }

    /// Send `range` of the buffer from now on, as much as the kernel takes. Unless it `waits`, a client that does not read is
    /// `WouldBlock` at once.
    pub fn send(&self, buffer: Buffer, range: Range<usize>, waits: bool) -> Moving {
        let fd = types::Fd(self.fd());
        let place = &buffer[range];
        let (from, count) = (place.as_ptr(), place.len() as u32);
        let entry = match (waits, buffer.index()) {
            (true, Some(index)) => opcode::WriteFixed::new(fd, from, count, index).build(),
            (true, None) => opcode::Send::new(fd, from, count).flags(NO_SIGNAL).build(),
            // Before Linux 6.4 a fixed write to a socket could not be told not to wait.
            (false, _) => opcode::Send::new(fd, from, count).flags(DO_NOT_WAIT).build(),
        };
        UnsubmittedOneshot::new(buffer, WithBuffer, entry).submit()
    }

    /// Receive what is there, with a system call of its own. 0 is the end of the stream, as above.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there.
    pub fn receive_at_once(&self, place: &mut [u8]) -> io::Result<usize> {
        assert!(!place.is_empty(), "a receive into nothing would look like the end of the stream");
        Ok(recv(self, place, RecvFlags::DONTWAIT)?.0)
    }

    /// Send what the kernel takes at once, with a system call of its own.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing.
    pub fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
    }

    /// End the receive or send that waits on this socket, or `both`: it completes with `ECANCELED` and brings its buffer
    /// back.
    pub async fn cancel(&self, both: bool) {
        let of_socket = types::CancelBuilder::fd(types::Fd(self.fd()));
        // To look for a second one is to look at all that wait in the ring.
        let operations = if both { of_socket.all() } else { of_socket };
        // Nothing to cancel is fine: it has just completed.
        let _ = submit(opcode::AsyncCancel2::new(operations).build()).await;
    }

    /// As `shutdown(2)`: a pending receive or send ends.
    pub fn shutdown(&self, how: Shutdown) {
        // The peer may have been first.
        let _ = match self {
            Socket::Tcp { stream, .. } => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        };
    }

    /// Whether its client has sent something, or has ended, and that was not received yet.
    pub fn has_input(&self) -> bool {
        let mut polled = [PollFd::new(self, PollFlags::IN | PollFlags::RDHUP)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready_count| ready_count > 0)
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp { stream, .. } => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Wait until there is something to accept from a listening socket, or to read of an epoll instance.
///
/// # Errors
/// What the ring says.
pub async fn readable(fd: RawFd) -> io::Result<()> {
    submit(opcode::PollAdd::new(types::Fd(fd), READABLE).build()).await.map(|_| ())
}

async fn submit(entry: squeue::Entry) -> io::Result<i32> {
    UnsubmittedOneshot::new((), Plain, entry).submit().await
}

fn result(entry: &cqueue::Entry) -> io::Result<i32> {
    match entry.result() {
        code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
        code => Ok(code),
    }
}

/// The plain result of an operation.
struct Plain;

impl OneshotOutputTransform for Plain {
    type Output = io::Result<i32>;
    type StoredData = ();

    fn transform_oneshot_output(self, (): (), entry: cqueue::Entry) -> io::Result<i32> {
        result(&entry)
    }
}

/// A receive or a send that the ring has. It completes with the number of bytes that it moved, and its buffer.
pub type Moving = InFlightOneshot<Buffer, WithBuffer>;

/// How many bytes an operation moved, and its buffer.
pub struct WithBuffer;

impl OneshotOutputTransform for WithBuffer {
    type Output = (io::Result<usize>, Buffer);
    type StoredData = Buffer;

    fn transform_oneshot_output(self, buffer: Buffer, entry: cqueue::Entry) -> Self::Output {
        (result(&entry).map(|count| count as usize), buffer)
    }
}

/// Where the kernel receives to, and how many bytes at most.
fn place(buffer: &mut [u8], range: Range<usize>) -> (*mut u8, u32) {
    assert!(!range.is_empty(), "a receive into nothing would look like the end of the stream");
    let place = &mut buffer[range];
    (place.as_mut_ptr(), place.len() as u32)
}
