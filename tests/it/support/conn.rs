//! One client connection: bytes and requests out, replies in, everything with a time limit.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::{REPLY_LIMIT, Reply, error, read_reply};

/// Requests up to this size are written before replies are read; longer ones while they are read.
const WRITE_FIRST_BYTES: usize = 32 * 1024;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The server ended the connection.
    Closed,
    /// Nothing came within [`REPLY_LIMIT`].
    Silent,
    /// What came is no reply.
    Malformed(String),
}

/// A connection to any server that speaks RESP.
pub struct Conn {
    reader: BufReader<Stream>,
    stream: Stream,
}

/// A request as an array of bulk strings.
pub fn wire<A: AsRef<[u8]>>(args: impl IntoIterator<Item = A>) -> Vec<u8> {
    let (mut body, mut count) = (Vec::new(), 0);
    for arg in args {
        let arg = arg.as_ref();
        body.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        body.extend_from_slice(arg);
        body.extend_from_slice(b"\r\n");
        count += 1;
    }
    let mut request = format!("*{count}\r\n").into_bytes();
    request.append(&mut body);
    request
}

impl Conn {
    /// Connect over TCP; panics when the server does not accept.
    #[track_caller]
    pub fn tcp(address: SocketAddr) -> Conn {
        let stream = TcpStream::connect_timeout(&address, REPLY_LIMIT).expect("the server accepts a connection");
        stream.set_nodelay(true).expect("nodelay");
        Conn::new(Stream::Tcp(stream))
    }

    /// Connect over a Unix socket.
    #[track_caller]
    pub fn unix(path: &Path) -> Conn {
        Conn::new(Stream::Unix(UnixStream::connect(path).expect("the server accepts a connection")))
    }

    fn new(stream: Stream) -> Conn {
        stream.set_timeouts(REPLY_LIMIT);
        Conn { reader: BufReader::with_capacity(64 * 1024, stream.clone()), stream }
    }

    /// Write bytes as they are.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Write bytes as they are; panics when the server does not take them.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server takes the bytes");
    }

    /// Longest wait of a write.
    pub fn set_write_limit(&mut self, limit: Duration) {
        self.stream.set_write_limit(limit);
    }

    /// No more will be sent; replies still come.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next reply, or why there is none.
    pub fn try_read(&mut self) -> Result<Reply, ReadError> {
        read_reply(&mut self.reader).map_err(|cause| match cause.kind() {
            io::ErrorKind::InvalidData => ReadError::Malformed(cause.to_string()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ReadError::Silent,
            _ => ReadError::Closed,
        })
    }

    /// The next reply; panics when there is none.
    #[track_caller]
    pub fn read(&mut self) -> Reply {
        self.try_read().unwrap_or_else(|cause| panic!("a reply was expected, not {cause:?}"))
    }

    /// The next `count` replies.
    #[track_caller]
    pub fn read_many(&mut self, count: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        for index in 0..count {
            match self.try_read() {
                Ok(reply) => replies.push(reply),
                Err(cause) => panic!("reply {index} of {count} was expected, not {cause:?}"),
            }
        }
        replies
    }

    /// All bytes until the server ends the connection, which it must; a reset counts as the end.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            match self.reader.read(&mut chunk) {
                Ok(0) => return bytes,
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) if matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    panic!("the server did not end the connection; it sent \"{}\"", bytes.escape_ascii())
                }
                Err(_) => return bytes,
            }
        }
    }

    /// Panics unless the server has ended the connection without another byte.
    #[track_caller]
    pub fn expect_closed(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "the end was expected, not \"{}\"", rest.escape_ascii());
    }

    /// Send one request and read its reply.
    #[track_caller]
    pub fn call<A: AsRef<[u8]>>(&mut self, args: impl IntoIterator<Item = A>) -> Reply {
        let request = wire(args);
        self.exchange(&request, 1).remove(0)
    }

    /// Send the words of `line` as one request and read its reply.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> Reply {
        self.call(line.split_whitespace())
    }

    /// Send a request whose answer must be `expected`.
    #[track_caller]
    pub fn expect(&mut self, line: &str, expected: Reply) {
        let reply = self.ask(line);
        assert_eq!(reply, expected, "the reply to {line}");
    }

    /// Send a request whose answer must be the error `text`.
    #[track_caller]
    pub fn expect_error(&mut self, line: &str, text: &str) {
        self.expect(line, error(text));
    }

    /// Send bytes that hold `count` requests and read their replies, writing and reading at once when they are many.
    #[track_caller]
    pub fn exchange(&mut self, bytes: &[u8], count: usize) -> Vec<Reply> {
        if bytes.len() <= WRITE_FIRST_BYTES {
            self.send(bytes);
            return self.read_many(count);
        }
        let mut writer = self.stream.clone();
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || writer.write_all(bytes));
            let replies = self.read_many(count);
            writing.join().expect("no panic").expect("the server takes the bytes");
            replies
        })
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn clone(&self) -> Stream {
        match self {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().expect("a descriptor")),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().expect("a descriptor")),
        }
    }

    fn set_timeouts(&self, limit: Duration) {
        self.set_write_limit(limit);
        match self {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(limit)),
        }
        .expect("a read timeout");
    }

    fn set_write_limit(&self, limit: Duration) {
        match self {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(limit)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(limit)),
        }
        .expect("a write timeout");
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(how),
            Stream::Unix(stream) => stream.shutdown(how),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
