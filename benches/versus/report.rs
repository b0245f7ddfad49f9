//! The tables in Markdown, and everything in JSON.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::disk::Disk;
use super::options::{Options, Table};
use super::peers::{Found, Peer};
use super::results::{Memory, Ratio, Round, Row, Spread};
use super::workload::{KEY_BYTES, Load};

/// Ours is to be so many times as fast as the other: table, load, other, ratio.
const BARS: &[(Table, &str, Peer, f64)] = &[
    (Table::Small, "50x64", Peer::Redis8, 3.5),
    (Table::Small, "50x64", Peer::Kevy, 2.0),
    (Table::Small, "50x64", Peer::Bare, 0.90),
    (Table::Small, "50x16", Peer::Redis8, 2.2),
    (Table::Small, "50x16", Peer::Kevy, 1.45),
    (Table::Small, "50x16", Peer::Bare, 0.92),
    (Table::Small, "50x1", Peer::Redis8, 1.25),
    (Table::Small, "50x1", Peer::Kevy, 1.05),
    (Table::Small, "50x1", Peer::Bare, 0.97),
    (Table::Small, "200x1", Peer::Redis8, 1.25),
    (Table::Small, "200x1", Peer::Kevy, 1.05),
    (Table::Small, "200x1", Peer::Bare, 0.97),
    (Table::Small, "1x1", Peer::Redis8, 2.0),
    (Table::Small, "1x1", Peer::Kevy, 1.0),
    (Table::Large, "50x64", Peer::Redis8, 4.0),
    (Table::Large, "50x64", Peer::Kevy, 2.2),
    (Table::Large, "50x16", Peer::Redis8, 3.5),
    (Table::Large, "50x16", Peer::Kevy, 1.6),
    (Table::Large, "50x1", Peer::Redis8, 1.3),
    (Table::Large, "50x1", Peer::Kevy, 1.0),
    (Table::Everysec, "50x64", Peer::Redis8, 5.0),
    (Table::Everysec, "50x64", Peer::OursWithout, 0.85),
    (Table::Everysec, "50x16", Peer::Redis8, 2.7),
    (Table::Everysec, "50x16", Peer::OursWithout, 0.9),
    (Table::Everysec, "50x1", Peer::Redis8, 1.4),
    (Table::Everysec, "50x1", Peer::OursWithout, 0.95),
    (Table::Always, "50x64", Peer::Redis8, 5.0),
    (Table::Always, "50x16", Peer::Redis8, 3.5),
    (Table::Always, "50x1", Peer::Redis8, 2.0),
];

/// Microseconds of the processor that a forwarded operation may take beyond a local one: load, bar.
const FORWARDING_BARS: &[(&str, f64)] = &[("50x64", 0.12), ("50x16", 0.25)];

/// Bytes of a counter, at most.
const BYTES_PER_COUNTER_BAR: f64 = 32.0;

/// More of a core taken by others makes a result doubtful.
const OTHER_BUSY_LIMIT: f64 = 0.05;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub struct Report {
    date: String,
    kernel: String,
    machine: String,
    settings: String,
    servers: Vec<(String, String)>,
    missing: Vec<(String, String)>,
    rates: Vec<Row>,
    ratios: Vec<Ratio>,
    memory: Vec<Memory>,
    disk: Option<Disk>,
    rounds: Vec<Row>,
}

