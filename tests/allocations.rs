//! What serving allocates once everything is warm: nothing, counted by an allocator that counts.
//!
//! The pure path is measured call by call; the server by the kernel's account of its memory.

#[path = "it/support/process.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod process;
#[path = "pure/mod.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod pure;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use process::Process;
use pure::{Connection, request};
use tallyring::limits::{CLIENT_NAME_BYTES_MAX, CONNECTION_BYTES, LIBRARY_NAME_BYTES_MAX};

const KEY_COUNT: usize = 1_000;

/// How often each stream is sent while allocations are counted.
const ROUND_COUNT: usize = 20;

/// Longest wait for the server.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

fn key(number: usize) -> String {
    format!("counter:{number}")
}

/// One request a key, `name key [argument]`.
fn each(name: &str, argument: Option<&str>) -> Vec<u8> {
    let of = |number| {
        let key = key(number);
        let arguments: Vec<&[u8]> =
            [Some(name), Some(key.as_str()), argument].into_iter().flatten().map(str::as_bytes).collect();
        request(&arguments)
    };
    (0..KEY_COUNT).flat_map(of).collect()
}

/// One request for `count` keys, each with `value` if there is one.
fn many(name: &str, count: usize, value: Option<&str>) -> Vec<u8> {
    let keys: Vec<String> = (0..count).map(|number| key(number % KEY_COUNT)).collect();
    let mut arguments = vec![name.as_bytes()];
    for key in &keys {
        arguments.push(key.as_bytes());
        arguments.extend(value.map(str::as_bytes));
    }
    request(&arguments)
}

/// A connection whose keys exist and have values that take the same bytes after some more counting.
fn warm(shard_count: usize) -> Connection {
    let mut connection = Connection::new(shard_count);
    connection.pass(&each("SET", Some("100000")), |_| {});
    connection
}

/// Allocations of `ROUND_COUNT` rounds of `stream` after a first one, received `chunk_bytes` at a time.
fn allocations(connection: &mut Connection, stream: &[u8], chunk_bytes: usize) -> allocation_counter::AllocationInfo {
    connection.pass(stream, |_| {});
    let mut reply_bytes = 0;
    let info = allocation_counter::measure(|| {
        for _ in 0..ROUND_COUNT {
            for chunk in stream.chunks(chunk_bytes) {
                connection.pass(chunk, |replies| reply_bytes += replies.len());
            }
        }
    });
    assert!(reply_bytes > 0);
    info
}

#[test]
fn the_counter_counts() {
    let info = allocation_counter::measure(|| drop(std::hint::black_box(vec![0u8; 1_000])));
    assert_eq!((info.count_total, info.bytes_total), (1, 1_000));
}

#[test]
fn steady_commands_allocate_nothing() {
    let streams = [
        each("INCR", None),
        each("DECR", None),
        each("INCRBY", Some("7")),
        each("GET", None),
        each("SET", Some("100000")),
        each("EXISTS", None),
        each("TTL", None),
        each("ECHO", None),
        many("MGET", 100, None),
        many("MSET", 100, Some("100000")),
        many("MINCRBY", 100, Some("3")),
        many("EXISTS", 100, None),
        b"PING\r\nINCR counter:1\r\nMGET counter:1 counter:2\r\n".to_vec(),
    ];
    for shard_count in [1, 2, 3] {
        let mut connection = warm(shard_count);
        for stream in &streams {
            for chunk_bytes in [stream.len(), 1_448, 61] {
                let info = allocations(&mut connection, stream, chunk_bytes);
                let name = String::from_utf8_lossy(&stream[..40.min(stream.len())]);
                assert_eq!(info.count_total, 0, "{shard_count} shards, {chunk_bytes} bytes at a time: {name:?}");
            }
        }
    }
}

#[test]
fn half_of_the_commands_are_forwarded() {
    let mut connection = warm(2);
    let counts: Vec<u64> = connection.counters.iter().map(|counters| counters.key_count()).collect();
    assert_eq!(counts.iter().sum::<u64>(), KEY_COUNT as u64);
    assert!(counts.iter().all(|&count| count > KEY_COUNT as u64 / 3), "{counts:?}");
    let mut replies = Vec::new();
    connection.pass(&each("INCR", None), |bytes| replies.extend_from_slice(bytes));
    assert_eq!(replies, b":100001\r\n".repeat(KEY_COUNT));
}

#[test]
fn a_request_of_100_000_arguments_allocates_nothing() {
    for shard_count in [1, 2] {
        let mut connection = warm(shard_count);
        for stream in [many("MGET", 99_999, None), many("MINCRBY", 50_000, Some("1")), many("DEL", 99_999, None)] {
            // What DEL removes is not there any more in the rounds that are counted.
            let info = allocations(&mut connection, &stream, 16 * 1_024);
            assert_eq!(info.count_total, 0, "{shard_count} shards");
        }
    }
}

