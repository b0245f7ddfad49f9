//! The parked store fills: who has stalled longest is disconnected, and nobody else.

use std::time::Duration;

use crate::outside::{MIB, Watch, alone};
use crate::script::Script;
use crate::support::{Conn, Reply, Server, bulk, simple, wire, within};
use crate::swarm::{Client, drive};

/// The parked store, in MiB.
const STORE_MIB: u64 = 1;

/// How long the server may take to park what is left over, and to disconnect for it.
const LIMIT: Duration = Duration::from_secs(20);

/// Clients that leave a request unfinished, and the bytes of it that are parked: all of one that does not stream.
const FIRST_COUNT: usize = 50;
const THEN_COUNT: usize = 150;
const WATCHED_KEY_COUNT: usize = 15;

/// Clients that leave a long reply unread.
const DEAF_COUNT: usize = 20;

fn start() -> Server {
    Server::start_with(1, &["--maxmemory-clients", &format!("{STORE_MIB}mb"), "--tcp-backlog", "1024"])
}

/// A number of `INFO`.
fn info(conn: &mut Conn, name: &str) -> u64 {
    let Reply::Bulk(text) = conn.ask("INFO everything") else { panic!("a text") };
    let text = String::from_utf8(text).expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.expect("INFO has it").trim().parse().expect("a number")
}

fn expect_log_line(server: &Server) {
    let told = |line: &String| line.contains("the parked store is full (maxmemory-clients)");
    within(LIMIT, "the log says who had to go", || server.log().iter().any(told));
    let line_count = server.log().iter().filter(|line| told(line)).count();
    assert!(line_count <= LIMIT.as_secs() as usize, "{line_count} lines: one a second is enough");
}

/// A client that sends all of a request but its last byte.
fn stall(server: &Server, request: &[u8]) -> Client {
    let mut client = Client::connect(server.address(), Script::plain(request), Script::plain("+OK\r\n"));
    client.send_until = request.len() as u64 - 1;
    client
}

#[test]
fn unfinished_requests_fill_the_store_and_the_longest_stalled_go() {
    let _alone = alone();
    let server = start();
    let watch = Watch::begin(server.id());
    let mut honest = server.connect();
    let keys: Vec<String> = (0..WATCHED_KEY_COUNT).map(|index| format!("{index:01000}")).collect();
    let request = wire(["WATCH"].into_iter().chain(keys.iter().map(String::as_str)));

    let mut first: Vec<Client> = (0..FIRST_COUNT).map(|_| stall(&server, &request)).collect();
    drive(&mut first, LIMIT, "all but the last byte is sent", Client::has_sent);
    let each_bytes = WATCHED_KEY_COUNT as u64 * 1_000;
    within(LIMIT, "the first are parked", || info(&mut honest, "parked_bytes") >= FIRST_COUNT as u64 * each_bytes);
    let each_bytes = info(&mut honest, "parked_bytes") / FIRST_COUNT as u64;
    assert_eq!(info(&mut honest, "evicted_clients"), 0, "there is room for the first");

    let mut then: Vec<Client> = (0..THEN_COUNT).map(|_| stall(&server, &request)).collect();
    drive(&mut then, LIMIT, "all but the last byte is sent", Client::has_sent);
    let room_count = STORE_MIB * MIB / each_bytes;
    let gone_count = (FIRST_COUNT + THEN_COUNT) as u64 - room_count;
    within(LIMIT, "some have to go", || info(&mut honest, "evicted_clients") >= gone_count);
    assert_eq!(info(&mut honest, "evicted_clients"), gone_count, "nobody goes for whom there is room");
    assert!(info(&mut honest, "parked_bytes") <= STORE_MIB * MIB);
    expect_log_line(&server);

    // Those who had stalled longest have gone; who is left finishes what it has begun.
    drive(&mut first, LIMIT, "the first have gone", |client| client.ended);
    then.iter_mut().for_each(Client::send_all);
    drive(&mut then, LIMIT, "those who were left are answered", |client| client.ended || client.is_answered());
    assert_eq!(then.iter().filter(|client| client.is_answered()).count() as u64, room_count);
    honest.expect("PING", simple("PONG"));
    let growth_bytes = watch.peak_growth_bytes("requests that fill the parked store");
    // Pages of the program come from its file when a part of it is first run.
    assert!(growth_bytes <= (STORE_MIB + 2) * MIB, "it grew by {growth_bytes} bytes");
    let anonymous_bytes = watch.peak_anonymous_growth_bytes();
    println!("{} KiB of it are no file's", anonymous_bytes >> 10);
    assert!(anonymous_bytes <= (STORE_MIB + 1) * MIB, "it grew by {anonymous_bytes} bytes that are no file's");
}

#[test]
fn unread_replies_fill_the_store() {
    let _alone = alone();
    let server = start();
    let mut honest = server.connect();
    // A reply of almost a mebibyte, and so many of them that the sockets' buffers do not hold them.
    let name = "k".repeat(1_000);
    for index in 0..900 {
        honest.call(["SET", &format!("{name}{index}"), "1"]);
    }
    let request = wire(["KEYS", "*"]).repeat(8);
    let mut clients: Vec<Client> =
        (0..DEAF_COUNT).map(|_| Client::connect_deaf(server.address(), Script::plain(request.clone()))).collect();
    drive(&mut clients, LIMIT, "all is sent", Client::has_sent);
    within(LIMIT, "some have to go", || info(&mut honest, "evicted_clients") > 0);
    within(LIMIT, "the store is within its limit", || info(&mut honest, "parked_bytes") <= STORE_MIB * MIB);
    expect_log_line(&server);
    honest.expect(&format!("GET {name}0"), bulk("1"));
}
