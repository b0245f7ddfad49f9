//! Checks of memory: huge pages, nodes, swap, and what the kernel promises.

use super::machine::Machine;
use super::{Answer, Check};
use crate::config::{ByteCount, ranges};
use crate::startup::MemoryPlan;

pub const CHECKS: &[Check] = &[
    Check {
        name: "huge-pages",
        examine: huge_pages,
        why: "With transparent huge pages always on, the first byte of a region can take 2 MiB, and the kernel may compact memory while a request waits.",
        costs: "More misses of the TLB with very many counters.",
        brought: "No difference that could be told: 31.4 bytes a counter either way, 6 of 130 MiB in huge pages with always (two cores of an AMD EPYC VM, Linux 6.18, 2026-11-24).",
    },
    Check {
        name: "numa",
        examine: numa,
        why: "Memory of another node is slower, and so is the mesh between shards of different nodes.",
        costs: "The other nodes' cores: run a server on each instead.",
        brought: "",
    },
    Check {
        name: "numa-balancing",
        examine: balancing,
        why: "It unmaps pages to see who touches them. Pinned shards touch their own from the first time on, so it only costs.",
        costs: "Nothing here; other programs may want it.",
        brought: "",
    },
    Check {
        name: "swap",
        examine: swap,
        why: "A counter that was swapped out keeps its whole shard waiting for the disk.",
        costs: "Where memory runs out a process is ended instead.",
        brought: "",
    },
    Check {
        name: "overcommit",
        examine: overcommit,
        why: "With vm.overcommit_memory=2 the kernel refuses memory past CommitLimit, used or not, and a server that is refused ends. The server never forks, so 0 suffices, unlike for Redis.",
        costs: "Nothing.",
        brought: "",
    },
];

fn huge_pages(machine: &Machine) -> Answer {
    let should_be = "madvise or never";
    match machine.tree.choice("sys/kernel/mm/transparent_hugepage/enabled") {
        None => Answer::unreadable(should_be),
        Some(word) => Answer::expect(word != "always", word, should_be, "tuning/memory.sh apply."),
    }
}

/// The nodes of the machine that have cores.
fn nodes(machine: &Machine) -> Option<Vec<(usize, Vec<usize>)>> {
    let nodes = machine.tree.list("sys/devices/system/node/has_cpu").filter(|nodes| !nodes.is_empty())?;
    let cores = |node: usize| machine.tree.list(&format!("sys/devices/system/node/node{node}/cpulist"));
    nodes.into_iter().map(|node| Some((node, cores(node)?))).collect()
}

fn numa(machine: &Machine) -> Answer {
    let should_be = "all shards on one node, the interface's";
    let (Some(nodes), Some(cores)) = (nodes(machine), machine.shard_cores()) else {
        return Answer::unreadable(should_be);
    };
    if nodes.len() == 1 {
        return Answer::ok("one node", should_be);
    }
    let used: Vec<usize> = nodes
        .iter()
        .filter(|(_, of_node)| cores.iter().any(|core| of_node.contains(core)))
        .map(|(node, _)| *node)
        .collect();
    let interface = interface_node(machine);
    let is = format!(
        "shards on node {}{}",
        ranges(&used),
        interface.map_or(String::new(), |node| format!(", the interface at node {node}"))
    );
    let well = used.len() == 1 && interface.is_none_or(|node| used == [node]);
    let best = nodes.iter().find(|(node, _)| Some(*node) == interface).or(nodes.first());
    let list = best.map_or(String::new(), |(_, cores)| ranges(cores));
    Answer::expect(well, is, should_be, &format!("tallyring serve --pin {list}, under numactl --membind of that node."))
}

/// The node of the first interface that has one. -1 is the kernel's word for none.
fn interface_node(machine: &Machine) -> Option<usize> {
    if machine.serves_only_itself() {
        return None;
    }
    let names = machine.tree.names("sys/class/net")?;
    names.iter().find_map(|name| machine.tree.text(&format!("sys/class/net/{name}/device/numa_node"))?.parse().ok())
}

fn balancing(machine: &Machine) -> Answer {
    match (machine.tree.number("proc/sys/kernel/numa_balancing"), nodes(machine)) {
        (Some(0), _) => Answer::ok("0", "0"),
        (Some(value), Some(nodes)) if nodes.len() == 1 => Answer::ok(format!("{value}, on one node"), "0"),
        (Some(value), _) => Answer::should(value.to_string(), "0", "tuning/memory.sh apply."),
        (None, _) => Answer::unreadable("0"),
    }
}

fn swap(machine: &Machine) -> Answer {
    let should_be = "none";
    let Some(swaps) = machine.tree.text("proc/swaps") else { return Answer::unreadable(should_be) };
    let kib = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    let bytes: u64 = swaps.lines().skip(1).filter_map(kib).map(|kib| kib.saturating_mul(1_024)).sum();
    if bytes == 0 {
        return Answer::ok("none", should_be);
    }
    if machine.is_kept_from_swap() {
        return Answer::ok("not for this control group", should_be);
    }
    let swappiness =
        machine.tree.number("proc/sys/vm/swappiness").map_or("unknown".to_owned(), |value| value.to_string());
    let is = format!("{}, vm.swappiness {swappiness}", ByteCount(bytes));
    Answer::should(is, should_be, "MemorySwapMax=0 in the systemd unit, swapoff -a, or tuning/memory.sh apply.")
}

fn overcommit(machine: &Machine) -> Answer {
    let should_be = "0 or 1, or room for the ceiling";
    let remedy = "sysctl vm.overcommit_memory=0, or raise vm.overcommit_ratio.";
    let kib = |name| machine.tree.field("proc/meminfo", name)?.trim_end_matches("kB").trim().parse::<u64>().ok();
    match machine.tree.number("proc/sys/vm/overcommit_memory") {
        None => Answer::unreadable(should_be),
        Some(mode @ (0 | 1)) => Answer::ok(mode.to_string(), should_be),
        Some(mode) => match (kib("CommitLimit"), kib("Committed_AS"), MemoryPlan::new(&machine.config).ceiling_bytes())
        {
            (Some(limit), Some(used), Some(ceiling_bytes)) => {
                let free_bytes = limit.saturating_sub(used).saturating_mul(1_024);
                let is =
                    format!("{mode}, {} free for a ceiling of {}", ByteCount(free_bytes), ByteCount(ceiling_bytes));
                if free_bytes >= ceiling_bytes {
                    Answer::ok(is, should_be)
                } else {
                    Answer::must(is, should_be, remedy)
                }
            }
            (_, _, None) => Answer::must(format!("{mode}, and no ceiling"), should_be, remedy),
            _ => Answer::unknown("/proc/meminfo is not readable", should_be),
        },
    }
}
