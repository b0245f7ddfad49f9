//! Replies of RESP2 and RESP3, read strictly: what a lenient client would let pass is an error here.
//!
//! Source: the RESP3 specification, github.com/redis/redis-specifications.

use std::fmt;
use std::io::{self, BufRead, Read};

/// One reply. The three ways to say "nothing" are different on the wire, and so they are here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    /// `+text`
    Simple(Vec<u8>),
    /// `-CODE text`
    Error(Vec<u8>),
    /// `:n`
    Int(i64),
    /// `$n`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*n`
    Array(Vec<Reply>),
    /// `%n`
    Map(Vec<(Reply, Reply)>),
    /// `~n`
    Set(Vec<Reply>),
    /// `>n`
    Push(Vec<Reply>),
    /// `,n`
    Double(Vec<u8>),
    /// `#t`, `#f`
    Bool(bool),
    /// `(n`
    BigNumber(Vec<u8>),
    /// `=n`, with its three letters of format
    Verbatim(Vec<u8>),
}

/// `+OK`.
pub fn ok() -> Reply {
    simple("OK")
}

/// A simple string.
pub fn simple(text: &str) -> Reply {
    Reply::Simple(text.into())
}

/// An error, without its `-`.
pub fn error(text: &str) -> Reply {
    Reply::Error(text.into())
}

/// An integer.
pub fn int(value: i64) -> Reply {
    Reply::Int(value)
}

/// A bulk string.
pub fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
    Reply::Bulk(bytes.as_ref().to_vec())
}

/// An array.
pub fn array(elements: impl IntoIterator<Item = Reply>) -> Reply {
    Reply::Array(elements.into_iter().collect())
}

impl Reply {
    /// The integer; panics on anything else.
    #[track_caller]
    pub fn as_int(&self) -> i64 {
        match self {
            Reply::Int(value) => *value,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    /// The integer in a bulk string, 0 for a null; panics on anything else.
    #[track_caller]
    pub fn as_count(&self) -> i64 {
        match self {
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).parse().expect("a bulk string of an integer"),
            Reply::NullBulk | Reply::Null => 0,
            other => panic!("a counter's value was expected, not {other:?}"),
        }
    }

    /// The elements of an array; panics on anything else.
    #[track_caller]
    pub fn elements(&self) -> &[Reply] {
        match self {
            Reply::Array(elements) => elements,
            other => panic!("an array was expected, not {other:?}"),
        }
    }

    /// The text of a string or an error; panics on anything else.
    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Reply::Simple(text) | Reply::Error(text) | Reply::Bulk(text) => String::from_utf8_lossy(text).into_owned(),
            Reply::Verbatim(text) => String::from_utf8_lossy(&text[4..]).into_owned(),
            other => panic!("text was expected, not {other:?}"),
        }
    }

    /// An error reply.
    pub fn is_error(&self) -> bool {
        matches!(self, Reply::Error(_))
    }

    /// Any of the nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Reply::NullBulk | Reply::NullArray | Reply::Null)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Simple(text) => write!(f, "+{}", text.escape_ascii()),
            Reply::Error(text) => write!(f, "-{}", text.escape_ascii()),
            Reply::Int(value) => write!(f, ":{value}"),
            Reply::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::NullBulk => write!(f, "$-1"),
            Reply::NullArray => write!(f, "*-1"),
            Reply::Null => write!(f, "_"),
            Reply::Array(elements) => f.debug_list().entries(elements).finish(),
            Reply::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(key, value)| (key, value))).finish(),
            Reply::Set(elements) => write!(f, "~{elements:?}"),
            Reply::Push(elements) => write!(f, ">{elements:?}"),
            Reply::Double(text) => write!(f, ",{}", text.escape_ascii()),
            Reply::Bool(value) => write!(f, "#{value}"),
            Reply::BigNumber(text) => write!(f, "({}", text.escape_ascii()),
            Reply::Verbatim(text) => write!(f, "={}", text.escape_ascii()),
        }
    }
}

/// Read exactly one reply.
pub fn read_reply(input: &mut impl BufRead) -> io::Result<Reply> {
    read_nested(input, 0)
}

