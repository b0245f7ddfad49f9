//! The metrics over HTTP: what the page says, that Prometheus's own linter likes it, and what scrapers can do to the
//! server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{
    Conn, PROCESS_LIMIT, REPLY_LIMIT, Server, binary, int, ok, peer_or_skip, run, serve_command, spread_keys, within,
};

/// A server with metrics, and where.
pub fn start(threads: usize, args: &[&str]) -> (Server, SocketAddr) {
    let address = free_address();
    let port = address.port().to_string();
    let mut all = vec!["--metrics-port", &port];
    all.extend(args);
    (Server::start_with(threads, &all), address)
}

/// A port that nobody listens on, of those that the system gives no outgoing connection (ip_local_port_range), and no
/// other test: the server cannot be asked to let the system choose, as 0 is no port of metrics.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    for _ in 0..200 {
        let number = std::process::id() as usize * 97 + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + (number % 20_000) as u16));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// Status, head and body of an answer to `request`.
pub fn answer(address: SocketAddr, request: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect_timeout(&address, REPLY_LIMIT).expect("the metrics accept a connection");
    stream.set_read_timeout(Some(REPLY_LIMIT)).expect("a time limit");
    stream.write_all(request.as_bytes()).expect("the metrics take a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the metrics answer and close");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head ends with an empty line");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), body.to_owned())
}

pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) =
        answer(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    (status, body)
}

/// The samples of a page that was made just now, by name and labels.
fn samples(address: SocketAddr) -> BTreeMap<String, f64> {
    std::thread::sleep(Duration::from_millis(600));
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200, "{page}");
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.to_owned(), value.parse().expect("a number"))
    };
    page.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

#[test]
fn the_page_says_what_the_shards_have_done_and_promtool_likes_it() {
    let (server, metrics) = start(2, &["--maxmemory", "64mb", "--requirepass", "secret"]);
    let mut conn = server.connect();
    assert!(conn.ask("GET a").text().starts_with("NOAUTH"));
    assert_eq!(conn.ask("AUTH secret"), ok());
    let keys = spread_keys("key", 2);
    for _ in 0..50 {
        for key in &keys {
            conn.ask(&format!("INCR {key}"));
        }
    }
    conn.ask("SET gone 1 PX 1");
    conn.ask("MGET none such");
    conn.ask("INCRBY key0 many");
    let mut late = server.connect();
    late.send(b"*2\r\n$3\r\nGET\r\n$100\r\nhalf a req");

    let found = samples(metrics);
    let value = |name: &str| *found.get(name).unwrap_or_else(|| panic!("{name} in {found:#?}"));
    assert_eq!(value("tallyring_commands_total{command=\"incr\"}"), 100.0);
    assert_eq!(value("tallyring_commands_rejected_total{command=\"get\"}"), 1.0);
    assert_eq!(value("tallyring_error_replies_total{code=\"NOAUTH\"}"), 1.0);
    assert_eq!(value("tallyring_error_replies_total{code=\"ERR\"}"), 1.0);
    assert_eq!(value("tallyring_keys{shard=\"0\"}") + value("tallyring_keys{shard=\"1\"}"), 2.0);
    assert!(value("tallyring_keys{shard=\"0\"}") >= 1.0 && value("tallyring_keys{shard=\"1\"}") >= 1.0);
    assert_eq!(value("tallyring_clients{shard=\"0\"}") + value("tallyring_clients{shard=\"1\"}"), 2.0);
    assert_eq!(value("tallyring_maxmemory_bytes"), 67_108_864.0);
    assert!(value("tallyring_memory_ceiling_bytes") > 67_108_864.0);
    assert!(value("tallyring_memory_reserved_bytes{part=\"fixed buffers\"}") > 0.0);
    for shard in 0..2 {
        let cpu_s = value(&format!("tallyring_shard_cpu_seconds_total{{shard=\"{shard}\"}}"));
        let polled_s = value(&format!("tallyring_shard_polled_seconds_total{{shard=\"{shard}\"}}"));
        assert!(cpu_s > polled_s, "{cpu_s} s, {polled_s} s of them polling");
    }
    let mesh_batches: f64 =
        (0..2).map(|shard| value(&format!("tallyring_mesh_batches_total{{shard=\"{shard}\"}}"))).sum();
    assert!(mesh_batches >= 50.0, "half of the keys live on the other shard");
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_open_fds") > 5.0);

    for (name, label, count) in [
        ("tallyring_command_duration_seconds", "command=\"incr\"", 100.0),
        (
            "tallyring_stage_duration_seconds",
            "stage=\"execute\"",
            value("tallyring_stage_duration_seconds_count{stage=\"execute\"}"),
        ),
    ] {
        let mut buckets: Vec<(f64, f64)> = found
            .iter()
            .filter_map(|(sample, count)| {
                let bound = sample.strip_prefix(&format!("{name}_bucket{{{label},le=\""))?.strip_suffix("\"}")?;
                Some((bound.parse().expect("a bound"), *count))
            })
            .collect();
        buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
        assert_eq!(buckets.len(), 23, "{name}");
        assert!(buckets.is_sorted_by(|left, right| left.1 <= right.1), "{name}: {buckets:?}");
        assert_eq!(buckets.last().map(|(bound, last)| (*bound, *last)), Some((f64::INFINITY, count)), "{name}");
        let seconds = value(&format!("{name}_sum{{{label}}}"));
        assert!(seconds > 0.0 && seconds < 100.0, "{name}: {seconds}");
    }

    let (_, page) = get(metrics, "/metrics");
    if let Some(promtool) = peer_or_skip("promtool") {
        let mut check = Command::new(promtool);
        check.args(["check", "metrics"]);
        let checked = run(check, page.as_bytes(), PROCESS_LIMIT);
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert!(checked.status.success() && said.trim().is_empty(), "{said}");
    }
}

