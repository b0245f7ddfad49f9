//! What the kernel accounts to this process, read when somebody asks.

use std::future::poll_fn;
use std::task::Poll;
use std::{fs, io, thread};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};

/// Clock ticks a second in `/proc`, the same on every Linux that there is (`USER_HZ`, proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident bytes: `VmRSS` of `/proc/self/status`; 0 where it cannot be read.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0) * 1_024
}

/// Seconds of processor time in user mode and in the kernel, of all threads: fields 14 and 15 of `/proc/self/stat`.
pub fn cpu_seconds() -> (f64, f64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the name in parentheses, may hold spaces.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |index: usize| fields.split_whitespace().nth(index).and_then(|field| field.parse().ok()).unwrap_or(0.0);
    (ticks(11) / TICKS_PER_SECOND, ticks(12) / TICKS_PER_SECOND)
}

/// Processor time of the calling thread, in nanoseconds (`CLOCK_THREAD_CPUTIME_ID`).
pub fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Descriptors that are open, and the most that there may be; `u64::MAX` is no limit.
pub fn descriptors() -> (u64, u64) {
    let open_count = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    // Reading the directory takes one itself.
    (open_count.saturating_sub(1), getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

/// Call `then` once somebody wants the process to end, by `SIGINT`, `SIGTERM` or `SIGHUP`. It does not end by itself any
/// more: `then` sees to that.
///
/// # Errors
/// Out of descriptors or threads.
pub fn when_told_to_end(then: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = || {
        let _within = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()
    };
    let mut told = told()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(poll_fn(|cx| match told.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }));
        then();
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_memory_and_has_worked() {
        assert!(super::resident_bytes() > 100_000);
        let start = std::time::Instant::now();
        let mut sum = 0_u64;
        while start.elapsed().as_millis() < 60 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let (user_s, system_s) = super::cpu_seconds();
        assert!(user_s + system_s > 0.0);
        assert!(super::thread_cpu_ns() > 1_000_000);
        let (open_count, open_count_max) = super::descriptors();
        assert!(open_count >= 3 && open_count <= open_count_max);
    }
}
