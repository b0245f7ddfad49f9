//! A server of counters that is wrong in a way that can be chosen.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is wrong. Counted are the increments of all clients together.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// Each n-th increment is acknowledged and forgotten.
    Loses(u64),
    /// Each n-th increment counts twice.
    CountsTwice(u64),
    /// Each n-th increment is an error.
    Fails(u64),
    /// A client is disconnected instead of being told of the n-th increment, which counts all the same.
    Disconnects(u64),
    /// The same with each n-th.
    KeepsDisconnecting(u64),
    /// From the n-th increment on every client is disconnected as soon as it asks for anything.
    Deserts(u64),
    /// From the n-th increment on nothing is answered.
    FallsSilent(u64),
    /// The n-th increment is answered twice.
    AnswersTwice(u64),
    /// The n-th increment is answered, and then comes what is no reply.
    Garbles(u64),
    /// Increments take so long each, one after the other.
    TakesTime(Duration),
    /// From the n-th increment on it sends whoever asks for a key elsewhere, as a node does whose slots have moved.
    Moves(u64),
    /// It speaks something else.
    IsNoRedis,
}

struct State {
    fault: Fault,
    counters: Mutex<HashMap<Vec<u8>, i64>>,
    increment_count: AtomicU64,
}

/// Start one. It ends with the process.
pub fn start(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(State { fault, counters: Mutex::default(), increment_count: AtomicU64::new(0) });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let state = state.clone();
            std::thread::spawn(move || serve(&state, stream.unwrap()));
        }
    });
    address
}

/// Serve one client until it goes, or is to be disconnected.
fn serve(state: &State, stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut output = stream.try_clone().ok()?;
    let mut input = BufReader::new(stream);
    loop {
        let request = request(&mut input)?;
        let reply = match (&request[0][..], state.fault) {
            (_, Fault::IsNoRedis) => b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            (b"INCR" | b"GET", Fault::Moves(n)) if state.increment_count.load(Ordering::Relaxed) >= n => {
                b"-MOVED 1 192.0.2.1:7000\r\n".to_vec()
            }
            (b"INCR", fault) => increment(state, fault, &request[1])?,
            (b"GET", _) => get(state, &request[1]),
            (b"MGET", _) => {
                let values: Vec<Vec<u8>> = request[1..].iter().map(|key| get(state, key)).collect();
                [format!("*{}\r\n", values.len()).into_bytes(), values.concat()].concat()
            }
            _ => b"-ERR unknown command\r\n".to_vec(),
        };
        output.write_all(&reply).ok()?;
    }
}

fn increment(state: &State, fault: Fault, key: &[u8]) -> Option<Vec<u8>> {
    let number = state.increment_count.fetch_add(1, Ordering::Relaxed) + 1;
    let mut counters = state.counters.lock().unwrap();
    if let Fault::TakesTime(time) = fault {
        std::thread::sleep(time);
    }
    let counter = counters.entry(key.to_vec()).or_default();
    let value = *counter + 1;
    let reply = format!(":{value}\r\n").into_bytes();
    match fault {
        Fault::Loses(n) if number.is_multiple_of(n) => return Some(reply),
        Fault::CountsTwice(n) if number.is_multiple_of(n) => *counter += 1,
        Fault::Fails(n) if number.is_multiple_of(n) => return Some(b"-OOM no more of this\r\n".to_vec()),
        _ => {}
    }
    *counter += 1;
    drop(counters);
    match fault {
        Fault::Disconnects(n) if number == n => None,
        Fault::KeepsDisconnecting(n) if number.is_multiple_of(n) => None,
        Fault::Deserts(n) if number >= n => None,
        Fault::FallsSilent(n) if number >= n => loop {
            std::thread::park();
        },
        Fault::Garbles(n) if number == n => Some([&reply[..], b"HTTP/1.1 400 Bad Request\r\n"].concat()),
        Fault::AnswersTwice(n) if number == n => Some([&reply[..], &reply].concat()),
        _ => Some(reply),
    }
}

fn get(state: &State, key: &[u8]) -> Vec<u8> {
    match state.counters.lock().unwrap().get(key) {
        Some(value) => format!("${}\r\n{value}\r\n", value.to_string().len()).into_bytes(),
        None => b"$-1\r\n".to_vec(),
    }
}

/// The arguments of a client's next request; `None` when it has gone.
pub fn request(input: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let mut number = |kind| {
        let mut line = String::new();
        input.read_line(&mut line).ok()?;
        line.trim_end().strip_prefix(kind)?.parse::<usize>().ok()
    };
    let count = number('*')?;
    (0..count)
        .map(|_| {
            let mut line = String::new();
            input.read_line(&mut line).ok()?;
            let length: usize = line.trim_end().strip_prefix('$')?.parse().ok()?;
            let mut argument = vec![0; length + 2];
            input.read_exact(&mut argument).ok()?;
            argument.truncate(length);
            Some(argument)
        })
        .collect()
}
