use proptest::prelude::*;

use super::{Broken, Bulk, Header, bulk, header};
use crate::limits::{ARGUMENT_BYTES_MAX, FIXED_BUFFER_BYTES, HEADER_BYTES_MAX};

/// What a stream holds, one element after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Empty,
    Multibulk(u32),
    Inline(Vec<u8>),
    Argument(Vec<u8>),
    Long(u64),
    Broken(Broken),
}

/// All that `stream` holds, and the offset where it is incomplete or broken.
fn events(stream: &[u8]) -> (Vec<Event>, usize) {
    let (mut events, mut at, mut arguments_left) = (Vec::new(), 0, 0);
    loop {
        let input = &stream[at..];
        if arguments_left == 0 {
            match header(input) {
                Header::Incomplete => return (events, at),
                Header::Empty { consumed } => {
                    events.push(Event::Empty);
                    at += consumed;
                }
                Header::Multibulk { count, consumed } => {
                    events.push(Event::Multibulk(count));
                    arguments_left = count;
                    at += consumed;
                }
                Header::Inline { line_len, consumed } => {
                    events.push(Event::Inline(input[..line_len].to_vec()));
                    at += consumed;
                }
                Header::Broken(broken) => {
                    events.push(Event::Broken(broken));
                    return (events, at);
                }
            }
            continue;
        }
        match bulk(input) {
            Bulk::Incomplete => return (events, at),
            Bulk::Whole { start, len, consumed } => {
                events.push(Event::Argument(input[start..start + len].to_vec()));
                at += consumed;
            }
            Bulk::Long { len, consumed } => {
                let skipped = consumed + len as usize + 2;
                if input.len() < skipped {
                    return (events, at);
                }
                events.push(Event::Long(len));
                at += skipped;
            }
            Bulk::Broken(broken) => {
                events.push(Event::Broken(broken));
                return (events, at);
            }
        }
        arguments_left -= 1;
    }
}

/// The same, the slow and obvious way.
fn events_twin(stream: &[u8]) -> (Vec<Event>, usize) {
    let mut events = Vec::new();
    let mut rest = stream;
    let mut arguments_left = 0;
    let broken = loop {
        let before = rest;
        let Some(&mark) = rest.first() else { break None };
        if arguments_left > 0 && mark != b'$' {
            break Some(Broken::ExpectedBulk(mark));
        }
        if arguments_left > 0 {
            match number_line_twin(rest) {
                None => break None,
                Some((Some(len @ 0..=536_870_912), behind)) => {
                    let len = len as usize;
                    if behind.len() < len + 2 {
                        break None;
                    }
                    events.push(if len > 4_096 {
                        Event::Long(len as u64)
                    } else {
                        Event::Argument(behind[..len].to_vec())
                    });
                    rest = &behind[len + 2..];
                    arguments_left -= 1;
                }
                Some(_) => break Some(Broken::BulkLength),
            }
        } else if mark == b'*' {
            match number_line_twin(rest) {
                None => break None,
                Some((Some(count @ i64::MIN..=2_147_483_647), behind)) => {
                    arguments_left = count.max(0);
                    events.push(if count > 0 { Event::Multibulk(count as u32) } else { Event::Empty });
                    rest = behind;
                }
                Some(_) => break Some(Broken::MultibulkLength),
            }
        } else {
            let mut lines = rest.splitn(2, |&byte| byte == b'\n');
            let line = lines.next().unwrap();
            if line.len() >= 16_384 {
                break Some(Broken::InlineTooLong);
            }
            let Some(behind) = lines.next() else { break None };
            rest = behind;
            let line = if line.ends_with(b"\r") { &line[..line.len() - 1] } else { line };
            let blank = line.iter().all(|byte| b" \t\n\x0b\x0c\r".contains(byte));
            events.push(if blank { Event::Empty } else { Event::Inline(line.to_vec()) });
        }
        assert!(rest.len() < before.len());
    };
    events.extend(broken.map(Event::Broken));
    (events, stream.len() - rest.len())
}

