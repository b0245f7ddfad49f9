//! `MONITOR`: beginning and ending it, on all shards.

use super::Place;
use crate::connection::Connection;
use crate::limits::MONITOR_COUNT_MAX;
use crate::mesh::{Answer, Ask};
use crate::monitor::Monitored;
use crate::resp::encode;

/// `MONITOR [SAMPLE n]`. Who monitors already is shown another sample from now on.
pub(super) async fn monitor(place: Place<'_>, sample: u32, out: &mut Vec<u8>) {
    if place.holder {
        return encode::error(out, "ERR MONITOR isn't allowed for DENY BLOCKING client");
    }
    let current = place.connection.session.borrow().client.monitor;
    let Some(monitor) = current.or_else(|| place.connection.shard.shared.add_monitor()) else {
        let text = format!("ERR at most {MONITOR_COUNT_MAX} clients can monitor: CLIENT LIST shows who does (flag O)");
        return encode::error(out, &text);
    };
    place.connection.session.borrow_mut().client.monitor = Some(monitor);
    place.ask_all(|| Ask::Monitor { monitor, sample }, |_| ()).await;
    encode::simple(out, "OK");
}

/// Monitor no more.
pub(super) async fn end(place: Place<'_>) {
    let monitor = place.connection.session.borrow_mut().client.monitor.take();
    if let Some(monitor) = monitor {
        place.ask_all(|| Ask::Unmonitor(monitor), |_| ()).await;
        place.connection.shard.shared.monitor_left(monitor);
    }
}

/// A monitor's connection has ended.
pub async fn unmonitor(connection: &Connection) {
    let turn = connection.shard.turns.lend().await;
    end(Place { connection, waiter: turn.waiter, holder: false }).await;
    connection.shard.turns.give_back(turn);
}

/// What has gathered on a shard for this connection, which monitors.
pub async fn take_monitored(connection: &Connection, monitor: u8, shard: usize) -> Monitored {
    let turn = connection.shard.turns.lend().await;
    let place = Place { connection, waiter: turn.waiter, holder: false };
    let answer = place.ask(shard, Ask::Monitored(monitor)).await;
    connection.shard.turns.give_back(turn);
    match answer {
        Answer::Monitored(monitored) => monitored,
        _ => unreachable!("lines were asked for"),
    }
}
