//! Random sequences of commands of two clients over a few keys.
//!
//! Invariant: what a sequence holds has one right answer, whatever the clock does. Times to live are long, and no two
//! of a sequence are equal, so that `GT` and `LT` do not hang on a millisecond. Values are 64-bit integers: what else
//! Redis would store is in `differences`.

use std::collections::HashSet;

use crate::support::Random;

use super::compare::{Command, Match};

/// Options and keywords that are no option of anything.
const JUNK: &[&str] = &["junk", "", "12x", "NX2", "-", "1.5", " 1", "+1", "007", "9223372036854775808"];

/// A sequence of 10 to 60 commands.
pub fn sequence(random: &mut Random) -> Vec<Command> {
    let mut source = Source { keys: keys(random), times: HashSet::new(), random: random.clone() };
    let mut commands = Vec::new();
    let count = 10 + source.random.below(50);
    while commands.len() < count {
        source.push(&mut commands);
    }
    commands
}

/// Two to six keys: one slot and many, empty, binary, with tags, and the longest there may be.
fn keys(random: &mut Random) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = ["a", "b", "c", "hits", "", "{tag}x", "{tag}y", "{}z", "k*y", "k[a-c]", "\\"]
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .collect();
    all.extend([b"\r\n\0\xff key".to_vec(), vec![b'L'; 1024], vec![b'm'; 24], random.bytes(40)]);
    let count = 2 + random.below(5);
    (0..count).map(|_| random.pick(&all).clone()).collect()
}

struct Source {
    keys: Vec<Vec<u8>>,
    times: HashSet<i64>,
    random: Random,
}

type Args = Vec<Vec<u8>>;

impl Source {
    /// Append one command.
    fn push(&mut self, commands: &mut Vec<Command>) {
        let client = self.random.below(2);
        let joined = self.random.one_in(3);
        let (mut args, matching) = match self.random.below(20) {
            0..=3 => (self.add(), Match::Exact),
            4..=6 => (self.set(), Match::Exact),
            7..=8 => (self.read(), Match::Exact),
            9..=10 => (self.expire(), Match::Exact),
            11 => self.time_left(),
            12 => self.many_keys(),
            13..=14 => self.whole_space(),
            15..=17 => (self.transaction(), Match::Exact),
            18 => self.connection(),
            _ => (self.unknown(), Match::Exact),
        };
        // COMMAND with fewer arguments lists all commands, which are not the same.
        let last = args.len() - 1;
        match self.random.below(25) {
            0 if last > 0 && args[0] != b"COMMAND" => args.truncate(last),
            // Redis 7.0 names the client before it looks at what follows; later versions and ours look first.
            1 if args.iter().all(|arg| arg != b"SETNAME") => args.push(self.random.pick(JUNK).as_bytes().to_vec()),
            _ => {}
        }
        if self.random.one_in(4) {
            let random = &mut self.random;
            args[0].iter_mut().filter(|_| random.one_in(2)).for_each(u8::make_ascii_lowercase);
        }
        let inline = if self.random.one_in(12) { Some(self.inline(&args)) } else { None };
        commands.push(Command { client, joined, args, inline, matching });
    }

    fn key(&mut self) -> Vec<u8> {
        self.random.pick(&self.keys).clone()
    }

    fn value(&mut self) -> Vec<u8> {
        let edges = [
            "0",
            "1",
            "-1",
            "42",
            "-100",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775806",
            "10000",
        ];
        match self.random.below(4) {
            0 => (self.random.next() as i64).to_string().into(),
            1 => self.random.below(1000).to_string().into(),
            _ => self.random.pick(&edges).as_bytes().to_vec(),
        }
    }

    /// An increment: a value, or rarely what is none.
    fn amount(&mut self) -> Vec<u8> {
        if self.random.one_in(12) { self.random.pick(JUNK).as_bytes().to_vec() } else { self.value() }
    }

