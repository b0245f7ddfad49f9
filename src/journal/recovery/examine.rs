//! Which frames of a data directory count, and what does not although it is there.

use std::io;

use super::behind::Behind;
use super::frames::read_all;
use super::snapshot::read_snapshot;
use super::stream::{StreamEnd, read_stream, read_stream_from, segments_of};
use super::{Loss, RecoveryError};
use crate::journal::cut::{Pair, cut};
use crate::journal::disk::{Files, FilesMut};
use crate::journal::frame::Frame;
use crate::journal::manifest::{MANIFEST, Manifest, Run, parse_segment_name, parse_snapshot_name, segment_name};

/// What was found.
#[derive(Debug)]
pub struct Examined {
    /// What counts. Every run is closed. A snapshot that is among the losses counts as far as it is whole.
    pub manifest: Manifest,
    /// What does not, although it was there.
    pub losses: Vec<Loss>,
    /// Files that are not needed any more.
    pub stale: Vec<String>,
    /// Files that count of runs which have ended without saying so: perhaps the kernel has yet to write some of them.
    unsynced: Vec<String>,
    /// The number of the next run.
    pub next_run: u64,
    /// The number of the next snapshot.
    pub next_snapshot: u64,
}

impl Examined {
    /// The manifest of a run that begins behind what counts. It closes the runs before, and whatever is missing of a closed
    /// run is damage: so all of them is on the disk when this comes back.
    ///
    /// # Errors
    /// What the disk says.
    pub fn followed_by(&self, files: &impl FilesMut, run: Run) -> io::Result<Manifest> {
        self.unsynced.iter().try_for_each(|name| files.sync(name))?;
        let mut manifest = self.manifest.clone();
        manifest.runs.push(run);
        Ok(manifest)
    }
}

/// What one journal of a run was found to be.
struct Stream {
    /// The last whole frame in order.
    last: u64,
    /// Pairs of linked frames.
    links: Vec<Pair>,
    loss: Option<Loss>,
}

/// Find out what counts. `recover`: what is damaged is dropped, and of a journal all of the same shard and run behind it.
/// For that everything is read; without it only the run that has not ended orderly is, and damage elsewhere is left for
/// [`load`](super::load()) to find.
///
/// # Errors
/// Whatever makes it uncertain what counts.
pub fn examine(files: &impl Files, recover: bool) -> Result<Examined, RecoveryError> {
    let mut names = files.names().map_err(|error| RecoveryError::Io { file: ".".to_owned(), error })?;
    names.sort_unstable();
    let is_data = |name: &&String| parse_segment_name(name).is_some() || parse_snapshot_name(name).is_some();
    let mut manifest = if names.iter().any(|name| name == MANIFEST) {
        let text = String::from_utf8_lossy(&read_all(files, MANIFEST)?).into_owned();
        Manifest::parse(&text).map_err(|error| RecoveryError::Manifest { error })?
    } else if let Some(file) = names.iter().find(is_data) {
        return Err(RecoveryError::NoManifest { file: file.clone() });
    } else {
        Manifest::default()
    };
    let mut losses = Vec::new();
    if recover && let Some(snapshot) = manifest.snapshot {
        let examine = |shard| read_snapshot(files, snapshot, shard, &mut |_| Ok(()));
        losses.extend(for_each_shard(snapshot.shard_count, examine)?.into_iter().flatten().map(Loss::Damage));
    }
    let mut unsynced = Vec::new();
    for run in manifest.runs.iter_mut().filter(|run| recover || run.to.is_none()) {
        let was_open = run.to.is_none();
        close(files, &names, run, recover, &mut losses)?;
        if was_open {
            unsynced.extend(needed_segments(&names, run));
        }
    }
    let next_run = manifest.runs.last().map_or(0, |run| run.number) + 1;
    manifest.runs.retain(|run| !run.is_empty());
    let needed: Vec<String> = manifest.runs.iter().flat_map(|run| needed_segments(&names, run)).collect();
    let counts = |name: &String| match (parse_segment_name(name), parse_snapshot_name(name)) {
        (Some(_), _) => needed.contains(name),
        (_, Some((number, _))) => manifest.snapshot.is_some_and(|snapshot| snapshot.number == number),
        _ => true,
    };
    let last_snapshot = names.iter().filter_map(|name| parse_snapshot_name(name)).map(|(number, _)| number).max();
    let known_snapshot = manifest.snapshot.map(|snapshot| snapshot.number);
    Ok(Examined {
        next_run: next_run
            .max(names.iter().filter_map(|name| parse_segment_name(name)).map(|(run, ..)| run + 1).max().unwrap_or(0)),
        next_snapshot: last_snapshot.max(known_snapshot).map_or(1, |last| last + 1),
        stale: names.iter().filter(|name| !counts(name)).cloned().collect(),
        unsynced,
        losses,
        manifest,
    })
}

