//! `tallyring check`, `export` and `import`: data directories without a server, and the way from and to Redis.

mod check;
mod export;
mod import;
mod redis;

use std::path::Path;
use std::process::Command;

use crate::support::{Finished, PROCESS_LIMIT, Server, binary, run, serve_command};

/// Run a subcommand with a directory that stands between its arguments.
#[track_caller]
fn tallyring(args: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(args);
    run(command, b"", PROCESS_LIMIT)
}

/// The same, which must end well; answers what it prints.
#[track_caller]
fn succeed(args: &[&str]) -> String {
    let Finished { status, stdout, stderr } = tallyring(args);
    assert_eq!(status.code(), Some(0), "{args:?}: {stdout}{stderr}");
    stdout
}

/// The same, which must refuse; answers what it says.
#[track_caller]
fn refuse(args: &[&str]) -> String {
    let Finished { status, stdout, stderr } = tallyring(args);
    assert_eq!((status.code(), stdout.as_str()), (Some(1), ""), "{args:?}: {stderr}");
    stderr
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

/// A server on a data directory.
#[track_caller]
fn serve_in(directory: &Path, threads: usize) -> Server {
    let args = ["--dir", text(directory), "--buffers", "16", "--maxclients", "64", "--appendfsync", "always"];
    Server::spawn(serve_command(&binary(), threads, &args))
}
