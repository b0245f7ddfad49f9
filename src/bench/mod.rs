//! `tallyring bench`: a load generator that says what really happened.
//!
//! [`result`] has what a run found out; everything that is printed or written is made of it alone, so a file that was
//! read back gives the same tables, plots and comparisons as the run itself.

pub mod fingerprint;
pub mod histogram;
pub mod result;
