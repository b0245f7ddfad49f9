//! How the journals begin and end: when the server starts and stops, and when a client switches them on and off.
//!
//! What is switched on begins a run that counts only once a snapshot is complete, since nobody has recorded what happened
//! before: until then the directory has what it had when they were switched off.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;

use super::{Journals, OpenError, RunMark, possess, remove_all};
use crate::journal::disk::Displaced;
use crate::journal::manifest::{MANIFEST, Manifest};
use crate::journal::recovery;

/// How often it is looked whether a client has done switching, when the server ends meanwhile.
const SWITCHED_INTERVAL: Duration = Duration::from_millis(5);

/// Whether changes are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Off,
    On,
    /// What has been recorded is written, and nothing more is recorded.
    Stopping,
}

/// How a shard's journal has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is on the disk up to this frame, its last.
    Written(u64),
    /// The disk does not take the rest of it.
    GivenUp,
}

/// Why the journals cannot be switched on.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The directory cannot be used.
    #[error("the data directory cannot be used: {0}")]
    Directory(#[from] OpenError),
    /// It has what would be lost.
    #[error(
        "the data directory holds counters that this server has not loaded: move them away, or start with appendonly yes to have them"
    )]
    NotEmpty,
}

/// The right to switch the journals on or off, which one client has at a time.
pub struct Switch<'a>(&'a Journals);

impl Drop for Switch<'_> {
    fn drop(&mut self) {
        self.0.switching.store(false, Ordering::Release);
    }
}

impl Journals {
    /// Whether changes are recorded, and will be.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::On as u8
    }

    /// Whether the journals are about to be off.
    pub fn is_stopping(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Stopping as u8
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Release);
        self.wakes.iter().for_each(Notify::notify_one);
    }

    /// The right to switch; `None` while another client has it.
    pub fn switch(&self) -> Option<Switch<'_>> {
        // Made only if it is granted: dropping it gives the right back.
        (!self.switching.swap(true, Ordering::AcqRel)).then(|| Switch(self))
    }

    /// Take possession of the directory, unless that is done already and it is still the same. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be used, or has what would be lost.
    pub fn take_directory(&self) -> Result<(), SwitchError> {
        let mut lock = self.lock.lock().expect("no thread panics and goes on");
        if lock.is_some() {
            match self.directory.check_locked() {
                Ok(()) => return Ok(()),
                Err(error) if Displaced::is_in(&error) => *lock = None,
                Err(error) => return Err(OpenError::Io(error).into()),
            }
        }
        let (own_lock, examined) = possess(&self.directory, false)?;
        if examined.manifest.snapshot.is_some() || !examined.manifest.runs.is_empty() {
            return Err(SwitchError::NotEmpty);
        }
        // What is written counts only with a manifest that says so, and this one names nothing.
        recovery::replace_manifest(&self.directory, &examined.manifest).map_err(OpenError::Io)?;
        remove_all(&self.directory, &examined.stale).map_err(OpenError::Io)?;
        // The numbers of this process grow, also where it has had another directory before.
        self.lock_save().grow_to(examined.next_snapshot);
        let mut run = self.run.lock().expect("no thread panics and goes on");
        run.number = run.number.max(examined.next_run - 1);
        drop(run);
        *lock = Some(own_lock);
        Ok(())
    }

    /// A shard's journal has ended.
    pub fn set_closed(&self, shard: usize, closed: Closed) {
        self.closed.lock().expect("no thread panics and goes on")[shard] = Some(closed);
        self.has_closed.notify_waiters();
    }

    /// End all journals, if they are on: what has been recorded is written and synced, and the run is closed. Nobody
    /// switches them afterwards.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn close(&self) -> io::Result<()> {
        // A client that switches them just now replaces the manifest itself.
        let switch = loop {
            match self.switch() {
                Some(switch) => break switch,
                None => tokio::time::sleep(SWITCHED_INTERVAL).await,
            }
        };
        std::mem::forget(switch);
        if !self.is_on() {
            return Ok(());
        }
        self.closing.store(true, Ordering::Release);
        self.wakes.iter().for_each(Notify::notify_one);
        self.until_closed().await
    }

    /// Whether the journals are to end.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Until all journals have ended; then the run is closed for good, and whatever is missing later is damage.
    ///
    /// # Errors
    /// What the disk says. The run stays open then: nothing is lost by that.
    async fn until_closed(&self) -> io::Result<()> {
        let closed: Vec<Closed> = loop {
            let more = self.has_closed.notified();
            let closed = self.closed.lock().expect("no thread panics and goes on").clone();
            match closed.into_iter().collect() {
                Some(closed) => break closed,
                None => more.await,
            }
        };
        let last = |closed| match closed {
            Closed::Written(last) => Ok(last),
            Closed::GivenUp => Err(io::Error::other(self.failure())),
        };
        let last: Vec<u64> = closed.into_iter().map(last).collect::<io::Result<_>>()?;
        let text = String::from_utf8_lossy(&std::fs::read(self.directory.path().join(MANIFEST))?).into_owned();
        let mut manifest = Manifest::parse(&text).map_err(|error| io::Error::other(error.to_string()))?;
        let number = self.run().number;
        // It is missing when the journals have just been switched on: then nothing of it counts.
        if let Some(run) = manifest.runs.iter_mut().find(|run| run.number == number) {
            run.to = Some(last);
        }
        recovery::replace_manifest(&self.directory, &manifest)
    }
}

impl Switch<'_> {
    /// Begin a run: every shard records from now on, or very soon, and before its part of a snapshot begins. The directory
    /// has been taken.
    pub fn begin(&self, run_id: u64) {
        let journals = self.0;
        assert!(
            journals.lock.lock().expect("no thread panics and goes on").is_some(),
            "the directory is this process's"
        );
        let mut run = journals.run.lock().expect("no thread panics and goes on");
        *run = RunMark { number: run.number + 1, id: run_id };
        drop(run);
        journals.closed.lock().expect("no thread panics and goes on").fill(None);
        journals.set_state(State::On);
    }

    /// No snapshot begins any more. Each shard is to be told to stop recording.
    pub fn stop(&self) {
        self.0.set_state(State::Stopping);
    }

    /// Until what was recorded is on the disk, or given up; the journals are off then.
    ///
    /// # Errors
    /// What the disk says: something of what was recorded may be missing there.
    pub async fn until_off(&self) -> io::Result<()> {
        let closed = self.0.until_closed().await;
        self.0.end_waiting();
        self.0.set_state(State::Off);
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_the_right_to_switch_leaves_it_to_who_has_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let journals = Journals::off(directory.path(), 1, 0);
        let switch = journals.switch().expect("nobody has it");
        for _ in 0..3 {
            assert!(journals.switch().is_none());
        }
        drop(switch);
        assert!(journals.switch().is_some());
        assert!(journals.switch().is_some(), "it was given back at once");
    }

    #[test]
    fn the_server_s_end_waits_for_who_switches_and_nobody_switches_after_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let journals = Journals::off(directory.path(), 1, 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let switch = journals.switch().expect("nobody has it");
            let mut closing = std::pin::pin!(journals.close());
            let ended = tokio::time::timeout(2 * SWITCHED_INTERVAL, &mut closing).await;
            assert!(ended.is_err(), "a client is switching");
            drop(switch);
            closing.await.expect("they are off");
        });
        assert!(journals.switch().is_none());
    }
}
