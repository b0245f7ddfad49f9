//! Checks of what the server runs on: the kernel, and io_uring.

use super::machine::Machine;
use super::ring::Ring;
use super::{Answer, Check};
use crate::startup::{KERNEL_VERSION_MIN, classify_ring_error};

pub const CHECKS: &[Check] = &[
    Check {
        name: "kernel",
        examine: kernel,
        why: "Shards set their rings up with IORING_SETUP_SINGLE_ISSUER (Linux 6.0) and COOP_TASKRUN (5.19).",
        costs: "A newer kernel.",
        brought: "",
    },
    Check {
        name: "io-uring-sysctl",
        examine: sysctl,
        why: "kernel.io_uring_disabled (Linux 6.6) forbids io_uring to all (2) or to all but one group and root (1).",
        costs: "Any local program may use io_uring then, which is more of the kernel to attack.",
        brought: "",
    },
    Check {
        name: "io-uring",
        examine: ring,
        why: "Every receive and send goes through a ring. Container runtimes' own seccomp profiles often forbid it.",
        costs: "A seccomp profile that allows three more system calls: tuning/container/seccomp.json.",
        brought: "",
    },
    Check {
        name: "io-uring-operations",
        examine: operations,
        why: "What a shard submits must be there: readiness, receiving and sending with and without registered buffers, cancelling.",
        costs: "A newer kernel.",
        brought: "",
    },
];

fn kernel(machine: &Machine) -> Answer {
    let (major, minor) = KERNEL_VERSION_MIN;
    let should_be = format!("{major}.{minor} or newer");
    let release = machine.host.kernel_release.as_str();
    match machine.host.kernel_version() {
        (0, 0) if release.is_empty() => Answer::unknown("/proc/sys/kernel/osrelease is not readable", should_be),
        (0, 0) => Answer::unknown(format!("release {release} is not understood"), should_be),
        version if version >= KERNEL_VERSION_MIN => Answer::ok(release, should_be),
        _ => Answer::must(release, should_be, "Upgrade the kernel."),
    }
}

fn sysctl(machine: &Machine) -> Answer {
    let remedy = "sysctl kernel.io_uring_disabled=0, or tuning/limits.sh apply.";
    match (machine.host.io_uring_disabled, &machine.ring) {
        (Some(0), _) => Answer::ok("0", "0"),
        // The one who runs the server decides whether it may.
        (Some(1), Ring::Works { .. }) => Answer::ok("1, and this user may", "0"),
        (Some(1), _) => {
            let group = machine.tree.text("proc/sys/kernel/io_uring_group").unwrap_or_else(|| "unknown".to_owned());
            Answer::must(format!("1: only root and group {group} may"), "0", remedy)
        }
        (Some(value), _) => Answer::must(format!("{value}: nobody may"), "0", remedy),
        (None, _) if before_the_sysctl(machine) => Answer::ok("not there before Linux 6.6", "0"),
        (None, _) => Answer::unknown("/proc/sys/kernel/io_uring_disabled is not readable", "0"),
    }
}

fn before_the_sysctl(machine: &Machine) -> bool {
    let version = machine.host.kernel_version();
    version != (0, 0) && version < (6, 6)
}

fn ring(machine: &Machine) -> Answer {
    let should_be = "a ring can be set up";
    let filter = match machine.tree.field(&format!("proc/{}/status", machine.process), "Seccomp").as_deref() {
        Some("0") => "no seccomp filter",
        Some("1" | "2") => "a seccomp filter",
        _ => "seccomp unknown",
    };
    match &machine.ring {
        Ring::NotTried => Answer::unknown(format!("not tried; {filter}"), should_be),
        Ring::Works { .. } => Answer::ok(format!("it can; {filter}"), should_be),
        Ring::Refused(error) => {
            // The same words that `tallyring serve` would end with.
            let again = error.raw_os_error().map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error);
            let remedy = classify_ring_error(again, &machine.host).to_string();
            Answer::must(format!("refused, {error}; {filter}"), should_be, remedy)
        }
    }
}

fn operations(machine: &Machine) -> Answer {
    let count = Ring::operation_count();
    let should_be = format!("all {count} that shards use");
    match &machine.ring {
        Ring::Works { missing } if missing.is_empty() => Answer::ok(format!("all {count}"), should_be),
        Ring::Works { missing } => {
            Answer::must(format!("{} missing", missing.join(", ")), should_be, "Upgrade the kernel.")
        }
        Ring::NotTried | Ring::Refused(_) => Answer::unknown("there is no ring to ask", should_be),
    }
}
