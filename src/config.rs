//! From what the flags and the file say to one checked configuration.
//!
//! [`Options`] is what was written, each option once, as a flag and as a key; [`Config`] is what the server runs by.
//! Invariant: a [`Config`] is complete, consistent and within the limits of the machine that it was resolved for.

mod resolve;
#[cfg(test)]
mod tests;
mod values;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use toml::de::DeTable;

pub use resolve::{TCP_KEEPALIVE_MAX_S, ranges};
pub use values::{AppendFsync, Auto, BusyPoll, ByteCount, FileMode, LogLevel, Password, PinChoice, YesNo};

use crate::startup::StartError;

/// Clients when nobody says, as in Redis.
pub const MAXCLIENTS_DEFAULT: u32 = 10_000;

/// Everything that can be set, as it was written; `None` was not written. Each field is a flag of `tallyring serve` and
/// a key of its file, both of the field's name with dashes.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Options {
    /// Listen on these addresses (IPv4 or IPv6), separated by commas [default: 127.0.0.1]
    #[arg(long, help_heading = "Network", value_name = "IP", value_delimiter = ',')]
    #[serde(deserialize_with = "values::addresses")]
    pub bind: Option<Vec<IpAddr>>,

    /// Listen on this TCP port; 0 lets the system choose one, and the log says which [default: 6379]
    #[arg(long, help_heading = "Network")]
    pub port: Option<u16>,

    /// Listen on this Unix socket too [default: none]
    #[arg(long, help_heading = "Network", value_name = "PATH")]
    pub unixsocket: Option<PathBuf>,

    /// Permissions of the Unix socket in octal, such as 700; 0 leaves them to the umask [default: 0]
    #[arg(long, help_heading = "Network", value_name = "MODE")]
    pub unixsocketperm: Option<FileMode>,

    /// Connections that the kernel holds for a listener until they are accepted [default: 511]
    #[arg(long, help_heading = "Network", value_name = "COUNT")]
    pub tcp_backlog: Option<u32>,

    /// Probe a silent connection after so many seconds; 0 never [default: 300]
    #[arg(long, help_heading = "Network", value_name = "SECONDS")]
    pub tcp_keepalive: Option<u32>,

    /// Give each shard a port of its own, from --port + 1 on (with port 0 ones that the system chooses), and tell cluster
    /// clients, which then go straight to the core that owns a key; --port serves every key as ever [default: no]
    #[arg(long, visible_alias = "cluster", help_heading = "Network", value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    #[serde(deserialize_with = "values::scalar")]
    pub cluster_enabled: Option<YesNo>,

    /// Serve Prometheus metrics with HTTP on this TCP port: /metrics, /health and /ready; 0 does not [default: 0]
    #[arg(long, help_heading = "Network", value_name = "PORT")]
    pub metrics_port: Option<u16>,

    /// Serve them on these addresses, separated by commas. Whoever reaches one can read them: there is no password
    /// [default: 127.0.0.1]
    #[arg(long, help_heading = "Network", value_name = "IP", value_delimiter = ',')]
    #[serde(deserialize_with = "values::addresses")]
    pub metrics_bind: Option<Vec<IpAddr>>,

    /// Shards, one thread each; auto is one for each core that the process may use, or that --pin names [default: auto]
    #[arg(long, help_heading = "Threads", value_name = "COUNT")]
    #[serde(deserialize_with = "values::scalar")]
    pub threads: Option<Auto<usize>>,

    /// Pin the threads to cores: auto, none, or a list such as 0,2-5 [default: auto]
    #[arg(long, help_heading = "Threads", value_name = "CORES")]
    #[serde(deserialize_with = "values::scalar")]
    pub pin: Option<PinChoice>,

    /// Let shards go on polling instead of sleeping: for 50 microseconds after the last work, but only while work mostly
    /// comes that soon and nobody else wants the core (auto), never (no), always, or for so many microseconds. A few
    /// clients then see about half the latency, for a core that is busier [default: auto]
    #[arg(long, help_heading = "Threads", value_name = "AUTO|NO|ALWAYS|MICROSECONDS")]
    #[serde(deserialize_with = "values::scalar")]
    pub busy_poll: Option<BusyPoll>,

    /// Refuse new counters past this size (1kb = 1024, 1k = 1000 bytes; mb, gb), and longer ones past an eighth more;
    /// auto is three quarters of the machine's or the control group's memory, 0 is no limit [default: auto]
    #[arg(long, help_heading = "Memory", value_name = "SIZE")]
    #[serde(deserialize_with = "values::scalar")]
    pub maxmemory: Option<Auto<ByteCount>>,

    /// Fixed buffers of 16 KiB for each shard; auto is up to 512, as --maxclients and RLIMIT_MEMLOCK have it [default:
    /// auto]
    #[arg(long, help_heading = "Memory", value_name = "COUNT")]
    #[serde(deserialize_with = "values::scalar")]
    pub buffers: Option<Auto<u32>>,

    /// What clients that stall may leave over, all together, before who has stalled longest is disconnected [default:
    /// 64mb]
    #[arg(long, help_heading = "Memory", value_name = "SIZE")]
    #[serde(deserialize_with = "values::scalar")]
    pub maxmemory_clients: Option<ByteCount>,

    /// Keep the counters on the disk, in --dir: yes or no [default: yes]
    #[arg(long, help_heading = "Durability", value_name = "YES|NO")]
    #[serde(deserialize_with = "values::scalar")]
    pub appendonly: Option<YesNo>,

    /// The data directory, which is made where it is missing [default: tallyring-data]
    #[arg(long, help_heading = "Durability", value_name = "PATH")]
    pub dir: Option<PathBuf>,

    /// When a change is on the disk for certain: always, before it is acknowledged; everysec, at most a second and one
    /// sync later; no, when the kernel writes it [default: everysec]
    #[arg(long, help_heading = "Durability", value_name = "ALWAYS|EVERYSEC|NO")]
    #[serde(deserialize_with = "values::scalar")]
    pub appendfsync: Option<AppendFsync>,

    /// Take a snapshot when the journal has grown to so many percent of the last one; 0 never does [default: 100]
    #[arg(long, help_heading = "Durability", value_name = "PERCENT")]
    pub auto_aof_rewrite_percentage: Option<u32>,

    /// But not before the journal has so many bytes [default: 64mb]
    #[arg(long, help_heading = "Durability", value_name = "SIZE")]
    #[serde(deserialize_with = "values::scalar")]
    pub auto_aof_rewrite_min_size: Option<ByteCount>,

    /// Start although data are damaged: of a journal what lies at and behind the damage is dropped, of a snapshot what cannot
    /// be read, and the log says what that is. Without it the server does not start; `tallyring check` says before what would
    /// be dropped [default: no]
    #[arg(long, help_heading = "Durability", value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    #[serde(deserialize_with = "values::scalar")]
    pub recover: Option<YesNo>,

    /// Ask clients for this password; the file hides it from `ps`. Without one only loopback is served [default: none]
    #[arg(long, help_heading = "Security", value_name = "PASSWORD")]
    pub requirepass: Option<Password>,

    /// Allow the DEBUG command: yes or no [default: no]
    #[arg(long, help_heading = "Security", value_name = "YES|NO")]
    #[serde(deserialize_with = "values::scalar")]
    pub enable_debug_command: Option<YesNo>,

    /// Clients at once [default: 10000]
    #[arg(long, help_heading = "Clients", value_name = "COUNT")]
    pub maxclients: Option<u32>,

    /// Close a connection that was idle for so many seconds; 0 never [default: 0]
    #[arg(long, help_heading = "Clients", value_name = "SECONDS")]
    pub timeout: Option<u32>,

    /// Close a connection whose request has stayed unfinished for so many seconds, not counting those in which 16 KiB or
    /// more of it came; 0 never [default: 60]
    #[arg(long, help_heading = "Clients", value_name = "SECONDS")]
    pub request_timeout: Option<u32>,

    /// Close a connection whose replies have stayed unread for so many seconds, not counting those in which 16 KiB or
    /// more were read; 0 never [default: 60]
    #[arg(long, help_heading = "Clients", value_name = "SECONDS")]
    pub reply_timeout: Option<u32>,

    /// Close a connection that has not given the password after so many seconds; 0 never [default: 60]
    #[arg(long, help_heading = "Clients", value_name = "SECONDS")]
    pub auth_timeout: Option<u32>,

    /// How much is logged: error, warn, info or debug [default: info]
    #[arg(long, help_heading = "Logging", value_name = "LEVEL")]
    #[serde(deserialize_with = "values::scalar")]
    pub log_level: Option<LogLevel>,

    /// Commands that take longer than so many microseconds enter the slow log; 0 is all, -1 none [default: 10000]
    #[arg(long, help_heading = "Logging", value_name = "MICROSECONDS", allow_negative_numbers = true)]
    pub slowlog_log_slower_than: Option<i64>,

    /// Entries that the slow log keeps [default: 128]
    #[arg(long, help_heading = "Logging", value_name = "COUNT")]
    pub slowlog_max_len: Option<usize>,

    /// Note what keeps a shard busy for so many milliseconds, for the LATENCY command; 0 is off [default: 0]
    #[arg(long, help_heading = "Logging", value_name = "MILLISECONDS")]
    pub latency_monitor_threshold: Option<u64>,
}