fn read_nested(input: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    if depth > 16 {
        return Err(malformed("nested too deeply", b""));
    }
    let line = read_line(input)?;
    let (&kind, rest) = line.split_first().ok_or_else(|| malformed("an empty line", b""))?;
    let elements = |input: &mut _, count: usize| -> io::Result<Vec<Reply>> {
        (0..count).map(|_| read_nested(input, depth + 1)).collect()
    };
    match kind {
        b'+' => Ok(Reply::Simple(rest.to_vec())),
        b'-' => Ok(Reply::Error(rest.to_vec())),
        b':' => Ok(Reply::Int(integer(rest)?)),
        b'$' if rest == b"-1" => Ok(Reply::NullBulk),
        b'$' => Ok(Reply::Bulk(read_body(input, length(rest)?)?)),
        b'=' => match read_body(input, length(rest)?)? {
            text if text.get(3) == Some(&b':') => Ok(Reply::Verbatim(text)),
            text => Err(malformed("a verbatim string without its format", &text)),
        },
        b'*' if rest == b"-1" => Ok(Reply::NullArray),
        b'*' => Ok(Reply::Array(elements(input, length(rest)?)?)),
        b'~' => Ok(Reply::Set(elements(input, length(rest)?)?)),
        b'>' => Ok(Reply::Push(elements(input, length(rest)?)?)),
        b'%' => {
            let flat = elements(input, 2 * length(rest)?)?;
            Ok(Reply::Map(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()))
        }
        b'_' if rest.is_empty() => Ok(Reply::Null),
        b'#' if rest == b"t" || rest == b"f" => Ok(Reply::Bool(rest == b"t")),
        b',' => Ok(Reply::Double(rest.to_vec())),
        b'(' => Ok(Reply::BigNumber(rest.to_vec())),
        _ => Err(malformed("no reply starts like this", &line)),
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let count = input.read_until(b'\n', &mut line)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| malformed("a line that does not end in CRLF", &line))?;
    if text.contains(&b'\r') {
        return Err(malformed("a carriage return inside a line", &line));
    }
    Ok(text.to_vec())
}

fn read_body(input: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    input.take(len as u64 + 2).read_to_end(&mut body)?;
    match body.strip_suffix(b"\r\n") {
        Some(text) if text.len() == len => Ok(text.to_vec()),
        _ => Err(malformed("a string that does not end in CRLF", &body)),
    }
}

fn integer(text: &[u8]) -> io::Result<i64> {
    let value: Option<i64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    value.filter(|value| value.to_string().as_bytes() == text).ok_or_else(|| malformed("no plain integer", text))
}

fn length(text: &[u8]) -> io::Result<usize> {
    usize::try_from(integer(text)?).map_err(|_| malformed("no length", text))
}

fn malformed(what: &str, bytes: &[u8]) -> io::Error {
    let head = &bytes[..bytes.len().min(200)];
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed reply, {what}: {}", head.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Reply> {
        let reply = read_reply(&mut bytes)?;
        assert!(bytes.is_empty(), "all is read");
        Ok(reply)
    }

    #[test]
    fn every_kind_is_read() {
        let stream =
            b"*9\r\n+a\r\n-b c\r\n:-5\r\n$3\r\n\r\n\0\r\n$-1\r\n*-1\r\n_\r\n%1\r\n#t\r\n~0\r\n=6\r\ntxt:hi\r\n";
        let expected = array([
            simple("a"),
            error("b c"),
            int(-5),
            bulk(b"\r\n\0"),
            Reply::NullBulk,
            Reply::NullArray,
            Reply::Null,
            Reply::Map(vec![(Reply::Bool(true), Reply::Set(vec![]))]),
            Reply::Verbatim(b"txt:hi".to_vec()),
        ]);
        assert_eq!(read(stream).unwrap(), expected);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for bad in
            ["+a\n", "?\r\n", ":+1\r\n", ":01\r\n", ":\r\n", "$1\r\nab\r\n", "$-2\r\n", "*x\r\n", "#y\r\n", "\r\n"]
        {
            let kind = read(bad.as_bytes()).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::InvalidData, "{bad:?}");
        }
        assert_eq!(read(b"").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
