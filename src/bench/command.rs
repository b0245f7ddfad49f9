//! `tallyring bench`: runs what the flags ask for, prints what came of it, and writes the files that are wanted.
//!
//! Exit codes: 0 the numbers hold; 1 the server counted wrongly, answered with errors or could not be asked; 2 the
//! result is inconclusive or partial, the flags are wrong, or a file cannot be written. Of several runs the worst counts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::flags::{command_line, wrong};
use super::options::Options;
use super::result::RunResult;
use super::run::{self, BenchError, Limit, Run};
use super::target::Address;
use super::watch::{Interruption, Terminal};
use super::written::{Files, OTHER_SIDE, WriteError, is_same_file, print, say, write_log};
use super::{compare, file, merge, table};
use crate::host::{self, Host};
use crate::startup::StartError;

/// Everything that `tallyring bench` can be given.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Instead of a run.
    #[command(subcommand)]
    pub instead: Option<Instead>,
    /// The run.
    #[command(flatten)]
    pub options: Options,
    /// How often, and what is kept.
    #[command(flatten)]
    pub outputs: Outputs,
}

/// What can be done with runs that have been made.
#[derive(Debug, Subcommand)]
pub enum Instead {
    /// Compare the runs of two JSON files (--repeat makes several); exit code 0 if B is not worse than A, 1 if it is or its
    /// server was wrong, 2 if there are too few runs to tell, or they cannot be compared
    Compare {
        /// The runs to compare with
        a: PathBuf,
        /// The runs that are compared
        b: PathBuf,
        /// Compare them although they were asked for different things; the differences are named
        #[arg(long)]
        different_workloads: bool,
    },
    /// Add up the histograms of several machines' .hlog files, and print the percentiles of the sum
    Merge {
        /// What --hlog wrote
        #[arg(required = true)]
        logs: Vec<PathBuf>,
        /// Write the sum here
        #[arg(long, value_name = "FILE")]
        hlog: Option<PathBuf>,
    },
}

/// The flags about repetitions and files.
#[derive(Args, Clone, Debug)]
pub struct Outputs {
    /// Run so many times
    #[arg(long, help_heading = "Repetitions", default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub repeat: u32,

    /// Run against this server too, taking turns, and compare the two. The exit code is that of the runs; `bench compare` of
    /// the two --json files has the comparison's
    #[arg(long, help_heading = "Repetitions", value_name = "HOST:PORT")]
    pub vs: Option<String>,

    /// What is kept.
    #[command(flatten)]
    pub files: Files,
}

/// Why the program ends without having done what it was asked for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Flags(#[from] StartError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A file that cannot be read, in words.
    #[error("{0}")]
    Read(String),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Flags(error) => error.exit_code(),
            Failure::Bench(error) => error.exit_code(),
            Failure::Write(_) | Failure::Read(_) => 2,
        }
    }
}

/// Carry out `tallyring bench`.
pub fn execute(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.instead {
        Some(Instead::Compare { a, b, different_workloads }) => compare_files(a, b, *different_workloads),
        Some(Instead::Merge { logs, hlog }) => merge_files(logs, hlog.as_deref()),
        None => measure(&arguments.options, &arguments.outputs),
    };
    let code = done.unwrap_or_else(|failure| {
        say(&format!("tallyring: {failure}"));
        failure.exit_code()
    });
    ExitCode::from(code)
}

fn compare_files(a: &Path, b: &Path, different_workloads: bool) -> Result<u8, Failure> {
    let (a, b) = (file::read(a).map_err(Failure::Read)?, file::read(b).map_err(Failure::Read)?);
    let comparison = compare::compare(&a, &b, different_workloads);
    print(&comparison.table())?;
    Ok(comparison.exit_code())
}

fn merge_files(logs: &[PathBuf], hlog: Option<&Path>) -> Result<u8, Failure> {
    if let Some((path, input)) = hlog.and_then(|path| Some((path, logs.iter().find(|log| is_same_file(log, path))?))) {
        let problem = format!("{} is {}, which is to be merged", path.display(), input.display());
        return Err(wrong("hlog", &problem, "Give the sum a file of its own").into());
    }
    let (merged, totals) = merge::read(logs).map_err(Failure::Read)?;
    print(&merge::table(totals))?;
    if let Some(path) = hlog {
        write_log(path, &merged)?;
    }
    Ok(0)
}

