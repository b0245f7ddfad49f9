//! Tallyring beside other servers: `cargo bench --bench versus`. How to read it is in `README.md` next to this file.
//!
//! Starts each server that it finds, alike, loads them in turn, round by round, and prints what they did.

pub mod account;
pub mod bare;
pub mod disk;
pub mod load;
pub mod options;
pub mod peers;
mod report;
pub mod results;
mod ring;
pub mod workload;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Parser;

use disk::Disk;
use options::{Options, Table};
use peers::{Found, Peer, Server};
use report::Report;
use results::{Memory, Round};
use workload::{Keys, Load};

/// The loads of the table with few counters.
const SMALL_LOADS: [Load; 5] = [load(50, 64), load(50, 16), load(50, 1), load(200, 1), ALONE];
/// The loads of the table with many.
const LARGE_LOADS: [Load; 3] = [load(50, 64), load(50, 16), load(50, 1)];
/// The loads of two shards.
const SHARD_LOADS: [Load; 2] = [load(50, 64), load(50, 16)];
/// One client, who waits for each reply.
const ALONE: Load = load(1, 1);
/// How counters are made before anything is measured.
const INSERTING: Load = load(50, 64);

/// A server that takes longer than this for what should take less does not answer any more.
const PATIENCE: Duration = Duration::from_secs(30);
const PATIENCE_INSERTING: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(peers::LAUNCH) => return peers::launch(&arguments[2..]),
        Some(peers::BARE) => return told(serve_bare(arguments.get(2).map_or("", String::as_str))),
        _ => {}
    }
    let options = Options::parse();
    if !options.bench {
        println!("versus: measures nothing in a test run; cargo bench --bench versus");
        return ExitCode::SUCCESS;
    }
    told(versus(&options))
}