impl Report {
    /// Bring together what was measured. `rounds` come with the table that they were measured for.
    pub fn new(
        options: &Options,
        found: &[Found],
        missing: Vec<(String, String)>,
        rounds: &[Round],
        memory: Vec<Memory>,
        disk: Option<Disk>,
    ) -> Report {
        let mut kinds: Vec<(Table, Load)> = Vec::new();
        for round in rounds {
            if !kinds.contains(&(round.table, round.load)) {
                kinds.push((round.table, round.load));
            }
        }
        let (mut rates, mut ratios) = (Vec::new(), Vec::new());
        for (table, load) in kinds {
            let of_kind = |round: &&Round| (round.table, round.load) == (table, load);
            let of_kind: Vec<&Round> = rounds.iter().filter(of_kind).collect();
            for peer in options.peers() {
                let of_peer: Vec<&Round> = of_kind.iter().copied().filter(|round| round.peer == peer).collect();
                rates.extend(Row::of(&of_peer));
                let ours = match of_kind.iter().any(|round| round.peer == Peer::OursBusy) {
                    true => Peer::OursBusy,
                    false => Peer::Ours,
                };
                if !matches!(peer, Peer::Ours | Peer::OursBusy | Peer::OursLocal | Peer::OursForwarding) {
                    ratios.extend(Ratio::of(&of_kind, ours, peer, bar(table, load, peer)));
                }
            }
        }
        Report {
            date: said_by("date", &["-u", "+%F %H:%M UTC"]),
            // The kernel's choices for TCP cost as much as a server does.
            kernel: format!("{}, TCP {}", said_by("uname", &["-sr"]), congestion_control()),
            machine: machine(),
            settings: format!(
                "rounds of {} s after {} s of warm-up: {}; servers on core {}, load on core {}",
                options.seconds, options.warm_up, options.rounds, options.server_core, options.load_core
            ),
            servers: found.iter().map(|found| (found.peer.name(), found.title.clone())).collect(),
            missing,
            rates,
            ratios,
            memory,
            disk,
            rounds: rounds.iter().filter_map(|round| Row::of(&[round])).collect(),
        }
    }

    /// Write everything, with every round on its own, to a file.
    pub fn write_json(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
    }

    /// The tables.
    pub fn markdown(&self) -> String {
        let mut lines = vec![
            format!("{}, {}, {}", self.date, self.kernel, self.machine),
            String::new(),
            format!(
                "`INCR`, keys of {KEY_BYTES} bytes drawn afresh for every request, loopback TCP; {}.",
                self.settings
            ),
            String::new(),
        ];
        lines.extend(self.servers.iter().map(|(name, title)| format!("- `{name}`: {title}")));
        lines.extend(self.missing.iter().map(|(name, why)| format!("- `{name}`: **missing**: {why}")));
        if let Some(disk) = &self.disk {
            lines.extend([String::new(), disk.to_string()]);
        }
        let mut tables: Vec<(Table, u32)> = self.rates.iter().map(|row| (row.table, row.key_count)).collect();
        tables.dedup();
        for (table, key_count) in tables {
            self.push_rates(&mut lines, table, key_count);
        }
        self.push_memory(&mut lines);
        self.push_doubts(&mut lines);
        lines.join("\n") + "\n"
    }

    fn push_rates(&self, lines: &mut Vec<String>, table: Table, key_count: u32) {
        let journal = table.appendfsync().map_or(String::new(), |appendfsync| format!(", `appendfsync {appendfsync}`"));
        lines.extend([
            String::new(),
            format!("## {} counters{journal}", grouped(key_count.into())),
            String::new(),
            "| load | server | requests/s | min – max | server CPU µs/request | p50 µs | p99 µs | p99.9 µs | server busy \
             | load busy |"
                .to_owned(),
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |".to_owned(),
        ]);
        let percentile = |value: Option<f64>| value.map_or("n/a".to_owned(), |value| format!("{value:.0}"));
        for row in self.rates.iter().filter(|row| row.table == table) {
            lines.push(format!(
                "| {} | {} | {} | {} – {} | {:.3} | {} | {} | {} | {:.0}% | {:.0}%{} |",
                row.load,
                row.server,
                grouped(row.rate.median as u64),
                grouped(row.rate.min as u64),
                grouped(row.rate.max as u64),
                row.server_us_per_request.median,
                percentile(row.p50_us),
                percentile(row.p99_us),
                percentile(row.p999_us),
                row.server_busy * 100.0,
                row.generator_busy * 100.0,
                if row.generator_bound { " **limit**" } else { "" },
            ));
        }
        let ratios: Vec<&Ratio> = self.ratios.iter().filter(|ratio| ratio.table == table).collect();
        if ratios.is_empty() {
            return;
        }
        lines.extend([
            String::new(),
            "| load | ratio | median of the rounds | min – max | to reach |".to_owned(),
            "| --- | --- | ---: | ---: | ---: |".to_owned(),
        ]);
        lines.extend(ratios.into_iter().map(|Ratio { load, ours, other, ratio, bar, .. }| {
            let Spread { median, min, max } = ratio;
            let bar = match bar {
                Some(bar) if median >= bar => format!("≥ {bar}"),
                Some(bar) => format!("**≥ {bar}**"),
                None => String::new(),
            };
            format!("| {load} | {ours} / {other} | {median:.2} | {min:.2} – {max:.2} | {bar} |")
        }));
        self.push_alone(lines, table);
        self.push_forwarding(lines, table);
    }

