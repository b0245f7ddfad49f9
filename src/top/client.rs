//! The connection of `tallyring top`: one request, one reply, each with a time limit.
//!
//! Invariant: nothing is read that is longer than [`REPLY_BYTES_MAX`].

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::resp::encode;

/// How long the server has for anything.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest reply.
const REPLY_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server cannot be reached, or not any more: another try may help.
    Gone(String),
    /// The server has answered with an error: another try will not help.
    Refused(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Gone(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                format!("it has not answered within {} s", PATIENCE.as_secs())
            }
            io::ErrorKind::UnexpectedEof => "it has closed the connection".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// See the module.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connect to `HOST:PORT`, and give the password if there is one.
    pub(super) fn connect(server: &str, password: Option<&str>) -> Result<Client, Failure> {
        let mut failure = Failure::Gone("it has no address".to_owned());
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    let mut client = Client { stream: BufReader::new(stream) };
                    if let Some(password) = password {
                        client.ask(&["AUTH", password])?;
                    }
                    client.ask(&["CLIENT", "SETNAME", "tallyring-top"])?;
                    return Ok(client);
                }
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    /// Ask what is answered with text.
    pub(super) fn ask(&mut self, arguments: &[&str]) -> Result<String, Failure> {
        let mut request = Vec::new();
        encode::array(&mut request, arguments.len());
        arguments.iter().for_each(|argument| encode::bulk(&mut request, argument.as_bytes()));
        self.stream.get_mut().write_all(&request)?;
        read_text(&mut self.stream)
    }
}

/// The next reply, which is text.
fn read_text(stream: &mut impl BufRead) -> Result<String, Failure> {
    let stream = &mut stream.take(REPLY_BYTES_MAX);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let Some(line) = line.strip_suffix("\r\n") else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    };
    let unexpected = || Failure::Refused(format!("it answers {line:?}, which is not what Tallyring would say"));
    match line.split_at_checked(1) {
        Some(("+", text)) => Ok(text.to_owned()),
        Some(("-", text)) => Err(Failure::Refused(text.to_owned())),
        Some(("$", length)) => {
            let length: usize = length.parse().map_err(|_| unexpected())?;
            let mut text = String::new();
            stream.take(length as u64 + 2).read_to_string(&mut text)?;
            match text.strip_suffix("\r\n") {
                Some(text) if text.len() == length => Ok(text.to_owned()),
                _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            }
        }
        _ => Err(unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> Result<String, Failure> {
        read_text(&mut bytes.as_bytes())
    }

    #[test]
    fn replies_are_text_errors_or_not_to_be_understood() {
        assert_eq!(read("+OK\r\n"), Ok("OK".to_owned()));
        assert_eq!(read("$4\r\na\r\nb\r\n"), Ok("a\r\nb".to_owned()));
        assert_eq!(read("-NOAUTH no\r\n"), Err(Failure::Refused("NOAUTH no".to_owned())));
        for cut in ["", "+O", "$4\r\n", "$4\r\nabcd", "$4\r\nabc\r\n"] {
            assert!(matches!(read(cut), Err(Failure::Gone(_))), "{cut:?}");
        }
        for strange in ["HTTP/1.1 400 Bad Request\r\n", "*1\r\n", "$-1\r\n", "\r\n", "é\r\n"] {
            assert!(matches!(read(strange), Err(Failure::Refused(_))), "{strange:?}");
        }
    }
}
