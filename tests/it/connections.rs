//! What clients are told about each other, and what they can do to each other.

use std::time::{Duration, Instant};

use crate::support::{Conn, ReadError, Reply, Server, array, bulk, error, int, ok, simple, wire, within};

/// `name=value` of one line of `CLIENT LIST`.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn clients_are_listed_and_found() {
    let server = Server::start(3);
    let mut conns: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for (index, conn) in conns.iter_mut().enumerate() {
        conn.expect(&format!("CLIENT SETNAME client-{index}"), ok());
        conn.expect("CLIENT SETINFO LIB-NAME tests", ok());
        conn.expect("CLIENT SETINFO LIB-VER 1.2", ok());
    }
    let mut ids: Vec<i64> = conns.iter_mut().map(|conn| conn.ask("CLIENT ID").as_int()).collect();
    let list = conns[0].ask("CLIENT LIST").text();
    for (index, id) in ids.iter().enumerate() {
        let line = list.lines().find(|line| field(line, "id") == Some(&id.to_string()));
        let line = line.unwrap_or_else(|| panic!("client {id} is listed:\n{list}"));
        assert_eq!(field(line, "name"), Some(&format!("client-{index}")[..]), "{line}");
        assert_eq!(field(line, "laddr"), Some(&server.address().to_string()[..]), "{line}");
        assert_eq!(field(line, "lib-name"), Some("tests"), "{line}");
        assert_eq!(field(line, "lib-ver"), Some("1.2"), "{line}");
        assert_eq!(field(line, "db"), Some("0"), "{line}");
        assert!(field(line, "addr").is_some_and(|addr| addr.starts_with("127.0.0.1:")), "{line}");
    }
    let one = conns[0].ask(&format!("CLIENT LIST ID {}", ids[3])).text();
    assert_eq!(one.lines().filter(|line| !line.is_empty()).count(), 1, "{one}");
    assert_eq!(field(&one, "name"), Some("client-3"));
    let own = conns[5].ask("CLIENT INFO").text();
    assert_eq!(field(&own, "id"), Some(&ids[5].to_string()[..]));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "identities are unique");
}

#[test]
fn clients_can_be_ended() {
    let server = Server::start(3);
    let mut killer = server.connect();
    for form in ["ID", "ADDR", "old"] {
        let mut victims: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for victim in &mut victims {
            let line = victim.ask("CLIENT INFO").text();
            let addr = field(&line, "addr").expect("an address").to_owned();
            let id = field(&line, "id").expect("an identity").to_owned();
            match form {
                "ID" => killer.expect(&format!("CLIENT KILL ID {id}"), int(1)),
                "ADDR" => killer.expect(&format!("CLIENT KILL ADDR {addr}"), int(1)),
                _ => killer.expect(&format!("CLIENT KILL {addr}"), ok()),
            }
            assert_eq!(victim.try_read(), Err(ReadError::Closed), "after CLIENT KILL {form}");
        }
    }
    // By filter everyone else goes, and the asking client stays.
    let mut others: Vec<_> = (0..5).map(|_| server.connect()).collect();
    for other in &mut others {
        other.expect("PING", simple("PONG"));
    }
    within(Duration::from_secs(10), "the clients that were ended are gone", || {
        killer.ask("CLIENT LIST").text().lines().filter(|line| !line.is_empty()).count() == 6
    });
    killer.expect("CLIENT KILL TYPE normal", int(5));
    for other in &mut others {
        assert_eq!(other.try_read(), Err(ReadError::Closed));
    }
    // Even itself, after the reply.
    let id = killer.ask("CLIENT ID").as_int();
    killer.expect(&format!("CLIENT KILL ID {id} SKIPME no"), int(1));
    assert_eq!(killer.try_read(), Err(ReadError::Closed));
}

#[test]
fn who_ends_itself_in_a_transaction_leaves_behind_it() {
    let server = Server::start(3);
    for kill in ["CLIENT KILL TYPE normal SKIPME no", "CLIENT KILL ADDR OWN SKIPME no"] {
        let mut conn = server.connect();
        let line = conn.ask("CLIENT INFO").text();
        let kill = kill.replace("OWN", field(&line, "addr").expect("an address"));
        conn.expect("MULTI", ok());
        for command in ["INCR a", &kill, "PING", "MGET a nosuch", "DBSIZE", "ECHO end"] {
            conn.expect(command, simple("QUEUED"));
        }
        // What is behind it is not carried out any more.
        conn.send(&[wire(["EXEC"]), wire(["INCR", "b"])].concat());
        let replies = conn.read().elements().to_vec();
        assert_eq!(replies.len(), 6, "{replies:?}");
        assert_eq!(replies[1..3], [int(1), simple("PONG")]);
        assert_eq!(replies[4..], [int(1), bulk("end")]);
        assert_eq!(conn.try_read(), Err(ReadError::Closed));
    }
    let mut conn = server.connect();
    conn.expect("GET a", bulk("2"));
    conn.expect("EXISTS b", int(0));
}

