//! The server that is asked: its address, how a connection to it begins, and what is said when it does not.
//!
//! Nothing waits longer than [`PATIENCE`] for a server that accepts and says nothing.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::control::{Control, encode};
use crate::config::Password;
use crate::socket::Socket;

/// How long a server may take to accept a connection, or to answer one request outside of the load.
pub const PATIENCE: Duration = Duration::from_secs(5);

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
        Ok(control.into_stream())
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
    #[error("the server refuses {command}: {}{}", reply.trim_end_matches('.'), remedy(reply))]
    Refused {
        /// What was asked.
        command: String,
        /// Its words.
        reply: String,
    },
}

impl TargetError {
    /// Nothing came: what the system says of that, in words.
    pub fn silent(address: &str, command: &str, error: io::Error) -> TargetError {
        let error = match error.kind() {
            // Of a socket that is waited for no longer than so long, which the system calls unavailable.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", PATIENCE.as_secs()))
            }
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it closed the connection"),
            _ => error,
        };
        TargetError::Silent { address: address.to_owned(), command: command.to_owned(), error }
    }
}

/// What to do when a cluster sends a request elsewhere although its nodes were asked for their own keys.
pub const MOVED: &str = ". Slots moved meanwhile: run it again when the cluster keeps them";

/// Whether an error reply sends a request elsewhere.
pub fn is_redirection(reply: &str) -> bool {
    matches!(reply.split(' ').next(), Some("MOVED" | "ASK"))
}

/// What to do about an error reply, if that is known.
pub fn remedy(reply: &str) -> &'static str {
    match reply.split(' ').next().unwrap_or_default() {
        _ if is_redirection(reply) => ". It is a node of a cluster: use --cluster",
        "NOAUTH" => ". Give the password with --auth",
        "WRONGPASS" => ". Give another one with --auth",
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

    #[test]
    fn silence_is_told_in_words() {
        for (kind, said) in [
            (io::ErrorKind::WouldBlock, "x did not answer MGET: nothing came for 5 s"),
            (io::ErrorKind::UnexpectedEof, "x did not answer MGET: it closed the connection"),
        ] {
            assert_eq!(TargetError::silent("x", "MGET", kind.into()).to_string(), said);
        }
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
