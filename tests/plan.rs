//! `tallyring plan` against a server with a known limit: it answers so many requests a second and no more, however they
//! come. A longer version, with another limit and long trials, is `TALLYRING_PLAN_LONG=1 cargo test --test plan`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::{RedisServer, Server};
use tallyring::bench::mix::Mix;
use tallyring::bench::nodes::{self, Node};
use tallyring::bench::target::{Address, Target};
use tallyring::plan::memory::{Memory, measure};

#[path = "it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests need less of it than the other ones")]
mod support;

/// A plan is inconclusive when another one takes its generator's time.
static ALONE: Mutex<()> = Mutex::new(());

/// A server that serves one request after the other, each for as long as the limit says.
struct Limited {
    address: SocketAddr,
}

#[derive(Debug)]
struct State {
    counters: HashMap<Vec<u8>, i64>,
    /// When the server has served all that it was given.
    free_at: Instant,
}

impl Limited {
    /// It ends with the test's process: its threads wait for clients.
    fn start(limit_per_s: f64) -> Limited {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { counters: HashMap::new(), free_at: Instant::now() }));
        let each = Duration::from_secs_f64(1.0 / limit_per_s);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || serve(stream, &state, each));
            }
        });
        Limited { address }
    }
}

/// Answer one client until it goes.
fn serve(stream: TcpStream, state: &Mutex<State>, each: Duration) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut requests = BufReader::new(stream.try_clone().ok()?);
    let mut replies = stream;
    loop {
        let arguments = request(&mut requests)?;
        let (reply, served_at) = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            match arguments[0].to_ascii_uppercase().as_slice() {
                b"INCR" => {
                    state.free_at = state.free_at.max(Instant::now()) + each;
                    let served_at = state.free_at;
                    let counter = state.counters.entry(arguments[1].clone()).or_default();
                    *counter += 1;
                    (format!(":{counter}\r\n"), served_at)
                }
                b"MGET" => {
                    let values = arguments[1..].iter().map(|key| match state.counters.get(key) {
                        Some(value) => format!("${}\r\n{value}\r\n", value.to_string().len()),
                        None => "$-1\r\n".to_owned(),
                    });
                    (format!("*{}\r\n{}", arguments.len() - 1, values.collect::<String>()), Instant::now())
                }
                b"GET" => match state.counters.get(&arguments[1]) {
                    Some(value) => (format!("${}\r\n{value}\r\n", value.to_string().len()), Instant::now()),
                    None => ("$-1\r\n".to_owned(), Instant::now()),
                },
                b"PING" => ("+PONG\r\n".to_owned(), Instant::now()),
                _ => ("-ERR unknown command\r\n".to_owned(), Instant::now()),
            }
        };
        std::thread::sleep(served_at.saturating_duration_since(Instant::now()));
        replies.write_all(reply.as_bytes()).ok()?;
    }
}

fn request(from: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let number = |kind: char, from: &mut dyn BufRead| -> Option<usize> {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        line.strip_prefix(kind)?.trim_end().parse().ok()
    };
    let count = number('*', from)?;
    (0..count)
        .map(|_| {
            let length = number('$', from)?;
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes).ok()?;
            bytes.truncate(length);
            Some(bytes)
        })
        .collect()
}

fn plan(port: u16, directory: &Path, more: &[&str]) -> Output {
    command(port, directory, more).output().unwrap()
}

fn command(port: u16, directory: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyring"));
    command
        .args(["plan", "--port", &port.to_string(), "--output", directory.to_str().unwrap()])
        .args(["--connections", "20", "--keys", "100", "--threads", "1", "--no-sweep", "--memory-keys", "0"])
        .args(more);
    command
}

