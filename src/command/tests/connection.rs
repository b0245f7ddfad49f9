//! The commands about the connection: what they answer and what they change.

use proptest::prelude::*;

use super::resp::{Reply, read};
use super::{Env, OPEN, Request, text};
use crate::client::{Client, ReplyMode};
use crate::limits::SHORT_REPLY_BYTES_MAX;

const LOCKED: Env<'static> = Env { password: Some(b"secret"), debug: false, cluster: false };
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const NOAUTH_HELLO: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH \
     <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";

fn client() -> Client {
    Client { id: 42, authenticated: true, ..Client::default() }
}

/// The reply, or the text of the mistake.
fn say(client: &mut Client, env: &Env<'_>, line: &str) -> String {
    let request = Request { resp3: client.resp3, ..Request::line(line) };
    match request.reply(client, env) {
        Ok(out) => String::from_utf8(out).unwrap(),
        Err(mistake) => text(&mistake).to_owned(),
    }
}

#[test]
fn ping_and_echo() {
    let client = &mut client();
    assert_eq!(say(client, &OPEN, "ping"), "+PONG\r\n");
    assert_eq!(say(client, &OPEN, "PING hello"), "$5\r\nhello\r\n");
    assert_eq!(say(client, &OPEN, "echo "), "$0\r\n\r\n");
    let long = Request::new(&[&b"ECHO"[..], &[0xff; 4_096]]).reply(client, &OPEN).unwrap();
    assert!(long.len() <= SHORT_REPLY_BYTES_MAX);
    assert_eq!(long, [b"$4096\r\n", &[0xff; 4_096][..], b"\r\n"].concat());
}

#[test]
fn quit_closes_whatever_it_is_given() {
    let client = &mut client();
    assert_eq!(say(client, &OPEN, "quit a b"), "+OK\r\n");
    assert!(client.closing);
}

#[test]
fn select_knows_one_database() {
    let client = &mut client();
    assert_eq!(say(client, &OPEN, "select 0"), "+OK\r\n");
    assert_eq!(say(client, &OPEN, "select 1"), "ERR DB index is out of range");
    assert_eq!(say(client, &OPEN, "select -1"), "ERR DB index is out of range");
    assert_eq!(say(client, &OPEN, "select abc"), "ERR value is not an integer or out of range");
    assert_eq!(say(client, &OPEN, "select 99999999999999999999"), "ERR value is not an integer or out of range");
    let range = "ERR value is out of range, value must between -2147483648 and 2147483647";
    assert_eq!(say(client, &OPEN, "select 2147483648"), range);
}

#[test]
fn auth_without_a_password() {
    let client = &mut client();
    let none = "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                configuration is correct?";
    assert_eq!(say(client, &OPEN, "auth foo"), none);
    assert_eq!(say(client, &OPEN, "auth default foo"), "+OK\r\n");
    assert_eq!(say(client, &OPEN, "auth other foo"), WRONGPASS);
    assert_eq!(say(client, &OPEN, "auth a b c"), "ERR syntax error");
}

#[test]
fn auth_with_a_password() {
    for line in
        ["auth foo", "auth default foo", "auth other secret", "auth secre", "auth secret1", "auth ", "auth SECRET"]
    {
        let client = &mut Client::default();
        assert_eq!(say(client, &LOCKED, line), WRONGPASS, "{line}");
        assert!(!client.authenticated, "{line}");
    }
    for line in ["auth secret", "auth default secret"] {
        let client = &mut Client::default();
        assert_eq!(say(client, &LOCKED, line), "+OK\r\n", "{line}");
        assert!(client.authenticated, "{line}");
        assert_eq!(say(client, &LOCKED, "auth wrong"), WRONGPASS);
        assert!(client.authenticated, "a wrong password takes nothing away");
    }
}

proptest! {
    #[test]
    fn only_the_password_is_the_password(given in proptest::collection::vec(0u8..3, 0..4),
                                         secret in proptest::collection::vec(0u8..3, 1..4)) {
        let mut client = Client::default();
        let env = Env { password: Some(&secret), debug: false, cluster: false };
        let reply = Request::new(&[b"AUTH", &given[..]]).reply(&mut client, &env);
        prop_assert_eq!(reply.is_ok(), given == secret);
        prop_assert_eq!(client.authenticated, given == secret);
    }
}

#[test]
fn a_password_as_long_as_an_argument_works() {
    let secret = vec![b'x'; 4_096];
    let env = Env { password: Some(&secret), debug: false, cluster: false };
    let mut near = secret.clone();
    near[4_095] = b'y';
    assert!(Request::new(&[b"AUTH", &near[..]]).reply(&mut Client::default(), &env).is_err());
    assert!(Request::new(&[b"AUTH", &secret[..]]).reply(&mut Client::default(), &env).is_ok());
}

#[test]
fn hello_says_what_the_server_is() {
    let client = &mut client();
    let resp2 = "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.0\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n\
                 :42\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
    assert_eq!(say(client, &OPEN, "hello"), resp2);
    assert_eq!(say(client, &OPEN, "hello 2"), resp2);
    let resp3 = resp2.replacen("*14", "%7", 1).replacen(":2", ":3", 1);
    assert_eq!(say(client, &OPEN, "hello 3"), resp3);
    assert!(client.resp3);
    assert_eq!(say(client, &OPEN, "hello"), resp3, "without a version nothing changes");
    assert_eq!(say(client, &OPEN, "HELLO 2"), resp2);
    assert!(!client.resp3);
}

