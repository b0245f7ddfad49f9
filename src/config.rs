//! From what the flags and the file say to one checked configuration.
//!
//! [`Options`] is what was written, each option once, as a flag and as a key; [`Config`] is what the server runs by.
//! Invariant: a [`Config`] is complete, consistent and within the limits of the machine that it was resolved for.

#[cfg(test)]
mod tests;
mod values;

use std::fs;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use toml::de::DeTable;

pub use values::{AppendFsync, Auto, BusyPoll, ByteCount, FileMode, LogLevel, Password, PinChoice, YesNo};

use crate::host::Host;
use crate::limits::{
    ARGUMENT_BYTES_MAX, FIXED_BUFFER_BYTES, FIXED_BUFFER_COUNT_MAX, FIXED_BUFFER_COUNT_MIN, SHARD_COUNT_MAX,
    SLOWLOG_COUNT_MAX,
};
use crate::startup::{self, MemoryPlan, StartError};

/// Clients when nobody says, as in Redis.
pub const MAXCLIENTS_DEFAULT: u32 = 10_000;

/// What stalled clients may leave over when nobody says, and what a shard's share must be at least.
const MAXMEMORY_CLIENTS_DEFAULT_BYTES: u64 = 64 << 20;
const PARKED_BYTES_PER_SHARD_MIN: u64 = 4 * FIXED_BUFFER_BYTES as u64;

/// Most seconds that `TCP_KEEPIDLE` takes (tcp(7), `MAX_TCP_KEEPIDLE`).
const TCP_KEEPALIVE_MAX_S: u32 = 32_767;

/// Longest path of a Unix socket, in bytes: `sun_path` less its end (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

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

    /// Let shards go on polling instead of sleeping: no, always, or for so many microseconds after the last work. One
    /// client then sees about half the latency, for a core that is always busy [default: no]
    #[arg(long, help_heading = "Threads", value_name = "NO|ALWAYS|MICROSECONDS")]
    #[serde(deserialize_with = "values::scalar")]
    pub busy_poll: Option<BusyPoll>,

    /// Refuse new counters past this size (1kb = 1024, 1k = 1000 bytes; mb, gb); auto is three quarters of the
    /// machine's or the control group's memory, 0 is no limit [default: auto]
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

    /// Start although the journal is damaged: what lies behind the damage is dropped, and the log says what that is. Without
    /// it the server says the same, and does not start [default: no]
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
    /// How many shards there are, 1 to [`SHARD_COUNT_MAX`].
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
    /// Fixed buffers of each shard, as [`startup::fixed_buffer_count`] has it.
    pub fixed_buffer_count: usize,
    /// Commands that take longer enter the slow log; 0 is all, negative none.
    pub slowlog_log_slower_than_us: i64,
    /// Entries of the slow log, at most [`SLOWLOG_COUNT_MAX`].
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

