//! A Redis's snapshot: a file of RDB, or the one that an append-only file begins with.
//!
//! The format is read by the `rdb` crate (RDB 1 to 13, that is up to Redis 8.6; its own tests read what those servers
//! wrote). What it lacks is here: the checksum is compared, what is skipped is told by name and type, and what follows
//! the snapshot in an append-only file is left for the next reader. A file is read twice: first as a whole, without
//! taking or allocating anything of what it says, so that a damaged one is refused; then for its counters.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read};

use crc::{CRC_64_REDIS, Crc, Digest, Table};
use rdb::{Filter, RdbDecoder, RdbError, RdbValue, Type};

use super::store::{Skipped, Store};

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_REDIS);

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: u64 = 8;

/// The first version of the format that has one.
const CHECKSUM_VERSION_MIN: u32 = 5;

/// What a file of this kind begins with.
pub const MAGIC: &[u8] = b"REDIS";

/// How a snapshot ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It fits.
    Right,
    /// Redis was told to write none (`rdbchecksum no`), or is older than RDB 5.
    None,
}

/// Why a snapshot cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// What the decoder says.
    #[error("{0}")]
    Format(#[from] RdbError),
    /// It was changed since it was written.
    #[error("the checksum does not match")]
    Checksum,
    /// An expiry that no Redis writes.
    #[error("an expiry is out of range")]
    Expiry,
}

/// Read a snapshot to its end without taking anything.
///
/// # Errors
/// It is damaged, or of a version that is not known.
pub fn check(input: &mut impl BufRead) -> Result<Checksum, Broken> {
    let nothing = Nothing;
    read(input, nothing, |_| Ok(()))
}

/// Take the counters of a snapshot that was checked.
///
/// # Errors
/// As [`check`].
pub fn take(input: &mut impl BufRead, store: &mut Store) -> Result<Checksum, Broken> {
    let store = RefCell::new(store);
    let choice = Choice { store: &store, database: Cell::new(0), encoding: Cell::new(0) };
    read(input, choice, |value| {
        let RdbValue::String { key, value, expiry } = value else { return Ok(()) };
        let expires_at_ms = expiry.map(i64::try_from).transpose().map_err(|_| Broken::Expiry)?;
        store.borrow_mut().set(&key, &value, expires_at_ms);
        Ok(())
    })
}

fn read(
    input: &mut impl BufRead,
    filter: impl Filter,
    mut each: impl FnMut(RdbValue) -> Result<(), Broken>,
) -> Result<Checksum, Broken> {
    let mut input = Summed { input, digest: CRC.digest() };
    let mut decoder = RdbDecoder::new(&mut input, filter)?;
    let has_checksum = decoder.version() >= CHECKSUM_VERSION_MIN;
    let ends_early = || Err(RdbError::Io(io::ErrorKind::UnexpectedEof.into()).into());
    let checksum = loop {
        match decoder.next() {
            Some(Ok(RdbValue::Checksum(bytes))) => break bytes,
            Some(value) => each(value?)?,
            None => return ends_early(),
        }
    };
    if has_checksum && checksum.len() as u64 != CHECKSUM_BYTES {
        return ends_early();
    }
    if checksum.iter().all(|byte| *byte == 0) {
        return Ok(Checksum::None);
    }
    // The checksum of bytes with their own checksum behind them is 0.
    if input.digest.finalize() == 0 { Ok(Checksum::Right) } else { Err(Broken::Checksum) }
}

/// Reads and sums up.
struct Summed<'a, R> {
    input: &'a mut R,
    digest: Digest<'static, u64, Table<16>>,
}

impl<R: BufRead> Read for Summed<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(into)?;
        self.digest.update(&into[..count]);
        Ok(count)
    }

    /// The decoder does so for the checksum, with which a snapshot ends. An append-only file goes on behind it.
    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        let mut checksum = self.input.take(CHECKSUM_BYTES);
        let start = bytes.len();
        let count = checksum.read_to_end(bytes)?;
        self.digest.update(&bytes[start..]);
        Ok(count)
    }
}

/// Takes nothing: the decoder steps over everything.
struct Nothing;

impl Filter for Nothing {
    fn matches_db(&self, _: u32) -> bool {
        false
    }
}

/// Takes strings of database 0, and notes everything else. The decoder asks about the database, the type and the key of
/// each in this order.
struct Choice<'a, 'b> {
    store: &'a RefCell<&'b mut Store>,
    database: Cell<u32>,
    encoding: Cell<u8>,
}

impl Filter for Choice<'_, '_> {
    fn matches_db(&self, database: u32) -> bool {
        self.database.set(database);
        true
    }

    fn matches_type(&self, encoding: u8) -> bool {
        self.encoding.set(encoding);
        true
    }

    fn matches_key(&self, key: &[u8]) -> bool {
        let mut store = self.store.borrow_mut();
        if self.database.get() != 0 {
            store.skip(key, Skipped::Database(self.database.get()));
            return false;
        }
        let skipped = match Type::from_encoding(self.encoding.get()) {
            // What is unknown is the decoder's to refuse.
            Ok(Type::String) | Err(_) => return true,
            Ok(Type::List) => Skipped::List,
            Ok(Type::Set) => Skipped::Set,
            Ok(Type::SortedSet) => Skipped::SortedSet,
            Ok(Type::Hash) => Skipped::Hash,
            Ok(Type::Stream) => Skipped::Stream,
            Ok(Type::Module) => Skipped::Module,
        };
        store.skip(key, skipped);
        false
    }
}
