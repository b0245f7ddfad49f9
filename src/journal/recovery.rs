//! What a data directory holds: examined as a whole, then loaded by each shard for itself.
//!
//! ```text
//! examine   which frames count                    over stream.rs, which follows a journal through its files
//! survey    what is in each file that counts      over snapshot.rs, which follows a snapshot's file
//! load      all of that into counters             over frames.rs, which reads a file frame by frame
//!                                                 behind.rs: what lies behind the place where a journal is damaged
//! ```
//!
//! In a run that has not ended orderly the journal of a shard ends where its frames end to be whole: a crash leaves such
//! an end, and what lies behind it was never on the disk for certain. But where a frame is broken that a later one attests
//! to have been on the disk, the disk has lost it: that is damage. So is whatever is missing of a run that was closed, or of a
//! snapshot. Nothing damaged is dropped unless the operator says so (`recover`). Then frames of the same journal behind the
//! damage are dropped too, as they rest on what is lost; those of a snapshot do not, and stay. Later runs apply on top of what
//! is left: their records are absolute values.

mod behind;
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
    /// A file that counts has a whole header which is none of this version's. So it is neither damaged nor torn, and
    /// nothing of it may be dropped.
    #[error("{file} has a frame at byte {offset} that another version of the program has written")]
    Format {
        /// The file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
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
    /// What is lost by it.
    pub extent: Extent,
}

/// What is lost by damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What lies at and behind it in the journal of one shard in one run.
    Journal {
        /// Whole frames behind it.
        frame_count: u64,
        /// Records in these.
        record_count: u64,
    },
    /// What cannot be read of one shard's file of a snapshot.
    Snapshot {
        /// How many places of the file are damaged.
        place_count: usize,
        /// Counters that are lost. `None`: the file's end, which says how many there were, is lost too.
        lost_count: Option<u64>,
    },
}

impl Damage {
    /// Whether a snapshot is damaged.
    pub fn is_of_snapshot(&self) -> bool {
        matches!(self.extent, Extent::Snapshot { .. })
    }

    /// What a start with `--recover` does about it: the rest of a sentence.
    pub fn recovery(&self) -> &'static str {
        match self.extent {
            Extent::Journal { .. } => "drops what lies at and behind that place, of the same shard and run",
            Extent::Snapshot { .. } => "goes on without them",
        }
    }

    /// What it means to have done that.
    pub fn consequence(&self) -> &'static str {
        match self.extent {
            Extent::Journal { .. } => {
                "Counters that changed there have older values then, and those that were deleted are back, unless a later run says otherwise"
            }
            Extent::Snapshot { .. } => {
                "A new snapshot is taken at once; until that is complete, another start needs --recover again"
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, why, extent } = self;
        write!(f, "{file} is damaged at byte {offset}: {why}")?;
        match extent {
            Extent::Journal { frame_count: 0, .. } => Ok(()),
            Extent::Journal { frame_count, record_count } => {
                write!(f, "; behind it are {frame_count} whole frames with {record_count} changes")
            }
            Extent::Snapshot { place_count, lost_count } => {
                if *place_count > 1 {
                    write!(f, ", and so in {} more places", place_count - 1)?;
                }
                match lost_count {
                    Some(0) => write!(f, "; none of its counters are lost"),
                    Some(count) => write!(f, "; {count} of its counters are lost"),
                    None => write!(f, "; an unknown number of its counters are lost"),
                }
            }
        }
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
        /// Of which run.
        run: u64,
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
            Loss::Linked { run, shard, frame_count } => write!(
                f,
                "run {run}, shard {shard}: {frame_count} frames at the end belong to transactions of which another shard has lost its part: cut"
            ),
            Loss::Damage(damage) => write!(f, "dropped, as --recover allows: {damage}. {}", damage.consequence()),
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
