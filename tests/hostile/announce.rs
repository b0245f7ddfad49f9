//! Clients that announce far more than they send.

use std::net::SocketAddr;
use std::time::Duration;

use crate::outside::{MIB, Watch, address_space_peak_bytes, alone, ping};
use crate::script::Script;
use crate::support::Server;
use crate::swarm::{Client, drive};

/// What is announced, with what follows: the most arguments and the longest argument that Redis knows.
const ANNOUNCEMENTS: [&str; 10] = [
    "*2147483647\r\n",
    "*2147483647\r\n$4\r\nMGET\r\n$1\r\na\r\n",
    "*2147483647\r\n$7\r\nMINCRBY\r\n$1\r\na\r\n$1\r\n1\r\n",
    "*2147483647\r\n$3\r\nDEL\r\n$1\r\na\r\n",
    "*2147483647\r\n$3\r\nGET\r\n$1\r\na\r\n",
    "*1\r\n$536870912\r\nMG",
    "*2\r\n$3\r\nGET\r\n$536870912\r\naaaaaaaa",
    "*3\r\n$4\r\nMGET\r\n$536870912\r\naaaaaaaa",
    "*5\r\n$7\r\nMINCRBY\r\n$1\r\na\r\n$536870912\r\n11111111",
    "*2147483647\r\n$536870912\r\n",
];

/// 200 clients that announce, and then are silent.
pub fn announce(address: SocketAddr) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..200)
        .map(|index| {
            let announcement = Script::plain(ANNOUNCEMENTS[index % ANNOUNCEMENTS.len()]);
            let mut client = Client::connect(address, announcement, Script::default());
            client.reads = false;
            client
        })
        .collect();
    drive(&mut clients, Duration::from_secs(20), "all is announced", Client::has_sent);
    clients
}

#[test]
fn nothing_is_sized_by_what_clients_announce() {
    let _alone = alone();
    for threads in [1, 2] {
        let server = Server::start(threads);
        let address_space_bytes = address_space_peak_bytes(server.id());
        let watch = Watch::begin(server.id());
        let _clients = announce(server.address());
        // Time to be received, and for buffers to be taken back.
        std::thread::sleep(Duration::from_millis(1_500));
        ping(server.address());
        let growth_bytes = watch.peak_growth_bytes("200 clients that announce 2147483647 or 536870912");
        assert!(growth_bytes <= MIB, "it grew by {growth_bytes} bytes");
        let grown_bytes = address_space_peak_bytes(server.id()) - address_space_bytes;
        println!("the address space grew by {} KiB at most", grown_bytes >> 10);
        assert!(grown_bytes < 128 * MIB, "something of {grown_bytes} bytes was allocated");
    }
}
