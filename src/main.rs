//! The `tallyring` binary: which subcommand, and how the process ends.
//!
//! Exit codes: 0 all went well; 1 the machine refuses (one line on standard error: cause and remedy); 2 wrong flags or
//! configuration. `doctor` has two more for what it finds, and `bench` and `check` their own ([`tallyring::bench::command`],
//! [`tallyring::offline::check`]).

use std::process::ExitCode;

use tallyring::cli::{self, Invocation};
use tallyring::config::{Config, Options};
use tallyring::host::{self, Host};
use tallyring::startup::{MemoryPlan, StartError};
use tallyring::{bench, doctor, logging, offline, pages, plan, server, tail, top};

fn main() -> ExitCode {
    let done = cli::read(std::env::args_os()).and_then(|invocation| match invocation {
        Invocation::Serve(options) => serve(*options).map(|()| ExitCode::SUCCESS),
        Invocation::PrintMemoryPlan(options) => print_memory_plan(*options).map(|()| ExitCode::SUCCESS),
        Invocation::Doctor(request) => {
            host::raise_soft_limits();
            doctor::run(*request).map(ExitCode::from)
        }
        Invocation::Top(top) => top::run(&top).map(|()| ExitCode::SUCCESS),
        Invocation::Tail(tail) => tail::run(&tail).map(|()| ExitCode::SUCCESS),
        Invocation::Completions(shell) => pages::print_completions(shell).map(|()| ExitCode::SUCCESS),
        Invocation::Man(directory) => pages::write_manual(&directory).map(|()| ExitCode::SUCCESS),
        Invocation::Check(directory) => Ok(ExitCode::from(offline::check::run(&directory))),
        Invocation::Export(export) => offline::export::run(&export).map(|()| ExitCode::SUCCESS),
        Invocation::Import(import) => offline::import::run(&import).map(|()| ExitCode::SUCCESS),
        Invocation::Bench(arguments) => Ok(bench::command::execute(&arguments)),
        Invocation::Plan(options) => Ok(plan::execute::execute(&options)),
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tallyring: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn print_memory_plan(options: Options) -> Result<(), StartError> {
    host::raise_soft_limits();
    let config = Config::resolve(options, &Host::read())?;
    config.warnings.iter().for_each(|warning| eprintln!("tallyring: {warning}"));
    println!("{}", MemoryPlan::new(&config));
    Ok(())
}

fn serve(options: Options) -> Result<(), StartError> {
    host::raise_soft_limits();
    let config = Config::resolve(options, &Host::read())?;
    logging::start(config.log_level);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    server::run(config)
}
