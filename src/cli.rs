//! The command line: subcommands, and which flags and file a configuration comes from.
//!
//! The flags themselves are [`Options`], which are also the keys of the file. Nothing here knows the machine or checks
//! a value against another; that is [`Config::resolve`](crate::config::Config::resolve).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::bench;
use crate::config::{DATA_DIRECTORY, Options};
use crate::doctor;
use crate::offline::export::{Export, Format};
use crate::offline::import::Import;
use crate::plan;
use crate::startup::StartError;
use crate::tail::Tail;
use crate::top::Top;

const SERVE_EXAMPLES: &str = "\
Examples:
  tallyring serve
  tallyring serve --port 6380 --threads 4 --pin 2-5 --maxmemory 4gb
  tallyring serve --config /etc/tallyring.toml --log-level debug";

const DOCTOR_HELP: &str = "\
Exit codes:
  0  nothing to change that can be told here
  1  the host cannot be examined
  2  wrong flags or configuration
  3  something should be changed: slower or less even than this machine could be
  4  something must be changed: the server does not start, or breaks a promise

Examples:
  tallyring doctor --config /etc/tallyring.toml
  tallyring doctor --pid \"$(pidof tallyring)\" --json
  tallyring doctor --bind 0.0.0.0 --requirepass x --skip virtual-machine,swap";

const CHECK_HELP: &str = "\
It writes nothing and takes no lock, so a server may be at work there.

Exit codes:
  0  all is there and whole
  1  something is damaged, missing or torn: which file, from which byte on, and what a server would do
  2  wrong flags, or the directory cannot be read

Examples:
  tallyring check
  tallyring check /var/lib/tallyring";

const EXPORT_EXAMPLES: &str = "\
Examples:
  tallyring export --format csv --output counters.csv
  tallyring export /var/lib/tallyring --format resp | redis-cli --pipe
  tallyring export --format jsonl | gzip > counters.jsonl.gz";

const IMPORT_EXAMPLES: &str = "\
Strings that are 64-bit integers are taken, with their expiry, from database 0. Everything else is counted and listed.

Examples:
  tallyring import dump.rdb
  tallyring import /var/lib/redis/appendonlydir --dir /var/lib/tallyring";

const TOP_EXAMPLES: &str = "\
Examples:
  tallyring top
  tallyring top 10.0.0.7:6379 --password \"$PASSWORD\"
  tallyring top --once --interval 5";

const TAIL_EXAMPLES: &str = "\
Examples:
  tallyring tail
  tallyring tail 10.0.0.7:6379 --sample 1000
  tallyring tail --match 'user:42:*' --count 10

A server shows at most 64 KiB of such lines of each shard every 20 ms and lets nobody wait for them; how many commands were \
not shown for that is said in lines that begin with #. With --sample they are a fair choice. An argument is cut at 128 bytes.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tallyring completions bash > /etc/bash_completion.d/tallyring
  tallyring completions zsh > \"${fpath[1]}/_tallyring\"
  tallyring completions fish > ~/.config/fish/completions/tallyring.fish";

const BENCH_EXAMPLES: &str = "\
Examples:
  tallyring bench
  tallyring bench --rate 500k --pipeline 16 --duration 60s
  tallyring bench --rate max --pipeline 64 --threads 2 --pin 2-3
  tallyring bench --mix incr=90,get=10 --distribution zipf:0.99
  tallyring bench --command \"INCR user:{key}\" --keys 100000

Exit codes: 0 the numbers hold; 1 the server counted wrongly, answered with errors, or could not be asked; 2 the result \
is inconclusive or partial, or the flags are wrong.";

const PLAN_EXAMPLES: &str = "\
Examples:
  tallyring plan --host db1 --slo 'p99.9<1ms'
  tallyring plan --host db1 --slo 'p99<500us,max<20ms' --mix incr=90,get=10 --connections 200
  tallyring plan --host db1 --peak 3m --growth 30% --nodes-lost 1 --total-keys 200m

