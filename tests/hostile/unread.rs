//! Clients that send and never read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::outside::{MIB, Watch, alone, longest_ping};
use crate::script::Script;
use crate::support::{Server, wire};
use crate::swarm::{Client, drive_for};

/// Clients at once.
const COUNT: usize = 1_000;

/// What one of them has to send.
const EACH_BYTES: u64 = MIB;

/// How long they go on.
const LIMIT: Duration = Duration::from_secs(12);

/// A client that pipelines a mebibyte of requests: long replies, short ones, or those of one long request.
fn pipeline(address: SocketAddr, index: usize) -> Client {
    let long = "x".repeat(4_000);
    let (head, piece) = match index % 3 {
        0 => (Vec::new(), wire(["ECHO", &long])),
        1 => (Vec::new(), [wire(["PING"]), wire(["INCR", "unread"]), wire(["GET", "nothing"])].concat()),
        _ => (b"*1000000\r\n$4\r\nMGET\r\n".to_vec(), b"$6\r\nunread\r\n".repeat(100)),
    };
    let count = EACH_BYTES / piece.len() as u64;
    Client::connect_deaf(address, Script::new(head, &Arc::from(piece), count, ""))
}

/// Clients that pipeline a gibibyte in all, and read nothing: so many bytes the system and the server took of it. Who
/// is disconnected is followed by another, as long as there is something to send.
pub fn pipeline_without_reading(address: SocketAddr) -> (u64, usize) {
    let end = Instant::now() + LIMIT;
    let (mut sent, mut ended_count) = (0, 0);
    let mut clients: Vec<Client> = (0..COUNT).map(|index| pipeline(address, index)).collect();
    while Instant::now() < end {
        drive_for(&mut clients, Duration::from_secs(1), |client| client.ended || client.has_sent());
        for (index, client) in clients.iter_mut().enumerate().filter(|(_, client)| client.ended) {
            sent += client.sent;
            ended_count += 1;
            *client = pipeline(address, index);
        }
        if clients.iter().all(Client::has_sent) {
            break;
        }
    }
    (sent + clients.iter().map(|client| client.sent).sum::<u64>(), ended_count)
}

#[test]
fn unread_replies_stay_within_the_parked_store() {
    let _alone = alone();
    for (threads, store) in [(1, 8), (2, 8)] {
        let server =
            Server::start_with(threads, &["--maxmemory-clients", &format!("{store}mb"), "--tcp-backlog", "4096"]);
        let watch = Watch::begin(server.id());
        let (sent, ended_count) = pipeline_without_reading(server.address());
        println!("{threads} shards took {} MiB, and ended {ended_count} clients", sent / MIB);
        let ping = longest_ping(server.address(), Duration::from_millis(5));
        println!("PING on a new connection takes {ping:?}");
        let growth_bytes =
            watch.peak_growth_bytes(&format!("{COUNT} clients that do not read, a store of {store} MiB"));
        assert!(growth_bytes <= store * MIB, "it grew by {growth_bytes} bytes");
    }
}
