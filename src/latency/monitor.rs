//! Spikes: what took longer than `latency-monitor-threshold`, with when it happened.
//!
//! Invariant: at most [`SAMPLE_COUNT_MAX`] samples an event, one a second.

use std::collections::VecDeque;
use std::fmt::Write;

/// Samples that are kept of an event, as in Redis.
pub const SAMPLE_COUNT_MAX: usize = 160;

/// What can take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Commands that are executed together.
    Command,
    /// The sweep of counters that have expired.
    ExpireCycle,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 2] = [Event::Command, Event::ExpireCycle];

    /// As clients name it.
    pub const fn name(self) -> &'static str {
        match self {
            Event::Command => "command",
            Event::ExpireCycle => "expire-cycle",
        }
    }

    /// The event of this name, which is in lower case.
    pub fn named(name: &[u8]) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }
}

/// The worst of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix time in seconds.
    pub unix_s: i64,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

/// The samples of one event, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    samples: VecDeque<Sample>,
    max_ms: u64,
}

impl Series {
    /// One more; of those in a second the worst stays.
    pub fn add(&mut self, sample: Sample) {
        self.max_ms = self.max_ms.max(sample.latency_ms);
        match self.samples.back_mut() {
            Some(last) if last.unix_s >= sample.unix_s => last.latency_ms = last.latency_ms.max(sample.latency_ms),
            _ => self.samples.push_back(sample),
        }
        if self.samples.len() > SAMPLE_COUNT_MAX {
            self.samples.pop_front();
        }
    }

    /// Add another shard's.
    pub fn merge(&mut self, other: &Series) {
        let mut samples: Vec<Sample> = self.samples.iter().chain(&other.samples).copied().collect();
        samples.sort_by_key(|sample| sample.unix_s);
        let max_ms = self.max_ms.max(other.max_ms);
        *self = Series { max_ms, ..Series::default() };
        samples.into_iter().for_each(|sample| self.add(sample));
    }

    /// The samples, the oldest first.
    pub fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    /// The newest sample.
    pub fn latest(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// The worst since the last reset, in milliseconds, also when its sample is gone.
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }
}

/// The events of a shard.
#[derive(Debug)]
pub struct Monitor {
    /// `u64::MAX`: off.
    threshold_ns: u64,
    series: [Series; Event::ALL.len()],
}

impl Default for Monitor {
    fn default() -> Monitor {
        Monitor { threshold_ns: u64::MAX, series: Default::default() }
    }
}

impl Monitor {
    /// Watch for what takes so many milliseconds or longer; 0 is off. What has been seen stays.
    pub fn set_threshold_ms(&mut self, threshold_ms: u64) {
        self.threshold_ns = match threshold_ms {
            0 => u64::MAX,
            _ => threshold_ms.saturating_mul(1_000_000),
        };
    }

    /// Whether what took so long is an event.
    #[inline]
    pub fn is_spike(&self, duration_ns: u64) -> bool {
        duration_ns >= self.threshold_ns
    }

    /// Something took so long; noted if it is an event.
    pub fn note(&mut self, event: Event, unix_ms: i64, duration_ns: u64) {
        if self.is_spike(duration_ns) {
            let sample = Sample { unix_s: unix_ms.div_euclid(1_000), latency_ms: duration_ns / 1_000_000 };
            self.series[event as usize].add(sample);
        }
    }

    /// What has been seen of an event.
    pub fn series(&self, event: Event) -> &Series {
        &self.series[event as usize]
    }

    /// Forget an event; true when something had been seen of it.
    pub fn reset(&mut self, event: Event) -> bool {
        std::mem::take(&mut self.series[event as usize]) != Series::default()
    }
}

