//! The commands that take more than the session: what they ask for, and which error a wrong one gets.

use super::{Env, OPEN, Request, Task, mistake_of};
use crate::command::{ClientFilter, Mistake, lookup_full};
use crate::counters::Fault;
use crate::latency::Event;

fn task(line: &str) -> Task {
    match Request::line(line).task(&OPEN) {
        Ok(task) => task,
        Err(mistake) => panic!("{line}: {mistake:?}"),
    }
}

const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const SYNTAX: &str = "ERR syntax error";

fn refused(cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(mistake_of(line), *expected, "{line}");
    }
}

#[test]
fn plain_ones() {
    for (line, expected) in [
        ("dbsize", Task::DbSize),
        ("flushall", Task::Flush),
        ("flushall ASYNC", Task::Flush),
        ("flushdb sync", Task::Flush),
        ("randomkey", Task::RandomKey),
        ("keys user:*", Task::Keys(b"user:*"[..].into())),
        ("unwatch", Task::Unwatch),
        ("exec", Task::Exec),
        ("discard", Task::Discard),
        ("reset", Task::Reset),
        ("time", Task::Time),
        ("client info", Task::ClientInfo),
        ("client unpause", Task::ClientUnpause),
        ("config resetstat", Task::ConfigResetStat),
        ("slowlog len", Task::SlowlogLen),
        ("slowlog reset", Task::SlowlogReset),
        ("memory stats", Task::MemoryStats),
        ("memory doctor", Task::MemoryDoctor),
        ("info", Task::Info(vec![])),
        ("info Server CLIENTS", Task::Info(vec!["server".into(), "clients".into()])),
        ("config get Max* port", Task::ConfigGet(vec!["Max*".into(), "port".into()])),
        ("watch a b", Task::Watch(vec![b"a"[..].into(), b"b"[..].into()])),
    ] {
        assert_eq!(task(line), expected, "{line}");
    }
    refused(&[("flushall foo", SYNTAX), ("flushall async foo", SYNTAX), ("flushdb sync sync", SYNTAX)]);
}

#[test]
fn keys_of_tasks_are_checked() {
    let (from, to) = (b"a"[..].into(), b"b"[..].into());
    assert_eq!(task("rename a b"), Task::Rename { from, to, only_absent: false });
    let (from, to) = (b"a"[..].into(), b"b"[..].into());
    assert_eq!(task("renamenx a b"), Task::Rename { from, to, only_absent: true });
    assert_eq!(task("msetnx a 1 b -2"), Task::MsetNx(vec![(b"a"[..].into(), 1), (b"b"[..].into(), -2)]));
    assert_eq!(mistake_of("msetnx a 1 b x"), NOT_INTEGER);
    let (from, to) = (b"a"[..].into(), b"b"[..].into());
    assert_eq!(task("copy a b db 0"), Task::Copy { from, to, replace: false });
    let (from, to) = (b"a"[..].into(), b"b"[..].into());
    assert_eq!(task("copy a b Replace"), Task::Copy { from, to, replace: true });
    let long = "k".repeat(1_025);
    for line in [
        format!("rename a {long}"),
        format!("copy {long} a"),
        format!("watch a {long}"),
        format!("msetnx a 1 {long} 2"),
    ] {
        assert_eq!(mistake_of(&line), Fault::KeyTooLong.text());
    }
    assert!(matches!(task(&format!("watch {}", &long[1..])), Task::Watch(_)));
}

