//! `tallyring export`: the counters of a data directory as commands, as CSV or as JSON lines.
//!
//! All files are read and compared with their checksums before the first counter is written, so what comes out is all
//! there is or nothing. The counters of one shard at a time are in memory. A server may be at work in the directory: what
//! it had written at one moment is exported ([`Picture`]).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BufMut;
use clap::ValueEnum;

use super::{counted, load_by_shard, look_at, now_ms, share, with_progress};
use crate::bench::units::grouped;
use crate::counters::{Counters, Entry};
use crate::journal::disk::Directory;
use crate::journal::picture::Picture;
use crate::journal::recovery::{Examined, RecoveryError, examine, survey};
use crate::resp::encode;
use crate::startup::StartError;

/// Counters that are written at once.
const STEP_COUNT: u64 = 1_024;

/// What is written for each counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// SET commands in RESP, for `redis-cli --pipe`. An expiry is their PXAT, which Redis has from 6.2 on
    Resp,
    /// `key,value,expires_at_ms`, with a header
    Csv,
    /// An object a line, with `key` (or `key_base64`), `value` and perhaps `expires_at_ms`
    Jsonl,
}

/// What is to be exported, and where to.
#[derive(Clone, Debug)]
pub struct Export {
    /// The data directory.
    pub directory: PathBuf,
    /// How.
    pub format: Format,
    /// The file; standard output when there is none.
    pub output: Option<PathBuf>,
}

enum Failed {
    Data(RecoveryError),
    Output(io::Error),
}

impl From<RecoveryError> for Failed {
    fn from(error: RecoveryError) -> Failed {
        Failed::Data(error)
    }
}

