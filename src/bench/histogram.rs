//! The histograms of a run: one shape for all of them, so that any two can be added, and their form in a file.
//!
//! Invariant: a histogram that is written and read back has the same counts. Percentiles are computed from counts, never
//! from percentiles, and one that too few samples lie beyond is not given at all.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Longest time that is told apart, in nanoseconds: an hour. What is longer counts as this.
pub const TIME_NS_MAX: u64 = 3_600_000_000_000;

/// A percentile is given when so many samples, or more, lie beyond it.
pub const BEYOND_COUNT_MIN: u64 = 400;

/// The quantiles of every table, file and plot, with what each is called.
pub const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("p99.999", 0.99999)];

/// An empty histogram of times in nanoseconds, of three digits.
pub fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, TIME_NS_MAX, 3).expect("the bounds are sound")
}

/// Record a time of so many requests. What is longer than [`TIME_NS_MAX`] counts as that, though there are buckets behind
/// it: whoever reads them takes no longer times.
#[inline]
pub fn record(histogram: &mut Histogram<u64>, ns: u64, count: u64) {
    histogram.saturating_record_n(ns.min(TIME_NS_MAX), count);
}

/// The value in nanoseconds that a share `quantile` of the samples do not exceed; `None` when fewer than
/// [`BEYOND_COUNT_MIN`] samples lie beyond, so that the next run could say something quite different.
pub fn percentile_ns(histogram: &Histogram<u64>, quantile: f64) -> Option<u64> {
    // The quantiles of the tables have no exact form in binary: without the slack 400,000 samples would have 399.99…
    // of them beyond p99.9.
    let beyond = histogram.len() as f64 * (1.0 - quantile) + 1e-6;
    (beyond >= BEYOND_COUNT_MIN as f64).then(|| histogram.value_at_quantile(quantile))
}

/// A histogram in the form of a log line: HdrHistogram's V2 encoding, deflated, in base64 (`HISTFAAA…`).
///
/// A second of a run has three of them; packed they take a few kilobytes instead of several hundred.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Packed(String);

impl Packed {
    /// Pack one.
    pub fn new(histogram: &Histogram<u64>) -> Packed {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .expect("a vector takes all, and counts are in range");
        Packed(STANDARD.encode(bytes))
    }

    /// What was packed, in the shape of [`empty`]. The text may come from a file, so it may be nonsense.
    pub fn unpack(&self) -> Result<Histogram<u64>, String> {
        let bytes = STANDARD.decode(&self.0).map_err(|error| format!("a histogram is no base64: {error}"))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("a histogram is not in the V2 encoding: {error}"))?;
        let mut histogram = empty();
        add(&mut histogram, &read)?;
        Ok(histogram)
    }

    /// The base64.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Packed {
    fn from(text: &str) -> Packed {
        Packed(text.to_owned())
    }
}

/// Add `other`, which may have other bounds, to `histogram`.
pub fn add(histogram: &mut Histogram<u64>, other: &Histogram<u64>) -> Result<(), String> {
    if histogram.len().checked_add(other.len()).is_none() {
        return Err("a histogram has more samples than 64 bits count".to_owned());
    }
    // `max` is the end of its bucket, which may lie behind the longest time.
    if other.lowest_equivalent(other.max()) > TIME_NS_MAX {
        return Err(format!("a histogram has {} ns, more than an hour: is it in nanoseconds?", other.max()));
    }
    histogram.add(other).map_err(|error| format!("histograms cannot be added: {error}"))
}

/// A histogram that is written with what readers without an HdrHistogram library want to know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded(pub Histogram<u64>);

impl Default for Recorded {
    fn default() -> Recorded {
        Recorded(empty())
    }
}

impl std::ops::Deref for Recorded {
    type Target = Histogram<u64>;

    fn deref(&self) -> &Histogram<u64> {
        &self.0
    }
}

impl std::ops::DerefMut for Recorded {
    fn deref_mut(&mut self) -> &mut Histogram<u64> {
        &mut self.0
    }
}

impl Recorded {
    /// The value of a quantile in nanoseconds, as [`percentile_ns`].
    pub fn percentile_ns(&self, quantile: f64) -> Option<u64> {
        percentile_ns(&self.0, quantile)
    }
}

#[derive(Serialize)]
struct Summary {
    count: u64,
    min_ns: u64,
    mean_ns: f64,
    max_ns: u64,
    percentiles_ns: serde_json::Map<String, serde_json::Value>,
    histogram: Packed,
}

impl Serialize for Recorded {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles = QUANTILES.map(|(name, quantile)| (name.to_owned(), self.percentile_ns(quantile).into()));
        Summary {
            count: self.len(),
            min_ns: self.min(),
            mean_ns: self.mean(),
            max_ns: self.max(),
            percentiles_ns: percentiles.into_iter().collect(),
            histogram: Packed::new(&self.0),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Recorded {
    /// Only the histogram counts; the summary is computed from it whenever it is written.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Recorded, D::Error> {
        #[derive(Deserialize)]
        struct OnlyHistogram {
            histogram: Packed,
        }
        let read = OnlyHistogram::deserialize(deserializer)?;
        read.histogram.unpack().map(Recorded).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(samples in proptest::collection::vec((0_u64..=TIME_NS_MAX, 1_u64..9_999), 0..40)) {
            let mut histogram = empty();
            samples.iter().for_each(|(value_ns, count)| histogram.record_n(*value_ns, *count).unwrap());
            prop_assert_eq!(&Packed::new(&histogram).unpack().unwrap(), &histogram);
            let recorded = Recorded(histogram);
            let json = serde_json::to_string(&recorded).unwrap();
            prop_assert_eq!(serde_json::from_str::<Recorded>(&json).unwrap(), recorded);
        }
    }

    #[test]
    fn a_percentile_needs_400_samples_beyond_it() {
        let mut recorded = Recorded::default();
        recorded.record_n(1_000, 399_999).unwrap();
        assert_eq!((recorded.percentile_ns(0.999), recorded.percentile_ns(0.99)), (None, Some(1_000)));
        recorded.record(5_000).unwrap();
        assert_eq!((recorded.percentile_ns(0.999), recorded.percentile_ns(0.9999)), (Some(1_000), None));
        let json: serde_json::Value = serde_json::to_value(&recorded).unwrap();
        assert_eq!(json["percentiles_ns"]["p99.9"], 1_000);
        assert!(json["percentiles_ns"]["p99.99"].is_null());
        assert_eq!(json["count"], 400_000);
    }

    #[test]
    fn the_longest_time_that_is_recorded_is_read_again() {
        let mut histogram = empty();
        [TIME_NS_MAX, TIME_NS_MAX + TIME_NS_MAX / 10, u64::MAX]
            .into_iter()
            .for_each(|ns| record(&mut histogram, ns, 1));
        assert_eq!(histogram.lowest_equivalent(histogram.max()), histogram.lowest_equivalent(TIME_NS_MAX));
        assert_eq!(Packed::new(&histogram).unpack().unwrap(), histogram);
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for text in ["", "!", "HISTFAAA", "HISTFAAAAAEV42pNpmSzMwMCgyAABTBDKT4GBgdnN"] {
            assert!(Packed::from(text).unpack().is_err(), "{text:?}");
        }
        let mut days = Histogram::<u64>::new(3).unwrap();
        days.record(30 * TIME_NS_MAX).unwrap();
        assert!(Packed::new(&days).unpack().unwrap_err().contains("nanoseconds"));
    }
}
