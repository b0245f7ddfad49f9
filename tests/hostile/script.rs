//! Long requests and replies that nobody has to hold in memory: a head, a piece that is repeated, a tail.

use std::sync::Arc;

/// Bytes that are computed by their offset.
#[derive(Clone, Default)]
pub struct Script {
    head: Vec<u8>,
    cycle: Arc<[u8]>,
    cycle_count: u64,
    tail: Vec<u8>,
}

impl Script {
    /// `head`, `count` times `cycle`, `tail`.
    pub fn new(head: impl Into<Vec<u8>>, cycle: &Arc<[u8]>, count: u64, tail: impl Into<Vec<u8>>) -> Script {
        Script { head: head.into(), cycle: Arc::clone(cycle), cycle_count: count, tail: tail.into() }
    }

    /// Just these bytes.
    pub fn plain(bytes: impl Into<Vec<u8>>) -> Script {
        Script { head: bytes.into(), ..Script::default() }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.tail_at() + self.tail.len() as u64
    }

    /// Where the tail begins.
    pub fn tail_at(&self) -> u64 {
        self.head.len() as u64 + self.cycle.len() as u64 * self.cycle_count
    }

    /// Bytes from `offset` on, some of them: all that lie together. Empty at the end.
    pub fn at(&self, offset: u64) -> &[u8] {
        let head_bytes = self.head.len() as u64;
        if offset < head_bytes {
            &self.head[offset as usize..]
        } else if offset < self.tail_at() {
            let within = (offset - head_bytes) % self.cycle.len() as u64;
            &self.cycle[within as usize..]
        } else {
            let within = usize::try_from(offset - self.tail_at()).expect("a tail fits the memory");
            self.tail.get(within..).unwrap_or_default()
        }
    }

    /// Whether `bytes` are those from `offset` on.
    pub fn matches(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.at(offset);
            let count = expected.len().min(bytes.len());
            if count == 0 || expected[..count] != bytes[..count] {
                return false;
            }
            offset += count as u64;
            bytes = &bytes[count..];
        }
        true
    }
}

#[test]
fn a_script_is_its_parts_in_order() {
    let script = Script::new("head", &Arc::from(&b"abc"[..]), 3, "tail");
    let whole = b"headabcabcabctail";
    assert_eq!((script.len(), script.tail_at()), (17, 13));
    let mut bytes = Vec::new();
    while !script.at(bytes.len() as u64).is_empty() {
        bytes.extend_from_slice(script.at(bytes.len() as u64));
    }
    assert_eq!(bytes, whole);
    for start in 0..whole.len() {
        assert!(script.matches(start as u64, &whole[start..]));
        assert!(!script.matches(start as u64, b"x"));
    }
    assert!(!script.matches(0, b"headabcabcabctail "));
    assert!(Script::plain("").at(0).is_empty());
}
