//! A file of a data directory, frame by frame, through a buffer that holds one frame at least.

use std::io::{self, Read};

use memchr::memmem;

use super::RecoveryError;
use crate::journal::disk::Files;
use crate::journal::frame::{self, Broken, FRAME_HEADER_BYTES, Frame, Head, MAGIC};
use crate::limits::{JOURNAL_BUFFER_BYTES, KEY_BYTES_MAX, SNAPSHOT_PART_BYTES_MAX};

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
        let reader = files.open(file).map_err(|error| RecoveryError::Io { file: file.to_owned(), error })?;
        Ok(FrameReader { file: file.to_owned(), reader, buffer: vec![0; READ_BYTES], start: 0, end: 0, offset: 0 })
    }

    /// The next frame; `None` behind the last byte.
    pub fn next(&mut self) -> Result<Option<Result<Frame<'_>, Broken>>, RecoveryError> {
        self.fill(FRAME_HEADER_BYTES)?;
        if self.start == self.end {
            return Ok(None);
        }
        if let Err(why) = self.fill_frame(0)? {
            return Ok(Some(Err(why)));
        }
        let parsed = frame::parse(&self.buffer[self.start..self.end]);
        if let Ok(frame) = &parsed {
            self.start += frame.len;
            self.offset += frame.len as u64;
        }
        Ok(Some(parsed))
    }

    /// Behind a damaged place of a snapshot: move on to the next whole frame whose header `is_wanted`. False: there is none.
    ///
    /// A key can have the bytes of a whole frame, so one that a key has room for counts only where it ends the file, be it
    /// with one more behind it.
    pub fn find(&mut self, is_wanted: &dyn Fn(&Head) -> bool) -> Result<bool, RecoveryError> {
        self.skip(1);
        loop {
            self.fill(MAGIC.len())?;
            let unread = &self.buffer[self.start..self.end];
            let Some(at) = memmem::find(unread, &MAGIC) else {
                if unread.len() < MAGIC.len() {
                    return Ok(false);
                }
                // It may begin with the last bytes that were read.
                self.skip(unread.len() - (MAGIC.len() - 1));
                continue;
            };
            self.skip(at);
            self.fill(FRAME_HEADER_BYTES)?;
            // What follows is looked at only where it is wanted: keys can have as many headers as they have room for.
            let is_candidate = frame::parse_header(&self.buffer[self.start..self.end])
                .is_ok_and(|(head, payload_bytes)| is_wanted(&head) && payload_bytes <= SNAPSHOT_PART_BYTES_MAX);
            // With more behind it than a last frame may have, unless the file ends.
            if is_candidate && self.fill_frame(KEY_BYTES_MAX + 1)?.is_ok() {
                let unread = &self.buffer[self.start..self.end];
                let ends_file = |rest: &[u8]| {
                    let is_last = || frame::parse(rest).is_ok_and(|last| last.len == rest.len());
                    rest.is_empty() || (rest.len() <= KEY_BYTES_MAX && is_last())
                };
                let is_no_key = |frame: &Frame<'_>| frame.len > KEY_BYTES_MAX || ends_file(&unread[frame.len..]);
                if frame::parse(unread).is_ok_and(|frame| is_no_key(&frame)) {
                    return Ok(true);
                }
            }
            self.skip(1);
        }
    }

    fn skip(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "only what was read is passed over");
        self.start += count;
        self.offset += count as u64;
    }

    /// Have the frame that begins here in the buffer, and `behind_bytes` more, unless the file ends.
    fn fill_frame(&mut self, behind_bytes: usize) -> Result<Result<(), Broken>, RecoveryError> {
        self.fill(FRAME_HEADER_BYTES)?;
        match frame::parse_header(&self.buffer[self.start..self.end]) {
            Ok((_, payload_bytes)) if payload_bytes > JOURNAL_BUFFER_BYTES => Ok(Err(Broken::Version)),
            Ok((_, payload_bytes)) => self.fill(FRAME_HEADER_BYTES + payload_bytes + behind_bytes).map(Ok),
            Err(why) => Ok(Err(why)),
        }
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
