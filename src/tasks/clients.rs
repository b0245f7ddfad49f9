//! `CLIENT LIST`, `CLIENT KILL`, `SLOWLOG GET`: what concerns the clients of all shards.

use super::{Place, refuse_length};
use crate::command::{ClientFilter, by_index};
use crate::limits::{HEADER_BYTES_MAX, LARGE_REPLY_BYTES_MAX, SLOWLOG_COUNT_MAX};
use crate::mesh::{Answer, Ask};
use crate::resp::encode;
use crate::stats::SlowEntry;

/// `CLIENT LIST`, in the order in which the clients have come.
pub(super) async fn list(place: Place<'_>, filter: ClientFilter, out: &mut Vec<u8>) {
    let start = out.len();
    let (mut pieces, mut bytes) = (Vec::new(), 0);
    for shard in 0..place.shard_count() {
        let mut from = Some(0);
        while let Some(at) = from {
            let ask = Ask::Clients { filter: filter.clone(), from: at };
            let Answer::Clients { next, lines } = place.ask_step(shard, ask).await else {
                unreachable!("it was asked for")
            };
            bytes += lines.len();
            if start + bytes > LARGE_REPLY_BYTES_MAX {
                return refuse_length(LARGE_REPLY_BYTES_MAX, out, start, "name the clients with ID");
            }
            pieces.push(lines);
            from = next;
        }
    }
    out.reserve_exact(bytes + HEADER_BYTES_MAX);
    encode::verbatim_of(out, "txt", bytes, by_id(&pieces).into_iter(), place.resp3());
}

/// The lines of clients in the order in which these have come.
fn by_id(pieces: &[String]) -> Vec<&str> {
    let id = |line: &str| line.strip_prefix("id=").and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    let mut lines: Vec<_> = pieces.iter().flat_map(|piece| piece.split_inclusive('\n')).collect();
    lines.sort_by_key(|line| id(line));
    lines
}

/// `CLIENT KILL`. A client may end itself: its reply is still sent.
pub(super) async fn kill(place: Place<'_>, mut filter: ClientFilter, by_address: bool, out: &mut Vec<u8>) {
    let own_id = place.connection.session.borrow().client.id;
    let ends_itself = place.connection.matches(&filter) && !filter.skip_me;
    // The asking client ends after its reply, if at all.
    filter.excluded_id = Some(own_id);
    let mut killed_count = u64::from(ends_itself);
    let kill = || Ask::KillClients(filter.clone());
    place.ask_all(kill, |answer| killed_count += super::count_of(&answer)).await;
    if ends_itself {
        place.connection.session.borrow_mut().client.closing = true;
    }
    match (by_address, killed_count) {
        (true, 0) => encode::error(out, "ERR No such client"),
        (true, _) => encode::simple(out, "OK"),
        (false, count) => encode::integer(out, count as i64),
    }
}

/// `SLOWLOG GET [count]`: the newest of all shards.
///
/// The stage that was slow stands behind the arguments, where Redis says in the same way how many it left out: clients
/// read the six elements of an entry by their place, and some lose their way when there is a seventh.
pub(super) async fn slowlog(place: Place<'_>, count: i64, out: &mut Vec<u8>) {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(SLOWLOG_COUNT_MAX * place.shard_count());
    let mut entries: Vec<SlowEntry> = Vec::new();
    place
        .ask_all(
            || Ask::Slowlog(count),
            |answer| {
                if let Answer::Slowlog(more) = answer {
                    entries.extend(more)
                }
            },
        )
        .await;
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.id));
    entries.truncate(count);
    encode::array(out, entries.len());
    for entry in &entries {
        encode::array(out, 6);
        encode::integer(out, entry.id as i64);
        encode::integer(out, entry.unix_ms / 1_000);
        encode::integer(out, entry.duration_us as i64);
        encode::array(out, 2 + usize::from(!entry.key.is_empty()));
        encode::bulk(out, by_index(usize::from(entry.command)).name.as_bytes());
        if !entry.key.is_empty() {
            encode::bulk(out, &entry.key);
        }
        encode::bulk(out, format!("({} was slow)", entry.stage.name()).as_bytes());
        encode::bulk(out, entry.address.as_bytes());
        encode::bulk(out, entry.client_name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_stand_in_the_order_in_which_they_have_come() {
        let piece = |ids: &[u64]| ids.iter().map(|id| format!("id={id} addr=a\n")).collect::<String>();
        let pieces = [piece(&[9, 100]), piece(&[]), piece(&[10]), piece(&[2])];
        assert_eq!(by_id(&pieces).concat(), piece(&[2, 9, 10, 100]));
        assert_eq!(by_id(&[]).len(), 0);
    }
}