#[test]
fn what_an_aborted_transaction_is_sent_is_not_counted() {
    let server = Server::start(1);
    let mut conn = server.connect();
    conn.expect("MULTI", ok());
    conn.expect("INCR a", simple("QUEUED"));
    assert!(matches!(conn.ask("NOSUCH"), Reply::Error(_)));
    conn.expect("MGET a b", simple("QUEUED"));
    let line = server.connect().ask("CLIENT LIST").text();
    let of_transaction = line.lines().find(|line| field(line, "multi") != Some("-1")).expect("it is listed");
    assert_eq!(field(of_transaction, "multi"), Some("1"), "{line}");
}

#[test]
fn a_pause_keeps_nobody_who_has_gone() {
    let server = Server::start(2);
    let mut operator = server.connect();
    let mut gone: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let mut stays = server.connect();
    stays.expect("INCR a", int(1));
    operator.expect("CLIENT PAUSE 60000 WRITE", ok());
    let ids: Vec<i64> = gone[..3].iter_mut().map(|conn| conn.ask("CLIENT ID").as_int()).collect();
    for conn in gone.iter_mut().chain([&mut stays]) {
        conn.send(&wire(["INCR", "a"]));
    }
    let left_count = |operator: &mut Conn, count: usize| {
        within(Duration::from_secs(10), "clients that have gone are not kept", || {
            operator.ask("CLIENT LIST").text().lines().filter(|line| !line.is_empty()).count() == count
        });
    };
    left_count(&mut operator, 8);
    drop(gone.split_off(3));
    left_count(&mut operator, 5);
    for id in ids {
        operator.expect(&format!("CLIENT KILL ID {id}"), int(1));
    }
    left_count(&mut operator, 2);
    operator.expect("CLIENT UNPAUSE", ok());
    assert_eq!(stays.read(), int(2));
}

#[test]
fn a_pause_holds_commands_back_and_ends() {
    let server = Server::start(3);
    let mut operator = server.connect();
    let mut client = server.connect();
    client.expect("INCR a", int(1));
    operator.expect("CLIENT PAUSE 400 WRITE", ok());
    let start = Instant::now();
    client.expect("GET a", bulk("1"));
    client.expect("INCR a", int(2));
    assert!(start.elapsed() >= Duration::from_millis(300), "a write waited for {:?}", start.elapsed());
    let start = Instant::now();
    operator.expect("CLIENT PAUSE 400", ok());
    client.expect("GET a", bulk("2"));
    assert!(start.elapsed() >= Duration::from_millis(300), "a read waited for {:?}", start.elapsed());
    operator.expect("CLIENT PAUSE 60000 WRITE", ok());
    client.send(&[wire(["INCR", "a"]), wire(["PING"])].concat());
    within(Duration::from_secs(10), "the write waits", || {
        operator.ask("CLIENT LIST").text().lines().any(|line| field(line, "qbuf").is_some_and(|bytes| bytes != "0"))
    });
    operator.expect("CLIENT UNPAUSE", ok());
    assert_eq!(client.read_many(2), [int(3), simple("PONG")]);
    // A transaction that writes is a write; one that only reads is none.
    client.expect("MULTI", ok());
    client.expect("INCR a", simple("QUEUED"));
    operator.expect("CLIENT PAUSE 400 WRITE", ok());
    let start = Instant::now();
    operator.expect("MULTI", ok());
    operator.expect("GET a", simple("QUEUED"));
    operator.expect("EXEC", array([bulk("3")]));
    assert!(start.elapsed() < Duration::from_millis(300), "a read waited for {:?}", start.elapsed());
    client.expect("EXEC", array([int(4)]));
    assert!(start.elapsed() >= Duration::from_millis(300), "a write waited for {:?}", start.elapsed());
}

