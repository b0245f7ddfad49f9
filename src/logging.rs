//! The log: few lines on standard error, each with its time (UTC) and level. Colours only on a terminal.
//!
//! Invariant: nothing is logged per command, and nothing that a client sent is logged as it came.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;

use crate::config::LogLevel;

/// Send what is logged from here on to standard error. Call it once; a second call changes nothing.
pub fn start(level: LogLevel) {
    // https://no-color.org: any value that is not empty.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !plain)
        .with_max_level(filter(level))
        .with_target(false)
        .try_init();
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}
