//! A picture of a data directory at one moment, for whoever reads it without starting a server.
//!
//! A server may be at work there: what it appends later is not in the picture, and what it removes still is. Nothing is
//! locked, and nothing is written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use super::disk::{Directory, Files};
use super::manifest::{MANIFEST, parse_segment_name, parse_snapshot_name};

/// How often it is tried to see the same manifest before and after.
const ATTEMPT_COUNT: usize = 100;

/// See the module.
#[derive(Debug)]
pub struct Picture {
    /// By name: the open file, and how long it was.
    files: BTreeMap<String, (fs::File, u64)>,
}

impl Picture {
    /// Take one.
    ///
    /// # Errors
    /// The directory or one of the files cannot be read.
    pub fn take(directory: &Directory) -> io::Result<Picture> {
        let mut before = read_manifest(directory)?;
        for _ in 0..ATTEMPT_COUNT {
            let picture = Picture::try_take(directory)?;
            let after = read_manifest(directory)?;
            if before == after {
                return Ok(picture);
            }
            before = after;
        }
        Err(io::Error::other("the manifest changes again and again"))
    }

    fn try_take(directory: &Directory) -> io::Result<Picture> {
        let is_ours = |name: &String| {
            name == MANIFEST || parse_segment_name(name).is_some() || parse_snapshot_name(name).is_some()
        };
        let mut files = BTreeMap::new();
        for name in directory.names()?.into_iter().filter(is_ours) {
            match fs::File::open(directory.path().join(&name)) {
                Ok(file) => {
                    let len = file.metadata()?.len();
                    files.insert(name, (file, len));
                }
                // Removed since, or it is missing: the manifest tells.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("{name}: {error}"))),
            }
        }
        Ok(Picture { files })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|(_, len)| len).sum()
    }

    /// Bytes of one file; 0 where there is none.
    pub fn bytes_of(&self, name: &str) -> u64 {
        self.files.get(name).map_or(0, |(_, len)| *len)
    }
}

fn read_manifest(directory: &Directory) -> io::Result<Option<Vec<u8>>> {
    match fs::read(directory.path().join(MANIFEST)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files for Picture {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.files.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        let (file, len) = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Reading { file, at: 0, len: *len }))
    }
}

/// Reads a file of a picture, beside others who read it.
struct Reading<'a> {
    file: &'a fs::File,
    at: u64,
    len: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left_bytes = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let wanted_bytes = into.len().min(left_bytes);
        let read_bytes = self.file.read_at(&mut into[..wanted_bytes], self.at)?;
        self.at += read_bytes as u64;
        Ok(read_bytes)
    }
}
