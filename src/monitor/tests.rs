use super::*;
use crate::limits::ARGUMENT_BYTES_MAX;

const ADDRESS: &str = "127.0.0.1:60866";

fn consumed(input: &[u8], command_count: u64) -> Consumed<'_> {
    Consumed {
        input,
        unfinished: Unfinished::default(),
        command_count,
        is_stranger: false,
        is_monitor: false,
        in_transaction: false,
        unix_us: 1_339_518_083_007_412,
    }
}

fn request(arguments: &[&[u8]]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        request.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        request.extend_from_slice(argument);
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// What stands behind the address in each line of monitor 0.
fn taken(monitors: &Monitors) -> Vec<String> {
    let lines = String::from_utf8(monitors.take(0).lines).expect("everything is escaped");
    let start = format!("+1339518083.007412 [0 {ADDRESS}] ");
    let lines = lines.split_terminator("\r\n");
    lines.map(|line| line.strip_prefix(&start).unwrap_or_else(|| panic!("{line}")).to_owned()).collect()
}

fn shown(input: &[u8], command_count: u64) -> Vec<String> {
    let monitors = Monitors::default();
    monitors.attach(0, 1);
    monitors.show(consumed(input, command_count), || ADDRESS.to_owned());
    taken(&monitors)
}

#[test]
fn commands_are_shown_as_redis_shows_them() {
    let input = [
        request(&[b"keys", b"*"]),
        b"\r\nINCR \"a b\\x01\"\r\n".to_vec(),
        request(&[b"SET", b"q\"\\\n\r\t\x07\x08\xff", b"1"]),
        request(&[b"nonsense", b"secret"]),
        request(&[b"GET"]),
        request(&[b"CONFIG", b"SET", b"requirepass", b"secret"]),
        request(&[b"CLIENT", b"LIST"]),
        request(&[b"CLIENT", b"ID"]),
        request(&[b"AUTH", b"secret"]),
        request(&[b"auth", b"default", b"secret"]),
        request(&[b"HELLO", b"3", b"auth", b"default", b"secret", b"SETNAME", b"x"]),
        b"*0\r\n".to_vec(),
    ]
    .concat();
    let expected = [
        r#""keys" "*""#,
        r#""INCR" "a b\x01""#,
        r#""SET" "q\"\\\n\r\t\a\b\xff" "1""#,
        r#""CLIENT" "ID""#,
        r#""AUTH" "(redacted)""#,
        r#""auth" "(redacted)" "(redacted)""#,
        r#""HELLO" "3" "auth" "(redacted)" "(redacted)" "SETNAME" "x""#,
    ];
    assert_eq!(shown(&input, 12), expected);
}

#[test]
fn no_line_is_longer_than_its_limit() {
    let long = [0xff; ARGUMENT_BYTES_MAX];
    let lines = shown(&request(&[b"SET", &long[..MONITOR_ARGUMENT_BYTES_MAX + 5], b"1"]), 1);
    assert_eq!(lines, [format!(r#""SET" "{}... (5 more bytes)" "1""#, r"\xff".repeat(MONITOR_ARGUMENT_BYTES_MAX))]);
    let mut arguments: Vec<&[u8]> = vec![b"MGET"];
    arguments.resize(40, &long);
    let lines = shown(&request(&arguments), 1);
    assert!(lines[0].ends_with(r#" more bytes)" "... (36 more arguments)""#), "{}", lines[0]);
    arguments.resize(1, b"");
    arguments.resize(100, b"k");
    assert!(shown(&request(&arguments), 1)[0].ends_with(r#" "k" "... (68 more arguments)""#));
}

#[test]
fn what_belongs_to_an_earlier_request_is_passed_over() {
    let input = [&b"rest\r\n$1\r\nb\r\n$1\r\nc\r\n"[..], &request(&[b"INCR", b"x"])].concat();
    let monitors = Monitors::default();
    monitors.attach(0, 1);
    let unfinished = Unfinished { skip_bytes: 6, argument_count: 2 };
    monitors.show(Consumed { unfinished, ..consumed(&input, 1) }, || ADDRESS.to_owned());
    assert_eq!(taken(&monitors), [r#""INCR" "x""#]);
    // Wherever what was consumed ends, nothing is invented.
    for end in 0..input.len() {
        monitors.show(Consumed { unfinished, ..consumed(&input[..end], 1) }, || ADDRESS.to_owned());
    }
    let cut = taken(&monitors);
    assert!(cut.iter().all(|line| line == r#""INCR" "... (1 more arguments)""#), "{cut:?}");
    // Of a command with many keys, those that have arrived.
    assert_eq!(shown(b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n", 1), [r#""MGET" "a" "... (2 more arguments)""#]);
}

#[test]
fn strangers_and_queued_commands_are_not_shown() {
    let input = [request(&[b"GET", b"a"]), request(&[b"AUTH", b"x"])].concat();
    let monitors = Monitors::default();
    monitors.attach(0, 1);
    let show = |consumed| monitors.show(consumed, || ADDRESS.to_owned());
    show(Consumed { is_stranger: true, ..consumed(&input, 1) });
    assert_eq!(taken(&monitors), [r#""AUTH" "(redacted)""#]);
    let input = [request(&[b"MULTI"]), request(&[b"INCR", b"a"]), request(&[b"EXEC"])].concat();
    show(consumed(&input, 2));
    assert_eq!(taken(&monitors), [r#""MULTI""#]);
    let input = [request(&[b"INCR", b"a"]), request(&[b"DISCARD"]), request(&[b"INCR", b"b"])].concat();
    show(Consumed { in_transaction: true, ..consumed(&input, 2) });
    assert_eq!(taken(&monitors), [r#""DISCARD""#, r#""INCR" "b""#]);
    // What a monitor may not do.
    show(Consumed { is_monitor: true, ..consumed(&[request(&[b"GET", b"a"]), request(&[b"PING"])].concat(), 1) });
    assert_eq!(taken(&monitors), [r#""PING""#]);
}

#[test]
fn every_nth_command_is_shown_wherever_batches_end() {
    let monitors = Monitors::default();
    monitors.attach(0, 7);
    let mut number = 0;
    for batch in [1_u64, 3, 2, 10, 1, 50, 6, 7, 8, 20, 32] {
        let input: Vec<u8> = (0..batch)
            .flat_map(|_| {
                number += 1;
                request(&[b"GET", format!("{number}").as_bytes()])
            })
            .collect();
        monitors.show(consumed(&input, batch), || ADDRESS.to_owned());
    }
    let expected: Vec<String> = (1..=number / 7).map(|at| format!("\"GET\" \"{}\"", at * 7)).collect();
    assert_eq!(number, 140);
    assert_eq!(taken(&monitors), expected);
}

#[test]
fn a_monitor_that_does_not_read_costs_its_buffer_and_is_told_what_it_missed() {
    let monitors = Monitors::default();
    assert!(!monitors.are_attached());
    monitors.attach(0, 1);
    monitors.attach(3, 100);
    assert!(monitors.are_attached());
    let batch = request(&[b"INCR", b"key"]).repeat(64);
    let mut asked_count = 0;
    for _ in 0..1_000 {
        monitors.show(consumed(&batch, 64), || {
            asked_count += 1;
            ADDRESS.to_owned()
        });
    }
    assert!(asked_count < 1_000, "batches of which nothing is shown are not read");
    let everything = monitors.take(0);
    assert!(everything.lines.len() <= MONITOR_BYTES_MAX && everything.lines.capacity() <= MONITOR_BYTES_MAX);
    let line_count = everything.lines.iter().filter(|byte| **byte == b'\n').count() as u64;
    assert!(line_count > 500, "{line_count}");
    assert_eq!(line_count + everything.missed_count, 64_000);
    let some = monitors.take(3);
    assert_eq!((some.lines.iter().filter(|byte| **byte == b'\n').count(), some.missed_count), (640, 0));

    let mut told = Monitored { lines: Vec::new(), missed_count: 5 };
    told.tell_missed(1_000_007, 2);
    assert_eq!(told.lines, b"+1.000007 [0 shard:2] \"#missed\" \"5\"\r\n");
    monitors.detach(0);
    assert!(monitors.are_attached());
    monitors.detach(3);
    assert!(!monitors.are_attached());
    assert_eq!(monitors.take(3), Monitored::default());
}
