//! `COMMAND`: the table, described to programs.
//!
//! The shapes are those of Redis 7.0, in RESP2 and RESP3.

use super::docs::{Arg, ArgKind, syntax};
use super::spec::{Access, Keys, Spec};
use super::{
    COMMAND_COUNT, Call, Described, Env, Mistake, Task, commands, is, lookup, lookup_full, mistake, subcommand,
};
use crate::counters::Fault;
use crate::glob;
use crate::limits::NAME_PATTERN_BYTES_MAX;
use crate::resp::encode;

/// What was asked for is encoded when its turn has come: it is long.
pub fn encode_described(described: &Described, resp3: bool, out: &mut Vec<u8>) {
    match described {
        Described::All => {
            encode::array(out, COMMAND_COUNT);
            commands().iter().for_each(|spec| describe(out, spec, resp3));
        }
        Described::Names(specs) => {
            encode::array(out, specs.len());
            specs.iter().for_each(|spec| encode::bulk(out, spec.name.as_bytes()));
        }
        Described::Infos(specs) => {
            encode::array(out, specs.len());
            specs.iter().for_each(|spec| match spec {
                Some(spec) => describe(out, spec, resp3),
                None => encode::null(out, resp3),
            });
        }
        Described::Docs(specs) => document_all(out, specs.iter().copied(), resp3),
        Described::Help(container) => help(out, container),
    }
}

/// `COMMAND`: all, in detail.
pub fn all(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Describe(Described::All))
}

