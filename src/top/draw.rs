//! What is shown: a view as lines of text, 80 wide, the most important first. Pure.
//!
//! Invariant: no line is wider than [`WIDTH_MIN`], and as many as asked for are given at most.

use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};

use super::sample::{Latencies, ShardRow, View};
use crate::config::ByteCount;
use crate::latency::Stage;

/// The terminal that everything fits.
pub(super) const WIDTH_MIN: u16 = 80;
pub(super) const HEIGHT_MIN: u16 = 24;

/// Lines of shards that leave room for the commands on the smallest terminal.
const SHARD_LINES_MIN: usize = 4;

/// Lines without those of shards, commands and stalled clients.
const FIXED_LINES: usize = 17;

/// Columns of the bar of memory.
const BAR_WIDTH: u64 = 12;

/// A view as lines, `height` at most. `server` is where it comes from, `stalled` are lines about stalled clients.
pub(super) fn lines(view: &View, server: &str, stalled: &[String], height: usize) -> Vec<Line<'static>> {
    let mut lines = vec![head(view, server)];
    lines.extend(totals(view));
    lines.push(Line::raw(""));
    lines.push(title(&format!("{:<10}{:>12}{:>12}{:>12}{:>12}", "STAGE", "p50", "p99", "p99.9", "max")));
    lines.extend(Stage::ALL.iter().zip(&view.stages).map(|(stage, latencies)| stage_line(*stage, latencies)));
    lines.push(Line::raw(""));

    let free_lines = height.saturating_sub(FIXED_LINES + stalled.len());
    let command_lines =
        view.commands.len().max(1).min(free_lines.saturating_sub(view.shards.len().min(SHARD_LINES_MIN)));
    lines.extend(shard_lines(view, free_lines - command_lines));
    lines.push(Line::raw(""));
    lines.push(title(&format!("{:<26}{:>13}{:>8}{:>12}{:>12}", "COMMAND", "calls/s", "share", "mean", "errors/s")));
    if view.commands.is_empty() {
        lines.push(Line::raw("none in this interval"));
    }
    for command in view.commands.iter().take(command_lines) {
        lines.push(Line::raw(format!(
            "{:<26.26}{:>13}{:>7.1}%{:>12}{:>12}",
            command.name,
            grouped(command.calls_per_s),
            command.share * 100.0,
            duration(command.mean_ns as u64),
            grouped(command.errors_per_s),
        )));
    }
    lines.extend(stalled.iter().map(|line| Line::styled(shortened(line), Style::new().fg(Color::Yellow))));
    lines
}

fn head(view: &View, server: &str) -> Line<'static> {
    let days = view.uptime_s / 86_400;
    let (hours, minutes, seconds) = (view.uptime_s / 3_600 % 24, view.uptime_s / 60 % 60, view.uptime_s % 60);
    let shards = if view.shards.len() == 1 { "1 shard".to_owned() } else { format!("{} shards", view.shards.len()) };
    let name = format!("tallyring {} at {server}", view.version);
    let up = format!("{shards}, up {days}d {hours:02}:{minutes:02}:{seconds:02}");
    let name_width = usize::from(WIDTH_MIN) - 1 - up.len();
    Line::from(vec![Span::raw(format!("{name:<name_width$.name_width$} ")).bold(), Span::raw(up)])
}