    /// Seconds or milliseconds to live that are long, and different from all others of the sequence.
    fn lifetime(&mut self, millis: bool) -> Vec<u8> {
        let odd =
            ["0", "-1", "-1000", "9223372036854775807", "9223372036854775", "-9223372036854775808", "x", "", "1.5"];
        if self.random.one_in(8) {
            return self.random.pick(&odd).as_bytes().to_vec();
        }
        loop {
            let seconds = 1000 + 100 * self.random.below(10_000) as i64;
            if self.times.insert(seconds) {
                return (if millis { seconds * 1000 } else { seconds }).to_string().into();
            }
        }
    }

    /// A Unix time far ahead, or what `SET` and `GETEX` refuse.
    fn moment(&mut self, millis: bool) -> Vec<u8> {
        if self.random.one_in(8) {
            return self.random.pick(&["0", "-5", "x", "", "9223372036854775807"]).as_bytes().to_vec();
        }
        let seconds = 4_102_444_800 + 100_000 * self.random.below(5) as i64;
        (if millis { seconds * 1000 + 7 } else { seconds }).to_string().into()
    }

    fn add(&mut self) -> Args {
        match self.random.below(4) {
            0 => vec!["INCR".into(), self.key()],
            1 => vec!["DECR".into(), self.key()],
            2 => vec!["INCRBY".into(), self.key(), self.amount()],
            _ => vec!["DECRBY".into(), self.key(), self.amount()],
        }
    }

    fn set(&mut self) -> Args {
        match self.random.below(10) {
            0 => vec!["SETNX".into(), self.key(), self.value()],
            1 => vec!["SETEX".into(), self.key(), self.lifetime(false), self.value()],
            2 => vec!["PSETEX".into(), self.key(), self.lifetime(true), self.value()],
            3 => vec!["GETSET".into(), self.key(), self.value()],
            4 | 5 => {
                let mut args: Args = vec![if self.random.one_in(3) { "MSETNX".into() } else { "MSET".into() }];
                for _ in 0..1 + self.random.below(4) {
                    args.extend([self.key(), self.value()]);
                }
                args
            }
            _ => {
                let mut args = vec!["SET".into(), self.key(), self.value()];
                for _ in 0..self.random.below(4) {
                    match self.random.below(9) {
                        0 => args.push("NX".into()),
                        1 => args.push("XX".into()),
                        2 => args.push("GET".into()),
                        3 => args.push("KEEPTTL".into()),
                        4 => args.extend(["EX".into(), self.lifetime(false)]),
                        5 => args.extend(["PX".into(), self.lifetime(true)]),
                        6 => args.extend(["EXAT".into(), self.moment(false)]),
                        7 => args.extend(["PXAT".into(), self.moment(true)]),
                        _ => args.push(self.random.pick(&["nx", "Xx", "keepttl", "EX", "junk"]).as_bytes().to_vec()),
                    }
                }
                args
            }
        }
    }

    fn read(&mut self) -> Args {
        match self.random.below(7) {
            0 | 1 => vec!["GET".into(), self.key()],
            2 => vec!["GETDEL".into(), self.key()],
            3 => vec!["STRLEN".into(), self.key()],
            4 => {
                let mut args = vec!["GETEX".into(), self.key()];
                match self.random.below(7) {
                    0 => args.push("PERSIST".into()),
                    1 => args.extend(["EX".into(), self.lifetime(false)]),
                    2 => args.extend(["PX".into(), self.lifetime(true)]),
                    3 => args.extend(["EXAT".into(), self.moment(false)]),
                    4 => args.extend(["PXAT".into(), self.moment(true)]),
                    5 => args.extend(["PERSIST".into(), "EX".into(), "10".into()]),
                    _ => {}
                }
                args
            }
            5 => vec!["TYPE".into(), self.key()],
            _ => vec!["OBJECT".into(), "ENCODING".into(), self.key()],
        }
    }

