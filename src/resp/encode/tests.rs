use proptest::prelude::*;

use super::*;
use crate::counters::Fault;
use crate::limits::{OUTCOME_BYTES_MAX, SHORT_OUTCOME_BYTES_MAX};

/// What is written, to a growing buffer and to one that has just the room for it.
fn written(write: impl Fn(&mut dyn Out)) -> Vec<u8> {
    let mut grown = Vec::new();
    write(&mut &mut grown);
    let mut exact = vec![0; grown.len()];
    let mut room = &mut exact[..];
    write(&mut room);
    assert!(room.is_empty());
    assert_eq!(exact, grown);
    grown
}

#[track_caller]
fn check(write: impl Fn(&mut dyn Out), expected: &[u8]) {
    let reply = written(write);
    assert!(reply == expected, "{}, not {}", reply.escape_ascii(), expected.escape_ascii());
}

#[test]
fn one_line() {
    check(|mut out| simple(&mut out, "PONG"), b"+PONG\r\n");
    check(|mut out| simple(&mut out, ""), b"+\r\n");
    check(|mut out| error(&mut out, "ERR syntax error"), b"-ERR syntax error\r\n");
    check(|mut out| error(&mut out, "ERR a\r\nb\n"), b"-ERR a  b \r\n");
    check(|mut out| integer(&mut out, 0), b":0\r\n");
    check(|mut out| integer(&mut out, i64::MAX), b":9223372036854775807\r\n");
    check(|mut out| integer(&mut out, i64::MIN), b":-9223372036854775808\r\n");
}

#[test]
fn bulk_strings() {
    check(|mut out| bulk(&mut out, b""), b"$0\r\n\r\n");
    check(|mut out| bulk(&mut out, b"a\r\n\0\xff"), b"$5\r\na\r\n\0\xff\r\n");
    check(|mut out| bulk(&mut out, &[b'x'; 100]), &[b"$100\r\n", &[b'x'; 100][..], b"\r\n"].concat());
    check(|mut out| bulk_integer(&mut out, 42), b"$2\r\n42\r\n");
    check(|mut out| bulk_integer(&mut out, -1), b"$2\r\n-1\r\n");
    check(|mut out| bulk_integer(&mut out, 999_999_999), b"$9\r\n999999999\r\n");
    check(|mut out| bulk_integer(&mut out, 1_000_000_000), b"$10\r\n1000000000\r\n");
    check(|mut out| bulk_integer(&mut out, i64::MIN), b"$20\r\n-9223372036854775808\r\n");
}

#[test]
fn both_protocols() {
    for (resp3, expected) in [(false, b"$-1\r\n*-1\r\n".as_slice()), (true, b"_\r\n_\r\n")] {
        check(
            |mut out| {
                null(&mut out, resp3);
                null_array(&mut out, resp3);
            },
            expected,
        );
    }
    for (resp3, expected) in [(false, b"*3\r\n*4\r\n*12\r\n".as_slice()), (true, b"*3\r\n%2\r\n~12\r\n")] {
        check(
            |mut out| {
                array(&mut out, 3);
                map(&mut out, 2, resp3);
                set(&mut out, 12, resp3);
            },
            expected,
        );
    }
    for (resp3, expected) in [(false, b":1\r\n:0\r\n".as_slice()), (true, b"#t\r\n#f\r\n")] {
        check(
            |mut out| {
                boolean(&mut out, true, resp3);
                boolean(&mut out, false, resp3);
            },
            expected,
        );
    }
    check(|mut out| verbatim(&mut out, "txt", "hi", true), b"=6\r\ntxt:hi\r\n");
    check(|mut out| verbatim(&mut out, "txt", "hi", false), b"$2\r\nhi\r\n");
    check(|mut out| double(&mut out, 1.5, true), b",1.5\r\n");
    check(|mut out| double(&mut out, -0.25, false), b"$5\r\n-0.25\r\n");
}

