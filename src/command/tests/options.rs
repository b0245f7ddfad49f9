//! Options and numbers of the commands on one key: what they mean, and which error a wrong one gets. The errors are
//! those of a redis-server 7.0.15.

use proptest::prelude::*;

use super::{NOW_MS, Request, mistake_of};
use crate::counters::{Cond, Deadline, ExpireCond, Fault, Op, SetReply, TimeUnit};

fn op(line: &str) -> Op {
    match Request::line(line).op() {
        Ok(op) => op,
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
fn amounts() {
    assert_eq!(op("incr k"), Op::Add(1));
    assert_eq!(op("decr k"), Op::Add(-1));
    assert_eq!(op("incrby k -9223372036854775808"), Op::Add(i64::MIN));
    assert_eq!(op("decrby k 9223372036854775807"), Op::Add(-i64::MAX));
    assert_eq!(op("decrby k -5"), Op::Add(5));
    refused(&[
        ("incrby k abc", NOT_INTEGER),
        ("incrby k 9223372036854775808", NOT_INTEGER),
        ("incrby k 01", NOT_INTEGER),
        ("incrby k +1", NOT_INTEGER),
        ("incrby k -0", NOT_INTEGER),
        ("incrby k ", NOT_INTEGER),
        ("decrby k abc", NOT_INTEGER),
        ("decrby k -9223372036854775808", "ERR decrement would overflow"),
    ]);
}

fn plain_set(deadline: Deadline) -> Op {
    Op::Set { value: 7, deadline, cond: Cond::Always, reply: SetReply::Ok }
}

#[test]
fn set_options() {
    let at = |ms| plain_set(Deadline::At(ms));
    assert_eq!(op("set k 7"), plain_set(Deadline::Clear));
    assert_eq!(op("SET k 7 KEEPTTL keepttl"), plain_set(Deadline::Keep));
    assert_eq!(op("set k 7 ex 10"), at(NOW_MS + 10_000));
    assert_eq!(op("set k 7 Px 10"), at(NOW_MS + 10));
    assert_eq!(op("set k 7 exat 10"), at(10_000));
    assert_eq!(op("set k 7 pxat 10"), at(10));
    assert_eq!(op("set k 7 ex 10 EX 20"), at(NOW_MS + 20_000));
    assert_eq!(op("set k 7 exat 9223372036854775"), at(9_223_372_036_854_775_000));
    assert_eq!(op("set k 7 pxat 9223372036854775807"), at(i64::MAX));
    let conditional = |cond, reply| Op::Set { value: 7, deadline: Deadline::Clear, cond, reply };
    assert_eq!(op("set k 7 nx nx"), conditional(Cond::Absent, SetReply::Ok));
    assert_eq!(op("set k 7 xx"), conditional(Cond::Present, SetReply::Ok));
    assert_eq!(op("set k 7 nx get get"), conditional(Cond::Absent, SetReply::Old));
    let all = Op::Set { value: -1, deadline: Deadline::At(5), cond: Cond::Present, reply: SetReply::Old };
    assert_eq!(op("set k -1 get pxat 5 xx"), all);
    let expire = "ERR invalid expire time in 'set' command";
    refused(&[
        ("set k 7 ex", SYNTAX),
        ("set k 7 ex 0", expire),
        ("set k 7 ex -1", expire),
        ("set k 7 ex abc", NOT_INTEGER),
        ("set k 7 ex 10 px 10", SYNTAX),
        ("set k 7 ex 9223372036854775807", expire),
        ("set k 7 px 9223372036854775807", expire),
        ("set k 7 ex 9223372036854775", expire),
        ("set k 7 exat 9223372036854776", expire),
        ("set k 7 nx xx", SYNTAX),
        ("set k 7 xx nx", SYNTAX),
        ("set k 7 keepttl ex 10", SYNTAX),
        ("set k 7 ex 10 keepttl", SYNTAX),
        ("set k 7 persist", SYNTAX),
        ("set k 7 get nx ex", SYNTAX),
        ("set k 7 foo ex abc", SYNTAX),
        ("set k 7 ex abc foo", SYNTAX),
        ("set k seven", NOT_INTEGER),
        ("set k seven foo", SYNTAX),
        ("set k seven ex 0", expire),
    ]);
}

#[test]
fn set_and_its_kin() {
    let set = |deadline, cond, reply| Op::Set { value: 7, deadline, cond, reply };
    assert_eq!(op("setnx k 7"), set(Deadline::Clear, Cond::Absent, SetReply::Written));
    assert_eq!(op("getset k 7"), set(Deadline::Clear, Cond::Always, SetReply::Old));
    assert_eq!(op("setex k 5 7"), plain_set(Deadline::At(NOW_MS + 5_000)));
    assert_eq!(op("psetex k 5 7"), plain_set(Deadline::At(NOW_MS + 5)));
    assert_eq!(op("getdel k"), Op::GetDel);
    assert_eq!(op("strlen k"), Op::StrLen);
    assert_eq!(op("get k"), Op::Get);
    refused(&[
        ("setnx k x", NOT_INTEGER),
        ("getset k x", NOT_INTEGER),
        ("setex k 5 x", NOT_INTEGER),
        ("setex k 0 7", "ERR invalid expire time in 'setex' command"),
        ("setex k abc 7", NOT_INTEGER),
        ("setex k 99999999999999999999 7", NOT_INTEGER),
        ("setex k 9223372036854775807 7", "ERR invalid expire time in 'setex' command"),
        ("psetex k 0 7", "ERR invalid expire time in 'psetex' command"),
        ("psetex k -1 7", "ERR invalid expire time in 'psetex' command"),
        ("psetex k 9223372036854775807 7", "ERR invalid expire time in 'psetex' command"),
    ]);
}

#[test]
fn getex_options() {
    assert_eq!(op("getex k"), Op::GetEx(Deadline::Keep));
    assert_eq!(op("getex k persist PERSIST"), Op::GetEx(Deadline::Clear));
    assert_eq!(op("getex k ex 1"), Op::GetEx(Deadline::At(NOW_MS + 1_000)));
    assert_eq!(op("getex k pxat 1"), Op::GetEx(Deadline::At(1)));
    // A number that cannot be is refused only where the key exists.
    assert_eq!(op("getex k ex 0"), Op::Refuse(Fault::GetExExpiry));
    assert_eq!(op("getex k ex 9223372036854775807"), Op::Refuse(Fault::GetExExpiry));
    assert_eq!(op("getex k ex abc"), Op::Refuse(Fault::NotInteger));
    refused(&[
        ("getex k ex", SYNTAX),
        ("getex k persist ex 10", SYNTAX),
        ("getex k ex 10 persist", SYNTAX),
        ("getex k keepttl", SYNTAX),
        ("getex k nx", SYNTAX),
        ("getex k get", SYNTAX),
        ("getex k ex 10 foo", SYNTAX),
    ]);
}

#[test]
fn expire_options() {
    let expire = |at_ms, cond| Op::Expire { at_ms, cond };
    let always = ExpireCond::Always;
    assert_eq!(op("expire k 10"), expire(NOW_MS + 10_000, always));
    assert_eq!(op("pexpire k 10"), expire(NOW_MS + 10, always));
    assert_eq!(op("expireat k 10"), expire(10_000, always));
    assert_eq!(op("pexpireat k -1"), expire(-1, always));
    assert_eq!(op("pexpireat k 9223372036854775807"), expire(i64::MAX, always));
    assert_eq!(op("pexpireat k -9223372036854775808"), expire(i64::MIN, always));
    assert_eq!(op("pexpire k -9223372036854775808"), expire(i64::MIN + NOW_MS, always));
    assert_eq!(op("expireat k -9223372036854775"), expire(-9_223_372_036_854_775_000, always));
    let cases = [
        ("nx", ExpireCond::NoExpiry),
        ("NX nx", ExpireCond::NoExpiry),
        ("xx", ExpireCond::HasExpiry),
        ("gt", ExpireCond::Later),
        ("lt", ExpireCond::Earlier),
        ("xx gt", ExpireCond::HasExpiryLater),
        ("lt xx", ExpireCond::HasExpiryEarlier),
    ];
    for (options, cond) in cases {
        assert_eq!(op(&format!("expireat k 10 {options}")), expire(10_000, cond), "{options}");
    }
    let nx = "ERR NX and XX, GT or LT options at the same time are not compatible";
    let gt = "ERR GT and LT options at the same time are not compatible";
    refused(&[
        ("expire k abc", NOT_INTEGER),
        ("expire k abc nx xx", nx),
        ("expire k 10 foo", "ERR Unsupported option foo"),
        ("expire k 10 nx xx", nx),
        ("expire k 10 nx gt", nx),
        ("expire k 10 lt nx", nx),
        ("expire k 10 gt lt", gt),
        ("expire k 10 nx gt lt", nx),
        ("expire k 10 xx gt lt", gt),
        ("expire k 10 nx xx foo", "ERR Unsupported option foo"),
        ("expire k abc foo", "ERR Unsupported option foo"),
        ("expire k 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("expire k -9223372036854775808", "ERR invalid expire time in 'expire' command"),
        ("expire k 9223372036854775", "ERR invalid expire time in 'expire' command"),
        ("pexpire k 9223372036854775807", "ERR invalid expire time in 'pexpire' command"),
        ("expireat k 9223372036854775807", "ERR invalid expire time in 'expireat' command"),
        ("expireat k -9223372036854775808", "ERR invalid expire time in 'expireat' command"),
    ]);
}

#[test]
fn questions_about_a_key() {
    assert_eq!(op("type k"), Op::Type);
    assert_eq!(op("persist k"), Op::Persist);
    assert_eq!(op("ttl k"), Op::Time(TimeUnit::SecondsLeft));
    assert_eq!(op("pttl k"), Op::Time(TimeUnit::MillisLeft));
    assert_eq!(op("expiretime k"), Op::Time(TimeUnit::SecondsAt));
    assert_eq!(op("pexpiretime k"), Op::Time(TimeUnit::MillisAt));
    assert_eq!(op("object encoding k"), Op::Encoding);
    assert_eq!(op("object refcount k"), Op::RefCount);
    assert_eq!(op("object freq k"), Op::Refuse(Fault::NoFrequency));
    assert_eq!(op("object idletime k"), Op::Refuse(Fault::NoIdleTime));
    assert_eq!(op("memory usage k"), Op::Usage);
    assert_eq!(op("memory usage k samples 0 SAMPLES 1"), Op::Usage);
    refused(&[
        ("memory usage k samples", SYNTAX),
        ("memory usage k samples -1", SYNTAX),
        ("memory usage k samples abc", NOT_INTEGER),
        ("memory usage k foo", SYNTAX),
        ("memory usage k foo 1", SYNTAX),
    ]);
}

/// The rules for the options of `SET`, one by one, over the whole list: a twin that looks at everything at once.
fn set_is_allowed(options: &[&str]) -> bool {
    let mut words = Vec::new();
    let mut rest = options.iter();
    while let Some(option) = rest.next() {
        if ["EX", "PX", "EXAT", "PXAT"].contains(option) && rest.next().is_none() {
            return false;
        }
        words.push(*option);
    }
    let known = ["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT"];
    let expiries = known[3..].iter().filter(|word| words.contains(word)).count();
    let conditions = known[..2].iter().filter(|word| words.contains(word)).count();
    words.iter().all(|word| known.contains(word)) && expiries <= 1 && conditions <= 1
}

proptest! {
    #[test]
    fn set_options_in_any_order(options in proptest::collection::vec(
        prop::sample::select(vec!["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "100", "1000"]), 0..6)) {
        let mut line = String::from("set k 7");
        options.iter().for_each(|option| line.extend([" ", option]));
        let result = Request::line(&line).op();
        // A word in the place of a number is no number, which is found only after the options are found to be right.
        if set_is_allowed(&options) {
            let words_as_numbers = options.windows(2).any(|pair| pair[0].starts_with(['E', 'P']) && !pair[1].starts_with('1'));
            prop_assert!(result.is_ok() || words_as_numbers, "{line}");
        } else {
            prop_assert_eq!(result, Err(Fault::Syntax.into()), "{}", line);
        }
    }
}
