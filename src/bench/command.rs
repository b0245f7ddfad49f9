//! `tallyring bench`: runs what the flags ask for, prints what came of it, and writes the files that are wanted.
//!
//! Exit codes: 0 the numbers hold; 1 the server counted wrongly, answered with errors or could not be asked; 2 the
//! result is inconclusive or partial, or the flags are wrong. Of several runs the worst counts.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::flags::wrong;
use super::hlog::Log;
use super::options::Options;
use super::result::{RunResult, Verdict};
use super::run::{self, BenchError, Limit, Run};
use super::target::Address;
use super::watch::{Interruption, Terminal};
use super::{compare, csv, file, hgrm, html, merge, table};
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
    /// Compare the runs of two JSON files (--repeat makes several); exit code 0 if B is not worse than A, 1 if it is, 2
    /// if there are too few runs to tell
    Compare {
        /// The runs to compare with
        a: PathBuf,
        /// The runs that are compared
        b: PathBuf,
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

    /// Run against this server too, taking turns, and compare the two
    #[arg(long, help_heading = "Repetitions", value_name = "HOST:PORT")]
    pub vs: Option<String>,

    /// Write all runs here, for `bench compare` and for programs; those of --vs beside it, as FILE with .vs in its name
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a report with plots here, one page; as all files below a file for each run, the second with .2 in its name
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// Write a line for each second here
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub csv: Option<PathBuf>,

    /// Write the response times here, as HdrHistogram's plotter reads them
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub hgrm: Option<PathBuf>,

    /// Write the histograms of each second here, as HistogramLogProcessor reads them
    #[arg(long, help_heading = "Files", value_name = "FILE")]
    pub hlog: Option<PathBuf>,
}

/// Why the program ends without having done what it was asked for.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Flags(#[from] StartError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    #[error("cannot write {}: {problem}", path.display())]
    Write { path: PathBuf, problem: String },
    /// A file that cannot be read, in words.
    #[error("{0}")]
    Read(String),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Flags(error) => error.exit_code(),
            Failure::Bench(error) => error.exit_code(),
            Failure::Write { .. } => 1,
            Failure::Read(_) => 2,
        }
    }
}

/// Carry out `tallyring bench`.
pub fn execute(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.instead {
        Some(Instead::Compare { a, b }) => compare_files(a, b),
        Some(Instead::Merge { logs, hlog }) => merge_files(logs, hlog.as_deref()),
        None => measure(&arguments.options, &arguments.outputs),
    };
    let code = done.unwrap_or_else(|failure| {
        eprintln!("tallyring: {failure}");
        failure.exit_code()
    });
    ExitCode::from(code)
}

fn compare_files(a: &Path, b: &Path) -> Result<u8, Failure> {
    let comparison = compare::compare(&file::read(a).map_err(Failure::Read)?, &file::read(b).map_err(Failure::Read)?);
    print!("{}", comparison.table());
    Ok(comparison.exit_code())
}

fn merge_files(logs: &[PathBuf], hlog: Option<&Path>) -> Result<u8, Failure> {
    let merged = merge::read(logs).map_err(Failure::Read)?;
    print!("{}", merge::table(&merged).map_err(Failure::Read)?);
    if let Some(path) = hlog {
        write_log(path, &merged)?;
    }
    Ok(0)
}

fn measure(options: &Options, outputs: &Outputs) -> Result<u8, Failure> {
    host::raise_soft_limits();
    outputs.try_files()?;
    let run = options.resolve(&Host::read(), std::env::args().collect())?;
    let mut sides = vec![Side { run: run.clone(), name: None, results: Vec::new() }];
    if let Some(vs) = &outputs.vs {
        let mut other = run;
        other.target.address = other_address(vs)?;
        sides.push(Side { run: other, name: Some("vs"), results: Vec::new() });
    }
    let interruption = Interruption::listen();
    for repetition in 0..outputs.repeat {
        // Each side is first in its turn, in case it matters who comes after whom.
        let mut order: Vec<usize> = (0..sides.len()).collect();
        let first = repetition as usize % order.len();
        order.rotate_left(first);
        for side in order {
            sides[side].measure(repetition, outputs, &interruption)?;
            if interruption.came() {
                break;
            }
        }
        if interruption.came() {
            break;
        }
    }
    for side in &sides {
        if let Some(path) = &outputs.json {
            write(&named(path, side.name, 0), file::json(&side.results))?;
        }
    }
    let mut code = worst(sides.iter().flat_map(|side| &side.results));
    if let [side, other] = &sides[..]
        && !side.results.is_empty()
        && !other.results.is_empty()
    {
        println!("A is {}, B is {}", side.run.target.address, other.run.target.address);
        print!("{}", compare::compare(&side.results, &other.results).table());
    }
    if sides.iter().any(|side| side.results.len() < outputs.repeat as usize) {
        eprintln!("tallyring: interrupted: not all runs were made");
        code = code.max(2);
    }
    Ok(code)
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
        if !self.results.is_empty() || outputs.vs.is_some() {
            println!();
        }
        print!("{}", table::table(&result));
        outputs.write_files(&result, self.name, repetition)?;
        self.results.push(result);
        Ok(())
    }
}

