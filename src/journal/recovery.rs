//! What a data directory holds: examined as a whole, then loaded by each shard for itself.
//!
//! ```text
//! examine   which frames count                    over stream.rs, which follows a journal through its files
//! survey    what is in each file that counts      over snapshot.rs, which follows a snapshot's file
//! load      all of that into counters             over frames.rs, which reads a file frame by frame
//! ```
//!
//! In a run that has not ended orderly the journal of a shard ends where its frames end to be whole: a crash leaves such
//! an end, and what lies behind it was never on the disk for certain. But where a frame is broken that a later one attests
//! to have been on the disk, the disk has lost it: that is damage, and nothing is dropped unless the operator says so.

mod examine;
mod frames;
mod load;
mod snapshot;
mod stream;
mod survey;

use std::fmt;
use std::io;

pub use examine::{Examined, examine};
pub use load::load;
pub use survey::{Surveyed, survey};

use super::disk::FilesMut;
use super::frame::Broken;
use super::manifest::{MANIFEST, MANIFEST_NEW, Manifest};

/// Why a data directory cannot be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A file cannot be read.
    #[error("{file} cannot be read: {error}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The manifest is none.
    #[error("the file manifest is damaged ({error})")]
    Manifest {
        /// Where and how.
        error: super::manifest::Unreadable,
    },
    /// There are data, but nothing says which of them count.
    #[error("the file manifest is missing, although there is {file}")]
    NoManifest {
        /// One of the files that need it.
        file: String,
    },
    /// A file that counts is damaged, or ends too early.
    #[error("{0}")]
    Damaged(Damage),
}

/// Where a file is damaged, and what lies behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub why: Broken,
    /// Whole frames behind it.
    pub frame_count: u64,
    /// Records in these.
    pub record_count: u64,
    /// Whether `--recover` can drop what lies at and behind that place: in the journal of the run that did not end orderly.
    pub droppable: bool,
}

impl Damage {
    /// Damage that nothing but a copy of the file mends.
    fn lasting(file: String, offset: u64, why: Broken) -> Damage {
        Damage { file, offset, why, frame_count: 0, record_count: 0, droppable: false }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, why, frame_count, record_count, droppable: _ } = self;
        write!(f, "{file} is damaged at byte {offset}: {why}")?;
        if *frame_count > 0 {
            write!(f, "; behind it are {frame_count} whole frames with {record_count} changes")?;
        }
        Ok(())
    }
}

/// Something that was found and does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// What a crash has left of writes under way at the end of a journal.
    Tail {
        /// The file.
        file: String,
        /// From which byte on.
        offset: u64,
        /// How many bytes, with those of files behind it.
        bytes: u64,
    },
    /// Frames that are linked to others which are missing.
    Linked {
        /// Whose.
        shard: usize,
        /// How many.
        frame_count: u64,
    },
    /// What the operator has allowed to drop.
    Damage(Damage),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Tail { file, offset, bytes } => {
                write!(f, "{file}: {bytes} bytes from byte {offset} on are what a crash left of unfinished writes: cut")
            }
            Loss::Linked { shard, frame_count } => write!(
                f,
                "shard {shard}: {frame_count} frames at the end belong to transactions of which another shard has lost its part: cut"
            ),
            Loss::Damage(damage) => write!(f, "dropped, as --recover allows: {damage}"),
        }
    }
}

/// Replace the manifest: the old one or the new one is there, whatever happens.
///
/// # Errors
/// What the disk says; the old one is in force then.
pub fn replace_manifest(files: &impl FilesMut, manifest: &Manifest) -> io::Result<()> {
    files.write(MANIFEST_NEW, manifest.to_string().as_bytes())?;
    files.rename(MANIFEST_NEW, MANIFEST)
}