#[test]
fn the_page_tells_why_a_client_had_to_go() {
    let (server, metrics) = start(1, &["--request-timeout", "1"]);
    let mut late = server.connect();
    late.send(b"*2\r\n$3\r\nGET\r\n$100\r\nhalf a req");
    let evicted = "tallyring_clients_evicted_total{reason=\"request-timeout\"}";
    within(REPLY_LIMIT, "the client is evicted", || samples(metrics)[evicted] == 1.0);
    let found = samples(metrics);
    assert_eq!(found["tallyring_clients_evicted_total{reason=\"reply-timeout\"}"], 0.0);
    assert_eq!(found["tallyring_clients{shard=\"0\"}"], 0.0);
}

#[test]
fn the_page_tells_how_far_the_journal_is_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path");
    let (server, metrics) = start(2, &["--dir", path, "--appendfsync", "no"]);
    let mut conn = server.connect();
    let keys = spread_keys("key", 2);
    let sum = |found: &BTreeMap<String, f64>, name: &str| -> f64 {
        (0..2).map(|shard| found[&format!("{name}{{shard=\"{shard}\"}}")]).sum()
    };
    for key in &keys {
        assert_eq!(conn.ask(&format!("INCR {key}")), int(1));
    }
    // Nothing has been synced, so the lag is all that was counted, and grows older.
    let first = samples(metrics);
    let second = samples(metrics);
    let (bytes, age_s) = ("tallyring_journal_unsynced_bytes", "tallyring_journal_unsynced_seconds");
    assert!(sum(&first, bytes) > 100.0 && sum(&second, bytes) == sum(&first, bytes), "{second:#?}");
    assert!(sum(&first, age_s) > 1.0 && sum(&second, age_s) > sum(&first, age_s) + 1.0, "{second:#?}");
    assert_eq!(sum(&second, "tallyring_journal_syncs_total"), 0.0);
    assert_eq!(second["tallyring_snapshots_total"], 0.0);
    assert!(conn.ask("INFO persistence").text().contains("rdb_last_bgsave_time_sec:-1\r\n"));

    assert_eq!(conn.ask("CONFIG SET appendfsync always"), ok());
    for key in &keys {
        assert_eq!(conn.ask(&format!("INCR {key}")), int(2));
    }
    let safe = samples(metrics);
    assert_eq!((sum(&safe, bytes), sum(&safe, age_s)), (0.0, 0.0));
    let syncs = sum(&safe, "tallyring_journal_syncs_total");
    assert!(syncs >= 2.0 && sum(&safe, "tallyring_journal_sync_seconds_total") > 0.0);
    assert!(sum(&safe, "tallyring_journal_last_sync_seconds") > 0.0);
    assert_eq!((safe["tallyring_journal_failing"], safe["tallyring_snapshot_running"]), (0.0, 0.0));
    assert!(safe["tallyring_journal_bytes"] > 0.0 && safe["tallyring_snapshot_last_timestamp_seconds"] > 1.7e9);

    assert_eq!(conn.ask("SAVE"), ok());
    let saved = samples(metrics);
    assert_eq!((saved["tallyring_snapshots_total"], saved["tallyring_snapshot_last_failed"]), (1.0, 0.0));
    assert!(saved["tallyring_snapshot_bytes"] > 0.0);
    let info = conn.ask("INFO persistence").text();
    for line in ["rdb_saves:1", "aof_pending_bio_fsync:0", "aof_delayed_fsync:0", "journal_unsynced_usec:0"] {
        assert!(info.lines().any(|found| found == line), "{line} in {info}");
    }
    assert!(!info.contains("rdb_last_bgsave_time_sec:-1") && info.contains("rdb_current_bgsave_time_sec:-1"), "{info}");
}

