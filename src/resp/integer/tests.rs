use proptest::prelude::*;

use super::{decimal_len, parse};

/// The obvious way: what the standard library accepts, if it prints back the same.
fn parse_twin(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value = text.parse::<i64>().ok()?;
    (value.to_string() == text).then_some(value)
}

#[test]
fn edges() {
    let accepted = [0, 1, -1, 9, 10, 99, 100, -10, i64::MAX, i64::MAX - 1, i64::MIN, i64::MIN + 1];
    for value in accepted {
        assert_eq!(parse(value.to_string().as_bytes()), Some(value));
    }
    let refused: [&[u8]; 24] = [
        b"",
        b"-",
        b"+",
        b"--1",
        b"-0",
        b"+1",
        b"00",
        b"01",
        b"-01",
        b" 1",
        b"1 ",
        b"1\n",
        b"1\0",
        b"1.0",
        b"1e3",
        b"0x10",
        b"a",
        b"1a",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"9999999999999999999",
        b"18446744073709551616",
        b"18446744073709551617",
        b"10000000000000000000000000000000000000000",
    ];
    for bytes in refused {
        assert_eq!(parse(bytes), None, "{}", bytes.escape_ascii());
    }
}

#[test]
fn length_is_that_of_the_printed_value() {
    let mut values = vec![0, 1, -1, i64::MAX, i64::MIN];
    for exponent in 0..19 {
        let power = 10_i64.pow(exponent);
        values.extend([power - 1, power, power + 1, -power + 1, -power, -power - 1]);
    }
    for value in values {
        assert_eq!(decimal_len(value), value.to_string().len(), "{value}");
    }
}

proptest! {
    #[test]
    fn every_integer_comes_back(value: i64) {
        let printed = value.to_string();
        prop_assert_eq!(parse(printed.as_bytes()), Some(value));
        prop_assert_eq!(decimal_len(value), printed.len());
    }

    #[test]
    fn agrees_with_its_twin(text in "[-+ 0-9a]{0,4}[0-9]{0,20}[0-9 /:]{0,1}") {
        prop_assert_eq!(parse(text.as_bytes()), parse_twin(text.as_bytes()));
    }

    #[test]
    fn agrees_with_its_twin_around_the_range(offset in -40_i128..40, high: bool) {
        let edge = if high { i128::from(i64::MAX) } else { i128::from(i64::MIN) };
        let text = (edge + offset).to_string();
        prop_assert_eq!(parse(text.as_bytes()), parse_twin(text.as_bytes()));
    }

    #[test]
    fn agrees_with_its_twin_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        prop_assert_eq!(parse(&bytes), parse_twin(&bytes));
    }
}
