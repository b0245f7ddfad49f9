//! `--cluster-enabled yes`: a port for each shard, beside the main one, and cluster clients that use them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{
    Conn, Finished, Reply, Server, array, binary, bulk, error, int, left_out, ok, peer_or_skip, run, simple, slot_of,
    spread_keys,
};

const SHARD_COUNT: usize = 3;
const CLIENT_LIMIT: Duration = Duration::from_secs(60);

/// What redis-py's script exits with when redis-py is missing or too old.
const EXIT_LEFT_OUT: i32 = 77;

fn cluster() -> Server {
    Server::start_with(SHARD_COUNT, &["--cluster-enabled", "yes"])
}

/// First slot, last slot and port of each shard, as `CLUSTER SLOTS` tells.
fn slots(conn: &mut Conn) -> Vec<(u16, u16, u16)> {
    let number = |reply: &Reply| u16::try_from(reply.as_int()).expect("a slot or a port");
    let reply = conn.ask("CLUSTER SLOTS");
    let ranges = reply.elements().iter().map(|range| {
        let [first, last, node] = range.elements() else { panic!("one node for each range: {range:?}") };
        let [ip, port, id, more] = node.elements() else { panic!("a node has four parts: {node:?}") };
        assert_eq!(ip, &bulk("127.0.0.1"));
        assert!(id.text().len() == 40 && id.text().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id:?}");
        assert_eq!(more, &array([]));
        (number(first), number(last), number(port))
    });
    ranges.collect()
}

/// A connection to each shard's own port, in their order.
fn direct(server: &Server) -> Vec<Conn> {
    let ports = slots(&mut server.connect()).into_iter().map(|(.., port)| port);
    ports.map(|port| Conn::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).collect()
}

fn batches_sent(server: &Server) -> i64 {
    let info = server.connect().ask("INFO stats").text();
    let line = info.lines().find_map(|line| line.strip_prefix("mesh_batches_sent:")).expect("the field");
    line.trim().parse().expect("a number")
}

#[test]
fn the_slots_are_all_there_once_and_lead_to_their_keys() {
    let server = cluster();
    let mut main = server.connect();
    let ranges = slots(&mut main);
    let covered: Vec<u16> = ranges.iter().flat_map(|(first, last, _)| *first..=*last).collect();
    assert!(covered.iter().copied().eq(0..16_384), "every slot once, in order");
    assert!(!ranges.iter().any(|(.., port)| *port == server.address().port()));
    for (index, (_, _, port)) in ranges.iter().enumerate() {
        let line = format!("cluster: shard {index} on 127.0.0.1:{port}");
        assert!(server.log().iter().any(|logged| logged.contains(&line)), "{line} is logged");
    }
    let mut shards = direct(&server);
    for conn in &mut shards {
        assert_eq!(slots(conn), ranges, "all shards tell the same");
    }
    for index in 0..200 {
        let key = format!("key:{index}");
        let slot = slot_of(key.as_bytes());
        main.expect(&format!("CLUSTER KEYSLOT {key}"), int(slot.into()));
        for (conn, (first, last, _)) in shards.iter_mut().zip(&ranges) {
            let (_, _, owner_port) = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).unwrap();
            let reply = conn.ask(&format!("INCR {key}"));
            if (*first..=*last).contains(&slot) {
                assert_eq!(reply, int(1));
            } else {
                assert_eq!(reply, error(&format!("MOVED {slot} 127.0.0.1:{owner_port}")));
            }
        }
        main.expect(&format!("GET {key}"), bulk("1"));
    }
}

#[test]
fn views_agree_with_each_other() {
    let server = cluster();
    let ranges = slots(&mut server.connect());
    let mut ids = BTreeSet::new();
    for (index, conn) in direct(&server).iter_mut().enumerate() {
        let id = conn.ask("CLUSTER MYID").text();
        let nodes = conn.ask("CLUSTER NODES").text();
        let lines: Vec<&str> = nodes.lines().collect();
        assert_eq!(lines.len(), SHARD_COUNT);
        for (node, (line, (first, last, port))) in lines.iter().zip(&ranges).enumerate() {
            let fields: Vec<&str> = line.split(' ').collect();
            assert_eq!(fields[1], format!("127.0.0.1:{port}@0"));
            assert_eq!(fields[2], if node == index { "myself,master" } else { "master" });
            assert_eq!(fields[7..], ["connected", &format!("{first}-{last}")]);
            assert_eq!(fields[0] == id, node == index);
        }
        ids.insert(id);
        let info = conn.ask("CLUSTER INFO").text();
        for line in ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_known_nodes:3", "cluster_size:3"] {
            assert!(info.lines().any(|shown| shown == line), "{line}: {info}");
        }
        let shards = conn.ask("CLUSTER SHARDS");
        let (first, last, port) = ranges[index];
        let [_, owned, _, nodes] = shards.elements()[index].elements() else { panic!("{shards:?}") };
        assert_eq!(owned, &array([int(first.into()), int(last.into())]));
        assert_eq!(nodes.elements()[0].elements()[2..4], [bulk("port"), int(port.into())]);
        assert!(conn.ask("INFO").text().contains("cluster_enabled:1"));
        assert_eq!(conn.ask("CONFIG GET cluster-enabled"), array([bulk("cluster-enabled"), bulk("yes")]));
    }
    assert_eq!(ids.len(), SHARD_COUNT);
}

