mod room;
mod scan;

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::twin::Twin;
use super::*;
use crate::limits::{KEY_BYTES_MAX, SLOT_COUNT};

const ALL_SLOTS: Range<u16> = 0..SLOT_COUNT as u16;
const START_MS: i64 = 1_700_000_000_000;

fn key(bytes: &[u8]) -> Key<'_> {
    Seed::of_process().key(bytes)
}

fn counters() -> Counters {
    Counters::new(ALL_SLOTS)
}

fn name(number: usize) -> Vec<u8> {
    format!("counter:{number:08}").into_bytes()
}

/// All in one slot.
fn tagged(number: usize) -> Vec<u8> {
    format!("{{tag}}:{number:010}").into_bytes()
}

fn add(counters: &mut Counters, name: &[u8], amount: i64) -> Outcome {
    counters.apply(key(name), Op::Add(amount), START_MS)
}

fn set_until(counters: &mut Counters, name: &[u8], at_ms: i64) {
    let op = Op::Set { value: 1, deadline: Deadline::At(at_ms), cond: Cond::Always, reply: SetReply::Ok };
    assert_eq!(counters.apply(key(name), op, START_MS), Outcome::Ok);
}

/// Every counter's cell is found, its index entry is the only one, and the books agree.
fn check(counters: &mut Counters) {
    let names: Vec<Vec<u8>> =
        counters.cells.iter_from(0).map(|cell| cell::key(counters.cells.get(cell)).to_vec()).collect();
    assert_eq!(names.len() as u64, counters.key_count());
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert!(names.iter().all(|name| counters.find(key(name)).is_some()));
    let indexed: u64 = counters.index.slots().map(|slot| counters.slot_key_count(slot)).sum();
    assert_eq!(indexed, counters.key_count());
    assert_eq!(counters.index.bytes(), counters.index.bytes_counted());
}

fn scan_all(counters: &Counters, count: u64, now_ms: i64) -> Vec<Vec<u8>> {
    let (mut seen, mut cursor) = (Vec::new(), 0);
    loop {
        cursor = counters.scan(cursor, count, now_ms, &mut |name, _| {
            seen.push(name.to_vec());
            true
        });
        if cursor == 0 {
            return seen;
        }
    }
}

/// What an operation is told of where its counter is.
#[derive(Clone, Copy, Debug)]
enum Told {
    Nothing,
    /// What has just been looked up.
    Its,
    /// What was looked up last, of whichever counter and before whatever.
    Last,
}

#[derive(Clone, Debug)]
enum Act {
    Apply(usize, Op, Told),
    Take(usize),
    Put(usize, Entry),
    Watch(usize),
    Wait(i64),
    Sweep,
    Flush,
}

fn any_value() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -3i64..=3,
        1 => any::<i64>(),
        2 => prop::sample::select(vec![
            i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1, 127, 128, -128, -129, 255, 32_767, 32_768, -32_769,
            i64::from(i32::MAX), i64::from(i32::MAX) + 1, i64::from(i32::MIN), i64::from(i32::MIN) - 1, 999, 1_000,
        ]),
    ]
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => (-5i64..20).prop_map(|ahead_ms| START_MS + ahead_ms),
        2 => (0i64..5_000).prop_map(|ahead_ms| START_MS + ahead_ms),
        1 => prop::sample::select(vec![1, START_MS * 2, i64::MAX - 1, i64::MAX]),
    ]
}

fn any_deadline() -> impl Strategy<Value = Deadline> {
    prop_oneof![Just(Deadline::Clear), Just(Deadline::Keep), any_time().prop_map(Deadline::At)]
}

