//! A slow and obvious reader of replies.

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Simple(String),
    Integer(i64),
    Bulk(String),
    Null,
    /// Arrays, sets and maps, with their type byte; a map's keys and values alternate.
    Many(char, Vec<Reply>),
}

impl Reply {
    /// The elements of an array, a set or a map.
    pub fn items(&self) -> &[Reply] {
        match self {
            Reply::Many(_, items) => items,
            other => panic!("not many: {other:?}"),
        }
    }

    pub fn words(&self) -> Vec<&str> {
        self.items().iter().map(Reply::word).collect()
    }

    pub fn word(&self) -> &str {
        match self {
            Reply::Simple(text) | Reply::Bulk(text) => text,
            other => panic!("not a word: {other:?}"),
        }
    }

    pub fn integer(&self) -> i64 {
        match self {
            Reply::Integer(value) => *value,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The value of a map's field.
    pub fn field(&self, name: &str) -> Option<&Reply> {
        self.items().chunks(2).find(|pair| pair[0].word() == name).map(|pair| &pair[1])
    }
}

/// The one reply that `bytes` are.
pub fn read(bytes: &[u8]) -> Reply {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut rest = text;
    let reply = read_next(&mut rest);
    assert_eq!(rest, "", "more than one reply");
    reply
}

fn read_next(rest: &mut &str) -> Reply {
    let (line, after) = rest.split_once("\r\n").unwrap();
    *rest = after;
    let (kind, value) = line.split_at(1);
    match kind {
        "+" => Reply::Simple(value.to_owned()),
        ":" => Reply::Integer(value.parse().unwrap()),
        "_" => Reply::Null,
        "$" if value == "-1" => Reply::Null,
        "$" => {
            let (bulk, after) = rest.split_at(value.parse().unwrap());
            *rest = after.strip_prefix("\r\n").unwrap();
            Reply::Bulk(bulk.to_owned())
        }
        "*" | "~" | "%" => {
            let count: usize = value.parse().unwrap();
            let count = if kind == "%" { count * 2 } else { count };
            Reply::Many(kind.chars().next().unwrap(), (0..count).map(|_| read_next(rest)).collect())
        }
        other => panic!("unknown type {other}"),
    }
}
