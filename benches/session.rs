//! What the pure path of a request costs: parsed, executed, encoded, without sockets. `cargo bench --bench session`
//! prints nanoseconds a command, the median of some rounds. Arguments after `--` choose the cases whose names hold one.
//!
//! `growth` (to be named) inserts 30 million counters, then counts each of them once more, and prints what a receive of 64
//! commands takes at most: what the growth of the tables adds is the longest pause that it can cause. Time is the
//! processor's that this thread had, so nobody else's work is in it.
//!
//! Instructions are counted with `count CASE N`, which runs `N` commands of a [`COUNTED`] case on 100,000 keys and nothing
//! else, under callgrind. `benches/instructions check` does so and compares with what is on record; by hand:
//!
//! ```text
//! valgrind --tool=callgrind --toggle-collect='session::drive*' target/release/deps/session-… count incr-64 40000
//! ```

#[path = "../tests/pure/mod.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod pure;

use std::ops::Range;
use std::time::Instant;

use pure::{Connection, request};

const ROUND_COUNT: usize = 9;

/// Keys that a round names: more than any cache holds, where there are as many.
const ROUND_KEY_COUNT: usize = 400_000;

/// Keys of one `MGET`.
const MGET_KEY_COUNT: usize = 100;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [word, case, count] = arguments.as_slice()
        && word == "count"
    {
        let (_, depth, request) = *COUNTED.iter().find(|(name, ..)| name == case).expect("a case of COUNTED");
        let mut connection = filled(COUNTED_KEY_COUNT);
        let count = count.parse().expect("a number");
        let stream = Stream::of(count, depth, COUNTED_KEY_COUNT, &mut Random(1), request);
        drive(&mut connection, &stream);
        return;
    }
    if arguments == ["growth"] {
        return growth();
    }
    let chosen = |name: &str| arguments.is_empty() || arguments.iter().any(|argument| name.contains(argument.as_str()));
    println!("{:<34} {:>12} {:>10} {:>10}", "", "ns a command", "least", "most");
    for key_count in [1_000, 100_000, 10_000_000] {
        let cases: [Case; 4] = [
            (format!("INCR, {key_count} keys, depth 1"), 1, 1, increment),
            (format!("INCR, {key_count} keys, depth 16"), 16, 1, increment),
            (format!("INCR, {key_count} keys, depth 64"), 64, 1, increment),
            (format!("MGET 100, {key_count} keys, depth 1"), 1, MGET_KEY_COUNT, mget),
        ];
        let cases: Vec<Case> = cases.into_iter().filter(|case| chosen(&case.0)).collect();
        if cases.is_empty() {
            continue;
        }
        let mut connection = filled(key_count);
        for (name, depth, keys_each, request) in cases {
            let mut random = Random(1);
            let command_count = ROUND_KEY_COUNT / keys_each;
            let mut rounds: Vec<f64> = (0..ROUND_COUNT)
                .map(|_| {
                    let stream = Stream::of(command_count, depth, key_count, &mut random, request);
                    let start = Instant::now();
                    drive(&mut connection, &stream);
                    start.elapsed().as_nanos() as f64 / command_count as f64
                })
                .collect();
            rounds.sort_by(f64::total_cmp);
            let (median, least, most) = (rounds[ROUND_COUNT / 2], rounds[0], rounds[ROUND_COUNT - 1]);
            println!("{name:<34} {median:>12.1} {least:>10.1} {most:>10.1}");
        }
    }
}

const GROWTH_KEY_COUNT: usize = 30_000_000;

const GROWTH_DEPTH: usize = 64;

/// See the module.
fn growth() {
    let mut connection = Connection::new(1);
    println!(
        "{:<34} {:>10} {:>10} {:>10} {:>10} {:>12}",
        "receives of 64 INCR", "p50 us", "p99.9 us", "p99.99 us", "max us", "over 1 ms"
    );
    for name in ["30000000 keys that are new", "30000000 keys that are there"] {
        let mut taken_ns: Vec<u64> = (0..GROWTH_KEY_COUNT)
            .step_by(GROWTH_DEPTH)
            .map(|first| {
                let keys = first..GROWTH_KEY_COUNT.min(first + GROWTH_DEPTH);
                let bytes: Vec<u8> = keys.flat_map(|number| request(&[b"INCR", key(number).as_bytes()])).collect();
                let start_ns = thread_ns();
                connection.pass(&bytes, |_| {});
                thread_ns() - start_ns
            })
            .collect();
        taken_ns.sort_unstable();
        let at = |share: f64| taken_ns[((taken_ns.len() - 1) as f64 * share) as usize] as f64 / 1e3;
        let over_count = taken_ns.iter().filter(|ns| **ns > 1_000_000).count();
        let (p50, p999, p9999, max) = (at(0.5), at(0.999), at(0.9999), at(1.0));
        println!("{name:<34} {p50:>10.1} {p999:>10.1} {p9999:>10.1} {max:>10.1} {over_count:>12}");
    }
}

