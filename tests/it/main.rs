//! End-to-end tests: the server as a process, over real sockets, beside a real Redis and with real clients.
//!
//! `TALLYRING_TEST_BIN` names another server binary than the one that Cargo built. `TALLYRING_SEED` repeats a random
//! test. `TALLYRING_REQUIRE_PEERS=1` makes a missing peer (redis-server, redis-cli, redis-py) a failure.
//! Every loop and every wait is bounded: a hang is a failure with a message.

mod clients;
mod cluster;
mod connections;
mod counting;
mod crowded;
mod dashboard;
mod differential;
mod durability;
mod keyspace;
mod latency;
mod lifecycle;
mod metrics;
mod monitor;
mod moving;
mod polling;
mod protocol;
mod support;
mod top;
