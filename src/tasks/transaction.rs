//! Transactions: `WATCH`, `EXEC` and what belongs to them.
//!
//! `EXEC` holds every shard that its keys (queued and watched) belong to, in ascending order, executes the queue as a
//! session executes what it receives, and gathers the replies; nothing is sent before the shards are released, so no
//! client can make them wait.

use super::keys::shard_set;
use super::{Place, monitor, run_plain};
use crate::client::{Client, ReplyMode, ShardSet, Transaction, Watched};
use crate::command::{Bytes, Extent, Mistake, Spans, mistake};
use crate::connection::Connection;
use crate::counters::Fault;
use crate::journal::frame::Link;
use crate::journal::shared::Journals;
use crate::limits::{
    LARGE_REPLY_BYTES_MAX, LONG_COUNT_OF_TRANSACTION_MAX, WATCHED_KEY_COUNT_MAX, WATCHED_KEY_OVERHEAD_BYTES,
};
use crate::mesh::{Answer, Ask};
use crate::resp::encode;
use crate::session::{Calls, Status, Surroundings};
use crate::shard::Turn;

/// Shards that are held, and the place from which they can be asked meanwhile.
pub(super) struct Held<'a> {
    pub(super) place: Place<'a>,
    shards: ShardSet,
    /// What is changed can be recorded. Else nothing may be.
    pub(super) has_room: bool,
}