It loads the server as far as it goes: run it against one that serves nobody else. Exit codes: 0 the goal is met at the \
rate that was found; 1 it is not met, or the server is wrong or cannot be asked; 2 inconclusive, or the flags are wrong.";

/// A counter server for Linux that speaks the Redis protocol.
#[derive(Debug, Parser)]
#[command(name = "tallyring", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve counters to Redis clients
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Measure a server's throughput and latency, and verify that it counts right
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Box<bench::command::Arguments>),
    /// Find how much traffic a server carries under a goal, and how many servers some traffic takes
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Box<plan::options::Options>),
    /// Examine this host: what of it stands in the server's way, why, and what to do about it
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Box<DoctorArgs>),
    /// Show what a running server does: operations, latencies, shards, memory, commands
    #[command(after_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// Verify a data directory: whether all that should be there is, and whole
    #[command(after_help = CHECK_HELP)]
    Check {
        /// The data directory
        #[arg(value_name = "DIR", default_value = DATA_DIRECTORY)]
        directory: PathBuf,
    },
    /// Write the counters of a data directory as commands, CSV or JSON lines
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Make a data directory of what a Redis has written: dump.rdb, appendonly.aof, appendonlydir
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Print the commands that a server's clients send, as they send them
    #[command(after_help = TAIL_EXAMPLES)]
    Tail(TailArgs),
    /// Print the completions of a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to, such as /usr/local/share/man/man1
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Where a running server is, for the tools that look at it.
#[derive(Args, Debug)]
pub struct Running {
    /// Where the server listens
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:6379")]
    pub server: String,
    /// The server's password; without this flag the environment variable REDISCLI_AUTH is used, which hides it from `ps`
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
}

impl Running {
    /// The password, if one is given anywhere.
    fn password(&self) -> Option<String> {
        let from_environment = || std::env::var("REDISCLI_AUTH").ok();
        self.password.clone().or_else(from_environment).filter(|password| !password.is_empty())
    }
}

/// The flags of `tallyring tail`.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// Which server.
    #[command(flatten)]
    pub running: Running,
    /// Print one of so many commands
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub sample: u32,
    /// Print only commands with a word (name, key or value) that matches this pattern, as for KEYS
    #[arg(long = "match", value_name = "GLOB")]
    pub pattern: Option<String>,
    /// End after so many lines
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
}

impl TailArgs {
    fn tail(self) -> Tail {
        let password = self.running.password();
        Tail { server: self.running.server, password, sample: self.sample, pattern: self.pattern, count: self.count }
    }
}

/// The flags of `tallyring top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Which server.
    #[command(flatten)]
    pub running: Running,
    /// Seconds between two looks, 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
    /// Print what happens in one interval as plain text, and exit
    #[arg(long)]
    pub once: bool,
}

impl TopArgs {
    fn top(self) -> Top {
        let password = self.running.password();
        Top { server: self.running.server, password, interval: self.interval, once: self.once }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3_600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 0.1 to 3600 is needed".to_owned())
}

/// The flags of `tallyring export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The data directory
    #[arg(value_name = "DIR", default_value = DATA_DIRECTORY)]
    pub directory: PathBuf,
    /// How each counter is written
    #[arg(long, value_enum)]
    pub format: Format,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The flags of `tallyring import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Snapshots and append-only files, and directories with such; of a key that two have, the later one counts
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// The data directory to make. One that holds counters is refused
    #[arg(long, value_name = "DIR", default_value = DATA_DIRECTORY)]
    pub dir: PathBuf,
}

/// The flags of `tallyring serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Read options from this TOML file: each key is named as its flag; a flag wins over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// All that can stand in the file too.
    #[command(flatten)]
    pub options: Options,
    /// Print what memory the server would take at most, part by part, and exit
    #[arg(long, help_heading = "Memory")]
    pub print_memory_plan: bool,
}

