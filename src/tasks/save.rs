//! `SAVE`, `BGSAVE`, `BGREWRITEAOF`: snapshots of all shards at once.

use super::Place;
use crate::journal::shared::Journals;
use crate::resp::encode;

const NO_JOURNAL: &str = "ERR the counters live in memory only: CONFIG SET appendonly yes keeps them on the disk";

/// `SAVE`: answered when the snapshot is complete.
pub(super) async fn save(place: Place<'_>, out: &mut Vec<u8>) {
    let Some(journals) = journals(place) else { return encode::error(out, NO_JOURNAL) };
    let Some(number) = journals.begin_save() else {
        return encode::error(out, "ERR Background save already in progress");
    };
    match journals.until_saved(number).await {
        true => encode::simple(out, "OK"),
        false => encode::error(out, "ERR the snapshot has failed: the log says why"),
    }
}

/// `BGSAVE`, `BGREWRITEAOF`: answered at once.
pub(super) fn begin(place: Place<'_>, rewrite: bool, out: &mut Vec<u8>) {
    let Some(journals) = journals(place) else { return encode::error(out, NO_JOURNAL) };
    match (journals.begin_save(), rewrite) {
        (Some(_), false) => encode::simple(out, "Background saving started"),
        (Some(_), true) => encode::simple(out, "Background append only file rewriting started"),
        (None, false) => encode::error(out, "ERR Background save already in progress"),
        (None, true) => encode::error(out, "ERR Background append only file rewriting already in progress"),
    }
}

fn journals(place: Place<'_>) -> Option<&Journals> {
    place.connection.shard.shared.journals.as_ref().filter(|journals| journals.is_on())
}
