//! The dashboard and the example configuration in `dashboards/`, with a real Prometheus that scrapes a real server; and
//! redis_exporter, which reads `INFO`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::metrics::{answer, free_address, get, start};
use crate::support::{PROCESS_LIMIT, Process, Server, ok, peer_or_skip, run, spread_keys, within};

/// How long a query may have no data: Prometheus scrapes every second, and a rate takes two scrapes.
const DATA_LIMIT: Duration = Duration::from_secs(40);

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
}

/// Every query, as Grafana would send it for all jobs and instances, with its panel's title.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&file("tallyring.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().expect("queries") {
            let query = target["expr"].as_str().expect("a query");
            let query = query.replace("$job", ".*").replace("$instance", ".*").replace("$__rate_interval", "5s");
            assert!(!query.contains('$'), "{title}: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    queries
}

/// How many numbers Prometheus has for a query now.
fn number_count(prometheus: SocketAddr, query: &str) -> usize {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let body = format!("query={encoded}");
    let request = format!(
        "POST /api/v1/query HTTP/1.0\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (status, _, text) = answer(prometheus, &request);
    assert_eq!(status, 200, "{query}: {text}");
    let reply: Value = serde_json::from_str(&text).expect("JSON");
    let series = reply["data"]["result"].as_array().expect("an instant vector");
    series.iter().filter(|series| series["value"][1].as_str().is_some_and(|number| number != "NaN")).count()
}

/// Something of everything, until `stop`.
fn load(server: &Server, stop: &AtomicBool) {
    let mut conn = server.connect();
    let keys = spread_keys("key", 2);
    while !stop.load(Ordering::Relaxed) {
        for key in &keys {
            conn.ask(&format!("INCR {key}"));
            conn.ask(&format!("GET {key}"));
        }
        conn.ask("GET none");
        conn.ask("SET gone 1 PX 20");
        conn.ask("INCRBY key0 many");
        conn.ask("GET");
        drop(server.connect());
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_query_of_the_dashboard_has_data() {
    let queries = queries();
    assert!(queries.len() > 30 && queries.iter().map(|(_, query)| query).collect::<BTreeSet<_>>().len() > 30);
    let Some(program) = peer_or_skip("prometheus") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let kept = directory.path().join("kept");
    let (server, metrics) = start(2, &["--maxmemory", "64mb", "--dir", kept.to_str().expect("a path")]);
    let config = file("prometheus.yml").replace("127.0.0.1:9121", &metrics.to_string());
    let config = config.replace("scrape_interval: 5s", "scrape_interval: 1s");
    assert!(config.contains(&metrics.to_string()) && config.contains("1s"));
    let config_path = directory.path().join("prometheus.yml");
    std::fs::write(&config_path, config).expect("a file");
    let address = free_address();
    let mut command = Command::new(program);
    command.arg(format!("--config.file={}", config_path.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
    command.args([format!("--web.listen-address={address}"), "--log.level=warn".to_owned()]);
    let mut prometheus = Process::spawn(command);
    within(PROCESS_LIMIT, "Prometheus is ready", || {
        assert!(prometheus.ended().is_none(), "Prometheus ended:\n{}", prometheus.tail());
        std::net::TcpStream::connect(address).is_ok() && answer(address, "GET /-/ready HTTP/1.0\r\n\r\n").0 == 200
    });
    let stop = AtomicBool::new(false);
    let mut missing = queries.clone();
    std::thread::scope(|scope| {
        scope.spawn(|| load(&server, &stop));
        let started = Instant::now();
        while !missing.is_empty() && started.elapsed() < DATA_LIMIT {
            std::thread::sleep(Duration::from_millis(500));
            missing.retain(|(_, query)| number_count(address, query) == 0);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(missing.is_empty(), "no data within {DATA_LIMIT:?}: {missing:#?}");
}

#[test]
fn the_example_configuration_is_sound() {
    let Some(promtool) = peer_or_skip("promtool") else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/prometheus.yml");
    let mut check = Command::new(promtool);
    check.args(["check", "config"]).arg(path);
    let checked = run(check, b"", PROCESS_LIMIT);
    assert!(checked.status.success(), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn redis_exporter_reads_what_it_needs() {
    let Some(program) = peer_or_skip("prometheus-redis-exporter") else { return };
    let server = Server::start_with(2, &["--requirepass", "secret"]);
    let mut conn = server.connect();
    assert_eq!(conn.ask("AUTH secret"), ok());
    for _ in 0..10 {
        conn.ask("INCR views");
    }
    conn.ask("SET short 1 EX 1000");
    conn.ask("INCRBY views many");
    let address = free_address();
    let mut command = Command::new(program);
    command.arg(format!("--redis.addr=redis://{}", server.address())).arg("--redis.password=secret");
    command.arg(format!("--web.listen-address={address}"));
    let mut exporter = Process::spawn(command);
    within(PROCESS_LIMIT, "redis_exporter listens", || {
        assert!(exporter.ended().is_none(), "it ended:\n{}", exporter.tail());
        std::net::TcpStream::connect(address).is_ok()
    });
    let (status, page) = get(address, "/metrics");
    assert_eq!(status, 200);
    for expected in [
        "redis_up 1\n",
        "redis_exporter_last_scrape_error{err=\"\"} 0\n",
        "redis_connected_clients 2\n",
        "redis_commands_total{cmd=\"incr\"} 10\n",
        "redis_db_keys{db=\"db0\"} 2\n",
        "redis_db_keys_expiring{db=\"db0\"} 1\n",
        "redis_commands_processed_total ",
        "redis_memory_used_bytes ",
        "redis_memory_used_rss_bytes ",
        "redis_memory_max_bytes ",
        "redis_net_input_bytes_total ",
        "redis_net_output_bytes_total ",
        "redis_keyspace_hits_total ",
        "redis_keyspace_misses_total ",
        "redis_expired_keys_total ",
        "redis_evicted_keys_total 0\n",
        "redis_rejected_connections_total 0\n",
        "redis_cpu_user_seconds_total ",
        "redis_uptime_in_seconds ",
        "redis_config_maxclients ",
        "redis_slowlog_length 0\n",
        "redis_connected_slaves 0\n",
        "redis_instance_info{",
    ] {
        assert!(page.contains(expected), "{expected} is missing in {page}");
    }
}