/// Export.
///
/// # Errors
/// The directory cannot be read or is damaged, or the output cannot be written.
pub fn run(export: &Export) -> Result<(), StartError> {
    let failed = |failed| match failed {
        Failed::Data(RecoveryError::Io { error, .. }) => StartError::Stopped {
            problem: format!("{}: {error}", export.directory.display()),
            remedy: "Name a directory that this user may read",
        },
        Failed::Data(error) => StartError::DataDamaged { path: export.directory.clone(), error },
        Failed::Output(error) => {
            let to = export.output.as_ref().map_or("standard output".to_owned(), |path| path.display().to_string());
            StartError::Stopped {
                problem: format!("cannot write to {to}: {error}"),
                remedy: "Make room, or name another file with --output",
            }
        }
    };
    let directory = Directory::new(&export.directory);
    if let Some(user) = directory.user() {
        eprintln!("tallyring: process {user} uses the directory: what it has written so far is exported");
    }
    let sound = look_at(&directory, |picture, _| sound(picture), |_| false);
    let (picture, examined) = sound.map_err(|error| failed(Failed::Data(error)))?;
    if picture.bytes() == 0 {
        return Err(StartError::Stopped {
            problem: format!("{} holds no counters", export.directory.display()),
            remedy: "Name the --dir of a server",
        });
    }
    if directory.user().is_none() {
        examined.losses.iter().for_each(|loss| eprintln!("tallyring: {loss}"));
    }
    let mut written = Written::default();
    let done = match &export.output {
        None => write_all(&picture, &examined, export.format, &mut io::stdout().lock(), &mut written),
        Some(path) => write_file(&picture, &examined, export.format, path, &mut written),
    };
    match done {
        // Who has read enough (`head`) may go.
        Err(Failed::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(()) => {}
    }
    let Written { count, expiring_count } = written;
    let expiring_count = grouped(expiring_count);
    eprintln!("tallyring: {} exported, {expiring_count} of them with an expiry", counted(count, "counter"));
    Ok(())
}

/// What counts in a picture of a directory: all of that is whole.
fn sound(picture: Picture) -> Result<(Picture, Examined), RecoveryError> {
    let examined = examine(&picture, false)?;
    let (read_bytes, all_bytes) = (AtomicU64::new(0), picture.bytes());
    let surveyed = with_progress(
        || share("checked", &read_bytes, all_bytes),
        || survey(&picture, &examined.manifest, &read_bytes),
    )?;
    match surveyed.into_iter().find_map(|file| file.damage) {
        Some(damage) => Err(RecoveryError::Damaged(damage)),
        None => Ok((picture, examined)),
    }
}

fn write_file(
    picture: &Picture,
    examined: &Examined,
    format: Format,
    path: &Path,
    written: &mut Written,
) -> Result<(), Failed> {
    let mut file = File::create(path).map_err(Failed::Output)?;
    write_all(picture, examined, format, &mut file, written)?;
    file.sync_all().map_err(Failed::Output)
}

#[derive(Clone, Copy, Debug, Default)]
struct Written {
    count: u64,
    expiring_count: u64,
}

fn write_all(
    picture: &Picture,
    examined: &Examined,
    format: Format,
    output: &mut dyn Write,
    written: &mut Written,
) -> Result<(), Failed> {
    let mut output = BufWriter::new(output);
    if format == Format::Csv {
        output.write_all(b"key,value,expires_at_ms\n").map_err(Failed::Output)?;
    }
    let (loaded, written_count) = (AtomicU64::new(0), AtomicU64::new(0));
    let count = |of: &AtomicU64| grouped(of.load(Ordering::Relaxed));
    with_progress(
        || format!("{} records loaded, {} counters written", count(&loaded), count(&written_count)),
        || {
            load_by_shard(picture, &examined.manifest, false, &loaded, |counters| {
                write_counters(counters, format, &mut output, written, &written_count).map_err(Failed::Output)
            })
        },
    )?;
    output.flush().map_err(Failed::Output)
}

fn write_counters(
    counters: &Counters,
    format: Format,
    output: &mut dyn Write,
    written: &mut Written,
    written_count: &AtomicU64,
) -> io::Result<()> {
    let (mut chunk, mut cursor) = (Vec::new(), 0);
    loop {
        cursor = counters.scan(cursor, STEP_COUNT, now_ms(), &mut |key, entry| {
            write_counter(&mut chunk, format, key, entry);
            written.count += 1;
            written.expiring_count += u64::from(entry.expires_at_ms.is_some());
            true
        });
        output.write_all(&chunk)?;
        chunk.clear();
        written_count.store(written.count, Ordering::Relaxed);
        if cursor == 0 {
            return Ok(());
        }
    }
}

fn write_counter(out: &mut Vec<u8>, format: Format, key: &[u8], entry: Entry) {
    match format {
        Format::Resp => {
            encode::array(out, if entry.expires_at_ms.is_some() { 5 } else { 3 });
            encode::bulk(out, b"SET");
            encode::bulk(out, key);
            encode::bulk_integer(out, entry.value);
            if let Some(at_ms) = entry.expires_at_ms {
                encode::bulk(out, b"PXAT");
                encode::bulk_integer(out, at_ms);
            }
        }
        Format::Csv => {
            csv_field(out, key);
            out.put_slice(format!(",{},", entry.value).as_bytes());
            entry.expires_at_ms.iter().for_each(|at_ms| out.put_slice(at_ms.to_string().as_bytes()));
            out.put_u8(b'\n');
        }
        Format::Jsonl => {
            let (name, key) = match std::str::from_utf8(key) {
                Ok(text) => ("key", serde_json::Value::from(text)),
                Err(_) => ("key_base64", serde_json::Value::from(BASE64.encode(key))),
            };
            let expiry = entry.expires_at_ms.map_or(String::new(), |at_ms| format!(",\"expires_at_ms\":{at_ms}"));
            out.put_slice(format!("{{\"{name}\":{key},\"value\":{}{expiry}}}\n", entry.value).as_bytes());
        }
    }
}

/// A field of CSV (RFC 4180), quoted where it must be. Bytes that are no text stay as they are.
fn csv_field(out: &mut Vec<u8>, bytes: &[u8]) {
    if !bytes.is_empty() && !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n')) {
        return out.put_slice(bytes);
    }
    out.put_u8(b'"');
    for byte in bytes {
        if *byte == b'"' {
            out.put_u8(b'"');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, key: &[u8], value: i64, expires_at_ms: Option<i64>) -> String {
        let mut out = Vec::new();
        write_counter(&mut out, format, key, Entry { value, expires_at_ms });
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn each_format_has_the_key_the_value_and_the_expiry() {
        assert_eq!(written(Format::Resp, b"k", -1, None), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n-1\r\n");
        assert_eq!(
            written(Format::Resp, b"a\r\nb", 7, Some(4_102_444_800_000)),
            "*5\r\n$3\r\nSET\r\n$4\r\na\r\nb\r\n$1\r\n7\r\n$4\r\nPXAT\r\n$13\r\n4102444800000\r\n"
        );
        assert_eq!(written(Format::Csv, b"views", 42, None), "views,42,\n");
        assert_eq!(written(Format::Csv, b"a,\"b\"\n", 1, Some(5)), "\"a,\"\"b\"\"\n\",1,5\n");
        assert_eq!(written(Format::Csv, b"", i64::MIN, None), "\"\",-9223372036854775808,\n");
        assert_eq!(written(Format::Jsonl, b"views", 42, None), "{\"key\":\"views\",\"value\":42}\n");
        assert_eq!(
            written(Format::Jsonl, b"a\"\n", 1, Some(5)),
            "{\"key\":\"a\\\"\\n\",\"value\":1,\"expires_at_ms\":5}\n"
        );
        assert_eq!(written(Format::Jsonl, b"\xFF", 1, None), "{\"key_base64\":\"/w==\",\"value\":1}\n");
    }
}
