//! Checks of the kernel's network settings: how many connections may wait, and whether sockets are polled.

use super::machine::Machine;
use super::{Answer, Check};
use crate::config::BusyPoll;

pub const CHECKS: &[Check] = &[
    Check {
        name: "somaxconn",
        examine: somaxconn,
        why: "net.core.somaxconn cuts every listener's backlog without a word. Who finds the queue full is tried again after a second.",
        costs: "A few hundred bytes for each connection that waits.",
        brought: "Of 1,000 connections opened at once to a backlog of 511, 507 to 633 waited a second with 128, 0 to 247 with 4096, and none with --tcp-backlog 4096 too (two cores of an AMD EPYC VM, Linux 6.18, 2026-11-24).",
    },
    Check {
        name: "syn-backlog",
        examine: syn_backlog,
        why: "Without SYN cookies, net.ipv4.tcp_max_syn_backlog is how many half-open connections a listener has.",
        costs: "A few hundred bytes for each half-open connection.",
        brought: "",
    },
    Check {
        name: "busy-polling",
        examine: busy_polling,
        why: "net.core.busy_read lets each receive poll the interface's queue: it saves an interrupt where a shard polls anyway, and is time lost where shards sleep.",
        costs: "Processor time at every receive that finds nothing.",
        brought: "",
    },
];

/// What tuning/network.sh sets both backlogs to.
const SCRIPT_BACKLOG: u64 = 4_096;

fn remedy(sysctl: &str, backlog: u64) -> String {
    match backlog {
        ..=SCRIPT_BACKLOG => "tuning/network.sh apply.".to_owned(),
        _ => format!("sysctl {sysctl}={backlog}, or lower --tcp-backlog."),
    }
}

fn somaxconn(machine: &Machine) -> Answer {
    let backlog = u64::from(machine.config.tcp_backlog);
    let should_be = format!("{backlog} or more (--tcp-backlog)");
    match machine.tree.number("proc/sys/net/core/somaxconn") {
        None => Answer::unreadable(should_be),
        Some(count) => {
            let remedy = remedy("net.core.somaxconn", backlog);
            Answer::expect(count >= backlog, count.to_string(), should_be, &remedy)
        }
    }
}

fn syn_backlog(machine: &Machine) -> Answer {
    let backlog = u64::from(machine.config.tcp_backlog);
    let should_be = format!("SYN cookies, or {backlog} or more");
    let count = machine.tree.number("proc/sys/net/ipv4/tcp_max_syn_backlog");
    match (machine.tree.number("proc/sys/net/ipv4/tcp_syncookies"), count) {
        (Some(1..), _) => Answer::ok("SYN cookies", should_be),
        (Some(0), Some(count)) => {
            let remedy = remedy("net.ipv4.tcp_max_syn_backlog", backlog);
            Answer::expect(count >= backlog, count.to_string(), should_be, &remedy)
        }
        _ => Answer::unreadable(should_be),
    }
}

fn busy_polling(machine: &Machine) -> Answer {
    let read = machine.tree.number("proc/sys/net/core/busy_read");
    let poll = machine.tree.number("proc/sys/net/core/busy_poll");
    match (read, poll, machine.config.busy_poll) {
        (Some(read), Some(poll), BusyPoll::No | BusyPoll::Auto) => {
            let remedy = "sysctl net.core.busy_read=0 net.core.busy_poll=0, or serve with --busy-poll always.";
            Answer::expect(
                read == 0 && poll == 0,
                format!("busy_read {read}, busy_poll {poll}"),
                "0 without --busy-poll always",
                remedy,
            )
        }
        // With --busy-poll always, or for long, either is a choice that only a measurement on the interface at hand can make.
        (Some(read), Some(poll), _) => Answer::ok(format!("busy_read {read}, busy_poll {poll}"), "as measured"),
        _ => Answer::unreadable("0 without --busy-poll always"),
    }
}
