//! A disk that forgets, tears and fails, and what the journal makes of it.
//!
//! Every run follows from a seed that a failure prints; `TALLYRING_SIMULATION_SEEDS=first..last` replays or goes on.

mod damage;
mod disk;
mod power;
mod recover;
