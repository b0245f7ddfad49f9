//! Plain commands in one pass, held against the same requests read argument by argument.

use super::*;

/// A plain request, or what is nearly one.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        "INCR", "incr", "Decr", "GET", "gEt", "INCRBY", "decrby", "SET", "set", "SETNX", "DEL", "MGET", "TTL", "GETS",
        "EXPIRE", "pexpire", "EXISTS", "Touch", "UNLINK", "PERSIST", "GETEX", "SETEX", "GETDEL", "GETSET", "EXPIREAT",
        "TYPE", "MSET", "OBJECT", "RENAME", "STRLEN",
    ]);
    let key = prop_oneof![
        8 => "[a-c]{0,2}".prop_map(String::from),
        2 => "[a-c{}]{3,20}".prop_map(String::from),
        1 => (90usize..110).prop_map(|len| "k".repeat(len)),
    ];
    let value = prop::sample::select(vec![
        "1",
        "-7",
        "0",
        "00",
        "x",
        "",
        "9223372036854775807",
        "-9223372036854775808",
        "12345678",
        "99999999",
        "10000",
    ]);
    let options = prop::sample::select(vec![
        "NX",
        "nx",
        "EX 100",
        "PX 7 GET",
        "KEEPTTL XX GET",
        "100",
        "5 EX",
        "GT LT",
        "EX 1 EX 2 EX 3",
    ]);
    let count = 0usize..9;
    let plain = (name, key, value, options, count).prop_map(|(name, key, value, options, count)| {
        let mut arguments = vec![name.as_bytes(), key.as_bytes(), value.as_bytes()];
        arguments.extend(options.split(' ').map(str::as_bytes));
        arguments.truncate(count + 1);
        request(&arguments)
    });
    let other = prop::sample::select(vec![
        "CLIENT REPLY OFF",
        "CLIENT REPLY ON",
        "CLIENT REPLY SKIP",
        "MULTI",
        "DISCARD",
        "AUTH secret",
        "AUTH wrong",
        "HELLO 3",
        "HELLO 2",
        "PING",
        "MSET a 1 b 2 c x",
        "EXPIRE a 100",
        "QUIT",
    ]);
    prop_oneof![
        20 => plain.clone(),
        3 => other.prop_map(|line| requests(&[line])),
        // One byte of it is another.
        3 => (plain, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn one_pass_gives_the_same_replies(
        pieces in vec(piece(), 1..60),
        cuts in vec(1usize..400, 1..20),
        shard_count in 1usize..4,
        direct in any::<bool>(),
        password in any::<bool>(),
        pause_count in 0usize..2,
        is_full in prop::bool::weighted(0.2),
    ) {
        let bench = |without_plain| {
            let mut bench = if password { Bench::with_password(b"secret") } else { Bench::new(shard_count) };
            bench.direct = (direct && !password && shard_count == 3).then_some(1);
            bench.pause_count = pause_count;
            bench.is_full = is_full;
            bench.session.without_plain = without_plain;
            bench
        };
        let (mut fast, mut slow) = (bench(false), bench(true));
        let bytes = pieces.concat();
        let mut rest = &bytes[..];
        for count in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (received, behind) = rest.split_at((*count).min(rest.len()));
            fast.receive(received);
            slow.receive(received);
            prop_assert_eq!(fast.replies.escape_ascii().to_string(), slow.replies.escape_ascii().to_string());
            prop_assert_eq!(fast.ended, slow.ended);
            rest = behind;
        }
        prop_assert_eq!(&fast.buffer[..fast.filled], &slow.buffer[..slow.filled]);
        let counts = |bench: &Bench| bench.shards.iter().map(|shard| (shard.key_count(), *shard.stats())).collect::<Vec<_>>();
        prop_assert_eq!(counts(&fast), counts(&slow));
    }
}
