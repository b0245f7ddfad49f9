//! The Redis protocol: requests parsed where they lie, replies written where they leave.
//!
//! Pure: bytes in, positions or bytes out. Nothing here reads a socket, knows a command, allocates, or trusts a number
//! that a client announced further than [`limits`](crate::limits) says.
//!
//! Sources: the Redis serialization protocol specification, and what a Redis 7.0.15 server answers.

pub mod encode;
pub mod inline;
pub mod integer;
pub mod parse;
