//! What the checks look at: the host's files, what a ring said, and what the server is configured to be.
//!
//! Invariant: a [`Machine`] does not change while it is examined, and a check reads nothing else.

use std::path::Path;

use super::ring::Ring;
use super::tree::{Tree, parse_list};
use crate::config::{BusyPoll, Config, Options};
use crate::host::{Host, Limit};
use crate::startup::StartError;

/// See the module.
#[derive(Debug)]
pub struct Machine {
    /// `/proc` and `/sys`.
    pub tree: Tree,
    /// The process whose limits count, as a directory of `/proc`: `self`, or a process id.
    pub process: String,
    /// The same facts that `tallyring serve` starts from. Where one cannot be read it is not limited here, so a check
    /// asks [`Machine::limit`] first.
    pub host: Host,
    /// The configuration, as far as the machine's limits do not stand in its way.
    pub config: Config,
    /// Clients that the configuration asks for, where it does.
    pub maxclients_asked: Option<u32>,
    /// What keeps the server from starting here, if anything does.
    pub start_error: Option<StartError>,
    /// What setting up a ring said.
    pub ring: Ring,
}

impl Machine {
    /// Read the machine under `root` for a server with these `options`.
    ///
    /// # Errors
    /// Options that no machine could serve: those that end with exit code 2.
    pub fn read(root: &Path, process: &str, options: Options, ring: Ring) -> Result<Machine, StartError> {
        let tree = Tree::new(root);
        let host = host(&tree, process);
        let maxclients_asked = options.maxclients;
        let (config, start_error) = match Config::resolve(options.clone(), &host) {
            Ok(config) => (config, None),
            Err(error) if error.exit_code() == 2 => return Err(error),
            Err(error) => (Config::resolve(options, &without_limits(&host))?, Some(error)),
        };
        Ok(Machine { tree, process: process.to_owned(), host, config, maxclients_asked, start_error, ring })
    }

    /// A limit of the process, by its name in `/proc/PID/limits`.
    pub fn limit(&self, name: &str) -> Option<Limit> {
        limit(&self.tree, &self.process, name)
    }

    /// The shards' cores, ascending; where they are not pinned, all that the process may use. `None` where that is not
    /// known.
    pub fn shard_cores(&self) -> Option<Vec<usize>> {
        let pinned: Option<Vec<usize>> = self.config.pin.iter().copied().collect();
        let known = allowed_cores(&self.tree, &self.process);
        match pinned {
            Some(mut cores) if known.is_some() => {
                cores.sort_unstable();
                Some(cores)
            }
            _ => known,
        }
    }

    /// Nobody on another machine is served, so network interfaces do not matter.
    pub fn serves_only_itself(&self) -> bool {
        self.config.bind.iter().all(|address| address.to_canonical().is_loopback())
    }

    /// Shards may sleep when there is nothing to do.
    pub fn sleeps(&self) -> bool {
        self.config.busy_poll != BusyPoll::Always
    }

    /// The quota of processor time that holds for the process, as `quota period` in microseconds; `Some(None)` is no
    /// quota, `None` not known.
    pub fn cpu_quota(&self) -> Option<Option<String>> {
        let texts = self.cgroup_texts("", "sys/fs/cgroup", "cpu.max")?;
        if let Some(text) = texts.iter().find(|text| !text.starts_with("max")) {
            return Some(Some(text.clone()));
        }
        let controllers = self.tree.text("sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
        if !texts.is_empty() || controllers.split(' ').any(|controller| controller == "cpu") {
            return Some(None);
        }
        // Version 1: -1 is none.
        let quotas = self.cgroup_texts("cpu", "sys/fs/cgroup/cpu", "cpu.cfs_quota_us")?;
        let periods = self.cgroup_texts("cpu", "sys/fs/cgroup/cpu", "cpu.cfs_period_us")?;
        let mut held = quotas.iter().zip(periods).filter(|(quota, _)| *quota != "-1");
        if quotas.is_empty() { None } else { Some(held.next().map(|(quota, period)| format!("{quota} {period}"))) }
    }

    /// No control group of the process may swap.
    pub fn is_kept_from_swap(&self) -> bool {
        let texts = self.cgroup_texts("", "sys/fs/cgroup", "memory.swap.max");
        texts.is_some_and(|texts| texts.iter().any(|text| text == "0"))
    }

    /// What the file `name` says in each of the process's control groups of `controller` ("" is version 2), its own
    /// first; `None` where it is in none.
    fn cgroup_texts(&self, controller: &str, mount: &str, name: &str) -> Option<Vec<String>> {
        let groups = self.tree.text(&format!("proc/{}/cgroup", self.process))?;
        let path = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
            controllers.split(',').any(|other| other == controller).then_some(path)
        })?;
        let mut texts = Vec::new();
        let mut path = path.trim_end_matches('/');
        loop {
            texts.extend(self.tree.text(&format!("{mount}/{path}/{name}")));
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent,
                None if path.is_empty() => return Some(texts),
                None => path = "",
            }
        }
    }
}

/// The facts as files tell them, for this process or another.
fn host(tree: &Tree, process: &str) -> Host {
    let unlimited = Limit { soft: None, hard: None };
    let status = tree.text(&format!("proc/{process}/status")).unwrap_or_default();
    let uid_map = tree.text(&format!("proc/{process}/uid_map")).unwrap_or_default();
    Host {
        cores: allowed_cores(tree, process).filter(|cores| !cores.is_empty()).unwrap_or_else(|| vec![0]),
        memlock: limit(tree, process, "Max locked memory").unwrap_or(unlimited),
        may_lock_any: crate::host::may_lock_any(&status, &uid_map),
        descriptors: limit(tree, process, "Max open files").unwrap_or(unlimited),
        kernel_release: tree.text("proc/sys/kernel/osrelease").unwrap_or_default(),
        ..Host::read_under(tree.root())
    }
}

fn without_limits(host: &Host) -> Host {
    let unlimited = Limit { soft: None, hard: None };
    Host {
        machine_memory_bytes: u64::MAX,
        cgroup_memory_bytes: None,
        memlock: unlimited,
        descriptors: unlimited,
        ..host.clone()
    }
}

fn allowed_cores(tree: &Tree, process: &str) -> Option<Vec<usize>> {
    parse_list(&tree.field(&format!("proc/{process}/status"), "Cpus_allowed_list")?)
}

/// `Max open files            1024                 524288               files`
fn limit(tree: &Tree, process: &str, name: &str) -> Option<Limit> {
    let limits = tree.text(&format!("proc/{process}/limits"))?;
    let mut values = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    let mut value = || match values.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some(Limit { soft: value()?, hard: value()? })
}