#[test]
fn a_shard_s_own_port_never_uses_the_mesh() {
    let server = cluster();
    let before = batches_sent(&server);
    let keys = spread_keys("own:", SHARD_COUNT);
    for (conn, key) in direct(&server).iter_mut().zip(&keys) {
        let tagged = |n: usize| format!("{{{key}}}{n}");
        for _ in 0..100 {
            assert!(!conn.ask(&format!("INCR {key}")).is_error());
        }
        conn.expect(&format!("MSET {} 1 {} 2", tagged(1), tagged(2)), ok());
        conn.expect(&format!("MGET {key} {}", tagged(2)), array([bulk("100"), bulk("2")]));
        conn.expect("MULTI", ok());
        conn.expect(&format!("INCR {key}"), simple("QUEUED"));
        conn.expect("DBSIZE", simple("QUEUED"));
        conn.expect("EXEC", array([int(101), int(3)]));
        conn.expect(&format!("RENAME {} {}", tagged(1), tagged(3)), ok());
        // The other shards' counters are other nodes'.
        conn.expect("DBSIZE", int(3));
        assert_eq!(conn.ask("KEYS *").elements().len(), 3);
        assert_eq!(conn.ask("SCAN 0 COUNT 1000").elements()[1].elements().len(), 3);
        let slot = slot_of(key.as_bytes());
        conn.expect(&format!("CLUSTER COUNTKEYSINSLOT {slot}"), int(3));
        assert_eq!(conn.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 2")).elements().len(), 2);
        assert_eq!(conn.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 1000")).elements().len(), 3);
    }
    assert_eq!(batches_sent(&server), before);
    let mut main = server.connect();
    main.expect("DBSIZE", int(9));
    main.expect(&format!("EXISTS {}", keys.join(" ")), int(3));
    assert!(batches_sent(&server) > before, "the main port does");
    let slot = slot_of(keys[2].as_bytes());
    main.expect(&format!("CLUSTER COUNTKEYSINSLOT {slot}"), int(3));
    let first = &mut direct(&server)[0];
    first.expect(&format!("CLUSTER COUNTKEYSINSLOT {slot}"), int(0));
    first.expect(&format!("CLUSTER GETKEYSINSLOT {slot} 10"), array([]));
    first.expect("FLUSHALL", ok());
    main.expect("DBSIZE", int(6));
}

#[test]
fn transactions_stay_in_one_slot() {
    let server = cluster();
    let crosses = error("CROSSSLOT Keys in request don't hash to the same slot");
    // Two slots of shard 2, and one of shard 0.
    let (mut main, mut conn) = (server.connect(), direct(&server).remove(2));
    for (lines, last) in [
        (&["WATCH a", "MULTI", "INCR a", "INCR d", "EXEC"][..], crosses.clone()),
        (&["MULTI", "INCR b", "EXEC"], error("EXECABORT Transaction discarded because of previous errors.")),
        (&["EXEC"], error("ERR EXEC without MULTI")),
        (&["MULTI", "INCR {a}1", "INCR {a}2", "EXEC"], array([int(1), int(1)])),
        (&["WATCH a d"], crosses),
    ] {
        let replies: Vec<Reply> = lines.iter().map(|line| conn.ask(line)).collect();
        assert_eq!(replies.last(), Some(&last), "{lines:?}");
    }
    for line in ["MULTI", "INCR a", "INCR b", "INCR d"] {
        assert!(!main.ask(line).is_error());
    }
    main.expect("EXEC", array([int(1), int(1), int(1)]));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let mut try_count = 0;
    for _ in 0..1_000 {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = taken.local_addr().expect("it is bound").port();
        // The tests beside this one have thousands of connections, each with a port.
        if !is_free(port - 1) || !is_free(port - 2) {
            continue;
        }
        try_count += 1;
        let mut command = Command::new(binary());
        command.args(["serve", "--cluster", "--threads", "3", "--pin", "none", "--port", &(port - 2).to_string()]);
        command.args(["--appendonly", "no"]);
        let Finished { status, stdout, stderr } = run(command, b"", CLIENT_LIMIT);
        let output = stdout + &stderr;
        assert_eq!(status.code(), Some(1), "{output}");
        if output.contains(&format!("127.0.0.1:{port} is taken by another program")) {
            return;
        }
        // Another program may have taken one of the ports before it since.
        assert!(output.contains("is taken by another program"), "{output}");
    }
    panic!("in {try_count} tries another port was taken");
}

#[test]
fn who_is_let_in_is_the_same_on_every_port() {
    let server = Server::start_with(2, &["--cluster-enabled", "yes", "--maxclients", "32", "--requirepass", "secret"]);
    let mut main = server.connect();
    main.expect("AUTH secret", ok());
    let (_, _, port) = slots(&mut main)[1];
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut own: Vec<Conn> = (0..31).map(|_| Conn::tcp(address)).collect();
    let mut conn = own.pop().expect("31");
    conn.expect_error("GET a", "NOAUTH Authentication required.");
    conn.expect("AUTH secret", ok());
    conn.expect("GET a", Reply::NullBulk);
    assert_eq!(Conn::tcp(address).read(), error("ERR max number of clients reached"));
}

fn redis_cli(program: &Path, port: &str, args: &[&str], input: &str) -> String {
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", port]).args(args);
    let Finished { status, stdout, stderr } = run(command, input.as_bytes(), CLIENT_LIMIT);
    assert!(status.success(), "redis-cli {args:?}: {status}\n{stdout}\n{stderr}");
    stdout
}

#[test]
fn redis_cli_follows() {
    let Some(program) = peer_or_skip("redis-cli") else { return };
    let server = cluster();
    let ports: Vec<String> = slots(&mut server.connect()).iter().map(|(.., port)| port.to_string()).collect();
    let lines: String = (0..60).map(|index| format!("INCRBY key:{} 2\n", index % 20)).collect();
    for port in &ports {
        let output = redis_cli(&program, port, &["-c"], &lines);
        assert!(!output.contains("MOVED") && !output.contains("ERR"), "{output}");
    }
    assert_eq!(redis_cli(&program, &ports[0], &["-c", "get", "key:7"], ""), "18\n");
    // A plain client on the main port.
    let output = redis_cli(&program, &server.port(), &[], &lines);
    assert!(!output.contains("MOVED"), "{output}");
    assert_eq!(redis_cli(&program, &server.port(), &["get", "key:7"], ""), "24\n");
    let check = redis_cli(&program, &ports[0], &["--cluster", "check", &format!("127.0.0.1:{}", ports[0])], "");
    assert!(check.contains("[OK] All 16384 slots covered."), "{check}");
}

#[test]
fn redis_benchmark_goes_to_the_shards() {
    let Some(program) = peer_or_skip("redis-benchmark") else { return };
    let server = cluster();
    let (_, _, port) = slots(&mut server.connect())[0];
    let before = batches_sent(&server);
    let mut command = Command::new(program);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "--cluster", "-t", "incr", "-n", "100000", "-q"]);
    command.args(["-P", "16", "-r", "1000"]);
    let Finished { status, stdout, stderr } = run(command, b"", CLIENT_LIMIT);
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    assert!(stdout.contains("Cluster has 3 master nodes"), "{stdout}\n{stderr}");
    assert!(stdout.contains("requests per second"), "{stdout}\n{stderr}");
    assert_eq!(batches_sent(&server), before, "every command was sent to the shard that owns its key");
    let mut main = server.connect();
    let keys = main.ask("KEYS *");
    let values = keys.elements().iter().map(|key| main.ask(&format!("GET {}", key.text())).as_count());
    assert!(values.sum::<i64>() >= 100_000);
}

