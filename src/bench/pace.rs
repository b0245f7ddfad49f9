//! The time of a load thread, and sleeping until a moment: exact where tokio's timers have a millisecond.

use std::fs::File;
use std::io::{self, Read};

use io_uring::{cqueue, opcode, types};
use rustix::time::{ClockId, clock_gettime};
use tokio_uring::{OneshotOutputTransform, UnsubmittedOneshot};

use super::record::SECOND_NS;

/// The monotonic clock in nanoseconds, which is what the ring's timeouts count by.
#[inline]
pub fn now_ns() -> u64 {
    ns(clock_gettime(ClockId::Monotonic))
}

/// Processor time that this thread has used, in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// Time for which this thread would have run but was kept from it by others, in nanoseconds (proc_pid_schedstat(5)); 0 where
/// the kernel does not tell. A file is opened for it: not for every turn.
pub fn thread_kept_ns() -> u64 {
    let mut text = [0; 64];
    let read = File::open("/proc/thread-self/schedstat").and_then(|mut file| file.read(&mut text));
    let text = read.ok().and_then(|count| std::str::from_utf8(&text[..count]).ok()).unwrap_or_default();
    text.split(' ').nth(1).and_then(|kept_ns| kept_ns.parse().ok()).unwrap_or(0)
}

fn ns(time: rustix::time::Timespec) -> u64 {
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}

/// Sleep until a moment of the monotonic clock; the ring goes on meanwhile.
pub async fn sleep_until(ns: u64) {
    let moment = Box::new(types::Timespec::new().sec(ns / SECOND_NS).nsec((ns % SECOND_NS) as u32));
    // The entry points to the box, which the operation keeps.
    let entry = opcode::Timeout::new(&*moment).flags(types::TimeoutFlags::ABS).build();
    // It ends with ETIME, or at once where the moment has passed.
    let _: io::Result<()> = UnsubmittedOneshot::new(moment, Ended, entry).submit().await;
}

struct Ended;

impl OneshotOutputTransform for Ended {
    type Output = io::Result<()>;
    type StoredData = Box<types::Timespec>;

    fn transform_oneshot_output(self, _: Box<types::Timespec>, entry: cqueue::Entry) -> io::Result<()> {
        if entry.result() < 0 { Err(io::Error::from_raw_os_error(-entry.result())) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleeping_ends_after_the_moment_and_not_long_after() {
        tokio_uring::start(async {
            let mut late_ns = Vec::new();
            for _ in 0..20 {
                let moment = now_ns() + 2_000_000;
                sleep_until(moment).await;
                late_ns.push(now_ns().checked_sub(moment).expect("the moment has come"));
            }
            late_ns.sort_unstable();
            // Others use this machine too; most of the time the core is free.
            assert!(late_ns[5] < 900_000, "{late_ns:?}");
            sleep_until(0).await;
        });
    }
}
