//! A run as a page: its numbers, the percentile curve, throughput and latency over time, and how to run it again.

use super::histogram::{QUANTILES, Recorded, percentile_ns};
use super::page::{Page, Tone};
use super::plot::{Axis, Kind, Scale, Series, figure};
use super::result::{RunResult, Verdict};
use super::table::{busy_line, facts, throughput_line, verification_line};
use super::units::{date, grouped, rate, shell, time, time_or_none};

/// Steps of the percentile curve for each halving of the distance to 100%.
const CURVE_STEP_COUNT: u32 = 8;

/// The page. Fails only on a histogram that was read from a damaged file.
pub fn html(run: &RunResult) -> Result<String, String> {
    let (tone, word, sentence) = verdict(&run.verdict);
    let software = run.server.software.as_deref().unwrap_or("a server");
    let title = format!("{software} at {}", run.server.address);
    let subtitle = format!("tallyring bench, {}", date(run.started_unix_ms));
    let mut page = Page::new(&title, &subtitle, tone, word, &sentence);
    cards(&mut page, run);
    page.command(&shell(&run.command_line));

    page.heading("Latency");
    page.html(&percentile_curve(&run.latency.named()));
    page.table(&headings(), &rows(run));
    page.paragraph(
        "Response counts from the moment that a request was to be sent, service from the moment that it was sent, and \
         lateness is what lies between. n/a: fewer than 400 samples lie beyond that percentile, so another run could \
         say something quite different.",
    );
    page.heading("Over time");
    over_time(&mut page, run)?;
    page.heading("What was measured");
    page.facts(&facts(run)[1..]);
    page.facts(&[
        ("throughput", throughput_line(run)),
        ("counters", verification_line(&run.verification)),
        ("busy", busy_line(run)),
        ("bottleneck", run.bottleneck.summary.clone()),
    ]);
    page.heading("The generator's host");
    page.facts(&run.host.lines());
    Ok(page.finish())
}

fn verdict(verdict: &Verdict) -> (Tone, &'static str, String) {
    match verdict {
        Verdict::Ok => (Tone::Good, "ok", String::new()),
        Verdict::Mismatch { reason } => (Tone::Bad, "wrong", reason.clone()),
        Verdict::Inconclusive { reason } => (Tone::Unclear, "inconclusive", reason.clone()),
        Verdict::Partial { reason } => (Tone::Unclear, "partial", reason.clone()),
    }
}

fn cards(page: &mut Page, run: &RunResult) {
    let response = &run.latency.response;
    let offered =
        run.offered_per_s().map_or("closed loop".to_owned(), |offered| format!("of {} offered", rate(offered)));
    let mut cards = vec![("throughput", rate(run.achieved_per_s()), offered)];
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
        cards.push((name, time_or_none(response.percentile_ns(quantile)), "response".to_owned()));
    }
    cards.push((
        "max",
        if response.is_empty() { "n/a".to_owned() } else { time(response.max()) },
        "response".to_owned(),
    ));
    cards.push((
        "answered",
        grouped(run.requests.answered),
        format!("{} errors, {} unanswered", grouped(run.requests.errors), grouped(run.requests.unanswered)),
    ));
    page.cards(&cards);
}

fn headings() -> Vec<&'static str> {
    let mut headings = vec![""];
    headings.extend(QUANTILES.iter().map(|(name, _)| *name));
    headings.extend(["max", "samples"]);
    headings
}

fn rows(run: &RunResult) -> Vec<Vec<String>> {
    let whole = run.latency.named().map(|(name, recorded)| (name.to_owned(), recorded));
    let commands = run.commands.iter().flat_map(|command| {
        command.latency.named().map(|(name, recorded)| (format!("{}: {name}", command.tag), recorded))
    });
    let rows = whole.into_iter().chain(commands.filter(|_| run.commands.len() > 1));
    rows.map(|(name, recorded)| {
        let mut row = vec![name];
        row.extend(QUANTILES.iter().map(|(_, quantile)| time_or_none(recorded.percentile_ns(*quantile))));
        row.push(if recorded.is_empty() { "n/a".to_owned() } else { time(recorded.max()) });
        row.push(grouped(recorded.len()));
        row
    })
    .collect()
}

