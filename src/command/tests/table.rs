//! The table is sound, and finds every name in every case and nothing else.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::docs::{Arg, ArgKind, syntax};
use super::super::{COMMAND_COUNT, Run, SPEC_COUNT, by_index, commands, flag, lookup, lookup_full, subcommand};
use super::{Keys, Spec};

fn every() -> impl Iterator<Item = &'static Spec> {
    (0..SPEC_COUNT).map(by_index)
}

#[test]
fn rows_are_sound() {
    let mut names = HashSet::new();
    for spec in every() {
        let name = spec.name;
        assert!(names.insert(name), "{name} twice");
        let own_name_place = if name.contains('|') { 2 } else { 1 };
        assert!(spec.arity.unsigned_abs() >= own_name_place, "{name} leaves no room for its name");
        assert!(!(spec.flags.has(flag::WRITE) && spec.flags.has(flag::READONLY)), "{name}");
        assert!(!spec.docs.since.is_empty() && !spec.docs.complexity.is_empty(), "{name}");
        assert!(spec.docs.summary.ends_with('.'), "{name}: {}", spec.docs.summary);
        assert_eq!(matches!(spec.run, Run::Container), !spec.subcommands.is_empty() && spec.arity != -1, "{name}");
        assert!(spec.subcommands.is_empty() || spec.flags.0 & (flag::WRITE | flag::READONLY) == 0, "{name}");
        for text in [spec.docs.summary, spec.docs.complexity, spec.docs.since] {
            assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {text}");
        }
    }
    assert_eq!(names.len(), SPEC_COUNT);
}

#[test]
fn keys_are_where_the_arity_puts_them() {
    for spec in every() {
        let Keys { first, last, step } = spec.keys;
        if first == 0 {
            assert_eq!(spec.keys, Keys::NONE, "{}", spec.name);
            assert!(spec.access.is_empty(), "{}", spec.name);
            assert!(!matches!(spec.run, Run::Key(_) | Run::Each(_)), "{}", spec.name);
            continue;
        }
        assert!(step >= 1 && !spec.access.is_empty(), "{}", spec.name);
        let fewest = usize::from(spec.arity.unsigned_abs());
        let positions: Vec<usize> = spec.keys.positions(fewest).collect();
        assert_eq!(positions.first(), Some(&(first as usize)), "{}", spec.name);
        assert!(positions.iter().all(|position| *position < fewest), "{}: {positions:?}", spec.name);
        match spec.run {
            Run::Key(_) => assert_eq!((last, step), (first, 1), "{} has one key", spec.name),
            Run::Each(_) => assert_eq!((first, last), (1, -1), "{} has keys to its end", spec.name),
            _ => {}
        }
    }
}

#[test]
fn positions_count_from_both_ends() {
    let positions = |keys: Keys, count| keys.positions(count).collect::<Vec<_>>();
    assert_eq!(positions(Keys::NONE, 9), [0_usize; 0]);
    assert_eq!(positions(Keys::ONE, 2), [1]);
    assert_eq!(positions(Keys::ONE, 9), [1]);
    assert_eq!(positions(Keys::TWO, 3), [1, 2]);
    assert_eq!(positions(Keys::AFTER_SUBCOMMAND, 3), [2]);
    assert_eq!(positions(Keys::ALL, 4), [1, 2, 3]);
    assert_eq!(positions(Keys::PAIRS, 5), [1, 3]);
    assert_eq!(positions(Keys::ALL, 1), [0_usize; 0]);
}

#[test]
fn indexes_are_dense() {
    for (index, spec) in every().enumerate() {
        assert_eq!(usize::from(spec.index), index);
        assert_eq!(index < COMMAND_COUNT, !spec.name.contains('|'), "{}", spec.name);
    }
    for (index, spec) in commands().iter().enumerate() {
        assert_eq!(usize::from(spec.index), index);
        for subcommand in spec.subcommands {
            assert_eq!(subcommand.name.split_once('|').unwrap().0, spec.name);
            assert_eq!(by_index(subcommand.index.into()).name, subcommand.name);
        }
    }
    assert_eq!(commands().iter().map(|spec| spec.subcommands.len()).sum::<usize>() + COMMAND_COUNT, SPEC_COUNT);
}