impl Config {
    /// Fill in the defaults, check every value and every combination, and fit the whole to the machine.
    pub fn resolve(options: Options, host: &Host) -> Result<Config, StartError> {
        let mut warnings = Vec::new();
        let unixsocket = options.unixsocket.filter(|path| !path.as_os_str().is_empty());
        let unixsocketperm = options.unixsocketperm.map(|mode| mode.0).filter(|mode| *mode != 0);
        check_unix_socket(unixsocket.as_deref(), unixsocketperm)?;
        let bind = options.bind.unwrap_or_else(|| vec![IpAddr::from([127, 0, 0, 1])]);
        check_bind(&bind, unixsocket.is_some())?;

        let requirepass = options.requirepass.filter(|password| !password.is_empty());
        if requirepass.as_ref().is_some_and(|password| password.len() > ARGUMENT_BYTES_MAX) {
            let problem = format!("is longer than {ARGUMENT_BYTES_MAX} bytes, so that no AUTH could carry it");
            return Err(wrong("requirepass", problem, "Choose a shorter password"));
        }

        let (threads, pin) = shards(
            options.threads.and_then(Auto::given),
            options.pin.unwrap_or(PinChoice::Auto),
            &host.cores,
            &mut warnings,
        )?;
        let asked = options.maxclients.map(|count| within("maxclients", count, 1..=u32::MAX)).transpose()?;
        let maxclients = startup::client_limit(asked, MAXCLIENTS_DEFAULT, threads, bind.len(), host)?;
        if asked.is_none() && maxclients < MAXCLIENTS_DEFAULT {
            warnings.push(format!(
                "maxclients is {maxclients} instead of {MAXCLIENTS_DEFAULT}: RLIMIT_NOFILE leaves room for no more; raise it with ulimit -n or LimitNOFILE="
            ));
        }

        let range = FIXED_BUFFER_COUNT_MIN as u32..=FIXED_BUFFER_COUNT_MAX as u32;
        let buffers = options.buffers.and_then(Auto::given).map(|count| within("buffers", count, range)).transpose()?;
        let port = options.port.unwrap_or(6379);
        let cluster_enabled = options.cluster_enabled.is_some_and(|answer| answer.0);
        if cluster_enabled {
            check_cluster(&bind, port, threads)?;
        }
        let metrics_port = options.metrics_port.unwrap_or(0);
        let metrics_bind = options.metrics_bind.unwrap_or_else(|| vec![IpAddr::from([127, 0, 0, 1])]);
        check_metrics(&metrics_bind, metrics_port, &bind, port)?;
        let mut config = Config {
            bind,
            port,
            metrics_port,
            metrics_bind,
            cluster_enabled,
            unixsocket,
            unixsocketperm,
            threads,
            pin,
            busy_poll: options.busy_poll.unwrap_or(BusyPoll::No),
            maxclients,
            maxmemory_bytes: 0,
            requirepass,
            appendonly: options.appendonly.is_none_or(|answer| answer.0),
            appendfsync: options.appendfsync.unwrap_or(AppendFsync::Everysec),
            dir: options.dir.unwrap_or_else(|| PathBuf::from(DATA_DIRECTORY)),
            auto_aof_rewrite_percentage: options.auto_aof_rewrite_percentage.unwrap_or(100),
            auto_aof_rewrite_min_bytes: options.auto_aof_rewrite_min_size.map_or(64 << 20, |size| size.0),
            recover: options.recover.is_some_and(|answer| answer.0),
            maxmemory_clients_bytes: parked_bytes(options.maxmemory_clients, threads)?,
            timeout_s: seconds("timeout", options.timeout, 0)?,
            request_timeout_s: seconds("request-timeout", options.request_timeout, 60)?,
            reply_timeout_s: seconds("reply-timeout", options.reply_timeout, 60)?,
            auth_timeout_s: seconds("auth-timeout", options.auth_timeout, 60)?,
            tcp_keepalive_s: within("tcp-keepalive", options.tcp_keepalive.unwrap_or(300), 0..=TCP_KEEPALIVE_MAX_S)?,
            tcp_backlog: within("tcp-backlog", options.tcp_backlog.unwrap_or(511), 1..=i32::MAX as u32)?,
            log_level: options.log_level.unwrap_or(LogLevel::Info),
            buffers,
            fixed_buffer_count: 0,
            slowlog_log_slower_than_us: options.slowlog_log_slower_than.unwrap_or(10_000),
            slowlog_max_len: within("slowlog-max-len", options.slowlog_max_len.unwrap_or(128), 0..=SLOWLOG_COUNT_MAX)?,
            latency_monitor_threshold_ms: within(
                "latency-monitor-threshold",
                options.latency_monitor_threshold.unwrap_or(0),
                0..=i64::MAX as u64,
            )?,
            enable_debug_command: options.enable_debug_command.is_some_and(|answer| answer.0),
            warnings,
        };
        config.fit_memory(options.maxmemory.and_then(Auto::given), host)?;
        Ok(config)
    }

