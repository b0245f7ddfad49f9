//! The requests of one connection that have been sent and not answered, in order, and what their replies must be.
//!
//! Pure. Invariant: every reply belongs to the oldest request; one too many breaks the connection. Values of the same
//! counter that the connection sees must grow with each increment, and never fall.

use std::collections::VecDeque;

use super::record::{Alike, Span};
use super::reply::{Part, ProtocolError, Replies};
use super::template::{Effect, Template};

/// Counters whose values a connection remembers, at most.
const SEEN_COUNT_MAX: u32 = 1_024;

/// Longest part of an error reply that is kept.
const ERROR_BYTES_MAX: usize = 200;

/// How a command's replies are to be checked, in a form that is quick to look at.
#[derive(Clone, Debug)]
pub struct Rule {
    kind: Kind,
    reply_count: u32,
    /// By the place of an integer in the reply.
    increments: Vec<i64>,
    /// All of them together.
    increment: i64,
    /// Elements of a read's reply.
    read_count: usize,
    /// The first key's values can be compared with those that other commands have seen.
    comparable: bool,
    /// Nothing of the load takes counters away: one that was there and is not is as wrong as one that fell.
    lasting: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counts,
    Reads,
    Free,
}

impl Rule {
    /// Those of a load's commands. `verified` is whether values are looked at.
    pub fn of(templates: &[Template], verified: bool) -> Vec<Rule> {
        // Numbers mean the same key only where the names have the same form.
        let names = templates.iter().find(|template| matches!(template.effect, Effect::Counts(_)));
        let names = names.and_then(|template| template.names.as_ref());
        let lasting = !templates.iter().any(|template| template.expires || template.effect == Effect::Unknown);
        let rule = |template: &Template| {
            let (kind, increments) = match &template.effect {
                Effect::Counts(increments) => (Kind::Counts, increments.clone()),
                Effect::Reads => (Kind::Reads, Vec::new()),
                Effect::Nothing | Effect::Unknown => (Kind::Free, Vec::new()),
            };
            Rule {
                kind: if verified { kind } else { Kind::Free },
                reply_count: template.reply_count,
                increment: increments.iter().sum(),
                increments,
                read_count: template.named_key_count(),
                lasting,
                comparable: names.is_some() && template.names.as_ref() == names,
            }
        };
        templates.iter().map(rule).collect()
    }

    /// By how much all counters grow that a request concerns.
    pub fn increment(&self) -> i64 {
        self.increment
    }
}

/// What the replies of a thread's connections have shown.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// Sum of the increments that were acknowledged.
    pub acknowledged: u64,
    /// Sum of those whose replies did not come, or were errors.
    pub unknown: u64,
    /// Requests answered with an error.
    pub error_count: u64,
    /// The first error.
    pub error: Option<String>,
    /// Values that fell, or did not grow.
    pub backward_count: u64,
    /// The first of them, in words.
    pub backward: Option<String>,
    /// Replies of a form that the command does not have.
    pub strange_count: u64,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    intended_ns: u64,
    key: u32,
    command: u16,
    /// Replies that are yet to come.
    reply_count: u16,
}

/// See the module.
#[derive(Debug)]
pub struct Flight {
    requests: VecDeque<Request>,
    /// When they were sent: how many at once, and when.
    sends: VecDeque<(u32, u64)>,
    replies: Replies,
    /// Integers of the reply so far, and whether it has an error.
    part_count: usize,
    has_error: bool,
    seen: Seen,
}

impl Flight {
    /// Of a connection that is about to send requests on `key_count` keys.
    pub fn new(key_count: u32) -> Flight {
        Flight {
            requests: VecDeque::new(),
            sends: VecDeque::new(),
            replies: Replies::default(),
            part_count: 0,
            has_error: false,
            seen: Seen::new(key_count),
        }
    }

    /// Nothing is under way any more: its connection is another one now. What was seen of the counters holds on.
    pub fn restart(&mut self) {
        self.requests.clear();
        self.sends.clear();
        self.replies = Replies::default();
        (self.part_count, self.has_error) = (0, false);
    }

    /// Requests under way.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// A request has been written, to be sent with others.
    #[inline]
    pub fn push(&mut self, command: usize, key: u32, intended_ns: u64, rules: &[Rule]) {
        let reply_count = rules[command].reply_count as u16;
        self.requests.push_back(Request { intended_ns, key, command: command as u16, reply_count });
    }

    /// The `count` requests that were pushed last are handed to the kernel.
    pub fn sent(&mut self, count: u32, now_ns: u64) {
        if count > 0 {
            self.sends.push_back((count, now_ns));
        }
    }

    /// The increments of what is under way.
    pub fn unknown(&self, rules: &[Rule]) -> u64 {
        self.requests.iter().map(|request| rules[usize::from(request.command)].increment as u64).sum()
    }

    /// How many of those under way were to be sent within a span.
    pub fn intended_within(&self, span: Span) -> u64 {
        self.requests.iter().filter(|request| span.contains(request.intended_ns)).count() as u64
    }

