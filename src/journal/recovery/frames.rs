//! A file of a data directory, frame by frame, through a buffer that holds one frame at least.

use std::io::{self, Read};

use super::{Damage, RecoveryError};
use crate::journal::disk::Files;
use crate::journal::frame::{self, Broken, FRAME_HEADER_BYTES, Frame};
use crate::limits::JOURNAL_BUFFER_BYTES;

/// Read at once.
const READ_BYTES: usize = 1 << 20;

/// Reads a file frame by frame.
pub(super) struct FrameReader<'a> {
    file: String,
    reader: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// Where the next frame begins in the buffer, and where the bytes end that were read.
    start: usize,
    end: usize,
    /// Where the next frame begins in the file.
    pub offset: u64,
}

impl<'a> FrameReader<'a> {
    pub fn open(files: &'a impl Files, file: &str) -> Result<FrameReader<'a>, RecoveryError> {
        let reader = files.open(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => RecoveryError::Damaged(Damage::lasting(file.to_owned(), 0, Broken::Missing)),
            _ => RecoveryError::Io { file: file.to_owned(), error },
        })?;
        Ok(FrameReader { file: file.to_owned(), reader, buffer: vec![0; READ_BYTES], start: 0, end: 0, offset: 0 })
    }

    /// The next frame; `None` behind the last byte.
    pub fn next(&mut self) -> Result<Option<Result<Frame<'_>, Broken>>, RecoveryError> {
        self.fill(FRAME_HEADER_BYTES)?;
        if self.start == self.end {
            return Ok(None);
        }
        let payload_bytes = match frame::parse_header(&self.buffer[self.start..self.end]) {
            Ok((_, payload_bytes)) => payload_bytes,
            Err(why) => return Ok(Some(Err(why))),
        };
        if payload_bytes > JOURNAL_BUFFER_BYTES {
            return Ok(Some(Err(Broken::Version)));
        }
        self.fill(FRAME_HEADER_BYTES + payload_bytes)?;
        let parsed = frame::parse(&self.buffer[self.start..self.end]);
        if let Ok(frame) = &parsed {
            self.start += frame.len;
            self.offset += frame.len as u64;
        }
        Ok(Some(parsed))
    }

    /// Have at least `count` bytes in the buffer, unless the file ends.
    fn fill(&mut self, count: usize) -> Result<(), RecoveryError> {
        if self.end - self.start >= count {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() < count {
            self.buffer.resize(count, 0);
        }
        while self.end < count {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read_bytes) => self.end += read_bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(RecoveryError::Io { file: self.file.clone(), error }),
            }
        }
        Ok(())
    }
}

/// A whole file.
pub(super) fn read_all(files: &impl Files, file: &str) -> Result<Vec<u8>, RecoveryError> {
    let failed = |error| RecoveryError::Io { file: file.to_owned(), error };
    let mut bytes = Vec::new();
    files.open(file).map_err(failed)?.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
