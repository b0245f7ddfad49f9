//! Replies, read strictly: only what the protocol version in force allows, in its only spelling.
//!
//! Source: the RESP3 specification, github.com/redis/redis-specifications.

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    /// Whole replies.
    pub reply_count: usize,
    /// Something follows them that is not whole.
    pub is_cut: bool,
}

/// Nesting that no reply exceeds.
const DEPTH_MAX: usize = 32;

/// Read all replies of a session that begins in RESP2. The replies of `HELLO` and `RESET` tell that the version changes;
/// `versions` says where it did though they were not sent.
pub fn read(bytes: &[u8], versions: &[(usize, bool)]) -> Result<Read, String> {
    let mut reader = Reader { bytes, at: 0, resp3: false };
    let mut reply_count = 0;
    while reader.at < bytes.len() {
        let start = reader.at;
        if let Some((_, resp3)) = versions.iter().rfind(|(from, _)| *from <= start) {
            reader.resp3 = *resp3;
        }
        match reader.value(0) {
            Ok(()) => {}
            Err(Stop::Cut) => return Ok(Read { reply_count, is_cut: true }),
            Err(Stop::Invalid(why)) => {
                let shown = &bytes[start..bytes.len().min(start + 100)];
                return Err(format!("reply {reply_count}, {why}: {}", shown.escape_ascii()));
            }
        }
        reply_count += 1;
    }
    Ok(Read { reply_count, is_cut: false })
}

enum Stop {
    /// The bytes end here.
    Cut,
    Invalid(&'static str),
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    resp3: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<(), Stop> {
        if depth > DEPTH_MAX {
            return Err(Stop::Invalid("nested too deep"));
        }
        let rest = &self.bytes[self.at..];
        if let Some(resp3) = hello(rest) {
            self.resp3 = resp3;
        }
        let mark = *rest.first().ok_or(Stop::Cut)?;
        self.at += 1;
        match mark {
            b'+' => {
                // No other command answers so.
                self.resp3 &= self.line()? != b"RESET";
                Ok(())
            }
            b'-' => {
                let line = self.line()?;
                let code_len = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
                valid(code_len > 0 && line.get(code_len) == Some(&b' '), "an error without a code")
            }
            b':' => self.integer().map(|_| ()),
            b'$' => self.bulk(),
            b'*' if !self.resp3 && self.bytes[self.at..].starts_with(b"-1\r\n") => self.line().map(|_| ()),
            b'*' => self.elements(1, depth),
            _ if !self.resp3 => Err(Stop::Invalid("no type of RESP2")),
            b'%' => self.elements(2, depth),
            b'~' => self.elements(1, depth),
            b'_' => valid(self.line()?.is_empty(), "a null with something in it"),
            b'#' => valid(matches!(self.line()?, b"t" | b"f"), "neither true nor false"),
            b',' => valid(std::str::from_utf8(self.line()?).is_ok_and(|text| text.parse::<f64>().is_ok()), "no number"),
            b'=' => {
                let start = self.at;
                self.bulk()?;
                let text = &self.bytes[start..self.at];
                let body = text.iter().position(|&byte| byte == b'\n').map_or(&[][..], |end| &text[end + 1..]);
                valid(body.get(3) == Some(&b':'), "a verbatim text without its format")
            }
            _ => Err(Stop::Invalid("no type of RESP3 that is used")),
        }
    }

    fn elements(&mut self, values_each: usize, depth: usize) -> Result<(), Stop> {
        let count = self.integer()?;
        valid(count >= 0, "a negative count")?;
        for _ in 0..count as usize * values_each {
            self.value(depth + 1)?;
        }
        Ok(())
    }

    fn bulk(&mut self) -> Result<(), Stop> {
        let len = self.integer()?;
        if len == -1 && !self.resp3 {
            return Ok(());
        }
        valid(len >= 0, "a negative length")?;
        let end = self.at + len as usize;
        if self.bytes.len() < end + 2 {
            return Err(Stop::Cut);
        }
        self.at = end + 2;
        valid(&self.bytes[end..end + 2] == b"\r\n", "a bulk string without its end")
    }

    /// An integer in its only spelling.
    fn integer(&mut self) -> Result<i64, Stop> {
        let line = self.line()?;
        let number = std::str::from_utf8(line).ok().and_then(|text| text.parse::<i64>().ok());
        let number = number.filter(|number| number.to_string().as_bytes() == line);
        number.ok_or(Stop::Invalid("no integer"))
    }

    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(Stop::Cut)?;
        self.at += end + 2;
        valid(!rest[..end].contains(&b'\r') && !rest[..end].contains(&b'\n'), "a line break in a line")?;
        Ok(&rest[..end])
    }
}

fn valid(is: bool, why: &'static str) -> Result<(), Stop> {
    if is { Ok(()) } else { Err(Stop::Invalid(why)) }
}

/// Whether the reply is that of `HELLO`, which is in the version that it negotiates; and if so, whether that is RESP3.
fn hello(rest: &[u8]) -> Option<bool> {
    const SERVER: &[u8] = b"$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n";
    match rest {
        [b'%', b'7', b'\r', b'\n', rest @ ..] if rest.starts_with(SERVER) => Some(true),
        [b'*', b'1', b'4', b'\r', b'\n', rest @ ..] if rest.starts_with(SERVER) => Some(false),
        _ => None,
    }
}

#[test]
fn what_is_valid_is_read() {
    let whole = |reply_count| Ok(Read { reply_count, is_cut: false });
    assert_eq!(read(b"+OK\r\n-ERR no\r\n:-5\r\n$2\r\nab\r\n$-1\r\n*-1\r\n*2\r\n:1\r\n*0\r\n", &[]), whole(7));
    assert_eq!(read(b"*2\r\n:1\r\n", &[]), Ok(Read { reply_count: 0, is_cut: true }));
    let hello = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$1\r\n7\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n";
    assert_eq!(
        read(&[hello, &b"_\r\n,1.5\r\n#t\r\n~1\r\n:1\r\n=5\r\ntxt:a\r\n+RESET\r\n$-1\r\n"[..]].concat(), &[]),
        whole(8)
    );
    for (nth, bad) in ["$-1\r\n", "*-1\r\n", "#x\r\n", "=3\r\ntxt\r\n"].iter().enumerate() {
        assert!(read(&[hello, bad.as_bytes()].concat(), &[]).is_err(), "{nth}");
    }
}

#[test]
fn what_is_invalid_is_refused() {
    for bad in [
        "_\r\n",
        ":01\r\n",
        ":\r\n",
        "+a\rb\r\n",
        "-nocode\r\n",
        "$1\r\nabc\r\n",
        "OK\r\n",
        "*-2\r\n",
        "%1\r\n:1\r\n:1\r\n",
    ] {
        assert!(read(bad.as_bytes(), &[]).is_err(), "{bad:?}");
    }
}