#[test]
fn every_name_is_found_in_every_case() {
    for spec in commands() {
        for cases in 0..1u32 << spec.name.len() {
            let mut name = spec.name.as_bytes().to_vec();
            for (place, byte) in name.iter_mut().enumerate() {
                if cases & (1 << place) != 0 {
                    byte.make_ascii_uppercase();
                }
            }
            assert_eq!(lookup(&name).map(|found| found.name), Some(spec.name));
        }
    }
}

#[test]
fn every_subcommand_is_found_by_both_its_names() {
    for spec in commands() {
        for one in spec.subcommands {
            let upper = one.own_name().to_uppercase();
            assert_eq!(subcommand(spec, upper.as_bytes()).map(|found| found.name), Some(one.name));
            assert_eq!(lookup_full(one.name.as_bytes()).map(|found| found.name), Some(one.name));
            assert_eq!(lookup_full(one.name.to_uppercase().as_bytes()).map(|found| found.name), Some(one.name));
        }
        assert_eq!(lookup_full(spec.name.as_bytes()).map(|found| found.name), Some(spec.name));
    }
    for name in ["", "|", "client|", "|id", "client|id|x", "get|id", "client id"] {
        assert!(lookup_full(name.as_bytes()).is_none(), "{name}");
    }
}

#[test]
fn a_name_with_any_byte_changed_is_found_only_if_it_is_a_name() {
    for spec in commands() {
        for place in 0..spec.name.len() {
            for byte in 0..=u8::MAX {
                let mut name = spec.name.as_bytes().to_vec();
                name[place] = byte;
                assert_eq!(lookup(&name).map(|found| found.name), slow_lookup(&name), "{name:?}");
            }
        }
        for changed in [spec.name[1..].to_owned(), format!("{}s", spec.name), format!("{}\0", spec.name)] {
            assert_eq!(lookup(changed.as_bytes()).map(|found| found.name), slow_lookup(changed.as_bytes()));
        }
    }
}

proptest! {
    #[test]
    fn lookup_is_a_search_of_the_table(name in prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-zA-Z]{0,20}".prop_map(String::into_bytes),
    ]) {
        prop_assert_eq!(lookup(&name).map(|found| found.name), slow_lookup(&name));
    }
}

fn slow_lookup(name: &[u8]) -> Option<&'static str> {
    commands().iter().map(|spec| spec.name).find(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

#[test]
fn arguments_are_written_as_people_read_them() {
    let written = |name: &[u8]| syntax(lookup_full(name).unwrap().docs.arguments);
    assert_eq!(
        written(b"set"),
        "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds \
         | KEEPTTL]"
    );
    assert_eq!(written(b"mincrby"), "key increment [key increment ...]");
    assert_eq!(written(b"hello"), "[protover [AUTH username password] [SETNAME clientname]]");
    assert_eq!(written(b"client|reply"), "<ON | OFF | SKIP>");
    assert_eq!(written(b"client|list"), "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]");
    assert_eq!(written(b"command|info"), "[command-name [command-name ...]]");
    assert_eq!(written(b"dbsize"), "");
}

#[test]
fn described_keys_are_the_keys() {
    fn keys(arguments: &[Arg]) -> Vec<u8> {
        let own = |argument: &Arg| if let ArgKind::Key(place) = argument.kind { Some(place) } else { None };
        arguments.iter().flat_map(|argument| own(argument).into_iter().chain(keys(argument.parts))).collect()
    }
    for spec in every() {
        let described: Vec<u8> = (0..).take(spec.access.len()).collect();
        assert_eq!(keys(spec.docs.arguments), described, "{}", spec.name);
    }
}
