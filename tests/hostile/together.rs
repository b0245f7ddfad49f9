//! All hostile clients at once, with honest ones among them.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::thread::gettid;

use crate::cores::Cores;
use crate::outside::{MIB, Watch, alone, raise_descriptor_limit};
use crate::support::{Server, ok};
use crate::{announce, honest, idle, long, resets, slow, unread};

/// Honest clients.
const HONEST_COUNT: u32 = 50;

/// The slow ones are ended after this time; those that hold a long request are through by then.
const REQUEST_TIMEOUT_S: u64 = 25;

/// How long honest clients are measured by themselves.
const BEFORE: Duration = Duration::from_secs(4);

/// How often the server's memory is read, which keeps a core of the clients busy for a moment.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The parked store.
const STORE_MIB: u64 = 8;

/// What the 99th percentile of honest clients may always be: five ticks of a kernel with 250 a second. A machine that is
/// slow, or on which other work runs, does no better: tests are built with few optimizations.
const TICKS: Duration = Duration::from_millis(20);

/// A virtual machine's host takes its cores away now and then, for tens of milliseconds: the best of so many tries counts.
const TRY_COUNT_MAX: usize = 3;

/// Do something when no other thread wants the core, and so do the threads and processes that this one starts.
fn idly<T>(work: impl FnOnce() -> T) -> T {
    let thread = gettid().as_raw_nonzero().to_string();
    let done = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(done.expect("chrt of util-linux").success(), "a thread may lower its priority");
    work()
}

/// All other scenarios at the same time, each with its own checks of what the clients see.
///
/// On a network they would be other machines. Here they run only when nothing else wants their core (`SCHED_IDLE`), so
/// that what honest clients wait for is the server's doing rather than the lack of a core for them. A low priority
/// would not do: the kernel takes the core from such a thread at its next tick only, up to 4 ms later.
fn all_at_once(address: SocketAddr) {
    thread::scope(|scope| {
        scope.spawn(|| idly(|| long::hold(address, true, || thread::sleep(Duration::from_secs(3)))));
        scope.spawn(|| {
            idly(|| {
                long::complete_mgets(address);
                long::complete_mincrbys(address);
            })
        });
        scope.spawn(|| idly(|| (announce::announce(address), thread::sleep(Duration::from_secs(5)))));
        scope.spawn(|| idly(|| unread::pipeline_without_reading(address)));
        scope.spawn(|| idly(|| (idle::connect_many(address), thread::sleep(Duration::from_secs(10)))));
        scope.spawn(|| idly(|| slow::dribble(address, REQUEST_TIMEOUT_S)));
        scope.spawn(|| idly(|| resets::connect_and_reset(address, resets::COUNT / 2)));
    });
}

fn start(threads: usize) -> Server {
    let timeout = REQUEST_TIMEOUT_S.to_string();
    let store = format!("{STORE_MIB}mb");
    Server::start_with(
        threads,
        &[
            "--maxclients",
            "15000",
            "--tcp-backlog",
            "4096",
            "--request-timeout",
            &timeout,
            "--maxmemory-clients",
            &store,
        ],
    )
}

fn together(threads: usize) {
    let _alone = alone();
    assert!(raise_descriptor_limit() >= 16_000, "raise the limit of descriptors: ulimit -Hn 16000");
    // With more shards than one the server needs the clients' cores too.
    let cores = if threads == 1 { Cores::divide() } else { None };
    if let Some(cores) = &cores {
        cores.be_server();
    }
    let server = start(threads);
    if let Some(cores) = &cores {
        cores.be_clients();
    }
    let watch = Watch::begin_every(SAMPLE_INTERVAL, server.id());
    let before = honest::count(server.address(), HONEST_COUNT, || thread::sleep(BEFORE));
    println!("{threads} shards, honest clients alone: {before}");
    let mut with = Duration::MAX;
    let mut bar = TICKS;
    for _ in 0..TRY_COUNT_MAX {
        // What the long requests are answered is known beforehand.
        let mut conn = server.connect();
        conn.expect("FLUSHALL", ok());
        long::prepare(&mut conn);
        let among = honest::count(server.address(), HONEST_COUNT, || all_at_once(server.address()));
        println!("{threads} shards, among hostile ones: {among}");
        with = with.min(among.at(990));
        if bar == TICKS && (with > bar || std::env::var_os("TALLYRING_HOSTILE_BESIDE").is_some()) {
            bar = bar.max(2 * beside(threads, server.address()));
        }
        if with <= bar {
            break;
        }
    }
    let growth_bytes = watch.peak_growth_bytes(&format!("{threads} shards, everything at once"));
    // Connections have their own bar; the rest is the store's, and that of the two scenarios that have none.
    let bar_bytes = 15_000 * 1_024 + STORE_MIB * MIB + 2 * MIB;
    assert!(growth_bytes <= bar_bytes, "it grew by {growth_bytes} bytes");
    println!("{threads} shards: honest p99 {:?} alone, {with:?} among hostile clients", before.at(990));
    assert!(with <= bar, "honest p99 is {with:?}, the bar {bar:?}");
}

/// The 99th percentile of the server's honest clients while hostile ones are at another server: what the kernel and the
/// clients' cores take from them.
fn beside(threads: usize, server: SocketAddr) -> Duration {
    let neighbour = thread::scope(|scope| scope.spawn(|| idly(|| start(threads))).join().expect("it starts"));
    long::prepare(&mut neighbour.connect());
    let beside = honest::count(server, HONEST_COUNT, || all_at_once(neighbour.address()));
    println!("{threads} shards, hostile ones at another server: {beside}");
    beside.at(990)
}

#[test]
fn honest_clients_are_served_among_hostile_ones() {
    together(1);
}

#[test]
fn honest_clients_are_served_among_hostile_ones_over_two_shards() {
    together(2);
}