/// `COMMAND COUNT`.
pub fn count(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    let mut out = Vec::new();
    encode::integer(&mut out, COMMAND_COUNT as i64);
    Ok(Task::Reply(out))
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`: names, subcommands included.
pub fn list(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let every = commands().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let wanted: Vec<&'static Spec> = match call.count() {
        2 => every.collect(),
        5 if is(call.arg(2), "FILTERBY") => {
            let (kind, argument) = (call.arg(3), call.arg(4));
            if is(kind, "MODULE") {
                Vec::new()
            } else if is(kind, "ACLCAT") {
                every.filter(|spec| spec.categories().names().any(|name| is(argument, &name[1..]))).collect()
            } else if is(kind, "PATTERN") {
                if argument.len() > NAME_PATTERN_BYTES_MAX {
                    return Err(Fault::ArgumentTooLong.into());
                }
                let pattern = argument.to_ascii_lowercase();
                every.filter(|spec| glob::matches(&pattern, spec.name.as_bytes())).collect()
            } else {
                return Err(Fault::Syntax.into());
            }
        }
        _ => return Err(Fault::Syntax.into()),
    };
    Ok(Task::Describe(Described::Names(wanted)))
}

/// `COMMAND INFO [name …]`: null for each that is unknown.
pub fn info(env: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    if call.count() == 2 {
        return all(env, call);
    }
    Ok(Task::Describe(Described::Infos((2..call.count()).map(|at| lookup_full(call.arg(at))).collect())))
}

/// `COMMAND DOCS [name …]`: what is unknown is left out.
pub fn docs(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let wanted = match call.count() {
        2 => commands().iter().collect(),
        count => (2..count).filter_map(|at| lookup_full(call.arg(at))).collect(),
    };
    Ok(Task::Describe(Described::Docs(wanted)))
}

/// `COMMAND GETKEYS command argument …`.
pub fn getkeys(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let (spec, asked) = command_with_keys(call)?;
    let mut out = Vec::new();
    encode::array(&mut out, spec.keys.positions(asked.count()).count());
    spec.keys.positions(asked.count()).for_each(|at| encode::bulk(&mut out, asked.arg(at)));
    Ok(Task::Reply(out))
}

/// `COMMAND GETKEYSANDFLAGS command argument …`.
pub fn getkeysandflags(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let (spec, asked) = command_with_keys(call)?;
    let mut out = Vec::new();
    encode::array(&mut out, spec.keys.positions(asked.count()).count());
    for (place, at) in spec.keys.positions(asked.count()).enumerate() {
        // One entry for each key where keys differ, else one for all.
        let access = spec.access[place.min(spec.access.len() - 1)];
        encode::array(&mut out, 2);
        encode::bulk(&mut out, asked.arg(at));
        words(&mut out, access.flags.to_vec(), call.resp3);
    }
    Ok(Task::Reply(out))
}

/// The command that is asked about, with its arguments.
fn command_with_keys<'a>(call: &Call<'a>) -> Result<(&'static Spec, Call<'a>), Mistake> {
    let asked = Call { spans: &call.spans[2..], ..*call };
    let spec = lookup(asked.arg(0)).and_then(|spec| match spec.subcommands {
        [] => Some(spec),
        _ => subcommand(spec, asked.arg(1)),
    });
    let spec = spec.ok_or(mistake::fixed("ERR Invalid command specified"))?;
    if spec.keys == Keys::NONE {
        return Err(mistake::fixed("ERR The command has no key arguments"));
    }
    if !spec.arity_allows(asked.count()) {
        return Err(mistake::fixed("ERR Invalid number of arguments specified for command"));
    }
    Ok((spec, asked))
}

fn help(out: &mut Vec<u8>, container: &Spec) {
    let mut lines = vec![format!("{} <subcommand> [<argument> ...], with one of:", container.name.to_uppercase())];
    for spec in container.subcommands {
        let arguments = syntax(spec.docs.arguments);
        lines.push(format!("{} {arguments}", spec.own_name().to_uppercase()).trim_end().to_owned());
        lines.push(format!("    {}", spec.docs.summary));
    }
    encode::array(out, lines.len());
    lines.iter().for_each(|line| encode::simple(out, line));
}

/// One entry of `COMMAND INFO`.
fn describe(out: &mut Vec<u8>, spec: &Spec, resp3: bool) {
    encode::array(out, 10);
    encode::bulk(out, spec.name.as_bytes());
    encode::integer(out, spec.arity.into());
    words(out, spec.flags.names().collect(), resp3);
    for position in [spec.keys.first, spec.keys.last, spec.keys.step] {
        encode::integer(out, position.into());
    }
    words(out, spec.categories().names().collect(), resp3);
    encode::set(out, spec.tips.len(), resp3);
    spec.tips.iter().for_each(|tip| encode::bulk(out, tip.as_bytes()));
    encode::set(out, spec.access.len(), resp3);
    for (place, access) in (0..).zip(spec.access) {
        describe_key(out, spec.keys, place, access, resp3);
    }
    encode::set(out, spec.subcommands.len(), resp3);
    spec.subcommands.iter().for_each(|spec| describe(out, spec, resp3));
}

/// One key specification: where to start, and how to go on from there.
fn describe_key(out: &mut Vec<u8>, keys: Keys, place: i16, access: &Access, resp3: bool) {
    let noted = !access.notes.is_empty();
    encode::map(out, 3 + usize::from(noted), resp3);
    if noted {
        encode::bulk(out, b"notes");
        encode::bulk(out, access.notes.as_bytes());
    }
    encode::bulk(out, b"flags");
    words(out, access.flags.to_vec(), resp3);
    encode::bulk(out, b"begin_search");
    typed(out, "index", &[("index", keys.first + place)], resp3);
    encode::bulk(out, b"find_keys");
    let last = if keys.last < 0 { keys.last } else { 0 };
    typed(out, "range", &[("lastkey", last), ("keystep", keys.step), ("limit", 0)], resp3);
}

fn typed(out: &mut Vec<u8>, kind: &str, fields: &[(&str, i16)], resp3: bool) {
    encode::map(out, 2, resp3);
    encode::bulk(out, b"type");
    encode::bulk(out, kind.as_bytes());
    encode::bulk(out, b"spec");
    encode::map(out, fields.len(), resp3);
    for (name, value) in fields {
        encode::bulk(out, name.as_bytes());
        encode::integer(out, (*value).into());
    }
}

/// A map from names to descriptions.
fn document_all<'a>(out: &mut Vec<u8>, specs: impl ExactSizeIterator<Item = &'a Spec>, resp3: bool) {
    encode::map(out, specs.len(), resp3);
    for spec in specs {
        encode::bulk(out, spec.name.as_bytes());
        document(out, spec, resp3);
    }
}

/// One entry of `COMMAND DOCS`.
fn document(out: &mut Vec<u8>, spec: &Spec, resp3: bool) {
    let docs = &spec.docs;
    let fields = 4 + usize::from(!docs.arguments.is_empty()) + usize::from(!spec.subcommands.is_empty());
    encode::map(out, fields, resp3);
    let texts = [
        ("summary", docs.summary),
        ("since", docs.since),
        ("group", docs.group.name()),
        ("complexity", docs.complexity),
    ];
    for (name, text) in texts {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, text.as_bytes());
    }
    if !docs.arguments.is_empty() {
        encode::bulk(out, b"arguments");
        document_arguments(out, docs.arguments, resp3);
    }
    if !spec.subcommands.is_empty() {
        encode::bulk(out, b"subcommands");
        document_all(out, spec.subcommands.iter(), resp3);
    }
}

fn document_arguments(out: &mut Vec<u8>, arguments: &[Arg], resp3: bool) {
    encode::array(out, arguments.len());
    for argument in arguments {
        let flags = [(argument.optional, "optional"), (argument.multiple, "multiple")];
        let flags: Vec<&str> = flags.into_iter().filter(|(set, _)| *set).map(|(_, name)| name).collect();
        let key_place = if let ArgKind::Key(place) = argument.kind { Some(place) } else { None };
        let given = [
            key_place.is_some(),
            !argument.token.is_empty(),
            !argument.since.is_empty(),
            !flags.is_empty(),
            !argument.parts.is_empty(),
        ];
        encode::map(out, 2 + given.into_iter().filter(|given| *given).count(), resp3);
        encode::bulk(out, b"name");
        encode::bulk(out, argument.name.as_bytes());
        encode::bulk(out, b"type");
        encode::bulk(out, argument.kind.name().as_bytes());
        if let Some(place) = key_place {
            encode::bulk(out, b"key_spec_index");
            encode::integer(out, place.into());
        }
        for (name, text) in [("token", argument.token), ("since", argument.since)] {
            if !text.is_empty() {
                encode::bulk(out, name.as_bytes());
                encode::bulk(out, text.as_bytes());
            }
        }
        if !flags.is_empty() {
            encode::bulk(out, b"flags");
            words(out, flags, resp3);
        }
        if !argument.parts.is_empty() {
            encode::bulk(out, b"arguments");
            document_arguments(out, argument.parts, resp3);
        }
    }
}

/// A set of status words.
fn words(out: &mut Vec<u8>, words: Vec<&str>, resp3: bool) {
    encode::set(out, words.len(), resp3);
    words.iter().for_each(|word| encode::simple(out, word));
}
