//! The durable log: nothing that was counted is lost.
//!
//! ```text
//! counters → marks → Recorder (one record a counter) → frame → Writer → files     changes.rs, writer.rs
//!                                        snapshot files + manifest               snapshot.rs, manifest.rs
//! start: examine → load                                                          recovery.rs, cut.rs
//! without a server: a picture of the directory                                   picture.rs
//! ```
//!
//! Each shard has a journal of its own, which its own ring writes. Records are absolute values, so replaying one twice
//! does no harm. Everything but [`disk`] is pure or knows the disk by two traits alone, so tests drive it with a disk
//! that drops, tears and fails.
//!
//! Invariants: a frame counts as a whole or not at all; what counts after a crash is a prefix of each shard's frames that
//! divides no transaction; nothing that was said to be safe is cut.

pub mod changes;
pub mod cut;
pub mod disk;
pub mod frame;
pub mod manifest;
pub mod picture;
pub mod record;
pub mod recovery;
pub mod shared;
pub mod snapshot;
pub mod writer;

#[cfg(test)]
mod simulation;
