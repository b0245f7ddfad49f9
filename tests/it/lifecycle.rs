//! Start, stop, and the limits that the operator sets.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use crate::support::{
    Conn, Finished, PROCESS_LIMIT, RedisServer, Reply, Server, binary, bulk, error, int, ok, peer_or_skip, run,
    serve_command, simple, wire, within,
};

const NOAUTH: &str = "NOAUTH Authentication required.";

#[test]
fn a_signal_ends_it_after_what_was_received_is_answered() {
    for (signal, shard_count) in [(Signal::TERM, 1), (Signal::INT, 3)] {
        let mut server = Server::start(shard_count);
        let mut idle = server.connect();
        idle.expect("PING", simple("PONG"));
        let mut conn = server.connect();
        conn.expect("PING", simple("PONG"));
        let bytes: Vec<u8> = (0..1000).flat_map(|index| wire(["INCR", ["a", "b", "c", "d"][index % 4]])).collect();
        // What is there when the signal comes is answered; the replies are read only behind it.
        conn.send(&bytes);
        server.signal(signal);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        let replies = conn.read_many(1000);
        assert_eq!(replies[999], int(250));
        conn.expect_closed();
        idle.expect_closed();
    }
}

#[test]
fn a_signal_in_the_middle_of_a_pipeline_gives_whole_replies() {
    let mut server = Server::start(2);
    let mut conn = server.connect();
    let bytes: Vec<u8> = (0..20_000).flat_map(|index| wire(["INCR", ["a", "b", "c"][index % 3]])).collect();
    conn.set_write_limit(Duration::from_secs(2));
    let _ = conn.try_send(&bytes);
    server.signal(Signal::TERM);
    let mut answered = 0;
    while let Ok(reply) = conn.try_read() {
        answered += 1;
        assert_eq!(reply, int((answered + 2) / 3), "reply {answered}");
    }
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn clients_that_hang_do_not_hold_up_the_end() {
    let mut server = Server::start(2);
    let mut half = server.connect();
    half.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1");
    let mut many = server.connect();
    many.send(b"*1000000\r\n$4\r\nMGET\r\n$1\r\na\r\n");
    let mut open = server.connect();
    open.expect("MULTI", ok());
    let mut deaf = server.connect();
    deaf.set_write_limit(Duration::from_millis(300));
    let request: Vec<u8> = (0..500).flat_map(|_| wire(["ECHO".as_bytes(), &[b'e'; 4000]])).collect();
    for _ in 0..20 {
        if deaf.try_send(&request).is_err() {
            break;
        }
    }
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn shutdown_ends_it() {
    for line in ["SHUTDOWN", "SHUTDOWN NOSAVE"] {
        let mut server = Server::start(2);
        let mut conn = server.connect();
        conn.expect("INCR a", int(1));
        conn.send(&wire(line.split(' ')));
        conn.expect_closed();
        assert_eq!(server.wait().code(), Some(0), "{line}");
    }
}

#[test]
fn who_restarts_it_at_once_finds_its_addresses_free() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("socket");
    let at = |port: &str| {
        let mut command = Command::new(binary());
        command.args(["serve", "--port", port, "--bind", "127.0.0.1", "--threads", "2", "--pin", "none"]);
        command.args(["--log-level", "info", "--appendonly", "no", "--unixsocket"]).arg(&path);
        Server::spawn(command)
    };
    let mut server = at("0");
    for signal in [Signal::KILL, Signal::TERM].into_iter().cycle().take(6) {
        server.connect().expect("PING", simple("PONG"));
        server.signal(signal);
        server.wait();
        // The kernel gives back what a ring has held some milliseconds after its process has ended.
        server = at(&server.port());
    }
    server.connect().expect("PING", simple("PONG"));
}

#[test]
fn the_service_manager_is_told_when_it_serves_and_when_it_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("notify");
    let manager = UnixDatagram::bind(&place).expect("a socket");
    manager.set_read_timeout(Some(PROCESS_LIMIT)).expect("a time limit");
    let told = || {
        let mut bytes = [0; 64];
        let count = manager.recv(&mut bytes).expect("the manager is told");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    let mut command = serve_command(&binary(), 2, &[]);
    command.env("NOTIFY_SOCKET", &place);
    let mut server = Server::spawn(command);
    assert_eq!(told(), "READY=1\n");
    server.connect().expect("INCR a", int(1));
    server.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1\n");
    assert_eq!(server.wait().code(), Some(0));
    // Nobody listens there any more: it is said, and served all the same.
    drop(manager);
    let mut command = serve_command(&binary(), 1, &[]);
    command.env("NOTIFY_SOCKET", &place);
    let server = Server::spawn(command);
    server.connect().expect("PING", simple("PONG"));
    within(PROCESS_LIMIT, "the log says so", || server.log().iter().any(|line| line.contains("NOTIFY_SOCKET")));
}

/// Run the server until it refuses to start.
fn refused(args: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(["serve", "--appendonly", "no"]).args(args);
    let finished = run(command, b"", PROCESS_LIMIT);
    assert!(!finished.status.success(), "{args:?} is refused");
    finished
}

#[test]
fn a_port_that_is_taken_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = holder.local_addr().expect("bound").port().to_string();
    let finished = refused(&["--port", &port, "--threads", "2", "--pin", "none"]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.contains(&port), "the port is named: {}", finished.stderr);
    assert!(finished.stderr.contains("--port"), "the remedy is named: {}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("listening on"), "it does not say that it listens: {}", finished.stderr);
}

#[test]
fn wrong_flags_and_values_are_named() {
    for args in [
        &["--nosuchflag"][..],
        &["--port", "x"],
        &["--port", "65536"],
        &["--threads", "0"],
        &["--threads", "100000"],
        &["--log-level", "loud"],
        &["--maxmemory", "x"],
    ] {
        let finished = refused(args);
        assert_eq!(finished.status.code(), Some(2), "{args:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(args[0]), "{args:?} is named: {}", finished.stderr);
    }
}

#[test]
fn a_configuration_file_is_read_and_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tallyring.toml");
    let file = path.to_str().expect("UTF-8");
    std::fs::write(&path, "port = 0\nnosuchkey = 1\n").expect("written");
    let finished = refused(&["--config", file]);
    assert!(finished.stderr.contains("nosuchkey"), "the key is named: {}", finished.stderr);
    std::fs::write(&path, "port = \n").expect("written");
    let finished = refused(&["--config", file]);
    assert!(finished.stderr.contains("tallyring.toml"), "the file is named: {}", finished.stderr);
    let missing = dir.path().join("nosuch.toml");
    let finished = refused(&["--config", missing.to_str().expect("UTF-8")]);
    assert!(finished.stderr.contains("nosuch.toml"), "the file is named: {}", finished.stderr);
    // A flag wins over the file: the port is the flag's, the password the file's.
    std::fs::write(&path, "port = 1\nrequirepass = \"secret\"\nmaxclients = 100\n").expect("written");
    let server = Server::start_with(1, &["--config", file]);
    let mut conn = server.connect();
    conn.expect_error("PING", NOAUTH);
    conn.expect("AUTH secret", ok());
    conn.expect("PING", simple("PONG"));
}

#[test]
fn the_log_says_what_was_started() {
    let server = Server::start(2);
    let log = server.log().join("\n").to_lowercase();
    for word in [env!("CARGO_PKG_VERSION"), "shard", "buffer", "memory", "listening on"] {
        assert!(log.contains(word), "the log says \"{word}\":\n{log}");
    }
}

#[test]
fn maxclients_refuses_and_recovers() {
    let server = Server::start_with(2, &["--maxclients", "10"]);
    let mut conns: Vec<Conn> = (0..10).map(|_| server.connect()).collect();
    for conn in &mut conns {
        conn.expect("PING", simple("PONG"));
    }
    for _ in 0..3 {
        let mut refused = server.connect();
        assert_eq!(refused.read(), error("ERR max number of clients reached"));
        refused.expect_closed();
    }
    for conn in &mut conns {
        conn.expect("PING", simple("PONG"));
    }
    conns.truncate(8);
    // The server sees the closed ones in its own time.
    within(Duration::from_secs(10), "a place is free", || {
        let mut conn = server.connect();
        conn.try_send(&wire(["PING"])).is_ok() && conn.try_read() == Ok(simple("PONG"))
    });
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start_with(2, &["--requirepass", "secret"]);
    let mut conn = server.connect();
    for line in
        ["PING", "GET a", "INCR a", "MGET a b", "INFO", "CONFIG GET *", "CLIENT LIST", "MULTI", "SHUTDOWN", "COMMAND"]
    {
        conn.expect_error(line, NOAUTH);
    }
    conn.expect_error("AUTH wrong", "WRONGPASS invalid username-password pair or user is disabled.");
    conn.expect_error("AUTH secretx", "WRONGPASS invalid username-password pair or user is disabled.");
    conn.expect_error("AUTH nobody secret", "WRONGPASS invalid username-password pair or user is disabled.");
    conn.expect_error("GET a", NOAUTH);
    conn.expect("AUTH secret", ok());
    conn.expect("INCR a", int(1));
    conn.expect("RESET", simple("RESET"));
    conn.expect_error("GET a", NOAUTH);
    conn.expect("AUTH default secret", ok());
    conn.expect("GET a", bulk("1"));
    let mut conn = server.connect();
    let reply = conn.ask("HELLO 3");
    assert!(reply.text().starts_with("NOAUTH HELLO must be called with the client already authenticated"), "{reply:?}");
    conn.expect_error("HELLO 3 AUTH default wrong", "WRONGPASS invalid username-password pair or user is disabled.");
    assert!(matches!(conn.ask("HELLO 3 AUTH default secret"), Reply::Map(_)));
    conn.expect("GET nosuch", Reply::Null);
}

#[test]
fn before_the_password_requests_are_short() {
    let server = Server::start_with(1, &["--requirepass", "secret"]);
    let redis = RedisServer::start_or_skip(&["--requirepass", "secret"]);
    let cases: [(&[u8], &str); 3] = [
        (b"*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*1000000\r\n$3\r\nDEL\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*2\r\n$4\r\nAUTH\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ];
    for (bytes, expected) in cases {
        let conns = [("tallyring", Some(server.connect())), ("redis-server", redis.as_ref().map(RedisServer::connect))];
        for (name, conn) in conns {
            let Some(mut conn) = conn else { continue };
            conn.send(bytes);
            let answer = conn.read_to_end();
            assert_eq!(String::from_utf8_lossy(&answer), expected, "{name} on \"{}\"", bytes.escape_ascii());
        }
    }
    // Who came as a stranger is none any more where there is no password.
    let mut stranger = server.connect();
    stranger.expect_error("GET a", NOAUTH);
    let mut operator = server.connect();
    operator.expect("AUTH secret", ok());
    assert_eq!(operator.call(["CONFIG", "SET", "requirepass", ""]), ok());
    assert_eq!(stranger.ask("MGET 1 2 3 4 5 6 7 8 9 10 11 12").elements().len(), 12);
    operator.expect("CONFIG SET requirepass secret", ok());
    stranger.expect_error("GET a", NOAUTH);
    // Ten are allowed, and afterwards any number.
    let mut conn = server.connect();
    conn.expect_error("MGET 1 2 3 4 5 6 7 8 9", NOAUTH);
    conn.expect("AUTH secret", ok());
    assert_eq!(conn.ask("MGET 1 2 3 4 5 6 7 8 9 10 11 12").elements().len(), 12);
}

#[test]
fn timeout_ends_idle_connections_only() {
    let server = Server::start_with(2, &["--timeout", "1"]);
    let mut idle = server.connect();
    idle.expect("PING", simple("PONG"));
    let mut active = server.connect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(3500) {
        active.expect("PING", simple("PONG"));
        std::thread::sleep(Duration::from_millis(200));
    }
    idle.expect_closed();
    assert!(start.elapsed() < Duration::from_secs(6), "it was closed after {:?}", start.elapsed());
    active.expect("PING", simple("PONG"));
}

#[test]
fn a_unix_socket_is_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("tallyring.sock");
    let server = Server::start_with(2, &["--unixsocket", path.to_str().expect("UTF-8")]);
    within(PROCESS_LIMIT, "the socket is named in the log", || {
        server.log().iter().any(|line| line.contains(&format!("listening on unix:{}", path.display())))
    });
    let mut conn = Conn::unix(&path);
    conn.expect("INCR a", int(1));
    let bytes: Vec<u8> = (0..2000).flat_map(|_| wire(["INCR", "a"])).collect();
    assert_eq!(conn.exchange(&bytes, 2000)[1999], int(2001));
    server.connect().expect("GET a", bulk("2001"));
}

#[test]
fn maxmemory_refuses_new_counters_and_counts_existing_ones() {
    const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
    let server = Server::start_with(2, &["--maxmemory", "4194304"]);
    let mut conn = server.connect();
    conn.expect("SET existing 1", ok());
    let mut refused = false;
    for batch in 0..100 {
        let bytes: Vec<u8> =
            (0..5000).flat_map(|index| wire(["INCR".to_owned(), format!("fill:{batch}:{index}")])).collect();
        let replies = conn.exchange(&bytes, 5000);
        assert!(replies.iter().all(|reply| *reply == int(1) || *reply == error(OOM)));
        refused = replies.iter().all(Reply::is_error);
        if refused {
            break;
        }
    }
    assert!(refused, "500,000 counters fit into 4 MiB");
    let full = conn.ask("DBSIZE").as_int();
    for line in ["INCR new", "SET new 1", "MSET new 1", "SETNX new 1", "GETSET new 1", "MSETNX new 1 new2 2"] {
        let reply = conn.ask(line);
        assert!(reply.text().starts_with("OOM command not allowed"), "{line}: {reply:?}");
    }
    assert_eq!(conn.ask("MINCRBY existing 1 new 1"), crate::support::array([int(2), error(OOM)]));
    // A counter takes its room with it; what needs more is refused, and stays where it was.
    for round in 0..20 {
        conn.expect("RENAME existing renamed1", ok());
        let long = format!("{}{round}", "long".repeat(100));
        match conn.ask(&format!("RENAME renamed1 {long}")) {
            reply if reply == ok() => conn.expect(&format!("RENAME {long} existing"), ok()),
            reply => {
                assert_eq!(reply, error(OOM));
                conn.expect("RENAMENX renamed1 existing", int(1));
            }
        }
        conn.expect("INCR existing", int(3 + round));
    }
    conn.expect("INCR existing", int(23));
    conn.expect("SET existing 10", ok());
    conn.expect("DECRBY existing 3", int(7));
    conn.expect("GET existing", bulk("7"));
    conn.expect("DBSIZE", int(full));
    conn.expect("DEL existing", int(1));
    conn.expect("FLUSHALL", ok());
    conn.expect("INCR new", int(1));
}

#[test]
fn expired_counters_vanish_when_touched_and_by_themselves() {
    for shard_count in [1, 3] {
        let server = Server::start(shard_count);
        let mut conn = server.connect();
        conn.expect("SET soon 5 PX 60", ok());
        conn.expect("SET later 5 EX 1000", ok());
        conn.expect("SET never 5", ok());
        within(Duration::from_secs(5), "it expires", || conn.ask("GET soon").is_null());
        conn.expect("TTL soon", int(-2));
        conn.expect("INCR soon", int(1));
        conn.expect("TTL soon", int(-1));
        let bytes: Vec<u8> =
            (0..1000).flat_map(|index| wire(["SET", &format!("px:{index}"), "1", "PX", "300"])).collect();
        assert!(conn.exchange(&bytes, 1000).iter().all(|reply| *reply == ok()));
        let start = Instant::now();
        // Nothing touches them.
        within(Duration::from_secs(10), "the sweep takes them", || conn.ask("DBSIZE") == int(3));
        assert!(start.elapsed() < Duration::from_millis(300 + 2000), "the sweep took {:?}", start.elapsed());
    }
}

/// The server as an ordinary user whose locked memory is limited to `bytes`; `None`, with a line, when that cannot be.
fn with_memlock(bytes: u64, dir: &tempfile::TempDir) -> Option<Command> {
    let prlimit = peer_or_skip("prlimit")?;
    let mut command = Command::new(prlimit);
    command.arg(format!("--memlock={bytes}:{bytes}"));
    let mut program = binary();
    if geteuid().is_root() {
        command.arg(peer_or_skip("setpriv")?).args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        // The build directory need not be open to others.
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open.clone()).expect("permissions");
        let copy = dir.path().join("tallyring");
        std::fs::copy(&program, &copy).expect("a copy");
        std::fs::set_permissions(&copy, open).expect("permissions");
        program = copy;
    }
    let serve = serve_command(&program, 2, &[]);
    command.arg(serve.get_program()).args(serve.get_args());
    Some(command)
}

#[test]
fn an_ordinary_user_with_eight_mebibytes_of_locked_memory_is_served() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(command) = with_memlock(8 * 1024 * 1024, &dir) else { return };
    let server = Server::spawn(command);
    let mut conns: Vec<Conn> = (0..200).map(|_| server.connect()).collect();
    for _ in 0..3 {
        for conn in &mut conns {
            conn.send(&[wire(["INCR", "a"]), wire(["MGET", "a", "b"])].concat());
        }
        for conn in &mut conns {
            conn.read_many(2);
        }
    }
    conns[0].expect("GET a", bulk("600"));
}

