//! The protocol over sockets: bytes in any pieces, malformed, far too many, or never read.

mod fuzz;
mod large;
mod malformed;
mod pipeline;
mod split;