#[test]
fn doubles_as_redis_prints_them() {
    let table = [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.0, "-1"),
        (0.1, "0.10000000000000001"),
        (1.5, "1.5"),
        (100.0, "100"),
        (1e16, "10000000000000000"),
        (1e17, "1e+17"),
        (123456789012345678.0, "1.2345678901234568e+17"),
        (12345678901234567.0, "12345678901234568"),
        (1e-4, "0.0001"),
        (1e-5, "1.0000000000000001e-05"),
        (0.00012345, "0.00012344999999999999"),
        (-2.5e-7, "-2.4999999999999999e-07"),
        (1e100, "1e+100"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (5e-324, "4.9406564584124654e-324"),
        (1.0 / 3.0, "0.33333333333333331"),
        (1e22, "1e+22"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (-f64::NAN, "-nan"),
        (9007199254740993.0, "9007199254740992"),
        (4.35, "4.3499999999999996"),
        (0.068_000_003_695_487_98, "0.068000003695487976"),
    ];
    for (number, expected) in table {
        check(|mut out| double(&mut out, number, true), format!(",{expected}\r\n").as_bytes());
    }
}

#[test]
fn outcomes() {
    let table: [(Outcome, &[u8], &[u8]); 9] = [
        (Outcome::Int(123), b":123\r\n", b":123\r\n"),
        (Outcome::Int(-2), b":-2\r\n", b":-2\r\n"),
        (Outcome::Value(123), b"$3\r\n123\r\n", b"$3\r\n123\r\n"),
        (Outcome::Nil, b"$-1\r\n", b"_\r\n"),
        (Outcome::Ok, b"+OK\r\n", b"+OK\r\n"),
        (Outcome::Word(Word::String), b"+string\r\n", b"+string\r\n"),
        (Outcome::Word(Word::None), b"+none\r\n", b"+none\r\n"),
        (Outcome::Word(Word::Int), b"$3\r\nint\r\n", b"$3\r\nint\r\n"),
        (Outcome::Fault(Fault::Syntax), b"-ERR syntax error\r\n", b"-ERR syntax error\r\n"),
    ];
    for (reply, resp2, resp3) in table {
        check(|mut out| outcome(&mut out, reply, false), resp2);
        check(|mut out| outcome(&mut out, reply, true), resp3);
    }
}

#[test]
fn no_outcome_is_longer_than_its_limit() {
    let faults = [
        Fault::NotInteger,
        Fault::Overflow,
        Fault::DecrementOverflow,
        Fault::OutOfMemory,
        Fault::Syntax,
        Fault::KeyTooLong,
        Fault::ArgumentTooLong,
        Fault::RequestTooLong,
        Fault::TooManyArguments,
        Fault::CrossSlot,
        Fault::NoSuchKey,
        Fault::GetExExpiry,
        Fault::NotWritten,
        Fault::NoFrequency,
        Fault::NoIdleTime,
    ];
    for fault in faults {
        // A new fault does not compile here before it stands above.
        match fault {
            Fault::NotInteger | Fault::Overflow | Fault::DecrementOverflow | Fault::OutOfMemory | Fault::Syntax => {}
            Fault::KeyTooLong | Fault::ArgumentTooLong | Fault::RequestTooLong | Fault::TooManyArguments => {}
            Fault::CrossSlot | Fault::NotWritten => {}
            Fault::NoSuchKey | Fault::GetExExpiry | Fault::NoFrequency | Fault::NoIdleTime => {}
        }
    }
    let mut outcomes = vec![Outcome::Int(i64::MIN), Outcome::Value(i64::MIN), Outcome::Nil, Outcome::Ok];
    outcomes.extend([Word::String, Word::None, Word::Int].map(Outcome::Word));
    outcomes.extend(faults.map(Outcome::Fault));
    for reply in outcomes {
        for resp3 in [false, true] {
            let len = written(|mut out| outcome(&mut out, reply, resp3)).len();
            assert!(len <= OUTCOME_BYTES_MAX, "{reply:?}: {len} bytes");
            // What operations that count answer, and what tells at which of very many arguments a command stopped.
            if !matches!(reply, Outcome::Fault(_))
                || [Fault::Overflow, Fault::OutOfMemory, Fault::NotWritten].map(Outcome::Fault).contains(&reply)
            {
                assert!(len <= SHORT_OUTCOME_BYTES_MAX, "{reply:?}: {len} bytes");
            }
            assert!(len + " (argument 4294967295)".len() <= OUTCOME_BYTES_MAX, "{reply:?}: {len} bytes");
        }
    }
}

#[test]
#[should_panic(expected = "one line")]
fn a_simple_string_is_one_line() {
    simple(&mut Vec::new(), "a\nb");
}

proptest! {
    #[test]
    fn integers_print_as_the_standard_library_prints_them(value: i64, shift in 0..64_u32) {
        let value = value >> shift;
        for number in [value.unsigned_abs() as u32 % integer::DECIMAL_END, 10_u32.pow(shift % 8), 10_u32.pow(shift % 8 + 1) - 1] {
            if number < integer::SHORT_DECIMAL_END {
                let (digits, len) = integer::short_decimal(number);
                prop_assert_eq!((u64::from(digits), len), integer::decimal(number));
            }
            let (digits, len) = integer::decimal(number);
            let expected = number.to_string();
            prop_assert_eq!(&digits.to_le_bytes()[..len], expected.as_bytes());
        }
        let digits = value.to_string();
        check(|mut out| integer(&mut out, value), format!(":{digits}\r\n").as_bytes());
        check(|mut out| bulk_integer(&mut out, value), format!("${}\r\n{digits}\r\n", digits.len()).as_bytes());
    }

    #[test]
    fn doubles_come_back(bits: u64) {
        let number = f64::from_bits(bits);
        let reply = written(|mut out| double(&mut out, number, true));
        let text = std::str::from_utf8(&reply[1..reply.len() - 2]).unwrap();
        let back: f64 = text.parse().unwrap();
        prop_assert!(back == number || (back.is_nan() && number.is_nan()));
    }
}