#[test]
fn what_is_announced_allocates_nothing() {
    for opening in ["*2147483647\r\n$4\r\nMGET\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n"] {
        let mut connection = Connection::new(1);
        connection.pass(b"PING\r\n", |_| {});
        let info = allocation_counter::measure(|| connection.pass(opening.as_bytes(), |_| {}));
        assert_eq!(info.count_total, 0, "{opening:?}");
    }
}

/// The kernel's account of a process, in bytes: private memory that is mapped, and that is resident.
fn memory_bytes(process: &Process) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel tells");
        line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).expect("a number") * 1_024
    };
    (field("VmData:"), field("RssAnon:"))
}

/// Where the server says that it listens.
fn port(process: &mut Process) -> u16 {
    let start = Instant::now();
    loop {
        let said = process.lines().iter().find_map(|line| {
            let (_, rest) = line.split_once("listening on 127.0.0.1:")?;
            rest.split(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
        });
        if let Some(port) = said {
            return port;
        }
        assert!(process.ended().is_none() && start.elapsed() < WAIT_LIMIT, "it does not listen:\n{}", process.tail());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Send `round_count` times `stream` without waiting, and read the replies, `reply_count` lines a round.
fn pipeline(connection: &TcpStream, stream: &[u8], round_count: usize, reply_count: usize) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..round_count {
                (&mut &*connection).write_all(stream).expect("the server reads");
            }
        });
        let (mut left_count, mut buffer) = (round_count * reply_count, vec![0; 64 * 1_024]);
        while left_count > 0 {
            let count = (&mut &*connection).read(&mut buffer).expect("the server answers");
            assert!(count > 0, "the server closed the connection");
            assert!(!buffer[..count].contains(&b'-'), "an error, or a negative count");
            left_count -= memchr::memchr_iter(b'\n', &buffer[..count]).count();
        }
    });
}

#[test]
fn two_million_increments_move_no_memory() {
    const GROWTH_BYTES_MAX: u64 = 64 * 1_024;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyring"));
    command.args(["serve", "--port", "0", "--bind", "127.0.0.1", "--threads", "2", "--pin", "none"]);
    command.args(["--appendonly", "no"]);
    let mut process = Process::spawn(command);
    let address = ("127.0.0.1", port(&mut process));
    let connection = TcpStream::connect(address).expect("the server listens");
    connection.set_read_timeout(Some(WAIT_LIMIT)).expect("a socket");
    connection.set_write_timeout(Some(WAIT_LIMIT)).expect("a socket");

    let increments = each("INCR", None);
    pipeline(&connection, &each("SET", Some("100000")), 1, KEY_COUNT);
    pipeline(&connection, &increments, 200, KEY_COUNT);
    let before = memory_bytes(&process);
    pipeline(&connection, &increments, 2_000, KEY_COUNT);
    let after = memory_bytes(&process);
    let growth = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    println!("growth: {} bytes mapped, {} bytes resident", growth.0, growth.1);
    assert!(growth.0 <= GROWTH_BYTES_MAX && growth.1 <= GROWTH_BYTES_MAX, "from {before:?} to {after:?} bytes");
}

#[test]
fn a_connection_takes_no_more_than_the_plan_says() {
    const CONNECTION_COUNT: usize = 4_000;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyring"));
    command.args(["serve", "--port", "0", "--bind", "127.0.0.1", "--threads", "1", "--pin", "none"]);
    command.args(["--appendonly", "no"]);
    let mut process = Process::spawn(command);
    let address = ("127.0.0.1", port(&mut process));
    // The longest names that there can be, and a transaction.
    let name = "n".repeat(CLIENT_NAME_BYTES_MAX);
    let library = "n".repeat(LIBRARY_NAME_BYTES_MAX);
    let opening = format!(
        "CLIENT SETNAME {name}\r\nCLIENT SETINFO lib-name {library}\r\nCLIENT SETINFO lib-ver {library}\r\nMULTI\r\n"
    );
    let connect = || {
        let mut connection = TcpStream::connect(address).expect("the server listens");
        connection.set_read_timeout(Some(WAIT_LIMIT)).expect("a socket");
        connection.write_all(opening.as_bytes()).expect("the server reads");
        let mut replies = [0; "+OK\r\n".len() * 4];
        connection.read_exact(&mut replies).expect("the server answers");
        assert_eq!(&replies, b"+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
        connection
    };
    let first: Vec<TcpStream> = (0..100).map(|_| connect()).collect();
    let before = memory_bytes(&process);
    let more: Vec<TcpStream> = (0..CONNECTION_COUNT).map(|_| connect()).collect();
    let after = memory_bytes(&process);
    let each_bytes = (after.1 - before.1) as usize / CONNECTION_COUNT;
    println!("{each_bytes} bytes a connection");
    assert!(each_bytes <= CONNECTION_BYTES, "{each_bytes} bytes a connection");
    assert!(each_bytes >= CONNECTION_BYTES / 2, "the plan says far too much: {each_bytes} bytes a connection");
    drop((first, more));
}