/// The number after the mark, or that there is none, and what is behind its line.
fn number_line_twin(input: &[u8]) -> Option<(Option<i64>, &[u8])> {
    let text: String = input[1..].iter().take_while(|&&byte| byte != b'\r').map(|&byte| char::from(byte)).collect();
    let behind = &input[(1 + text.chars().count()).min(input.len())..];
    if text.chars().count() > HEADER_BYTES_MAX - 1 {
        return Some((None, behind));
    }
    if behind.is_empty() {
        let longer = format!("{text}1");
        let possible = text == "0" || longer.parse::<i128>().is_ok_and(|number| number.to_string() == longer);
        return if possible { None } else { Some((None, behind)) };
    }
    let number = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
    match (number, behind.len()) {
        (Some(_), 1) => None,
        (number, _) => Some((number, &behind[behind.len().min(2)..])),
    }
}

fn request(arguments: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn arguments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let len = prop_oneof![8 => 0..20_usize, 2 => 90..120_usize, 1 => 995..1_005_usize];
    prop::collection::vec(len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)), 1..14)
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => arguments().prop_map(|arguments| request(&arguments)),
        2 => "[ a-z\"'\\\\\r\t]{0,12}\r?\n".prop_map(String::into_bytes),
        1 => "\\*[-+ 0-9x]{0,3}[0-9]{0,12}\r\n".prop_map(String::into_bytes),
        1 => "\\*[1-3]\r\n\\$[-+ 0-9x]{0,3}[0-9]{0,12}\r\n".prop_map(String::into_bytes),
        1 => "[*$0-9\r\n-]{0,40}".prop_map(String::into_bytes),
    ]
}

