//! Following a run on the terminal: a line a second on standard error, and what Ctrl-C means.
//!
//! The first SIGINT or SIGTERM ends the run, and what there is is printed; the second one ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::collect::Progress;
use super::run::Observer;
use super::written::say;

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
        say(&format!("{}{what}", self.label));
    }

    fn second(&mut self, progress: &Progress) {
        say(&format!("{}{}", self.label, line(progress, self.length)));
    }

    fn interrupted(&self) -> bool {
        self.interruption.came()
    }
}

fn line(progress: &Progress, length: Option<Duration>) -> String {
    let elapsed_s = progress.second as f64 + progress.length_ns as f64 / 1e9;
    let length = length.map_or(String::new(), |length| format!("/{:.0}", length.as_secs_f64().ceil()));
    let per_s = progress.answered_count as f64 * 1e9 / (progress.length_ns as f64).max(1.0);
    let ms = |ns: Option<u64>| ns.map_or("n/a".to_owned(), |ns| format!("{:.3}", ns as f64 / 1e6));
    let (p50_ns, p99_ns, max_ns) = progress.response_ns;
    let errors = match progress.error_count {
        0 => String::new(),
        count => format!("  {count} errors"),
    };
    format!(
        "{elapsed_s:>4.0}{length} s  {per_s:>10.0}/s  response p50 {} p99 {} max {:.3} ms  lateness p99 {} ms{errors}",
        ms(p50_ns),
        ms(p99_ns),
        max_ns as f64 / 1e6,
        ms(progress.lateness_p99_ns),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_fast_and_how_slow() {
        let progress = Progress {
            second: 1,
            length_ns: 500_000_000,
            answered_count: 100_000,
            error_count: 3,
            response_ns: (Some(1_000_000), Some(2_000_000), 3_000_000),
            lateness_p99_ns: Some(10_000),
        };
        let text = line(&progress, Some(Duration::from_secs(10)));
        assert_eq!(
            text,
            "   2/10 s      200000/s  response p50 1.000 p99 2.000 max 3.000 ms  lateness p99 0.010 ms  3 errors"
        );
        let empty = Progress { response_ns: (None, None, 0), error_count: 0, ..progress };
        assert!(line(&empty, None).contains("p50 n/a"));
    }
}
