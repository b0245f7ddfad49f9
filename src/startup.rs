//! What can keep the server from starting: each a message of one line that names the cause and the remedy.
//!
//! Also what is decided from the machine's limits before anything is opened: how many fixed buffers and clients there
//! are, and whether the memory suffices ([`MemoryPlan`]). Invariant: nothing here changes the machine, except that
//! [`clear_unix_socket_path`] removes a socket that nobody serves.

mod memory;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

pub use memory::{LONGER_COUNTERS, MemoryPlan, Part, longer_counters_bytes};

use crate::config::{ByteCount, Config};
use crate::host::Host;
use crate::journal::disk::is_full;
use crate::journal::recovery::RecoveryError;
use crate::limits::{FIXED_BUFFER_BYTES, FIXED_BUFFER_COUNT_MAX, FIXED_BUFFER_COUNT_MIN};

/// The oldest kernel that has what the rings are set up with: `IORING_SETUP_SINGLE_ISSUER` came with Linux 6.0.
pub const KERNEL_VERSION_MIN: (u32, u32) = (6, 0);

/// Fixed buffers of a shard when nobody says otherwise.
const FIXED_BUFFER_COUNT_AUTO_MAX: usize = 512;

/// What one fixed buffer counts against `RLIMIT_MEMLOCK`: its pages, since it begins on one.
const FIXED_BUFFER_LOCKED_BYTES: u64 = FIXED_BUFFER_BYTES as u64;

/// Clients that must fit, as in Redis.
const CLIENT_COUNT_MIN: u64 = 32;

/// Descriptors kept for what is no client: standard streams, signals, what is opened for a moment.
const DESCRIPTORS_RESERVED: u64 = 32;

