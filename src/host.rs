//! What the machine gives this process: cores, memory, limits, the kernel. Read once, at start-up.
//!
//! Invariant: [`Host`] is plain data, so whatever decides from it can be tested with a machine that does not exist.
//! Nothing here decides anything, and nothing is read again later.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Bit of `CAP_IPC_LOCK` in `CapEff` of `/proc/self/status` (capabilities(7)).
const CAP_IPC_LOCK: u32 = 14;

/// A resource limit (getrlimit(2)); `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now.
    pub soft: Option<u64>,
    /// What this process may raise it to.
    pub hard: Option<u64>,
}

/// Facts about the machine and this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The cores that this process may run on, ascending, at least one.
    pub cores: Vec<usize>,
    /// Memory of the machine, in bytes.
    pub machine_memory_bytes: u64,
    /// The tightest memory limit of this process's control groups, in bytes.
    pub cgroup_memory_bytes: Option<u64>,
    /// `RLIMIT_MEMLOCK`, in bytes: what one user may have locked or registered with io_uring, all processes together.
    pub memlock: Limit,
    /// `CAP_IPC_LOCK` is effective in the initial user namespace: `RLIMIT_MEMLOCK` does not count.
    pub may_lock_any: bool,
    /// `RLIMIT_NOFILE`: open descriptors of this process.
    pub descriptors: Limit,
    /// The kernel's release, `6.1.0-18-amd64`.
    pub kernel_release: String,
    /// `/proc/sys/kernel/io_uring_disabled`: 0 for all, 1 for a group, 2 for nobody; `None` before Linux 6.6.
    pub io_uring_disabled: Option<u32>,
}

impl Host {
    /// Read all facts. What cannot be read counts as not limited.
    pub fn read() -> Host {
        Host::read_under(Path::new("/"))
    }

    /// As [`Host::read`], with `/proc` and `/sys` found under `root`.
    pub fn read_under(root: &Path) -> Host {
        let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let uid_map = fs::read_to_string(root.join("proc/self/uid_map")).unwrap_or_default();
        let disabled = fs::read_to_string(root.join("proc/sys/kernel/io_uring_disabled")).ok();
        let memory = fs::read_to_string(root.join("proc/meminfo")).ok();
        Host {
            cores: cores(),
            machine_memory_bytes: memory.and_then(|text| memory_total(&text)).unwrap_or(u64::MAX),
            cgroup_memory_bytes: cgroup_memory(root),
            memlock: limit(Resource::Memlock),
            may_lock_any: may_lock_any(&status, &uid_map),
            descriptors: limit(Resource::Nofile),
            kernel_release: rustix::system::uname().release().to_string_lossy().into_owned(),
            io_uring_disabled: disabled.and_then(|text| text.trim().parse().ok()),
        }
    }

    /// Memory that this process can have, in bytes: the machine's, or its control group's if that is less.
    pub fn memory_bytes(&self) -> u64 {
        self.cgroup_memory_bytes.unwrap_or(u64::MAX).min(self.machine_memory_bytes)
    }

    /// Bytes that may be registered with io_uring; `None` is no limit.
    pub fn lockable_bytes(&self) -> Option<u64> {
        if self.may_lock_any { None } else { self.memlock.soft }
    }

    /// Major and minor version of the kernel; (0, 0) when its release is not understood.
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut numbers = self.kernel_release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().ok());
        match (numbers.next().flatten(), numbers.next().flatten()) {
            (Some(major), Some(minor)) => (major, minor),
            _ => (0, 0),
        }
    }
}

/// Raise this process's soft limits of descriptors and of locked memory to the hard ones, which needs no privilege.
/// Where the kernel refuses, the limits stay, and [`Host::read`] says what they are.
pub fn raise_soft_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let maximum = getrlimit(resource).maximum;
        let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
    }
}

fn limit(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit { soft: limit.current, hard: limit.maximum }
}

fn cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    cores.sort_unstable();
    if cores.is_empty() {
        cores.push(0);
    }
    cores
}

