//! `tallyring bench`: a load generator that says what really happened.
//!
//! [`result`] has what a run found out; everything that is printed or written is made of it alone, so a file that was
//! read back gives the same tables, plots and comparisons as the run itself.

// What a run finds out.
pub mod fingerprint;
pub mod histogram;
pub mod result;

// What is made of it.
pub mod csv;
pub mod hgrm;
pub mod hlog;
pub mod table;
pub mod units;

#[cfg(test)]
mod outputs;
#[cfg(test)]
mod sample;
