//! `LATENCY`: what commands took, and what took too long.

use super::{Call, Env, Mistake, Task, lookup_full};
use crate::latency::Event;

/// `LATENCY HISTOGRAM [command …]`: a container stands for its subcommands, an unknown name for nothing.
pub fn histogram(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    if call.count() == 2 {
        return Ok(Task::LatencyHistogram(None));
    }
    let named = (2..call.count()).filter_map(|at| lookup_full(call.arg(at)));
    let specs = named.flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    Ok(Task::LatencyHistogram(Some(specs.map(|spec| usize::from(spec.index)).collect())))
}

/// `LATENCY LATEST`.
pub fn latest(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::LatencyLatest)
}

/// `LATENCY HISTORY event`.
pub fn history(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::LatencyHistory(Event::named(call.arg(2))))
}

/// `LATENCY RESET [event …]`: all without a name; one that there is not is passed over.
pub fn reset(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    let mut events = [call.count() == 2; Event::ALL.len()];
    (2..call.count()).filter_map(|at| Event::named(call.arg(at))).for_each(|event| events[event as usize] = true);
    Ok(Task::LatencyReset(events))
}

/// `LATENCY DOCTOR`.
pub fn doctor(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::LatencyDoctor)
}
