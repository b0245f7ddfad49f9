//! From what was written to what the server runs by: defaults, every value and every combination checked, and the whole
//! fitted to the machine.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::{
    AppendFsync, Auto, BusyPoll, ByteCount, Config, DATA_DIRECTORY, LogLevel, MAXCLIENTS_DEFAULT, Options, PinChoice,
};
use crate::host::Host;
use crate::limits::{
    ARGUMENT_BYTES_MAX, FIXED_BUFFER_BYTES, FIXED_BUFFER_COUNT_MAX, FIXED_BUFFER_COUNT_MIN, SHARD_COUNT_MAX,
    SLOWLOG_COUNT_MAX,
};
use crate::startup::{self, MemoryPlan, StartError};

/// What stalled clients may leave over when nobody says, and what a shard's share must be at least.
const MAXMEMORY_CLIENTS_DEFAULT_BYTES: u64 = 64 << 20;
const PARKED_BYTES_PER_SHARD_MIN: u64 = 4 * FIXED_BUFFER_BYTES as u64;

/// Most seconds that `TCP_KEEPIDLE` takes (tcp(7), `MAX_TCP_KEEPIDLE`).
pub const TCP_KEEPALIVE_MAX_S: u32 = 32_767;

/// Longest path of a Unix socket, in bytes: `sun_path` less its end (unix(7)).
const UNIX_PATH_BYTES_MAX: usize = 107;

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
        check_metrics(&metrics_bind, metrics_port)?;
        if overlap(&metrics_bind, &bind) {
            check_metrics_port(metrics_port, port, if cluster_enabled { threads } else { 0 })?;
        }
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
            busy_poll: options.busy_poll.unwrap_or(BusyPoll::Auto),
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
        if let Some(other) = earlier.iter().find(|other| includes(**other, *address)) {
            let problem = format!("names {other} and {address}, one of which includes the other");
            return Err(wrong(flag, problem, "Name only the wider one"));
        }
    }
    Ok(())
}

/// Whether one port cannot be listened on at both: they are the same, or one is all addresses of the other's family. (An
/// IPv6 socket takes no IPv4.)
fn includes(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
}

fn overlap(some: &[IpAddr], others: &[IpAddr]) -> bool {
    some.iter().any(|one| others.iter().any(|other| includes(*one, *other)))
}

fn check_metrics(addresses: &[IpAddr], metrics_port: u16) -> Result<(), StartError> {
    check_addresses("metrics-bind", addresses)?;
    if metrics_port != 0 && addresses.is_empty() {
        let problem = "names no address, though there is a --metrics-port";
        return Err(wrong("metrics-bind", problem, "Name an address such as 127.0.0.1, or leave both out"));
    }
    Ok(())
}

/// Where the metrics share an address with the clients they have a port of their own: neither `port`, nor one of those of
/// `direct_count` shards behind it.
fn check_metrics_port(metrics_port: u16, port: u16, direct_count: usize) -> Result<(), StartError> {
    // 0 is no metrics there, and any free port here.
    if metrics_port == 0 || port == 0 || metrics_port < port {
        return Ok(());
    }
    let problem = match usize::from(metrics_port - port) {
        0 => format!("is {port}, as --port"),
        behind if behind <= direct_count => {
            format!("is {metrics_port}, the port of shard {} with --cluster-enabled and --port {port}", behind - 1)
        }
        _ => return Ok(()),
    };
    Err(wrong("metrics-port", problem, "Choose another for either"))
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
