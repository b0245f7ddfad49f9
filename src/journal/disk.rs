//! The data directory: what the journal asks of a disk, and the real one.
//!
//! While the server runs, everything goes through the shard's ring ([`Disk`]), but for small synchronous writes while the
//! disk is quick, which the thread waits for; when it starts, and offline, through plain calls ([`Files`]). The two traits are all that the rest of the journal knows, so that tests can put a disk in their
//! place that forgets, tears and fails. Names are those of files of the one directory.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use tokio_uring::buf::BoundedBuf;

use crate::limits::{JOURNAL_AHEAD_BYTES, JOURNAL_PIECE_BYTES};

/// The file that a server locks.
const LOCK: &str = "lock";

/// A disk that takes longer for a synchronous write is not waited for by the shard's thread.
const QUICK_MAX: Duration = Duration::from_millis(1);

/// Writes that go through the ring before it is tried again.
const LEFT_OUT_COUNT: u32 = 256;

/// Never written to, so it takes no memory.
static ZEROS: [u8; JOURNAL_AHEAD_BYTES] = [0; JOURNAL_AHEAD_BYTES];

/// What is written while the server runs.
#[expect(async_fn_in_trait, reason = "every caller lives on one thread")]
pub trait Disk {
    /// An open file.
    type File: DiskFile;
    /// Create an empty file, or empty the one that there is. `synchronous`: what is written is on the disk when the
    /// write comes back.
    async fn create(&self, name: &str, synchronous: bool) -> io::Result<Self::File>;
    /// Give a file another name; one of that name is replaced, at once and as a whole.
    async fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Remove a file.
    async fn remove(&self, name: &str) -> io::Result<()>;
    /// Names are on the disk when this comes back.
    async fn sync_names(&self) -> io::Result<()>;
}

/// A file that is written.
#[expect(async_fn_in_trait, reason = "every caller lives on one thread")]
pub trait DiskFile {
    /// Write `bytes[range]` at an offset; perhaps fewer bytes than that. The buffer comes back.
    async fn write_at(&self, bytes: Vec<u8>, range: Range<usize>, at: u64) -> (io::Result<usize>, Vec<u8>);
    /// Write [`JOURNAL_AHEAD_BYTES`] zeros at an offset; perhaps fewer than that.
    async fn write_zeros(&self, at: u64) -> io::Result<usize>;
    /// What was written is on the disk when this comes back. After an error nobody knows what is.
    async fn sync(&self) -> io::Result<()>;
}

/// What is read when the server starts, or without one.
pub trait Files: Sync {
    /// The names of all files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Read a file from its beginning.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>>;
}

/// The little that is written when the server starts.
pub trait FilesMut: Files {
    /// Write a file and have it on the disk.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Give a file another name and have that on the disk.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Remove a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// What a file has is on the disk when this comes back, whoever wrote it.
    fn sync(&self, name: &str) -> io::Result<()>;
}

/// Write all of `bytes[range]`.
pub async fn write_all_at<F: DiskFile>(
    file: &F,
    bytes: Vec<u8>,
    range: Range<usize>,
    at: u64,
) -> (io::Result<()>, Vec<u8>) {
    write_pieces_at(file, bytes, range, at, usize::MAX).await
}

/// The same, at most so many bytes at once.
pub async fn write_pieces_at<F: DiskFile>(
    file: &F,
    mut bytes: Vec<u8>,
    range: Range<usize>,
    at: u64,
    piece_bytes: usize,
) -> (io::Result<()>, Vec<u8>) {
    let mut start = range.start;
    while start < range.end {
        let end = range.end.min(start.saturating_add(piece_bytes));
        let (result, back) = file.write_at(bytes, start..end, at + (start - range.start) as u64).await;
        bytes = back;
        match result {
            Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), bytes),
            Ok(count) => start += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (Err(error), bytes),
        }
    }
    (Ok(()), bytes)
}

/// Whether an error is for want of room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// A directory of this machine. While its lock is held nothing is made, renamed or removed in another one that has come to
/// stand at its path.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    /// What this process has locked there, as long as it does.
    locked: Arc<Mutex<Weak<fs::File>>>,
}

/// Keeps others from using a directory for as long as it lives, or one of its clones.
#[derive(Clone, Debug)]
pub struct DirectoryLock {
    _file: Arc<fs::File>,
}

/// The directory at a path is not the one any more whose lock is held, or its lock file is gone: others may use it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the data directory was removed or replaced")]
pub struct Displaced;

