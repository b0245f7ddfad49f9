//! What the user sees of a plan while it is carried out, on standard error.

use std::io::IsTerminal;

use crate::bench::watch::Interruption;
use crate::bench::written::{self, say_raw};
use crate::bench::{Observer, Progress};

/// Follows a trial without a word, and knows when to stop.
pub(super) struct Quiet {
    pub(super) interruption: Interruption,
}

impl Observer for Quiet {
    fn phase(&mut self, what: &str) {
        if what.starts_with("memory") {
            say(what);
        }
    }

    fn second(&mut self, _: &Progress) {}

    fn interrupted(&self) -> bool {
        self.interruption.came()
    }
}

/// A line of progress. On a terminal the next one replaces it.
pub(super) fn say(text: &str) {
    if std::io::stderr().is_terminal() { say_raw(&format!("\r\x1b[K{text}")) } else { written::say(text) }
}

/// A line that stays.
pub(super) fn line(text: &str) {
    let erase = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    written::say(&format!("{erase}{text}"));
}