/// Four lines: operations, clients, network, memory.
fn totals(view: &View) -> Vec<Line<'static>> {
    let rates = &view.rates;
    let per_second = |bytes: f64| format!("{}/s", ByteCount(bytes as u64));
    let operations = vec![
        Span::raw("operations  "),
        Span::raw(format!("{:>13}/s", grouped(rates.commands))).bold(),
        Span::raw(format!("   errors {}/s   {} in all", grouped(rates.errors), grouped(view.total_count as f64))),
    ];
    let stalled = format!("{} stalled with {} parked", view.stalled_count, ByteCount(view.parked_bytes));
    let clients = vec![
        Span::raw(format!("clients     {:>13} of {}, ", view.client_count, view.client_count_max)),
        if view.stalled_count > 0 { Span::raw(stalled).yellow() } else { Span::raw(stalled) },
    ];
    let network = format!(
        "network     {:>15} in, {} out; {} new/s, {} evicted, {} rejected",
        per_second(rates.received_bytes),
        per_second(rates.sent_bytes),
        grouped(rates.connections),
        view.evicted_count,
        view.rejected_count,
    );
    let keys = match view.key_bytes_max {
        0 => format!("{} (no maxmemory)", ByteCount(view.key_bytes)),
        max => format!("{} of {} (maxmemory)", ByteCount(view.key_bytes), ByteCount(max)),
    };
    let counters = format!("counters    {:>13} take {keys}", grouped(view.key_count as f64));
    let clip = |text: String| Line::raw(shortened(&text));
    vec![Line::from(operations), Line::from(clients), clip(network), clip(counters), memory_line(view)]
}

fn memory_line(view: &View) -> Line<'static> {
    let resident = format!("{} resident", ByteCount(view.resident_bytes));
    if view.ceiling_bytes == 0 {
        return Line::raw(format!(
            "memory      {} reserved or used, no ceiling; {resident}",
            ByteCount(view.used_bytes)
        ));
    }
    let filled = (view.used_bytes.saturating_mul(BAR_WIDTH) / view.ceiling_bytes).min(BAR_WIDTH) as usize;
    let bar = format!("[{:<width$}] ", "#".repeat(filled), width = BAR_WIDTH as usize);
    let color = if view.used_bytes * 10 > view.ceiling_bytes * 9 { Color::Red } else { Color::Green };
    let text = format!("{} of {} at most; {resident}", ByteCount(view.used_bytes), ByteCount(view.ceiling_bytes));
    Line::from(vec![Span::raw("memory      "), Span::styled(bar, Style::new().fg(color)), Span::raw(text)])
}

fn stage_line(stage: Stage, latencies: &Latencies) -> Line<'static> {
    let shown = |ns: Option<u64>| ns.map_or("-".to_owned(), duration);
    let Latencies { p50_ns, p99_ns, p999_ns, max_ns } = *latencies;
    Line::raw(format!(
        "{:<10}{:>12}{:>12}{:>12}{:>12}",
        stage.name(),
        shown(p50_ns),
        shown(p99_ns),
        shown(p999_ns),
        shown(max_ns)
    ))
}

/// The shards in their order; of too many those with the most to do.
fn shard_lines(view: &View, count_max: usize) -> Vec<Line<'static>> {
    let skew = view.skew().map_or("-".to_owned(), |skew| format!("{skew:.2}"));
    let heads = ["load", "clients", "stalled", "counters", "memory", "buffers"];
    let heads = heads.map(|head| format!("{head:>10}")).concat();
    let mut lines = vec![title(&format!("{:<7}{:>12}{heads}", "SHARD", "calls/s"))];
    let mut rows: Vec<(usize, &ShardRow)> = view.shards.iter().enumerate().collect();
    let shown_count = if rows.len() > count_max { count_max } else { rows.len() };
    if shown_count < rows.len() {
        rows.sort_by(|(_, left), (_, right)| right.commands_per_s.total_cmp(&left.commands_per_s));
        rows.truncate(shown_count);
    }
    for (number, row) in rows {
        lines.push(Line::raw(format!(
            "{number:<7}{:>12}{:>9.0}%{:>10}{:>10}{:>10}{:>10}{:>10}",
            grouped(row.commands_per_s),
            row.load * 100.0,
            row.client_count,
            row.stalled_count,
            short_count(row.key_count),
            short_bytes(row.key_bytes),
            format!("{}/{}", row.lent_count, row.buffer_count),
        )));
    }
    let left_out = view.shards.len() - shown_count;
    let others = if left_out > 0 { format!("; {left_out} more have less to do") } else { String::new() };
    lines.push(Line::raw(format!("skew {skew} (the busiest against the mean){others}")));
    lines
}