/// Pieces of requests one after the other, some bytes of which were overwritten, inserted or removed.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![prop::sample::select(b"*$0123456789\r\n-+ x\0".to_vec()), any::<u8>()];
    let edit = (any::<prop::sample::Index>(), 0..3, byte);
    (prop::collection::vec(piece(), 1..6), prop::collection::vec(edit, 0..4)).prop_map(|(pieces, edits)| {
        let mut bytes = pieces.concat();
        for (index, kind, byte) in edits {
            let at = index.index(bytes.len() + 1);
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

/// Every prefix is incomplete, or gets the same answer as the whole.
fn check_prefixes(input: &[u8]) {
    let (whole_header, whole_bulk) = (header(input), bulk(input));
    for len in 0..input.len() {
        let (header, bulk) = (header(&input[..len]), bulk(&input[..len]));
        assert!(header == Header::Incomplete || header == whole_header, "{header:?} of {len}, {whole_header:?}");
        assert!(bulk == Bulk::Incomplete || bulk == whole_bulk, "{bulk:?} of {len}, {whole_bulk:?}");
    }
}

proptest! {
    #[test]
    fn agrees_with_its_twin(stream in stream()) {
        prop_assert_eq!(events(&stream), events_twin(&stream));
    }

    #[test]
    fn a_valid_request_is_whole_with_its_last_byte(arguments in arguments()) {
        let stream = request(&arguments);
        let mut expected = vec![Event::Multibulk(arguments.len() as u32)];
        expected.extend(arguments.into_iter().map(Event::Argument));
        prop_assert_eq!(events(&stream), (expected.clone(), stream.len()));
        expected.pop();
        prop_assert_eq!(events(&stream[..stream.len() - 1]).0, expected);
    }

    #[test]
    fn more_bytes_never_change_an_answer(stream in stream()) {
        check_prefixes(&stream);
        let boundary = events(&stream).1;
        check_prefixes(&stream[boundary..]);
    }

    #[test]
    fn more_bytes_never_change_an_answer_to_a_header(line in "[*$][-0-9]{0,2}[0-9]{0,36}x?[\r]?[\n]?[a-z\r\n]{0,8}") {
        check_prefixes(line.as_bytes());
    }
}

/// The error that a stream ends with, as it is sent.
fn protocol_error(stream: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    match events(stream).0.pop() {
        Some(Event::Broken(broken)) => broken.text(&mut text),
        _ => return None,
    }
    Some(text)
}

#[test]
fn errors_that_redis_answers() {
    let ones = [&b"*1"[..], &[b'1'; 39], b"\r\n"].concat();
    let long_ones = [&b"*1\r\n$1"[..], &[b'1'; 39], b"\r\n"].concat();
    let letters = [&b"*"[..], &[b'a'; 1_000], b"\r\n"].concat();
    let table: [(&[u8], &[u8]); 28] = [
        (b"*\r\n", b"invalid multibulk length"),
        (b"*x\r\n", b"invalid multibulk length"),
        (b"*1x\r\n", b"invalid multibulk length"),
        (b"*01\r\n$4\r\nPING\r\n", b"invalid multibulk length"),
        (b"*+1\r\n$4\r\nPING\r\n", b"invalid multibulk length"),
        (b"* 1\r\n", b"invalid multibulk length"),
        (b"*-0\r\nPING\r\n", b"invalid multibulk length"),
        (b"*2147483648\r\n", b"invalid multibulk length"),
        (b"*9223372036854775808\r\n", b"invalid multibulk length"),
        (b"*-9223372036854775809\r\n", b"invalid multibulk length"),
        (b"*1\n$4\r\nPING\r\n", b"invalid multibulk length"),
        (&ones, b"invalid multibulk length"),
        (&letters, b"invalid multibulk length"),
        (b"*1\r\nx\r\n", b"expected '$', got 'x'"),
        (b"*1\r\n*1\r\n", b"expected '$', got '*'"),
        (b"*1\r\n\r\n", b"expected '$', got ' '"),
        (b"*1\r\n\n\r\n", b"expected '$', got ' '"),
        (b"*1\r\n\xff\r\n", b"expected '$', got '\xff'"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", b"expected '$', got 'f'"),
        (b"*1\r\n$\r\n", b"invalid bulk length"),
        (b"*1\r\n$-1\r\n", b"invalid bulk length"),
        (b"*1\r\n$x\r\n", b"invalid bulk length"),
        (b"*1\r\n$04\r\nPING\r\n", b"invalid bulk length"),
        (b"*1\r\n$+4\r\nPING\r\n", b"invalid bulk length"),
        (b"*1\r\n$536870913\r\n", b"invalid bulk length"),
        (&long_ones, b"invalid bulk length"),
        (b"*2\r\n$4\r\nECHO\r\n$-0\r\n", b"invalid bulk length"),
        (&[b'a'; 70_000], b"too big inline request"),
    ];
    for (stream, text) in table {
        let answer = protocol_error(stream);
        assert_eq!(answer.as_deref(), Some(text), "{}", stream.escape_ascii());
    }
    for (broken, expected) in [
        (Broken::UnbalancedQuotes, "unbalanced quotes in request"),
        (Broken::UnauthenticatedMultibulkLength, "unauthenticated multibulk length"),
        (Broken::UnauthenticatedBulkLength, "unauthenticated bulk length"),
    ] {
        let mut text = Vec::new();
        broken.text(&mut text);
        assert_eq!(text, expected.as_bytes());
    }
}

/// Redis waits for the CR of these; a client that never sends one gets its answer here.
#[test]
fn errors_that_redis_keeps_to_itself() {
    let table: [(&[u8], &[u8]); 8] = [
        (b"*x", b"invalid multibulk length"),
        (b"*1\n$4\nPING\n", b"invalid multibulk length"),
        (b"*00", b"invalid multibulk length"),
        (b"*-0", b"invalid multibulk length"),
        (b"*1\r\nx", b"expected '$', got 'x'"),
        (b"*1\r\n\0\r\n", b"expected '$', got '\0'"),
        (b"*1\r\n$4\n", b"invalid bulk length"),
        (b"*1\r\n$\0", b"invalid bulk length"),
    ];
    for (stream, text) in table {
        let answer = protocol_error(stream);
        assert_eq!(answer.as_deref(), Some(text), "{}", stream.escape_ascii());
    }
}

#[test]
fn requests_that_redis_accepts() {
    let ping = [Event::Multibulk(1), Event::Argument(b"PING".to_vec())];
    let table: [&[u8]; 10] = [
        b"*1\r\n$4\r\nPING\r\n",
        b"*0\r\n*1\r\n$4\r\nPING\r\n",
        b"*-1\r\n*1\r\n$4\r\nPING\r\n",
        b"*-9223372036854775808\r\n*1\r\n$4\r\nPING\r\n",
        b"\r\n*1\r\n$4\r\nPING\r\n",
        b"\n*1\r\n$4\r\nPING\r\n",
        b" \x0b\x0c\t\r\r\n*1\r\n$4\r\nPING\r\n",
        // What stands in an LF's place, or in the place of the CRLF after a body, is skipped unread.
        b"*1\rX$4\r\nPING\r\n",
        b"*1\r\n$4\rXPING\r\n",
        b"*1\r\n$4\r\nPINGab",
    ];
    for stream in table {
        let (mut events, consumed) = events(stream);
        events.retain(|event| *event != Event::Empty);
        assert_eq!((&events[..], consumed), (&ping[..], stream.len()), "{}", stream.escape_ascii());
    }
    let inline: [(&[u8], &[u8]); 7] = [
        (b"PING\r\n", b"PING"),
        (b"PING\n", b"PING"),
        (b"PING\r\r\n", b"PING\r"),
        (b" PING \r\n", b" PING "),
        (b"$4\r\n", b"$4"),
        (b"+OK\r\n", b"+OK"),
        (b"PI\0NG\r\n", b"PI\0NG"),
    ];
    for (stream, line) in inline {
        assert_eq!(events(stream), (vec![Event::Inline(line.to_vec())], stream.len()));
    }
}

#[test]
fn limits_of_lengths() {
    let longest = [format!("${ARGUMENT_BYTES_MAX}\r\n").as_bytes(), &[b'x'; ARGUMENT_BYTES_MAX + 2]].concat();
    let whole = Bulk::Whole { start: 7, len: ARGUMENT_BYTES_MAX, consumed: longest.len() };
    assert_eq!(bulk(&longest), whole);
    assert_eq!(bulk(&longest[..longest.len() - 1]), Bulk::Incomplete);
    assert_eq!(bulk(b"$4097\r\n"), Bulk::Long { len: 4_097, consumed: 7 });
    assert_eq!(bulk(b"$4097\r"), Bulk::Incomplete);
    assert_eq!(bulk(b"$536870912\r\nabc"), Bulk::Long { len: 536_870_912, consumed: 12 });
    assert_eq!(bulk(b"$0\r\n\r\n"), Bulk::Whole { start: 4, len: 0, consumed: 6 });
    assert_eq!(header(b"*2147483647\r\n"), Header::Multibulk { count: 2_147_483_647, consumed: 13 });
    assert_eq!(header(b"*10\r\n"), Header::Multibulk { count: 10, consumed: 5 });
}

#[test]
fn an_inline_request_ends_within_a_fixed_buffer() {
    let mut line = vec![b'a'; FIXED_BUFFER_BYTES];
    assert_eq!(header(&line), Header::Broken(Broken::InlineTooLong));
    assert_eq!(header(&line[1..]), Header::Incomplete);
    line.push(b'\n');
    assert_eq!(header(&line), Header::Broken(Broken::InlineTooLong));
    let fitting = Header::Inline { line_len: FIXED_BUFFER_BYTES - 1, consumed: FIXED_BUFFER_BYTES };
    assert_eq!(header(&line[1..]), fitting);
}
