//! What machine a result comes from: enough to tell whether two results can be compared.
//!
//! It reads, once, at the start of a run; it decides nothing.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::Host;

/// The machine that a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Its name.
    pub hostname: String,
    /// The processor's, from `/proc/cpuinfo`.
    pub cpu: String,
    /// Cores that this process may use.
    pub core_count: usize,
    /// Memory that this process can have, in bytes.
    pub memory_bytes: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The processor says that it is a virtual one.
    pub virtual_machine: bool,
    /// How the first core's frequency is governed, where that can be seen.
    pub governor: Option<String>,
    /// What the kernel reads its clock from.
    pub clock_source: Option<String>,
    /// TCP's congestion control: it costs as much as a server does.
    pub congestion_control: Option<String>,
}

impl Fingerprint {
    /// Of this machine.
    pub fn read() -> Fingerprint {
        Fingerprint::read_under(Path::new("/"))
    }

    /// As [`Fingerprint::read`], with `/proc` and `/sys` found under `root`.
    pub fn read_under(root: &Path) -> Fingerprint {
        let line = |path: &str| fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
        let cpuinfo = line("proc/cpuinfo").unwrap_or_default();
        let of_cpu = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let host = Host::read_under(root);
        Fingerprint {
            hostname: line("proc/sys/kernel/hostname").unwrap_or_default(),
            cpu: of_cpu("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            core_count: host.cores.len(),
            memory_bytes: host.memory_bytes(),
            virtual_machine: of_cpu("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: host.kernel_release,
            governor: line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: line("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            congestion_control: line("proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }

    /// Name and value of each fact, in words, for tables.
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let virtual_machine = if self.virtual_machine { ", virtual machine" } else { "" };
        let mut lines = vec![
            ("host", self.hostname.clone()),
            ("processor", format!("{} ({} cores usable{virtual_machine})", self.cpu, self.core_count)),
            ("memory", crate::config::ByteCount(self.memory_bytes).to_string()),
            ("kernel", format!("Linux {}", self.kernel)),
        ];
        let more = [
            ("frequency governor", &self.governor),
            ("clock source", &self.clock_source),
            ("TCP congestion control", &self.congestion_control),
        ];
        lines.extend(more.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_processor_is_told_by_its_flag() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC: 7B13\nflags\t\t: fpu hypervisor sse\n";
        fs::write(root.path().join("proc/cpuinfo"), cpuinfo).unwrap();
        let read = Fingerprint::read_under(root.path());
        assert_eq!((read.cpu.as_str(), read.virtual_machine, read.governor), ("AMD EPYC: 7B13", true, None));
        fs::write(root.path().join("proc/cpuinfo"), "model name : x\nflags : fpu nohypervisor\n").unwrap();
        assert!(!Fingerprint::read_under(root.path()).virtual_machine);
    }

    #[test]
    fn this_machine_has_plausible_facts() {
        let read = Fingerprint::read();
        assert!(read.core_count > 0 && !read.cpu.is_empty() && !read.kernel.is_empty());
        assert!(read.lines().len() >= 4);
    }
}
