//! Machines that do not exist: a good one, a bad one, one on which nothing can be read; and the one at hand.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::*;

/// A machine with nothing to change: four cores, an interface with as many queues, for a server that others reach.
const GOOD: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.12.9\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/kernel/numa_balancing", "0\n"),
    ("proc/sys/net/core/somaxconn", "4096\n"),
    ("proc/sys/net/core/busy_read", "0\n"),
    ("proc/sys/net/core/busy_poll", "0\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
    ("proc/sys/vm/overcommit_memory", "0\n"),
    ("proc/sys/vm/swappiness", "60\n"),
    ("proc/meminfo", "MemTotal:       16000000 kB\nCommitLimit:     8000000 kB\nCommitted_AS:    1000000 kB\n"),
    ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n"),
    ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu tsc nonstop_tsc\n"),
    ("proc/2/comm", "kthreadd\n"),
    ("proc/self/cgroup", "0::/system.slice/tallyring.service\n"),
    ("proc/self/status", "Seccomp:\t0\nCpus_allowed_list:\t0-3\nCapEff:\t0000000000000000\n"),
    ("proc/self/uid_map", "0 0 4294967295\n"),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            1048576              1048576              files     \n\
         Max locked memory         unlimited            unlimited            bytes     \n",
    ),
    ("sys/fs/cgroup/system.slice/tallyring.service/cpu.max", "max 100000\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/devices/system/cpu/isolated", "\n"),
    ("sys/devices/system/cpu/smt/active", "0\n"),
    ("sys/devices/system/node/has_cpu", "0\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    ("sys/class/dmi/id/sys_vendor", "Maker\n"),
    ("sys/class/net/lo/operstate", "unknown\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/device/numa_node", "0\n"),
];

/// What makes it a bad one.
const BAD: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "5.15.0-91-generic\n"),
    ("proc/sys/kernel/io_uring_disabled", "2\n"),
    ("proc/sys/kernel/numa_balancing", "1\n"),
    ("proc/sys/net/core/somaxconn", "128\n"),
    ("proc/sys/net/core/busy_read", "50\n"),
    ("proc/sys/net/ipv4/tcp_syncookies", "0\n"),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", "128\n"),
    ("proc/sys/vm/overcommit_memory", "2\n"),
    ("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2 partition 2097148 0 -2\n"),
    ("proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu hypervisor\n"),
    ("proc/300/comm", "irqbalance\n"),
    (
        "proc/self/limits",
        "Max open files            40                   40                   files     \n\
         Max locked memory         65536                65536                bytes     \n",
    ),
    ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
    ("sys/devices/system/cpu/isolated", "2-3\n"),
    ("sys/devices/system/cpu/smt/active", "1\n"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave\n"),
    ("sys/devices/system/cpu/cpu1/cpuidle/state2/disable", "0\n"),
    ("sys/devices/system/node/has_cpu", "0-1\n"),
    ("sys/devices/system/node/node0/cpulist", "0-1\n"),
    ("sys/devices/system/node/node1/cpulist", "2-3\n"),
    ("sys/class/net/eth0/device/numa_node", "1\n"),
    ("sys/class/net/eth0/queues/tx-1/xps_cpus", "3\n"),
    ("proc/irq/43/effective_affinity_list", "0\n"),
];

struct Fake {
    root: tempfile::TempDir,
}

impl Fake {
    fn empty() -> Fake {
        Fake { root: tempfile::tempdir().unwrap() }
    }

    fn good() -> Fake {
        let fake = Fake::empty().with(GOOD);
        for core in 0..4 {
            let cpu = format!("sys/devices/system/cpu/cpu{core}");
            fake.write(&format!("{cpu}/cpufreq/scaling_governor"), "performance\n");
            fake.write(&format!("{cpu}/topology/thread_siblings_list"), ["0,2\n", "1,3\n"][core % 2]);
            for (state, name, latency, disable) in [(0, "POLL", 0, 0), (1, "C1", 1, 0), (2, "C6", 133, 1)] {
                let directory = format!("{cpu}/cpuidle/state{state}");
                fake.write(&format!("{directory}/name"), name);
                fake.write(&format!("{directory}/latency"), &format!("{latency}\n"));
                fake.write(&format!("{directory}/disable"), &format!("{disable}\n"));
            }
            let queues = "sys/class/net/eth0/queues";
            fake.write(&format!("{queues}/rx-{core}/rps_cpus"), "0\n");
            fake.write(&format!("{queues}/tx-{core}/xps_cpus"), &format!("{:x}\n", 1 << core));
            fake.write(&format!("sys/class/net/eth0/device/msi_irqs/{}", 40 + core), "msix\n");
            fake.write(&format!("proc/irq/{}/effective_affinity_list", 40 + core), &format!("{core}\n"));
        }
        fake
    }

