//! What is written to files, runs that are repeated and compared, and traces.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Finished, Server, binary, bulk, run};

const LIMIT: Duration = Duration::from_secs(120);

fn tallyring(arguments: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(arguments);
    run(command, b"", LIMIT)
}

/// The verdict depends on what else the machine does; that the runs were made does not.
#[track_caller]
fn assert_made(finished: &Finished) {
    assert!(matches!(finished.status.code(), Some(0 | 2)), "{}{}", finished.stdout, finished.stderr);
    assert!(finished.stdout.contains("verdict"), "{}{}", finished.stdout, finished.stderr);
}

#[test]
fn each_repetition_and_each_server_has_its_files() {
    let (server, other) = (Server::start(1), Server::start(1));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let flags = "--duration 500ms --warmup 100ms --rate 5k --keys 100 --threads 1 --repeat 2";
    let (vs, files) = (format!("127.0.0.1:{}", other.port()), ["json", "html", "csv", "hgrm", "hlog"]);
    let mut arguments = vec!["bench".to_owned(), "--port".to_owned(), server.port(), "--vs".to_owned(), vs];
    arguments.extend(flags.split(' ').map(str::to_owned));
    for kind in files {
        arguments.extend([format!("--{kind}"), path(&format!("out.{kind}"))]);
    }
    let finished = tallyring(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_made(&finished);
    assert_eq!(finished.stdout.matches("\nverdict ").count(), 4, "{}", finished.stdout);
    for kind in &files[1..] {
        for name in ["out", "out.2", "out.vs", "out.vs.2"] {
            let text = fs::read_to_string(path(&format!("{name}.{kind}"))).unwrap();
            assert!(text.len() > 100, "{name}.{kind}: {text}");
        }
    }

    let compared = tallyring(&["bench", "compare", &path("out.json"), &path("out.vs.json")]);
    assert_eq!(compared.status.code(), Some(2), "two runs are too few: {}", compared.stdout);
    assert!(compared.stdout.contains("(2 and 2 runs)"), "{}", compared.stdout);
    let merged = tallyring(&["bench", "merge", &path("out.hlog"), &path("out.2.hlog"), "--hlog", &path("sum.hlog")]);
    assert_eq!(merged.status.code(), Some(0), "{}", merged.stderr);
    assert!(merged.stdout.contains("5,000"), "{}", merged.stdout);
    assert_eq!(tallyring(&["bench", "merge", &path("sum.hlog")]).stdout, merged.stdout);
    let (kept, link) = (fs::read(path("out.2.hlog")).unwrap(), path("link"));
    std::os::unix::fs::symlink(path("out.2.hlog"), &link).unwrap();
    let onto_itself = tallyring(&["bench", "merge", &path("out.hlog"), &path("out.2.hlog"), "--hlog", &link]);
    assert_eq!(onto_itself.status.code(), Some(2), "{}", onto_itself.stdout);
    assert!(onto_itself.stderr.contains("which is to be merged"), "{}", onto_itself.stderr);
    assert_eq!(fs::read(path("out.2.hlog")).unwrap(), kept);
    let wrong = tallyring(&["bench", "compare", &path("out.csv"), &path("out.json")]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(wrong.stderr.contains("out.csv is no result"), "{}", wrong.stderr);
}

#[test]
fn a_file_that_cannot_be_written_is_said_before_the_run() {
    let finished = tallyring(&["bench", "--port", "1", "--json", "/nonexistent/out.json"]);
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("cannot write /nonexistent/out.json"), "{}", finished.stderr);
}

/// A port that nobody listens on: it was free a moment ago.
fn closed_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

#[test]
fn runs_that_were_made_are_kept_when_a_later_one_fails() {
    let server = Server::start(1);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (port, vs) = (server.port(), format!("127.0.0.1:{}", closed_port()));
    let flags = "--duration 200ms --warmup 50ms --rate 2k --keys 100 --threads 1 --repeat 2";
    let mut arguments = vec!["bench", "--port", &port, "--vs", &vs];
    arguments.extend(flags.split(' '));
    let (json, html) = (path("out.json"), path("out.html"));
    arguments.extend(["--json", &json, "--html", &html]);
    let finished = tallyring(&arguments);
    assert_eq!(finished.status.code(), Some(1), "{}{}", finished.stdout, finished.stderr);
    for said in ["cannot connect", "not all runs were made: 1 of 4"] {
        assert!(finished.stderr.contains(said), "{said} in {}", finished.stderr);
    }
    let runs: serde_json::Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    assert!(fs::metadata(&html).unwrap().len() > 1_000 && !fs::exists(path("out.vs.json")).unwrap());
}

#[test]
fn a_run_that_fails_leaves_no_empty_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (port, json, hlog) = (closed_port().to_string(), path("out.json"), path("out.hlog"));
    let finished = tallyring(&["bench", "--port", &port, "--json", &json, "--hlog", &hlog]);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_disk_that_is_full_is_said() {
    let server = Server::start(1);
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("out.hlog").to_str().unwrap().to_owned();
    let run = |kind: &str, path: &str| {
        let mut arguments = vec!["bench".to_owned(), "--port".to_owned(), server.port(), kind.to_owned()];
        arguments.push(path.to_owned());
        arguments.extend("--duration 100ms --warmup 10ms --rate 1k --keys 9 --threads 1".split(' ').map(str::to_owned));
        tallyring(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    for kind in ["--json", "--html", "--csv", "--hgrm", "--hlog"] {
        let finished = run(kind, "/dev/full");
        assert_eq!(finished.status.code(), Some(2), "{kind}: {}", finished.stderr);
        assert!(finished.stderr.contains("cannot write /dev/full"), "{kind}: {}", finished.stderr);
    }
    assert_made(&run("--hlog", &kept));
    let merged = tallyring(&["bench", "merge", &kept, "--hlog", "/dev/full"]);
    assert_eq!(merged.status.code(), Some(2), "{}", merged.stderr);
    let full = || Stdio::from(fs::File::create("/dev/full").unwrap());
    let output = Command::new(binary()).args(["bench", "merge", &kept]).stdout(full()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("cannot write to standard output"), "{said}");
}

/// Progress that nobody can be told of ends no run.
#[test]
fn a_standard_error_that_is_full_is_no_end() {
    let server = Server::start(1);
    let full = || Stdio::from(fs::File::create("/dev/full").unwrap());
    let flags = "--duration 1100ms --warmup 10ms --rate 1k --keys 9 --threads 1";
    let mut command = Command::new(binary());
    command.args(["bench", "--port", &server.port()]).args(flags.split(' '));
    let output = command.stderr(full()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 2)) && text.contains("verdict"), "{}: {text}", output.status);
    for what in ["bench", "plan"] {
        let mut command = Command::new(binary());
        command.args([what, "--port", &closed_port().to_string()]);
        let status = command.stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{what}");
    }
}

#[test]
fn the_name_of_a_file_may_be_no_text() {
    let server = Server::start(1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(OsStr::from_bytes(b"\xff.json"));
    let mut command = Command::new(binary());
    command.args(["bench", "--port", &server.port(), "--json"]).arg(&path);
    command.args("--duration 100ms --warmup 10ms --rate 1k --keys 9 --threads 1".split(' '));
    assert_made(&run(command, b"", LIMIT));
    assert!(fs::read_to_string(path).unwrap().contains("\u{fffd}.json"));
    let mut command = Command::new(binary());
    command.args(["plan", "--port", &closed_port().to_string(), "--output"]).arg(OsStr::from_bytes(b"\xff"));
    let finished = run(command, b"", LIMIT);
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
}

#[test]
fn one_file_is_not_written_twice_and_what_has_no_end_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("out").to_str().unwrap().to_owned();
    let twice = tallyring(&["bench", "--port", "1", "--json", &path, "--html", &path]);
    assert_eq!(twice.status.code(), Some(2), "{}", twice.stderr);
    assert!(twice.stderr.contains("--html and --json would both write"), "{}", twice.stderr);
    for arguments in [
        &["bench", "--trace", "/dev/zero"][..],
        &["bench", "merge", "/dev/zero"],
        &["bench", "compare", "/dev/zero", "/dev/zero"],
    ] {
        let mut command = Command::new(binary());
        command.args(arguments);
        let finished = run(command, b"", Duration::from_secs(8));
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("/dev/zero"), "{arguments:?}: {}", finished.stderr);
    }
}

