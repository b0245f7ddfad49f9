//! Goals for latency, as `p99.9<1ms`: a share of the requests that is to be answered within a time.

use std::fmt;
use std::str::FromStr;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::bench::histogram::TIME_NS_MAX;
use crate::bench::judge::Tolerance;

/// Lateness of the generator is small beside a goal up to this part of its bound.
const LATENESS_DIVISOR: u64 = 10;

/// One goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// As given.
    pub text: String,
    /// The share of the requests; 1 is all of them.
    pub quantile: f64,
    /// The time in nanoseconds that they may take at most.
    pub bound_ns: u64,
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Goal, String> {
        let wrong = || format!("\"{text}\" is no goal such as p99.9<1ms, p50<200us or max<10ms (units: ns, us, ms, s)");
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (of, bound) = compact.split_once('<').ok_or_else(wrong)?;
        let quantile = match of {
            "max" => 1.0,
            _ => {
                let percent: f64 = of.strip_prefix('p').and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
                Some(percent).filter(|percent| *percent > 0.0 && *percent < 100.0).ok_or_else(wrong)? / 100.0
            }
        };
        let bound = bound.strip_prefix('=').unwrap_or(bound);
        let digits = bound.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = bound[..digits].parse().map_err(|_| wrong())?;
        let unit_ns = match &bound[digits..] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            _ => return Err(wrong()),
        };
        let bound_ns = number * unit_ns;
        if !(1.0..TIME_NS_MAX as f64).contains(&bound_ns) {
            return Err(wrong());
        }
        Ok(Goal { text: compact, quantile, bound_ns: bound_ns as u64 })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Goal {
    /// What lateness of the generator is small beside the goal. It is part of the response times, so it makes the server
    /// look worse, never better.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance { quantile: self.quantile, lateness_ns: self.bound_ns / LATENESS_DIVISOR }
    }

    /// Whether enough of the samples are within the bound, counted as finely as the histogram tells them apart. Of no
    /// samples nothing can be said.
    pub fn is_met(&self, histogram: &Histogram<u64>) -> Option<bool> {
        let count = histogram.len();
        let within = histogram.count_between(0, self.bound_ns);
        // The slack is for shares that have no exact form: 999 of 1,000 are 99.9%.
        (count > 0).then(|| within as f64 + 1e-6 * (count as f64).sqrt() >= self.quantile * count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::histogram::empty;

    #[test]
    fn goals_are_understood() {
        for (text, quantile, bound_ns) in [
            ("p99.9<1ms", 0.999, 1_000_000),
            ("p50 < 200us", 0.5, 200_000),
            ("max<=1.5s", 1.0, 1_500_000_000),
            ("p99<250µs", 0.99, 250_000),
            ("p99<900ns", 0.99, 900),
        ] {
            let goal: Goal = text.parse().unwrap();
            assert!((goal.quantile - quantile).abs() < 1e-12 && goal.bound_ns == bound_ns, "{goal:?}");
        }
        for text in
            ["", "p99", "p99<", "p99<1", "p0<1ms", "p100<1ms", "99<1ms", "p99>1ms", "p99<0ms", "p99<2h", "p99<1e9s"]
        {
            assert!(text.parse::<Goal>().unwrap_err().contains("p99.9<1ms"), "{text}");
        }
    }

    #[test]
    fn a_goal_is_met_up_to_the_last_sample() {
        let goal: Goal = "p99.9<1ms".parse().unwrap();
        let mut histogram = empty();
        assert_eq!(goal.is_met(&histogram), None);
        histogram.record_n(500_000, 999).unwrap();
        histogram.record(2_000_000).unwrap();
        assert_eq!(goal.is_met(&histogram), Some(true));
        histogram.record(2_000_000).unwrap();
        assert_eq!(goal.is_met(&histogram), Some(false));
    }
}
