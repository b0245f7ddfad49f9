use proptest::prelude::*;

use super::{Inline, split};
use crate::command::{Span, Spans};
use crate::limits::ARGUMENT_COUNT_MAX;
use crate::resp::parse::{Broken, Header, header};

const UNBALANCED: Inline = Inline::Broken(Broken::UnbalancedQuotes);

/// The arguments of `line` when it stands at `base` in the input.
fn arguments(line: &[u8], base: usize) -> Result<Vec<Vec<u8>>, Inline> {
    let mut input = vec![b'#'; base];
    input.extend_from_slice(line);
    let mut spans = Spans::default();
    spans.push(Span { start: 7, len: 7 });
    split(&mut input[base..], base, &mut spans)?;
    Ok(spans.as_slice().iter().map(|span| span.of(&input).to_vec()).collect())
}

/// The slow and obvious way: a queue of bytes, a new string for each argument.
fn arguments_twin(line: &[u8]) -> Result<Vec<Vec<u8>>, Inline> {
    let space = |byte: u8| b" \t\n\x0b\x0c\r".contains(&byte);
    let mut rest: std::collections::VecDeque<u8> = line.iter().copied().collect();
    let mut arguments = Vec::new();
    loop {
        while rest.front().is_some_and(|&byte| space(byte)) {
            rest.pop_front();
        }
        if rest.is_empty() {
            break;
        }
        let mut argument = Vec::new();
        while let Some(byte) = rest.pop_front() {
            if b" \t\n\r".contains(&byte) {
                break;
            }
            if byte != b'"' && byte != b'\'' {
                argument.push(byte);
                continue;
            }
            let quote = byte;
            loop {
                let byte = rest.pop_front().ok_or(UNBALANCED)?;
                if byte == quote {
                    break;
                }
                let next = rest.front().copied();
                if byte != b'\\' || next.is_none() || (quote == b'\'' && next != Some(b'\'')) {
                    argument.push(byte);
                    continue;
                }
                rest.pop_front();
                let hex: String = rest.iter().take(2).map(|&byte| char::from(byte)).collect();
                let is_hex = hex.len() == 2 && hex.chars().all(|digit| digit.is_ascii_hexdigit());
                argument.push(match next.unwrap() {
                    b'x' if is_hex => {
                        rest.drain(..2);
                        u8::from_str_radix(&hex, 16).unwrap()
                    }
                    b'n' => 10,
                    b'r' => 13,
                    b't' => 9,
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
            }
            if rest.front().is_some_and(|&byte| !space(byte)) {
                return Err(UNBALANCED);
            }
            break;
        }
        arguments.push(argument);
    }
    if arguments.len() > ARGUMENT_COUNT_MAX { Err(Inline::TooMany) } else { Ok(arguments) }
}

#[test]
fn what_redis_makes_of_it() {
    type Row<'a> = (&'a [u8], Option<&'a [&'a [u8]]>);
    let table: [Row<'_>; 44] = [
        (b"a b c", Some(&[b"a", b"b", b"c"])),
        (b"  a\t b ", Some(&[b"a", b"b"])),
        (b"a\x0bb", Some(&[b"a\x0bb"])),
        (b"a \x0b\x0c b", Some(&[b"a", b"b"])),
        (b"a\rb", Some(&[b"a", b"b"])),
        (b"\"a b\" c", Some(&[b"a b", b"c"])),
        (b"'a b' c", Some(&[b"a b", b"c"])),
        (b"\"\"", Some(&[b""])),
        (b"''", Some(&[b""])),
        (b"\"\" '' a", Some(&[b"", b"", b"a"])),
        (b"a\"b c\"", Some(&[b"ab c"])),
        (b"a\"b\"c", None),
        (b"a'b c'", Some(&[b"ab c"])),
        (b"a'b'c", None),
        (b"\"a\"b", None),
        (b"\"a\"\"b\"", None),
        (b"\"a\"\t\"b\"", Some(&[b"a", b"b"])),
        (b"\"a\"\x0bb", Some(&[b"a", b"b"])),
        (b"\"\\n\\r\\t\\b\\a\\q\\\\\\\"\"", Some(&[b"\n\r\t\x08\x07q\\\""])),
        (b"\"\\x41\\xfF\\x00\"", Some(&[b"A\xff\x00"])),
        (b"\"\\x4\"", Some(&[b"x4"])),
        (b"\"\\xg1\"", Some(&[b"xg1"])),
        (b"\"\\x\"", Some(&[b"x"])),
        (b"\"\\xa", None),
        (b"\\n\\x41", Some(&[b"\\n\\x41"])),
        (b"'\\n\\x41'", Some(&[b"\\n\\x41"])),
        (b"'\\''", Some(&[b"'"])),
        (b"'\\\\'", None),
        (b"'it\\'s'", Some(&[b"it's"])),
        (b"\"it's\"", Some(&[b"it's"])),
        (b"'say \"x\"'", Some(&[b"say \"x\""])),
        (b"\"a", None),
        (b"'a", None),
        (b"\"a\\\"", None),
        (b"\"a\\", None),
        (b"'a\\'", None),
        (b"a\"", None),
        (b"a'", None),
        (b"\"\\", None),
        (b"foo\"bar\" baz", Some(&[b"foobar", b"baz"])),
        (b"a\\ b", Some(&[b"a\\", b"b"])),
        (b"a\\\"b\" c", Some(&[b"a\\b", b"c"])),
        (b"\xff\x80", Some(&[b"\xff\x80"])),
        (b"\"\xff\"", Some(&[b"\xff"])),
    ];
    for (line, expected) in table {
        let expected = expected.map(|arguments| arguments.iter().map(|argument| argument.to_vec()).collect());
        assert_eq!(arguments(line, 0), expected.ok_or(UNBALANCED), "{}", line.escape_ascii());
    }
}