fn any_op() -> impl Strategy<Value = Op> {
    use prop::sample::select;
    let cond = select(vec![Cond::Always, Cond::Absent, Cond::Present]);
    let reply = select(vec![SetReply::Ok, SetReply::Old, SetReply::Written]);
    let expire_cond = select(vec![
        ExpireCond::Always,
        ExpireCond::NoExpiry,
        ExpireCond::HasExpiry,
        ExpireCond::Later,
        ExpireCond::Earlier,
        ExpireCond::HasExpiryLater,
        ExpireCond::HasExpiryEarlier,
    ]);
    let plain = select(vec![
        Op::Get,
        Op::GetDel,
        Op::StrLen,
        Op::Exists,
        Op::Delete,
        Op::Type,
        Op::Persist,
        Op::Time(TimeUnit::SecondsLeft),
        Op::Time(TimeUnit::MillisLeft),
        Op::Time(TimeUnit::SecondsAt),
        Op::Time(TimeUnit::MillisAt),
        Op::Encoding,
        Op::RefCount,
        Op::Refuse(Fault::NoFrequency),
    ]);
    prop_oneof![
        4 => any_value().prop_map(Op::Add),
        4 => (any_value(), any_deadline(), cond, reply)
            .prop_map(|(value, deadline, cond, reply)| Op::Set { value, deadline, cond, reply }),
        1 => any_deadline().prop_map(Op::GetEx),
        3 => (any_time(), expire_cond).prop_map(|(at_ms, cond)| Op::Expire { at_ms, cond }),
        4 => plain,
    ]
}

