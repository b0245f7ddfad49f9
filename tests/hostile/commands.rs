//! Clients that use every command there is.

use std::time::Duration;

use crate::outside::{MIB, Watch, alone};
use crate::script::Script;
use crate::support::{Reply, Server, wire};
use crate::swarm::{Client, drive_for};

/// Commands that would end or stop something.
const LEFT_OUT: [&str; 2] = ["shutdown", "quit"];

#[test]
fn no_command_takes_memory_for_good() {
    let _alone = alone();
    for threads in [1, 2] {
        let server = Server::start(threads);
        let watch = Watch::begin(server.id());
        let mut conn = server.connect();
        let Reply::Array(names) = conn.ask("COMMAND LIST") else { panic!("a list") };
        for name in names.iter().map(Reply::text).filter(|name| !LEFT_OUT.contains(&&name[..])) {
            for arguments in ["", " a", " a 1", " a 1 2"] {
                server.connect().ask(&format!("{name}{arguments}"));
            }
        }
        let growth_bytes = watch.peak_growth_bytes("every command, with 0 to 3 arguments");
        // Half of it and more are pages of the program, which come from its file when a command is first carried out.
        assert!(growth_bytes <= 2 * MIB, "it grew by {growth_bytes} bytes");
        let anonymous_bytes = watch.anonymous_growth_bytes();
        assert!(anonymous_bytes <= MIB as i64, "it grew by {anonymous_bytes} bytes that are no file's");

        // What a client gets to see of the statistics is not kept for each that asks; what these, who do not read, leave
        // over is parked.
        let request = Script::plain(wire(["INFO", "everything"]).repeat(20));
        let mut clients: Vec<Client> =
            (0..100).map(|_| Client::connect_deaf(server.address(), request.clone())).collect();
        drive_for(&mut clients, Duration::from_secs(5), Client::has_sent);
        std::thread::sleep(Duration::from_secs(1));
        conn.ask("PING");
        let growth_bytes = watch.peak_growth_bytes("100 clients that ask for INFO everything");
        assert!(growth_bytes <= MIB * (1 + threads as u64), "it grew by {growth_bytes} bytes");
    }
}
