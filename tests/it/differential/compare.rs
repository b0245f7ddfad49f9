//! Runs commands on both sides and compares reply for reply.

use std::fmt;
use std::net::SocketAddr;

use crate::support::{Conn, ReadError, Reply, ok, simple, wire};

/// How the replies to a command are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// They are equal.
    Exact,
    /// Two integers differ by at most this, as times may.
    Near(i64),
    /// Two arrays hold the same elements, in any order.
    Set,
    /// They are of one kind; errors are equal. What differs by nature: identities, clocks, random choices.
    Kind,
    /// `HELLO`: equal but for the server's name, its version, and the client's identity.
    Greeting,
    /// `SCAN`: followed to its end, both sides give the same keys.
    Scan,
}

/// One request of one of two clients.
#[derive(Clone)]
pub struct Command {
    /// Which client sends it, 0 or 1.
    pub client: usize,
    /// It is written together with the one before it, if that is the same client's.
    pub joined: bool,
    /// The arguments.
    pub args: Vec<Vec<u8>>,
    /// The line, when it is sent as an inline command.
    pub inline: Option<Vec<u8>>,
    /// How the replies are compared.
    pub matching: Match,
}

impl Command {
    fn bytes(&self) -> Vec<u8> {
        self.inline.clone().unwrap_or_else(|| wire(&self.args))
    }

    fn is(&self, name: &str) -> bool {
        self.args[0].eq_ignore_ascii_case(name.as_bytes())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}{}:", self.client, if self.joined { " +" } else { "" })?;
        match &self.inline {
            Some(line) => write!(f, " (inline) {}", line.escape_ascii()),
            None => self.args.iter().try_for_each(|arg| write!(f, " \"{}\"", arg.escape_ascii())),
        }
    }
}

/// Both servers, emptied, each with two fresh clients.
pub struct Pair {
    ours: [Conn; 2],
    theirs: [Conn; 2],
    /// How the replies to what each client has queued since `MULTI` are compared.
    queued: [Vec<Match>; 2],
}

type Outcome = Result<Reply, ReadError>;

impl Pair {
    /// Connect, empty both servers, and choose the protocol.
    pub fn new(ours: SocketAddr, theirs: SocketAddr, resp3: bool) -> Pair {
        let mut pair = Pair {
            ours: [Conn::tcp(ours), Conn::tcp(ours)],
            theirs: [Conn::tcp(theirs), Conn::tcp(theirs)],
            queued: [Vec::new(), Vec::new()],
        };
        for conn in pair.ours.iter_mut().chain(&mut pair.theirs) {
            if resp3 {
                assert!(matches!(conn.ask("HELLO 3"), Reply::Map(_)));
            }
            assert_eq!(conn.ask("FLUSHALL"), ok());
        }
        pair
    }

    /// Run all commands; the error says where the sides part.
    pub fn run(&mut self, commands: &[Command]) -> Result<(), String> {
        let mut rest = commands;
        while let Some(first) = rest.first() {
            let more = rest[1..].iter().take_while(|command| {
                command.joined && command.client == first.client && command.matching != Match::Scan
            });
            let count = if first.matching == Match::Scan { 1 } else { 1 + more.count() };
            let (batch, after) = rest.split_at(count);
            self.run_batch(batch)?;
            rest = after;
        }
        Ok(())
    }

    fn run_batch(&mut self, batch: &[Command]) -> Result<(), String> {
        let client = batch[0].client;
        let bytes: Vec<u8> = batch.iter().flat_map(Command::bytes).collect();
        // A side that has closed shows at the reading.
        let _ = self.ours[client].try_send(&bytes);
        let _ = self.theirs[client].try_send(&bytes);
        for command in batch {
            let (ours, theirs) = (self.ours[client].try_read(), self.theirs[client].try_read());
            self.check(command, ours, theirs)?;
        }
        Ok(())
    }

    fn check(&mut self, command: &Command, ours: Outcome, theirs: Outcome) -> Result<(), String> {
        let client = command.client;
        let same = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if command.is("EXEC") => self.same_exec(client, ours, theirs),
            (Ok(ours), Ok(theirs)) if command.matching == Match::Scan && scan_step(theirs).is_some() => {
                return self.check_scan(command, ours.clone(), theirs.clone());
            }
            (Ok(ours), Ok(theirs)) => same(command.matching, ours, theirs),
            _ => ours == theirs,
        };
        if command.is("MULTI") && theirs == Ok(ok()) {
            self.queued[client].clear();
        }
        if theirs == Ok(simple("QUEUED")) {
            self.queued[client].push(command.matching);
        }
        if same {
            return Ok(());
        }
        Err(format!("to {command:?}\n  ours answers {ours:?}\n  redis answers {theirs:?}"))
    }

    fn same_exec(&self, client: usize, ours: &Reply, theirs: &Reply) -> bool {
        match (ours, theirs) {
            (Reply::Array(ours), Reply::Array(theirs)) => {
                let queued = &self.queued[client];
                ours.len() == theirs.len()
                    && queued.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs)
                        .zip(queued)
                        .all(|((ours, theirs), matching)| same(*matching, ours, theirs))
            }
            _ => ours == theirs,
        }
    }

    fn check_scan(&mut self, command: &Command, ours: Reply, theirs: Reply) -> Result<(), String> {
        let client = command.client;
        let ours = follow_scan(&mut self.ours[client], command, ours)?;
        let theirs = follow_scan(&mut self.theirs[client], command, theirs)?;
        if ours == theirs {
            return Ok(());
        }
        Err(format!("following {command:?} to its end\n  ours finds {ours:?}\n  redis finds {theirs:?}"))
    }
}

