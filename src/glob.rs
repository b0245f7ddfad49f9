//! Glob patterns, as `KEYS`, `SCAN … MATCH` and `CONFIG GET` understand them.
//!
//! Invariant: a match takes at most pattern × text steps and no memory, whatever the pattern: only the last `*` is
//! ever tried again. The answers are Redis's, malformed patterns included.
//!
//! Source: the Redis `KEYS` command page, and what a Redis 7.0.15 server answers.

/// Whether `pattern` matches the whole of `text`.
///
/// `*` is any run of bytes, `?` one byte, `[abx-z]` one of a class, `[^…]` one outside of it, and `\` takes the next
/// byte for itself. A class that is not closed ends with the pattern. Ranges compare bytes as unsigned, either bound
/// first. As in Redis, an empty text is matched by the patterns `*` and the empty one only, not by `**`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run::<false>(pattern, text)
}

/// The same without regard to ASCII case, but for bytes that are escaped in a class.
pub fn matches_ignore_case(pattern: &[u8], text: &[u8]) -> bool {
    run::<true>(pattern, text)
}

/// How many bytes of `pattern` are looked at, at most, to match `text`: only behind a `*` is anything tried again.
pub fn comparison_count_max(pattern: &[u8], text: &[u8]) -> usize {
    match memchr::memchr(b'*', pattern) {
        Some(star_at) => star_at + (pattern.len() - star_at) * text.len(),
        None => pattern.len(),
    }
}

fn run<const IGNORE_CASE: bool>(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty() || pattern == b"*";
    }
    let (mut pattern_at, mut text_at) = (0, 0);
    // Behind the last star, and up to where it reaches in the text.
    let mut star: Option<(usize, usize)> = None;
    while text_at < text.len() {
        if pattern.get(pattern_at) == Some(&b'*') {
            pattern_at += 1;
            if pattern_at == pattern.len() {
                return true;
            }
            star = Some((pattern_at, text_at));
        } else if let Some(element_bytes) = element::<IGNORE_CASE>(&pattern[pattern_at..], text[text_at]) {
            pattern_at += element_bytes;
            text_at += 1;
        } else if let Some((behind_star, reach)) = star {
            // Each other element takes exactly one byte, so an earlier star would only find what this one finds.
            star = Some((behind_star, reach + 1));
            (pattern_at, text_at) = (behind_star, reach + 1);
        } else {
            return false;
        }
    }
    pattern[pattern_at..].iter().all(|&byte| byte == b'*')
}

/// Bytes of the element that `pattern` starts with, if it is there and matches `byte`.
fn element<const IGNORE_CASE: bool>(pattern: &[u8], byte: u8) -> Option<usize> {
    let same = |expected: u8| if IGNORE_CASE { expected.eq_ignore_ascii_case(&byte) } else { expected == byte };
    let (matched, element_bytes) = match *pattern {
        [] => return None,
        [b'?', ..] => (true, 1),
        [b'[', b'^', ref class @ ..] => {
            let (found, class_bytes) = in_class::<IGNORE_CASE>(class, byte);
            (!found, class_bytes + 2)
        }
        [b'[', ref class @ ..] => {
            let (found, class_bytes) = in_class::<IGNORE_CASE>(class, byte);
            (found, class_bytes + 1)
        }
        [b'\\', escaped, ..] => (same(escaped), 2),
        [literal, ..] => (same(literal), 1),
    };
    matched.then_some(element_bytes)
}

/// Whether `byte` is in the class that `class` starts with, and the bytes of the class with its `]`.
fn in_class<const IGNORE_CASE: bool>(class: &[u8], byte: u8) -> (bool, usize) {
    let fold = |byte: u8| if IGNORE_CASE { byte.to_ascii_lowercase() } else { byte };
    let mut found = false;
    let mut at = 0;
    loop {
        match class[at..] {
            [] => return (found, at),
            [b'\\', escaped, ..] => {
                found |= escaped == byte;
                at += 2;
            }
            [b']', ..] => return (found, at + 1),
            [one, b'-', other, ..] => {
                // Redis orders the bounds before it folds their case.
                let (low, high) = (fold(one.min(other)), fold(one.max(other)));
                found |= (low..=high).contains(&fold(byte));
                at += 3;
            }
            [literal, ..] => {
                found |= fold(literal) == fold(byte);
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
