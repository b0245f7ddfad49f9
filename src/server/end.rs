//! What ends the server: a signal or `SHUTDOWN`, at any time from before the first shard serves.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

use super::Shared;
use crate::notify::{self, notify};
use crate::startup::StartError;

/// How long clients have at the end to take their last replies.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// See the module.
pub struct End {
    shared: Arc<Shared>,
    terminate: Signal,
    interrupt: Signal,
    /// The shards have been told.
    has_begun: bool,
}

impl End {
    /// From now on no signal ends the process: it is kept until it is asked for.
    ///
    /// # Errors
    /// The system takes no handlers.
    pub fn new(shared: Arc<Shared>) -> Result<End, StartError> {
        let listen =
            |kind, doing| signal(kind).map_err(|error| StartError::Other { doing, error, remedy: "See the cause" });
        let terminate = listen(SignalKind::terminate(), "wait for SIGTERM")?;
        let interrupt = listen(SignalKind::interrupt(), "wait for SIGINT")?;
        Ok(End { shared, terminate, interrupt, has_begun: false })
    }

    /// Whether somebody has asked for it.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Until somebody asks for it: the shards accept and read no more then, those too that have not begun to. May be given
    /// up at any time.
    pub async fn asked(&mut self) {
        assert!(!self.has_begun, "it ends once");
        tokio::select! {
            _ = self.terminate.recv() => info!("SIGTERM: stopping"),
            _ = self.interrupt.recv() => info!("SIGINT: stopping"),
            () = self.shared.stopped.notified() => info!("SHUTDOWN: stopping"),
        }
        self.has_begun = true;
        notify(notify::State::Stopping);
        self.shared.stop();
    }

    /// Until somebody has asked for it and the clients have their last replies.
    pub async fn serve_until(&mut self) {
        if !self.has_begun {
            self.asked().await;
        }
        let all_left = async {
            while self.shared.client_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = all_left => {}
            () = tokio::time::sleep(STOP_GRACE) => {
                info!("{} clients did not take their replies", self.shared.client_count());
            }
            _ = self.terminate.recv() => info!("SIGTERM again: not waiting any longer"),
            _ = self.interrupt.recv() => info!("SIGINT again: not waiting any longer"),
        }
    }
}
