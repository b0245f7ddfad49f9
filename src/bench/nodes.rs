//! Who is asked: one server, or the nodes of a cluster with the slots of each.

use super::control::{Control, Value};
use super::mix::Mix;
use super::requests::Part;
use super::result::Load;
use super::run::{BenchError, Run};
use super::target::{Target, node_address};
use crate::limits::{LOAD_NODE_COUNT_MAX, SLOT_COUNT};
use crate::slot;

/// Keys that are looked at to see which nodes of a cluster have any.
const LOOKED_AT_KEY_COUNT: u32 = 100_000;

/// One server of a load.
#[derive(Clone, Debug)]
pub struct Node {
    /// It.
    pub target: Target,
    /// What belongs to it; `None` where it is no node of a cluster.
    pub part: Option<Part>,
}

impl Node {
    /// Whether it owns a slot.
    pub fn owns(&self, slot: u16) -> bool {
        self.part.as_ref().is_some_and(|part| part.slots.contains(slot))
    }
}

/// The node that a request belongs to; any where it has no key, or there is one server.
pub fn owner(nodes: &[Node], key: Option<&[u8]>) -> usize {
    let slot = key.map(slot::of);
    slot.and_then(|slot| nodes.iter().position(|node| node.owns(slot))).unwrap_or(0)
}

/// The node that a thread's connection of this number belongs to. In an open loop each thread has its share of every one;
/// in a closed one all threads' connections together do, as a thread may have fewer than there are.
pub fn of_connection(run: &Run, index: usize, number: usize, node_count: usize) -> usize {
    match run.load {
        Load::Open { .. } => (index + number) % node_count,
        Load::Closed => (index + number * run.threads) % node_count,
    }
}

/// The nodes that requests of a load belong to, each with an example. Numbers of keys are below `key_count`.
pub fn loaded(nodes: &[Node], mix: &Mix, key_count: u32) -> Vec<Node> {
    let mut examples: Vec<Option<(usize, u32)>> = vec![None; nodes.len()];
    for (command, template) in mix.templates().iter().enumerate() {
        let mut request = vec![0; template.request_bytes()];
        // Where a request draws no number all are the same.
        let number_count = if template.key_count() == 0 { 1 } else { key_count.min(LOOKED_AT_KEY_COUNT) };
        for number in 0..number_count {
            template.write_first_key(&mut request, || number);
            let Some(key) = template.first_key(&request) else { break };
            examples[owner(nodes, Some(key))].get_or_insert((command, number));
            if examples.iter().all(Option::is_some) {
                break;
            }
        }
    }
    // What has no key can go anywhere.
    let keyless = mix.templates().iter().position(|template| !template.has_key()).map(|command| (command, 0));
    let examples = examples.into_iter().map(|example| example.or(keyless));
    let mut loaded: Vec<Node> = nodes
        .iter()
        .zip(examples)
        .filter_map(|(node, example)| {
            let part = Part { example: example?, ..node.part.clone()? };
            Some(Node { target: node.target.clone(), part: Some(part) })
        })
        .collect();
    let node_count = loaded.len() as u32;
    loaded.iter_mut().filter_map(|node| node.part.as_mut()).for_each(|part| part.node_count = node_count);
    loaded
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
            nodes.push(Node { target: target.at(address), part: Some(Part::default()) });
            nodes.len() - 1
        });
        let part = nodes[place].part.as_mut().expect("each has one");
        (start..=end).for_each(|slot| part.slots.insert(slot));
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
    use super::super::options::described;
    use super::super::target::Address;
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
    fn nodes_are_loaded_that_some_command_has_keys_of() {
        let target = |port| Target { address: Address::resolve("127.0.0.1", port).unwrap(), auth: None, resp: 2 };
        let nodes: Vec<Node> = (0..4)
            .map(|index| {
                let mut part = Part::default();
                (0..SLOT_COUNT as u16 / 4).for_each(|slot| part.slots.insert(index * SLOT_COUNT as u16 / 4 + slot));
                Node { target: target(index), part: Some(part) }
            })
            .collect();
        let places = |commands: &[&str]| {
            let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
            let mix = Mix::of_commands(&commands, 1_000).unwrap();
            let loaded = loaded(&nodes, &mix, 1_000);
            for node in &loaded {
                let part = node.part.as_ref().unwrap();
                assert_eq!(part.node_count as usize, loaded.len());
                let template = &mix.templates()[part.example.0];
                let mut request = vec![0; template.request_bytes()];
                template.write(&mut request, || part.example.1);
                assert!(template.first_key(&request).is_none_or(|key| node.owns(slot::of(key))));
            }
            let place = |node: &Node| nodes.iter().position(|one| one.target.address == node.target.address).unwrap();
            loaded.iter().map(place).collect::<Vec<_>>()
        };
        let of = |key: &[u8]| usize::from(slot::of(key)) / (SLOT_COUNT / 4);
        assert_eq!(places(&["INCR {a}:{key}"]), [of(b"a")]);
        assert_eq!(places(&["MGET {user}a:{key} {user}b:{key}"]), [of(b"user")]);
        let mut both = [of(b"a"), of(b"user")];
        both.sort_unstable();
        assert_ne!(both[0], both[1]);
        assert_eq!(places(&["INCR {a}:{key}", "GET {user}"]), both);
        assert_eq!(places(&["GET {user}", "INCR a:{key}"]), [0, 1, 2, 3]);
        assert_eq!(places(&["GET {user}", "PING"]), [0, 1, 2, 3]);
    }

    #[test]
    fn every_node_has_its_connections() {
        for (flags, node_count, least) in [
            ("--rate max -c 3 -t 2", 3, 1),
            ("--rate max -c 8 -t 2", 4, 2),
            ("--rate max -c 7 -t 3", 7, 1),
            ("--rate 5k -c 8 -t 2", 4, 2),
            ("--rate 5k -c 9 -t 3", 3, 3),
        ] {
            let run = described(flags).unwrap();
            let mut counts = vec![0; node_count];
            for index in 0..run.threads {
                let numbers = 0..(index..run.connections).step_by(run.threads).len();
                numbers.for_each(|number| counts[of_connection(&run, index, number, node_count)] += 1);
            }
            assert!(counts.iter().all(|count| *count >= least), "{flags}: {counts:?}");
        }
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
