//! Tests of what a run prints and writes, against other programs' idea of the formats.

use std::process::Command;

use super::hlog::{self, Log, Totals};
use super::result::{RunResult, Second, Verdict};
use super::sample::{self, decades};
use super::{csv, file, hgrm, html, table};

/// What HdrHistogram 2.1.11's `HistogramLogProcessor -outputValueUnitRatio 1000` printed of a log with [`decades`].
const GOLDEN_HGRM: &str = include_str!("outputs/decades.hgrm");

#[test]
fn hgrm_is_what_the_reference_prints() {
    let text = hgrm::hgrm(&decades());
    text.lines().zip(GOLDEN_HGRM.lines()).for_each(|(ours, reference)| assert_eq!(ours, reference));
    assert_eq!(text.len(), GOLDEN_HGRM.len());
}

#[test]
fn json_comes_back_the_same() {
    let mut run = sample::run(7, 3, 50_000, 80.0);
    run.verdict = Verdict::Inconclusive { reason: "the generator was late".to_owned() };
    let text = serde_json::to_string_pretty(&run).unwrap();
    assert_eq!(serde_json::from_str::<RunResult>(&text).unwrap(), run);
}

#[test]
fn the_csv_has_a_line_a_second_and_nothing_where_samples_lack() {
    let text = csv::per_second(&sample::run(7, 3, 50_000, 80.0)).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let cell = |row: usize, name: &str| rows[row][rows[0].iter().position(|column| *column == name).unwrap()];
    assert_eq!((cell(2, "start_s"), cell(2, "answered"), cell(2, "answered_per_s")), ("1.000", "50000", "50000.0"));
    assert!(cell(2, "response_p99_ns").parse::<u64>().unwrap() > 80_000);
    assert_eq!(cell(2, "response_p999_ns"), "", "50 samples beyond it are too few");
}

#[test]
fn what_came_after_the_end_is_in_every_file() {
    let mut run = sample::run(7, 2, 20_000, 80.0);
    sample::answer_late(&mut run, 5_000, 1_200_000_000);
    let totals = read(&logged(&run)).1;
    for (name, recorded) in run.latency.named() {
        let tag = (name != "response").then(|| name.to_owned());
        assert_eq!(totals[&tag], recorded.0, "{name}");
        assert_eq!(totals[&Some(format!("{name}:incr"))], recorded.0, "{name}");
    }
    let csv = csv::per_second(&run).unwrap();
    let last: Vec<&str> = csv.lines().last().unwrap().split(',').collect();
    assert_eq!(last[..7], ["2.000", "1.200", "0", "0", "5000", "0", "4166.7"]);
    let text = serde_json::to_string(&run).unwrap();
    assert_eq!(serde_json::from_str::<RunResult>(&text).unwrap(), run);
    // Results that were written before there was such a part are read.
    let mut before: serde_json::Value = serde_json::from_str(&text).unwrap();
    before.as_object_mut().unwrap().remove("late");
    assert_eq!(serde_json::from_value::<RunResult>(before).unwrap().late, None);
}

#[test]
fn the_table_says_what_is_not_known() {
    let mut run = sample::run(7, 3, 50_000, 80.0);
    let text = table::table(&run);
    let response = text.lines().find(|line| line.starts_with("response ")).unwrap();
    // 150,000 samples: 1,500 beyond p99, 150 beyond p99.9.
    assert_eq!(response.split_whitespace().filter(|word| *word == "n/a").count(), 3, "{text}");
    for said in ["tallyring bench --rate 100k", "50.0 k/s, 100.00% of what was offered", "verdict     ok"] {
        assert!(text.contains(said), "{said} in {text}");
    }
    assert!(text.contains("response incr") && text.contains("response get"), "{text}");
    run.workload.load = super::result::Load::Closed;
    assert!(table::table(&run).contains("closed loop: peak throughput"), "it is labelled");
}

#[test]
fn the_page_names_nothing_outside_of_itself() {
    let mut run = sample::run(7, 30, 200_000, 80.0);
    run.command_line.push("<script>alert(1)</script>".to_owned());
    let text = html::html(&run).unwrap();
    if let Some(path) = std::env::var_os("TALLYRING_SAMPLE_PAGE") {
        std::fs::write(path, &text).unwrap();
    }
    for foreign in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!text.contains(foreign), "{foreign}");
    }
    for said in ["tallyring bench --rate 100k", "AMD EPYC 9354P", "Latency by percentile", "200 k/s"] {
        assert!(text.contains(said), "{said}");
    }
    assert_eq!(text.matches("<figure>").count(), 3);
    // Without anything measured there is still a page.
    let nothing = sample::run(7, 0, 200_000, 80.0);
    assert!(!html::html(&nothing).unwrap().contains("NaN"));
    assert!(table::table(&nothing).contains("throughput  0/s"));
}

/// A run's log.
fn logged(run: &RunResult) -> Vec<u8> {
    let mut bytes = Vec::new();
    hlog::write_run(run, &mut bytes).unwrap();
    bytes
}

