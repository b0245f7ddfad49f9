//! `tallyring plan`: how much traffic a server carries under a goal, and how many servers some traffic takes.
//!
//! [`search`] decides which rate is tried next, [`trial`] whether a run meets the goal, [`room`] and [`capacity`] what follows:
//! these are pure and tested against servers that are only simulated. `execute` runs the trials with
//! [`bench`](crate::bench) and writes what came of them.

// What is asked.
pub mod options;
pub mod slo;

// How the answer is found.
pub mod capacity;
pub mod memory;
pub mod room;
pub mod search;
pub mod trial;
pub mod usl;

// Asking a real server, and saying what came of it.
mod directory;
mod drain;
pub mod execute;
mod jitter;
mod progress;
pub mod report;
pub mod result;

#[cfg(test)]
mod simulated;