/// The text of `LATENCY DOCTOR`: what was seen, and what to do about it.
pub fn doctor(threshold_ms: u64, series: &[(Event, Series)]) -> String {
    let mut text = String::new();
    let seen: Vec<_> = series.iter().filter(|(_, series)| !series.samples.is_empty()).collect();
    for (event, series) in &seen {
        let latencies_ms: Vec<f64> = series.samples.iter().map(|sample| sample.latency_ms as f64).collect();
        let count = latencies_ms.len() as f64;
        let mean_ms = latencies_ms.iter().sum::<f64>() / count;
        let deviation_ms = latencies_ms.iter().map(|latency_ms| (latency_ms - mean_ms).abs()).sum::<f64>() / count;
        let often = match (series.samples.front(), series.samples.back()) {
            (Some(first), Some(last)) if latencies_ms.len() > 1 => {
                let period_s = (last.unix_s - first.unix_s) as f64 / (count - 1.0);
                format!("{count} spikes, one in {period_s:.2} s")
            }
            _ => "1 spike".to_owned(),
        };
        let _ = writeln!(
            text,
            "{}: {often}, {mean_ms:.0} ms on average (mean deviation {deviation_ms:.0} ms), the worst {} ms.",
            event.name(),
            series.max_ms
        );
        text.push_str(match event {
            Event::Command => {
                "  SLOWLOG GET names the commands and the stage that was slow. KEYS, FLUSHALL and DEBUG SLEEP keep a shard busy; a shard that shares its core with other work is slow at everything (--pin).\n"
            }
            Event::ExpireCycle => {
                "  Many counters expire at the same time: spread their times to live. A sweep is given 1 ms; longer, the core was taken away (--pin).\n"
            }
        });
    }
    if threshold_ms == 0 {
        text.push_str(
            "Spikes are not watched for: CONFIG SET latency-monitor-threshold <milliseconds> does it. The histograms are always on: LATENCY HISTOGRAM, INFO latencystats, INFO stages.\n",
        );
    } else if seen.is_empty() {
        let _ = writeln!(text, "Nothing has taken {threshold_ms} ms or longer since the last LATENCY RESET.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(unix_s: i64, latency_ms: u64) -> Sample {
        Sample { unix_s, latency_ms }
    }

    fn series(samples: &[(i64, u64)]) -> Series {
        let mut series = Series::default();
        samples.iter().for_each(|(unix_s, latency_ms)| series.add(sample(*unix_s, *latency_ms)));
        series
    }

    #[test]
    fn of_a_second_the_worst_is_kept() {
        let series = series(&[(10, 5), (10, 9), (10, 7), (11, 1)]);
        assert_eq!(series.samples, [sample(10, 9), sample(11, 1)]);
        assert_eq!((series.latest(), series.max_ms()), (Some(sample(11, 1)), 9));
    }

    #[test]
    fn old_samples_go_and_the_worst_stays_known() {
        let mut series = series(&[(0, 1_000)]);
        for unix_s in 1..=SAMPLE_COUNT_MAX as i64 {
            series.add(sample(unix_s, 1));
        }
        assert_eq!(series.samples.len(), SAMPLE_COUNT_MAX);
        assert_eq!(series.samples.front(), Some(&sample(1, 1)));
        assert_eq!(series.max_ms(), 1_000);
    }

    #[test]
    fn shards_are_merged_by_the_second() {
        let mut sum = series(&[(10, 5), (12, 2)]);
        sum.merge(&series(&[(10, 8), (11, 3), (12, 1)]));
        assert_eq!(sum.samples, [sample(10, 8), sample(11, 3), sample(12, 2)]);
        assert_eq!(sum.max_ms(), 8);
        sum.merge(&Series::default());
        assert_eq!(sum.samples.len(), 3);
    }

    #[test]
    fn only_what_reaches_the_threshold_is_noted() {
        let mut monitor = Monitor::default();
        monitor.note(Event::Command, 5_000, u64::MAX - 1);
        assert_eq!(monitor.series(Event::Command), &Series::default());
        monitor.set_threshold_ms(10);
        monitor.note(Event::Command, 5_000, 9_999_999);
        monitor.note(Event::Command, 5_999, 10_000_000);
        monitor.note(Event::ExpireCycle, -1, 12_500_000);
        assert_eq!(monitor.series(Event::Command).samples, [sample(5, 10)]);
        assert_eq!(monitor.series(Event::ExpireCycle).samples, [sample(-1, 12)]);
        assert!(monitor.reset(Event::Command));
        assert!(!monitor.reset(Event::Command));
        monitor.set_threshold_ms(0);
        assert!(!monitor.is_spike(u64::MAX - 1));
        assert_eq!(monitor.series(Event::ExpireCycle).max_ms(), 12);
    }

    #[test]
    fn the_doctor_says_what_was_seen() {
        assert!(doctor(0, &[]).contains("CONFIG SET latency-monitor-threshold"));
        assert!(doctor(7, &[(Event::Command, Series::default())]).contains("7 ms or longer"));
        let text = doctor(7, &[(Event::Command, series(&[(10, 10), (14, 20)]))]);
        assert!(text.contains("command: 2 spikes, one in 4.00 s, 15 ms on average (mean deviation 5 ms)"), "{text}");
        assert!(text.contains("the worst 20 ms"), "{text}");
    }

    #[test]
    fn events_are_found_by_their_exact_names() {
        assert!(Event::ALL.into_iter().all(|event| Event::named(event.name().as_bytes()) == Some(event)));
        assert_eq!(Event::named(b"Command"), None);
    }
}
