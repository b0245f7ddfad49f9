//! The parked store of a shard: how many bytes its waiting connections have left over, and who goes when it is full.
//!
//! Who stalls and who is held up (by a pause, or until a long reply may be gathered) are told apart. Of those who have parked
//! more together one goes: who has stalled longest, or who is held up with most, as those who wait longest are served next.
//!
//! Invariant: once a connection that has parked something is idle, the parked bytes are within the limit, or whoever could go
//! is about to take back what it has parked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use tracing::warn;

use super::Shard;
use crate::config::{ByteCount, Config};
use crate::connection::{Connection, Waiting};

/// Least time between two lines about clients that had to go, in nanoseconds.
const LOG_INTERVAL_NS: u64 = 1_000_000_000;

/// Why a client had to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// The parked store is full, and it has stalled longest.
    Full,
    /// Its request stayed unfinished.
    Request,
    /// Its replies stayed unread.
    Reply,
    /// It gave no password.
    Auth,
    /// The kernel has no place for its socket among those that are waited for.
    Watches,
}

impl Eviction {
    /// All of them, in their order.
    pub const ALL: [Eviction; 5] =
        [Eviction::Full, Eviction::Request, Eviction::Reply, Eviction::Auth, Eviction::Watches];

    /// The setting that has decided it.
    pub const fn setting(self) -> &'static str {
        match self {
            Eviction::Full => "maxmemory-clients",
            Eviction::Request => "request-timeout",
            Eviction::Reply => "reply-timeout",
            Eviction::Auth => "auth-timeout",
            Eviction::Watches => "fs.epoll.max_user_watches",
        }
    }

    const fn why(self) -> &'static str {
        match self {
            Eviction::Full => "the parked store is full",
            Eviction::Request => "its request stayed unfinished",
            Eviction::Reply => "its replies stayed unread",
            Eviction::Auth => "it gave no password",
            Eviction::Watches => "its socket cannot be waited for",
        }
    }
}

/// One account.
#[derive(Debug, Default)]
struct Account {
    bytes: Cell<usize>,
    /// Who has parked something, who goes first in front: its rank, and its place among the clients.
    order: RefCell<BTreeSet<(u64, u32)>>,
}

/// What goes into an account, and comes out of it again.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// How much.
    pub bytes: usize,
    /// It is no doing of its client that it waits.
    pub is_held_up: bool,
    /// Since when, in the shard's nanoseconds.
    pub since_ns: u64,
    /// Its place among the clients.
    pub place: u32,
}

impl Entry {
    fn rank(self) -> (u64, u32) {
        (if self.is_held_up { u64::MAX - self.bytes as u64 } else { self.since_ns }, self.place)
    }
}

/// The accounts.
#[derive(Debug)]
pub(super) struct Parked {
    stalled: Account,
    held_up: Account,
    max_bytes: usize,
    evicted_counts: [Cell<u64>; Eviction::ALL.len()],
    logged_ns: Cell<u64>,
    unlogged_count: Cell<u64>,
}

impl Parked {
    pub(super) fn new(config: &Config) -> Parked {
        let share_bytes = config.maxmemory_clients_bytes / config.threads as u64;
        Parked {
            stalled: Account::default(),
            held_up: Account::default(),
            max_bytes: usize::try_from(share_bytes).unwrap_or(usize::MAX),
            evicted_counts: Default::default(),
            logged_ns: Cell::new(0),
            unlogged_count: Cell::new(0),
        }
    }

    fn account(&self, is_held_up: bool) -> &Account {
        if is_held_up { &self.held_up } else { &self.stalled }
    }
}

impl Shard {
    /// Bytes that waiting connections have left over.
    pub fn parked_bytes(&self) -> usize {
        self.parked.stalled.bytes.get() + self.parked.held_up.bytes.get()
    }

    /// Clients that had to go for others, by the reason's number.
    pub fn evicted_counts(&self) -> [u64; Eviction::ALL.len()] {
        Eviction::ALL.map(|eviction| self.parked.evicted_counts[eviction as usize].get())
    }

    /// A connection has put bytes aside.
    pub fn add_parked(&self, entry: Entry) {
        let account = self.parked.account(entry.is_held_up);
        assert!(account.order.borrow_mut().insert(entry.rank()), "a connection parks once");
        account.bytes.set(account.bytes.get() + entry.bytes);
    }

    /// When more is parked than may be, somebody goes. A connection that has just parked something must
    /// be idle already, as it may be the one.
    pub fn keep_within_store(&self) {
        while self.parked_bytes() > self.parked.max_bytes {
            let Some(connection) = self.next_to_go() else { break };
            self.evict(&connection, Eviction::Full);
        }
    }

    /// A connection has taken its bytes back, or is gone.
    pub fn sub_parked(&self, entry: Entry) {
        let account = self.parked.account(entry.is_held_up);
        assert!(account.order.borrow_mut().remove(&entry.rank()), "what is taken was put there");
        let before = account.bytes.get();
        assert!(entry.bytes <= before, "what is taken was put there");
        account.bytes.set(before - entry.bytes);
    }

    /// End a client for the sake of others.
    pub fn evict(&self, connection: &Connection, eviction: Eviction) {
        connection.end();
        let count = &self.parked.evicted_counts[eviction as usize];
        count.set(count.get() + 1);
        let now_ns = self.clock.now().ns;
        let since_ns = now_ns - self.parked.logged_ns.get();
        if self.parked.logged_ns.get() != 0 && since_ns < LOG_INTERVAL_NS {
            return self.parked.unlogged_count.set(self.parked.unlogged_count.get() + 1);
        }
        self.parked.logged_ns.set(now_ns);
        let others_count = self.parked.unlogged_count.take();
        let waited_s = (now_ns - connection.waiting_since_ns.get()) / 1_000_000_000;
        warn!(
            "disconnected {} (id {}) after it waited for {waited_s} s: {} ({}); {} parked, and {others_count} more clients since the last such line",
            connection.address(),
            connection.session.borrow().client.id,
            eviction.why(),
            eviction.setting(),
            ByteCount(self.parked_bytes() as u64),
        );
    }

    fn next_to_go(&self) -> Option<Rc<Connection>> {
        let parked = &self.parked;
        let more_held_up = parked.held_up.bytes.get() > parked.stalled.bytes.get();
        let clients = self.clients.borrow();
        // Who is at work takes back what it has parked; who has been ended has done so.
        let may_go = |connection: &&Rc<Connection>| {
            let is_idle = !matches!(connection.waiting.get(), Waiting::AtWork | Waiting::Receive | Waiting::Send);
            is_idle && !connection.is_ended()
        };
        [more_held_up, !more_held_up].into_iter().find_map(|is_held_up| {
            let account = parked.account(is_held_up);
            // Those who have more may all be about to take it back: the others have nothing to do with that.
            if is_held_up != more_held_up && account.bytes.get() <= parked.max_bytes {
                return None;
            }
            let order = account.order.borrow();
            order.iter().filter_map(|(_, place)| clients.get(*place as usize)).find(may_go).cloned()
        })
    }
}
