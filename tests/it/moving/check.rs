//! `tallyring check`: what it says of directories that are sound, torn, damaged, in use or none; and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::{serve_in, tallyring, text};
use crate::support::{REPLY_LIMIT, array, int, simple, within};

/// Every file's bytes.
fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).expect("the directory").map(|entry| entry.expect("an entry").path());
    entries.map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

/// Check a directory, which stays as it is: exit code and output.
#[track_caller]
fn check(directory: &Path) -> (i32, String) {
    let before = content(directory);
    let done = tallyring(&["check", text(directory)]);
    assert!(content(directory) == before, "it has changed the directory");
    (done.status.code().expect("an exit code"), done.stdout + &done.stderr)
}

/// Count `count` keys under `prefix`, one frame each.
fn count(server: &crate::support::Server, prefix: &str, count: usize) {
    let mut conn = server.connect();
    for index in 0..count {
        conn.expect(&format!("INCR {prefix}:{index}"), int(1));
    }
}

/// The file whose name begins so; the last one in their order.
fn file(directory: &Path, prefix: &str) -> PathBuf {
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    content(directory).into_keys().rfind(is_it).expect("such a file")
}

#[test]
fn a_sound_directory_is_told_by_file_and_in_total() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let mut server = serve_in(directory, 2);
    count(&server, "before", 20);
    let mut conn = server.connect();
    conn.expect("SET expiring 1 EX 1000", crate::support::ok());
    conn.expect("BGSAVE", simple("Background saving started"));
    within(REPLY_LIMIT, "the snapshot is complete", || {
        conn.ask("INFO persistence").text().contains("rdb_bgsave_in_progress:0")
    });
    count(&server, "behind", 10);

    // A server is at work there.
    let (code, said) = check(directory);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("process {} uses it", server.id())) && said.ends_with("\nsound\n"), "{said}");
    assert!(said.contains("31 counters, 1 of them with an expiry"), "{said}");

    server.signal(Signal::TERM);
    server.wait();
    let (code, said) = check(directory);
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("uses it") && said.ends_with("\nsound\n"), "{said}");
    assert!(said.contains("snapshot 1, 1 run since"), "{said}");
    assert!(said.contains("31 counters, 1 of them with an expiry"), "{said}");
    // The records of the snapshot and of the journal behind it.
    let total = said.lines().find(|line| line.contains("2 snapshot files")).expect("a total");
    assert!(total.contains(" 31 "), "{said}");
}

#[test]
fn what_is_torn_or_damaged_is_named_with_what_a_server_would_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let mut server = serve_in(directory, 1);
    count(&server, "k", 20);
    server.signal(Signal::KILL);
    server.wait();
    assert_eq!(check(directory).0, 0, "a kill under always leaves nothing unfinished");

    let journal = file(directory, "journal");
    let name = journal.file_name().expect("a name").to_string_lossy().into_owned();
    let whole = fs::read(&journal).expect("the journal");
    // Behind the frames are zeros, and the last value's upper bytes are zeros too.
    let last = whole.iter().rposition(|byte| *byte != 0).expect("there are frames");
    fs::write(&journal, &whole[..last]).expect("the journal");
    let (code, said) = check(directory);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("{name} is torn at byte ")) && said.contains("cuts them off"), "{said}");
    assert!(said.contains("19 counters") && said.ends_with("\n1 problem\n"), "{said}");

    let mut damaged = whole.clone();
    damaged[300] ^= 1;
    fs::write(&journal, &damaged).expect("the journal");
    let (code, said) = check(directory);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("{name} is damaged at byte ")) && said.contains("--recover"), "{said}");

    // It is closed, by a server that starts and ends.
    fs::write(&journal, &whole).expect("the journal");
    let mut server = serve_in(directory, 1);
    server.connect().expect("MGET k:0 k:19", array([crate::support::bulk("1"), crate::support::bulk("1")]));
    server.signal(Signal::TERM);
    server.wait();
    for (bytes, count) in [(Some(&damaged[..]), 4), (Some(&whole[..100]), 0), (None, 0)] {
        match bytes {
            Some(bytes) => fs::write(&journal, bytes).expect("the journal"),
            None => fs::remove_file(&journal).expect("the journal"),
        }
        let (code, said) = check(directory);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("{name} is damaged at byte ")) && said.ends_with("\n1 problem\n"), "{said}");
        assert!(said.contains(&format!("with --recover there would be {count} counters")), "{said}");
    }
}

#[test]
fn a_damaged_snapshot_or_manifest_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();
    let mut server = serve_in(directory, 1);
    count(&server, "k", 50);
    server.connect().expect("SAVE", crate::support::ok());
    server.signal(Signal::TERM);
    server.wait();
    let snapshot = file(directory, "snapshot");
    let whole = fs::read(&snapshot).expect("the snapshot");
    for (bytes, count) in [(Some(&whole[..whole.len() - 1]), 50), (Some(&whole[..10]), 0), (None, 0)] {
        match bytes {
            Some(bytes) => fs::write(&snapshot, bytes).expect("the snapshot"),
            None => fs::remove_file(&snapshot).expect("the snapshot"),
        }
        let (code, said) = check(directory);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("snapshot-000001-000 is damaged at byte") && said.contains("from a copy"), "{said}");
        assert!(said.contains("an unknown number of its counters are lost"), "{said}");
        assert!(said.contains(&format!("with --recover there would be {count} counters")), "{said}");
    }
    fs::write(&snapshot, &whole).expect("the snapshot");
    assert_eq!(check(directory).0, 0);

    let manifest = directory.join("manifest");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    fs::write(&manifest, text.replace("snapshot 1", "snapshot 2")).expect("the manifest");
    let (code, said) = check(directory);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the file manifest is damaged"), "{said}");
    fs::remove_file(&manifest).expect("the manifest");
    let (code, said) = check(directory);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the file manifest is missing"), "{said}");
}

#[test]
fn what_is_no_data_directory_ends_with_2() {
    let directory = tempfile::tempdir().expect("a directory");
    let (code, said) = check(directory.path());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("holds no counters"), "{said}");
    let missing = directory.path().join("missing");
    let done = tallyring(&["check", text(&missing)]);
    assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("missing: No such file or directory"), "{}", done.stderr);
}

#[test]
fn what_a_server_is_writing_looks_sound_all_the_time() {
    let directory = tempfile::tempdir().expect("a directory");
    // Under `always`, which writes over zeros, in files of their own for each shard.
    let server = serve_in(directory.path(), 2);
    server.connect().expect("INCR views:0", int(1));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut conn = server.connect();
                for index in (0..1_000).cycle().take_while(|_| !is_over.load(Ordering::Relaxed)) {
                    assert!(!conn.ask(&format!("INCR views:{client}:{index}")).is_error());
                }
            });
        }
        let looked: Vec<_> = (0..40)
            .flat_map(|_| [vec!["check"], vec!["export", "--format", "csv"]])
            .map(|command| tallyring(&[command, vec![text(directory.path())]].concat()))
            .collect();
        is_over.store(true, Ordering::Relaxed);
        for done in looked {
            assert_eq!(done.status.code(), Some(0), "{}{}", done.stdout, done.stderr);
        }
    });
}
