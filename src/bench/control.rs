//! What is asked of the server outside of the load, one thing at a time, and its replies.
//!
//! What a server answers is bounded before it is believed.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::target::{Stream, Target, TargetError};

/// Longest string and line of a reply outside of the load.
const STRING_BYTES_MAX: usize = 1 << 20;

/// Most elements of one array there, and how deep arrays may lie in each other.
const ELEMENT_COUNT_MAX: i64 = 1 << 20;
const DEPTH_MAX: usize = 8;

/// A reply outside of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An integer.
    Integer(i64),
    /// A string or a status.
    Text(String),
    /// An error, without its `-`.
    Error(String),
    /// Null.
    Null,
    /// An array, a set, or a map's keys and values in turn.
    Array(Vec<Value>),
}

impl Value {
    fn ok_or_refused(self, command: &str) -> Result<Value, TargetError> {
        match self {
            Value::Error(reply) => Err(TargetError::Refused { command: command.to_owned(), reply }),
            value => Ok(value),
        }
    }

    /// A counter's value, where it is one: none is 0.
    pub fn counter(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            Value::Null => Some(0),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Its text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// See [`Target::control`].
pub struct Control {
    stream: BufReader<Stream>,
    address: String,
}

impl Control {
    /// Over a connection to the target that is there.
    pub fn over(target: &Target, stream: Stream) -> Control {
        Control { stream: BufReader::new(stream), address: target.address.to_string() }
    }

    /// The connection alone; what it has received beyond the last reply is lost.
    pub fn into_stream(self) -> Stream {
        self.stream.into_inner()
    }

    /// The connection.
    pub fn stream(&self) -> &Stream {
        self.stream.get_ref()
    }

    /// Ask, and wait for the reply.
    ///
    /// # Errors
    /// Where none comes. An error reply is a value.
    pub fn call(&mut self, arguments: &[impl AsRef<[u8]>]) -> Result<Value, TargetError> {
        let mut request = Vec::new();
        encode(arguments, &mut request);
        let command = String::from_utf8_lossy(arguments[0].as_ref()).into_owned();
        Ok(self.pipeline(&request, 1, &command)?.pop().expect("one reply was asked for"))
    }

    /// As [`Control::call`], for an error reply is an error here.
    ///
    /// # Errors
    /// As said.
    pub fn ask(&mut self, arguments: &[impl AsRef<[u8]>]) -> Result<Value, TargetError> {
        let command = String::from_utf8_lossy(arguments[0].as_ref()).into_owned();
        self.call(arguments)?.ok_or_refused(&command)
    }

    /// Send encoded requests, and wait for so many replies.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn pipeline(&mut self, requests: &[u8], reply_count: usize, command: &str) -> Result<Vec<Value>, TargetError> {
        let silent = |address: &str, error| TargetError::silent(address, command, error);
        self.stream.get_mut().write_all(requests).map_err(|error| silent(&self.address, error))?;
        (0..reply_count).map(|_| value(&mut self.stream, 0).map_err(|error| silent(&self.address, error))).collect()
    }
}

/// Append a request.
pub fn encode(arguments: &[impl AsRef<[u8]>], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
    for argument in arguments {
        let argument = argument.as_ref();
        to.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        to.extend_from_slice(argument);
        to.extend_from_slice(b"\r\n");
    }
}

fn value(from: &mut impl BufRead, depth: usize) -> io::Result<Value> {
    let wrong = |text: &[u8]| {
        io::Error::new(io::ErrorKind::InvalidData, format!("no RESP: {:?}", String::from_utf8_lossy(text)))
    };
    let mut line = Vec::new();
    from.by_ref().take(STRING_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let Some((&kind, text)) = line.strip_suffix(b"\r\n").and_then(<[u8]>::split_first) else {
        return Err(wrong(&line));
    };
    let text = String::from_utf8_lossy(text).into_owned();
    let number = || text.parse::<i64>().map_err(|_| wrong(&line));
    Ok(match kind {
        b':' => Value::Integer(number()?),
        b'+' | b',' | b'(' | b'#' => Value::Text(text),
        b'-' => Value::Error(text),
        b'_' => Value::Null,
        b'$' | b'=' => match number()? {
            -1 => Value::Null,
            length if (0..=STRING_BYTES_MAX as i64).contains(&length) => {
                let mut bytes = vec![0; length as usize + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length as usize);
                Value::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => return Err(wrong(&line)),
        },
        b'*' | b'~' | b'%' => match number()? {
            -1 => Value::Null,
            count if (0..=ELEMENT_COUNT_MAX).contains(&count) && depth < DEPTH_MAX => {
                let count = if kind == b'%' { 2 * count } else { count };
                Value::Array((0..count).map(|_| value(from, depth + 1)).collect::<io::Result<_>>()?)
            }
            _ => return Err(wrong(&line)),
        },
        _ => return Err(wrong(&line)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(mut bytes: &[u8]) -> io::Result<Value> {
        value(&mut bytes, 0)
    }

    #[test]
    fn replies_are_understood() {
        assert_eq!(parsed(b":5\r\n").unwrap(), Value::Integer(5));
        assert_eq!(parsed(b"$2\r\n42\r\n").unwrap().counter(), Some(42));
        assert_eq!(parsed(b"$-1\r\n").unwrap().counter(), Some(0));
        assert_eq!(parsed(b"-ERR x\r\n").unwrap(), Value::Error("ERR x".to_owned()));
        let nested = parsed(b"*2\r\n%1\r\n+a\r\n:1\r\n_\r\n").unwrap();
        assert_eq!(
            nested,
            Value::Array(vec![Value::Array(vec![Value::Text("a".to_owned()), Value::Integer(1)]), Value::Null])
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for wrong in [&b""[..], b"HTTP/1.1\r\n", b":x\r\n", b"$99999999999\r\n", b"*99999999999\r\n", b"\r\n", b":1"] {
            assert!(parsed(wrong).is_err(), "{:?}", String::from_utf8_lossy(wrong));
        }
        assert!(parsed(&b"*1\r\n".repeat(DEPTH_MAX + 2)).is_err());
    }
}
