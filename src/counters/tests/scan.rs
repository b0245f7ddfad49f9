//! Scans and random picks, while tables change and counters expire.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_scan_visits_what_stays_while_tables_change(
        count in 5u64..60,
        one_slot in any::<bool>(),
        // Those of one position must fit: of a thousand in a slot three of one are met now and then, nine never by chance.
        room in 8usize..30,
        changes in prop::collection::vec((any::<bool>(), 1usize..600), 0..12),
    ) {
        let name = if one_slot { tagged } else { name };
        let mut counters = counters();
        let stay = 700;
        for number in 0..stay {
            add(&mut counters, &name(number), 1);
        }
        let mut others = stay..stay;
        let mut seen = HashSet::new();
        let (mut cursor, mut changes) = (0, changes.into_iter());
        let mut calls = 0;
        loop {
            calls += 1;
            prop_assert!(calls < 100_000, "it goes on");
            let mut room = room;
            let refuse_from = count as usize + 8;
            let mut visited = 0;
            cursor = counters.scan(cursor, count, START_MS, &mut |name, entry| {
                assert_eq!(entry, Entry { value: 1, expires_at_ms: None });
                if room == 0 {
                    return false;
                }
                room -= 1;
                visited += 1;
                seen.insert(name.to_vec());
                true
            });
            prop_assert!(visited <= refuse_from);
            if cursor == 0 {
                break;
            }
            match changes.next() {
                Some((true, n)) => {
                    for _ in 0..n * 2 {
                        add(&mut counters, &name(others.end), 1);
                        others.end += 1;
                    }
                }
                Some((false, n)) => {
                    for number in others.clone().take(n * 3) {
                        counters.apply(key(&name(number)), Op::Delete, START_MS);
                        others.start += 1;
                    }
                }
                None => {}
            }
        }
        prop_assert!((0..stay).all(|number| seen.contains(&name(number))));
        check(&mut counters);
    }
}

#[test]
fn scan_keeps_to_its_slots_and_hides_what_expired() {
    let mut counters = Counters::new(8_192..16_384);
    let names: Vec<Vec<u8>> = (0..500).map(name).filter(|name| key(name).slot >= 8_192).collect();
    for (i, name) in names.iter().enumerate() {
        add(&mut counters, name, 1);
        if i % 2 == 0 {
            counters.apply(key(name), Op::Expire { at_ms: START_MS + 1, cond: ExpireCond::Always }, START_MS);
        }
    }
    assert_eq!(scan_all(&counters, 10, START_MS).len(), names.len());
    assert_eq!(scan_all(&counters, u64::MAX, START_MS + 2).len(), names.len() / 2);
    let mut none = |_: &[u8], _: Entry| panic!("nothing lies past the last slot");
    for cursor in [16_384 << 32, u64::MAX, (16_384 << 32) | 5] {
        assert_eq!(counters.scan(cursor, 10, START_MS, &mut none), 0);
    }
    let first = counters.scan(0, 1, START_MS, &mut |_, _| true);
    assert!(counters.index.slots().contains(&(cursor_slot(first) as u16)));
    let refused = counters.scan(0, 1, START_MS, &mut |_, _| false);
    assert_ne!(refused, 0);
    let mut again = Vec::new();
    counters.scan(refused, 1, START_MS, &mut |name, _| {
        again.push(name.to_vec());
        true
    });
    assert_eq!(again[0], scan_all(&counters, 1, START_MS)[0]);
}

#[test]
fn random_picks_are_even_and_live() {
    let mut counters = counters();
    assert_eq!(counters.random(7, START_MS, usize::MAX), None);
    for number in 0..50 {
        // Cells of several lengths.
        add(&mut counters, &name(number)[..10 + number % 6].repeat(number % 3 + 1), 1);
    }
    let count = counters.key_count();
    let mut picked: HashMap<Vec<u8>, u64> = HashMap::new();
    for pick in 0..count * 20 {
        *picked.entry(counters.random(pick, START_MS, 0).unwrap().to_vec()).or_default() += 1;
    }
    assert_eq!(picked.len() as u64, count);
    assert!(picked.values().all(|&times| times == 20));

    counters.flush(START_MS);
    for number in 0..2_000 {
        set_until(&mut counters, &name(number), START_MS + 5);
    }
    add(&mut counters, b"alive", 1);
    for pick in 0..50 {
        assert_eq!(counters.random(pick * 0x1234_5678_9ABC, START_MS + 6, usize::MAX), Some(&b"alive"[..]));
    }
    counters.apply(key(b"alive"), Op::Delete, START_MS);
    assert_eq!(counters.random(3, START_MS + 6, usize::MAX), None);
}
