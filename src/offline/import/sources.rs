//! Which files belong to what is to be imported, and in which order.
//!
//! A Redis 7 keeps its append-only file in a directory: a manifest names a base and what was appended since.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::rdb;
use crate::command::{Span, Spans};
use crate::resp::inline;

/// Bytes of a manifest at most. A line names a file, and there are a few.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// A file of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// It begins with a snapshot. Commands may follow.
    pub is_snapshot: bool,
    /// Nothing comes behind it, so it may end within a command.
    pub is_last: bool,
}

/// Why a path names nothing that can be imported.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is something else.
    #[error("{} {what}", path.display())]
    Other {
        /// The file or directory.
        path: PathBuf,
        /// What it is.
        what: String,
    },
}

/// The files behind a path: one file, or those that a manifest or its directory names.
///
/// # Errors
/// The path is none of those.
pub fn find(path: &Path) -> Result<Vec<Source>, Unusable> {
    let manifest = if path.is_dir() { Some(manifest_of(path)?) } else { None };
    let is_manifest = path.extension().is_some_and(|extension| extension == "manifest");
    let Some(manifest) = manifest.or_else(|| is_manifest.then(|| path.to_owned())) else {
        let may_be_empty = path.extension().is_some_and(|extension| extension == "aof");
        return Ok(vec![source(path.to_owned(), may_be_empty, true)?]);
    };
    let directory = manifest.parent().unwrap_or(Path::new("."));
    let files = parts(&manifest)?;
    let last = files.len().saturating_sub(1);
    let part = |(index, file): (usize, &PathBuf)| {
        let may_be_empty = file.extension().is_none_or(|extension| extension != "rdb");
        source(directory.join(file), may_be_empty, index == last)
    };
    files.iter().enumerate().map(part).collect()
}

/// Commands may be none; a snapshot is never empty.
fn source(path: PathBuf, may_be_empty: bool, is_last: bool) -> Result<Source, Unusable> {
    let read = || {
        let file = fs::File::open(&path)?;
        let bytes = file.metadata()?.len();
        let mut start = Vec::new();
        file.take(rdb::MAGIC.len() as u64).read_to_end(&mut start)?;
        Ok((bytes, start))
    };
    let (bytes, start) = read().map_err(|error| Unusable::Io { path: path.clone(), error })?;
    if bytes == 0 && !may_be_empty {
        return Err(Unusable::Other { path, what: "is empty, so it is no snapshot of a Redis (dump.rdb)".to_owned() });
    }
    let is_snapshot = start == rdb::MAGIC;
    if !is_snapshot && !matches!(start.first(), None | Some(b'*' | b'#')) {
        let what = "is no file of a Redis: neither a snapshot (dump.rdb) nor an append-only file".to_owned();
        return Err(Unusable::Other { path, what });
    }
    Ok(Source { path, bytes, is_snapshot, is_last })
}

/// The one manifest in a directory.
fn manifest_of(directory: &Path) -> Result<PathBuf, Unusable> {
    let failed = |error| Unusable::Io { path: directory.to_owned(), error };
    let mut manifests = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "manifest") {
            manifests.push(path);
        }
    }
    match &manifests[..] {
        [manifest] => Ok(manifest.clone()),
        [] => {
            let what = "has no manifest of an append-only file: name dump.rdb or appendonlydir in it".to_owned();
            Err(Unusable::Other { path: directory.to_owned(), what })
        }
        _ => {
            let what = format!("has {} manifests: name the one that counts", manifests.len());
            Err(Unusable::Other { path: directory.to_owned(), what })
        }
    }
}

