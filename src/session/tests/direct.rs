//! Clients of a shard's own port: what is another shard's is not executed, and they are told where it is.
//!
//! With three shards `b` (slot 3300) is shard 0's, `c` (7365) shard 1's, `d` (11298) and `a` (15495) shard 2's.

use super::bench::PORTS;
use super::*;

const CROSS_SLOT: &str = "-CROSSSLOT Keys in request don't hash to the same slot\r\n";

fn direct(own: usize) -> Bench {
    let mut bench = Bench::new(3);
    bench.direct = Some(own);
    bench
}

fn moved(key: &str) -> String {
    let slot = slot::of(key.as_bytes());
    format!("-MOVED {slot} 10.0.0.7:{}\r\n", PORTS[ShardMap::new(3).shard_of(slot)])
}

#[test]
fn one_key_is_served_or_elsewhere() {
    let lines = ["INCR a", "INCR b", "SET c x", "SET a x", "OBJECT ENCODING b", "TTL d", "GET a", "PING", "INCR"];
    let expected = format!(
        ":1\r\n{}{}-ERR value is not an integer or out of range\r\n{}:-2\r\n$1\r\n1\r\n+PONG\r\n\
         -ERR wrong number of arguments for 'incr' command\r\n",
        moved("b"),
        moved("c"),
        moved("b")
    );
    assert_eq!(direct(2).run(&requests(&lines)), expected);
    assert_eq!(moved("a"), "-MOVED 15495 10.0.0.7:7003\r\n");
}

#[test]
fn the_main_port_serves_every_key() {
    let replies = Bench::new(3).run(&requests(&["MSET a 1 b 2 c 3 d 4", "MGET a b c d", "DEL a b c d"]));
    assert_eq!(replies, "+OK\r\n*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n:4\r\n");
}

#[test]
fn the_first_key_of_a_stream_decides_where_it_belongs() {
    for line in ["MGET b a", "MINCRBY b 1 a 1", "MSET b 1 a 1", "DEL b a", "EXISTS b", "TOUCH b b b", "UNLINK b"] {
        let expected = format!("{}:1\r\n", moved("b"));
        assert_eq!(direct(2).run(&requests(&[line, "INCR a"])), expected, "{line}");
        let inline = format!("{line}\r\nINCR a\r\n");
        assert_eq!(direct(2).run(inline.as_bytes()), expected, "{line}");
    }
}

#[test]
fn a_later_key_of_another_slot_is_an_error_at_its_place_or_the_end() {
    let element = "-CROSSSLOT Keys in request don't hash to the same slot (argument ";
    let lines = ["MSET {a}1 1 {a}2 2 d 3 {a}4 4", "MGET {a}1 d {a}2 b", "MINCRBY {a}1 1 d 1 {a}2 x", "DEL {a}1 d {a}2"];
    let expected = format!(
        "{element}5)\r\n\
         *4\r\n$1\r\n1\r\n{element}2)\r\n$1\r\n2\r\n{element}4)\r\n\
         *3\r\n:2\r\n{element}3)\r\n-ERR value is not an integer or out of range (argument 6)\r\n\
         {element}2)\r\n:1\r\n"
    );
    let multibulk = requests(&lines);
    assert_eq!(direct(2).run(&[multibulk, requests(&["EXISTS {a}1 {a}2 {a}4"])].concat()), expected);
    let inline: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    assert_eq!(direct(2).run(format!("{inline}EXISTS {{a}}1 {{a}}2 {{a}}4\r\n").as_bytes()), expected);
}

#[test]
fn an_inline_request_whose_keys_all_cross_fits_its_window() {
    let line = format!("MGET a{}\r\nINCR a\r\n", " d".repeat(126));
    let replies = direct(2).run(line.as_bytes());
    assert_eq!(replies.matches("-CROSSSLOT ").count(), 126);
    assert!(replies.starts_with("*127\r\n$-1\r\n-CROSSSLOT ") && replies.ends_with(" (argument 127)\r\n:1\r\n"));
}

