//! `CLUSTER` and its like, with and without a cluster; replies recorded from redis-server 7.0.15.

use super::super::ClusterView;
use super::{Env, Mistake, OPEN, Request, Task, mistake_of, text};
use crate::client::Client;

const CLUSTER: Env<'static> = Env { cluster: true, ..OPEN };

fn task(line: &str) -> Result<Task, String> {
    Request::line(line).task(&CLUSTER).map_err(|mistake| text(&mistake).to_owned())
}

fn reply(line: &str) -> Result<String, Mistake> {
    let written = Request::line(line).reply(&mut Client { authenticated: true, ..Client::default() }, &CLUSTER);
    written.map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn without_a_cluster_all_of_it_is_refused() {
    for line in [
        "cluster slots",
        "cluster shards",
        "cluster nodes",
        "cluster info",
        "cluster myid",
        "cluster help",
        "cluster keyslot a",
        "cluster countkeysinslot x",
        "cluster getkeysinslot x y",
        "readonly",
        "readwrite",
    ] {
        assert_eq!(mistake_of(line), "ERR This instance has cluster support disabled", "{line}");
    }
    assert_eq!(mistake_of("cluster"), "ERR wrong number of arguments for 'cluster' command");
    assert_eq!(mistake_of("cluster slots x"), "ERR wrong number of arguments for 'cluster|slots' command");
    assert_eq!(mistake_of("cluster addslots 1"), "ERR unknown subcommand 'addslots'. Try CLUSTER HELP.");
}

#[test]
fn views_are_asked_for_by_name() {
    for (name, view) in [
        ("SLOTS", ClusterView::Slots),
        ("shards", ClusterView::Shards),
        ("nodes", ClusterView::Nodes),
        ("info", ClusterView::Info),
        ("myid", ClusterView::MyId),
    ] {
        assert_eq!(task(&format!("CLUSTER {name}")), Ok(Task::Cluster(view)));
    }
}

#[test]
fn slots_are_within_their_range() {
    assert_eq!(task("cluster countkeysinslot 0"), Ok(Task::CountKeysInSlot(0)));
    assert_eq!(task("cluster countkeysinslot 16383"), Ok(Task::CountKeysInSlot(16_383)));
    assert_eq!(task("cluster getkeysinslot 16383 0"), Ok(Task::GetKeysInSlot { slot: 16_383, count: 0 }));
    for slot in ["-1", "16384", "65536", "9223372036854775807"] {
        assert_eq!(task(&format!("cluster countkeysinslot {slot}")), Err("ERR Invalid slot".to_owned()));
        let refused = Err("ERR Invalid slot or number of keys".to_owned());
        assert_eq!(task(&format!("cluster getkeysinslot {slot} 1")), refused);
    }
    assert_eq!(task("cluster getkeysinslot 1 -1"), Err("ERR Invalid slot or number of keys".to_owned()));
    for line in ["cluster countkeysinslot x", "cluster getkeysinslot x 1", "cluster getkeysinslot 1 x"] {
        assert_eq!(task(line), Err("ERR value is not an integer or out of range".to_owned()), "{line}");
    }
}

#[test]
fn the_session_answers_what_needs_no_shard() {
    assert_eq!(reply("cluster keyslot a"), Ok(":15495\r\n".to_owned()));
    assert_eq!(reply("cluster keyslot {user1000}.following"), reply("cluster keyslot user1000"));
    assert_eq!(reply("readonly"), Ok("+OK\r\n".to_owned()));
    assert_eq!(reply("readwrite"), Ok("+OK\r\n".to_owned()));
    assert!(reply("hello 3").unwrap().contains("$4\r\nmode\r\n$7\r\ncluster\r\n"));
    assert_eq!(reply("select 0"), Ok("+OK\r\n".to_owned()));
    assert_eq!(reply("select 1"), Err(Mistake::Text("ERR SELECT is not allowed in cluster mode".into())));
}