    fn expire(&mut self) -> Args {
        let mut args = match self.random.below(5) {
            0 => return vec!["PERSIST".into(), self.key()],
            1 => vec!["EXPIRE".into(), self.key(), self.lifetime(false)],
            2 => vec!["PEXPIRE".into(), self.key(), self.lifetime(true)],
            3 if self.random.one_in(8) => vec!["EXPIREAT".into(), self.key(), "1".into()],
            3 => vec!["EXPIREAT".into(), self.key(), self.moment(false)],
            _ => vec!["PEXPIREAT".into(), self.key(), self.moment(true)],
        };
        for _ in 0..self.random.below(3) {
            args.push(self.random.pick(&["NX", "XX", "GT", "LT", "gt", "junk"]).as_bytes().to_vec());
        }
        args
    }

    fn time_left(&mut self) -> (Args, Match) {
        let (name, near) =
            *self.random.pick(&[("TTL", 3), ("PTTL", 3000), ("EXPIRETIME", 3), ("PEXPIRETIME", 3000), ("TOUCH", 0)]);
        (vec![name.into(), self.key()], Match::Near(near))
    }

    fn many_keys(&mut self) -> (Args, Match) {
        let name = *self.random.pick(&["MGET", "DEL", "UNLINK", "EXISTS", "TOUCH"]);
        let mut args: Args = vec![name.into()];
        for _ in 0..1 + self.random.below(6) {
            args.push(self.key());
        }
        (args, Match::Exact)
    }

    fn whole_space(&mut self) -> (Args, Match) {
        match self.random.below(10) {
            0 | 1 => (vec!["DBSIZE".into()], Match::Exact),
            2 => {
                let name = *self.random.pick(&["FLUSHALL", "FLUSHDB"]);
                let mut args: Args = vec![name.into()];
                args.extend(self.random.pick(&[None, None, Some("ASYNC"), Some("sync"), Some("junk")]).map(Vec::from));
                (args, Match::Exact)
            }
            3 | 4 => {
                let name = *self.random.pick(&["RENAME", "RENAMENX", "COPY", "COPY"]);
                let mut args: Args = vec![name.into(), self.key(), self.key()];
                if name == "COPY" {
                    let options = *self.random.pick(&["", "REPLACE", "db 0", "DB 0 replace"]);
                    args.extend(options.split(' ').filter(|option| !option.is_empty()).map(Vec::from));
                }
                (args, Match::Exact)
            }
            5 => (vec!["RANDOMKEY".into()], Match::Kind),
            6 | 7 => (vec!["KEYS".into(), self.pattern()], Match::Set),
            _ => {
                let mut args: Args = vec!["SCAN".into(), "0".into()];
                for _ in 0..self.random.below(3) {
                    match self.random.below(4) {
                        0 => args.extend(["MATCH".into(), self.pattern()]),
                        1 => {
                            let count = *self.random.pick(&["1", "10", "1000", "0", "x"]);
                            args.extend(["COUNT".into(), count.into()]);
                        }
                        2 => args.extend(["TYPE".into(), Vec::from(*self.random.pick(&["string", "list", "STRING"]))]),
                        _ => args.push("junk".into()),
                    }
                }
                (args, Match::Scan)
            }
        }
    }

    fn pattern(&mut self) -> Vec<u8> {
        let patterns =
            ["*", "?", "[a-b]", "[^a]", "{tag}*", "k\\*y", "h*s", "", "**", "*\\", "[", "[z-a]", "L*L", "k?[a-z]y"];
        self.random.pick(&patterns).as_bytes().to_vec()
    }

    fn transaction(&mut self) -> Args {
        match self.random.below(9) {
            0..=2 => vec!["MULTI".into()],
            3..=5 => vec!["EXEC".into()],
            6 => vec!["DISCARD".into()],
            7 => {
                let mut args = vec!["WATCH".into(), self.key()];
                if self.random.one_in(3) {
                    args.push(self.key());
                }
                args
            }
            _ => vec!["UNWATCH".into()],
        }
    }

