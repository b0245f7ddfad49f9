//! How many servers some traffic takes, and what of them is the first to run out.
//!
//! Pure. A server is one `tallyring serve` or one Redis as it was measured; the traffic is spread evenly over them.

use serde::{Deserialize, Serialize};

/// What one server carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerNode {
    /// Requests a second under the goal.
    pub rate_per_s: f64,
    /// Memory for counters in bytes, where it is known.
    pub memory_bytes: Option<f64>,
    /// What a counter takes of it, where it was measured.
    pub counter_bytes: Option<f64>,
    /// The network in bytes a second and direction, where it was given.
    pub network_bytes_per_s: Option<f64>,
    /// Bytes of a request, or of its reply if that is more.
    pub request_bytes: f64,
}

/// What is to be carried.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// Requests a second at the peak, growth included.
    pub rate_per_s: f64,
    /// Counters.
    pub key_count: f64,
    /// Servers that may be lost at the same time.
    pub nodes_lost: u64,
}

/// What can run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The rate at which the goal is still met: the processor of the hottest shard.
    Rate,
    /// Memory for the counters.
    Memory,
    /// The network.
    Network,
}

impl Constraint {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Constraint::Rate => "the rate under the goal",
            Constraint::Memory => "memory",
            Constraint::Network => "network",
        }
    }
}

/// The answer for one demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fleet {
    /// What is to be carried.
    pub demand: Demand,
    /// Servers, those that may be lost included.
    pub node_count: u64,
    /// What decided.
    pub binding: Constraint,
    /// How much of each thing is used after the loss, 1 being all of it.
    pub used_after_loss: Vec<(Constraint, f64)>,
    /// The same before.
    pub used_before_loss: Vec<(Constraint, f64)>,
}

/// How many servers a demand takes.
pub fn fleet(node: &PerNode, demand: Demand) -> Fleet {
    assert!(node.rate_per_s > 0.0, "a server that carries nothing");
    let mut needs = vec![(Constraint::Rate, demand.rate_per_s / node.rate_per_s)];
    if let (Some(memory_bytes), Some(counter_bytes)) =
        (node.memory_bytes.filter(|bytes| *bytes > 0.0), node.counter_bytes)
    {
        needs.push((Constraint::Memory, demand.key_count * counter_bytes / memory_bytes));
    }
    if let Some(per_s) = node.network_bytes_per_s.filter(|per_s| *per_s > 0.0) {
        needs.push((Constraint::Network, demand.rate_per_s * node.request_bytes / per_s));
    }
    let (binding, most) = needs.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).expect("the rate is one");
    let working_count = most.ceil().max(1.0);
    let used = |count: f64| needs.iter().map(|(constraint, need)| (*constraint, need / count)).collect();
    Fleet {
        demand,
        node_count: working_count as u64 + demand.nodes_lost,
        binding,
        used_after_loss: used(working_count),
        used_before_loss: used(working_count + demand.nodes_lost as f64),
    }
}

/// The what-if table: the demand, and half as much again, and twice as much, of requests and of counters.
pub fn what_if(node: &PerNode, demand: Demand) -> Vec<(f64, Fleet)> {
    let scaled = |factor: f64| Demand {
        rate_per_s: demand.rate_per_s * factor,
        key_count: demand.key_count * factor,
        nodes_lost: demand.nodes_lost,
    };
    [1.0, 1.5, 2.0].map(|factor| (factor, fleet(node, scaled(factor)))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: PerNode = PerNode {
        rate_per_s: 700_000.0,
        memory_bytes: Some(8e9),
        counter_bytes: Some(40.0),
        network_bytes_per_s: Some(1.25e9),
        request_bytes: 50.0,
    };

    #[test]
    fn three_million_a_second_with_one_lost() {
        let fleet = fleet(&NODE, Demand { rate_per_s: 3e6, key_count: 1e8, nodes_lost: 1 });
        // 3,000,000 / 700,000 = 4.3: five must work.
        assert_eq!((fleet.node_count, fleet.binding), (6, Constraint::Rate));
        let (_, used) = fleet.used_after_loss[0];
        assert!((used - 3.0 / 3.5).abs() < 1e-9, "{used}");
        assert!((fleet.used_before_loss[0].1 - 3.0 / 4.2).abs() < 1e-9);
    }

    #[test]
    fn memory_and_network_can_decide() {
        let memory = fleet(&NODE, Demand { rate_per_s: 1e6, key_count: 1e9, nodes_lost: 0 });
        assert_eq!((memory.node_count, memory.binding), (5, Constraint::Memory));
        let slow = PerNode { network_bytes_per_s: Some(1e7), ..NODE };
        let network = fleet(&slow, Demand { rate_per_s: 1e6, key_count: 1e6, nodes_lost: 2 });
        assert_eq!((network.node_count, network.binding), (7, Constraint::Network));
        let small = fleet(&NODE, Demand { rate_per_s: 1.0, key_count: 0.0, nodes_lost: 0 });
        assert_eq!(small.node_count, 1);
    }

    #[test]
    fn twice_as_much_takes_twice_as_many() {
        let table = what_if(&NODE, Demand { rate_per_s: 3e6, key_count: 1e6, nodes_lost: 1 });
        let counts: Vec<u64> = table.iter().map(|(_, fleet)| fleet.node_count).collect();
        assert_eq!(counts, [6, 8, 10]);
    }
}
