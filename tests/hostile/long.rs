//! Requests of a million arguments.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::outside::{MIB, PING_BAR, Watch, alone, longest_ping};
use crate::script::Script;
use crate::support::{Conn, Server, int, wire};
use crate::swarm::{Client, drive};

/// Longest time of one step of a scenario.
const LIMIT: Duration = Duration::from_secs(120);

/// Keys of one `MGET`.
const KEY_COUNT: u64 = 1_000_000;

/// Different keys in it; every other one is a counter.
const CYCLE_KEY_COUNT: u64 = 64;

/// Pairs of one `MINCRBY`, and how many different keys a client has in it.
const PAIR_COUNT: u64 = 100_000;
const OWN_KEY_COUNT: u64 = 50;

/// Make the counters that [`mget`] reads.
pub fn prepare(conn: &mut Conn) {
    for index in (0..CYCLE_KEY_COUNT).step_by(2) {
        assert_eq!(conn.call(["INCRBY", &key(index), &value(index).to_string()]), int(value(index) as i64));
    }
}

/// A client with an `MGET` of a million keys; the last one is the tail of its request, and so is its reply.
pub fn mget(address: SocketAddr) -> Client {
    let argument = |index: u64| format!("${}\r\n{}\r\n", key(index).len(), key(index));
    let answer = |index: u64| match value(index).to_string() {
        value if index.is_multiple_of(2) => format!("${}\r\n{value}\r\n", value.len()),
        _ => "$-1\r\n".to_owned(),
    };
    let all = |piece: &dyn Fn(u64) -> String, count: u64| (0..count).map(piece).collect::<String>().into_bytes();
    // The head takes what a whole number of cycles leaves, but for the last key.
    let head_count = (KEY_COUNT - 1) % CYCLE_KEY_COUNT;
    let cycle_count = (KEY_COUNT - 1) / CYCLE_KEY_COUNT;
    let script = |start: String, piece: &dyn Fn(u64) -> String| {
        let mut head = start.into_bytes();
        head.extend(all(piece, head_count));
        let cycle: Arc<[u8]> = all(piece, CYCLE_KEY_COUNT).into();
        Script::new(head, &cycle, cycle_count, piece(0))
    };
    let request = script(format!("*{}\r\n$4\r\nMGET\r\n", KEY_COUNT + 1), &argument);
    let reply = script(format!("*{KEY_COUNT}\r\n"), &answer);
    Client::connect(address, request, reply)
}

/// A client with a `MINCRBY` of 100,000 pairs; it counts its own keys, all of them in turn.
fn mincrby(address: SocketAddr, client: usize) -> Client {
    let keys: Vec<String> = (0..OWN_KEY_COUNT).map(|index| format!("own:{client}:{index}")).collect();
    let round = wire(keys.iter().flat_map(|key| [key.as_str(), "3"]));
    let start = round.iter().position(|&byte| byte == b'\n').expect("a header") + 1;
    let round: Arc<[u8]> = round[start..].into();
    let round_count = PAIR_COUNT / OWN_KEY_COUNT;
    let head = format!("*{}\r\n$7\r\nMINCRBY\r\n", 2 * PAIR_COUNT + 1);
    let counts = (1..=round_count).flat_map(|round| (0..OWN_KEY_COUNT).map(move |_| format!(":{}\r\n", 3 * round)));
    let reply: String = std::iter::once(format!("*{PAIR_COUNT}\r\n")).chain(counts).collect();
    Client::connect(address, Script::new(head, &round, round_count, ""), Script::plain(reply))
}

fn key(index: u64) -> String {
    format!("counter:{index:04}")
}

fn value(index: u64) -> u64 {
    index * 1_000_003
}

/// 50 clients send an `MGET` but for its last key, and hold it. `at_rest` is called meanwhile; then all is answered.
///
/// A target that `streams` answers the keys that it has.
pub fn hold(address: SocketAddr, streams: bool, at_rest: impl FnOnce()) {
    let mut clients: Vec<Client> = (0..50).map(|_| mget(address)).collect();
    for client in &mut clients {
        client.send_until = client.tails_at().0;
    }
    drive(&mut clients, LIMIT, "all but the last key is sent, and answered", |client| {
        assert!(!client.ended, "disconnected after {} bytes", client.sent);
        client.has_sent() && (!streams || client.received == client.tails_at().1)
    });
    at_rest();
    clients.iter_mut().for_each(Client::send_all);
    drive(&mut clients, LIMIT, "all is answered", answered);
}

/// 20 clients complete an `MGET` at once.
pub fn complete_mgets(address: SocketAddr) {
    let mut clients: Vec<Client> = (0..20).map(|_| mget(address)).collect();
    drive(&mut clients, LIMIT, "every MGET is answered", answered);
}

/// 20 clients complete a `MINCRBY` at once.
pub fn complete_mincrbys(address: SocketAddr) {
    let mut clients: Vec<Client> = (0..20).map(|client| mincrby(address, client)).collect();
    drive(&mut clients, LIMIT, "every MINCRBY is answered", answered);
}

fn answered(client: &Client) -> bool {
    assert!(
        !client.ended || client.is_answered(),
        "disconnected after {} bytes and {} of its reply",
        client.sent,
        client.received
    );
    client.is_answered()
}

fn held(threads: usize) {
    let _alone = alone();
    let server = Server::start(threads);
    let watch = Watch::begin(server.id());
    prepare(&mut server.connect());
    hold(server.address(), true, || {
        let ping = longest_ping(server.address(), PING_BAR);
        println!("{threads} shards: PING on a new connection takes {ping:?}");
        assert!(ping <= PING_BAR, "PING on a new connection takes {ping:?}");
    });
    let growth_bytes = watch.peak_growth_bytes("50 MGETs of 1,000,000 keys, held before the last");
    assert!(growth_bytes <= MIB, "it grew by {growth_bytes} bytes");
}

#[test]
fn fifty_long_requests_are_held() {
    held(1);
}

#[test]
fn fifty_long_requests_are_held_over_two_shards() {
    held(2);
}

fn completed(threads: usize) {
    let _alone = alone();
    let server = Server::start(threads);
    let watch = Watch::begin(server.id());
    prepare(&mut server.connect());
    complete_mgets(server.address());
    complete_mincrbys(server.address());
    let growth_bytes = watch.peak_growth_bytes("20 MGETs of 1,000,000 keys, 20 MINCRBYs of 100,000 pairs");
    assert!(growth_bytes <= MIB, "it grew by {growth_bytes} bytes");
}

#[test]
fn twenty_long_requests_are_completed() {
    completed(1);
}

#[test]
fn twenty_long_requests_are_completed_over_two_shards() {
    completed(2);
}
