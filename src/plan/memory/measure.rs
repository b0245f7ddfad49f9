//! Asks the servers: adds counters, reads `INFO memory` on the way, and deletes them again.
//!
//! It works with every server that has `used_memory` in `INFO memory` and knows `SET`, `DBSIZE` and `DEL`. The counters have
//! names of their own, as long as those of the load, and expire if those do. In a cluster each goes to the node that owns
//! it, and memory is that of all servers; nodes with the same `run_id` are one server.

use std::ops::Range;

use super::{Info, Measured, Memory};
use crate::bench::Observer;
use crate::bench::control::{Control, Value, encode};
use crate::bench::mix::Form;
use crate::bench::nodes::{self, Node};
use crate::bench::target::{Stream, Target, TargetError};
use crate::startup::longer_counters_bytes;

/// Points at which memory is read, evenly up to the number of counters.
const POINT_COUNT: u64 = 32;

/// Progress is told at every so many of them.
const TOLD_POINT_COUNT: u64 = 4;

/// Counters that are set or deleted at once.
const BATCH_COUNT: u64 = 1_000;

/// What a counter takes beside its name, at most: that much must be free.
const ENTRY_BYTES_MAX: u64 = 256;

/// The digits that names are numbered with, and how many of them.
const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGIT_COUNT: usize = 5;

/// The shortest name: a mark, two digits that differ from run to run, and the number.
const NAME_BYTES_MIN: usize = 8;

/// How long a counter that expires has, in seconds: longer than it is needed.
const EXPIRY_S: &str = "86400";

/// Connections that are opened to see what one takes, and at how many points.
const CONNECTION_STEP: usize = 64;
const CONNECTION_POINT_COUNT: usize = 3;

/// Measure with up to `key_count` counters whose keys have the `forms` in turn. What was added is deleted again, also when
/// it fails or is interrupted.
///
/// # Errors
/// In words: a server that cannot be asked or has no room, or the wish to stop.
pub fn measure(
    nodes: &[Node],
    forms: &[Form],
    key_count: u64,
    seed: u64,
    observer: &mut dyn Observer,
) -> Result<Memory, String> {
    let mut servers = Servers::connect(nodes)?;
    let names = Names::new(forms, seed as u32 ^ std::process::id().rotate_left(16));
    let info = servers.info()?;
    if room_bytes(&info) < key_count * (names.bytes_max() as u64 + ENTRY_BYTES_MAX) {
        return Err(format!(
            "there is no room for {key_count} counters below the server's maxmemory. Choose fewer --memory-keys"
        ));
    }
    let before_count = servers.size()?;
    let mut points = Vec::new();
    let mut added = 0;
    let mut fill = || -> Result<(), String> {
        for point in 1..=POINT_COUNT {
            let until = key_count * point / POINT_COUNT;
            if point % TOLD_POINT_COUNT == 0 {
                observer.phase(&format!("memory: {until} of {key_count} counters"));
            }
            while added < until {
                if observer.interrupted() {
                    return Err("interrupted".to_owned());
                }
                let next = (added + BATCH_COUNT).min(until);
                servers.batch(added..next, |number| names.setting(number))?;
                added = next;
            }
            let used_bytes = servers.info()?.used_bytes;
            let count = servers.size()?.saturating_sub(before_count);
            points.push((count, used_bytes.saturating_sub(info.used_bytes)));
        }
        Ok(())
    };
    let filled = fill();
    // Of a batch that failed some may be there.
    let end = (added + BATCH_COUNT).min(key_count);
    for first in (0..end).step_by(BATCH_COUNT as usize) {
        let removed =
            servers.batch(first..end.min(first + BATCH_COUNT), |number| vec!["DEL".to_owned(), names.name(number)]);
        if filled.is_ok() {
            removed?;
        } else if removed.is_err() {
            break;
        }
    }
    filled?;
    let connections = servers.connections(&nodes[0].target)?;
    let server_count = servers.firsts.len() as u64;
    Memory::of(Measured { info, server_count, before_count, points, connections })
        .ok_or_else(|| "the server's memory did not change".to_owned())
}

/// How much may be added. Tallyring's `maxmemory` is for counters alone, and `used_memory` has its fixed part too.
fn room_bytes(info: &Info) -> u64 {
    let empty_bytes = info.fixed_bytes.and(info.startup_bytes).unwrap_or(0);
    let counted_bytes = info.used_bytes.saturating_sub(empty_bytes);
    info.maxmemory_bytes.map_or(u64::MAX, |max| max.saturating_sub(counted_bytes))
}