/// Hold shards, in ascending order, unless the place's transaction holds them already.
pub(super) async fn hold(place: Place<'_>, shards: impl IntoIterator<Item = usize>) -> Held<'_> {
    if place.holder {
        return Held { place, shards: ShardSet::default(), has_room: true };
    }
    let shards = shard_set(shards);
    let mut has_room = true;
    let (mut oldest_s, mut newest_s) = (u64::MAX, 0);
    for shard in shards.iter() {
        let Answer::Held { cut_s, has_room: has_room_there } = place.ask(shard, Ask::Hold).await else {
            unreachable!("a hold is answered as one")
        };
        has_room &= has_room_there;
        (oldest_s, newest_s) = (oldest_s.min(cut_s), newest_s.max(cut_s));
    }
    let place = Place { holder: true, ..place };
    if oldest_s < newest_s {
        // Frames that a tick ends are the state at one moment: no transaction is in one of them and in another shard's next.
        for shard in shards.iter() {
            place.ask(shard, Ask::EndFrame(newest_s)).await;
        }
    }
    Held { place, shards, has_room }
}

/// Release what [`hold`] took. If several of the shards were changed, the journal will have all of it or none.
pub(super) async fn release(held: Held<'_>) {
    if let Some(journals) = held.place.connection.shard.shared.journals.as_ref().filter(|_| held.shards.count() > 1) {
        link(held.place, held.shards, journals).await;
    }
    for shard in held.shards.iter() {
        held.place.ask(shard, Ask::Release).await;
    }
}

/// Link the frames of all shards that a transaction has changed.
async fn link(place: Place<'_>, shards: ShardSet, journals: &Journals) {
    let mut changed: Vec<Link> = Vec::new();
    for shard in shards.iter() {
        let sequence = super::count_of(&place.ask(shard, Ask::ChangedFrame).await);
        if sequence > 0 {
            changed.push(Link { shard: shard as u16, sequence });
        }
    }
    if changed.len() > 1 {
        journals.progress.add_group(changed.iter().map(|link| (link.shard, link.sequence)).collect());
        for own in &changed {
            let others = changed.iter().filter(|link| link.shard != own.shard).copied().collect();
            place.ask(usize::from(own.shard), Ask::Link(others)).await;
        }
    }
}

/// `WATCH key [key …]`.
pub(super) async fn watch(place: Place<'_>, keys: Vec<Bytes>, out: &mut Vec<u8>) {
    for key in keys {
        let is_watched = |client: &Client| client.watched.iter().any(|watched| watched.key == key);
        if is_watched(&place.connection.session.borrow().client) {
            continue;
        }
        if place.connection.session.borrow().client.watched.len() >= WATCHED_KEY_COUNT_MAX {
            return encode::error(out, &format!("ERR too many watched keys: at most {WATCHED_KEY_COUNT_MAX}"));
        }
        let room = &place.connection.shard.watch_room_bytes;
        let Some(room_left_bytes) = room.get().checked_sub(key.len() + WATCHED_KEY_OVERHEAD_BYTES) else {
            return encode::error(
                out,
                "ERR clients watch too many keys: try again when others have ended their transactions",
            );
        };
        room.set(room_left_bytes);
        let owner = place.connection.shard.owner(&key);
        let version = super::count_of(&place.ask(owner, Ask::Watch(key.clone())).await);
        place.connection.session.borrow_mut().client.watched.push(Watched { key, version });
    }
    encode::simple(out, "OK");
}

/// Watch nothing any more.
pub(super) async fn unwatch(place: Place<'_>) {
    let watched = std::mem::take(&mut place.connection.session.borrow_mut().client.watched);
    for Watched { key, .. } in watched {
        let shard = &place.connection.shard;
        shard.watch_room_bytes.set(shard.watch_room_bytes.get() + key.len() + WATCHED_KEY_OVERHEAD_BYTES);
        place.ask(shard.owner(&key), Ask::Unwatch(key)).await;
    }
}

/// `DISCARD`: forget the queue and the watched keys.
pub(super) async fn discard(place: Place<'_>) {
    let connection = place.connection;
    connection.session.borrow_mut().end_transaction(&connection.shard.queue_room_bytes);
    unwatch(place).await;
}

/// `RESET`: as if newly connected.
pub(super) async fn reset(place: Place<'_>, out: &mut Vec<u8>) {
    discard(place).await;
    monitor::end(place).await;
    let connection = place.connection;
    let authenticated = connection.shard.live().requirepass.is_none();
    let client = &mut connection.session.borrow_mut().client;
    let (lib_name, lib_version) = (std::mem::take(&mut client.lib_name), std::mem::take(&mut client.lib_version));
    *client = Client { id: client.id, authenticated, lib_name, lib_version, ..Client::default() };
    encode::simple(out, "RESET");
}

/// A connection has ended: watch nothing for it any more.
pub async fn forget_watches(connection: &Connection) {
    let turn = connection.shard.turns.lend().await;
    unwatch(Place { connection, waiter: turn.waiter, holder: false }).await;
    connection.shard.turns.give_back(turn);
}

/// `EXEC`.
pub(super) async fn exec(place: Place<'_>, turn: &mut Turn, out: &mut Vec<u8>) {
    let connection = place.connection;
    let transaction = connection.session.borrow_mut().end_transaction(&connection.shard.queue_room_bytes);
    let Some(transaction) = transaction else { unreachable!("the session lets no EXEC through without MULTI") };
    if transaction.aborted {
        unwatch(place).await;
        let Mistake::Text(text) = mistake::EXEC_ABORTED else { unreachable!("it is a text") };
        return encode::error(out, &text);
    }
    if transaction.crosses_slots && connection.direct {
        unwatch(place).await;
        return encode::error(out, Fault::CrossSlot.text());
    }
    let shards = shards_of(place, &transaction);
    let held = hold(place, shards.iter()).await;
    if transaction.writes && !held.has_room {
        encode::error(out, &format!("EXECABORT Transaction discarded because of: {}", Fault::NotWritten.text()));
    } else if is_changed(held.place).await {
        encode::null_array(out, place.resp3());
    } else {
        encode::array(out, transaction.command_count as usize);
        let mode = set_executing(place, true, ReplyMode::On);
        let executed_count = execute(held.place, transaction.queue, turn, out).await;
        set_executing(place, false, mode);
        assert_eq!(executed_count, transaction.command_count, "each queued request has a reply in the array");
    }
    release(held).await;
    unwatch(place).await;
    connection.show_executed();
}

/// Begin or end the execution. Replies inside a transaction are part of its one reply, whatever `CLIENT REPLY` says.
fn set_executing(place: Place<'_>, executing: bool, mode: ReplyMode) -> ReplyMode {
    let client = &mut place.connection.session.borrow_mut().client;
    client.executing = executing;
    std::mem::replace(&mut client.reply, mode)
}

/// Every shard that the transaction and its watched keys concern.
fn shards_of(place: Place<'_>, transaction: &Transaction) -> ShardSet {
    let shard = &place.connection.shard;
    if transaction.all_shards {
        return shard_set(place.keyspace());
    }
    let mut shards = transaction.shards;
    for watched in &place.connection.session.borrow().client.watched {
        shards.insert(shard.owner(&watched.key));
    }
    shards
}

/// Whether a watched key has been changed.
async fn is_changed(place: Place<'_>) -> bool {
    let watched = place.connection.session.borrow().client.watched.clone();
    for Watched { key, version } in watched {
        let owner = place.connection.shard.owner(&key);
        if super::count_of(&place.ask(owner, Ask::WatchedVersion(key)).await) != version {
            return true;
        }
    }
    false
}

fn too_many_long() -> String {
    format!(
        "ERR a transaction takes {LONG_COUNT_OF_TRANSACTION_MAX} commands whose replies may be long: send the others outside of it"
    )
}

/// Execute the queue as if it had just been received, and append the replies. How many requests that were.
async fn execute(place: Place<'_>, mut queue: Vec<u8>, turn: &mut Turn, out: &mut Vec<u8>) -> u32 {
    let connection = place.connection;
    let shard = &connection.shard;
    let live = shard.live();
    let now_ms = shard.clock.now().unix_ms;
    let writes_refused = shard.shared.journals.as_ref().and_then(Journals::refusal);
    let mut spans = Box::<Spans>::default();
    let (mut at, mut executed_count, mut long_count) = (0, 0, 0);
    loop {
        let before = connection.before_parse(&queue, at, &live);
        let status = {
            let counters = &shard.counters.borrow();
            // No pause holds up what has begun. Where the keys are was looked at when they were queued.
            let around = Surroundings {
                writes_refused: writes_refused.as_deref(),
                ..shard.surroundings(&live, counters, now_ms)
            };
            let session = &mut *connection.session.borrow_mut();
            session.parse(&mut queue, &mut at, &mut spans, &mut turn.window, usize::MAX, &around)
        };
        if let Some(before) = before {
            connection.show(*before, &queue, at, &turn.window, &status);
        }
        executed_count += turn.window.request_count() + u32::from(matches!(status, Status::Task { .. }));
        if !turn.window.is_empty() {
            let started_ns = shard.clock.now().ns;
            shard.execute(turn, &queue, now_ms, true).await;
            turn.window.encode(&mut connection.session.borrow_mut().totals, out);
            let duration_ns = shard.clock.now().ns - started_ns;
            let mut stats = shard.stats.borrow_mut();
            stats.count_window(&turn.window);
            turn.window.calls().for_each(|calls| stats.record(calls, duration_ns));
            drop(stats);
            turn.window.clear(false, 0);
        }
        match status {
            Status::WindowFull => {}
            Status::NeedInput => break,
            Status::Task { task, command, .. } => {
                let (start, started_ns) = (out.len(), shard.clock.now().ns);
                long_count += u32::from(task.extent(None) != Extent::Short);
                if out.len() > LARGE_REPLY_BYTES_MAX && !task.acts() {
                    encode::error(out, "ERR the replies of this transaction are too long already");
                } else if long_count > LONG_COUNT_OF_TRANSACTION_MAX && task.extent(None) != Extent::Short {
                    encode::error(out, &too_many_long());
                } else {
                    Box::pin(run_plain(place, *task, out)).await;
                }
                let duration_ns = shard.clock.now().ns - started_ns;
                let mut stats = shard.stats.borrow_mut();
                stats.count_task(command, &out[start..]);
                stats.record(Calls { command, count: 1 }, duration_ns);
            }
            // QUIT is never queued, and who kills itself leaves when its transaction is through.
            Status::End | Status::Paused | Status::Busy(_) => unreachable!("not from within a queue"),
        }
    }
    assert_eq!(at, queue.len(), "every queued request is executed");
    executed_count
}