#[test]
fn scan_options() {
    let plain = |cursor| Task::Scan { cursor, count: 10, pattern: None, type_matches: true };
    assert_eq!(task("scan 0"), plain(0));
    assert_eq!(task("scan 18446744073709551615"), plain(u64::MAX));
    for (cursor, read) in [("-1", u64::MAX), ("+1", 1), ("01", 1), ("", 0), ("-0", 0)] {
        assert_eq!(task(&format!("scan {cursor}")), plain(read), "{cursor}");
    }
    let all = Task::Scan { cursor: 5, count: 100, pattern: Some(b"a*"[..].into()), type_matches: true };
    assert_eq!(task("scan 5 count 100 match a* type STRING"), all);
    assert_eq!(task("scan 5 match b match a* type zset type string count 1 count 100"), all);
    let other = Task::Scan { cursor: 0, count: 10, pattern: None, type_matches: false };
    assert_eq!(task("scan 0 type zset"), other);
    for cursor in ["abc", "1a", "0x10", "18446744073709551616", "-", "+", "--1", "abc foo"] {
        assert_eq!(mistake_of(&format!("scan {cursor}")), "ERR invalid cursor", "{cursor}");
    }
    refused(&[
        ("scan 0 match", SYNTAX),
        ("scan 0 count", SYNTAX),
        ("scan 0 count 0", SYNTAX),
        ("scan 0 count -1", SYNTAX),
        ("scan 0 count abc", NOT_INTEGER),
        ("scan 0 foo 1", SYNTAX),
    ]);
}

#[test]
fn client_list_filters() {
    let any = || ClientFilter { type_matches: true, ..ClientFilter::default() };
    assert_eq!(task("client list"), Task::ClientList(any()));
    assert_eq!(task("client list type normal"), Task::ClientList(any()));
    assert_eq!(task("client list type PUBSUB"), Task::ClientList(ClientFilter { type_matches: false, ..any() }));
    assert_eq!(task("client list id 1 2"), Task::ClientList(ClientFilter { ids: vec![1, 2], ..any() }));
    assert_eq!(task("client list id -1"), Task::ClientList(ClientFilter { ids: vec![0], ..any() }));
    refused(&[
        ("client list foo", SYNTAX),
        ("client list foo bar", SYNTAX),
        ("client list type", SYNTAX),
        ("client list type foo", "ERR Unknown client type 'foo'"),
        ("client list type normal foo", SYNTAX),
        ("client list id", SYNTAX),
        ("client list id 1 foo", "ERR Invalid client ID"),
    ]);
}

#[test]
fn client_kill_filters() {
    let others = || ClientFilter { type_matches: true, skip_me: true, ..ClientFilter::default() };
    let kill = |filter| Task::ClientKill { filter, by_address: false };
    let address = Some("127.0.0.1:5".to_owned());
    assert_eq!(
        task("client kill 127.0.0.1:5"),
        Task::ClientKill {
            filter: ClientFilter { address: address.clone(), skip_me: false, ..others() },
            by_address: true
        }
    );
    assert_eq!(task("client kill addr 127.0.0.1:5"), kill(ClientFilter { address, ..others() }));
    let local_address = Some("::1:6379".to_owned());
    assert_eq!(task("client kill LADDR ::1:6379"), kill(ClientFilter { local_address, ..others() }));
    assert_eq!(task("client kill id 1 id 7"), kill(ClientFilter { ids: vec![7], ..others() }));
    assert_eq!(task("client kill type replica"), kill(ClientFilter { type_matches: false, ..others() }));
    assert_eq!(task("client kill type slave type normal"), kill(others()));
    let user = Some("default".to_owned());
    assert_eq!(task("client kill user default skipme NO"), kill(ClientFilter { user, skip_me: false, ..others() }));
    assert_eq!(task("client kill maxage 60 skipme yes"), kill(ClientFilter { age_min_s: Some(60), ..others() }));
    refused(&[
        ("client kill foo bar", SYNTAX),
        ("client kill id 1 id", SYNTAX),
        ("client kill id abc", "ERR client-id should be greater than 0"),
        ("client kill id 0", "ERR client-id should be greater than 0"),
        ("client kill id -1", "ERR client-id should be greater than 0"),
        ("client kill type foo", "ERR Unknown client type 'foo'"),
        ("client kill user foo", "ERR No such user 'foo'"),
        ("client kill user default type foo", "ERR Unknown client type 'foo'"),
        ("client kill skipme foo", SYNTAX),
        ("client kill maxage x", "ERR maxage is not an integer or out of range"),
        ("client kill maxage 0", "ERR maxage should be greater than 0"),
    ]);
}

