//! Checks of the shards' cores: frequency, sleep, siblings, isolation, the clock, and whether there is a hypervisor.

use super::machine::Machine;
use super::{Answer, Check};
use crate::config::ranges;

/// Longest time that leaving an idle state may take, in microseconds: what tuning/cpu.sh leaves enabled.
const EXIT_LATENCY_MAX_US: u64 = 10;

pub const CHECKS: &[Check] = &[
    Check {
        name: "governor",
        examine: governor,
        why: "Other governors lower the frequency of cores that seem idle, and raise it only after milliseconds of load.",
        costs: "Power.",
        brought: "",
    },
    Check {
        name: "idle-states",
        examine: idle_states,
        why: "A core in a deep idle state (C-state) takes up to hundreds of microseconds to wake up for the next request.",
        costs: "Power, and on some machines the highest turbo frequencies. --busy-poll always needs none of it.",
        brought: "",
    },
    Check {
        name: "smt",
        examine: smt,
        why: "Two shards on the two threads of one core share its execution units and caches.",
        costs: "Half as many shards, each of them faster.",
        brought: "",
    },
    Check {
        name: "isolated-cores",
        examine: isolated,
        why: "On isolated cores (isolcpus=, nohz_full=) the scheduler puts nobody else; they serve only who is pinned to them.",
        costs: "Cores that nothing else can use, and a restart of the machine.",
        brought: "",
    },
    Check {
        name: "clock",
        examine: clock,
        why: "The time is read several times a batch. From these sources it is read without a system call.",
        costs: "Nothing.",
        brought: "",
    },
    Check {
        name: "virtual-machine",
        examine: virtual_machine,
        why: "A hypervisor takes cores away for milliseconds and makes each packet and each interrupt dearer.",
        costs: "A machine.",
        brought: "",
    },
];

/// Sources that the vDSO reads, by the kernel's names.
const FAST_CLOCKS: [&str; 5] = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "timebase"];

fn governor(machine: &Machine) -> Answer {
    let should_be = "performance";
    let Some(cores) = machine.shard_cores() else {
        return Answer::without_cores(should_be);
    };
    let path = |core: &usize| format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let Some(mut governors) = cores.iter().map(|core| machine.tree.text(&path(core))).collect::<Option<Vec<_>>>()
    else {
        return Answer::unknown("no frequency control to be seen", should_be);
    };
    governors.sort();
    governors.dedup();
    Answer::expect(governors == [should_be], governors.join(", "), should_be, "tuning/cpu.sh apply.")
}

fn idle_states(machine: &Machine) -> Answer {
    let should_be = format!("left within {EXIT_LATENCY_MAX_US} us");
    if !machine.sleeps() {
        return Answer::ok("shards never sleep (--busy-poll always)", should_be);
    }
    let Some(cores) = machine.shard_cores() else {
        return Answer::without_cores(should_be);
    };
    let mut deepest: Option<(u64, String)> = None;
    for core in cores {
        let directory = format!("sys/devices/system/cpu/cpu{core}/cpuidle");
        let states = machine.tree.names(&directory).unwrap_or_default();
        for state in states.iter().filter(|name| name.starts_with("state")) {
            let number = |name| machine.tree.number(&format!("{directory}/{state}/{name}"));
            let (Some(latency_us), Some(disabled)) = (number("latency"), number("disable")) else { continue };
            if disabled == 0 && deepest.as_ref().is_none_or(|(deepest_us, _)| *deepest_us < latency_us) {
                let name = machine.tree.text(&format!("{directory}/{state}/name")).unwrap_or_else(|| state.clone());
                deepest = Some((latency_us, name));
            }
        }
    }
    match deepest {
        None => Answer::unknown("no idle states are to be seen", should_be),
        Some((latency_us, name)) => {
            let well = latency_us <= EXIT_LATENCY_MAX_US;
            Answer::expect(well, format!("{name} takes {latency_us} us"), should_be, "tuning/cpu.sh apply.")
        }
    }
}

fn smt(machine: &Machine) -> Answer {
    let should_be = "one shard a physical core";
    match machine.tree.text("sys/devices/system/cpu/smt/active").as_deref() {
        Some("0") => return Answer::ok("off or not there", should_be),
        Some("1") => {}
        _ => return Answer::unreadable(should_be),
    }
    let Some(cores) = machine.shard_cores() else {
        return Answer::without_cores(should_be);
    };
    let path = |core: &usize| format!("sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
    let Some(siblings) = cores.iter().map(|core| machine.tree.list(&path(core))).collect::<Option<Vec<_>>>() else {
        return Answer::unknown("the topology is not readable", should_be);
    };
    // The first of the shards' cores on each physical core.
    let mut physical: Vec<usize> =
        siblings.iter().filter_map(|siblings| cores.iter().copied().find(|core| siblings.contains(core))).collect();
    physical.sort_unstable();
    physical.dedup();
    let is = format!("on, {} shards on {} physical cores", cores.len(), physical.len());
    let remedy = format!("tallyring serve --pin {}.", ranges(&physical));
    Answer::expect(physical.len() == cores.len(), is, should_be, &remedy)
}

fn isolated(machine: &Machine) -> Answer {
    let should_be = "none, or the shards' own";
    let (Some(isolated), Some(cores)) = (machine.tree.list("sys/devices/system/cpu/isolated"), machine.shard_cores())
    else {
        return Answer::unreadable(should_be);
    };
    let inside = cores.iter().filter(|core| isolated.contains(core)).count();
    if isolated.is_empty() {
        return Answer::ok("none", should_be);
    }
    let is = format!("{}; {inside} of {} shards there", ranges(&isolated), cores.len());
    let remedy = format!("tallyring serve --pin {}.", ranges(&isolated));
    Answer::expect(inside == cores.len(), is, should_be, &remedy)
}

fn clock(machine: &Machine) -> Answer {
    let should_be = "read without a system call";
    match machine.tree.text("sys/devices/system/clocksource/clocksource0/current_clocksource") {
        None => Answer::unreadable(should_be),
        Some(name) => {
            let well = FAST_CLOCKS.contains(&name.as_str());
            let remedy = "Boot with clocksource=tsc where the processor has an invariant one, and see the kernel's log for why it is not used.";
            Answer::expect(well, name, should_be, remedy)
        }
    }
}

fn virtual_machine(machine: &Machine) -> Answer {
    let should_be = "bare metal where the tail matters";
    let texts = ["sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name", "sys/hypervisor/type"]
        .map(|path| machine.tree.text(path));
    let named = texts.into_iter().flatten().collect::<Vec<_>>().join(" ");
    // x86 tells by a flag; elsewhere nothing tells for certain.
    let flags = machine.tree.field("proc/cpuinfo", "flags");
    let remedy = "Read what is measured here as this machine's; on bare metal measure again.";
    let beside = if named.is_empty() { String::new() } else { format!(" ({named})") };
    match flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")) {
        Some(true) => Answer::should(format!("virtual machine{beside}"), should_be, remedy),
        Some(false) => Answer::ok(format!("bare metal{beside}"), should_be),
        None if named.is_empty() => Answer::unknown("neither processor flags nor firmware tell", should_be),
        None => Answer::unknown(format!("firmware says {named}"), should_be),
    }
}