impl Displaced {
    /// Whether an error says so.
    pub fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Displaced>())
    }
}

impl Directory {
    /// The directory at a path, which need not exist yet.
    pub fn new(path: &Path) -> Directory {
        Directory { path: path.to_owned(), locked: Arc::default() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Create it where it is missing, and keep all others out. `None`: somebody else has it.
    pub fn lock(&self) -> io::Result<Option<DirectoryLock>> {
        self.create()?;
        let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.path.join(LOCK))?;
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let file = Arc::new(file);
                *self.locked.lock().expect("no thread panics and goes on") = Arc::downgrade(&file);
                // Somebody may have removed it before it was locked.
                self.check_locked()?;
                Ok(Some(DirectoryLock { _file: file }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Look whether the lock that is held is still that of the directory at the path. Where none is held all is well.
    ///
    /// # Errors
    /// It is not ([`Displaced`]), or the system does not say.
    pub fn check_locked(&self) -> io::Result<()> {
        let Some(file) = self.locked.lock().expect("no thread panics and goes on").upgrade() else { return Ok(()) };
        let own = rustix::fs::fstat(&*file)?;
        match rustix::fs::stat(self.path.join(LOCK)) {
            Ok(there) if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino) => Ok(()),
            Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Err(io::Error::other(Displaced)),
            Err(error) => Err(error.into()),
        }
    }

    /// Bytes that may still be written there; `None` where the file system does not say.
    pub fn free_bytes(&self) -> Option<u64> {
        let room = rustix::fs::statvfs(&self.path).ok().filter(|room| room.f_blocks > 0)?;
        Some(room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// The process that holds the lock, as far as it can be seen from here (proc_locks(5)): asking for the lock, even for a
    /// moment, could keep a server from starting.
    pub fn user(&self) -> Option<u32> {
        let file = rustix::fs::stat(self.path.join(LOCK)).ok()?;
        let (major, minor) = (rustix::fs::major(file.st_dev), rustix::fs::minor(file.st_dev));
        let place = format!("{major:02x}:{minor:02x}:{}", file.st_ino);
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locks.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [_, "FLOCK", _, "WRITE", pid, of, ..] if of == place => pid.parse().ok(),
                _ => None,
            }
        })
    }

    /// Create the directory and those above it, and have their names on the disk.
    fn create(&self) -> io::Result<()> {
        let path = std::path::absolute(&self.path)?;
        let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        fs::create_dir_all(&path)?;
        for parent in missing.iter().filter_map(|path| path.parent()) {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    /// Bytes of the files whose names are of this kind.
    pub fn bytes(&self, of_kind: impl Fn(&str) -> bool) -> u64 {
        let names = self.names().unwrap_or_default();
        let sizes = names.iter().filter(|name| of_kind(name)).map(|name| fs::metadata(self.path.join(name)));
        sizes.map(|size| size.map_or(0, |size| size.len())).sum()
    }

    fn sync_names_now(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }
}

impl Files for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // What is no text is no name of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(fs::File::open(self.path.join(name))?))
    }
}

impl FilesMut for Directory {
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.check_locked()?;
        let mut file = fs::File::create(self.path.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_locked()?;
        fs::rename(self.path.join(from), self.path.join(to))?;
        self.sync_names_now()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.check_locked()?;
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        fs::File::open(self.path.join(name))?.sync_data()
    }
}

/// A file of a directory, to be written.
pub struct OpenFile {
    file: tokio_uring::fs::File,
    in_place: Option<InPlace>,
}

/// Synchronous writes that the thread waits for.
///
/// Through the ring such a write is carried out by a worker of the kernel, which wants the core of the shard; and no reply
/// leaves the shard before it is done. So the shard writes itself, as long as the disk answers within [`QUICK_MAX`].
struct InPlace {
    file: fs::File,
    /// So many more go through the ring, since one took longer.
    left_out_count: Cell<u32>,
}

impl InPlace {
    /// Write, if that is likely to be quick.
    fn try_write_at(&self, bytes: &[u8], at: u64) -> Option<io::Result<usize>> {
        if bytes.len() > JOURNAL_PIECE_BYTES {
            return None;
        }
        if let Some(left_count) = self.left_out_count.get().checked_sub(1) {
            self.left_out_count.set(left_count);
            return None;
        }
        let begun = Instant::now();
        let result = self.file.write_at(bytes, at);
        self.note_took(begun.elapsed());
        Some(result)
    }

    fn note_took(&self, took: Duration) {
        if took > QUICK_MAX {
            self.left_out_count.set(LEFT_OUT_COUNT);
        }
    }
}

impl Disk for Directory {
    type File = OpenFile;

    async fn create(&self, name: &str, synchronous: bool) -> io::Result<OpenFile> {
        self.check_locked()?;
        let flags = if synchronous { OFlags::DSYNC } else { OFlags::empty() };
        let mut options = fs::OpenOptions::new();
        options.create(true).truncate(true).write(true).custom_flags(flags.bits() as i32);
        // Rare, and without waiting for the disk: not worth a way through the ring.
        let file = options.open(self.path.join(name))?;
        let in_place = match synchronous {
            true => Some(InPlace { file: file.try_clone()?, left_out_count: Cell::new(0) }),
            false => None,
        };
        Ok(OpenFile { file: tokio_uring::fs::File::from_std(file), in_place })
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.check_locked()?;
        tokio_uring::fs::rename(self.path.join(from), self.path.join(to)).await
    }

    async fn remove(&self, name: &str) -> io::Result<()> {
        self.check_locked()?;
        tokio_uring::fs::remove_file(self.path.join(name)).await
    }

    async fn sync_names(&self) -> io::Result<()> {
        let directory = tokio_uring::fs::File::from_std(fs::File::open(&self.path)?);
        directory.sync_all().await
    }
}

impl DiskFile for OpenFile {
    async fn write_at(&self, bytes: Vec<u8>, range: Range<usize>, at: u64) -> (io::Result<usize>, Vec<u8>) {
        if let Some(in_place) = &self.in_place
            && let Some(result) = in_place.try_write_at(&bytes[range.clone()], at)
        {
            return (result, bytes);
        }
        let (result, slice) = self.file.write_at(bytes.slice(range), at).submit().await;
        (result, slice.into_inner())
    }

    async fn write_zeros(&self, at: u64) -> io::Result<usize> {
        self.file.write_at(&ZEROS[..], at).submit().await.0
    }

    async fn sync(&self) -> io::Result<()> {
        self.file.sync_data().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_changed_in_a_directory_that_has_taken_the_place_of_the_locked_one() {
        let parent = tempfile::tempdir().expect("a directory");
        let (path, aside) = (parent.path().join("data"), parent.path().join("aside"));
        let directory = Directory::new(&path);
        FilesMut::write(&Directory::new(parent.path()), "any", b"").expect("nobody has locked it");
        let lock = directory.lock().expect("it is made").expect("nobody has it");
        FilesMut::write(&directory, "manifest", b"own").expect("it is its own");
        let is_displaced = || {
            [directory.check_locked(), FilesMut::remove(&directory, "manifest")]
                .map(|done| done.is_err_and(|error| Displaced::is_in(&error)))
        };

        fs::rename(&path, &aside).expect("it is there");
        assert_eq!(is_displaced(), [true; 2], "removed");
        let other = Directory::new(&path);
        let other_lock = other.lock().expect("it is made").expect("nobody has it");
        FilesMut::write(&other, "manifest", b"other").expect("it is its own");
        assert_eq!(is_displaced(), [true; 2], "replaced");
        assert_eq!(fs::read(path.join("manifest")).expect("it is there"), b"other");
        fs::remove_file(path.join(LOCK)).expect("it is there");
        assert!(other.check_locked().is_err(), "its lock keeps nobody out");

        drop((lock, other_lock));
        let lock = directory.lock().expect("it is made anew").expect("nobody has it");
        FilesMut::remove(&directory, "manifest").expect("it is its own");
        drop(lock);
    }

    #[test]
    fn what_is_long_or_comes_after_a_slow_write_goes_through_the_ring() {
        let file = tempfile::tempfile().expect("a temporary file");
        let in_place = InPlace { file: file.try_clone().expect("another descriptor"), left_out_count: Cell::new(0) };
        let is_written = |bytes: &[u8]| in_place.try_write_at(bytes, 0).map(|result| result.expect("it is writable"));
        assert_eq!(is_written(b"1"), Some(1));
        in_place.note_took(QUICK_MAX);
        assert_eq!(is_written(b"2"), Some(1));
        in_place.note_took(2 * QUICK_MAX);
        assert!((0..LEFT_OUT_COUNT).all(|_| is_written(b"3").is_none()));
        assert_eq!(is_written(b"4"), Some(1));
        assert_eq!(is_written(&vec![0; JOURNAL_PIECE_BYTES + 1]), None);
        assert_eq!(file.metadata().expect("it is open").len(), 1);
    }
}
