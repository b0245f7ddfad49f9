//! Tells the service manager that the server is ready, and that it stops: the protocol of sd_notify(3), a datagram to
//! the socket that `NOTIFY_SOCKET` names.
//!
//! Invariant: without that variable nothing happens, and a manager that cannot be reached never stops the server.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// What the manager is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every shard serves: `systemctl start` returns, and units that are ordered behind this one start.
    Ready,
    /// The end has begun: the manager waits for it, for `TimeoutStopSec=`.
    Stopping,
}

/// Tell the manager, if there is one. What keeps the message from it is logged.
pub fn notify(state: State) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else { return };
    let message: &[u8] = match state {
        State::Ready => b"READY=1\n",
        State::Stopping => b"STOPPING=1\n",
    };
    if let Err(error) = send(&place, message) {
        warn!("the service manager is not told {state:?}: {error} at NOTIFY_SOCKET={}", place.display());
    }
}

/// `/path`, or `@name` for an abstract socket (unix(7)).
fn address(place: &OsStr) -> io::Result<SocketAddr> {
    match place.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(place),
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an absolute path nor an abstract name")),
    }
}

fn send(place: &OsStr, message: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not keep the server from starting or ending.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message, &address(place)?).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = [0; 64];
        let count = socket.recv(&mut bytes).expect("it was sent");
        bytes[..count].to_vec()
    }

    #[test]
    fn a_path_and_an_abstract_name_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), b"READY=1\n").unwrap();
        assert_eq!(received(&by_path), b"READY=1\n");
        let name = format!("tallyring-test-{}", std::process::id());
        let by_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), b"STOPPING=1\n").unwrap();
        assert_eq!(received(&by_name), b"STOPPING=1\n");
    }

    #[test]
    fn what_is_no_place_is_an_error() {
        for place in ["relative", "/nonexistent/notify", "@tallyring-nobody"] {
            assert!(send(OsStr::new(place), b"READY=1\n").is_err(), "{place}");
        }
    }
}
