//! Runs in a JSON file: `{"format": 1, "runs": [...]}`, one run or as many as there were repetitions.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::result::{FORMAT, RunResult};

/// Files that are read are at most so long: a day with a line a second is a tenth of it.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What a file holds.
#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: u32,
    runs: Vec<RunResult>,
}

/// The file's text.
pub fn json(runs: &[RunResult]) -> String {
    let file = File { format: FORMAT, runs: runs.to_vec() };
    serde_json::to_string_pretty(&file).expect("all of it has a form in JSON") + "\n"
}

/// The runs of a file, one at least. The error names the file, and what to do.
pub fn read(path: &Path) -> Result<Vec<RunResult>, String> {
    let name = path.display();
    let text = read_bounded(path)?;
    let file: File = serde_json::from_slice(&text)
        .map_err(|error| format!("{name} is no result of `tallyring bench --json`: {error}"))?;
    if file.format != FORMAT {
        let format = file.format;
        return Err(format!("{name} has format {format}, this program reads {FORMAT}. Use the version that wrote it"));
    }
    if file.runs.is_empty() {
        return Err(format!("{name} has no runs in it"));
    }
    Ok(file.runs)
}

/// A file as a whole, unless it is far too long to be one of ours.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let cannot = |error: std::io::Error| format!("cannot read {name}: {error}");
    let length = fs::metadata(path).map_err(cannot)?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{name} has {length} bytes, more than a run writes"));
    }
    fs::read(path).map_err(cannot)
}
