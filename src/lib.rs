//! Tallyring: a counter server for Linux that speaks the Redis protocol.

pub mod client;
pub mod command;
pub mod counters;
pub mod limits;
pub mod slot;
