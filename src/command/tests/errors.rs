//! The texts of errors, as a redis-server 7.0.15 gives them.

use proptest::prelude::*;

use super::super::{Each, InTransaction, Mistake, Run, SPEC_COUNT, by_index, each_op, lookup, mistake, resolve_found};
use super::{OPEN, Request, mistake_of, text};
use crate::client::{Client, Transaction};
use crate::counters::{Cond, Deadline, Fault, Op, SetReply};

#[test]
fn unknown_commands_are_shown_with_their_arguments() {
    assert_eq!(mistake_of("foo"), "ERR unknown command 'foo', with args beginning with: ");
    assert_eq!(mistake_of("FOO a"), "ERR unknown command 'FOO', with args beginning with: 'a' ");
    assert_eq!(mistake_of("foo a b"), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    assert_eq!(mistake_of("foo "), "ERR unknown command 'foo', with args beginning with: '' ");
    let long = "f".repeat(159);
    let shown = "f".repeat(128);
    assert_eq!(
        mistake_of(&format!("{long} a")),
        format!("ERR unknown command '{shown}', with args beginning with: 'a' ")
    );
    assert_eq!(
        mistake_of(&format!("foo {long} bbb ccc")),
        format!("ERR unknown command 'foo', with args beginning with: '{shown}' ")
    );
    let (first, second) = ("a".repeat(88), "b".repeat(52));
    assert_eq!(
        mistake_of(&format!("foo {first} {second} ccccccccccccccccccc")),
        format!("ERR unknown command 'foo', with args beginning with: '{first}' '{}' ", &second[..37])
    );
}

#[test]
fn what_is_not_printable_is_replaced() {
    let request = Request::new(&[&b"f\x01\x00o"[..], b"a\r\nb", b"\xff\x7f"]);
    let expected = "ERR unknown command 'f?', with args beginning with: 'a  b' '??' ";
    assert_eq!(request.resolve().map(|spec| spec.name), Err(Mistake::Text(expected.into())));
}

proptest! {
    #[test]
    fn an_unknown_command_makes_one_printable_line(arguments in proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 0..200), 1..12)) {
        if let Err(mistake) = Request::new(&arguments).resolve() {
            let text = text(&mistake);
            prop_assert!(text.len() <= 512);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}

#[test]
fn unknown_subcommands_are_refused() {
    assert_eq!(mistake_of("client foo"), "ERR unknown subcommand 'foo'. Try CLIENT HELP.");
    assert_eq!(mistake_of("Object FOO a b c"), "ERR unknown subcommand 'FOO'. Try OBJECT HELP.");
    assert_eq!(mistake_of("command foo"), "ERR unknown subcommand 'foo'. Try COMMAND HELP.");
    let long = "f".repeat(150);
    let shown = "f".repeat(128);
    assert_eq!(mistake_of(&format!("config {long}")), format!("ERR unknown subcommand '{shown}'. Try CONFIG HELP."));
}

#[test]
fn wrong_numbers_of_arguments_are_refused() {
    let cases = [
        ("get", "get"),
        ("GET", "get"),
        ("get a b", "get"),
        ("set a", "set"),
        ("client", "client"),
        ("object", "object"),
        ("CLIENT ID x", "client|id"),
        ("config get", "config|get"),
        ("config set a", "config|set"),
        ("object encoding", "object|encoding"),
        ("object help a", "object|help"),
        ("command count x", "command|count"),
        ("mset a", "mset"),
        ("msetnx a", "msetnx"),
        ("mincrby a", "mincrby"),
        ("ping a b", "ping"),
        ("time a", "time"),
        ("reset a", "reset"),
        ("debug", "debug"),
        ("auth", "auth"),
        ("echo", "echo"),
        ("client kill", "client|kill"),
        ("client reply", "client|reply"),
    ];
    for (line, name) in cases {
        assert_eq!(mistake_of(line), format!("ERR wrong number of arguments for '{name}' command"), "{line}");
    }
}

#[test]
fn what_has_not_arrived_is_counted_as_announced() {
    let request = Request::line("mset a 1");
    let named = |count| resolve_found(lookup(request.call().arg(0)), &request.call(), count).map(|spec| spec.name);
    assert_eq!(named(2_000_001), Ok("mset"));
    assert_eq!(named(2), Err(mistake::wrong_arity("mset")));
    assert_eq!(
        resolve_found(lookup(b"mget"), &Request::line("mget").call(), 1_000_001).map(|spec| spec.name),
        Ok("mget")
    );
}

#[test]
fn containers_are_never_resolved() {
    for spec in super::super::commands() {
        for line in [spec.name.to_owned(), format!("{} help", spec.name), format!("{} a b c d", spec.name)] {
            if let Ok(spec) = Request::line(&line).resolve() {
                assert!(!matches!(spec.run, Run::Container), "{line}");
            }
        }
    }
}

#[test]
fn only_some_commands_are_not_queued() {
    let of = |wanted| {
        let every = (0..SPEC_COUNT).map(by_index).filter(move |spec| spec.in_transaction() == wanted);
        every.map(|spec| spec.name).collect::<Vec<_>>()
    };
    assert_eq!(of(InTransaction::Immediate), ["multi", "exec", "discard", "watch", "quit", "reset"]);
    assert_eq!(of(InTransaction::Refused), ["save", "shutdown"]);
}

#[test]
fn multi_does_not_nest() {
    let mut client = Client::default();
    assert_eq!(Request::line("multi").reply(&mut client, &OPEN), Ok(b"+OK\r\n".to_vec()));
    let transaction = client.transaction.as_mut().unwrap();
    transaction.command_count = 3;
    assert_eq!(Request::line("multi").reply(&mut client, &OPEN), Err(mistake::MULTI_NESTED));
    let kept =
        client.transaction.as_deref().map(|Transaction { command_count, aborted, .. }| (*command_count, *aborted));
    assert_eq!(kept, Some((3, false)));
}

#[test]
fn streaming_commands_have_an_operation_a_key() {
    assert_eq!(each_op(Each::Mget, None), Ok(Op::Get));
    assert_eq!(each_op(Each::Del, None), Ok(Op::Delete));
    assert_eq!(each_op(Each::Exists, None), Ok(Op::Exists));
    assert_eq!(each_op(Each::Mincrby, Some(b"-5")), Ok(Op::Add(-5)));
    assert_eq!(
        each_op(Each::Mset, Some(b"7")),
        Ok(Op::Set { value: 7, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Ok })
    );
    for each in [Each::Mset, Each::Mincrby] {
        for bad in ["", "1.5", "9223372036854775808", "-0"] {
            assert_eq!(each_op(each, Some(bad.as_bytes())), Err(Fault::NotInteger), "{bad}");
        }
    }
}
