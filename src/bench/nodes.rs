//! Who is asked: one server, or the nodes of a cluster with the slots of each.

use super::control::{Control, Value};
use super::requests::Slots;
use super::run::BenchError;
use super::target::{Target, node_address};
use crate::limits::{LOAD_NODE_COUNT_MAX, SLOT_COUNT};

/// One server of a load.
#[derive(Clone, Debug)]
pub struct Node {
    /// It.
    pub target: Target,
    /// The slots that it owns; `None` where it is the only one.
    pub slots: Option<Slots>,
}

/// The nodes that a cluster says it has, in the order of their first slots. Replicas are left out.
///
/// # Errors
/// Where it is no cluster, or slots are owned by nobody.
pub fn of_cluster(control: &mut Control, target: &Target) -> Result<Vec<Node>, BenchError> {
    let reply = control.ask(&["CLUSTER", "SLOTS"])?;
    let ranges = ranges(&reply).ok_or_else(|| BenchError::Cluster {
        problem: "CLUSTER SLOTS was answered with something else than slots".to_owned(),
    })?;
    let mut nodes: Vec<Node> = Vec::new();
    let mut owned_count = 0;
    for Range { start, end, host, port } in ranges {
        let address = node_address(&target.address, &host, port).map_err(|error| BenchError::Cluster {
            problem: format!("the node {host}:{port} is not found: {error}"),
        })?;
        let place = nodes.iter().position(|node| node.target.address == address).unwrap_or_else(|| {
            nodes.push(Node { target: target.at(address), slots: Some(Slots::default()) });
            nodes.len() - 1
        });
        let slots = nodes[place].slots.as_mut().expect("each has some");
        (start..=end).for_each(|slot| slots.insert(slot));
        owned_count += usize::from(end - start) + 1;
    }
    if owned_count != SLOT_COUNT || nodes.len() > LOAD_NODE_COUNT_MAX {
        return Err(BenchError::Cluster {
            problem: format!("{owned_count} of {SLOT_COUNT} slots are owned, by {} nodes", nodes.len()),
        });
    }
    Ok(nodes)
}

#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: u16,
    end: u16,
    host: String,
    port: u16,
}

/// Of `[[start, end, [host, port, …], replica …], …]`.
fn ranges(reply: &Value) -> Option<Vec<Range>> {
    let Value::Array(ranges) = reply else { return None };
    let range = |range: &Value| {
        let Value::Array(fields) = range else { return None };
        let [Value::Integer(start), Value::Integer(end), Value::Array(node), ..] = &fields[..] else { return None };
        let (start, end) = (u16::try_from(*start).ok()?, u16::try_from(*end).ok()?);
        let host = match node.first()? {
            Value::Null => String::new(),
            host => host.text()?.to_owned(),
        };
        let Value::Integer(port) = node.get(1)? else { return None };
        let sound = start <= end && usize::from(end) < SLOT_COUNT;
        sound.then_some(Range { start, end, host, port: u16::try_from(*port).ok()? })
    };
    ranges.iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn slots_are_read() {
        let node = Value::Array(vec![text("10.0.0.1"), Value::Integer(7_001), text("id")]);
        let one = Value::Array(vec![Value::Integer(0), Value::Integer(8_191), node.clone(), node]);
        let expected = Range { start: 0, end: 8_191, host: "10.0.0.1".to_owned(), port: 7_001 };
        assert_eq!(ranges(&Value::Array(vec![one])), Some(vec![expected]));
    }

    #[test]
    fn what_is_no_slots_is_refused() {
        let node = || Value::Array(vec![text("x"), Value::Integer(1)]);
        for range in [
            vec![Value::Integer(5), Value::Integer(4), node()],
            vec![Value::Integer(0), Value::Integer(16_384), node()],
            vec![Value::Integer(0), node()],
            vec![Value::Integer(0), Value::Integer(1), Value::Array(vec![text("x"), Value::Integer(70_000)])],
        ] {
            assert_eq!(ranges(&Value::Array(vec![Value::Array(range)])), None);
        }
        assert_eq!(ranges(&text("OK")), None);
    }
}
