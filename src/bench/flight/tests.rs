//! Tests of what replies show.

use super::*;
use crate::bench::mix::Mix;

struct Tried {
    taken: Result<usize, ProtocolError>,
    shown: Shown,
    recorded: Vec<(u16, u64, u64)>,
    left: usize,
}

/// Requests of a mix, by the index of the command and the key, all sent at once, and what the server answers.
fn try_replies(mix: &str, requests: &[(usize, u32)], replies: &str) -> Tried {
    let rules = Rule::of(Mix::parse(mix, 100, 16).unwrap().templates(), true);
    let mut flight = Flight::new(100);
    requests.iter().for_each(|(command, key)| flight.push(*command, *key, 5, &rules));
    flight.sent(requests.len() as u32, 6);
    let (mut shown, mut recorded) = (Shown::default(), Vec::new());
    let taken = flight.take(replies.as_bytes(), &rules, &mut shown, |alike, count, error_count| {
        assert_eq!((alike.intended_ns, alike.sent_ns), (5, 6));
        recorded.push((alike.command, count, error_count));
    });
    Tried { taken, shown, recorded, left: flight.len() }
}

#[test]
fn increments_are_added_up_and_alike_ones_recorded_together() {
    let tried = try_replies("incr,get", &[(0, 1), (0, 2), (1, 1), (0, 3)], ":1\r\n:1\r\n$1\r\n1\r\n:1\r\n:9");
    assert_eq!(tried.taken.unwrap(), 19);
    assert_eq!((tried.shown.acknowledged, tried.shown.backward_count, tried.left), (3, 0, 0));
    assert_eq!(tried.recorded, [(0, 2, 0), (1, 1, 0), (0, 1, 0)]);
}

#[test]
fn a_value_that_does_not_grow_is_noticed() {
    assert_eq!(try_replies("incr", &[(0, 1), (0, 1)], ":4\r\n:5\r\n").shown.backward_count, 0);
    let tried = try_replies("incr", &[(0, 1), (0, 1)], ":4\r\n:4\r\n");
    assert_eq!(tried.shown.backward_count, 1);
    assert!(tried.shown.backward.unwrap().contains("key number 1 was 4, then 4"));
    // A read may see the same value again, but no smaller one.
    assert_eq!(try_replies("incr,get", &[(0, 1), (1, 1)], ":4\r\n$1\r\n4\r\n").shown.backward_count, 0);
    assert_eq!(try_replies("incr,get", &[(0, 1), (1, 1)], ":4\r\n$1\r\n3\r\n").shown.backward_count, 1);
    assert_eq!(
        try_replies("mincrby:2", &[(0, 1), (0, 1)], "*2\r\n:2\r\n:9\r\n*2\r\n:2\r\n:9\r\n").shown.backward_count,
        1
    );
}

#[test]
fn errors_leave_their_increments_unknown() {
    let tried = try_replies("incr", &[(0, 1), (0, 2), (0, 3)], ":1\r\n-OOM no\r\n:1\r\n");
    assert_eq!((tried.shown.acknowledged, tried.shown.unknown, tried.shown.error_count), (2, 1, 1));
    assert_eq!(tried.shown.error.as_deref(), Some("OOM no"));
    assert_eq!(tried.recorded, [(0, 3, 1)]);
    let tried = try_replies("mincrby:3", &[(0, 1)], "*3\r\n:1\r\n-OOM\r\n:1\r\n");
    assert_eq!((tried.shown.acknowledged, tried.shown.unknown, tried.shown.error_count), (2, 1, 1));
    let tried = try_replies("mincrby:3", &[(0, 1)], "-ERR unknown command\r\n");
    assert_eq!((tried.shown.acknowledged, tried.shown.unknown, tried.shown.error_count), (0, 3, 1));
}

#[test]
fn a_request_of_two_replies_is_answered_by_the_second() {
    let tried = try_replies("expiring", &[(0, 1), (0, 2)], ":1\r\n:1\r\n:1\r\n");
    assert_eq!((tried.recorded, tried.left), (vec![(0, 1, 0)], 1));
    let tried = try_replies("expiring", &[(0, 1)], "-ERR\r\n:1\r\n");
    assert_eq!(tried.recorded, [(0, 1, 1)]);
}