#[test]
fn a_known_limit_is_found_within_5_percent() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let long = std::env::var_os("TALLYRING_PLAN_LONG").is_some();
    let (limit_per_s, trial) = if long { (8_000.0, "10s") } else { (2_500.0, "2s") };
    let server = Limited::start(limit_per_s);
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--slo", "p99<100ms", "--trial", trial, "--start-rate", "1k", "--peak", "30k", "--nodes-lost", "1"];
    // Where somebody else takes this machine's cores for half a minute, the server has that limit no more.
    let mut attempts = (0..3).map(|_| {
        let output = plan(server.address.port(), directory.path(), &flags);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let progress = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code().is_some_and(|code| code != 1), "{text}{progress}");
        println!("{progress}");
        let json = std::fs::read(directory.path().join("plan.json")).unwrap();
        (serde_json::from_slice::<serde_json::Value>(&json).unwrap(), text, progress, output.status.code())
    });
    let found = |json: &serde_json::Value| json["confirmed"]["mean_per_s"].as_f64().unwrap_or(0.0);
    let mut least_taken = 1.0_f64;
    let near = attempts.find(|(json, ..)| {
        least_taken = least_taken.min(json["calibration"]["paused_share"].as_f64().unwrap());
        (found(json) / limit_per_s - 1.0).abs() < 0.05
    });
    let Some((json, text, progress, code)) = near else {
        assert!(least_taken > 0.1, "none of three plans found the limit");
        return println!("left out: this machine's cores were taken away for {:.0}% of the time", 100.0 * least_taken);
    };
    let found = found(&json);
    assert_eq!(code, Some(0), "{text}{progress}");
    let bound = json["confirmed"]["lower_bound_per_s"].as_f64().unwrap();
    assert!(bound <= found && bound > 0.9 * found, "{bound} of {found}");
    // 30,000 a second take twelve or thirteen such servers, and one that may be lost.
    let expected = (30_000.0 / bound).ceil() as u64 + 1;
    assert_eq!(json["fleets"][0][1]["node_count"].as_u64(), Some(expected));
    for said in ["one server carries", "NOT a capacity figure", "run again    ", "climb", "confirm"] {
        assert!(text.contains(said) || progress.contains(said), "{said} in\n{text}{progress}");
    }
    let html = std::fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(html.contains("NOT a capacity figure") && html.contains("Latency by rate") && !html.contains("http"));
    let log = json["steps"][0]["log"].as_str().unwrap();
    assert!(std::fs::read_to_string(directory.path().join(log)).unwrap().contains("HISTFAAA"));
}

#[test]
fn ctrl_c_writes_what_there_is_and_says_that_it_is_partial() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Limited::start(2_500.0);
    let directory = tempfile::tempdir().unwrap();
    let mut child = command(server.address.port(), directory.path(), &["--trial", "5s", "--start-rate", "500"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its first trial is over, whatever came of it beside what else runs here: there is something to tell.
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let is_verdict = |line: &String| ["pass", "fail", "inconclusive"].iter().any(|verdict| line.contains(verdict));
    progress.find(|line| line.contains(" climb ") && is_verdict(line)).expect("a trial ends");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = progress.collect();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}{rest:?}");
    assert!(rest.iter().any(|line| line.contains("partial: interrupted")), "{rest:?}");
    for said in ["\npartial      interrupted, after ", "a rate was confirmed; ", "passed a trial", "run again"] {
        assert!(text.contains(said), "{said} in\n{text}");
    }
    let json = std::fs::read(directory.path().join("plan.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(json["partial"].as_str().unwrap().starts_with("interrupted"), "{json}");
    assert!(!json["steps"].as_array().unwrap().is_empty() && json["confirmed"].is_null(), "{json}");
    let html = std::fs::read_to_string(directory.path().join("report.html")).unwrap();
    assert!(html.contains("This plan is partial: interrupted"), "{html}");
}

#[test]
fn what_cannot_be_planned_says_why() {
    let directory = tempfile::tempdir().unwrap();
    // A port that nobody listens on: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (flags, code, said) in [
        (&[][..], 1, "cannot"),
        (&["--slo", "p99"], 2, "p99.9<1ms"),
        (&["--trial", "100ms"], 2, "--trial"),
        (&["--peak", "max"], 2, "--peak"),
        (&["--max-rate", "50"], 2, "--max-rate is below 100 a second"),
        (&["--start-rate", "20"], 2, "--start-rate is below 100 a second"),
        (&["--mix", "nonsense"], 2, "nonsense"),
        (&["--distribution", "many"], 2, "many"),
        (&["--cluster", "--command", "MGET a:{key} b:{key}"], 2, "not all of one slot"),
        (&["--key-size", "2"], 2, "keys of 2 bytes are out of range"),
        (&["--resp", "4"], 2, "4"),
        (&["--total-keys", "1.5"], 2, "such as 100000, 100k or 1.5m"),
        (&["--total-keys", "1k"], 2, "--total-keys is of no use without --peak"),
        (&["--growth", "30%"], 2, "--growth is of no use without --peak"),
        (&["--nodes-lost", "1"], 2, "--nodes-lost is of no use without --peak"),
    ] {
        let output = plan(port, directory.path(), flags);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {text}");
        assert!(text.contains(said), "{flags:?}: {text}");
        assert!(output.stdout.is_empty(), "{flags:?}");
    }
}

/// The server is asked before anything of an earlier plan is touched, and what cannot be written is another matter.
#[test]
fn what_cannot_begin_says_whose_fault_it_is() {
    let server = Server::start_with(1, &["--requirepass", "secret"]);
    let directory = tempfile::tempdir().unwrap();
    let ended = |output: Output, code: i32, said: &str| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(said) && text.lines().count() == 1, "{text}");
    };
    let port = server.address().port();
    let json = directory.path().join("plan.json");
    std::fs::write(&json, "an earlier one's").unwrap();
    ended(plan(port, directory.path(), &[]), 1, "Give the password with --auth");
    // Not a plan's.
    ended(plan(port, directory.path(), &["--auth", "secret"]), 2, "has a plan.json that would be lost");
    assert_eq!(std::fs::read_to_string(&json).unwrap(), "an earlier one's");
    ended(plan(port, Path::new("/dev/null/x"), &["--auth", "secret"]), 2, "cannot make /dev/null/x");
}

