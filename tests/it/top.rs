//! `tallyring top`: what it prints of a real server, and what it says when there is none to be shown.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Finished, PROCESS_LIMIT, REPLY_LIMIT, RedisServer, Server, binary, int, ok, run, within};

fn top(server: &str, args: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(["top", server]).args(args).env_remove("REDISCLI_AUTH");
    run(command, b"", PROCESS_LIMIT)
}

#[test]
fn once_prints_what_happens_in_an_interval() {
    let server = Server::start_with(2, &["--requirepass", "secret", "--maxmemory", "64mb"]);
    let address = server.address().to_string();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut conn = server.connect();
            assert_eq!(conn.ask("AUTH secret"), ok());
            for count in 1.. {
                assert_eq!(conn.ask("INCR views"), int(count));
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let mut late = server.connect();
        assert_eq!(late.ask("AUTH secret"), ok());
        late.send(b"*2\r\n$3\r\nGET\r\n$100\r\nhalf a req");
        let mut watching = server.connect();
        assert_eq!(watching.ask("AUTH secret"), ok());
        // What it has sent is put aside once it has stalled for a second.
        within(REPLY_LIMIT, "the client has stalled", || {
            watching.ask("INFO clients").text().contains("stalled_clients:1\r\n")
        });
        let shown = top(&address, &["--once", "--interval", "0.5", "--password", "secret"]);
        stop.store(true, Ordering::Relaxed);
        assert!(shown.status.success(), "{}", shown.stderr);
        let text = &shown.stdout;
        let has = |start: &str| {
            text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}:\n{text}"))
        };
        assert!(has("tallyring ").contains(&format!("at {address}")) && has("tallyring ").contains("2 shards, up 0d "));
        assert!(!has("operations").contains("  0/s"), "{text}");
        assert!(has("clients").contains("4 of ") && has("clients").contains("1 stalled"), "{text}");
        assert!(has("counters").contains("1 take ") && has("counters").contains("64.0 MiB (maxmemory)"), "{text}");
        assert!(!has("whole").contains(" - "), "{text}");
        assert!(has("incr").contains('%') && has("0  ").contains('%') && has("1  ").contains('%'), "{text}");
        assert!(has("stalled: 127.0.0.1:").contains(" bytes unfinished, 0 unread"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    });
}

#[test]
fn what_cannot_be_shown_is_said_with_a_remedy() {
    let server = Server::start_with(1, &["--requirepass", "secret"]);
    let address = server.address().to_string();
    for (args, said) in [
        (
            &["--once"][..],
            "NOAUTH Authentication required. Give the server's password with --password, or in REDISCLI_AUTH\n",
        ),
        (&["--once", "--password", "wrong"], "Give the server's password with --password, or in REDISCLI_AUTH\n"),
        (&[], "standard output is no terminal. Run it in a terminal, or use --once\n"),
    ] {
        let shown = top(&address, args);
        assert_eq!(shown.status.code(), Some(1));
        assert!(shown.stderr.starts_with("tallyring: ") && shown.stderr.ends_with(said), "{}", shown.stderr);
        assert_eq!(shown.stderr.lines().count(), 1, "{}", shown.stderr);
    }
    let nobody = top("127.0.0.1:1", &["--once"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(nobody.stderr.starts_with("tallyring: 127.0.0.1:1: Connection refused"), "{}", nobody.stderr);
    for wrong in [&["--interval", "0"][..], &["--interval", "NaN"], &["--interval", "1e99"], &["--twice"]] {
        assert_eq!(top(&address, wrong).status.code(), Some(2));
    }
    if let Some(redis) = RedisServer::start_or_skip(&[]) {
        let shown = top(&redis.address().to_string(), &["--once"]);
        assert_eq!(shown.status.code(), Some(1));
        assert!(shown.stderr.contains("this is not Tallyring"), "{}", shown.stderr);
    }
}