/// Close a run that ended without saying so; or close one again, of which something has been lost since.
fn close(
    files: &impl Files,
    names: &[String],
    run: &mut Run,
    recover: bool,
    losses: &mut Vec<Loss>,
) -> Result<(), RecoveryError> {
    let run_now = &*run;
    let streams = for_each_shard(run.shard_count(), |shard| examine_stream(files, names, run_now, shard, recover))?;
    let found: Vec<u64> = streams.iter().map(|stream| stream.last).collect();
    let pairs: Vec<Pair> = streams.iter().flat_map(|stream| stream.links.iter().copied()).collect();
    let mut to = found.clone();
    cut(&mut to, &pairs);
    losses.extend(streams.into_iter().filter_map(|stream| stream.loss));
    for (shard, (found, to)) in found.into_iter().zip(&mut to).enumerate() {
        // Never before the snapshot: what it holds was all on the disk when it was completed.
        *to = (*to).max(run.from[shard] - 1);
        if *to < found {
            losses.push(Loss::Linked { run: run.number, shard, frame_count: found - *to });
        }
    }
    run.to = Some(to);
    Ok(())
}

/// The files of the shards are independent of each other: one thread each, in rounds of as many as there are cores.
fn for_each_shard<T: Send>(
    shard_count: usize,
    examine: impl Fn(usize) -> Result<T, RecoveryError> + Sync,
) -> Result<Vec<T>, RecoveryError> {
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let examine = &examine;
    let mut all = Vec::new();
    let shards: Vec<usize> = (0..shard_count).collect();
    for round in shards.chunks(at_once) {
        let examined: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = round.iter().map(|shard| scope.spawn(move || examine(*shard))).collect();
            threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
        });
        for one in examined {
            all.push(one?);
        }
    }
    Ok(all)
}

fn examine_stream(
    files: &impl Files,
    names: &[String],
    run: &Run,
    shard: usize,
    recover: bool,
) -> Result<Stream, RecoveryError> {
    let segments = segments_of(names, run, shard);
    let mut links: Vec<Pair> = Vec::new();
    let mut each = |_: &str, frame: &Frame<'_>| {
        let own = (shard as u16, frame.head.sequence);
        links.extend(frame.links().map(|link| [own, (link.shard, link.sequence)]));
        Ok(())
    };
    let end = read_stream(files, &segments, run, shard, &mut each)?;
    let (last, loss) = match run.to {
        Some(_) => (end.last, end.missing(files, &segments, run, shard)?.map(Loss::Damage)),
        None => find_end(files, &segments, run, shard, end, &mut each)?,
    };
    if let Some(Loss::Damage(damage)) = &loss
        && run.to.is_none()
        && !recover
    {
        return Err(RecoveryError::Damaged(damage.clone()));
    }
    links.retain(|pair| pair.iter().all(|(shard, _)| usize::from(*shard) < run.shard_count()));
    Ok(Stream { last, links, loss })
}

/// Where a journal of an open run ends that has been read up to `end`, and what lies behind. Without a server nothing changes
/// meanwhile, but one may be at work.
fn find_end(
    files: &impl Files,
    mut segments: &[u64],
    run: &Run,
    shard: usize,
    mut end: StreamEnd,
    each: &mut dyn FnMut(&str, &Frame<'_>) -> Result<(), RecoveryError>,
) -> Result<(u64, Option<Loss>), RecoveryError> {
    loop {
        let StreamEnd { last, stop } = end;
        let Some(stop) = stop else { return Ok((last, None)) };
        stop.check_format()?;
        segments = &segments[stop.segment..];
        let behind = Behind::of(files, segments, &stop, run, shard, last)?;
        if behind.durable <= last {
            let tail = || Loss::Tail { file: stop.file, offset: stop.offset, bytes: behind.bytes };
            return Ok((last, (behind.bytes > 0).then(tail)));
        }
        // A server may have written over the zeros where it stopped before what attests to that was read. Then it is whole
        // when it is read after that: damage stays as it is.
        end = read_stream_from(files, segments, run, shard, last + 1, each)?;
        if end.last == last {
            return Ok((last, Some(Loss::Damage(behind.damage(stop)))));
        }
    }
}

/// The files of a closed run that have frames which count.
fn needed_segments(names: &[String], run: &Run) -> Vec<String> {
    let to = run.to.as_ref().expect("the run is closed");
    let of = |shard: usize| {
        let counts = move |first: &u64| *first <= to[shard] && run.from[shard] <= to[shard];
        let firsts = segments_of(names, run, shard).into_iter().filter(counts);
        firsts.map(move |first| segment_name(run.number, shard, first))
    };
    (0..run.shard_count()).flat_map(of).collect()
}
