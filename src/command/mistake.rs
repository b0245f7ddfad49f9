//! The texts of errors that are made from a request, all in one place.
//!
//! What a client sent appears in them only printable, UTF-8, and cut to 128 bytes, so a text never breaks the protocol.

use super::{Call, Mistake};

/// Before authentication.
pub const NOAUTH: Mistake = fixed("NOAUTH Authentication required.");
/// The same of `EXEC`.
pub const NOAUTH_EXEC: Mistake = fixed("EXECABORT Transaction discarded because of: NOAUTH Authentication required.");
/// `DEBUG` where the configuration does not allow it.
pub const DEBUG_NOT_ALLOWED: Mistake = fixed(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local \
     connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
/// `MULTI` while a transaction is being queued; it goes on.
pub const MULTI_NESTED: Mistake = fixed("ERR MULTI calls can not be nested");
/// `WATCH` while a transaction is being queued; it goes on.
pub const WATCH_INSIDE_MULTI: Mistake = fixed("ERR WATCH inside MULTI is not allowed");
/// `EXEC` outside a transaction.
pub const EXEC_WITHOUT_MULTI: Mistake = fixed("ERR EXEC without MULTI");
/// `DISCARD` outside a transaction.
pub const DISCARD_WITHOUT_MULTI: Mistake = fixed("ERR DISCARD without MULTI");
/// A command that is refused in a transaction, which is aborted by it.
pub const NOT_IN_TRANSACTION: Mistake = fixed("ERR Command not allowed inside a transaction");
/// `EXEC` of an aborted transaction.
pub const EXEC_ABORTED: Mistake = fixed("EXECABORT Transaction discarded because of previous errors.");

/// A command that reads or writes counters, from a client that monitors, in Redis's words.
pub const MONITOR_AND_KEYSPACE: Mistake = fixed("ERR Replica can't interact with the keyspace");

/// Client bytes that an error shows at most.
const SHOWN_BYTES_MAX: usize = 128;

/// A text that needs nothing of the request.
pub const fn fixed(text: &'static str) -> Mistake {
    Mistake::Text(std::borrow::Cow::Borrowed(text))
}

/// A text made from the request.
pub fn made(text: String) -> Mistake {
    assert!(text.len() <= 512);
    Mistake::Text(text.into())
}

/// There is no such command.
#[cold]
pub fn unknown_command(call: &Call<'_>) -> Mistake {
    let mut arguments = String::new();
    for index in 1..call.count() {
        if arguments.len() >= SHOWN_BYTES_MAX {
            break;
        }
        let shown = printable(call.arg(index), SHOWN_BYTES_MAX - arguments.len());
        arguments.push_str(&format!("'{shown}' "));
    }
    made(format!("ERR unknown command '{}', with args beginning with: {arguments}", shown(call.arg(0))))
}

/// The container has no such subcommand.
#[cold]
pub fn unknown_subcommand(call: &Call<'_>) -> Mistake {
    let container = shown(call.arg(0)).to_uppercase();
    made(format!("ERR unknown subcommand '{}'. Try {container} HELP.", shown(call.arg(1))))
}

/// The subcommand exists, but not with so many arguments, which its arity does not tell.
#[cold]
pub fn subcommand_syntax(call: &Call<'_>) -> Mistake {
    let container = shown(call.arg(0)).to_uppercase();
    made(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try {container} HELP.",
        shown(call.arg(1))
    ))
}

/// Too few or too many arguments; `name` is the full one, `client|id`.
#[cold]
pub fn wrong_arity(name: &str) -> Mistake {
    made(format!("ERR wrong number of arguments for '{name}' command"))
}

/// An expiry that is not positive, or past 64 bits of milliseconds.
#[cold]
pub fn invalid_expire(name: &str) -> Mistake {
    made(format!("ERR invalid expire time in '{name}' command"))
}

/// Bytes of a client as an error shows them.
pub fn shown(bytes: &[u8]) -> String {
    printable(bytes, SHOWN_BYTES_MAX)
}

/// At most `count` bytes, ending at a NUL as C strings do, line ends as spaces, what no terminal should be sent as `?`.
fn printable(bytes: &[u8], count: usize) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let mut shown = String::new();
    for chunk in bytes[..bytes.len().min(count)].utf8_chunks() {
        shown.extend(chunk.valid().chars().map(|char| match char {
            '\r' | '\n' => ' ',
            char if char.is_control() => '?',
            char => char,
        }));
        shown.extend(chunk.invalid().iter().map(|_| '?'));
    }
    shown
}
