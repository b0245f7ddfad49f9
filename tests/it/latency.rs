//! What the server tells of latencies: histograms, spikes, the slow log, and the counts beside them.

use std::time::Duration;

use crate::support::{
    Conn, RedisServer, Reply, Server, array, bulk, error, int, ok, simple, spread_keys, wire, within,
};

/// How long a shard may take to hear of a send that the client has seen.
const SOON: Duration = Duration::from_secs(10);

/// The pairs of a map, which RESP2 sends as an array.
fn pairs(reply: &Reply) -> Vec<(Reply, Reply)> {
    match reply {
        Reply::Map(pairs) => pairs.clone(),
        Reply::Array(elements) => elements.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect(),
        other => panic!("a map was expected, not {other:?}"),
    }
}

/// A command's name, its calls, and its buckets: up to so many microseconds, so many calls.
type Named = (String, i64, Vec<(i64, i64)>);

/// Of one reply to `LATENCY HISTOGRAM`: each command's calls and buckets, after checking their shape.
fn histograms(reply: &Reply) -> Vec<Named> {
    let entries = pairs(reply).into_iter().map(|(name, entry)| {
        let fields = pairs(&entry);
        let names: Vec<String> = fields.iter().map(|(field, _)| field.text()).collect();
        assert_eq!(names, ["calls", "histogram_usec"], "{name:?}");
        let calls = fields[0].1.as_int();
        let buckets: Vec<(i64, i64)> =
            pairs(&fields[1].1).iter().map(|(bound, count)| (bound.as_int(), count.as_int())).collect();
        assert!(buckets.is_sorted_by(|left, right| left.0 < right.0 && left.1 < right.1), "{name:?} {buckets:?}");
        assert_eq!(buckets.last().map(|(_, count)| *count), Some(calls), "{name:?} {buckets:?}");
        (name.text(), calls, buckets)
    });
    entries.collect()
}

fn calls(conn: &mut Conn, name: &str) -> i64 {
    let found = histograms(&conn.ask(&format!("LATENCY HISTOGRAM {name}")));
    found.iter().find(|(found, ..)| found == name).map_or(0, |(_, calls, _)| *calls)
}

/// `name:value` of `INFO section`.
fn info(conn: &mut Conn, section: &str, name: &str) -> Option<String> {
    let text = conn.ask(&format!("INFO {section}")).text();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::to_owned)
}

/// `field=` of a comma-separated line.
fn field(line: &str, name: &str) -> f64 {
    let value = line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {line}"))
}

#[test]
fn every_command_is_in_a_histogram_whatever_shard_it_came_to() {
    let server = Server::start(3);
    let keys = spread_keys("k", 3);
    let mut conns: Vec<Conn> = (0..6).map(|_| server.connect()).collect();
    for (index, conn) in conns.iter_mut().enumerate() {
        // Batches of one command, of many, and of many kinds.
        conn.ask(&format!("INCR {}", keys[index % 3]));
        let batch: Vec<u8> = (0..300).flat_map(|n| wire(["INCR", &keys[n % 3]])).collect();
        assert_eq!(conn.exchange(&batch, 300).len(), 300);
        let kinds = ["GET", "TTL", "PTTL", "TYPE", "STRLEN", "PERSIST", "DECR", "EXPIRETIME", "GETDEL", "EXISTS"];
        let batch: Vec<u8> = kinds.iter().flat_map(|kind| wire([kind, &&keys[0][..]])).collect();
        conn.exchange(&batch, kinds.len());
    }
    let mut operator = server.connect();
    within(SOON, "all calls are recorded", || calls(&mut operator, "incr") == 6 * 301);
    for name in ["get", "ttl", "pttl", "type", "strlen", "persist", "decr", "expiretime", "getdel", "exists"] {
        within(SOON, name, || calls(&mut operator, name) == 6);
    }
    // RESP3 has maps.
    operator.ask("HELLO 3");
    let all = operator.ask("LATENCY HISTOGRAM");
    assert!(matches!(all, Reply::Map(_)), "{all:?}");
    let all = histograms(&all);
    assert!(all.iter().any(|(name, calls, _)| name == "latency|histogram" && *calls > 0), "{all:?}");
    assert!(all.iter().all(|(name, ..)| name != "latency" && name != "set"), "{all:?}");
    let incr = info(&mut operator, "latencystats", "latency_percentiles_usec_incr").expect("incr was called");
    let (p50, p99, p999) = (field(&incr, "p50"), field(&incr, "p99"), field(&incr, "p99.9"));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{incr}");
    // Each command passes each stage once.
    let counts: Vec<f64> = ["queue", "execute", "send", "whole"]
        .iter()
        .map(|stage| field(&info(&mut operator, "stages", &format!("stage_nsec_{stage}")).expect("a stage"), "count"))
        .collect();
    assert!(counts[0] >= 6.0 * 311.0 && counts.is_sorted(), "as the asking goes on: {counts:?}");
    assert!(counts[3] - counts[0] <= 4.0, "{counts:?}");
    assert_eq!(info(&mut operator, "default", "latency_percentiles_usec_incr"), None);
    operator.expect("CONFIG RESETSTAT", ok());
    assert_eq!(calls(&mut operator, "incr"), 0);
    assert_eq!(info(&mut operator, "commandstats", "cmdstat_incr"), None);
}

