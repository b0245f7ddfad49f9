//! A connection that the server ended is opened again, as a client would: after a pause that grows from try to try.
//!
//! Nothing here keeps the thread from its other connections: it connects and waits while the ring turns. A connection is
//! given up after [`LOAD_REOPEN_TRY_COUNT_MAX`] tries without a reply in between.

use std::io;
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::buffer;
use super::pace::{now_ns, sleep_until};
use super::reply::{BUFFER_BYTES_MIN, Part, Replies};
use super::result::Load;
use super::target::{Address, PATIENCE, Stream, Target};
use super::thread::{Connection, Thread};
use crate::limits::LOAD_REOPEN_TRY_COUNT_MAX;
use crate::socket::{Buffer, Socket};

/// Before the first try; each further one waits for twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a connection ends with that the server has closed.
pub fn closed_by_server() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}

/// Open a lost connection again; false where it did not work, or is not worth while any more.
pub async fn reopen(thread: &Thread, connection: &Rc<Connection>) -> bool {
    // Connections that end together with the run are none that were lost.
    if thread.closing.get() {
        return false;
    }
    while connection.try_count.get() < LOAD_REOPEN_TRY_COUNT_MAX {
        let try_count = connection.try_count.replace(connection.try_count.get() + 1);
        let pause = PAUSE_MIN.saturating_mul(1 << try_count.min(16)).min(PAUSE_MAX);
        sleep_until(now_ns() + pause.as_nanos() as u64).await;
        if is_over(thread) {
            break;
        }
        if let Ok(socket) = open(&thread.nodes[connection.node].target).await {
            if is_over(thread) {
                break;
            }
            thread.regain(connection, socket);
            return true;
        }
    }
    thread.give_up(connection);
    false
}

/// Nothing more would be sent. What waits in an open loop is sent after the end of the measured time too.
fn is_over(thread: &Thread) -> bool {
    thread.closing.get() || (thread.run.load == Load::Closed && thread.is_over(now_ns()))
}

async fn open(target: &Target) -> io::Result<Socket> {
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let socket = timeout(PATIENCE, connect(&target.address)).await.map_err(slow)??;
    let greeted = timeout(PATIENCE, greet(target, &socket)).await.map_err(slow);
    // Ends an operation that the ring still has.
    greeted.and_then(|greeted| greeted).inspect_err(|_| socket.shutdown(Shutdown::Both))?;
    Ok(socket)
}

async fn connect(address: &Address) -> io::Result<Socket> {
    // The ring waits by itself; a socket that does not wait would only have it fail.
    let stream = match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?.into_std()?;
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            Stream::Tcp(stream)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await?.into_std()?;
            stream.set_nonblocking(false)?;
            Stream::Unix(stream)
        }
    };
    stream.into_socket()
}

/// Say what a server wants to be told first.
async fn greet(target: &Target, socket: &Socket) -> io::Result<()> {
    let (greeting, mut reply_count) = target.greeting();
    let bytes = greeting.len();
    buffer::send(socket, &mut Buffer::Plain(greeting.into()), 0..bytes).await?;
    let (mut input, mut held_bytes) = (Buffer::Plain(vec![0; BUFFER_BYTES_MIN].into()), 0);
    let (mut replies, mut refusal) = (Replies::default(), None);
    while reply_count > 0 {
        let end = input.len();
        let received_bytes = buffer::receive_next(socket, &mut input, held_bytes..end).await?;
        if received_bytes == 0 {
            return Err(closed_by_server());
        }
        let all_bytes = held_bytes + received_bytes;
        let consumed_bytes = replies
            .parse(&input[..all_bytes], |part| match part {
                Part::Error { text, .. } => refusal = Some(String::from_utf8_lossy(text).into_owned()),
                Part::End => reply_count -= 1,
                _ => {}
            })
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        input.copy_within(consumed_bytes..all_bytes, 0);
        held_bytes = all_bytes - consumed_bytes;
    }
    refusal.map_or(Ok(()), |refusal| Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal)))
}
