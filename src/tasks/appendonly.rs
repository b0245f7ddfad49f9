//! `CONFIG SET appendonly`: the journals switched on and off while the server runs.
//!
//! *On* is answered when a snapshot is complete: from then on everything is kept, also what was counted while they were
//! off. *Off* is answered when all that was counted before is on the disk, which keeps it.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::Place;
use super::transaction::{hold, release};
use crate::journal::shared::{Journals, Switch};
use crate::mesh::Ask;

/// Switch them on or off.
///
/// # Errors
/// Why that is not possible.
pub(super) async fn set(place: Place<'_>, on: bool) -> Result<(), String> {
    let shared = &place.connection.shard.shared;
    let Some(journals) = &shared.journals else { return Err("this server has no data directory".to_owned()) };
    if place.holder {
        // A snapshot waits for the transaction's end.
        return Err("it cannot be changed within a transaction".to_owned());
    }
    let Some(switch) = journals.switch() else {
        return Err("another client is changing it".to_owned());
    };
    match (journals.is_on(), on) {
        (false, true) => begin(place, journals, &switch).await,
        (true, false) => {
            let path = journals.directory.path().display();
            match end(place, &switch).await {
                Ok(()) => info!("the journal is off: {path} keeps what was counted until now"),
                Err(error) => warn!("the journal is off, and {path} may lack what was counted last ({error})"),
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn begin(place: Place<'_>, journals: &Journals, switch: &Switch<'_>) -> Result<(), String> {
    let shared = &place.connection.shard.shared;
    let (sender, taken) = oneshot::channel();
    let of_thread = Arc::clone(shared);
    // It waits for the disk, which no shard does.
    let thread = std::thread::Builder::new().name("data directory".to_owned()).spawn(move || {
        let journals = of_thread.journals.as_ref().expect("they are being switched on");
        // Who asked may be gone.
        let _ = sender.send(journals.take_directory());
    });
    thread.map_err(|error| format!("cannot start a thread: {error}"))?;
    taken.await.expect("the thread answers").map_err(|error| error.to_string())?;
    switch.begin(shared.random());
    let number = loop {
        // One may have begun by itself.
        match (journals.begin_save(), journals.saving()) {
            (Some(number), _) => break number,
            (None, other) => _ = journals.until_saved(other).await,
        }
    };
    if journals.until_saved(number).await {
        info!("the journal is on: what is counted is kept in {}", journals.directory.path().display());
        return Ok(());
    }
    let _ = end(place, switch).await;
    info!("the journal is off again");
    Err("the snapshot that it begins with has failed: the log says why".to_owned())
}

/// What was recorded until now is written; what comes is not recorded.
///
/// # Errors
/// What the disk says: something may be missing there.
async fn end(place: Place<'_>, switch: &Switch<'_>) -> io::Result<()> {
    switch.stop();
    // All at one moment, so that no transaction is divided. A shard whose disk refuses does not wait for that: it could wait
    // for ever, for room.
    let held = hold(place, 0..place.shard_count()).await;
    for shard in 0..place.shard_count() {
        held.place.ask(shard, Ask::StopRecording).await;
    }
    release(held).await;
    switch.until_off().await
}
