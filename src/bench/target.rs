//! The server that is asked: its address, how a connection to it begins, and the few things that are asked outside of
//! the load, one at a time.
//!
//! Nothing waits longer than [`PATIENCE`] for a server that accepts and says nothing. What a server answers is bounded
//! before it is believed.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Password;
use crate::socket::Socket;

/// How long a server may take to accept a connection, or to answer one request outside of the load.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Longest string and line of a reply outside of the load.
const STRING_BYTES_MAX: usize = 1 << 20;

/// Most elements of one array there, and how deep arrays may lie in each other.
const ELEMENT_COUNT_MAX: i64 = 1 << 20;
const DEPTH_MAX: usize = 8;

/// Where the server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Look a host's address up; the first one that there is.
    ///
    /// # Errors
    /// What the resolver says.
    pub fn resolve(host: &str, port: u16) -> io::Result<Address> {
        let mut found = (host, port).to_socket_addrs()?;
        let first = found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such host"))?;
        Ok(Address::Tcp(first))
    }

    /// It is on this machine: an address of the loopback, or a Unix socket, or one of this machine's own addresses.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            // Only an address of one's own can be bound to.
            Address::Tcp(address) => {
                address.ip().is_loopback()
                    || (!address.ip().is_unspecified() && std::net::UdpSocket::bind((address.ip(), 0)).is_ok())
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A server, and what it wants to be told first.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it is.
    pub address: Address,
    /// For `AUTH`: the user, and the password.
    pub auth: Option<(Option<String>, Password)>,
    /// The protocol, 2 or 3.
    pub resp: u8,
}

impl Target {
    /// The same server's node at another address.
    pub fn at(&self, address: Address) -> Target {
        Target { address, ..self.clone() }
    }

    /// Connect, and go through what comes first.
    ///
    /// # Errors
    /// Where the server cannot be reached, refuses, or does not answer in time.
    pub fn connect(&self) -> Result<Stream, TargetError> {
        let stream =
            self.open().map_err(|error| TargetError::Unreachable { address: self.address.to_string(), error })?;
        if self.auth.is_none() && self.resp == 2 {
            return Ok(stream);
        }
        let mut control = Control::over(self, stream);
        for arguments in self.greetings() {
            control.ask(&arguments)?;
        }
        Ok(control.stream.into_inner())
    }

    /// What a server wants to be told first.
    fn greetings(&self) -> Vec<Vec<&str>> {
        let mut greetings = Vec::new();
        if let Some((user, password)) = &self.auth {
            let words = [Some("AUTH"), user.as_deref(), Some(&**password)];
            greetings.push(words.into_iter().flatten().collect());
        }
        if self.resp == 3 {
            greetings.push(vec!["HELLO", "3"]);
        }
        greetings
    }

    /// That, encoded, and how many replies it has.
    pub fn greeting(&self) -> (Vec<u8>, usize) {
        let (greetings, mut bytes) = (self.greetings(), Vec::new());
        greetings.iter().for_each(|arguments| encode(arguments, &mut bytes));
        (bytes, greetings.len())
    }

    fn open(&self) -> io::Result<Stream> {
        let stream = match &self.address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
        };
        stream.set_patience(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A connection for asking one thing at a time.
    ///
    /// # Errors
    /// As [`Target::connect`].
    pub fn control(&self) -> Result<Control, TargetError> {
        let stream = self.connect()?;
        Ok(Control::over(self, stream))
    }
}

/// Why the server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No connection.
    #[error(
        "cannot connect to {address}: {error}. Is the server up, and is this its --host and --port (or --unixsocket)?"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The connection ended, or nothing came.
    #[error("{address} did not answer {command}: {error}")]
    Silent {
        /// Who.
        address: String,
        /// What was asked.
        command: String,
        /// Why.
        error: io::Error,
    },
    /// An error reply.
    #[error("the server refuses {command}: {reply}{}", remedy(reply))]
    Refused {
        /// What was asked.
        command: String,
        /// Its words.
        reply: String,
    },
}

