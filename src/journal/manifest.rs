//! The manifest: which files of a data directory count, in which order.
//!
//! ```text
//! tallyring-data 1
//! snapshot 3 shards 2
//! run 5 id 8f3c… from 120,98 to 300,250
//! run 6 id 02ab… from 1,1
//! crc32c 1a2b3c4d
//! ```
//!
//! A **run** is one life of a server process, with a journal for each of its shards; `from` and `to` are frames of each.
//! The last run is open: what is found of it counts as far as it is whole. The file is replaced as a whole, by writing
//! another one and renaming it, so there is always one, and it is either the old or the new one.

use std::fmt::{self, Write};

use crate::limits::SHARD_COUNT_MAX;

/// The file's name.
pub const MANIFEST: &str = "manifest";

/// What it is written as before it is renamed.
pub const MANIFEST_NEW: &str = "manifest.new";

const TITLE: &str = "tallyring-data 1";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// What everything begins with, if there is one.
    pub snapshot: Option<Snapshot>,
    /// The runs since then, in their order.
    pub runs: Vec<Run>,
}

/// A snapshot: one file for each shard that there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub number: u64,
    /// How many shards there were.
    pub shard_count: usize,
}

/// One life of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number, growing.
    pub number: u64,
    /// What its frames are marked with.
    pub id: u64,
    /// By shard: the first frame that counts.
    pub from: Vec<u64>,
    /// By shard: the last frame that counts. `None`: the run is open.
    pub to: Option<Vec<u64>>,
}

/// The manifest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Unreadable {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

impl Run {
    /// A run that begins.
    pub fn begin(number: u64, id: u64, shard_count: usize) -> Run {
        Run { number, id, from: vec![1; shard_count], to: None }
    }

    /// How many shards it had.
    pub fn shard_count(&self) -> usize {
        self.from.len()
    }

    /// Whether no frame of it counts.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to.iter().zip(&self.from).all(|(to, from)| to < from))
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{TITLE}\n");
        if let Some(Snapshot { number, shard_count }) = self.snapshot {
            let _ = writeln!(text, "snapshot {number} shards {shard_count}");
        }
        for run in &self.runs {
            let _ = write!(text, "run {} id {:016x} from {}", run.number, run.id, list(&run.from));
            if let Some(to) = &run.to {
                let _ = write!(text, " to {}", list(to));
            }
            text.push('\n');
        }
        let crc = crc32c::crc32c(text.as_bytes());
        writeln!(f, "{text}crc32c {crc:08x}")
    }
}

impl Manifest {
    /// Read its text.
    pub fn parse(text: &str) -> Result<Manifest, Unreadable> {
        let fault = |line, problem| Unreadable { line, problem };
        let line_count = text.lines().count();
        let body_len = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
        let (body, last) = text.split_at(body_len);
        let crc = last.strip_prefix("crc32c ").and_then(|crc| u32::from_str_radix(crc.trim_end(), 16).ok());
        if crc != Some(crc32c::crc32c(body.as_bytes())) || !last.ends_with('\n') {
            return Err(fault(line_count.max(1), "the checksum does not match"));
        }
        let mut manifest = Manifest::default();
        for (index, line) in body.lines().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |text: &str| text.parse::<u64>().ok();
            let understood = match (index, &words[..]) {
                (0, _) => (line == TITLE).then_some(()),
                (_, ["snapshot", of, "shards", count]) => {
                    number(of).zip(count.parse().ok()).map(|(number, shard_count)| {
                        manifest.snapshot = Some(Snapshot { number, shard_count });
                    })
                }
                (_, ["run", of, "id", id, "from", from, rest @ ..]) => {
                    let to = match rest {
                        [] => Some(None),
                        ["to", to] => numbers(to).map(Some),
                        _ => None,
                    };
                    let parts = number(of).zip(u64::from_str_radix(id, 16).ok()).zip(numbers(from)).zip(to);
                    parts.map(|(((number, id), from), to)| manifest.runs.push(Run { number, id, from, to }))
                }
                _ => None,
            };
            understood.ok_or(fault(index + 1, "it was written by another version of the program"))?;
        }
        let sound = |run: &Run| {
            (1..=SHARD_COUNT_MAX).contains(&run.shard_count())
                && run.to.as_ref().is_none_or(|to| to.len() == run.from.len())
                && run.from.iter().all(|from| *from > 0)
        };
        let closed_before = manifest.runs.iter().rev().skip(1).all(|run| run.to.is_some());
        let ascending = manifest.runs.is_sorted_by(|a, b| a.number < b.number);
        let shards = manifest.snapshot.is_none_or(|snapshot| (1..=SHARD_COUNT_MAX).contains(&snapshot.shard_count));
        if !manifest.runs.iter().all(sound) || !closed_before || !ascending || !shards {
            return Err(fault(line_count, "its numbers do not fit together"));
        }
        Ok(manifest)
    }
}

/// The name of a file of a run's journal: the frames of one shard from `first` on.
pub fn segment_name(run: u64, shard: usize, first: u64) -> String {
    format!("journal-{run:06}-{shard:03}-{first:012}")
}

/// What such a name says: run, shard, first frame.
pub fn parse_segment_name(name: &str) -> Option<(u64, usize, u64)> {
    let mut parts = name.strip_prefix("journal-")?.split('-');
    let parsed = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next().is_none() && name == segment_name(parsed.0, parsed.1, parsed.2)).then_some(parsed)
}

/// The name of one shard's file of a snapshot.
pub fn snapshot_name(number: u64, shard: usize) -> String {
    format!("snapshot-{number:06}-{shard:03}")
}

/// What such a name says: number and shard.
pub fn parse_snapshot_name(name: &str) -> Option<(u64, usize)> {
    let (number, shard) = name.strip_prefix("snapshot-")?.split_once('-')?;
    let parsed = (number.parse().ok()?, shard.parse().ok()?);
    (name == snapshot_name(parsed.0, parsed.1)).then_some(parsed)
}

fn list(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split(',').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_manifest() -> Manifest {
        let closed = Run { number: 5, id: 0xABC, from: vec![120, 98], to: Some(vec![300, 97]) };
        Manifest {
            snapshot: Some(Snapshot { number: 3, shard_count: 2 }),
            runs: vec![closed, Run::begin(6, u64::MAX, 1)],
        }
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        for manifest in [a_manifest(), Manifest::default()] {
            assert_eq!(Manifest::parse(&manifest.to_string()), Ok(manifest));
        }
        assert!(!a_manifest().runs[0].is_empty() && !a_manifest().runs[1].is_empty());
    }

    #[test]
    fn nothing_else_is() {
        let text = a_manifest().to_string();
        for len in 0..text.len() {
            assert!(Manifest::parse(&text[..len]).is_err(), "cut at {len}");
        }
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).expect("still ASCII");
            assert!(Manifest::parse(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn names_say_what_a_file_is() {
        assert_eq!(parse_segment_name(&segment_name(6, 1, 42)), Some((6, 1, 42)));
        assert_eq!(parse_segment_name(&segment_name(u64::MAX, 255, u64::MAX)), Some((u64::MAX, 255, u64::MAX)));
        assert_eq!(parse_snapshot_name(&snapshot_name(7, 3)), Some((7, 3)));
        for name in ["journal-6-1-42", "journal-000006-001", "snapshot-1-1", "manifest", "journal-000006-001-x"] {
            assert_eq!((parse_segment_name(name), parse_snapshot_name(name)), (None, None), "{name}");
        }
    }
}