fn versus(options: &Options) -> io::Result<()> {
    // This thread is the load generator; the servers pin themselves.
    if !core_affinity::set_for_current(core_affinity::CoreId { id: options.load_core }) {
        return Err(io::Error::other(format!("the load generator cannot be pinned to core {}", options.load_core)));
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for peer in options.peers() {
        match peer.find() {
            Ok(peer) => found.push(peer),
            Err(why) => {
                eprintln!("versus: {} is missing: {why}", peer.name());
                missing.push((peer.name(), why));
            }
        }
    }

    let mut memory = Vec::new();
    if options.wants(Table::Memory) {
        for found in found.iter().filter(|found| found.peer.is_of(Table::Memory)) {
            memory.push(of_server(found, measure_memory(options, found))?);
        }
    }
    let mut rounds = Vec::new();
    let mut disk = None;
    for (table, loads, key_count) in [
        (Table::Small, &SMALL_LOADS[..], options.small_keys),
        (Table::Large, &LARGE_LOADS[..], options.large_keys),
        (Table::Everysec, &LARGE_LOADS[..], options.small_keys),
        (Table::Always, &LARGE_LOADS[..], options.small_keys),
        (Table::Shards, &SHARD_LOADS[..], options.small_keys),
    ] {
        if options.wants(table) && table.appendfsync().is_some() && disk.is_none() {
            disk = Some(Disk::measure()?);
        }
        if options.wants(table) {
            let loads: Vec<Load> = if options.only.is_empty() { loads.to_vec() } else { options.only.clone() };
            measure_table(options, &found, table, &loads, key_count, &mut rounds)?;
        }
    }

    let report = Report::new(options, &found, missing, &rounds, memory, disk);
    print!("{}", report.markdown());
    options.json.as_ref().map_or(Ok(()), |path| report.write_json(path))
}

/// Start every server, make its counters, and load each in turn under each load, so many rounds.
fn measure_table(
    options: &Options,
    found: &[Found],
    table: Table,
    loads: &[Load],
    key_count: u32,
    rounds: &mut Vec<Round>,
) -> io::Result<()> {
    let mut servers = Vec::new();
    for found in found {
        if found.peer.is_of(table) && (found.peer != Peer::OursBusy || loads.contains(&ALONE)) {
            eprintln!("versus: {} inserts {key_count} counters", found.peer.name());
            servers.push(of_server(found, start_with_counters(options, found, table, key_count))?);
        }
    }
    for &load in loads {
        for round in 0..options.rounds {
            // Each is first in its turn, in case it matters who comes after whom.
            let mut order: Vec<&Server> =
                servers.iter().filter(|server| server.found.peer != Peer::OursBusy || load == ALONE).collect();
            let first = round as usize % order.len().max(1);
            order.rotate_left(first);
            for server in order {
                let targets = server.targets(key_count, u64::from(round));
                let measured = of_server(&server.found, measure_round(options, server, load, targets))?;
                let round = Round { table, key_count, load, peer: server.found.peer, round, measured };
                eprintln!("versus: {load} {}: {:.0} requests/s", server.found.peer.name(), round.rate());
                rounds.push(round);
            }
        }
    }
    Ok(())
}

fn start_with_counters(options: &Options, found: &Found, table: Table, key_count: u32) -> io::Result<Server> {
    let server = Server::start(found, options, table)?;
    let patience = Patience::new(&found.title, PATIENCE_INSERTING);
    load::insert(server.port, INSERTING, Keys::sequence(key_count))?;
    drop(patience);
    server.pause()?;
    Ok(server)
}

fn measure_round(
    options: &Options,
    server: &Server,
    load: Load,
    targets: Vec<(u16, Keys)>,
) -> io::Result<load::Measured> {
    let warm_up = Duration::from_secs_f64(options.warm_up);
    let duration = Duration::from_secs_f64(options.seconds);
    let patience = Patience::new(&server.found.title, warm_up + duration + PATIENCE);
    server.go_on()?;
    let measured = load::measure(targets, server.pid(), load, warm_up, duration)?;
    server.pause()?;
    drop(patience);
    Ok(measured)
}

/// What a server grows by, from just started to so many counters.
fn measure_memory(options: &Options, found: &Found) -> io::Result<Memory> {
    let server = Server::start(found, options, Table::Memory)?;
    let before_bytes = account::resident_bytes(server.pid())?;
    let patience = Patience::new(&found.title, PATIENCE_INSERTING);
    load::insert(server.port, INSERTING, Keys::sequence(options.memory_keys))?;
    drop(patience);
    let after_bytes = account::resident_bytes(server.pid())?;
    let counter_count = server.counter_count()?;
    if counter_count != u64::from(options.memory_keys) {
        return Err(io::Error::other(format!("has {counter_count} counters instead of {}", options.memory_keys)));
    }
    let bytes_per_counter = (after_bytes as f64 - before_bytes as f64) / counter_count as f64;
    eprintln!("versus: memory of {}: {bytes_per_counter:.1} bytes per counter", found.peer.name());
    Ok(Memory { server: found.peer.name(), counter_count, before_bytes, after_bytes, bytes_per_counter })
}

/// Ends this program, and with it the servers, when something takes too long; until it is dropped.
struct Patience {
    _until_dropped: mpsc::Sender<()>,
}

impl Patience {
    fn new(title: &str, patience: Duration) -> Patience {
        let (sender, receiver) = mpsc::channel::<()>();
        let title = title.to_owned();
        thread::spawn(move || {
            if receiver.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("versus: {title} has not answered for {} s", patience.as_secs());
                std::process::exit(1);
            }
        });
        Patience { _until_dropped: sender }
    }
}

fn serve_bare(port: &str) -> io::Result<()> {
    let port: u16 = port.parse().map_err(|_| io::Error::other(format!("\"{port}\" is not a port")))?;
    bare::serve(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?)
}

const fn load(connection_count: usize, depth: usize) -> Load {
    Load { connection_count, depth }
}

fn of_server<T>(found: &Found, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", found.title)))
}

fn told(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error}");
            ExitCode::FAILURE
        }
    }
}