/// The names of the counters: unlike those of the load and of other runs, and as long as those of the load.
struct Names<'a> {
    forms: &'a [Form],
    mark: String,
}

impl Names<'_> {
    fn new(forms: &[Form], salt: u32) -> Names<'_> {
        assert!(!forms.is_empty(), "a key has a form");
        Names { forms, mark: format!("~{}:plan:", digits(u64::from(salt), 6)) }
    }

    fn form(&self, number: u64) -> Form {
        self.forms[(number % self.forms.len() as u64) as usize]
    }

    fn bytes_max(&self) -> usize {
        self.forms.iter().map(|form| form.key_bytes.max(NAME_BYTES_MIN)).max().expect("a key has a form")
    }

    fn name(&self, number: u64) -> String {
        let width = self.form(number).key_bytes.max(NAME_BYTES_MIN) - DIGIT_COUNT;
        let mut name = format!("{:0<width$}", self.mark);
        name.truncate(width);
        name + &digits(number, DIGIT_COUNT)
    }

    fn setting(&self, number: u64) -> Vec<String> {
        let mut arguments = vec!["SET".to_owned(), self.name(number), "1".to_owned()];
        if self.form(number).expires {
            arguments.extend(["EX", EXPIRY_S].map(str::to_owned));
        }
        arguments
    }
}

/// The last digits of a number, the last one first: what differs comes early.
fn digits(number: u64, count: usize) -> String {
    let base = DIGITS.len() as u64;
    (0..count as u32).map(|place| DIGITS[(number / base.pow(place) % base) as usize] as char).collect()
}

/// The nodes that own the counters.
struct Servers<'a> {
    nodes: &'a [Node],
    controls: Vec<Control>,
    /// The first node of each server.
    firsts: Vec<usize>,
}

impl Servers<'_> {
    fn connect(nodes: &[Node]) -> Result<Servers<'_>, String> {
        let controls = nodes.iter().map(|node| node.target.control()).collect::<Result<Vec<_>, _>>();
        let mut controls = controls.map_err(|error| error.to_string())?;
        let mut ids: Vec<Option<String>> = Vec::new();
        let mut firsts = Vec::new();
        for (index, control) in controls.iter_mut().enumerate() {
            let id = run_id(control)?;
            if id.is_none() || !ids.contains(&id) {
                firsts.push(index);
            }
            ids.push(id);
        }
        Ok(Servers { nodes, controls, firsts })
    }

    /// A command for each of the numbers, its key being its second word.
    fn batch(&mut self, numbers: Range<u64>, command: impl Fn(u64) -> Vec<String>) -> Result<(), String> {
        let mut requests = vec![(Vec::new(), 0); self.nodes.len()];
        let mut name = String::new();
        for number in numbers {
            let arguments = command(number);
            name.clone_from(&arguments[0]);
            let (bytes, count) = &mut requests[nodes::owner(self.nodes, Some(arguments[1].as_bytes()))];
            encode(&arguments, bytes);
            *count += 1;
        }
        for (control, (bytes, count)) in self.controls.iter_mut().zip(requests) {
            for reply in control.pipeline(&bytes, count, &name).map_err(|error| error.to_string())? {
                if let Value::Error(reply) = reply {
                    return Err(TargetError::Refused { command: name, reply }.to_string());
                }
            }
        }
        Ok(())
    }

    fn size(&mut self) -> Result<u64, String> {
        let mut sum = 0;
        for control in &mut self.controls {
            let reply = control.ask(&["DBSIZE"]).map_err(|error| error.to_string())?;
            let count = reply.counter().and_then(|count| u64::try_from(count).ok());
            sum += count.ok_or_else(|| "DBSIZE is no number".to_owned())?;
        }
        Ok(sum)
    }

    fn info(&mut self) -> Result<Info, String> {
        let mut each = Vec::new();
        for first in &self.firsts {
            each.push(info(&mut self.controls[*first])?);
        }
        Ok(sum(&each))
    }

    /// Connections to the first server and the bytes they take. Where it lets no more in, what there is must do.
    fn connections(&mut self, target: &Target) -> Result<Vec<(u64, u64)>, String> {
        let control = &mut self.controls[0];
        let before = info(control)?.used_bytes;
        let mut open: Vec<Stream> = Vec::new();
        let mut points = vec![(0, 0)];
        for _ in 0..CONNECTION_POINT_COUNT {
            for _ in 0..CONNECTION_STEP {
                match target.connect() {
                    Ok(stream) => open.push(stream),
                    Err(_) => return Ok(points),
                }
            }
            points.push((open.len() as u64, info(control)?.used_bytes.saturating_sub(before)));
        }
        Ok(points)
    }
}

