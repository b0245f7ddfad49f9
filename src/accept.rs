//! Listening sockets, and handing what they accept to the shard with the fewest connections.
//!
//! One shard accepts for all, but for what comes to a shard's own port (`--cluster-enabled yes`). Accepting is a plain
//! system call once the ring has said that there is something to accept, a few times in one turn of the ring.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};
use tracing::warn;

use crate::config::Config;
use crate::limits::ACCEPT_COUNT_MAX;
use crate::server::refusal;
use crate::shard::{Accepted, Shard};
use crate::socket::{self, Socket};
use crate::startup::{StartError, classify_bind_error, classify_unix_socket_error, clear_unix_socket_path};

/// How long accepting rests when the ring cannot wait for a connection.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// The same when the system cannot give one out, for want of descriptors or memory: each time is told in the log.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a server that has just ended listened at is given back with its ring, which takes the kernel up to 10 ms. So an
/// address that is taken is tried again for so long: who restarts a server at once finds it free.
const TAKEN_PATIENCE: Duration = Duration::from_millis(300);

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// TCP, and where.
    Tcp(TcpListener, SocketAddr),
    /// Unix, and where.
    Unix(UnixListener, PathBuf),
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listener::Tcp(_, address) => write!(f, "{address}"),
            Listener::Unix(_, path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    /// The TCP port.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listener::Tcp(_, address) => Some(address.port()),
            Listener::Unix(..) => None,
        }
    }

    /// The same socket, for another owner.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn try_clone(&self) -> io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(listener, address) => Listener::Tcp(listener.try_clone()?, *address),
            Listener::Unix(listener, path) => Listener::Unix(listener.try_clone()?, path.clone()),
        })
    }

    fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match self {
            Listener::Tcp(listener, _) => {
                let (stream, peer) = listener.accept()?;
                let local = stream.local_addr()?;
                Ok((Socket::Tcp { stream, peer, local }, Some(peer)))
            }
            Listener::Unix(listener, _) => Ok((Socket::Unix(listener.accept()?.0), None)),
        }
    }

    fn fd(&self) -> i32 {
        match self {
            Listener::Tcp(listener, _) => listener.as_raw_fd(),
            Listener::Unix(listener, _) => listener.as_raw_fd(),
        }
    }
}

/// Listen wherever the configuration says.
///
/// # Errors
/// A port that is taken, an address that is not there, a path that cannot be used.
pub fn listen(config: &Config) -> Result<Vec<Listener>, StartError> {
    let mut listeners = listen_at(&config.bind, config.port, config.tcp_backlog)?;
    if let Some(path) = &config.unixsocket {
        patiently(|| clear_unix_socket_path(path))?;
        let listener = listen_unix(path.clone(), config).map_err(|error| classify_unix_socket_error(error, path))?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Listen for cluster clients: each shard's listeners, all on one port of its own.
///
/// # Errors
/// As [`listen`].
pub fn listen_directly(config: &Config) -> Result<Vec<Vec<Listener>>, StartError> {
    if !config.cluster_enabled {
        return Ok((0..config.threads).map(|_| Vec::new()).collect());
    }
    let port_of = |shard: usize| if config.port == 0 { 0 } else { config.port + 1 + shard as u16 };
    (0..config.threads).map(|shard| listen_at(&config.bind, port_of(shard), config.tcp_backlog)).collect()
}

/// Listen for scrapers; without `--metrics-port` nowhere.
///
/// # Errors
/// As [`listen`].
pub fn listen_for_metrics(config: &Config) -> Result<Vec<TcpListener>, StartError> {
    let addresses = config.metrics_bind.iter().filter(|_| config.metrics_port != 0);
    let listener =
        |address: &IpAddr| match listen_tcp(*address, config.metrics_port, config.tcp_backlog, "metrics-port")? {
            Listener::Tcp(listener, _) => Ok(listener),
            Listener::Unix(..) => unreachable!("a TCP listener was asked for"),
        };
    addresses.map(listener).collect()
}

/// Listen on one port of several addresses. With port 0 the system chooses for the first one, and the others follow it.
fn listen_at(bind: &[IpAddr], mut port: u16, backlog: u32) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for address in bind {
        let listener = listen_tcp(*address, port, backlog, "port")?;
        port = listener.port().unwrap_or(port);
        listeners.push(listener);
    }
    Ok(listeners)
}

/// `flag`: the one that the port is from.
fn listen_tcp(address: IpAddr, port: u16, backlog: u32, flag: &'static str) -> Result<Listener, StartError> {
    let address = SocketAddr::new(address, port);
    patiently(|| try_listen_tcp(address, backlog).map_err(|error| classify_bind_error(error, address, flag)))
}

fn patiently<T>(listen: impl Fn() -> Result<T, StartError>) -> Result<T, StartError> {
    let deadline = Instant::now() + TAKEN_PATIENCE;
    loop {
        match listen() {
            Err(StartError::PortTaken { .. } | StartError::UnixSocketTaken { .. }) if Instant::now() < deadline => {
                std::thread::sleep(TAKEN_PATIENCE / 100);
            }
            listened => return listened,
        }
    }
}

fn try_listen_tcp(address: SocketAddr, backlog: u32) -> io::Result<Listener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog as i32)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok(Listener::Tcp(listener, address))
}