/// `MemTotal` of `/proc/meminfo`, in bytes.
fn memory_total(meminfo: &str) -> Option<u64> {
    let kib: u64 = field(meminfo, "MemTotal:")?.trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1_024)
}

/// The kernel asks for the capability in the initial user namespace; root of another one has it in name only.
pub(crate) fn may_lock_any(status: &str, uid_map: &str) -> bool {
    let initial = uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
    let effective = field(status, "CapEff:").and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
    initial && effective >> CAP_IPC_LOCK & 1 == 1
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The tightest limit on the way from this process's control group to the root, of version 2 and of version 1's memory
/// controller. A group that is not under the mount (as in a container that sees the host's paths) leaves the mount's
/// own limit.
fn cgroup_memory(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mount = root.join("sys/fs/cgroup");
    let mut limits = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (mount, file) = match controllers {
            "" => (mount.clone(), "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                (mount.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group: PathBuf = mount.join(path.trim_start_matches('/'));
        let groups = group.ancestors().take_while(|group| group.starts_with(&mount));
        limits.extend(groups.filter_map(|group| fs::read_to_string(group.join(file)).ok()?.trim().parse::<u64>().ok()));
    }
    // Version 1 writes "no limit" as the largest page-aligned i64.
    limits.into_iter().filter(|bytes| *bytes < i64::MAX as u64 / 2).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let root = root_with(&[
            ("proc/self/cgroup", "0::/system.slice/tallyring.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/system.slice/tallyring.service/memory.max", "max\n"),
            ("proc/meminfo", "MemTotal:        8000 kB\nMemFree:  1 kB\n"),
            ("proc/sys/kernel/io_uring_disabled", "2\n"),
        ]);
        let host = Host::read_under(root.path());
        assert_eq!(host.cgroup_memory_bytes, Some(1 << 30));
        assert_eq!(host.machine_memory_bytes, 8_000 * 1_024);
        assert_eq!(host.memory_bytes(), 8_000 * 1_024);
        assert_eq!(host.io_uring_disabled, Some(2));
        assert!(!host.may_lock_any);
        assert!(!host.cores.is_empty());
    }

    #[test]
    fn version_1_counts_even_when_the_group_is_outside_the_mount() {
        let root = root_with(&[
            ("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
        ]);
        assert_eq!(cgroup_memory(root.path()), Some(512 << 20));
        let root = root_with(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(cgroup_memory(root.path()), None);
    }

    #[test]
    fn without_proc_nothing_is_limited() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::read_under(root.path());
        assert_eq!((host.memory_bytes(), host.cgroup_memory_bytes, host.io_uring_disabled), (u64::MAX, None, None));
    }

    #[test]
    fn the_capability_counts_only_in_the_initial_namespace() {
        let status = "Name:\tx\nCapEff:\t0000000000004000\n";
        let initial = "         0          0 4294967295\n";
        assert!(may_lock_any(status, initial));
        assert!(!may_lock_any(status, "0 100000 65536\n"));
        assert!(!may_lock_any("CapEff:\t0000000000003fff\n", initial));
        assert!(!may_lock_any("", initial));
    }

    #[test]
    fn kernel_releases_are_understood() {
        let version = |release: &str| {
            let root = tempfile::tempdir().unwrap();
            Host { kernel_release: release.to_owned(), ..Host::read_under(root.path()) }.kernel_version()
        };
        assert_eq!(version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(version("5.15.0"), (5, 15));
        assert_eq!(version("6.12-rc3"), (6, 12));
        assert_eq!(version("strange"), (0, 0));
    }

    #[test]
    fn this_machine_has_plausible_facts() {
        let host = Host::read();
        assert!(host.memory_bytes() > 16 << 20 && host.memory_bytes() < 1 << 50);
        assert!(host.kernel_version() >= (5, 0));
        assert!(host.descriptors.soft.is_none_or(|count| count >= 16));
    }
}
