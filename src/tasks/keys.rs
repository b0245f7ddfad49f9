//! The commands that concern keys of several shards: `KEYS`, `SCAN`, `RANDOMKEY`, `RENAME`, `COPY`, `MSETNX`.

use super::transaction::{hold, release};
use super::{Place, is_too_long};
use crate::client::ShardSet;
use crate::command::Bytes;
use crate::counters::{Entry, Fault, cursor_slot};
use crate::limits::{HEADER_BYTES_MAX, LARGE_REPLY_BYTES_MAX, SCAN_STEP_BYTES_MAX, SCAN_STEP_COUNT, SLOT_COUNT};
use crate::mesh::{Answer, Ask, Keys};
use crate::resp::encode;
use crate::slot;

/// `KEYS pattern`: all matching keys. Bounded by the longest reply.
pub(super) async fn keys(place: Place<'_>, pattern: Bytes, out: &mut Vec<u8>) {
    let start = out.len();
    let mut key_count = 0;
    for shard in place.keyspace() {
        let mut cursor = first_cursor(place, shard);
        loop {
            let ask = Ask::Scan { cursor, count: SCAN_STEP_COUNT, pattern: Some(pattern.clone()) };
            let (next, keys) = scanned(place.ask_step(shard, ask).await);
            key_count += keys.len();
            keys.iter().for_each(|key| encode::bulk(out, key));
            if is_too_long(out, start, "narrow the pattern, or use SCAN") {
                return;
            }
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    let mut header = Vec::new();
    encode::array(&mut header, key_count);
    out.splice(start..start, header);
}

/// `SCAN`: one step from where the cursor leads.
pub(super) async fn scan(
    place: Place<'_>,
    cursor: u64,
    count: u64,
    pattern: Option<Bytes>,
    type_matches: bool,
    out: &mut Vec<u8>,
) {
    let keyspace = place.keyspace();
    let mut next = cursor.max(first_cursor(place, keyspace.start));
    let mut keys = Keys::with_room();
    let mut left_count = count.max(1);
    // A shard that is through with few keys leaves room for those of the next one.
    while cursor_slot(next) < SLOT_COUNT as u64 && left_count > 0 && keys.bytes() < SCAN_STEP_BYTES_MAX {
        let shard = place.connection.shard.map.shard_of(cursor_slot(next) as u16);
        if shard >= keyspace.end {
            next = 0;
            break;
        }
        let step_count = left_count.min(SCAN_STEP_COUNT);
        let ask = Ask::Scan { cursor: next, count: step_count, pattern: pattern.clone() };
        let (stopped, more) = scanned(place.ask_step(shard, ask).await);
        keys.extend(more.iter());
        left_count = left_count.saturating_sub(if stopped == 0 { more.len() as u64 } else { step_count });
        next = match stopped {
            0 if shard + 1 < keyspace.end => first_cursor(place, shard + 1),
            stopped => stopped,
        };
        if next == 0 {
            break;
        }
    }
    if cursor_slot(next) >= SLOT_COUNT as u64 {
        next = 0;
    }
    if !type_matches {
        keys = Keys::default();
    }
    out.reserve(keys.bytes() + (keys.len() + 2) * HEADER_BYTES_MAX);
    encode::array(out, 2);
    encode::bulk(out, next.to_string().as_bytes());
    encode::array(out, keys.len());
    keys.iter().for_each(|key| encode::bulk(out, key));
}

/// At most `count` keys of one slot, and little more bytes than the longest reply may have.
pub(super) async fn slot_keys(place: Place<'_>, owner: usize, slot: u16, count: u64) -> Keys {
    let slot_count = super::count_of(&place.ask(owner, Ask::SlotKeyCount(slot)).await);
    let count = count.min(slot_count);
    let mut keys = Keys::default();
    let mut cursor = u64::from(slot) << 32;
    while (keys.len() as u64) < count && cursor_slot(cursor) == u64::from(slot) && keys.bytes() <= LARGE_REPLY_BYTES_MAX
    {
        let left_count = count - keys.len() as u64;
        let ask = Ask::Scan { cursor, count: left_count.min(SCAN_STEP_COUNT), pattern: None };
        let (next, more) = scanned(place.ask_step(owner, ask).await);
        // A step goes on into the next slots when this one has no more, and over the count where positions are equal.
        keys.extend(more.iter().filter(|key| slot::of(key) == slot).take(left_count as usize));
        if next == 0 {
            break;
        }
        cursor = next;
    }
    keys
}

/// `RANDOMKEY`: a key of a shard that is drawn by how many it has.
pub(super) async fn random_key(place: Place<'_>, out: &mut Vec<u8>) {
    let mut key_counts = Vec::new();
    place.ask_keyspace(|| Ask::KeyCount, |answer| key_counts.push(super::count_of(&answer))).await;
    let total: u64 = key_counts.iter().sum();
    let pick = place.connection.shard.shared.random();
    let mut left = pick.checked_rem(total).unwrap_or(0);
    let drawn = key_counts.iter().position(|count| {
        let here = left < *count;
        left = left.saturating_sub(*count);
        here
    });
    // Counters that have expired are still counted: the drawn shard may have none alive, so the others are asked too.
    let first = drawn.unwrap_or(0);
    let keyspace = place.keyspace();
    for shard in (0..keyspace.len()).map(|step| keyspace.start + (first + step) % keyspace.len()) {
        // Where none was found, some that have expired are gone now.
        while super::count_of(&place.ask(shard, Ask::KeyCount).await) > 0 {
            if let Answer::Key(Some(key)) = place.ask_step(shard, Ask::Random(pick)).await {
                return encode::bulk(out, &key);
            }
            if place.holder {
                break;
            }
        }
    }
    encode::null(out, place.resp3());
}

/// `RENAME`, `RENAMENX`: both keys' shards are held meanwhile.
pub(super) async fn rename(place: Place<'_>, from: Bytes, to: Bytes, only_absent: bool, out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    let (source, target) = (shard.owner(&from), shard.owner(&to));
    let held = hold(place, [source, target]).await;
    let outcome = match held.has_room {
        true => move_entry(held.place, (source, from), (target, to), only_absent).await,
        false => Err(Fault::NotWritten),
    };
    release(held).await;
    match outcome {
        Ok(_) if !only_absent => encode::simple(out, "OK"),
        Ok(moved) => encode::integer(out, i64::from(moved)),
        Err(fault) => encode::error(out, fault.text()),
    }
}

async fn move_entry(
    place: Place<'_>,
    (source, from): (usize, Bytes),
    (target, to): (usize, Bytes),
    only_absent: bool,
) -> Result<bool, Fault> {
    let Answer::Entry(Some(_)) = place.ask(source, Ask::Entry(from.clone())).await else {
        return Err(Fault::NoSuchKey);
    };
    if only_absent && matches!(place.ask(target, Ask::Entry(to.clone())).await, Answer::Entry(Some(_))) {
        return Ok(false);
    }
    if from == to {
        return Ok(true);
    }
    let Answer::Entry(Some(entry)) = place.ask(source, Ask::Take(from.clone())).await else {
        // Nobody else has taken it: its time has come since.
        return Err(Fault::NoSuchKey);
    };
    // A key that is no longer than the one before takes the room that it leaves.
    let put = if to.len() <= from.len() { Ask::PutMoved(to, entry) } else { Ask::Put(to, entry) };
    match place.ask(target, put).await {
        Answer::Put(Ok(())) => Ok(true),
        Answer::Put(Err(fault)) => {
            let back = place.ask(source, Ask::PutMoved(from, entry)).await;
            assert!(matches!(back, Answer::Put(Ok(()))), "an entry goes back to where it was");
            Err(fault)
        }
        _ => unreachable!("a put is answered as one"),
    }
}

/// `COPY`: both keys' shards are held meanwhile.
pub(super) async fn copy(place: Place<'_>, from: Bytes, to: Bytes, replace: bool, out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    let (source, target) = (shard.owner(&from), shard.owner(&to));
    let held = hold(place, [source, target]).await;
    let place = held.place;
    let entry = match place.ask(source, Ask::Entry(from)).await {
        Answer::Entry(entry) => entry,
        _ => unreachable!("an entry was asked for"),
    };
    let is_free = replace || matches!(place.ask(target, Ask::Entry(to.clone())).await, Answer::Entry(None));
    let outcome = match entry.filter(|_| is_free) {
        None => Ok(false),
        Some(_) if !held.has_room => Err(Fault::NotWritten),
        Some(entry) => match place.ask(target, Ask::Put(to, entry)).await {
            Answer::Put(outcome) => outcome.map(|()| true),
            _ => unreachable!("a put is answered as one"),
        },
    };
    release(held).await;
    match outcome {
        Ok(copied) => encode::integer(out, i64::from(copied)),
        Err(fault) => encode::error(out, fault.text()),
    }
}

/// `MSETNX`: all pairs, or none if one of the keys exists.
pub(super) async fn mset_nx(place: Place<'_>, pairs: Vec<(Bytes, i64)>, out: &mut Vec<u8>) {
    let shard = place.connection.shard.clone();
    let held = hold(place, pairs.iter().map(|(key, _)| shard.owner(key))).await;
    let place = held.place;
    let mut all_absent = true;
    for (key, _) in &pairs {
        let entry = place.ask(shard.owner(key), Ask::Entry(key.clone())).await;
        all_absent &= matches!(entry, Answer::Entry(None));
    }
    let mut outcome = if held.has_room { Ok(()) } else { Err(Fault::NotWritten) };
    let mut put: Vec<Bytes> = Vec::new();
    if all_absent && outcome.is_ok() {
        for (key, value) in pairs {
            let entry = Entry { value, expires_at_ms: None };
            let owner = shard.owner(&key);
            outcome = match place.ask(owner, Ask::Put(key.clone(), entry)).await {
                Answer::Put(outcome) => outcome,
                _ => unreachable!("a put is answered as one"),
            };
            if outcome.is_err() {
                break;
            }
            put.push(key);
        }
        if outcome.is_err() {
            // All or none: what was put is taken out again.
            for key in put {
                let _ = place.ask(shard.owner(&key), Ask::Take(key)).await;
            }
        }
    }
    release(held).await;
    match outcome {
        Ok(()) => encode::integer(out, i64::from(all_absent)),
        Err(fault) => encode::error(out, fault.text()),
    }
}

/// Where a scan of one shard's slots begins.
fn first_cursor(place: Place<'_>, shard: usize) -> u64 {
    u64::from(place.connection.shard.map.slots_of(shard).start) << 32
}

fn scanned(answer: Answer) -> (u64, Keys) {
    match answer {
        Answer::Keys { cursor, keys } => (cursor, keys),
        _ => unreachable!("a scan is answered with keys"),
    }
}

/// The shards of some keys, for a hold.
pub(super) fn shard_set(shards: impl IntoIterator<Item = usize>) -> ShardSet {
    let mut set = ShardSet::default();
    shards.into_iter().for_each(|shard| set.insert(shard));
    set
}