/// More clients than there are windows and buffers for, each with replies in a buffer when its transaction waits.
#[test]
fn transactions_of_many_clients_do_not_wait_in_a_circle() {
    const THREAD_COUNT: usize = 8;
    const CLIENT_COUNT: usize = 75;
    const ROUND_COUNT: usize = 20;
    let server = Server::start_with(2, &["--buffers", "224"]);
    let batch = [wire(["MULTI"]), wire(["INCR", "a"]), wire(["INCR", "b"]), wire(["EXEC"])].concat();
    std::thread::scope(|scope| {
        for _ in 0..THREAD_COUNT {
            let mut conns: Vec<_> = (0..CLIENT_COUNT).map(|_| server.connect()).collect();
            let batch = &batch;
            scope.spawn(move || {
                for _ in 0..ROUND_COUNT {
                    conns.iter_mut().for_each(|conn| conn.send(batch));
                    for conn in &mut conns {
                        let replies = conn.read_many(4);
                        assert_eq!(replies[3].elements().len(), 2, "{replies:?}");
                    }
                }
            });
        }
    });
    let count = (THREAD_COUNT * CLIENT_COUNT * ROUND_COUNT).to_string();
    server.connect().expect("MGET a b", array([bulk(&count), bulk(&count)]));
}

/// More clients than buffers: each is idle between two requests. They come whole, in two pieces, as long batches, and with
/// replies of several buffers.
#[test]
fn more_clients_than_buffers_have_all_their_replies() {
    const CLIENT_COUNT: usize = 100;
    const ROUND_COUNT: usize = 8;
    const LONG_COUNT: usize = 300;
    const MANY_COUNT: usize = 3_000;
    let server = Server::start_with(1, &["--buffers", "16"]);
    let mut conns: Vec<_> = (0..CLIENT_COUNT).map(|_| server.connect()).collect();
    let increment = wire(["INCR", "a"]);
    let long_batch = increment.repeat(LONG_COUNT);
    let many = wire(std::iter::once("MGET").chain(std::iter::repeat_n("always", MANY_COUNT)));
    conns[0].expect("SET always 123456789", ok());
    let mut sent_count = 0;
    for round in 0..ROUND_COUNT {
        let request = |client: usize| match (client + round) % 4 {
            0 | 1 => (&increment, 1),
            2 => (&long_batch, LONG_COUNT),
            _ => (&many, 0),
        };
        for (client, conn) in conns.iter_mut().enumerate() {
            let (bytes, count) = request(client);
            let end = if (client + round) % 4 == 0 { bytes.len() } else { bytes.len() / 2 };
            conn.send(&bytes[..end]);
            sent_count += count;
        }
        for (client, conn) in conns.iter_mut().enumerate() {
            let (bytes, count) = request(client);
            if (client + round) % 4 > 0 {
                conn.send(&bytes[bytes.len() / 2..]);
            }
            let mut last = 0;
            for reply in conn.read_many(count) {
                let Reply::Int(value) = reply else { panic!("{reply:?}") };
                assert!(value > last, "a client's increments grow: {value} after {last}");
                last = value;
            }
            if count == 0 {
                let replies = conn.read_many(1);
                assert_eq!(replies[0].elements(), vec![bulk("123456789"); MANY_COUNT]);
            }
        }
    }
    conns[0].expect("GET a", bulk(sent_count.to_string()));
}

/// Clients that ask for long replies and do not read them, and one that has a short question.
#[test]
fn long_replies_that_nobody_reads_hold_nobody_up() {
    let server = Server::start(1);
    let mut conn = server.connect();
    for first in (0..60_000).step_by(1_000) {
        let pairs = (first..first + 1_000).flat_map(|key| [format!("{key:059}"), "1".to_owned()]);
        assert_eq!(conn.call(std::iter::once("MSET".to_owned()).chain(pairs)), ok());
    }
    let mut deaf: Vec<_> = (0..40).map(|_| server.connect()).collect();
    deaf.iter_mut().for_each(|conn| conn.send(&wire(["KEYS", "*"])));
    within(Duration::from_secs(20), "each has its reply, or goes for others", || {
        let start = Instant::now();
        assert!(!conn.ask("INFO clients").text().is_empty());
        conn.expect("PING", simple("PONG"));
        assert!(start.elapsed() < Duration::from_millis(700), "an honest client waited for {:?}", start.elapsed());
        let stats = conn.ask("INFO commandstats").text();
        stats.lines().any(|line| line.starts_with("cmdstat_keys:calls=40,"))
    });
}

