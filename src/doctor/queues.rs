//! Checks of network interfaces against the shards' cores: receive queues (RSS, RPS), transmit queues (XPS), interrupts.
//!
//! Only interfaces with hardware that are up count, and only when clients of other machines are served.

use super::machine::Machine;
use super::tree::mask_has;
use super::{Answer, Check, State};
use crate::config::ranges;

pub const CHECKS: &[Check] = &[
    Check {
        name: "receive-queues",
        examine: receive,
        why: "With a receive queue for each shard's core the interface spreads packets itself (RSS); with fewer one core does the network's work for all, unless the kernel spreads it (RPS).",
        costs: "RPS costs an interrupt between cores for each batch of packets.",
        brought: "",
    },
    Check {
        name: "transmit-queues",
        examine: transmit,
        why: "With transmit queues of their own (XPS) cores send without taking each other's locks.",
        costs: "Nothing.",
        brought: "",
    },
    Check {
        name: "interrupts",
        examine: interrupts,
        why: "Interrupts that share a core make that core's shard slower than the others.",
        costs: "Nothing.",
        brought: "",
    },
    Check {
        name: "irqbalance",
        examine: irqbalance,
        why: "It moves interrupts to other cores every ten seconds, those that were placed too.",
        costs: "Interrupts of other devices are no longer spread by load.",
        brought: "",
    },
];

/// The interfaces to look at, or the answer where there are none to look at.
fn interfaces(machine: &Machine, should_be: &str) -> Result<Vec<String>, Answer> {
    if machine.serves_only_itself() {
        return Err(Answer::ok("only this machine is served (--bind)", should_be));
    }
    let Some(names) = machine.tree.names("sys/class/net") else {
        return Err(Answer::unknown("/sys/class/net is not readable", should_be));
    };
    let is_up = |name: &String| machine.tree.text(&format!("sys/class/net/{name}/operstate")).as_deref() == Some("up");
    let up: Vec<String> = names
        .into_iter()
        .filter(|name| machine.tree.exists(&format!("sys/class/net/{name}/device")) && is_up(name))
        .collect();
    if up.is_empty() { Err(Answer::unknown("no interface with hardware is up", should_be)) } else { Ok(up) }
}

/// One answer for all interfaces: the worst state, and what each is.
fn together(machine: &Machine, should_be: &str, look: impl Fn(&str, &[usize]) -> (State, String)) -> Answer {
    let interfaces = match interfaces(machine, should_be) {
        Ok(interfaces) => interfaces,
        Err(answer) => return answer,
    };
    let Some(cores) = machine.shard_cores() else {
        return Answer::without_cores(should_be);
    };
    let seen: Vec<(State, String)> = interfaces
        .iter()
        .map(|name| {
            let (state, text) = look(name, &cores);
            (state, format!("{name}: {text}"))
        })
        .collect();
    let state = seen.iter().map(|(state, _)| *state).max().unwrap_or(State::Unknown);
    let is = seen.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
    let remedy = match state {
        State::Should => format!("tuning/irq.sh apply --cores {}.", ranges(&cores)),
        _ => String::new(),
    };
    Answer { state, is, should_be: should_be.to_owned(), remedy }
}

fn unreadable() -> (State, String) {
    (State::Unknown, "not readable".to_owned())
}

fn queues(machine: &Machine, interface: &str, direction: &str) -> Option<Vec<String>> {
    let names = machine.tree.names(&format!("sys/class/net/{interface}/queues"))?;
    Some(names.into_iter().filter(|name| name.starts_with(direction)).collect())
}

/// The masks in the file `name` of each queue.
fn masks(machine: &Machine, interface: &str, queues: &[String], name: &str) -> Option<Vec<String>> {
    queues.iter().map(|queue| machine.tree.text(&format!("sys/class/net/{interface}/queues/{queue}/{name}"))).collect()
}