fn title(text: &str) -> Line<'static> {
    Line::styled(format!("{text:<width$}", width = usize::from(WIDTH_MIN)), Style::new().reversed())
}

fn shortened(text: &str) -> String {
    text.chars().take(usize::from(WIDTH_MIN)).collect()
}

/// `1,234,567`; with a decimal what is small.
fn grouped(number: f64) -> String {
    if number > 0.0 && number < 10.0 && number.fract() != 0.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `999`, `12.3K`, `4.5M`, `6.7G`.
fn short_count(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1}K", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", number as f64 / 1e6),
        _ => format!("{:.1}G", number as f64 / 1e9),
    }
}

/// The same of bytes, in binary units.
fn short_bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes}B"),
        1_024..1_048_576 => format!("{:.1}KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1}MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1}GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// Three digits and a unit.
fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "us"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::sample::tests::samples;

    fn view() -> View {
        let (before, now) = samples();
        View::between(&before, &now)
    }

    fn text(lines: &[Line<'_>]) -> Vec<String> {
        lines.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_is_shown_in_80_by_24() {
        let stalled = vec!["stalled: 127.0.0.1:4242, idle 12 s".to_owned()];
        let lines = text(&lines(&view(), "127.0.0.1:6379", &stalled, 23));
        let all = lines.join("\n");
        assert!(lines.len() <= 23 && lines.iter().all(|line| line.chars().count() <= 80), "{all}");
        for expected in [
            "tallyring 0.1.0 at 127.0.0.1:6379",
            "2 shards, up 3d 04:02:04",
            "1,234,567/s",
            "50 of 10000, 2 stalled with 4.0 KiB parked",
            "35.3 MiB/s in, 0 bytes/s out; 0 new/s, 1 evicted, 0 rejected",
            "1,000,000 take 30.5 MiB of 488.3 MiB (maxmemory)",
            "[#           ] 85.8 MiB of 858.3 MiB at most; 66.8 MiB resident",
            "whole          2.05 us     65.5 us     65.5 us      131 us",
            "send                 -           -           -           -",
            "0         1,234,567       75%        25         2    600.0K   15.3MiB    30/512",
            "skew 2.00",
            "incr                          1,234,567  100.0%     2.00 us           0",
            "stalled: 127.0.0.1:4242, idle 12 s",
        ] {
            assert!(all.contains(expected), "{expected} in\n{all}");
        }
    }

    #[test]
    fn of_many_shards_and_commands_the_busiest_are_shown() {
        let mut view = view();
        view.shards =
            (0..64).map(|number| ShardRow { commands_per_s: f64::from(number), ..ShardRow::default() }).collect();
        view.commands = vec![view.commands[0].clone(); 30];
        view.version = "1".repeat(60);
        for height in [0, 10, 23, 24, 50, 200] {
            let lines = text(&lines(&view, &"h".repeat(80), &[], height));
            assert!(height < 23 || lines.len() <= height, "{height}: {}", lines.len());
            assert!(lines.iter().all(|line| line.chars().count() <= 80), "{}", lines.join("\n"));
        }
        let all = text(&lines(&view, "h", &[], 23)).join("\n");
        assert!(all.contains("\n63  ") && !all.contains("\n0  ") && all.contains("more have less to do"), "{all}");
        assert!(text(&lines(&View::default(), "h", &[], 23)).join("\n").contains("none in this interval"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([grouped(0.0), grouped(0.25), grouped(999.0), grouped(1_000.4)], ["0", "0.2", "999", "1,000"]);
        assert_eq!(
            [duration(999), duration(1_234), duration(65_535), duration(131_071)],
            ["999 ns", "1.23 us", "65.5 us", "131 us"]
        );
        assert_eq!([duration(12_300_000), duration(60_000_000_000)], ["12.3 ms", "60.0 s"]);
        assert_eq!([short_count(999), short_count(1_500), short_bytes(1_536)], ["999", "1.5K", "1.5KiB"]);
    }
}
