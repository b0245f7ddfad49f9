//! Which core runs what: the server on one of its own, all clients on the others.
//!
//! On a network the clients would be other machines. Here they share the server's, so they are kept off its core.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, divided.
pub struct Cores {
    server: CpuSet,
    clients: CpuSet,
}

impl Cores {
    /// The first core for the server, the others for its clients; `None` where there is only one.
    pub fn divide() -> Option<Cores> {
        let all = sched_getaffinity(None).expect("the kernel tells");
        let mut cores = Cores { server: CpuSet::new(), clients: CpuSet::new() };
        for core in (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)) {
            let part = if cores.server.count() == 0 { &mut cores.server } else { &mut cores.clients };
            part.set(core);
        }
        (cores.clients.count() > 0).then_some(cores)
    }

    /// This thread, and the threads and processes that it starts from now on, run on the server's core.
    pub fn be_server(&self) {
        sched_setaffinity(None, &self.server).expect("a core that it may use");
    }

    /// The same for the clients' cores.
    pub fn be_clients(&self) {
        sched_setaffinity(None, &self.clients).expect("cores that it may use");
    }
}