#[test]
fn replies_of_another_form_are_noticed() {
    for replies in ["+OK\r\n", "$-1\r\n", "*2\r\n:1\r\n:1\r\n", "*0\r\n"] {
        assert_eq!(try_replies("incr", &[(0, 1)], replies).shown.strange_count, 1, "{replies:?}");
    }
    assert_eq!(try_replies("mincrby:3", &[(0, 1)], "*2\r\n:1\r\n:1\r\n").shown.strange_count, 1);
}

#[test]
fn reads_have_as_many_values_as_keys() {
    for (mix, reply) in [
        ("mget:3", "*3\r\n$1\r\n1\r\n$-1\r\n:2\r\n"),
        ("mget:3", "-ERR no\r\n"),
        ("get", "$-1\r\n"),
        ("get", "$1\r\n7\r\n"),
    ] {
        let shown = try_replies(&format!("incr,{mix}"), &[(1, 1)], reply).shown;
        assert_eq!((shown.strange_count, shown.backward_count), (0, 0), "{mix} {reply:?}");
    }
    for (mix, reply) in [
        ("mget:3", "*2\r\n:1\r\n:1\r\n"),
        ("mget:3", "*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n"),
        ("mget:3", "*0\r\n"),
        ("mget:3", "*-1\r\n"),
        ("mget:3", "*3\r\n:1\r\n+OK\r\n:1\r\n"),
        ("get", "+OK\r\n"),
        ("get", "*0\r\n"),
    ] {
        assert_eq!(try_replies(&format!("incr,{mix}"), &[(1, 1)], reply).shown.strange_count, 1, "{mix} {reply:?}");
    }
    // Where nothing is counted under those keys, they may be anybody's.
    assert_eq!(try_replies("get", &[(0, 1)], "+text\r\n").shown.strange_count, 0);
}

#[test]
fn a_counter_that_was_there_and_is_gone_has_fallen() {
    let replies = [":4\r\n$-1\r\n", ":4\r\n*2\r\n_\r\n:9\r\n"];
    for (read, replies) in ["get", "mget:2"].into_iter().zip(replies) {
        let tried = try_replies(&format!("incr,{read}"), &[(0, 1), (1, 1)], replies);
        assert_eq!((tried.shown.backward_count, tried.shown.strange_count), (1, 0), "{read}");
        assert!(tried.shown.backward.unwrap().contains("key number 1 was 4, then 0"));
        // It may have had its time.
        let tried = try_replies(&format!("incr,{read},expiring"), &[(0, 1), (1, 1)], replies);
        assert_eq!(tried.shown.backward_count, 0, "{read}");
    }
    assert_eq!(try_replies("incr,get", &[(1, 1), (0, 1)], "$-1\r\n:1\r\n").shown.backward_count, 0);
}

#[test]
fn a_reply_too_many_breaks_the_connection() {
    assert!(try_replies("incr", &[(0, 1)], ":1\r\n:2\r\n").taken.is_err());
}

#[test]
fn what_was_answered_before_a_connection_broke_is_recorded() {
    let tried = try_replies("incr", &[(0, 1), (0, 2), (0, 3)], ":1\r\n:1\r\nHTTP/1.1\r\n");
    assert!(tried.taken.is_err());
    assert_eq!((tried.recorded, tried.left, tried.shown.acknowledged), (vec![(0, 2, 0)], 1, 2));
}

#[test]
fn of_many_keys_some_are_remembered() {
    for key_count in [1, 100, SEEN_COUNT_MAX, SEEN_COUNT_MAX + 1, 1_000_000, u32::MAX] {
        let mut seen = Seen::new(key_count);
        assert!(seen.values.len() <= SEEN_COUNT_MAX as usize + 1);
        let mut shown = Shown::default();
        seen.see(key_count - 1, 1, 1, &mut shown);
        seen.see(0, 1, 1, &mut shown);
        seen.see(0, 1, 1, &mut shown);
        assert_eq!(shown.backward_count, if key_count == 1 { 2 } else { 1 });
    }
}
