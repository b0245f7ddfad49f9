//! Whether the server counted right: the counters' sum before and after, against what was acknowledged.

use std::io::{Read, Write};

use super::control::encode;
use super::flight::Shown;
use super::nodes::{self, Node};
use super::reply::{BUFFER_BYTES_MIN, Part, Replies};
use super::result::Verification;
use super::run::{BenchError, Observer};
use super::target::{Stream, TargetError};
use super::template::KeyNames;

/// Keys of one `MGET`, and how many of those are under way at once.
const KEYS_PER_REQUEST: u32 = 256;
const REQUESTS_AT_ONCE: u32 = 16;

/// Progress is told after so many keys.
const PROGRESS_KEY_COUNT: u32 = 10_000_000;

/// The sum of all counters that these names stand for. A counter that is not there is 0.
///
/// # Errors
/// Where a node does not answer, or a value is no integer.
pub fn sum(
    nodes: &[Node],
    names: &[KeyNames],
    key_count: u32,
    observer: &mut dyn Observer,
) -> Result<i128, BenchError> {
    let mut readers = nodes.iter().map(Reader::connect).collect::<Result<Vec<_>, _>>()?;
    let mut sum = 0;
    for names in names {
        let key_count = names.count(key_count);
        let mut key = Vec::new();
        for number in 0..key_count {
            key.clear();
            names.write(number, &mut key);
            let place = match readers.len() {
                1 => 0,
                _ => nodes::owner(nodes, Some(&key)),
            };
            // In a cluster the keys of one command must be of one slot.
            let keys_per_request = if nodes[place].part.is_some() { 1 } else { KEYS_PER_REQUEST };
            let reader = &mut readers[place];
            reader.add(&key);
            if reader.key_count() == keys_per_request * REQUESTS_AT_ONCE {
                sum += reader.read(keys_per_request)?;
            }
            if number % PROGRESS_KEY_COUNT == PROGRESS_KEY_COUNT - 1 {
                observer.phase(&format!("read {} of {key_count} counters", number + 1));
                if observer.interrupted() {
                    return Err(BenchError::Interrupted);
                }
            }
        }
    }
    for (reader, node) in readers.iter_mut().zip(nodes) {
        sum += reader.read(if node.part.is_some() { 1 } else { KEYS_PER_REQUEST })?;
    }
    Ok(sum)
}

/// A connection that reads counters.
struct Reader {
    stream: Stream,
    address: String,
    keys: Vec<Vec<u8>>,
    requests: Vec<u8>,
    buffer: Vec<u8>,
}

impl Reader {
    fn connect(node: &Node) -> Result<Reader, BenchError> {
        let stream = node.target.connect()?;
        let address = node.target.address.to_string();
        Ok(Reader { stream, address, keys: Vec::new(), requests: Vec::new(), buffer: vec![0; BUFFER_BYTES_MIN] })
    }

    fn add(&mut self, key: &[u8]) {
        self.keys.push(key.to_vec());
    }

    fn key_count(&self) -> u32 {
        self.keys.len() as u32
    }

    /// Read the counters that were added, and forget them.
    fn read(&mut self, keys_per_request: u32) -> Result<i128, BenchError> {
        self.requests.clear();
        let mut reply_count = 0;
        for keys in self.keys.chunks(keys_per_request as usize) {
            let command: &[u8] = if keys_per_request == 1 { b"GET" } else { b"MGET" };
            let arguments: Vec<&[u8]> = std::iter::once(command).chain(keys.iter().map(Vec::as_slice)).collect();
            encode(&arguments, &mut self.requests);
            reply_count += 1;
        }
        self.keys.clear();
        let silent = |error| TargetError::silent(&self.address, "MGET", error);
        self.stream.write_all(&self.requests).map_err(silent)?;
        let (mut sum, mut problem) = (0, None);
        let (mut replies, mut held_bytes) = (Replies::default(), 0);
        while reply_count > 0 {
            let received_bytes = match self.stream.read(&mut self.buffer[held_bytes..]) {
                Ok(0) => Err(silent(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(received_bytes) => Ok(received_bytes),
                Err(error) => Err(silent(error)),
            }?;
            let bytes = &self.buffer[..held_bytes + received_bytes];
            let taken = replies.parse(bytes, |part| match part {
                Part::Integer(value) => sum += i128::from(value),
                Part::Null => {}
                Part::Other => problem = Some("a counter's value is no integer".to_owned()),
                Part::Error { text, .. } => problem = Some(String::from_utf8_lossy(text).into_owned()),
                Part::End => reply_count -= 1,
            });
            let consumed_bytes = taken.map_err(|error| BenchError::Counters { problem: error.to_string() })?;
            let held = consumed_bytes..held_bytes + received_bytes;
            held_bytes = held.len();
            self.buffer.copy_within(held, 0);
        }
        match problem {
            Some(problem) => Err(BenchError::Counters { problem }),
            None => Ok(sum),
        }
    }
}

/// What the sums and the replies say together.
pub fn judge(before: i128, after: i128, shown: &Shown) -> Verification {
    let grown = after - before;
    let (acknowledged, unknown) = (i128::from(shown.acknowledged), i128::from(shown.unknown));
    let mut findings = Vec::new();
    if grown < acknowledged {
        findings.push(format!(
            "{} increments are lost: {acknowledged} were acknowledged, the counters grew by {grown}",
            acknowledged - grown
        ));
    }
    if grown > acknowledged + unknown {
        findings.push(format!(
            "the counters grew by {grown}, but only {acknowledged} increments were acknowledged and {unknown} are of \
             unknown outcome (does anything else count on these keys?)"
        ));
    }
    if let Some(backward) = &shown.backward {
        findings.push(format!("{} values did not grow, the first: {backward}", shown.backward_count));
    }
    if shown.strange_count > 0 {
        findings.push(format!("{} replies were not of the form that their commands have", shown.strange_count));
    }
    if findings.is_empty() {
        Verification::Passed {
            acknowledged: shown.acknowledged,
            unknown: shown.unknown,
            grown: u64::try_from(grown).expect("it is at least what was acknowledged"),
        }
    } else {
        Verification::Failed { findings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(grown: i128, acknowledged: u64, unknown: u64) -> Verification {
        judge(7, 7 + grown, &Shown { acknowledged, unknown, ..Shown::default() })
    }

    fn finding(verification: Verification) -> String {
        match verification {
            Verification::Failed { findings } => findings[0].clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn growth_lies_between_what_is_certain_and_what_may_be() {
        assert_eq!(judged(10, 10, 0), Verification::Passed { acknowledged: 10, unknown: 0, grown: 10 });
        assert_eq!(judged(12, 10, 2), Verification::Passed { acknowledged: 10, unknown: 2, grown: 12 });
        assert!(finding(judged(9, 10, 0)).contains("1 increments are lost"));
        assert!(finding(judged(9, 10, 5)).contains("1 increments are lost"));
        assert!(finding(judged(13, 10, 2)).contains("anything else"));
        assert!(finding(judged(-5, 0, 2)).contains("lost"));
    }

    #[test]
    fn what_the_replies_showed_counts_too() {
        let backward = Some("key".to_owned());
        let shown = Shown { acknowledged: 1, backward_count: 3, backward, ..Shown::default() };
        assert!(finding(judge(0, 1, &shown)).contains("3 values did not grow"));
        let shown = Shown { acknowledged: 1, strange_count: 2, ..Shown::default() };
        assert!(finding(judge(0, 1, &shown)).contains("2 replies"));
    }
}
