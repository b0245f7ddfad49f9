//! `tallyring bench`: runs what the flags ask for, and prints what came of it.
//!
//! Exit codes: 0 the numbers hold; 1 the server counted wrongly, answered with errors or could not be asked; 2 the
//! result is inconclusive or partial, or the flags are wrong.

use std::process::ExitCode;

use super::options::Options;
use super::run::{self, Limit};
use super::watch::{Interruption, Terminal};
use crate::host::{self, Host};

/// Carry out `tallyring bench`.
pub fn execute(options: &Options) -> ExitCode {
    host::raise_soft_limits();
    let command_line = std::env::args().collect();
    let run = match options.resolve(&Host::read(), command_line) {
        Ok(run) => run,
        Err(error) => {
            eprintln!("tallyring: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let length = match run.limit {
        Limit::Time(time) => Some(time),
        Limit::Requests(_) => None,
    };
    let mut terminal = Terminal { interruption: Interruption::listen(), label: String::new(), length };
    match run::run(&run, &mut terminal) {
        Ok(result) => {
            print!("{}", super::table::table(&result));
            ExitCode::from(result.verdict.exit_code())
        }
        Err(error) => {
            eprintln!("tallyring: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
