use proptest::prelude::*;

use super::{ShardMap, crc16, crc16_by_words, of};
use crate::limits::{SHARD_COUNT_MAX, SLOT_COUNT};

/// The definition: one bit after the other.
fn crc16_twin(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1)) {
        let carry = (crc >> 15) ^ u16::from(bit);
        crc = (crc << 1) ^ (carry * 0x1021);
    }
    crc
}

fn slot_twin(key: &[u8]) -> u16 {
    let mut parts = key.splitn(2, |&byte| byte == b'{').skip(1);
    let behind_open = parts.next().unwrap_or_default();
    let tag = behind_open.split(|&byte| byte == b'}').next().unwrap_or_default();
    let closed = tag.len() < behind_open.len();
    let hashed = if closed && !tag.is_empty() { tag } else { key };
    crc16_twin(hashed) % 16_384
}

#[test]
fn check_value_of_the_crc() {
    assert_eq!(crc16(b"123456789"), (0x31c3, false));
    assert_eq!(crc16(b""), (0, false));
    assert_eq!(crc16(b"12345678{"), (crc16_twin(b"12345678{"), true));
}

#[test]
fn what_redis_answers() {
    let table: [(&[u8], u16); 24] = [
        (b"", 0),
        (b"a", 15495),
        (b"foo", 12182),
        (b"bar", 5061),
        (b"hello", 866),
        (b"123456789", 12739),
        (b"{user1000}.following", 3443),
        (b"{user1000}.followers", 3443),
        (b"user1000", 3443),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"foo{bar}{zap}", 5061),
        (b"{}", 15257),
        (b"{", 4092),
        (b"}", 12090),
        (b"}{a}", 15495),
        (b"{a", 10276),
        (b"{}a}", 4370),
        (b"a{b}", 3300),
        (b"\x00", 0),
        (b"\x00\xff\x00", 1023),
        (b"counter:000000000001", 15750),
        (b"k000000000000042", 13727),
        (b"{{{{{{{{{}", 12646),
    ];
    for (key, slot) in table {
        assert_eq!(of(key), slot, "{}", key.escape_ascii());
    }
}

#[test]
fn every_shard_owns_what_the_map_says() {
    for shard_count in [1, 2, 3, 7, 8, 100, SHARD_COUNT_MAX] {
        let map = ShardMap::new(shard_count);
        let mut next = 0;
        for shard in 0..shard_count {
            let slots = map.slots_of(shard);
            assert_eq!(slots.start, next);
            assert!(slots.clone().all(|slot| map.shard_of(slot) == shard));
            assert!(slots.len().abs_diff(SLOT_COUNT / shard_count) <= 1);
            next = slots.end;
        }
        assert_eq!(usize::from(next), SLOT_COUNT);
    }
}

proptest! {
    #[test]
    fn agrees_with_its_twin(key in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(of(&key), slot_twin(&key));
        let words = key.iter().map(|byte| byte & 0x3F).collect::<Vec<_>>();
        prop_assert_eq!(of(&words), slot_twin(&words));
        let expected = (crc16_twin(&key), key.contains(&b'{'));
        prop_assert_eq!(crc16(&key), expected);
        prop_assert_eq!(crc16_by_words(&key), expected);
    }

    #[test]
    fn agrees_with_its_twin_on_tags(key in "[a{}z|]{0,24}") {
        prop_assert_eq!(of(key.as_bytes()), slot_twin(key.as_bytes()));
    }
}
