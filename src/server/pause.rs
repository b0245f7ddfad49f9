//! `CLIENT PAUSE`: which commands wait, and until when.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Shared;
use super::shared::unix_us;

/// Which commands a pause keeps waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseKind {
    /// Every command.
    All,
    /// Those that write.
    Writes,
}

impl Shared {
    /// What waits now, if anything does.
    #[inline]
    pub fn pause(&self, now_ms: i64) -> Option<PauseKind> {
        if self.pause_until_ms.load(Ordering::Relaxed) <= now_ms {
            return None;
        }
        let writes_only = self.pause_writes_only.load(Ordering::Relaxed);
        Some(if writes_only { PauseKind::Writes } else { PauseKind::All })
    }

    /// `CLIENT PAUSE`. A pause is never shortened or made milder by another, as in Redis.
    pub fn set_pause(&self, now_ms: i64, timeout_ms: u64, writes_only: bool) {
        let until_ms = now_ms.saturating_add(i64::try_from(timeout_ms).unwrap_or(i64::MAX));
        let in_force = self.pause(now_ms);
        let writes_only = writes_only && in_force != Some(PauseKind::All);
        self.pause_writes_only.store(writes_only, Ordering::Relaxed);
        self.pause_until_ms.fetch_max(until_ms, Ordering::Relaxed);
    }

    /// `CLIENT UNPAUSE`.
    pub fn unpause(&self) {
        self.pause_until_ms.store(0, Ordering::Relaxed);
        self.pause_changed.notify_waiters();
    }

    /// Until nothing of the kind waits any more.
    pub async fn until_unpaused(&self, kind: PauseKind) {
        loop {
            let changed = self.pause_changed.notified();
            let now_ms = unix_us() / 1_000;
            match self.pause(now_ms) {
                Some(in_force) if in_force == kind || in_force == PauseKind::All => {}
                _ => return,
            }
            let left_ms = self.pause_until_ms.load(Ordering::Relaxed).saturating_sub(now_ms).clamp(1, 1_000);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(Duration::from_millis(left_ms as u64)) => {}
            }
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}
