//! A Redis's snapshot: a file of RDB, or the one that an append-only file begins with.
//!
//! The format is read by the `rdb` crate (RDB 5 to 13, that is Redis 2.6 to 8.6; its own tests read what those servers
//! wrote). What it lacks is here: the checksum is compared, and what is skipped is told by name and type. A file is read
//! twice. First its checksum is looked for, which also tells where the snapshot ends and commands may begin: so the decoder
//! never sees a damaged byte, whose lengths it would believe. Then its counters are taken. A length that nobody has written
//! in good faith is caught on its way to the decoder (`blobs.rs`).

use std::cell::{Cell, RefCell};
use std::io::{self, Read};

use crc::{CRC_64_REDIS, Crc, Table};
use memchr::memchr;
use rdb::{Filter, RdbDecoder, RdbError, RdbValue, Type};

use super::blobs::Blobs;
use super::store::{Expiry, Skipped, Store};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// The end: its mark, and the checksum of all before, 0 where Redis was told to write none.
const END_BYTES: usize = 1 + 8;

const END_MARK: u8 = 0xFF;

/// Read at once.
const READ_BYTES: u64 = 1 << 20;

/// What a file of this kind begins with.
pub const MAGIC: &[u8] = b"REDIS";

/// How far a snapshot goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes, with its end.
    pub bytes: u64,
    /// Whether these are the bytes that Redis has written; unknown with `rdbchecksum no`.
    pub is_verified: bool,
}

/// Why a snapshot cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What the decoder says.
    #[error("{0}")]
    Format(#[from] RdbError),
    /// It was changed since it was written, or ends too early.
    #[error("it is damaged: no checksum in it matches what stands before")]
    Checksum,
    /// A string that is longer than any.
    #[error("a string in it claims to have {0} bytes")]
    Length(u64),
    /// An expiry that no Redis writes.
    #[error("an expiry is out of range")]
    Expiry,
}

/// Find where a snapshot ends: at the first mark of an end that has the checksum of all before behind it. By chance that is
/// so once in 2^64 marks.
///
/// # Errors
/// There is no such place.
pub fn extent(input: &mut impl Read) -> Result<Extent, Broken> {
    // Of all bytes before those in the buffer, which begin at `passed_bytes`.
    let mut before = CRC.digest();
    let (mut passed_bytes, mut buffer) = (0, Vec::new());
    let mut unverified = None;
    loop {
        let is_end = input.by_ref().take(READ_BYTES).read_to_end(&mut buffer)? == 0;
        let mut start = 0;
        let mut kept_from = buffer.len();
        while let Some(found) = memchr(END_MARK, &buffer[start..]) {
            let at = start + found;
            let Some(end) = buffer.get(at..at + END_BYTES) else {
                kept_from = at;
                break;
            };
            before.update(&buffer[start..at]);
            let bytes = passed_bytes + (at + END_BYTES) as u64;
            let mut all = before.clone();
            all.update(end);
            // The checksum of bytes with their own checksum behind them is 0.
            if all.finalize() == 0 {
                return Ok(Extent { bytes, is_verified: true });
            }
            if end[1..] == [0; END_BYTES - 1] {
                unverified = Some(bytes);
            }
            before.update(&[END_MARK]);
            start = at + 1;
        }
        if is_end {
            // With no checksum, only the end of the file can be the snapshot's.
            let bytes = unverified.filter(|bytes| *bytes == passed_bytes + buffer.len() as u64);
            return bytes.map(|bytes| Extent { bytes, is_verified: false }).ok_or(Broken::Checksum);
        }
        before.update(&buffer[start..kept_from]);
        passed_bytes += kept_from as u64;
        buffer.drain(..kept_from);
    }
}

/// Take the counters of a snapshot whose extent is known.
///
/// # Errors
/// It is of a version that is not known.
pub fn take(input: &mut impl Read, extent: Extent, store: &mut Store) -> Result<(), Broken> {
    let store = RefCell::new(store);
    let blobs = Blobs::new(input.take(extent.bytes));
    let choice = Choice { store: &store, blobs: &blobs, database: Cell::new(0), encoding: Cell::new(0) };
    for value in RdbDecoder::new(&blobs, choice)? {
        if let Some(bytes) = blobs.claimed_bytes() {
            return Err(Broken::Length(bytes));
        }
        if let RdbValue::String { key, value, expiry } = value? {
            let expires_at_ms = expiry.map(i64::try_from).transpose().map_err(|_| Broken::Expiry)?;
            let set = store.borrow_mut().set(&key, &value, expires_at_ms.into());
            assert!(set.is_some(), "a snapshot says when a string expires");
        }
    }
    Ok(())
}

/// Takes strings of database 0, and notes everything else. The decoder asks about the database, the type and the key of
/// each in this order.
struct Choice<'a, 'b, R> {
    store: &'a RefCell<&'b mut Store>,
    blobs: &'a Blobs<R>,
    database: Cell<u32>,
    encoding: Cell<u8>,
}

impl<R: Read> Filter for Choice<'_, '_, R> {
    fn matches_db(&self, database: u32) -> bool {
        self.database.set(database);
        // The key comes next.
        self.blobs.check_next();
        true
    }

    fn matches_type(&self, encoding: u8) -> bool {
        self.encoding.set(encoding);
        true
    }

    fn matches_key(&self, key: &[u8]) -> bool {
        let mut store = self.store.borrow_mut();
        if self.database.get() != 0 {
            store.skip(key, Skipped::Database(self.database.get()), Expiry::Unknown);
            return false;
        }
        let skipped = match Type::from_encoding(self.encoding.get()) {
            Ok(Type::String) => {
                self.blobs.check_next();
                return true;
            }
            // What is unknown is the decoder's to refuse.
            Err(_) => return true,
            Ok(Type::List) => Skipped::List,
            Ok(Type::Set) => Skipped::Set,
            Ok(Type::SortedSet) => Skipped::SortedSet,
            Ok(Type::Hash) => Skipped::Hash,
            Ok(Type::Stream) => Skipped::Stream,
            Ok(Type::Module) => Skipped::Module,
        };
        // The decoder does not tell the expiry of what is left out.
        store.skip(key, skipped, Expiry::Unknown);
        false
    }
}