fn listen_unix(path: PathBuf, config: &Config) -> io::Result<Listener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&path)?)?;
    if let Some(mode) = config.unixsocketperm {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    socket.listen(config.tcp_backlog as i32)?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Unix(UnixListener::from(socket), path))
}

/// Accept for as long as the server runs: for all shards, or `direct`ly for this one.
pub async fn accept(shard: Rc<Shard>, listener: Listener, direct: bool) {
    loop {
        if socket::readable(listener.fd()).await.is_err() {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        for _ in 0..ACCEPT_COUNT_MAX {
            match listener.accept() {
                Ok((socket, peer)) => place(&shard, socket, peer, direct).await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // It was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    warn!("cannot accept: {error}; {}", accept_remedy(&error));
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    break;
                }
            }
        }
    }
}

/// What helps when the system gives out no connection.
fn accept_remedy(error: &io::Error) -> &'static str {
    /// `EMFILE`, `ENFILE`, as in `errno(3)`.
    const NO_DESCRIPTOR: [i32; 2] = [24, 23];
    match error.raw_os_error() {
        Some(code) if NO_DESCRIPTOR.contains(&code) => {
            "raise the limit of descriptors (ulimit -n, fs.file-max) or lower maxclients"
        }
        _ => "see what of the system's memory and network is exhausted; it is tried again every second",
    }
}

/// Refuse a connection, or hand it to the shard with the fewest, unless it came `direct`ly to this one.
async fn place(shard: &Rc<Shard>, mut socket: Socket, peer: Option<SocketAddr>, direct: bool) {
    let live = shard.live();
    if let Some(refusal) = refusal(&shard.shared, &live, peer) {
        shard.shared.reject(refusal);
        refuse(&mut socket, refusal.text());
        return;
    }
    if let Socket::Tcp { stream, .. } = &socket {
        // A connection that is gone already fails here and ends with its first receive.
        let _ = stream.set_nodelay(true);
        if live.tcp_keepalive_s > 0 {
            let time = Duration::from_secs(live.tcp_keepalive_s.into());
            let interval = Duration::from_secs((live.tcp_keepalive_s / 3).max(1).into());
            let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(3);
            let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
        }
    }
    let (target, id) =
        if direct { (shard.index, shard.shared.add_client(shard.index)) } else { shard.shared.place_client() };
    let mut accepted = Box::new(Accepted { socket, id, direct });
    if target == shard.index {
        return shard.start(*accepted);
    }
    while let Err(back) = shard.hand_over(target, accepted) {
        accepted = back;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn refuse(socket: &mut Socket, text: &str) {
    // One try: a new socket's send buffer is empty, and who does not take it is not waited for.
    let _ = match socket {
        Socket::Tcp { stream, .. } => stream.set_nonblocking(true).and_then(|()| stream.write_all(text.as_bytes())),
        Socket::Unix(stream) => stream.set_nonblocking(true).and_then(|()| stream.write_all(text.as_bytes())),
    };
}