#[test]
fn a_nul_is_a_byte_like_any_other() {
    assert_eq!(arguments(b"a\0b \0", 0), Ok(vec![b"a\0b".to_vec(), b"\0".to_vec()]));
    assert_eq!(arguments(b"\"a\"\0", 0), Err(UNBALANCED));
    assert_eq!(arguments(b"\"\\\0\"", 0), Ok(vec![b"\0".to_vec()]));
}

#[test]
fn as_many_as_there_is_room_for() {
    let line = "a ".repeat(ARGUMENT_COUNT_MAX);
    assert_eq!(arguments(line.as_bytes(), 0).map(|arguments| arguments.len()), Ok(ARGUMENT_COUNT_MAX));
    assert_eq!(arguments((line.clone() + "a").as_bytes(), 0), Err(Inline::TooMany));
    assert_eq!(arguments((line + "a a \"").as_bytes(), 0), Err(UNBALANCED));
}

proptest! {
    #[test]
    fn agrees_with_its_twin(line in r#"[ab"'\\xn4F \t\r\x0b]{0,24}"#, base in 0..9_usize) {
        prop_assert_eq!(arguments(line.as_bytes(), base), arguments_twin(line.as_bytes()));
    }

    #[test]
    fn agrees_with_its_twin_on_any_bytes(line in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(arguments(&line, 3), arguments_twin(&line));
    }

    #[test]
    fn agrees_with_its_twin_on_many_arguments(line in r#"([ab] |"\\x41" ){100,160}"#) {
        prop_assert_eq!(arguments(line.as_bytes(), 0), arguments_twin(line.as_bytes()));
    }

    #[test]
    fn a_line_that_is_not_empty_has_arguments(line in "[a\"'\\\\ \t\r\x0b\x0c]{0,8}\n") {
        if let Header::Inline { line_len, .. } = header(line.as_bytes()) {
            prop_assert_ne!(arguments(&line.as_bytes()[..line_len], 0), Ok(Vec::new()));
        }
    }
}
