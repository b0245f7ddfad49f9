//! The connection of a tool that looks at a running server, `top` or `tail`: one request, one reply, each with a time
//! limit; and lines that come by themselves.
//!
//! Invariant: nothing is read that is longer than `REPLY_BYTES_MAX`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::resp::encode;
use crate::startup::StartError;

/// How long the server has for anything.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest reply.
const REPLY_BYTES_MAX: u64 = 16 * 1_024 * 1_024;

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
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
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connect to `HOST:PORT`, give the password if there is one, and say who asks.
    ///
    /// # Errors
    /// Nobody listens there, or the server lets nobody in who has not another password.
    pub fn connect(server: &str, password: Option<&str>, name: &str) -> Result<Client, Failure> {
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
                    client.ask(&["CLIENT", "SETNAME", name])?;
                    return Ok(client);
                }
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    /// Ask what is answered with text.
    pub fn ask(&mut self, arguments: &[&str]) -> Result<String, Failure> {
        let mut request = Vec::new();
        encode::array(&mut request, arguments.len());
        arguments.iter().for_each(|argument| encode::bulk(&mut request, argument.as_bytes()));
        self.stream.get_mut().write_all(&request)?;
        read_text(&mut self.stream)
    }

    /// The next line, a simple string of the protocol, however long it takes to come; `None` when the server has closed
    /// the connection.
    ///
    /// # Errors
    /// The connection is lost, or what comes is no such line.
    pub fn next_line(&mut self) -> Result<Option<String>, Failure> {
        self.stream.get_ref().set_read_timeout(None)?;
        if self.stream.fill_buf()?.is_empty() { Ok(None) } else { read_text(&mut self.stream).map(Some) }
    }

    /// Whether [`Client::next_line`] would have to wait for the server.
    pub fn has_read_all(&self) -> bool {
        self.stream.buffer().is_empty()
    }

    /// What closes the connection from elsewhere: whoever waits for a line is told that there is none.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn closer(&self) -> io::Result<impl FnOnce() + Send + use<>> {
        let stream = self.stream.get_ref().try_clone()?;
        Ok(move || {
            // The server may have been first.
            let _ = stream.shutdown(Shutdown::Both);
        })
    }
}

/// The error of a tool, `top` or `tail`, that a server has refused or cannot be reached.
pub fn stopped(tool: &str, server: &str, problem: &str) -> StartError {
    let remedy = if problem.starts_with("NOAUTH") || problem.starts_with("WRONGPASS") {
        "Give the server's password with --password, or in REDISCLI_AUTH"
    } else if problem.starts_with("NOPERM") || problem.starts_with("DENIED") {
        "Run it on the server's machine, or start the server with --requirepass"
    } else if tool == "top" {
        "Check that Tallyring listens there (tallyring top HOST:PORT)"
    } else {
        "Check that the server listens there (tallyring tail HOST:PORT)"
    };
    StartError::Stopped { problem: format!("{server}: {}", problem.trim_end_matches('.')), remedy }
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
