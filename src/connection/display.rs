//! What is shown of a connection: `CLIENT LIST`, `CLIENT INFO`, and who is meant by a filter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Connection, Waiting};
use crate::command::{self, ClientFilter};
use crate::limits::CONNECTION_BYTES;
use crate::socket::Socket;

impl Connection {
    /// The client's address as Redis writes it.
    pub fn address(&self) -> String {
        match &self.socket {
            Socket::Tcp { peer, .. } => peer.to_string(),
            Socket::Unix(_) => self.unix_address(),
        }
    }

    /// The server's address as the client sees it.
    pub fn local_address(&self) -> String {
        match &self.socket {
            Socket::Tcp { local, .. } => local.to_string(),
            Socket::Unix(_) => self.unix_address(),
        }
    }

    /// The IP address that the client has reached the server at; of a Unix socket's client, one that it could.
    pub fn reached_ip(&self) -> IpAddr {
        match &self.socket {
            Socket::Tcp { local, .. } => local.ip().to_canonical(),
            Socket::Unix(_) => match self.shard.shared.config.bind.first() {
                Some(ip) if !ip.is_unspecified() => *ip,
                Some(IpAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
                _ => Ipv4Addr::LOCALHOST.into(),
            },
        }
    }

    fn unix_address(&self) -> String {
        let path = self.shard.shared.config.unixsocket.as_ref();
        format!("{}:0", path.map(|path| path.display().to_string()).unwrap_or_default())
    }

    /// Whether a filter means this client.
    pub fn matches(&self, filter: &ClientFilter) -> bool {
        let id = self.session.borrow().client.id;
        let age_s = (self.shard.clock.now().ns - self.created_ns) / 1_000_000_000;
        filter.type_matches
            && (filter.ids.is_empty() || filter.ids.contains(&id))
            && filter.excluded_id != Some(id)
            && filter.address.as_ref().is_none_or(|address| *address == self.address())
            && filter.local_address.as_ref().is_none_or(|address| *address == self.local_address())
            && filter.user.as_ref().is_none_or(|user| user == "default")
            && filter.age_min_s.is_none_or(|least| age_s >= least)
    }

    /// The line of `CLIENT LIST`.
    pub fn line(&self) -> String {
        let session = self.session.borrow();
        let client = &session.client;
        let now_ns = self.shard.clock.now().ns;
        let seconds_since = |ns: u64| now_ns.saturating_sub(ns) / 1_000_000_000;
        let mut flags = String::new();
        for (set, flag) in [
            (client.monitor.is_some(), 'O'),
            (client.transaction.is_some(), 'x'),
            (matches!(self.socket, Socket::Unix(_)), 'U'),
            (client.no_evict, 'e'),
            (client.no_touch, 'T'),
        ] {
            if set {
                flags.push(flag);
            }
        }
        if flags.is_empty() {
            flags.push('N');
        }
        let multi = client.transaction.as_ref().map_or(-1, |transaction| i64::from(transaction.command_count));
        let queue_bytes = client.transaction.as_ref().map_or(0, |transaction| transaction.queue.capacity());
        let command = match self.last_command.get() {
            u16::MAX => "NULL",
            index => command::by_index(usize::from(index)).name,
        };
        let (parked_input_bytes, parked_output_bytes) = {
            let parked = self.parked.borrow();
            (parked.input.len(), parked.output.len())
        };
        let events = if matches!(self.waiting.get(), Waiting::Send | Waiting::Writable) { "w" } else { "r" };
        format!(
            "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db=0 sub=0 psub=0 ssub=0 multi={multi} \
             watch={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem={queue_bytes} rbs=0 rbp=0 obl=0 oll={} omem={parked_output_bytes} tot-mem={} \
             events={events} cmd={command} user=default redir=-1 resp={} lib-name={} lib-ver={}",
            client.id,
            self.address(),
            self.local_address(),
            self.socket.fd(),
            client.name,
            seconds_since(self.created_ns),
            seconds_since(self.active_ns.get()),
            client.watched.len(),
            parked_input_bytes,
            u8::from(parked_output_bytes > 0),
            queue_bytes + parked_input_bytes + parked_output_bytes + CONNECTION_BYTES,
            if client.resp3 { 3 } else { 2 },
            client.lib_name,
            client.lib_version,
        )
    }
}
