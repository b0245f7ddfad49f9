//! The same measurement on a real Redis, for the table in `docs/memory.md`: `TALLYRING_HOSTILE_PEER=redis-server`.

use std::ffi::OsStr;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use crate::outside::{MIB, PING_BAR, Watch, alone, longest_ping};
use crate::support::{Conn, PROCESS_LIMIT, Process, Server, within};
use crate::{idle, long};

/// What a peer may take of the machine's address space.
const PEER_BYTES_MAX: &str = "8589934592";

/// Growth in bytes, and the answering time that belongs to the first row.
struct Row {
    what: &'static str,
    growth_bytes: u64,
    ping: Option<Duration>,
}

/// The scenarios, each on a server that `start` has just started. A server that `streams` answers the keys that it has.
fn measure<S>(streams: bool, start: impl Fn() -> (S, SocketAddr, u32)) -> Vec<Row> {
    let row = |what: &'static str, count: u64, scenario: &dyn Fn(SocketAddr) -> Option<Duration>| {
        let (_server, address, pid) = start();
        let watch = Watch::begin(pid);
        long::prepare(&mut Conn::tcp(address));
        let ping = scenario(address);
        Row { what, growth_bytes: watch.peak_growth_bytes(what) / count, ping }
    };
    vec![
        row("50 clients hold an MGET of 1,000,000 keys", 1, &|address| {
            let mut ping = None;
            long::hold(address, streams, || ping = Some(longest_ping(address, PING_BAR)));
            ping
        }),
        row("20 clients complete an MGET of 1,000,000 keys", 1, &|address| {
            long::complete_mgets(address);
            None
        }),
        row("an idle connection, of 10,000", idle::COUNT as u64, &|address| {
            let _idle = idle::connect_many(address);
            longest_ping(address, PING_BAR);
            None
        }),
    ]
}

#[test]
fn a_peer_is_measured_when_one_is_named() {
    let Some(program) = std::env::var_os("TALLYRING_HOSTILE_PEER") else { return };
    let _alone = alone();
    let theirs = measure(false, || start_peer(&program));
    let ours = measure(true, || {
        let server = Server::start_with(1, &["--maxclients", "10100", "--tcp-backlog", "4096"]);
        let (address, pid) = (server.address(), server.id());
        (server, address, pid)
    });
    println!("| growth | {} | tallyring |\n| --- | --- | --- |", program.display());
    for (theirs, ours) in theirs.iter().zip(&ours) {
        println!("| {} | {theirs} | {ours} |", ours.what);
    }
}

/// A Redis that may take so much address space and no more.
fn start_peer(program: &OsStr) -> (Process, SocketAddr, u32) {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|probe| probe.local_addr());
    let port = probe.expect("a free port").port().to_string();
    let mut command = Command::new("prlimit");
    command.arg(format!("--as={PEER_BYTES_MAX}")).arg(program).args(["--port", &port]);
    command.args(["--save", "", "--appendonly", "no", "--maxclients", "10100", "--tcp-backlog", "4096"]);
    let peer = Process::spawn(command);
    within(PROCESS_LIMIT, "the peer is ready", || peer.lines().iter().any(|line| line.contains("Ready to accept")));
    let pid = peer.id();
    (peer, SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().expect("a port"))), pid)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.growth_bytes {
            bytes if bytes < 10_000 => write!(f, "{bytes} bytes")?,
            bytes => write!(f, "{:.1} MiB", bytes as f64 / MIB as f64)?,
        }
        match self.ping {
            Some(ping) => write!(f, "; a new connection's PING took {:.1} ms", ping.as_secs_f64() * 1e3),
            None => Ok(()),
        }
    }
}
