//! The server under test, and the Redis that it is compared with.
//!
//! Invariant: a server that ends by itself fails the test that started it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, Signal, geteuid, getrlimit};

use super::{Conn, PROCESS_LIMIT, Process, peer_or_skip, within};

/// A running `tallyring serve` on a port that the system chose.
pub struct Server {
    process: Process,
    address: SocketAddr,
    stopped: bool,
    /// Until it has ended.
    permit: Option<Permit>,
}

/// The binary under test.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("TALLYRING_TEST_BIN");
    named.unwrap_or_else(|| OsString::from(env!("CARGO_BIN_EXE_tallyring"))).into()
}

/// `tallyring serve` on loopback with `threads` shards and `args`, through `binary`. Without a `--dir` nothing is kept, and
/// without `--pin` no shard is pinned.
pub fn serve_command(binary: &Path, threads: usize, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(["serve", "--port", "0", "--bind", "127.0.0.1", "--log-level", "info"]);
    command.arg("--threads").arg(threads.to_string()).args(args);
    if !args.contains(&"--pin") {
        command.args(["--pin", "none"]);
    }
    if !args.contains(&"--dir") {
        command.args(["--appendonly", "no"]);
    }
    command
}

impl Server {
    /// A server with `threads` shards.
    #[track_caller]
    pub fn start(threads: usize) -> Server {
        Server::start_with(threads, &[])
    }

    /// A server with `threads` shards and more arguments.
    #[track_caller]
    pub fn start_with(threads: usize, args: &[&str]) -> Server {
        Server::spawn(serve_command(&binary(), threads, args))
    }

    /// The server that `command` runs.
    #[track_caller]
    pub fn spawn(command: Command) -> Server {
        let permit = Permit::take();
        let mut process = Process::spawn(command);
        let mut port = None;
        within(PROCESS_LIMIT, "the server says where it listens", || {
            let ended = process.ended();
            port = process.lines().iter().find_map(|line| listening_port(line));
            if port.is_none() && ended.is_some() {
                panic!("the server ended at its start, {ended:?}:\n{}", process.tail());
            }
            port.is_some()
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("just found")));
        Server { process, address, stopped: false, permit: Some(permit) }
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::tcp(self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port, as text.
    pub fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// What it has logged.
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Memory of the process that is resident, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
        let kibibytes: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kibibytes * 1024
    }

    /// Send a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Wait for the end that a signal or a command has caused.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.stopped = true;
        let status = self.process.wait(PROCESS_LIMIT);
        self.permit = None;
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = if self.stopped { None } else { self.process.ended() };
        if std::thread::panicking() {
            println!("the server's log ends ({ended:?}):\n{}", self.process.tail());
        } else if let Some(status) = ended {
            panic!("the server ended by itself, {status}:\n{}", self.process.tail());
        }
    }
}

/// A real Redis, without persistence, on a free port.
pub struct RedisServer {
    process: Process,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl RedisServer {
    /// Start one with more arguments; `None`, with a line about it, when Redis is not installed.
    pub fn start_or_skip(args: &[&str]) -> Option<RedisServer> {
        let program = peer_or_skip("redis-server")?;
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..5 {
            // The port may be taken again before Redis binds it; then another is tried.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|probe| probe.local_addr());
            let address = port.expect("a free port");
            let mut command = Command::new(&program);
            command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--databases", "1"]);
            command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir.path()).args(args);
            let mut process = Process::spawn(command);
            let mut ended = None;
            within(PROCESS_LIMIT, "redis-server is ready", || {
                ended = process.ended();
                ended.is_some() || process.lines().iter().any(|line| line.contains("Ready to accept connections"))
            });
            if ended.is_none() {
                return Some(RedisServer { process, address, _dir: dir });
            }
            println!("redis-server ended, {ended:?}:\n{}", process.tail());
        }
        panic!("redis-server does not start");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::tcp(self.address)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if std::thread::panicking() && self.process.ended().is_some() {
            println!("redis-server ended:\n{}", self.process.tail());
        }
    }
}

/// `listening on 127.0.0.1:PORT`
fn listening_port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// How many servers run at once. Locked memory is counted per user: where it is short, one server gets all of it.
struct Permit;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

impl Permit {
    fn take() -> Permit {
        let memlock = getrlimit(Resource::Memlock).current;
        let short = !geteuid().is_root() && memlock.is_some_and(|bytes| bytes < 1 << 30);
        let limit = if short { 1 } else { 4 };
        let guard = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Duration::from_secs(280);
        let result = ENDED.wait_timeout_while(guard, wait, |running| *running >= limit);
        let (mut running, waited) = result.unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "the servers of other tests did not end within {wait:?}");
        *running += 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
