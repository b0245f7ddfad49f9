//! The server's replies, parsed in place as they come, RESP2 and RESP3 alike.
//!
//! Pure. Resumable at every byte: what is not consumed is to be given again, with more behind it. Nothing is kept of a
//! reply but how many of its elements are to come, so one of any length passes through a buffer of
//! [`BUFFER_BYTES_MIN`]. Values of strings that are too long to be a number are skipped.

/// A buffer that holds any part of a reply that is needed at once.
pub const BUFFER_BYTES_MIN: usize = 16 * 1_024;

/// Longest line (an error, a status, a header).
const LINE_BYTES_MAX: usize = BUFFER_BYTES_MIN - 2;

/// Longest string that may be a number: `-9223372036854775808`.
const NUMBER_BYTES_MAX: u64 = 20;

/// Longest error of RESP3's blob form.
const ERROR_BYTES_MAX: u64 = LINE_BYTES_MAX as u64 / 2;

/// What a reply consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// An integer, or a string that is one.
    Integer(i64),
    /// Null: there is no such key.
    Null,
    /// An error.
    Error {
        /// Without its `-`.
        text: &'a [u8],
        /// It is an element of an array, and others may be none.
        within: bool,
    },
    /// Anything else: a status, another string, a number that is no integer.
    Other,
    /// The reply is whole.
    End,
}

/// The server does not speak the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's reply is not RESP: {0}")]
pub struct ProtocolError(pub String);

/// What has been seen of a reply that is not whole.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    /// Elements that are yet to come of a reply that has begun; 0 between replies.
    awaited_count: u64,
    /// Bytes of a string that are to be skipped, with its line end.
    skip_bytes: u64,
    /// What comes is not an answer to anything (a push message of RESP3).
    unasked: bool,
}

impl Replies {
    /// Parse what there is of `bytes`, giving each part to `take`. Answers how many bytes were consumed.
    ///
    /// # Errors
    /// What cannot be RESP. Nothing can be parsed afterwards.
    #[inline]
    pub fn parse(&mut self, bytes: &[u8], mut take: impl FnMut(Part<'_>)) -> Result<usize, ProtocolError> {
        let mut at = 0;
        loop {
            // Most replies of most loads: a short integer.
            while self.awaited_count == 0
                && let Some((value, length_bytes)) = short_integer(&bytes[at..])
            {
                take(Part::Integer(value));
                take(Part::End);
                at += length_bytes;
            }
            match self.step(&bytes[at..], &mut take)? {
                0 => return Ok(at),
                consumed_bytes => at += consumed_bytes,
            }
        }
    }

    /// Whether a reply has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.awaited_count > 0
    }

    /// Consume one element, or the header of one, or what there is of a skipped one; 0 when more bytes are needed.
    fn step(&mut self, bytes: &[u8], take: &mut impl FnMut(Part<'_>)) -> Result<usize, ProtocolError> {
        if self.skip_bytes > 0 {
            let skipped_bytes = self.skip_bytes.min(bytes.len() as u64);
            self.skip_bytes -= skipped_bytes;
            if self.skip_bytes == 0 {
                self.element(Part::Other, take);
            }
            return Ok(skipped_bytes as usize);
        }
        let Some((line, line_bytes)) = line(bytes)? else { return Ok(0) };
        let Some((&kind, text)) = line.split_first() else {
            return Err(ProtocolError("an empty line".to_owned()));
        };
        match kind {
            b':' => self.element(Part::Integer(integer(text)?), take),
            b'+' | b'#' | b',' | b'(' => self.element(Part::Other, take),
            b'_' => self.element(Part::Null, take),
            b'-' => self.element(Part::Error { text, within: self.awaited_count > 0 }, take),
            b'$' | b'=' | b'!' => return self.string(kind, text, &bytes[line_bytes..], line_bytes, take),
            b'*' | b'~' | b'%' | b'>' | b'|' => self.aggregate(kind, text, take)?,
            _ => return Err(ProtocolError(format!("{:?}", String::from_utf8_lossy(line)))),
        }
        Ok(line_bytes)
    }

    fn string(
        &mut self,
        kind: u8,
        length: &[u8],
        behind: &[u8],
        line_bytes: usize,
        take: &mut impl FnMut(Part<'_>),
    ) -> Result<usize, ProtocolError> {
        let length = integer(length)?;
        if length == -1 {
            self.element(Part::Null, take);
            return Ok(line_bytes);
        }
        let length = u64::try_from(length).map_err(|_| ProtocolError(format!("a string of {length} bytes")))?;
        let is_error = kind == b'!';
        if length > if is_error { ERROR_BYTES_MAX } else { NUMBER_BYTES_MAX } {
            if is_error {
                return Err(ProtocolError(format!("an error of {length} bytes")));
            }
            self.awaited_count = self.awaited_count.max(1);
            self.skip_bytes = length + 2;
            return Ok(line_bytes);
        }
        let Some(content) = behind.get(..length as usize + 2) else { return Ok(0) };
        let Some(content) = content.strip_suffix(b"\r\n") else {
            return Err(ProtocolError("a string that is longer than it said".to_owned()));
        };
        let part = match integer(content) {
            _ if is_error => Part::Error { text: content, within: self.awaited_count > 0 },
            Ok(value) => Part::Integer(value),
            Err(_) => Part::Other,
        };
        self.element(part, take);
        Ok(line_bytes + content.len() + 2)
    }

    /// A header: its elements are yet to come. An attribute of RESP3 is none itself, it stands before one.
    fn aggregate(&mut self, kind: u8, count: &[u8], take: &mut impl FnMut(Part<'_>)) -> Result<(), ProtocolError> {
        let count = integer(count)?;
        if count == -1 {
            self.element(Part::Null, take);
            return Ok(());
        }
        if self.awaited_count == 0 {
            self.awaited_count = 1;
            self.unasked = kind == b'>';
        }
        let elements_each = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
        let awaited_count = u64::try_from(count)
            .ok()
            .and_then(|count| count.checked_mul(elements_each)?.checked_add(self.awaited_count))
            .ok_or_else(|| ProtocolError(format!("an array of {count} elements")))?;
        self.awaited_count = awaited_count;
        if kind != b'|' {
            self.ended_element(take);
        }
        Ok(())
    }

    fn element(&mut self, part: Part<'_>, take: &mut impl FnMut(Part<'_>)) {
        self.awaited_count = self.awaited_count.max(1);
        if !self.unasked {
            take(part);
        }
        self.ended_element(take);
    }

    fn ended_element(&mut self, take: &mut impl FnMut(Part<'_>)) {
        self.awaited_count -= 1;
        if self.awaited_count == 0 && !std::mem::take(&mut self.unasked) {
            take(Part::End);
        }
    }
}

/// `:N\r\n` with 1 to 15 digits that is there as a whole, and its length.
#[inline]
fn short_integer(bytes: &[u8]) -> Option<(i64, usize)> {
    if *bytes.first()? != b':' {
        return None;
    }
    let mut value = 0_i64;
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            digit @ b'0'..=b'9' if at < 16 => value = value * 10 + i64::from(digit - b'0'),
            b'\r' if at > 1 && *bytes.get(at + 1)? == b'\n' => return Some((value, at + 2)),
            _ => return None,
        }
        at += 1;
    }
}

/// The line at the beginning, without its end, and its length with it.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    match memchr::memchr(b'\n', bytes) {
        Some(at) if at > 0 && bytes[at - 1] == b'\r' => Ok(Some((&bytes[..at - 1], at + 1))),
        Some(_) => Err(ProtocolError("a line that does not end in \\r\\n".to_owned())),
        None if bytes.len() > LINE_BYTES_MAX => Err(ProtocolError("a line without an end".to_owned())),
        None => Ok(None),
    }
}

