//! Files that are read and written: runs as JSON, `{"format": 1, "runs": [...]}`, one run or as many as there were
//! repetitions, and logs.
//!
//! What is read is bounded: a file that is no text, or longer than one of ours can be, is refused before it fills memory.

use std::fs;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::result::{FORMAT, RunResult};

/// Files that are read are at most so long: some days. A day's three histograms a second take up to 5 KB each.
const FILE_BYTES_MAX: u64 = 4 << 30;
const _: () = assert!(FILE_BYTES_MAX > 3 * 24 * 3_600 * 3 * 5_000);

/// So much is looked at to see whether a file is text at all.
const LOOKED_AT_BYTES: u64 = 4 * 1_024;

/// What a file holds.
#[derive(Debug, Deserialize)]
struct File {
    format: u32,
    runs: Vec<RunResult>,
}

/// Write a file's text, which is nowhere as a whole: a day's has as many bytes as all else in memory.
pub fn write_json(runs: &[RunResult], out: &mut impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Written<'a> {
        format: u32,
        runs: &'a [RunResult],
    }
    serde_json::to_writer_pretty(&mut *out, &Written { format: FORMAT, runs })?;
    out.write_all(b"\n")
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

/// A text file as a whole, unless it is far too long to be one of ours. It may be a pipe.
///
/// # Errors
/// In words, with its name.
pub fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.display();
    let cannot = |error: io::Error| format!("cannot read {name}: {error}");
    let file = fs::File::open(path).map_err(cannot)?;
    let mut text = Vec::new();
    (&file).take(LOOKED_AT_BYTES).read_to_end(&mut text).map_err(cannot)?;
    if text.contains(&0) {
        return Err(format!("{name} is no text. Name a file that `tallyring bench` wrote"));
    }
    (&file).take(FILE_BYTES_MAX + 1 - text.len() as u64).read_to_end(&mut text).map_err(cannot)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("{name} has more than {FILE_BYTES_MAX} bytes, which is more than a run writes"));
    }
    Ok(text)
}

/// Have a new file written, all of it.
///
/// # Errors
/// As the system says: a disk that is full, for example.
pub fn write(path: &Path, content: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    content(&mut file)?;
    // What is left in the buffer is dropped without a word otherwise.
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::super::{hlog, sample};
    use super::*;

    #[test]
    fn what_has_no_end_is_refused_at_once() {
        for path in ["/dev/zero", "/dev/urandom"] {
            let error = read_bounded(Path::new(path)).unwrap_err();
            assert!(error.contains("is no text"), "{error}");
        }
        assert!(read(Path::new("/dev/null")).unwrap_err().contains("/dev/null is no result"));
    }

    #[test]
    fn a_log_that_a_full_disk_does_not_take_is_an_error() {
        let run = sample::run(1, 1, 2_000, 80.0);
        let error = write(Path::new("/dev/full"), |out| hlog::write_run(&run, out)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