#[test]
fn replies_that_are_not_wanted_and_transactions_are_recorded_too() {
    let server = Server::start(2);
    let mut conn = server.connect();
    conn.send(&[wire(["CLIENT", "REPLY", "OFF"]), wire(["INCR", "a"]), wire(["INCR", "a"])].concat());
    conn.send(&wire(["CLIENT", "REPLY", "ON"]));
    assert_eq!(conn.read(), ok());
    conn.expect("MULTI", ok());
    conn.expect("INCR a", simple("QUEUED"));
    conn.expect("DBSIZE", simple("QUEUED"));
    conn.expect("EXEC", array([int(3), int(1)]));
    for (name, count) in [("incr", 3), ("dbsize", 1), ("exec", 1), ("multi", 1), ("client|reply", 2)] {
        within(SOON, name, || calls(&mut conn, name) == count);
    }
}

#[test]
fn rejected_and_failed_calls_are_counted() {
    let server = Server::start_with(2, &["--requirepass", "secret"]);
    let mut conn = server.connect();
    conn.expect_error("GET a", "NOAUTH Authentication required.");
    conn.expect_error("AUTH wrong", "WRONGPASS invalid username-password pair or user is disabled.");
    conn.expect("AUTH secret", ok());
    conn.expect("SET big 9223372036854775807", ok());
    // In one batch, so that errors must find the command that they belong to.
    let requests = [
        "INCR big",
        "SET a",
        "GET big",
        "INCR big",
        "nosuch x",
        "INCRBY big x",
        "MINCRBY big 1 other 1",
        "MSET big x",
        "CONFIG nosuch",
        "CONFIG GET",
        "EXEC",
        "INCR other",
    ];
    let batch: Vec<u8> = requests.iter().flat_map(|line| wire(line.split(' '))).collect();
    let replies = conn.exchange(&batch, requests.len());
    assert_eq!(replies.iter().filter(|reply| reply.is_error()).count(), 9, "{replies:?}");
    let expected = [
        ("get", 1, 1, 0),
        ("auth", 2, 0, 1),
        ("incr", 3, 0, 2),
        ("set", 1, 1, 0),
        ("incrby", 1, 0, 1),
        ("mincrby", 1, 0, 0),
        ("mset", 1, 0, 1),
        ("config|get", 0, 1, 0),
        ("exec", 1, 0, 1),
    ];
    for (name, calls, rejected, failed) in expected {
        let line = info(&mut conn, "commandstats", &format!("cmdstat_{name}")).unwrap_or_else(|| panic!("{name}"));
        let counts = ["calls", "rejected_calls", "failed_calls"].map(|count| field(&line, count) as i64);
        assert_eq!(counts, [calls, rejected, failed], "{name}: {line}");
    }
    assert_eq!(info(&mut conn, "commandstats", "cmdstat_nosuch"), None);
    assert_eq!(info(&mut conn, "errorstats", "errorstat_NOAUTH").as_deref(), Some("count=1"));
    assert_eq!(info(&mut conn, "errorstats", "errorstat_WRONGPASS").as_deref(), Some("count=1"));
    // The nine, and the one within the array.
    assert_eq!(info(&mut conn, "errorstats", "errorstat_ERR").as_deref(), Some("count=10"));
    assert_eq!(info(&mut conn, "stats", "total_error_replies").as_deref(), Some("12"));
    conn.expect("CONFIG RESETSTAT", ok());
    assert_eq!(info(&mut conn, "errorstats", "errorstat_ERR"), None);
}

#[test]
fn errors_of_a_command_that_spans_windows_are_its_own() {
    let server = Server::start(2);
    let mut conn = server.connect();
    conn.expect("SET ok 1", ok());
    let mut request = vec!["MSET".to_owned()];
    (0..600).for_each(|n| request.extend([format!("k{n}"), if n == 599 { "x".into() } else { n.to_string() }]));
    assert!(conn.call(&request).is_error());
    let line = info(&mut conn, "commandstats", "cmdstat_mset").expect("it was called");
    assert_eq!((field(&line, "calls"), field(&line, "failed_calls")), (1.0, 1.0), "{line}");
}

