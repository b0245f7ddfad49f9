//! Whether the disk has room, and is the one that it was: for a run that could not begin, and for snapshots.

use std::io;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::Journals;
use crate::config::ByteCount;
use crate::limits::SNAPSHOT_RESERVE_BYTES;

impl Journals {
    /// Look whether frames may be written: the directory is still the one that was locked, and the run has begun. One that
    /// could not for want of room begins now, if there is. Waits for the disk then.
    ///
    /// # Errors
    /// Why they may not.
    pub fn ready(&self) -> io::Result<()> {
        self.directory.check_locked()?;
        if !self.is_unbegun() {
            return Ok(());
        }
        // No snapshot begins meanwhile, which would replace the manifest too.
        let _save = self.lock_save();
        if self.saving() != 0 {
            // If it is completed, the run has begun with it.
            return Err(Errno::NOSPC.into());
        }
        if let Some(run) = &*self.unbegun.lock().expect("no thread panics and goes on") {
            run.begin(&self.directory)?;
        }
        self.end_waiting();
        Ok(())
    }

    /// No run waits for room any more: it has begun, or the journals are off.
    pub(super) fn end_waiting(&self) {
        let waited = self.unbegun.lock().expect("no thread panics and goes on").take().is_some();
        if waited && self.heal() {
            tracing::info!("commands that write are carried out again");
        }
    }

    /// Whether the run waits for room to begin.
    pub fn is_unbegun(&self) -> bool {
        self.unbegun.lock().expect("no thread panics and goes on").is_some()
    }

    /// Look whether so many bytes of a snapshot leave the journal the room that it needs meanwhile. A journal that cannot
    /// be written needs none, and a snapshot may be what makes room for it.
    ///
    /// # Errors
    /// They do not.
    pub fn check_snapshot_room(&self, bytes: u64) -> io::Result<()> {
        let reserve_bytes = if self.is_failing() { 0 } else { self.shard_count() as u64 * SNAPSHOT_RESERVE_BYTES };
        match self.directory.free_bytes() {
            Some(free_bytes) if free_bytes < bytes.saturating_add(reserve_bytes) => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!(
                    "it takes {} and the journal {} meanwhile, and {} are free. Make room",
                    ByteCount(bytes),
                    ByteCount(reserve_bytes),
                    ByteCount(free_bytes)
                ),
            )),
            _ => Ok(()),
        }
    }

    /// The snapshot that is due is not begun.
    pub fn set_save_refused(&self) {
        self.last_save_failed.store(true, Ordering::Relaxed);
    }
}
