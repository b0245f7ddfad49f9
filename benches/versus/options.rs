//! What can be chosen on the command line: `cargo bench --bench versus -- --rounds 7`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

use super::peers::Peer;
use super::workload::{KEY_COUNT_MAX, Load};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub enum Table {
    /// Rates with few counters
    Small,
    /// Rates with many counters, where memory is the limit
    Large,
    /// Rates with few counters and a journal that is synced every second
    Everysec,
    /// Rates with few counters and a journal that is synced before each reply
    Always,
    /// Two shards, on the cores of the server and of the load: what it costs to forward an operation to the other one
    Shards,
    /// Bytes per counter
    Memory,
}

impl Table {
    /// `appendfsync` of the servers; `None` without a journal.
    pub fn appendfsync(self) -> Option<&'static str> {
        match self {
            Table::Everysec => Some("everysec"),
            Table::Always => Some("always"),
            Table::Small | Table::Large | Table::Shards | Table::Memory => None,
        }
    }
}

/// Tallyring and its peers side by side: one core for the server, one for the load, rounds interleaved.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench versus --")]
pub struct Options {
    /// Rounds; medians are taken over them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Seconds that are measured of each server in each round
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub seconds: f64,
    /// Seconds of load before that
    #[arg(long, default_value = "0.3", value_parser = seconds)]
    pub warm_up: f64,
    /// Only these loads, such as 50x64,1x1: connections x depth [default: those of each table]
    #[arg(long, value_delimiter = ',', value_name = "LOAD")]
    pub only: Vec<Load>,
    /// Only these servers
    #[arg(long, value_delimiter = ',', value_name = "SERVER")]
    pub peers: Vec<Peer>,
    /// Only these tables
    #[arg(long, value_delimiter = ',', value_name = "TABLE")]
    pub tables: Vec<Table>,
    /// Counters of the table with few
    #[arg(long, default_value_t = 100_000, value_parser = key_count())]
    pub small_keys: u32,
    /// Counters of the table with many
    #[arg(long, default_value_t = 10_000_000, value_parser = key_count())]
    pub large_keys: u32,
    /// Counters of the memory table
    #[arg(long, default_value_t = 3_000_000, value_parser = key_count())]
    pub memory_keys: u32,
    /// The core of the servers
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The core of the load generator
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Write every round to this file too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Options {
    /// The servers to measure, in the order of the tables.
    pub fn peers(&self) -> Vec<Peer> {
        let all = Peer::value_variants().iter().copied();
        all.filter(|peer| self.peers.is_empty() || self.peers.contains(peer)).collect()
    }

    /// Whether a table was asked for.
    pub fn wants(&self, table: Table) -> bool {
        self.tables.is_empty() || self.tables.contains(&table)
    }
}

fn key_count() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(KEY_COUNT_MAX))
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "is not a number of seconds".to_owned())?;
    if (0.0..=3_600.0).contains(&seconds) { Ok(seconds) } else { Err("is not between 0 and 3600 seconds".to_owned()) }
}