#[test]
fn info_has_what_clients_read() {
    let server = Server::start(2);
    let mut conn = server.connect();
    conn.expect("INCR a", int(1));
    conn.expect("SET b 1 EX 1000", ok());
    let info = conn.ask("INFO").text();
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    for name in ["redis_version", "redis_mode", "run_id", "uptime_in_seconds", "used_memory", "maxmemory", "process_id"]
    {
        assert!(value(name).is_some_and(|value| !value.is_empty()), "INFO has {name}:\n{info}");
    }
    assert_eq!(value("tcp_port"), Some(&server.port()[..]));
    assert_eq!(value("role"), Some("master"));
    assert_eq!(value("loading"), Some("0"));
    assert_eq!(value("connected_clients"), Some("1"));
    let keys = value("db0").unwrap_or_else(|| panic!("INFO has db0:\n{info}"));
    assert!(keys.starts_with("keys=2,expires=1"), "{keys}");
    assert!(info.lines().any(|line| line == "# Server"), "{info}");
    let server_only = conn.ask("INFO server").text();
    assert!(server_only.contains("redis_version:") && !server_only.contains("used_memory:"), "{server_only}");
    assert_eq!(conn.ask("INFO nosuchsection").text(), "");
}

#[test]
fn settings_are_read_and_changed() {
    let server = Server::start(2);
    let mut conn = server.connect();
    assert!(matches!(conn.ask("HELLO 3"), Reply::Map(_)));
    let setting = |value: &str| Reply::Map(vec![(bulk("timeout"), bulk(value))]);
    conn.expect("CONFIG GET timeout", setting("0"));
    conn.expect("CONFIG SET timeout 1", ok());
    conn.expect("CONFIG GET timeout", setting("1"));
    // It holds for connections that were there before, on every shard.
    let mut idle: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for conn in &mut idle {
        conn.expect_closed();
    }
    conn = server.connect();
    conn.expect("CONFIG SET timeout 0", ok());
    conn.expect("CONFIG SET requirepass secret", ok());
    server.connect().expect_error("PING", "NOAUTH Authentication required.");
    let mut other = server.connect();
    other.expect("AUTH secret", ok());
    other.expect("CONFIG SET requirepass x", ok());
    server.connect().expect("AUTH x", ok());
    conn.expect("PING", simple("PONG"));
}

#[test]
fn debug_is_behind_a_flag() {
    let server = Server::start(2);
    let reply = server.connect().ask("DEBUG SLEEP 0");
    assert!(reply.text().starts_with("ERR DEBUG command not allowed"), "{reply:?}");
    let server = Server::start_with(2, &["--enable-debug-command", "yes"]);
    let mut conn = server.connect();
    let start = Instant::now();
    conn.expect("DEBUG SLEEP 0.2", ok());
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn transactions_are_bounded() {
    let server = Server::start(3);
    let mut conn = server.connect();
    let mut bytes = wire(["MULTI"]);
    for index in 0..10_000 {
        bytes.extend(wire(["INCR", ["a", "b", "c", "d"][index % 4]]));
    }
    bytes.extend(wire(["EXEC"]));
    let replies = conn.exchange(&bytes, 10_002);
    assert_eq!(replies[1..10_001], vec![simple("QUEUED"); 10_000]);
    assert_eq!(replies[10_001].elements().len(), 10_000);
    assert_eq!(replies[10_001].elements()[9_999], int(2_500));
    // Far past what a transaction may hold: an error, and the connection lives.
    let key = "k".repeat(1000);
    let mut bytes = wire(["MULTI"]);
    for _ in 0..5_000 {
        bytes.extend(wire(["INCR", &key]));
    }
    bytes.extend(wire(["EXEC"]));
    let replies = conn.exchange(&bytes, 5_002);
    assert!(replies[5_000].is_error(), "{:?}", replies[5_000]);
    assert_eq!(replies[5_001], error("EXECABORT Transaction discarded because of previous errors."));
    conn.expect(&format!("EXISTS {key}"), int(0));
    conn.expect("PING", simple("PONG"));
}

#[test]
fn who_sends_much_does_not_wait_for_who_has_sent_much() {
    let server = Server::start(1);
    let mut conns: Vec<_> = (0..10).map(|_| server.connect()).collect();
    let batch = wire(["INCR", "many"]).repeat(500);
    let start = Instant::now();
    let mut count = 0;
    for _ in 0..100 {
        // Each finds that those before it have had their turn and are idle.
        for conn in &mut conns {
            let replies = conn.exchange(&batch, 500);
            count += 500;
            assert_eq!(replies.last(), Some(&int(count)));
        }
    }
    // It took several times as long when they waited for the shard's upkeep.
    assert!(start.elapsed() < Duration::from_secs(2), "1,000 batches took {:?}", start.elapsed());
}
