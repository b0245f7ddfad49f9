//! What the kernel knows of the server's process and of the network, where it lets this process see it.
//!
//! It reads; what cannot be read is `None`, never a guess.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::pace::now_ns;
use super::record::Span;
use super::target::{Address, Stream};

/// Processor time of a process, by thread, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct ProcessTime {
    threads_ns: HashMap<u32, u64>,
}

impl ProcessTime {
    /// Until now.
    pub fn read(pid: u32) -> Option<ProcessTime> {
        let mut threads_ns = HashMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let path = entry.ok()?.path();
            let thread: u32 = path.file_name()?.to_str()?.parse().ok()?;
            // A thread may have ended meanwhile. The first number is the time on a core (proc_pid_schedstat(5)).
            let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
            threads_ns.insert(thread, text.split(' ').next()?.parse().ok()?);
        }
        Some(ProcessTime { threads_ns })
    }

    /// What was used since `earlier`: by all threads, and by the busiest.
    pub fn since(&self, earlier: &ProcessTime) -> (u64, u64) {
        let used = self
            .threads_ns
            .iter()
            .map(|(thread, now_ns)| now_ns.saturating_sub(earlier.threads_ns.get(thread).copied().unwrap_or(0)));
        used.fold((0, 0), |(sum_ns, most_ns), used_ns| (sum_ns + used_ns, most_ns.max(used_ns)))
    }
}

/// The process that a connection leads to, on this machine.
pub fn server_process(stream: &Stream, address: &Address) -> Option<u32> {
    match address {
        Address::Unix(_) => stream.peer_process(),
        Address::Tcp(server) => {
            let inode = socket_inode(*server, stream.local_address()?)?;
            owner(&format!("socket:[{inode}]"))
        }
    }
}

/// The inode of the server's end of a connection.
fn socket_inode(server: SocketAddr, client: SocketAddr) -> Option<u64> {
    let path = if server.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = fs::read_to_string(path).ok()?;
    let mapped = fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
    inode_in(&table, server, client).or_else(|| inode_in(&mapped, server, client))
}

/// In the kernel's table (proc_net(5), `tcp`): of lines `sl local remote st queues … uid timeout inode`.
fn inode_in(table: &str, server: SocketAddr, client: SocketAddr) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
        // Both ports and the one machine: that is one connection, except where addresses of the loopback differ.
        let found = port(fields.get(1)?)? == server.port() && port(fields.get(2)?)? == client.port();
        found.then(|| fields.get(9)?.parse().ok())?
    })
}

/// The process that has a descriptor of this name. Those of other users are not seen.
fn owner(name: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let descriptors = fs::read_dir(process.path().join("fd")).ok()?;
        let mut links = descriptors.flatten().filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        links.any(|link| link == Path::new(name)).then_some(pid)
    })
}

/// TCP segments that this machine has sent again until now, over all connections (`RetransSegs`, RFC 4022).
pub fn retransmit_count() -> Option<u64> {
    retransmits_in(&fs::read_to_string("/proc/net/snmp").ok()?)
}

fn retransmits_in(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let place = lines.next()?.split(' ').position(|name| name == "RetransSegs")?;
    lines.next()?.split(' ').nth(place)?.parse().ok()
}

/// The server's processor time and the network's troubles, at the beginning and at the end of the measured time.
pub struct Accounts {
    pid: Option<u32>,
    before: Option<(u64, Option<ProcessTime>, Option<u64>)>,
    after: Option<(u64, Option<ProcessTime>, Option<u64>)>,
}

impl Accounts {
    /// Of this server, where it can be seen.
    pub fn new(pid: Option<u32>) -> Accounts {
        Accounts { pid, before: None, after: None }
    }

    /// Read what is due at this moment.
    pub fn look(&mut self, span: Span, now_ns: u64) {
        let read = || (now_ns, self.pid.and_then(ProcessTime::read), retransmit_count());
        if self.before.is_none() && now_ns >= span.start_ns {
            self.before = Some(read());
        } else if self.before.is_some() && self.after.is_none() && now_ns >= span.end_ns {
            self.after = Some(read());
        }
    }

    /// Shares of a core that the server used, and segments that were sent again.
    pub fn shares(self) -> (Option<(f64, f64)>, Option<u64>) {
        let pid = self.pid;
        let Some((before_ns, before, resent_before)) = self.before else { return (None, None) };
        let after = self.after.unwrap_or_else(|| (now_ns(), pid.and_then(ProcessTime::read), retransmit_count()));
        let (after_ns, after, resent_after) = after;
        let server = before.zip(after).map(|(before, after)| {
            let (all_ns, busiest_ns) = after.since(&before);
            let elapsed_ns = (after_ns - before_ns).max(1) as f64;
            (all_ns as f64 / elapsed_ns, busiest_ns as f64 / elapsed_ns)
        });
        (server, resent_before.zip(resent_after).map(|(before, after)| after.saturating_sub(before)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_of_a_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stream = Stream::Tcp(TcpStream::connect(address).unwrap());
        let _accepted = listener.accept().unwrap();
        assert_eq!(server_process(&stream, &Address::Tcp(address)), Some(std::process::id()));

        let (stream, _other) = UnixStream::pair().unwrap();
        let pid = server_process(&Stream::Unix(stream), &Address::Unix("/x".into()));
        assert_eq!(pid, Some(std::process::id()));
    }

    #[test]
    fn time_of_a_busy_thread_is_seen() {
        let before = ProcessTime::read(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        let (sum_ns, most_ns) = ProcessTime::read(std::process::id()).unwrap().since(&before);
        assert!(most_ns > 1_000_000 && sum_ns >= most_ns, "{sum_ns} {most_ns}");
        assert!(ProcessTime::read(0).is_none());
    }

    #[test]
    fn retransmits_are_found_by_their_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nTcp: RtoAlgorithm RetransSegs InErrs\nTcp: 1 42 0\n";
        assert_eq!(retransmits_in(snmp), Some(42));
        assert_eq!(retransmits_in("Tcp: RtoAlgorithm\n"), None);
        assert!(retransmit_count().is_some());
    }
}
