//! Directories and disks that cannot be used, or not any more.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::{Signal, geteuid};

use super::serve_in;
use crate::support::{Finished, PROCESS_LIMIT, binary, bulk, int, ok, run};

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
