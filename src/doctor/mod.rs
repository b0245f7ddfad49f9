//! `tallyring doctor`: what of this host stands in the server's way, setting by setting.
//!
//! Every check is one row of a table and one short function of a [`Machine`], so all of them can be tested with a
//! machine that is a directory of files. Invariants: nothing is written; what cannot be read is [`State::Unknown`] and
//! never guessed; a figure in the table was measured, with what is said beside it, or it is not there.

mod cpu;
mod engine;
mod limits;
mod machine;
mod memory;
mod network;
mod queues;
mod report;
mod ring;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use machine::Machine;
pub use ring::Ring;

use crate::config::Options;
use crate::startup::StartError;

/// How a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// It cannot be read here.
    Unknown,
    /// The server runs, but slower or less evenly than this machine could have it.
    Should,
    /// The server does not start, or breaks a promise.
    Must,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it is.
    pub state: State,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should_be: String,
    /// What to do about it; empty where nothing is to be done.
    pub remedy: String,
}

impl Answer {
    fn ok(is: impl Into<String>, should_be: impl Into<String>) -> Answer {
        Answer { state: State::Ok, is: is.into(), should_be: should_be.into(), remedy: String::new() }
    }

    fn should(is: impl Into<String>, should_be: impl Into<String>, remedy: impl Into<String>) -> Answer {
        Answer { state: State::Should, is: is.into(), should_be: should_be.into(), remedy: remedy.into() }
    }

    fn must(is: impl Into<String>, should_be: impl Into<String>, remedy: impl Into<String>) -> Answer {
        Answer { state: State::Must, is: is.into(), should_be: should_be.into(), remedy: remedy.into() }
    }

    /// `reason` completes "cannot be told: ".
    fn unknown(reason: impl Into<String>, should_be: impl Into<String>) -> Answer {
        Answer { state: State::Unknown, is: reason.into(), should_be: should_be.into(), remedy: String::new() }
    }

    /// The kernel does not show it, or not to this user.
    fn unreadable(should_be: impl Into<String>) -> Answer {
        Answer::unknown("not readable", should_be)
    }

    /// It depends on which cores the shards have.
    fn without_cores(should_be: impl Into<String>) -> Answer {
        Answer::unknown("the shards' cores are not known", should_be)
    }

    /// [`Answer::ok`] or [`Answer::should`].
    fn expect(well: bool, is: impl Into<String>, should_be: impl Into<String>, remedy: &str) -> Answer {
        if well { Answer::ok(is, should_be) } else { Answer::should(is, should_be, remedy) }
    }
}

/// One setting of the table.
pub struct Check {
    /// What it is called, for people, `--json` and `--skip`.
    pub name: &'static str,
    /// Looks at it.
    pub examine: fn(&Machine) -> Answer,
    /// Why it matters.
    pub why: &'static str,
    /// What it costs to have it as it should be.
    pub costs: &'static str,
    /// What it brought, where it was measured; empty where it was not.
    pub brought: &'static str,
}

/// A setting and what was found. A row of the output.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What the setting is called.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What it is.
    pub is: String,
    /// What it should be.
    pub should_be: String,
    /// Why it matters.
    pub why: &'static str,
    /// What it costs.
    pub costs: &'static str,
    /// What it brought; `null` where it was not measured.
    pub brought: Option<&'static str>,
    /// What to do; `null` where nothing is to be done.
    pub remedy: Option<String>,
}

/// The table, in the order of the output.
fn checks() -> impl Iterator<Item = &'static Check> {
    [engine::CHECKS, limits::CHECKS, network::CHECKS, queues::CHECKS, cpu::CHECKS, memory::CHECKS].into_iter().flatten()
}

/// Every check but those that `skip` names.
pub fn examine(machine: &Machine, skip: &[String]) -> Vec<Finding> {
    let wanted = checks().filter(|check| !skip.iter().any(|name| name == check.name));
    let finding = |check: &'static Check| {
        let Answer { state, is, should_be, remedy } = (check.examine)(machine);
        Finding {
            name: check.name,
            state,
            is,
            should_be,
            why: check.why,
            costs: check.costs,
            brought: Some(check.brought).filter(|text| !text.is_empty()),
            remedy: Some(remedy).filter(|text| !text.is_empty()),
        }
    };
    wanted.map(finding).collect()
}

/// What `tallyring doctor` is asked for.
#[derive(Debug)]
pub struct Request {
    /// How the server is to be configured.
    pub options: Options,
    /// Write JSON.
    pub json: bool,
    /// Explain also what is well.
    pub all: bool,
    /// Names of checks to leave out.
    pub skip: Vec<String>,
    /// The running server whose limits count, instead of this process's.
    pub pid: Option<u32>,
    /// Where `/proc` and `/sys` are, when not at `/`.
    pub root: Option<PathBuf>,
}

/// Exit code when something should be changed.
pub const EXIT_SHOULD: u8 = 3;
/// Exit code when something must be changed.
pub const EXIT_MUST: u8 = 4;

/// Examine the host, print the result, and tell the exit code: 0, [`EXIT_SHOULD`] or [`EXIT_MUST`].
///
/// # Errors
/// Wrong options, and a `--pid` that is not there.
pub fn run(request: Request) -> Result<u8, StartError> {
    if let Some(name) = request.skip.iter().find(|name| checks().all(|check| check.name != **name)) {
        let names: Vec<&str> = checks().map(|check| check.name).collect();
        let problem = format!("names \"{name}\", which is no check");
        return Err(StartError::Option { flag: "skip", problem, remedy: format!("Choose from {}", names.join(", ")) });
    }
    let root = request.root.as_deref().unwrap_or(Path::new("/"));
    let process = request.pid.map_or("self".to_owned(), |pid| pid.to_string());
    if !root.join("proc").join(&process).exists() && request.pid.is_some() {
        let problem = format!("{process} is no process here");
        return Err(StartError::Option {
            flag: "pid",
            problem,
            remedy: "Name the server's (pidof tallyring)".to_owned(),
        });
    }
    let ring = if request.root.is_some() { Ring::NotTried } else { Ring::try_out() };
    let machine = Machine::read(root, &process, request.options, ring)?;
    let findings = examine(&machine, &request.skip);
    let mut text = if request.json {
        report::json(&findings)
    } else {
        let coloured = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        report::text(&findings, request.all, coloured)
    };
    text.push('\n');
    // Who has read enough (a pager, `head`) may go.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(exit_code(&findings))
}

fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.state).max() {
        Some(State::Must) => EXIT_MUST,
        Some(State::Should) => EXIT_SHOULD,
        _ => 0,
    }
}