/// Descriptors of a shard beside its clients and listeners: its ring, its event loop, its wake-ups.
const DESCRIPTORS_PER_SHARD: u64 = 8;

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A flag, or the key of that name, has a value that cannot be.
    #[error("--{flag} {problem}. {remedy}")]
    Option {
        /// Its name, without dashes.
        flag: &'static str,
        /// What is wrong with its value; the sentence's verb and the rest.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {error}. Name a readable file with --config", path.display())]
    ConfigUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The configuration file does not say what a configuration can say.
    #[error("{}:{line}: {problem}. Correct the file; `tallyring serve --help` lists the keys", path.display())]
    ConfigInvalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key's name.
        problem: String,
    },
    /// `kernel.io_uring_disabled` is set.
    #[error(
        "io_uring is disabled on this machine (kernel.io_uring_disabled is {value}). Enable it: sysctl kernel.io_uring_disabled=0"
    )]
    RingDisabled {
        /// The setting.
        value: u32,
    },
    /// Something between the process and the kernel refuses the system call.
    #[error(
        "io_uring is blocked ({error}), most likely by the container's seccomp profile. Allow io_uring_setup, io_uring_enter and io_uring_register in it (docker run --security-opt seccomp=PROFILE.json)"
    )]
    RingBlocked {
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel lacks what the rings need.
    #[error("the kernel is too old: this is {release}, Linux {}.{} or newer is needed. Upgrade the kernel", KERNEL_VERSION_MIN.0, KERNEL_VERSION_MIN.1)]
    KernelTooOld {
        /// This kernel.
        release: String,
    },
    /// A ring could not be set up for another reason.
    #[error("cannot set up io_uring: {error}. See io_uring_setup(2) and io_uring_register(2) for what it means")]
    Ring {
        /// What the kernel said.
        error: io::Error,
    },
    /// `RLIMIT_MEMLOCK` does not hold the fixed buffers.
    #[error("too little memory may be locked: the fixed buffers need an RLIMIT_MEMLOCK of {}, it is {}. Raise it (ulimit -l {kib}, or LimitMEMLOCK={kib}K in the systemd unit), or lower --buffers or --threads", ByteCount(*needed_bytes), ByteCount(*limit_bytes), kib = needed_bytes.div_ceil(1_024))]
    MemlockTooLow {
        /// What the limit must be for the fixed buffers of all shards.
        needed_bytes: u64,
        /// What it is.
        limit_bytes: u64,
    },
    /// The kernel refused to lock memory although the limit seemed to suffice. The limit is one for all processes of the
    /// user, and what a process that ended had registered comes back only some 20 ms later.
    #[error(
        "the kernel refuses to lock memory for the fixed buffers ({error}); other programs of this user may have used up RLIMIT_MEMLOCK. Raise it (ulimit -l, or LimitMEMLOCK= in the systemd unit), or lower --buffers or --threads"
    )]
    MemlockUsedUp {
        /// What the kernel said.
        error: io::Error,
    },
    /// Somebody else listens there.
    #[error("{address} is taken by another program. Stop that one, or choose another --{flag}")]
    PortTaken {
        /// Where the server was to listen.
        address: SocketAddr,
        /// The flag that names the port, without dashes.
        flag: &'static str,
    },
    /// Ports below 1024 are privileged.
    #[error(
        "this user may not listen on {address}. Choose a --{flag} of 1024 or more, or grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit)"
    )]
    PortForbidden {
        /// Where the server was to listen.
        address: SocketAddr,
        /// As above.
        flag: &'static str,
    },
    /// The machine does not have the address.
    #[error("this machine has no address {}. Give one of its own to --{} (`ip address` lists them)", address.ip(), bind_flag(flag))]
    AddressUnavailable {
        /// Where the server was to listen.
        address: SocketAddr,
        /// As above.
        flag: &'static str,
    },
    /// Listening failed for another reason.
    #[error("cannot listen on {address}: {error}. Check --{} and --{flag}", bind_flag(flag))]
    Listen {
        /// Where the server was to listen.
        address: SocketAddr,
        /// As above.
        flag: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// Another server answers on the Unix socket.
    #[error("the socket {} is in use by another program. Stop that one, or choose another --unixsocket", path.display())]
    UnixSocketTaken {
        /// The socket.
        path: PathBuf,
    },
    /// The Unix socket cannot be created.
    #[error("cannot create the socket {}: {error}. Name a path in a directory that this user may write with --unixsocket", path.display())]
    UnixSocket {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// `RLIMIT_NOFILE` does not hold the clients.
    #[error(
        "too few file descriptors: {clients} clients and the server itself need {needed}, RLIMIT_NOFILE is {available}. Raise it (ulimit -n {needed}, or LimitNOFILE={needed} in the systemd unit), or lower --maxclients or --threads"
    )]
    TooFewDescriptors {
        /// The clients that were to fit.
        clients: u64,
        /// What they and the server need.
        needed: u64,
        /// The limit.
        available: u64,
    },
    /// Descriptors ran out while starting.
    #[error(
        "out of file descriptors while starting ({error}). Raise RLIMIT_NOFILE (ulimit -n, or LimitNOFILE= in the systemd unit) or the sysctl fs.file-max"
    )]
    DescriptorsUsedUp {
        /// What the kernel said.
        error: io::Error,
    },
    /// Counters and fixed parts together are more than there is.
    #[error("--maxmemory {}, an eighth of it for counters that get longer and {} of fixed parts exceed the memory of {}. Lower --maxmemory to {fitting_bytes} or less, or lower --maxclients, --buffers or --threads", ByteCount(*maxmemory_bytes), ByteCount(*fixed_bytes), ByteCount(*memory_bytes))]
    MaxmemoryTooHigh {
        /// `--maxmemory`.
        maxmemory_bytes: u64,
        /// Everything else.
        fixed_bytes: u64,
        /// What the machine or the control group has.
        memory_bytes: u64,
        /// The `--maxmemory` that would fit.
        fitting_bytes: u64,
    },
    /// Not even the fixed parts fit.
    #[error("the fixed parts need {}, the memory is {}. Lower --maxclients, --buffers or --threads, or give the machine or container more memory", ByteCount(*fixed_bytes), ByteCount(*memory_bytes))]
    MemoryTooSmall {
        /// All but the counters.
        fixed_bytes: u64,
        /// What the machine or the control group has.
        memory_bytes: u64,
    },
    /// Another server has the data directory.
    #[error("the directory {} is used by another server. Stop that one, or choose another --dir", path.display())]
    DataTaken {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory cannot be made, read or written.
    #[error("the data directory {} cannot be used: {error}. {}, or choose another --dir; with --appendonly no the counters live in memory only", path.display(), directory_remedy(error))]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// What is in the data directory cannot be used as it is.
    #[error("{}: {error}. {}", path.display(), data_remedy(path, error))]
    DataDamaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        error: RecoveryError,
    },
    /// What is no server cannot go on.
    #[error("{problem}. {remedy}")]
    Stopped {
        /// What is in the way.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Something else that starting needs.
    #[error("cannot {doing}: {error}. {remedy}")]
    Other {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        error: io::Error,
        /// What to do.
        remedy: &'static str,
    },
}

