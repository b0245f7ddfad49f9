//! `tallyring check`: whether all that a data directory should have is there and whole.
//!
//! Every frame of every file that counts is read and its checksum compared; then the counters are loaded and counted.
//! A server may be at work in the directory meanwhile: a picture of one moment is examined ([`Picture`]).

use std::fmt::Write;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{counted, load_by_shard, look_at, share, with_progress};
use crate::bench::units::grouped;
use crate::journal::disk::Directory;
use crate::journal::manifest::{Manifest, parse_segment_name};
use crate::journal::picture::Picture;
use crate::journal::recovery::{Examined, Loss, RecoveryError, Surveyed, examine, survey};

/// Exit code when all is there and whole.
pub const EXIT_SOUND: u8 = 0;
/// Exit code when something is damaged, missing or torn.
pub const EXIT_UNSOUND: u8 = 1;
/// Exit code when the directory cannot be read, or is none.
pub const EXIT_UNREADABLE: u8 = 2;

/// What was found.
#[derive(Debug)]
struct Report {
    /// The process that uses the directory.
    user: Option<u32>,
    manifest: Manifest,
    files: Vec<Row>,
    problems: Vec<Problem>,
    /// Files that do not count.
    stale: Vec<String>,
    /// Counters, and those with an expiry, that a server has when it has started.
    counters: (u64, u64),
    /// It starts only with `--recover`.
    is_damaged: bool,
}

/// A file that counts.
#[derive(Debug)]
struct Row {
    file: Surveyed,
    bytes: u64,
    state: &'static str,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    /// Which file, from which byte on, and what is wrong.
    what: String,
    /// What a server would do that is started now.
    at_start: String,
}

/// Check a directory, print what was found, and tell the exit code.
pub fn run(path: &Path) -> u8 {
    match check(&Directory::new(path)) {
        Ok(Some(report)) => {
            // Who has read enough (a pager, `head`) may go.
            let _ = io::stdout().write_all(text(path, &report).as_bytes());
            if report.problems.is_empty() { EXIT_SOUND } else { EXIT_UNSOUND }
        }
        Ok(None) => {
            eprintln!("tallyring: {} holds no counters. Name the --dir of a server", path.display());
            EXIT_UNREADABLE
        }
        Err(
            error @ (RecoveryError::Damaged(_) | RecoveryError::Manifest { .. } | RecoveryError::NoManifest { .. }),
        ) => {
            println!("{}: {error}. A server does not start. {MEND}", path.display());
            EXIT_UNSOUND
        }
        Err(error @ RecoveryError::Format { .. }) => {
            println!(
                "{}: {error}. A server of this version does not start. Use the one that has written it",
                path.display()
            );
            EXIT_UNSOUND
        }
        Err(RecoveryError::Io { file, error }) => {
            let file = if file == "." { path.to_owned() } else { path.join(file) };
            eprintln!("tallyring: {}: {error}. Name a directory that this user may read", file.display());
            EXIT_UNREADABLE
        }
    }
}

const MEND: &str = "Bring the file back from a copy";

/// `None`: the directory has no data.
fn check(directory: &Directory) -> Result<Option<Report>, RecoveryError> {
    let has_problems = |report: &Option<Report>| report.as_ref().is_some_and(|report| !report.problems.is_empty());
    look_at(directory, |picture, user| examine_picture(&picture, user), has_problems)
}

fn examine_picture(picture: &Picture, user: Option<u32>) -> Result<Option<Report>, RecoveryError> {
    // As a start with --recover does: so all damage is told, not the first alone, and just what would be dropped.
    let looking = || "looking for damage".to_owned();
    let Examined { manifest, losses, stale, .. } = with_progress(looking, || examine(picture, true))?;
    if picture.bytes() == 0 {
        return Ok(None);
    }
    let is_damaged = losses.iter().any(|loss| matches!(loss, Loss::Damage(_)));
    let told = |loss| problem(loss, user.is_some(), is_damaged);
    let problems: Vec<Problem> = losses.iter().filter_map(told).collect();
    let (read_bytes, all_bytes) = (AtomicU64::new(0), picture.bytes());
    let files = with_progress(|| share("read", &read_bytes, all_bytes), || survey(picture, &manifest, &read_bytes))?;
    let row = |file: Surveyed| {
        let is_at_fault = |loss: &&Loss| match loss {
            Loss::Tail { file: name, .. } => user.is_none() && *name == file.file,
            Loss::Damage(damage) => damage.file == file.file,
            Loss::Linked { .. } => false,
        };
        let state = match losses.iter().find(is_at_fault) {
            Some(Loss::Tail { .. }) => "torn",
            Some(_) => "damaged",
            None => "whole",
        };
        Row { bytes: picture.bytes_of(&file.file), state, file }
    };
    let counters = count(picture, &manifest)?;
    let files = files.into_iter().map(row).collect();
    Ok(Some(Report { user, manifest, files, problems, stale, counters, is_damaged }))
}

