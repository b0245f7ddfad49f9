//! `COMMAND`, read back from its replies: what Redis says of its commands, this server says of the same ones.

use super::super::docs::syntax;
use super::super::{COMMAND_COUNT, SPEC_COUNT, commands, encode_described, reference_markdown};
use super::redis::EXPECTED;
use super::resp::{Reply, read};
use super::{Env, OPEN, Request, Task, mistake_of};

/// What Redis 7.0 does not have, or has without an option that it has here (`MONITOR SAMPLE`).
const OURS: [&str; 4] = ["mincrby", "client|setinfo", "client|no-touch", "monitor"];

fn ask(line: &str) -> Reply {
    answer(Request::line(line))
}

fn ask3(line: &str) -> Reply {
    answer(Request::line(line).resp3())
}

fn answer(request: Request) -> Reply {
    read(&told(request, &OPEN))
}

/// The reply of a task that tells of the table.
fn told(request: Request, env: &Env<'_>) -> Vec<u8> {
    let resp3 = request.resp3;
    match request.task(env) {
        Ok(Task::Reply(bytes)) => bytes,
        Ok(Task::Describe(described)) => {
            let mut out = Vec::new();
            encode_described(&described, resp3, &mut out);
            out
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_that_redis_has_are_described_as_redis_does() {
    for expected in EXPECTED {
        let name = expected.name;
        let reply = ask(&format!("command info {name}"));
        let [described] = reply.items() else { panic!("one entry") };
        let fields = described.items();
        assert_eq!(fields.len(), 10);
        assert_eq!(fields[0].word(), name);
        assert_eq!(fields[1].integer(), i64::from(expected.arity), "{name}");
        assert_eq!(fields[2].words().join(" "), expected.flags, "{name}");
        let (first, last, step) = expected.keys;
        let keys: Vec<i64> = fields[3..6].iter().map(Reply::integer).collect();
        assert_eq!(keys, [first, last, step].map(i64::from), "{name}");
        assert_eq!(fields[6].words().join(" "), expected.categories, "{name}");
        assert_eq!(sorted(&fields[7].words().join(" ")), sorted(expected.tips), "{name}");
        let specs: Vec<String> = fields[8].items().iter().map(key_spec).collect();
        assert_eq!(specs.join(","), expected.key_specs, "{name}");
    }
}

#[test]
fn commands_that_redis_has_are_documented_as_of_redis() {
    for expected in EXPECTED {
        let name = expected.name;
        let reply = ask3(&format!("command docs {name}"));
        let docs = reply.field(name).unwrap();
        assert_eq!(docs.field("since").unwrap().word(), expected.since, "{name}");
        assert_eq!(docs.field("group").unwrap().word(), expected.group, "{name}");
        if !expected.complexity.is_empty() {
            let complexity = docs.field("complexity").unwrap().word();
            assert_eq!(complexity.split([' ', ',']).next(), Some(expected.complexity), "{name}");
        }
    }
}

#[test]
fn the_table_is_what_redis_has_of_it_and_our_own() {
    let mut known: Vec<&str> = EXPECTED.iter().map(|expected| expected.name).chain(OURS).collect();
    let reply = ask("command list");
    let mut listed = reply.words();
    known.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, known);
    assert_eq!(listed.len(), SPEC_COUNT);
}

fn sorted(words: &str) -> Vec<&str> {
    let mut words: Vec<&str> = words.split(' ').collect();
    words.sort_unstable();
    words
}

/// In the form of the expectations.
fn key_spec(reply: &Reply) -> String {
    let begin = reply.field("begin_search").unwrap();
    let find = reply.field("find_keys").unwrap();
    assert_eq!((begin.field("type").unwrap().word(), find.field("type").unwrap().word()), ("index", "range"));
    let number = |of: &Reply, name: &str| of.field("spec").unwrap().field(name).unwrap().integer();
    assert_eq!(number(find, "limit"), 0);
    format!(
        "{}@{} {} {}",
        reply.field("flags").unwrap().words().join(" "),
        number(begin, "index"),
        number(find, "lastkey"),
        number(find, "keystep")
    )
}

#[test]
fn resp3_has_the_types_that_redis_gives() {
    let expected = "*1\r\n*10\r\n$3\r\nset\r\n:-3\r\n~2\r\n+write\r\n+denyoom\r\n:1\r\n:1\r\n:1\r\n\
        ~3\r\n+@write\r\n+@string\r\n+@slow\r\n~0\r\n~1\r\n%4\r\n$5\r\nnotes\r\n\
        $48\r\nRW and ACCESS due to the optional `GET` argument\r\n$5\r\nflags\r\n\
        ~4\r\n+RW\r\n+access\r\n+update\r\n+variable_flags\r\n$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$5\r\nindex\r\n\
        $4\r\nspec\r\n%1\r\n$5\r\nindex\r\n:1\r\n$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n\
        %3\r\n$7\r\nlastkey\r\n:0\r\n$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n~0\r\n";
    let told = told(Request::line("COMMAND INFO set").resp3(), &OPEN);
    assert_eq!(String::from_utf8(told).unwrap(), expected);
    let docs = ask3("command docs rename");
    let Reply::Many('%', _) = docs else { panic!("a map") };
    let arguments = docs.field("rename").unwrap().field("arguments").unwrap();
    assert_eq!(arguments.items()[1].field("key_spec_index"), Some(&Reply::Integer(1)));
}

#[test]
fn the_whole_table_is_listed() {
    assert_eq!(ask("command").items().len(), COMMAND_COUNT);
    assert_eq!(ask("command info"), ask("command"));
    assert_eq!(ask("command count"), Reply::Integer(COMMAND_COUNT as i64));
    assert_eq!(ask3("command docs").items().len(), 2 * COMMAND_COUNT);
    let client = ask("command info client");
    assert_eq!(client.items()[0].items()[9].items().len(), commands_of("client"));
    assert_eq!(
        ask3("command docs client").field("client").unwrap().field("subcommands").unwrap().items().len(),
        2 * commands_of("client")
    );
}

fn commands_of(container: &str) -> usize {
    commands().iter().find(|spec| spec.name == container).unwrap().subcommands.len()
}

#[test]
fn what_is_unknown_is_null_or_left_out() {
    let reply = ask("command info foo GET client|id client|foo get|foo");
    let known: Vec<bool> = reply.items().iter().map(|item| *item != Reply::Null).collect();
    assert_eq!(known, [false, true, true, false, false]);
    assert_eq!(ask("command docs foo").items(), []);
    let docs = ask("command docs foo CLIENT|ID");
    assert_eq!(docs.items()[0].word(), "client|id");
    assert_eq!(docs.items().len(), 2);
}

#[test]
fn lists_are_filtered() {
    assert_eq!(ask("command list filterby pattern get*").words(), ["get", "getset", "getdel", "getex"]);
    assert_eq!(ask("command list FILTERBY PATTERN GETD?L").words(), ["getdel"]);
    let expected = ["config|get", "config|set", "config|resetstat", "config|help"];
    assert_eq!(ask("command list filterby pattern CONFIG|*").words(), expected);
    assert_eq!(ask("command list filterby module json").items(), []);
    assert_eq!(ask("command list filterby aclcat @write").items(), []);
    assert_eq!(ask("command list filterby aclcat nosuch").items(), []);
    let transactions = ask("command list filterby aclcat TRANSACTION");
    assert_eq!(transactions.words(), ["multi", "exec", "discard", "watch", "unwatch"]);
    for line in ["command list foo", "command list filterby", "command list filterby foo bar", "command list a b c d"] {
        assert_eq!(mistake_of(line), "ERR syntax error", "{line}");
    }
}

#[test]
fn keys_of_a_command_are_found() {
    assert_eq!(ask("command getkeys get a").words(), ["a"]);
    assert_eq!(ask("command getkeys mset a 1 b 2").words(), ["a", "b"]);
    assert_eq!(ask("command getkeys mset a 1 b").words(), ["a", "b"]);
    assert_eq!(ask("command getkeys MEMORY usage a").words(), ["a"]);
    assert_eq!(ask("command getkeys rename a b").words(), ["a", "b"]);
    assert_eq!(ask("command getkeys watch a b c").words(), ["a", "b", "c"]);
    assert_eq!(mistake_of("command getkeys foo a"), "ERR Invalid command specified");
    assert_eq!(mistake_of("command getkeys object foo a"), "ERR Invalid command specified");
    assert_eq!(mistake_of("command getkeys get|x a"), "ERR Invalid command specified");
    assert_eq!(mistake_of("command getkeys ping a b c"), "ERR The command has no key arguments");
    assert_eq!(mistake_of("command getkeys client id"), "ERR The command has no key arguments");
    assert_eq!(mistake_of("command getkeys get a b"), "ERR Invalid number of arguments specified for command");
    assert_eq!(mistake_of("command getkeys mset a"), "ERR Invalid number of arguments specified for command");
    assert_eq!(mistake_of("command getkeys get"), "ERR wrong number of arguments for 'command|getkeys' command");
}

#[test]
fn help_lists_every_subcommand() {
    for spec in commands().iter().filter(|spec| !spec.subcommands.is_empty()) {
        let request = Request::line(&format!("{} help", spec.name));
        let reply = read(&told(request, &Env { cluster: true, ..OPEN }));
        let lines = reply.words();
        assert_eq!(lines.len(), 1 + 2 * spec.subcommands.len());
        assert!(lines[0].starts_with(&spec.name.to_uppercase()));
        for subcommand in spec.subcommands {
            let name = subcommand.own_name().to_uppercase();
            assert!(lines.iter().any(|line| line.split(' ').next() == Some(&name)), "{} {name}", spec.name);
        }
    }
}

/// `TALLYRING_BLESS=1 cargo test` writes the page anew.
#[test]
fn the_command_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/commands.md");
    let page = reference_markdown();
    if std::env::var_os("TALLYRING_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/commands.md is not what the table says; TALLYRING_BLESS=1 cargo test writes it anew"
    );
}

#[test]
fn the_command_page_has_every_command_once() {
    let page = reference_markdown();
    for spec in commands() {
        let listed = match spec.subcommands {
            [] => vec![spec],
            subcommands => subcommands.iter().collect(),
        };
        for spec in listed {
            let name = spec.name.replace('|', " ").to_uppercase();
            let call = format!("{name} {}", syntax(spec.docs.arguments));
            let head = format!("- `{}`: ", call.trim_end());
            assert_eq!(page.lines().filter(|line| line.starts_with(&head)).count(), 1, "{name}");
        }
    }
}
