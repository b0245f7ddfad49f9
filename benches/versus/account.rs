//! What the kernel accounts to processes, threads and the machine, read from `/proc` (proc(5)).
//!
//! Never estimates: what cannot be read is an error.

use std::fs;
use std::io;
use std::time::Duration;

/// Clock ticks a second in `/proc` (`USER_HZ`), the same on every Linux that there is.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process, of all its threads, in user mode and in the kernel; to the tick.
pub fn process_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name in parentheses, may hold spaces; user and system time are fields 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    sum_of_ticks(fields.split_whitespace().skip(11).take(2), &stat)
}

/// Processor time of the calling thread.
pub fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Time that all processors of the machine were not idle; what its hypervisor took away counts.
pub fn machine_time() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal
    let fields = line.split_whitespace().skip(1).enumerate().filter(|(field, _)| matches!(field, 0..=2 | 5..=7));
    sum_of_ticks(fields.map(|(_, ticks)| ticks), line)
}

/// Resident bytes of a process.
pub fn resident_bytes(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().map_err(|_| unreadable(&status))?;
    Ok(kib * 1_024)
}

fn sum_of_ticks<'a>(fields: impl Iterator<Item = &'a str>, text: &str) -> io::Result<Duration> {
    let ticks = fields.map(|field| field.parse::<u32>()).sum::<Result<u32, _>>().map_err(|_| unreadable(text))?;
    Ok(TICK * ticks)
}

fn unreadable(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("cannot be understood: {text}"))
}
