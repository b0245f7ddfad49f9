//! Directories and disks that cannot be used, or not any more.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use super::serve_in;
use crate::support::{Finished, PROCESS_LIMIT, REPLY_LIMIT, array, binary, bulk, error, int, ok, run, simple, within};

/// Run the server until it refuses to start; answers what it says.
#[track_caller]
fn refused(directory: &Path, args: &[&str]) -> String {
    let mut command = Command::new(binary());
    command.args(["serve", "--port", "0", "--threads", "1", "--pin", "none", "--buffers", "16", "--dir"]);
    command.arg(directory).args(args);
    let Finished { status, stdout, stderr } = run(command, b"", PROCESS_LIMIT);
    assert_eq!(status.code(), Some(1), "{stdout}{stderr}");
    stderr
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("a file");
    let said = refused(&file, &[]);
    assert!(said.contains("cannot be used") && said.contains("choose another --dir"), "{said}");
    if !geteuid().is_root() {
        let said = refused(Path::new("/proc/tallyring"), &[]);
        assert!(said.contains("cannot be used"), "{said}");
    }
    let server = serve_in(directory.path(), 1, &[]);
    let said = refused(directory.path(), &[]);
    assert!(said.contains("is used by another server. Stop that one, or choose another --dir"), "{said}");
    drop(server);
}

#[test]
fn damage_is_named_and_dropped_only_when_that_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = serve_in(directory.path(), 1, &["--appendfsync", "always"]);
    let mut conn = server.connect();
    for value in 1..=20 {
        conn.expect("INCR views", int(value));
    }
    server.signal(Signal::KILL);
    server.wait();
    let path = fs::read_dir(directory.path())
        .expect("the directory")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-")))
        .expect("a journal");
    // Each frame has one record of `views`: the header, 3 + 5 + 8 bytes.
    let (head_bytes, frame_bytes) = (52, 48 + 16);
    let frames = |path: &Path| {
        let mut bytes = fs::read(path).expect("the journal");
        let ahead = bytes.split_off(head_bytes + 20 * frame_bytes);
        assert!(ahead.iter().all(|byte| *byte == 0), "only zeros are written ahead");
        bytes
    };
    let bytes = frames(&path);

    // The end is torn: what was never acknowledged.
    fs::write(&path, &bytes[..bytes.len() - 1]).expect("the journal");
    let server = serve_in(directory.path(), 1, &["--recover", "no"]);
    server.connect().expect("GET views", bulk("19"));
    assert!(server.log().iter().any(|line| line.contains("unfinished writes: cut")), "{:?}", server.log());
    drop(server);

    // Another directory with the same, damaged in the middle.
    let other = tempfile::tempdir().expect("a directory");
    let mut server = serve_in(other.path(), 1, &["--appendfsync", "always"]);
    let mut conn = server.connect();
    for value in 1..=20 {
        conn.expect("INCR views", int(value));
    }
    server.signal(Signal::KILL);
    server.wait();
    let path = other.path().join(path.file_name().expect("a name"));
    let mut bytes = frames(&path);
    bytes[head_bytes + 5 * frame_bytes + 60] ^= 1;
    fs::write(&path, &bytes).expect("the journal");
    let said = refused(other.path(), &[]);
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(said.contains(&format!("{name} is damaged at byte {}", head_bytes + 5 * frame_bytes)), "{said}");
    assert!(said.contains("behind it are 14 whole frames with 14 changes") && said.contains("--recover"), "{said}");
    let server = serve_in(other.path(), 2, &["--recover"]);
    server.connect().expect("GET views", bulk("5"));
    assert!(server.log().iter().any(|line| line.contains("dropped, as --recover allows")), "{:?}", server.log());
    server.connect().expect("INCR views", int(6));
    server.connect().expect("CONFIG SET appendfsync always", ok());
}