#[test]
fn too_little_locked_memory_is_refused_with_a_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(command) = with_memlock(64 * 1024, &dir) else { return };
    let finished = run(command, b"", PROCESS_LIMIT);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(finished.stderr.to_lowercase().contains("memlock"), "the limit is named: {}", finished.stderr);
    assert!(!finished.stderr.contains("panicked"), "{}", finished.stderr);
}

#[test]
fn a_changed_maxmemory_holds_on_all_shards_when_it_is_answered() {
    let server = Server::start(2);
    let mut conn = server.connect();
    for round in 0..5 {
        let names = crate::support::spread_keys(&format!("new:{round}:"), 2);
        conn.expect("CONFIG SET maxmemory 1", ok());
        for name in &names {
            conn.expect_error(&format!("INCR {name}"), "OOM command not allowed when used memory > 'maxmemory'.");
        }
        conn.expect("CONFIG SET maxmemory 0", ok());
        for name in &names {
            conn.expect(&format!("INCR {name}"), int(1));
        }
    }
}

#[test]
fn counters_get_longer_up_to_an_eighth_past_maxmemory() {
    const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
    const MAXMEMORY_BYTES: i64 = 4 << 20;
    const BATCH_COUNT: usize = 4_000;
    let server = Server::start_with(2, &["--maxmemory", "4mb"]);
    let mut conn = server.connect();
    let names = |batch: usize| (0..BATCH_COUNT).map(move |number| format!("{:08}", batch * BATCH_COUNT + number));
    let mut batch_count = 0;
    while !conn
        .exchange(&names(batch_count).flat_map(|name| wire(["INCR", &name])).collect::<Vec<_>>(), BATCH_COUNT)
        .iter()
        .all(Reply::is_error)
    {
        batch_count += 1;
    }
    let mut outcomes = [0; 2];
    for batch in 0..batch_count {
        let long = "9223372036854775807";
        let requests: Vec<u8> =
            names(batch).flat_map(|name| wire(["SET", &name, long, "PX", "1000000", "XX"])).collect();
        for reply in conn.exchange(&requests, BATCH_COUNT) {
            assert!(reply == ok() || reply == error(OOM) || reply.is_null(), "{reply:?}");
            outcomes[0] += usize::from(reply == ok());
            outcomes[1] += usize::from(reply == error(OOM));
        }
    }
    assert!(outcomes.iter().all(|count| *count > 10_000), "{outcomes:?}");
    let memory = conn.ask("INFO memory").text();
    let field = |name: &str| -> i64 {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.expect("a field").parse().expect("a number")
    };
    let (counters_bytes, longest_bytes) = (field("used_memory_dataset"), MAXMEMORY_BYTES + MAXMEMORY_BYTES / 8);
    // Shards learn of each other's growth with their next batch.
    assert!((MAXMEMORY_BYTES..longest_bytes + (256 << 10)).contains(&counters_bytes), "{counters_bytes}");
    assert_eq!(field("used_memory_ceiling"), field("used_memory_startup") + longest_bytes);
    conn.expect("CONFIG SET maxmemory 8mb", ok());
    conn.expect("INCR new", int(1));
}

#[test]
fn the_range_of_tcp_keepalive_is_that_of_the_start() {
    let server = Server::start(1);
    let mut conn = server.connect();
    conn.expect("CONFIG SET tcp-keepalive 32767", ok());
    let failed = "ERR CONFIG SET failed (possibly related to argument 'tcp-keepalive') - ";
    let outside = format!("{failed}argument must be between 0 and 32767 inclusive");
    conn.expect("CONFIG SET tcp-keepalive 32768", error(&outside));
    conn.expect("CONFIG SET tcp-keepalive 100000", error(&outside));
    conn.expect("CONFIG GET tcp-keepalive", crate::support::array([bulk("tcp-keepalive"), bulk("32767")]));
}