#[test]
fn a_first_key_that_is_too_long_is_refused_at_its_place() {
    let (long, longer) = (vec![b'k'; 1_025], vec![b'k'; 5_000]);
    let own = ShardMap::new(3).shard_of(slot::of(&long));
    let fault = "-ERR key is too long: at most 1024 bytes (argument 1)\r\n";
    assert_eq!(direct(own).run(&request(&[b"DEL", &long])), fault);
    assert!(direct((own + 1) % 3).run(&request(&[b"DEL", &long])).starts_with("-MOVED "));
    assert_eq!(direct(2).run(&request(&[b"MGET", &longer, b"a"])), format!("*2\r\n{fault}$-1\r\n"));
}

#[test]
fn tasks_with_keys_are_looked_through_first() {
    let lines =
        ["RENAME a b", "RENAME b {b}2", "MSETNX a 1 d 1", "MSETNX b 1 {b}2 x", "WATCH a b", "WATCH c", "DBSIZE"];
    let expected = [CROSS_SLOT, &moved("b"), CROSS_SLOT, &moved("b"), CROSS_SLOT, &moved("c"), "+DbSize\r\n"];
    assert_eq!(direct(2).run(&requests(&lines)), expected.concat());
    let accepted = direct(2).run(&requests(&["RENAME a {a}2", "WATCH {a}1 {a}2"]));
    assert!(accepted.starts_with("+Rename ") && accepted.contains("\r\n+Watch("), "{accepted}");
}

#[test]
fn what_is_elsewhere_aborts_a_transaction() {
    for line in ["INCR b", "MGET b a", "MGET a d", "MSET a 1 d 2", "RENAME a d", "WATCH b", "MSETNX b 1"] {
        let mut bench = direct(2);
        bench.receive(&requests(&["MULTI", "INCR a", line, "INCR a"]));
        let aborted = bench.session.client.transaction.as_ref().is_some_and(|transaction| transaction.aborted);
        // WATCH is refused before its keys matter, and that aborts nothing.
        assert_eq!(aborted, line != "WATCH b", "{line}");
        let replies = String::from_utf8_lossy(&bench.replies).into_owned();
        let is_refused = |line: &str| line.starts_with("-MOVED 3300 ") || line.starts_with("-CROSSSLOT ");
        assert!(replies.lines().nth(2).is_some_and(|line| is_refused(line) || line.starts_with("-ERR WATCH")));
        assert_eq!(replies.lines().count(), 4, "one reply each: {replies}");
    }
}

#[test]
fn a_transaction_of_several_slots_is_known_as_such() {
    let crosses = |lines: &[&str]| {
        let mut bench = direct(2);
        bench.receive(&requests(&["MULTI"]));
        bench.receive(&requests(lines));
        bench.session.client.transaction.expect("it is queued").crosses_slots
    };
    assert!(!crosses(&["INCR {a}1", "MSET {a}1 1 {a}2 2", "PING", "GET {a}3"]));
    assert!(crosses(&["INCR a", "INCR d"]));
    assert!(crosses(&["MGET a {a}1", "MINCRBY d 1"]));
    // Values are no keys.
    assert!(!crosses(&["MSET a 1 {a}2 2 {a}3 3"]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_gives_the_same_replies_here_too(bytes in stream(), cuts in vec(1usize..700, 1..60), own in 0usize..3) {
        let whole = direct(own).run(&bytes);
        let mut cut = direct(own);
        let mut rest = &bytes[..];
        for count in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*count).min(rest.len()));
            cut.receive(piece);
            rest = behind;
        }
        prop_assert_eq!(String::from_utf8_lossy(&cut.replies), whole);
    }

    #[test]
    fn exactly_one_shard_serves_a_key(key in "[a-z{}]{0,12}") {
        let line = request(&[b"INCR", key.as_bytes()]);
        let replies: Vec<String> = (0..3).map(|own| direct(own).run(&line)).collect();
        let owner = ShardMap::new(3).shard_of(slot::of(key.as_bytes()));
        for (own, reply) in replies.iter().enumerate() {
            let expected = if own == owner { ":1\r\n".to_owned() } else { moved(&key) };
            prop_assert_eq!(reply, &expected);
        }
    }
}