/// What to do about a directory that cannot be used.
pub fn directory_remedy(error: &io::Error) -> &'static str {
    if is_full(error) { "Make room on that disk" } else { "Let this user write it" }
}

/// What to do about data that cannot be used as they are.
fn data_remedy(path: &Path, error: &RecoveryError) -> String {
    match error {
        RecoveryError::Damaged(damage) => format!(
            "Bring the file back from a copy; or start once with --recover, which {}. {}. `tallyring check {}` names all that it would drop",
            damage.recovery(),
            damage.consequence(),
            path.display()
        ),
        RecoveryError::Io { .. } => "Let this user read it".to_owned(),
        RecoveryError::Format { .. } => {
            "Start the version that has written it, or choose another --dir to start without these counters".to_owned()
        }
        _ => "Bring the file back from a copy, or choose another --dir to start without these counters".to_owned(),
    }
}

impl StartError {
    /// 2 for a wrong flag or configuration, 1 for everything that the machine refuses.
    pub fn exit_code(&self) -> u8 {
        match self {
            StartError::Option { .. } | StartError::ConfigUnreadable { .. } | StartError::ConfigInvalid { .. } => 2,
            _ => 1,
        }
    }
}

/// Why a ring could not be set up, or its buffers not be registered (io_uring_setup(2), io_uring_register(2)).
pub fn classify_ring_error(error: io::Error, host: &Host) -> StartError {
    let too_old = || StartError::KernelTooOld { release: host.kernel_release.clone() };
    match errno(&error) {
        Some(Errno::PERM | Errno::ACCESS) => match host.io_uring_disabled {
            Some(value @ 1..) => StartError::RingDisabled { value },
            _ => StartError::RingBlocked { error },
        },
        Some(Errno::NOSYS | Errno::INVAL) if host.kernel_version() < KERNEL_VERSION_MIN => too_old(),
        Some(Errno::NOSYS) => StartError::RingBlocked { error },
        Some(Errno::NOMEM) => StartError::MemlockUsedUp { error },
        Some(Errno::MFILE | Errno::NFILE) => StartError::DescriptorsUsedUp { error },
        _ => StartError::Ring { error },
    }
}

/// Why `address` could not be listened on (bind(2), ip(7)). `flag` names its port.
pub fn classify_bind_error(error: io::Error, address: SocketAddr, flag: &'static str) -> StartError {
    match errno(&error) {
        Some(Errno::ADDRINUSE) => StartError::PortTaken { address, flag },
        Some(Errno::ACCESS | Errno::PERM) => StartError::PortForbidden { address, flag },
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => StartError::AddressUnavailable { address, flag },
        Some(Errno::MFILE | Errno::NFILE) => StartError::DescriptorsUsedUp { error },
        _ => StartError::Listen { address, flag, error },
    }
}

/// The flag of the address that goes with that of a port.
fn bind_flag(port_flag: &str) -> &'static str {
    if port_flag == "metrics-port" { "metrics-bind" } else { "bind" }
}

