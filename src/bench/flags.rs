//! The flags that every load has, of `bench` and of `plan`: who is asked, with what, by how many connections and threads.
//!
//! [`Flags::run`] makes a checked [`Run`] of them and of when the requests are sent; nothing is opened yet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::count;
use super::distribution::Distribution;
use super::mix::Mix;
use super::result::Load;
use super::run::{Limit, Run};
use super::target::{Address, Target};
use super::trace::Trace;
use crate::config::{Auto, Password, PinChoice, YesNo, ranges};
use crate::host::Host;
use crate::limits::{LOAD_BATCH_BYTES_MAX, LOAD_CONNECTION_COUNT_MAX, LOAD_PIPELINE_MAX, LOAD_THREAD_COUNT_MAX};
use crate::startup::StartError;

/// Descriptors that are needed beside those of the connections.
const DESCRIPTORS_RESERVED: u64 = 64;

/// What stands for a password in a result.
pub(super) const HIDDEN: &str = "(hidden)";

/// See the module.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    /// The server's host
    #[arg(long, help_heading = "Server", default_value = "127.0.0.1", value_name = "HOST")]
    pub host: String,

    /// The server's port
    #[arg(short, long, help_heading = "Server", default_value_t = 6_379)]
    pub port: u16,

    /// Connect to this Unix socket instead
    #[arg(short = 's', long, help_heading = "Server", value_name = "PATH", conflicts_with_all = ["host", "port", "cluster"])]
    pub unixsocket: Option<PathBuf>,

    /// The password, or USER:PASSWORD; $TALLYRING_AUTH hides it from `ps`
    #[arg(
        short = 'a',
        long,
        help_heading = "Server",
        value_name = "PASSWORD",
        env = "TALLYRING_AUTH",
        hide_env_values = true
    )]
    pub auth: Option<Password>,

    /// The protocol
    #[arg(long, help_heading = "Server", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub resp: u8,

    /// The server is a cluster: send each key to the node that owns it
    #[arg(long, help_heading = "Server")]
    pub cluster: bool,

    /// Connections
    #[arg(short, long, help_heading = "Load", default_value_t = 50, value_name = "COUNT")]
    pub connections: usize,

    /// Requests that a connection sends at once
    #[arg(short = 'P', long, help_heading = "Load", default_value_t = 1, value_name = "DEPTH")]
    pub pipeline: usize,

    /// Different keys: 100000, 100k, 10m
    #[arg(long, help_heading = "Requests", default_value_t = 1_000_000, value_name = "COUNT", value_parser = count::within(1..=u32::MAX))]
    pub keys: u32,

    /// Bytes of a key
    #[arg(long, help_heading = "Requests", default_value_t = 16, value_name = "BYTES")]
    pub key_size: usize,

    /// How keys are chosen: uniform, zipf:THETA, hotspot[:KEYS%:REQUESTS%], sequential, latest
    #[arg(long, help_heading = "Requests", default_value = "uniform", value_name = "DISTRIBUTION")]
    pub distribution: Distribution,

    /// Commands and their weights: incr, get, set, mget:KEYS, mincrby:KEYS, expiring or expiring:SECONDS, ping
    #[arg(long, help_heading = "Requests", default_value = "incr", value_name = "MIX")]
    pub mix: String,

    /// Send this command instead, {key} standing for a key's number: "INCR user:{key}". Several are sent equally often
    #[arg(long, help_heading = "Requests", value_name = "COMMAND", conflicts_with_all = ["mix", "key_size"])]
    pub command: Vec<String>,

    /// What random choices begin from: the same seed gives the same requests
    #[arg(long, help_heading = "Requests", default_value_t = 1)]
    pub seed: u64,

    /// Verify that the counters grow by what was acknowledged: yes or no
    #[arg(long, help_heading = "Requests", default_value = "yes", value_name = "YES|NO")]
    pub verify: YesNo,

    /// Threads, each with its own ring; auto is one for every two cores
    #[arg(short, long, help_heading = "Generator", default_value = "auto", value_name = "COUNT")]
    pub threads: Auto<usize>,

    /// Pin the threads to cores: none, auto, or a list such as 0,2-5
    #[arg(long, help_heading = "Generator", default_value = "none", value_name = "CORES")]
    pub pin: PinChoice,

    /// Never let the threads sleep: requests leave more punctually, for cores that are always busy
    #[arg(long, help_heading = "Generator")]
    pub busy_poll: bool,
}

/// When the requests of a run are sent.
#[derive(Debug)]
pub struct Shape {
    /// At which times.
    pub load: Load,
    /// How long.
    pub limit: Limit,
    /// What is not measured, before that.
    pub warmup: Duration,
    /// What is replayed instead of the commands of the flags, with its own.
    pub trace: Option<(Trace, Mix)>,
}

impl Flags {
    /// The run that the flags describe. `command_line` is the program and its arguments, as given.
    ///
    /// # Errors
    /// Values that do not go together, or that the machine does not allow.
    pub fn run(&self, shape: Shape, host: &Host, command_line: Vec<String>) -> Result<Run, StartError> {
        let threads = self.thread_count(host)?;
        let Shape { load, limit, warmup, trace } = shape;
        let replays = trace.is_some();
        let (trace, mix) = match trace {
            Some((trace, mix)) => (Some(Arc::new(trace)), mix),
            None => (None, self.mix()?),
        };
        if !replays {
            self.check_batches(&mix)?;
        }
        Ok(Run {
            target: self.target()?,
            cluster: self.cluster,
            load,
            limit,
            warmup,
            connections: self.connections,
            threads,
            pin: self.cores(host, threads)?,
            busy_poll: self.busy_poll,
            pipeline: if replays { 1 } else { self.pipeline },
            key_bytes: if replays { 0 } else { mix.key_bytes() },
            mix: Arc::new(mix),
            trace,
            distribution: self.distribution,
            key_count: if replays { 1 } else { self.keys },
            seed: self.seed,
            verify: self.verify.0,
            tolerances: Vec::new(),
            command_line: self.without_password(command_line),
        })
    }

