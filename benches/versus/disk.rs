//! How long the disk under the servers' directories takes to make 4 KiB safe: what any durable reply waits for.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

use serde::Serialize;

use super::results::Spread;

/// What is written at once, at a multiple of it in memory and in the file.
const BLOCK_BYTES: usize = 4_096;

/// Writes that are timed of each kind.
const WRITE_COUNT: u64 = 300;

/// `O_DIRECT | O_DSYNC`, as in `open(2)` on x86-64.
const DIRECT_AND_SYNCED: i32 = 0o40_000 | 0o10_000;

/// Medians, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disk {
    /// A block is written over, past the page cache. `None` where the file system cannot do that.
    pub overwrite_us: Option<f64>,
    /// A block is appended, and `fdatasync` called.
    pub append_us: f64,
}

impl Disk {
    /// Measure it where the servers get their directories.
    pub fn measure() -> io::Result<Disk> {
        let directory = tempfile::tempdir()?;
        let bytes = vec![0x5a; 2 * BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        let block = &bytes[start..][..BLOCK_BYTES];

        let path = directory.path().join("overwritten");
        let file = File::create(&path)?;
        for index in 0..WRITE_COUNT {
            file.write_all_at(block, index * BLOCK_BYTES as u64)?;
        }
        file.sync_all()?;
        let direct = OpenOptions::new().write(true).custom_flags(DIRECT_AND_SYNCED).open(&path);
        let overwrite_us = direct.ok().map(|file| median_us(|at| file.write_all_at(block, at))).transpose()?;

        let file = File::create(directory.path().join("appended"))?;
        let append_us = median_us(|at| file.write_all_at(block, at).and_then(|()| file.sync_data()))?;
        Ok(Disk { overwrite_us, append_us })
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "The disk, 4 KiB, medians of {WRITE_COUNT}: ")?;
        match self.overwrite_us {
            Some(us) => write!(f, "`O_DIRECT | O_DSYNC` overwrite {us:.0} µs, ")?,
            None => write!(f, "`O_DIRECT` is not possible, ")?,
        }
        write!(f, "append and `fdatasync` {:.0} µs.", self.append_us)
    }
}

/// The median time of writes at one block after the other.
fn median_us(write: impl Fn(u64) -> io::Result<()>) -> io::Result<f64> {
    let mut durations_us = Vec::new();
    for index in 0..WRITE_COUNT {
        let start = Instant::now();
        write(index * BLOCK_BYTES as u64)?;
        durations_us.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Spread::of(durations_us).expect("there were writes").median)
}
