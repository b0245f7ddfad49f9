//! What is refused when there is no room, and what is not.

use proptest::prelude::*;

use super::*;

fn room(new_bytes: u64, longer_bytes: u64) -> Headroom {
    Headroom { new_bytes, longer_bytes }
}

#[test]
fn room_is_for_new_counters_only() {
    let mut counters = counters();
    counters.set_room(room(0, 0));
    assert_eq!(add(&mut counters, b"new", 1), Outcome::Fault(Fault::OutOfMemory));
    assert_eq!(counters.key_count(), 0);

    let room_bytes = 200_000;
    let limit_bytes = counters.bytes() + room_bytes;
    counters.set_room(room(room_bytes, u64::MAX));
    let count = (0..).find(|&number| add(&mut counters, &name(number), 1) != Outcome::Int(1)).unwrap();
    assert!(counters.bytes() <= limit_bytes);
    assert!(count > 1_000, "{count}");
    // Existing ones count on, grow and get an expiry.
    for number in 0..count {
        assert_eq!(add(&mut counters, &name(number), i64::MAX - 1), Outcome::Int(i64::MAX));
        set_until(&mut counters, &name(number), START_MS + 5);
    }
    let entry = Entry { value: 1, expires_at_ms: None };
    assert_eq!(counters.put(key(b"new"), entry), Err(Fault::OutOfMemory));
    assert_eq!(counters.put(key(&name(0)), entry), Ok(()));
    let unlike = Op::Set { value: 1, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Old };
    assert_eq!(counters.apply(key(b"new"), unlike, START_MS), Outcome::Fault(Fault::OutOfMemory));

    for number in 0..count {
        assert_eq!(counters.apply(key(&name(number)), Op::Delete, START_MS), Outcome::Int(1));
    }
    assert_eq!(add(&mut counters, b"new", 1), Outcome::Int(1));
    counters.set_room(Headroom::UNLIMITED);
    assert_eq!(add(&mut counters, b"newer", 1), Outcome::Int(1));
}

/// As a shard of a server with this `maxmemory` has it.
fn limit(counters: &mut Counters, maxmemory_bytes: u64) {
    let left_bytes = |bytes: u64| bytes.saturating_sub(counters.bytes());
    counters.set_room(room(left_bytes(maxmemory_bytes), left_bytes(maxmemory_bytes + maxmemory_bytes / 8)));
}

#[test]
fn counters_get_longer_up_to_an_eighth_past_the_limit() {
    const MAXMEMORY_BYTES: u64 = 4 << 20;
    let mut counters = counters();
    limit(&mut counters, MAXMEMORY_BYTES);
    let short = |number: usize| format!("{number:08}").into_bytes();
    let count = (0..).find(|&number| add(&mut counters, &short(number), 1) != Outcome::Int(1)).unwrap();
    assert!(count > 50_000 && counters.take_lacked_room() && !counters.take_lacked_room());
    let op = Op::Set {
        value: i64::MAX,
        deadline: Deadline::At(START_MS + 1_000_000),
        cond: Cond::Always,
        reply: SetReply::Ok,
    };
    let mut refused_count = 0;
    for number in 0..count {
        limit(&mut counters, MAXMEMORY_BYTES);
        match counters.apply(key(&short(number)), op, START_MS) {
            Outcome::Ok => {}
            outcome => {
                assert_eq!(outcome, Outcome::Fault(Fault::OutOfMemory));
                refused_count += 1;
            }
        }
        // The lists of the blocks grow by halves, and are small beside them.
        assert!(counters.bytes() <= MAXMEMORY_BYTES + MAXMEMORY_BYTES / 8 + (64 << 10), "{}", counters.bytes());
    }
    assert!(refused_count > count / 4 && refused_count < count, "{refused_count} of {count}");
    assert!(counters.take_lacked_room());
    // What needs no longer cell, or one that is shorter, is not refused.
    for number in 0..count {
        let name = short(number);
        let value = counters.entry(key(&name), START_MS).unwrap().value;
        assert_eq!(add(&mut counters, &name, -1), Outcome::Int(value - 1));
        let had_expiry = counters.apply(key(&name), Op::Persist, START_MS);
        assert_eq!(had_expiry, Outcome::Int(i64::from(value == i64::MAX)));
    }
    check(&mut counters);
}