/// The processor time that this thread has had.
fn thread_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A request on one of so many keys.
type Request = fn(&mut Random, usize) -> Vec<u8>;

/// A name, commands a receive, keys a command, and the request.
type Case = (String, usize, usize, Request);

/// Receives: commands that arrive together.
struct Stream {
    bytes: Vec<u8>,
    receives: Vec<Range<usize>>,
}

impl Stream {
    fn of(
        command_count: usize,
        depth: usize,
        key_count: usize,
        random: &mut Random,
        request: impl Fn(&mut Random, usize) -> Vec<u8>,
    ) -> Stream {
        let (mut bytes, mut receives) = (Vec::new(), Vec::new());
        for first in (0..command_count).step_by(depth) {
            let start = bytes.len();
            (first..command_count.min(first + depth)).for_each(|_| bytes.extend(request(random, key_count)));
            receives.push(start..bytes.len());
        }
        Stream { bytes, receives }
    }
}

/// What instructions are counted of: a name, commands a receive, and the request.
const COUNTED: [(&str, usize, Request); 9] = [
    ("incr-1", 1, increment),
    ("incr-16", 16, increment),
    ("incr-64", 64, increment),
    ("get-16", 16, get),
    ("set-16", 16, set),
    ("expire-16", 16, expire),
    ("mget100-1", 1, mget),
    ("exec-16", 16, transaction),
    ("limit-16", 16, limit),
];

/// Keys of these.
const COUNTED_KEY_COUNT: usize = 100_000;

/// Keys of [`limit`]: each comes so often that its first expiry does not count.
const LIMIT_KEY_COUNT: usize = 500;

/// What is measured.
#[inline(never)]
fn drive(connection: &mut Connection, stream: &Stream) {
    let mut reply_bytes = 0;
    for receive in &stream.receives {
        connection.pass(&stream.bytes[receive.clone()], |replies| reply_bytes += replies.len());
    }
    std::hint::black_box(reply_bytes);
}

/// A connection to a server with `key_count` counters of four bytes of value.
fn filled(key_count: usize) -> Connection {
    let mut connection = Connection::new(1);
    for number in 0..key_count {
        connection.pass(&request(&[b"SET", key(number).as_bytes(), b"100000"]), |_| {});
    }
    connection
}

/// A key of 16 bytes.
fn key(number: usize) -> String {
    format!("counter:{number:08}")
}

fn increment(random: &mut Random, key_count: usize) -> Vec<u8> {
    request(&[b"INCR", key(random.below(key_count)).as_bytes()])
}

fn get(random: &mut Random, key_count: usize) -> Vec<u8> {
    request(&[b"GET", key(random.below(key_count)).as_bytes()])
}

fn set(random: &mut Random, key_count: usize) -> Vec<u8> {
    request(&[b"SET", key(random.below(key_count)).as_bytes(), b"4711"])
}

fn expire(random: &mut Random, key_count: usize) -> Vec<u8> {
    request(&[b"EXPIRE", key(random.below(key_count)).as_bytes(), b"3600"])
}

/// What a rate limiter sends, on counters that are there and, but for the first time, expire already.
fn limit(random: &mut Random, _: usize) -> Vec<u8> {
    let key = key(random.below(LIMIT_KEY_COUNT));
    [request(&[b"INCR", key.as_bytes()]), request(&[b"EXPIRE", key.as_bytes(), b"3600"])].concat()
}

fn transaction(random: &mut Random, key_count: usize) -> Vec<u8> {
    let key = key(random.below(key_count));
    let requests: [&[&[u8]]; 4] =
        [&[b"MULTI"], &[b"INCR", key.as_bytes()], &[b"EXPIRE", key.as_bytes(), b"3600"], &[b"EXEC"]];
    requests.iter().flat_map(|arguments| request(arguments)).collect()
}

fn mget(random: &mut Random, key_count: usize) -> Vec<u8> {
    let keys: Vec<String> = (0..MGET_KEY_COUNT).map(|_| key(random.below(key_count))).collect();
    let mut arguments = vec![&b"MGET"[..]];
    arguments.extend(keys.iter().map(|key| key.as_bytes()));
    request(&arguments)
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators").
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}
