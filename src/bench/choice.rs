//! Which connection a request of an open loop goes to.
//!
//! In a cluster the request decides: its command and its first key are drawn before its connection is chosen, among those
//! to the node that owns the key. A node that is gone gets its requests all the same: they wait behind one of its
//! connections until that is there again, as those of a single server do.

use std::rc::Rc;

use super::nodes::Node;
use super::random::Random;
use super::requests::{Drawn, Requests};
use super::result::{Arrivals, Load};
use super::thread::{Connection, Thread};
use crate::limits::SLOT_COUNT;

/// In place of a node: none has this slot.
const NOBODY: u16 = u16::MAX;

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a connection, by its number in the thread.
    To(usize),
    /// No connection is there now.
    Later,
    /// No connection that it could go to will ever be there again.
    Nowhere,
}

/// See the module.
pub struct Choice {
    random: Random,
    /// In turn, for evenly spread times; independently, for independent ones.
    in_turn: bool,
    next: usize,
    routes: Option<Routes>,
}

impl Choice {
    /// For one thread's connections.
    pub fn new(thread: &Thread, connections: &[Rc<Connection>]) -> Choice {
        let run = &thread.run;
        let stream = 1 + (2 * run.threads + 3 * thread.index) as u64 + 2;
        let in_turn = matches!(run.load, Load::Open { arrivals: Arrivals::Constant, .. });
        // The senders draw too, from other streams: what else a request and its pipeline need.
        let requests = || {
            let mix = run.mix.clone();
            Requests::new(mix, run.distribution, run.key_count, run.seed ^ 1, thread.index, run.threads)
        };
        let routes = (thread.nodes.len() > 1).then(|| Routes::new(requests(), &thread.nodes, connections));
        Choice { random: Random::new(run.seed, stream), in_turn, next: 0, routes }
    }

    /// The next request and its place. What is drawn for a place that is not there now is to be asked for again.
    #[inline]
    pub fn next(&mut self, thread: &Thread, connections: &[Rc<Connection>]) -> (Place, Option<Drawn>) {
        let Some(routes) = &mut self.routes else { return (self.any(thread), None) };
        let (drawn, node) = routes.draw();
        let place = match node {
            Some(node) => self.of_node(node, connections),
            // It has no key: all nodes are as good.
            None => self.any(thread),
        };
        (place, Some(drawn))
    }

    /// The place of a request of a trace: its client's connection.
    pub fn of_recorded(&mut self, thread: &Thread, connections: &[Rc<Connection>], number: usize) -> Place {
        let trace = thread.run.trace.as_ref().expect("a trace is replayed");
        // Connection number n of the run is number n / threads of its thread.
        let index = trace.connection(number, thread.run.connections) / thread.run.threads;
        // The commands of a client whose connection was lost go on elsewhere.
        if connections[index].alive.get() { Place::To(index) } else { self.any(thread) }
    }

    fn any(&mut self, thread: &Thread) -> Place {
        let live = thread.live.borrow();
        if live.is_empty() {
            return Place::Later;
        }
        let place = turn(live.len(), self.in_turn, &mut self.next, &mut self.random);
        Place::To(live[place].index)
    }

    /// A connection to a node: one that is there, or else one that may come back.
    fn of_node(&mut self, node: usize, connections: &[Rc<Connection>]) -> Place {
        let routes = self.routes.as_mut().expect("there are nodes");
        let OfNode { connections: of_node, next } = &mut routes.of_nodes[node];
        let first = turn(of_node.len(), self.in_turn, next, &mut self.random);
        let in_order = || of_node[first..].iter().chain(&of_node[..first]).copied();
        let there = in_order().find(|index| connections[*index].alive.get());
        let found = there.or_else(|| in_order().find(|index| !connections[*index].given_up.get()));
        found.map_or(Place::Nowhere, Place::To)
    }
}

/// The next of so many.
#[inline]
fn turn(count: usize, in_turn: bool, next: &mut usize, random: &mut Random) -> usize {
    if in_turn {
        *next = (*next + 1) % count;
        *next
    } else {
        random.below(count as u32) as usize
    }
}

/// The nodes of a cluster.
struct Routes {
    requests: Requests,
    scratch: Box<[u8]>,
    /// By the slot.
    node_of: Box<[u16]>,
    of_nodes: Vec<OfNode>,
}

struct OfNode {
    connections: Vec<usize>,
    next: usize,
}

impl Routes {
    fn new(requests: Requests, nodes: &[Node], connections: &[Rc<Connection>]) -> Routes {
        let mut of_nodes: Vec<OfNode> = nodes.iter().map(|_| OfNode { connections: Vec::new(), next: 0 }).collect();
        connections.iter().for_each(|connection| of_nodes[connection.node].connections.push(connection.index));
        assert!(of_nodes.iter().all(|of_node| !of_node.connections.is_empty()), "a run has connections to each node");
        let node_of = (0..SLOT_COUNT as u16).map(|slot| {
            let owns = |node: &Node| node.part.as_ref().is_some_and(|part| part.slots.contains(slot));
            nodes.iter().position(owns).map_or(NOBODY, |node| node as u16)
        });
        let scratch = vec![0; requests.request_bytes_max()].into();
        Routes { requests, scratch, node_of: node_of.collect(), of_nodes }
    }

    /// The next request, and the node that it belongs to, if there is one.
    fn draw(&mut self) -> (Drawn, Option<usize>) {
        loop {
            let (drawn, slot) = self.requests.draw(&mut self.scratch);
            let Some(slot) = slot else { return (drawn, None) };
            // A node that has so few of the keys that none was found has no connection; its keys are passed over.
            let node = self.node_of[usize::from(slot)];
            if node != NOBODY {
                return (drawn, Some(usize::from(node)));
            }
        }
    }
}
