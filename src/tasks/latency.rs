//! `LATENCY`, and the latencies in `INFO`: the histograms of all shards, added up one at a time.
//!
//! Invariant: a shard has one histogram to merge into, lent in turn, and asks for one at a time, so that what looking
//! costs in memory is known.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use super::Place;
use crate::command::{SPEC_COUNT, by_index};
use crate::info;
use crate::latency::{self, Cumulated, Event, Percentiles, Sample, Series, Stage, Which, buckets_us, fine_bounds_ns};
use crate::mesh::{Answer, Ask};
use crate::resp::encode;
use crate::stats::Report;

/// `LATENCY HISTOGRAM [command …]`: a map from each command that was called to its calls and its buckets.
pub(super) async fn histogram(place: Place<'_>, indexes: &Option<Vec<usize>>, out: &mut Vec<u8>) {
    let all: Vec<usize> = (0..SPEC_COUNT).collect();
    let mut entries = Vec::new();
    let mut entry_count = 0;
    for &index in indexes.as_ref().unwrap_or(&all) {
        merged(place, Which::Command(index), |histogram| {
            entry_count += 1;
            encode::bulk(&mut entries, by_index(index).name.as_bytes());
            encode::map(&mut entries, 2, place.resp3());
            encode::bulk(&mut entries, b"calls");
            encode::integer(&mut entries, histogram.len() as i64);
            encode::bulk(&mut entries, b"histogram_usec");
            let buckets = buckets_us(histogram);
            encode::map(&mut entries, buckets.len(), place.resp3());
            for (bound_us, count) in buckets {
                encode::integer(&mut entries, bound_us as i64);
                encode::integer(&mut entries, count as i64);
            }
        })
        .await;
    }
    encode::map(out, entry_count, place.resp3());
    out.append(&mut entries);
}

/// `LATENCY LATEST`: for each event its name, when it was last, how long it took then and at most, in milliseconds.
pub(super) async fn latest(place: Place<'_>, out: &mut Vec<u8>) {
    let events = spikes(place).await;
    let seen = || events.iter().filter_map(|(event, series)| Some((event, series, series.latest()?)));
    encode::array(out, seen().count());
    for (event, series, latest) in seen() {
        encode::array(out, 4);
        encode::bulk(out, event.name().as_bytes());
        encode::integer(out, latest.unix_s);
        encode::integer(out, latest.latency_ms as i64);
        encode::integer(out, series.max_ms() as i64);
    }
}

/// `LATENCY HISTORY event`: pairs of a time and a latency, the oldest first.
pub(super) async fn history(place: Place<'_>, event: Option<Event>, out: &mut Vec<u8>) {
    let events = if event.is_some() { spikes(place).await } else { Vec::new() };
    let none = VecDeque::new();
    let samples = events.iter().find(|(other, _)| Some(*other) == event).map_or(&none, |(_, series)| series.samples());
    encode::array(out, samples.len());
    for Sample { unix_s, latency_ms } in samples {
        encode::array(out, 2);
        encode::integer(out, *unix_s);
        encode::integer(out, *latency_ms as i64);
    }
}

/// `LATENCY RESET [event …]`: of how many events something was forgotten.
pub(super) async fn reset(place: Place<'_>, events: [bool; Event::ALL.len()], out: &mut Vec<u8>) {
    let mut any = [false; Event::ALL.len()];
    let each = |answer| {
        let Answer::ResetSpikes(reset) = answer else { unreachable!("it was asked for") };
        any.iter_mut().zip(reset).for_each(|(any, reset)| *any |= reset);
    };
    place.ask_all(|| Ask::ResetSpikes(events), each).await;
    encode::integer(out, any.iter().filter(|reset| **reset).count() as i64);
}

/// `LATENCY DOCTOR`.
pub(super) async fn doctor(place: Place<'_>, out: &mut Vec<u8>) {
    let threshold_ms = place.connection.shard.live().latency_monitor_threshold_ms;
    let text = latency::doctor(threshold_ms, &spikes(place).await);
    encode::verbatim(out, "txt", &text, place.resp3());
}

/// Fill in what those sections of `INFO` need that tell of latencies.
pub(super) async fn report(place: Place<'_>, sections: &[String], report: &mut Report) {
    if info::wants(sections, "latencystats") {
        let called = (0..SPEC_COUNT).filter(|index| report.commands[*index].call_count > 0).collect::<Vec<_>>();
        for index in called {
            merged(place, Which::Command(index), |histogram| {
                report.latencies.push((index, Percentiles::of(histogram)));
            })
            .await;
        }
    }
    if info::wants(sections, "stagebuckets") {
        let bounds_ns = fine_bounds_ns();
        for stage in Stage::ALL {
            merged(place, Which::Stage(stage), |histogram| {
                let mut cumulated = Cumulated::new(bounds_ns.len());
                cumulated.add(histogram, &bounds_ns);
                let mut buckets: Vec<(u64, u64)> = bounds_ns.iter().copied().zip(cumulated.counts).collect();
                buckets.dedup_by_key(|(_, count)| *count);
                buckets.retain(|(_, count)| *count > 0);
                report.stage_buckets[stage as usize] = buckets;
            })
            .await;
        }
    }
    if info::wants(sections, "stages") {
        for stage in Stage::ALL {
            merged(place, Which::Stage(stage), |histogram| {
                report.stages[stage as usize] = Percentiles::of(histogram);
            })
            .await;
        }
    }
}

/// Add up one histogram over all shards and look at it, if anything is in it.
async fn merged(place: Place<'_>, which: Which, look: impl FnOnce(&Histogram<u64>)) {
    let merged_pool = &place.connection.shard.merged;
    let mut lent = merged_pool.lend().await;
    let merged = lent.start(which);
    let each = |answer| {
        if let Answer::Histogram(Some(histogram)) = answer {
            merged.add(*histogram).expect("all histograms of a kind have the same bounds");
        }
    };
    place.ask_all(|| Ask::Histogram(which), each).await;
    if !merged.is_empty() {
        look(merged);
    }
    merged_pool.give_back(lent);
}

/// What the monitors of all shards have seen.
async fn spikes(place: Place<'_>) -> Vec<(Event, Series)> {
    let mut events = Event::ALL.map(|event| (event, Series::default()));
    let each = |answer| {
        let Answer::Spikes(seen) = answer else { unreachable!("it was asked for") };
        events.iter_mut().zip(&seen).for_each(|((_, sum), series)| sum.merge(series));
    };
    place.ask_all(|| Ask::Spikes, each).await;
    events.into()
}