/// The exit code of all runs together.
fn worst<'a>(results: impl Iterator<Item = &'a RunResult>) -> u8 {
    let mut code = 0;
    for result in results {
        match (result.verdict.exit_code(), code) {
            // A server that is wrong is worse than a run that says nothing.
            (1, _) | (_, 1) => code = 1,
            (other, _) => code = code.max(other),
        }
        debug_assert!(code != 0 || result.verdict == Verdict::Ok);
    }
    code
}

fn other_address(vs: &str) -> Result<Address, StartError> {
    let parsed = vs.rsplit_once(':').and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)));
    let (host, port) = parsed.ok_or_else(|| wrong("vs", &format!("{vs} is not HOST:PORT"), "Give both"))?;
    Address::resolve(host, port)
        .map_err(|error| wrong("vs", &format!("{host} is not found ({error})"), "Give a host that is"))
}

impl Outputs {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.json, &self.html, &self.csv, &self.hgrm, &self.hlog].into_iter().flatten()
    }

    /// Better now than after the run: whether the files can be written.
    fn try_files(&self) -> Result<(), Failure> {
        for path in self.files() {
            File::options().append(true).create(true).open(path).map_err(|error| cannot_write(path, error))?;
        }
        Ok(())
    }

    fn write_files(&self, result: &RunResult, side: Option<&str>, repetition: u32) -> Result<(), Failure> {
        let named = |path: &PathBuf| named(path, side, repetition);
        let unreadable = |path: &Path, problem: String| Failure::Write { path: path.to_owned(), problem };
        if let Some(path) = self.html.as_ref().map(named) {
            write(&path, html::html(result).map_err(|problem| unreadable(&path, problem))?)?;
        }
        if let Some(path) = self.csv.as_ref().map(named) {
            write(&path, csv::per_second(result).map_err(|problem| unreadable(&path, problem))?)?;
        }
        if let Some(path) = self.hgrm.as_ref().map(named) {
            write(&path, hgrm::hgrm(&result.latency.response))?;
        }
        if let Some(path) = self.hlog.as_ref().map(named) {
            write_log(&path, &Log::of(result).map_err(|problem| unreadable(&path, problem))?)?;
        }
        Ok(())
    }
}

/// `out.json` for the first run of the first server; `out.vs.2.json` for the second of the other one.
fn named(path: &Path, side: Option<&str>, repetition: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    if let Some(side) = side {
        name.push(format!(".{side}"));
    }
    if repetition > 0 {
        name.push(format!(".{}", repetition + 1));
    }
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn write(path: &Path, text: String) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| cannot_write(path, error))
}

fn write_log(path: &Path, log: &Log) -> Result<(), Failure> {
    let file = File::create(path).map_err(|error| cannot_write(path, error))?;
    log.write(&mut BufWriter::new(file)).map_err(|error| cannot_write(path, error))
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::Write { path: path.to_owned(), problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_file_of_its_own() {
        let name = |side, repetition| named(Path::new("/x/out.json"), side, repetition).display().to_string();
        assert_eq!(name(None, 0), "/x/out.json");
        assert_eq!(name(None, 1), "/x/out.2.json");
        assert_eq!(name(Some("vs"), 0), "/x/out.vs.json");
        assert_eq!(name(Some("vs"), 2), "/x/out.vs.3.json");
        assert_eq!(named(Path::new("out"), None, 1), Path::new("out.2"));
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
