//! Reading `/proc` and `/sys`, or a directory that stands for both.
//!
//! Invariant: what is not there, cannot be read, or does not read as it should is `None`; nothing is guessed and nothing
//! is written.

use std::fs;
use std::path::{Path, PathBuf};

/// Cores that are named at most: the kernel's own largest `NR_CPUS`.
const CORE_COUNT_MAX: usize = 8_192;

/// The directory that `/proc` and `/sys` are in. Paths are given without the leading slash.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// The tree under `root`.
    pub fn new(root: &Path) -> Tree {
        Tree { root: root.to_owned() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file's text without the white space at its ends.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file that holds one number.
    pub fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// A file that holds a list of cores or nodes, as `0-3,8`; an empty one names none.
    pub fn list(&self, path: &str) -> Option<Vec<usize>> {
        parse_list(&self.text(path)?)
    }

    /// A file whose chosen word is in brackets, as `always [madvise] never`.
    pub fn choice(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }

    /// What stands behind `name` in a file of lines such as `CapEff: 0`.
    pub fn field(&self, path: &str, name: &str) -> Option<String> {
        let text = self.text(path)?;
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
        Some(rest.trim().to_owned())
    }

    /// The names in a directory, numbers by value.
    pub fn names(&self, path: &str) -> Option<Vec<String>> {
        let entries = fs::read_dir(self.root.join(path)).ok()?;
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_by_key(|name| {
            (name.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(0_u64), name.clone())
        });
        Some(names)
    }

    /// Something is there.
    pub fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

/// `0-3,8`; `None` where it is no list, or names more cores than Linux has.
pub fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CORE_COUNT_MAX {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

/// Whether a mask such as `00000000,0000000f` has a core in it. Masks of any length are understood.
pub fn mask_has(mask: &str, core: usize) -> bool {
    let digits: Vec<u32> = mask.chars().rev().filter_map(|c| c.to_digit(16)).collect();
    digits.get(core / 4).is_some_and(|digit| digit >> (core % 4) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_masks_are_understood() {
        assert_eq!(parse_list("0-2,8"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("x"), None);
        assert_eq!(parse_list("1-0"), None);
        assert_eq!(parse_list("0-99999999999"), None);
        assert_eq!(parse_list("0-9999999"), None);
        assert!(mask_has("f", 3) && !mask_has("f", 4) && !mask_has("", 0));
        assert!(mask_has("00000001,00000000", 32) && !mask_has("00000001,00000000", 0));
    }
}
