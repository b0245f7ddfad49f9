//! Following a run on the terminal: a line a second on standard error, and what Ctrl-C means.
//!
//! The first SIGINT or SIGTERM ends the run, and what there is is printed; the second one ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::histogram::percentile_ns;
use super::run::{Observer, Progress};

/// The exit code of a process that SIGINT ended, as shells have it.
const INTERRUPTED_EXIT_CODE: i32 = 130;

/// Signals that came.
#[derive(Clone, Debug, Default)]
pub struct Interruption(Arc<AtomicU32>);

impl Interruption {
    /// Listen for signals from now on, on a thread of its own.
    pub fn listen() -> Interruption {
        let interruption = Interruption::default();
        let count = interruption.0.clone();
        let listening = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                loop {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                    if count.fetch_add(1, Ordering::Relaxed) > 0 {
                        std::process::exit(INTERRUPTED_EXIT_CODE);
                    }
                }
            })
        });
        // Without it a signal ends the process, as ever.
        drop::<std::io::Result<std::thread::JoinHandle<std::io::Result<()>>>>(listening);
        interruption
    }

    /// Whether a signal came.
    pub fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Writes each second to standard error.
pub struct Terminal {
    /// When to stop.
    pub interruption: Interruption,
    /// In front of each line: which server, and which repetition.
    pub label: String,
    /// How long the run is to be.
    pub length: Option<Duration>,
}

impl Observer for Terminal {
    fn phase(&mut self, what: &str) {
        eprintln!("{}{what}", self.label);
    }

    fn second(&mut self, progress: &Progress<'_>) {
        eprintln!("{}{}", self.label, line(progress, self.length));
    }

    fn interrupted(&self) -> bool {
        self.interruption.came()
    }
}

fn line(progress: &Progress<'_>, length: Option<Duration>) -> String {
    let elapsed_s = progress.second as f64 + progress.length_ns as f64 / 1e9;
    let length = length.map_or(String::new(), |length| format!("/{:.0}", length.as_secs_f64().ceil()));
    let per_s = progress.answered_count as f64 * 1e9 / (progress.length_ns as f64).max(1.0);
    let times = progress.times;
    let of = |histogram, quantile| match percentile_ns(histogram, quantile) {
        Some(ns) => format!("{:.3}", ns as f64 / 1e6),
        None => "n/a".to_owned(),
    };
    let errors = match progress.error_count {
        0 => String::new(),
        count => format!("  {count} errors"),
    };
    format!(
        "{elapsed_s:>4.0}{length} s  {per_s:>10.0}/s  response p50 {} p99 {} max {:.3} ms  lateness p99 {} ms{errors}",
        of(&times.response, 0.5),
        of(&times.response, 0.99),
        times.response.max() as f64 / 1e6,
        of(&times.lateness, 0.99),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::record::Times;

    #[test]
    fn a_line_says_how_fast_and_how_slow() {
        let mut times = Times::default();
        times.response.record_n(1_000_000, 100_000).unwrap();
        times.lateness.record_n(10_000, 100_000).unwrap();
        let progress =
            Progress { second: 1, length_ns: 500_000_000, answered_count: 100_000, error_count: 3, times: &times };
        let text = line(&progress, Some(Duration::from_secs(10)));
        assert_eq!(
            text,
            "   2/10 s      200000/s  response p50 1.000 p99 1.000 max 1.000 ms  lateness p99 0.010 ms  3 errors"
        );
        let empty = Progress { times: &Times::default(), answered_count: 0, error_count: 0, ..progress };
        assert!(line(&empty, None).contains("p50 n/a"));
    }
}