#[test]
fn a_slow_command_shows_in_the_slow_log_and_in_the_monitor() {
    let server = Server::start_with(2, &["--enable-debug-command", "yes"]);
    let mut conn = server.connect();
    conn.expect("CONFIG SET slowlog-log-slower-than 20000", ok());
    conn.expect("LATENCY LATEST", array([]));
    assert!(conn.ask("LATENCY DOCTOR").text().contains("latency-monitor-threshold"));
    conn.expect("CONFIG SET latency-monitor-threshold 20", ok());
    conn.expect("DEBUG SLEEP 0.05", ok());
    conn.expect("DEBUG SLEEP 0.03", ok());
    let latest = conn.ask("LATENCY LATEST");
    let command = latest.elements()[0].elements();
    assert_eq!(command[0], bulk("command"));
    let (last_ms, max_ms) = (command[2].as_int(), command[3].as_int());
    assert!(last_ms >= 20 && max_ms >= 50 && last_ms <= max_ms, "{latest:?}");
    let history = conn.ask("LATENCY HISTORY command");
    assert!(history.elements().iter().any(|sample| sample.elements()[1].as_int() == max_ms), "{history:?}");
    assert_eq!(history.elements().last().map(|sample| &sample.elements()[0]), Some(&command[1]));
    assert!(conn.ask("LATENCY DOCTOR").text().contains("command: "));
    let slow = slow_entries(&mut conn, "debug");
    assert_eq!(slow.len(), 2, "{slow:?}");
    for entry in &slow {
        let entry = entry.elements();
        assert_eq!(entry.len(), 6, "as in Redis: {slow:?}");
        assert!(entry[2].as_int() >= 30_000, "{slow:?}");
        assert_eq!(entry[3], array([bulk("debug"), bulk("(execute was slow)")]));
    }
    // What came behind it in the same batch was slow in the queue.
    conn.expect("SLOWLOG RESET", ok());
    let batch = [wire(["DEBUG", "SLEEP", "0.04"]), wire(["INCR", "counter"])].concat();
    assert_eq!(conn.exchange(&batch, 2), [ok(), int(1)]);
    let slow = slow_entries(&mut conn, "incr");
    assert_eq!(slow.len(), 1, "{slow:?}");
    assert_eq!(slow[0].elements()[3], array([bulk("incr"), bulk("counter"), bulk("(queue was slow)")]));
    conn.expect("CONFIG SET latency-monitor-threshold 0", ok());
    conn.expect("LATENCY RESET nosuch", int(0));
    conn.expect("LATENCY RESET command", int(1));
    conn.expect("LATENCY HISTORY command", array([]));
    conn.expect("LATENCY RESET command", int(0));
}

/// The slow log's entries of one command: the machine may make others slow, too.
fn slow_entries(conn: &mut Conn, command: &str) -> Vec<Reply> {
    let log = conn.ask("SLOWLOG GET -1");
    log.elements().iter().filter(|entry| entry.elements()[3].elements()[0] == bulk(command)).cloned().collect()
}

#[test]
fn histograms_have_the_shape_of_redis() {
    let server = Server::start(2);
    let Some(redis) = RedisServer::start_or_skip(&[]) else { return };
    let (mut ours, mut theirs) = (server.connect(), redis.connect());
    for version in ["2", "3"] {
        let mut shapes = Vec::new();
        for conn in [&mut ours, &mut theirs] {
            conn.ask(&format!("HELLO {version}"));
            conn.ask("CONFIG RESETSTAT");
            for request in ["SET a 1", "GET a", "CLIENT ID", "CLIENT GETNAME", "CLIENT ID"] {
                assert!(!conn.ask(request).is_error());
            }
            within(SOON, "all calls are recorded", || calls(conn, "client|id") == 2);
            let some = conn.ask("LATENCY HISTOGRAM get nosuch client|id set GET");
            let names = histograms(&some).into_iter().map(|(name, calls, _)| (name, calls)).collect::<Vec<_>>();
            let mut of_container: Vec<String> =
                histograms(&conn.ask("LATENCY HISTOGRAM client")).into_iter().map(|(name, ..)| name).collect();
            of_container.sort();
            shapes.push((kind(&some), names, of_container));
        }
        assert_eq!(shapes[0], shapes[1], "RESP{version}");
    }
    for conn in [&mut ours, &mut theirs] {
        conn.expect("LATENCY HISTORY nosuch", array([]));
        assert_eq!(conn.ask("LATENCY junk"), error("ERR unknown subcommand 'junk'. Try LATENCY HELP."));
    }
}

/// What kinds of replies a reply is made of, two levels deep.
fn kind(reply: &Reply) -> String {
    match reply {
        Reply::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{} {}", leaf(key), leaf(value))).collect();
            format!("map {pairs:?}")
        }
        Reply::Array(elements) => format!("array {:?}", elements.iter().map(leaf).collect::<Vec<_>>()),
        other => leaf(other).to_owned(),
    }
}

fn leaf(reply: &Reply) -> &'static str {
    match reply {
        Reply::Map(_) => "map",
        Reply::Array(_) => "array",
        Reply::Bulk(_) => "bulk",
        Reply::Int(_) => "integer",
        _ => "other",
    }
}