/// The data directory when nobody says otherwise.
pub const DATA_DIRECTORY: &str = "tallyring-data";

/// What the server runs by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen with TCP. Empty only when there is a Unix socket.
    pub bind: Vec<IpAddr>,
    /// The TCP port; with 0 the system chooses.
    pub port: u16,
    /// Where to listen with a Unix socket.
    pub unixsocket: Option<PathBuf>,
    /// The socket's permission bits; `None` leaves what the umask gives.
    pub unixsocketperm: Option<u32>,
    /// Each shard has a port of its own too. Then there is a TCP address, and room for the ports.
    pub cluster_enabled: bool,
    /// The port of the metrics; 0 is none.
    pub metrics_port: u16,
    /// Where to listen for scrapers. Not empty where there is a port.
    pub metrics_bind: Vec<IpAddr>,
    /// How many shards there are, 1 to [`SHARD_COUNT_MAX`](crate::limits::SHARD_COUNT_MAX).
    pub threads: usize,
    /// The core of each shard, `threads` elements; `None` is not pinned.
    pub pin: Vec<Option<usize>>,
    /// Whether shards sleep.
    pub busy_poll: BusyPoll,
    /// Clients at once, at least 1. The descriptors suffice for them.
    pub maxclients: u32,
    /// Bytes of counters; 0 is no limit.
    pub maxmemory_bytes: u64,
    /// What `AUTH` must give.
    pub requirepass: Option<Password>,
    /// The counters are kept on the disk.
    pub appendonly: bool,
    /// When a change is on the disk for certain.
    pub appendfsync: AppendFsync,
    /// The data directory.
    pub dir: PathBuf,
    /// A snapshot is taken when the journal has grown to so many percent of the last one; 0 never.
    pub auto_aof_rewrite_percentage: u32,
    /// But not before the journal has so many bytes.
    pub auto_aof_rewrite_min_bytes: u64,
    /// What lies behind a damaged place of the journal is dropped.
    pub recover: bool,
    /// Bytes that stalled clients may leave over, over all shards.
    pub maxmemory_clients_bytes: u64,
    /// Seconds after which an idle connection ends; 0 never.
    pub timeout_s: u32,
    /// Seconds that a request may stay unfinished; 0 is no limit.
    pub request_timeout_s: u32,
    /// Seconds that replies may stay unread; 0 is no limit.
    pub reply_timeout_s: u32,
    /// Seconds that a client has to give the password; 0 is no limit.
    pub auth_timeout_s: u32,
    /// Seconds after which a silent connection is probed; 0 never.
    pub tcp_keepalive_s: u32,
    /// Connections that wait to be accepted.
    pub tcp_backlog: u32,
    /// How much is logged.
    pub log_level: LogLevel,
    /// `--buffers`, when it was given.
    pub buffers: Option<u32>,
    /// Fixed buffers of each shard, as [`fixed_buffer_count`](crate::startup::fixed_buffer_count) has it.
    pub fixed_buffer_count: usize,
    /// Commands that take longer enter the slow log; 0 is all, negative none.
    pub slowlog_log_slower_than_us: i64,
    /// Entries of the slow log, at most [`SLOWLOG_COUNT_MAX`](crate::limits::SLOWLOG_COUNT_MAX).
    pub slowlog_max_len: usize,
    /// From how many milliseconds on the latency monitor notes what happens; 0 is off.
    pub latency_monitor_threshold_ms: u64,
    /// `DEBUG` is allowed.
    pub enable_debug_command: bool,
    /// What the operator should know, to be logged once there is a log.
    pub warnings: Vec<String>,
}

impl Options {
    /// Read a TOML file.
    pub fn read_file(path: &Path) -> Result<Options, StartError> {
        let unreadable = |error| StartError::ConfigUnreadable { path: path.to_owned(), error };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        Options::parse(&text, path)
    }

    /// Parse the text of the file at `path`, which only errors name.
    pub fn parse(text: &str, path: &Path) -> Result<Options, StartError> {
        toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let line = text[..span.start].matches('\n').count() + 1;
            let message = error.message().replace('\n', " ");
            let problem = match key_at(text, span.start) {
                _ if message.starts_with("unknown field") => message.replacen("field", "key", 1),
                // The message would quote the value.
                Some(key) if key == "requirepass" => "requirepass: expected a string in quotes".to_owned(),
                Some(key) => format!("{key}: {message}"),
                None if message == "duplicate key" => format!("{message} `{}`", &text[span]),
                None => message,
            };
            StartError::ConfigInvalid { path: path.to_owned(), line, problem }
        })
    }
}

/// The top-level key whose value spans `offset`.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let found = table.get_ref().iter().find(|(_, value)| value.span().contains(&offset));
    found.map(|(key, _)| key.get_ref().to_string())
}