#[test]
fn what_may_not_get_longer_stays_as_it_was() {
    let mut counters = counters();
    counters.start_recording(Box::new(Recorder::new(1)));
    for number in 0..3_000 {
        assert_eq!(add(&mut counters, &name(number), 1), Outcome::Int(1));
    }
    counters.set_room(room(0, 0));
    let at_ms = START_MS + 1_000;
    let set = Op::Set { value: 1_000, deadline: Deadline::Clear, cond: Cond::Always, reply: SetReply::Old };
    let expire = Op::Expire { at_ms, cond: ExpireCond::Always };
    let changes = |counters: &Counters| counters.recorder().unwrap().change_count();
    let state = |counters: &mut Counters| (counters.entry(key(&name(7)), START_MS), counters.bytes());
    let (version, change_count) = (counters.watch(key(&name(7)), START_MS), changes(&counters));
    let before = state(&mut counters);
    for op in [Op::Add(1_000), set, expire, Op::GetEx(Deadline::At(at_ms))] {
        let outcome = counters.apply(key(&name(7)), op, START_MS);
        assert_eq!(outcome, Outcome::Fault(Fault::OutOfMemory), "{op:?}");
        assert_eq!(state(&mut counters), before, "{op:?}");
    }
    let long = Entry { value: 1_000, expires_at_ms: Some(at_ms) };
    assert_eq!(counters.put(key(&name(7)), long), Err(Fault::OutOfMemory));
    assert_eq!((state(&mut counters), changes(&counters)), (before, change_count));
    assert_eq!(counters.watched_version(key(&name(7)), START_MS), version);
    // What takes room that it has just left elsewhere is not refused, and neither are others that its block has room for.
    assert_eq!(counters.put_moved(key(&name(7)), long), Ok(()));
    assert_ne!(counters.watched_version(key(&name(7)), START_MS), version);
    assert_eq!(counters.put(key(&name(8)), long), Ok(()));
    counters.unwatch(key(&name(7)));
    check(&mut counters);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_refused_is_as_if_it_had_not_been_asked_for(
        acts in prop::collection::vec((0..12_usize, any_op(), 0i64..3), 1..300),
        block_count in 0..8_u64,
    ) {
        let names: Vec<Vec<u8>> = [1, 2, 16, 16, 29, 30, 31, 32, 300, 300, 1_000, KEY_BYTES_MAX]
            .iter().enumerate().map(|(i, &len)| vec![b'a' + i as u8; len]).collect();
        let (mut counters, mut twin, mut now_ms) = (Counters::new(ALL_SLOTS), Twin::default(), START_MS);
        for name in &names {
            prop_assert_eq!(counters.apply(key(name), Op::Add(1), now_ms), twin.apply(name, Op::Add(1), now_ms));
        }
        counters.set_room(room(0, block_count << 14));
        for (number, op, wait_ms) in acts {
            now_ms += wait_ms;
            let name = &names[number];
            twin.touch(name, now_ms);
            let (version, change_count) = (counters.watch(key(name), now_ms), twin.change_count(name));
            match counters.apply(key(name), op, now_ms) {
                Outcome::Fault(Fault::OutOfMemory) => prop_assert!(counters.take_lacked_room()),
                outcome => prop_assert_eq!(outcome, twin.apply(name, op, now_ms), "{:?}", op),
            }
            let changed = counters.watched_version(key(name), now_ms) != version;
            prop_assert_eq!(changed, twin.change_count(name) != change_count, "{:?}", op);
            counters.unwatch(key(name));
            prop_assert_eq!(counters.entry(key(name), now_ms), twin.map.get(name).copied());
        }
        check(&mut counters);
    }
}
