//! A histogram as HdrHistogram's plotter takes it (`.hgrm`), in microseconds: what the reference implementation's
//! `outputPercentileDistribution` prints with five steps for each halving of the distance to 100%.

use std::fmt::Write;

use hdrhistogram::Histogram;

/// Steps for each halving of the distance to 100%.
const STEP_COUNT: u32 = 5;

/// Nanoseconds of the unit.
const UNIT_NS: f64 = 1_000.0;

/// The file's text.
pub fn hgrm(histogram: &Histogram<u64>) -> String {
    let mut text = String::new();
    writeln!(text, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")
        .expect("a string takes all");
    let mut count = 0;
    // The reference adds up percents, so beyond 1,000,000 its last column has other rounding errors than a sum of shares.
    let mut percent = 0.0;
    for step in histogram.iter_quantiles(STEP_COUNT) {
        count += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64 / UNIT_NS;
        let quantile = step.quantile_iterated_to();
        write!(text, "{value:12.3} {quantile:2.12} {count:10}").expect("a string takes all");
        if quantile < 1.0 {
            write!(text, " {:14.2}", 1.0 / (1.0 - percent / 100.0)).expect("a string takes all");
            let halvings = (1.0 / (1.0 - quantile)).log2() as i32;
            percent += 100.0 / (f64::from(STEP_COUNT) * 2_f64.powi(halvings + 1));
        }
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean() / UNIT_NS, histogram.stdev() / UNIT_NS);
    let max = histogram.max() as f64 / UNIT_NS;
    let sub_bucket_count = (2 * 10_u64.pow(histogram.sigfig().into())).next_power_of_two();
    writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]").expect("a string takes all");
    writeln!(text, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len()).expect("a string takes all");
    writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_bucket_count:12}]", histogram.buckets())
        .expect("a string takes all");
    text
}