fn receive(machine: &Machine) -> Answer {
    together(machine, "a queue a core, or RPS over the cores", |interface, cores| {
        let Some(queues) = queues(machine, interface, "rx-").filter(|queues| !queues.is_empty()) else {
            return unreadable();
        };
        let Some(masks) = masks(machine, interface, &queues, "rps_cpus") else { return unreadable() };
        let count = queues.len();
        let spread = masks.iter().all(|mask| cores.iter().all(|core| mask_has(mask, *core)));
        let state = if count >= cores.len() || spread { State::Ok } else { State::Should };
        (state, format!("{count} for {} cores, RPS {}", cores.len(), if spread { "over all" } else { "not over all" }))
    })
}

fn transmit(machine: &Machine) -> Answer {
    together(machine, "each core has its own, as far as there are any", |interface, cores| {
        let Some(queues) = queues(machine, interface, "tx-").filter(|queues| !queues.is_empty()) else {
            return unreadable();
        };
        if queues.len() == 1 || cores.len() == 1 {
            return (State::Ok, format!("{} for {} cores", queues.len(), cores.len()));
        }
        let Some(masks) = masks(machine, interface, &queues, "xps_cpus") else { return unreadable() };
        let of_core = |core: &usize| masks.iter().filter(|mask| mask_has(mask, *core)).count();
        let one_each = cores.iter().all(|core| of_core(core) == 1);
        let used = masks.iter().filter(|mask| cores.iter().any(|core| mask_has(mask, *core))).count();
        let well = one_each && used == queues.len().min(cores.len());
        let state = if well { State::Ok } else { State::Should };
        (state, format!("{} for {} cores, {used} used by them", queues.len(), cores.len()))
    })
}

fn interrupts(machine: &Machine) -> Answer {
    together(machine, "on one shard's core each, spread over them", |interface, cores| {
        let device = format!("sys/class/net/{interface}/device");
        // A virtio device has them at its parent.
        let numbers =
            ["msi_irqs", "../msi_irqs"].iter().find_map(|place| machine.tree.names(&format!("{device}/{place}")));
        // Those that the driver does not use are nowhere.
        let place = |number: &String| {
            let effective = machine.tree.list(&format!("proc/irq/{number}/effective_affinity_list"));
            effective.or_else(|| machine.tree.list(&format!("proc/irq/{number}/smp_affinity_list")))
        };
        let places: Vec<Vec<usize>> = numbers.unwrap_or_default().iter().filter_map(place).collect();
        let places: Vec<Vec<usize>> = places.into_iter().filter(|place| !place.is_empty()).collect();
        let count = places.len();
        if count == 0 {
            return unreadable();
        }
        let single: Option<Vec<usize>> =
            places.iter().map(|place| if let [core] = place[..] { Some(core) } else { None }).collect();
        let Some(mut used) = single else {
            return (State::Should, format!("{count}, some on several cores"));
        };
        used.sort_unstable();
        used.dedup();
        let at_shards = used.iter().all(|core| cores.contains(core));
        let well = at_shards && used.len() == count.min(cores.len());
        let state = if well { State::Ok } else { State::Should };
        (state, format!("{count} on cores {}", ranges(&used)))
    })
}

fn irqbalance(machine: &Machine) -> Answer {
    let should_be = "not running";
    if let Err(answer) = interfaces(machine, should_be).map(drop) {
        return answer;
    }
    let Some(names) = machine.tree.names("proc") else { return Answer::unknown("/proc is not readable", should_be) };
    let processes = names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let mut comms = processes.filter_map(|process| machine.tree.text(&format!("proc/{process}/comm")));
    if comms.any(|comm| comm == "irqbalance") {
        let remedy = "systemctl disable --now irqbalance, or keep it off the shards' cores: IRQBALANCE_BANNED_CPULIST.";
        return Answer::should("running", should_be, remedy);
    }
    // Only where the kernel's own threads are seen, all processes of the machine are.
    match machine.tree.text("proc/2/comm").as_deref() {
        Some("kthreadd") => Answer::ok("not running", should_be),
        _ => Answer::unknown("not all processes are seen from here", should_be),
    }
}
