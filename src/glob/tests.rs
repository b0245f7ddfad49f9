use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{matches, matches_ignore_case};

/// One element of a pattern.
enum Element {
    AnyRun,
    AnyOne,
    One(u8),
    /// Whether it is negated, its ranges, and the bytes that keep their case.
    Class(bool, Vec<(u8, u8)>, Vec<u8>),
}

fn elements(pattern: &[u8]) -> Vec<Element> {
    let mut bytes = pattern.iter().copied().peekable();
    let mut elements = Vec::new();
    while let Some(byte) = bytes.next() {
        elements.push(match byte {
            b'*' => Element::AnyRun,
            b'?' => Element::AnyOne,
            b'\\' => Element::One(bytes.next().unwrap_or(b'\\')),
            b'[' => {
                let negated = bytes.next_if_eq(&b'^').is_some();
                let (mut ranges, mut exact) = (Vec::new(), Vec::new());
                while let Some(byte) = bytes.next() {
                    let rest: Vec<u8> = bytes.clone().collect();
                    if byte == b'\\' && !rest.is_empty() {
                        exact.extend(bytes.next());
                    } else if byte == b']' {
                        break;
                    } else if rest.len() >= 2 && rest[0] == b'-' {
                        bytes.nth(1);
                        ranges.push((byte.min(rest[1]), byte.max(rest[1])));
                    } else {
                        ranges.push((byte, byte));
                    }
                }
                Element::Class(negated, ranges, exact)
            }
            other => Element::One(other),
        });
    }
    elements
}

/// Every way to share out the text, tried one after the other.
fn rest_matches(elements: &[Element], text: &[u8], fold: fn(&u8) -> u8) -> bool {
    let (Some(element), behind) = (elements.first(), elements.get(1..).unwrap_or_default()) else {
        return text.is_empty();
    };
    if let Element::AnyRun = element {
        return (0..=text.len()).any(|run| rest_matches(behind, &text[run..], fold));
    }
    let Some((byte, text_behind)) = text.split_first() else { return false };
    let matched = match element {
        Element::AnyRun | Element::AnyOne => true,
        Element::One(expected) => fold(expected) == fold(byte),
        Element::Class(negated, ranges, exact) => {
            let within = |(low, high): &(u8, u8)| fold(low) <= fold(byte) && fold(byte) <= fold(high);
            (ranges.iter().any(within) || exact.contains(byte)) != *negated
        }
    };
    matched && rest_matches(behind, text_behind, fold)
}

fn matches_twin(pattern: &[u8], text: &[u8], fold: fn(&u8) -> u8) -> bool {
    if text.is_empty() && pattern != b"*" {
        return pattern.is_empty();
    }
    rest_matches(&elements(pattern), text, fold)
}

