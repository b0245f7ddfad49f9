//! What cluster clients are told: the shards as the nodes of a Redis Cluster, each with its slots and its port.
//!
//! The address is the one that the asking client has reached the server at: the shards listen there too.

use std::fmt::Write;

use super::keys::slot_keys;
use super::{Place, count_of, is_too_long};
use crate::command::ClusterView;
use crate::limits::SLOT_COUNT;
use crate::mesh::{Ask, Keys};
use crate::resp::encode;

/// `CLUSTER SLOTS`, `SHARDS`, `NODES`, `INFO`, `MYID`.
pub(super) fn view(place: Place<'_>, view: ClusterView, out: &mut Vec<u8>) {
    let shared = &place.connection.shard.shared;
    match view {
        ClusterView::Slots => slots(place, out),
        ClusterView::Shards => shards(place, out),
        ClusterView::Nodes => encode::verbatim(out, "txt", &nodes(place), place.resp3()),
        ClusterView::Info => encode::verbatim(out, "txt", &info(place), place.resp3()),
        ClusterView::MyId => encode::bulk(out, shared.node_id(place.connection.shard.index).as_bytes()),
    }
}

/// `CLUSTER COUNTKEYSINSLOT slot`. A connection to a shard's own port is shown that shard's counters alone.
pub(super) async fn count_keys(place: Place<'_>, slot: u16, out: &mut Vec<u8>) {
    let owner = place.connection.shard.map.shard_of(slot);
    let key_count = match place.keyspace().contains(&owner) {
        true => count_of(&place.ask(owner, Ask::SlotKeyCount(slot)).await),
        false => 0,
    };
    encode::integer(out, key_count as i64);
}

/// `CLUSTER GETKEYSINSLOT slot count`.
pub(super) async fn get_keys(place: Place<'_>, slot: u16, count: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let owner = place.connection.shard.map.shard_of(slot);
    let keys = match place.keyspace().contains(&owner) {
        true => slot_keys(place, owner, slot, count).await,
        false => Keys::default(),
    };
    encode::array(out, keys.len());
    keys.iter().for_each(|key| encode::bulk(out, key));
    is_too_long(out, start, "ask for fewer keys");
}

fn slots(place: Place<'_>, out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    let ip = place.connection.reached_ip().to_string();
    encode::array(out, place.shard_count());
    for node in 0..place.shard_count() {
        let slots = shard.map.slots_of(node);
        encode::array(out, 3);
        encode::integer(out, slots.start.into());
        encode::integer(out, i64::from(slots.end) - 1);
        encode::array(out, 4);
        encode::bulk(out, ip.as_bytes());
        encode::integer(out, shard.shared.cluster_ports[node].into());
        encode::bulk(out, shard.shared.node_id(node).as_bytes());
        encode::map(out, 0, place.resp3());
    }
}

fn shards(place: Place<'_>, out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    let ip = place.connection.reached_ip().to_string();
    encode::array(out, place.shard_count());
    for node in 0..place.shard_count() {
        let slots = shard.map.slots_of(node);
        encode::map(out, 2, place.resp3());
        encode::bulk(out, b"slots");
        encode::array(out, 2);
        encode::integer(out, slots.start.into());
        encode::integer(out, i64::from(slots.end) - 1);
        encode::bulk(out, b"nodes");
        encode::array(out, 1);
        encode::map(out, 7, place.resp3());
        encode::bulk(out, b"id");
        encode::bulk(out, shard.shared.node_id(node).as_bytes());
        encode::bulk(out, b"port");
        encode::integer(out, shard.shared.cluster_ports[node].into());
        for (field, value) in [("ip", ip.as_str()), ("endpoint", &ip), ("role", "master")] {
            encode::bulk(out, field.as_bytes());
            encode::bulk(out, value.as_bytes());
        }
        encode::bulk(out, b"replication-offset");
        encode::integer(out, 0);
        encode::bulk(out, b"health");
        encode::bulk(out, b"online");
    }
}

/// A line for each shard. There is no bus between them that a client could reach, hence its port 0.
fn nodes(place: Place<'_>) -> String {
    let shard = &place.connection.shard;
    let ip = place.connection.reached_ip();
    let mut text = String::new();
    for node in 0..place.shard_count() {
        let slots = shard.map.slots_of(node);
        let flags = if node == shard.index { "myself,master" } else { "master" };
        let _ = writeln!(
            text,
            "{} {ip}:{}@0 {flags} - 0 0 {} connected {}-{}",
            shard.shared.node_id(node),
            shard.shared.cluster_ports[node],
            epoch(node),
            slots.start,
            slots.end - 1
        );
    }
    text
}

fn info(place: Place<'_>) -> String {
    let shard_count = place.shard_count();
    let fields = [
        ("cluster_slots_assigned", SLOT_COUNT),
        ("cluster_slots_ok", SLOT_COUNT),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", 0),
        ("cluster_known_nodes", shard_count),
        ("cluster_size", shard_count),
        ("cluster_current_epoch", epoch(shard_count - 1)),
        ("cluster_my_epoch", epoch(place.connection.shard.index)),
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
        ("total_cluster_links_buffer_limit_exceeded", 0),
    ];
    let mut text = String::from("cluster_state:ok\r\n");
    for (name, value) in fields {
        let _ = write!(text, "{name}:{value}\r\n");
    }
    text
}

/// The configuration epoch of a shard: every master of a cluster has one of its own. Slots never move here, so it stays.
fn epoch(node: usize) -> usize {
    node + 1
}