/// What to do about an error reply.
fn remedy(reply: &str) -> &'static str {
    match reply.split(' ').next().unwrap_or_default() {
        "NOAUTH" => ". Give the password with --auth",
        "WRONGPASS" => ". Give another one with --auth",
        "MOVED" | "ASK" => ". It is a node of a cluster: use --cluster",
        "DENIED" => ". It serves its own machine alone: see its --requirepass, or protected-mode",
        "NOPROTO" => ". Use --resp 2",
        _ => "",
    }
}

/// A connected socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Stream {
    fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
            Stream::Unix(stream) => {
                stream.set_read_timeout(patience)?;
                stream.set_write_timeout(patience)
            }
        }
    }

    /// This end's address, for finding the process at the other one.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// The process at the other end of a Unix socket (`SO_PEERCRED`).
    pub fn peer_process(&self) -> Option<u32> {
        match self {
            Stream::Tcp(_) => None,
            Stream::Unix(stream) => {
                let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
                u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()
            }
        }
    }

    /// For the ring of a load thread.
    ///
    /// # Errors
    /// Where the connection has ended already.
    pub fn into_socket(self) -> io::Result<Socket> {
        self.set_patience(None)?;
        Ok(match self {
            Stream::Tcp(stream) => {
                let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
                Socket::Tcp { stream, peer, local }
            }
            Stream::Unix(stream) => Socket::Unix(stream),
        })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
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

/// A reply outside of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Integer(i64),
    /// A string or a status.
    Text(String),
    /// An error, without its `-`.
    Error(String),
    /// Null.
    Null,
    /// An array, a set, or a map's keys and values in turn.
    Array(Vec<Value>),
}

impl Value {
    fn ok_or_refused(self, command: &str) -> Result<Value, TargetError> {
        match self {
            Value::Error(reply) => Err(TargetError::Refused { command: command.to_owned(), reply }),
            value => Ok(value),
        }
    }

    /// A counter's value, where it is one: none is 0.
    pub fn counter(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            Value::Null => Some(0),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// See [`Target::control`].
pub struct Control {
    stream: BufReader<Stream>,
    address: String,
}

impl Control {
    fn over(target: &Target, stream: Stream) -> Control {
        Control { stream: BufReader::new(stream), address: target.address.to_string() }
    }

    /// The connection.
    pub fn stream(&self) -> &Stream {
        self.stream.get_ref()
    }

    /// Ask, and wait for the reply.
    ///
    /// # Errors
    /// Where none comes. An error reply is a value.
    pub fn call(&mut self, arguments: &[impl AsRef<[u8]>]) -> Result<Value, TargetError> {
        let mut request = Vec::new();
        encode(arguments, &mut request);
        let command = String::from_utf8_lossy(arguments[0].as_ref()).into_owned();
        Ok(self.pipeline(&request, 1, &command)?.pop().expect("one reply was asked for"))
    }

    /// As [`Control::call`], for an error reply is an error here.
    ///
    /// # Errors
    /// As said.
    pub fn ask(&mut self, arguments: &[impl AsRef<[u8]>]) -> Result<Value, TargetError> {
        let command = String::from_utf8_lossy(arguments[0].as_ref()).into_owned();
        self.call(arguments)?.ok_or_refused(&command)
    }

    /// Send encoded requests, and wait for so many replies.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn pipeline(&mut self, requests: &[u8], reply_count: usize, command: &str) -> Result<Vec<Value>, TargetError> {
        let silent = |address: &str, error: io::Error| {
            let error = match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", PATIENCE.as_secs()))
                }
                io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it closed the connection"),
                _ => error,
            };
            TargetError::Silent { address: address.to_owned(), command: command.to_owned(), error }
        };
        self.stream.get_mut().write_all(requests).map_err(|error| silent(&self.address, error))?;
        (0..reply_count).map(|_| value(&mut self.stream, 0).map_err(|error| silent(&self.address, error))).collect()
    }
}

