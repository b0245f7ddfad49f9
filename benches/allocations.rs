//! What parsing allocates, measured as in the incident that this project comes from: `cargo bench --bench allocations`.
//!
//! There, 10,000 parses of a 22-byte `GET KEY` allocated 49.5 MB, and 6.5 MB after the fix. Here the whole way of a
//! request is measured: parsed, executed, encoded. Any allocation is a failure, and is shown with its call site.

#[path = "../tests/pure/mod.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod pure;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use pure::{Connection, request};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const PARSE_COUNT: usize = 10_000;
const ARGUMENT_COUNT: usize = 100_000;

/// Call sites that are shown at most.
const SHOWN_COUNT: usize = 10;

/// What one measurement found.
struct Measured {
    name: String,
    input_bytes: usize,
    allocated_bytes: u64,
    allocation_count: u64,
    sites: Vec<Site>,
}

/// Where memory was allocated.
struct Site {
    allocated_bytes: u64,
    allocation_count: u64,
    frames: Vec<String>,
}

fn main() -> ExitCode {
    let get = b"*2\r\n$3\r\nGET\r\n$3\r\nKEY\r\n";
    let keys: Vec<String> = (1..ARGUMENT_COUNT).map(|number| format!("counter:{number}")).collect();
    let mut arguments = vec![&b"MGET"[..]];
    arguments.extend(keys.iter().map(|key| key.as_bytes()));
    let one_by_one: Vec<&[u8]> = vec![get; PARSE_COUNT];
    let control = measure_control(get);
    let measured = [
        measure(format!("{PARSE_COUNT} parses of GET KEY, one a receive"), &one_by_one),
        measure(format!("{PARSE_COUNT} parses of GET KEY, pipelined"), &[&get.repeat(PARSE_COUNT)]),
        measure(format!("one MGET of {ARGUMENT_COUNT} arguments"), &[&request(&arguments)]),
    ];
    print(&control, &measured);
    if measured.iter().all(|measured| measured.allocation_count == 0) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a parser allocates that copies each argument, as the one of the incident did: the instruments must see it.
fn measure_control(get: &[u8]) -> Measured {
    let copy = || {
        for _ in 0..PARSE_COUNT {
            for argument in [&get[8..11], &get[17..20]] {
                std::hint::black_box(argument.to_vec());
            }
        }
    };
    let control = account(format!("for comparison: {PARSE_COUNT} parses that copy"), get.len() * PARSE_COUNT, copy);
    let expected = (2 * PARSE_COUNT as u64, 6 * PARSE_COUNT as u64);
    assert_eq!((control.allocation_count, control.allocated_bytes), expected, "dhat counts what is allocated");
    assert_eq!(control.sites.iter().map(|site| site.allocation_count).sum::<u64>(), expected.0);
    control
}

/// Pass `receives` through a connection that has seen them once, and account for what is allocated meanwhile.
fn measure(name: String, receives: &[&[u8]]) -> Measured {
    let mut connection = Connection::new(1);
    connection.pass(b"SET KEY 1\r\n", |_| {});
    let mut reply_bytes = 0;
    let mut pass = || receives.iter().for_each(|bytes| connection.pass(bytes, |replies| reply_bytes += replies.len()));
    pass();

    let measured = account(name, receives.iter().map(|bytes| bytes.len()).sum(), pass);
    assert!(reply_bytes > 0);
    measured
}

/// Account for what `work` on `input_bytes` allocates.
fn account(name: String, input_bytes: usize, work: impl FnOnce()) -> Measured {
    let slug: String = name.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{slug}.json"));
    let profiler = dhat::Profiler::builder().file_name(&path).trim_backtraces(Some(SITE_FRAME_COUNT_MAX)).build();
    let before = dhat::HeapStats::get();
    work();
    let after = dhat::HeapStats::get();
    drop(profiler);
    Measured {
        name,
        input_bytes,
        allocated_bytes: after.total_bytes - before.total_bytes,
        allocation_count: after.total_blocks - before.total_blocks,
        sites: sites(&path),
    }
}

/// Frames that are kept of a call stack.
const SITE_FRAME_COUNT_MAX: usize = 12;

/// The call sites of a profile that dhat has written, the largest first. dhat's JSON has one value a line.
fn sites(path: &Path) -> Vec<Site> {
    let text = std::fs::read_to_string(path).expect("dhat has written it");
    let (points, frames) = text.split_once("\"ftbl\": [").expect("a profile ends with its frames");
    let frames: Vec<&str> = frames
        .lines()
        .map(|line| line.trim_end_matches(',').trim_matches('"'))
        .filter(|line| !line.is_empty())
        .collect();
    let number = |line: &str, field: &str| -> Option<u64> {
        line.strip_prefix(field)?.trim_end_matches(',').trim().parse().ok()
    };
    // Stacks that differ only below what is shown are one site.
    let mut sites: BTreeMap<Vec<String>, (u64, u64)> = BTreeMap::new();
    for point in points.split("\"tb\":").skip(1) {
        let mut lines = point.lines();
        let bytes = lines.next().and_then(|line| number(line, "")).expect("bytes");
        let count = point.lines().find_map(|line| number(line, "\"tbk\":")).expect("blocks");
        let stack = point.lines().filter_map(|line| number(line, "")).skip(1).map(|index| frames[index as usize]);
        let own = stack.filter(|frame| frame.contains("tallyring") || frame.contains("allocations::")).map(place);
        let site = sites.entry(own.take(3).collect()).or_default();
        *site = (site.0 + bytes, site.1 + count);
    }
    let mut sites: Vec<Site> = sites
        .into_iter()
        .map(|(frames, (allocated_bytes, allocation_count))| Site { allocated_bytes, allocation_count, frames })
        .collect();
    sites.sort_by_key(|site| std::cmp::Reverse((site.allocated_bytes, site.allocation_count)));
    sites
}

/// A frame without its address.
fn place(frame: &str) -> String {
    frame.split_once(": ").map_or(frame, |(_, place)| place).to_owned()
}

fn print(control: &Measured, measured: &[Measured]) {
    println!("{:<44} {:>12} {:>16} {:>12}", "", "input bytes", "allocated bytes", "allocations");
    for (name, allocated) in
        [("the incident's parser, 10000 of GET KEY", "49.5 MB"), ("the same after its fix", "6.5 MB")]
    {
        println!("{name:<44} {:>12} {allocated:>16} {:>12}", "0.4 MB", "");
    }
    for measured in std::iter::once(control).chain(measured) {
        let Measured { name, input_bytes, allocated_bytes, allocation_count, .. } = measured;
        println!("{name:<44} {input_bytes:>12} {allocated_bytes:>16} {allocation_count:>12}");
    }
    for measured in std::iter::once(control).chain(measured) {
        println!("\nby call site, {}:", measured.name);
        if measured.sites.is_empty() {
            println!("  none");
        }
        for site in measured.sites.iter().take(SHOWN_COUNT) {
            println!("  {} bytes, {} allocations", site.allocated_bytes, site.allocation_count);
            site.frames.iter().for_each(|frame| println!("    {frame}"));
        }
    }
}