fn measure(options: &Options, outputs: &Outputs) -> Result<u8, Failure> {
    host::raise_soft_limits();
    let files = &outputs.files;
    files.check_distinct(outputs.repeat, outputs.vs.is_some())?;
    let _tried = files.try_all()?;
    let run = options.resolve(&Host::read(), command_line())?;
    let mut sides = vec![Side { run: run.clone(), name: None, results: Vec::new() }];
    if let Some(vs) = &outputs.vs {
        let mut other = run;
        other.target.address = other_address(vs)?;
        sides.push(Side { run: other, name: Some(OTHER_SIDE), results: Vec::new() });
    }
    let ended = take_turns(&mut sides, outputs);
    let mut code = worst(sides.iter().flat_map(|side| &side.results).map(|result| result.verdict.exit_code()));
    let made_count: usize = sides.iter().map(|side| side.results.len()).sum();
    let wanted_count = sides.len() * outputs.repeat as usize;
    if let Err(failure) = ended {
        if made_count == 0 {
            return Err(failure);
        }
        say(&format!("tallyring: {failure}"));
        code = worst([code, failure.exit_code()].into_iter());
    }
    // What was found is kept, whatever ended the runs.
    for side in &sides {
        files.write_runs(&side.results, side.name)?;
    }
    if let [side, other] = &sides[..]
        && !side.results.is_empty()
        && !other.results.is_empty()
    {
        let addresses = format!("A is {}, B is {}\n", side.run.target.address, other.run.target.address);
        print(&(addresses + &compare::compare(&side.results, &other.results, false).table()))?;
    }
    if made_count < wanted_count {
        say(&format!("tallyring: not all runs were made: {made_count} of {wanted_count}"));
        code = worst([code, 2].into_iter());
    }
    Ok(code)
}

/// Run as often as is wanted, or until one run fails or somebody interrupts.
fn take_turns(sides: &mut [Side], outputs: &Outputs) -> Result<(), Failure> {
    let interruption = Interruption::listen();
    for repetition in 0..outputs.repeat {
        // Each side is first in its turn, in case it matters who comes after whom.
        let mut order: Vec<usize> = (0..sides.len()).collect();
        let first = repetition as usize % order.len();
        order.rotate_left(first);
        for side in order {
            sides[side].measure(repetition, outputs, &interruption)?;
            if interruption.came() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// One of the servers that take turns.
struct Side {
    run: Run,
    /// What its files are called by.
    name: Option<&'static str>,
    results: Vec<RunResult>,
}

impl Side {
    fn measure(&mut self, repetition: u32, outputs: &Outputs, interruption: &Interruption) -> Result<(), Failure> {
        let address = &self.run.target.address;
        let label = match (outputs.repeat, outputs.vs.is_some()) {
            (1, false) => String::new(),
            (1, true) => format!("{address}  "),
            (count, false) => format!("run {}/{count}  ", repetition + 1),
            (count, true) => format!("{address} run {}/{count}  ", repetition + 1),
        };
        let length = match self.run.limit {
            Limit::Time(time) => Some(time),
            Limit::Requests(_) => None,
        };
        let mut terminal = Terminal { interruption: interruption.clone(), label, length };
        // Repetitions of the same requests would be less different than repetitions are.
        let run = Run { seed: self.run.seed + u64::from(repetition), ..self.run.clone() };
        let result = run::run(&run, &mut terminal)?;
        let gap = if !self.results.is_empty() || outputs.vs.is_some() { "\n" } else { "" };
        let table = format!("{gap}{}", table::table(&result));
        self.results.push(result);
        print(&table)?;
        outputs.files.write_run(self.results.last().expect("just made"), self.name, repetition)?;
        Ok(())
    }
}

/// The exit code of all together: a server that is wrong is worse than a run that says nothing.
fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    codes.fold(0, |worst, code| if worst == 1 || code == 1 { 1 } else { worst.max(code) })
}

fn other_address(vs: &str) -> Result<Address, StartError> {
    let parsed = vs.rsplit_once(':').and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
    let (host, port) = parsed.ok_or_else(|| wrong("vs", &format!("{vs} is not HOST:PORT"), "Give both"))?;
    Address::resolve(host, port)
        .map_err(|error| wrong("vs", &format!("{host} is not found ({error})"), "Give a host that is"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_code_counts() {
        let worst = |codes: &[u8]| super::worst(codes.iter().copied());
        assert_eq!([worst(&[]), worst(&[0, 0]), worst(&[0, 2]), worst(&[2, 1, 2])], [0, 0, 2, 1]);
    }

    #[test]
    fn the_other_server_is_found() {
        let address = |text| other_address(text).map(|address| address.to_string());
        assert_eq!(address("127.0.0.1:7000").unwrap(), "127.0.0.1:7000");
        assert_eq!(address("[::1]:7000").unwrap(), "[::1]:7000");
        for wrong in ["127.0.0.1", "x:y", ":", "127.0.0.1:70000"] {
            assert_eq!(address(wrong).unwrap_err().exit_code(), 2);
        }
    }
}