#[test]
fn a_trace_is_replayed_with_its_times() {
    let server = Server::start(1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.txt");
    let line =
        |n: u64| format!("1700000000.{:06} [0 10.0.0.{}:5] \"INCRBY\" \"traced\" \"{}\"\n", n * 1_000, n % 7, n % 3);
    let text: String = (0..900).map(line).collect();
    fs::write(&path, format!("OK\n{text}1700000000.950000 [0 10.0.0.1:5] \"GET\" \"traced\"\n")).unwrap();
    let trace = path.to_str().unwrap();
    let finished =
        tallyring(&["bench", "--port", &server.port(), "--trace", trace, "--threads", "1", "--connections", "3"]);
    assert_made(&finished);
    assert!(finished.stdout.contains("arrivals of a trace"), "{}", finished.stdout);
    assert!(finished.stdout.contains("901 answered"), "{}", finished.stdout);
    server.connect().expect("GET traced", bulk("900"));

    // So short that no reply comes before the last request.
    let lines: String = (0..4).map(|n| format!("1700000000.00000{n} [0 10.0.0.1:5] \"INCR\" \"short\"\n")).collect();
    fs::write(&path, lines).unwrap();
    let finished = tallyring(&["bench", "--port", &server.port(), "--trace", trace, "--threads", "1"]);
    assert_made(&finished);
    assert!(finished.stdout.contains("4 answered"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("neither had its cores full"), "{}", finished.stdout);

    fs::write(&path, "not a trace\n").unwrap();
    let finished = tallyring(&["bench", "--port", &server.port(), "--trace", trace]);
    assert_eq!(finished.status.code(), Some(2));
    assert!(finished.stderr.contains("line 1 is none of MONITOR's"), "{}", finished.stderr);
}
