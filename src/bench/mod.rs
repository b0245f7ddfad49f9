//! `tallyring bench`: a load generator that says what really happened.
//!
//! [`result`] has what a run found out; everything that is printed or written is made of it alone, so a file that was
//! read back gives the same tables, plots and comparisons as the run itself.

// The command line.
pub mod command;
pub mod watch;

// What is to be done.
pub mod batches;
pub mod count;
pub mod distribution;
pub mod flags;
pub mod mix;
pub mod options;
pub mod random;
pub mod requests;
pub mod run;
pub mod schedule;
pub mod template;
pub mod trace;

// Doing it.
pub mod buffer;
pub mod choice;
pub mod closed;
pub mod collect;
pub mod control;
pub mod drive;
pub mod flight;
pub mod grace;
pub mod nodes;
pub mod open;
pub mod pace;
pub mod record;
pub mod reopen;
pub mod reply;
pub mod sink;
pub mod target;
pub mod thread;
pub mod thread_report;

// What a run finds out.
pub mod account;
pub mod conclude;
pub mod fingerprint;
pub mod histogram;
pub mod judge;
pub mod result;
pub mod verify;

// What is made of it.
pub mod compare;
pub mod csv;
pub mod file;
pub mod hgrm;
pub mod hlog;
pub mod html;
pub mod merge;
pub mod page;
pub mod plot;
pub mod stats;
pub mod table;
pub mod units;
pub mod written;

#[cfg(test)]
mod outputs;
#[cfg(test)]
pub(crate) mod sample;

pub use collect::Progress;
pub use run::{BenchError, Limit, Observer, Run, run};
