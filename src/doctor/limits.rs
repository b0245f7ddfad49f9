//! Checks of what this process may have: locked memory, descriptors, memory and processor time.

use super::machine::Machine;
use super::{Answer, Check};
use crate::config::{ByteCount, MAXCLIENTS_DEFAULT};
use crate::limits::FIXED_BUFFER_BYTES;
use crate::startup::{self, MemoryPlan, StartError};

pub const CHECKS: &[Check] = &[
    Check {
        name: "start",
        examine: start,
        why: "What the server reserves at its start, and the counters up to maxmemory, must fit this machine.",
        costs: "Nothing.",
        brought: "",
    },
    Check {
        name: "memlock",
        examine: memlock,
        why: "Fixed buffers are registered with the rings, which counts as locked memory. With fewer of them, clients wait for buffers that slow ones hold.",
        costs: "Memory that is never swapped: 16 KiB a buffer, 8 MiB a shard at most.",
        brought: "Room for clients that are slow, not speed: 1,000 fast ones, 16 deep, took 0.73 to 0.90 us of processor time a request with 16 or 64 buffers and 0.92 to 1.09 with 512 (two cores of an AMD EPYC VM, Linux 6.18, 2026-11-24).",
    },
    Check {
        name: "descriptors",
        examine: descriptors,
        why: "Each client takes one. Who comes when there is none left is not accepted.",
        costs: "Nothing until clients come.",
        brought: "",
    },
    Check {
        name: "cpu-quota",
        examine: quota,
        why: "A control group's quota (cpu.max) stops all shards for the rest of a period, often tens of milliseconds, once they have used it up.",
        costs: "Other groups can no longer be sure of their share: give the shards cores of their own instead (cpuset).",
        brought: "",
    },
];

fn start(machine: &Machine) -> Answer {
    let should_be = "the server starts";
    match &machine.start_error {
        Some(error) => Answer::must("it does not start", should_be, error.to_string()),
        None if machine.tree.field("proc/meminfo", "MemTotal").is_none() => {
            Answer::unknown("the machine's memory is not readable", should_be)
        }
        None => {
            let ceiling = MemoryPlan::new(&machine.config).ceiling_bytes();
            Answer::ok(
                ceiling.map_or("no ceiling".to_owned(), |bytes| format!("ceiling {}", ByteCount(bytes))),
                should_be,
            )
        }
    }
}

fn memlock(machine: &Machine) -> Answer {
    let count = machine.config.threads
        * machine.config.buffers.map_or(startup::useful_buffer_count(&machine.config), |count| count as usize);
    let buffer_bytes = (count * FIXED_BUFFER_BYTES) as u64;
    // What the server leaves alone when it chooses by itself.
    let wanted_bytes = if machine.config.buffers.is_some() { buffer_bytes } else { (buffer_bytes * 8).div_ceil(7) };
    let should_be = format!("{} or more", ByteCount(wanted_bytes));
    if machine.limit("Max locked memory").is_none() {
        return Answer::unknown("its limits are not readable", should_be);
    }
    let kib = wanted_bytes.div_ceil(1_024);
    let remedy = format!("LimitMEMLOCK={kib}K in the systemd unit, ulimit -l {kib}, or tuning/limits.d.");
    match machine.host.lockable_bytes() {
        None if machine.host.may_lock_any => Answer::ok("no limit (CAP_IPC_LOCK)", should_be),
        None => Answer::ok("no limit", should_be),
        Some(bytes) if bytes >= wanted_bytes => Answer::ok(ByteCount(bytes).to_string(), should_be),
        Some(bytes) => match startup::fixed_buffer_count(&machine.config, &machine.host) {
            Err(_) => Answer::must(ByteCount(bytes).to_string(), should_be, remedy),
            Ok(fewer) => Answer::should(format!("{}: {fewer} buffers a shard", ByteCount(bytes)), should_be, remedy),
        },
    }
}

fn descriptors(machine: &Machine) -> Answer {
    let clients = machine.maxclients_asked.unwrap_or(MAXCLIENTS_DEFAULT);
    let should_be = format!("room for {clients} clients");
    if machine.limit("Max open files").is_none() {
        return Answer::unknown("its limits are not readable", should_be);
    }
    let limit = |asked| {
        let config = &machine.config;
        startup::client_limit(asked, MAXCLIENTS_DEFAULT, config.threads, config.bind.len(), &machine.host)
    };
    let is = machine.host.descriptors.soft.map_or("no limit".to_owned(), |count| count.to_string());
    match limit(Some(clients)) {
        Err(StartError::TooFewDescriptors { needed, .. }) => {
            let remedy = format!("LimitNOFILE={needed} in the systemd unit, ulimit -n {needed}, or tuning/limits.d.");
            // Without a wish of the operator the server lets in fewer, down to where it does not start.
            match (machine.maxclients_asked, limit(None)) {
                (None, Ok(fewer)) => Answer::should(format!("{is}: {fewer} clients"), should_be, remedy),
                _ => Answer::must(is, should_be, remedy),
            }
        }
        _ => Answer::ok(is, should_be),
    }
}

fn quota(machine: &Machine) -> Answer {
    let Some(quota) = machine.cpu_quota() else {
        return Answer::unknown("its control group's quota is not readable", "none");
    };
    match quota {
        None => Answer::ok("none", "none"),
        Some(text) => {
            let remedy = "Lift CPUQuota= or --cpus, and give the server whole cores: CPUAffinity= or --cpuset-cpus.";
            Answer::should(format!("{text} (us of time, us of a period)"), "none", remedy)
        }
    }
}