#[test]
fn the_redis_crate_s_cluster_client() {
    let server = cluster();
    let ports: Vec<u16> = slots(&mut server.connect()).iter().map(|(.., port)| *port).collect();
    for start in [server.address().port(), ports[1]] {
        server.connect().expect("FLUSHALL", ok());
        let client = redis::cluster::ClusterClient::new([format!("redis://127.0.0.1:{start}/")]).expect("an address");
        let mut conn = client.get_connection().expect("a connection");
        let before = batches_sent(&server);
        for index in 0..300 {
            let value: i64 =
                redis::cmd("INCRBY").arg(format!("key:{}", index % 100)).arg(2).query(&mut conn).expect("INCRBY");
            assert_eq!(value, 2 * (index / 100 + 1));
        }
        let mut pipe = redis::cluster::cluster_pipe();
        (0..100).for_each(|index| {
            pipe.incr(format!("key:{index}"), 1);
        });
        let values: Vec<i64> = pipe.query(&mut conn).expect("a pipeline");
        assert_eq!(values, [7; 100]);
        assert_eq!(batches_sent(&server), before, "it goes to the shards");
        server.connect().expect("DBSIZE", int(100));
    }
}

#[test]
fn redis_py_s_cluster_client() {
    let Some(python) = peer_or_skip("python3") else { return };
    let server = cluster();
    let mut command = Command::new(&python);
    command.arg("-B").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/redis_py_cluster.py"));
    command.arg(server.port()).arg(SHARD_COUNT.to_string());
    let Finished { status, stdout, stderr } = run(command, b"", CLIENT_LIMIT);
    if status.code() == Some(EXIT_LEFT_OUT) {
        left_out(stdout.trim());
        return;
    }
    assert!(status.success(), "redis_py_cluster.py: {status}\n{stdout}\n{stderr}");
    assert!(stdout.trim().ends_with("all passed"), "{stdout}\n{stderr}");
}
