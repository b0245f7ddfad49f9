//! Who is let in and where to, and the pause.

use super::*;
use crate::config::Options;

fn shared(options: &str) -> Shared {
    let host = Host::read();
    let options = Options::parse(options, std::path::Path::new("test.toml")).expect("sound options");
    Shared::new(Config::resolve(options, &host).expect("a sound configuration"), &host)
}

#[test]
fn without_a_password_only_this_machine_is_served() {
    let open = shared("threads = 1");
    let locked = shared("threads = 1\nrequirepass = \"secret\"");
    for (peer, is_local) in [
        ("127.0.0.1:1", true),
        ("127.9.9.9:1", true),
        ("[::1]:1", true),
        ("[::ffff:127.0.0.1]:1", true),
        ("10.0.0.1:1", false),
        ("[::ffff:10.0.0.1]:1", false),
        ("[fe80::1]:1", false),
    ] {
        let peer = Some(peer.parse().expect("an address"));
        let refused = refusal(&open, &open.read_live().1, peer);
        assert_eq!(refused, (!is_local).then_some(Refusal::Unprotected), "{peer:?}");
        assert_eq!(refusal(&locked, &locked.read_live().1, peer), None);
    }
    assert_eq!(refusal(&open, &open.read_live().1, None), None, "a Unix socket is local");
}

#[test]
fn the_ceiling_follows_maxmemory() {
    let shared = shared("threads = 1\nmaxmemory = \"64mb\"");
    let fixed_bytes = shared.plan.fixed_bytes();
    let set = |maxmemory_bytes| {
        let done: Result<(), ()> = shared.change_live(|live| Ok(Live { maxmemory_bytes, ..live.clone() }));
        done.expect("nothing refuses it");
        let parts_bytes: u64 = shared.plan_parts().iter().map(|(_, bytes)| bytes).sum();
        (shared.ceiling_bytes(), parts_bytes)
    };
    assert_eq!(shared.ceiling_bytes(), fixed_bytes + (72 << 20));
    assert_eq!(set(128 << 20), (fixed_bytes + (144 << 20), fixed_bytes + (16 << 20)));
    assert_eq!(set(0), (0, fixed_bytes));
    assert_eq!(set(8 << 20), (fixed_bytes + (9 << 20), fixed_bytes + (1 << 20)));
}

#[test]
fn connections_are_dealt_out_evenly() {
    let shared = shared("threads = 3\npin = \"none\"\nmaxclients = 32");
    let dealt: Vec<(usize, u64)> = (0..30).map(|_| shared.place_client()).collect();
    for shard in 0..3 {
        assert_eq!(dealt.iter().filter(|(to, _)| *to == shard).count(), 10);
    }
    assert!(dealt.iter().map(|(_, id)| *id).eq(1..=30), "ids grow from 1");
    shared.client_left(1);
    assert_eq!(shared.place_client().0, 1, "the one with the fewest is next");
    let _ = (shared.place_client(), shared.place_client());
    let full = refusal(&shared, &shared.read_live().1, None);
    assert_eq!(full, Some(Refusal::Maxclients));
}

#[test]
fn a_pause_is_never_made_milder() {
    let shared = shared("threads = 1");
    assert_eq!(shared.pause(1_000), None);
    shared.set_pause(1_000, 500, true);
    assert_eq!(shared.pause(1_499), Some(PauseKind::Writes));
    assert_eq!(shared.pause(1_500), None);
    shared.set_pause(1_100, 100, false);
    assert_eq!(shared.pause(1_499), Some(PauseKind::All));
    shared.set_pause(1_200, 1_000, true);
    assert_eq!(shared.pause(2_199), Some(PauseKind::All));
    shared.unpause();
    assert_eq!(shared.pause(1_200), None);
}
