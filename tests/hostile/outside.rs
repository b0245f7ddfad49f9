//! What is seen of a server from outside: its memory and descriptors as the kernel counts them, and how soon it answers.

use std::fmt;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::swarm::connect;

/// A mebibyte.
pub const MIB: u64 = 1 << 20;

/// A new connection is answered within this time, whatever others do.
pub const PING_BAR: Duration = Duration::from_millis(5);

/// How often a watched server's memory is read.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(25);

/// Memory of a process, in bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Resident pages, exactly, by `/proc/PID/smaps_rollup`.
    pub resident_bytes: u64,
    /// Those of them that no file backs.
    pub anonymous_bytes: u64,
}

impl Memory {
    /// Memory of a process now.
    #[track_caller]
    pub fn of(pid: u32) -> Memory {
        Memory::try_of(pid).expect("the server runs")
    }

    fn try_of(pid: u32) -> Option<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        Some(Memory { resident_bytes: field(&text, "Rss:")?, anonymous_bytes: field(&text, "Anonymous:")? })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB resident, {} KiB anonymous", self.resident_bytes >> 10, self.anonymous_bytes >> 10)
    }
}

/// The greatest address space that the process ever had, by `/proc/PID/status`.
#[track_caller]
pub fn address_space_peak_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    field(&text, "VmPeak:").expect("the kernel tells")
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes << 10)
}

/// How many descriptors the process has open.
#[track_caller]
pub fn descriptor_count(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server runs").count()
}

/// The most that a server's memory has been.
struct Peak {
    resident_bytes: AtomicU64,
    anonymous_bytes: AtomicU64,
}

impl Peak {
    fn new(memory: Memory) -> Peak {
        let Memory { resident_bytes, anonymous_bytes } = memory;
        Peak { resident_bytes: AtomicU64::new(resident_bytes), anonymous_bytes: AtomicU64::new(anonymous_bytes) }
    }

    fn take_in(&self, memory: Memory) {
        self.resident_bytes.fetch_max(memory.resident_bytes, Ordering::Relaxed);
        self.anonymous_bytes.fetch_max(memory.anonymous_bytes, Ordering::Relaxed);
    }
}

/// A server's memory from now on: what it was, and the most that it has been.
pub struct Watch {
    pid: u32,
    before: Memory,
    peak: Arc<Peak>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begin.
    #[track_caller]
    pub fn begin(pid: u32) -> Watch {
        Watch::begin_every(SAMPLE_INTERVAL, pid)
    }

    /// Begin, and read the memory so often: each time takes a millisecond of a core that others may need.
    #[track_caller]
    pub fn begin_every(interval: Duration, pid: u32) -> Watch {
        let before = Memory::of(pid);
        let (peak, over) = (Arc::new(Peak::new(before)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (Arc::clone(&peak), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let Some(memory) = Memory::try_of(pid) else { return };
                seen.take_in(memory);
                std::thread::sleep(interval);
            }
        });
        Watch { pid, before, peak, over, thread: Some(thread) }
    }

    /// By how much the resident memory has grown at its greatest; says so.
    #[track_caller]
    pub fn peak_growth_bytes(&self, what: &str) -> u64 {
        let now = Memory::of(self.pid);
        self.peak.take_in(now);
        let growth_bytes = self.peak.resident_bytes.load(Ordering::Relaxed) - self.before.resident_bytes;
        println!("{what}: grew by {} KiB at most (from {} to {now})", growth_bytes >> 10, self.before);
        growth_bytes
    }

    /// By how much what no file backs has grown at its greatest. The program's own pages are in memory once they have
    /// been run; how many come with one of them is the page cache's business.
    #[track_caller]
    pub fn peak_anonymous_growth_bytes(&self) -> u64 {
        self.peak.take_in(Memory::of(self.pid));
        self.peak.anonymous_bytes.load(Ordering::Relaxed) - self.before.anonymous_bytes
    }

    /// By how much what no file backs has grown now.
    #[track_caller]
    pub fn anonymous_growth_bytes(&self) -> i64 {
        Memory::of(self.pid).anonymous_bytes as i64 - self.before.anonymous_bytes as i64
    }

    /// By how much it has grown now.
    #[track_caller]
    pub fn growth_bytes(&self) -> i64 {
        Memory::of(self.pid).resident_bytes as i64 - self.before.resident_bytes as i64
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// How long a new connection takes to be answered: the longest of 20, in the best of three attempts.
#[track_caller]
pub fn longest_ping(address: SocketAddr, bar: Duration) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let longest = (0..20).map(|_| ping(address)).max().expect("there were some");
        best = best.min(longest);
        if best <= bar {
            break;
        }
    }
    best
}

/// Connect, `PING`, `PONG`.
#[track_caller]
pub fn ping(address: SocketAddr) -> Duration {
    let start = Instant::now();
    let mut stream = connect(address);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
    stream.write_all(b"*1\r\n$4\r\nPING\r\n").expect("the server takes a PING");
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).expect("the server answers a PING");
    assert_eq!(&pong, b"+PONG\r\n");
    start.elapsed()
}

/// Raise the limit of descriptors, for this process and the servers that it starts, and say what it is then.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).expect("a process may raise its limit to the maximum");
    limit.maximum.unwrap_or(u64::MAX)
}

/// Tests here measure a server's memory and its answering times: one at a time.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    raise_descriptor_limit();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
