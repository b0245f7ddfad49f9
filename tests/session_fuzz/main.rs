//! The session under fire: seeded streams of requests, cut anywhere, with room for replies that ends anywhere, pauses,
//! closes in the middle, and one to four shards.
//!
//! What must hold: no panic; replies that a strict reader accepts in the protocol version in force; exactly one reply a
//! command; the same bytes however the stream is cut, whatever room there is and however many shards; the bytes of a
//! model where the commands are known; and memory that follows no announced number and is given back.
//!
//! By default each test runs for some seconds with a seed from the clock. Longer, or again:
//!
//! ```text
//! TALLYRING_FUZZ_SECONDS=600 cargo test --release --test session_fuzz
//! TALLYRING_SEED=1234 cargo test --test session_fuzz
//! ```
//!
//! A failure prints its seed and the requests that are left after as many as possible were removed, and keeps those in
//! `corpus/`, which is checked in every run.

mod corpus;
mod drive;
mod generate;
mod model;
#[path = "../pure/mod.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod pure;
#[path = "../it/support/random.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod random;
mod reader;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use drive::{Plan, Setting, Transcript};
use generate::{Request, Stream};
use random::{Random, seed};

/// How long each test runs, unless `TALLYRING_FUZZ_SECONDS` says otherwise.
const DURATION: Duration = Duration::from_secs(6);

/// Ways in which each stream is received, beside all at once.
const PLAN_COUNT: usize = 4;

/// Ways to cut each stream of the corpus, times [`PLAN_COUNT`].
const KEPT_SEED_COUNT: u64 = 50;

/// Runs that shrinking a failing stream may take.
const SHRINK_RUN_COUNT_MAX: usize = 2_000;

#[test]
fn known_requests_are_answered_as_the_model_answers() {
    fuzz(generate::known);
}

#[test]
fn any_request_of_the_table_gets_one_reply() {
    fuzz(generate::valid);
}

#[test]
fn any_bytes_leave_the_protocol_whole() {
    fuzz(generate::wild);
}

#[test]
fn what_is_kept_still_holds() {
    let first_seed = seed();
    let cases = corpus::kept();
    assert!(!cases.is_empty(), "the corpus is in the repository");
    for case in cases {
        for seed in first_seed..first_seed + KEPT_SEED_COUNT {
            if let Err(why) = check_caught(&case.setting, &case.stream, seed) {
                panic!("{}, TALLYRING_SEED={seed}: {why}", case.path.display());
            }
        }
    }
}

#[test]
fn a_stream_is_kept_as_it_is() {
    for generate in [generate::known, generate::valid, generate::wild] {
        let (setting, stream) = generate(&mut Random::new(seed()));
        let text = corpus::write(&setting, &stream);
        let (read_setting, read_stream) = corpus::read(&text).expect("what was written is a case");
        assert_eq!(corpus::write(&read_setting, &read_stream), text);
        let bytes = |stream: &Stream| stream.requests.iter().map(|request| request.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(bytes(&read_stream), bytes(&stream));
    }
}

#[test]
fn shrinking_leaves_what_fails() {
    let requests = (0..100).map(|number| Request::bytes(vec![number])).collect();
    let both = |requests: &[Request]| [3, 77].iter().all(|n| requests.iter().any(|request| request.bytes == [*n]));
    let left: Vec<Vec<u8>> = shrink(requests, both).into_iter().map(|request| request.bytes).collect();
    assert_eq!(left, [[3], [77]]);
}

/// Check streams of consecutive seeds until the time is over.
fn fuzz(generate: fn(&mut Random) -> (Setting, Stream)) {
    let duration = std::env::var("TALLYRING_FUZZ_SECONDS")
        .map_or(DURATION, |text| Duration::from_secs(text.parse().expect("TALLYRING_FUZZ_SECONDS is a number")));
    let (first_seed, start) = (seed(), Instant::now());
    let (mut case_count, mut request_count) = (0, 0);
    while start.elapsed() < duration {
        let seed = first_seed + case_count;
        let (setting, stream) = generate(&mut Random::new(seed));
        if let Err(why) = check_caught(&setting, &stream, seed) {
            report(&setting, stream, seed, &why);
        }
        case_count += 1;
        request_count += stream.requests.len();
    }
    println!("{case_count} streams of {request_count} requests");
}

/// Shrink what failed, and fail.
fn report(setting: &Setting, stream: Stream, seed: u64, why: &str) -> ! {
    std::panic::set_hook(Box::new(|_| {}));
    let kind = stream.kind;
    let of = |requests: &[Request]| Stream { kind, requests: requests.to_vec() };
    let left = shrink(stream.requests, |requests| check_caught(setting, &of(requests), seed).is_err());
    let why_left = check_caught(setting, &of(&left), seed).err();
    let _ = std::panic::take_hook();
    let shown: Vec<String> = left.iter().map(shown).collect();
    let kept = corpus::keep(setting, &of(&left), seed);
    panic!(
        "TALLYRING_SEED={seed}, {setting:?}: {why}\nwhat is left of the stream fails with {why_left:?}, and is kept as \
         {}:\n{}",
        kept.display(),
        shown.join("\n")
    );
}

/// A request, with long runs of one byte as their length.
fn shown(request: &Request) -> String {
    let runs = request.bytes.chunk_by(|left, right| left == right);
    let shown = runs.map(|run| match run {
        [byte, ..] if run.len() > 40 => format!("<{} x {}>", run.len(), byte.escape_ascii()),
        run => run.escape_ascii().to_string(),
    });
    shown.collect()
}

/// [`check`], with a panic as an error.
fn check_caught(setting: &Setting, stream: &Stream, seed: u64) -> Result<(), String> {
    let checked = catch_unwind(AssertUnwindSafe(|| check(setting, stream, seed)));
    checked.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?")))
    })
}

