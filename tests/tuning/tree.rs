//! A directory of plain files that looks like a machine with two cores and one network interface.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Output;

/// The machine's files. Ends of lines, and what is missing at them, are meant.
const FILES: &[(&str, &str)] = &[
    ("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 isolcpus=1\n"),
    ("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/sda2 partition\t2097148\t0\t-2\n"),
    ("proc/1/comm", "systemd\n"),
    ("proc/77/comm", "irqbalance\n"),
    ("proc/sys/net/core/somaxconn", "128\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "65536"),
    ("proc/sys/kernel/io_uring_disabled", "2\n"),
    ("proc/sys/kernel/numa_balancing", "1\n"),
    ("proc/sys/fs/nr_open", " 4096 \n\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ("sys/devices/system/cpu/online", "0-1\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "schedutil"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state1/disable", "0\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/latency", "133\n"),
    ("sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "0\n"),
    ("sys/class/net/lo/operstate", "unknown\n"),
    ("sys/class/net/lo/queues/rx-0/rps_cpus", "0\n"),
    ("sys/class/net/lo/queues/tx-0/xps_cpus", "0\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/device/msi_irqs/30", "msix\n"),
    ("sys/class/net/eth0/device/msi_irqs/31", "msix\n"),
    ("sys/class/net/eth0/queues/rx-0/rps_cpus", "00000000,00000000\n"),
    ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
    ("sys/class/net/eth0/queues/tx-1/xps_cpus", "00000000,00000003\n"),
    ("proc/irq/30/smp_affinity_list", "0-1\n"),
    ("proc/irq/31/smp_affinity_list", "0-1\n"),
    ("proc/irq/32/smp_affinity_list", "0-1\n"),
];

/// See the module. It goes when dropped.
pub struct Tree {
    dir: tempfile::TempDir,
}

/// Everything that a touched file changes.
type Stamp = (Vec<u8>, i64, i64, u64);

impl Tree {
    /// The machine.
    pub fn new() -> Tree {
        let tree = Tree::empty();
        FILES.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    /// The machine that had these bytes.
    pub fn of(bytes: &BTreeMap<PathBuf, Vec<u8>>) -> Tree {
        let tree = Tree::empty();
        bytes.iter().for_each(|(path, bytes)| tree.write(path, bytes));
        tree
    }

    /// A machine on which nothing can be read.
    pub fn empty() -> Tree {
        // Scripts sync what they write: memory spares the disk.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Tree { dir: dir.expect("a directory") }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn write(&self, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("directories");
        fs::write(path, bytes).expect("written");
    }

    /// Let `path` be a link to `target`.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.root().join(path);
        fs::remove_file(&path).expect("it was there");
        std::os::unix::fs::symlink(target, path).expect("a link");
    }

    /// Every file with its bytes.
    pub fn bytes(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.files().into_iter().map(|path| (self.relative(&path), fs::read(path).expect("readable"))).collect()
    }

    /// Every file but the journal's with its bytes.
    pub fn settings(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.bytes().into_iter().filter(|(path, _)| !path.starts_with("run")).collect()
    }

    /// Every file with its bytes, the times of its last change, and its inode.
    pub fn stamps(&self) -> BTreeMap<PathBuf, Stamp> {
        let stamp = |path: &PathBuf| {
            let meta = fs::metadata(path).expect("it is there");
            (fs::read(path).expect("readable"), meta.mtime_nsec(), meta.ctime_nsec(), meta.ino())
        };
        self.files().into_iter().map(|path| (self.relative(&path), stamp(&path))).collect()
    }

    /// Leave nothing in the settings whose old bytes the group's journal has.
    pub fn empty_what_is_journalled(&self, group: &str) {
        let journal = PathBuf::from("run/tallyring-tuning").join(group);
        let kept = self.bytes().into_keys().filter_map(|path| Some(path.strip_prefix(&journal).ok()?.to_owned()));
        for path in kept.filter(|path| !path.to_string_lossy().contains(".partial.")) {
            fs::write(self.root().join(path), "").expect("written");
        }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.root()).expect("it is inside").to_owned()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut directories = vec![self.root().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { directories.push(path) } else { files.push(path) }
            }
        }
        files
    }
}

/// What a program wrote, to both streams.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
