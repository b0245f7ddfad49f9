//! Transactions that the session executes itself, and those that it leaves to the task.

use super::*;

/// The replies, and how many transactions the task has had.
fn run(bench: Bench, lines: &[&str]) -> (String, usize) {
    run_bytes(bench, &requests(lines))
}

fn run_bytes(mut bench: Bench, bytes: &[u8]) -> (String, usize) {
    bench.receive(bytes);
    assert_eq!(bench.queue_room_bytes.get(), QUEUES_BYTES_MAX, "what was queued is given back");
    (String::from_utf8_lossy(&bench.replies).into_owned(), bench.exec_count)
}

#[test]
fn what_is_sent_at_once_is_executed_with_everything_else() {
    let (replies, exec_count) = run(
        Bench::new(1),
        &[
            "SET a 5",
            "MULTI",
            "INCR a",
            "INCRBY a x",
            "EXPIRE a 60 what",
            "TTL a",
            "GET b",
            "EXEC",
            "GET a",
            "MULTI",
            "EXEC",
        ],
    );
    assert_eq!(
        replies,
        "+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n\
         *5\r\n:6\r\n-ERR value is not an integer or out of range\r\n-ERR Unsupported option what\r\n:-1\r\n$-1\r\n\
         $1\r\n6\r\n+OK\r\n*0\r\n"
    );
    assert_eq!(exec_count, 0);
}

#[test]
fn what_is_not_so_simple_is_left_to_the_task() {
    let queued = |lines: &[&str], shard_count| {
        let all: Vec<&str> = ["MULTI"].into_iter().chain(lines.iter().copied()).chain(["EXEC"]).collect();
        run(Bench::new(shard_count), &all).1
    };
    for (lines, shard_count, left_count) in [
        (&["INCR a", "DECR a"][..], 4, 0),
        // Their owners are different shards.
        (&["INCR a", "INCR b"], 1, 0),
        (&["INCR a", "INCR b"], 4, 1),
        // No commands on one key.
        (&["INCR a", "DEL a"], 1, 1),
        (&["INCR a", "PING"], 1, 1),
        (&["INCR a", "DBSIZE"], 1, 1),
        // One of them was refused.
        (&["INCR a", "NOSUCH"], 1, 1),
    ] {
        assert_eq!(queued(lines, shard_count), left_count, "{lines:?} over {shard_count}");
    }
    // Received in two parts, the second when the first was answered.
    let mut bench = Bench::new(1);
    bench.receive(&requests(&["MULTI", "INCR a"]));
    bench.receive(&requests(&["EXEC"]));
    assert_eq!((bench.replies.as_slice(), bench.exec_count), (&b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"[..], 1));
    // Not as it is queued.
    let (replies, exec_count) = run_bytes(Bench::new(1), b"MULTI\r\nINCR a\r\nEXEC\r\n");
    assert_eq!((replies.as_str(), exec_count), ("+OK\r\n+QUEUED\r\n*1\r\n:1\r\n", 1));
    let (_, exec_count) = run(Bench::new(1), &["CLIENT REPLY OFF", "MULTI", "INCR a", "EXEC"]);
    assert_eq!(exec_count, 1);
}

#[test]
fn many_transactions_and_long_ones_fit_where_they_can() {
    for count in [1, 2, 60, 120, 126, 127, 200] {
        let mut lines = vec!["INCR a"; count];
        lines.insert(0, "MULTI");
        lines.push("EXEC");
        let lines = lines.repeat(5);
        let (replies, exec_count) = run(Bench::new(1), &lines);
        let last = format!(":{}\r\n", 5 * count);
        assert!(replies.ends_with(&last), "{count}: {replies}");
        assert_eq!(replies.matches(&format!("*{count}\r\n")).count(), 5);
        // A transaction whose first requests are not in the buffer any more is the task's.
        assert!(if count < 100 { exec_count < 3 } else { exec_count <= 5 }, "{count}: {exec_count}");
    }
}

#[test]
fn commands_without_replies_take_room_too() {
    for last in ["INCR a", "EXPIRE a 60"] {
        for count in 60..64 {
            let mut lines = ["CLIENT REPLY SKIP", "PING"].repeat(count);
            lines.extend(["MULTI", last, "EXEC", "GET a"]);
            let (replies, _) = run(Bench::new(1), &lines);
            assert!(replies.starts_with("+OK\r\n+QUEUED\r\n*1\r\n:"), "{replies}");
            let mut lines = vec!["CLIENT REPLY OFF"];
            lines.extend(["PING", "ECHO a"].repeat(count));
            lines.extend(["CLIENT REPLY ON", "MULTI", last, last, "EXEC", "GET a"]);
            let (replies, _) = run(Bench::new(1), &lines);
            assert!(replies.starts_with("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:"), "{replies}");
        }
    }
}

#[test]
fn what_stands_in_front_and_behind_is_not_executed_together_with_it_over_shards() {
    let mut bench = Bench::new(4);
    let owner = |key: &str| bench.map.shard_of(slot::of(key.as_bytes()));
    let other =
        ["b", "c", "d", "e", "f"].into_iter().find(|key| owner(key) != owner("a")).expect("not all are one shard's");
    let lines =
        [&format!("SET {other} 1"), "MULTI", "INCR a", "EXEC", &format!("INCR {other}"), "INCR a"].map(str::to_owned);
    let bytes = requests(&lines.each_ref().map(String::as_str));
    bench.receive(&bytes);
    assert_eq!(bench.replies, b"+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n:2\r\n:2\r\n");
    assert_eq!(bench.exec_count, 0);
    assert_eq!(bench.window_count, 3);
}

#[test]
fn errors_that_are_too_many_for_the_room_are_the_tasks() {
    let mut lines = vec!["SET a 1", "MULTI", "INCR a"];
    lines.extend(["INCRBY a x"; 115]);
    lines.extend(["EXEC", "GET a", "MULTI", "INCR a", "EXEC"]);
    let (replies, exec_count) = run(Bench::new(1), &lines);
    assert!(replies.ends_with("\r\n$1\r\n2\r\n+OK\r\n+QUEUED\r\n*1\r\n:3\r\n"), "{replies}");
    assert_eq!(replies.matches("-ERR value is not an integer").count(), 115);
    assert_eq!(exec_count, 1);
}