#[test]
fn what_is_whole_of_a_snapshot_and_of_a_closed_run_is_left_when_that_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let mut server = serve_in(directory, 1, &["--appendfsync", "always"]);
    let mut conn = server.connect();
    let key_count = 12_000;
    for first in (0..key_count).step_by(500) {
        let pairs: Vec<String> = (first..first + 500).map(|index| format!("views:{index:05} {index}")).collect();
        conn.expect(&format!("MSET {}", pairs.join(" ")), ok());
    }
    conn.expect("SAVE", ok());
    (1..=10).for_each(|value| conn.expect("INCR behind", int(value)));
    server.signal(Signal::TERM);
    server.wait();

    // In the second part of the snapshot, and in the sixth frame of the journal behind it.
    let flip = |prefix: &str, at: usize| {
        let mut paths = fs::read_dir(directory).expect("the directory").map(|entry| entry.expect("an entry").path());
        let is_it = |path: &std::path::PathBuf| path.file_name().expect("a name").to_string_lossy().starts_with(prefix);
        let path = paths.find(is_it).expect("such a file");
        let mut bytes = fs::read(&path).expect("the file");
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("the file");
    };
    flip("snapshot-000001-000", 200_000);
    flip("journal-000001-000", 52 + 5 * (48 + 17) + 60);
    let said = refused(directory, &[]);
    assert!(said.contains("snapshot-000001-000 is damaged at byte ") && said.contains("--recover"), "{said}");
    let words: Vec<&str> = said.split_whitespace().collect();
    let lost = words.windows(4).find(|words| words[1..] == ["of", "its", "counters"]).expect("how many are lost");
    let lost_count: i64 = lost[0].parse().expect("a number");
    assert!((1_000..key_count as i64 / 2).contains(&lost_count), "{said}");

    let check = || {
        let mut command = Command::new(binary());
        command.arg("check").arg(directory);
        run(command, b"", PROCESS_LIMIT).stdout
    };
    let left_count = key_count as i64 - lost_count + 1;
    let said = check();
    let grouped = format!("{},{:03}", left_count / 1_000, left_count % 1_000);
    assert!(said.contains(&format!("with --recover there would be {grouped} counters")), "{said}");
    assert!(said.contains("behind it are 4 whole frames with 4 changes") && said.ends_with("2 problems\n"), "{said}");

    let mut server = serve_in(directory, 2, &["--recover"]);
    let mut conn = server.connect();
    conn.expect("DBSIZE", int(left_count));
    conn.expect("GET behind", bulk("5"));
    let dropped = server.log().iter().filter(|line| line.contains("dropped, as --recover allows")).count();
    assert_eq!(dropped, 2, "{:?}", server.log());
    within(REPLY_LIMIT, "another snapshot is complete", || !directory.join("snapshot-000001-000").exists());
    assert!(check().ends_with("sound\n"));
    let values: Vec<_> = (0..key_count).map(|index| conn.ask(&format!("GET views:{index:05}"))).collect();
    let right_count = values.iter().enumerate().filter(|(index, value)| **value == bulk(index.to_string())).count();
    assert_eq!(right_count as i64, key_count as i64 - lost_count, "none has another value");
    server.signal(Signal::KILL);
    server.wait();
    let server = serve_in(directory, 1, &[]);
    server.connect().expect("DBSIZE", int(left_count));
    server.connect().expect("INCR behind", int(6));
}

#[test]
fn a_directory_that_was_removed_is_noticed_and_no_other_is_touched() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("data");
    let first = serve_in(&directory, 2, &[]);
    let mut conn = first.connect();
    conn.expect("SET first 1", ok());
    fs::remove_dir_all(&directory).expect("it is there");
    // Another server begins there, before the first one has noticed or after that.
    let mut second = serve_in(&directory, 2, &["--appendfsync", "always"]);
    let mut other = second.connect();
    let refusal = "MISCONF Errors writing to the AOF file: the data directory was removed or replaced";
    within(REPLY_LIMIT, "writes are refused", || conn.ask("INCR first") == error(refusal));
    other.expect("SET second 2", ok());
    other.expect("SAVE", ok());
    other.expect("INCR second", int(3));
    conn.expect("BGSAVE", simple("Background saving started"));
    conn.expect("CONFIG SET appendonly no", ok());
    let refused = conn.ask("CONFIG SET appendonly yes").text();
    assert!(refused.ends_with("another server uses it"), "{refused}");
    let errors =
        first.log().iter().filter(|line| line.contains("was removed or replaced): commands that write")).count();
    assert_eq!(errors, 1, "{:?}", first.log());
    other.expect("INCR second", int(4));
    second.signal(Signal::KILL);
    second.wait();
    let second = serve_in(&directory, 1, &[]);
    second.connect().expect("GET second", bulk("4"));
    second.connect().expect("DBSIZE", int(1));
    drop(second);

    // What nobody uses is taken, with all counters.
    fs::remove_dir_all(&directory).expect("it is there");
    conn.expect("INCR again", int(1));
    conn.expect("CONFIG SET appendonly yes", ok());
    conn.expect("CONFIG SET appendfsync always", ok());
    conn.expect("INCR again", int(2));
    let first_value = conn.ask("GET first");
    drop(first);
    let server = serve_in(&directory, 1, &[]);
    server.connect().expect("MGET first again", array([first_value, bulk("2")]));
}

#[test]
fn a_directory_that_is_brought_back_is_written_again() {
    let parent = tempfile::tempdir().expect("a directory");
    let (directory, aside) = (parent.path().join("data"), parent.path().join("aside"));
    let server = serve_in(&directory, 2, &[]);
    let mut conn = server.connect();
    fs::rename(&directory, &aside).expect("it is there");
    within(REPLY_LIMIT, "writes are refused", || conn.ask("INCR key").is_error());
    fs::rename(&aside, &directory).expect("it is there");
    within(REPLY_LIMIT, "writes are taken", || !conn.ask("INCR key").is_error());
    conn.expect("CONFIG SET appendfsync always", ok());
    let value = conn.ask("INCR key").as_int();
    drop(server);
    let mut server = serve_in(&directory, 1, &["--appendfsync", "always"]);
    server.connect().expect("GET key", bulk(value.to_string()));

    // Under `always` it ends the server, also when nobody counts.
    fs::remove_dir_all(&directory).expect("it is there");
    assert_eq!(server.wait().code(), Some(1));
    assert!(server.log().iter().any(|line| line.contains("was removed or replaced), and")), "{:?}", server.log());
}