    fn connection(&mut self) -> (Args, Match) {
        let exact = [
            "PING",
            "PING hello",
            "ECHO hello",
            "SELECT 0",
            "SELECT 1",
            "SELECT -1",
            "SELECT x",
            "AUTH secret",
            "AUTH default secret",
            "AUTH nobody secret",
            "CLIENT SETNAME tester",
            "CLIENT GETNAME",
            "CLIENT junk",
            "CLIENT REPLY junk",
            "CLIENT KILL ID 999999999",
            "CLIENT KILL 1.2.3.4:5",
            "CLIENT NO-EVICT on",
            "CLIENT NO-EVICT junk",
            "CLIENT PAUSE x",
            "CONFIG junk",
            "OBJECT junk",
            "COMMAND junk",
            "COMMAND GETKEYS MSET a 1 b 2",
            "COMMAND INFO nosuch",
            "COMMAND GETKEYSANDFLAGS MSET a 1 b 2",
            "COMMAND GETKEYSANDFLAGS RENAME a b",
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "CLIENT UNBLOCK 999999999",
            "ROLE",
            "WAIT 0 0",
            "DEBUG SLEEP 0",
            "MEMORY PURGE",
            "CONFIG GET nosuchparameter",
            "CONFIG SET NoSuchParameter 1",
            "CONFIG RESETSTAT",
            "SCRIPT FLUSH",
            "FUNCTION FLUSH",
            "RESET",
        ];
        let greetings = ["HELLO 2", "HELLO 3", "HELLO", "HELLO 4", "HELLO x", "HELLO 3 junk", "HELLO 3 SETNAME me"];
        let kind = ["TIME", "CLIENT ID", "MEMORY USAGE a", "INFO"];
        if self.random.one_in(8) {
            (words(greetings[self.random.below(greetings.len())]), Match::Greeting)
        } else if self.random.one_in(5) {
            (words(kind[self.random.below(kind.len())]), Match::Kind)
        } else {
            (words(exact[self.random.below(exact.len())]), Match::Exact)
        }
    }

    fn unknown(&mut self) -> Args {
        let mut args: Args =
            vec![Vec::from(*self.random.pick(&["NOSUCH", "nosuch", "INC", "INCRX", "'quoted'", "-1"]))];
        for _ in 0..self.random.below(4) {
            let len = *self.random.pick(&[0, 1, 10, 60, 200]);
            args.push(vec![b'w'; len]);
        }
        args
    }

    /// The arguments as a line that means the same.
    fn inline(&mut self, args: &Args) -> Vec<u8> {
        let mut line = Vec::new();
        for (index, arg) in args.iter().enumerate() {
            if index > 0 || self.random.one_in(4) {
                line.extend(std::iter::repeat_n(b' ', 1 + self.random.below(2)));
            }
            let plain =
                !arg.is_empty() && arg.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-:.*?".contains(byte));
            match self.random.below(3) {
                0 if plain => line.extend_from_slice(arg),
                1 if arg.iter().all(|byte| !b"\r\n\0'\\".contains(byte)) => {
                    line.push(b'\'');
                    line.extend_from_slice(arg);
                    line.push(b'\'');
                }
                _ => {
                    line.push(b'"');
                    arg.iter().for_each(|byte| line.extend_from_slice(&quoted(*byte)));
                    line.push(b'"');
                }
            }
        }
        line.extend_from_slice(if self.random.one_in(2) { b"\r\n" } else { b"\n" });
        line
    }
}

fn quoted(byte: u8) -> Vec<u8> {
    match byte {
        b'\r' => b"\\r".to_vec(),
        b'\n' => b"\\n".to_vec(),
        b'"' | b'\\' => vec![b'\\', byte],
        b' '..=b'~' => vec![byte],
        _ => format!("\\x{byte:02x}").into_bytes(),
    }
}

fn words(line: &str) -> Args {
    line.split(' ').map(Vec::from).collect()
}
