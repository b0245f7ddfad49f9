//! A disk that is full: writes are refused, reads go on, and it heals by itself when there is room.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use super::serve_in;
use crate::support::{
    Conn, PROCESS_LIMIT, Reply, array, binary, bulk, error, int, ok, run, serve_command, simple, within,
};

const REFUSAL: &str = "MISCONF Errors writing to the AOF file: No space left on device";

/// A small disk of its own: memory that is mounted (tmpfs).
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`, and a line about it, where this user may not mount.
    fn mount_or_skip(mebibytes: u64) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"]).arg(directory.path());
        let mounted = command.output().expect("mount is installed");
        if mounted.status.success() {
            return Some(SmallDisk(directory));
        }
        let why = String::from_utf8_lossy(&mounted.stderr).trim().to_owned();
        let is_denied = !geteuid().is_root() || why.contains("ermi") || why.contains("ermission");
        assert!(is_denied, "a small disk cannot be mounted: {why}");
        // Past the test harness, which swallows what a passing test prints.
        let _ = writeln!(std::io::stderr(), "left out, a disk that is full: {why}");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that is being killed may hold it for a moment.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn key(index: usize) -> String {
    format!("key:{index}:{}", "x".repeat(200))
}

/// Count new keys until the disk is full; answers how many were acknowledged.
fn fill(conn: &mut Conn, first: usize) -> usize {
    const STEP: usize = 500;
    let mut acknowledged = first;
    within(Duration::from_secs(60), "the disk is full", || {
        let requests: String =
            (acknowledged..acknowledged + STEP).map(|index| format!("INCR {}\r\n", key(index))).collect();
        for reply in conn.exchange(requests.as_bytes(), STEP) {
            match reply {
                Reply::Int(1) => acknowledged += 1,
                reply => {
                    assert_eq!(reply, error(REFUSAL));
                    return true;
                }
            }
        }
        false
    });
    acknowledged
}

#[test]
fn a_full_disk_refuses_writes_and_heals_by_itself() {
    let Some(disk) = SmallDisk::mount_or_skip(32) else { return };
    let (directory, ballast) = (disk.path().join("data"), disk.path().join("ballast"));
    fs::write(&ballast, vec![1; 29 << 20]).expect("there is room");
    let mut server = serve_in(&directory, 2, &[]);
    let mut conn = server.connect();
    conn.expect("SET first 1", ok());
    let acknowledged = fill(&mut conn, 0);
    assert!(acknowledged > 1_000, "{acknowledged}");
    let status = |conn: &mut Conn, is: &str| conn.ask("INFO persistence").text().contains(is);
    assert!(status(&mut conn, "aof_last_write_status:err"));
    // What is read is there, and what is written is refused, in every form.
    for _ in 0..20 {
        conn.expect("GET first", bulk("1"));
        conn.expect(&format!("GET {}", key(acknowledged - 1)), bulk("1"));
        for write in ["INCR first", "SET first 2", "DEL first", "FLUSHALL", "RENAME first second"] {
            conn.expect(write, error(REFUSAL));
        }
    }
    // It would end the server.
    let failed = format!("ERR CONFIG SET failed (possibly related to argument 'appendfsync') - {REFUSAL}");
    conn.expect("CONFIG SET appendfsync always", error(&failed));
    conn.expect("MULTI", ok());
    conn.expect("INCR first", error(REFUSAL));
    conn.expect_error("EXEC", "EXECABORT Transaction discarded because of previous errors.");
    assert!(server.log().iter().any(|line| line.contains("Make room, or see to the disk")), "{:?}", server.log());

    fs::remove_file(&ballast).expect("it was there");
    within(Duration::from_secs(30), "it heals", || {
        conn.ask("INCR healed") == int(1) || conn.ask("EXISTS healed") == int(1)
    });
    assert!(status(&mut conn, "aof_last_write_status:ok"));
    within(Duration::from_secs(5), "the log says so", || {
        server.log().iter().any(|line| line.contains("the journal can be written again"))
    });
    conn.expect("INCR first", int(2));

    let counter_count = conn.ask("DBSIZE");
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
    let server = serve_in(&directory, 1, &[]);
    let mut conn = server.connect();
    conn.expect("DBSIZE", counter_count);
    conn.expect("MGET first healed", array([bulk("2"), bulk("1")]));
    conn.expect(&format!("GET {}", key(acknowledged - 1)), bulk("1"));
}

#[test]
fn a_full_disk_can_be_done_without() {
    let Some(disk) = SmallDisk::mount_or_skip(32) else { return };
    let (directory, ballast) = (disk.path().join("data"), disk.path().join("ballast"));
    fs::write(&ballast, vec![1; 29 << 20]).expect("there is room");
    let mut server = serve_in(&directory, 2, &[]);
    let mut conn = server.connect();
    let acknowledged = fill(&mut conn, 0);
    // Redis's users switch the journal off then, and on again when there is room.
    conn.expect("CONFIG SET appendonly no", ok());
    conn.expect("INCR without", int(1));
    assert!(conn.ask("CONFIG SET appendonly yes").is_error(), "there is no room for a snapshot");
    conn.expect("INCR without", int(2));
    assert_eq!(conn.ask("CONFIG GET appendonly").elements()[1], bulk("no"));
    fs::remove_file(&ballast).expect("it was there");
    conn.expect("CONFIG SET appendonly yes", ok());
    conn.expect("INCR without", int(3));
    conn.expect("CONFIG SET appendfsync always", ok());
    conn.expect("INCR without", int(4));
    let counter_count = conn.ask("DBSIZE");
    assert!(counter_count.as_int() as usize > acknowledged);
    server.signal(Signal::KILL);
    server.wait();
    let server = serve_in(&directory, 3, &[]);
    let mut conn = server.connect();
    conn.expect("DBSIZE", counter_count);
    conn.expect("GET without", bulk("4"));
    conn.expect("BGSAVE", simple("Background saving started"));
}

#[test]
fn a_server_starts_on_a_full_disk_and_writes_once_there_is_room() {
    let Some(disk) = SmallDisk::mount_or_skip(16) else { return };
    let (directory, ballast) = (disk.path().join("data"), disk.path().join("ballast"));
    let mut server = serve_in(&directory, 2, &[]);
    let mut conn = server.connect();
    (0..100).for_each(|index| conn.expect(&format!("SET key:{index} {index}"), ok()));
    conn.expect("SAVE", ok());
    conn.expect("INCR key:99", int(100));
    server.signal(Signal::TERM);
    server.wait();
    // The rest of a snapshot that has filled the disk is not in the way.
    fs::write(directory.join("snapshot-000009-000"), vec![1; 1 << 20]).expect("there is room");
    fill_up(&ballast);
    drop(serve_in(&directory, 1, &[]));
    fill_up(&ballast);

    // Under `always` nothing could be acknowledged.
    let path = directory.to_str().expect("a path of text");
    let command = serve_command(&binary(), 1, &["--dir", path, "--buffers", "16", "--appendfsync", "always"]);
    let refused = run(command, b"", PROCESS_LIMIT);
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("No space left on device (os error 28). Make room on that disk"),
        "{}",
        refused.stderr
    );

    // Or without the disk.
    let server = serve_in(&directory, 2, &[]);
    let mut conn = server.connect();
    conn.expect("INCR key:1", error(REFUSAL));
    conn.expect("CONFIG SET appendonly no", ok());
    conn.expect("INCR key:1", int(2));
    drop(server);

    let mut server = serve_in(&directory, 2, &[]);
    let mut conn = server.connect();
    conn.expect("INCR key:1", error(REFUSAL));
    conn.expect("DBSIZE", int(100));
    conn.expect("MGET key:1 key:99", array([bulk("1"), bulk("100")]));
    assert!(conn.ask("INFO persistence").text().contains("aof_last_write_status:err"));
    fs::remove_file(&ballast).expect("it was there");
    within(Duration::from_secs(10), "it heals", || conn.ask("INCR key:1") == int(2));
    conn.expect("CONFIG SET appendfsync always", ok());
    conn.expect("INCR key:1", int(3));
    server.signal(Signal::KILL);
    server.wait();
    let server = serve_in(&directory, 1, &[]);
    server.connect().expect("MGET key:1 key:99", array([bulk("3"), bulk("100")]));
}

/// Write until there is no room for another page.
fn fill_up(ballast: &Path) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(ballast).expect("a file");
    while file.write(&[1; 4_096]).is_ok_and(|count| count > 0) {}
}

#[test]
fn a_snapshot_that_does_not_fit_leaves_the_journal_its_room() {
    let Some(disk) = SmallDisk::mount_or_skip(24) else { return };
    let (directory, ballast) = (disk.path().join("data"), disk.path().join("ballast"));
    let args = ["--appendfsync", "always", "--auto-aof-rewrite-min-size", "1kb", "--auto-aof-rewrite-percentage", "0"];
    let mut server = serve_in(&directory, 1, &args);
    let mut conn = server.connect();
    let key_count = 30_000;
    for first in (0..key_count).step_by(500) {
        let pairs: Vec<String> = (first..first + 500).map(|index| format!("{} {index}", key(index))).collect();
        conn.expect(&format!("MSET {}", pairs.join(" ")), ok());
    }
    conn.expect("SAVE", ok());
    // Room for the snapshot alone, or for the journal alone.
    fs::write(&ballast, vec![1; 8 << 20]).expect("there is room");
    let free_bytes = || {
        let room = rustix::fs::statvfs(disk.path()).expect("it is mounted");
        room.f_bavail * room.f_frsize
    };
    assert!((7 << 20..11 << 20).contains(&free_bytes()), "{}", free_bytes());
    let count = |conn: &mut Conn| {
        let requests: String = (0..500).map(|index| format!("INCR {}\r\n", key(index))).collect();
        conn.exchange(requests.as_bytes(), 500).iter().for_each(|reply| assert!(!reply.is_error(), "{reply:?}"));
    };
    for _ in 0..4 {
        count(&mut conn);
    }
    conn.expect("CONFIG SET auto-aof-rewrite-percentage 1", ok());
    let log_has = |text: &str| server.log().iter().filter(|line| line.contains(text)).count();
    within(Duration::from_secs(5), "the log says so", || log_has("a snapshot is due and cannot be taken") > 0);
    assert!(conn.ask("INFO persistence").text().contains("rdb_last_bgsave_status:err"));
    let before_bytes = free_bytes();
    let until = Instant::now() + Duration::from_millis(2_200);
    within(Duration::from_secs(5), "two more ticks have passed", || {
        assert!(free_bytes() > before_bytes - (1 << 20), "nothing of it is written");
        Instant::now() > until
    });
    // One that is asked for is tried, and gives up before the journal's room is used up.
    assert!(conn.ask("SAVE").is_error());
    within(Duration::from_secs(5), "the log says so", || log_has("Make room. The journal goes on without it") == 1);
    count(&mut conn);
    assert_eq!(log_has("a snapshot is due and cannot be taken"), 1, "{:?}", server.log());

    fs::remove_file(&ballast).expect("it was there");
    within(Duration::from_secs(5), "it is taken", || {
        conn.ask("INFO persistence").text().contains("rdb_last_bgsave_status:ok")
    });
    server.signal(Signal::TERM);
    assert_eq!(server.wait().code(), Some(0));
}