/// The files that a manifest names, the base first.
fn parts(manifest: &Path) -> Result<Vec<PathBuf>, Unusable> {
    let read = || {
        let mut text = Vec::new();
        fs::File::open(manifest)?.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    };
    let mut text: Vec<u8> = read().map_err(|error| Unusable::Io { path: manifest.to_owned(), error })?;
    let (mut base, mut appended) = (Vec::new(), Vec::new());
    for (index, line) in text.split_mut(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        match part(line) {
            Some((file, b'b')) => base.push(file),
            Some((file, b'i')) => appended.push(file),
            // History, which Redis has not removed yet.
            Some((_, b'h')) => {}
            _ => {
                let what = format!("is no manifest of an append-only file: line {} cannot be read", index + 1);
                return Err(Unusable::Other { path: manifest.to_owned(), what });
            }
        }
    }
    base.append(&mut appended);
    if base.is_empty() {
        let what = "is no manifest of an append-only file: it names no files".to_owned();
        return Err(Unusable::Other { path: manifest.to_owned(), what });
    }
    Ok(base)
}

/// A line of a manifest: `file NAME seq NUMBER type b|i|h`, perhaps with more pairs. The name has no directory.
fn part(line: &mut [u8]) -> Option<(PathBuf, u8)> {
    let mut spans = Spans::default();
    inline::split(line, 0, &mut spans).ok()?;
    let word = |span: &Span| &line[span.start as usize..][..span.len as usize];
    let (mut file, mut kind) = (None, None);
    for pair in spans.as_slice().chunks(2) {
        let [name, value] = pair else { return None };
        match word(name) {
            b"file" => file = Some(std::str::from_utf8(word(value)).ok()?.to_owned()),
            b"type" => kind = word(value).first().copied(),
            _ => {}
        }
    }
    let file = PathBuf::from(file?);
    let is_name = file.file_name().is_some_and(|name| name == file.as_os_str());
    is_name.then_some((file, kind?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_its_files_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
        write(
            "a.manifest",
            "# a comment\nfile \"an \\x61of.2.incr\" seq 2 type i startoffset 0\nfile a.1.base seq 1 type b\nfile a.0 seq 0 type h\n",
        );
        write("an aof.2.incr", "*1\r\n");
        write("a.1.base", "REDIS0011");
        let sources = find(directory.path()).expect("a manifest");
        let named = |name: &str| directory.path().join(name);
        assert_eq!(
            sources,
            [
                Source { path: named("a.1.base"), bytes: 9, is_snapshot: true, is_last: false },
                Source { path: named("an aof.2.incr"), bytes: 4, is_snapshot: false, is_last: true },
            ]
        );
        assert_eq!(find(&named("a.manifest")).expect("the same"), sources);
    }

    #[test]
    fn what_is_something_else_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let said = |path: &Path| find(path).expect_err("it is none").to_string();
        assert!(said(directory.path()).ends_with("name dump.rdb or appendonlydir in it"));
        assert!(said(&directory.path().join("missing")).contains("No such file"));
        for (text, expected) in [
            ("file a seq 1 type x\n", "line 1 cannot be read"),
            ("file ../a seq 1 type b\n", "line 1 cannot be read"),
            ("# nothing\n", "it names no files"),
            ("file \"a seq\n", "line 1 cannot be read"),
        ] {
            let path = directory.path().join("x.manifest");
            fs::write(&path, text).expect("a file");
            assert!(said(&path).ends_with(expected), "{}", said(&path));
        }
        for (name, is_refused) in [("dump.rdb", true), ("dump", true), ("appendonly.aof", false)] {
            let path = directory.path().join(name);
            fs::write(&path, "").expect("a file");
            assert_eq!(find(&path).is_err(), is_refused, "{name}");
        }
        assert!(
            said(&directory.path().join("dump.rdb"))
                .ends_with("dump.rdb is empty, so it is no snapshot of a Redis (dump.rdb)")
        );
        let manifest = directory.path().join("parts.manifest");
        let parts = "file appendonly.aof seq 1 type i\n";
        fs::write(&manifest, parts).expect("a file");
        assert!(find(&manifest).is_ok(), "nothing was appended yet");
        fs::write(&manifest, format!("file dump.rdb seq 1 type b\n{parts}")).expect("a file");
        assert!(said(&manifest).contains("dump.rdb is empty"), "{}", said(&manifest));
        let path = directory.path().join("notes.txt");
        fs::write(&path, "hello").expect("a file");
        assert!(said(&path).contains("is no file of a Redis"));
    }
}