fn integer(text: &[u8]) -> Result<i64, ProtocolError> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| ProtocolError(format!("{:?} where a number is due", String::from_utf8_lossy(text))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was parsed, in words, with the stream cut as `cuts` say.
    fn parts(stream: &[u8], cuts: &[usize]) -> Result<Vec<String>, ProtocolError> {
        let (mut replies, mut parts, mut pending) = (Replies::default(), Vec::new(), Vec::new());
        let mut from = 0;
        for to in cuts.iter().copied().chain([stream.len()]) {
            pending.extend_from_slice(&stream[from..to]);
            from = to;
            let consumed_bytes = replies.parse(&pending, |part| {
                parts.push(match part {
                    Part::Error { text, within } => {
                        format!("{}-{}", if within { "in " } else { "" }, String::from_utf8_lossy(text))
                    }
                    Part::Integer(value) => value.to_string(),
                    part => format!("{part:?}"),
                });
            })?;
            pending.drain(..consumed_bytes);
        }
        assert!(!replies.is_within() && pending.is_empty(), "{parts:?}, then {pending:?}");
        Ok(parts)
    }

    const STREAM: &[u8] = b":1\r\n:-5\r\n:9223372036854775807\r\n+OK\r\n-ERR no\r\n$2\r\n42\r\n$-1\r\n$3\r\nabc\r\n\
        $25\r\n0123456789012345678901234\r\n*3\r\n:1\r\n$1\r\n2\r\n-OOM\r\n*0\r\n*-1\r\n*2\r\n*1\r\n:7\r\n*0\r\n:8\r\n\
        _\r\n#t\r\n,1.5\r\n%1\r\n+a\r\n:1\r\n~1\r\n:3\r\n!5\r\nERR x\r\n=6\r\ntxt:hi\r\n>2\r\n+push\r\n:1\r\n\
        |1\r\n+ttl\r\n:9\r\n:4\r\n>0\r\n:5\r\n";
    const PARTS: &str = "1 End -5 End 9223372036854775807 End Other End -ERR no End 42 End Null End Other End \
        Other End 1 2 in -OOM End End Null End 7 End 8 End \
        Null End Other End Other End Other 1 End 3 End -ERR x End Other End \
        Other 9 4 End 5 End";

    #[test]
    fn every_type_is_understood() {
        assert_eq!(parts(STREAM, &[]).unwrap().join(" "), PARTS);
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(mut cuts in proptest::collection::vec(0..STREAM.len(), 0..40)) {
            cuts.sort_unstable();
            prop_assert_eq!(parts(STREAM, &cuts).unwrap().join(" "), PARTS);
        }

        #[test]
        fn nonsense_is_an_error_or_incomplete_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Replies::default().parse(&bytes, |_| ());
        }
    }

    #[test]
    fn what_is_no_resp_is_refused() {
        let endless = vec![b'1'; BUFFER_BYTES_MIN];
        for wrong in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"\r\n",
            b":1\n",
            b":x\r\n",
            b"$-2\r\n",
            b"*-2\r\n",
            b"$1\r\nabc",
            b"*9223372036854775807\r\n*9223372036854775807\r\n*9223372036854775807\r\n",
            &endless,
        ] {
            assert!(Replies::default().parse(wrong, |_| ()).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
    }
}