/// All keys that a scan gives from its first reply on, sorted, each once.
fn follow_scan(conn: &mut Conn, command: &Command, first: Reply) -> Result<Vec<Reply>, String> {
    let (mut reply, mut found) = (first, Vec::new());
    for _ in 0..40_000 {
        let Some((cursor, keys)) = scan_step(&reply) else {
            return Err(format!("to {command:?} this is no step of a scan: {reply:?}"));
        };
        found.extend_from_slice(keys);
        if cursor == b"0" {
            found.sort();
            found.dedup();
            return Ok(found);
        }
        let mut args = command.args.clone();
        args[1] = cursor.to_vec();
        reply = conn.call(&args);
    }
    Err(format!("{command:?} does not come to an end"))
}

/// The cursor and the keys of one reply to `SCAN`.
fn scan_step(reply: &Reply) -> Option<(&[u8], &[Reply])> {
    match reply {
        Reply::Array(parts) => match &parts[..] {
            [Reply::Bulk(cursor), Reply::Array(keys)] => Some((cursor, keys)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two replies match.
pub fn same(matching: Match, ours: &Reply, theirs: &Reply) -> bool {
    match (matching, ours, theirs) {
        (_, Reply::Error(_), _) | (_, _, Reply::Error(_)) => ours == theirs,
        (Match::Near(by), Reply::Int(ours), Reply::Int(theirs)) => {
            // The negative ones say that there is no time.
            if *ours < 0 || *theirs < 0 { ours == theirs } else { ours.abs_diff(*theirs) <= by as u64 }
        }
        (Match::Set, Reply::Array(ours), Reply::Array(theirs)) => {
            let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
            ours.sort();
            theirs.sort();
            ours == theirs
        }
        (Match::Greeting, ours, theirs) => {
            std::mem::discriminant(ours) == std::mem::discriminant(theirs) && greeting(ours) == greeting(theirs)
        }
        (Match::Kind | Match::Scan, ours, theirs) => std::mem::discriminant(ours) == std::mem::discriminant(theirs),
        _ => ours == theirs,
    }
}

/// The names and values of a greeting, without the values that differ by nature.
fn greeting(reply: &Reply) -> Vec<Reply> {
    let mut flat = match reply {
        Reply::Map(pairs) => pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect(),
        Reply::Array(elements) => elements.clone(),
        other => vec![other.clone()],
    };
    for pair in flat.chunks_mut(2) {
        if let [Reply::Bulk(name), value] = pair
            && matches!(&name[..], b"server" | b"version" | b"id")
        {
            *value = Reply::Null;
        }
    }
    flat
}

/// Leave out commands as long as the sides still part. Bounded: it takes at most 300 runs.
pub fn shrink(
    mut commands: Vec<Command>,
    mut difference: String,
    mut run: impl FnMut(&[Command]) -> Result<(), String>,
) -> (Vec<Command>, String) {
    let mut runs_left = 300;
    let mut size = commands.len().div_ceil(2);
    loop {
        let mut start = 0;
        while start < commands.len() && runs_left > 0 {
            let mut fewer = commands.clone();
            fewer.drain(start..(start + size).min(commands.len()));
            runs_left -= 1;
            match run(&fewer) {
                Ok(()) => start += size,
                Err(still) => (commands, difference) = (fewer, still),
            }
        }
        if size == 1 || runs_left == 0 {
            return (commands, difference);
        }
        size = size.div_ceil(2);
    }
}

#[test]
fn what_differs_is_seen() {
    use crate::support::{array, bulk, error, int};
    let pairs = [
        (Match::Exact, int(1), int(2), false),
        (Match::Exact, Reply::Null, Reply::NullBulk, false),
        (Match::Near(2), int(100), int(102), true),
        (Match::Near(2), int(100), int(103), false),
        (Match::Near(2), int(-1), int(-2), false),
        (Match::Near(2), int(-1), int(0), false),
        (Match::Set, array([int(1), int(2)]), array([int(2), int(1)]), true),
        (Match::Set, array([int(1), int(1)]), array([int(1)]), false),
        (Match::Kind, bulk("a"), bulk("b"), true),
        (Match::Kind, bulk("a"), Reply::NullBulk, false),
        (Match::Kind, error("ERR a"), error("ERR b"), false),
    ];
    for (matching, ours, theirs, expected) in pairs {
        assert_eq!(same(matching, &ours, &theirs), expected, "{matching:?} {ours:?} {theirs:?}");
    }
}

#[test]
fn shrinking_keeps_what_makes_the_sides_part() {
    let numbered =
        |n: u8| Command { client: 0, joined: false, args: vec![vec![n]], inline: None, matching: Match::Exact };
    let run = |commands: &[Command]| {
        let has = |n| commands.iter().any(|command| command.args[0] == [n]);
        if has(7) && has(23) { Err("both".to_owned()) } else { Ok(()) }
    };
    let (shortest, _) = shrink((0..40).map(numbered).collect(), String::new(), run);
    let left: Vec<u8> = shortest.iter().map(|command| command.args[0][0]).collect();
    assert_eq!(left, [7, 23]);
}
