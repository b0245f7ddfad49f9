//! A client's socket: TCP or Unix, and the ring operations that tokio-uring does not offer by itself.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use io_uring::{cqueue, opcode, squeue, types};
use tokio_uring::buf::Slice;
use tokio_uring::buf::fixed::FixedBuf;
use tokio_uring::net::{TcpStream, UnixStream};
use tokio_uring::{BufResult, OneshotOutputTransform, UnsubmittedOneshot};

use crate::shard::AcceptedSocket;

/// `POLLIN | POLLRDHUP`, as in `poll(2)`.
pub const READABLE: u32 = 0x0001 | 0x2000;
/// `POLLOUT`, as in `poll(2)`.
pub const WRITABLE: u32 = 0x0004;
/// `ECANCELED`, as in `errno(3)`.
pub const CANCELED: i32 = 125;

/// See the module.
pub enum Socket {
    /// TCP, with the peer's address and the server's.
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

impl From<AcceptedSocket> for Socket {
    fn from(accepted: AcceptedSocket) -> Socket {
        match accepted {
            AcceptedSocket::Tcp(stream, peer, local) => {
                Socket::Tcp { stream: TcpStream::from_std(stream), peer, local }
            }
            AcceptedSocket::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)),
        }
    }
}

impl Socket {
    /// Receive into the slice. 0 is the end of the stream, so the slice must not be empty.
    pub async fn read_fixed(&self, slice: Slice<FixedBuf>) -> BufResult<usize, Slice<FixedBuf>> {
        assert!(slice.end() > slice.begin(), "a receive into nothing would look like the end of the stream");
        match self {
            Socket::Tcp { stream, .. } => stream.read_fixed(slice).await,
            Socket::Unix(stream) => stream.read_fixed(slice).await,
        }
    }

    /// Send from the slice, as much as the kernel takes.
    pub async fn write_fixed(&self, slice: Slice<FixedBuf>) -> BufResult<usize, Slice<FixedBuf>> {
        match self {
            Socket::Tcp { stream, .. } => stream.write_fixed(slice).await,
            Socket::Unix(stream) => stream.write_fixed(slice).await,
        }
    }

    /// As [`Socket::read_fixed`], into memory that is not registered.
    pub async fn read(&self, slice: Slice<Vec<u8>>) -> BufResult<usize, Slice<Vec<u8>>> {
        assert!(slice.end() > slice.begin(), "a receive into nothing would look like the end of the stream");
        match self {
            Socket::Tcp { stream, .. } => stream.read(slice).await,
            Socket::Unix(stream) => stream.read(slice).await,
        }
    }

    /// As [`Socket::write_fixed`], from memory that is not registered.
    pub async fn write(&self, slice: Slice<Vec<u8>>) -> BufResult<usize, Slice<Vec<u8>>> {
        match self {
            Socket::Tcp { stream, .. } => stream.write(slice).submit().await,
            Socket::Unix(stream) => stream.write(slice).submit().await,
        }
    }

    /// Wait until the socket is ready for `events` ([`READABLE`], [`WRITABLE`]), holding no buffer.
    ///
    /// # Errors
    /// `ECANCELED` after [`Socket::cancel`].
    pub async fn ready(&self, events: u32) -> io::Result<()> {
        submit(opcode::PollAdd::new(types::Fd(self.fd()), events).build()).await.map(|_| ())
    }

    /// End whatever operation waits on this socket: it completes with `ECANCELED` and brings its buffer back.
    pub async fn cancel(&self) {
        // Nothing to cancel is fine: it has just completed.
        let _ = submit(opcode::AsyncCancel2::new(types::CancelBuilder::fd(types::Fd(self.fd())).all()).build()).await;
    }

    /// As `shutdown(2)`: a pending receive or send ends.
    pub fn shutdown(&self, how: Shutdown) {
        // The peer may have been first.
        let _ = match self {
            Socket::Tcp { stream, .. } => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        };
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        match self {
            Socket::Tcp { stream, .. } => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// Wait until a listening socket has a connection to accept.
///
/// # Errors
/// What the ring says.
pub async fn readable(fd: RawFd) -> io::Result<()> {
    submit(opcode::PollAdd::new(types::Fd(fd), READABLE).build()).await.map(|_| ())
}

/// The plain result of an operation.
struct Plain;

impl OneshotOutputTransform for Plain {
    type Output = io::Result<i32>;
    type StoredData = ();

    fn transform_oneshot_output(self, (): (), entry: cqueue::Entry) -> io::Result<i32> {
        match entry.result() {
            code if code < 0 => Err(io::Error::from_raw_os_error(-code)),
            code => Ok(code),
        }
    }
}

async fn submit(entry: squeue::Entry) -> io::Result<i32> {
    UnsubmittedOneshot::new((), Plain, entry).submit().await
}