#[test]
fn what_redis_answers() {
    let table: [(&[u8], &[u8], bool); 72] = [
        (b"*", b"", true),
        (b"", b"", true),
        (b"**", b"", false),
        (b"", b"a", false),
        (b"*", b"a", true),
        (b"***", b"a", true),
        (b"a*", b"a", true),
        (b"a**", b"a", true),
        (b"*a", b"ba", true),
        (b"a*b*c", b"aXbYc", true),
        (b"a*b*c", b"acb", false),
        (b"?", b"", false),
        (b"?", b"a", true),
        (b"?", b"ab", false),
        (b"a?c", b"abc", true),
        (b"*?", b"a", true),
        (b"?*", b"a", true),
        (b"*??", b"a", false),
        (b"[ab]", b"a", true),
        (b"[ab]", b"c", false),
        (b"[^ab]", b"c", true),
        (b"[^ab]", b"a", false),
        (b"[a-c]", b"b", true),
        (b"[c-a]", b"b", true),
        (b"[a-c]", b"d", false),
        (b"[]", b"a", false),
        (b"[]", b"]", false),
        (b"[^]", b"a", true),
        (b"[]a]", b"a", false),
        (b"[", b"a", false),
        (b"[", b"[", false),
        (b"[^", b"a", true),
        (b"[a", b"a", true),
        (b"[ab", b"b", true),
        (b"[^a", b"b", true),
        (b"[a-", b"a", true),
        (b"[a-", b"-", true),
        (b"[a-]", b"-", false),
        (b"[a-]", b"a", true),
        (b"[a-]", b"^", true),
        (b"[a-]", b"`", true),
        (b"[a-]]", b"`", true),
        (b"[a-]]", b"`]", false),
        (b"[-a]", b"-", true),
        (b"[--a]", b"0", true),
        (b"[\\]]", b"]", true),
        (b"[\\]", b"]", true),
        (b"[\\", b"\\", true),
        (b"[a\\", b"\\", true),
        (b"[\\a-z]", b"-", true),
        (b"[\\a-z]", b"b", false),
        (b"[a-\\]", b"\\", true),
        (b"[a-\\]]", b"\\", false),
        (b"[a^]", b"^", true),
        (b"[^^]", b"^", false),
        (b"[*]", b"*", true),
        (b"[?]", b"a", false),
        (b"[!a]", b"b", false),
        (b"\\*", b"*", true),
        (b"\\*", b"a", false),
        (b"\\a", b"a", true),
        (b"\\", b"\\", true),
        (b"a\\", b"a\\", true),
        (b"\\\\", b"\\", true),
        (b"\\?a", b"?a", true),
        (b"A", b"a", false),
        (b"*a*a*a*b", b"aaaaaaaa", false),
        (b"*[ab]?c", b"xxabac", true),
        (b"a[b-d]*[x-z]", b"acqqz", true),
        (b"*\\**", b"a*b", true),
        (b"a*[", b"a[", false),
        (b"h[^e]llo", b"hallo", true),
    ];
    for (pattern, text, expected) in table {
        assert_eq!(matches(pattern, text), expected, "{} {}", pattern.escape_ascii(), text.escape_ascii());
    }
}

#[test]
fn case() {
    assert!(!matches(b"MaxMemory", b"maxmemory"));
    assert!(matches_ignore_case(b"MaxMemory", b"maxmemory"));
    assert!(matches_ignore_case(b"max[L-N]emory*", b"MAXMEMORY-POLICY"));
    assert!(matches_ignore_case(b"[^M]*", b"port") && !matches_ignore_case(b"[^M]*", b"maxclients"));
    assert!(!matches_ignore_case(b"[\\M]*", b"maxclients"));
}

#[test]
fn many_stars_take_no_longer_than_pattern_times_text() {
    let pattern = [b"a*".repeat(500), b"b".to_vec()].concat();
    let start = Instant::now();
    assert!(!matches(&pattern, &[b'a'; 1_024]));
    assert!(matches(&pattern, &[&[b'a'; 1_024][..], b"b"].concat()));
    assert!(start.elapsed() < Duration::from_secs(5));
}

proptest! {
    #[test]
    fn agrees_with_its_twin(pattern in r"[ab*?\[\]^\\-]{0,10}", text in r"[ab\]\\^-]{0,8}") {
        let expected = matches_twin(pattern.as_bytes(), text.as_bytes(), |&byte| byte);
        prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected);
    }

    #[test]
    fn agrees_with_its_twin_on_stars(pattern in r"[ab*]{0,8}", text in r"[ab]{0,12}") {
        let expected = matches_twin(pattern.as_bytes(), text.as_bytes(), |&byte| byte);
        prop_assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected);
    }

    #[test]
    fn agrees_with_its_twin_whatever_the_case(pattern in r"[aAbBzZ*?\[\]^\\-]{0,10}", text in r"[aAbBzZ_^]{0,8}") {
        let expected = matches_twin(pattern.as_bytes(), text.as_bytes(), u8::to_ascii_lowercase);
        prop_assert_eq!(matches_ignore_case(pattern.as_bytes(), text.as_bytes()), expected);
    }

    #[test]
    fn agrees_with_its_twin_on_any_bytes(pattern: Vec<u8>, text in prop::collection::vec(any::<u8>(), 0..8)) {
        let expected = matches_twin(&pattern, &text, |&byte| byte);
        prop_assert_eq!(matches(&pattern, &text), expected);
    }
}