    /// Choose the fixed buffers and the counters' share so that the machine holds both.
    fn fit_memory(&mut self, maxmemory: Option<ByteCount>, host: &Host) -> Result<(), StartError> {
        self.fixed_buffer_count = startup::fixed_buffer_count(self, host)?;
        let useful = startup::useful_buffer_count(self);
        if self.buffers.is_none() && self.fixed_buffer_count < useful {
            self.warnings.push(format!(
                "{} fixed buffers a shard instead of {useful}: RLIMIT_MEMLOCK is {}; raise it with ulimit -l or LimitMEMLOCK=",
                self.fixed_buffer_count,
                ByteCount(host.lockable_bytes().unwrap_or(u64::MAX)),
            ));
        }
        self.maxmemory_bytes = match maxmemory {
            Some(size) => size.0,
            None => {
                let plan = MemoryPlan::new(self);
                plan.check(host)?;
                plan.default_maxmemory_bytes(host)
            }
        };
        MemoryPlan::new(self).check(host)
    }
}

fn seconds(flag: &'static str, given: Option<u32>, default: u32) -> Result<u32, StartError> {
    within(flag, given.unwrap_or(default), 0..=i32::MAX as u32)
}

/// Each shard has its share of the parked store, and one client's leftovers must fit it.
fn parked_bytes(given: Option<ByteCount>, threads: usize) -> Result<u64, StartError> {
    let bytes = given.map_or(MAXMEMORY_CLIENTS_DEFAULT_BYTES, |size| size.0);
    let least_bytes = threads as u64 * PARKED_BYTES_PER_SHARD_MIN;
    if bytes < least_bytes {
        let problem = format!("{} is too little for {threads} shards", ByteCount(bytes));
        return Err(wrong("maxmemory-clients", problem, format!("Give it {least_bytes} or more")));
    }
    Ok(bytes)
}

/// The top-level key whose value spans `offset`.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let found = table.get_ref().iter().find(|(_, value)| value.span().contains(&offset));
    found.map(|(key, _)| key.get_ref().to_string())
}

fn check_bind(bind: &[IpAddr], has_unixsocket: bool) -> Result<(), StartError> {
    if bind.is_empty() && !has_unixsocket {
        let problem = "names no address, and there is no --unixsocket: nobody could connect";
        return Err(wrong("bind", problem, "Name an address such as 127.0.0.1, or a --unixsocket"));
    }
    check_addresses("bind", bind)
}

/// No address is served twice.
fn check_addresses(flag: &'static str, bind: &[IpAddr]) -> Result<(), StartError> {
    for (index, address) in bind.iter().enumerate() {
        let earlier = &bind[..index];
        if earlier.contains(address) {
            return Err(wrong(flag, format!("names {address} twice"), "Name it once"));
        }
        let same_family = |other: &&IpAddr| other.is_ipv4() == address.is_ipv4();
        let overlap = |other: &&IpAddr| other.is_unspecified() || address.is_unspecified();
        if let Some(other) = earlier.iter().filter(same_family).find(overlap) {
            let problem = format!("names {other} and {address}, one of which includes the other");
            return Err(wrong(flag, problem, "Name only the wider one"));
        }
    }
    Ok(())
}

/// The metrics have a port of their own.
fn check_metrics(addresses: &[IpAddr], metrics_port: u16, bind: &[IpAddr], port: u16) -> Result<(), StartError> {
    check_addresses("metrics-bind", addresses)?;
    if metrics_port != 0 && addresses.is_empty() {
        let problem = "names no address, though there is a --metrics-port";
        return Err(wrong("metrics-bind", problem, "Name an address such as 127.0.0.1, or leave both out"));
    }
    let shared = |address: &IpAddr| bind.iter().any(|other| other == address || other.is_unspecified());
    if metrics_port != 0 && metrics_port == port && addresses.iter().any(shared) {
        return Err(wrong("metrics-port", format!("is {port}, as --port"), "Choose another for either"));
    }
    Ok(())
}