fn read(log: &[u8]) -> (Log, Totals) {
    let mut totals = Totals::new();
    (Log::read(log, &mut totals).unwrap(), totals)
}

#[test]
fn logs_come_back_and_add_up() {
    let runs = [sample::run(1, 3, 20_000, 80.0), sample::run(2, 2, 20_000, 80.0)];
    let logs = runs.each_ref().map(|run| {
        let bytes = logged(run);
        let (log, totals) = read(&bytes);
        assert_eq!(log.intervals.len(), 3 * (run.seconds.len() + run.commands.len()));
        assert!(log.intervals.is_sorted_by_key(|interval| interval.start));
        assert_eq!(log.intervals[0].histogram, run.seconds[0].response);
        assert_eq!(log.start.as_millis(), u128::from(run.started_unix_ms));
        assert_eq!(totals[&None], run.latency.response.0);
        assert_eq!(totals[&Some("service:incr".to_owned())], run.commands[0].latency.service.0);
        log
    });
    let merged = Log::merged(logs.into());
    assert!(merged.intervals.is_sorted_by_key(|interval| interval.start));
    let mut bytes = Vec::new();
    merged.write(&mut bytes).unwrap();
    let (again, totals) = read(&bytes);
    assert_eq!(again.intervals, merged.intervals);
    let mut sum = runs[0].latency.lateness.0.clone();
    sum.add(&runs[1].latency.lateness.0).unwrap();
    assert_eq!(totals[&Some("lateness".to_owned())], sum);
}

/// What is unpacked of a run takes 270 KB a histogram, and a run has three a second.
#[test]
fn the_memory_for_a_runs_files_does_not_grow_with_its_seconds() {
    let mut run = sample::run(7, 1, 2_000, 80.0);
    let second = run.seconds[0].clone();
    run.seconds = (0..200).map(|index| Second { start_ns: index * 1_000_000_000, ..second.clone() }).collect();
    let held = |what: &mut dyn FnMut()| allocation_counter::measure(what).bytes_max;
    let bound_bytes = 16 << 20;
    let mut bytes = Vec::new();
    let written = held(&mut || hlog::write_run(&run, &mut bytes).unwrap());
    let read = held(&mut || drop(read(&bytes)));
    let page = held(&mut || drop(html::html(&run).unwrap()));
    for (what, held_bytes) in [("writing a log", written), ("reading one", read), ("a page", page)] {
        assert!(held_bytes < bound_bytes, "{what} holds {held_bytes} bytes");
    }
    // Packed they take a few kilobytes, which are not to be there twice.
    run.seconds = (0..20).flat_map(|_| run.seconds.clone()).collect();
    let json_bytes = held(&mut || file::write_json(std::slice::from_ref(&run), &mut std::io::sink()).unwrap());
    assert!(json_bytes < 4 << 20, "writing JSON holds {json_bytes} bytes");
}

#[test]
fn a_damaged_log_is_refused_with_its_line() {
    let refusal = |text: &[u8]| Log::read(text, &mut Totals::new()).unwrap_err();
    assert_eq!(refusal(b"#x\nnot a line\n"), "line 2 is neither a comment nor an interval");
    assert_eq!(refusal(b"#x\n"), "no intervals in it");
    assert!(refusal(b"0.1,1.0,2.0,HISTFAAA\n").contains("histogram"));
}

/// Python's HdrHistogram, where it is installed.
#[test]
fn another_reader_finds_the_same_in_a_log() {
    let missing = |what: &str| {
        assert!(std::env::var_os("TALLYRING_REQUIRE_PEERS").is_none(), "{what} is required and missing");
        println!("left out: {what} is not installed (pip install hdrhistogram)");
    };
    let python = std::env::var("TALLYRING_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).args(["-c", "import hdrh"]).output().is_ok_and(|output| output.status.success()) {
        return missing("python's hdrhistogram");
    }
    let run = sample::run(3, 3, 20_000, 80.0);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.hlog");
    std::fs::write(&path, logged(&run)).unwrap();
    let script = "
import sys
from hdrh.log import HistogramLogReader
from hdrh.histogram import HdrHistogram
totals = {}
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 3600000000000, 3))
while True:
    interval = reader.get_next_interval_histogram()
    if interval is None:
        break
    total = totals.setdefault(interval.get_tag() or '', HdrHistogram(1, 3600000000000, 3))
    total.add(interval)
for tag in sorted(totals):
    total = totals[tag]
    print(tag or '-', total.get_total_count(), total.get_value_at_percentile(99.0))
";
    let output = Command::new(&python).args(["-c", script]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let of = |name: &str, histogram: &hdrhistogram::Histogram<u64>| {
        format!("{name} {} {}", histogram.len(), histogram.value_at_quantile(0.99))
    };
    for expected in [of("-", &run.latency.response), of("service", &run.latency.service)] {
        assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
    }
}