    fn mix(&self) -> Result<Mix, StartError> {
        let (flag, mix) = match &self.command[..] {
            [] if self.cluster => ("mix", Mix::parse_for_cluster(&self.mix, self.keys, self.key_size)),
            [] => ("mix", Mix::parse(&self.mix, self.keys, self.key_size)),
            commands => ("command", Mix::of_commands(commands, self.keys)),
        };
        let mix = mix.map_err(|problem| wrong(flag, &problem, "See `tallyring bench --help`"))?;
        match mix.templates().iter().find(|template| self.cluster && !template.is_of_one_slot()) {
            None => Ok(mix),
            Some(template) => Err(wrong(
                "command",
                &format!("{} has keys that are not all of one slot, as --cluster wants them", template.tag),
                "Name them with a common tag: \"MGET {user}a:{key} {user}b:{key}\"",
            )),
        }
    }

    fn thread_count(&self, host: &Host) -> Result<usize, StartError> {
        in_range("connections", self.connections, LOAD_CONNECTION_COUNT_MAX)?;
        in_range("pipeline", self.pipeline, LOAD_PIPELINE_MAX)?;
        let available = host.descriptors.soft.unwrap_or(u64::MAX).saturating_sub(DESCRIPTORS_RESERVED);
        if self.connections as u64 > available {
            return Err(wrong(
                "connections",
                &format!(
                    "{} is more than the {available} descriptors that this process may still open",
                    self.connections
                ),
                "Raise the limit (ulimit -n), or choose fewer",
            ));
        }
        let auto = host.cores.len().div_ceil(2).min(self.connections);
        let threads = self.threads.given().unwrap_or(auto);
        in_range("threads", threads, LOAD_THREAD_COUNT_MAX.min(self.connections))?;
        Ok(threads)
    }

    fn cores(&self, host: &Host, threads: usize) -> Result<Vec<usize>, StartError> {
        let cores = match &self.pin {
            PinChoice::None => return Ok(Vec::new()),
            PinChoice::Auto => host.cores.clone(),
            PinChoice::Cores(cores) => cores.clone(),
        };
        if let Some(core) = cores.iter().find(|core| !host.cores.contains(core)) {
            let problem = format!("{core} is not a core that this process may use ({})", ranges(&host.cores));
            return Err(wrong("pin", &problem, "Choose from those"));
        }
        if cores.len() < threads {
            let problem = format!("names {} cores for {threads} threads", cores.len());
            return Err(wrong("pin", &problem, "Name more, or choose fewer --threads"));
        }
        Ok(cores)
    }

    /// A batch is sent before its replies are read, so it must fit what lies between the two.
    fn check_batches(&self, mix: &Mix) -> Result<(), StartError> {
        let batch_bytes = self.pipeline * mix.request_bytes_max();
        if batch_bytes > LOAD_BATCH_BYTES_MAX {
            let problem = format!(
                "{} sends {batch_bytes} bytes at once with these commands, more than {LOAD_BATCH_BYTES_MAX}",
                self.pipeline
            );
            return Err(wrong("pipeline", &problem, "Choose a smaller one, or fewer keys a command"));
        }
        Ok(())
    }

    fn target(&self) -> Result<Target, StartError> {
        let address = match &self.unixsocket {
            Some(path) => Address::Unix(path.clone()),
            None => Address::resolve(&self.host, self.port).map_err(|error| {
                wrong("host", &format!("{} is not found ({error})", self.host), "Give a name or an address that is")
            })?,
        };
        let auth = self.auth.as_ref().map(|auth| match auth.split_once(':') {
            Some((user, password)) => (Some(user.to_owned()), Password::from(password)),
            None => (None, auth.clone()),
        });
        Ok(Target { address, auth, resp: self.resp })
    }

    /// A result goes to files and colleagues.
    fn without_password(&self, command_line: Vec<String>) -> Vec<String> {
        let Some(password) = self.auth.as_deref().filter(|password| !password.is_empty()) else { return command_line };
        let mut is_next = false;
        let hidden = command_line.into_iter().map(|argument| {
            let is_value = std::mem::replace(&mut is_next, argument == "--auth" || argument == "-a");
            // `-apw`, `--auth=pw`.
            let is_joined = argument.starts_with("-a") || argument.starts_with("--auth=");
            if is_value || is_joined { argument.replace(password, HIDDEN) } else { argument }
        });
        hidden.collect()
    }
}

/// The program and its arguments, as given; what is no text is shown as well as it can be.
pub fn command_line() -> Vec<String> {
    std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// A flag whose value cannot be.
pub fn wrong(flag: &'static str, problem: &str, remedy: &str) -> StartError {
    StartError::Option { flag, problem: problem.to_owned(), remedy: remedy.to_owned() }
}

fn in_range(flag: &'static str, count: usize, max: usize) -> Result<(), StartError> {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(wrong(flag, &format!("{count} is out of range"), &format!("Choose from 1 to {max}")))
}