/// What a loss means to somebody who has not started a server. `is_damaged`: one does not start without `--recover`.
fn problem(loss: &Loss, is_used: bool, is_damaged: bool) -> Option<Problem> {
    let (what, at_start) = match loss {
        // What a server at work has begun to write, or has written on one shard and not on another.
        Loss::Tail { .. } if is_used => return None,
        Loss::Linked { .. } if is_used && !is_damaged => return None,
        Loss::Tail { file, offset, bytes } => (
            format!("{file} is torn at byte {offset}: {bytes} bytes of writes that a crash has left unfinished"),
            "A server that starts cuts them off; it had told nobody that they were on the disk".to_owned(),
        ),
        Loss::Linked { run, shard, frame_count } => (
            format!(
                "the last {frame_count} frames of shard {shard} in run {run} belong to transactions whose other part is not there"
            ),
            format!(
                "A server that starts{} leaves them out, so that no transaction is there in part",
                if is_damaged { " with --recover" } else { "" }
            ),
        ),
        Loss::Damage(damage) => (
            damage.to_string(),
            format!(
                "A server does not start. Bring the file back from a copy; or start once with --recover, which {}. {}",
                damage.recovery(),
                damage.consequence()
            ),
        ),
    };
    Some(Problem { what, at_start })
}

/// How many counters there would be after a start, and how many of them have an expiry.
fn count(picture: &Picture, manifest: &Manifest) -> Result<(u64, u64), RecoveryError> {
    let loaded = AtomicU64::new(0);
    let (mut counter_count, mut expiring_count) = (0, 0);
    let line = || format!("loaded {} records", grouped(loaded.load(Ordering::Relaxed)));
    with_progress(line, || {
        load_by_shard(picture, manifest, true, &loaded, |counters| {
            counter_count += counters.key_count();
            expiring_count += counters.expiring_count();
            Ok::<_, RecoveryError>(())
        })
    })?;
    Ok((counter_count, expiring_count))
}

/// The report for people. Each line ends with a newline.
fn text(path: &Path, report: &Report) -> String {
    let Report { user, manifest, files, problems, stale, counters: (counter_count, expiring_count), is_damaged } =
        report;
    let mut text = format!("data directory {}", path.display());
    if let Some(snapshot) = manifest.snapshot {
        let _ = write!(text, ", snapshot {}", snapshot.number);
    }
    let _ = writeln!(text, ", {} since", counted(manifest.runs.len() as u64, "run"));
    if let Some(user) = user {
        let _ = writeln!(text, "process {user} uses it: this is what it had written a moment ago");
    }
    text.push('\n');
    table(&mut text, files);
    let (counters, expiring_count) = (counted(*counter_count, "counter"), grouped(*expiring_count));
    let condition = if *is_damaged { "with --recover there would be " } else { "" };
    let _ = writeln!(text, "\n{condition}{counters}, {expiring_count} of them with an expiry");
    if !stale.is_empty() && user.is_none() {
        let what = if *is_damaged {
            "not needed with --recover, which removes them"
        } else {
            "left over, and removed by the next start"
        };
        let _ = writeln!(text, "{what}: {}", stale.join(", "));
    }
    for Problem { what, at_start } in problems {
        let _ = writeln!(text, "\n{what}.\n  {at_start}.");
    }
    let _ = match problems.len() {
        0 => writeln!(text, "\nsound"),
        count => writeln!(text, "\n{}", counted(count as u64, "problem")),
    };
    text
}

fn table(text: &mut String, files: &[Row]) {
    let sum = |of: fn(&Row) -> u64| files.iter().map(of).sum::<u64>();
    let segment_count = files.iter().filter(|row| parse_segment_name(&row.file.file).is_some()).count();
    let total = format!(
        "{}, {}",
        counted(segment_count as u64, "segment"),
        counted((files.len() - segment_count) as u64, "snapshot file")
    );
    let numbers = |row: &Row| [row.file.frame_count, row.file.record_count, row.bytes].map(grouped);
    let sums = [sum(|row| row.file.frame_count), sum(|row| row.file.record_count), sum(|row| row.bytes)];
    let mut rows: Vec<(&str, [String; 3], &str)> =
        vec![("file", ["frames", "records", "bytes"].map(str::to_owned), "state")];
    rows.extend(files.iter().map(|row| (row.file.file.as_str(), numbers(row), row.state)));
    rows.push((&total, sums.map(grouped), ""));
    let name_width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let [a, b, c] = [0, 1, 2].map(|column| rows.iter().map(|(_, cells, _)| cells[column].len()).max().unwrap_or(0));
    for (name, [frames, records, bytes], state) in rows {
        let line = format!("{name:name_width$}  {frames:>a$}  {records:>b$}  {bytes:>c$}  {state}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
}