    fn with(self, files: &[(&str, &str)]) -> Fake {
        files.iter().for_each(|(path, text)| self.write(path, text));
        self
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn machine(&self, options: &str, ring: Ring) -> Machine {
        let options = Options::parse(options, Path::new("t.toml")).unwrap();
        Machine::read(self.root.path(), "self", options, ring).unwrap()
    }

    fn examine(&self, options: &str, ring: Ring) -> Vec<Finding> {
        examine(&self.machine(options, ring), &[])
    }

    /// One finding, as state and what it is.
    fn find(&self, options: &str, name: &str) -> (State, String) {
        let findings = self.examine(options, works());
        let finding = findings.into_iter().find(|finding| finding.name == name).unwrap();
        (finding.state, finding.is)
    }
}

const SERVES_ALL: &str = "bind = \"0.0.0.0\"\nrequirepass = \"x\"\n";

fn works() -> Ring {
    Ring::Works { missing: Vec::new() }
}

fn states(findings: &[Finding]) -> BTreeMap<&'static str, State> {
    findings.iter().map(|finding| (finding.name, finding.state)).collect()
}

#[test]
fn a_good_machine_has_nothing_to_change() {
    let findings = Fake::good().examine(SERVES_ALL, works());
    for finding in &findings {
        assert_eq!(finding.state, State::Ok, "{finding:?}");
        assert_eq!(finding.remedy, None, "{finding:?}");
    }
    assert_eq!(findings.len(), checks().count());
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn a_bad_machine_has_everything_to_change() {
    let refused = Ring::Refused(io::Error::from_raw_os_error(1));
    let findings = Fake::good().with(BAD).examine(SERVES_ALL, refused);
    let must = ["kernel", "io-uring-sysctl", "io-uring", "start", "memlock", "descriptors", "overcommit"];
    for finding in &findings {
        let expected = match finding.name {
            // Four queues for four cores, whatever else is wrong.
            "receive-queues" => State::Ok,
            "io-uring-operations" => State::Unknown,
            name if must.contains(&name) => State::Must,
            _ => State::Should,
        };
        assert_eq!(finding.state, expected, "{finding:?}");
        assert_eq!(finding.remedy.is_some(), expected > State::Unknown, "{finding:?}");
    }
    assert_eq!(exit_code(&findings), EXIT_MUST);
    let remedy = |name: &str| findings.iter().find(|finding| finding.name == name).unwrap().remedy.clone().unwrap();
    assert_eq!(remedy("smt"), "tallyring serve --pin 0-1.");
    assert_eq!(remedy("numa"), "tallyring serve --pin 2-3, under numactl --membind of that node.");
    assert!(remedy("io-uring").contains("kernel.io_uring_disabled is 2"), "{}", remedy("io-uring"));
    assert!(remedy("start").contains("RLIMIT_NOFILE"), "{}", remedy("start"));
}

#[test]
fn where_nothing_can_be_read_all_is_unknown() {
    let findings = Fake::empty().examine(SERVES_ALL, Ring::NotTried);
    for finding in &findings {
        assert_eq!(finding.state, State::Unknown, "{finding:?}");
    }
    assert_eq!(exit_code(&findings), 0);
}

#[test]
fn nonsense_in_files_is_unknown_and_never_a_panic() {
    for nonsense in ["", "\n", "-1\n", "x y z\n", "99999999999999999999\n", "\u{0}\u{1}", "[", "0-", "]["] {
        let fake = Fake::good();
        let files: Vec<&str> = GOOD.iter().chain(BAD).map(|(path, _)| *path).collect();
        files.iter().for_each(|path| fake.write(path, nonsense));
        let findings = fake.examine(SERVES_ALL, works());
        for name in ["kernel", "memlock", "descriptors", "somaxconn", "huge-pages", "overcommit"] {
            let finding = findings.iter().find(|finding| finding.name == name).unwrap();
            assert_eq!(finding.state, State::Unknown, "{nonsense:?}: {finding:?}");
        }
    }
}

#[test]
fn what_the_configuration_asks_for_is_what_counts() {
    let good = Fake::good();
    assert_eq!(good.find("tcp-backlog = 5000", "somaxconn"), (State::Should, "4096".to_owned()));
    let beyond_the_script = good.examine("tcp-backlog = 5000", works());
    let remedy = beyond_the_script.into_iter().find_map(|finding| finding.remedy);
    assert_eq!(remedy.as_deref(), Some("sysctl net.core.somaxconn=5000, or lower --tcp-backlog."));
    assert_eq!(good.find("busy-poll = \"always\"", "idle-states").1, "shards never sleep (--busy-poll always)");
    assert_eq!(good.find("", "receive-queues").1, "only this machine is served (--bind)");
    let polled = Fake::good().with(&[("proc/sys/net/core/busy_read", "50\n")]);
    assert_eq!(polled.find("busy-poll = \"always\"", "busy-polling").0, State::Ok);
    assert_eq!(polled.find("", "busy-polling").0, State::Should);
    assert_eq!(polled.find("busy-poll = \"no\"", "busy-polling").0, State::Should);
    let siblings = Fake::good().with(&[("sys/devices/system/cpu/smt/active", "1\n")]);
    assert_eq!(siblings.find("pin = \"0-3\"", "smt").0, State::Should);
    assert_eq!(siblings.find("pin = \"0,1\"", "smt").0, State::Ok);
    let isolated = Fake::good().with(&[("sys/devices/system/cpu/isolated", "2-3\n")]);
    assert_eq!(isolated.find("pin = \"0-1\"", "isolated-cores").0, State::Should);
    assert_eq!(isolated.find("pin = \"2-3\"", "isolated-cores").0, State::Ok);
}

#[test]
fn limits_between_too_little_and_enough_are_should() {
    let limits = |descriptors: &str, memlock: &str| {
        let text =
            format!("Max open files  {descriptors} {descriptors} files\nMax locked memory {memlock} {memlock} bytes\n");
        Fake::good().with(&[("proc/self/limits", &text)])
    };
    let some = limits("1024", "8388608");
    assert_eq!(some.find("", "memlock"), (State::Should, "8.0 MiB: 112 buffers a shard".to_owned()));
    assert_eq!(some.find("buffers = 128", "memlock").0, State::Ok);
    assert_eq!(some.find("buffers = 129", "memlock").0, State::Must);
    assert_eq!(some.find("", "descriptors"), (State::Should, "1024: 956 clients".to_owned()));
    assert_eq!(some.find("maxclients = 10000", "descriptors").0, State::Must);
    assert_eq!(some.find("maxclients = 900", "descriptors").0, State::Ok);
    assert_eq!(some.find("maxclients = 10000", "start").0, State::Must);
    let capable =
        limits("1024", "65536").with(&[("proc/self/status", "Cpus_allowed_list: 0-3\nCapEff:\t0000000000004000\n")]);
    assert_eq!(capable.find("", "memlock"), (State::Ok, "no limit (CAP_IPC_LOCK)".to_owned()));
}

#[test]
fn interfaces_are_held_against_the_shards_cores() {
    let queue = "sys/class/net/eth0/queues";
    let few = Fake::good();
    for rest in ["rx-1", "rx-2", "rx-3"] {
        fs::remove_dir_all(few.root.path().join(queue).join(rest)).unwrap();
    }
    assert_eq!(few.find(SERVES_ALL, "receive-queues").0, State::Should);
    few.write(&format!("{queue}/rx-0/rps_cpus"), "00000000,0000000f\n");
    assert_eq!(few.find(SERVES_ALL, "receive-queues").0, State::Ok);
    let two = format!("{SERVES_ALL}pin = \"0-1\"\n");
    assert_eq!(Fake::good().find(&two, "interrupts").0, State::Should, "some are on cores without a shard");
    let down = Fake::good().with(&[("sys/class/net/eth0/operstate", "down\n")]);
    assert_eq!(down.find(SERVES_ALL, "interrupts").0, State::Unknown);
    let hidden = Fake::good();
    fs::remove_dir_all(hidden.root.path().join("proc/2")).unwrap();
    assert_eq!(hidden.find(SERVES_ALL, "irqbalance").0, State::Unknown, "a process that is not seen may be there");
}

#[test]
fn swap_and_overcommit_know_their_ways_out() {
    let swap = ("proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 2097148 0 -2\n");
    assert_eq!(Fake::good().with(&[swap]).find("", "swap"), (State::Should, "2.0 GiB, vm.swappiness 60".to_owned()));
    let group = ("sys/fs/cgroup/system.slice/tallyring.service/memory.swap.max", "0\n");
    assert_eq!(Fake::good().with(&[swap, group]).find("", "swap").0, State::Ok);
    let strict = Fake::good().with(&[("proc/sys/vm/overcommit_memory", "2\n")]);
    assert_eq!(strict.find("maxmemory = \"1gb\"", "overcommit").0, State::Ok);
    assert_eq!(strict.find("maxmemory = 0", "overcommit").0, State::Must);
}

#[test]
fn quotas_of_both_versions_are_seen() {
    let hidden = Fake::good();
    fs::remove_dir_all(hidden.root.path().join("sys/fs/cgroup")).unwrap();
    assert_eq!(hidden.find("", "cpu-quota").0, State::Unknown);
    hidden.write("proc/self/cgroup", "3:cpu,cpuacct:/a/b\n0::/\n");
    assert_eq!(hidden.find("", "cpu-quota").0, State::Unknown);
    for (name, quota) in [("a/b", "-1"), ("a", "-1"), ("", "-1")] {
        hidden.write(&format!("sys/fs/cgroup/cpu/{name}/cpu.cfs_quota_us"), quota);
        hidden.write(&format!("sys/fs/cgroup/cpu/{name}/cpu.cfs_period_us"), "100000\n");
    }
    assert_eq!(hidden.find("", "cpu-quota").0, State::Ok);
    hidden.write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000\n");
    assert_eq!(hidden.find("", "cpu-quota").0, State::Should);
    // The root of version 2 has no such file.
    let root =
        Fake::empty().with(&[("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io\n")]);
    assert_eq!(root.find("", "cpu-quota").0, State::Ok);
}

#[test]
fn the_machine_at_hand_can_be_examined() {
    let machine = Machine::read(Path::new("/"), "self", Options::default(), Ring::try_out()).unwrap();
    let findings = examine(&machine, &[]);
    let by_name = states(&findings);
    // The other tests start rings on it.
    for name in ["kernel", "io-uring-sysctl", "io-uring", "io-uring-operations"] {
        assert_eq!(by_name[name], State::Ok, "{findings:?}");
    }
    assert_ne!(by_name["memlock"], State::Unknown);
    assert_ne!(by_name["somaxconn"], State::Unknown);
}

#[test]
fn names_are_unique_and_texts_are_sentences() {
    let names: std::collections::BTreeSet<&str> = checks().map(|check| check.name).collect();
    assert_eq!(names.len(), checks().count());
    for check in checks() {
        assert!(check.name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", check.name);
        for text in [check.why, check.costs] {
            assert!(
                text.ends_with('.') && text.starts_with(|c: char| c.is_uppercase() || c.is_ascii_lowercase()),
                "{text}"
            );
        }
    }
    let skipped = examine(&Fake::good().machine("", works()), &["swap".to_owned(), "numa".to_owned()]);
    assert_eq!(skipped.len(), names.len() - 2);
}

#[test]
fn the_text_is_aligned_and_names_the_remedies() {
    let findings = Fake::good().with(&BAD[3..4]).examine("", works());
    let text = report::text(&findings, false, false);
    let column = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("{line} has no {word}"));
    let line = |name: &str| text.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap();
    assert_eq!(column(line("somaxconn"), "128"), column(line("kernel"), "6.12.9"));
    assert_eq!(column(line("somaxconn"), "511 or more"), column(line("kernel"), "6.0 or newer"));
    assert!(
        text.contains("\nshould   somaxconn\n         do:      tuning/network.sh apply.\n         why:     "),
        "{text}"
    );
    assert!(text.ends_with(&format!("\n0 must, 1 should, 0 unknown, {} ok", findings.len() - 1)), "{text}");
    assert!(!text.contains("\x1b["));
    assert!(report::text(&findings, false, true).contains("\x1b[33mshould  \x1b[0m"));
    let all = report::text(&findings, true, false);
    assert_eq!(all.matches("why:").count(), findings.len());
    assert!(all.lines().all(|line| line.chars().count() <= 120), "{all}");
}

#[test]
fn json_has_every_finding_with_every_member() {
    let findings = Fake::good().examine("", works());
    let value: serde_json::Value = serde_json::from_str(&report::json(&findings)).unwrap();
    let members = ["name", "state", "is", "should_be", "why", "costs", "brought", "remedy"];
    for finding in value.as_array().unwrap() {
        assert!(finding.as_object().unwrap().keys().all(|key| members.contains(&key.as_str())), "{finding}");
        assert_eq!(finding["state"], "ok");
        assert!(members.iter().all(|member| finding.get(member).is_some()));
    }
    assert_eq!(value.as_array().unwrap().len(), findings.len());
}