#[test]
fn an_answer_that_cannot_be_printed_is_no_goal_that_is_not_met() {
    let server = Limited::start(2_500.0);
    let directory = tempfile::tempdir().unwrap();
    let full = std::fs::File::create("/dev/full").unwrap();
    let mut child = command(server.address.port(), directory.path(), &[])
        .stdout(Stdio::from(full))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    progress.find(|line| line.contains("ceiling")).expect("it calibrates");
    // The plan's name is taken already, by what is known as its own.
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("plan.json")).unwrap()).unwrap();
    assert!(json["partial"].as_str().unwrap().contains("in the middle"), "{json}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = progress.collect();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("cannot write to standard output")), "{rest:?}");
}

fn target(address: SocketAddr) -> Target {
    Target { address: Address::Tcp(address), auth: None, resp: 2 }
}

/// What a counter of the keys of `mix` takes, measured with 60,000 of them.
fn memory_of(nodes: &[Node], mix: &str, key_bytes: usize) -> Memory {
    let forms = Mix::parse(mix, 100_000, key_bytes).unwrap().forms();
    measure(nodes, &forms, 60_000, 1, &mut ()).unwrap()
}

#[test]
fn a_cluster_is_planned() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_with(2, &["--cluster-enabled", "yes"]);
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--cluster", "--trial", "1s", "--start-rate", "500"];
    let mut child = command(server.address().port(), directory.path(), &flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It gets as far as its second trial: the generator's ceiling is known, and the nodes were idle after the first.
    let mut progress = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    while seen.iter().filter(|line: &&String| line.contains("s of trials to go")).count() < 2 {
        let Some(line) = progress.next() else { panic!("it ended before its second trial: {seen:?}") };
        seen.push(line);
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let rest: Vec<String> = progress.collect();
    assert!(seen.iter().any(|line| line.contains("generator's ceiling ")), "{seen:?}");
    assert_eq!(child.wait().unwrap().code(), Some(2), "{seen:?}");
    assert!(rest.iter().any(|line| line.contains("partial: interrupted")), "{seen:?}{rest:?}");
}

#[test]
fn the_memory_of_a_cluster_is_that_of_all_its_nodes_and_each_server_counts_once() {
    let server = Server::start_with(2, &["--cluster-enabled", "yes"]);
    let target = target(server.address());
    let nodes = nodes::of_cluster(&mut target.control().unwrap(), &target).unwrap();
    assert_eq!(nodes.len(), 2);
    let alone = [Node { target: target.clone(), part: None }];
    let (all, one) = (memory_of(&nodes, "incr", 16), memory_of(&alone, "incr", 16));
    assert_eq!((all.server_count, one.server_count), (1, 1));
    assert_eq!((all.points.last().unwrap().0, one.points.last().unwrap().0), (60_000, 60_000));
    let ratio = all.counter_bytes / one.counter_bytes;
    assert!((0.5..2.0).contains(&ratio), "{} and {}", all.counter_bytes, one.counter_bytes);
    server.connect().expect("DBSIZE", support::int(0));
}

#[test]
fn the_memory_of_a_counter_is_that_of_the_loads_own_keys() {
    let Some(server) = RedisServer::start_or_skip(&[]) else { return };
    let nodes = [Node { target: target(server.address()), part: None }];
    // As a load leaves them: 20,000 counters with keys of 200 bytes.
    let mut load = server.connect();
    let used = |load: &mut support::Conn| -> f64 {
        let info = load.ask("INFO memory").text();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = used(&mut load);
    let keys: Vec<String> = (0..20_000).map(|number| format!("counter:{number:0192}")).collect();
    for keys in keys.chunks(100) {
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} 1")).collect();
        load.expect(&format!("MSET {}", pairs.join(" ")), support::ok());
    }
    let real_bytes = (used(&mut load) - before) / 20_000.0;
    let memory = memory_of(&nodes, "incr", 200);
    assert!(memory.growth_seen, "{memory:?}");
    let (mean, worst) = (memory.counter_bytes / real_bytes, memory.counter_bytes_worst / real_bytes);
    assert!((0.9..1.1).contains(&mean) && (1.0..1.15).contains(&worst), "{real_bytes}: {memory:?}");
    // A time to live costs an entry in another table.
    let expiring = memory_of(&nodes, "expiring", 200);
    assert!(expiring.counter_bytes > memory.counter_bytes + 20.0, "{expiring:?} and {memory:?}");
    load.expect("DBSIZE", support::int(20_000));
}