/// Of servers together. Those of one machine have the same memory, so that of several is not known.
fn sum(each: &[Info]) -> Info {
    let all = |of: fn(&Info) -> Option<u64>| each.iter().map(of).sum::<Option<u64>>();
    Info {
        used_bytes: each.iter().map(|info| info.used_bytes).sum(),
        maxmemory_bytes: all(|info| info.maxmemory_bytes),
        system_bytes: if let [one] = each { one.system_bytes } else { None },
        fixed_bytes: all(|info| info.fixed_bytes),
        startup_bytes: all(|info| info.startup_bytes),
    }
}

fn run_id(control: &mut Control) -> Result<Option<String>, String> {
    let reply = control.ask(&["INFO", "server"]).map_err(|error| error.to_string())?;
    let lines = reply.text().unwrap_or_default().lines();
    Ok(lines.filter_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned()).next())
}

fn info(control: &mut Control) -> Result<Info, String> {
    let reply = control.ask(&["INFO", "memory"]).map_err(|error| error.to_string())?;
    parse(reply.text().unwrap_or_default()).ok_or_else(|| "INFO memory has no used_memory".to_owned())
}

fn parse(info: &str) -> Option<Info> {
    let field = |name: &str| -> Option<u64> {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    let maxmemory_bytes = field("maxmemory").filter(|bytes| *bytes > 0);
    Some(Info {
        used_bytes: field("used_memory")?,
        maxmemory_bytes,
        system_bytes: field("total_system_memory").filter(|bytes| *bytes > 0),
        fixed_bytes: field("used_memory_ceiling")
            .zip(maxmemory_bytes)
            .map(|(all, counters)| all.saturating_sub(counters.saturating_add(longer_counters_bytes(counters)))),
        startup_bytes: field("used_memory_startup"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn info_is_understood() {
        let redis = "# Memory\r\nused_memory:1000\r\nused_memory_human:1K\r\nused_memory_startup:800\r\n\
                     total_system_memory:9000\r\nmaxmemory:0\r\n";
        let expected =
            Info { used_bytes: 1_000, system_bytes: Some(9_000), startup_bytes: Some(800), ..Info::default() };
        assert_eq!(parse(redis), Some(expected));
        let ours = "used_memory:1000\r\nused_memory_ceiling:1100\r\nmaxmemory:800\r\n";
        assert_eq!(parse(ours).unwrap().fixed_bytes, Some(200));
        assert_eq!(parse("nothing"), None);
    }

    #[test]
    fn what_a_server_takes_empty_is_no_counters_of_tallyring() {
        let info = Info { used_bytes: 900, startup_bytes: Some(800), maxmemory_bytes: Some(500), ..Info::default() };
        assert_eq!(room_bytes(&Info { fixed_bytes: Some(800), ..info }), 400);
        // Another server's limit is for all of it.
        assert_eq!(room_bytes(&Info { maxmemory_bytes: Some(1_000), ..info }), 100);
        assert_eq!(room_bytes(&Info { maxmemory_bytes: None, ..info }), u64::MAX);
    }

    #[test]
    fn servers_add_up_unless_one_has_no_limit() {
        let one = Info { used_bytes: 10, maxmemory_bytes: Some(100), system_bytes: Some(900), ..Info::default() };
        assert_eq!(sum(&[one]), one);
        let two = sum(&[one, one]);
        assert_eq!((two.used_bytes, two.maxmemory_bytes, two.system_bytes), (20, Some(200), None));
        assert_eq!(sum(&[one, Info { maxmemory_bytes: None, ..one }]).maxmemory_bytes, None);
    }

    #[test]
    fn names_are_as_long_as_those_of_the_load_and_expire_as_they_do() {
        for key_bytes in [1, 8, 9, 16, 25, 200, 1_024] {
            let forms = [Form { key_bytes, expires: false }, Form { key_bytes: 9, expires: true }];
            let names = Names::new(&forms, 77);
            let all: HashSet<String> = (0..5_000).map(|number| names.name(number)).collect();
            assert_eq!(all.len(), 5_000);
            assert_eq!(names.name(4).len(), key_bytes.max(NAME_BYTES_MIN), "{}", names.name(4));
            assert_ne!(names.name(4), Names::new(&forms, 78).name(4));
            assert_eq!((names.setting(4).len(), names.setting(5).len()), (3, 5));
        }
    }
}
