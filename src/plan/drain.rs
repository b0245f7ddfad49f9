//! Waits until the servers have worked off what a trial has left them.

use std::time::{Duration, Instant};

use crate::bench::nodes::Node;

/// How long they get.
const TIME_MAX: Duration = Duration::from_secs(10);

/// How often they are asked.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that answers this quickly is idle.
const IDLE_ANSWER: Duration = Duration::from_millis(20);

/// Until all nodes are idle, or the time is over; `go_on` says whether anybody wants to wait.
///
/// # Errors
/// In words: what `go_on` says, or a node that does not answer.
pub(super) fn drain(nodes: &[Node], go_on: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        std::thread::sleep(PAUSE);
        go_on()?;
        let mut is_idle = true;
        for node in nodes {
            let mut control = node.target.control().map_err(|error| error.to_string())?;
            let asked = Instant::now();
            control.call(&["PING"]).map_err(|error| error.to_string())?;
            is_idle &= asked.elapsed() < IDLE_ANSWER;
        }
        if is_idle || begun.elapsed() > TIME_MAX {
            return Ok(());
        }
    }
}
