//! `tallyring bench merge *.hlog`: one distribution of what several machines recorded.
//!
//! Counts are added. Percentiles are computed from the sum and never averaged: the mean of two p99 is no p99.

use std::path::Path;

use super::file::read_bounded;
use super::histogram::Recorded;
use super::hlog::{Log, Totals};
use super::table;

/// The logs of all files as one, and all that they have added up.
pub fn read(paths: &[impl AsRef<Path>]) -> Result<(Log, Totals), String> {
    let mut totals = Totals::new();
    let logs = paths.iter().map(|path| {
        let path = path.as_ref();
        let text = read_bounded(path)?;
        Log::read(&text, &mut totals).map_err(|problem| format!("{} is no .hlog: {problem}", path.display()))
    });
    let mut merged = Log::merged(logs.collect::<Result<_, String>>()?);
    let names: Vec<String> = paths.iter().map(|path| path.as_ref().display().to_string()).collect();
    merged.comments = vec![format!("[Merged by tallyring {}: {}]", env!("CARGO_PKG_VERSION"), names.join(" "))];
    Ok((merged, totals))
}

/// The table of totals, a row a tag.
pub fn table(totals: Totals) -> String {
    let totals: Vec<(String, Recorded)> = totals
        .into_iter()
        .map(|(tag, histogram)| (tag.unwrap_or("response".to_owned()), Recorded(histogram)))
        .collect();
    let rows: Vec<(String, &Recorded)> = totals.iter().map(|(name, recorded)| (name.clone(), recorded)).collect();
    let mut text = String::new();
    table::latencies(&mut text, &rows);
    text
}

#[cfg(test)]
mod tests {
    use super::super::{hlog, sample};
    use super::*;

    #[test]
    fn histograms_are_added_and_percentiles_are_of_the_sum() {
        let directory = tempfile::tempdir().unwrap();
        // One machine sees 100 µs, the other 10 ms and half as many requests: the mean of their p50 is nobody's time.
        let runs = [sample::run(1, 2, 40_000, 100.0), sample::run(2, 2, 20_000, 10_000.0)];
        let paths = [directory.path().join("a.hlog"), directory.path().join("b.hlog")];
        for (run, path) in runs.iter().zip(&paths) {
            hlog::write_run(run, &mut std::fs::File::create(path).unwrap()).unwrap();
        }
        let totals = read(&paths).unwrap().1;
        let total = &totals[&None];
        let mut sum = runs[0].latency.response.0.clone();
        sum.add(&runs[1].latency.response.0).unwrap();
        assert_eq!(*total, sum);
        assert!(total.value_at_quantile(0.5) < 200_000 && total.value_at_quantile(0.75) > 5_000_000);
        let text = table(totals);
        assert!(text.contains("response ") && text.contains("120,000"), "{text}");
        std::fs::write(&paths[1], "nothing").unwrap();
        assert!(read(&paths).unwrap_err().contains("b.hlog is no .hlog"));
        assert!(read(&[directory.path().join("c.hlog")]).unwrap_err().starts_with("cannot read"));
    }
}
