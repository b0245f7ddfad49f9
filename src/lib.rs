#![doc = include_str!("../ARCHITECTURE.md")]

// Start-up.
pub mod cli;
pub mod config;
pub mod host;
pub mod limits;
pub mod logging;
pub mod startup;

// One core and its clients: what does I/O.
pub mod accept;
pub mod buffers;
pub mod clock;
pub mod connection;
pub mod lend;
pub mod mesh;
pub mod notify;
pub mod readiness;
pub mod server;
pub mod shard;
pub mod socket;

// What is pure, and the journal.
pub mod client;
pub mod command;
pub mod counters;
pub mod glob;
pub mod journal;
pub mod lanes;
pub mod resp;
pub mod session;
pub mod slot;

// What is told, and carried out over several shards.
pub mod doctor;
pub mod info;
pub mod latency;
pub mod metrics;
pub mod monitor;
pub mod process;
pub mod stats;
pub mod tasks;

// Tools beside the server.
pub mod offline;
pub mod pages;
pub mod query;
pub mod tail;
pub mod top;
// The tools that come with it.
// The load generator and the planner.
pub mod bench;
pub mod plan;