    /// What the operations that another shard executes take more, of the processor's time.
    fn push_forwarding(&self, lines: &mut Vec<String>, table: Table) {
        let row = |peer: Peer, load: &str| {
            self.rates.iter().find(|row| row.table == table && row.load == load && row.server == peer.name())
        };
        for (load, bar_us) in FORWARDING_BARS {
            let (Some(local), Some(mixed)) = (row(Peer::OursLocal, load), row(Peer::OursForwarding, load)) else {
                continue;
            };
            // Half of the keys belong to the shard that was asked.
            let more_us = 2.0 * (mixed.server_us_per_request.median - local.server_us_per_request.median);
            let verdict = if more_us <= *bar_us { "reached" } else { "**missed**" };
            lines.push(String::new());
            lines.push(format!(
                "{load}: a forwarded operation takes {more_us:.3} µs more of the processor, to be {bar_us} µs at most: \
                 {verdict}."
            ));
        }
    }

    /// Alone, the one with the shorter tail wins too.
    fn push_alone(&self, lines: &mut Vec<String>, table: Table) {
        let p99_us = |peer: Peer| {
            let of_peer = |row: &&Row| (row.table, row.load.as_str()) == (table, "1x1") && row.server == peer.name();
            self.rates.iter().find(of_peer).and_then(|row| row.p99_us)
        };
        if let (Some(ours), Some(kevy)) = (p99_us(Peer::OursBusy), p99_us(Peer::Kevy)) {
            let verdict = if ours < kevy { "reached" } else { "**missed**" };
            lines.push(String::new());
            lines.push(format!("1x1: p99 of ours-busy {ours:.1} µs, to be below kevy's {kevy:.1} µs: {verdict}."));
        }
    }

    fn push_memory(&self, lines: &mut Vec<String>) {
        let Some(first) = self.memory.first() else { return };
        lines.extend([
            String::new(),
            format!("## Memory, {} counters", grouped(first.counter_count)),
            String::new(),
            "| server | bytes per counter | before MiB | after MiB |".to_owned(),
            "| --- | ---: | ---: | ---: |".to_owned(),
        ]);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        for memory in &self.memory {
            let missed = memory.server == Peer::Ours.name() && memory.bytes_per_counter > BYTES_PER_COUNTER_BAR;
            lines.push(format!(
                "| {} | {:.1}{} | {:.0} | {:.0} |",
                memory.server,
                memory.bytes_per_counter,
                if missed { format!(" **(≤ {BYTES_PER_COUNTER_BAR})**") } else { String::new() },
                mib(memory.before_bytes),
                mib(memory.after_bytes),
            ));
        }
    }

    /// What speaks against believing this.
    fn push_doubts(&self, lines: &mut Vec<String>) {
        let mut doubts = Vec::new();
        let bound: Vec<String> = self
            .rates
            .iter()
            .filter(|row| row.generator_bound)
            .map(|row| format!("{} {}", row.load, row.server))
            .collect();
        if !bound.is_empty() {
            let bound = bound.join(", ");
            doubts.push(format!(
                "The load generator, not the server, was the limit of: {bound}. These rates are too low."
            ));
        }
        let other_busy = Spread::of(self.rates.iter().map(|row| row.other_busy));
        if let Some(other) = other_busy.filter(|other| other.max > OTHER_BUSY_LIMIT) {
            doubts.push(format!(
                "Something else ran: {:.0}% of a core, up to {:.0}%. These rates are too low, and latencies too high.",
                other.median * 100.0,
                other.max * 100.0
            ));
        }
        if !doubts.is_empty() {
            lines.push(String::new());
            lines.extend(doubts.into_iter().map(|doubt| format!("> {doubt}")));
        }
    }
}

fn bar(table: Table, load: Load, other: Peer) -> Option<f64> {
    let load = load.to_string();
    BARS.iter().find(|bar| (bar.0, bar.1, bar.2) == (table, load.as_str(), other)).map(|bar| bar.3)
}

/// The congestion control that sockets get, also on the loopback.
fn congestion_control() -> String {
    let name = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap_or_default();
    name.trim().to_owned()
}

/// Model and count of the processors.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} ({count} cores)", model.unwrap_or("an unnamed processor"))
}

/// The first line of what a program prints; empty where there is no such program.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().to_owned()
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
