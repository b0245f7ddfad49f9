//! Connections that come and are reset.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;

use crate::outside::{MIB, Watch, alone, descriptor_count, ping};
use crate::support::{Server, within};
use crate::swarm::connect;

/// Connections in all, and how many of them come before memory must stay where it is.
pub const COUNT: usize = 100_000;
const FIRST_COUNT: usize = 10_000;

/// What the rest may add: under two bytes a connection, so that nothing is kept of any.
const REST_GROWTH_BYTES_MAX: i64 = 128 * 1024;

/// Connect, do a little, and reset the connection instead of closing it; `count` times in two threads.
pub fn connect_and_reset(address: SocketAddr, count: usize) {
    std::thread::scope(|scope| {
        for thread in 0..2 {
            scope.spawn(move || (thread..count).step_by(2).for_each(|index| reset_one(address, index / 2)));
        }
    });
}

fn reset_one(address: SocketAddr, index: usize) {
    let mut stream = connect(address);
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a reset instead of a close");
    let sent = match index % 4 {
        0 => Ok(()),
        1 => stream.write_all(b"*2\r\n$3\r\nGET\r\n$4\r\nhal"),
        2 => stream.write_all(b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n"),
        _ => {
            stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time limit");
            let sent = stream.write_all(b"*1\r\n$4\r\nPING\r\n");
            let mut pong = [0; 7];
            stream.read_exact(&mut pong).expect("the server answers");
            sent
        }
    };
    sent.expect("a new connection takes a few bytes");
}

#[test]
fn nothing_is_left_of_resets() {
    let _alone = alone();
    let server = Server::start_with(2, &["--tcp-backlog", "4096"]);
    ping(server.address());
    let before_count = settled_descriptor_count(server.id());
    let watch = Watch::begin(server.id());
    connect_and_reset(server.address(), FIRST_COUNT);
    expect_descriptors(&server, before_count);
    let first_growth_bytes = watch.growth_bytes();
    connect_and_reset(server.address(), COUNT - FIRST_COUNT);
    expect_descriptors(&server, before_count);
    ping(server.address());
    let growth_bytes = watch.growth_bytes();
    watch.peak_growth_bytes(&format!("{COUNT} connects and resets"));
    println!("after {FIRST_COUNT} it was {first_growth_bytes} bytes, at the end {growth_bytes}");
    assert!(growth_bytes <= MIB as i64, "it grew by {growth_bytes} bytes");
    let rest_bytes = growth_bytes - first_growth_bytes;
    assert!(rest_bytes <= REST_GROWTH_BYTES_MAX, "{rest_bytes} bytes were added by the last connections");
}

fn expect_descriptors(server: &Server, count: usize) {
    within(Duration::from_secs(10), "the descriptors are those of the start", || {
        descriptor_count(server.id()) <= count
    });
}

/// How many there are once the first client is gone.
fn settled_descriptor_count(pid: u32) -> usize {
    std::thread::sleep(Duration::from_millis(300));
    descriptor_count(pid)
}
