//! The two sides of `MONITOR` at a connection: what its client sends is shown to others, or it is shown what others send.
//!
//! A monitor's connection is idle, and wakes every [`TICK`] to send what has gathered. While its client does not read, its
//! replies are parked like anybody's, and nothing is fetched from the shards: their buffers fill, and that is all.

use std::io;

use super::io::Io;
use super::work::Rest;
use super::{Connection, Unsent, Waiting};
use crate::monitor::{Consumed, TICK};
use crate::readiness::Readiness;
use crate::server::Live;
use crate::session::{Status, Unfinished, Window};
use crate::socket::Socket;
use crate::tasks;

/// What was the case when a session began to parse.
#[derive(Debug)]
pub struct Before {
    at: usize,
    unfinished: Unfinished,
    is_stranger: bool,
    is_monitor: bool,
    in_transaction: bool,
    /// The input as it came, if it has quotes: those of an inline request are undone in place.
    quoted: Option<Vec<u8>>,
}

impl Connection {
    /// What is to be remembered while the session parses `input[at..]`, with these settings; nothing while nobody monitors.
    #[inline]
    pub fn before_parse(&self, input: &[u8], at: usize, live: &Live) -> Option<Box<Before>> {
        self.shard.monitors.are_attached().then(|| self.remember(input, at, live))
    }

    #[cold]
    fn remember(&self, input: &[u8], at: usize, live: &Live) -> Box<Before> {
        let session = self.session.borrow();
        let has_quotes = memchr::memchr2(b'"', b'\'', &input[at..]).is_some();
        Box::new(Before {
            at,
            unfinished: session.unfinished(),
            is_stranger: session.client.is_stranger(live.requirepass.is_some()),
            is_monitor: session.client.monitor.is_some(),
            in_transaction: session.client.transaction.is_some(),
            quoted: has_quotes.then(|| input[at..].to_vec()),
        })
    }

    /// The session has parsed up to `input[end]`: show it to who monitors.
    #[cold]
    pub fn show(&self, before: Before, input: &[u8], end: usize, window: &Window, status: &Status) {
        let called_count: u64 = window.calls().map(|calls| u64::from(calls.count)).sum();
        let input = match &before.quoted {
            Some(quoted) => &quoted[..end - before.at],
            None => &input[before.at..end],
        };
        self.show_consumed(Consumed {
            input,
            unfinished: before.unfinished,
            command_count: called_count + u64::from(matches!(status, Status::Task { .. })),
            is_stranger: before.is_stranger,
            is_monitor: before.is_monitor,
            in_transaction: before.in_transaction,
            unix_us: self.shard.clock.unix_us(),
        });
    }

    /// A transaction has been executed: its `EXEC` is shown behind what it executed, as in Redis.
    pub fn show_executed(&self) {
        if self.shard.monitors.are_attached() {
            self.show_consumed(Consumed {
                input: b"*1\r\n$4\r\nEXEC\r\n",
                unfinished: Unfinished::default(),
                command_count: 1,
                is_stranger: false,
                is_monitor: self.is_monitor(),
                in_transaction: false,
                unix_us: self.shard.clock.unix_us(),
            });
        }
    }

    fn show_consumed(&self, consumed: Consumed<'_>) {
        self.shard.monitors.show(consumed, || match &self.socket {
            Socket::Tcp { .. } => self.address(),
            Socket::Unix(_) => format!("unix:{}", self.address().trim_end_matches(":0")),
        });
    }

    /// Whether its client monitors.
    pub fn is_monitor(&self) -> bool {
        self.session.borrow().client.monitor.is_some()
    }

    /// Until its client has sent something, or what has gathered is to be sent.
    pub(super) async fn readable_or_tick(&self) -> io::Result<()> {
        tokio::time::timeout(TICK, self.ready(Readiness::Readable)).await.unwrap_or(Ok(()))
    }

    /// Send what has gathered on the shards, one after the other; then be idle again, unless its client has sent something.
    pub(super) async fn send_monitored(&self, io: &mut Io) -> Result<(), Rest> {
        let monitor = self.session.borrow().client.monitor;
        let Some(monitor) = monitor else { return Ok(()) };
        // It is idle between two ticks, so nothing of it stays in the ring. What has come already is parked, and taken up
        // at the next.
        let held_bytes = io.received;
        self.take_back_receive(io).await;
        let has_come = io.received > held_bytes;
        for shard in 0..self.shard.map.shard_count() {
            let monitored = tasks::take_monitored(self, monitor, shard).await;
            self.reply(io, monitored.lines).await?;
            // Nothing is held while the next shard is asked, which takes a turn.
            self.flush(io).await?;
        }
        match !has_come && self.socket.has_input() {
            true => Ok(()),
            false => Err(self.park_all(io, Unsent::default(), Waiting::Readable)),
        }
    }
}