/// Every shard needs a port behind `port`, unless the system chooses.
fn check_cluster(bind: &[IpAddr], port: u16, threads: usize) -> Result<(), StartError> {
    if bind.is_empty() {
        let problem = "needs TCP, which an empty --bind switches off";
        return Err(wrong("cluster-enabled", problem, "Name an address with --bind"));
    }
    if port != 0 && usize::from(port) + threads > usize::from(u16::MAX) {
        let problem = format!("{port} leaves too few ports for {threads} shards with --cluster-enabled");
        let remedy = format!("Choose a --port of at most {}", usize::from(u16::MAX) - threads);
        return Err(wrong("port", problem, remedy));
    }
    Ok(())
}

fn check_unix_socket(path: Option<&Path>, mode: Option<u32>) -> Result<(), StartError> {
    match path {
        Some(path) if path.as_os_str().len() > UNIX_PATH_BYTES_MAX => {
            let problem = format!("is longer than {UNIX_PATH_BYTES_MAX} bytes: {}", path.display());
            Err(wrong("unixsocket", problem, "Choose a shorter path"))
        }
        None if mode.is_some() => Err(wrong("unixsocketperm", "is given without --unixsocket", "Give both or neither")),
        _ => Ok(()),
    }
}

/// How many shards, and the core of each.
fn shards(
    threads: Option<usize>,
    pin: PinChoice,
    cores: &[usize],
    warnings: &mut Vec<String>,
) -> Result<(usize, Vec<Option<usize>>), StartError> {
    let threads = threads.map(|count| within("threads", count, 1..=SHARD_COUNT_MAX)).transpose()?;
    let all = cores.len().min(SHARD_COUNT_MAX);
    match pin {
        PinChoice::None => {
            let threads = threads.unwrap_or(all);
            Ok((threads, vec![None; threads]))
        }
        PinChoice::Auto => {
            let threads = threads.unwrap_or(all);
            if threads <= cores.len() {
                return Ok((threads, cores[..threads].iter().copied().map(Some).collect()));
            }
            let available = cores.len();
            warnings.push(format!("{threads} threads share {available} cores: none is pinned; latency will suffer"));
            Ok((threads, vec![None; threads]))
        }
        PinChoice::Cores(named) => {
            if let Some(core) = named.iter().find(|core| !cores.contains(core)) {
                let problem = format!("names core {core}, which this process may not use or does not exist");
                return Err(wrong("pin", problem, format!("Choose from {}", ranges(cores))));
            }
            let threads = threads.unwrap_or(named.len());
            if threads != named.len() {
                let problem = format!("names {} for --threads {threads}", count_of_cores(named.len()));
                return Err(wrong("pin", problem, "Name one core for each thread, or leave --threads out"));
            }
            Ok((threads, named.into_iter().map(Some).collect()))
        }
    }
}

fn count_of_cores(count: usize) -> String {
    if count == 1 { "1 core".to_owned() } else { format!("{count} cores") }
}

/// Ascending cores as `--pin` takes them: `0-3,6`.
pub fn ranges(cores: &[usize]) -> String {
    let runs = cores.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [core] => core.to_string(),
        _ => format!("{}-{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(",")
}

fn within<T>(flag: &'static str, value: T, range: RangeInclusive<T>) -> Result<T, StartError>
where
    T: PartialOrd + std::fmt::Display,
{
    if range.contains(&value) {
        return Ok(value);
    }
    let remedy = format!("Choose from {} to {}", range.start(), range.end());
    Err(wrong(flag, format!("{value} is out of range"), remedy))
}

fn wrong(flag: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> StartError {
    StartError::Option { flag, problem: problem.into(), remedy: remedy.into() }
}