fn any_act(key_count: usize) -> impl Strategy<Value = Act> {
    let entry = (any_value(), prop::option::of(any_time()));
    let entry = entry.prop_map(|(value, expires_at_ms)| Entry { value, expires_at_ms });
    let told = prop::sample::select(vec![Told::Nothing, Told::Its, Told::Last]);
    prop_oneof![
        60 => (0..key_count, any_op(), told).prop_map(|(number, op, told)| Act::Apply(number, op, told)),
        2 => (0..key_count).prop_map(Act::Take),
        2 => (0..key_count, entry).prop_map(|(number, entry)| Act::Put(number, entry)),
        4 => (0..key_count).prop_map(Act::Watch),
        4 => (1i64..12).prop_map(Act::Wait),
        1 => Just(Act::Sweep),
        1 => Just(Act::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn counters_are_as_their_twin(acts in prop::collection::vec(any_act(12), 1..400)) {
        let lens = [0, 1, 2, 16, 16, 16, 29, 30, 31, 32, 300, KEY_BYTES_MAX];
        let names: Vec<Vec<u8>> = lens.iter().enumerate().map(|(i, &len)| vec![b'a' + i as u8; len]).collect();
        let (mut counters, mut twin, mut now_ms) = (Counters::new(ALL_SLOTS), Twin::default(), START_MS);
        let mut watched: HashMap<usize, (u64, u64)> = HashMap::new();
        let mut looked_up = (Hint::NONE, 0);
        for act in acts {
            match act {
                Act::Apply(number, op, told) => {
                    let name = &names[number];
                    let key = key(name);
                    if matches!(told, Told::Its) {
                        looked_up = (counters.look_up(key.slot, key.hash), counters.epoch());
                    }
                    let outcome = match (told, looked_up) {
                        (Told::Nothing, _) => counters.apply(key, op, now_ms),
                        (_, (hint, epoch)) => counters.apply_at(hint, epoch, key, &op, now_ms),
                    };
                    prop_assert_eq!(outcome, twin.apply(name, op, now_ms), "{:?}", op);
                }
                Act::Take(number) => {
                    twin.touch(&names[number], now_ms);
                    prop_assert_eq!(counters.take(key(&names[number]), now_ms), twin.delete(&names[number]));
                }
                Act::Put(number, entry) => {
                    prop_assert_eq!(counters.put(key(&names[number]), entry), Ok(()));
                    twin.put(&names[number], entry);
                }
                Act::Watch(number) => {
                    let name = &names[number];
                    twin.touch(name, now_ms);
                    if let Some((version, change_count)) = watched.remove(&number) {
                        let changed = counters.watched_version(key(name), now_ms) != version;
                        prop_assert_eq!(changed, twin.change_count(name) != change_count);
                        counters.unwatch(key(name));
                    } else {
                        let version = counters.watch(key(name), now_ms);
                        watched.insert(number, (version, twin.change_count(name)));
                    }
                }
                Act::Wait(ms) => now_ms += ms,
                Act::Sweep => {
                    // The first ends the round that is under way.
                    counters.sweep(now_ms, usize::MAX);
                    counters.sweep(now_ms, usize::MAX);
                    twin.sweep(now_ms);
                }
                Act::Flush => {
                    counters.flush(now_ms);
                    for name in twin.map.keys().cloned().collect::<Vec<_>>() {
                        twin.delete(&name);
                    }
                }
            }
            prop_assert_eq!(counters.key_count(), twin.map.len() as u64);
            let expiring = twin.map.values().filter(|entry| entry.expires_at_ms.is_some()).count();
            prop_assert_eq!(counters.expiring_count(), expiring as u64);
            prop_assert_eq!(counters.stats(), &twin.stats);
        }
        for (name, entry) in &twin.map {
            let found = counters.find(key(name)).map(|found| cell::entry(counters.cells.get(found.cell)));
            prop_assert_eq!(found, Some(*entry));
        }
        check(&mut counters);
    }
}

#[test]
fn keys_of_every_length() {
    let mut counters = counters();
    for len in 0..=KEY_BYTES_MAX {
        assert_eq!(add(&mut counters, &vec![b'k'; len], len as i64), Outcome::Int(len as i64));
    }
    for len in 0..=KEY_BYTES_MAX {
        let (name, longer) = (vec![b'k'; len], i64::MAX - len as i64);
        assert_eq!(add(&mut counters, &name, longer), Outcome::Int(i64::MAX));
        assert_eq!(add(&mut counters, &name, 1), Outcome::Fault(Fault::Overflow));
    }
    check(&mut counters);
    for len in 0..=KEY_BYTES_MAX {
        assert_eq!(counters.apply(key(&vec![b'k'; len]), Op::Delete, 0), Outcome::Int(1));
    }
    assert_eq!(counters.key_count(), 0);
}

#[test]
fn one_slot_of_many_counters_and_back() {
    let mut counters = counters();
    let (empty_bytes, count) = (counters.bytes(), 200_000);
    for number in 0..count {
        assert_eq!(add(&mut counters, &tagged(number), number as i64), Outcome::Int(number as i64));
    }
    assert_eq!(counters.slot_key_count(key(&tagged(0)).slot), count as u64);
    let bytes_each = (counters.bytes() - empty_bytes) as f64 / count as f64;
    // 1 + 16 + 4 bytes of cell, and a share of the index.
    assert!(bytes_each < 31.0, "{bytes_each}");
    check(&mut counters);
    let seen = scan_all(&counters, 1_000, START_MS);
    assert_eq!(seen.len(), count);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), count);
    check(&mut counters);

    for number in (0..count).step_by(2) {
        assert_eq!(counters.apply(key(&tagged(number)), Op::GetDel, 0), Outcome::Value(number as i64));
    }
    for number in 0..count {
        let there = if number % 2 == 0 { Outcome::Nil } else { Outcome::Value(number as i64) };
        assert_eq!(counters.apply(key(&tagged(number)), Op::Get, 0), there);
    }
    check(&mut counters);
    for number in (1..count).step_by(2) {
        assert_eq!(counters.apply(key(&tagged(number)), Op::Delete, 0), Outcome::Int(1));
    }
    assert!(counters.bytes() - empty_bytes < 64 * 1024, "{} of {empty_bytes}", counters.bytes());
}

#[test]
fn few_bytes_each_over_all_slots() {
    let mut counters = counters();
    // What the slots of a shard have on average with three million counters, in a sixteenth of the slots.
    counters.index = Index::new(0..1024);
    let mut count = 0;
    for number in 0.. {
        let name = name(number);
        if key(&name).slot < 1024 {
            add(&mut counters, &name, 1);
            count += 1;
        }
        if count == 187_500 {
            break;
        }
    }
    let bytes_each = counters.bytes() as f64 / f64::from(count);
    assert!(bytes_each < 28.0, "{bytes_each}");
}