/// Why the Unix socket at `path` could not be listened on (unix(7)).
pub fn classify_unix_socket_error(error: io::Error, path: &Path) -> StartError {
    let path = path.to_owned();
    match errno(&error) {
        Some(Errno::ADDRINUSE) => StartError::UnixSocketTaken { path },
        Some(Errno::MFILE | Errno::NFILE) => StartError::DescriptorsUsedUp { error },
        _ => StartError::UnixSocket { path, error },
    }
}

/// Make way for a Unix socket at `path`: remove one that a server which is gone left behind. A socket that answers, and
/// anything that is no socket, stays and is an error.
pub fn clear_unix_socket_path(path: &Path) -> Result<(), StartError> {
    let failed = |error| classify_unix_socket_error(error, path);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(failed(Errno::EXIST.into())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(StartError::UnixSocketTaken { path: path.to_owned() }),
    }
}

/// Fixed buffers of each shard: `--buffers`, or as many as `maxclients` makes useful and `RLIMIT_MEMLOCK` allows.
///
/// The kernel counts what all processes of a user have registered together, so without `--buffers` an eighth of the
/// limit is left alone.
pub fn fixed_buffer_count(config: &Config, host: &Host) -> Result<usize, StartError> {
    let shard_buffer_bytes = config.threads as u64 * FIXED_BUFFER_LOCKED_BYTES;
    let fit = |bytes: u64| usize::try_from(bytes / shard_buffer_bytes).unwrap_or(usize::MAX);
    let asked = config.buffers.map(|count| count as usize);
    match (asked, host.lockable_bytes()) {
        (Some(count), Some(limit_bytes)) if count > fit(limit_bytes) => {
            Err(StartError::MemlockTooLow { needed_bytes: count as u64 * shard_buffer_bytes, limit_bytes })
        }
        (Some(count), _) => {
            assert!((FIXED_BUFFER_COUNT_MIN..=FIXED_BUFFER_COUNT_MAX).contains(&count));
            Ok(count)
        }
        (None, None) => Ok(useful_buffer_count(config)),
        (None, Some(limit_bytes)) => match useful_buffer_count(config).min(fit(limit_bytes - limit_bytes / 8)) {
            count if count < FIXED_BUFFER_COUNT_MIN => {
                let needed_bytes = (FIXED_BUFFER_COUNT_MIN as u64 * shard_buffer_bytes * 8).div_ceil(7);
                Err(StartError::MemlockTooLow { needed_bytes, limit_bytes })
            }
            count => Ok(count),
        },
    }
}

/// Fixed buffers that a shard can use when no limit is in the way: one to receive and one to send for each client.
pub fn useful_buffer_count(config: &Config) -> usize {
    let clients_per_shard = (config.maxclients as usize).div_ceil(config.threads);
    (2 * clients_per_shard).clamp(FIXED_BUFFER_COUNT_MIN, FIXED_BUFFER_COUNT_AUTO_MAX)
}

/// How many clients `RLIMIT_NOFILE` lets in: `asked`, or `default` or fewer when nobody asked.
pub fn client_limit(
    asked: Option<u32>,
    default: u32,
    threads: usize,
    addresses: usize,
    host: &Host,
) -> Result<u32, StartError> {
    let own = DESCRIPTORS_RESERVED + threads as u64 * (DESCRIPTORS_PER_SHARD + addresses as u64);
    let available = host.descriptors.soft.unwrap_or(u64::MAX);
    let too_few = |clients: u64| StartError::TooFewDescriptors { clients, needed: clients + own, available };
    let room = available.saturating_sub(own);
    match asked {
        Some(asked) if u64::from(asked) > room => Err(too_few(asked.into())),
        Some(asked) => Ok(asked),
        None if room < CLIENT_COUNT_MIN => Err(too_few(CLIENT_COUNT_MIN)),
        None => Ok(u32::try_from(room).unwrap_or(u32::MAX).min(default)),
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}