    /// Take the replies in `bytes`, and give what is to be recorded to `record`: requests that were alike, how many, and
    /// how many of them were answered with an error. Answers how many bytes were consumed. What comes before an error is
    /// taken and recorded all the same.
    ///
    /// # Errors
    /// When the server does not speak the protocol, or answers what was not asked.
    #[inline]
    pub fn take(
        &mut self,
        bytes: &[u8],
        rules: &[Rule],
        shown: &mut Shown,
        mut record: impl FnMut(Alike, u64, u64),
    ) -> Result<usize, ProtocolError> {
        let Flight { requests, sends, replies, part_count, has_error, seen } = self;
        let (mut alike, mut count, mut error_count) = (Alike::default(), 0, 0);
        let mut unasked = false;
        let parsed = replies.parse(bytes, |part| {
            let Some(request) = requests.front_mut() else {
                unasked = true;
                return;
            };
            let rule = &rules[usize::from(request.command)];
            match part {
                Part::Integer(value) => {
                    match rule.kind {
                        Kind::Counts => match rule.increments.get(*part_count) {
                            Some(increment) => {
                                shown.acknowledged += *increment as u64;
                                if *part_count == 0 && rule.comparable {
                                    seen.see(request.key, value, *increment, shown);
                                }
                            }
                            None => shown.strange_count += 1,
                        },
                        Kind::Reads if *part_count == 0 && rule.comparable => seen.see(request.key, value, 0, shown),
                        Kind::Reads | Kind::Free => {}
                    }
                    *part_count += 1;
                }
                Part::Error { text, within } => {
                    // Whether it counted all the same is not known: most errors say that it did not.
                    if rule.kind == Kind::Counts && *part_count < rule.increments.len() {
                        // Of an array it is one element's, by itself all.
                        let lost = if within { rule.increments[*part_count] } else { rule.increment };
                        shown.unknown += lost as u64;
                    }
                    *part_count += 1;
                    *has_error = true;
                    shown.error.get_or_insert_with(|| {
                        String::from_utf8_lossy(&text[..text.len().min(ERROR_BYTES_MAX)]).into_owned()
                    });
                }
                Part::Null | Part::Other => {
                    let is_null = part == Part::Null;
                    // What others have under keys that the load does not count on may be anything.
                    if rule.kind == Kind::Counts || (rule.kind == Kind::Reads && !is_null && rule.comparable) {
                        shown.strange_count += 1;
                    } else if rule.kind == Kind::Reads && *part_count == 0 && rule.comparable && rule.lasting {
                        // No counter is one of 0.
                        seen.see(request.key, 0, 0, shown);
                    }
                    *part_count += 1;
                }
                Part::End => {
                    let failed = std::mem::take(has_error);
                    let is_strange = match rule.kind {
                        Kind::Counts => *part_count < rule.increments.len(),
                        Kind::Reads => *part_count != rule.read_count,
                        Kind::Free => false,
                    };
                    shown.strange_count += u64::from(is_strange && !failed);
                    *part_count = 0;
                    request.reply_count -= 1;
                    if request.reply_count > 0 {
                        *has_error = failed;
                        return;
                    }
                    let (left_count, sent_ns) = sends.front_mut().expect("what is answered was sent");
                    let this = Alike { command: request.command, intended_ns: request.intended_ns, sent_ns: *sent_ns };
                    *left_count -= 1;
                    if *left_count == 0 {
                        sends.pop_front();
                    }
                    requests.pop_front();
                    if this != alike && count > 0 {
                        record(alike, count, error_count);
                        (count, error_count) = (0, 0);
                    }
                    alike = this;
                    count += 1;
                    error_count += u64::from(failed);
                    shown.error_count += u64::from(failed);
                }
            }
        });
        if count > 0 {
            record(alike, count, error_count);
        }
        if unasked {
            return Err(ProtocolError("it answers more than it was asked".to_owned()));
        }
        parsed
    }
}

/// The last values that a connection saw, of some keys: all where they are few, else one in so many.
#[derive(Debug)]
struct Seen {
    /// Keys with one of these bits are not looked at.
    mask: u32,
    shift: u32,
    values: Vec<i64>,
}

impl Seen {
    fn new(key_count: u32) -> Seen {
        let shift = key_count.div_ceil(SEEN_COUNT_MAX).next_power_of_two().trailing_zeros();
        let count = (u64::from(key_count) >> shift) + 1;
        Seen { mask: (1 << shift) - 1, shift, values: vec![i64::MIN; count as usize] }
    }

    #[inline]
    fn see(&mut self, key: u32, value: i64, increment: i64, shown: &mut Shown) {
        if key & self.mask == 0 {
            let last = std::mem::replace(&mut self.values[(key >> self.shift) as usize], value);
            if last > i64::MIN && value < last.saturating_add(increment) {
                shown.backward_count += 1;
                shown.backward.get_or_insert_with(|| {
                    format!("key number {key} was {last}, then {value} after an increment of {increment}")
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
