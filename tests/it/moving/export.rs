//! `tallyring export`: every format has every counter, and a damaged directory is refused before anything is written.

use std::fs;

use rustix::process::Signal;

use super::{refuse, serve_in, succeed, tallyring, text};
use crate::support::{int, ok};

#[test]
fn every_counter_is_exported_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = serve_in(directory.path(), 2);
    let mut conn = server.connect();
    for index in 0..100 {
        conn.expect(&format!("INCRBY key:{index} {index}"), int(index));
    }
    conn.expect("SAVE", ok());
    conn.expect("SET expiring -7 PXAT 4102444800123", ok());
    conn.expect("SET gone 1 PX 1", ok());
    conn.expect("DEL key:5", int(1));
    let directory = text(directory.path());

    // From a server at work, and from one that has ended.
    for is_running in [true, false] {
        if !is_running {
            server.signal(Signal::TERM);
            server.wait();
        }
        let csv = succeed(&["export", directory, "--format", "csv"]);
        let mut lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.remove(0), "key,value,expires_at_ms");
        lines.sort_unstable();
        let mut expected: Vec<String> =
            (0..100).filter(|index| *index != 5).map(|index| format!("key:{index},{index},")).collect();
        expected.push("expiring,-7,4102444800123".to_owned());
        expected.sort_unstable();
        assert_eq!(lines, expected);
    }

    let path = tempfile::NamedTempFile::new().expect("a file");
    let printed = succeed(&["export", directory, "--format", "jsonl", "--output", text(path.path())]);
    assert_eq!(printed, "");
    let jsonl = fs::read_to_string(path.path()).expect("the output");
    let objects: Vec<serde_json::Value> =
        jsonl.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(objects.len(), 100);
    let expiring = objects.iter().find(|object| object["key"] == "expiring").expect("it is there");
    assert_eq!((expiring["value"].as_i64(), expiring["expires_at_ms"].as_i64()), (Some(-7), Some(4_102_444_800_123)));

    let resp = succeed(&["export", directory, "--format", "resp"]);
    assert_eq!(resp.matches("\r\nSET\r\n").count(), 100);
    assert!(resp.contains("*5\r\n$3\r\nSET\r\n$8\r\nexpiring\r\n$2\r\n-7\r\n$4\r\nPXAT\r\n$13\r\n4102444800123\r\n"));
}

#[test]
fn what_is_damaged_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = serve_in(directory.path(), 1);
    let mut conn = server.connect();
    (1..=10).for_each(|value| conn.expect("INCR views", int(value)));
    conn.expect("SAVE", ok());
    (11..=20).for_each(|value| conn.expect("INCR views", int(value)));
    server.signal(Signal::KILL);
    server.wait();
    let file = |prefix: &str| {
        let mut paths = fs::read_dir(directory.path()).expect("the directory").map(|entry| entry.expect("one").path());
        paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))).expect("one")
    };
    for (prefix, remedy) in
        [("journal", "or start once with --recover"), ("snapshot", "Bring the file back from a copy")]
    {
        let path = file(prefix);
        let whole = fs::read(&path).expect("the file");
        let mut damaged = whole.clone();
        damaged[70] ^= 1;
        fs::write(&path, damaged).expect("the file");
        let said = refuse(&["export", text(directory.path()), "--format", "resp"]);
        assert!(said.contains("is damaged at byte 52") && said.contains(remedy), "{said}");
        fs::write(&path, whole).expect("the file");
    }

    let empty = tempfile::tempdir().expect("a directory");
    let said = refuse(&["export", text(empty.path()), "--format", "csv"]);
    assert!(said.contains("holds no counters. Name the --dir of a server"), "{said}");
    let said = refuse(&["export", text(&empty.path().join("missing")), "--format", "csv"]);
    assert!(said.contains("missing: No such file or directory"), "{said}");
    let said = refuse(&["export", text(directory.path()), "--format", "csv", "--output", "/nonexistent/file"]);
    assert!(said.contains("cannot write to /nonexistent/file: No such file or directory"), "{said}");
    let done = tallyring(&["export", text(directory.path()), "--format", "xml"]);
    assert_eq!(done.status.code(), Some(2));
    assert!(done.stderr.contains("possible values: resp, csv, jsonl"), "{}", done.stderr);
}