/// Time against 1/(1-q): each nine takes as much room as the one before. It ends where samples end to be enough.
pub fn percentile_curve(histograms: &[(&str, &Recorded)]) -> String {
    let series: Vec<Series> = histograms
        .iter()
        .enumerate()
        .map(|(color, (name, recorded))| Series {
            name: (*name).to_owned(),
            kind: Kind::Line,
            color,
            points: recorded
                .iter_quantiles(CURVE_STEP_COUNT)
                .map(|step| (step.quantile_iterated_to(), step.value_iterated_to() as f64))
                .filter(|(quantile, _)| percentile_ns(recorded, *quantile).is_some())
                .map(|(quantile, ns)| (1.0 / (1.0 - quantile), ns))
                .collect(),
        })
        .collect();
    let points = || series.iter().flat_map(|one| &one.points);
    let (min, max) = points().fold((f64::MAX, 0_f64), |(min, max), (_, ns)| (min.min(ns.max(1.0)), max.max(*ns)));
    let far = points().fold(10_f64, |far, (x, _)| far.max(*x));
    let ticks =
        [(1.0, "0%"), (2.0, "50%"), (10.0, "90%"), (1e2, "99%"), (1e3, "99.9%"), (1e4, "99.99%"), (1e5, "99.999%")];
    let x = Axis {
        label: "percentile".to_owned(),
        scale: Scale::Log,
        range: (1.0, far * 1.02),
        ticks: ticks.map(|(value, text)| (value, text.to_owned())).into(),
    };
    let y = Axis::log("time", min, max, |ns| time(ns as u64));
    figure("Latency by percentile", &x, &y, &series, |x| format!("{x}"), |ns| time(ns as u64))
}

fn over_time(page: &mut Page, run: &RunResult) -> Result<(), String> {
    let begin_s = |second: &super::result::Second| second.start_ns as f64 / 1e9;
    let x = Axis::linear("seconds", run.measured_s().max(1.0), |second| format!("{second}"));
    let per_s = |count: fn(&super::result::Second) -> u64| -> Vec<(f64, f64)> {
        let seconds = run.seconds.iter().filter(|second| second.length_ns > 0);
        seconds.map(|second| (begin_s(second), count(second) as f64 * 1e9 / second.length_ns as f64)).collect()
    };
    let mut series = vec![Series {
        name: "answered".to_owned(),
        kind: Kind::Line,
        color: 0,
        points: per_s(|second| second.answered),
    }];
    if run.offered_per_s().is_some() {
        let points = per_s(|second| second.intended);
        series.insert(0, Series { name: "offered".to_owned(), kind: Kind::Dashed, color: 4, points });
    }
    if run.requests.errors > 0 {
        series.push(Series {
            name: "errors".to_owned(),
            kind: Kind::Line,
            color: 5,
            points: per_s(|second| second.errors),
        });
    }
    let top = series.iter().flat_map(|one| &one.points).fold(0_f64, |top, (_, y)| top.max(*y));
    let y = Axis::linear("requests a second", top, rate);
    page.html(&figure("Throughput", &x, &y, &series, |s| format!("{s} s"), rate));

    let quantiles = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
    let (mut curves, mut longest) = (quantiles.map(|_| Vec::new()), Vec::new());
    for second in run.intervals() {
        // One at a time: a long run has too many to have them all unpacked.
        let (s, histogram) = (begin_s(second), second.response.unpack()?);
        for (curve, (_, quantile)) in curves.iter_mut().zip(quantiles) {
            // Without samples enough in a second, the line is broken there.
            curve.push((s, percentile_ns(&histogram, quantile).map_or(f64::NAN, |ns| ns as f64)));
        }
        if !histogram.is_empty() {
            longest.push((s, histogram.max() as f64));
        }
    }
    let mut series = Vec::new();
    for (color, ((name, _), points)) in quantiles.into_iter().zip(curves).enumerate() {
        if points.iter().any(|(_, ns)| ns.is_finite()) {
            series.push(Series { name: name.to_owned(), kind: Kind::Line, color, points });
        }
    }
    series.push(Series { name: "max".to_owned(), kind: Kind::Dots, color: 3, points: longest });
    let all = series.iter().flat_map(|one| &one.points).filter(|(_, ns)| ns.is_finite());
    let (min, max) = all.fold((f64::MAX, 0_f64), |(min, max), (_, ns)| (min.min(*ns), max.max(*ns)));
    let y = Axis::log("response time", min, max, |ns| time(ns as u64));
    page.html(&figure("Response time", &x, &y, &series, |s| format!("{s} s"), |ns| time(ns as u64)));
    Ok(())
}
