//! A line for each second of a run, for spreadsheets and scripts (RFC 4180).
//!
//! What was answered after the end, in the time of grace, is the last line, which begins where the measured time ends; nothing
//! was intended or sent in it. Times are whole nanoseconds. A percentile that too few samples of that second lie beyond is empty.

use std::fmt::Write;

use super::histogram::percentile_ns;
use super::result::RunResult;

/// The quantiles that have a column: a second seldom has samples enough for more.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// Header and lines. Fails only on a histogram that was read from a damaged file.
pub fn per_second(run: &RunResult) -> Result<String, String> {
    let mut text = String::from("start_s,length_s,intended,sent,answered,errors,answered_per_s");
    for name in ["response", "service", "lateness"] {
        QUANTILES.iter().for_each(|(quantile, _)| write!(text, ",{name}_{quantile}_ns").expect("a string takes all"));
        write!(text, ",{name}_max_ns").expect("a string takes all");
    }
    text.push('\n');
    for second in run.intervals() {
        let length_s = second.length_ns as f64 / 1e9;
        let per_s = if second.length_ns == 0 { 0.0 } else { second.answered as f64 / length_s };
        write!(
            text,
            "{:.3},{length_s:.3},{},{},{},{},{per_s:.1}",
            second.start_ns as f64 / 1e9,
            second.intended,
            second.sent,
            second.answered,
            second.errors
        )
        .expect("a string takes all");
        for (_, packed) in second.named() {
            let histogram = packed.unpack()?;
            let quantiles = QUANTILES.iter().map(|(_, quantile)| percentile_ns(&histogram, *quantile));
            for value in quantiles.chain([(!histogram.is_empty()).then(|| histogram.max())]) {
                text.push(',');
                text.push_str(&value.map_or(String::new(), |ns| ns.to_string()));
            }
        }
        text.push('\n');
    }
    Ok(text)
}