#[test]
fn client_pause_modes() {
    let pause = |timeout_ms, writes_only| Task::ClientPause { timeout_ms, writes_only };
    assert_eq!(task("client pause 0"), pause(0, false));
    assert_eq!(task("client pause 9 all"), pause(9, false));
    assert_eq!(task("client pause 9 WRITE"), pause(9, true));
    refused(&[
        ("client pause abc", "ERR timeout is not an integer or out of range"),
        ("client pause 99999999999999999999", "ERR timeout is not an integer or out of range"),
        ("client pause -1", "ERR timeout is negative"),
        ("client pause abc foo", "ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("client pause 0 all all", "ERR unknown subcommand or wrong number of arguments for 'pause'. Try CLIENT HELP."),
    ]);
}

#[test]
fn server_options() {
    let pairs = vec![("MaxMemory".to_owned(), "1GB".to_owned()), ("timeout".to_owned(), "5".to_owned())];
    assert_eq!(task("config set MaxMemory 1GB timeout 5"), Task::ConfigSet(pairs));
    let bytes = Request::new(&[&b"config"[..], b"set", b"requirepass", b"\xff\xfe"]);
    let text = "ERR CONFIG SET failed (possibly related to argument 'requirepass') - argument must be UTF-8";
    assert_eq!(bytes.task(&OPEN), Err(Mistake::Text(text.into())));
    assert_eq!(task("slowlog get"), Task::SlowlogGet(10));
    assert_eq!(task("slowlog get -1"), Task::SlowlogGet(-1));
    let index = |name: &str| usize::from(lookup_full(name.as_bytes()).expect("it exists").index);
    assert_eq!(task("latency histogram"), Task::LatencyHistogram(None));
    let named = vec![index("incr"), index("slowlog|len"), index("incr")];
    assert_eq!(task("latency histogram INCR nosuch slowlog|LEN incr"), Task::LatencyHistogram(Some(named)));
    let of_container: Vec<usize> = ["object", "object|encoding", "object|freq"].map(index).into();
    let Task::LatencyHistogram(Some(indexes)) = task("latency histogram object") else { panic!("it names commands") };
    assert!(of_container.iter().all(|index| indexes.contains(index)), "{indexes:?}");
    assert_eq!(task("latency history command"), Task::LatencyHistory(Some(Event::Command)));
    assert_eq!(task("latency history Command"), Task::LatencyHistory(None));
    assert_eq!(task("latency reset"), Task::LatencyReset([true, true]));
    assert_eq!(task("latency reset nosuch expire-cycle"), Task::LatencyReset([false, true]));
    assert_eq!(task("shutdown"), Task::Shutdown { abort: false });
    assert_eq!(task("shutdown NOSAVE now force now"), Task::Shutdown { abort: false });
    assert_eq!(task("shutdown abort abort"), Task::Shutdown { abort: true });
    let count = "ERR count should be greater than or equal to -1";
    refused(&[
        ("config set a b c", SYNTAX),
        ("slowlog get abc", count),
        ("slowlog get -2", count),
        ("slowlog get 1 2", "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."),
        ("shutdown foo", SYNTAX),
        ("shutdown nosave save", SYNTAX),
        ("shutdown nosave abort", SYNTAX),
        ("shutdown abort now", SYNTAX),
        ("function flush foo", "ERR FUNCTION FLUSH only supports SYNC|ASYNC option"),
        (
            "function flush async foo",
            "ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP.",
        ),
        ("script flush foo", "ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
        ("script flush sync foo", "ERR SCRIPT FLUSH only support SYNC|ASYNC option"),
    ]);
}

#[test]
fn debug_sleeps_for_a_bounded_time() {
    let debug = Env { debug: true, ..OPEN };
    let sleep = |line: &str| Request::line(line).task(&debug);
    assert_eq!(sleep("debug sleep 1.5"), Ok(Task::DebugSleep { duration_us: 1_500_000 }));
    assert_eq!(sleep("DEBUG SLEEP 0"), Ok(Task::DebugSleep { duration_us: 0 }));
    for bad in ["-1", "nan", "inf", "x", "", "3600.1"] {
        assert_eq!(sleep(&format!("debug sleep {bad}")), Err(Mistake::Text("ERR value is not a valid float".into())));
    }
    let unknown = "ERR unknown subcommand or wrong number of arguments for 'object'. Try DEBUG HELP.";
    assert_eq!(sleep("debug object k"), Err(Mistake::Text(unknown.into())));
}