/// Append a request.
pub fn encode(arguments: &[impl AsRef<[u8]>], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        let argument = argument.as_ref();
        to.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        to.extend_from_slice(argument);
        to.extend_from_slice(b"\r\n");
    }
}

fn value(from: &mut impl BufRead, depth: usize) -> io::Result<Value> {
    let wrong = |text: &[u8]| {
        io::Error::new(io::ErrorKind::InvalidData, format!("no RESP: {:?}", String::from_utf8_lossy(text)))
    };
    let mut line = Vec::new();
    from.by_ref().take(STRING_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let Some((&kind, text)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else {
        return Err(wrong(&line));
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let number = || text.parse::<i64>().map_err(|_| wrong(&line));
    Ok(match kind {
        b':' => Value::Integer(number()?),
        b'+' | b',' | b'(' | b'#' => Value::Text(text),
        b'-' => Value::Error(text),
        b'_' => Value::Null,
        b'$' | b'=' => match number()? {
            -1 => Value::Null,
            length if (0..=STRING_BYTES_MAX as i64).contains(&length) => {
                let mut bytes = vec![0; length as usize + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length as usize);
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => return Err(wrong(&line)),
        },
        b'*' | b'~' | b'%' => match number()? {
            -1 => Value::Null,
            count if (0..=ELEMENT_COUNT_MAX).contains(&count) && depth < DEPTH_MAX => {
                let count = if kind == b'%' { 2 * count } else { count };
                Value::Array((0..count).map(|_| value(from, depth + 1)).collect::<io::Result<_>>()?)
            }
            _ => return Err(wrong(&line)),
        },
        _ => return Err(wrong(&line)),
    })
}

/// An address of a node as `CLUSTER SLOTS` gives it: no host means the one that was asked.
pub fn node_address(asked: &Address, host: &str, port: u16) -> io::Result<Address> {
    match (host, asked) {
        ("", Address::Tcp(address)) => Ok(Address::Tcp(SocketAddr::new(address.ip(), port))),
        _ => match host.parse::<IpAddr>() {
            Ok(ip) => Ok(Address::Tcp(SocketAddr::new(ip, port))),
            Err(_) => Address::resolve(host, port),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(mut bytes: &[u8]) -> io::Result<Value> {
        value(&mut bytes, 0)
    }

    #[test]
    fn replies_are_understood() {
        assert_eq!(parsed(b":5\r\n").unwrap(), Value::Integer(5));
        assert_eq!(parsed(b"$2\r\n42\r\n").unwrap().counter(), Some(42));
        assert_eq!(parsed(b"$-1\r\n").unwrap().counter(), Some(0));
        assert_eq!(parsed(b"-ERR x\r\n").unwrap(), Value::Error("ERR x".to_owned()));
        let nested = parsed(b"*2\r\n%1\r\n+a\r\n:1\r\n_\r\n").unwrap();
        assert_eq!(
            nested,
            Value::Array(vec![Value::Array(vec![Value::Text("a".to_owned()), Value::Integer(1)]), Value::Null])
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for wrong in [&b""[..], b"HTTP/1.1\r\n", b":x\r\n", b"$99999999999\r\n", b"*99999999999\r\n", b"\r\n", b":1"] {
            assert!(parsed(wrong).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
        assert!(parsed(&b"*1\r\n".repeat(DEPTH_MAX + 2)).is_err());
    }

    #[test]
    fn addresses_of_this_machine_are_known_as_such() {
        let local = |text: &str| Address::Tcp(text.parse().unwrap()).is_local();
        assert!(local("127.0.0.1:1") && local("[::1]:1"));
        // RFC 5737: for documentation.
        assert!(!local("192.0.2.1:1"));
        assert!(Address::Unix("/x".into()).is_local());
    }
}
