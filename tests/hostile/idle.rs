//! Ten thousand connections that do nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::outside::{Watch, alone, ping, raise_descriptor_limit};
use crate::support::{Server, left_out};
use crate::swarm::connect;

/// Idle connections.
pub const COUNT: usize = 10_000;

/// What one may take, in bytes.
const EACH_BYTES_MAX: u64 = 1_024;

/// So many connections.
pub fn connect_many(address: SocketAddr) -> Vec<TcpStream> {
    (0..COUNT).map(|_| connect(address)).collect()
}

#[test]
fn ten_thousand_idle_connections_take_a_kibibyte_each() {
    let _alone = alone();
    if raise_descriptor_limit() < COUNT as u64 + 500 {
        return left_out(&format!("the limit of descriptors is below {}", COUNT + 500));
    }
    for threads in [1, 2] {
        let server = Server::start_with(threads, &["--maxclients", "10100", "--tcp-backlog", "4096"]);
        let watch = Watch::begin(server.id());
        let mut idle = connect_many(server.address());
        ping(server.address());
        let growth_bytes = watch.peak_growth_bytes(&format!("{COUNT} connections that have just connected"));
        assert!(growth_bytes / COUNT as u64 <= EACH_BYTES_MAX, "{} bytes each", growth_bytes / COUNT as u64);

        let mut pong = [0; 7];
        for stream in &mut idle {
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
            stream.write_all(b"*1\r\n$4\r\nPING\r\n").expect("an idle connection can be used");
            stream.read_exact(&mut pong).expect("an idle connection is answered");
            assert_eq!(&pong, b"+PONG\r\n");
        }
        std::thread::sleep(Duration::from_millis(1_500));
        let growth_bytes = watch.peak_growth_bytes(&format!("{COUNT} connections that have been used"));
        assert!(growth_bytes / COUNT as u64 <= EACH_BYTES_MAX, "{} bytes each", growth_bytes / COUNT as u64);
    }
}
