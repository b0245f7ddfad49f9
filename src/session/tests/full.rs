//! What a window does while the journal can neither be written nor take more.

use super::{Bench, requests};

#[test]
fn while_the_journal_has_no_room_reads_are_answered_and_changes_refused() {
    let say = |bench: &mut Bench, bytes: &[u8]| {
        bench.replies.clear();
        bench.receive(bytes);
        String::from_utf8(bench.replies.clone()).expect("replies are text")
    };
    let mut bench = Bench::new(2);
    assert_eq!(say(&mut bench, &requests(&["SET a 5", "SET b 6"])), "+OK\r\n+OK\r\n");
    bench.is_full = true;
    let reads = ["GET a", "MGET a c b", "EXISTS a b c", "TTL a", "STRLEN a", "TYPE a", "OBJECT ENCODING a", "PING"];
    let expected = "$1\r\n5\r\n*3\r\n$1\r\n5\r\n$-1\r\n$1\r\n6\r\n:2\r\n:-1\r\n:1\r\n+string\r\n$3\r\nint\r\n+PONG\r\n";
    assert_eq!(say(&mut bench, &requests(&reads)), expected);
    let writes = [
        "INCR a",
        "DECRBY a 2",
        "SET a 1",
        "SET c 1 NX",
        "GETSET a 1",
        "GETDEL a",
        "GETEX a PERSIST",
        "EXPIRE a 100",
        "PERSIST a",
        "DEL a b",
        "UNLINK a",
        "MSET a 1 c 2",
    ];
    for write in writes {
        let reply = say(&mut bench, &requests(&[write]));
        assert!(reply.starts_with("-MISCONF Errors writing to the AOF file: see the log"), "{write}: {reply}");
        assert_eq!(reply.matches("\r\n").count(), 1, "{write}: {reply}");
    }
    let refused = "-MISCONF Errors writing to the AOF file: see the log\r\n";
    for write in ["INCR a", "DEL a", "UNLINK a"] {
        // In one pass, argument by argument, and inline.
        for bytes in
            [requests(&[write]), requests(&[&write.replace('a', &"a".repeat(100))]), format!("{write}\r\n").into()]
        {
            assert_eq!(say(&mut bench, &bytes), refused, "{write}");
        }
    }
    assert_eq!(say(&mut bench, &requests(&["MINCRBY a 1 c 2"])), format!("*2\r\n{refused}{refused}"));
    bench.is_full = false;
    assert_eq!(say(&mut bench, &requests(&["MGET a b c", "INCR a"])), "*3\r\n$1\r\n5\r\n$1\r\n6\r\n$-1\r\n:6\r\n");
}
