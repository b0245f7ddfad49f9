//! Hostile clients: what they can do to the memory of a server, and to the others that it serves.
//!
//! Each scenario starts the server as a process and reads its memory from outside, as growth over what it was when the
//! server had just started. `TALLYRING_TEST_BIN` names another server binary than the one that Cargo built, for
//! instance a release build.

mod announce;
mod commands;
mod cores;
mod full;
mod honest;
mod idle;
mod long;
mod outside;
mod peer;
mod resets;
mod script;
mod slow;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests need less of it than the other ones")]
mod support;
mod swarm;
mod together;
mod unread;