#[test]
fn http_is_answered_as_it_should_be() {
    let (_server, metrics) = start(1, &[]);
    let (status, head, page) = answer(metrics, "GET /metrics HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains("connection: close") && head.contains(&format!("content-length: {}", page.len())), "{head}");
    assert_eq!(get(metrics, "/ready"), (200, "ready\n".to_owned()));
    assert_eq!(get(metrics, "/health"), (200, "ok\n".to_owned()));
    assert!(get(metrics, "/").1.contains("/metrics"));
    assert_eq!(get(metrics, "/favicon.ico").0, 404);
    let (status, head, body) = answer(metrics, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(status == 200 && body.is_empty() && head.contains("content-length: "), "{head}");
    let (status, head, _) = answer(metrics, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert!(status == 405 && head.contains("allow: get, head"), "{head}");
    assert_eq!(answer(metrics, "*1\r\n$4\r\nPING\r\n\r\n").0, 400);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(40_000));
    let mut stream = TcpStream::connect(metrics).expect("a connection");
    let mut answer = Vec::new();
    // It may be reset before all of it is written or read.
    let _ = stream.write_all(long.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP/1.1 2"));
    assert_eq!(get(metrics, "/ready").0, 200);
}

/// Who connects and sends no request is no reason for a probe to fail.
#[test]
fn slow_scrapers_keep_nobody_out() {
    let (_server, metrics) = start(1, &[]);
    let _slow: Vec<_> = (0..100)
        .map(|number| {
            let mut stream = TcpStream::connect(metrics).expect("a connection");
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTT").expect("a part of a request");
            }
            stream
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(get(metrics, "/health"), (200, "ok\n".to_owned()));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "a probe waited: {:?}", start.elapsed());
}

#[test]
fn a_shard_that_does_not_answer_is_named_and_asked_again() {
    let (server, metrics) = start(1, &["--enable-debug-command", "yes"]);
    let mut conn = server.connect();
    conn.send(b"DEBUG SLEEP 4.5\r\n");
    std::thread::sleep(Duration::from_millis(200));
    let (status, said) = get(metrics, "/health");
    assert!(status == 503 && said.starts_with("shard 0 has not answered within 3 s"), "{status} {said}");
    assert_eq!(conn.read(), ok());
    within(REPLY_LIMIT, "the shard answers again", || get(metrics, "/health").0 == 200);
    assert_eq!(get(metrics, "/metrics").0, 200);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let output = run(serve_command(&binary(), 1, &["--metrics-port", &port.to_string()]), b"", PROCESS_LIMIT);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!(
        "tallyring: 127.0.0.1:{port} is taken by another program. Stop that one, or choose another --metrics-port\n"
    );
    assert!(output.stderr.ends_with(&expected), "{}", output.stderr);
}

#[test]
fn scrapers_move_no_memory_and_shards_are_asked_twice_a_second_at_most() {
    let (server, metrics) = start(2, &[]);
    let mut conn = server.connect();
    assert_eq!(conn.ask("INCR key"), int(1));
    let (_, first) = get(metrics, "/metrics");
    for _ in 0..20 {
        let _ = get(metrics, "/metrics");
    }
    let before_bytes = server.resident_bytes();
    let start = Instant::now();
    let mut pages = vec![first];
    let mut scrape_count = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let (status, page) = get(metrics, "/metrics");
        assert_eq!(status, 200);
        if pages.last() != Some(&page) {
            pages.push(page);
        }
        scrape_count += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    // The uptime is in each page, so a new one differs.
    let asked_max = start.elapsed().as_millis() as usize / 500 + 2;
    assert!(pages.len() <= asked_max && scrape_count > pages.len(), "{} pages, {scrape_count} scrapes", pages.len());

    // Those who connect and do nothing wait in the kernel, but for a few that are cut off in their turn.
    let idle: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(metrics).expect("a connection")).collect();
    std::thread::sleep(Duration::from_millis(300));
    drop(idle);
    assert_eq!(get(metrics, "/ready").0, 200);
    let grown_bytes = server.resident_bytes().saturating_sub(before_bytes);
    assert!(grown_bytes < 2 << 20, "{grown_bytes} bytes more");
}

/// Nanoseconds that the server's thread of this name has run.
fn thread_ns(server: &Server, name: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("it runs");
    let of = |task: std::path::PathBuf| {
        let named = std::fs::read_to_string(task.join("comm")).ok()?.trim_end() == name;
        let times = named.then(|| std::fs::read_to_string(task.join("schedstat")).ok())??;
        times.split(' ').next()?.parse::<u64>().ok()
    };
    tasks.filter_map(|task| of(task.ok()?.path())).sum()
}

/// What a shard did in a slice of time, and what it took.
struct Slice {
    /// Processor time of the shard's thread for each command, in nanoseconds.
    command_ns: f64,
    /// Commands a second.
    per_s: f64,
}

/// Drive the shard as fast as one pipelining client can, for `duration`.
fn slice(server: &Server, conn: &mut Conn, duration: Duration) -> Slice {
    const DEPTH: usize = 512;
    let batch = b"INCR key\r\n".repeat(DEPTH);
    let (before_ns, start, mut count) = (thread_ns(server, "shard-0"), Instant::now(), 0);
    while start.elapsed() < duration {
        conn.send(&batch);
        conn.read_many(DEPTH);
        count += DEPTH;
    }
    let shard_ns = thread_ns(server, "shard-0") - before_ns;
    Slice { command_ns: shard_ns as f64 / count as f64, per_s: count as f64 / start.elapsed().as_secs_f64() }
}

/// Scrape a hundred times a second while `on`, until `stop`; how often that was.
fn scrape(metrics: SocketAddr, on: &AtomicBool, stop: &AtomicBool) -> u32 {
    let start = Instant::now();
    let (mut next, mut count) = (start, 0);
    // A test that fails does not come to stop it.
    while !stop.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(600) {
        if on.load(Ordering::Relaxed) {
            assert_eq!(get(metrics, "/metrics").0, 200);
            count += 1;
        }
        next = (next + Duration::from_millis(10)).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    count
}

/// Median of the values, and the two that its 95% interval lies between: of the values in order, those 0.98 roots of their
/// number before and behind the middle (the sign test).
fn median(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let (middle, away) = (values.len() as f64 / 2.0, 0.98 * (values.len() as f64).sqrt());
    let at = |place: f64| values[(place.max(0.0) as usize).min(values.len() - 1)];
    [middle - away, middle, middle + away].map(at)
}

/// A shard that has nothing else to do tells what it gives for being scraped. That this is what a load loses is told by
/// pairs of slices, scraped and not, by turns: `TALLYRING_SCRAPE_PAIRS=100` makes so many and prints what became of them.
#[test]
fn scraping_costs_next_to_nothing() {
    let (server, metrics) = start(1, &["--pin", "0"]);
    let mut conn = server.connect();
    slice(&server, &mut conn, Duration::from_millis(500));
    let (on, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let spent_ns = || ["metrics", "shard-0"].map(|name| thread_ns(&server, name));
    std::thread::scope(|scope| {
        let scraper = scope.spawn(|| scrape(metrics, &on, &stop));
        let shares = |scraped: bool| {
            on.store(scraped, Ordering::Relaxed);
            let (before_ns, start) = (spent_ns(), Instant::now());
            std::thread::sleep(Duration::from_secs(2));
            let (after_ns, elapsed_ns) = (spent_ns(), start.elapsed().as_nanos() as f64);
            [0, 1].map(|thread| (after_ns[thread] - before_ns[thread]) as f64 / elapsed_ns)
        };
        let (alone, scraped) = (shares(false), shares(true));
        println!(
            "of a core, alone and scraped: metrics' thread {:.4} {:.4}, shard {:.4} {:.4}",
            alone[0], scraped[0], alone[1], scraped[1]
        );
        assert!(alone[0] < 0.001, "nobody scrapes, so nothing is done: {}", alone[0]);
        assert!(scraped[0] > 0.0 && scraped[0] < 0.2, "{}", scraped[0]);
        assert!(scraped[1] - alone[1] < 0.01, "{} and {}", scraped[1], alone[1]);

        let pair_count = std::env::var("TALLYRING_SCRAPE_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(0);
        let (mut times, mut rates) = (Vec::new(), Vec::new());
        for pair in 0..pair_count {
            let mut measure = |scraped: bool| {
                on.store(scraped, Ordering::Relaxed);
                // A slice has the work of at least one page, since one is made every half a second.
                slice(&server, &mut conn, Duration::from_millis(550))
            };
            // Which comes first changes, so that a machine that slows down does not decide it.
            let first = measure(pair % 2 == 0);
            let second = measure(pair % 2 == 1);
            let (scraped, alone) = if pair % 2 == 0 { (first, second) } else { (second, first) };
            times.push(scraped.command_ns / alone.command_ns);
            rates.push(scraped.per_s / alone.per_s);
        }
        stop.store(true, Ordering::Relaxed);
        println!("{} scrapes", scraper.join().expect("no panic"));
        if pair_count > 0 {
            println!("{pair_count} pairs of slices, scraped / alone, medians with their 95% interval:");
            for (name, ratios) in [("the shard's processor time for a command", times), ("commands a second", rates)] {
                let [low, middle, high] = median(ratios);
                println!("{name}: {middle:.4} ({low:.4} to {high:.4})");
            }
        }
    });
}
