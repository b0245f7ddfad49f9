//! The command line: subcommands, and which flags and file a configuration comes from.
//!
//! The flags themselves are [`Options`], which are also the keys of the file. Nothing here knows the machine or checks
//! a value against another; that is [`Config::resolve`](crate::config::Config::resolve).

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::bench;
use crate::config::Options;
use crate::plan;
use crate::startup::StartError;

const SERVE_EXAMPLES: &str = "\
Examples:
  tallyring serve
  tallyring serve --port 6380 --threads 4 --pin 2-5 --maxmemory 4gb
  tallyring serve --config /etc/tallyring.toml --log-level debug";

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
  tallyring plan --host db1 --peak 3m --growth 30% --nodes-lost 1 --total-keys 200000000

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
    let serve = match Cli::from_arg_matches(matches).expect("the flags were parsed").command {
        Command::Serve(serve) => serve,
        Command::Bench(options) => return Ok(Invocation::Bench(options)),
        Command::Plan(options) => return Ok(Invocation::Plan(options)),
    };
    let mut options = Box::new(serve.options);
    if let Some(path) = serve.config {
        *options = Options::read_file(&path)?;
        let (_, flags) = matches.subcommand().expect("a subcommand was parsed");
        // No flag has a default value of its own, so only those that were given replace what the file says.
        options.update_from_arg_matches(flags).expect("the flags were parsed");
    }
    Ok(if serve.print_memory_plan { Invocation::PrintMemoryPlan(options) } else { Invocation::Serve(options) })
}