/// The flags of `tallyring doctor`: its own, and those of the server that is to run here.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Examine for a server with this TOML file; a flag wins over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write JSON: an array with an object for each setting
    #[arg(long, help_heading = "Examination")]
    pub json: bool,
    /// Explain the settings that are well too
    #[arg(long, help_heading = "Examination")]
    pub all: bool,
    /// Leave these settings out, by their names in the output
    #[arg(long, help_heading = "Examination", value_name = "NAME", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Look at the limits of this process, a running server, and not at those of the shell
    #[arg(long, help_heading = "Examination")]
    pub pid: Option<u32>,
    /// Look for proc and sys here, without trying io_uring out
    #[arg(long, value_name = "DIR", hide = true)]
    pub root: Option<PathBuf>,
    /// How the server is to be configured.
    #[command(flatten)]
    pub options: Options,
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// `tallyring serve`, with what the flags and the file say together.
    Serve(Box<Options>),
    /// `tallyring serve --print-memory-plan`, likewise.
    PrintMemoryPlan(Box<Options>),
    /// `tallyring bench`.
    Bench(Box<bench::command::Arguments>),
    /// `tallyring plan`.
    Plan(Box<plan::options::Options>),
    /// `tallyring doctor`.
    Doctor(Box<doctor::Request>),
    /// `tallyring top`.
    Top(Top),
    /// `tallyring check`, of this directory.
    Check(PathBuf),
    /// `tallyring export`.
    Export(Export),
    /// `tallyring import`.
    Import(Import),
    /// `tallyring tail`.
    Tail(Tail),
    /// `tallyring completions`.
    Completions(Shell),
    /// `tallyring man`, into this directory.
    Man(PathBuf),
}

/// Read a command line, the program's name first, and the file that it names.
///
/// As is the custom, `--help`, `--version` and flags that do not parse print their text and end the process, with 0 or
/// 2.
pub fn read<A: Into<OsString> + Clone>(arguments: impl IntoIterator<Item = A>) -> Result<Invocation, StartError> {
    match Cli::command().try_get_matches_from(arguments) {
        Ok(matches) => invocation(&matches),
        Err(error) => error.exit(),
    }
}

/// What parsed flags ask for: reads the file that they name, and lets the flags win over it.
pub fn invocation(matches: &ArgMatches) -> Result<Invocation, StartError> {
    let Cli { command } = Cli::from_arg_matches(matches).expect("the flags were parsed");
    let (_, flags) = matches.subcommand().expect("a subcommand was parsed");
    Ok(match command {
        Command::Serve(serve) => {
            let ServeArgs { config, options, print_memory_plan } = *serve;
            let options = Box::new(with_file(options, config, flags)?);
            if print_memory_plan { Invocation::PrintMemoryPlan(options) } else { Invocation::Serve(options) }
        }
        Command::Doctor(doctor) => {
            let DoctorArgs { config, json, all, skip, pid, root, options } = *doctor;
            let options = with_file(options, config, flags)?;
            Invocation::Doctor(Box::new(doctor::Request { options, json, all, skip, pid, root }))
        }
        Command::Bench(arguments) => Invocation::Bench(arguments),
        Command::Plan(options) => Invocation::Plan(options),
        Command::Top(top) => Invocation::Top(top.top()),
        Command::Check { directory } => Invocation::Check(directory),
        Command::Export(ExportArgs { directory, format, output }) => {
            Invocation::Export(Export { directory, format, output })
        }
        Command::Import(ImportArgs { files, dir }) => Invocation::Import(Import { files, directory: dir }),
        Command::Tail(tail) => Invocation::Tail(tail.tail()),
        Command::Completions { shell } => Invocation::Completions(shell),
        Command::Man { directory } => Invocation::Man(directory),
    })
}

/// What the file at `path` says, where there is one, and what the flags say over it.
fn with_file(options: Options, path: Option<PathBuf>, flags: &ArgMatches) -> Result<Options, StartError> {
    let Some(path) = path else { return Ok(options) };
    let mut options = Options::read_file(&path)?;
    // No flag has a default value of its own, so only those that were given replace what the file says.
    options.update_from_arg_matches(flags).expect("the flags were parsed");
    Ok(options)
}