/// Everything that must hold of one stream.
fn check(setting: &Setting, stream: &Stream, seed: u64) -> Result<(), String> {
    let bytes: Vec<u8> = stream.requests.iter().flat_map(|request| request.bytes.iter().copied()).collect();
    let whole = drive::run(setting, &bytes, &mut Plan::whole());
    check_replies(stream, &whole)?;
    if let Some(expected) = model::replies(setting, stream)
        && expected != whole.replies
    {
        return Err(difference("what the model answers", &expected, &whole.replies));
    }
    let mut random = Random::new(!seed);
    for _ in 0..PLAN_COUNT {
        let mut plan = Plan::any(&mut random);
        let name = plan.name();
        let pieces = drive::run(setting, &bytes, &mut plan);
        if pieces != whole {
            return Err(difference(&name, &whole.replies, &pieces.replies));
        }
    }
    // A client that goes away in the middle of anything leaves nothing behind; run checks it.
    drive::run(setting, &bytes[..random.below(bytes.len() + 1)], &mut Plan::any(&mut random));
    Ok(())
}

/// The replies are whole and, where the requests are, as many as these.
fn check_replies(stream: &Stream, transcript: &Transcript) -> Result<(), String> {
    let read =
        reader::read(&transcript.replies, &transcript.versions).map_err(|why| format!("no valid reply: {why}"))?;
    if read.is_cut && !transcript.ended && !transcript.within_request {
        return Err("a reply is not whole".to_owned());
    }
    let counted = stream.kind == generate::Kind::Valid;
    if counted && !transcript.ended && (read.reply_count != stream.requests.len() || transcript.within_request) {
        return Err(format!("{} replies to {} requests", read.reply_count, stream.requests.len()));
    }
    Ok(())
}

fn difference(name: &str, expected: &[u8], found: &[u8]) -> String {
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    let shown = |bytes: &[u8]| bytes[same.saturating_sub(60)..bytes.len().min(same + 60)].escape_ascii().to_string();
    format!("{name}: other replies from byte {same} on:\nexpected …{}\nfound    …{}", shown(expected), shown(found))
}

/// As few of the requests as still fail, found by leaving out ever smaller pieces.
fn shrink(mut requests: Vec<Request>, fails: impl Fn(&[Request]) -> bool) -> Vec<Request> {
    let (mut piece, mut run_count) = (requests.len().div_ceil(2), 0);
    while piece > 0 && run_count < SHRINK_RUN_COUNT_MAX {
        let mut at = 0;
        let before = requests.len();
        while at < requests.len() && run_count < SHRINK_RUN_COUNT_MAX {
            let mut fewer = requests.clone();
            fewer.drain(at..requests.len().min(at + piece));
            run_count += 1;
            if fails(&fewer) { requests = fewer } else { at += piece }
        }
        if piece > 1 || requests.len() == before {
            piece /= 2;
        }
    }
    requests
}
