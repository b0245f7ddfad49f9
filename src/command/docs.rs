//! How commands are described: families, arguments, and the command page of the documentation.
//!
//! The vocabulary is that of Redis 7's `COMMAND DOCS` page, because clients read it; the sentences are our own.

use super::{Spec, commands};

/// How a command is described.
#[derive(Clone, Copy, Debug)]
pub struct Docs {
    /// One line.
    pub summary: &'static str,
    /// The Redis version that brought it; of commands of our own, the Tallyring version.
    pub since: &'static str,
    /// Its family.
    pub group: Group,
    /// Cost, `O(…)` first.
    pub complexity: &'static str,
    /// After the name.
    pub arguments: &'static [Arg],
}

/// A family of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Counters.
    String,
    /// Keys, whatever they hold.
    Generic,
    /// Transactions.
    Transactions,
    /// The client's own connection.
    Connection,
    /// The server.
    Server,
    /// The shards as a cluster.
    Cluster,
    /// Scripts and functions: there are none, and some clients flush them.
    Scripting,
}

impl Group {
    /// The word in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Generic => "generic",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
            Group::Scripting => "scripting",
        }
    }
}

/// The type of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgKind {
    /// Text.
    String,
    /// A 64-bit integer.
    Integer,
    /// A number with a fraction.
    Double,
    /// A key; which of the key specifications it belongs to.
    Key(u8),
    /// A glob pattern.
    Pattern,
    /// Unix time.
    UnixTime,
    /// A word by itself.
    PureToken,
    /// One of its parts.
    OneOf,
    /// All of its parts, in order.
    Block,
}

impl ArgKind {
    /// The word in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Double => "double",
            ArgKind::Key(_) => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::PureToken => "pure-token",
            ArgKind::OneOf => "oneof",
            ArgKind::Block => "block",
        }
    }
}

/// One argument, as it is described.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// What it is called.
    pub name: &'static str,
    /// What it is.
    pub kind: ArgKind,
    /// The word in front of it, or which it is; else empty.
    pub token: &'static str,
    /// The Redis version that brought it, where later than the command; else empty.
    pub since: &'static str,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// Of a [`ArgKind::OneOf`] or [`ArgKind::Block`].
    pub parts: &'static [Arg],
}

impl Arg {
    /// A plain argument.
    pub const fn new(name: &'static str, kind: ArgKind) -> Arg {
        Arg { name, kind, token: "", since: "", optional: false, multiple: false, parts: &[] }
    }

    /// A word by itself.
    pub const fn word(name: &'static str, token: &'static str) -> Arg {
        Arg { token, ..Arg::new(name, ArgKind::PureToken) }
    }

    /// One of `parts`.
    pub const fn one_of(name: &'static str, parts: &'static [Arg]) -> Arg {
        Arg { parts, ..Arg::new(name, ArgKind::OneOf) }
    }

    /// All of `parts`.
    pub const fn block(name: &'static str, parts: &'static [Arg]) -> Arg {
        Arg { parts, ..Arg::new(name, ArgKind::Block) }
    }

    /// The same after a word.
    pub const fn after(self, token: &'static str) -> Arg {
        Arg { token, ..self }
    }

    /// The same, may be left out.
    pub const fn optional(self) -> Arg {
        Arg { optional: true, ..self }
    }

    /// The same, may be repeated.
    pub const fn multiple(self) -> Arg {
        Arg { multiple: true, ..self }
    }

    /// The same, since a later version.
    pub const fn since(self, since: &'static str) -> Arg {
        Arg { since, ..self }
    }
}

/// Write arguments as people read them: `key value [NX | XX] [EX seconds | PX milliseconds]`.
pub fn syntax(arguments: &[Arg]) -> String {
    arguments.iter().map(argument_syntax).collect::<Vec<_>>().join(" ")
}

/// The command page of the documentation, in Markdown, from the table.
pub fn reference_markdown() -> String {
    let mut page = String::from(PAGE_HEAD);
    for (title, group) in PAGE_PARTS {
        page.push_str(&format!("\n## {title}\n\n"));
        for spec in commands().iter().filter(|spec| spec.docs.group.name() == group) {
            match spec.subcommands {
                [] => page.push_str(&page_line(spec)),
                subcommands => {
                    let own = (spec.arity == -1).then_some(spec);
                    own.into_iter().chain(subcommands).for_each(|spec| page.push_str(&page_line(spec)));
                }
            }
        }
    }
    page
}

const PAGE_HEAD: &str = "\
# Commands

Made from the command table, which also answers `COMMAND`. `[…]` may be left out, `<a | b>` is one of both, `...` may be \
repeated.

Commands of Redis answer as Redis 7 does, with the differences that the README names. Every value is a 64-bit integer.
";

const PAGE_PARTS: [(&str, &str); 7] = [
    ("Counters", "string"),
    ("Keys", "generic"),
    ("Transactions", "transactions"),
    ("Connection", "connection"),
    ("Server", "server"),
    ("Cluster clients", "cluster"),
    ("Scripts and functions", "scripting"),
];

fn page_line(spec: &Spec) -> String {
    let name = spec.name.replace('|', " ").to_uppercase();
    let call = format!("{name} {}", syntax(spec.docs.arguments));
    format!("- `{}`: {} {}.\n", call.trim_end(), spec.docs.summary, spec.docs.complexity)
}

fn argument_syntax(argument: &Arg) -> String {
    let body = match argument.kind {
        ArgKind::PureToken => String::new(),
        ArgKind::Block => syntax(argument.parts),
        ArgKind::OneOf => {
            let choice = argument.parts.iter().map(argument_syntax).collect::<Vec<_>>().join(" | ");
            if argument.optional && argument.token.is_empty() { choice } else { format!("<{choice}>") }
        }
        _ => argument.name.to_owned(),
    };
    let mut text = match (argument.token, body.as_str()) {
        ("", body) => body.to_owned(),
        (token, "") => token.to_owned(),
        (token, body) => format!("{token} {body}"),
    };
    if argument.multiple {
        text = format!("{text} [{text} ...]");
    }
    if argument.optional { format!("[{text}]") } else { text }
}
