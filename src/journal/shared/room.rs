//! Whether the disk has room, and is the one that it was: what must be so before anything is written.

use std::io;

use rustix::io::Errno;

use super::Journals;

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
}
