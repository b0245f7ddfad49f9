//! Clients that send a byte a second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::outside::{MIB, Watch, alone};
use crate::script::Script;
use crate::support::{Server, simple};
use crate::swarm::{Client, drive_for};

/// Clients at once.
const COUNT: usize = 2_000;

/// Their time limit, as the server is told, in seconds.
const REQUEST_TIMEOUT_S: u64 = 3;

/// Beginnings of what they send, ever so slowly, and what is answered already; a long word follows.
const REQUESTS: [(&str, &str); 4] = [
    ("*2\r\n$4\r\nECHO\r\n$200\r\n", ""),
    ("*3\r\n$6\r\nINCRBY\r\n$200\r\n", ""),
    ("*9\r\n$4\r\nMGET\r\n$200\r\n", "*8\r\n"),
    ("PING inline and slowly ", ""),
];

/// Send a byte a second from each until all are disconnected; how long each lived.
///
/// # Panics
/// When one is still there long after its time limit.
pub fn dribble(address: SocketAddr, request_timeout_s: u64) -> Vec<Duration> {
    let begin: Vec<Instant> = (0..COUNT).map(|_| Instant::now()).collect();
    let mut lived = vec![Duration::ZERO; COUNT];
    let mut clients: Vec<Client> = (0..COUNT)
        .map(|index| {
            let (start, answered) = REQUESTS[index % REQUESTS.len()];
            let request = Script::plain(format!("{start}{}", "x".repeat(200)));
            let mut client = Client::connect(address, request, Script::plain(answered));
            client.send_until = 0;
            client
        })
        .collect();
    let limit = Duration::from_secs(request_timeout_s * 2 + 10);
    let start = Instant::now();
    while clients.iter().any(|client| !client.ended) {
        assert!(start.elapsed() < limit, "{} live on", clients.iter().filter(|client| !client.ended).count());
        let second = start.elapsed().as_secs();
        clients.iter_mut().for_each(|client| client.send_until = second + 1);
        // Receiving is how they learn that they are disconnected.
        drive_for(&mut clients, Duration::from_millis(100), |client| client.ended);
        for (index, client) in clients.iter().enumerate() {
            if client.ended && lived[index].is_zero() {
                lived[index] = begin[index].elapsed();
            }
        }
    }
    lived
}

#[test]
fn slow_senders_are_ended_by_the_time_limit() {
    let _alone = alone();
    for threads in [1, 2] {
        let timeout = REQUEST_TIMEOUT_S.to_string();
        let arguments = ["--request-timeout", &timeout, "--maxmemory-clients", "4mb", "--tcp-backlog", "4096"];
        let server = Server::start_with(threads, &arguments);
        let watch = Watch::begin(server.id());
        let mut idle = server.connect();
        idle.expect("PING", simple("PONG"));
        let lived = dribble(server.address(), REQUEST_TIMEOUT_S);
        let (first, last) = (lived.iter().min().expect("some"), lived.iter().max().expect("some"));
        println!("{threads} shards: the first was ended after {first:?}, the last after {last:?}");
        assert!(*first >= Duration::from_secs(REQUEST_TIMEOUT_S), "ended before its time, after {first:?}");
        idle.expect("PING", simple("PONG"));
        let growth_bytes = watch.peak_growth_bytes(&format!("{COUNT} clients that send a byte a second"));
        assert!(growth_bytes <= 4 * MIB, "it grew by {growth_bytes} bytes");
    }
}
