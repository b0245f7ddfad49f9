//! What is there after the server has ended, however it ended.

mod disk;
mod full;
mod kill;
mod restart;
mod switch;

use std::path::Path;

use crate::support::{Server, binary, serve_command};

/// A server on a data directory, with more arguments. Few buffers, so that it starts fast.
#[track_caller]
fn serve_in(directory: &Path, threads: usize, args: &[&str]) -> Server {
    let directory = directory.to_str().expect("a path of text");
    let mut all = vec!["--dir", directory, "--buffers", "16", "--maxclients", "64", "--maxmemory", "1gb"];
    all.extend(args);
    Server::spawn(serve_command(&binary(), threads, &all))
}