#[test]
fn sweeping_removes_in_small_steps_and_lets_others_be() {
    let mut counters = counters();
    for number in 0..3_000 {
        let name = name(number);
        match number % 3 {
            0 => assert_eq!(add(&mut counters, &name, 1), Outcome::Int(1)),
            1 => set_until(&mut counters, &name, START_MS + 10),
            _ => set_until(&mut counters, &name, START_MS + 1_000_000),
        }
    }
    let version = counters.watch(key(&name(1)), START_MS);
    assert_eq!(counters.sweep(START_MS + 10, usize::MAX).removed_count, 0);
    let mut removed = 0;
    for _ in 0..2_000 {
        let step = counters.sweep(START_MS + 11, 10).removed_count;
        assert!(step <= 10);
        removed += step;
    }
    assert_eq!((removed, counters.key_count(), counters.stats().expired), (1_000, 2_000, 1_000));
    assert_ne!(counters.watched_version(key(&name(1)), START_MS), version);
    counters.unwatch(key(&name(1)));
    check(&mut counters);
    // Nothing can have expired: a round costs a visit a block.
    assert_eq!(counters.sweep(START_MS + 11, usize::MAX).removed_count, 0);
    assert_eq!(
        counters.sweep(START_MS + 1_000_001, usize::MAX).removed_count
            + counters.sweep(START_MS + 1_000_001, usize::MAX).removed_count,
        1_000
    );
    assert_eq!((counters.expiring_count(), counters.sweep(i64::MAX, usize::MAX).removed_count), (0, 0));
}

#[test]
fn looking_ahead_changes_nothing() {
    let mut counters = counters();
    for number in 0..3_000 {
        add(&mut counters, &tagged(number), 1);
    }
    let names: Vec<Vec<u8>> = (2_900..3_100).map(tagged).chain((0..50).map(name)).collect();
    let epoch = counters.epoch();
    for key in names.iter().map(|name| key(name)) {
        counters.prefetch_slot(key.slot);
        counters.prefetch_chunk(key.slot, key.hash);
        counters.look_up(key.slot, key.hash);
    }
    assert_eq!(counters.epoch(), epoch);
    assert_eq!((counters.key_count(), counters.stats()), (3_000, &Stats::default()));
}

#[test]
fn versions_tell_changes_from_reads_and_failures() {
    let mut counters = counters();
    let name = b"watched";
    let version = counters.watch(key(name), START_MS);
    assert_eq!(counters.watch(key(name), START_MS), version);
    let unchanging = [
        Op::Get,
        Op::Delete,
        Op::Persist,
        Op::Expire { at_ms: 1, cond: ExpireCond::Always },
        Op::Set { value: 1, deadline: Deadline::Clear, cond: Cond::Present, reply: SetReply::Ok },
    ];
    for op in unchanging {
        counters.apply(key(name), op, START_MS);
        assert_eq!(counters.watched_version(key(name), START_MS), version, "{op:?}");
    }
    counters.flush(START_MS);
    assert_eq!(counters.watched_version(key(name), START_MS), version);
    add(&mut counters, b"another", 1);
    assert_eq!(counters.watched_version(key(name), START_MS), version);
    set_until(&mut counters, name, START_MS + 3);
    let written = counters.watched_version(key(name), START_MS + 3);
    assert_ne!(written, version);
    let expired = counters.watched_version(key(name), START_MS + 4);
    assert_ne!(expired, written);
    counters.unwatch(key(name));
    assert_eq!(counters.watched_version(key(name), START_MS), expired);
    counters.unwatch(key(name));
    let afresh = counters.watch(key(name), START_MS);
    assert!(![version, written, expired].contains(&afresh));
}

#[test]
fn all_memory_comes_back() {
    let mut counters = counters();
    let empty_bytes = counters.bytes();
    let count = 60_000;
    for round in 0..3 {
        for number in 0..count {
            add(&mut counters, &name(number), number as i64 * 1_000);
            if number % 5 == round {
                set_until(&mut counters, &name(number), START_MS + 1);
            }
        }
        check(&mut counters);
        for number in 0..count {
            counters.apply(key(&name((number * 7_919) % count)), Op::Delete, START_MS);
        }
        assert_eq!(counters.key_count(), 0);
        assert!(counters.bytes() < empty_bytes + 64 * 1024, "{} of {empty_bytes}", counters.bytes());
        add(&mut counters, b"one", 1);
        counters.flush(START_MS);
        assert_eq!(counters.bytes(), empty_bytes);
    }
}