#[test]
fn hello_refuses() {
    let cases = [
        ("hello 1", "NOPROTO unsupported protocol version"),
        ("hello 4 foo", "NOPROTO unsupported protocol version"),
        ("hello abc", "ERR Protocol version is not an integer or out of range"),
        ("hello 3 auth", "ERR Syntax error in HELLO option 'auth'"),
        ("hello 3 auth a", "ERR Syntax error in HELLO option 'auth'"),
        ("hello 3 setname", "ERR Syntax error in HELLO option 'setname'"),
        ("hello 3 foo", "ERR Syntax error in HELLO option 'foo'"),
        ("hello 3 auth other secret", WRONGPASS),
        ("hello 3 auth default wrong setname x", WRONGPASS),
        ("hello 3 setname \u{e9}", "ERR Client names cannot contain spaces, newlines or special characters."),
        ("hello", NOAUTH_HELLO),
        ("hello 3", NOAUTH_HELLO),
        ("hello 3 setname x", NOAUTH_HELLO),
    ];
    for (line, expected) in cases {
        let client = &mut Client::default();
        assert_eq!(say(client, &LOCKED, line), expected, "{line}");
        assert!(!client.resp3 && !client.authenticated && client.name.is_empty(), "{line} changes nothing");
    }
}

#[test]
fn hello_authenticates_and_names() {
    for line in ["hello 3 auth default secret setname x", "hello 3 setname x auth default secret"] {
        let client = &mut Client::default();
        assert!(say(client, &LOCKED, line).starts_with("%7"), "{line}");
        assert!(client.resp3 && client.authenticated);
        assert_eq!(client.name, "x");
    }
}

#[test]
fn client_names() {
    let client = &mut client();
    assert_eq!(say(client, &OPEN, "client getname"), "$-1\r\n");
    assert_eq!(say(client, &OPEN, "client setname worker-1"), "+OK\r\n");
    assert_eq!(say(client, &OPEN, "client getname"), "$8\r\nworker-1\r\n");
    let bad = "ERR Client names cannot contain spaces, newlines or special characters.";
    for name in ["a\u{7f}", "\u{e9}", "a\n"] {
        assert_eq!(say(client, &OPEN, &format!("client setname {name}")), bad);
    }
    let long = "n".repeat(256);
    assert_eq!(
        say(client, &OPEN, &format!("client setname {long}")),
        "ERR Client names cannot be longer than 255 bytes."
    );
    assert_eq!(client.name, "worker-1", "a refused name changes nothing");
    assert_eq!(say(client, &OPEN, &format!("client setname {}", &long[1..])), "+OK\r\n");
    assert_eq!(
        say(client, &OPEN, &format!("client setinfo lib-name {}", &long[..65])),
        "ERR lib-name cannot be longer than 64 bytes."
    );
    assert_eq!(say(client, &OPEN, "client setname "), "+OK\r\n");
    client.resp3 = true;
    assert_eq!(say(client, &OPEN, "client getname"), "_\r\n");
    assert_eq!(say(client, &OPEN, "client id"), ":42\r\n");
}

#[test]
fn client_library() {
    let client = &mut client();
    assert_eq!(say(client, &OPEN, "client setinfo LIB-NAME redis-py"), "+OK\r\n");
    assert_eq!(say(client, &OPEN, "client setinfo lib-ver 5.0.1"), "+OK\r\n");
    assert_eq!((client.lib_name.as_str(), client.lib_version.as_str()), ("redis-py", "5.0.1"));
    let bad = "ERR lib-ver cannot contain spaces, newlines or special characters.";
    assert_eq!(say(client, &OPEN, "client setinfo lib-ver a\n"), bad);
    assert_eq!(say(client, &OPEN, "client setinfo foo bar"), "ERR Unrecognized option 'foo'");
}

#[test]
fn client_switches() {
    let client = &mut client();
    for (line, on, off) in [("client no-evict", true, false), ("client no-touch", true, false)] {
        assert_eq!(say(client, &OPEN, &format!("{line} on")), "+OK\r\n");
        assert!(if line.ends_with("evict") { client.no_evict == on } else { client.no_touch == on });
        assert_eq!(say(client, &OPEN, &format!("{line} OFF")), "+OK\r\n");
        assert!(if line.ends_with("evict") { client.no_evict == off } else { client.no_touch == off });
        assert_eq!(say(client, &OPEN, &format!("{line} foo")), "ERR syntax error");
    }
}

#[test]
fn client_reply_modes() {
    let client = &mut client();
    assert_eq!(say(client, &OPEN, "client reply skip"), "");
    assert_eq!(client.reply, ReplyMode::SkipNext);
    assert_eq!(say(client, &OPEN, "client reply off"), "");
    assert_eq!(client.reply, ReplyMode::Off);
    assert_eq!(say(client, &OPEN, "client reply skip"), "");
    assert_eq!(client.reply, ReplyMode::Off, "skipping one of none");
    assert_eq!(say(client, &OPEN, "client reply ON"), "+OK\r\n");
    assert_eq!(client.reply, ReplyMode::On);
    assert_eq!(say(client, &OPEN, "client reply foo"), "ERR syntax error");
}

#[test]
fn nothing_to_flush() {
    let client = &mut client();
    for line in ["function flush", "function flush async", "FUNCTION FLUSH SYNC", "script flush", "script flush sync"] {
        assert_eq!(say(client, &OPEN, line), "+OK\r\n", "{line}");
    }
}

#[test]
fn replies_are_one_reply() {
    for line in ["ping", "ping x", "echo x", "hello", "hello 3", "client id", "client getname", "select 0", "quit"] {
        let out = say(&mut client(), &OPEN, line);
        assert!(!matches!(read(out.as_bytes()), Reply::Null) || line == "client getname", "{line}");
    }
}
